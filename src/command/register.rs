//! What the chat platforms have to be told about the catalogue. Derived only; sending is the surfaces' work.

use serde_json::{Value, json};

use crate::domain::text::shorten;

use super::arguments::REASON_MAX;
use super::catalogue::{Catalogue, Command, Shape};
use super::parse::PRODUCT;
use super::rules::SHORT_MAX;
use super::spec::{ArgumentSpec, ArgumentType, CommandSpec, Presence};
use super::words::{ReasonRule, Source};

/// Characters of all names, descriptions and values of one Discord command (discord.md section 7).
pub(super) const DISCORD_CHARACTERS_MAX: usize = 8_000;

/// Slash commands that are Slack's own (slack.md section 3). One of them in a manifest voids the whole list,
/// so these are said as `/sternway <command>` there.
pub const SLACK_RESERVED: [&str; 19] = [
    "status",
    "me",
    "join",
    "away",
    "dnd",
    "shrug",
    "remind",
    "msg",
    "feed",
    "who",
    "collapse",
    "expand",
    "leave",
    "open",
    "search",
    "topic",
    "mute",
    "pro",
    "shortcuts",
];
/// More words that Slack's clients have used for commands of their own; not on the list that was seen to void a
/// manifest, but a person who types them expects Slack's.
const SLACK_OWN: [&str; 8] = ["help", "archive", "invite", "kick", "remove", "rename", "dm", "call"];
/// Longest description that was seen accepted in the field (slack.md section 3).
const SLACK_DESCRIPTION_MAX: usize = 140;

// Option types of Discord's API (discord.md section 7).
const SUB_COMMAND: u8 = 1;
const SUB_COMMAND_GROUP: u8 = 2;
const STRING: u8 = 3;
const INTEGER: u8 = 4;

/// What Slack's manifest lists, and what it cannot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlackCommands {
    /// `features.slash_commands`; `/sternway` first. Never empty.
    pub slash_commands: Value,
    /// Commands that can only be said as `/sternway <command>`.
    pub only_behind_product: Vec<String>,
}

impl Catalogue {
    /// The JSON list for Discord's bulk overwrite of commands.
    pub fn discord(&self) -> Value {
        self.commands().iter().map(discord_command).collect()
    }

    /// The list for Slack's manifest (socket mode: no URLs).
    pub fn slack(&self) -> SlackCommands {
        let (behind, free): (Vec<&Command>, Vec<&Command>) = self
            .commands()
            .iter()
            .partition(|c| SLACK_RESERVED.contains(&c.name.as_str()) || SLACK_OWN.contains(&c.name.as_str()));
        let entry = |name: &str, about: &str, usage: String| {
            json!({
                "command": format!("/{name}"),
                "description": shorten(about, SLACK_DESCRIPTION_MAX),
                "usage_hint": usage,
                "should_escape": false,
            })
        };
        let mut list = vec![entry(PRODUCT, "Say any command: rollback, status, help …", "<command> …".to_owned())];
        list.extend(free.iter().map(|c| entry(&c.name, &c.short, usage_hint(c))));
        SlackCommands {
            slash_commands: Value::Array(list),
            only_behind_product: behind.iter().map(|c| c.name.clone()).collect(),
        }
    }
}

fn usage_hint(command: &Command) -> String {
    match &command.shape {
        Shape::Single(spec) => {
            let usage = spec.usage();
            usage.split_once(' ').map_or(String::new(), |(_, rest)| rest.to_owned())
        }
        Shape::Group { subs, .. } => {
            let names: Vec<&str> = subs.iter().map(|s| s.path.last()).collect();
            format!("{} …", names.join("|"))
        }
    }
}

fn discord_command(command: &Command) -> Value {
    let options: Vec<Value> = match &command.shape {
        Shape::Single(spec) => options(spec),
        Shape::Group { subs, .. } => subs.iter().map(|s| discord_sub(command, s)).collect(),
    };
    json!({ "type": 1, "name": command.name, "description": command.short, "options": options })
}

fn discord_sub(command: &Command, spec: &CommandSpec) -> Value {
    let name = spec.path.last();
    if spec.is_dry_run() {
        let inner: Vec<Value> = command
            .procedures()
            .map(|p| {
                let about = shorten(&format!("Only show the plan: {}", p.short), SHORT_MAX);
                json!({ "type": SUB_COMMAND, "name": p.path.last(), "description": about, "options": options(p) })
            })
            .collect();
        return json!({ "type": SUB_COMMAND_GROUP, "name": name, "description": spec.short, "options": inner });
    }
    json!({ "type": SUB_COMMAND, "name": name, "description": spec.short, "options": options(spec) })
}

/// Required first, as Discord demands; the reason last.
fn options(spec: &CommandSpec) -> Vec<Value> {
    let is_required = |a: &&ArgumentSpec| a.presence == Presence::Required;
    let (required, optional): (Vec<&ArgumentSpec>, Vec<&ArgumentSpec>) = spec.arguments.iter().partition(is_required);
    let reason = |required: bool| {
        json!({
            "type": STRING, "name": "because", "description": "Why, in your own words",
            "required": required, "max_length": REASON_MAX,
        })
    };
    let mut out: Vec<Value> = required.into_iter().map(option).collect();
    if spec.reason == ReasonRule::Required {
        out.push(reason(true));
    }
    out.extend(optional.into_iter().map(option));
    if spec.reason == ReasonRule::Optional {
        out.push(reason(false));
    }
    out
}

fn option(argument: &ArgumentSpec) -> Value {
    let about = if argument.about.is_empty() { argument.kind.looks_like() } else { argument.about.clone() };
    let mut out = json!({
        "type": if argument.kind == ArgumentType::Integer { INTEGER } else { STRING },
        "name": argument.name,
        "description": shorten(&about, SHORT_MAX),
        "required": argument.presence == Presence::Required,
    });
    match &argument.kind {
        ArgumentType::Choice(choices) => {
            out["choices"] = choices.iter().map(|c| json!({ "name": c, "value": c })).collect();
        }
        ArgumentType::Text => out["max_length"] = json!(REASON_MAX),
        _ if argument.complete != Source::None => out["autocomplete"] = json!(true),
        _ => {}
    }
    out
}

/// Characters of names, descriptions and values as Discord counts them.
pub(super) fn discord_size(command: &Command) -> usize {
    fn count(value: &Value) -> usize {
        let own: usize = ["name", "description", "value"]
            .iter()
            .filter_map(|key| value.get(key).and_then(Value::as_str))
            .map(|s| s.chars().count())
            .sum();
        let inner = ["options", "choices"].iter().filter_map(|key| value.get(key).and_then(Value::as_array));
        own + inner.flatten().map(count).sum::<usize>()
    }
    count(&discord_command(command))
}

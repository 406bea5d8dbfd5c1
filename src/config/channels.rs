//! `[channels."slack:C…"]`: what may be said where. Narrows what the gate allows, never grants (decision 2).

use std::fmt;

use super::reader::{FromToml, Node, Section, from_text};
use crate::domain::actor::Surface;
use crate::domain::invocation::Place;

/// The one channel of the console.
pub const CONSOLE_CHANNEL: &str = "console";

/// A place where people talk, as the config writes it: `console`, `slack:C024BE91L`, `discord:80351110224678912`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel {
    /// The surface.
    pub surface: Surface,
    /// The platform's id of it.
    pub id: String,
}

impl Channel {
    /// Checks and takes the text.
    ///
    /// # Errors
    /// A sentence saying how a channel is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == CONSOLE_CHANNEL {
            return Ok(Self { surface: Surface::Console, id: text.to_owned() });
        }
        let upper_or_digit = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
        let found = match text.split_once(':') {
            Some(("slack", id))
                if id.len() >= 3 && id.starts_with(['C', 'G', 'D']) && id.chars().all(upper_or_digit) =>
            {
                Some((Surface::Slack, id))
            }
            Some(("discord", id)) if (15..=20).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_digit()) => {
                Some((Surface::Discord, id))
            }
            _ => None,
        };
        found.map(|(surface, id)| Self { surface, id: id.to_owned() }).ok_or_else(|| {
            format!(
                "“{text}” is no channel: write console, slack:C024BE91L or discord:80351110224678912 \
                 (ids, as names can be taken by anyone)"
            )
        })
    }

    /// Whether a place is this channel.
    pub fn is(&self, place: &Place) -> bool {
        self.surface == place.surface && self.id == place.channel
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.surface {
            Surface::Console => f.write_str(CONSOLE_CHANNEL),
            surface => write!(f, "{}:{}", surface.as_str(), self.id),
        }
    }
}

/// A command's name without its slash: `rollback image`. A first word alone means all commands that begin with it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandName(String);

impl CommandName {
    /// Checks and takes the text.
    ///
    /// # Errors
    /// A sentence saying how a command is written.
    pub fn parse(text: &str) -> Result<Self, String> {
        let word = |w: &str| {
            w.starts_with(|c: char| c.is_ascii_lowercase())
                && w.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        };
        if text.split(' ').all(word) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("“{text}” is no command: write it without slash, in lower case, such as \"rollback image\""))
        }
    }

    /// Its text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it means `command`: the same, or the words it begins with.
    pub fn means(&self, command: &str) -> bool {
        command.strip_prefix(&self.0).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    }
}

impl fmt::Display for CommandName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

from_text! {
    Channel, Channel::parse, "a channel such as \"console\"";
    CommandName, CommandName::parse, "a command such as \"rollback image\"";
}

/// What may be said in one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Narrowing {
    /// Which channel.
    pub channel: Channel,
    /// What is left.
    pub only: Allowed,
}

/// What is left of the commands in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Allowed {
    /// These and no others.
    These(Vec<CommandName>),
    /// All but these.
    AllBut(Vec<CommandName>),
}

impl Allowed {
    /// Whether a command may be said; by its name without slash.
    pub fn allows(&self, command: &str) -> bool {
        match self {
            Allowed::These(names) => names.iter().any(|n| n.means(command)),
            Allowed::AllBut(names) => !names.iter().any(|n| n.means(command)),
        }
    }
}

/// Reads `[channels]`; `mention` is told of every command that is named, and where.
pub(crate) fn read<'a>(section: Section<'a>, mention: &mut dyn FnMut(&CommandName, &Node<'a>)) -> Vec<Narrowing> {
    let mut narrowings = Vec::new();
    for entry in section.entries() {
        let channel = match Channel::parse(entry.key) {
            Ok(channel) => channel,
            Err(why) => {
                section.source.refuse(entry.key_span, &entry.node.path, why, None);
                continue;
            }
        };
        let Some(mut table) = entry.node.section("a table") else { continue };
        let mut names = |key: &'static str| {
            let items = table.node(key)?.items("a list of commands")?;
            let names = items.into_iter().filter_map(|item| {
                let name = CommandName::from_toml(item.clone())?;
                mention(&name, &item);
                Some(name)
            });
            Some(names.collect::<Vec<_>>())
        };
        let (allow, deny) = (names("allow"), names("deny"));
        let only = match (allow, deny) {
            (Some(names), None) => Some(Allowed::These(names)),
            (None, Some(names)) => Some(Allowed::AllBut(names)),
            _ => None,
        };
        match only {
            Some(only) => narrowings.push(Narrowing { channel, only }),
            None => {
                let hint = "allow = […] leaves these and no others, deny = […] leaves all but these".to_owned();
                table.refuse("a channel says either `allow` or `deny`", hint);
            }
        }
        table.finish();
    }
    narrowings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_word_means_all_commands_that_begin_with_it_and_no_longer_word() {
        let name = CommandName::parse("rollback").unwrap();
        for (command, meant) in [("rollback", true), ("rollback image", true), ("rollbacks", false), ("roll", false)] {
            assert_eq!(name.means(command), meant, "{command}");
        }
        for bad in ["", "/rollback", "Rollback", "rollback  image", "rollback ", "rm -rf", "2x"] {
            assert!(CommandName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_channel_is_an_id_of_a_surface() {
        for good in ["console", "slack:C024BE91L", "discord:80351110224678912"] {
            assert_eq!(Channel::parse(good).unwrap().to_string(), good);
        }
        for bad in
            ["", "#ops", "slack:#ops", "slack:c024be91l", "slack:U024BE7LH", "discord:ops", "teams:1", "console:1"]
        {
            assert!(Channel::parse(bad).is_err(), "{bad:?}");
        }
    }
}

//! Completion while typing: pure, from the catalogue and what the caller has in memory. Never asks the world.

use std::ops::Range;
use std::sync::Arc;

use super::arguments::{Introduced, introduced};
use super::catalogue::{Catalogue, Shape};
use super::parse::{LINE_MAX, PRODUCT, command_word};
use super::spec::{ArgumentSpec, ArgumentType, CommandSpec};
use super::tokens::{Word, Words, is_blank};
use super::words::{ReasonRule, Source};

/// Most suggestions given: Discord takes 25 (discord.md section 7).
pub const SUGGESTIONS_MAX: usize = 25;

/// Something that exists and can be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// What is typed for it.
    pub text: String,
    /// A few words about it.
    pub about: String,
}

impl Offer {
    /// An offer.
    pub fn new(text: impl Into<String>, about: impl Into<String>) -> Self {
        Self { text: text.into(), about: about.into() }
    }
}

/// What the caller knows without asking anyone. Each list likeliest first.
pub trait World {
    /// Services that can be named here.
    fn services(&self) -> Vec<Offer>;
    /// Releases of a service, given as it was typed (`api`, `api@shop`).
    fn releases(&self, service: &str) -> Vec<Offer>;
    /// Recent runs.
    fn runs(&self) -> Vec<Offer>;
    /// Runs that are stuck.
    fn stuck_runs(&self) -> Vec<Offer>;
    /// Approvals that wait for votes.
    fn approvals(&self) -> Vec<Offer>;
}

/// One way to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suggestion {
    /// What would stand there.
    pub text: String,
    /// A few words about it.
    pub about: String,
    /// The bytes of the line that it replaces; they end at the cursor.
    pub replace: Range<usize>,
}

/// What may stand at the cursor.
enum Here<'c> {
    /// Nothing we know: a reason, free words, a line that is wrong already.
    Nothing,
    /// A top-level word, behind a slash that stands already or not.
    Top,
    /// One of these subcommands.
    Subs(Vec<Arc<CommandSpec>>),
    /// The next word of a choice whose first words stand already, or another argument's value.
    Value { argument: &'c ArgumentSpec, service: Option<String>, said: String },
    /// A value in order, or a keyword.
    Next { positional: Option<&'c ArgumentSpec>, keywords: Vec<(&'c str, &'c str)>, service: Option<String> },
}

impl Catalogue {
    /// Suggestions for the word that ends at `cursor` (a byte offset; cut back to a character boundary).
    pub fn complete(&self, line: &str, cursor: usize, world: &dyn World) -> Vec<Suggestion> {
        let cursor = (0..=cursor.min(line.len())).rev().find(|i| line.is_char_boundary(*i)).unwrap_or(0);
        let head = &line[..cursor];
        if head.len() > LINE_MAX {
            return Vec::new();
        }
        let mut start = head.rfind(is_blank).map_or(0, |i| i + head[i..].chars().next().map_or(1, char::len_utf8));
        let mut typed = &head[start..];
        let mut here = self.here(&head[..start]);
        // `to:rel1`: the value begins behind the colon.
        if let Here::Next { .. } = &here
            && let Some((i, c)) = typed.char_indices().find(|(_, c)| matches!(c, ':' | '='))
            && let after @ Here::Value { .. } = self.here(&head[..start + i + c.len_utf8()])
        {
            here = after;
            start += i + c.len_utf8();
            typed = &head[start..];
        }
        let mut out = Found { typed: typed.to_lowercase(), replace: start..cursor, found: Vec::new() };
        match here {
            Here::Nothing => {}
            Here::Top => {
                let slash = if typed.starts_with('/') || start == 0 { "/" } else { "" };
                out.typed = out.typed.trim_start_matches('/').to_owned();
                for command in self.commands() {
                    out.add_as(&command.name, &command.short, |name| format!("{slash}{name}"));
                }
            }
            Here::Subs(subs) => subs.iter().for_each(|s| out.add(s.path.last(), &s.short)),
            Here::Value { argument, service, said } => {
                self.values(argument, service.as_deref(), &said, world, &mut out)
            }
            Here::Next { positional, keywords, service } => {
                if let Some(argument) = positional {
                    self.values(argument, service.as_deref(), "", world, &mut out);
                }
                keywords.iter().for_each(|(keyword, about)| out.add(keyword, about));
            }
        }
        out.sorted()
    }

    /// Suggestions for one argument's value where a surface asks for it by name (Discord). `given` holds what
    /// stands in the other fields. `path` may be a dry run's.
    pub fn complete_argument(
        &self,
        path: &str,
        name: &str,
        typed: &str,
        given: &[(&str, &str)],
        world: &dyn World,
    ) -> Vec<Suggestion> {
        let spec = match self.find(path) {
            Some(super::catalogue::Found::Spec(spec) | super::catalogue::Found::DryRun(_, spec)) => spec,
            Some(super::catalogue::Found::Group(_)) | None => return Vec::new(),
        };
        let Some(argument) = spec.argument(name) else { return Vec::new() };
        let service_name = spec.arguments.iter().find(|a| a.kind == ArgumentType::Service).map(|a| a.name.as_str());
        let service = given.iter().find(|(n, _)| Some(*n) == service_name).map(|(_, v)| *v);
        let mut out = Found { typed: typed.to_lowercase(), replace: 0..typed.len(), found: Vec::new() };
        self.values(argument, service, "", world, &mut out);
        out.sorted()
    }

    /// What may come behind these words.
    fn here(&self, before: &str) -> Here<'_> {
        let mut words = Words::of(before);
        let mut read = || words.next().ok().flatten().map(Word::trimmed);
        let name = loop {
            let Some(word) = read() else { return Here::Top };
            let text = word.text.trim_end_matches([':', ',']).trim_start_matches(['/', '@']);
            if !(word.text.starts_with("<@") || text.is_empty() || text.eq_ignore_ascii_case(PRODUCT)) {
                break word;
            }
        };
        let Some(command) = self.command(&command_word(&name)) else { return Here::Nothing };
        let spec = match &command.shape {
            Shape::Single(spec) => spec,
            Shape::Group { subs, .. } => {
                let Some(word) = read() else { return Here::Subs(subs.clone()) };
                let Some(sub) = command.sub(&command_word(&word)) else { return Here::Nothing };
                if sub.is_dry_run() {
                    let Some(word) = read() else { return Here::Subs(command.procedures().cloned().collect()) };
                    match command.procedures().find(|p| p.path.last() == command_word(&word)) {
                        Some(procedure) => procedure,
                        None => return Here::Nothing,
                    }
                } else {
                    sub
                }
            }
        };
        arguments_here(spec, words)
    }

    fn values(&self, argument: &ArgumentSpec, service: Option<&str>, said: &str, world: &dyn World, out: &mut Found) {
        if let ArgumentType::Choice(choices) = &argument.kind {
            let rest = choices.iter().filter_map(|c| {
                if said.is_empty() { Some(c.as_str()) } else { c.strip_prefix(said)?.strip_prefix(' ') }
            });
            rest.for_each(|c| out.add(c, &argument.about));
            return;
        }
        let offers = match argument.complete {
            Source::Services => world.services(),
            Source::Releases => service.map(|s| world.releases(s)).unwrap_or_default(),
            Source::Runs => world.runs(),
            Source::StuckRuns => world.stuck_runs(),
            Source::Approvals => world.approvals(),
            Source::Commands => self.commands().iter().map(|c| Offer::new(&c.name, &c.short)).collect(),
            Source::None => Vec::new(),
        };
        offers.iter().for_each(|o| out.add(&o.text, &o.about));
    }
}

/// Walks over what is given already, more forgiving than the parser: a half-typed line is never right.
fn arguments_here<'c>(spec: &'c CommandSpec, mut words: Words<'_>) -> Here<'c> {
    let line = words.line();
    let mut given: Vec<&str> = Vec::new();
    let mut service: Option<String> = None;
    while let Ok(Some(word)) = words.next() {
        let word = word.trimmed();
        let argument = match introduced(spec, &word, line) {
            Some((Introduced::Reason, _)) => return Here::Nothing,
            Some((Introduced::Argument(argument), value)) => {
                words.go_to(value);
                argument
            }
            None => {
                let next = spec.arguments.iter().find(|a| a.positional && !given.contains(&a.name.as_str()));
                let Some(argument) = next else { return Here::Nothing };
                words.go_to(word.span.start);
                argument
            }
        };
        given.push(&argument.name);
        match &argument.kind {
            ArgumentType::Text => return Here::Nothing,
            ArgumentType::Choice(choices) => {
                let mut said = String::new();
                loop {
                    let before = words;
                    let Ok(Some(word)) = words.next() else {
                        return Here::Value { argument, service, said };
                    };
                    let longer = format!("{said} {}", word.text.to_lowercase()).trim_start().to_owned();
                    if choices.contains(&longer) {
                        break;
                    }
                    if !choices.iter().any(|c| c.starts_with(&format!("{longer} "))) {
                        words = before;
                        break;
                    }
                    said = longer;
                }
            }
            kind => match words.next() {
                Ok(Some(value)) if *kind == ArgumentType::Service => service = Some(value.trimmed().text),
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return Here::Value { argument, service, said: String::new() },
            },
        }
    }
    let positional = spec.arguments.iter().find(|a| a.positional && !given.contains(&a.name.as_str()));
    let waits = positional.is_some_and(|a| a.presence == super::spec::Presence::Required);
    let mut keywords: Vec<(&str, &str)> = Vec::new();
    if !waits {
        let open = spec.arguments.iter().filter(|a| !given.contains(&a.name.as_str()));
        keywords.extend(open.filter_map(|a| Some((a.keyword.as_deref()?, a.about.as_str()))));
        if spec.reason != ReasonRule::None {
            keywords.push(("because", "why, in your own words"));
        }
    }
    Here::Next { positional, keywords, service }
}

/// What fits so far.
struct Found {
    typed: String,
    replace: Range<usize>,
    /// How well it fits (lower is better), in the order of adding.
    found: Vec<(u8, Suggestion)>,
}

impl Found {
    fn add(&mut self, text: &str, about: &str) {
        self.add_as(text, about, str::to_owned);
    }

    fn add_as(&mut self, text: &str, about: &str, shown: impl Fn(&str) -> String) {
        let lower = text.to_lowercase();
        let rank = if lower.starts_with(&self.typed) {
            0
        } else if lower.contains(&self.typed) {
            1
        } else if !super::suggest::closest(&self.typed, [lower.as_str()]).is_empty() {
            2
        } else {
            return;
        };
        let suggestion = Suggestion { text: shown(text), about: about.to_owned(), replace: self.replace.clone() };
        self.found.push((rank, suggestion));
    }

    fn sorted(mut self) -> Vec<Suggestion> {
        // Two letters are in too many words: where they begin one, only what they begin is meant.
        let begun = self.found.iter().any(|(rank, _)| *rank == 0);
        if begun && self.typed.chars().count() < 3 {
            self.found.retain(|(rank, _)| *rank == 0);
        }
        self.found.sort_by_key(|(rank, _)| *rank);
        self.found.into_iter().map(|(_, s)| s).take(SUGGESTIONS_MAX).collect()
    }
}

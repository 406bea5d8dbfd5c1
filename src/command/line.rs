//! Back from what was meant to a line that says it: for hints, buttons, and surfaces that collect arguments in
//! fields. What a field holds can never become a keyword, another argument or a reason.

use super::arguments::introduced;
use super::catalogue::{Catalogue, Found};
use super::parse::Request;
use super::spec::{ArgumentSpec, ArgumentType, CommandPath, CommandSpec};
use super::tokens::{Word, Words, is_double_quote, is_quote};
use super::value::Arguments;

impl Request {
    /// A line that means exactly this.
    pub fn line(&self) -> String {
        compose(&self.spec, &self.policy, &self.arguments, self.reason.as_deref())
    }
}

impl Catalogue {
    /// The line for a command whose arguments came by name, as Discord delivers them; `because` is the reason.
    /// Each value is quoted where it could be read as something else. Unknown names are passed on, so that
    /// [`Catalogue::parse`] refuses them in the usual words.
    pub fn line_of(&self, path: &CommandPath, given: &[(&str, &str)]) -> String {
        let spec = match self.find(path.as_str()) {
            Some(Found::Spec(spec) | Found::DryRun(_, spec)) => Some(spec),
            Some(Found::Group(_)) | None => None,
        };
        let mut out = format!("/{path}");
        let mut reason = None;
        for (name, value) in given {
            if *name == "because" {
                reason = Some(*value);
                continue;
            }
            let keyword = spec.and_then(|s| s.argument(name)).and_then(|a| a.keyword.as_deref());
            let value = spec.map_or_else(|| quote(value), |s| safe(s, value));
            out.push_str(&match keyword {
                Some(keyword) => format!(" {keyword} {value}"),
                None => format!(" {name}: {value}"),
            });
        }
        if let Some(reason) = reason {
            out.push_str(&format!(" because {}", quote(reason)));
        }
        out
    }
}

/// The words that say a command: `rollback image`, or `rollback plan image` for its dry run.
pub(super) fn path_of(spec: &CommandSpec, policy: &CommandSpec) -> String {
    if policy.is_dry_run() { format!("{} {}", policy.path, spec.path.last()) } else { spec.path.to_string() }
}

pub(super) fn compose(spec: &CommandSpec, policy: &CommandSpec, given: &Arguments, reason: Option<&str>) -> String {
    let mut out = format!("/{}", path_of(spec, policy));
    let mut gap = false;
    for argument in &spec.arguments {
        let Some(value) = given.get(&argument.name) else {
            gap |= argument.positional;
            continue;
        };
        let value = written(spec, argument, &value.to_string());
        out.push_str(&match &argument.keyword {
            Some(keyword) => format!(" {keyword} {value}"),
            None if gap => format!(" {}: {value}", argument.name),
            None => format!(" {value}"),
        });
    }
    if let Some(reason) = reason {
        // The rest of a line is read as it stands, unless quotes begin it or an argument may be hidden in it.
        let mut words = Words::of(reason);
        let mut speaks_for_itself = !reason.starts_with(is_quote);
        while let (true, Ok(Some(word))) = (speaks_for_itself, words.next()) {
            speaks_for_itself = introduced(spec, &word, reason).is_none();
        }
        let reason = if speaks_for_itself { reason.to_owned() } else { quote(reason) };
        out.push_str(&format!(" because {reason}"));
    }
    out
}

fn written(spec: &CommandSpec, argument: &ArgumentSpec, value: &str) -> String {
    match argument.kind {
        // A choice is read as a phrase, word by word.
        ArgumentType::Choice(_) | ArgumentType::Command => value.to_owned(),
        ArgumentType::Text => quote(value),
        _ => safe(spec, value),
    }
}

/// The value as it is where it can only be read as one word of its own, else quoted.
fn safe(spec: &CommandSpec, value: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "@:._/-+".contains(c);
    let begins = value.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || "@_".contains(c));
    let one_word: Option<Word> = Words::of(value).next().ok().flatten().map(Word::trimmed);
    let is_itself = one_word.is_some_and(|w| w.text == value && introduced(spec, &w, value).is_none());
    if begins && value.chars().all(plain) && is_itself { value.to_owned() } else { quote(value) }
}

/// In quotes, its own quotes escaped.
fn quote(value: &str) -> String {
    let mut out = String::from("\"");
    for c in value.chars() {
        if c == '\\' || is_double_quote(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

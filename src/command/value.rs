//! Typed values of arguments: a word stops being a string here.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::domain::ids::{ApprovalId, ReleaseId, RunId};
use crate::domain::names::{ServiceName, StackName};
use crate::domain::release::Wanted;

use super::moment::Moment;
use super::spec::CommandPath;

/// Longest reference we read, in bytes; Docker's own limit for a reference is 255.
pub(super) const REFERENCE_MAX: usize = 255;
/// Fewest hex digits of a digest: fewer fit too many images by accident.
pub(super) const DIGEST_MIN: usize = 6;
/// Longest duration: 30 days, in seconds.
pub(super) const DURATION_MAX_S: u64 = 30 * 86_400;

/// A service as it was said: `api`, or `api@shop` in another stack than the channel's. As typed; whether a
/// service is called so, in whatever case, is for the planner to find out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServiceWord {
    /// The service.
    pub service: ServiceName,
    /// The stack, where it was said outright.
    pub stack: Option<StackName>,
}

impl ServiceWord {
    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence without its full stop.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (service, stack) = match text.split_once('@') {
            Some((service, stack)) => (service, Some(stack)),
            None => (text, None),
        };
        let service = ServiceName::parse(service).map_err(|e| e.to_string())?;
        let stack = stack.map(StackName::parse).transpose().map_err(|e| e.to_string())?;
        Ok(Self { service, stack })
    }
}

impl fmt::Display for ServiceWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.stack {
            Some(stack) => write!(f, "{}@{stack}", self.service),
            None => write!(f, "{}", self.service),
        }
    }
}

/// A release target as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetWord {
    /// By id, digest or tag: what `domain::release` looks up.
    Named(Wanted),
    /// What ran at a moment: [`super::resolve_at`] first makes it [`Wanted::At`].
    At(Moment),
}

impl TargetWord {
    /// Reads it. Bare hex digits are a tag: many teams tag images by commit.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence without its full stop.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(id) = ReleaseId::parse(text) {
            return Ok(Self::Named(Wanted::Release(id)));
        }
        if let Some(moment) = text.strip_prefix('@') {
            return Moment::read(moment)
                .map(Self::At)
                .ok_or_else(|| format!("“{text}” is not a time, which looks like @02:10 or @2026-11-21T02:10"));
        }
        // `02:10` without its @: no repository is called 02.
        if let Some(moment @ Moment::Clock(..)) = Moment::read(text) {
            return Ok(Self::At(moment));
        }
        if text.len() > REFERENCE_MAX {
            return Err(format!("a reference has at most {REFERENCE_MAX} characters"));
        }
        let digest = text.rsplit('@').next().unwrap_or(text).to_ascii_lowercase();
        if let Some(hex) = digest.strip_prefix("sha256:") {
            let good = (DIGEST_MIN..=64).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit());
            return if good {
                Ok(Self::Named(Wanted::Digest(digest)))
            } else {
                Err(format!("sha256: is followed by {DIGEST_MIN} to 64 digits from 0 to 9 and a to f"))
            };
        }
        let first = text.chars().next();
        if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "_.-/:".contains(*c))) {
            return Err(format!("no tag has a “{bad}” in it"));
        }
        if !first.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(format!("“{text}” is no release, tag or digest"));
        }
        Ok(Self::Named(Wanted::Tag(text.to_owned())))
    }

    /// Whether the words alone leave no doubt that a release is meant: a tag could be any word.
    pub(crate) fn is_unmistakable(&self) -> bool {
        !matches!(self, TargetWord::Named(Wanted::Tag(_)))
    }
}

impl fmt::Display for TargetWord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TargetWord::At(moment) => write!(f, "{moment}"),
            TargetWord::Named(Wanted::Release(id)) => write!(f, "{id}"),
            TargetWord::Named(Wanted::Digest(text)) => {
                write!(f, "sha256:{}", text.strip_prefix("sha256:").unwrap_or(text))
            }
            TargetWord::Named(Wanted::Tag(text)) => f.write_str(text),
            // Never read from words, but what one would type for it.
            TargetWord::Named(Wanted::At(at)) => write!(f, "@{at}"),
            TargetWord::Named(Wanted::Previous) => f.write_str("previous"),
        }
    }
}

/// The value of one argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Value {
    /// A service.
    Service(ServiceWord),
    /// A release target.
    Target(TargetWord),
    /// A run.
    Run(RunId),
    /// An approval.
    Approval(ApprovalId),
    /// A phrase of the argument's choices, as the file writes it.
    Choice(String),
    /// Words, made visible.
    Text(String),
    /// A whole number.
    Integer(i64),
    /// A duration of whole seconds.
    Duration(Duration),
    /// A command or group of the catalogue.
    Command(CommandPath),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Service(service) => write!(f, "{service}"),
            Value::Target(target) => write!(f, "{target}"),
            Value::Run(run) => write!(f, "{run}"),
            Value::Approval(approval) => write!(f, "{approval}"),
            Value::Choice(text) | Value::Text(text) => f.write_str(text),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Duration(time) => f.write_str(&show_duration(time.as_secs())),
            Value::Command(path) => write!(f, "{path}"),
        }
    }
}

/// What was given, by the arguments' names.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Arguments(BTreeMap<String, Value>);

macro_rules! getter {
    ($(#[$doc:meta])* $name:ident, $variant:ident, $type:ty) => {
        $(#[$doc])*
        pub fn $name(&self, name: &str) -> Option<&$type> {
            match self.0.get(name) {
                Some(Value::$variant(value)) => Some(value),
                _ => None,
            }
        }
    };
}

impl Arguments {
    /// The value of any type, if given.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// Puts a value in, such as the thread's run.
    pub fn set(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    pub(super) fn without(&self, name: &str) -> Self {
        let mut rest = self.clone();
        rest.0.remove(name);
        rest
    }

    getter!(
        /// A service, if given.
        service, Service, ServiceWord
    );
    getter!(
        /// A release target, if given.
        target, Target, TargetWord
    );
    getter!(
        /// A run, if given.
        run, Run, RunId
    );
    getter!(
        /// An approval, if given.
        approval, Approval, ApprovalId
    );
    getter!(
        /// A phrase of the choices, if given.
        choice, Choice, String
    );
    getter!(
        /// Words, if given.
        text, Text, String
    );
    getter!(
        /// A number, if given.
        integer, Integer, i64
    );
    getter!(
        /// A duration, if given.
        duration, Duration, Duration
    );
    getter!(
        /// A command, if given.
        command, Command, CommandPath
    );

    /// All of them as text: what a plan records and hashes.
    pub fn to_texts(&self) -> BTreeMap<String, String> {
        self.0.iter().map(|(name, value)| (name.clone(), value.to_string())).collect()
    }

    /// By name, in the names' order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

/// Reads `90s`, `15m`, `2h30m`, `1d` into seconds: whole numbers, each unit once, the larger first.
pub fn read_duration(text: &str) -> Option<u64> {
    let text = text.to_ascii_lowercase();
    let mut rest = text.as_str();
    let mut total: u64 = 0;
    let mut allowed: &[(char, u64)] = &[('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u64 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let place = allowed.iter().position(|(u, _)| *u == unit)?;
        total = total.checked_add(number.checked_mul(allowed[place].1)?)?;
        allowed = &allowed[place + 1..];
        rest = &rest[digits + 1..];
    }
    (!text.is_empty() && total <= DURATION_MAX_S).then_some(total)
}

/// Writes seconds the way [`read_duration`] reads them.
pub fn show_duration(seconds: u64) -> String {
    if seconds == 0 {
        return "0s".to_owned();
    }
    let mut left = seconds;
    let mut out = String::new();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if left >= size {
            out.push_str(&format!("{}{unit}", left / size));
            left %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_told_apart() {
        let table: &[(&str, Option<&str>)] = &[
            ("rel17", Some("Named(Release(ReleaseId(Position(17))))")),
            ("REL17", Some("Named(Release(ReleaseId(Position(17))))")),
            ("1.4", Some("Named(Tag(\"1.4\"))")),
            ("deadbeef", Some("Named(Tag(\"deadbeef\"))")),
            ("ghcr.io/shop/api:1.4", Some("Named(Tag(\"ghcr.io/shop/api:1.4\"))")),
            ("sha256:ABCDEF12", Some("Named(Digest(\"sha256:abcdef12\"))")),
            ("shop/api@sha256:abcdef12", Some("Named(Digest(\"sha256:abcdef12\"))")),
            ("@02:10", Some("At(Clock(02:10:00, Speaker))")),
            ("02:10", Some("At(Clock(02:10:00, Speaker))")),
            ("@yesterday 02:10", Some("At(Yesterday(02:10:00))")),
            ("sha256:abc", None),
            ("sha256:xyzxyz", None),
            ("@soon", None),
            ("-rf", None),
            ("$(id)", None),
            ("a\u{202e}b", None),
            ("", None),
        ];
        for (text, expected) in table {
            let found = TargetWord::parse(text).ok().map(|t| format!("{t:?}"));
            assert_eq!(found.as_deref(), *expected, "{text:?}");
        }
    }

    #[test]
    fn durations_are_read_as_they_are_written() {
        for (text, seconds) in [("90s", 90), ("15m", 900), ("2h30m", 9_000), ("1d", 86_400), ("2H", 7_200)] {
            assert_eq!(read_duration(text), Some(seconds), "{text}");
            assert_eq!(read_duration(&show_duration(seconds)), Some(seconds), "{text}");
        }
        for bad in ["", "5", "m", "30m2h", "1m1m", "1.5h", "-1s", "31d", "99999999999999999999s", "1é"] {
            assert_eq!(read_duration(bad), None, "{bad}");
        }
    }
}

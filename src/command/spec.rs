//! The specification of one command: what a file says, with everything inherited filled in.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::domain::names::RoleName;

use super::words::{Builtin, Kind, Lock, Query, ReasonRule, Risk, Source, StepKind, TypeWord, Waived};

/// Words that name one command, such as `rollback image`: at most three.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct CommandPath(String);

impl CommandPath {
    pub(crate) fn new(words: &[&str]) -> Self {
        Self(words.join(" "))
    }

    /// `rollback image`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its words.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }

    /// Its last word.
    pub fn last(&self) -> &str {
        self.0.rsplit(' ').next().unwrap_or("")
    }
}

impl fmt::Display for CommandPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What an argument may be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentType {
    /// See [`TypeWord::Service`].
    Service,
    /// See [`TypeWord::ReleaseTarget`].
    ReleaseTarget,
    /// See [`TypeWord::Run`].
    Run,
    /// See [`TypeWord::Approval`].
    Approval,
    /// One of these phrases, lower case, words parted by one space.
    Choice(Vec<String>),
    /// See [`TypeWord::Text`].
    Text,
    /// See [`TypeWord::Integer`].
    Integer,
    /// See [`TypeWord::Duration`].
    Duration,
    /// See [`TypeWord::Command`].
    Command,
}

impl ArgumentType {
    /// The word for it in a file.
    pub fn word(&self) -> TypeWord {
        match self {
            ArgumentType::Service => TypeWord::Service,
            ArgumentType::ReleaseTarget => TypeWord::ReleaseTarget,
            ArgumentType::Run => TypeWord::Run,
            ArgumentType::Approval => TypeWord::Approval,
            ArgumentType::Choice(_) => TypeWord::Choice,
            ArgumentType::Text => TypeWord::Text,
            ArgumentType::Integer => TypeWord::Integer,
            ArgumentType::Duration => TypeWord::Duration,
            ArgumentType::Command => TypeWord::Command,
        }
    }

    /// One word for it.
    pub fn noun(&self) -> &'static str {
        match self {
            ArgumentType::ReleaseTarget => "release",
            other => other.word().as_str(),
        }
    }

    /// What a valid one looks like, for error texts and `docs/commands.md`.
    pub fn looks_like(&self) -> String {
        match self {
            ArgumentType::Service => "a service, such as api or api@shop".to_owned(),
            ArgumentType::ReleaseTarget => "a release: rel17, a tag, sha256:… or a time such as @02:10".to_owned(),
            ArgumentType::Run => "a run, such as r42".to_owned(),
            ArgumentType::Approval => "an approval, such as a45".to_owned(),
            ArgumentType::Choice(choices) => format!("one of: {}", choices.join(", ")),
            ArgumentType::Text => "words".to_owned(),
            ArgumentType::Integer => "a whole number".to_owned(),
            ArgumentType::Duration => "a duration, such as 90s, 15m or 2h30m".to_owned(),
            ArgumentType::Command => "a command, such as rollback".to_owned(),
        }
    }
}

/// How an argument is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Presence {
    /// Without it the command is not understood.
    Required,
    /// It may be left out.
    Optional,
    /// In the thread of a run it may be left out: the dispatcher takes the thread's.
    FromThread,
}

/// One argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArgumentSpec {
    /// Its name: `service`.
    pub name: String,
    /// What it may be.
    pub kind: ArgumentType,
    /// Whether it has to be there.
    pub presence: Presence,
    /// The word that introduces it: `to`.
    pub keyword: Option<String>,
    /// Whether it may stand without its keyword, in order.
    pub positional: bool,
    /// Where completions come from.
    pub complete: Source,
    /// A few words about it; at most 100 characters.
    #[serde(skip)]
    pub about: String,
}

/// Who may say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Who {
    /// Whoever can speak in the place, linked to a person or not. Only for what looks (decision 2).
    Anyone,
    /// People with one of these roles.
    Roles(BTreeSet<RoleName>),
}

impl Who {
    /// Whether somebody with these roles is among them.
    pub fn includes(&self, roles: &BTreeSet<RoleName>) -> bool {
        match self {
            Who::Anyone => true,
            Who::Roles(allowed) => allowed.iter().any(|role| roles.contains(role)),
        }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Anyone => f.write_str("anyone"),
            Who::Roles(roles) => f.write_str(&roles.iter().map(RoleName::as_str).collect::<Vec<_>>().join(", ")),
        }
    }
}

/// Votes that a plan of this command needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ApprovalRule {
    /// The role that may vote.
    pub from: RoleName,
    /// Distinct persons needed, the requester never counted. At least 1.
    pub count: u32,
    /// When none are needed.
    pub waived: Waived,
    /// Seconds after which the question expires.
    pub expires_s: u64,
}

/// How often one person may say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct RateLimit {
    /// So many times.
    pub count: u32,
    /// In so many seconds.
    pub per_s: u64,
}

/// What is done when it is said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// These steps, in order. Steps that the config has no use for (no pin, no proxy) are left out by the planner.
    Procedure(Vec<StepKind>),
    /// A look.
    Query(Query),
    /// A part of Sternway itself.
    Builtin(Builtin),
}

impl Action {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Action::Procedure(_) => Kind::Procedure,
            Action::Query(_) => Kind::Query,
            Action::Builtin(_) => Kind::Builtin,
        }
    }
}

/// One thing that can be said, all of it: what was inherited is filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandSpec {
    /// Its words.
    pub path: CommandPath,
    /// What is done.
    pub action: Action,
    /// In the order in which they are given.
    pub arguments: Vec<ArgumentSpec>,
    /// Whether a reason belongs to it.
    pub reason: ReasonRule,
    /// What can go wrong.
    pub risk: Risk,
    /// Who may say it.
    pub who: Who,
    /// Votes needed; `None` where there is no plan to vote on.
    pub approval: Option<ApprovalRule>,
    /// How often; `None` leaves it to the limit at the door.
    pub rate: Option<RateLimit>,
    /// What is held meanwhile.
    pub lock: Lock,
    /// Seconds after which the whole is given up and undone.
    pub limit_s: u64,
    /// One line, at most 100 characters.
    #[serde(skip)]
    pub short: String,
    /// What one should know before saying it.
    #[serde(skip)]
    pub long: String,
    /// Whole lines that can be typed; each is checked to parse.
    #[serde(skip)]
    pub examples: Vec<String>,
}

impl CommandSpec {
    /// The argument with this name.
    pub fn argument(&self, name: &str) -> Option<&ArgumentSpec> {
        self.arguments.iter().find(|a| a.name == name)
    }

    /// Whether it shows the plan of another command of its file.
    pub fn is_dry_run(&self) -> bool {
        self.action == Action::Query(Query::DryRun)
    }

    /// How it is said: `/rollback image <service> [to <to>] [because …]`.
    pub fn usage(&self) -> String {
        let mut out = format!("/{}", self.path);
        if self.is_dry_run() {
            out.push_str(" <command> …");
        }
        for argument in &self.arguments {
            let noun = match &argument.keyword {
                Some(keyword) if *keyword == argument.name => argument.kind.noun(),
                _ => argument.name.as_str(),
            };
            let value = match &argument.kind {
                ArgumentType::Choice(choices) => choices.join("|"),
                ArgumentType::Text => format!("<{noun}…>"),
                _ => format!("<{noun}>"),
            };
            let said = match &argument.keyword {
                Some(keyword) => format!("{keyword} {value}"),
                None => value,
            };
            match argument.presence {
                Presence::Required => out.push_str(&format!(" {said}")),
                Presence::Optional | Presence::FromThread => out.push_str(&format!(" [{said}]")),
            }
        }
        match self.reason {
            ReasonRule::None => {}
            ReasonRule::Optional => out.push_str(" [because …]"),
            ReasonRule::Required => out.push_str(" because …"),
        }
        out
    }
}

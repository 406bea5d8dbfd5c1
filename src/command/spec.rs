//! What a command file may say, as types: the closed sets of words and the specification of one command.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use crate::domain::names::RoleName;

/// A closed set of words that may stand in a command file.
pub trait Vocabulary: Copy + Sized + 'static {
    /// What one of them is called in an error text, with its article.
    const WHAT: &'static str;
    /// All of them, in the order in which they are offered.
    const ALL: &'static [(&'static str, Self)];
}

macro_rules! vocabulary {
    ($(#[$doc:meta])* $name:ident, $what:literal { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl Vocabulary for $name {
            const WHAT: &'static str = $what;
            const ALL: &'static [(&'static str, Self)] = &[$(($word, $name::$variant),)+];
        }

        impl $name {
            /// The word in the file.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $word,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.as_str())
            }
        }
    };
}

vocabulary!(
    /// How a command is carried out.
    Kind, "a kind" {
        /// By a plan made from its steps.
        Procedure = "procedure",
        /// By looking.
        Query = "query",
        /// By a part of Sternway itself.
        Builtin = "builtin",
    }
);

vocabulary!(
    /// What can go wrong by saying it.
    Risk, "a risk" {
        /// Nothing: it only looks.
        Look = "look",
        /// It changes what runs; it can be undone.
        Change = "change",
        /// It replaces data.
        Destructive = "destructive",
    }
);

vocabulary!(
    /// What must be held while it is done.
    Lock, "a lock" {
        /// The stack on its host.
        Stack = "stack",
        /// Nothing.
        None = "none",
    }
);

vocabulary!(
    /// When a plan needs no votes.
    Waived, "a waiver" {
        /// Never.
        Never = "never",
        /// When it goes to a recorded release that was proven healthy (decision 14).
        ProvenRelease = "proven_release",
    }
);

vocabulary!(
    /// Whether a reason belongs to it.
    ReasonRule, "a rule for reasons" {
        /// It takes none.
        None = "none",
        /// It may be given.
        Optional = "optional",
        /// Without one it is not understood.
        Required = "required",
    }
);

vocabulary!(
    /// One step of a procedure. Each is code of `procedures/steps`; a file can only arrange them.
    StepKind, "a step" {
        /// Make sure that the image is there, is what it should be and survives pruning.
        ProtectImage = "protect_image",
        /// Recreate the service's container with the image, prove it, or put the old one back.
        SwapService = "swap_service",
        /// Write the image into the project's pin file, where the config names one.
        WritePin = "write_pin",
        /// Tell the proxy to resolve the service anew, where the config names one.
        SignalProxy = "signal_proxy",
        /// Prove from outside that the service runs the image and is well.
        ProveHealth = "prove_health",
    }
);

vocabulary!(
    /// What a query answers.
    Query, "a query" {
        /// The plan that another command of the same file would follow; nothing is done.
        DryRun = "dry_run",
        /// The releases of a service.
        Releases = "releases",
        /// What runs, and whether it is well.
        Status = "status",
        /// Runs, newest first.
        RunsList = "runs_list",
        /// One run with its steps.
        RunsShow = "runs_show",
        /// The records about a run, or the newest.
        AuditShow = "audit_show",
        /// Whether the chain of records is whole.
        AuditVerify = "audit_verify",
        /// The records as a file.
        AuditExport = "audit_export",
        /// What can be said.
        Help = "help",
    }
);

vocabulary!(
    /// What a builtin does.
    Builtin, "a builtin" {
        /// Vote for a plan.
        Approve = "approve",
        /// Vote against it.
        Deny = "deny",
        /// Take a request back, or have its run undone.
        Cancel = "cancel",
        /// Lead a stuck run on, towards the new state.
        RunsRetry = "runs_retry",
        /// Lead a stuck run back, towards the old state.
        RunsUndo = "runs_undo",
        /// Declare that what a stuck run left is so.
        RunsAccept = "runs_accept",
    }
);

impl Builtin {
    /// Whether it makes a plan that people vote on: the ways out of `stuck` (decision 17).
    pub fn plans(self) -> bool {
        match self {
            Builtin::RunsRetry | Builtin::RunsUndo | Builtin::RunsAccept => true,
            Builtin::Approve | Builtin::Deny | Builtin::Cancel => false,
        }
    }
}

vocabulary!(
    /// The type of an argument as the file says it; [`ArgumentType`] adds what belongs to it.
    TypeWord, "a type" {
        /// `api`, or `api@shop` in another stack than the channel's.
        Service = "service",
        /// `rel17`, `sha256:…`, a tag, `@02:10`.
        ReleaseTarget = "release_target",
        /// `r42`.
        Run = "run",
        /// `a45`.
        Approval = "approval",
        /// One of the phrases in `choices`.
        Choice = "choice",
        /// Words: the rest of the line, or up to `because`.
        Text = "text",
        /// A whole number.
        Integer = "integer",
        /// `90s`, `15m`, `2h30m`, `1d`.
        Duration = "duration",
        /// The name of a command.
        Command = "command",
    }
);

vocabulary!(
    /// Where completions come from.
    Source, "a source of completions" {
        /// The services of the stack.
        Services = "services",
        /// The releases of the service that was named before.
        Releases = "releases",
        /// Recent runs.
        Runs = "runs",
        /// Runs that are stuck.
        StuckRuns = "stuck_runs",
        /// Approvals that wait for votes.
        Approvals = "approvals",
        /// The catalogue itself.
        Commands = "commands",
        /// Nowhere.
        None = "none",
    }
);

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

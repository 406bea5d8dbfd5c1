//! The closed sets of words that may stand in a command file. Each is an enum, so a new word makes the compiler
//! list every place that has to know it.

use std::fmt;

use serde::Serialize;

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
        /// Bring the image back from its registry by digest, when it is not on the host.
        PullImage = "pull_image",
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
        /// Let go of the releases that are older than those that are kept, and free what nothing else uses.
        ReleasePins = "release_pins",
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
    /// The type of an argument as the file says it; [`super::ArgumentType`] adds what belongs to it.
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

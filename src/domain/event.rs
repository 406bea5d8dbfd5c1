//! The records of the log: everything that can have happened (decisions 6 to 10).
//!
//! These are the words on disk. A variant or field that has been released is never renamed or given
//! another meaning; `tests/records.rs` holds one golden line of each. Display names, renderings and
//! secrets are never in them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::actor::{Account, Actor};
use super::ids::{ApprovalId, Position, ReleaseId, RunId};
use super::invocation::Invocation;
use super::names::{PersonId, RoleName, ServiceName, Target};
use super::plan::{Plan, PlanNotes, SpecRef, StepOutput, WayOut};
use super::release::{Handles, Origin};

/// Version of the record format, in every record.
pub const FORMAT: u32 = 1;

/// What a record is about; records of one subject are chained among themselves as well (durability R9)
/// and are told in one thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "of", content = "id", rename_all = "snake_case")]
pub enum Subject {
    /// A request and the run it became.
    Run(RunId),
    /// The releases of one service.
    Releases(String),
}

/// Votes needed for a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Needs {
    /// The role that may vote.
    pub role: RoleName,
    /// Distinct persons needed, the requester never counted.
    pub count: u32,
}

/// How a request ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Outcome {
    /// Fully new.
    Done,
    /// Fully old: it failed or was cancelled and everything was taken back.
    Undone {
        /// Why.
        why: String,
    },
    /// A person led it out of `stuck` by declaring what is there to be so.
    Accepted {
        /// What was observed then, in words.
        observed: String,
    },
    /// The world moved between plan and claim; nothing was done.
    Void {
        /// What differs, a sentence each.
        differences: Vec<String>,
    },
    /// It was only asked what would happen.
    DryRun,
    /// Not allowed, or not possible; nothing was done.
    Refused {
        /// One of `denied`, `limited`, `busy`, `not_found`, `unavailable`, `usage`.
        kind: String,
        /// Why, as told to the person.
        why: String,
    },
    /// An approver said no.
    Denied {
        /// Who.
        by: PersonId,
        /// Why, made visible.
        reason: String,
    },
    /// Nobody decided in time.
    Expired,
    /// Taken back before it was claimed.
    Cancelled {
        /// Who.
        by: PersonId,
    },
}

/// A message's place in the order of all messages to one agent about one stack (durability R3).
/// Compared field by field; an agent refuses what is lower than the highest it has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token {
    /// Raised by an operator when a store was restored from a backup.
    pub epoch: u64,
    /// Position of the `RunClaimed`, `Resumed` or `Resolved` record that this coordinator acts on.
    pub claim: Position,
    /// Counts the messages under that claim, from 1.
    pub n: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(b: &bool) -> bool {
    !*b
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    /// Position 0.
    Genesis {
        /// 32 hex digits, random; keeps the lines of two installations apart.
        log_id: String,
        /// Where the log was begun.
        host: String,
        /// Version of Sternway.
        software: String,
        /// Ed25519 public keys, hex: the first signs checkpoints, and stays the one that does.
        keys: Vec<String>,
        /// Head hash of the log this one follows, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        previous: Option<String>,
    },
    /// The bot began to serve. Files that set rights are named with their hashes (decision 14).
    Started {
        /// Version of Sternway.
        software: String,
        /// SHA-256 by file name.
        files: BTreeMap<String, String>,
        /// Epoch of the tokens from here on.
        epoch: u64,
    },
    /// The bot stopped in good order.
    Stopped,
    /// The store was restored from a backup, so positions repeat: tokens of this epoch are above all earlier ones
    /// (decision 17).
    NewEpoch {
        /// The epoch from here on.
        epoch: u64,
        /// User id of whoever said so at the host.
        by: String,
    },
    /// The index was missing, damaged or wrong and was built anew from the log.
    IndexRebuilt {
        /// Why.
        why: String,
    },
    /// A signed sentence about all records before this one: how many, and the root of their tree.
    Checkpoint {
        /// C2SP tlog-checkpoint.
        note: String,
        /// Runs that have ended since the checkpoint before; their threads end with it.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        ended: Vec<RunId>,
    },
    /// A request was accepted. Its position is the run's id.
    Invoked {
        /// Who said what, where.
        invocation: Invocation,
        /// Who that is.
        actor: Actor,
        /// The command without its slash.
        command: String,
        /// Where it is to happen; `None` for commands about other runs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        target: Option<Target>,
        /// It is only asked what would happen.
        #[serde(default, skip_serializing_if = "is_false")]
        dry_run: bool,
    },
    /// Something said about an existing run: approve, deny, cancel. Kept for deduplication and the story.
    Said {
        /// Who said what, where.
        invocation: Invocation,
        /// Who that is; `None` when the account is linked to nobody.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        actor: Option<Actor>,
    },
    /// Somebody was refused something that is no request of its own, such as a vote or a look.
    Refused {
        /// The account.
        account: Account,
        /// What was tried, made visible.
        tried: String,
        /// One of the kinds of [`Outcome::Refused`].
        kind: String,
        /// Why, as told.
        why: String,
    },
    /// The same refusal again and again, counted instead of written one by one (decision 13).
    RefusalsCounted {
        /// The account.
        account: Account,
        /// How many since the last record.
        count: u64,
        /// What was refused last.
        last: String,
    },
    /// A plan was made for a request, or made anew under the claim.
    Planned {
        /// The plan.
        plan: Box<Plan>,
        /// Its hash.
        hash: String,
        /// What the card shows beside it.
        notes: PlanNotes,
    },
    /// Approvers are asked. Its position is the approval's id.
    ApprovalAsked {
        /// The plan it is for.
        plan_hash: String,
        /// Whose votes are needed.
        needs: Needs,
        /// Until when.
        expires: Timestamp,
    },
    /// Somebody agreed.
    Approved {
        /// To what.
        approval: ApprovalId,
        /// The plan they saw.
        plan_hash: String,
        /// Who; counted as a person, whatever the account.
        by: PersonId,
        /// With which account.
        account: Account,
        /// Why, made visible; may be empty.
        reason: String,
    },
    /// All votes are there.
    Granted {
        /// Which approval.
        approval: ApprovalId,
    },
    /// The stack is held by this run from here on. Its position is the claim.
    RunClaimed {
        /// What is held.
        target: Target,
        /// The plan it was approved for.
        plan_hash: String,
        /// The approval used up by it, if one was needed.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        approval: Option<ApprovalId>,
    },
    /// The plan made under the claim is the one approved: the run may act.
    Passed {
        /// The plan.
        plan_hash: String,
    },
    /// A step is about to be ordered.
    StepIntent {
        /// Index in the plan.
        step: usize,
    },
    /// A step is done.
    StepDone {
        /// Index in the plan.
        step: usize,
        /// What it gave.
        output: StepOutput,
    },
    /// A step could not be done.
    StepFailed {
        /// Index in the plan.
        step: usize,
        /// Why, in words a person understands.
        why: String,
    },
    /// Somebody wants it stopped and taken back.
    CancelAsked {
        /// Who.
        by: PersonId,
    },
    /// The way back begins.
    UndoBegun {
        /// Why.
        why: String,
    },
    /// The taking back of a step is about to be ordered.
    UndoIntent {
        /// Index in the plan.
        step: usize,
    },
    /// A step is taken back.
    UndoDone {
        /// Index in the plan.
        step: usize,
    },
    /// Neither done nor undone. The claim stays; a person decides (decision 17).
    Stuck {
        /// The step that could neither be done nor taken back.
        step: usize,
        /// Why.
        why: String,
        /// What remains, a sentence each.
        remains: Vec<String>,
    },
    /// A person chose a way out. Its position is the new claim.
    Resolved {
        /// Which way.
        way: WayOut,
        /// The request that was approved for it.
        by: RunId,
    },
    /// A new coordinator goes on with a run. Its position is the new claim.
    Resumed,
    /// The request has ended; if it held the stack, it holds it no longer.
    Ended {
        /// How.
        outcome: Outcome,
    },
    /// An image was seen running in a service. Its position is the release's id.
    ReleaseSeen {
        /// Where.
        target: Target,
        /// In which service.
        service: ServiceName,
        /// What it is and how to find it.
        handles: Handles,
        /// The container's settings as the agent recorded them.
        spec: SpecRef,
        /// Who or what brought it.
        origin: Origin,
        /// When its container was started.
        since: Timestamp,
    },
    /// A release answered well for as long as its health rule wants.
    ReleaseProven {
        /// Where.
        target: Target,
        /// In which service.
        service: ServiceName,
        /// Which.
        release: ReleaseId,
    },
    /// A rollback left a release: no default target until it is deployed anew (decision 21).
    ReleaseLeft {
        /// Where.
        target: Target,
        /// In which service.
        service: ServiceName,
        /// Which.
        release: ReleaseId,
        /// The run that left it.
        run: RunId,
    },
    /// A service went back to, or was found again on, a release already on record.
    ReleaseBack {
        /// Where.
        target: Target,
        /// In which service.
        service: ServiceName,
        /// Which.
        release: ReleaseId,
        /// The spec recorded this time.
        spec: SpecRef,
        /// Who or what brought it back.
        origin: Origin,
    },
}

//! One swap under way, and what comes next in it. Pure: no engine, no files, no clock.
//!
//! [`next`] looks at what the ledger decided ([`Phase`]) and at what is there ([`Seen`]) and names one move,
//! "do it unless it is so already". The straight way, the way back and recovery after a crash are the same
//! function, so what was tested in one is so in all (docker-facts section 6). Must never: remove a container
//! that is not the operation's own, or guess when a foreign hand has moved things.

mod making;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::event::Token;
use crate::domain::ids::RunId;
use crate::domain::names::{Fingerprint, ProjectName, ServiceName, Target};
use crate::domain::plan::{HealthRule, Proof, StartFirst};

/// What the ledger knows of an open swap. Written durably before each move that depends on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Random, 12 hex digits; in the names and labels of what it makes.
    pub op: String,
    /// The run it belongs to.
    pub run: RunId,
    /// Whose mutex and token.
    pub target: Target,
    /// The order's token.
    pub token: Token,
    /// The project.
    pub project: ProjectName,
    /// The service.
    pub service: ServiceName,
    /// Compose's number of the container, where the service has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The canonical container name, N.
    pub name: String,
    /// The container that ran before.
    pub old: OldContainer,
    /// The container that shall run, once it is made.
    pub new: Option<String>,
    /// The restart policy that it gets at commit; `no` until then.
    pub new_policy: Value,
    /// The image that it shall run.
    pub wanted: Fingerprint,
    /// What proves it.
    pub health: HealthRule,
    /// Seconds the old one gets to stop.
    pub grace_s: u32,
    /// The new one serves before the old one stops.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_first: Option<StartFirst>,
    /// Networks on which the proxies find the service by its name, with the endpoint that the new container gets there
    /// once it is proven; start-first only, and only where it can live on others until then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<(String, Value)>,
    /// The old one points at a container that is gone, so that it cannot be started again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub orphaned: bool,
    /// There is no old one: `old` is what was recorded of the container that is gone, and fully old means none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// What has been decided.
    pub phase: Phase,
}

/// The old container as it was before anything was touched.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldContainer {
    /// Full id.
    pub id: String,
    /// Its restart policy, as inspect tells it.
    pub policy: Value,
    /// Whether it ran (or was being restarted). One that did not run is not started on the way back.
    pub ran: bool,
}

/// What has been decided so far. Only ever goes down this list, or to `Back`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Phase {
    /// The new container is being made; the old one was not touched.
    Preparing,
    /// The old one may have been touched: go on to the new one.
    Cutting,
    /// The new one was proven: only forward.
    Proven {
        /// By this.
        proof: Proof,
        /// Milliseconds from the order to the new container's start.
        started_ms: Option<u64>,
    },
    /// Back to the old one.
    Back {
        /// Why.
        why: String,
        /// Whether the old one may have been touched, so that it has to be proven again.
        cut: bool,
    },
}

/// The policy that keeps an engine from starting a container by itself.
pub fn no_restart() -> Value {
    serde_json::json!({"Name": "no", "MaximumRetryCount": 0})
}

impl Operation {
    /// The new container's name until commit.
    pub fn next_name(&self) -> String {
        format!("{}.next-{}", self.name, self.op)
    }

    /// The old container's name between commit and removal.
    pub fn prev_name(&self) -> String {
        format!("{}.prev-{}", self.name, self.op)
    }
}

/// Whether a container's process is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Life {
    /// Made, never started.
    Created,
    /// Running or being restarted.
    Up,
    /// Frozen by somebody.
    Paused,
    /// Ended with this code.
    Ended(i64),
}

/// One of the two containers, as seen now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seat {
    /// Its name without slash.
    pub name: String,
    /// Whether it runs.
    pub life: Life,
    /// Its restart policy's name.
    pub policy: Value,
}

/// What is there now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The old container.
    pub old: Option<Seat>,
    /// The new container.
    pub new: Option<Seat>,
    /// A third container that has the canonical name: somebody deployed meanwhile.
    pub stranger: Option<String>,
}

/// What this process did already in this operation, since it took it up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Taken {
    /// Taken up again after an interruption, not run straight through.
    pub settling: bool,
    /// The new one was started by us just now: if it is down, it went down by itself.
    pub new_started: bool,
    /// The new one was proven after that start.
    pub new_proven: bool,
    /// How often the old one was started.
    pub old_starts: u8,
    /// What proving the old one again came to.
    pub old_proof: Option<Result<(), String>>,
    /// The new one was connected to the proxies' networks.
    pub connected: bool,
    /// The proxies were told that there are two.
    pub told: bool,
    /// Their caches ran out and requests on their way were answered.
    pub drained: bool,
    /// The proxies were told that the old one is gone.
    pub told_last: bool,
}

/// Which of the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    /// The container that ran before.
    Old,
    /// The container that shall run.
    New,
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Fully new.
    New,
    /// Fully old.
    Old,
    /// Somebody deployed a third container and both of ours are gone: nothing is left to end.
    Overtaken,
}

/// The one next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Move {
    /// Write this decision down.
    Decide(Phase),
    /// Set the restart policy.
    Policy(Which, Value),
    /// Stop it.
    Stop(Which),
    /// Start it.
    Start(Which),
    /// Give it this name.
    Rename(Which, String),
    /// Prove that it is well.
    Prove(Which),
    /// Connect the new one to the networks on which proxies find it.
    Connect,
    /// Signal the proxies that want to be signalled.
    Tell,
    /// Let the proxies' caches run out and requests on their way be answered.
    Drain,
    /// Remove it; its volumes stay.
    Remove(Which),
    /// Nothing is left to do.
    Done(End),
    /// A foreign hand moved things: touch nothing, tell what is there.
    Alarm(String),
}

/// Starts of the old container on the way back before its being down is accepted as how it is: one, and one
/// more for a container that was between two tries of its restart policy.
const OLD_STARTS_MAX: u8 = 2;

/// Names the next move.
pub fn next(op: &Operation, seen: &Seen, taken: &Taken) -> Move {
    if op.missing {
        return making::next(op, seen, taken);
    }
    if seen.old.is_none() && seen.new.is_none() {
        return match &seen.stranger {
            Some(_) => Move::Done(End::Overtaken),
            None => Move::Alarm("both containers of the swap are gone".to_owned()),
        };
    }
    if let Some(stranger) = &seen.stranger {
        return Move::Alarm(format!("another container, {stranger}, has the name {}", op.name));
    }
    match &op.phase {
        Phase::Preparing => {
            let why = "it was interrupted before anything was stopped".to_owned();
            Move::Decide(Phase::Back { why, cut: false })
        }
        Phase::Cutting if op.start_first.is_some() => beside(op, seen, taken),
        Phase::Cutting => cutting(op, seen, taken),
        Phase::Proven { .. } => forward(op, seen, taken),
        Phase::Back { cut, .. } => back(op, seen, taken, *cut),
    }
}

fn go_back(why: impl Into<String>) -> Move {
    Move::Decide(Phase::Back { why: why.into(), cut: true })
}

fn cutting(op: &Operation, seen: &Seen, taken: &Taken) -> Move {
    let Some(new) = &seen.new else { return go_back("the new container was removed by somebody") };
    match &seen.old {
        None if new.name == op.name => {} // a person finished it by hand; prove it like any other
        None => return old_gone(op, new),
        // Our own name for it: it was proven and renamed, but that could not be written down. Prove it again.
        Some(old) if old.name == op.prev_name() && matches!(old.life, Life::Created | Life::Ended(_)) => {}
        Some(old) if old.name != op.name => {
            return Move::Alarm(format!("the old container was renamed to {} by somebody", old.name));
        }
        Some(old) if !is_no(&old.policy) => return Move::Policy(Which::Old, no_restart()),
        Some(old) if matches!(old.life, Life::Up | Life::Paused) => return Move::Stop(Which::Old),
        Some(_) => {}
    }
    try_new(new, taken)
}

fn try_new(new: &Seat, taken: &Taken) -> Move {
    match new.life {
        Life::Created => Move::Start(Which::New),
        Life::Up => Move::Prove(Which::New),
        Life::Paused => go_back("the new container was paused by somebody"),
        Life::Ended(code) if taken.new_started => go_back(exited(code)),
        // The engine was restarted under it, or we were killed: it gets its start from us.
        Life::Ended(_) => Move::Start(Which::New),
    }
}

/// Start-first: the new one is tried while the old one goes on serving.
fn beside(op: &Operation, seen: &Seen, taken: &Taken) -> Move {
    let Some(new) = &seen.new else { return go_back("the new container was removed by somebody") };
    match &seen.old {
        None if new.name == op.name => {} // a person finished it by hand; prove it like any other
        None => return old_gone(op, new),
        Some(old) if old.name != op.name && old.name != op.prev_name() => {
            return Move::Alarm(format!("the old container was renamed to {} by somebody", old.name));
        }
        // The engine went away under both: first let somebody serve again.
        Some(old) if taken.settling && op.old.ran && down(old) && taken.old_starts == 0 => {
            return Move::Start(Which::Old);
        }
        Some(_) => {}
    }
    try_new(new, taken)
}

fn forward(op: &Operation, seen: &Seen, taken: &Taken) -> Move {
    let Some(new) = &seen.new else { return go_back("the proven container was removed by somebody") };
    let old_is_there = seen.old.is_some();
    match new.life {
        Life::Up if taken.new_started && taken.settling && !taken.new_proven => return Move::Prove(Which::New),
        Life::Up => {}
        Life::Created | Life::Ended(_) if !taken.new_started && taken.settling => return Move::Start(Which::New),
        Life::Created | Life::Ended(_) | Life::Paused if old_is_there => {
            return go_back("the new container was proven, but it does not run any more");
        }
        Life::Created | Life::Ended(_) | Life::Paused => {
            return Move::Alarm("the new container was proven, but does not run; the old one is removed".to_owned());
        }
    }
    if let (Some(start_first), Some(old)) = (&op.start_first, &seen.old) {
        return hand_over(op, start_first, old, new, taken);
    }
    if let Some(old) = &seen.old {
        if matches!(old.life, Life::Up | Life::Paused) {
            return Move::Stop(Which::Old);
        }
        if old.name == op.name {
            return Move::Rename(Which::Old, op.prev_name());
        }
    } else if new.name != op.name {
        return old_gone(op, new);
    }
    if new.name != op.name {
        return Move::Rename(Which::New, op.name.clone());
    }
    if !same_policy(&new.policy, &op.new_policy) {
        return Move::Policy(Which::New, op.new_policy.clone());
    }
    if old_is_there { Move::Remove(Which::Old) } else { Move::Done(End::New) }
}

/// Start-first: both serve; the new one takes the name and the proxies, and only then the old one goes.
fn hand_over(op: &Operation, start_first: &StartFirst, old: &Seat, new: &Seat, taken: &Taken) -> Move {
    if !op.late.is_empty() && !taken.connected {
        return Move::Connect;
    }
    if old.name == op.name {
        return Move::Rename(Which::Old, op.prev_name());
    }
    if new.name != op.name {
        return Move::Rename(Which::New, op.name.clone());
    }
    if !same_policy(&new.policy, &op.new_policy) {
        return Move::Policy(Which::New, op.new_policy.clone());
    }
    let signals = start_first.proxies.iter().any(|p| p.signal.is_some());
    if !down(old) {
        if signals && !taken.told {
            return Move::Tell;
        }
        if !taken.drained {
            return Move::Drain;
        }
        if !is_no(&old.policy) {
            return Move::Policy(Which::Old, no_restart());
        }
        return Move::Stop(Which::Old);
    }
    // They may still hold its address, and whoever answers no more makes requests wait.
    if signals && !taken.told_last {
        return Move::Tell;
    }
    Move::Remove(Which::Old)
}

fn down(seat: &Seat) -> bool {
    matches!(seat.life, Life::Created | Life::Ended(_))
}

fn back(op: &Operation, seen: &Seen, taken: &Taken, cut: bool) -> Move {
    let Some(old) = &seen.old else {
        // `next` has seen to it that one of the two is there.
        return seen.new.as_ref().map_or(Move::Done(End::Overtaken), |new| old_gone(op, new));
    };
    if let Some(new) = &seen.new {
        if matches!(new.life, Life::Up | Life::Paused) {
            return Move::Stop(Which::New);
        }
        if new.name == op.name {
            return Move::Rename(Which::New, op.next_name());
        }
    }
    if old.name != op.name {
        return Move::Rename(Which::Old, op.name.clone());
    }
    let down = down(old);
    // One that ran when the swap began and is down now went down with its engine, whose restart policies do not all bring
    // it back: fully old means that it runs, whoever stopped it.
    let cut = cut || taken.old_starts > 0 || (op.old.ran && down);
    if cut && op.old.ran && down && taken.old_starts == 0 {
        return Move::Start(Which::Old);
    }
    if !same_policy(&old.policy, &op.old.policy) {
        return Move::Policy(Which::Old, op.old.policy.clone());
    }
    if cut && op.old.ran && down && taken.old_starts < OLD_STARTS_MAX {
        return Move::Start(Which::Old);
    }
    // Start-first: it served all the while, unless it had to be started.
    let touched = op.start_first.is_none() || taken.old_starts > 0;
    if cut && op.old.ran && touched && taken.old_proof.is_none() {
        return Move::Prove(Which::Old);
    }
    // They may have been told of the new one, which answers no more.
    let signals = op.start_first.as_ref().is_some_and(|s| s.proxies.iter().any(|p| p.signal.is_some()));
    if cut && signals && !taken.told_last {
        return Move::Tell;
    }
    // Last: its labels are the memory.
    if seen.new.is_some() { Move::Remove(Which::New) } else { Move::Done(End::Old) }
}

fn old_gone(op: &Operation, new: &Seat) -> Move {
    Move::Alarm(format!("the old container is gone, and the new one is called {}, not {}", new.name, op.name))
}

/// What is told of a container that ended by itself.
pub fn exited(code: i64) -> String {
    format!("the new container exited by itself with code {code}")
}

/// Whether this policy never restarts anything: engines tell `""` and `no` for it.
pub(super) fn is_no(policy: &Value) -> bool {
    matches!(policy.get("Name").and_then(Value::as_str), None | Some("" | "no"))
}

/// Engines tell `""` and `no` for the same thing, and leave a zero count out.
fn same_policy(a: &Value, b: &Value) -> bool {
    let count = |p: &Value| p.get("MaximumRetryCount").and_then(Value::as_i64).unwrap_or(0);
    let name = |p: &Value| p.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
    (is_no(a) && is_no(b)) || (name(a) == name(b) && count(a) == count(b))
}

#[cfg(test)]
mod tests;

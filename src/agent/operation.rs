//! One swap under way, and what comes next in it. Pure: no engine, no files, no clock.
//!
//! [`next`] looks at what the ledger decided ([`Phase`]) and at what is there ([`Seen`]) and names one move,
//! "do it unless it is so already". The straight way, the way back and recovery after a crash are the same
//! function, so what was tested in one is so in all (docker-facts section 6). Must never: remove a container
//! that is not the operation's own, or guess when a foreign hand has moved things.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::domain::event::Token;
use crate::domain::ids::RunId;
use crate::domain::names::{Fingerprint, ProjectName, ServiceName, Target};
use crate::domain::plan::{HealthRule, Proof};

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
    match new.life {
        Life::Created => Move::Start(Which::New),
        Life::Up => Move::Prove(Which::New),
        Life::Paused => go_back("the new container was paused by somebody"),
        Life::Ended(code) if taken.new_started => go_back(exited(code)),
        // The engine was restarted under it, or we were killed: it gets its start from us.
        Life::Ended(_) => Move::Start(Which::New),
    }
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
    let down = matches!(old.life, Life::Created | Life::Ended(_));
    if cut && op.old.ran && down && taken.old_starts == 0 {
        return Move::Start(Which::Old);
    }
    if !same_policy(&old.policy, &op.old.policy) {
        return Move::Policy(Which::Old, op.old.policy.clone());
    }
    if cut && op.old.ran && down && taken.old_starts < OLD_STARTS_MAX {
        return Move::Start(Which::Old);
    }
    if cut && op.old.ran && taken.old_proof.is_none() {
        return Move::Prove(Which::Old);
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

fn is_no(policy: &Value) -> bool {
    matches!(policy.get("Name").and_then(Value::as_str), None | Some("" | "no"))
}

/// Engines tell `""` and `no` for the same thing, and leave a zero count out.
fn same_policy(a: &Value, b: &Value) -> bool {
    let count = |p: &Value| p.get("MaximumRetryCount").and_then(Value::as_i64).unwrap_or(0);
    let name = |p: &Value| p.get("Name").and_then(Value::as_str).unwrap_or_default().to_owned();
    (is_no(a) && is_no(b)) || (name(a) == name(b) && count(a) == count(b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::Position;
    use crate::domain::names::{HostName, StackName};
    use crate::domain::plan::HealthCheck;
    use serde_json::json;

    fn always() -> Value {
        json!({"Name": "always", "MaximumRetryCount": 0})
    }

    fn operation(phase: Phase) -> Operation {
        Operation {
            op: "abc".to_owned(),
            run: RunId(Position(1)),
            target: Target { stack: StackName::parse("s").unwrap(), host: HostName::parse("h").unwrap() },
            token: Token { epoch: 0, claim: Position(1), n: 1 },
            project: ProjectName::parse("shop").unwrap(),
            service: ServiceName::parse("api").unwrap(),
            name: "N".to_owned(),
            old: OldContainer { id: "old".to_owned(), policy: always(), ran: true },
            new: Some("new".to_owned()),
            new_policy: always(),
            wanted: Fingerprint::parse(&"0".repeat(64)).unwrap(),
            health: HealthRule { check: HealthCheck::Weak, count: 1, interval_ms: 1, deadline_s: 1 },
            grace_s: 1,
            phase,
        }
    }

    fn proven() -> Phase {
        let proof = Proof { container: "new".to_owned(), answers: 1, after_ms: 1, weak: false };
        Phase::Proven { proof, started_ms: None }
    }

    fn seat(name: &str, life: Life, policy: Value) -> Option<Seat> {
        Some(Seat { name: name.to_owned(), life, policy })
    }

    /// Plays moves on a small world until the end; gives the end and what is left.
    fn play(op: &mut Operation, seen: &mut Seen, healthy: bool) -> (Move, Vec<String>) {
        let mut taken = Taken { settling: true, ..Taken::default() };
        let mut moves = Vec::new();
        for _ in 0..40 {
            let step = next(op, seen, &taken);
            moves.push(format!("{step:?}"));
            let pick = |seen: &mut Seen, w: Which| match w {
                Which::Old => seen.old.clone(),
                Which::New => seen.new.clone(),
            };
            let put = |seen: &mut Seen, w: Which, s: Option<Seat>| match w {
                Which::Old => seen.old = s,
                Which::New => seen.new = s,
            };
            match &step {
                Move::Decide(phase) => op.phase = phase.clone(),
                Move::Policy(w, policy) => {
                    let s = pick(seen, *w).map(|s| Seat { policy: policy.clone(), ..s });
                    put(seen, *w, s);
                }
                Move::Stop(w) => {
                    let s = pick(seen, *w).map(|s| Seat { life: Life::Ended(0), ..s });
                    put(seen, *w, s);
                }
                Move::Start(w) => {
                    let s = pick(seen, *w).map(|s| Seat { life: Life::Up, ..s });
                    put(seen, *w, s);
                    match w {
                        Which::New => taken.new_started = true,
                        Which::Old => taken.old_starts += 1,
                    }
                }
                Move::Rename(w, name) => {
                    let s = pick(seen, *w).map(|s| Seat { name: name.clone(), ..s });
                    put(seen, *w, s);
                }
                Move::Prove(Which::New) if healthy => {
                    taken.new_proven = true;
                    if op.phase == Phase::Cutting {
                        op.phase = proven();
                    }
                }
                Move::Prove(Which::New) => {
                    op.phase = Phase::Back { why: "ill".to_owned(), cut: true };
                }
                Move::Prove(Which::Old) => taken.old_proof = Some(Ok(())),
                Move::Remove(w) => put(seen, *w, None),
                Move::Done(_) | Move::Alarm(_) => return (step, moves),
            }
        }
        panic!("no end: {moves:#?}")
    }

    fn check(case: &str, phase: Phase, seen: Seen, end: End) {
        for healthy in [true, false] {
            let mut op = operation(phase.clone());
            let mut world = seen.clone();
            let (last, moves) = play(&mut op, &mut world, healthy);
            let end = if healthy || matches!(phase, Phase::Proven { .. }) { end.clone() } else { End::Old };
            assert_eq!(last, Move::Done(end.clone()), "{case}, healthy {healthy}: {moves:#?}");
            let (stays, gone) = if end == End::New { (world.new, world.old) } else { (world.old, world.new) };
            assert_eq!(stays, seat("N", Life::Up, always()), "{case}, healthy {healthy}: {moves:#?}");
            assert_eq!(gone, None, "{case}, healthy {healthy}: {moves:#?}");
        }
    }

    #[test]
    fn every_row_of_the_recovery_table_ends_where_it_says() {
        let no = no_restart;
        let seen = |old, new| Seen { old, new, stranger: None };
        let next = "N.next-abc";
        let prev = "N.prev-abc";
        let down = || Life::Ended(0);
        check("2", Phase::Preparing, seen(seat("N", Life::Up, always()), seat(next, Life::Created, no())), End::Old);
        check("2, not made", Phase::Preparing, seen(seat("N", Life::Up, always()), None), End::Old);
        check("3", Phase::Cutting, seen(seat("N", Life::Up, no()), seat(next, Life::Created, no())), End::New);
        check("4", Phase::Cutting, seen(seat("N", down(), no()), seat(next, Life::Created, no())), End::New);
        check("5, 6", Phase::Cutting, seen(seat("N", down(), no()), seat(next, Life::Up, no())), End::New);
        check("engine restarted", Phase::Cutting, seen(seat("N", down(), no()), seat(next, down(), no())), End::New);
        check("before 7", proven(), seen(seat("N", down(), no()), seat(next, Life::Up, no())), End::New);
        check("7", proven(), seen(seat(prev, down(), no()), seat(next, Life::Up, no())), End::New);
        check("8", proven(), seen(seat(prev, down(), no()), seat("N", Life::Up, no())), End::New);
        check("9", proven(), seen(seat(prev, down(), no()), seat("N", Life::Up, always())), End::New);
        check("10", proven(), seen(None, seat("N", Life::Up, always())), End::New);
        check("10, policy", proven(), seen(None, seat("N", Life::Up, no())), End::New);
        let back = || Phase::Back { why: "ill".to_owned(), cut: true };
        check("back", back(), seen(seat("N", down(), no()), seat(next, Life::Up, no())), End::Old);
        check("back, started", back(), seen(seat("N", Life::Up, no()), seat(next, down(), no())), End::Old);
        check("back, removed", back(), seen(seat("N", Life::Up, no()), None), End::Old);
        check("back from commit", back(), seen(seat(prev, down(), no()), seat("N", down(), always())), End::Old);
    }

    #[test]
    fn a_foreign_hand_is_told_and_nothing_is_touched() {
        let up = |name: &str| seat(name, Life::Up, no_restart());
        for (case, phase, seen) in [
            ("old gone", Phase::Cutting, Seen { old: None, new: up("N.next-abc"), stranger: None }),
            ("old gone at commit", proven(), Seen { old: None, new: up("N.next-abc"), stranger: None }),
            ("both gone", proven(), Seen { old: None, new: None, stranger: None }),
            ("third", proven(), Seen { old: up("N.prev-abc"), new: up("N.next-abc"), stranger: Some("x".into()) }),
            ("renamed", Phase::Cutting, Seen { old: up("mine"), new: up("N.next-abc"), stranger: None }),
        ] {
            let step = next(&operation(phase), &seen, &Taken::default());
            assert!(matches!(step, Move::Alarm(_)), "{case}: {step:?}");
        }
        let overtaken = Seen { old: None, new: None, stranger: Some("x".to_owned()) };
        assert_eq!(next(&operation(proven()), &overtaken, &Taken::default()), Move::Done(End::Overtaken));
    }

    #[test]
    fn a_new_container_that_goes_down_by_itself_ends_the_wait_at_once() {
        let seen = Seen {
            old: seat("N", Life::Ended(0), no_restart()),
            new: seat("N.next-abc", Life::Ended(3), no_restart()),
            stranger: None,
        };
        let taken = Taken { new_started: true, ..Taken::default() };
        let Move::Decide(Phase::Back { why, .. }) = next(&operation(Phase::Cutting), &seen, &taken) else {
            panic!("it must go back")
        };
        assert!(why.contains("code 3"), "{why}");
    }

    #[test]
    fn an_old_container_that_did_not_run_is_not_started_on_the_way_back() {
        let mut op = operation(Phase::Back { why: "ill".to_owned(), cut: true });
        op.old.ran = false;
        let mut seen = Seen { old: seat("N", Life::Ended(1), no_restart()), new: None, stranger: None };
        let (last, moves) = play(&mut op, &mut seen, true);
        assert_eq!(last, Move::Done(End::Old));
        assert_eq!(seen.old, seat("N", Life::Ended(1), always()), "{moves:#?}");
    }
}

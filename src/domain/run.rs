//! One request and the run it becomes, folded from its records. [`fold`] is the only way a status changes;
//! it rejects what cannot follow, so a forged or misplaced record is noticed by every reader.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::actor::{Account, Actor, Surface};
use super::event::{Event, Needs, Outcome};
use super::ids::{ApprovalId, Position, RunId};
use super::invocation::Place;
use super::names::{PersonId, Target};
use super::plan::{Plan, PlanNotes, StepAction, StepOutput, Undo, WayOut};

/// Where one step stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum StepState {
    /// Not begun.
    Waiting,
    /// Ordered; whether it took effect is not on record yet.
    Open,
    /// Done.
    Done {
        /// What it gave.
        output: StepOutput,
    },
    /// It could not be done; it may have changed things all the same (durability R5).
    Failed {
        /// Why.
        why: String,
    },
    /// Its undo is ordered.
    UndoOpen,
    /// Taken back.
    Undone,
}

/// A vote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// The person it counts for.
    pub by: PersonId,
    /// The account it was cast with.
    pub account: Account,
    /// Their reason; may be empty.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// The question to the approvers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// What is asked.
    pub plan_hash: String,
    /// Whose votes.
    pub needs: Needs,
    /// Until when.
    pub expires: Timestamp,
    /// Votes so far.
    pub votes: Vec<Vote>,
    /// When all votes were there.
    #[serde(default)]
    pub granted: Option<Timestamp>,
}

/// Status of a request; each carries what only makes sense there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// Accepted, no plan yet.
    Requested,
    /// A plan stands; it waits for votes or for the stack to be free.
    Planned,
    /// Holds the stack; the plan is made once more.
    Claimed,
    /// May act, going forward.
    Running,
    /// Going back.
    Undoing {
        /// Why.
        why: String,
    },
    /// Holds the stack until a person chooses a way out.
    Stuck {
        /// The step that could neither be done nor taken back.
        step: usize,
        /// Why.
        why: String,
        /// What remains.
        remains: Vec<String>,
    },
    /// Over.
    Ended {
        /// How.
        outcome: Outcome,
        /// When.
        at: Timestamp,
    },
}

/// A plan with what was shown beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanOnRecord {
    /// The plan.
    pub plan: Plan,
    /// Its hash.
    pub hash: String,
    /// What was shown beside it.
    pub notes: PlanNotes,
}

/// A request and its run as the log tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunState {
    /// Its id.
    pub id: RunId,
    /// The command without its slash.
    pub command: String,
    /// Who asked.
    pub requester: Actor,
    /// The words they used.
    pub words: String,
    /// Where it was said; its thread is there.
    pub place: Place,
    /// When.
    pub asked: Timestamp,
    /// Where it is to happen.
    pub target: Option<Target>,
    /// It is only asked what would happen.
    #[serde(default)]
    pub dry_run: bool,
    /// Where it stands.
    #[serde(flatten)]
    pub status: Status,
    /// The newest plan.
    pub plan: Option<PlanOnRecord>,
    /// The newest question to approvers.
    pub approval: Option<Approval>,
    /// Position of the record that this run's coordinator acts on; set while the stack is held.
    pub claim: Option<Position>,
    /// One per step of the plan that passed.
    pub steps: Vec<StepState>,
    /// Somebody wants it taken back.
    pub cancel: Option<PersonId>,
    /// Not known yet whether the open step took effect: look before sending (durability R4).
    pub look_first: bool,
    /// Way out that was chosen last, while it is being gone.
    pub way: Option<WayOut>,
    /// Position of its last record.
    pub last: Position,
    /// When the first step was ordered.
    pub began: Option<Timestamp>,
}

/// A record that cannot follow what is on record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("record {position} ({what}) cannot follow: {why}")]
pub struct CannotFollow {
    /// Where.
    pub position: Position,
    /// The record's type.
    pub what: String,
    /// Why.
    pub why: String,
}

impl RunState {
    /// Whether the run holds its stack.
    pub fn holds_claim(&self) -> bool {
        self.claim.is_some()
    }

    /// Whether nothing more can happen.
    pub fn ended(&self) -> bool {
        matches!(self.status, Status::Ended { .. })
    }

    /// Whether it has a thread that everybody sees. Dry runs, and what was refused before there was a plan, are answered
    /// privately.
    pub fn has_thread(&self) -> bool {
        self.plan.is_some() && !self.dry_run
    }

    /// Whether its plan only leads a stuck run out.
    pub fn leads_out(&self) -> bool {
        let only = |p: &PlanOnRecord| {
            !p.plan.steps.is_empty() && p.plan.steps.iter().all(|s| matches!(s.action, StepAction::ResolveRun { .. }))
        };
        self.plan.as_ref().is_some_and(only)
    }

    /// Whether everybody who had to agree has: no approval was asked for, or all its votes are there.
    pub fn agreed(&self) -> bool {
        self.approval.as_ref().is_none_or(|a| a.granted.is_some())
    }

    /// The approval that still waits for votes.
    pub fn open_approval(&self) -> Option<&Approval> {
        self.approval.as_ref().filter(|a| a.granted.is_none() && matches!(self.status, Status::Planned))
    }

    /// How long the present claim may act before the run turns back: from its pass, its last resumption or way out, so that
    /// time in which nobody was at work turns nothing back.
    pub fn time_limit(&self) -> Option<Duration> {
        self.plan.as_ref().and_then(|p| p.plan.limit_s).map(Duration::from_secs)
    }

    /// The step that was done and cannot be taken back, with the reason. From then on only forward.
    pub fn past_return(&self) -> Option<(usize, &str)> {
        self.steps.iter().enumerate().find_map(|(step, state)| match (state, self.undo_of(step)) {
            (StepState::Done { .. }, Some(Undo::OneWay(why))) => Some((step, why.as_str())),
            _ => None,
        })
    }

    /// The steps' undo, by index.
    pub fn undo_of(&self, step: usize) -> Option<&Undo> {
        self.plan.as_ref().and_then(|p| p.plan.steps.get(step)).map(|s| &s.undo)
    }
}

/// Takes one record of the run's subject into account.
///
/// # Errors
/// [`CannotFollow`] when the record is impossible in this state; the state before stays valid.
pub fn fold(
    state: Option<RunState>,
    position: Position,
    at: Timestamp,
    event: &Event,
) -> Result<RunState, CannotFollow> {
    let no = |why: &str| CannotFollow { position, what: name_of(event), why: why.to_owned() };
    let Some(mut run) = state else {
        let Event::Invoked { invocation, actor, command, target, dry_run } = event else {
            return Err(no("the run is not on record"));
        };
        return Ok(RunState {
            id: RunId(position),
            command: command.clone(),
            requester: actor.clone(),
            words: invocation.text.clone(),
            place: invocation.place.clone(),
            asked: at,
            target: target.clone(),
            dry_run: *dry_run,
            status: Status::Requested,
            plan: None,
            approval: None,
            claim: None,
            steps: Vec::new(),
            cancel: None,
            look_first: false,
            way: None,
            last: position,
            began: None,
        });
    };
    if run.ended() {
        return match event {
            // Said too late: on record, without effect.
            Event::Said { .. } => Ok(RunState { last: position, ..run }),
            _ => Err(no("the run has ended")),
        };
    }
    match event {
        Event::Invoked { .. } => return Err(no("a run is asked for once")),
        Event::Said { .. } => {}
        Event::Planned { plan, hash, notes } => {
            if !matches!(run.status, Status::Requested | Status::Planned | Status::Claimed) {
                return Err(no("a run that acts keeps its plan"));
            }
            if matches!(run.status, Status::Requested) {
                run.status = Status::Planned;
            }
            run.plan = Some(PlanOnRecord { plan: (**plan).clone(), hash: hash.clone(), notes: notes.clone() });
        }
        Event::ApprovalAsked { plan_hash, needs, expires } => {
            if run.dry_run
                || !matches!(run.status, Status::Planned)
                || run.plan.as_ref().is_none_or(|p| p.hash != *plan_hash)
            {
                return Err(no("approvers are asked about the plan on record"));
            }
            run.approval = Some(Approval {
                id: ApprovalId(position),
                plan_hash: plan_hash.clone(),
                needs: needs.clone(),
                expires: *expires,
                votes: Vec::new(),
                granted: None,
            });
        }
        Event::Approved { approval, plan_hash, by, account, reason } => {
            let requester = run.requester.clone();
            let Some(open) = open_mut(&mut run, *approval) else {
                return Err(no("that approval is not open"));
            };
            if open.plan_hash != *plan_hash {
                return Err(no("the vote is for another plan"));
            }
            if requester == Actor::Person(by.clone()) {
                return Err(no("nobody approves their own request"));
            }
            if open.votes.iter().any(|v| v.by == *by) {
                return Err(no("that person has voted"));
            }
            let local = |a: &Account| a.surface == Surface::Console;
            if local(account) && open.votes.iter().any(|v| local(&v.account)) {
                return Err(no("all votes from consoles count as one"));
            }
            if at >= open.expires {
                return Err(no("the approval has expired"));
            }
            open.votes.push(Vote { by: by.clone(), account: account.clone(), reason: reason.clone(), at });
        }
        Event::Granted { approval } => {
            let Some(open) = open_mut(&mut run, *approval) else {
                return Err(no("that approval is not open"));
            };
            if (open.votes.len() as u64) < u64::from(open.needs.count) {
                return Err(no("votes are missing"));
            }
            open.granted = Some(at);
        }
        Event::RunClaimed { target, plan_hash, approval } => {
            let planned = run.plan.as_ref().is_some_and(|p| p.hash == *plan_hash && p.plan.target == *target);
            if run.dry_run || !matches!(run.status, Status::Planned) || !planned {
                return Err(no("only the plan on record can claim"));
            }
            match (&run.approval, approval) {
                (None, None) => {}
                (Some(a), Some(used)) if a.id == *used && a.granted.is_some() && a.plan_hash == *plan_hash => {}
                _ => return Err(no("the approval it names is not granted for this plan")),
            }
            run.status = Status::Claimed;
            run.claim = Some(position);
        }
        Event::Passed { plan_hash } => {
            let Some(plan) = run.plan.as_ref().filter(|p| p.hash == *plan_hash) else {
                return Err(no("it passes with the plan on record"));
            };
            if !matches!(run.status, Status::Claimed) {
                return Err(no("only a claimed run passes"));
            }
            run.steps = vec![StepState::Waiting; plan.plan.steps.len()];
            run.status = Status::Running;
        }
        Event::StepIntent { step } => {
            if !matches!(run.status, Status::Running) {
                return Err(no("steps are ordered while it goes forward"));
            }
            let before_done = run.steps.iter().take(*step).all(|s| matches!(s, StepState::Done { .. }));
            match run.steps.get_mut(*step) {
                Some(s @ (StepState::Waiting | StepState::Undone)) if before_done => {
                    *s = StepState::Open;
                }
                _ => return Err(no("steps are ordered one after another")),
            }
            run.began.get_or_insert(at);
        }
        Event::StepDone { step, output } => {
            if !matches!(run.status, Status::Running) || run.steps.get(*step) != Some(&StepState::Open) {
                return Err(no("the step is not open"));
            }
            run.steps[*step] = StepState::Done { output: output.clone() };
            run.look_first = false;
        }
        Event::StepFailed { step, why } => {
            if !matches!(run.status, Status::Running) || run.steps.get(*step) != Some(&StepState::Open) {
                return Err(no("the step is not open"));
            }
            run.steps[*step] = StepState::Failed { why: why.clone() };
            run.look_first = false;
        }
        Event::CancelAsked { by } => {
            if matches!(run.status, Status::Stuck { .. }) {
                return Err(no("a stuck run is led out, not cancelled"));
            }
            run.cancel.get_or_insert_with(|| by.clone());
        }
        Event::UndoBegun { why } => {
            if !matches!(run.status, Status::Running) {
                return Err(no("only a run that goes forward turns back"));
            }
            run.status = Status::Undoing { why: why.clone() };
            // What is open is as uncertain going back as it was going forward, and undoing it is safe either way.
            run.look_first = false;
        }
        Event::UndoIntent { step } => {
            let later_settled =
                run.steps.iter().skip(step + 1).all(|s| matches!(s, StepState::Waiting | StepState::Undone));
            let undoing = matches!(run.status, Status::Undoing { .. });
            match run.steps.get_mut(*step) {
                Some(s @ (StepState::Open | StepState::Done { .. } | StepState::Failed { .. }))
                    if undoing && later_settled =>
                {
                    *s = StepState::UndoOpen;
                }
                _ => return Err(no("steps are taken back one by one from the last")),
            }
        }
        Event::UndoDone { step } => {
            let undoing = matches!(run.status, Status::Undoing { .. });
            match run.steps.get_mut(*step) {
                Some(s @ StepState::UndoOpen) if undoing => *s = StepState::Undone,
                _ => return Err(no("its undo is not open")),
            }
            run.look_first = false;
        }
        Event::Stuck { step, why, remains } => {
            if !matches!(run.status, Status::Undoing { .. }) {
                return Err(no("only a run on its way back gets stuck"));
            }
            run.status = Status::Stuck { step: *step, why: why.clone(), remains: remains.clone() };
            run.look_first = false;
            run.way = None;
        }
        Event::Resolved { way, .. } => {
            let Status::Stuck { step, .. } = run.status else {
                return Err(no("only a stuck run is led out"));
            };
            if run.way.is_some() {
                return Err(no("a way out was chosen already"));
            }
            run.claim = Some(position);
            run.way = Some(*way);
            run.cancel = None;
            match way {
                WayOut::Retry => {
                    run.status = Status::Running;
                    // Whatever is uncertain there is open again, and looked at before anything is sent.
                    if let Some(s @ (StepState::UndoOpen | StepState::Failed { .. })) = run.steps.get_mut(step) {
                        *s = StepState::Open;
                    }
                    run.look_first = true;
                }
                WayOut::Undo => {
                    run.status = Status::Undoing { why: "a person chose to go back".to_owned() };
                    run.look_first = true;
                }
                WayOut::Accept => {}
            }
        }
        Event::Resumed => {
            if run.claim.is_none() {
                return Err(no("only a run that holds its stack is resumed"));
            }
            run.claim = Some(position);
            run.look_first = run.steps.iter().any(|s| matches!(s, StepState::Open | StepState::UndoOpen));
        }
        Event::Ended { outcome } => {
            may_end(&run, outcome).map_err(no)?;
            run.status = Status::Ended { outcome: outcome.clone(), at };
            run.claim = None;
        }
        Event::Genesis { .. }
        | Event::Started { .. }
        | Event::Stopped
        | Event::NewEpoch { .. }
        | Event::IndexRebuilt { .. }
        | Event::Checkpoint { .. }
        | Event::Refused { .. }
        | Event::RefusalsCounted { .. }
        | Event::ReleaseSeen { .. }
        | Event::ReleaseProven { .. }
        | Event::ReleaseLeft { .. }
        | Event::ReleaseBack { .. } => return Err(no("it does not belong to a run")),
    }
    run.last = position;
    Ok(run)
}

fn open_mut(run: &mut RunState, id: ApprovalId) -> Option<&mut Approval> {
    let waiting = matches!(run.status, Status::Planned);
    run.approval.as_mut().filter(|a| waiting && a.id == id && a.granted.is_none())
}

/// Whether a run may end that way from where it stands. An end that says `done` or `undone` must be what
/// the steps say (promise 1), and nothing that acted can end as if it had not.
fn may_end(run: &RunState, outcome: &Outcome) -> Result<(), &'static str> {
    let all_done = run.steps.iter().all(|s| matches!(s, StepState::Done { .. }));
    let all_back = run.steps.iter().all(|s| matches!(s, StepState::Waiting | StepState::Undone));
    match (outcome, &run.status) {
        (Outcome::Done, Status::Running) if all_done => Ok(()),
        // A request that leads another run out acts by that run's `Resolved` record, not by steps of its own.
        (Outcome::Done, Status::Planned) if run.leads_out() && run.agreed() => Ok(()),
        (Outcome::Undone { .. }, Status::Undoing { .. }) if all_back => Ok(()),
        (Outcome::Accepted { .. }, Status::Stuck { .. }) if run.way == Some(WayOut::Accept) => Ok(()),
        (Outcome::Void { .. }, Status::Claimed | Status::Planned) => Ok(()),
        (Outcome::DryRun, Status::Planned) if run.dry_run => Ok(()),
        (Outcome::Refused { .. }, Status::Requested | Status::Planned | Status::Claimed) => Ok(()),
        (Outcome::Denied { .. }, Status::Planned) => Ok(()),
        // Consent may run out between claim and pass too, when the bot was down there.
        (Outcome::Expired, Status::Planned | Status::Claimed) => Ok(()),
        (Outcome::Cancelled { .. }, Status::Requested | Status::Planned | Status::Claimed) => Ok(()),
        _ => Err("it does not stand where such an end is possible"),
    }
}

/// The record's type as it stands in the log.
pub fn name_of(event: &Event) -> String {
    serde_json::to_value(event)
        .ok()
        .and_then(|v| v.get("type").and_then(|t| t.as_str().map(str::to_owned)))
        .unwrap_or_else(|| "unknown".to_owned())
}

//! What a request does next, from the words on record to the pass: planned, asked, claimed, planned again, passed. A pure
//! function of the folded journal and of what the coordinator sees at this moment; `decide` goes on from there.
//!
//! The conductor does what [`turn`] says and has no judgement of its own. Must never: look at anything, or let a plan pass
//! that the gate does not.

use std::time::Duration;

use jiff::Timestamp;

use super::rules::{Rule, Rules};
use crate::command::{ApprovalRule, Waived};
use crate::domain::event::{Event, Needs, Outcome};
use crate::domain::ids::RunId;
use crate::domain::invocation::Invocation;
use crate::domain::plan::{Plan, PlanNotes, StepAction};
use crate::domain::run::{PlanOnRecord, RunState, Status};
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::gate::{self, Pass};

/// How long after it was asked for a request may begin that needs nobody's approval: the longest wait for a stack, and some.
const ACTS_WITHIN: Duration = Duration::from_mins(45);

/// Times people are asked again by themselves when the world moved; after that somebody has to ask.
const ASKED_AGAIN_MAX: usize = 3;

/// Stands before the delivery key of what was asked again, once for each time.
const AGAIN: &str = "again:";

/// What came of making the plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// The plan as the world is now.
    Plan {
        /// It.
        plan: Box<Plan>,
        /// What is shown beside it.
        notes: PlanNotes,
        /// The votes that such a plan needs, the stricter of command file and config.
        rule: Option<ApprovalRule>,
    },
    /// None can be made.
    Not(Trouble),
}

/// What the coordinator sees beyond the journal of this one request.
#[derive(Debug, Clone, Copy)]
pub struct Sees<'a> {
    /// The time.
    pub now: Timestamp,
    /// The plan, when it was made since the last record.
    pub made: Option<&'a Made>,
    /// Whoever else holds the stack that it needs.
    pub holder: Option<&'a RunState>,
    /// The request wants to wait for its stack.
    pub waits: bool,
    /// It has waited as long as anything may.
    pub in_vain: bool,
    /// Whether the requester may ask for this today.
    pub may: &'a Result<(), Trouble>,
    /// It was asked again by itself, after the world had moved.
    pub again: bool,
    /// The stuck run that it leads out, if it leads one out.
    pub stuck: Option<&'a RunState>,
}

/// The next thing to do for a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing until somebody says something, or ever.
    Rest,
    /// Wait for the stack, then ask again.
    Wait,
    /// Refuse it: the stack is held.
    Held,
    /// Refuse it for this reason.
    Refuse(Trouble),
    /// Make the plan as the world is now, then ask again.
    Plan,
    /// Write these records, all or none, then ask again.
    Write(Vec<Event>),
    /// Reserve room for all records of this plan, then take the stack with this record.
    Claim(Box<Event>),
    /// Write this record, and drive the run.
    Pass(Pass, Box<Event>),
    /// End it void for these reasons, and ask for it again.
    Void(Vec<String>),
    /// Lead a stuck run out with this record and end the request, all or none and only if nothing has moved.
    LeadOut {
        /// The stuck run.
        stuck: RunId,
        /// The record on it.
        resolved: Box<Event>,
    },
    /// Drive the run: it has passed before.
    Drive(Pass),
}

/// The one next thing to do.
pub fn turn(run: &RunState, sees: &Sees<'_>, rules: Rules) -> Turn {
    match (&run.status, &run.plan) {
        (Status::Requested, _) => requested(run, sees, rules),
        (Status::Planned, Some(planned)) => stands(run, planned, sees, rules),
        (Status::Claimed, Some(planned)) => claimed(run, planned, sees, rules),
        (Status::Running | Status::Undoing { .. } | Status::Stuck { .. }, _) => {
            gate::pass_again(run).map_or(Turn::Rest, Turn::Drive)
        }
        (Status::Planned | Status::Claimed, None) | (Status::Ended { .. }, _) => Turn::Rest,
    }
}

fn requested(run: &RunState, sees: &Sees<'_>, rules: Rules) -> Turn {
    let (plan, notes, rule) = match sees.made {
        None => return waiting(sees).unwrap_or(Turn::Plan),
        Some(Made::Not(trouble)) => return Turn::Refuse(trouble.clone()),
        Some(Made::Plan { plan, notes, rule }) => (plan, notes, rule),
    };
    let hash = match plan.hash() {
        Ok(hash) => hash,
        Err(e) => return Turn::Refuse(Trouble::new(TroubleKind::Internal, format!("the plan cannot be hashed: {e}"))),
    };
    let mut rule = rule.clone();
    if let Some(rule) = rule.as_mut().filter(|_| sees.again && rules.hold(Rule::AgainIsShown)) {
        // The world moved under a plan that people knew; the new one goes nowhere unseen.
        rule.waived = Waived::Never;
    }
    let mut events = vec![Event::Planned { plan: plan.clone(), hash: hash.clone(), notes: notes.clone() }];
    if run.dry_run {
        events.push(ended(Outcome::DryRun));
    } else if let Some(rule) = gate::admit(plan, notes, rule.as_ref()) {
        let expires = sees.now.checked_add(Duration::from_secs(rule.expires_s)).unwrap_or(Timestamp::MAX);
        let needs = Needs { role: rule.from.clone(), count: rule.count };
        events.push(Event::ApprovalAsked { plan_hash: hash, needs, expires });
    }
    Turn::Write(events)
}

fn stands(run: &RunState, planned: &PlanOnRecord, sees: &Sees<'_>, rules: Rules) -> Turn {
    if run.dry_run {
        return Turn::Write(vec![ended(Outcome::DryRun)]);
    }
    if let Some(open) = run.open_approval()
        && rules.hold(Rule::VotesBeforeClaim)
    {
        return if sees.now >= open.expires { Turn::Write(vec![ended(Outcome::Expired)]) } else { Turn::Rest };
    }
    if lapsed(run, sees.now, rules) {
        return Turn::Write(vec![ended(Outcome::Expired)]);
    }
    if let Err(trouble) = sees.may
        && rules.hold(Rule::RightsAskedAnew)
    {
        return Turn::Refuse(trouble.clone());
    }
    if run.leads_out() {
        return lead_out(run, &planned.plan, sees.stuck, rules);
    }
    if let Some(wait) = waiting(sees) {
        return wait;
    }
    Turn::Claim(Box::new(Event::RunClaimed {
        target: planned.plan.target.clone(),
        plan_hash: planned.hash.clone(),
        approval: run.approval.as_ref().map(|a| a.id),
    }))
}

/// Under the claim the plan is made again; the same plan passes, another one is void and asked anew (decision 13).
fn claimed(run: &RunState, planned: &PlanOnRecord, sees: &Sees<'_>, rules: Rules) -> Turn {
    if let Some(by) = &run.cancel {
        return Turn::Write(vec![ended(Outcome::Cancelled { by: by.clone() })]);
    }
    // A long down-time may lie between claim and pass as well.
    if lapsed(run, sees.now, rules) {
        return Turn::Write(vec![ended(Outcome::Expired)]);
    }
    let agreed_to;
    let made = if rules.hold(Rule::PlanAgain) {
        sees.made
    } else {
        agreed_to = Made::Plan { plan: Box::new(planned.plan.clone()), notes: planned.notes.clone(), rule: None };
        Some(&agreed_to)
    };
    match made {
        None => Turn::Plan,
        Some(Made::Not(trouble)) => Turn::Void(vec![trouble.message.clone()]),
        Some(Made::Plan { plan, .. }) => match gate::pass(run, plan) {
            Ok(pass) => Turn::Pass(pass, Box::new(Event::Passed { plan_hash: planned.hash.clone() })),
            Err(differences) => Turn::Void(differences),
        },
    }
}

/// Somebody else holds the stack: waited for when that was asked for and may come to something.
fn waiting(sees: &Sees<'_>) -> Option<Turn> {
    let holder = sees.holder?;
    let hopeless = !sees.waits || sees.in_vain || matches!(holder.status, Status::Stuck { .. });
    Some(if hopeless { Turn::Held } else { Turn::Wait })
}

/// Consent and request are for now: what was agreed to before a long down-time is asked for again (R10).
fn lapsed(run: &RunState, now: Timestamp, rules: Rules) -> bool {
    match &run.approval {
        Some(approval) => now >= approval.expires && rules.hold(Rule::ConsentIsForNow),
        None => {
            let until = run.asked.checked_add(ACTS_WITHIN);
            until.is_ok_and(|until| now >= until) && rules.hold(Rule::RequestIsForNow)
        }
    }
}

/// Everybody agreed to lead a run out: as it was seen then, or not at all.
fn lead_out(run: &RunState, plan: &Plan, stuck: Option<&RunState>, rules: Rules) -> Turn {
    let Some(StepAction::ResolveRun { run: id, way, head }) = plan.steps.first().map(|s| &s.action) else {
        return Turn::Refuse(Trouble::usage("This is no way out."));
    };
    let is_stuck = |s: &&RunState| matches!(s.status, Status::Stuck { .. }) && s.way.is_none();
    let as_seen = |s: &&RunState| s.last.to_string() == *head || !rules.hold(Rule::WayOutIsForWhatWasSeen);
    if stuck.filter(is_stuck).filter(as_seen).is_none() {
        let differences = vec![format!("{id} has moved on since it was asked")];
        return Turn::Write(vec![ended(Outcome::Void { differences })]);
    }
    Turn::LeadOut { stuck: *id, resolved: Box::new(Event::Resolved { way: *way, by: run.id }) }
}

/// The records that end a run whose plan is no longer true and, unless it keeps moving, ask for the same thing once more:
/// one for this run, one for a new one. `words` are those that it began with.
pub fn void(run: &RunState, words: Option<Invocation>, now: Timestamp, mut why: Vec<String>) -> (Event, Option<Event>) {
    let again = words.filter(|i| i.event.matches(AGAIN).count() < ASKED_AGAIN_MAX).map(|i| Invocation {
        event: format!("{AGAIN}{}:{}", run.id, i.event),
        at: now,
        ..i
    });
    if again.is_none() {
        why.push("it keeps moving: ask again when nobody deploys".to_owned());
    }
    let invoked = again.map(|invocation| Event::Invoked {
        invocation,
        actor: run.requester.clone(),
        command: run.command.clone(),
        target: run.target.clone(),
        dry_run: false,
    });
    (ended(Outcome::Void { differences: why }), invoked)
}

/// Whether it was asked again by itself.
pub fn is_again(words: &Invocation) -> bool {
    words.event.starts_with(AGAIN)
}

/// What a start does with a run that has not ended.
#[derive(Debug, PartialEq, Eq)]
pub enum AtStart {
    /// It waits for a person, as before.
    Leave,
    /// Write this first, then go on: a new coordinator takes a new claim (durability R4), or a dry run of before ends.
    Write(Box<Event>),
    /// Go on where it stood.
    GoOn,
}

/// The one thing to do with an open run at start, before the doors open.
pub fn at_start(run: &RunState, rules: Rules) -> AtStart {
    if matches!(run.status, Status::Stuck { .. }) && run.way.is_none() {
        return AtStart::Leave;
    }
    if run.holds_claim() && rules.hold(Rule::NewClaim) {
        return AtStart::Write(Box::new(Event::Resumed));
    }
    if run.dry_run {
        let why = "Sternway was restarted before there was a plan".to_owned();
        let kind = TroubleKind::Unavailable.as_str().to_owned();
        return AtStart::Write(Box::new(ended(Outcome::Refused { kind, why })));
    }
    AtStart::GoOn
}

fn ended(outcome: Outcome) -> Event {
    Event::Ended { outcome }
}

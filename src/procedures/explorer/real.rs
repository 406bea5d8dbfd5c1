//! The engine under test: the real functions, called once for each distinct argument. They are pure, so what they said once
//! they would say again.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use super::cast::{self, Setting, Who, id_of};
use super::leave_out::Outer;
use super::world::{Draft, Ear, Kind, Message, Mind, SERVICES, Slot, Token, Version, Wish, World};
use crate::domain::actor::{Account, Actor, Surface};
use crate::domain::event::{Event, Outcome};
use crate::domain::ids::Position;
use crate::domain::plan::{PlannedStep, StepAction, StepOutput};
use crate::domain::run::{RunState, Status, StepState};
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::gate::votes;
use crate::procedures::decide::{Heard, Knows, Next, decide};
use crate::procedures::request::{self, AtStart, Made, Sees, Turn};
use crate::store::AppendError;
use crate::store::projections::{Refusal, runs};

/// What a request's task does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Do {
    Rest,
    /// Make the plan.
    Plan,
    /// The stack is free: claim it.
    Claim(u32),
    /// Write one or two records.
    Write(u32, Option<u32>),
    /// End it with the first, ask again with the second.
    Void(u32, Option<u32>),
    /// Lead the run in that slot out with the first record, and end with the second.
    LeadOut(u8, u32, u32),
    Send {
        step: u8,
        undo: bool,
    },
    Look {
        step: u8,
        undo: bool,
    },
}

/// What a record did to the log.
#[derive(Debug, Clone)]
pub(super) struct Recorded {
    pub(super) run: u32,
    pub(super) lets_go: bool,
    pub(super) takes: bool,
}

/// The real functions with what they said.
#[allow(clippy::type_complexity)] // what was asked, in full, is the key
pub(super) struct Real {
    pub(super) setting: Setting,
    runs: Vec<RunState>,
    events: Vec<Event>,
    plans: Vec<Made>,
    run_of: HashMap<u128, u32>,
    event_of: HashMap<u128, u32>,
    plan_of: HashMap<([Version; SERVICES], Wish, bool, u32), Draft>,
    recorded: HashMap<(u32, u32, u64, u8, Option<u8>), Result<Recorded, String>>,
    turns: HashMap<(u32, Draft, u32, bool, u8, bool, u8, u32), Do>,
    drives: HashMap<(u32, Ear, u8, bool), Do>,
    votes: HashMap<(u32, Who, u8), Option<(u32, Option<u32>)>>,
}

fn key(value: &impl serde::Serialize) -> u128 {
    let text = serde_json::to_vec(value).unwrap();
    u128::from_be_bytes(Sha256::digest(text)[..16].try_into().unwrap())
}

fn approver() -> crate::domain::names::RoleName {
    crate::domain::names::RoleName::parse("approver").unwrap()
}

impl Real {
    pub(super) fn new(setting: Setting) -> Self {
        let mut me = Self {
            setting,
            runs: Vec::new(),
            events: Vec::new(),
            plans: Vec::new(),
            run_of: HashMap::new(),
            event_of: HashMap::new(),
            plan_of: HashMap::new(),
            recorded: HashMap::new(),
            turns: HashMap::new(),
            drives: HashMap::new(),
            votes: HashMap::new(),
        };
        // Number 0 stands for no run.
        let nobody = crate::domain::run::fold(None, Position(0), cast::time(0), &me.invoked(Wish::New, 0)).unwrap();
        me.runs.push(nobody);
        me
    }

    pub(super) fn run(&self, index: u32) -> &RunState {
        &self.runs[index as usize]
    }

    pub(super) fn journals(&self) -> usize {
        self.runs.len()
    }

    pub(super) fn event(&self, index: u32) -> &Event {
        &self.events[index as usize]
    }

    pub(super) fn keep_event(&mut self, event: Event) -> u32 {
        let next = u32::try_from(self.events.len()).unwrap();
        let index = *self.event_of.entry(key(&event)).or_insert(next);
        if index == next {
            self.events.push(event);
        }
        index
    }

    fn keep_run(&mut self, run: RunState) -> u32 {
        let run = plain(run);
        let next = u32::try_from(self.runs.len()).unwrap();
        let index = *self.run_of.entry(key(&run)).or_insert(next);
        if index == next {
            self.runs.push(run);
        }
        index
    }

    pub(super) fn invoked(&self, wish: Wish, again: u8) -> Event {
        Event::Invoked {
            invocation: cast::words(again),
            actor: Actor::Person(Who::Amal.person().id),
            command: if matches!(wish, Wish::Way(..)) { "runs".into() } else { "rollback image".into() },
            target: Some(cast::target()),
            dry_run: false,
        }
    }

    /// The log takes a record: the real fold and the real refusal of a second claim.
    pub(super) fn record(&mut self, world: &World, slot: usize, event: u32) -> Result<Recorded, String> {
        let position = position(self.event(event), world, slot);
        let before = world.slots[slot].run;
        let holder = world.holder.filter(|_| self.setting.left.holds(Outer::OneClaim));
        let asked = (before, event, position.0, world.clock, holder);
        if let Some(known) = self.recorded.get(&asked) {
            return known.clone();
        }
        let mut run = (before != 0).then(|| self.run(before).clone());
        let words = self.event(event).clone();
        let unblind = run.as_mut().map(|run| blind(run, &words, self.setting));
        let holder = |_: &_| Ok(holder.map(|h| id_of(usize::from(h))));
        let taken = runs::take(run, (position, cast::time(world.clock), &words), &holder);
        let result = match taken {
            Ok(mut taken) => {
                if let Some(unblind) = unblind {
                    unblind(&mut taken.run);
                }
                if matches!(words, Event::Stuck { .. }) && !self.setting.left.holds(Outer::StuckKeepsClaim) {
                    taken.run.claim = None;
                    taken.lets_go = Some(cast::target());
                }
                let (lets_go, takes) = (taken.lets_go.is_some(), taken.takes.is_some());
                Ok(Recorded { run: self.keep_run(taken.run), lets_go, takes })
            }
            Err(Refusal::Append(AppendError::CannotFollow(refused))) => Err(refused.why),
            Err(Refusal::Append(why)) => Err(why.to_string()),
            Err(Refusal::Index(why)) => Err(why.to_string()),
        };
        self.recorded.insert(asked, result.clone());
        result
    }

    /// The plan as the world is now.
    pub(super) fn make(&mut self, world: &World, wish: Wish) -> Draft {
        let stuck = match wish {
            Wish::Way(slot, _) => world.slots[usize::from(slot)].run,
            Wish::New | Wish::Other => 0,
        };
        let asked = (world.at, wish, world.no_right, stuck);
        if let Some(known) = self.plan_of.get(&asked) {
            return *known;
        }
        let is_stuck = |r: &&RunState| matches!(r.status, Status::Stuck { .. }) && r.way.is_none();
        let stuck = Some(self.run(stuck)).filter(is_stuck);
        let made = self.setting.made(&world.at, wish, world.no_right, stuck);
        let draft = if matches!(made, Made::Not(_)) {
            Draft::Not
        } else {
            self.plans.push(made);
            Draft::Plan(u16::try_from(self.plans.len() - 1).unwrap())
        };
        self.plan_of.insert(asked, draft);
        draft
    }

    /// The hash of a plan that was made.
    pub(super) fn hash(&self, draft: Draft) -> Option<String> {
        let Draft::Plan(index) = draft else { return None };
        match &self.plans[usize::from(index)] {
            Made::Plan { plan, .. } => plan.hash().ok(),
            Made::Not(_) => None,
        }
    }

    /// What the task of the request in this slot does next: the real `turn`, and the real `decide` once it drives.
    pub(super) fn next(&mut self, world: &World, slot: usize) -> Do {
        let Slot { run, mind, again, wish, .. } = world.slots[slot];
        // Whoever has seen that the stack is free does not look again before the claim.
        let seen = world.holder.filter(|h| usize::from(*h) != slot && mind.draft != Draft::Claiming);
        let holder = seen.map_or(0, |h| world.slots[usize::from(h)].run);
        let stuck = match wish {
            Wish::Way(of, _) => world.slots[usize::from(of)].run,
            Wish::New | Wish::Other => 0,
        };
        let draft = if mind.draft == Draft::Claiming { Draft::None } else { mind.draft };
        // What is driven does not look at the rest, and the other way round.
        let drives = self.run(run).holds_claim() && self.run(run).status != Status::Claimed;
        if drives || matches!(self.run(run).status, Status::Stuck { .. }) {
            return self.drive(run, mind, cast::time_is_up(world.slots[slot].since, world.clock));
        }
        let asked = (run, draft, holder, world.no_right, world.clock, again > 0, slot as u8, stuck);
        if let Some(known) = self.turns.get(&asked) {
            return *known;
        }
        let made = match draft {
            Draft::Plan(index) => Some(self.plans[usize::from(index)].clone()),
            Draft::Not => Some(Made::Not(Trouble::usage("There is nothing to do."))),
            Draft::None | Draft::Claiming => None,
        };
        let may = if world.no_right {
            Err(Trouble::new(TroubleKind::Denied, "amal may no longer ask for it."))
        } else {
            Ok(())
        };
        let sees = Sees {
            now: cast::time(world.clock),
            made: made.as_ref(),
            holder: (holder != 0 && !matches!(wish, Wish::Way(..))).then(|| self.run(holder)),
            waits: true,
            in_vain: world.clock > 0,
            may: &may,
            again: again > 0,
            stuck: (stuck != 0).then(|| self.run(stuck)),
        };
        let turn = request::turn(self.run(run), &sees, self.setting.left.rules());
        let refused = |kind: &str, why: String| Event::Ended { outcome: Outcome::Refused { kind: kind.into(), why } };
        let next = match turn {
            Turn::Rest | Turn::Wait | Turn::Drive(_) => Do::Rest,
            Turn::Held => Do::Write(self.keep_event(refused("busy", "the stack is held".into())), None),
            Turn::Refuse(trouble) => Do::Write(self.keep_event(refused(trouble.kind.as_str(), trouble.message)), None),
            Turn::Plan => Do::Plan,
            Turn::Write(events) => {
                let mut kept = events.into_iter().map(|e| self.keep_event(e)).collect::<Vec<_>>().into_iter();
                Do::Write(kept.next().unwrap(), kept.next())
            }
            Turn::Claim(event) => Do::Claim(self.keep_event(*event)),
            Turn::Pass(pass, event) => {
                assert_eq!(pass.run(), id_of(slot), "a pass for another run");
                Do::Write(self.keep_event(*event), None)
            }
            Turn::Void(why) => {
                // Where the world has no place for one more request, it moves too often.
                let words = (world.used() < super::world::RUNS).then(|| cast::words(again));
                let (ended, invoked) = request::void(self.run(run), words, cast::time(0), why);
                let invoked = invoked.map(|_| self.invoked(wish, again + 1));
                Do::Void(self.keep_event(ended), invoked.map(|e| self.keep_event(e)))
            }
            Turn::LeadOut { stuck, resolved } => {
                let Wish::Way(of, _) = wish else { panic!("{stuck} is led out by a request for something else") };
                let done = self.keep_event(Event::Ended { outcome: Outcome::Done });
                Do::LeadOut(of, self.keep_event(*resolved), done)
            }
        };
        self.turns.insert(asked, next);
        next
    }

    fn drive(&mut self, run: u32, mind: Mind, time_is_up: bool) -> Do {
        let asked = (run, mind.ear, mind.uncertain, time_is_up);
        if let Some(known) = self.drives.get(&asked) {
            return *known;
        }
        let next = self.drive_anew(run, mind, time_is_up);
        self.drives.insert(asked, next);
        next
    }

    fn drive_anew(&mut self, run: u32, mind: Mind, time_is_up: bool) -> Do {
        if crate::gate::pass_again(self.run(run)).is_none() {
            return Do::Rest;
        }
        let why = || "it went wrong".to_owned();
        let knows = Knows {
            heard: match mind.ear {
                Ear::Nothing => Heard::Nothing,
                Ear::So => Heard::So(StepOutput::Nothing),
                Ear::Failed => Heard::Failed(why()),
                Ear::Uncertain => Heard::Uncertain("no answer".to_owned()),
                Ear::NotSo => Heard::NotSo("it is not so".to_owned()),
                Ear::Stale => Heard::Stale,
            },
            uncertain: u32::from(mind.uncertain),
            out_of_time: time_is_up && self.run(run).time_limit().is_some(),
        };
        let to_u8 = |step: usize| u8::try_from(step).unwrap();
        match decide(self.run(run), &knows, self.setting.left.rules()) {
            Next::Rest => Do::Rest,
            Next::Write(event) => Do::Write(self.keep_event(*event), None),
            Next::Send { step, undo } => Do::Send { step: to_u8(step), undo },
            Next::Look { step, undo } => Do::Look { step: to_u8(step), undo },
        }
    }

    /// What a start does with this run: nothing, a record first.
    pub(super) fn at_start(&mut self, run: u32) -> Option<u32> {
        match request::at_start(self.run(run), self.setting.left.rules()) {
            AtStart::Leave | AtStart::GoOn => None,
            AtStart::Write(event) => Some(self.keep_event(*event)),
        }
    }

    /// The records of a vote, if it counts.
    pub(super) fn vote(&mut self, run: u32, who: Who, clock: u8) -> Option<(u32, Option<u32>)> {
        if let Some(known) = self.votes.get(&(run, who, clock)) {
            return *known;
        }
        let mut state = self.run(run).clone();
        let id = state.approval.as_ref()?.id;
        let consoles = self.setting.votes.is_some_and(|v| v.consoles);
        let account = cast::account(if consoles { Surface::Console } else { Surface::Slack }, who);
        let plan_hash = String::new();
        let like = Event::Approved { approval: id, plan_hash, by: who.person().id, account, reason: String::new() };
        let _ = blind(&mut state, &like, self.setting);
        let Event::Approved { account, .. } = &like else { return None };
        let counted = votes::approve(&state, id, &who.person(), account, "", cast::time(clock)).ok();
        let kept = counted.map(|events| {
            let mut kept = events.into_iter().map(|e| self.keep_event(e)).collect::<Vec<_>>().into_iter();
            (kept.next().unwrap(), kept.next())
        });
        self.votes.insert((run, who, clock), kept);
        kept
    }

    pub(super) fn deny(&mut self, run: u32, clock: u8) -> Option<u32> {
        let id = self.run(run).approval.as_ref()?.id;
        let event = votes::deny(self.run(run), id, &Who::Ben.person(), "", cast::time(clock)).ok()?;
        Some(self.keep_event(event))
    }

    pub(super) fn cancel(&mut self, run: u32) -> Option<u32> {
        let event = votes::cancel(self.run(run), &Who::Amal.person(), &approver()).ok()?;
        Some(self.keep_event(event))
    }

    /// The service that a step is about and what it does there.
    pub(super) fn step(&self, run: u32, step: usize) -> Option<(usize, Kind)> {
        let planned: &PlannedStep = self.run(run).plan.as_ref()?.plan.steps.get(step)?;
        let place = |name: &str| cast::NAMES.iter().position(|n| *n == name);
        match &planned.action {
            StepAction::SwapService(swap) => {
                let from = cast::version_of(&swap.from, swap.missing);
                Some((place(swap.service.as_str())?, Kind::Swap { from, to: cast::version_of(&swap.to, false) }))
            }
            StepAction::DumpDatabase { service } => Some((place(service.as_str())?, Kind::OneShot)),
            StepAction::ProveHealth { service, fingerprint, .. } => {
                Some((place(service.as_str())?, Kind::Prove { to: cast::version_with(fingerprint) }))
            }
            _ => None,
        }
    }

    /// The message that a step, or its undo, is ordered with.
    pub(super) fn message(&self, run: u32, slot: usize, step: u8, undo: bool, token: Token) -> Option<Message> {
        let (service, kind) = self.step(run, usize::from(step))?;
        let kind = match kind {
            Kind::Swap { from, to } if undo => Kind::Swap { from: to, to: from },
            Kind::OneShot | Kind::Prove { .. } if undo => return None,
            kind => kind,
        };
        Some(Message { token, slot: slot as u8, service: service as u8, kind, undo })
    }
}

/// Where a record stands. Only the positions that mean something are told apart, so that equal moments meet: a run's and a
/// question's id, and the claims, which count upwards.
fn position(event: &Event, world: &World, slot: usize) -> Position {
    match event {
        Event::Invoked { .. } => id_of(slot).0,
        Event::ApprovalAsked { .. } => Position(100 + slot as u64),
        e if is_claim(e) => Position(1_000 + u64::from(world.claims)),
        _ => Position(0),
    }
}

/// Whether a record's position is a claim.
pub(super) fn is_claim(event: &Event) -> bool {
    matches!(event, Event::RunClaimed { .. } | Event::Resumed | Event::Resolved { .. })
}

/// A run without what makes no difference to anything that comes. Of one that has ended only how, and its question, as
/// votes may still come.
fn plain(mut run: RunState) -> RunState {
    run.began = None;
    run.last = match run.status {
        // What a way out is bound to.
        Status::Stuck { .. } => run.claim.unwrap_or_default(),
        _ => Position(0),
    };
    for state in &mut run.steps {
        if let StepState::Failed { why } = state {
            why.clear();
        }
    }
    if let Status::Ended { outcome, at } = &mut run.status {
        *at = cast::time(0);
        if let Outcome::Refused { why, .. } | Outcome::Undone { why } = outcome {
            why.clear();
        }
        if let Outcome::Void { differences } = outcome {
            differences.clear();
        }
        if let Outcome::Accepted { observed } = outcome {
            observed.clear();
        }
        (run.plan, run.cancel, run.way) = (None, None, None);
        run.steps.clear();
        run.look_first = false;
        if let Some(approval) = &mut run.approval {
            approval.votes.clear();
            approval.granted = None;
        }
    }
    run
}

/// Hides from the fold and the votes what they would refuse by, where that rule is left out; gives back how to undo it.
fn blind(run: &mut RunState, event: &Event, setting: Setting) -> Box<dyn Fn(&mut RunState)> {
    let left = |rule| !setting.left.holds(rule);
    let before = run.clone();
    match event {
        Event::Approved { .. } | Event::Granted { .. } => {
            if left(Outer::NoOwnVote) {
                run.requester = Actor::System;
            }
            let Some(approval) = &mut run.approval else { return Box::new(|_| ()) };
            if left(Outer::VoteInTime) {
                approval.expires = jiff::Timestamp::MAX;
            }
            if left(Outer::OnlyApprovers) {
                approval.needs.role = crate::domain::names::RoleName::parse("operator").unwrap();
            }
            for vote in &mut approval.votes {
                if left(Outer::PersonOnce) {
                    vote.by = crate::domain::names::PersonId::parse("somebody").unwrap();
                }
                if left(Outer::ConsolesAreOne) {
                    vote.account = Account { surface: Surface::Slack, ..vote.account.clone() };
                }
            }
        }
        Event::RunClaimed { .. } if left(Outer::OnlyAgreedClaims) => {
            if let Some(approval) = &mut run.approval {
                approval.granted = Some(cast::time(0));
            }
        }
        _ => {}
    }
    Box::new(move |after| {
        after.requester = before.requester.clone();
        if let (Some(after), Some(before)) = (&mut after.approval, &before.approval) {
            after.expires = before.expires;
            after.needs = before.needs.clone();
            for (after, before) in after.votes.iter_mut().zip(&before.votes) {
                after.by = before.by.clone();
                after.account = before.account.clone();
            }
        }
    })
}

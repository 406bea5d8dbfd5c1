//! What must never be: of a record as it is written, and of every moment.

use std::collections::BTreeSet;

use super::cast::{self, Setting, Who};
use super::real::Real;
use super::world::{Kind, Version, World};
use crate::domain::actor::{Actor, Surface};
use crate::domain::event::{Event, Outcome};
use crate::domain::run::{RunState, Status, StepState};
use crate::procedures::decide::UNCERTAIN_MAX;

/// Seconds within which a request acts that nobody has to agree to, at most.
const SOON_S: i64 = 2_700;

/// What is wrong about a run's task writing this now.
pub(super) fn of_record(real: &Real, world: &World, slot: usize, event: u32) -> Option<String> {
    let run = real.run(world.slots[slot].run);
    match real.event(event) {
        Event::Passed { .. } => of_pass(real, world, slot, run),
        Event::StepIntent { .. } if run.past_return().is_none() => {
            if run.cancel.is_some() {
                return Some("a step is begun after somebody cancelled".into());
            }
            let late = run.time_limit().is_some() && cast::time_is_up(world.slots[slot].since, world.clock);
            late.then(|| "a step is begun after the plan's time was up".into())
        }
        Event::UndoBegun { .. } => {
            let (now, begin) = (world.luck, real.setting.luck);
            let causes = [
                (now.step_fails, begin.step_fails),
                (now.cancels, begin.cancels),
                (now.outside, begin.outside),
                (now.hours, begin.hours),
            ];
            let given_up = u32::from(begin.lost - now.lost) > UNCERTAIN_MAX;
            (!given_up && causes.iter().all(|(n, b)| n == b)).then(|| "it turns back though nothing failed".into())
        }
        Event::Stuck { .. } => {
            let (now, begin) = (world.luck, real.setting.luck);
            let one_way = real.setting.one_way && now.step_fails != begin.step_fails;
            let given_up = u32::from(begin.lost - now.lost) > UNCERTAIN_MAX;
            let cause = one_way || given_up || now.undo_fails != begin.undo_fails || now.outside != begin.outside;
            (!cause).then(|| "a person is called though nothing that had to be taken back failed".into())
        }
        Event::Ended { outcome: Outcome::Done } if !run.leads_out() => {
            not_so(real, world, slot, true).map(|s| format!("it says done, and {s} is not new"))
        }
        Event::Ended { outcome: Outcome::Undone { .. } } => {
            not_so(real, world, slot, false).map(|s| format!("it says undone, and {s} is not as it was"))
        }
        _ => None,
    }
}

/// A plan is about to act.
fn of_pass(real: &Real, world: &World, slot: usize, run: &RunState) -> Option<String> {
    let at = &world.slots[slot];
    if at.outdated {
        return Some("a plan acts that is not what the world wants any more".into());
    }
    if at.misled {
        return Some("a plan acts that somebody agreed to without having seen it".into());
    }
    if world.no_right {
        return Some("it acts for somebody who may not ask for it any more".into());
    }
    agreed(real, world, slot, run)
}

/// What is wrong about the consent to a plan.
fn agreed(real: &Real, world: &World, slot: usize, run: &RunState) -> Option<String> {
    let now = cast::time(world.clock);
    let Some(approval) = &run.approval else {
        let Setting { votes, .. } = real.setting;
        if votes.is_some_and(|v| !v.waived || world.slots[slot].again > 0) {
            return Some("a plan acts that nobody was asked about".into());
        }
        let late = now.as_second() - run.asked.as_second() >= SOON_S;
        return late.then(|| "it acts hours after it was asked for".into());
    };
    let persons: BTreeSet<_> = approval.votes.iter().map(|v| &v.by).collect();
    let own = approval.votes.iter().any(|v| run.requester == Actor::Person(v.by.clone()));
    let consoles = approval.votes.iter().filter(|v| v.account.surface == Surface::Console).count();
    let planned = run.plan.as_ref().map(|p| &p.hash);
    let wrong = if own {
        "a plan acts by its requester's own vote"
    } else if persons.contains(&Who::Dan.person().id) {
        "a plan acts by the vote of somebody who may not agree"
    } else if consoles > 1 {
        "a plan acts by two votes that root on the host could have cast alone"
    } else if (persons.len() as u64) < u64::from(approval.needs.count) {
        "a plan acts without the votes that it needs"
    } else if planned != Some(&approval.plan_hash) {
        "a plan acts that is not the one agreed to"
    } else if now >= approval.expires || approval.votes.iter().any(|v| v.at >= approval.expires) {
        "a plan acts on consent that has run out"
    } else {
        return None;
    };
    Some(wrong.into())
}

/// What is wrong about leading out the run in `of` by the request in `slot` now.
pub(super) fn of_way_out(real: &Real, world: &World, slot: usize, of: usize) -> Option<String> {
    let run = real.run(world.slots[slot].run);
    let stuck = real.run(world.slots[of].run);
    let head = run.plan.as_ref().and_then(|p| match &p.plan.steps.first()?.action {
        crate::domain::plan::StepAction::ResolveRun { head, .. } => Some(head.clone()),
        _ => None,
    });
    if head != Some(stuck.last.to_string()) {
        return Some("a way out is gone that people agreed to when things stood otherwise".into());
    }
    if world.no_right {
        return Some("it acts for somebody who may not ask for it any more".into());
    }
    agreed(real, world, slot, run)
}

/// A service of the run's plan that is not new (or not old), though nobody else was at it since the run heard of it last.
fn not_so(real: &Real, world: &World, slot: usize, new: bool) -> Option<&'static str> {
    let run = world.slots[slot].run;
    let steps = real.run(run).plan.as_ref().map_or(0, |p| p.plan.steps.len());
    (0..steps).find_map(|step| {
        let (service, kind) = real.step(run, step)?;
        let wanted = match kind {
            Kind::Swap { to, .. } if new => to,
            Kind::Swap { from, .. } => from,
            Kind::OneShot => {
                if new {
                    Version::New
                } else {
                    Version::Old
                }
            }
            Kind::Prove { .. } => return None,
        };
        let moved = world.slots[slot].moved & (1 << service) != 0;
        (world.at[service] != wanted && !moved).then_some(cast::NAMES[service])
    })
}

/// What is wrong at this moment.
pub(super) fn of_moment(real: &Real, world: &World) -> Option<String> {
    let mut holders = 0;
    for slot in 0..world.used() {
        let run = real.run(world.slots[slot].run);
        holders += u32::from(run.holds_claim());
        let acts =
            matches!(run.status, Status::Claimed | Status::Running | Status::Undoing { .. } | Status::Stuck { .. });
        if acts != run.holds_claim() {
            let name = run.id;
            return Some(if acts {
                format!("{name} may still act and does not hold the stack")
            } else {
                format!("{name} can do nothing any more and holds the stack")
            });
        }
        if run.approval.iter().any(|a| a.votes.iter().any(|v| v.at >= a.expires)) {
            return Some("a vote counts that came after the question had expired".into());
        }
        if let Status::Stuck { remains, .. } = &run.status
            && remains.is_empty()
        {
            return Some("it is stuck and does not say what remains".into());
        }
        if matches!(run.status, Status::Running | Status::Undoing { .. })
            && let Some(service) = unrecorded(real, world, slot, run)
        {
            return Some(format!("{service} was changed, and that is not on record"));
        }
    }
    if holders > 1 {
        return Some("two runs hold the stack at the same time".into());
    }
    let holder = world.holder.map(|h| real.run(world.slots[usize::from(h)].run).holds_claim());
    if holder.is_some_and(|holds| !holds) || (holder.is_none() && holders > 0) {
        return Some("the log's index and the run disagree about who holds the stack".into());
    }
    if !real.setting.left.tokens_are_sound() {
        return None; // the story goes on until something has changed
    }
    world.late.iter().flatten().find_map(|message| {
        let held = real.run(world.slots[usize::from(message.slot)].run).holds_claim();
        let acts = message.token >= world.door;
        (acts && !held).then(|| "it let go of the stack while an order of it may still arrive and act".into())
    })
}

/// A service that is as a step wants it though the step was not begun.
fn unrecorded(real: &Real, world: &World, slot: usize, run: &RunState) -> Option<&'static str> {
    run.steps.iter().enumerate().find_map(|(step, state)| {
        let (service, kind) = real.step(world.slots[slot].run, step)?;
        let new = match kind {
            Kind::Swap { to, .. } => to,
            Kind::OneShot => Version::New,
            Kind::Prove { .. } => return None,
        };
        let moved = world.slots[slot].moved & (1 << service) != 0;
        (*state == StepState::Waiting && world.at[service] == new && !moved).then_some(cast::NAMES[service])
    })
}

/// Whether everything that was asked for has come to an end.
pub(super) fn is_home(real: &Real, world: &World) -> bool {
    world.slots[..world.used()].iter().all(|s| real.run(s.run).ended())
}

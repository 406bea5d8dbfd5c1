//! Everything that can happen next in a world.

use super::agents::{self, Arrived, Going};
use super::cast::{WAYS, Who};
use super::invariants;
use super::leave_out::Outer;
use super::real::{Do, Real, is_claim};
use super::world::{Draft, Ear, Kind, Luck, Message, Mind, RUNS, Slot, Token, Version, Wish, World};
use crate::domain::event::Event;
use crate::domain::ids::{Position, RunId};
use crate::domain::plan::WayOut;
use crate::domain::run::Status;

/// How an order went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    Answered(Going),
    /// Carried out, and the answer got lost.
    AnswerLost,
    /// On its way for long.
    Late,
    /// The agent has seen a newer message.
    Refused,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Did {
    Asked(usize),
    AskedWay(usize, usize, u8),
    Planned(usize),
    SeesFree(usize),
    Wrote(usize, u32),
    Voided(usize, u32),
    LedOut(usize, usize, u32),
    Sent(usize, Message, How),
    Looked(usize, Message, Ear),
    Arrives(Message, bool),
    Dies,
    Starts,
    Vote(usize, Who),
    Denied(usize),
    Cancelled(usize),
    Hours,
    Redeployed(usize),
    Removed(usize),
    Way(usize, u8),
    RightLost,
}

/// One thing that can happen.
pub(super) struct Step {
    pub(super) did: Did,
    pub(super) world: World,
    pub(super) wrong: Option<String>,
}

/// Everything that can happen next, always in the same order.
pub(super) fn all(real: &mut Real, world: &World) -> Vec<Step> {
    let mut out = Vec::with_capacity(16);
    for (i, message) in world.late.iter().enumerate() {
        out.extend(message.map(|message| arrives(real, world, i, message)));
    }
    outside(real, world, &mut out);
    if world.up {
        for slot in 0..world.used() {
            task(real, world, slot, &mut out);
            people(real, world, slot, &mut out);
        }
        asked(real, world, &mut out);
        if world.luck.crashes > 0 {
            let mut next = World { up: false, ..*world };
            next.luck.crashes -= 1;
            next.slots.iter_mut().for_each(|s| s.mind = Mind::default());
            out.push(Step { did: Did::Dies, world: next, wrong: None });
        }
    } else {
        out.push(starts(real, world));
        if world.luck.rights > 0 {
            let mut next = World { no_right: true, ..*world };
            next.luck.rights = 0;
            out.push(Step { did: Did::RightLost, world: next, wrong: None });
        }
    }
    for step in &mut out {
        if real.setting.left.tokens_are_sound() {
            step.world.settle();
        }
        step.wrong = step.wrong.take().or_else(|| invariants::of_moment(real, &step.world));
    }
    out
}

/// A message that was on its way arrives, whatever became of its run.
fn arrives(real: &Real, world: &World, index: usize, message: Message) -> Step {
    let mut rest = *world;
    rest.late[index] = None;
    rest.late.sort();
    let Arrived { world: mut next, changed, mut wrong, .. } = agents::order(real, &rest, message, Going::Well);
    if changed && real.run(world.slots[usize::from(message.slot)].run).ended() {
        wrong = Some("a message of a run that has ended changed something".to_owned());
    }
    if changed {
        // Nobody has heard of it.
        next.slots[usize::from(message.slot)].moved &= !(1 << message.service);
    }
    Step { did: Did::Arrives(message, changed), world: next, wrong }
}

/// What others do to the host, and time.
fn outside(real: &Real, world: &World, out: &mut Vec<Step>) {
    if world.luck.hours > 0 {
        let mut next = World { clock: world.clock + 1, ..*world };
        next.luck.hours -= 1;
        out.push(Step { did: Did::Hours, world: next, wrong: None });
    }
    if world.luck.outside == 0 {
        return;
    }
    for service in 0..real.setting.services {
        if real.setting.one_way && service == 1 {
            continue; // that is data, no container
        }
        for (version, did) in [(Version::Third, Did::Redeployed(service)), (Version::Gone, Did::Removed(service))] {
            if world.at[service] == version {
                continue;
            }
            let mut next = *world;
            next.luck.outside -= 1;
            next.at[service] = version;
            for slot in next.slots.iter_mut().filter(|s| s.run != 0 && !real.run(s.run).ended()) {
                slot.moved |= 1 << service;
            }
            out.push(Step { did, world: next, wrong: None });
        }
    }
}

/// New requests.
fn asked(real: &mut Real, world: &World, out: &mut Vec<Step>) {
    let free = world.used();
    if free >= RUNS {
        return;
    }
    if world.luck.following > 0 {
        let mut next = *world;
        next.luck.following -= 1;
        let wish = if free == 0 { Wish::New } else { Wish::Other };
        out.push(ask(real, next, free, wish, 0, Did::Asked(free)));
    }
    if !real.setting.ways_are_asked {
        return;
    }
    for of in 0..free {
        let state = real.run(world.slots[of].run);
        if matches!(state.status, Status::Stuck { .. }) && state.way.is_none() {
            for way in 0..WAYS.len() as u8 {
                let accepts = WAYS[usize::from(way)] == WayOut::Accept;
                if world.luck.ways == 0 && !accepts {
                    continue;
                }
                let mut next = *world;
                next.luck.ways -= u8::from(!accepts);
                out.push(ask(real, next, free, Wish::Way(of as u8, way), 0, Did::AskedWay(free, of, way)));
            }
        }
    }
}

fn ask(real: &mut Real, mut next: World, free: usize, wish: Wish, again: u8, did: Did) -> Step {
    next.slots[free] = Slot { wish, again, ..Slot::default() };
    let event = real.invoked(wish, again);
    let event = real.keep_event(event);
    let wrong = write(real, &mut next, free, event).err();
    Step { did, world: next, wrong }
}

/// What people say about a request.
fn people(real: &mut Real, world: &World, slot: usize, out: &mut Vec<Step>) {
    let run = world.slots[slot].run;
    if real.run(run).approval.is_some() {
        for who in Who::ALL {
            vote(real, world, slot, who, out);
        }
    }
    if let Some(event) = real.deny(run, world.clock) {
        push(real, *world, slot, event, Did::Denied(slot), out);
    }
    if world.luck.cancels > 0
        && let Some(event) = real.cancel(run)
    {
        let mut next = *world;
        next.luck.cancels -= 1;
        push(real, next, slot, event, Did::Cancelled(slot), out);
    }
    let state = real.run(run);
    if matches!(state.status, Status::Stuck { .. }) && state.way.is_none() && !real.setting.ways_are_asked {
        for (number, way) in (0..).zip(WAYS) {
            let accepts = way == WayOut::Accept;
            if world.luck.ways == 0 && !accepts {
                continue;
            }
            let mut next = *world;
            next.luck.ways -= u8::from(!accepts);
            let event = real.keep_event(Event::Resolved { way, by: RunId(Position(99)) });
            push(real, next, slot, event, Did::Way(slot, number), out);
        }
    }
}

/// Somebody agrees to the question about the request in this slot.
fn vote(real: &mut Real, world: &World, slot: usize, who: Who, out: &mut Vec<Step>) {
    let mut next = *world;
    let mut counts_for = slot;
    if !real.setting.left.holds(Outer::VoteIsForOnePlan) {
        // It counts for whatever is asked at the moment.
        let open = |s: &usize| real.run(world.slots[*s].run).open_approval().is_some();
        counts_for = (0..world.used()).rev().find(open).unwrap_or(slot);
        next.slots[counts_for].misled |= counts_for != slot;
    }
    let Some((first, second)) = real.vote(world.slots[counts_for].run, who, world.clock) else { return };
    let mut wrong = None;
    for event in [Some(first), second].into_iter().flatten() {
        wrong = wrong.or(write(real, &mut next, counts_for, event).err());
    }
    out.push(Step { did: Did::Vote(slot, who), world: next, wrong });
}

fn push(real: &mut Real, mut next: World, slot: usize, event: u32, did: Did, out: &mut Vec<Step>) {
    let wrong = write(real, &mut next, slot, event).err();
    out.push(Step { did, world: next, wrong });
}

/// The bot starts: every open run that a start has to do something with.
fn starts(real: &mut Real, world: &World) -> Step {
    let mut next = World { up: true, ..*world };
    let mut wrong = None;
    for slot in 0..world.used() {
        if real.run(world.slots[slot].run).ended() {
            continue;
        }
        if let Some(event) = real.at_start(world.slots[slot].run) {
            wrong = wrong.or(write(real, &mut next, slot, event).err());
        }
    }
    Step { did: Did::Starts, world: next, wrong }
}

/// One step of a request's own task.
fn task(real: &mut Real, world: &World, slot: usize, out: &mut Vec<Step>) {
    let Slot { run, mind, wish, again, .. } = world.slots[slot];
    if real.run(run).ended() {
        return;
    }
    let mut next = *world;
    match real.next(world, slot) {
        Do::Rest => {}
        Do::Plan => {
            next.slots[slot].mind.draft = real.make(world, wish);
            next.slots[slot].outdated = false;
            out.push(Step { did: Did::Planned(slot), world: next, wrong: None });
        }
        Do::Claim(_) if mind.draft != Draft::Claiming => {
            next.slots[slot].mind.draft = Draft::Claiming;
            out.push(Step { did: Did::SeesFree(slot), world: next, wrong: None });
        }
        Do::Claim(event) => {
            if write(real, &mut next, slot, event).is_err() {
                // Somebody was quicker, so the log refused; it is looked again who holds it.
                next = *world;
                next.slots[slot].mind.draft = Draft::None;
                let wrong =
                    world.holder.is_none().then(|| "the log refuses a claim that nobody is in the way of".into());
                out.push(Step { did: Did::Wrote(slot, event), world: next, wrong });
                return;
            }
            let draft = real.make(&next, wish);
            let planned = real.run(run).plan.as_ref().map(|p| p.hash.clone());
            next.slots[slot].outdated = real.hash(draft) != planned;
            out.push(Step { did: Did::Wrote(slot, event), world: next, wrong: None });
        }
        Do::Write(first, second) => {
            let mut wrong = invariants::of_record(real, world, slot, first);
            for event in [Some(first), second].into_iter().flatten() {
                wrong = wrong.or(write(real, &mut next, slot, event).err());
            }
            out.push(Step { did: Did::Wrote(slot, first), world: next, wrong });
        }
        Do::Void(ended, invoked) => {
            let mut wrong = write(real, &mut next, slot, ended).err();
            if let Some(event) = invoked {
                let free = world.used();
                next.slots[free] = Slot { wish, again: again + 1, ..Slot::default() };
                wrong = wrong.or(write(real, &mut next, free, event).err());
            }
            out.push(Step { did: Did::Voided(slot, ended), world: next, wrong });
        }
        Do::LeadOut(of, resolved, done) => {
            let of = usize::from(of);
            let wrong = invariants::of_way_out(real, world, slot, of);
            let wrong = wrong.or(write(real, &mut next, of, resolved).err());
            let wrong = wrong.or(write(real, &mut next, slot, done).err());
            out.push(Step { did: Did::LedOut(slot, of, resolved), world: next, wrong });
        }
        Do::Send { step, undo } => send(real, world, slot, step, undo, out),
        Do::Look { step, undo } => {
            let accepting = real.run(run).way == Some(WayOut::Accept);
            let token = next_token(real, &mut next, slot);
            let step_is_undo = undo && !accepting;
            let Some(message) = real.message(run, slot, step, step_is_undo, token) else {
                hear(&mut next, slot, Ear::Failed, true, None);
                return out.push(Step { did: Did::Planned(slot), world: next, wrong: None });
            };
            let Arrived { world: mut seen, ear, .. } = agents::look(real, &next, message);
            hear(&mut seen, slot, ear, true, Some(message.service));
            out.push(Step { did: Did::Looked(slot, message, ear), world: seen, wrong: None });
            if world.luck.lost > 0 && ear != Ear::Stale {
                let Arrived { world: mut lost, .. } = agents::look(real, &next, message);
                lost.luck.lost -= 1;
                hear(&mut lost, slot, Ear::Uncertain, true, None);
                out.push(Step { did: Did::Looked(slot, message, Ear::Uncertain), world: lost, wrong: None });
                // Or the agent is away, and the look never comes to the door.
                let mut away = next;
                away.luck.lost -= 1;
                hear(&mut away, slot, Ear::Uncertain, true, None);
                out.push(Step { did: Did::Looked(slot, message, Ear::Uncertain), world: away, wrong: None });
            }
        }
    }
}

/// Orders a step: it goes well, fails, or its answer does not come.
fn send(real: &Real, world: &World, slot: usize, step: u8, undo: bool, out: &mut Vec<Step>) {
    let mut base = *world;
    let token = next_token(real, &mut base, slot);
    let Some(message) = real.message(world.slots[slot].run, slot, step, undo, token) else {
        hear(&mut base, slot, Ear::Failed, false, None);
        return out.push(Step { did: Did::Planned(slot), world: base, wrong: None });
    };
    let mut push = |arrived: Arrived, how: How, ear: Ear, luck: Luck| {
        let Arrived { world: mut next, wrong, .. } = arrived;
        next.luck = luck;
        let certain = (ear != Ear::Uncertain && ear != Ear::Stale).then_some(message.service);
        hear(&mut next, slot, ear, false, certain);
        out.push(Step { did: Did::Sent(slot, message, how), world: next, wrong });
    };
    let well = agents::order(real, &base, message, Going::Well);
    let ear = well.ear;
    let luck = world.luck;
    if ear == Ear::Stale {
        return push(well, How::Refused, ear, luck);
    }
    let going = if ear == Ear::So { Going::Well } else { Going::Cleanly };
    push(well, How::Answered(going), ear, luck);
    let acts = !matches!(message.kind, Kind::Prove { .. });
    if luck.lost > 0 {
        let lost = Luck { lost: luck.lost - 1, ..luck };
        push(agents::order(real, &base, message, Going::Well), How::AnswerLost, Ear::Uncertain, lost);
        if acts {
            let mut late = base;
            late.delay(message);
            let arrived = Arrived { world: late, ear: Ear::Uncertain, changed: false, wrong: None };
            push(arrived, How::Late, Ear::Uncertain, lost);
        }
    }
    let fails = if undo { luck.undo_fails } else { luck.step_fails };
    if fails == 0 {
        return;
    }
    let less = if undo { Luck { undo_fails: fails - 1, ..luck } } else { Luck { step_fails: fails - 1, ..luck } };
    push(agents::order(real, &base, message, Going::Cleanly), How::Answered(Going::Cleanly), Ear::Failed, less);
    if acts {
        push(agents::order(real, &base, message, Going::HalfDone), How::Answered(Going::HalfDone), Ear::Failed, less);
    }
}

/// Counts a message under the present claim, as the driver does.
fn next_token(real: &Real, world: &mut World, slot: usize) -> Token {
    let claim = claim_number(real, world.slots[slot].run);
    let sent = &mut world.slots[slot].mind.sent;
    if sent.claim != claim {
        *sent = Token { claim, n: 0 };
    }
    if real.setting.left.holds(Outer::MessagesAreCounted) {
        sent.n += 1;
    }
    *sent
}

fn claim_number(real: &Real, run: u32) -> u8 {
    real.run(run).claim.and_then(|p| u8::try_from(p.0.saturating_sub(999)).ok()).unwrap_or_default()
}

fn hear(world: &mut World, slot: usize, ear: Ear, looked: bool, certain: Option<u8>) {
    let slot = &mut world.slots[slot];
    slot.mind.ear = ear;
    slot.mind.uncertain = slot.mind.uncertain.saturating_add(u8::from(looked));
    if let Some(service) = certain {
        slot.moved &= !(1 << service);
    }
}

/// The log takes a record about the request in a slot.
fn write(real: &mut Real, world: &mut World, slot: usize, event: u32) -> Result<(), String> {
    let recorded = real.record(world, slot, event).map_err(|why| format!("the journal refuses: {why}"))?;
    let kind = real.event(event);
    let by_the_task = !matches!(kind, Event::CancelAsked { .. } | Event::Approved { .. } | Event::Granted { .. });
    if is_claim(kind) {
        world.claims += 1;
    }
    let ended = matches!(kind, Event::Ended { .. });
    let to_be_driven_anew = matches!(kind, Event::Resolved { .. });
    let begins_to_act = matches!(kind, Event::Passed { .. } | Event::Resumed | Event::Resolved { .. });
    let at = &mut world.slots[slot];
    at.run = recorded.run;
    if by_the_task {
        let sent = at.mind.sent;
        at.mind = Mind { sent, ..Mind::default() };
    }
    if ended || to_be_driven_anew {
        at.mind = Mind::default();
    }
    if begins_to_act {
        at.since = world.clock;
    }
    if ended {
        (at.misled, at.outdated, at.moved, at.since) = (false, false, 0, 0);
    }
    if recorded.lets_go {
        world.holder = None;
    }
    if recorded.takes {
        world.holder = Some(slot as u8);
    }
    // A request that led nobody out, or did, makes room for the next one.
    while let Some(last) = world.used().checked_sub(1).map(|last| &mut world.slots[last])
        && matches!(last.wish, Wish::Way(..))
        && real.run(last.run).ended()
    {
        *last = Slot::default();
    }
    Ok(())
}

/// Where a walk begins: nothing asked yet, or the first request past the gate.
pub(super) fn start(real: &mut Real) -> World {
    let mut world = World::quiet(real.setting.luck);
    if !real.setting.passed {
        return world;
    }
    world.luck.following += 1;
    let mut first = Vec::new();
    asked(real, &world, &mut first);
    world = first.remove(0).world;
    while real.run(world.slots[0].run).steps.is_empty() {
        let mut next = Vec::new();
        task(real, &world, 0, &mut next);
        if next.is_empty() {
            people(real, &world, 0, &mut next);
        }
        world = next.remove(0).world;
    }
    world.settle();
    world
}

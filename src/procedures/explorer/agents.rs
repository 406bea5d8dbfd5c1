//! The host's side: what a message does when it arrives, by the agent's own rules.

use super::leave_out::Outer;
use super::real::Real;
use super::world::{Ear, Kind, Message, Version, World};

/// What a message came to.
pub(super) struct Arrived {
    pub(super) world: World,
    pub(super) ear: Ear,
    /// It changed what a service runs.
    pub(super) changed: bool,
    /// What was wrong about that.
    pub(super) wrong: Option<String>,
}

/// How carrying it out goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    Well,
    /// It fails and has changed nothing.
    Cleanly,
    /// It fails and has changed things all the same.
    HalfDone,
}

/// An order arrives.
pub(super) fn order(real: &Real, world: &World, message: Message, going: Going) -> Arrived {
    let (mut next, again) = match through_the_door(real, world, message, false) {
        Door::Shut => return stale(world),
        Door::Open(next) => (next, false),
        Door::Again(next) => (next, true),
    };
    let mut wrong = None;
    let service = usize::from(message.service);
    let now = next.at[service];
    let desired = real.setting.left.holds(Outer::DesiredState);
    let (can, then) = match message.kind {
        // It came to its end before: it only looks.
        Kind::Swap { to, .. } if again => (now == to, now),
        Kind::OneShot if again => (now == Version::New, now),
        Kind::Prove { to } => (now == to, now),
        Kind::OneShot => {
            if now == Version::New && going != Going::Cleanly {
                wrong = Some("a step that cannot be repeated took effect twice".to_owned());
            }
            (true, Version::New)
        }
        Kind::Swap { from, to } => {
            let foreign = now != from && now != to;
            if now == to && !desired {
                // "One version back" instead of "run 1.4": done twice it goes too far.
                (true, if to == Version::Old { Version::Past } else { to })
            } else if now == to {
                (true, to)
            } else if foreign && real.setting.left.holds(Outer::OnlyThePlannedOne) {
                (false, now)
            } else {
                if foreign && going != Going::Cleanly {
                    wrong = Some("it replaced a container that was not the one planned for".to_owned());
                }
                (true, to)
            }
        }
    };
    if going != Going::Cleanly {
        next.at[service] = then;
    }
    let changed = next.at[service] != now;
    let ear = if can && going == Going::Well { Ear::So } else { Ear::Failed };
    Arrived { world: next, ear, changed, wrong: wrong.filter(|_| changed || message.kind == Kind::OneShot) }
}

/// The bot looks whether a step, or its undo, is so. Looking shuts the door to older messages too.
pub(super) fn look(real: &Real, world: &World, message: Message) -> Arrived {
    let next = match through_the_door(real, world, message, true) {
        Door::Shut => return stale(world),
        Door::Open(next) | Door::Again(next) => next,
    };
    let now = next.at[usize::from(message.service)];
    let so = match message.kind {
        Kind::Prove { to } | Kind::Swap { to, .. } => now == to,
        Kind::OneShot => now == Version::New,
    };
    Arrived { world: next, ear: if so { Ear::So } else { Ear::NotSo }, changed: false, wrong: None }
}

/// What the door says to a message, as `agent::tokens` has it.
enum Door {
    Shut,
    Open(World),
    /// This very message had its end before.
    Again(World),
}

fn through_the_door(real: &Real, world: &World, message: Message, look: bool) -> Door {
    let mut next = *world;
    next.door = next.door.max(message.token);
    next.newest = Some((message, look));
    if !real.setting.left.holds(Outer::DoorIsWatched) {
        return Door::Open(next);
    }
    if message.token < world.door {
        return Door::Shut;
    }
    // Where messages are not counted all of one claim have the same token.
    if message.token == world.door && real.setting.left.holds(Outer::MessagesAreCounted) {
        let same = world.newest == Some((message, look));
        return if same { Door::Again(next) } else { Door::Shut };
    }
    Door::Open(next)
}

fn stale(world: &World) -> Arrived {
    Arrived { world: *world, ear: Ear::Stale, changed: false, wrong: None }
}

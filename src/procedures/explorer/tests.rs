//! What has to hold: nothing goes wrong while every rule holds, and something does without each.

use std::time::Instant;

use super::super::rules::Rule;
use super::cast::{Setting, Votes};
use super::leave_out::{Left, Outer};
use super::search::{Walk, walk};
use super::world::Luck;

/// Two services, everything asked and agreed to, nothing goes wrong.
const CALM: Setting = Setting {
    services: 2,
    one_way: false,
    votes: Some(Votes { count: 1, waived: false, consoles: false }),
    ways_are_asked: false,
    passed: false,
    luck: Luck {
        crashes: 0,
        lost: 0,
        step_fails: 0,
        undo_fails: 0,
        cancels: 0,
        outside: 0,
        hours: 0,
        following: 1,
        ways: 1,
        rights: 0,
    },
    left: Left::Out,
};

/// Everything that may go wrong in one night.
const NIGHT: Luck = Luck {
    crashes: 2,
    lost: 2,
    step_fails: 1,
    undo_fails: 1,
    cancels: 1,
    outside: 1,
    hours: 1,
    following: 2,
    ways: 1,
    rights: 0,
};

/// States of one walk in CI at most; a walk that must be closed is told so by its test.
const MANY: usize = 40_000_000;

fn tell(story: &[String]) -> String {
    story.iter().map(|line| format!("\n  {line}")).collect()
}

/// Walks everywhere, and nothing may go wrong.
fn all_is_well(name: &str, setting: Setting) -> Walk {
    let began = Instant::now();
    let found = walk(setting, MANY);
    let seconds = began.elapsed().as_secs_f32();
    if let Some(story) = &found.story {
        panic!("{name}: something goes wrong, found after {} states:{}", found.states, tell(story));
    }
    assert!(found.closed, "{name}: {} states, and still not all", found.states);
    eprintln!(
        "{name}: {} states, {} moves, closed, {} journals, {seconds:.1} s; ends {:?}",
        found.states, found.moves, found.journals, found.ends
    );
    found
}

#[test]
fn calm() {
    all_is_well("calm", CALM);
}

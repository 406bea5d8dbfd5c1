//! The walk: breadth first, so that the first story is a shortest one, and closed, so that what cannot be reached is known.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{Hash, Hasher};

use super::cast::Setting;
use super::invariants::is_home;
use super::moves::{self, Did, Step};
use super::real::Real;
use super::story;
use super::world::World;
use crate::domain::event::Outcome;

/// What a walk came to.
pub(super) struct Walk {
    pub(super) states: usize,
    pub(super) moves: usize,
    /// Every state was seen and gone on from.
    pub(super) closed: bool,
    /// How often each end of a run was come to, and `stuck`.
    pub(super) ends: BTreeMap<&'static str, usize>,
    /// The shortest story in which something goes wrong.
    pub(super) story: Option<Vec<String>>,
    /// Distinct folded journals.
    pub(super) journals: usize,
}

/// Two lanes of 64 bits each.
struct Mix(u64, u64);

fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[allow(clippy::cast_possible_truncation)] // both halves are wanted
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, value: u8) {
        self.write_u64(u64::from(value));
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value as u64);
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = fold(self.0 ^ value, 0x9e37_79b9_7f4a_7c15).wrapping_add(0x2545_f491_4f6c_dd1d);
        self.1 = fold(self.1 ^ value.rotate_left(29), 0xd6e8_feb8_6659_fd93).wrapping_add(0xa076_1d64_78bd_642f);
    }
}

/// 128 bits that stand for a world.
fn key(world: &World) -> u128 {
    let mut mix = Mix(0x243f_6a88_85a3_08d3, 0x1319_8a2e_0370_7344);
    world.hash(&mut mix);
    u128::from(mix.0) << 64 | u128::from(mix.1)
}

/// Walks everywhere, at most to so many states, or to the first thing that goes wrong.
pub(super) fn walk(setting: Setting, most: usize) -> Walk {
    let mut real = Real::new(setting);
    let start = moves::start(&mut real);
    let mut seen: HashMap<u128, u32> = HashMap::from([(key(&start), 0)]);
    let mut parents: Vec<(u32, u16)> = vec![(0, 0)];
    let (mut edges, mut from): (Vec<u32>, Vec<u32>) = (Vec::new(), vec![0]);
    let mut home: Vec<bool> = vec![is_home(&real, &start)];
    let mut ends = BTreeMap::new();
    let mut todo = VecDeque::from([start]);
    let mut at = 0u32;
    while let Some(world) = todo.pop_front() {
        for (nth, Step { did, world: next, wrong }) in (0u16..).zip(moves::all(&mut real, &world)) {
            if let Some(why) = wrong {
                let story = told(setting, &parents, at, Some(nth), &why);
                return Walk::of(parents.len(), edges.len(), false, ends, Some(story), &real);
            }
            count(&real, did, &mut ends);
            let fresh = u32::try_from(parents.len()).expect("fewer than 2^32 states");
            let index = *seen.entry(key(&next)).or_insert(fresh);
            if index == fresh {
                parents.push((at, nth));
                home.push(is_home(&real, &next));
                todo.push_back(next);
            }
            edges.push(index);
        }
        from.push(u32::try_from(edges.len()).expect("fewer than 2^32 moves"));
        at += 1;
        if parents.len() > most {
            return Walk::of(parents.len(), edges.len(), false, ends, None, &real);
        }
    }
    drop(seen);
    let lost = no_way_home(&edges, &from, home);
    let story = lost.map(|state| told(setting, &parents, state, None, "from here no way leads to an end"));
    Walk::of(parents.len(), edges.len(), true, ends, story, &real)
}

impl Walk {
    fn of(
        states: usize,
        moves: usize,
        closed: bool,
        ends: BTreeMap<&'static str, usize>,
        story: Option<Vec<String>>,
        real: &Real,
    ) -> Self {
        Self { states, moves, closed, ends, story, journals: real.journals() }
    }
}

/// The first state from which everything that was asked for can never come to its end.
fn no_way_home(edges: &[u32], from: &[u32], mut home: Vec<bool>) -> Option<u32> {
    loop {
        let mut more = false;
        for state in (0..home.len()).rev() {
            if !home[state] {
                let next = &edges[from[state] as usize..from[state + 1] as usize];
                home[state] = next.iter().any(|n| home[*n as usize]);
                more |= home[state];
            }
        }
        if !more {
            // Best one in which nothing at all can happen any more.
            let lost = |s: &usize| !home[*s];
            let still = (0..home.len()).filter(lost).find(|s| from[*s] == from[*s + 1]);
            return still.or_else(|| (0..home.len()).find(lost)).and_then(|s| u32::try_from(s).ok());
        }
    }
}

fn count(real: &Real, did: Did, ends: &mut BTreeMap<&'static str, usize>) {
    let (Did::Wrote(_, event) | Did::Voided(_, event)) = did else { return };
    let name = match real.event(event) {
        crate::domain::event::Event::Stuck { .. } => "stuck",
        crate::domain::event::Event::Ended { outcome } => match outcome {
            Outcome::Done => "new",
            Outcome::Undone { .. } => "old",
            Outcome::Accepted { .. } => "accepted",
            Outcome::Void { .. } => "void",
            Outcome::DryRun => "dry run",
            Outcome::Refused { .. } => "refused",
            Outcome::Denied { .. } => "denied",
            Outcome::Expired => "expired",
            Outcome::Cancelled { .. } => "cancelled",
        },
        _ => return,
    };
    *ends.entry(name).or_default() += 1;
}

/// The way to a state, and one move on, as sentences.
fn told(setting: Setting, parents: &[(u32, u16)], mut state: u32, last: Option<u16>, why: &str) -> Vec<String> {
    let mut way: Vec<u16> = last.into_iter().collect();
    while state != 0 {
        let (before, nth) = parents[state as usize];
        way.push(nth);
        state = before;
    }
    let mut real = Real::new(setting);
    let mut world = moves::start(&mut real);
    let mut story = Vec::new();
    for nth in way.into_iter().rev() {
        let step = moves::all(&mut real, &world).swap_remove(usize::from(nth));
        story.extend(story::sentence(&real, &step));
        world = step.world;
    }
    story.push(format!("WRONG: {why}."));
    story
}

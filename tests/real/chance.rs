//! Choices that a seed makes: which points of a long night are tried in a short one.

use std::fmt;

/// Chosen by this seed in every run of CI; a fresh one is beside it.
const FIXED: u64 = 5;

/// Names a seed to try again.
const SEED: &str = "STERNWAY_KILLS_SEED";

/// `all` tries everything.
const EXTENT: &str = "STERNWAY_KILLS";

/// Numbers from a seed (splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    /// Any number.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 1 to `most`.
    pub(crate) fn up_to(&mut self, most: usize) -> usize {
        1 + usize::try_from(self.next() % most.max(1) as u64).expect("it is below a usize")
    }

    pub(crate) fn shuffle<T>(&mut self, all: &mut [T]) {
        for at in (1..all.len()).rev() {
            all.swap(at, self.up_to(at + 1) - 1);
        }
    }

    /// So many of them, in any order.
    pub(crate) fn some_of<T>(&mut self, all: impl IntoIterator<Item = T>, count: usize) -> Vec<T> {
        let mut all: Vec<T> = all.into_iter().collect();
        self.shuffle(&mut all);
        all.truncate(count);
        all
    }
}

fn word(name: &str) -> Option<String> {
    std::env::var_os(name)?.into_string().ok()
}

/// How much is tried.
pub(crate) struct Extent {
    seeds: Vec<u64>,
    all: bool,
}

impl Extent {
    /// As the environment says: everything, what one seed chooses, or what the fixed seed and a fresh one choose.
    pub(crate) fn of_environment() -> Self {
        let said = word(SEED).map(|text| text.parse().expect("a seed is a number"));
        let fresh = || {
            let mut random = [0; 2];
            getrandom::fill(&mut random).expect("random numbers");
            u64::from(u16::from_le_bytes(random))
        };
        let all = word(EXTENT).is_some_and(|word| word == "all");
        let seeds = match said {
            Some(seed) => vec![seed],
            None if all => vec![fresh()],
            None => vec![FIXED, fresh()],
        };
        Self { seeds, all }
    }

    pub(crate) fn is_all(&self) -> bool {
        self.all
    }

    pub(crate) fn chances(&self) -> Vec<Chance> {
        self.seeds.iter().map(|seed| Chance(*seed)).collect()
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.all {
            return write!(f, "all of them, {SEED}={}", self.seeds[0]);
        }
        let seeds: Vec<String> = self.seeds.iter().map(|seed| format!("{SEED}={seed}")).collect();
        write!(f, "chosen by {}", seeds.join(" and "))
    }
}

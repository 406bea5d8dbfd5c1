//! What can happen in a night, where, and which nights a sample holds.

use std::fmt;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Fault {
    /// Nothing: the calls are counted.
    Nothing,

    // The engine, killed by SIGKILL before it hears of the call, or after it has answered but before anybody hears.
    KilledBefore,
    KilledAfter,
    /// With its containerd.
    AllKilledBefore,
    AllKilledAfter,

    // What comes through the socket, from that call on.
    /// Accepts and never answers, for a quarter of a minute.
    HungAWhile,
    /// Accepts and never answers, until the run has given up.
    HungForGood,
    /// Only looks hang, for longer than a look may take.
    HungLooks,
    /// Every answer comes three seconds late.
    Slow,
    /// That call is answered with 500.
    Error500Once,
    /// Every call is, until the run has given up.
    Error500Always,
    /// Nobody listens for ten seconds.
    Refused,
    /// The answer to that call ends in the middle of its body.
    CutOnce,
    /// Every answer does, until the run has given up.
    CutAlways,
    /// The answer to that call is half a JSON of the right length.
    TruncatedOnce,
    /// Every answer is, until the run has given up.
    TruncatedAlways,
    /// Every answer is JSON of the wrong shape, with paths and escapes in it, for a while.
    Hostile,

    // Somebody at the keyboard, just before that call.
    RemoveOld,
    RemoveNew,
    RenameOld,
    RenameNew,
    RestartOld,
    RestartNew,
    StopOld,
    StopNew,
    DeleteImage,
    MoveTag,
    /// `docker-compose up -d` with a third image.
    Redeploy,

    /// The engine's disk is full from that call on.
    DiskFull,

    // The bot's clock.
    Forward,
    Back,
}

use Fault::*;

impl Fault {
    /// By what a test has to do with.
    pub(crate) const OF_SOCKET: &[Fault] = &[
        HungAWhile,
        HungForGood,
        HungLooks,
        Slow,
        Error500Once,
        Error500Always,
        Refused,
        CutOnce,
        CutAlways,
        TruncatedOnce,
        TruncatedAlways,
        Hostile,
    ];
    pub(crate) const OF_ENGINE: &[Fault] = &[KilledBefore, KilledAfter, AllKilledBefore, AllKilledAfter];
    pub(crate) const BY_HAND: &[Fault] = &[
        RemoveOld,
        RemoveNew,
        RenameOld,
        RenameNew,
        RestartOld,
        RestartNew,
        StopOld,
        StopNew,
        DeleteImage,
        MoveTag,
        Redeploy,
    ];
    pub(crate) const OF_CLOCK: &[Fault] = &[Forward, Back];
    pub(crate) const OF_DISK: &[Fault] = &[DiskFull];

    /// It takes minutes, whatever is done.
    pub(crate) fn only_long(self) -> bool {
        self == HungForGood
    }

    /// Somebody else changed the containers: then the end may say that things are otherwise than planned.
    pub(crate) fn by_hand(self) -> bool {
        Self::BY_HAND.contains(&self)
    }

    /// It goes on until the run rests.
    pub(crate) fn until_rest(self) -> bool {
        matches!(self, HungForGood | Slow | Error500Always | CutAlways | TruncatedAlways | DiskFull)
    }

    /// It is over after so many seconds. In the short form nothing of the socket goes on until the run has given up, which
    /// takes minutes by design.
    pub(crate) fn lasts_s(self, long: bool) -> Option<u64> {
        match self {
            Slow | Error500Always | CutAlways | TruncatedAlways if !long => Some(8),
            HungAWhile => Some(12),
            HungLooks => Some(25),
            Refused => Some(10),
            Hostile => Some(5),
            _ => None,
        }
    }
}

/// What the run goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Target {
    /// Works: the run ends new, and the next one goes back again.
    Good,
    /// Ends at once: every run ends old.
    Broken,
}

/// By which compose a project lives, and how its services restart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Setting {
    pub(crate) target: Target,
    /// `1.29.2` or `2.26.1`.
    pub(crate) compose: &'static str,
    pub(crate) restart: &'static str,
    /// Whether the bot's clock can be moved.
    pub(crate) clock: bool,
}

impl Setting {
    pub(crate) const fn of(target: Target, compose: &'static str, restart: &'static str) -> Self {
        Self { target, compose, restart, clock: false }
    }

    /// Calls of an uninterrupted run that change something. Create, policy, stop, start; then two names, policy, removal,
    /// signal; or back: start, policy, removal, signal. A container that never restarts needs no policy, neither way.
    pub(crate) fn least_calls(self) -> usize {
        let policies = if self.restart == "no" { 2 } else { 0 };
        let all = if self.target == Target::Good { 9 } else { 8 };
        all - policies
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} target, compose {}, restart {}", self.target, self.compose, self.restart)
    }
}

/// One night.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point {
    pub(crate) setting: Setting,
    pub(crate) fault: Fault,
    /// The call that changes something, counted from 1.
    pub(crate) call: usize,
}

/// splitmix64: a seed is all there is to remember.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let z = z ^ (z >> 31);
        usize::try_from(z % end as u64).expect("below a usize")
    }
}

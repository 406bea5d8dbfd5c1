//! The protective rules, wherever they live, and what leaving one out means for the world.

use super::super::rules::{Rule, Rules};

/// Rules that live outside of `decide` and `request`: in the fold, the votes, the log, the driver's counting and the agent.
/// One that is left out is one whose refusal the world gets round, or whose check its agent does not make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Outer {
    /// R2: an order says what shall be, so that twice is once.
    DesiredState,
    /// R3: the agent refuses messages that are older than the newest it has seen.
    DoorIsWatched,
    /// R3: each message has a number of its own under its claim.
    MessagesAreCounted,
    /// The agent replaces only the container that was planned for.
    OnlyThePlannedOne,
    /// R8: one run holds the stack.
    OneClaim,
    /// R7: a stuck run keeps the stack.
    StuckKeepsClaim,
    /// Nobody approves their own request.
    NoOwnVote,
    /// A person counts once.
    PersonOnce,
    /// All votes from consoles count as one.
    ConsolesAreOne,
    /// Only whom the rule names may vote.
    OnlyApprovers,
    /// A vote is for the plan that was seen.
    VoteIsForOnePlan,
    /// A vote that comes too late does not count.
    VoteInTime,
    /// Only agreed plans claim: the log's side of it.
    OnlyAgreedClaims,
}

/// What is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Left {
    /// Nothing.
    Out,
    /// A rule of the pure functions.
    Inner(Rule),
    /// A rule elsewhere.
    Outer(Outer),
    /// One of the pure functions and its second net.
    Both(Rule, Outer),
}

impl Left {
    /// What the pure functions get.
    pub(super) fn rules(self) -> Rules {
        match self {
            Left::Inner(rule) | Left::Both(rule, _) => Rules::without(rule),
            Left::Out | Left::Outer(_) => Rules::ALL,
        }
    }

    /// Whether this rule holds in the world.
    pub(super) fn holds(self, rule: Outer) -> bool {
        !matches!(self, Left::Outer(left) | Left::Both(_, left) if left == rule)
    }

    /// Whether the order of tokens decides what may act, as it should.
    pub(super) fn tokens_are_sound(self) -> bool {
        self.holds(Outer::DoorIsWatched)
            && self.holds(Outer::MessagesAreCounted)
            && self.holds(Outer::OneClaim)
            && self != Left::Inner(Rule::NewClaim)
    }
}

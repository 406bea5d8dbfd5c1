//! The protective rules of the run engine, as a value.
//!
//! They are those of durability section 5, and those of the time before a run may act. The program only ever has
//! [`Rules::ALL`]; the explorer leaves one out and must then find a story in which something goes wrong. Only a test can
//! make such a value: there is nothing to switch in the program.

/// One protective rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Rule {
    /// R1: the intent is durable before the order leaves.
    JournalFirst,
    /// R4: recovery takes a new claim.
    NewClaim,
    /// R4: after a restart look before sending.
    LookFirst,
    /// R5: every step with an intent is taken back, the uncertain and failed ones included.
    UndoUncertain,
    /// Steps are taken back from the last to the first.
    UndoInReverse,
    /// R6: a time-out is not a failure: look, then decide.
    TimeoutIsNoFailure,
    /// R7: an undo that fails stops everything and keeps the claim.
    FailedUndoIsStuck,
    /// `It is now so` is said after a look.
    LookBeforeAccept,
    /// No step is begun after somebody cancelled.
    CancelIsHeeded,
    /// No step is begun after the plan's time is up.
    LimitIsHeeded,
    /// Past a step that cannot be taken back the way home is forward.
    NoTurnPastReturn,
    /// Nothing is claimed while votes are missing.
    VotesBeforeClaim,
    /// R10: consent is for now, and is looked at again before the claim and before the pass.
    ConsentIsForNow,
    /// R10: so is a request that nobody has to agree to.
    RequestIsForNow,
    /// The requester's right is asked anew before the claim.
    RightsAskedAnew,
    /// The plan is made again under the claim and must be the same.
    PlanAgain,
    /// What is asked again by itself goes nowhere unseen.
    AgainIsShown,
    /// A way out is for the stuck run as people saw it.
    WayOutIsForWhatWasSeen,
}

/// Which protective rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    without: Option<Rule>,
}

impl Rules {
    /// Every rule.
    pub const ALL: Self = Self { without: None };

    /// Whether the rule holds.
    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// All but one, for the explorer.
    #[cfg(test)]
    pub(crate) fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }
}

//! One moment of the small world: small, flat and comparable, so that millions of them fit.

/// Services at most.
pub(super) const SERVICES: usize = 4;

/// Requests at most.
pub(super) const RUNS: usize = 4;

/// What a service runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Version {
    /// What ran at the beginning.
    Old,
    /// What the first request wants.
    New,
    /// What somebody deployed meanwhile.
    Third,
    /// Nothing: its container was removed.
    Gone,
    /// What ran before the old one: nobody ever wanted it.
    Past,
}

/// A message's place in the order of all messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(super) struct Token {
    pub(super) claim: u8,
    pub(super) n: u8,
}

/// What a message wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    Swap {
        from: Version,
        to: Version,
    },
    /// Something that cannot be repeated.
    OneShot,
    Prove {
        to: Version,
    },
}

/// An order on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Message {
    pub(super) token: Token,
    pub(super) slot: u8,
    pub(super) service: u8,
    pub(super) kind: Kind,
    /// It takes something back.
    pub(super) undo: bool,
}

/// The last answer, as [`crate::procedures::decide::Heard`] without its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Ear {
    #[default]
    Nothing,
    So,
    Failed,
    Uncertain,
    NotSo,
    Stale,
}

/// The plan that was made since the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Draft {
    #[default]
    None,
    /// None can be made.
    Not,
    /// This one.
    Plan(u16),
    /// It was seen that the stack is free; the claim is about to be written.
    Claiming,
}

/// What the bot knows of a request beyond the journal. Lost with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Mind {
    pub(super) ear: Ear,
    pub(super) uncertain: u8,
    pub(super) sent: Token,
    pub(super) draft: Draft,
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) enum Wish {
    /// The services that are not new shall be.
    #[default]
    New,
    /// All new: back to the old; else to the new.
    Other,
    /// Lead the run in that slot out, by the way with this number.
    Way(u8, u8),
}

/// A request and the run it becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Slot {
    /// Its folded journal; 0 when there is no such request.
    pub(super) run: u32,
    pub(super) mind: Mind,
    pub(super) wish: Wish,
    /// Times it was asked again by itself.
    pub(super) again: u8,
    /// A vote on record was given for another plan.
    pub(super) misled: bool,
    /// At the claim the world was not as planned, and nobody has looked since.
    pub(super) outdated: bool,
    /// Services that somebody else changed since this run heard of them last, a bit each.
    pub(super) moved: u8,
    /// The clock when its present claim began to act.
    pub(super) since: u8,
}

/// How often each mishap may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Luck {
    pub(super) crashes: u8,
    pub(super) lost: u8,
    pub(super) step_fails: u8,
    pub(super) undo_fails: u8,
    pub(super) cancels: u8,
    /// Somebody redeploys or removes a service's container.
    pub(super) outside: u8,
    /// Two hours pass.
    pub(super) hours: u8,
    /// A following request on the same stack.
    pub(super) following: u8,
    /// A stuck run is led on, forward or back; accepting is always possible.
    pub(super) ways: u8,
    /// The requester loses the right to ask, by a change of the config that takes a restart.
    pub(super) rights: u8,
}

/// The world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct World {
    pub(super) slots: [Slot; RUNS],
    /// What the services run.
    pub(super) at: [Version; SERVICES],
    /// The highest token that the agent has seen.
    pub(super) door: Token,
    /// The message that had it, and whether it only looked; where another one could have it too.
    pub(super) newest: Option<(Message, bool)>,
    pub(super) late: [Option<Message>; 2],
    pub(super) luck: Luck,
    /// Times two hours have passed.
    pub(super) clock: u8,
    pub(super) up: bool,
    /// Records so far that are somebody's claim: the positions of the next ones.
    pub(super) claims: u8,
    /// The log's index: who holds the stack.
    pub(super) holder: Option<u8>,
    /// The requester may ask no more.
    pub(super) no_right: bool,
}

impl World {
    /// Nothing was asked yet.
    pub(super) fn quiet(luck: Luck) -> Self {
        Self {
            slots: [Slot::default(); RUNS],
            at: [Version::Old; SERVICES],
            door: Token::default(),
            newest: None,
            late: [None; 2],
            luck,
            clock: 0,
            up: true,
            claims: 0,
            holder: None,
            no_right: false,
        }
    }

    /// The slots in use.
    pub(super) fn used(&self) -> usize {
        self.slots.iter().take_while(|s| s.run != 0).count()
    }

    /// Puts a message among those on their way.
    pub(super) fn delay(&mut self, message: Message) {
        if let Some(free) = self.late.iter_mut().find(|m| m.is_none()) {
            *free = Some(message);
        }
        self.late.sort();
    }

    /// Leaves out what no longer makes a difference: messages that the door refuses anyway, and how large the numbers of
    /// tokens are as long as their order is the same. Only where the agent checks tokens.
    pub(super) fn settle(&mut self) {
        let door = self.door;
        self.newest = None;
        for late in &mut self.late {
            if late.is_some_and(|m| m.token < door) {
                *late = None;
            }
        }
        self.late.sort();
        let mut claims: Vec<u8> = vec![door.claim];
        claims.extend(self.late.iter().flatten().map(|m| m.token.claim));
        claims.extend(self.slots.iter().map(|s| s.mind.sent.claim));
        claims.sort_unstable();
        claims.dedup();
        for claim in claims {
            let mut numbers: Vec<u8> = Vec::with_capacity(8);
            self.each_token(|t| {
                if t.claim == claim {
                    numbers.push(t.n)
                }
            });
            numbers.push(0);
            numbers.sort_unstable();
            numbers.dedup();
            let rank = |n: u8| numbers.iter().position(|k| *k == n).map_or(n, |p| u8::try_from(p).unwrap_or(n));
            self.each_token(|t| {
                if t.claim == claim {
                    t.n = rank(t.n)
                }
            });
        }
    }

    fn each_token(&mut self, mut f: impl FnMut(&mut Token)) {
        f(&mut self.door);
        self.late.iter_mut().flatten().for_each(|m| f(&mut m.token));
        self.slots.iter_mut().for_each(|s| f(&mut s.mind.sent));
    }
}

//! Who is there, what they may do, what is planned, and how much goes wrong: the setting of a walk.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::leave_out::Left;
use super::world::{Luck, SERVICES, Version, Wish};
use crate::command::{ApprovalRule, Waived};
use crate::domain::actor::{Account, Actor, Person, Surface};
use crate::domain::ids::{Position, RunId};
use crate::domain::invocation::{Invocation, Place};
use crate::domain::names::{Fingerprint, HostName, PersonId, ProjectName, RoleName, ServiceName, StackName, Target};
use crate::domain::plan::{
    HealthCheck, HealthRule, ImageChoice, Plan, PlanNotes, PlannedStep, Settings, SpecRef, StepAction, Swap, Undo,
    WayOut,
};
use crate::domain::run::RunState;
use crate::procedures::request::Made;

/// The services, the main one first.
pub(super) const NAMES: [&str; SERVICES] = ["api", "worker", "web", "jobs"];

/// Seconds between two hands of the clock; consent and time limits run out in between.
const TICK_S: i64 = 7_200;

/// Who may do something. Amal asks; she, Ben and Cora may agree; Dan may not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Who {
    Amal,
    Ben,
    Cora,
    Dan,
}

impl Who {
    pub(super) const ALL: [Who; 4] = [Who::Amal, Who::Ben, Who::Cora, Who::Dan];

    pub(super) fn name(self) -> &'static str {
        match self {
            Who::Amal => "Amal",
            Who::Ben => "Ben",
            Who::Cora => "Cora",
            Who::Dan => "Dan",
        }
    }

    pub(super) fn person(self) -> Person {
        let roles: &[&str] = if self == Who::Dan { &["operator"] } else { &["operator", "approver"] };
        Person {
            id: PersonId::parse(&self.name().to_lowercase()).unwrap(),
            roles: roles.iter().map(|r| RoleName::parse(r).unwrap()).collect(),
            accounts: Vec::new(),
        }
    }
}

/// The votes that a plan needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Votes {
    pub(super) count: u32,
    /// None for a proven release.
    pub(super) waived: bool,
    /// All are cast at consoles.
    pub(super) consoles: bool,
}

/// The setting of one walk.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting {
    pub(super) services: usize,
    /// The second step cannot be taken back, nor repeated.
    pub(super) one_way: bool,
    /// Who has to agree; nobody when there is no rule.
    pub(super) votes: Option<Votes>,
    /// A stuck run is led out by requests of their own, which have to be agreed to as well.
    pub(super) ways_are_asked: bool,
    /// The first request has passed when the walk begins.
    pub(super) passed: bool,
    pub(super) luck: Luck,
    /// The rule that is left out.
    pub(super) left: Left,
}

/// Whether a plan that has acted since then is over its limit: it is shorter than one move of the clock's hand.
pub(super) fn time_is_up(since: u8, clock: u8) -> bool {
    clock > since
}

/// The time that the clock's hand stands for.
pub(super) fn time(clock: u8) -> Timestamp {
    Timestamp::from_second(i64::from(clock) * TICK_S).unwrap()
}

pub(super) fn account(surface: Surface, who: Who) -> Account {
    Account { surface, id: who.name().to_owned(), detail: None }
}

pub(super) fn target() -> Target {
    Target { stack: StackName::parse("shop").unwrap(), host: HostName::parse("local").unwrap() }
}

/// The words that a request begins with.
pub(super) fn words(again: u8) -> Invocation {
    Invocation {
        event: "again:".repeat(usize::from(again)) + "e",
        account: account(Surface::Slack, Who::Amal),
        place: Place { surface: Surface::Slack, channel: "C".into(), thread: None },
        text: "/rollback image api".into(),
        at: Timestamp::UNIX_EPOCH,
    }
}

fn image(version: Version) -> ImageChoice {
    let digit = match version {
        Version::Old => "4",
        Version::New => "3",
        Version::Third => "5",
        Version::Gone => "0",
        Version::Past => "2",
    };
    ImageChoice {
        fingerprint: Fingerprint::parse(&digit.repeat(64)).unwrap(),
        image: format!("sha256:{}", digit.repeat(64)),
        reference: format!("shop:1.{digit}"),
    }
}

/// What an image of a plan stands for.
pub(super) fn version_of(choice: &ImageChoice, missing: bool) -> Version {
    let all = [Version::Old, Version::New, Version::Third, Version::Past];
    if missing { Version::Gone } else { all.into_iter().find(|v| image(*v) == *choice).unwrap() }
}

/// The version that has this fingerprint.
pub(super) fn version_with(fingerprint: &Fingerprint) -> Version {
    let all = [Version::Old, Version::New, Version::Third, Version::Past];
    all.into_iter().find(|v| image(*v).fingerprint == *fingerprint).unwrap()
}

fn health() -> HealthRule {
    HealthRule { check: HealthCheck::Weak, count: 1, interval_ms: 1_000, deadline_s: 10 }
}

fn swap(service: usize, from: Version, to: Version, undo: bool) -> StepAction {
    let service = ServiceName::parse(NAMES[service]).unwrap();
    if undo && to == Version::Gone {
        return StepAction::RemoveMade { service, number: None, grace_s: 10 };
    }
    StepAction::SwapService(Box::new(Swap {
        service,
        replaces: (!undo).then(|| "container".to_owned()),
        from: image(if from == Version::Gone { Version::Old } else { from }),
        to: image(to),
        settings: Settings::Today,
        spec: SpecRef { id: String::new(), mac: String::new() },
        target_spec: None,
        health: health(),
        grace_s: 10,
        number: None,
        start_first: None,
        follows: None,
        missing: from == Version::Gone,
    }))
}

impl Setting {
    /// The plan that leads from what is there to what is wished for; nothing when all is so already. Beside it the rule for
    /// its votes.
    pub(super) fn made(&self, at: &[Version; SERVICES], wish: Wish, no_right: bool, stuck: Option<&RunState>) -> Made {
        let (command, steps) = match wish {
            Wish::Way(_, way) => ("runs", stuck.map(|s| vec![resolve(s, way)]).unwrap_or_default()),
            Wish::New => ("rollback image", self.steps(at, Version::New)),
            Wish::Other => {
                let all_new = at[..self.services].iter().all(|v| *v == Version::New);
                ("rollback image", self.steps(at, if all_new { Version::Old } else { Version::New }))
            }
        };
        if steps.is_empty() {
            return Made::Not(crate::domain::trouble::Trouble::usage("There is nothing to do."));
        }
        let plan = Plan {
            target: target(),
            project: ProjectName::parse("shop").unwrap(),
            requester: Actor::Person(Who::Amal.person().id),
            command: command.into(),
            arguments: BTreeMap::new(),
            reason: String::new(),
            limit_s: (!matches!(wish, Wish::Way(..))).then_some(1_800),
            steps,
            catalogue: String::new(),
            policy: if no_right { "of today".into() } else { "of before".into() },
        };
        let notes = PlanNotes {
            proven: true,
            to_release: Some(crate::domain::ids::ReleaseId(Position(7))),
            ..PlanNotes::default()
        };
        let rule = self.votes.map(|votes| ApprovalRule {
            from: RoleName::parse("approver").unwrap(),
            count: votes.count,
            waived: if votes.waived { Waived::ProvenRelease } else { Waived::Never },
            expires_s: 3_600,
        });
        Made::Plan { plan: Box::new(plan), notes, rule }
    }

    fn steps(&self, at: &[Version; SERVICES], to: Version) -> Vec<PlannedStep> {
        let mut steps = Vec::new();
        for (service, from) in at.iter().copied().enumerate().take(self.services) {
            if from == to {
                continue;
            }
            let (action, undo) = if self.one_way && service == 1 {
                let action = StepAction::DumpDatabase { service: ServiceName::parse(NAMES[1]).unwrap() };
                (action, Undo::OneWay("the data of before is gone".into()))
            } else {
                (swap(service, from, to, false), Undo::Action(Box::new(swap(service, to, from, true))))
            };
            steps.push(PlannedStep { action, undo, limit_s: 60 });
        }
        if !steps.is_empty() {
            let service = ServiceName::parse(NAMES[0]).unwrap();
            let action = StepAction::ProveHealth { service, fingerprint: image(to).fingerprint, health: health() };
            steps.push(PlannedStep { action, undo: Undo::Nothing, limit_s: 60 });
        }
        steps
    }
}

/// The ways out by number.
pub(super) const WAYS: [WayOut; 3] = [WayOut::Retry, WayOut::Undo, WayOut::Accept];

fn resolve(stuck: &RunState, way: u8) -> PlannedStep {
    let action = StepAction::ResolveRun { run: stuck.id, way: WAYS[usize::from(way)], head: stuck.last.to_string() };
    PlannedStep { action, undo: Undo::Nothing, limit_s: 60 }
}

/// The id of the run in a slot.
pub(super) fn id_of(slot: usize) -> RunId {
    RunId(Position(slot as u64 + 1))
}

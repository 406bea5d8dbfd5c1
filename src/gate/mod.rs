//! May this person do this, here, now? Each file answers one question; this one asks them in order and is the only
//! maker of a [`Pass`].
//!
//! Order (decision 13): the door's limit, then [`screen`] (person, role, the command's own limit), then the plan, then
//! [`admit`] (are votes needed), then claim and [`pass`]: the plan made again under the claim must have the very hash
//! that was agreed to. First no wins, unknown means no. Must never: ask the world anything, or let anybody count twice.

pub mod differences;
pub mod limits;
pub mod votes;

use crate::command::{ApprovalRule, CommandSpec, Risk, Waived, Who};
use crate::domain::actor::{Account, Person};
use crate::domain::ids::RunId;
use crate::domain::plan::{Plan, PlanNotes, StepAction, Undo};
use crate::domain::run::{RunState, Status};
use crate::domain::trouble::{Trouble, TroubleKind};

pub use differences::differences;

/// Proof that the gate let one run's plan through. Only this room can make one, and the driver takes it by value.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a run that has passed is driven to its end"]
pub struct Pass {
    run: RunId,
}

impl Pass {
    /// The run that may act.
    pub fn run(&self) -> RunId {
        self.run
    }
}

/// May this account say this at all? `person` is who the config says the account is.
///
/// # Errors
/// The refusal as the person is told it; it goes on record.
pub fn screen(spec: &CommandSpec, account: &Account, person: Option<&Person>) -> Result<(), Trouble> {
    let Some(person) = person else {
        return match (&spec.who, spec.risk) {
            (Who::Anyone, Risk::Look) => Ok(()),
            _ => Err(Trouble::new(
                TroubleKind::Denied,
                format!("{account} is linked to nobody here, so it may look but not ask for /{}.", spec.path),
            )
            .say("Whoever runs Sternway links it: a [[person]] in the config with this account.")
            .try_this("/status")),
        };
    };
    if spec.who.includes(&person.roles) {
        return Ok(());
    }
    Err(Trouble::new(TroubleKind::Denied, format!("/{} is for {}; you are {}.", spec.path, spec.who, roles_of(person)))
        .say("Ask one of them to say it.")
        .try_this("/status"))
}

fn roles_of(person: &Person) -> String {
    if person.roles.is_empty() {
        return "without a role".to_owned();
    }
    person.roles.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// The votes a plan needs, or `None` when it may go on without (decision 14). `rule` is the stricter of command file
/// and config.
pub fn admit<'r>(plan: &Plan, notes: &PlanNotes, rule: Option<&'r ApprovalRule>) -> Option<&'r ApprovalRule> {
    let rule = rule?;
    let plain = plan.steps.iter().all(|s| {
        !matches!(s.undo, Undo::OneWay(_))
            && !matches!(s.action, StepAction::ResolveRun { .. } | StepAction::RestoreDatabase { .. })
    });
    let waived = rule.waived == Waived::ProvenRelease && notes.proven && notes.to_release.is_some() && plain;
    (!waived).then_some(rule)
}

/// Lets a claimed run act if the plan made under the claim is the one on record.
///
/// # Errors
/// What differs, a sentence each: the run ends void and people are asked again.
pub fn pass(run: &RunState, under_claim: &Plan) -> Result<Pass, Vec<String>> {
    let Some(planned) = run.plan.as_ref().filter(|_| matches!(run.status, Status::Claimed) && run.agreed()) else {
        return Err(vec!["the run does not hold its stack".to_owned()]);
    };
    let approved_other = run.approval.as_ref().is_some_and(|a| a.plan_hash != planned.hash);
    match under_claim.hash() {
        Ok(hash) if hash == planned.hash && !approved_other => Ok(Pass { run: run.id }),
        _ => {
            let mut found = differences(&planned.plan, under_claim);
            if found.is_empty() {
                found.push("the plan is no longer the one that was agreed to".to_owned());
            }
            Err(found)
        }
    }
}

/// Lets recovery go on with a run that has passed before: it acts on the run's own claim record.
pub fn pass_again(run: &RunState) -> Option<Pass> {
    let acts = match run.status {
        Status::Running | Status::Undoing { .. } => true,
        Status::Stuck { .. } => run.way.is_some(),
        Status::Requested | Status::Planned | Status::Claimed | Status::Ended { .. } => false,
    };
    (acts && run.holds_claim()).then_some(Pass { run: run.id })
}

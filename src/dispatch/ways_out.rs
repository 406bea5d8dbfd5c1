//! The ways out of `stuck`: retry, undo, accept (decision 17). Each is a request of its own that is planned, agreed to and
//! recorded like any other; what it does is one record on the stuck run.

use std::sync::Arc;

use super::core::cannot_record;
use super::{Core, conductor, intake};
use crate::command::Request;
use crate::command::{Action, Builtin};
use crate::domain::event::{Event, Outcome};
use crate::domain::ids::{Position, RunId};
use crate::domain::plan::{Plan, PlanNotes, PlannedStep, StepAction, Undo, WayOut};
use crate::domain::run::{RunState, Status};
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::procedures::decide::describe;
use crate::store::AppendError;

/// Seconds on the plan's one step; it is a record, not work.
const RECORD_S: u64 = 60;

fn way(builtin: Builtin) -> WayOut {
    match builtin {
        Builtin::RunsRetry => WayOut::Retry,
        Builtin::RunsUndo => WayOut::Undo,
        _ => WayOut::Accept,
    }
}

/// The stuck run that was named.
///
/// # Errors
/// When there is none or it is not stuck.
pub fn check(core: &Core, request: &Request, builtin: Builtin) -> Result<RunState, Trouble> {
    let run = intake::named_run(core, request)?;
    match run.status {
        Status::Stuck { .. } if run.way.is_none() => Ok(run),
        Status::Stuck { .. } => {
            Err(Trouble::new(TroubleKind::Busy, format!("a way out of {} was chosen already.", run.id))
                .try_this(format!("/runs show {}", run.id)))
        }
        _ => Err(Trouble::new(
            TroubleKind::NotFound,
            format!("{} is not stuck, so there is nothing to {}.", run.id, way(builtin).as_str()),
        )
        .try_this(format!("/runs show {}", run.id))),
    }
}

/// The plan: one step, bound to the stuck run's last record.
///
/// # Errors
/// When the run is no longer stuck.
pub fn prepare(core: &Core, run: &RunState, request: &Request) -> Result<(Plan, PlanNotes), Trouble> {
    let Action::Builtin(builtin) = request.spec.action else {
        return Err(Trouble::usage("This is no way out."));
    };
    let stuck = check(core, request, builtin)?;
    let planned = stuck.plan.as_ref().ok_or_else(|| Trouble::new(TroubleKind::NotFound, "that run has no plan."))?;
    let action = StepAction::ResolveRun { run: stuck.id, way: way(builtin), head: stuck.last.to_string() };
    let plan = Plan {
        target: planned.plan.target.clone(),
        project: planned.plan.project.clone(),
        requester: run.requester.clone(),
        command: request.command.to_string(),
        arguments: request.arguments.to_texts(),
        reason: request.reason.clone().unwrap_or_default(),
        steps: vec![PlannedStep { action, undo: Undo::Nothing, limit_s: RECORD_S }],
        limit_s: None,
        catalogue: core.catalogue.hash().to_owned(),
        policy: core.config.hash(),
    };
    let mut notes = PlanNotes::default();
    if let Status::Stuck { remains, why, step } = &stuck.status {
        notes.warnings.push(format!("stuck because: {why}"));
        notes.warnings.extend(remains.iter().cloned());
        if way(builtin) == WayOut::Retry
            && let Some(step) = planned.plan.steps.get(*step)
        {
            notes.warnings.push(format!("it goes on with: {}", describe(&step.action)));
        }
    }
    Ok((plan, notes))
}

/// The stuck run that a request leads out, if that is what its plan is about.
pub fn stuck_of(run: &RunState) -> Option<RunId> {
    match run.plan.as_ref().filter(|_| run.leads_out())?.plan.steps.first()?.action {
        StepAction::ResolveRun { run, .. } => Some(run),
        _ => None,
    }
}

/// What came of leading a run out.
pub enum Led {
    /// It goes its way.
    Out,
    /// Something was written since it was looked at.
    Moved,
}

/// Everybody agreed: writes the way out on the stuck run and ends this request, in one batch, if nothing was written since
/// `head`.
///
/// # Errors
/// When it could not be recorded.
pub async fn lead_out(
    core: &Arc<Core>,
    run: &RunState,
    stuck: RunId,
    resolved: Event,
    head: Position,
) -> Result<Led, Trouble> {
    let mut batch = core.drafts(stuck, vec![resolved]);
    batch.extend(core.drafts(run.id, vec![Event::Ended { outcome: Outcome::Done }]));
    match core.log.append(Some(head), batch).await {
        Ok(_) => {
            conductor::go_on(core, stuck, None);
            Ok(Led::Out)
        }
        Err(AppendError::Moved(_)) => Ok(Led::Moved),
        Err(error) => Err(cannot_record(&error)),
    }
}

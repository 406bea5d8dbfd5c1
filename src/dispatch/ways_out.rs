//! The ways out of `stuck`: retry, undo, accept (decision 17). Each is a request of its own that is planned, agreed to and
//! recorded like any other; what it does is one record on the stuck run.

use std::sync::Arc;

use super::core::{DECIDE_TRIES, cannot_read, cannot_record};
use super::{Core, conductor, intake};
use crate::command::Request;
use crate::command::{Action, Builtin};
use crate::domain::event::{Event, Outcome};
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

/// Everybody agreed: writes the way out on the stuck run and ends this request, in one batch, if nothing has moved.
///
/// # Errors
/// When it could not be recorded.
pub async fn lead_out(core: &Arc<Core>, run: &RunState, plan: &Plan) -> Result<(), Trouble> {
    let Some(StepAction::ResolveRun { run: stuck_id, way, head }) = plan.steps.first().map(|s| &s.action) else {
        return Err(Trouble::usage("This is no way out."));
    };
    for _ in 0..DECIDE_TRIES {
        let position = core.log.head().position;
        let stuck = core.log.run(*stuck_id).map_err(|e| cannot_read(&e))?;
        let unchanged =
            stuck.as_ref().is_some_and(|s| s.last.to_string() == *head && matches!(s.status, Status::Stuck { .. }));
        if !unchanged {
            let differences = vec![format!("{stuck_id} has moved on since it was asked")];
            core.record(run.id, vec![Event::Ended { outcome: Outcome::Void { differences } }])
                .await
                .map_err(|e| cannot_record(&e))?;
            return Ok(());
        }
        let mut batch = core.drafts(*stuck_id, vec![Event::Resolved { way: *way, by: run.id }]);
        batch.extend(core.drafts(run.id, vec![Event::Ended { outcome: Outcome::Done }]));
        match core.log.append(Some(position), batch).await {
            Ok(_) => {
                conductor::go_on(core, *stuck_id, None);
                return Ok(());
            }
            Err(AppendError::Moved(_)) => {}
            Err(error) => return Err(cannot_record(&error)),
        }
    }
    Err(cannot_record(&AppendError::Busy))
}

//! Runs: the state of each, which are open, who holds a target, whose approval it is.

use super::super::table::{Changes, View, key, number, wrong};
use super::super::{ReadError, Record};
use super::{Refusal, cannot};
use crate::domain::event::{Event, Subject};
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::names::Target;
use crate::domain::run::{RunState, fold};

/// Folds a run's record into its state; refuses what [`fold`] refuses and a second claim of a held target.
pub(super) fn project(view: &dyn View, record: &Record) -> Result<Changes, Refusal> {
    let Some(Subject::Run(id)) = &record.subject else {
        return Ok(Changes::new());
    };
    let before = view.get(&key::run(*id))?.map(|bytes| read(&bytes)).transpose()?;
    let held_before = held(before.as_ref());
    let after = fold(before, record.position, record.at, &record.event)?;
    let held_after = held(Some(&after));

    let mut changes = Changes::new();
    if held_before != held_after {
        if let (Some(before), Some(after)) = (&held_before, &held_after) {
            return Err(cannot(record, format!("the run holds {before}, not {after}")).into());
        }
        if let Some(target) = held_before {
            changes.insert(key::holder(&target), None);
        }
        if let Some(target) = held_after {
            if let Some(other) = view.get(&key::holder(&target))? {
                let other = RunId(Position(number(&other)?));
                return Err(cannot(record, format!("{target} is held by {other}")).into());
            }
            changes.insert(key::holder(&target), Some(id.0.0.to_be_bytes().to_vec()));
        }
    }
    if let Event::ApprovalAsked { .. } = record.event {
        changes.insert(key::approval(ApprovalId(record.position)), Some(id.0.0.to_be_bytes().to_vec()));
    }
    changes.insert(key::open(*id), (!after.ended()).then(Vec::new));
    let bytes = serde_json::to_vec(&after).map_err(|e| ReadError(e.to_string()))?;
    changes.insert(key::run(*id), Some(bytes));
    Ok(changes)
}

/// The target that a run holds: that of the plan it claimed with.
fn held(run: Option<&RunState>) -> Option<Target> {
    run.filter(|r| r.holds_claim()).and_then(|r| r.plan.as_ref()).map(|p| p.plan.target.clone())
}

/// A run as it is stored.
pub(crate) fn read(bytes: &[u8]) -> Result<RunState, ReadError> {
    serde_json::from_slice(bytes).map_err(|_| wrong("a run's state"))
}

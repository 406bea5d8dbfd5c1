//! Runs: the state of each, which are open, who holds a target, whose approval it is.

use super::super::table::{Changes, View, key, number, wrong};
use super::super::{ReadError, Record};
use super::{Refusal, cannot_follow};
use jiff::Timestamp;

use crate::domain::event::{Event, Subject};
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::names::Target;
use crate::domain::run::{RunState, fold};

/// A run's state after a record, and what it means for who holds what.
#[derive(Debug, Clone)]
pub(crate) struct Taken {
    /// The state.
    pub(crate) run: RunState,
    /// The target that it held and holds no longer.
    pub(crate) lets_go: Option<Target>,
    /// The target that it holds from here on.
    pub(crate) takes: Option<Target>,
}

/// Takes one record into a run's state. Refuses what [`fold`] refuses, and a second claim of a held target: `holder` tells
/// whose it is.
pub(crate) fn take(
    before: Option<RunState>,
    (position, at, event): (Position, Timestamp, &Event),
    holder: &dyn Fn(&Target) -> Result<Option<RunId>, ReadError>,
) -> Result<Taken, Refusal> {
    let held_before = held(before.as_ref());
    let run = fold(before, position, at, event)?;
    let held_after = held(Some(&run));
    if held_before == held_after {
        return Ok(Taken { run, lets_go: None, takes: None });
    }
    if let (Some(before), Some(after)) = (&held_before, &held_after) {
        return Err(cannot_follow(position, event, format!("the run holds {before}, not {after}")).into());
    }
    if let Some(target) = &held_after
        && let Some(other) = holder(target)?
    {
        return Err(cannot_follow(position, event, format!("{target} is held by {other}")).into());
    }
    Ok(Taken { run, lets_go: held_before, takes: held_after })
}

/// Folds a run's record into its state, with who holds what.
pub(super) fn project(view: &dyn View, record: &Record) -> Result<Changes, Refusal> {
    let Some(Subject::Run(id)) = &record.subject else {
        return Ok(Changes::new());
    };
    let before = view.get(&key::run(*id))?.map(|bytes| read(&bytes)).transpose()?;
    let holder = |target: &Target| {
        let other = view.get(&key::holder(target))?;
        other.map(|bytes| Ok(RunId(Position(number(&bytes)?)))).transpose()
    };
    let taken = take(before, (record.position, record.at, &record.event), &holder)?;
    let mut changes = Changes::new();
    if let Some(target) = &taken.lets_go {
        changes.insert(key::holder(target), None);
    }
    if let Some(target) = &taken.takes {
        changes.insert(key::holder(target), Some(id.0.0.to_be_bytes().to_vec()));
    }
    let after = taken.run;
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

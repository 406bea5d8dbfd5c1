//! The questions of the [`super::Log`] contract that the index answers alone, the same for every table.

use super::ReadError;
use super::projections::{SEEK_EVERY, releases, runs};
use super::table::{Location, Order, Table, View, key, last_number, number, wrong};
use crate::domain::event::Subject;
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::names::{ServiceName, Target};
use crate::domain::release::{History, of_subject, subject_key};
use crate::domain::run::RunState;

/// One run.
pub(crate) fn run(table: &dyn Table, id: RunId) -> Result<Option<RunState>, ReadError> {
    run_in(table, id)
}

/// The same, in whatever values can be looked up in.
pub(crate) fn run_in(view: &(impl View + ?Sized), id: RunId) -> Result<Option<RunState>, ReadError> {
    view.get(&key::run(id))?.map(|bytes| runs::read(&bytes)).transpose()
}

/// The newest runs, newest first.
pub(crate) fn newest_runs(table: &dyn Table, limit: usize) -> Result<Vec<RunState>, ReadError> {
    table.scan(key::RUNS, Order::Down, limit)?.iter().map(|(_, bytes)| runs::read(bytes)).collect()
}

/// Runs that have not ended, oldest first.
pub(crate) fn open_runs(table: &dyn Table) -> Result<Vec<RunState>, ReadError> {
    let mut found = Vec::new();
    for (key, _) in table.scan(key::OPEN, Order::Up, usize::MAX)? {
        found.push(run(table, RunId(Position(last_number(&key)?)))?.ok_or_else(|| wrong("the list of open runs"))?);
    }
    Ok(found)
}

/// The run of an approval.
pub(crate) fn run_of_approval(table: &dyn Table, id: ApprovalId) -> Result<Option<RunState>, ReadError> {
    pointed(table, &key::approval(id))
}

/// The run that holds a target.
pub(crate) fn holder(table: &dyn Table, target: &Target) -> Result<Option<RunState>, ReadError> {
    pointed(table, &key::holder(target))
}

/// The releases of a service.
pub(crate) fn history(table: &dyn Table, target: &Target, service: &ServiceName) -> Result<History, ReadError> {
    match table.get(&key::history(&subject_key(target, service)))? {
        Some(bytes) => releases::read(&bytes),
        None => Ok(History::default()),
    }
}

/// Every service with releases on record, by name.
pub(crate) fn services(table: &dyn Table) -> Result<Vec<(Target, ServiceName)>, ReadError> {
    let pairs = table.scan(key::HISTORIES, Order::Up, usize::MAX)?;
    let named =
        pairs.iter().map(|(key, _)| std::str::from_utf8(&key[key::HISTORIES.len()..]).ok().and_then(of_subject));
    named.map(|name| name.ok_or_else(|| wrong("a service's name"))).collect()
}

/// Epoch of the newest start, or of the newest `store new-epoch`.
pub(crate) fn epoch(table: &dyn Table) -> Result<Option<u64>, ReadError> {
    table.get(key::EPOCH)?.map(|bytes| number(&bytes)).transpose()
}

/// Where a platform event is on record.
pub(crate) fn seen(table: &dyn Table, event: &str) -> Result<Option<Position>, ReadError> {
    table.get(&key::seen(event))?.map(|bytes| number(&bytes).map(Position)).transpose()
}

/// Positions and places of a subject's records, oldest first.
pub(crate) fn thread(table: &dyn Table, subject: &Subject) -> Result<Vec<(Position, Location)>, ReadError> {
    table
        .scan(&key::thread(subject), Order::Up, usize::MAX)?
        .iter()
        .map(|(key, place)| Ok((Position(last_number(key)?), Location::from_bytes(place)?)))
        .collect()
}

/// A place at or before that of the record at `from`, and the position of the record there.
pub(crate) fn seek(table: &dyn Table, from: Position) -> Result<(Position, Location), ReadError> {
    let near = Position(from.0 / SEEK_EVERY * SEEK_EVERY);
    let place = table.get(&key::place(near))?.ok_or_else(|| wrong("a record's place"))?;
    Ok((near, Location::from_bytes(&place)?))
}

fn pointed(table: &dyn Table, key: &[u8]) -> Result<Option<RunState>, ReadError> {
    match table.get(key)? {
        Some(id) => run(table, RunId(Position(number(&id)?))),
        None => Ok(None),
    }
}

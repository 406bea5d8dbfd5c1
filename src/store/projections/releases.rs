//! The releases of each service.

use super::super::table::{Changes, View, key, wrong};
use super::super::{ReadError, Record};
use super::Refusal;
use crate::domain::event::Subject;
use crate::domain::release::History;

/// Folds a release record into its service's history.
pub(super) fn project(view: &dyn View, record: &Record) -> Result<Changes, Refusal> {
    let Some(Subject::Releases(service)) = &record.subject else {
        return Ok(Changes::new());
    };
    let key = key::history(service);
    let history = match view.get(&key)? {
        Some(bytes) => read(&bytes)?,
        None => History::default(),
    };
    let history = history.fold(record.position, record.at, &record.event);
    let bytes = serde_json::to_vec(&history).map_err(|e| ReadError(e.to_string()))?;
    Ok(Changes::from([(key, Some(bytes))]))
}

/// A history as it is stored.
pub(crate) fn read(bytes: &[u8]) -> Result<History, ReadError> {
    serde_json::from_slice(bytes).map_err(|_| wrong("a service's history"))
}

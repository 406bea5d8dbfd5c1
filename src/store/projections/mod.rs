//! What the index says, as pure functions of one record and what the index said before it.
//!
//! Everything here can be thrown away and folded from the log again; the same functions admit a record
//! before it is written, so the log never holds what its readers would refuse.
//! Must never: look at a clock, a file or another record than the one given.

mod epoch;
pub(crate) mod releases;
pub(crate) mod runs;
mod seen;
mod threads;
pub(crate) mod tree;

use super::table::{Changes, Location, Overlay, View, key};
use super::{AppendError, ReadError, Record};
use crate::domain::event::{Event, Subject};
use crate::domain::ids::{Position, RunId};
use crate::domain::release::subject_key;
use crate::domain::run::{CannotFollow, name_of};

/// Raised when a projection changes its keys or values: an index made by another number is built anew.
pub(crate) const INDEX_VERSION: u64 = 2;

/// One record in so many has its location in the index; others are found by reading on from there.
pub(crate) const SEEK_EVERY: u64 = 64;

/// Why a record cannot be taken.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It must not be in the log.
    Append(AppendError),
    /// The index could not say.
    Index(ReadError),
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        Refusal::Index(error)
    }
}

impl From<CannotFollow> for Refusal {
    fn from(error: CannotFollow) -> Self {
        Refusal::Append(AppendError::CannotFollow(error))
    }
}

/// Takes one record into all projections, or none.
pub(crate) fn project(index: &mut Overlay<'_>, record: &Record, place: Location) -> Result<(), Refusal> {
    belongs(record)?;
    let view: &dyn View = index;
    let mut changes = Changes::new();
    if record.position.0.is_multiple_of(SEEK_EVERY) {
        changes.insert(key::place(record.position), Some(place.to_bytes()));
    }
    changes.extend(seen::project(view, record)?);
    changes.extend(runs::project(view, record)?);
    changes.extend(releases::project(view, record)?);
    changes.extend(threads::project(record, place));
    changes.extend(epoch::project(record));
    changes.extend(tree::project(view, record)?);
    index.extend(changes);
    Ok(())
}

/// Refuses what cannot follow what is on record.
pub(crate) fn cannot(record: &Record, why: impl Into<String>) -> CannotFollow {
    cannot_follow(record.position, &record.event, why)
}

/// The same, before there is a record.
pub(crate) fn cannot_follow(position: Position, event: &Event, why: impl Into<String>) -> CannotFollow {
    CannotFollow { position, what: name_of(event), why: why.into() }
}

/// Whether a record of this type can belong to what it says it belongs to.
fn belongs(record: &Record) -> Result<(), CannotFollow> {
    let no = |why: &str| Err(cannot(record, why));
    match (&record.event, &record.subject) {
        (Event::Genesis { .. }, None) if record.position == Position(0) => Ok(()),
        (Event::Genesis { .. }, _) => no("a log begins once"),
        (Event::Invoked { .. }, Some(Subject::Run(id))) if *id == RunId(record.position) => Ok(()),
        (Event::Invoked { .. }, _) => no("a request begins a run of its own"),
        (
            Event::ReleaseSeen { target, service, .. }
            | Event::ReleaseProven { target, service, .. }
            | Event::ReleaseLeft { target, service, .. }
            | Event::ReleaseBack { target, service, .. },
            subject,
        ) => match subject {
            Some(Subject::Releases(key)) if *key == subject_key(target, service) => Ok(()),
            _ => no("it belongs to the releases of the service it names"),
        },
        (_, Some(Subject::Releases(_))) => no("it is not about a release"),
        (
            Event::Started { .. }
            | Event::Stopped
            | Event::NewEpoch { .. }
            | Event::IndexRebuilt { .. }
            | Event::Checkpoint { .. }
            | Event::Said { .. }
            | Event::Refused { .. }
            | Event::RefusalsCounted { .. },
            None,
        ) => Ok(()),
        (_, None) => no("it belongs to a run"),
        // Whether it can follow there is what `run::fold` says.
        (_, Some(Subject::Run(_))) => Ok(()),
    }
}

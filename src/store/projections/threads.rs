//! Which records belong to a subject, and the end of each subject's own chain.

use super::super::Record;
use super::super::table::{Changes, Location, key};

/// Notes the record as its subject's newest.
pub(super) fn project(record: &Record, place: Location) -> Changes {
    let Some(subject) = &record.subject else {
        return Changes::new();
    };
    Changes::from([
        (key::in_thread(subject, record.position), Some(place.to_bytes())),
        (key::subject_head(subject), Some(record.hash.0.to_vec())),
    ])
}

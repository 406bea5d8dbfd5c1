//! The epoch of the tokens: that of the newest start, or of the newest `store new-epoch`.

use super::super::Record;
use super::super::table::{Changes, key};
use crate::domain::event::Event;

/// Notes the epoch, so that a start need not look for it in the whole log.
pub(super) fn project(record: &Record) -> Changes {
    match record.event {
        Event::Started { epoch, .. } | Event::NewEpoch { epoch, .. } => {
            Changes::from([(key::EPOCH.to_vec(), Some(epoch.to_be_bytes().to_vec()))])
        }
        _ => Changes::new(),
    }
}

//! Which platform events are on record, so that a command delivered twice runs once.

use super::super::table::{Changes, View, key, number};
use super::super::{AppendError, Record};
use super::Refusal;
use crate::domain::event::Event;
use crate::domain::ids::Position;

/// Notes the platform event of what was said; refuses one that is on record.
pub(super) fn project(view: &dyn View, record: &Record) -> Result<Changes, Refusal> {
    let (Event::Invoked { invocation, .. } | Event::Said { invocation, .. }) = &record.event else {
        return Ok(Changes::new());
    };
    let key = key::seen(&invocation.event);
    if let Some(at) = view.get(&key)? {
        return Err(Refusal::Append(AppendError::Duplicate(Position(number(&at)?))));
    }
    Ok(Changes::from([(key, Some(record.position.0.to_be_bytes().to_vec()))]))
}

//! A log of many events, told by replaying a run that took place: whole rollbacks, as the bot itself wrote this one.

#![allow(dead_code, unreachable_pub)] // each suite uses its part

use sternway::domain::event::{Event, Subject};
use sternway::domain::ids::{Position, RunId};
use sternway::store::{About, AppendError, Draft, Log, Record};

/// Runs written as one batch.
const RUNS_PER_BATCH: usize = 40;

/// The same request from another delivery.
fn renamed(event: &Event, name: &str) -> Event {
    let mut event = event.clone();
    if let Event::Invoked { invocation, .. } | Event::Said { invocation, .. } = &mut event {
        name.clone_into(&mut invocation.event);
    }
    event
}

/// Replays `thread` until the log has at least `events` records. Gives how many it has.
///
/// # Errors
/// As the log says.
pub async fn fill(log: &dyn Log, thread: &[Record], events: u64) -> Result<u64, AppendError> {
    let mut told = 0;
    let first = log.head().position.0;
    loop {
        let mut next = log.head().position.0 + 1;
        if next >= events {
            return Ok(next);
        }
        let mut batch = Vec::new();
        for _ in 0..RUNS_PER_BATCH {
            let subject = Subject::Run(RunId(Position(next)));
            for record in thread {
                told += 1;
                let begins = matches!(record.event, Event::Invoked { .. });
                let about = if begins { About::NewRun } else { About::Subject(subject.clone()) };
                let event = renamed(&record.event, &format!("filled-{first}-{told}"));
                batch.push(Draft { about, at: record.at, event });
            }
            next += thread.len() as u64;
            if next >= events {
                break;
            }
        }
        log.append(None, batch).await?;
    }
}

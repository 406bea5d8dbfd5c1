//! A log with one fault at a time: the suite is worth something only while it finds each.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use sternway::domain::event::{Event, Subject};
use sternway::domain::ids::{ApprovalId, Position, RunId};
use sternway::domain::names::{ServiceName, Target};
use sternway::domain::release::History;
use sternway::domain::run::RunState;
use sternway::store::memory::MemoryLog;
use sternway::store::{About, AppendError, Draft, Head, Log, ReadError, Record, SharedLog};
use tokio::sync::watch;

use super::conformance::Factory;
use super::samples::{at, draft};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    IgnoresExpected,
    WritesHalfABatch,
    SwallowsDuplicates,
    SwallowsRefusals,
    ReturnsNothing,
    HeadStandsStill,
    ReadsOneLess,
    ReadsFromTheNext,
    ForgetsWhatItSaw,
    ForgetsTheHolder,
    HoldsForEver,
    ListsOldestFirst,
    KeepsEndedRunsOpen,
    MixesThreads,
    MixesApprovals,
    MixesServices,
    ForgetsServices,
    ForgetsTheEpoch,
    WatchesNothing,
    ForgetsCursors,
    AlwaysInTrouble,
    RefusesEveryExpected,
    BelievesTheFuture,
    WritesForNothing,
    ReversesBatches,
    WritesThePartThatFits,
    KeepsNoTimes,
    WatchesLate,
    WatchesRefusals,
    MixesCursors,
    CursorsGoIntoTheLog,
    NeverHasRoom,
    InventsRuns,
    ReadsPastTheEnd,
    NamesAnotherLog,
}

pub const FAULTS: [Fault; 35] = [
    Fault::IgnoresExpected,
    Fault::WritesHalfABatch,
    Fault::SwallowsDuplicates,
    Fault::SwallowsRefusals,
    Fault::ReturnsNothing,
    Fault::HeadStandsStill,
    Fault::ReadsOneLess,
    Fault::ReadsFromTheNext,
    Fault::ForgetsWhatItSaw,
    Fault::ForgetsTheHolder,
    Fault::HoldsForEver,
    Fault::ListsOldestFirst,
    Fault::KeepsEndedRunsOpen,
    Fault::MixesThreads,
    Fault::MixesApprovals,
    Fault::MixesServices,
    Fault::ForgetsServices,
    Fault::ForgetsTheEpoch,
    Fault::WatchesNothing,
    Fault::ForgetsCursors,
    Fault::AlwaysInTrouble,
    Fault::RefusesEveryExpected,
    Fault::BelievesTheFuture,
    Fault::WritesForNothing,
    Fault::ReversesBatches,
    Fault::WritesThePartThatFits,
    Fault::KeepsNoTimes,
    Fault::WatchesLate,
    Fault::WatchesRefusals,
    Fault::MixesCursors,
    Fault::CursorsGoIntoTheLog,
    Fault::NeverHasRoom,
    Fault::InventsRuns,
    Fault::ReadsPastTheEnd,
    Fault::NamesAnotherLog,
];

pub struct BrokenLog {
    inner: MemoryLog,
    first: Head,
    fault: Fault,
    silent: watch::Sender<Position>,
}

impl Factory for Fault {
    fn fresh(&self) -> (SharedLog, Box<dyn Any>) {
        let inner = MemoryLog::new(at(0));
        let first = inner.head();
        (Arc::new(BrokenLog { inner, first, fault: *self, silent: watch::Sender::default() }), Box::new(()))
    }
}

#[async_trait]
impl Log for BrokenLog {
    async fn append(&self, expected: Option<Position>, mut batch: Vec<Draft>) -> Result<Vec<Record>, AppendError> {
        let expected = expected.filter(|_| self.fault != Fault::IgnoresExpected);
        match self.fault {
            Fault::WritesHalfABatch if batch.len() > 1 => batch.truncate(1),
            Fault::RefusesEveryExpected if expected.is_some() => {
                return Err(AppendError::Moved(self.inner.head().position));
            }
            Fault::WritesForNothing if batch.is_empty() => batch.push(draft(About::Log, 0, Event::Stopped)),
            Fault::ReversesBatches => batch.reverse(),
            Fault::WritesThePartThatFits => batch.truncate(1000),
            Fault::KeepsNoTimes => batch.iter_mut().for_each(|draft| draft.at = at(0)),
            _ => {}
        }
        let ahead =
            |expected: Position| self.fault == Fault::BelievesTheFuture && expected > self.inner.head().position;
        let expected = expected.filter(|expected| !ahead(*expected));
        let before = self.inner.head().position;
        let answer = self.inner.append(expected, batch).await;
        match self.fault {
            // Always one append behind.
            Fault::WatchesLate => _ = self.silent.send_replace(before),
            Fault::WatchesRefusals => _ = self.silent.send_replace(self.inner.head().position),
            _ => {}
        }
        match answer {
            Ok(_) if self.fault == Fault::ReturnsNothing => Ok(Vec::new()),
            Err(AppendError::Duplicate(_)) if self.fault == Fault::SwallowsDuplicates => Ok(Vec::new()),
            Err(AppendError::CannotFollow(_)) if self.fault == Fault::SwallowsRefusals => Ok(Vec::new()),
            answer => answer,
        }
    }

    fn head(&self) -> Head {
        if self.fault == Fault::HeadStandsStill { self.first } else { self.inner.head() }
    }

    fn log_id(&self) -> String {
        if self.fault == Fault::NamesAnotherLog { "0".repeat(32) } else { self.inner.log_id() }
    }

    fn read(&self, from: Position, limit: usize) -> Result<Vec<Record>, ReadError> {
        match self.fault {
            Fault::ReadsOneLess => self.inner.read(from, limit.saturating_sub(1)),
            Fault::ReadsFromTheNext => self.inner.read(Position(from.0.saturating_add(1)), limit),
            Fault::ReadsPastTheEnd => self.inner.read(from.min(self.inner.head().position), limit),
            _ => self.inner.read(from, limit),
        }
    }

    fn thread(&self, subject: &Subject) -> Result<Vec<Record>, ReadError> {
        match self.fault {
            Fault::MixesThreads => self.inner.read(Position(1), 1000),
            _ => self.inner.thread(subject),
        }
    }

    fn run(&self, id: RunId) -> Result<Option<RunState>, ReadError> {
        match self.inner.run(id)? {
            None if self.fault == Fault::InventsRuns => Ok(self.inner.runs(1)?.pop()),
            found => Ok(found),
        }
    }

    fn runs(&self, limit: usize) -> Result<Vec<RunState>, ReadError> {
        let mut runs = self.inner.runs(limit)?;
        if self.fault == Fault::ListsOldestFirst {
            runs.reverse();
        }
        Ok(runs)
    }

    fn open_runs(&self) -> Result<Vec<RunState>, ReadError> {
        match self.fault {
            Fault::KeepsEndedRunsOpen => {
                let mut all = self.inner.runs(1000)?;
                all.reverse();
                Ok(all)
            }
            _ => self.inner.open_runs(),
        }
    }

    fn run_of_approval(&self, id: ApprovalId) -> Result<Option<RunState>, ReadError> {
        match self.fault {
            Fault::MixesApprovals => Ok(self.inner.runs(1)?.pop()),
            _ => self.inner.run_of_approval(id),
        }
    }

    fn holder(&self, target: &Target) -> Result<Option<RunState>, ReadError> {
        match self.fault {
            Fault::ForgetsTheHolder => Ok(None),
            Fault::HoldsForEver => Ok(self.inner.runs(1000)?.pop()),
            _ => self.inner.holder(target),
        }
    }

    fn history(&self, target: &Target, service: &ServiceName) -> Result<History, ReadError> {
        let service = match self.fault {
            Fault::MixesServices => &super::samples::service("api"),
            _ => service,
        };
        self.inner.history(target, service)
    }

    fn services(&self) -> Result<Vec<(Target, ServiceName)>, ReadError> {
        match self.fault {
            Fault::ForgetsServices => Ok(self.inner.services()?.into_iter().take(1).collect()),
            _ => self.inner.services(),
        }
    }

    fn epoch(&self) -> Result<Option<u64>, ReadError> {
        match self.fault {
            Fault::ForgetsTheEpoch => Ok(None),
            _ => self.inner.epoch(),
        }
    }

    fn seen(&self, event: &str) -> Result<Option<Position>, ReadError> {
        match self.fault {
            Fault::ForgetsWhatItSaw => Ok(None),
            _ => self.inner.seen(event),
        }
    }

    fn outbox_cursor(&self, surface: &str) -> Result<Position, ReadError> {
        match self.fault {
            Fault::ForgetsCursors => Ok(Position(0)),
            Fault::MixesCursors => self.inner.outbox_cursor("any"),
            _ => self.inner.outbox_cursor(surface),
        }
    }

    fn set_outbox_cursor(&self, surface: &str, position: Position) -> Result<(), ReadError> {
        let surface = if self.fault == Fault::MixesCursors { "any" } else { surface };
        if self.fault == Fault::CursorsGoIntoTheLog {
            let note = vec![draft(About::Log, 0, Event::Stopped)];
            futures_util::FutureExt::now_or_never(self.inner.append(None, note))
                .expect("memory does not wait")
                .expect("it fits");
        }
        self.inner.set_outbox_cursor(surface, position)
    }

    fn watch(&self) -> watch::Receiver<Position> {
        match self.fault {
            Fault::WatchesNothing | Fault::WatchesLate | Fault::WatchesRefusals => self.silent.subscribe(),
            _ => self.inner.watch(),
        }
    }

    fn reserve(&self, records: usize) -> Result<(), AppendError> {
        match self.fault {
            Fault::NeverHasRoom => Err(AppendError::CannotWrite(format!("no room for {records}"))),
            _ => self.inner.reserve(records),
        }
    }

    fn trouble(&self) -> Option<String> {
        (self.fault == Fault::AlwaysInTrouble).then(|| "as always".to_owned())
    }
}

//! A log whose disk can be taken away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sternway::domain::event::{Event, Subject};
use sternway::domain::ids::{ApprovalId, Position, RunId};
use sternway::domain::names::{ServiceName, Target};
use sternway::domain::release::History;
use sternway::domain::run::RunState;
use sternway::store::{AppendError, Draft, Head, Log, ReadError, Record, SharedLog};
use tokio::sync::watch;

/// What the disk says when it does not want to.
pub(crate) const NO_SPACE: &str = "no space left on device";

type Doomed = Box<dyn Fn(&Event) -> bool + Send + Sync>;

/// Passes everything on while the disk is there.
pub(crate) struct FaultyLog {
    inner: SharedLog,
    doomed: Doomed,
    broken: AtomicBool,
    refused: AtomicUsize,
}

impl FaultyLog {
    pub(crate) fn new(inner: SharedLog) -> Arc<Self> {
        Self::breaking_at(inner, |_| false)
    }

    /// The disk goes away when such a record is to be written, and stays away.
    pub(crate) fn breaking_at(inner: SharedLog, doomed: impl Fn(&Event) -> bool + Send + Sync + 'static) -> Arc<Self> {
        let (broken, refused) = (AtomicBool::new(false), AtomicUsize::new(0));
        Arc::new(Self { inner, doomed: Box::new(doomed), broken, refused })
    }

    pub(crate) fn set_broken(&self, broken: bool) {
        self.broken.store(broken, Ordering::SeqCst);
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// Appends that were refused.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

#[async_trait::async_trait]
impl Log for FaultyLog {
    async fn append(&self, expected: Option<Position>, batch: Vec<Draft>) -> Result<Vec<Record>, AppendError> {
        // Only the first time: when the disk is back it takes that record too.
        if self.refused() == 0 && batch.iter().any(|d| (self.doomed)(&d.event)) {
            self.set_broken(true);
        }
        if self.is_broken() {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(AppendError::CannotWrite(NO_SPACE.to_owned()));
        }
        self.inner.append(expected, batch).await
    }

    fn head(&self) -> Head {
        self.inner.head()
    }
    fn log_id(&self) -> String {
        self.inner.log_id()
    }
    fn read(&self, from: Position, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.inner.read(from, limit)
    }
    fn thread(&self, subject: &Subject) -> Result<Vec<Record>, ReadError> {
        self.inner.thread(subject)
    }
    fn run(&self, id: RunId) -> Result<Option<RunState>, ReadError> {
        self.inner.run(id)
    }
    fn runs(&self, limit: usize) -> Result<Vec<RunState>, ReadError> {
        self.inner.runs(limit)
    }
    fn open_runs(&self) -> Result<Vec<RunState>, ReadError> {
        self.inner.open_runs()
    }
    fn run_of_approval(&self, id: ApprovalId) -> Result<Option<RunState>, ReadError> {
        self.inner.run_of_approval(id)
    }
    fn holder(&self, target: &Target) -> Result<Option<RunState>, ReadError> {
        self.inner.holder(target)
    }
    fn history(&self, target: &Target, service: &ServiceName) -> Result<History, ReadError> {
        self.inner.history(target, service)
    }
    fn services(&self) -> Result<Vec<(Target, ServiceName)>, ReadError> {
        self.inner.services()
    }
    fn epoch(&self) -> Result<Option<u64>, ReadError> {
        self.inner.epoch()
    }
    fn seen(&self, event: &str) -> Result<Option<Position>, ReadError> {
        self.inner.seen(event)
    }
    fn outbox_cursor(&self, surface: &str) -> Result<Position, ReadError> {
        self.inner.outbox_cursor(surface)
    }
    fn set_outbox_cursor(&self, surface: &str, position: Position) -> Result<(), ReadError> {
        self.inner.set_outbox_cursor(surface, position)
    }
    fn watch(&self) -> watch::Receiver<Position> {
        self.inner.watch()
    }
    fn reserve(&self, records: usize) -> Result<(), AppendError> {
        if self.is_broken() {
            return Err(AppendError::CannotWrite(NO_SPACE.to_owned()));
        }
        self.inner.reserve(records)
    }
    fn trouble(&self) -> Option<String> {
        self.is_broken().then(|| NO_SPACE.to_owned())
    }
}

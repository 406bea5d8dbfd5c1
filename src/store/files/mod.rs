//! The log in files, its index in sled (decisions 6 to 10).
//!
//! `open` recovers what a crash left and refuses what only tampering or a broken disk leaves; `writer` is
//! the one thread that writes; the rest are its parts. Questions are answered from the index under a lock
//! that the writer takes only for the moment of applying what is already durable.
//! Must never: acknowledge before `fdatasync`, write twice through a handle that failed once, or let trouble
//! with the index undo or hide what is on record.

mod ballast;
mod cursors;
pub mod disk;
#[cfg(test)]
mod histories;
mod index;
mod layout;
mod open;
mod prove;
mod sled_table;
#[cfg(test)]
mod tests;
mod writer;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

use ed25519_dalek::VerifyingKey;
use tokio::sync::{oneshot, watch};

use self::ballast::ROOM_PER_RECORD;
use self::cursors::Cursors;
use self::layout::{Layout, Lock};
use super::line::LogId;
use super::reader::{Lines, Raw};
use super::table::{Location, Table};
use super::verify::{Damage, Verified, verify};
use super::{AppendError, Draft, Hash, Head, Log, ReadError, Record, queries, record};
use crate::domain::event::Subject;
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::names::{ServiceName, Target};
use crate::domain::release::History;
use crate::domain::run::RunState;

pub use self::index::IndexOutcome;
pub use self::open::{Cut, OpenError, OpenOptions, OpenReport};

/// A write that takes longer than this is told as trouble, and new ones are refused until it is over.
const STALL: Duration = Duration::from_secs(10);

/// How long closing waits for the writer to finish what it has.
const CLOSE_LIMIT: Duration = Duration::from_secs(20);

/// Records that a run may still write per step: intent and end, forward and back.
const RECORDS_PER_STEP: usize = 4;

/// Records that a run may still write besides its steps': pass, turn, resumptions, end, releases.
const RECORDS_PER_RUN: usize = 16;

/// A log in a folder.
pub struct FileLog {
    shared: std::sync::Arc<Shared>,
    requests: SyncSender<Request>,
    ended: Mutex<Option<mpsc::Receiver<()>>>,
}

/// What the writer and the questions share.
struct Shared {
    log: LogId,
    /// What its checkpoints are signed with.
    key: Option<VerifyingKey>,
    layout: Layout,
    ballast_bytes: u64,
    state: RwLock<State>,
    /// Set while the ballast is there and nothing but the queue stands between a draft and the disk.
    room: AtomicBool,
    trouble: Mutex<Option<String>>,
    /// When the write that is going on began.
    busy_since: Mutex<Option<Instant>>,
    last: watch::Sender<Position>,
    /// Set once somebody closes it: the writer ends when its queue is empty.
    closing: AtomicBool,
    /// With a checkpoint at the end.
    sealed: AtomicBool,
    cursors: Cursors,
    lock: Mutex<Option<Lock>>,
}

/// The end of the log and the index as of that end.
struct State {
    head: Head,
    index: Index,
}

enum Index {
    Ready(Box<dyn Table>),
    /// Being opened or built anew.
    Away(String),
}

impl State {
    fn table(&self) -> Result<&dyn Table, ReadError> {
        match &self.index {
            Index::Ready(table) => Ok(table.as_ref()),
            Index::Away(why) => Err(ReadError(format!("{why}; it is built anew from the log, ask again in a moment"))),
        }
    }
}

/// To the writer.
enum Request {
    Append { expected: Option<Position>, batch: Vec<Draft>, reply: oneshot::Sender<Result<Vec<Record>, AppendError>> },
    Close,
}

impl FileLog {
    /// Opens the log in `folder`, makes it when there is none, and recovers what a crash left. Blocks; call
    /// it before serving.
    ///
    /// # Errors
    /// [`OpenError`] when another process uses the folder, when the log is damaged, or when the disk does not let us.
    pub fn open(folder: impl Into<PathBuf>, options: OpenOptions) -> Result<(FileLog, OpenReport), OpenError> {
        open::open(Layout { root: folder.into() }, options)
    }

    /// Finishes what is queued, closes the index and lets go of the folder. Later appends are refused. Blocks
    /// for as long as the disk needs, 20 s at most.
    pub fn close(&self) {
        self.end(false);
    }

    /// The same, with a checkpoint about what none covers yet: nobody can sign it later, and it may lie for long.
    pub fn close_sealed(&self) {
        self.end(true);
    }

    fn end(&self, sealed: bool) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(ended) = ended else { return };
        self.shared.sealed.store(sealed, Ordering::Release);
        self.shared.closing.store(true, Ordering::Release);
        // Wakes a writer that has nothing to do. One whose queue is full is at work and looks by itself: waiting for
        // room in the queue would wait for a disk that may never answer.
        let _ = self.requests.try_send(Request::Close);
        let _ = ended.recv_timeout(CLOSE_LIMIT);
    }

    /// Proves the whole log, from its first record. Reads every segment: minutes for a very long one. Run it
    /// in the background after the start, which proved only the newest segment.
    ///
    /// # Errors
    /// The first bad line.
    pub fn verify_all(&self) -> Result<Verified, Damage> {
        verify(&self.shared.layout.root)
    }

    /// Reads on from `near`, a position and where it stands. Line follows line: a segment that was swapped or cut since
    /// it was written is noticed, not read as if it were another.
    fn records_from(
        &self,
        near: (Position, Location),
        from: Position,
        to: Position,
        limit: usize,
    ) -> Result<Vec<Record>, ReadError> {
        let mut found = Vec::new();
        let (Position(mut expected), mut place) = near;
        let mut before: Option<Hash> = None;
        loop {
            let mut next = None;
            let file = self.shared.layout.segment(place.segment);
            let unread = |e: std::io::Error| ReadError(format!("{}: {e}", file.display()));
            let mut lines = Lines::open_at(&file, place.offset).map_err(unread)?;
            while let Some(raw) = lines.next().map_err(unread)? {
                if expected > to.0 || found.len() == limit {
                    return Ok(found);
                }
                let cut = super::line::Line::cut(raw.bytes).ok_or_else(|| self.bad_line(place))?;
                if cut.seq != expected || before.is_some_and(|hash| cut.prev != hash) {
                    return Err(self.bad_line(place));
                }
                before = Some(cut.hash);
                expected += 1;
                next = Some(expected);
                if cut.seq >= from.0 {
                    found.push(self.record(raw, place)?);
                }
            }
            match next {
                Some(next) if next <= to.0 && found.len() < limit => place = Location { segment: next, offset: 0 },
                None if expected <= to.0 && found.len() < limit => return Err(self.bad_line(place)),
                _ => return Ok(found),
            }
        }
    }

    /// The record in a line, its hash proven: the file may have been changed since the start.
    fn record(&self, raw: Raw<'_>, place: Location) -> Result<Record, ReadError> {
        let line = super::line::Line::cut(raw.bytes).ok_or_else(|| self.bad_line(place))?;
        if line.proper_hash(self.shared.log) != line.hash {
            return Err(self.bad_line(place));
        }
        let wire = record::decode(line.event).map_err(|e| ReadError(format!("record {}: {e}", line.seq)))?;
        Ok(record::into_record(wire, Position(line.seq), line.hash))
    }

    fn bad_line(&self, place: Location) -> ReadError {
        let file = self.shared.layout.segment(place.segment);
        ReadError(format!("{}: a line was changed since it was written; verify the log", file.display()))
    }
}

impl Drop for FileLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl std::fmt::Debug for FileLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileLog").field("folder", &self.shared.layout.root).finish_non_exhaustive()
    }
}

impl Shared {
    fn trouble(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy_since(&self) -> MutexGuard<'_, Option<Instant>> {
        self.busy_since.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn state_mut(&self) -> std::sync::RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts another index in place and gives back the one that stood there. Dropping that closes it, which may take
    /// seconds; nobody who asks a question waits for it.
    fn replace_index(&self, index: Index) -> Index {
        std::mem::replace(&mut self.state_mut().index, index)
    }

    fn stalled(&self) -> Option<String> {
        let since = (*self.busy_since())?;
        let waited = since.elapsed();
        (waited > STALL).then(|| format!("the disk has not answered for {} s", waited.as_secs()))
    }

    /// The one form in which a failed write is told.
    fn refusal(&self, cause: &str) -> AppendError {
        AppendError::CannotWrite(format!("nothing is done; {cause} (store {})", self.layout.root.display()))
    }

    /// The same when what was written could not be taken back either: a restart may find it.
    fn refusal_until_restart(&self, cause: &str) -> AppendError {
        self.refusal(&format!(
            "{cause}. It may have reached the disk all the same: if Sternway is started anew before the disk is well, it may be found and go on then; look at /runs list after a restart, before you ask again"
        ))
    }
}

#[async_trait::async_trait]
impl Log for FileLog {
    async fn append(&self, expected: Option<Position>, batch: Vec<Draft>) -> Result<Vec<Record>, AppendError> {
        if self.shared.closing.load(Ordering::Acquire) {
            return Err(self.shared.refusal("the log is closed"));
        }
        if let Some(stalled) = self.shared.stalled() {
            return Err(self.shared.refusal(&stalled));
        }
        let (reply, answer) = oneshot::channel();
        let request = Request::Append { expected, batch, reply };
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => AppendError::Busy,
            TrySendError::Disconnected(_) => self.shared.refusal("the log is closed"),
        })?;
        // Not limited here: once queued, only the writer knows whether it was written.
        answer.await.unwrap_or_else(|_| Err(self.shared.refusal("the log was closed")))
    }

    fn head(&self) -> Head {
        self.shared.state().head
    }

    fn log_id(&self) -> String {
        self.shared.log.to_string()
    }

    fn read(&self, from: Position, limit: usize) -> Result<Vec<Record>, ReadError> {
        let (to, near) = {
            let state = self.shared.state();
            if from > state.head.position || limit == 0 {
                return Ok(Vec::new());
            }
            (state.head.position, queries::seek(state.table()?, from)?)
        };
        self.records_from(near, from, to, limit)
    }

    fn thread(&self, subject: &Subject) -> Result<Vec<Record>, ReadError> {
        let places = queries::thread(self.shared.state().table()?, subject)?;
        let mut found = Vec::with_capacity(places.len());
        for (position, place) in places {
            found.extend(self.records_from((position, place), position, position, 1)?);
        }
        Ok(found)
    }

    fn run(&self, id: RunId) -> Result<Option<RunState>, ReadError> {
        queries::run(self.shared.state().table()?, id)
    }

    fn runs(&self, limit: usize) -> Result<Vec<RunState>, ReadError> {
        queries::newest_runs(self.shared.state().table()?, limit)
    }

    fn open_runs(&self) -> Result<Vec<RunState>, ReadError> {
        queries::open_runs(self.shared.state().table()?)
    }

    fn run_of_approval(&self, id: ApprovalId) -> Result<Option<RunState>, ReadError> {
        queries::run_of_approval(self.shared.state().table()?, id)
    }

    fn holder(&self, target: &Target) -> Result<Option<RunState>, ReadError> {
        queries::holder(self.shared.state().table()?, target)
    }

    fn history(&self, target: &Target, service: &ServiceName) -> Result<History, ReadError> {
        queries::history(self.shared.state().table()?, target, service)
    }

    fn services(&self) -> Result<Vec<(Target, ServiceName)>, ReadError> {
        queries::services(self.shared.state().table()?)
    }

    fn epoch(&self) -> Result<Option<u64>, ReadError> {
        queries::epoch(self.shared.state().table()?)
    }

    fn seen(&self, event: &str) -> Result<Option<Position>, ReadError> {
        queries::seen(self.shared.state().table()?, event)
    }

    fn outbox_cursor(&self, surface: &str) -> Result<Position, ReadError> {
        Ok(self.shared.cursors.get(surface))
    }

    fn set_outbox_cursor(&self, surface: &str, position: Position) -> Result<(), ReadError> {
        self.shared.cursors.set(surface, position)
    }

    fn watch(&self) -> watch::Receiver<Position> {
        self.shared.last.subscribe()
    }

    fn reserve(&self, records: usize) -> Result<(), AppendError> {
        if let Some(trouble) = self.trouble() {
            return Err(self.shared.refusal(&trouble));
        }
        // What runs that hold a target may still write keeps its room.
        let held: usize = self
            .open_runs()
            .map_err(|e| self.shared.refusal(&e.to_string()))?
            .iter()
            .filter(|run| run.holds_claim())
            .map(|run| RECORDS_PER_RUN + RECORDS_PER_STEP * run.steps.len())
            .sum();
        let wanted = (records.saturating_add(held) as u64).saturating_mul(ROOM_PER_RECORD);
        let kept = self.shared.ballast_bytes;
        if !self.shared.room.load(Ordering::Acquire) || wanted > kept {
            let cause = format!(
                "room for {records} more records has to be there before a run begins: {wanted} bytes are needed, {kept} are kept; let other runs end first"
            );
            return Err(self.shared.refusal(&cause));
        }
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        let told = self.shared.trouble().clone();
        told.or_else(|| self.shared.stalled())
    }
}

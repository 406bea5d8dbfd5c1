//! The one thread that writes: takes what is queued, judges it, writes the lines, one `fdatasync`, index,
//! acknowledge (durability section 3).
//!
//! A handle that failed is never used again: the segment is opened anew, cut to what was acknowledged and
//! proven from the disk before the next write. Answers go out only when the fate of the whole group is known,
//! since a refusal may rest on a record of the same group.

mod recovery;
mod signing;

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::oneshot;

use self::recovery::FIRST_WAIT;
use self::signing::Signatures;
use super::super::admit::Front;
use super::super::checkpoint::Signer;
use super::super::projections::Refusal;
use super::super::table::Location;
use super::super::{About, AppendError, Draft, ReadError, Record, queries};
use super::ballast::Ballast;
use super::disk::SegmentFile;
use super::open::OpenOptions;
use super::sled_table::SledOptions;
use super::{Index, Request, Shared};
use crate::domain::event::{Event, Subject};
use crate::domain::ids::Position;

/// Most appends in one group: more would make the first wait for nothing.
const GROUP_MAX: usize = 128;

/// Told while the disk is full.
const FULL: &str = "the disk is full: only what belongs to runs that have begun is still recorded. Free some room; it goes on by itself then";

type Answer = Result<Vec<Record>, AppendError>;

/// One append that waits for its answer.
pub(super) struct Append {
    expected: Option<Position>,
    batch: Vec<Draft>,
    reply: oneshot::Sender<Answer>,
}

/// Whether it can be written.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Health {
    Well,
    /// The disk is full: the ballast's room is for runs that hold a target.
    Full,
    /// The last write failed.
    Broken(String),
}

enum Failure {
    /// Whether bytes reached the disk is unknown.
    Disk(io::Error),
    /// Nothing was written: the index could not say whether it may be.
    Index(ReadError),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Disk(error)
    }
}

/// The writer.
pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: Receiver<Request>,
    options: OpenOptions,
    ballast: Ballast,
    sled: SledOptions,
    /// The newest segment, once something was written.
    active: Option<Box<dyn SegmentFile>>,
    /// The newest segment and how many bytes of it are acknowledged.
    place: Location,
    /// When its first record was written.
    began: Option<Timestamp>,
    health: Health,
    index_in_memory: bool,
    index_fault: Option<String>,
    signatures: Signatures,
    wait: Duration,
    next_try: Instant,
}

/// Where writing goes on.
pub(super) struct Start {
    /// The newest segment and its length.
    pub(super) place: Location,
    /// When its first record was written.
    pub(super) began: Option<Timestamp>,
    /// The disk is full.
    pub(super) full: bool,
    /// The index could not be kept on disk.
    pub(super) index_in_memory: bool,
    /// Signs checkpoints, if the key is there.
    pub(super) signer: Option<Signer>,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: Receiver<Request>,
        options: OpenOptions,
        ballast: Ballast,
        sled: SledOptions,
        start: Start,
    ) -> Self {
        let signatures = Signatures::new(start.signer, options.checkpoint_age);
        let mut writer = Self {
            shared,
            queue,
            options,
            ballast,
            sled,
            active: None,
            place: start.place,
            began: start.began,
            health: Health::Well,
            index_in_memory: start.index_in_memory,
            index_fault: None,
            signatures,
            wait: FIRST_WAIT,
            next_try: Instant::now(),
        };
        writer.set_health(if start.full { Health::Full } else { Health::Well });
        writer
    }

    /// Until it is closed or nobody can ask any more.
    pub(super) fn run(mut self) {
        loop {
            let first = if self.shared.closing.load(Ordering::Acquire) {
                self.queue.try_recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                match (self.is_well(), self.signatures.due()) {
                    (true, None) => self.queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
                    (true, Some(due)) => self.queue.recv_timeout(due.saturating_duration_since(Instant::now())),
                    (false, _) => self.queue.recv_timeout(self.next_try.saturating_duration_since(Instant::now())),
                }
            };
            let first = match first {
                Ok(request) => request,
                Err(RecvTimeoutError::Timeout) if self.is_well() => {
                    self.sign();
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.mend();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            };
            let mut group = Vec::new();
            let mut closing = false;
            let mut queued = VecDeque::from([first]);
            while let Some(request) = queued.pop_front() {
                match request {
                    Request::Append { expected, batch, reply } => group.push(Append { expected, batch, reply }),
                    Request::Close => {
                        closing = true;
                        break;
                    }
                }
                if group.len() < GROUP_MAX {
                    queued.extend(self.queue.try_recv().ok());
                }
            }
            self.group(group);
            if closing {
                break;
            }
            if !self.is_well() && Instant::now() >= self.next_try {
                self.mend();
            }
        }
        self.seal();
        drop(self.shared.replace_index(Index::Away("the log is closed".to_owned())));
        self.shared.lock.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    }

    /// Puts on record that the index was built anew.
    pub(super) fn tell_rebuilt(&mut self, why: &str) -> Result<(), AppendError> {
        let at = self.options.clock.now();
        let batch = vec![Draft { about: About::Log, at, event: Event::IndexRebuilt { why: why.to_owned() } }];
        let (reply, mut answer) = oneshot::channel();
        // A fault of the index stays noted; the writer mends it when it next waits, never from in here.
        self.judge_and_write(vec![Append { expected: None, batch, reply }]);
        match answer.try_recv() {
            Ok(answer) => answer.map(|_| ()),
            Err(_) => Err(self.shared.refusal("the writer gave no answer")),
        }
    }

    fn group(&mut self, group: Vec<Append>) {
        if group.is_empty() {
            return;
        }
        self.judge_and_write(group);
        if let Some(why) = self.index_fault.take() {
            self.mend_index(&why);
        }
    }

    fn judge_and_write(&mut self, group: Vec<Append>) {
        *self.shared.busy_since() = Some(Instant::now());
        let (now, refused) = match &self.health {
            Health::Well => (group, Vec::new()),
            Health::Full => self.covered(group),
            Health::Broken(_) => (Vec::new(), group),
        };
        self.refuse(refused);
        if !now.is_empty() {
            match self.write(&now) {
                Ok(answers) => answer(now, answers),
                Err(Failure::Disk(error)) => self.failed(now, &error),
                Err(Failure::Index(error)) => {
                    self.refuse_because(now, &error.to_string());
                    self.index_fault = Some(error.0);
                }
            }
        }
        *self.shared.busy_since() = None;
    }

    /// Judges, writes, syncs, applies. An error means that nothing of the group counts.
    fn write(&mut self, group: &[Append]) -> Result<Vec<Answer>, Failure> {
        self.close_segment_if_due()?;
        let state = self.shared.state();
        let table = state.table().map_err(Failure::Index)?;
        let mut front = Front::new(self.shared.log, state.head, self.place, table);
        let mut answers = Vec::with_capacity(group.len());
        for append in group {
            answers.push(match front.admit(append.expected, &append.batch) {
                Ok(records) => Ok(records),
                Err(Refusal::Append(error)) => Err(error),
                Err(Refusal::Index(error)) => return Err(Failure::Index(error)),
            });
        }
        let signing = self.sign_behind(&mut front).map_err(Failure::Index)?;
        let (bytes, changes, head) = front.into_parts();
        drop(state);
        if bytes.is_empty() {
            self.signatures.written(signing);
            return Ok(answers);
        }
        let mut file = match self.active.take() {
            Some(file) => file,
            None => self.options.disk.append_to(&self.shared.layout.segment(self.place.segment), self.place.offset)?,
        };
        file.write(&bytes)?;
        file.sync()?;
        self.active = Some(file);
        self.place.offset += bytes.len() as u64;
        self.signatures.written(signing);
        if self.began.is_none() {
            self.began = Some(self.options.clock.now());
        }
        let failed = {
            let mut state = self.shared.state_mut();
            state.head = head;
            let applied = match &mut state.index {
                Index::Ready(table) => table.apply(&changes, head),
                Index::Away(why) => Err(ReadError(why.clone())),
            };
            // It is durable, whatever the index says; until the index can say so too, it says nothing.
            applied.err().map(|ReadError(why)| (std::mem::replace(&mut state.index, Index::Away(why.clone())), why))
        };
        if let Some((index, why)) = failed {
            drop(index);
            self.index_fault = Some(why);
        }
        self.shared.last.send_replace(head.position);
        Ok(answers)
    }

    fn close_segment_if_due(&mut self) -> io::Result<()> {
        let age = |began: Timestamp| self.options.clock.now().duration_since(began).unsigned_abs();
        let old = self.began.is_some_and(|began| age(began) >= self.options.segment_age);
        if self.place.offset == 0 || (self.place.offset < self.options.segment_bytes && !old) {
            return Ok(());
        }
        let closed = self.shared.layout.segment(self.place.segment);
        let first = self.shared.state().head.position.0 + 1;
        let next = self.shared.layout.segment(first);
        self.active = None;
        let opened = self.options.disk.append_to(&next, 0);
        if opened.is_err() {
            let _ = fs::remove_file(&next);
        }
        self.active = Some(opened?);
        self.place = Location { segment: first, offset: 0 };
        self.began = None;
        if let Err(error) = fs::set_permissions(&closed, fs::Permissions::from_mode(0o400)) {
            tracing::warn!(file = %closed.display(), %error, "a closed segment could not be made read-only");
        }
        Ok(())
    }

    /// Those that the ballast's room is for, and the others.
    fn covered(&self, group: Vec<Append>) -> (Vec<Append>, Vec<Append>) {
        group.into_iter().partition(|append| append.batch.iter().any(|draft| self.is_covered(draft)))
    }

    fn is_covered(&self, draft: &Draft) -> bool {
        match &draft.about {
            About::Subject(Subject::Run(id)) => {
                let state = self.shared.state();
                let run = state.table().and_then(|table| queries::run(table, *id));
                run.is_ok_and(|run| run.is_some_and(|run| run.holds_claim()))
            }
            About::Subject(Subject::Releases(_)) => true,
            About::Log => matches!(draft.event, Event::Stopped | Event::IndexRebuilt { .. }),
            About::NewRun => false,
        }
    }

    fn refuse(&self, group: Vec<Append>) {
        let cause = self.shared.trouble().clone().unwrap_or_else(|| FULL.to_owned());
        self.refuse_because(group, &cause);
    }

    fn refuse_because(&self, group: Vec<Append>, cause: &str) {
        for append in group {
            let _ = append.reply.send(Err(self.shared.refusal(cause)));
        }
    }
}

/// Whoever does not listen any more asked for nothing.
fn answer(group: Vec<Append>, answers: Vec<Answer>) {
    for (append, answer) in group.into_iter().zip(answers) {
        let _ = append.reply.send(answer);
    }
}

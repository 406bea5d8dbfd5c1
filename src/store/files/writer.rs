//! The one thread that writes: takes what is queued, judges it, writes the lines, one `fdatasync`, index,
//! acknowledge (durability section 3).
//!
//! A handle that failed is never used again: the segment is opened anew, cut to what was acknowledged and
//! proven from the disk before the next write. Answers go out only when the fate of the whole group is known,
//! since a refusal may rest on a record of the same group.

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

use super::super::admit::Front;
use super::super::chain::Chain;
use super::super::projections::Refusal;
use super::super::reader::{Segment, segments_in};
use super::super::table::Location;
use super::super::verify::walk;
use super::super::{About, AppendError, Draft, ReadError, Record, queries};
use super::ballast::Ballast;
use super::disk::{SegmentFile, is_full};
use super::index::{IndexOutcome, Truth, prepare};
use super::open::OpenOptions;
use super::sled_table::SledOptions;
use super::{Index, Request, Shared};
use crate::domain::event::{Event, Subject};
use crate::domain::ids::Position;

/// Most appends in one group: more would make the first wait for nothing.
const GROUP_MAX: usize = 128;

/// Waiting before the first attempt to write again after a failure; doubled each time.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

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
            wait: FIRST_WAIT,
            next_try: Instant::now(),
        };
        writer.set_health(if start.full { Health::Full } else { Health::Well });
        writer
    }

    /// Until it is closed or nobody can ask any more.
    pub(super) fn run(mut self) {
        loop {
            let first = if self.is_well() {
                self.queue.recv().ok()
            } else {
                match self.queue.recv_timeout(self.next_try.saturating_duration_since(Instant::now())) {
                    Ok(request) => Some(request),
                    Err(RecvTimeoutError::Timeout) => {
                        self.mend();
                        continue;
                    }
                    Err(RecvTimeoutError::Disconnected) => None,
                }
            };
            let Some(first) = first else { break };
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
        self.shared.state_mut().index = Index::Away("the log is closed".to_owned());
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
        let (bytes, changes, head) = front.into_parts();
        drop(state);
        if bytes.is_empty() {
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
        if self.began.is_none() {
            self.began = Some(self.options.clock.now());
        }
        {
            let mut state = self.shared.state_mut();
            state.head = head;
            let applied = match &mut state.index {
                Index::Ready(table) => table.apply(&changes, head),
                Index::Away(why) => Err(ReadError(why.clone())),
            };
            // It is durable, whatever the index says; until the index can say so too, it says nothing.
            if let Err(error) = applied {
                state.index = Index::Away(error.0.clone());
                self.index_fault = Some(error.0);
            }
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

    /// After a failed write: runs that hold a target get another chance with the ballast's room, on a new handle.
    fn failed(&mut self, group: Vec<Append>, error: &io::Error) {
        tracing::error!(%error, "the log could not be written");
        self.active = None;
        if !is_full(error) {
            // What may be there of the group goes now, so that a crash does not bring it back.
            let _ = self.reopen();
            self.active = None;
            self.set_health(Health::Broken(format!("the disk failed: {error}. It is tried again by itself")));
            return self.refuse(group);
        }
        self.set_health(Health::Full);
        let (covered, others) = self.covered(group);
        let again = match covered.is_empty() {
            true => self.reopen().map(|()| Vec::new()),
            false => {
                self.ballast.release();
                self.reopen().and_then(|()| {
                    self.write(&covered).map_err(|failure| match failure {
                        Failure::Disk(error) => error.to_string(),
                        Failure::Index(error) => error.to_string(),
                    })
                })
            }
        };
        match again {
            Ok(answers) => {
                answer(covered, answers);
                self.refuse(others);
            }
            Err(why) => {
                self.active = None;
                let _ = self.reopen();
                self.active = None;
                self.set_health(Health::Broken(format!(
                    "the disk is full: {why}. Free some room; it goes on by itself then"
                )));
                self.refuse(covered);
                self.refuse(others);
            }
        }
    }

    /// The segment on a new handle, cut to what was acknowledged, proven from the disk.
    fn reopen(&mut self) -> Result<(), String> {
        self.active = None;
        let head = self.shared.state().head;
        let path = self.shared.layout.segment(self.place.segment);
        let file = self.options.disk.append_to(&path, self.place.offset).map_err(|e| e.to_string())?;
        if self.place.offset > 0 {
            let chain = match self.place.segment {
                0 => Chain::from_genesis(),
                first => Chain::from_middle(self.shared.log, first),
            };
            let segment = Segment { first: self.place.segment, path };
            let walked = walk(&[segment], chain, |_, _, _| Ok(())).map_err(|damage| damage.to_string())?;
            if walked.head != Some(head) || walked.torn.is_some() {
                return Err(format!("what is on the disk does not end with record {}", head.position));
            }
        }
        self.active = Some(file);
        Ok(())
    }

    /// Tries to be well again.
    fn mend(&mut self) {
        if let Health::Broken(_) = self.health {
            match self.reopen() {
                Ok(()) => self.set_health(Health::Full),
                Err(why) => return self.set_health(Health::Broken(format!("{why}. It is tried again by itself"))),
            }
        }
        if self.health == Health::Full {
            match self.ballast.ensure() {
                Ok(()) => {
                    self.set_health(Health::Well);
                    tracing::info!("the log can be written again");
                }
                Err(_) => self.set_health(Health::Full),
            }
        }
        if self.index_is_away() || (self.index_in_memory && self.health == Health::Well) {
            let why = self.index_fault.take().unwrap_or_else(|| "it failed before".to_owned());
            self.mend_index(&why);
            if self.index_is_away() {
                self.wait_longer();
            }
        }
    }

    /// Brings the index back: opened and caught up, built anew, or in memory when the disk takes neither.
    fn mend_index(&mut self, why: &str) {
        tracing::error!(why, "the index failed and is opened again");
        let head = {
            let mut state = self.shared.state_mut();
            state.index = Index::Away(why.to_owned());
            state.head
        };
        let prepared =
            segments_in(&self.shared.layout.segments()).map_err(|e| e.to_string()).and_then(|mut segments| {
                segments.retain(|s| s.first <= self.place.segment);
                let truth = Truth { log: self.shared.log, segments: &segments, head };
                prepare(&self.shared.layout, &self.sled, truth).map_err(|damage| damage.to_string())
            });
        match prepared {
            Ok(prepared) => {
                self.shared.state_mut().index = Index::Ready(prepared.table);
                self.index_in_memory = matches!(prepared.outcome, IndexOutcome::InMemory { .. });
                match prepared.outcome {
                    IndexOutcome::Rebuilt { why, .. } => {
                        if let Err(error) = self.tell_rebuilt(&why) {
                            tracing::error!(%error, "that the index was built anew is not on record");
                        }
                    }
                    IndexOutcome::InMemory { why } => {
                        tracing::error!(why, "the index is kept in memory until the next start");
                    }
                    IndexOutcome::Created | IndexOutcome::Ready | IndexOutcome::CaughtUp { .. } => {}
                }
            }
            Err(why) => self.set_health(Health::Broken(why)),
        }
    }

    fn set_health(&mut self, health: Health) {
        *self.shared.trouble() = match &health {
            Health::Well => None,
            Health::Full => Some(FULL.to_owned()),
            Health::Broken(why) => Some(why.clone()),
        };
        self.shared.room.store(health == Health::Well, Ordering::Release);
        match health {
            Health::Well => self.wait = FIRST_WAIT,
            Health::Full | Health::Broken(_) => self.wait_longer(),
        }
        self.health = health;
    }

    fn wait_longer(&mut self) {
        self.next_try = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    fn is_well(&self) -> bool {
        self.health == Health::Well && !self.index_is_away()
    }

    fn index_is_away(&self) -> bool {
        matches!(self.shared.state().index, Index::Away(_))
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

//! After a failure: a new handle, the segment cut to what was acknowledged and proven from the disk, the
//! index opened or built anew; with growing waits, until it is well again.
//!
//! Must never: use a handle or an index that failed, or promise room that is not there.

use std::fs;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::super::super::chain::Chain;
use super::super::super::reader::{Segment, segments_in};
use super::super::super::verify::walk;
use super::super::Index;
use super::super::disk::is_full;
use super::super::index::{IndexOutcome, Truth, prepare};
use super::{Append, FULL, Failure, Health, Writer, answer};

/// Waiting before the first attempt to write again after a failure; doubled each time.
pub(super) const FIRST_WAIT: Duration = Duration::from_millis(100);

/// Longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

impl Writer {
    /// After a failed write: runs that hold a target get another chance with the ballast's room, on a new handle.
    pub(super) fn failed(&mut self, group: Vec<Append>, error: &io::Error) {
        tracing::error!(%error, "the log could not be written");
        self.active = None;
        if !is_full(error) {
            // What may be there of the group goes now, so that a crash does not bring it back.
            let taken_back = self.reopen().is_ok();
            self.active = None;
            let cause = format!("the disk failed: {error}. It is tried again by itself");
            self.set_health(Health::Broken(cause.clone()));
            return if taken_back { self.refuse(group) } else { self.refuse_until_restart(group, &cause) };
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
                let taken_back = self.reopen().is_ok();
                self.active = None;
                let cause = format!("the disk is full: {why}. Free some room; it goes on by itself then");
                self.set_health(Health::Broken(cause.clone()));
                for group in [covered, others] {
                    if taken_back { self.refuse(group) } else { self.refuse_until_restart(group, &cause) }
                }
            }
        }
    }

    /// The segment on a new handle, cut to what was acknowledged, proven from the disk.
    pub(super) fn reopen(&mut self) -> Result<(), String> {
        self.active = None;
        let head = self.shared.state().head;
        self.drop_next_segment(head.position.0 + 1)?;
        let path = self.shared.layout.segment(self.place.segment);
        let file = self.options.disk.append_to(&path, self.place.offset).map_err(|e| e.to_string())?;
        if self.place.offset > 0 {
            let chain = match self.place.segment {
                0 => Chain::from_genesis(),
                first => Chain::from_middle(self.shared.log, first).signed_by(self.shared.key),
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

    /// A change of segment that failed half-way may have left the next one, with nothing acknowledged in it. It goes
    /// before anything else is written: behind it the log would not go on where it says.
    fn drop_next_segment(&self, first: u64) -> Result<(), String> {
        let path = self.shared.layout.segment(first);
        if first == self.place.segment {
            return Ok(());
        }
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(format!("{}: {error}", path.display())),
            _ => Ok(()),
        }
    }

    fn refuse_until_restart(&self, group: Vec<Append>, cause: &str) {
        for append in group {
            let _ = append.reply.send(Err(self.shared.refusal_until_restart(cause)));
        }
    }

    /// Tries to be well again.
    pub(super) fn mend(&mut self) {
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
    pub(super) fn mend_index(&mut self, why: &str) {
        tracing::error!(why, "the index failed and is opened again");
        drop(self.shared.replace_index(Index::Away(why.to_owned())));
        let head = self.shared.state().head;
        let prepared =
            segments_in(&self.shared.layout.segments()).map_err(|e| e.to_string()).and_then(|mut segments| {
                segments.retain(|s| s.first <= self.place.segment);
                let truth = Truth { log: self.shared.log, key: self.shared.key, segments: &segments, head };
                prepare(&self.shared.layout, &self.sled, truth).map_err(|damage| damage.to_string())
            });
        match prepared {
            Ok(prepared) => {
                drop(self.shared.replace_index(Index::Ready(prepared.table)));
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

    pub(super) fn set_health(&mut self, health: Health) {
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

    pub(super) fn wait_longer(&mut self) {
        self.next_try = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
    }

    pub(super) fn is_well(&self) -> bool {
        self.health == Health::Well && !self.index_is_away()
    }

    pub(super) fn index_is_away(&self) -> bool {
        matches!(self.shared.state().index, Index::Away(_))
    }
}

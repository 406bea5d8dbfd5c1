//! From drafts to lines: the part of writing that needs no disk. Pure; shared by both logs.
//!
//! Must never: let a batch in half. A batch is judged on a layer of its own that is dropped when one of its
//! records is refused.

use super::checkpoint::Signer;
use super::line::{self, LINE_MAX, LogId};
use super::projections::tree::{Signed, signed};
use super::projections::{Refusal, cannot_follow, project};
use super::record::{self, OfBatch, Wire};
use super::table::{Changes, Location, Overlay, View, key};
use super::{About, AppendError, Draft, Hash, Head, ReadError, Record, queries};
use crate::domain::event::{Event, FORMAT, Subject};
use crate::domain::ids::{Position, RunId};

/// Most records in one batch. More than any procedure writes at once.
pub(crate) const BATCH_MAX: usize = 1000;

/// Lines that are ready to be written after a head, and what they change in the index.
pub(crate) struct Front<'a> {
    log: LogId,
    begin: Position,
    head: Head,
    place: Location,
    index: Overlay<'a>,
    /// The lines.
    bytes: Vec<u8>,
}

impl<'a> Front<'a> {
    /// Nothing to write yet after `head`; the next line will stand at `place`.
    pub(crate) fn new(log: LogId, head: Head, place: Location, index: &'a dyn View) -> Self {
        Self { log, begin: head.position, head, place, index: Overlay::over(index), bytes: Vec::new() }
    }

    /// Takes a batch in wholly, or says why not and stays as it was.
    pub(crate) fn admit(&mut self, expected: Option<Position>, batch: &[Draft]) -> Result<Vec<Record>, Refusal> {
        if expected.is_some_and(|expected| expected != self.head.position) {
            return Err(Refusal::Append(AppendError::Moved(self.head.position)));
        }
        let mut inner = Front {
            log: self.log,
            begin: self.begin,
            head: self.head,
            place: self.place,
            index: Overlay::over(&self.index),
            bytes: Vec::new(),
        };
        let count = u32::try_from(batch.len()).ok().filter(|_| batch.len() <= BATCH_MAX);
        let Some(count) = count else {
            return Err(Refusal::Append(AppendError::CannotWrite(format!(
                "nothing is done; a batch has at most {BATCH_MAX} records, this one {}",
                batch.len()
            ))));
        };
        let mut records = Vec::with_capacity(batch.len());
        for (k, draft) in (1..).zip(batch) {
            let of_batch = (count > 1).then_some(OfBatch(k, count));
            records.push(inner.add(draft, of_batch)?);
        }
        let Front { head, place, index, bytes, .. } = inner;
        let changes = index.into_changes();
        self.index.extend(changes);
        self.head = head;
        self.place = place;
        self.bytes.extend_from_slice(&bytes);
        Ok(records)
    }

    /// The tree as it will be.
    pub(crate) fn signed(&self) -> Result<Signed, ReadError> {
        signed(&self.index)
    }

    /// Puts a checkpoint about everything before it at the end.
    pub(crate) fn sign(&mut self, signer: &Signer, at: jiff::Timestamp) -> Result<Record, Refusal> {
        let Signed { tree, last, mut ended } = self.signed()?;
        if last.is_none() {
            // The first one of a log that is older than checkpoints: what ended long ago is not told anew.
            let mut recent = Vec::new();
            for run in ended {
                if queries::run_in(&self.index, run)?.is_some_and(|run| run.last > self.begin) {
                    recent.push(run);
                }
            }
            ended = recent;
        }
        let position = Position(tree.size());
        let nameless = || AppendError::CannotWrite(format!("the log's name does not fit a note at {position}"));
        let note = signer.sign(&tree).ok_or_else(nameless).map_err(Refusal::Append)?;
        let draft = Draft { about: About::Log, at, event: Event::Checkpoint { note, ended } };
        let written = self.admit(None, &[draft])?.pop();
        written.ok_or_else(|| Refusal::Index(ReadError("a batch of one gave no record".to_owned())))
    }

    /// The lines, what they change, and the head after them.
    pub(crate) fn into_parts(self) -> (Vec<u8>, Changes, Head) {
        (self.bytes, self.index.into_changes(), self.head)
    }

    fn add(&mut self, draft: &Draft, batch: Option<OfBatch>) -> Result<Record, Refusal> {
        let position = Position(self.head.position.0 + 1);
        let subject = match &draft.about {
            About::Log => None,
            About::Subject(subject) => Some(subject.clone()),
            About::NewRun => Some(Subject::Run(RunId(position))),
        };
        let prev_of = subject.as_ref().map(|s| subject_head(&self.index, s)).transpose()?;
        let wire = Wire {
            v: FORMAT,
            at: draft.at,
            subject,
            prev_of: prev_of.map(|hash| hash.to_string()),
            batch,
            body: draft.event.clone(),
        };
        let text = record::encode(&wire).map_err(|e| cannot_follow(position, &draft.event, e.to_string()))?;
        let begin = self.bytes.len();
        let hash = line::write(&mut self.bytes, self.log, position.0, self.head.hash, &text);
        let length = self.bytes.len() - begin;
        if length > LINE_MAX {
            let why = format!("it has {length} bytes, a record has at most {LINE_MAX}");
            return Err(cannot_follow(position, &draft.event, why).into());
        }
        let record = record::into_record(wire, position, hash);
        project(&mut self.index, &record, self.place)?;
        self.head = Head { position, hash };
        self.place.offset += length as u64;
        Ok(record)
    }
}

/// Hash of a subject's last record; zeros when it has none.
pub(crate) fn subject_head(index: &dyn View, subject: &Subject) -> Result<Hash, ReadError> {
    match index.get(&key::subject_head(subject))? {
        Some(bytes) => super::table::hash(&bytes),
        None => Ok(Hash::ZERO),
    }
}

/// The first line of a log, its record, and what it changes.
///
/// # Errors
/// Never for the genesis event that `files` and `memory` make; other events are refused.
pub(crate) fn genesis(
    log: LogId,
    at: jiff::Timestamp,
    event: Event,
    index: &dyn View,
) -> Result<(Vec<u8>, Record, Changes), Refusal> {
    let wire = Wire { v: FORMAT, at, subject: None, prev_of: None, batch: None, body: event };
    let text = record::encode(&wire).map_err(|e| cannot_follow(Position(0), &wire.body, e.to_string()))?;
    let mut bytes = Vec::new();
    let hash = line::write(&mut bytes, log, 0, Hash::ZERO, &text);
    let record = record::into_record(wire, Position(0), hash);
    let mut overlay = Overlay::over(index);
    project(&mut overlay, &record, Location { segment: 0, offset: 0 })?;
    Ok((bytes, record, overlay.into_changes()))
}

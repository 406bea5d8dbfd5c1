//! Follows the chain line by line: one place that says whether a line may stand where it stands.
//!
//! Used by the verifier, by the start and by catching the index up, so that they cannot disagree.
//! Must never: go on after a line that does not fit.

use std::collections::HashMap;

use super::line::{Line, LogId};
use super::record::{self, Envelope};
use super::{Hash, Head};
use crate::domain::event::{Event, Subject};
use crate::domain::ids::Position;

/// State after some lines. Memory grows with subjects (about a hundred bytes each), not with records.
#[derive(Debug, Clone)]
pub(crate) struct Chain {
    log: Option<LogId>,
    from: u64,
    next: u64,
    prev: Option<Hash>,
    subjects: HashMap<Subject, Hash>,
    batch: Option<(u32, u32)>,
}

impl Chain {
    /// From genesis on; the log id is taken from it.
    pub(crate) fn from_genesis() -> Self {
        Self { log: None, from: 0, next: 0, prev: Some(Hash::ZERO), subjects: HashMap::new(), batch: None }
    }

    /// From the record after `head` of a known log. Subjects met for the first time are believed to have
    /// earlier records where they say so.
    pub(crate) fn after(log: LogId, head: Head) -> Self {
        let next = head.position.0 + 1;
        Self { log: Some(log), from: next, next, prev: Some(head.hash), subjects: HashMap::new(), batch: None }
    }

    /// From some record of a known log: the first line's `prev` is believed.
    pub(crate) fn from_middle(log: LogId, first: u64) -> Self {
        let prev = (first == 0).then_some(Hash::ZERO);
        Self { log: Some(log), from: first, next: first, prev, subjects: HashMap::new(), batch: None }
    }

    /// The log's id, once genesis was seen.
    pub(crate) fn log(&self) -> Option<LogId> {
        self.log
    }

    /// The last line that fitted.
    pub(crate) fn head(&self) -> Option<Head> {
        Some(Head { position: Position(self.next.checked_sub(1)?), hash: self.prev? })
    }

    /// Whether a batch has begun and its last record is missing.
    pub(crate) fn inside_batch(&self) -> bool {
        self.batch.is_some()
    }

    /// Takes the next line (without newline). The error says what is wrong with it, for a person.
    pub(crate) fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<(Line<'a>, Envelope), String> {
        let line = Line::cut(bytes).ok_or("it is no line of a log: its head or its end was changed")?;
        self.position_fits(&line)?;
        if let Some(prev) = self.prev
            && line.prev != prev
        {
            return Err(format!(
                "it does not follow the line before it: it names {:.12}… as that line's hash, which is {:.12}…; one of the two was changed, removed or put in",
                line.prev.to_string(),
                prev.to_string()
            ));
        }
        let log = match self.log {
            Some(log) => log,
            None => genesis_id(&line)?,
        };
        if line.proper_hash(log) != line.hash {
            return Err("its hash is not that of its content: it was changed, or belongs to another log".to_owned());
        }
        let envelope = record::envelope(line.event).map_err(|e| e.to_string())?;
        self.batch_fits(&envelope)?;
        self.subject_fits(&line, &envelope)?;
        self.log = Some(log);
        self.next = line.seq + 1;
        self.prev = Some(line.hash);
        Ok((line, envelope))
    }

    fn position_fits(&self, line: &Line<'_>) -> Result<(), String> {
        let wanted = self.next;
        match line.seq {
            seq if seq == wanted => Ok(()),
            seq if seq > wanted && seq - wanted == 1 => Err(format!("record {wanted} is missing before it")),
            seq if seq > wanted => Err(format!("records {wanted} to {} are missing before it", seq - 1)),
            seq => {
                Err(format!("record {wanted} should stand here, but it is record {seq}: put in, repeated or swapped"))
            }
        }
    }

    fn batch_fits(&mut self, envelope: &Envelope) -> Result<(), String> {
        let here = envelope.batch.map(|b| (b.0, b.1));
        let fits = match (self.batch, here) {
            (None, None) => true,
            (None, Some((k, n))) => k == 1 && n > 1,
            (Some((k, n)), Some(here)) => here == (k + 1, n),
            (Some(_), None) => false,
        };
        if !fits {
            return Err("the records of a batch are not complete before it".to_owned());
        }
        self.batch = here.filter(|(k, n)| k < n);
        Ok(())
    }

    fn subject_fits(&mut self, line: &Line<'_>, envelope: &Envelope) -> Result<(), String> {
        let (subject, prev) = match (&envelope.subject, &envelope.prev_of) {
            (None, None) => return Ok(()),
            (Some(subject), Some(prev)) => (subject, Hash::parse(prev).ok_or("its `prev_of` is no hash")?),
            _ => return Err("`subject` and `prev_of` stand together or not at all".to_owned()),
        };
        let begins_here = match subject {
            Subject::Run(run) => run.0.0 >= self.from,
            Subject::Releases(_) => self.from == 0,
        };
        let wanted = match self.subjects.get(subject) {
            Some(hash) => Some(*hash),
            None if begins_here => Some(Hash::ZERO),
            None => None,
        };
        if wanted.is_some_and(|wanted| wanted != prev) {
            return Err("it does not follow its subject's record before: one was removed or put in".to_owned());
        }
        self.subjects.insert(subject.clone(), line.hash);
        Ok(())
    }
}

/// The log id that a genesis line states for itself.
pub(crate) fn genesis_id(line: &Line<'_>) -> Result<LogId, String> {
    if line.seq != 0 {
        return Err("the log's id is not known: it does not begin with its first record".to_owned());
    }
    let wire = record::decode(line.event).map_err(|e| e.to_string())?;
    let Event::Genesis { log_id, .. } = wire.body else {
        return Err("the first record of a log is a genesis record".to_owned());
    };
    LogId::parse(&log_id).ok_or_else(|| "its log id is not 32 hex digits".to_owned())
}

//! Follows the chain line by line: one place that says whether a line may stand where it stands.
//!
//! Used by the verifier, by the start and by catching the index up, so that they cannot disagree.
//! Must never: go on after a line that does not fit.

use std::collections::HashMap;

use ed25519_dalek::VerifyingKey;

use super::checkpoint::{self, Checkpoint};
use super::line::{Line, LogId};
use super::merkle::Tree;
use super::note::Verifier;
use super::record::{self, Envelope, KindOf, OfBatch};
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
    /// Of all records; none when the chain begins in the middle.
    tree: Option<Tree>,
    /// The same before the batch that was begun last.
    tree_before_batch: Option<Tree>,
    /// The key that signs checkpoints, once it is known.
    key: Option<VerifyingKey>,
    /// A size at which somebody wants to know the root.
    watched: Option<u64>,
    root_there: Option<Hash>,
}

/// A line that fits.
#[derive(Debug)]
pub(crate) struct Taken<'a> {
    /// It.
    pub(crate) line: Line<'a>,
    /// What stands around its body.
    pub(crate) envelope: Envelope,
    /// If it is a checkpoint: its note. What it says is proven, as far as the tree is known; that it is signed is not.
    pub(crate) note: Option<String>,
}

impl Chain {
    /// From genesis on; the log id is taken from it.
    pub(crate) fn from_genesis() -> Self {
        Self { tree: Some(Tree::default()), ..Self::begin(None, 0, Some(Hash::ZERO)) }
    }

    /// From the record after `head` of a known log. Subjects met for the first time are believed to have
    /// earlier records where they say so.
    pub(crate) fn after(log: LogId, head: Head) -> Self {
        Self::begin(Some(log), head.position.0 + 1, Some(head.hash))
    }

    /// From some record of a known log: the first line's `prev` is believed.
    pub(crate) fn from_middle(log: LogId, first: u64) -> Self {
        Self::begin(Some(log), first, (first == 0).then_some(Hash::ZERO))
    }

    fn begin(log: Option<LogId>, from: u64, prev: Option<Hash>) -> Self {
        Self {
            log,
            from,
            next: from,
            prev,
            subjects: HashMap::new(),
            batch: None,
            tree: None,
            tree_before_batch: None,
            key: None,
            watched: None,
            root_there: None,
        }
    }

    /// Checkpoints are signed with this key; a chain from genesis finds it there.
    pub(crate) fn signed_by(self, key: Option<VerifyingKey>) -> Self {
        Self { key, ..self }
    }

    /// The root at this size is wanted.
    pub(crate) fn watching(self, size: Option<u64>) -> Self {
        Self { watched: size, ..self }
    }

    /// The root at the size that was wanted, once it was passed.
    pub(crate) fn root_there(&self) -> Option<Hash> {
        self.root_there
    }

    /// The tree of all records so far, when the chain began at genesis.
    pub(crate) fn tree(&self) -> Option<&Tree> {
        self.tree.as_ref()
    }

    /// The same before the batch that was begun last.
    pub(crate) fn tree_before_batch(&self) -> Option<&Tree> {
        self.tree_before_batch.as_ref()
    }

    /// What proves checkpoints; none when the chain began in the middle and nobody said.
    pub(crate) fn verifier(&self) -> Result<Option<Verifier>, String> {
        match (self.log, self.key, &self.tree) {
            (Some(log), Some(key), _) => Ok(checkpoint::verifier(log, key)),
            (_, _, None) => Ok(None),
            _ => {
                Err("it is a checkpoint, but the log's first record names no key that could have signed it".to_owned())
            }
        }
    }

    /// The key that signs checkpoints.
    pub(crate) fn key(&self) -> Option<VerifyingKey> {
        self.key
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
    pub(crate) fn take<'a>(&mut self, bytes: &'a [u8]) -> Result<Taken<'a>, String> {
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
        let log = match (self.log, line.seq) {
            (Some(log), 1..) => log,
            (known, _) => {
                let (log, keys) = genesis(&line)?;
                self.key = checkpoint::first_key(&keys);
                known.unwrap_or(log)
            }
        };
        if line.proper_hash(log) != line.hash {
            return Err("its hash is not that of its content: it was changed, or belongs to another log".to_owned());
        }
        let envelope = record::envelope(line.event).map_err(|e| e.to_string())?;
        self.batch_fits(&envelope)?;
        self.subject_fits(&line, &envelope)?;
        let note = match envelope.body.of {
            KindOf::Checkpoint => Some(self.checkpoint_fits(&line, log)?),
            KindOf::Other => None,
        };
        if envelope.batch.is_some_and(|OfBatch(k, _)| k == 1) {
            self.tree_before_batch = self.tree.clone();
        }
        if let Some(tree) = &mut self.tree {
            tree.push(&line.hash.0);
            if self.watched == Some(tree.size()) {
                self.root_there = Some(tree.root());
            }
        }
        self.log = Some(log);
        self.next = line.seq + 1;
        self.prev = Some(line.hash);
        Ok(Taken { line, envelope, note })
    }

    /// Whether a checkpoint is one of this log, about the records before it.
    fn checkpoint_fits(&self, line: &Line<'_>, log: LogId) -> Result<String, String> {
        let Event::Checkpoint { note, .. } = record::decode(line.event).map_err(|e| e.to_string())?.body else {
            return Err("it says that it is a checkpoint, but is none".to_owned());
        };
        let (origin, says) = checkpoint::read(&note).map_err(|e| format!("its checkpoint is none: {e}"))?;
        if origin != checkpoint::origin(log) {
            return Err(format!("its checkpoint is one of {origin}, not of this log"));
        }
        if says.size != line.seq {
            return Err(format!("its checkpoint is about {} records, but {} stand before it", says.size, line.seq));
        }
        match &self.tree {
            Some(tree) if Checkpoint::of(tree) != says => Err(format!(
                "its checkpoint names the root {}… of the records before it, but their root is {}…: they were changed since it was signed",
                says.short_root(),
                Checkpoint::of(tree).short_root()
            )),
            _ => Ok(note),
        }
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

/// The log id and the keys that a genesis line states.
pub(crate) fn genesis(line: &Line<'_>) -> Result<(LogId, Vec<String>), String> {
    if line.seq != 0 {
        return Err("the log's id is not known: it does not begin with its first record".to_owned());
    }
    let wire = record::decode(line.event).map_err(|e| e.to_string())?;
    let Event::Genesis { log_id, keys, .. } = wire.body else {
        return Err("the first record of a log is a genesis record".to_owned());
    };
    let log = LogId::parse(&log_id).ok_or("its log id is not 32 hex digits")?;
    Ok((log, keys))
}

//! What the index is made of: keys and values, and a layer of changes on top of them.
//!
//! One key space for both implementations, so that the projections and the questions exist once.
//! Must never: know sled, or what an event means.

use std::collections::BTreeMap;

use super::{Hash, Head, ReadError};
use crate::domain::event::Subject;
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::names::Target;

/// A key with its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Changes of one or more records: the new value, or `None` to remove the key.
pub(crate) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Something that values can be looked up in.
pub(crate) trait View {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;
}

/// A stored index.
pub(crate) trait Table: View + Send + Sync {
    /// Pairs whose key begins with `prefix`, in key order or from the end, at most `limit`.
    fn scan(&self, prefix: &[u8], order: Order, limit: usize) -> Result<Vec<Pair>, ReadError>;

    /// Makes the changes, all or none, and notes that everything up to `head` is in.
    fn apply(&mut self, changes: &Changes, head: Head) -> Result<(), ReadError>;
}

/// Direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Smallest key first.
    Up,
    /// Largest key first.
    Down,
}

/// Where a record stands: the segment by its first position, and the offset in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Location {
    /// First position of the segment.
    pub(crate) segment: u64,
    /// Bytes from its beginning.
    pub(crate) offset: u64,
}

impl Location {
    pub(crate) fn to_bytes(self) -> Vec<u8> {
        [self.segment.to_be_bytes(), self.offset.to_be_bytes()].concat()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        let (segment, offset) = bytes.split_at_checked(8).ok_or_else(|| wrong("a location"))?;
        Ok(Self { segment: number(segment)?, offset: number(offset)? })
    }
}

/// Reads a big-endian number.
pub(crate) fn number(bytes: &[u8]) -> Result<u64, ReadError> {
    bytes.try_into().map(u64::from_be_bytes).map_err(|_| wrong("a number"))
}

/// Reads the number at the end of a key.
pub(crate) fn last_number(key: &[u8]) -> Result<u64, ReadError> {
    number(key.len().checked_sub(8).map_or(&[][..], |at| &key[at..]))
}

/// The value is not of the kind its key promises.
pub(crate) fn wrong(what: &str) -> ReadError {
    ReadError(format!("{what} in it is damaged; it is built anew from the log at the next start"))
}

/// The key space: a letter, then the rest.
pub(crate) mod key {
    use sha2::{Digest, Sha256};

    use super::{ApprovalId, Position, RunId, Subject, Target};

    /// Epoch of the tokens.
    pub(crate) const EPOCH: &[u8] = b"n";
    /// Releases of every service.
    pub(crate) const HISTORIES: &[u8] = b"v";
    /// Every run.
    pub(crate) const RUNS: &[u8] = b"r";
    /// Runs that have not ended.
    pub(crate) const OPEN: &[u8] = b"o";

    fn with(letter: u8, rest: &[u8]) -> Vec<u8> {
        [&[letter], rest].concat()
    }

    /// Location of a record; only every [`crate::store::projections::SEEK_EVERY`]th has one.
    pub(crate) fn place(position: Position) -> Vec<u8> {
        with(b'e', &position.0.to_be_bytes())
    }

    /// State of a run.
    pub(crate) fn run(id: RunId) -> Vec<u8> {
        with(b'r', &id.0.0.to_be_bytes())
    }

    /// The tree of all records.
    pub(crate) const TREE: &[u8] = b"m";

    /// A run that has not ended.
    pub(crate) fn open(id: RunId) -> Vec<u8> {
        with(b'o', &id.0.0.to_be_bytes())
    }

    /// The run of an approval.
    pub(crate) fn approval(id: ApprovalId) -> Vec<u8> {
        with(b'a', &id.0.0.to_be_bytes())
    }

    /// The run that holds a target.
    pub(crate) fn holder(target: &Target) -> Vec<u8> {
        with(b'l', target.to_string().as_bytes())
    }

    /// Where a platform event is on record. Hashed: the platform decides how long its ids are.
    pub(crate) fn seen(event: &str) -> Vec<u8> {
        with(b's', &Sha256::digest(event.as_bytes()))
    }

    /// Releases of a service.
    pub(crate) fn history(subject: &str) -> Vec<u8> {
        with(b'v', subject.as_bytes())
    }

    /// Hash of a subject's last record.
    pub(crate) fn subject_head(subject: &Subject) -> Vec<u8> {
        with(b'h', &subject_bytes(subject))
    }

    /// All records of a subject.
    pub(crate) fn thread(subject: &Subject) -> Vec<u8> {
        with(b't', &subject_bytes(subject))
    }

    /// One record of a subject.
    pub(crate) fn in_thread(subject: &Subject, position: Position) -> Vec<u8> {
        [thread(subject), position.0.to_be_bytes().to_vec()].concat()
    }

    /// No subject's bytes begin another's: numbers have a fixed width, names end in a zero.
    fn subject_bytes(subject: &Subject) -> Vec<u8> {
        match subject {
            Subject::Run(id) => with(b'r', &id.0.0.to_be_bytes()),
            Subject::Releases(key) => [b"v", key.as_bytes(), b"\0"].concat(),
        }
    }
}

/// Changes on top of a view: seen by whoever looks through it, made nowhere yet.
pub(crate) struct Overlay<'a> {
    base: &'a dyn View,
    changes: Changes,
}

impl<'a> Overlay<'a> {
    /// Nothing changed yet.
    pub(crate) fn over(base: &'a dyn View) -> Self {
        Self { base, changes: Changes::new() }
    }

    /// These changes already.
    pub(crate) fn resume(base: &'a dyn View, changes: Changes) -> Self {
        Self { base, changes }
    }

    /// Adds changes.
    pub(crate) fn extend(&mut self, changes: Changes) {
        self.changes.extend(changes);
    }

    /// What has changed.
    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }
}

impl View for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        match self.changes.get(key) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }
}

/// An index in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemoryTable {
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl View for MemoryTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.pairs.get(key).cloned())
    }
}

impl Table for MemoryTable {
    fn scan(&self, prefix: &[u8], order: Order, limit: usize) -> Result<Vec<Pair>, ReadError> {
        let own = |(k, v): (&Vec<u8>, &Vec<u8>)| (k.clone(), v.clone());
        let inside = self.pairs.range(prefix.to_vec()..).take_while(|(k, _)| k.starts_with(prefix));
        Ok(match order {
            Order::Up => inside.take(limit).map(own).collect(),
            Order::Down => {
                let mut end = prefix.to_vec();
                // Prefixes begin with a letter, so a larger key of the same length exists.
                while let Some(last) = end.pop() {
                    if last < u8::MAX {
                        end.push(last + 1);
                        break;
                    }
                }
                self.pairs.range(prefix.to_vec()..end).rev().take(limit).map(own).collect()
            }
        })
    }

    fn apply(&mut self, changes: &Changes, _: Head) -> Result<(), ReadError> {
        for (key, value) in changes {
            match value {
                Some(value) => self.pairs.insert(key.clone(), value.clone()),
                None => self.pairs.remove(key),
            };
        }
        Ok(())
    }
}

/// Reads a hash.
pub(crate) fn hash(bytes: &[u8]) -> Result<Hash, ReadError> {
    bytes.try_into().map(Hash).map_err(|_| wrong("a hash"))
}

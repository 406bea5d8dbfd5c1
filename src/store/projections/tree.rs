//! The tree of all records, the last checkpoint about it, and the runs whose end no checkpoint covers yet.

use super::super::checkpoint::{self, Checkpoint};
use super::super::merkle::Tree;
use super::super::table::{Changes, View, key, number, wrong};
use super::super::{ReadError, Record};
use super::{Refusal, cannot, runs};
use crate::domain::event::{Event, Subject};
use crate::domain::ids::{Position, RunId};

/// Most runs that one checkpoint names. More do not end between two of them unless none could be written for long;
/// then the threads of the older ones stay without that line.
const ENDED_MAX: usize = 16;

/// What is known of the tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Signed {
    /// Of all records.
    pub(crate) tree: Tree,
    /// The newest checkpoint.
    pub(crate) last: Option<Position>,
    /// Runs with a thread that have ended since, oldest first.
    pub(crate) ended: Vec<RunId>,
}

impl Signed {
    /// How many records no checkpoint covers, checkpoints themselves not counted: one about nothing but the one before
    /// would never end.
    pub(crate) fn uncovered(&self) -> u64 {
        self.tree.size() - self.last.map_or(0, |last| last.0 + 1)
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.last.map_or(u64::MAX, |last| last.0).to_be_bytes().to_vec();
        out.push(u8::try_from(self.ended.len()).unwrap_or(u8::MAX));
        for run in &self.ended {
            out.extend_from_slice(&run.0.0.to_be_bytes());
        }
        out.extend_from_slice(&self.tree.to_bytes());
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, ReadError> {
        let damaged = || wrong("the tree of records");
        let (last, rest) = bytes.split_at_checked(8).ok_or_else(damaged)?;
        let (count, rest) = rest.split_first().ok_or_else(damaged)?;
        let (ended, tree) = rest.split_at_checked(8 * usize::from(*count)).ok_or_else(damaged)?;
        let last = number(last)?;
        let ended = ended.chunks(8).map(|id| Ok(RunId(Position(number(id)?)))).collect::<Result<_, ReadError>>()?;
        Ok(Self { tree: Tree::from_bytes(tree)?, last: (last != u64::MAX).then_some(Position(last)), ended })
    }
}

/// The tree as of the last record that is in the index.
pub(crate) fn signed(view: &dyn View) -> Result<Signed, ReadError> {
    view.get(key::TREE)?.map_or_else(|| Ok(Signed::default()), |bytes| Signed::from_bytes(&bytes))
}

/// Adds the record's hash; refuses a checkpoint that says something else than what is.
pub(super) fn project(view: &dyn View, record: &Record) -> Result<Changes, Refusal> {
    let mut now = signed(view)?;
    match (&record.event, &record.subject) {
        (Event::Checkpoint { note, .. }, _) => {
            let (_, says) = checkpoint::read(note).map_err(|e| cannot(record, e.to_string()))?;
            if says != Checkpoint::of(&now.tree) {
                return Err(cannot(record, "it is not a checkpoint of the records before it").into());
            }
            now.last = Some(record.position);
            now.ended.clear();
        }
        (Event::Ended { .. }, Some(Subject::Run(id))) => {
            let run = view.get(&key::run(*id))?.map(|bytes| runs::read(&bytes)).transpose()?;
            if run.is_some_and(|run| run.has_thread()) {
                now.ended.push(*id);
                if now.ended.len() > ENDED_MAX {
                    now.ended.remove(0);
                }
            }
        }
        _ => {}
    }
    now.tree.push(&record.hash.0);
    Ok(Changes::from([(key::TREE.to_vec(), Some(now.to_bytes()))]))
}

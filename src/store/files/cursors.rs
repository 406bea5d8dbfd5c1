//! How far each surface was told. A file of its own beside the index: the index may be thrown away at any
//! start, and then a team must not be told its whole history again.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::ReadError;
use super::disk::replace;
use crate::domain::ids::Position;
use crate::plain_file;

/// Largest file that is read, in bytes; a surface takes some twenty of them.
const FILE_MAX: u64 = 64 * 1024;

/// The cursors.
#[derive(Debug)]
pub(crate) struct Cursors {
    file: PathBuf,
    known: Mutex<Known>,
}

type Known = BTreeMap<String, Position>;

fn within(mut known: Known, head: Position, file: &Path) -> (Known, Option<String>) {
    let beyond = known.values().filter(|position| **position > head).count();
    known.values_mut().for_each(|position| *position = (*position).min(head));
    let lost = || format!("{}: {beyond} of them beyond the log's end", file.display());
    (known, (beyond > 0).then(lost))
}

impl Cursors {
    /// Reads the file. When it is there and unreadable, the cursors begin anew and the reason is given back; one that tells
    /// of records that the log does not have stands at the log's end, so that nothing is skipped that is written yet.
    pub(crate) fn open(file: PathBuf, head: Position) -> (Self, Option<String>) {
        let (known, lost) = match plain_file::read(&file, FILE_MAX) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(known) => within(known, head, &file),
                Err(error) => (BTreeMap::new(), Some(format!("{}: {error}", file.display()))),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), None),
            Err(error) => (BTreeMap::new(), Some(format!("{}: {error}", file.display()))),
        };
        (Self { file, known: Mutex::new(known) }, lost)
    }

    /// How far that surface was told; 0 when it never was.
    pub(crate) fn get(&self, surface: &str) -> Position {
        self.known().get(surface).copied().unwrap_or_default()
    }

    /// Notes it durably.
    pub(crate) fn set(&self, surface: &str, position: Position) -> Result<(), ReadError> {
        let mut known = self.known();
        let mut next = known.clone();
        next.insert(surface.to_owned(), position);
        let error = |e: &dyn std::fmt::Display| ReadError(format!("{}: {e}", self.file.display()));
        let text = serde_json::to_vec(&next).map_err(|e| error(&e))?;
        replace(&self.file, &text).map_err(|e| error(&e))?;
        *known = next;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_true_is_told_and_skips_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cursors.json");
        let open = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let (cursors, lost) = Cursors::open(file.clone(), Position(7));
            (cursors.get("console").0, lost.is_some())
        };
        assert_eq!(open(r#"{"console":5}"#), (5, false));
        assert_eq!(open(r#"{"console":18446744073709551615}"#), (7, true), "beyond the log's end");
        for damaged in
            ["", "[]", r#"{"console":-1}"#, r#"{"console":1e99}"#, r#"{"console":"5"}"#, &"{\"a\":".repeat(9_000)]
        {
            assert_eq!(open(damaged), (0, true), "{damaged:.40}");
        }
    }
}

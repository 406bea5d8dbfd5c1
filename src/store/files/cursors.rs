//! How far each surface was told. A file of its own beside the index: the index may be thrown away at any
//! start, and then a team must not be told its whole history again.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::ReadError;
use super::disk::replace;
use crate::domain::ids::Position;

/// The cursors.
#[derive(Debug)]
pub(crate) struct Cursors {
    file: PathBuf,
    known: Mutex<BTreeMap<String, Position>>,
}

impl Cursors {
    /// Reads the file. When it is there and unreadable, the cursors begin anew and the reason is given back.
    pub(crate) fn open(file: PathBuf) -> (Self, Option<String>) {
        let (known, lost) = match fs::read(&file) {
            Ok(bytes) => match serde_json::from_slice(&bytes) {
                Ok(known) => (known, None),
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

    fn known(&self) -> MutexGuard<'_, BTreeMap<String, Position>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

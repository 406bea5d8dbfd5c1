//! How far each surface was told. A file of its own beside the index: the index may be thrown away at any
//! start, and then a team must not be told its whole history again.
//!
//! It says which log it is about and carries a sum over its content: a changed digit would skip or repeat messages, and
//! nothing else would notice. An older copy of it cannot be told from the newest; messages then come twice.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::super::ReadError;
use super::super::line::LogId;
use super::disk::replace;
use crate::domain::ids::Position;
use crate::plain_file;

/// Largest file that is read, in bytes; a surface takes some twenty of them.
const FILE_MAX: u64 = 64 * 1024;

/// The cursors.
#[derive(Debug)]
pub(crate) struct Cursors {
    file: PathBuf,
    log: LogId,
    known: Mutex<Told>,
}

type Told = BTreeMap<String, Position>;

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    log: String,
    sum: String,
    told: Told,
}

impl Cursors {
    /// Reads the file of the log that ends at `head`. What is lost, wrong or beyond the end of the log is told.
    pub(crate) fn open(file: PathBuf, log: LogId, head: Position, warnings: &mut Vec<String>) -> Self {
        let known = match read(&file, log) {
            Ok(Some(mut known)) => {
                for (surface, position) in known.iter_mut().filter(|(_, position)| **position > head) {
                    warnings.push(format!(
                        "{surface} was told up to record {position}, but the log ends at {head}: it is told from there on"
                    ));
                    *position = head;
                }
                known
            }
            Ok(None) if head == Position(0) => begin(&file, log),
            Ok(None) => lost(&format!("{} is missing", file.display()), warnings),
            Err(why) => lost(&format!("{}: {why}", file.display()), warnings),
        };
        Self { file, log, known: Mutex::new(known) }
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
        write(&self.file, self.log, &next).map_err(|e| ReadError(format!("{}: {e}", self.file.display())))?;
        *known = next;
        Ok(())
    }

    fn known(&self) -> MutexGuard<'_, Told> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The file of a new log: from then on a missing one is noticed.
fn begin(file: &Path, log: LogId) -> Told {
    let told = Told::new();
    if let Err(error) = write(file, log, &told) {
        tracing::warn!(file = %file.display(), %error, "the cursors could not be written yet");
    }
    told
}

fn lost(why: &str, warnings: &mut Vec<String>) -> Told {
    warnings.push(format!(
        "how far each surface was told is lost ({why}); messages may be posted again unless the cursors are set"
    ));
    Told::new()
}

fn read(file: &Path, log: LogId) -> Result<Option<Told>, String> {
    let bytes = match plain_file::read(file, FILE_MAX) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let found: OnDisk = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    if found.log != log.to_string() {
        return Err(format!("it belongs to log {}", found.log));
    }
    match sum(log, &found.told).map_err(|e| e.to_string())? == found.sum {
        true => Ok(Some(found.told)),
        false => Err("its content is not what was written into it".to_owned()),
    }
}

fn write(file: &Path, log: LogId, told: &Told) -> io::Result<()> {
    let content = OnDisk { log: log.to_string(), sum: sum(log, told)?, told: told.clone() };
    replace(file, &serde_json::to_vec(&content)?)
}

fn sum(log: LogId, told: &Told) -> serde_json::Result<String> {
    let mut hasher = Sha256::new();
    hasher.update(b"sternway-cursors-v1\0");
    hasher.update(log.0);
    hasher.update(serde_json::to_vec(told)?);
    Ok(hex::encode(hasher.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_of_cursors_is_told_and_skips_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("cursors.json");
        let (log, head) = (LogId([7; 16]), Position(7));
        let open = || {
            let mut warnings = Vec::new();
            let cursors = Cursors::open(file.clone(), log, head, &mut warnings);
            (cursors.get("console").0, warnings)
        };
        write(&file, log, &Told::from([("console".to_owned(), Position(5))])).unwrap();
        assert_eq!(open(), (5, Vec::new()));
        write(&file, log, &Told::from([("console".to_owned(), Position(u64::MAX))])).unwrap();
        assert_eq!((open().0, open().1.len()), (7, 1), "beyond the log's end");
        for damaged in
            ["", "[]", r#"{"console":5}"#, r#"{"log":"","sum":"","told":{"console":-1}}"#, &"{\"a\":".repeat(9_000)]
        {
            std::fs::write(&file, damaged).unwrap();
            let (told, warnings) = open();
            assert_eq!((told, warnings.len()), (0, 1), "{damaged:.40}");
        }
    }
}

//! The index in sled 0.34.7: the only file that knows it (durability section 2).
//!
//! Everything that can go wrong with it is expected: opening may panic, hang, refuse or quietly give an
//! older or holed state (S3, S4); so it is opened on a thread with a time limit, every call catches panics,
//! and a seal (a sum over all pairs, changed in the same batch as they are) tells at open whether
//! the content is what was written. No call to `flush_async` (S2); one tree, one batch per group (S8); a small
//! cache (S6). Its syncs do not matter: the segments are the truth.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};

use super::super::line::LogId;
use super::super::projections::INDEX_VERSION;
use super::super::table::{self, Changes, Order, Pair, Table, View, number};
use super::super::{Hash, Head, ReadError};
use crate::domain::ids::Position;

/// Key of the seal; no other key begins with this byte.
const SEAL: &[u8] = b"!";

/// How long closing may take; whatever is not on disk then is caught up at the next start.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// Pairs from which on the index is opened once more after it was proven. sled looks at what its cache has to let go only at
/// every 64th look into each of 256 parts of it, so reading everything once leaves sixteen thousand pages in memory for good.
/// The file is held for us all the time, so what was proven is what is opened.
const REOPENED_ABOVE: u64 = 20_000;

/// The index on disk.
pub(crate) struct SledTable {
    db: Option<sled::Db>,
    seal: Seal,
}

/// What the index holds, written in the same batch as its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seal {
    log: LogId,
    applied: Option<Head>,
    sum: Sum,
}

/// How to open it.
#[derive(Debug, Clone)]
pub(crate) struct SledOptions {
    /// The folder.
    pub(crate) folder: PathBuf,
    /// Bytes of cache.
    pub(crate) cache: u64,
    /// How long opening and checking may take.
    pub(crate) limit: Duration,
}

impl SledTable {
    /// Opens it and proves its seal; the error says in words what is wrong.
    pub(crate) fn open(options: &SledOptions, log: LogId) -> Result<Self, String> {
        remove_half_snapshots(&options.folder).map_err(|e| e.to_string())?;
        let (tell, told) = mpsc::sync_channel(1);
        let (folder, cache) = (options.folder.clone(), options.cache);
        let opening = move || {
            // Nobody listens any more when it took too long.
            let _ = tell.send(open_and_check(&folder, cache, log));
        };
        thread::Builder::new().name("index-open".to_owned()).spawn(opening).map_err(|e| e.to_string())?;
        match told.recv_timeout(options.limit) {
            Ok(result) => result,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(format!("it did not open within {:?}", options.limit)),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err("opening it failed inside sled".to_owned()),
        }
    }

    /// The last record that is in it.
    pub(crate) fn applied(&self) -> Option<Head> {
        self.seal.applied
    }

    fn db(&self) -> Result<&sled::Db, ReadError> {
        self.db.as_ref().ok_or_else(|| ReadError("it is closed".to_owned()))
    }

    fn apply_guarded(&self, changes: &Changes, head: Head) -> Result<Seal, ReadError> {
        let db = self.db()?;
        let mut seal = Seal { applied: Some(head), ..self.seal };
        let mut batch = sled::Batch::default();
        for (key, value) in changes {
            let old = db.get(key).map_err(read_error)?;
            if old.as_deref() == value.as_deref() {
                continue;
            }
            if let Some(old) = old {
                seal.sum.take_out(key, &old);
            }
            match value {
                Some(value) => {
                    seal.sum.put_in(key, value);
                    batch.insert(key.as_slice(), value.as_slice());
                }
                None => batch.remove(key.as_slice()),
            }
        }
        batch.insert(SEAL, seal.to_bytes());
        db.apply_batch(batch).map_err(read_error)?;
        Ok(seal)
    }
}

impl View for SledTable {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        guarded(|| Ok(self.db()?.get(key).map_err(read_error)?.map(|v| v.to_vec())))
    }
}

impl Table for SledTable {
    fn scan(&self, prefix: &[u8], order: Order, limit: usize) -> Result<Vec<Pair>, ReadError> {
        guarded(|| {
            let pairs = self.db()?.scan_prefix(prefix);
            let own = |pair: sled::Result<(sled::IVec, sled::IVec)>| {
                pair.map(|(k, v)| (k.to_vec(), v.to_vec())).map_err(read_error)
            };
            match order {
                Order::Up => pairs.take(limit).map(own).collect(),
                Order::Down => pairs.rev().take(limit).map(own).collect(),
            }
        })
    }

    fn apply(&mut self, changes: &Changes, head: Head) -> Result<(), ReadError> {
        self.seal = guarded(|| self.apply_guarded(changes, head))?;
        Ok(())
    }
}

impl Drop for SledTable {
    /// Closing writes what is left and joins sled's threads; one of them may be stuck or dead, so it happens
    /// elsewhere, with a limit.
    fn drop(&mut self) {
        let Some(db) = self.db.take() else { return };
        let (tell, told) = mpsc::sync_channel(1);
        let closing = move || {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
            let _ = tell.send(());
        };
        if thread::Builder::new().name("index-close".to_owned()).spawn(closing).is_ok() {
            let _ = told.recv_timeout(CLOSE_LIMIT);
        }
    }
}

fn open_and_check(folder: &Path, cache: u64, log: LogId) -> Result<SledTable, String> {
    let opening = || -> Result<SledTable, String> {
        wait_until_closed(folder).map_err(|e| e.to_string())?;
        let config = sled::Config::new().path(folder).cache_capacity(cache);
        let mut db = config.open().map_err(|e| e.to_string())?;
        let mut sum = Sum::default();
        let mut pairs = 0;
        for pair in db.iter() {
            let (key, value) = pair.map_err(|e| e.to_string())?;
            pairs += 1;
            if key != SEAL {
                sum.put_in(&key, &value);
            }
        }
        let empty = pairs == 0;
        if pairs > REOPENED_ABOVE {
            drop(db);
            wait_until_closed(folder).map_err(|e| e.to_string())?;
            db = config.open().map_err(|e| e.to_string())?;
        }
        let seal = match db.get(SEAL).map_err(|e| e.to_string())? {
            Some(bytes) => Seal::from_bytes(&bytes)?,
            None if empty => Seal { log, applied: None, sum },
            None => return Err("it has no seal".to_owned()),
        };
        if seal.log != log {
            return Err(format!("it belongs to log {}", seal.log));
        }
        if seal.sum != sum {
            return Err("its content is not what was written into it".to_owned());
        }
        Ok(SledTable { db: Some(db), seal })
    };
    catch_unwind(AssertUnwindSafe(opening)).unwrap_or_else(|_| Err("opening it panicked inside sled".to_owned()))
}

/// A half-written snapshot would be taken for a whole one (S3); its rename is the commit point.
fn remove_half_snapshots(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Work of an index that was closed a moment ago may still hold its lock: sled's threads let go of the file
/// after the handle is gone, and then opening fails at once. Nobody else can hold it, the store's folder is
/// ours. Waits as long as that takes; whoever opens has a limit.
fn wait_until_closed(folder: &Path) -> io::Result<()> {
    match fs::File::open(folder.join("db")) {
        Ok(file) => {
            rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))?;
            Ok(flock(&file, FlockOperation::Unlock)?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

fn guarded<T>(work: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| Err(ReadError("sled panicked".to_owned())))
}

fn read_error(error: sled::Error) -> ReadError {
    ReadError(error.to_string())
}

/// A sum over pairs that does not depend on their order: four lanes of SHA-256, added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum([u64; 4]);

impl Sum {
    fn put_in(&mut self, key: &[u8], value: &[u8]) {
        self.change(key, value, u64::wrapping_add);
    }

    fn take_out(&mut self, key: &[u8], value: &[u8]) {
        self.change(key, value, u64::wrapping_sub);
    }

    fn change(&mut self, key: &[u8], value: &[u8], how: fn(u64, u64) -> u64) {
        let mut hasher = Sha256::new();
        hasher.update((key.len() as u64).to_be_bytes());
        hasher.update(key);
        hasher.update(value);
        let digest: [u8; 32] = hasher.finalize().into();
        for (lane, bytes) in self.0.iter_mut().zip(digest.chunks_exact(8)) {
            *lane = how(*lane, bytes.try_into().map_or(0, u64::from_be_bytes));
        }
    }
}

impl Seal {
    /// Version, log id, position, hash, sum: fixed widths.
    fn to_bytes(self) -> Vec<u8> {
        let mut out = INDEX_VERSION.to_be_bytes().to_vec();
        out.extend(self.log.0);
        let (position, hash) = self.applied.map_or((u64::MAX, Hash::ZERO), |h| (h.position.0, h.hash));
        out.extend(position.to_be_bytes());
        out.extend(hash.0);
        for lane in self.sum.0 {
            out.extend(lane.to_be_bytes());
        }
        out
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let damaged = |_: ReadError| "its seal is damaged".to_owned();
        let part = |at: usize, len: usize| bytes.get(at..at + len).ok_or("its seal is damaged");
        let version = number(part(0, 8)?).map_err(damaged)?;
        if version != INDEX_VERSION {
            return Err(format!("it was made by another version ({version}, this one makes {INDEX_VERSION})"));
        }
        let mut log = LogId([0; 16]);
        log.0.copy_from_slice(part(8, 16)?);
        let position = number(part(24, 8)?).map_err(damaged)?;
        let hash = table::hash(part(32, 32)?).map_err(damaged)?;
        let mut sum = Sum::default();
        for (i, lane) in sum.0.iter_mut().enumerate() {
            *lane = number(part(64 + 8 * i, 8)?).map_err(damaged)?;
        }
        let applied = (position != u64::MAX).then_some(Head { position: Position(position), hash });
        Ok(Self { log, applied, sum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId([1; 16]);

    /// A table with some pairs, changed behind its back, opened again.
    fn opened_after(change: impl FnOnce(&sled::Db)) -> Result<SledTable, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SledOptions { folder: folder.path().to_owned(), cache: 1 << 20, limit: Duration::from_secs(60) };
        let mut table = SledTable::open(&options, LOG).expect("it opens");
        for n in 0..5_u64 {
            let key = |k: u64| [b"k".to_vec(), k.to_be_bytes().to_vec()].concat();
            let mut changes = Changes::from([(key(n), Some(vec![1])), (key(0), Some(n.to_be_bytes().to_vec()))]);
            if n == 4 {
                changes.insert(key(1), None);
            }
            table.apply(&changes, Head { position: Position(n), hash: Hash([2; 32]) }).expect("applied");
        }
        drop(table);
        wait_until_closed(folder.path()).expect("it closes");
        let db = sled::open(folder.path()).expect("it opens");
        change(&db);
        drop(db);
        SledTable::open(&options, LOG)
    }

    #[test]
    fn what_was_written_opens_with_its_seal() {
        let table = opened_after(|_| {}).expect("nothing was changed");
        assert_eq!(table.applied(), Some(Head { position: Position(4), hash: Hash([2; 32]) }));
    }

    #[test]
    fn a_large_one_opens_with_all_that_was_written() {
        let folder = tempfile::tempdir().expect("a folder");
        let options = SledOptions { folder: folder.path().to_owned(), cache: 1 << 20, limit: Duration::from_secs(60) };
        let mut table = SledTable::open(&options, LOG).expect("it opens");
        let key = |n: u64| [b"k".to_vec(), n.to_be_bytes().to_vec()].concat();
        let changes: Changes = (0..=REOPENED_ABOVE).map(|n| (key(n), Some(vec![1; 40]))).collect();
        let head = Head { position: Position(7), hash: Hash([2; 32]) };
        table.apply(&changes, head).expect("applied");
        drop(table);
        let mut table = SledTable::open(&options, LOG).expect("it opens again");
        assert_eq!(table.applied(), Some(head));
        assert_eq!(table.scan(b"k", Order::Up, usize::MAX).expect("it is read").len(), changes.len());
        table.apply(&Changes::from([(key(3), None)]), head).expect("it takes changes");
        drop(table);
        let table = SledTable::open(&options, LOG).expect("it opens once more");
        assert_eq!(table.get(&key(3)).expect("it is read"), None);
    }

    #[test]
    fn a_hole_a_change_an_addition_and_a_lost_seal_are_noticed() {
        type Change = fn(&sled::Db) -> sled::Result<Option<sled::IVec>>;
        let changes: [(&str, Change); 4] = [
            ("hole", |db| db.remove([b"k".to_vec(), 2_u64.to_be_bytes().to_vec()].concat())),
            ("change", |db| db.insert([b"k".to_vec(), 2_u64.to_be_bytes().to_vec()].concat(), b"2")),
            ("addition", |db| db.insert(b"x", b"2")),
            ("lost seal", |db| db.remove(SEAL)),
        ];
        for (what, change) in changes {
            let answer = opened_after(|db| {
                change(db).expect("changed");
            });
            assert!(answer.is_err(), "{what} was not noticed");
        }
    }
}

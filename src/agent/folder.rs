//! The agent's own folder: small JSON files, each replaced as a whole and durably.
//!
//! A file is written beside its place, synced, renamed over it, and the folder is synced: after a crash it
//! is the old or the new one, never half of each. Folders are 0700 and files 0600, as recorded specs hold
//! secrets (decision 10). One process at a time: a lock file says who. Must never: guess when a file cannot
//! be read, print what is in one.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::plain_file;

/// The agent's folder could not be read or written as it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {why}; {next}", what = self.what())]
pub struct FolderError {
    /// The file or folder.
    pub path: PathBuf,
    /// What was tried.
    pub doing: Doing,
    /// Why it could not be done.
    pub why: String,
    /// What a person does about it.
    pub next: &'static str,
}

/// What was tried with a file of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Make the folder and take it for this process.
    Open,
    /// Read a file.
    Read,
    /// Understand what was read.
    Understand,
    /// Replace or remove a file.
    Write,
}

impl FolderError {
    fn what(&self) -> String {
        let verb = match self.doing {
            Doing::Open => "cannot open the agent's folder",
            Doing::Read => "cannot read the agent's file",
            Doing::Understand => "damaged file of the agent",
            Doing::Write => "cannot write the agent's file",
        };
        format!("{verb} {}", self.path.display())
    }
}

const NEXT_ACCESS: &str = "check its owner, its mode and the disk, then try again";
const NEXT_DAMAGED: &str = "nothing was done; look at it and at `docker ps -a`, move it aside, then try again";
const NEXT_BUSY: &str = "stop the other process, or give this one another folder";

/// Largest file of the folder that is read, in bytes: some times the largest answer of an engine that is taken, as the
/// largest files are such answers.
const FILE_MAX: u64 = 64 * 1024 * 1024;

/// A room of the folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Recorded containers, raw; deletable.
    Specs,
    /// Raw image inspects by id; deletable.
    Images,
    /// The open operation of each service.
    Operations,
    /// How the last operation of each service ended.
    Ended,
    /// The highest token of each target.
    Tokens,
    /// What pins held before a run changed them.
    Pins,
    /// Dependency labels as last seen filled.
    Depends,
    /// In which of the engine's image stores things were last seen.
    Stores,
    /// The containers of each service as they were last seen.
    Copies,
}

impl Room {
    const ALL: [Room; 9] = [
        Room::Specs,
        Room::Images,
        Room::Operations,
        Room::Ended,
        Room::Tokens,
        Room::Pins,
        Room::Depends,
        Room::Stores,
        Room::Copies,
    ];

    fn name(self) -> &'static str {
        match self {
            Room::Specs => "specs",
            Room::Images => "images",
            Room::Operations => "operations",
            Room::Ended => "ended",
            Room::Tokens => "tokens",
            Room::Pins => "pins",
            Room::Depends => "depends",
            Room::Stores => "stores",
            Room::Copies => "copies",
        }
    }
}

/// The folder, held for this process until dropped.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    _held: fs::File,
    /// Looks run beside swaps and may write the same file: each gives what is unfinished a name of its own, so that no
    /// stack's run waits for the disk's answer to another one's.
    written: AtomicU64,
}

impl Folder {
    /// Makes the folder and its rooms where they are missing, and holds it for this process.
    ///
    /// # Errors
    /// When it cannot be made, is not ours alone, or another process holds it.
    pub fn open(root: &Path) -> Result<Self, FolderError> {
        let failed = |e: io::Error| problem(root, Doing::Open, &e, NEXT_ACCESS);
        private_dir(root).map_err(failed)?;
        for room in Room::ALL {
            private_dir(&root.join(room.name())).map_err(failed)?;
        }
        let lock = root.join("lock");
        let held = fs::OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock)
            .map_err(|e| problem(&lock, Doing::Open, &e, NEXT_ACCESS))?;
        rustix::fs::flock(&held, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|e| {
            if e == rustix::io::Errno::WOULDBLOCK {
                let why = "another process of Sternway holds it".to_owned();
                FolderError { path: root.to_owned(), doing: Doing::Open, why, next: NEXT_BUSY }
            } else {
                problem(root, Doing::Open, &e.into(), NEXT_ACCESS)
            }
        })?;
        let folder = Self { root: root.to_owned(), _held: held, written: AtomicU64::default() };
        folder.sweep().map_err(failed)?;
        Ok(folder)
    }

    /// Where a file lies; the path is for messages.
    pub fn path(&self, room: Room, name: &str) -> PathBuf {
        self.root.join(room.name()).join(format!("{name}.json"))
    }

    /// Reads a file; `None` when there is none.
    ///
    /// # Errors
    /// When it is there but cannot be read or understood. Never guess then.
    pub fn read<T: DeserializeOwned>(&self, room: Room, name: &str) -> Result<Option<T>, FolderError> {
        let path = self.path(room, name);
        let bytes = match plain_file::read(&path, FILE_MAX) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(problem(&path, Doing::Read, &e, NEXT_ACCESS)),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|e| {
            // serde's text may quote what it read: only the place and kind of damage are told.
            let why = format!("{:?} at line {}, column {}", e.classify(), e.line(), e.column());
            FolderError { path, doing: Doing::Understand, why, next: NEXT_DAMAGED }
        })
    }

    /// Replaces a file durably.
    ///
    /// # Errors
    /// When any part of that failed: then the old content may or may not stand.
    pub fn write<T: Serialize>(&self, room: Room, name: &str, value: &T) -> Result<(), FolderError> {
        let path = self.path(room, name);
        let bytes = serde_json::to_vec(value)
            .map_err(|e| problem(&path, Doing::Write, &io::Error::other(e.to_string()), NEXT_ACCESS))?;
        let number = self.written.fetch_add(1, Ordering::Relaxed);
        waiting(|| replace(&path, number, &bytes)).map_err(|e| problem(&path, Doing::Write, &e, NEXT_ACCESS))
    }

    /// Removes a file durably; not there is success.
    ///
    /// # Errors
    /// When it is still there, or may be after a crash.
    pub fn remove(&self, room: Room, name: &str) -> Result<(), FolderError> {
        let path = self.path(room, name);
        let gone = waiting(|| match fs::remove_file(&path) {
            Ok(()) => sync_parent(&path),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
        });
        gone.map_err(|e| problem(&path, Doing::Write, &e, NEXT_ACCESS))
    }

    /// Names of all files in a room, sorted.
    ///
    /// # Errors
    /// When the room cannot be listed.
    pub fn names(&self, room: Room) -> Result<Vec<String>, FolderError> {
        let dir = self.root.join(room.name());
        let failed = |e: io::Error| problem(&dir, Doing::Read, &e, NEXT_ACCESS);
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let file = entry.map_err(failed)?.file_name();
            if let Some(name) = file.to_str().and_then(|f| f.strip_suffix(".json")) {
                names.push(name.to_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    /// Whether a file is there, whatever is in it.
    pub fn has(&self, room: Room, name: &str) -> bool {
        self.path(room, name).is_file()
    }

    /// A file that is there counts as changed now; used by whoever needs it, so that nobody cleans it away meanwhile.
    pub fn touch(&self, room: Room, name: &str) {
        let now = rustix::fs::Timespec { tv_sec: 0, tv_nsec: rustix::fs::UTIME_NOW };
        let times = rustix::fs::Timestamps { last_access: now, last_modification: now };
        // One that has just gone is written anew by whoever finds it missing.
        let _ = rustix::fs::utimensat(rustix::fs::CWD, self.path(room, name), &times, rustix::fs::AtFlags::empty());
    }

    /// Half-written files of a crash are no content of anything.
    fn sweep(&self) -> io::Result<()> {
        for room in Room::ALL {
            for entry in fs::read_dir(self.root.join(room.name()))? {
                let path = entry?.path();
                if path.extension().is_some_and(|e| e == "writing") {
                    fs::remove_file(&path)?;
                }
            }
        }
        Ok(())
    }
}

fn private_dir(path: &Path) -> io::Result<()> {
    if !path.is_dir() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Waits for the disk without keeping a worker of the runtime from its other tasks: runs and answers share two of them.
fn waiting<T>(work: impl FnOnce() -> T) -> T {
    let flavour = tokio::runtime::Handle::try_current().map(|handle| handle.runtime_flavor());
    match flavour {
        Ok(tokio::runtime::RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        Ok(_) | Err(_) => work(),
    }
}

fn replace(path: &Path, number: u64, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("{number}.writing"));
    let mut file = fs::OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_parent(path)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) => fs::File::open(dir)?.sync_all(),
        None => Ok(()),
    }
}

fn problem(path: &Path, doing: Doing, error: &io::Error, next: &'static str) -> FolderError {
    FolderError { path: path.to_owned(), doing, why: error.to_string(), next }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_is_written_is_read_and_is_nobody_elses() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("agent");
        let folder = Folder::open(&root).unwrap();
        folder.write(Room::Specs, "a", &json!({"secret": 1})).unwrap();
        assert_eq!(folder.read::<Value>(Room::Specs, "a").unwrap(), Some(json!({"secret": 1})));
        assert_eq!(folder.names(Room::Specs).unwrap(), vec!["a"]);
        let mode = |p: &Path| fs::metadata(p).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&root), 0o700);
        assert_eq!(mode(&root.join("specs")), 0o700);
        assert_eq!(mode(&folder.path(Room::Specs, "a")), 0o600);
        folder.remove(Room::Specs, "a").unwrap();
        folder.remove(Room::Specs, "a").unwrap();
        assert_eq!(folder.read::<Value>(Room::Specs, "a").unwrap(), None);
    }

    #[test]
    fn a_damaged_file_is_named_and_its_content_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::open(dir.path()).unwrap();
        fs::write(folder.path(Room::Operations, "shop~api"), b"\"hunter2\" and more").unwrap();
        let error = folder.read::<Vec<u8>>(Room::Operations, "shop~api").unwrap_err().to_string();
        assert!(error.contains("operations/shop~api.json"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }

    #[test]
    fn two_processes_cannot_hold_one_folder() {
        let dir = tempfile::tempdir().unwrap();
        let first = Folder::open(dir.path()).unwrap();
        assert!(Folder::open(dir.path()).unwrap_err().to_string().contains("another process"));
        drop(first);
        Folder::open(dir.path()).unwrap();
    }
}

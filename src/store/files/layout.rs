//! What lies where in a store's folder, who holds it, and its signing key.
//!
//! ```text
//! lock            held while a process uses the folder; names it
//! key             ed25519 secret, 64 hex digits, mode 0600
//! log/            segment files: the truth
//! index/          sled; disposable
//! index.aside/    the last index that was found wrong, for whoever wants to know why
//! cursors.json    how far each surface was told
//! export/         the newest export that was asked for in a chat
//! ballast         room kept for the records of runs that have begun
//! ```

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use rustix::fs::FlockOperation;

use super::super::reader::segment_name;
use super::super::verify::SEGMENTS;
use super::disk::replace;
use crate::plain_file;

/// Largest key file that is read, in bytes; ours has 65.
const KEY_FILE_MAX: u64 = 1024;

/// Paths in a store's folder.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    /// The folder.
    pub(crate) root: PathBuf,
}

impl Layout {
    /// Folder of the segment files.
    pub(crate) fn segments(&self) -> PathBuf {
        self.root.join(SEGMENTS)
    }

    /// A segment file.
    pub(crate) fn segment(&self, first: u64) -> PathBuf {
        self.segments().join(segment_name(first))
    }

    /// Folder of the index.
    pub(crate) fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Where a wrong index goes.
    pub(crate) fn index_aside(&self) -> PathBuf {
        self.root.join("index.aside")
    }

    /// The ballast.
    pub(crate) fn ballast(&self) -> PathBuf {
        self.root.join("ballast")
    }

    /// The cursors.
    pub(crate) fn cursors(&self) -> PathBuf {
        self.root.join("cursors.json")
    }

    /// Makes the folders, closed to others.
    pub(crate) fn make(&self) -> io::Result<()> {
        for folder in [self.root.clone(), self.segments()] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
    }

    /// Holds the folder for this process, or says which process does.
    pub(crate) fn lock(&self) -> Result<Lock, LockError> {
        let path = self.root.join("lock");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut holder = String::new();
                file.take(20).read_to_string(&mut holder)?;
                return Err(LockError::Held(holder.trim().to_owned()));
            }
            Err(error) => return Err(LockError::Io(error.into())),
        }
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Lock { file })
    }

    /// The signing key: read, or made when there is none and `make` says so.
    pub(crate) fn key(&self, make: bool) -> Result<SigningKey, KeyError> {
        let path = self.root.join("key");
        match plain_file::read(&path, KEY_FILE_MAX) {
            Ok(bytes) => {
                let text = String::from_utf8(bytes).map_err(|_| KeyError::NotAKey)?;
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
                let mut secret = [0; 32];
                hex::decode_to_slice(text.trim(), &mut secret).map_err(|_| KeyError::NotAKey)?;
                Ok(SigningKey::from_bytes(&secret))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && make => {
                let mut secret = [0; 32];
                getrandom::fill(&mut secret).map_err(|e| io::Error::other(e.to_string()))?;
                let key = SigningKey::from_bytes(&secret);
                replace(&path, format!("{}\n", hex::encode(secret)).as_bytes())?;
                Ok(key)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The public half of a key, as genesis records it.
pub(crate) fn public_hex(key: &SigningKey) -> String {
    hex::encode(key.verifying_key().as_bytes())
}

/// Held while it lives; the kernel lets go of it when the process ends, however it ends.
#[derive(Debug)]
pub(crate) struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Said outright: a child process being started at this moment has a copy of the handle, and closing ours
    /// alone would leave the folder held until that copy is gone.
    fn drop(&mut self) {
        let _ = rustix::fs::flock(&self.file, FlockOperation::Unlock);
    }
}

/// Why the folder could not be held.
#[derive(Debug)]
pub(crate) enum LockError {
    /// Another process has it: its id, or nothing when it has not written it yet.
    Held(String),
    /// The system's.
    Io(io::Error),
}

impl From<io::Error> for LockError {
    fn from(error: io::Error) -> Self {
        LockError::Io(error)
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeyError {
    /// The file is there, but it is something else.
    #[error("it does not hold 64 hex digits")]
    NotAKey,
    /// The system's.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Whether a folder is there and has something in it.
pub(crate) fn has_content(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some())
}

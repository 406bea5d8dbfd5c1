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
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use rustix::fs::FlockOperation;

use super::super::reader::segment_name;
use super::super::verify::SEGMENTS;
use super::disk::{replace, sync_folder_of};
use crate::plain_file;

/// Bytes of the lock file: the process's id, blanks, a newline.
const LOCK_WIDTH: usize = 20;

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

    /// Makes the folders, closed to others, their names durable: what is acknowledged in them must not go with
    /// them when the power does.
    pub(crate) fn make(&self) -> io::Result<()> {
        let segments = self.segments();
        let is_new = !segments.is_dir();
        let there = segments.ancestors().find(|folder| folder.is_dir()).map(Path::to_path_buf);
        for folder in [&self.root, &segments] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        if is_new {
            let made = segments.ancestors().take_while(|folder| Some(*folder) != there.as_deref());
            made.filter(|folder| !folder.as_os_str().is_empty()).try_for_each(sync_folder_of)?;
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
    }

    /// Holds the folder for this process, or says which process does.
    pub(crate) fn lock(&self) -> Result<Lock, LockError> {
        let path = self.root.join("lock");
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        // The folder of the segments is held as well: somebody may remove the file and make it again.
        let folder = File::open(self.segments())?;
        for held in [&file, &folder] {
            match rustix::fs::flock(held, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let mut holder = Vec::new();
                    (&file).take(LOCK_WIDTH as u64).read_to_end(&mut holder)?;
                    return Err(LockError::Held(String::from_utf8_lossy(&holder).trim().to_owned()));
                }
                Err(error) => return Err(LockError::Io(error.into())),
            }
        }
        // In place, and only told: a disk that is full or fails must not keep the store from opening.
        let _ = file.write_all_at(format!("{:<w$}\n", std::process::id(), w = LOCK_WIDTH - 1).as_bytes(), 0);
        Ok(Lock { file, folder })
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
    folder: File,
}

impl Drop for Lock {
    /// Said outright: a child process being started at this moment has a copy of the handle, and closing ours
    /// alone would leave the folder held until that copy is gone.
    fn drop(&mut self) {
        for held in [&self.folder, &self.file] {
            let _ = rustix::fs::flock(held, FlockOperation::Unlock);
        }
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

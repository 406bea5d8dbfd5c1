//! A file that keeps room for the records of runs that have begun (decision 9). When the disk is full it is
//! removed, and only such records are written until there is room for it again.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use super::disk::Disk;

/// Room counted for one record. A step's record has some hundred bytes; texts of engines and people can
/// make it longer.
pub(crate) const ROOM_PER_RECORD: u64 = 16 * 1024;

/// The ballast.
pub(crate) struct Ballast {
    disk: Arc<dyn Disk>,
    file: PathBuf,
    bytes: u64,
}

impl Ballast {
    /// Of that size; 0 bytes mean none is kept.
    pub(crate) fn new(disk: Arc<dyn Disk>, file: PathBuf, bytes: u64) -> Self {
        Self { disk, file, bytes }
    }

    /// Whether it is there in full size and occupies it: one that was copied may be all holes.
    pub(crate) fn is_there(&self) -> bool {
        let occupies = |m: fs::Metadata| m.len() >= self.bytes && m.blocks().saturating_mul(512) >= self.bytes;
        self.bytes == 0 || fs::metadata(&self.file).is_ok_and(occupies)
    }

    /// Makes it if it is not there, and says whether there is room to write besides it.
    pub(crate) fn ensure(&self) -> io::Result<()> {
        if !self.is_there() {
            self.disk.occupy(&self.file, self.bytes)?;
        }
        let folder = self.file.parent().unwrap_or(&self.file);
        match self.disk.free(folder)? {
            free if free >= self.slack() => Ok(()),
            _ => Err(io::ErrorKind::StorageFull.into()),
        }
    }

    /// Removes it: its room is needed now.
    pub(crate) fn release(&self) {
        let _ = fs::remove_file(&self.file);
    }

    /// Bytes that must be free besides the ballast: less would be full again at once.
    fn slack(&self) -> u64 {
        self.bytes / 8
    }
}

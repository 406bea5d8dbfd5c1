//! The few things the log asks of a disk, as a trait, so that tests can let a disk fail.
//!
//! Must never: retry. What to do after a failure is the writer's to decide.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::FallocateFlags;

/// A disk.
pub trait Disk: Send + Sync + 'static {
    /// Opens a segment file for appending, makes it when it is not there (mode 0600), cuts it to `length`
    /// bytes and makes that durable, its name included.
    ///
    /// # Errors
    /// The system's.
    fn append_to(&self, file: &Path, length: u64) -> io::Result<Box<dyn SegmentFile>>;

    /// Makes a file that occupies that many bytes.
    ///
    /// # Errors
    /// The system's; nothing is left behind then.
    fn occupy(&self, file: &Path, bytes: u64) -> io::Result<()>;

    /// Bytes that are free for us where the folder lies.
    ///
    /// # Errors
    /// The system's.
    fn free(&self, folder: &Path) -> io::Result<u64>;
}

/// An open segment file.
pub trait SegmentFile: Send {
    /// Appends all bytes.
    ///
    /// # Errors
    /// The system's; how much was written is unknown then.
    fn write(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written durable (`fdatasync`).
    ///
    /// # Errors
    /// The system's; the handle must not be used again then, the kernel may have dropped what it could not
    /// write (durability section 3).
    fn sync(&mut self) -> io::Result<()>;
}

/// The machine's disk.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostDisk;

impl Disk for HostDisk {
    fn append_to(&self, file: &Path, length: u64) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        options.append(true).create(true).mode(0o600);
        let opened = options.open(file).or_else(|error| match error.kind() {
            // A segment that was closed and restored from a copy may be the newest again.
            io::ErrorKind::PermissionDenied => {
                fs::set_permissions(file, fs::Permissions::from_mode(0o600))?;
                options.open(file)
            }
            _ => Err(error),
        })?;
        if opened.metadata()?.len() < length {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the file is shorter than what was written"));
        }
        opened.set_len(length)?;
        opened.sync_all()?;
        sync_folder_of(file)?;
        Ok(Box::new(HostSegment(opened)))
    }

    fn occupy(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let made = occupy(path, bytes);
        if made.is_err() {
            let _ = fs::remove_file(path);
        }
        made
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

struct HostSegment(File);

impl SegmentFile for HostSegment {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

fn occupy(path: &Path, bytes: u64) -> io::Result<()> {
    // Not emptied first: what it occupies already is kept, holes in it are filled.
    let mut file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match rustix::io::retry_on_intr(|| rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes)) {
        Ok(()) => {}
        // Some file systems cannot promise room; written zeros are the next best.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
        }
        Err(error) => return Err(error.into()),
    }
    file.sync_all()
}

/// Makes a file's name durable.
pub(crate) fn sync_folder_of(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// Replaces a small file in one step: whoever reads it finds the old or the new content (mode 0600).
pub(crate) fn replace(file: &Path, content: &[u8]) -> io::Result<()> {
    let new = file.with_extension("new");
    let mut out = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    out.write_all(content)?;
    out.sync_all()?;
    drop(out);
    fs::rename(&new, file)?;
    sync_folder_of(file)
}

/// Whether an error says that the disk, or our share of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

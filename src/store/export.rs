//! Gives lines of the log away, byte for byte, after proving them: to any writer, or into one file beside the log.
//!
//! What it writes is what `verify_files` reads. Must never: re-serialise a line.

use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::chain::Chain;
use super::record::OfBatch;
use super::verify::{Damage, Verified, segments_of, verify, walk};
use crate::domain::ids::Position;

/// Which records to give away; both ends included, and the rest of a batch that it ends in. Empty: all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// The first.
    pub from: Option<Position>,
    /// The last.
    pub to: Option<Position>,
}

/// What was given away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exported {
    /// How many lines.
    pub lines: u64,
    /// What was proven of the whole log before.
    pub verified: Verified,
}

/// Why nothing, or not all, was given away.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The log is not what it should be; nothing was written.
    #[error(transparent)]
    Damage(#[from] Damage),
    /// The writer did not take it.
    #[error("the export could not be written: {0}")]
    Write(#[from] io::Error),
    /// A copy beside the log would leave the log itself too little room; nothing was written.
    #[error("a copy of {} MB would leave too little room for the log itself ({} MB are free)", .size / 1_000_000, .free / 1_000_000)]
    NoRoom {
        /// Bytes of the log.
        size: u64,
        /// Bytes free.
        free: u64,
    },
}

/// Where [`export_beside`] leaves its file, in the store's folder.
const BESIDE: &str = "export/audit.jsonl";

/// Bytes that an export leaves free for the log.
const ROOM_KEPT: u64 = 256 * 1024 * 1024;

/// A file with what was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedFile {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256, hex.
    pub sha256: String,
    /// What is in it.
    pub exported: Exported,
}

/// Verifies the whole log in a store's folder, then writes the lines of the range. Streams; works beside a
/// running bot.
///
/// # Errors
/// The first bad line of the log, or the writer's error.
pub fn export(folder: &Path, range: Range, out: &mut dyn Write) -> Result<Exported, ExportError> {
    let verified = verify(folder)?;
    let segments = segments_of(folder)?;
    let last = range.to.map_or(verified.head.position, |to| to.min(verified.head.position));
    let first = range.from.unwrap_or_default();
    let mut lines = 0;
    let mut failed = None;
    let mut inside_batch = false;
    walk(&segments, Chain::from_genesis(), |here, line, envelope| {
        // A batch is whole or not at all: one that the range ends in is given to its end.
        let in_range = line.seq >= first.0 && line.seq <= last.0;
        let wanted = in_range || (inside_batch && line.seq <= verified.head.position.0);
        inside_batch = wanted && envelope.batch.is_some_and(|OfBatch(k, n)| k < n);
        if wanted && failed.is_none() {
            match out.write_all(here.raw.bytes).and_then(|()| out.write_all(b"\n")) {
                Ok(()) => lines += 1,
                Err(error) => failed = Some(error),
            }
        }
        Ok(())
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(Exported { lines, verified }),
    }
}

/// Exports into a file of the store's own folder (mode 0600), which takes the place of the export before: whoever
/// asks for exports all night does not fill the disk that the log needs.
///
/// # Errors
/// As [`export`], and [`ExportError::NoRoom`]; the file of before is still there then.
pub fn export_beside(folder: &Path, range: Range) -> Result<ExportedFile, ExportError> {
    let mut size = 0;
    for segment in segments_of(folder)? {
        size += fs::metadata(&segment.path)?.len();
    }
    let stat = rustix::fs::statvfs(folder).map_err(io::Error::from)?;
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    if free < size.saturating_add(ROOM_KEPT) {
        return Err(ExportError::NoRoom { size, free });
    }
    let path = folder.join(BESIDE);
    if let Some(parent) = path.parent() {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(parent)?;
    }
    let new = path.with_extension("new");
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    let mut out = Counted { to: BufWriter::new(file), bytes: 0, hash: Sha256::new() };
    let exported = match export(folder, range, &mut out).and_then(|done| Ok(out.flush().map(|()| done)?)) {
        Ok(exported) => exported,
        Err(error) => {
            let _ = fs::remove_file(&new);
            return Err(error);
        }
    };
    fs::rename(&new, &path)?;
    Ok(ExportedFile { path, bytes: out.bytes, sha256: hex::encode(out.hash.finalize()), exported })
}

/// A writer that knows what went through it.
struct Counted<W> {
    to: W,
    bytes: u64,
    hash: Sha256,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.to.write(bytes)?;
        self.bytes += written as u64;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

//! Gives lines of the log away, byte for byte, after proving them.
//!
//! What it writes is what `verify_files` reads. Must never: re-serialise a line.

use std::io::{self, Write};
use std::path::Path;

use super::chain::Chain;
use super::verify::{Damage, Verified, segments_of, verify, walk};
use crate::domain::ids::Position;

/// Which records to give away; both ends included. Empty: all of them.
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
    walk(&segments, Chain::from_genesis(), |here, line, _| {
        let wanted = line.seq >= first.0 && line.seq <= last.0;
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

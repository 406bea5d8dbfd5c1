//! Proves what has to be true of the segment files before anything is served: no file is missing or cut, and
//! the newest is whole but for what a crash may leave at its very end. The rest is for `verify_all`.
//!
//! Must never: read closed segments in full (a start after years takes as long as one after a day).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::super::chain::{Chain, genesis};
use super::super::checkpoint;
use super::super::line::{Line, LogId};
use super::super::reader::{Lines, Segment, last_line};
use super::super::record;
use super::super::verify::{Damage, walk};
use super::super::{Hash, Head};
use super::disk::Disk;
use super::open::Cut;
use crate::domain::ids::Position;

/// What is known of the log after its seams and its newest segment were proven.
pub(super) struct Proven {
    pub(super) log: LogId,
    pub(super) keys: Vec<String>,
    pub(super) head: Head,
    /// First position of the newest segment.
    pub(super) newest: u64,
    path: PathBuf,
    /// Bytes of it that count.
    pub(super) length: u64,
    /// When its first record was written.
    pub(super) began: Option<jiff::Timestamp>,
    torn_line: Option<u64>,
}

pub(super) fn prove(segments: &[Segment]) -> Result<Proven, Damage> {
    proven(segments).map_err(|damage| by_line(segments, damage))
}

/// A seam that does not fit says that one of two files was changed; reading all of them says which, and where. Takes its
/// time, but nothing is served after it.
fn by_line(segments: &[Segment], coarse: Damage) -> Damage {
    match walk(segments, Chain::from_genesis(), |_, _, _| Ok(())) {
        Err(exact) if exact.file == coarse.file => Damage { line: exact.line, ..coarse },
        Err(exact) => exact,
        Ok(_) => coarse,
    }
}

fn proven(segments: &[Segment]) -> Result<Proven, Damage> {
    let (Some(first), Some(newest)) = (segments.first(), segments.last()) else {
        return Err(Damage::of_file(Path::new("log"), "there is no segment"));
    };
    if first.first != 0 {
        return Err(Damage::of_file(&first.path, format!("records 0 to {} are missing before it", first.first - 1)));
    }
    let (log, keys) = genesis_of(&first.path)?;
    let before = seams(segments)?;
    let chain = match before {
        Some(head) => Chain::after(log, head).signed_by(checkpoint::first_key(&keys)),
        None => Chain::from_genesis(),
    };
    let mut began = None;
    let walked = walk(std::slice::from_ref(newest), chain, |_, line, _| {
        if began.is_none() {
            began = Some(record::decode(line.event).map_err(|e| e.to_string())?.at);
        }
        Ok(())
    })?;
    let head = walked.head.ok_or_else(|| Damage::of_file(&newest.path, "there is no whole record in it"))?;
    let (length, torn_line) = match walked.torn {
        Some(torn) => (torn.offset, Some(torn.line)),
        None => (fs::metadata(&newest.path).map_err(|e| Damage::of_file(&newest.path, e))?.len(), None),
    };
    let began = began.filter(|_| walked.records > 0);
    Ok(Proven { log, keys, head, newest: newest.first, path: newest.path.clone(), length, began, torn_line })
}

/// Checks that every closed segment ends where the next one begins, and gives the head before the newest.
fn seams(segments: &[Segment]) -> Result<Option<Head>, Damage> {
    let mut before: Option<Head> = None;
    for pair in segments.windows(2) {
        let [closed, next] = pair else { continue };
        let end = last_line(&closed.path, |line| Head { position: Position(line.seq), hash: line.hash })
            .map_err(|e| Damage::of_file(&closed.path, e))?
            .ok_or_else(|| {
                Damage::of_file(&closed.path, "its last line is cut off or changed, and later segments follow")
            })?;
        if let Some(before) = before {
            begins_after(closed, before)?;
        }
        if end.position.0 + 1 != next.first {
            let what = format!(
                "it should begin with record {}: the file between it and {} is missing, or that one was cut",
                end.position.0 + 1,
                closed.path.display()
            );
            return Err(Damage::of_file(&next.path, what));
        }
        before = Some(end);
    }
    Ok(before)
}

fn begins_after(segment: &Segment, before: Head) -> Result<(), Damage> {
    let unread = |e: io::Error| Damage::of_file(&segment.path, e);
    let mut lines = Lines::open(&segment.path).map_err(unread)?;
    let prev: Option<Hash> = lines.next().map_err(unread)?.and_then(|raw| Line::cut(raw.bytes)).map(|line| line.prev);
    match prev {
        Some(prev) if prev == before.hash => Ok(()),
        _ => Err(Damage {
            file: segment.path.clone(),
            line: 1,
            what: "it does not follow the last line of the segment before".to_owned(),
        }),
    }
}

fn genesis_of(path: &Path) -> Result<(LogId, Vec<String>), Damage> {
    let bad = |what: String| Damage { file: path.to_owned(), line: 1, what };
    let mut lines = Lines::open(path).map_err(|e| Damage::of_file(path, e))?;
    let raw = lines.next().map_err(|e| Damage::of_file(path, e))?;
    let raw = raw.ok_or_else(|| bad("the first record is missing".to_owned()))?;
    let line = Line::cut(raw.bytes).ok_or_else(|| bad("it is no line of a log".to_owned()))?;
    let (log, keys) = genesis(&line).map_err(bad)?;
    if line.proper_hash(log) != line.hash {
        return Err(bad("its hash is not that of its content: it was changed".to_owned()));
    }
    Ok((log, keys))
}

impl Proven {
    /// Cuts what a crash left after the last whole record.
    pub(super) fn cut(&self, disk: &dyn Disk) -> io::Result<Option<Cut>> {
        let Some(line) = self.torn_line else { return Ok(None) };
        let bytes = fs::metadata(&self.path)?.len() - self.length;
        disk.append_to(&self.path, self.length)?;
        Ok(Some(Cut { file: self.path.clone(), line, bytes }))
    }
}

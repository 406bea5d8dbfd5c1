//! Proves a log from its files alone: no database, no secret, no running bot needed.
//!
//! Streams: memory grows with the number of runs, not of records. Works on a folder that a running bot
//! writes to; whatever is half written at its very end is left out and said.
//! Must never: change a file, or go past the first bad line.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::chain::{Chain, Taken};
use super::checkpoint::{self, Checkpoint};
use super::line::{Line, LogId};
use super::merkle::Tree;
use super::note::Verifier;
use super::reader::{Lines, Raw, Segment, segments_in};
use super::record::{Envelope, OfBatch};
use super::signatures::Signatures;
use super::{Hash, Head};
use crate::domain::ids::Position;
use crate::domain::text::{shorten, visible};

/// Characters of what is said of a damage; it may quote a line of up to a mebibyte.
const WHAT_MAX: usize = 1_000;

/// Name of the folder with the segment files inside a store's folder.
pub const SEGMENTS: &str = "log";

/// What was proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many records.
    pub records: u64,
    /// The last of them.
    pub head: Head,
    /// The log they belong to.
    pub log_id: LogId,
    /// How many and their root, when they begin with the log's first.
    pub now: Option<Checkpoint>,
    /// The newest checkpoint among them.
    pub signed: Option<OnRecord>,
    /// The key that signs its checkpoints.
    pub verifier: Option<Verifier>,
    /// What was left out at the very end, if anything: the rest of a write that was cut short, or one that
    /// is going on at this moment.
    pub torn: Option<Torn>,
}

/// A checkpoint on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnRecord {
    /// Where; it is about the records before.
    pub position: Position,
    /// What it says, signed.
    pub note: String,
}

/// An unfinished end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The newest file.
    pub file: PathBuf,
    /// The first line that does not count, from 1.
    pub line: u64,
    /// Where it begins in the file, in bytes.
    pub offset: u64,
}

/// The first line that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Both may hold what whoever wrote the file wanted a terminal to do.
        let (file, what) = (visible(&self.file.display().to_string()), shorten(&visible(&self.what), WHAT_MAX));
        match self.line {
            0 => write!(f, "{file}: {what}"),
            line => write!(f, "{file}, line {line}: {what}"),
        }
    }
}

impl std::error::Error for Damage {}

impl Damage {
    pub(crate) fn of_file(file: &Path, what: impl fmt::Display) -> Self {
        Self { file: file.to_owned(), line: 0, what: what.to_string() }
    }
}

/// Verifies a store's folder, a folder of segment files, or one file of lines (a segment or an export that
/// begins with the log's first record).
///
/// # Errors
/// The first bad line, or the file that cannot be read.
pub fn verify(path: &Path) -> Result<Verified, Damage> {
    verify_paths(&[path.to_owned()])
}

/// The same for more than one file, in the order given.
///
/// # Errors
/// The first bad line, or the file that cannot be read.
pub fn verify_paths(paths: &[PathBuf]) -> Result<Verified, Damage> {
    Ok(verify_watching(paths, None)?.0)
}

/// Verifies a folder, or files in the order given, and says which root the records had at a size.
pub(crate) fn verify_watching(paths: &[PathBuf], size: Option<u64>) -> Result<(Verified, Option<Hash>), Damage> {
    let segments = match paths {
        [folder] if folder.is_dir() => segments_of(folder)?,
        files => files.iter().map(|path| Segment { first: 0, path: path.clone() }).collect(),
    };
    let walked = walk(&segments, Chain::from_genesis().watching(size), |_, _, _| Ok(()))?;
    let there = walked.chain.root_there();
    Ok((finish(walked, &segments)?, there))
}

/// Verifies files of lines in the order given. When they do not begin with the log's first record, the
/// log's id has to be given, and what stands before them is believed.
///
/// # Errors
/// The first bad line, or the file that cannot be read.
pub fn verify_files(files: &[PathBuf], log: Option<LogId>) -> Result<Verified, Damage> {
    let first = match (files.first(), log) {
        (Some(file), Some(log)) => Some((log, first_position(file)?)),
        _ => None,
    };
    let chain = match first {
        Some((log, first)) if first > 0 => Chain::from_middle(log, first),
        _ => Chain::from_genesis(),
    };
    let segments: Vec<_> = files.iter().map(|path| Segment { first: 0, path: path.clone() }).collect();
    let verified = finish(walk(&segments, chain, |_, _, _| Ok(()))?, &segments)?;
    match log {
        Some(log) if log != verified.log_id => {
            let what = format!("it belongs to log {}, not {log}", verified.log_id);
            Err(Damage::of_file(files.first().map_or(Path::new(""), PathBuf::as_path), what))
        }
        _ => Ok(verified),
    }
}

/// The segment files of a store's folder or of a folder of segments.
pub(crate) fn segments_of(folder: &Path) -> Result<Vec<Segment>, Damage> {
    let inner = folder.join(SEGMENTS);
    let folder = if inner.is_dir() { inner } else { folder.to_owned() };
    let segments = segments_in(&folder).map_err(|e| Damage::of_file(&folder, e))?;
    if segments.is_empty() {
        return Err(Damage::of_file(&folder, "there is no segment file (000000000000.log) in it"));
    }
    Ok(segments)
}

/// Where a line stands among the files that are walked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Here<'a> {
    /// The segment.
    pub(crate) segment: &'a Segment,
    /// The line as it stands there.
    pub(crate) raw: Raw<'a>,
}

/// What was walked.
#[derive(Debug)]
pub(crate) struct Walked {
    /// Lines that count.
    pub(crate) records: u64,
    /// The chain after the last line that fitted; it may be one of a batch that is not whole.
    pub(crate) chain: Chain,
    /// Head that counts: `None` when nothing was walked and the chain began at genesis.
    pub(crate) head: Option<Head>,
    /// Their tree, when the chain began at genesis.
    pub(crate) tree: Option<Tree>,
    /// The newest checkpoint.
    pub(crate) signed: Option<OnRecord>,
    /// What does not count at the very end.
    pub(crate) torn: Option<Torn>,
}

/// Follows the chain through the files and shows each good line to `each`, those of a last batch that turns
/// out not to be whole included. Proves the checkpoints on the way: what they say, and that they are signed.
pub(crate) fn walk(
    files: &[Segment],
    chain: Chain,
    each: impl FnMut(Here<'_>, Line<'_>, Envelope) -> Result<(), String>,
) -> Result<Walked, Damage> {
    let mut signatures = Signatures::default();
    let walked = walk_lines(files, chain, each, &mut signatures);
    // Signatures are proven of lines that were read: one that is bad stands before whatever ended the reading.
    match signatures.finish() {
        Some(damage) => Err(damage),
        None => walked,
    }
}

fn walk_lines(
    files: &[Segment],
    mut chain: Chain,
    mut each: impl FnMut(Here<'_>, Line<'_>, Envelope) -> Result<(), String>,
    signatures: &mut Signatures,
) -> Result<Walked, Damage> {
    let mut records = 0;
    let mut torn = None;
    let mut signed = None;
    let mut verifier = None;
    // Head, count and place before the batch that was begun last.
    let mut before_batch = None;
    for (index, segment) in files.iter().enumerate() {
        let path = &segment.path;
        let unread = |e: io::Error| Damage::of_file(path, e);
        let newest = index + 1 == files.len();
        let mut lines = Lines::open(path).map_err(unread)?;
        while let Some(raw) = lines.next().map_err(unread)? {
            let bad = |what: String| Damage { file: path.clone(), line: raw.number, what };
            let place = || Torn { file: path.clone(), line: raw.number, offset: raw.offset };
            let before = chain.head();
            let taken = match raw.ended {
                true => chain.take(raw.bytes),
                false => Err("it is cut off: no newline ends it".to_owned()),
            };
            match taken {
                Ok(Taken { line, envelope, note }) => {
                    if let Some(note) = note {
                        if verifier.is_none() {
                            verifier = chain.verifier().map_err(bad)?;
                        }
                        if let Some(verifier) = &verifier {
                            signatures.check(verifier, path, raw.number, &note);
                        }
                        signed = Some(OnRecord { position: Position(line.seq), note });
                    }
                    if envelope.batch.is_some_and(|OfBatch(k, _)| k == 1) {
                        before_batch = Some((before, records, place()));
                    }
                    each(Here { segment, raw }, line, envelope).map_err(bad)?;
                    records += 1;
                }
                Err(what) => {
                    let (place, may_be_torn, damage) = (place(), raw.may_be_torn(), bad(what));
                    if newest && may_be_torn && lines.at_end().map_err(unread)? {
                        torn = Some(place);
                        break;
                    }
                    return Err(damage);
                }
            }
        }
    }
    let (mut head, mut tree) = (chain.head(), chain.tree().cloned());
    if chain.inside_batch()
        && let Some((head_before, records_before, place)) = before_batch
    {
        head = head_before;
        tree = chain.tree_before_batch().cloned();
        records = records_before;
        torn = Some(place);
    }
    Ok(Walked { records, chain, head, tree, signed, torn })
}

fn finish(walked: Walked, files: &[Segment]) -> Result<Verified, Damage> {
    let Walked { records, chain, head, tree, signed, torn } = walked;
    let now = tree.as_ref().map(Checkpoint::of);
    match (head, chain.log()) {
        (Some(head), Some(log_id)) if records > 0 => {
            let verifier = chain.key().and_then(|key| checkpoint::verifier(log_id, key));
            Ok(Verified { records, head, log_id, now, signed, verifier, torn })
        }
        _ => Err(Damage::of_file(files.last().map_or(Path::new(""), |s| &s.path), "there is no whole record in it")),
    }
}

fn first_position(file: &Path) -> Result<u64, Damage> {
    let mut lines = Lines::open(file).map_err(|e| Damage::of_file(file, e))?;
    match lines.next().map_err(|e| Damage::of_file(file, e))? {
        Some(raw) => Line::cut(raw.bytes).map(|line| line.seq).ok_or_else(|| Damage {
            file: file.to_owned(),
            line: 1,
            what: "it is no line of a log".to_owned(),
        }),
        None => Err(Damage::of_file(file, "it is empty")),
    }
}

//! Brings the index to the end of the log: catches it up, or sets it aside and builds it anew.
//!
//! Must never: let the index decide what the log says. Where they differ the index goes.

use std::fs;
use std::path::PathBuf;

use ed25519_dalek::VerifyingKey;

use super::super::admit::subject_head;
use super::super::chain::Chain;
use super::super::line::{Line, LogId};
use super::super::projections::{Refusal, project};
use super::super::reader::Segment;
use super::super::record::{self, into_record};
use super::super::table::{Changes, Location, MemoryTable, Overlay, Table};
use super::super::verify::{Damage, walk};
use super::super::{Head, ReadError};
use super::layout::{Layout, has_content};
use super::sled_table::{SledOptions, SledTable};
use crate::domain::ids::Position;

/// Records put into one change of the index while catching up.
const CHUNK: usize = 256;

/// What was done to have an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IndexOutcome {
    /// The log is new, so is the index.
    Created,
    /// It was at the end of the log.
    Ready,
    /// It was behind; so many records were taken in.
    CaughtUp {
        /// How many.
        records: u64,
    },
    /// It was built anew from the log.
    Rebuilt {
        /// Why.
        why: String,
        /// Where the old one is, if there was one.
        aside: Option<PathBuf>,
        /// Set when the old index knew this later record, which the log does not have any more: acknowledged
        /// records were removed from the segment files, or the disk lost them.
        knew: Option<Position>,
    },
    /// It cannot be kept on disk; it is kept in memory until the next start.
    InMemory {
        /// Why.
        why: String,
    },
}

/// An index at the end of the log.
pub(crate) struct Prepared {
    pub(crate) table: Box<dyn Table>,
    pub(crate) outcome: IndexOutcome,
}

/// The log that the index is about.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Truth<'a> {
    pub(crate) log: LogId,
    /// What its checkpoints are signed with.
    pub(crate) key: Option<VerifyingKey>,
    pub(crate) segments: &'a [Segment],
    pub(crate) head: Head,
}

/// Opens, checks, catches up or rebuilds.
///
/// # Errors
/// Only when the log itself is damaged.
pub(crate) fn prepare(layout: &Layout, options: &SledOptions, truth: Truth<'_>) -> Result<Prepared, Damage> {
    let existed = has_content(&layout.index());
    let (why, knew) = match opened(options, truth)? {
        Ok(prepared) if existed || truth.head.position == Position(0) => {
            let outcome = if existed { prepared.outcome } else { IndexOutcome::Created };
            return Ok(Prepared { outcome, ..prepared });
        }
        // Opening an index that is not there makes an empty one, and catching that up is building it anew.
        Ok(prepared) => {
            let outcome = IndexOutcome::Rebuilt { why: "it was missing".to_owned(), aside: None, knew: None };
            return Ok(Prepared { outcome, ..prepared });
        }
        Err(wrong) => (wrong.why, wrong.knew),
    };
    let aside = match set_aside(layout) {
        Ok(aside) => aside,
        Err(error) => return in_memory(truth, format!("{why}; setting it aside failed: {error}")),
    };
    match opened(options, truth)? {
        Ok(Prepared { table, .. }) => {
            Ok(Prepared { table, outcome: IndexOutcome::Rebuilt { why, aside: Some(aside), knew } })
        }
        Err(again) => in_memory(truth, format!("{why}; building it anew failed: {}", again.why)),
    }
}

/// Why an index cannot be used.
struct Wrong {
    why: String,
    knew: Option<Position>,
}

impl Wrong {
    fn because(why: impl Into<String>) -> Self {
        Self { why: why.into(), knew: None }
    }
}

fn opened(options: &SledOptions, truth: Truth<'_>) -> Result<Result<Prepared, Wrong>, Damage> {
    let mut table = match SledTable::open(options, truth.log) {
        Ok(table) => table,
        Err(why) => return Ok(Err(Wrong::because(why))),
    };
    let applied = table.applied();
    if let Some(applied) = applied
        && applied.position > truth.head.position
    {
        let why = format!("it knows record {}, but the log ends at {}", applied.position, truth.head.position);
        return Ok(Err(Wrong { why, knew: Some(applied.position) }));
    }
    let outcome = match applied {
        Some(applied) if applied == truth.head => IndexOutcome::Ready,
        Some(applied) if applied.position == truth.head.position => {
            return Ok(Err(Wrong::because(format!("it disagrees with the log about record {}", applied.position))));
        }
        _ => match replay(truth, applied, &mut table) {
            Ok(records) => IndexOutcome::CaughtUp { records },
            Err(ReplayError::Damage(damage)) => return Err(damage),
            Err(ReplayError::Index(error)) => return Ok(Err(Wrong::because(error.0))),
        },
    };
    Ok(Ok(Prepared { table: Box::new(table), outcome }))
}

fn in_memory(truth: Truth<'_>, why: String) -> Result<Prepared, Damage> {
    let mut table = MemoryTable::default();
    match replay(truth, None, &mut table) {
        Ok(_) => Ok(Prepared { table: Box::new(table), outcome: IndexOutcome::InMemory { why } }),
        Err(ReplayError::Damage(damage)) => Err(damage),
        Err(ReplayError::Index(error)) => {
            let file = truth.segments.last().map(|s| s.path.clone()).unwrap_or_default();
            Err(Damage::of_file(&file, error))
        }
    }
}

/// Keeps the newest index that was found wrong; older ones would fill the disk.
fn set_aside(layout: &Layout) -> std::io::Result<PathBuf> {
    let aside = layout.index_aside();
    // Whatever stands there: an index that was found to be a file was set aside as one.
    match fs::symlink_metadata(&aside) {
        Ok(old) if old.is_dir() => fs::remove_dir_all(&aside)?,
        Ok(_) => fs::remove_file(&aside)?,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    fs::rename(layout.index(), &aside)?;
    Ok(aside)
}

/// Takes the next record in; the inner error says why it cannot stand there.
pub(crate) fn take_in(
    index: &mut Overlay<'_>,
    line: &Line<'_>,
    place: Location,
) -> Result<Result<(), String>, ReadError> {
    let wire = match record::decode(line.event) {
        Ok(wire) => wire,
        Err(error) => return Ok(Err(error.to_string())),
    };
    let prev_of = wire.prev_of.clone();
    let record = into_record(wire, Position(line.seq), line.hash);
    if let Some(subject) = &record.subject
        && prev_of != Some(subject_head(index, subject)?.to_string())
    {
        return Ok(Err("it does not follow its subject's record before".to_owned()));
    }
    match project(index, &record, place) {
        Ok(()) => Ok(Ok(())),
        Err(Refusal::Append(error)) => Ok(Err(error.to_string())),
        Err(Refusal::Index(error)) => Err(error),
    }
}

/// Why records could not be taken into an index.
#[derive(Debug)]
pub(crate) enum ReplayError {
    /// The log is damaged.
    Damage(Damage),
    /// The index is.
    Index(ReadError),
}

/// Takes every record after `after` up to the head into the table, proving the chain on the way, and proving
/// that the log has `after` as the table says.
pub(crate) fn replay(truth: Truth<'_>, after: Option<Head>, table: &mut dyn Table) -> Result<u64, ReplayError> {
    let start = after.map_or(0, |head| head.position.0);
    let skip = truth.segments.iter().rposition(|s| s.first <= start).unwrap_or(0);
    let segments = &truth.segments[skip..];
    let first = segments.first().map_or(0, |s| s.first);
    let chain = match first {
        0 => Chain::from_genesis(),
        first => Chain::from_middle(truth.log, first).signed_by(truth.key),
    };

    let mut pending = Changes::new();
    let (mut waiting, mut taken) = (0, 0);
    let mut broken = None;
    let mut last = after;
    let walked = walk(segments, chain, |here, line, _| {
        let position = Position(line.seq);
        if broken.is_some() || position > truth.head.position {
            return Ok(());
        }
        if let Some(after) = after
            && position <= after.position
        {
            if position == after.position && line.hash != after.hash {
                broken = Some(ReadError(format!("it disagrees with the log about record {position}")));
            }
            return Ok(());
        }
        let mut overlay = Overlay::resume(&*table, std::mem::take(&mut pending));
        let place = Location { segment: here.segment.first, offset: here.raw.offset };
        let result = take_in(&mut overlay, &line, place);
        pending = overlay.into_changes();
        match result {
            Ok(fits) => fits?,
            Err(error) => {
                broken = Some(error);
                return Ok(());
            }
        }
        let head = Head { position, hash: line.hash };
        last = Some(head);
        taken += 1;
        waiting += 1;
        if waiting == CHUNK {
            waiting = 0;
            if let Err(error) = table.apply(&std::mem::take(&mut pending), head) {
                broken = Some(error);
            }
        }
        Ok(())
    });
    if let Some(error) = broken {
        return Err(ReplayError::Index(error));
    }
    walked.map_err(ReplayError::Damage)?;
    if last != Some(truth.head) {
        let file = truth.segments.last().map(|s| s.path.clone()).unwrap_or_default();
        return Err(ReplayError::Damage(Damage::of_file(&file, "the log does not end where it ended before")));
    }
    if waiting > 0 {
        table.apply(&pending, truth.head).map_err(ReplayError::Index)?;
    }
    Ok(taken)
}

//! The log and its index (decisions 6 to 10, durability sections 1 to 4), and only here sled.
//!
//! The segment files are the truth: JSON lines in a hash chain, written by one thread, one `fdatasync` per
//! batch, acknowledged after it. The index is a fold of them that can be thrown away. This file is the
//! contract; `files` (segments + sled) and `memory` implement it and pass one conformance suite.
//! Must never: repair a broken chain, acknowledge before the sync, decide what a record means for a person.

pub(crate) mod admit;
pub(crate) mod chain;
pub mod checkpoint;
pub mod compare;
pub mod export;
pub mod files;
pub mod line;
pub mod memory;
pub mod merkle;
pub mod note;
pub(crate) mod projections;
pub(crate) mod queries;
pub(crate) mod reader;
pub mod record;
pub(crate) mod signatures;
pub(crate) mod signing;
pub(crate) mod table;
pub mod verify;

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;

use crate::domain::event::{Event, Subject};
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::names::{ServiceName, Target};
use crate::domain::release::History;
use crate::domain::run::RunState;

/// SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a new record belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum About {
    /// Nothing but the log.
    Log,
    /// Something on record.
    Subject(Subject),
    /// The run that this very record begins: its id is the record's own position.
    NewRun,
}

/// A record to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// What it belongs to.
    pub about: About,
    /// Time to write into it (from the caller's clock).
    pub at: Timestamp,
    /// What happened.
    pub event: Event,
}

/// A record on disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Where.
    pub position: Position,
    /// Its hash.
    pub hash: Hash,
    /// When.
    pub at: Timestamp,
    /// What it belongs to.
    pub subject: Option<Subject>,
    /// What happened.
    pub event: Event,
}

/// The end of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Position of the last record.
    pub position: Position,
    /// Its hash.
    pub hash: Hash,
}

/// Why nothing was written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    /// Somebody else wrote since the caller looked: look again and decide again.
    #[error("the log has moved on to {0}")]
    Moved(Position),
    /// The platform's event is on record already (checked for `Invoked` and `Said`).
    #[error("this event is on record at {0}")]
    Duplicate(Position),
    /// A record of the batch cannot follow what is on record.
    #[error(transparent)]
    CannotFollow(#[from] crate::domain::run::CannotFollow),
    /// The queue to the writer is full.
    #[error("too much is waiting to be written")]
    Busy,
    /// The disk does not take it. Nothing is acknowledged; the store reopens by itself.
    #[error("the record cannot be written: {0}")]
    CannotWrite(String),
}

/// A run as lists show it.
pub type RunRow = RunState;

/// The log: one way to write, and questions answered from the index.
///
/// Questions are answered as of a position at least as new as every append acknowledged before they were
/// asked. They never wait for the disk queue, so they may be asked from async code.
#[async_trait::async_trait]
pub trait Log: Send + Sync + 'static {
    /// Writes the batch wholly or not at all and returns it as written, after it is durable and indexed.
    /// With `expected`, only if that is still the last position (compare and set): whoever decides on a
    /// state names the position at which it looked. Refuses records that [`crate::domain::run::fold`] refuses,
    /// a second claim of a held target, and platform events seen before.
    async fn append(&self, expected: Option<Position>, batch: Vec<Draft>) -> Result<Vec<Record>, AppendError>;

    /// The last record acknowledged.
    fn head(&self) -> Head;

    /// The log's id, 32 hex digits.
    fn log_id(&self) -> String;

    /// Records from `from` on, at most `limit`.
    fn read(&self, from: Position, limit: usize) -> Result<Vec<Record>, ReadError>;

    /// The records of one subject, oldest first.
    fn thread(&self, subject: &Subject) -> Result<Vec<Record>, ReadError>;

    /// One run.
    fn run(&self, id: RunId) -> Result<Option<RunState>, ReadError>;

    /// The newest runs, newest first.
    fn runs(&self, limit: usize) -> Result<Vec<RunRow>, ReadError>;

    /// Every run that has not ended, oldest first.
    fn open_runs(&self) -> Result<Vec<RunState>, ReadError>;

    /// The run that an approval belongs to.
    fn run_of_approval(&self, id: ApprovalId) -> Result<Option<RunState>, ReadError>;

    /// The run that holds this target.
    fn holder(&self, target: &Target) -> Result<Option<RunState>, ReadError>;

    /// The releases of one service.
    fn history(&self, target: &Target, service: &ServiceName) -> Result<History, ReadError>;

    /// Every service that has releases on record.
    fn services(&self) -> Result<Vec<(Target, ServiceName)>, ReadError>;

    /// Epoch of the newest start, or of the newest `store new-epoch`; `None` before the first.
    fn epoch(&self) -> Result<Option<u64>, ReadError>;

    /// Where a platform event is on record.
    fn seen(&self, event: &str) -> Result<Option<Position>, ReadError>;

    /// How far the messages to one surface have been derived from the log.
    fn outbox_cursor(&self, surface: &str) -> Result<Position, ReadError>;

    /// Notes that everything up to `position` was delivered to the surface. Part of the index, not of the log.
    fn set_outbox_cursor(&self, surface: &str, position: Position) -> Result<(), ReadError>;

    /// Changes whenever records are acknowledged; holds the last position.
    fn watch(&self) -> tokio::sync::watch::Receiver<Position>;

    /// Room for `records` more is set aside, so that a run once claimed can be told to its end (decision 9).
    fn reserve(&self, records: usize) -> Result<(), AppendError>;

    /// Why the log cannot be written at this moment, if so.
    fn trouble(&self) -> Option<String>;
}

/// The index could not answer.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the index cannot be read: {0}")]
pub struct ReadError(pub String);

/// Any log.
pub type SharedLog = Arc<dyn Log>;

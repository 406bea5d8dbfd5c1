//! A log that lives in memory: for simulated worlds, tests and the demo's rehearsals.
//!
//! The same lines, hashes, projections and checkpoints as on disk, but for those that only time asks for; nothing
//! survives the process.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use tokio::sync::watch;

use super::admit::{self, Front};
use super::checkpoint::Signer;
use super::line::LogId;
use super::projections::Refusal;
use super::signing::{Signing, sign_if_due};
use super::table::{Location, MemoryTable, Table};
use super::{AppendError, Draft, Head, Log, ReadError, Record, queries};
use crate::domain::event::{Event, Subject};
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::names::{ServiceName, Target};
use crate::domain::release::History;
use crate::domain::run::RunState;

/// The log id of [`MemoryLog::new`].
pub const MEMORY_LOG_ID: LogId = LogId(*b"sternway-memory!");

/// The key that signs its checkpoints. No secret: what is in memory needs none.
const MEMORY_KEY: [u8; 32] = *b"the key of every log in memory, ";

/// A log in memory.
#[derive(Debug)]
pub struct MemoryLog {
    id: LogId,
    signer: Signer,
    inner: Mutex<Inner>,
    last: watch::Sender<Position>,
}

#[derive(Debug)]
struct Inner {
    records: Vec<Record>,
    lines: Vec<u8>,
    head: Head,
    table: MemoryTable,
    cursors: BTreeMap<String, Position>,
}

impl MemoryLog {
    /// A log that begins at that time, always with the same id: what is written the same hashes the same.
    pub fn new(at: Timestamp) -> Self {
        Self::with_id(MEMORY_LOG_ID, at)
    }

    /// A log with an id of its own.
    pub fn with_id(id: LogId, at: Timestamp) -> Self {
        let key = SigningKey::from_bytes(&MEMORY_KEY);
        let event = Event::Genesis {
            log_id: id.to_string(),
            host: "memory".to_owned(),
            software: env!("CARGO_PKG_VERSION").to_owned(),
            keys: vec![hex::encode(key.verifying_key().as_bytes())],
            previous: None,
        };
        let mut table = MemoryTable::default();
        let (lines, record, changes) =
            admit::genesis(id, at, event, &table).expect("a genesis record holds no number and follows nothing");
        let head = Head { position: record.position, hash: record.hash };
        table.apply(&changes, head).expect("memory takes every change");
        let inner = Inner { records: vec![record], lines, head, table, cursors: BTreeMap::new() };
        let signer = Signer::new(id, key);
        Self { id, signer, inner: Mutex::new(inner), last: watch::Sender::new(head.position) }
    }

    /// The lines as they would stand in a segment file.
    pub fn lines(&self) -> Vec<u8> {
        self.inner().lines.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait::async_trait]
impl Log for MemoryLog {
    async fn append(&self, expected: Option<Position>, batch: Vec<Draft>) -> Result<Vec<Record>, AppendError> {
        let mut inner = self.inner();
        let place = Location { segment: 0, offset: inner.lines.len() as u64 };
        let mut front = Front::new(self.id, inner.head, place, &inner.table);
        let refused = |refusal| match refusal {
            Refusal::Append(error) => error,
            Refusal::Index(error) => AppendError::CannotWrite(format!("nothing is done; {error}")),
        };
        let records = front.admit(expected, &batch).map_err(refused)?;
        let mut checkpoint = None;
        if let Some(last) = records.last() {
            let signing = sign_if_due(&mut front, &self.signer, last.at, false);
            if let Signing::Signed(record) = signing.map_err(|e| refused(Refusal::Index(e)))? {
                checkpoint = Some(record);
            }
        }
        let (bytes, changes, head) = front.into_parts();
        inner.table.apply(&changes, head).map_err(|e| AppendError::CannotWrite(e.to_string()))?;
        inner.lines.extend_from_slice(&bytes);
        inner.records.extend(records.iter().cloned());
        inner.records.extend(checkpoint.map(|record| *record));
        inner.head = head;
        if !records.is_empty() {
            self.last.send_replace(head.position);
        }
        Ok(records)
    }

    fn head(&self) -> Head {
        self.inner().head
    }

    fn log_id(&self) -> String {
        self.id.to_string()
    }

    fn read(&self, from: Position, limit: usize) -> Result<Vec<Record>, ReadError> {
        let from = usize::try_from(from.0).unwrap_or(usize::MAX);
        Ok(self.inner().records.iter().skip(from).take(limit).cloned().collect())
    }

    fn thread(&self, subject: &Subject) -> Result<Vec<Record>, ReadError> {
        let inner = self.inner();
        let places = queries::thread(&inner.table, subject)?;
        let at = |position: Position| usize::try_from(position.0).ok().and_then(|i| inner.records.get(i)).cloned();
        Ok(places.into_iter().filter_map(|(position, _)| at(position)).collect())
    }

    fn run(&self, id: RunId) -> Result<Option<RunState>, ReadError> {
        queries::run(&self.inner().table, id)
    }

    fn runs(&self, limit: usize) -> Result<Vec<RunState>, ReadError> {
        queries::newest_runs(&self.inner().table, limit)
    }

    fn open_runs(&self) -> Result<Vec<RunState>, ReadError> {
        queries::open_runs(&self.inner().table)
    }

    fn run_of_approval(&self, id: ApprovalId) -> Result<Option<RunState>, ReadError> {
        queries::run_of_approval(&self.inner().table, id)
    }

    fn holder(&self, target: &Target) -> Result<Option<RunState>, ReadError> {
        queries::holder(&self.inner().table, target)
    }

    fn history(&self, target: &Target, service: &ServiceName) -> Result<History, ReadError> {
        queries::history(&self.inner().table, target, service)
    }

    fn services(&self) -> Result<Vec<(Target, ServiceName)>, ReadError> {
        queries::services(&self.inner().table)
    }

    fn epoch(&self) -> Result<Option<u64>, ReadError> {
        queries::epoch(&self.inner().table)
    }

    fn seen(&self, event: &str) -> Result<Option<Position>, ReadError> {
        queries::seen(&self.inner().table, event)
    }

    fn outbox_cursor(&self, surface: &str) -> Result<Position, ReadError> {
        Ok(self.inner().cursors.get(surface).copied().unwrap_or_default())
    }

    fn set_outbox_cursor(&self, surface: &str, position: Position) -> Result<(), ReadError> {
        self.inner().cursors.insert(surface.to_owned(), position);
        Ok(())
    }

    fn watch(&self) -> watch::Receiver<Position> {
        self.last.subscribe()
    }

    fn reserve(&self, _: usize) -> Result<(), AppendError> {
        Ok(())
    }

    fn trouble(&self) -> Option<String> {
        None
    }
}

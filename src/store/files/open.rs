//! Opening a log: what a crash left is cut and told, what a crash cannot leave is refused.
//!
//! Order: hold the folder, prove the segments' seams and the newest segment, cut its torn end, bring the
//! index to the log's end, start the writer. Must never: repair or skip a bad line.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock, mpsc};
use std::thread;
use std::time::Duration;

use tokio::sync::watch;

use super::super::Head;
use super::super::admit;
use super::super::checkpoint::{self, Signer};
use super::super::line::LogId;
use super::super::reader::{Lines, Segment, segments_in};
use super::super::table::{Location, MemoryTable};
use super::super::verify::Damage;
use super::ballast::Ballast;
use super::cursors::Cursors;
use super::disk::{Disk, HostDisk, is_full};
use super::index::{IndexOutcome, Prepared, Truth, prepare};
use super::layout::{KeyError, Layout, LockError, has_content, public_hex};
use super::prove::{Proven, prove};
use super::sled_table::SledOptions;
use super::writer::{Start, Writer};
use super::{FileLog, Index, Shared, State};
use crate::clock::Clock;
use crate::domain::event::Event;

/// Ballast for one stack: room for the records of a run of a dozen steps, its undo included.
const BALLAST_PER_STACK: u64 = 1024 * 1024;

/// How to open a log. [`OpenOptions::new`] has what production wants.
#[derive(Clone)]
pub struct OpenOptions {
    /// Tells the time of genesis and the age of segments.
    pub clock: Arc<dyn Clock>,
    /// Version of Sternway, for the record.
    pub software: String,
    /// Name of this machine, for the record.
    pub host: String,
    /// Bytes after which a segment is closed.
    pub segment_bytes: u64,
    /// Age of its first record after which a segment is closed.
    pub segment_age: Duration,
    /// Bytes kept for the records of runs that have begun; 16 KiB are counted per record.
    pub ballast_bytes: u64,
    /// Appends that may wait for the writer; more are refused as busy.
    pub queue: usize,
    /// Longest time that a record stands without a checkpoint about it.
    pub checkpoint_age: Duration,
    /// Bytes of the index's cache.
    pub index_cache: u64,
    /// How long the index may take to open before it is built anew.
    pub index_limit: Duration,
    /// Where it is written.
    pub disk: Arc<dyn Disk>,
}

impl OpenOptions {
    /// Segments of 16 MB or one day, 64 MB ballast, 8 MB cache, on the machine's disk.
    pub fn new(clock: Arc<dyn Clock>, software: impl Into<String>, host: impl Into<String>) -> Self {
        Self {
            clock,
            software: software.into(),
            host: host.into(),
            segment_bytes: 16 * 1024 * 1024,
            segment_age: Duration::from_secs(24 * 60 * 60),
            ballast_bytes: 64 * 1024 * 1024,
            queue: 256,
            checkpoint_age: Duration::from_secs(60),
            index_cache: 8 * 1024 * 1024,
            index_limit: Duration::from_secs(60),
            disk: Arc::new(HostDisk),
        }
    }

    /// The same with a ballast that has room for a run on each of so many stacks at once.
    #[must_use]
    pub fn with_room_for(mut self, stacks: usize) -> Self {
        self.ballast_bytes = self.ballast_bytes.max(BALLAST_PER_STACK.saturating_mul(stacks as u64));
        self
    }
}

impl std::fmt::Debug for OpenOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenOptions")
            .field("software", &self.software)
            .field("host", &self.host)
            .finish_non_exhaustive()
    }
}

/// What opening found and did. Whoever starts the bot tells people what is not as usual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenReport {
    /// There was no log; this is a new one.
    pub created: bool,
    /// The last record.
    pub head: Head,
    /// What was cut off the end: the rest of a write that a crash interrupted, acknowledged to nobody.
    pub cut: Option<Cut>,
    /// What was done to have an index.
    pub index: IndexOutcome,
    /// What else a person should know, a sentence each.
    pub warnings: Vec<String>,
}

/// A torn end that was cut.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The newest segment file.
    pub file: PathBuf,
    /// The first line that was cut, from 1.
    pub line: u64,
    /// How many bytes.
    pub bytes: u64,
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the store {folder} is in use by process {pid}; nothing was changed. Stop that process first (`ps {pid}` shows it)"
    )]
    InUse {
        /// The folder.
        folder: PathBuf,
        /// Its id.
        pid: String,
    },
    /// A line or file is not what it should be, and not as a crash leaves it.
    #[error(
        "the log is damaged at {0}. Nothing was changed and nothing is served. Keep a copy of the folder, then put back the file from a backup; `sternway audit verify` names the first bad line"
    )]
    Damage(#[from] Damage),
    /// There are traces of a log, but no log.
    #[error(
        "there is an index in {folder}, but no segment file in {folder}/log: the log was removed. Put its files back from a backup; to begin a new log, name another folder"
    )]
    LogMissing {
        /// The folder.
        folder: PathBuf,
    },
    /// The system's.
    #[error("the store {folder} cannot be opened: {what}: {source}")]
    Io {
        /// The folder.
        folder: PathBuf,
        /// What was tried.
        what: &'static str,
        /// Why not.
        source: io::Error,
    },
}

pub(super) fn open(layout: Layout, options: OpenOptions) -> Result<(FileLog, OpenReport), OpenError> {
    let root = layout.root.clone();
    let failed = |what: &'static str| {
        let folder = root.clone();
        move |source: io::Error| OpenError::Io { folder, what, source }
    };
    layout.make().map_err(failed("making its folders"))?;
    let lock = layout.lock().map_err(|error| match error {
        LockError::Held(pid) => OpenError::InUse { folder: root.clone(), pid },
        LockError::Io(error) => failed("locking it")(error),
    })?;

    let mut found = segments_in(&layout.segments()).map_err(failed("listing its segments"))?;
    drop_empty_newest(&mut found).map_err(failed("removing an empty segment"))?;
    let begin = begin(&layout, &found, &options).map_err(|error| match error {
        BeginError::Missing => OpenError::LogMissing { folder: root.clone() },
        BeginError::Io(error) => failed("beginning a log")(error),
    })?;
    let created = begin.is_some();
    let segments = match &begin {
        Some(segment) => vec![segment.clone()],
        None => found,
    };
    let proven = prove(&segments)?;
    let cut = proven.cut(options.disk.as_ref()).map_err(failed("cutting a torn end"))?;

    let ballast = Ballast::new(options.disk.clone(), layout.ballast(), options.ballast_bytes);
    let full = match ballast.ensure() {
        Ok(()) => false,
        Err(error) => {
            // Even the index needs some room to open; what is kept is kept for this.
            if is_full(&error) {
                ballast.release();
            }
            true
        }
    };
    let sled = SledOptions { folder: layout.index(), cache: options.index_cache, limit: options.index_limit };
    let key = checkpoint::first_key(&proven.keys);
    let truth = Truth { log: proven.log, key, segments: &segments, head: proven.head };
    let Prepared { table, outcome } = prepare(&layout, &sled, truth)?;
    let (signer, unsigned) = signer(&layout, &proven);
    let mut warnings = Vec::from_iter(unsigned);
    let cursors = Cursors::open(layout.cursors(), proven.log, proven.head.position, &mut warnings);
    let shared = Arc::new(Shared {
        log: proven.log,
        key,
        layout,
        ballast_bytes: options.ballast_bytes,
        state: RwLock::new(State { head: proven.head, index: Index::Ready(table) }),
        room: AtomicBool::new(!full),
        trouble: Mutex::new(None),
        busy_since: Mutex::new(None),
        last: watch::Sender::new(proven.head.position),
        closing: AtomicBool::new(false),
        sealed: AtomicBool::new(false),
        cursors,
        lock: Mutex::new(Some(lock)),
    });
    let (requests, queue) = mpsc::sync_channel(options.queue.max(1));
    let (tell_end, ended) = mpsc::sync_channel(1);
    let start = Start {
        place: Location { segment: proven.newest, offset: proven.length },
        began: proven.began,
        full,
        index_in_memory: matches!(outcome, IndexOutcome::InMemory { .. }),
        signer,
    };
    let mut writer = Writer::new(shared.clone(), queue, options, ballast, sled, start);
    if let IndexOutcome::Rebuilt { why, .. } = &outcome
        && let Err(error) = writer.tell_rebuilt(why)
    {
        warnings.push(format!("that the index was built anew is not on record: {error}"));
    }
    thread::Builder::new()
        .name("log-writer".to_owned())
        .spawn(move || {
            writer.run();
            let _ = tell_end.send(());
        })
        .map_err(failed("starting its writer"))?;
    let log = FileLog { shared, requests, ended: Mutex::new(Some(ended)) };
    let head = log.shared.state().head;
    Ok((log, OpenReport { created, head, cut, index: outcome, warnings }))
}

/// A crash right after a segment was closed leaves the next one empty; the writer makes it again.
fn drop_empty_newest(found: &mut Vec<Segment>) -> io::Result<()> {
    if found.len() > 1
        && let Some(newest) = found.last()
        && fs::metadata(&newest.path)?.len() == 0
    {
        fs::remove_file(&newest.path)?;
        found.pop();
    }
    Ok(())
}

enum BeginError {
    Missing,
    Io(io::Error),
}

impl From<io::Error> for BeginError {
    fn from(error: io::Error) -> Self {
        BeginError::Io(error)
    }
}

/// Whether a whole line stands in the file, or more than a line can have.
fn has_more_than_a_torn_write(file: &Path) -> io::Result<bool> {
    let mut lines = Lines::open(file)?;
    let ended = lines.next()?.is_some_and(|first| first.ended);
    Ok(ended || !lines.at_end()?)
}

/// Begins a log where there is none, or where a crash interrupted its very first write.
fn begin(layout: &Layout, found: &[Segment], options: &OpenOptions) -> Result<Option<Segment>, BeginError> {
    let begun = match found {
        [] => false,
        [only] => only.first != 0 || has_more_than_a_torn_write(&only.path)? || has_content(&layout.index()),
        _ => true,
    };
    if begun {
        return Ok(None);
    }
    if has_content(&layout.index()) {
        return Err(BeginError::Missing);
    }
    let key = layout.key(true).map_err(|error| match error {
        KeyError::Io(error) => error,
        KeyError::NotAKey => io::Error::new(io::ErrorKind::InvalidData, format!("the file `key` is damaged: {error}")),
    })?;
    let mut id = LogId([0; 16]);
    getrandom::fill(&mut id.0).map_err(|e| io::Error::other(e.to_string()))?;
    let event = Event::Genesis {
        log_id: id.to_string(),
        host: options.host.clone(),
        software: options.software.clone(),
        keys: vec![public_hex(&key)],
        previous: None,
    };
    let (bytes, _, _) = admit::genesis(id, options.clock.now(), event, &MemoryTable::default())
        .map_err(|refusal| io::Error::other(format!("{refusal:?}")))?;
    let segment = Segment { first: 0, path: layout.segment(0) };
    let mut file = options.disk.append_to(&segment.path, 0)?;
    file.write(&bytes)?;
    file.sync()?;
    Ok(Some(segment))
}

/// Signs checkpoints, with the key that the log's first record names and no other. The log opens without it; but people
/// should know.
fn signer(layout: &Layout, proven: &Proven) -> (Option<Signer>, Option<String>) {
    const UNSIGNED: &str = "no checkpoints are signed until the right one is put back from a backup";
    let file = layout.root.join("key");
    match layout.key(false) {
        Ok(key) if proven.keys.first() == Some(&public_hex(&key)) => (Some(Signer::new(proven.log, key)), None),
        Ok(_) => {
            (None, Some(format!("{} is not the key that the log's first record names; {UNSIGNED}", file.display())))
        }
        Err(error) => (None, Some(format!("{} cannot be used ({error}); {UNSIGNED}", file.display()))),
    }
}

//! The bot as a child process: started, killed, told to stop; and its log, read from the files beside it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::process::{Pid, Signal, kill_process};
use sternway::domain::event::{Event, Subject};
use sternway::domain::ids::{Position, RunId};
use sternway::domain::release::History;
use sternway::domain::run::{RunState, Status, fold};
use sternway::store::record::{Wire, decode};

use crate::console::Seat;
use crate::shop::{Shop, until};

/// The program under test.
pub(crate) const STERNWAY: &str = env!("CARGO_BIN_EXE_sternway");

/// A bot that runs; killed when dropped.
pub(crate) struct Served {
    child: Child,
    socket: PathBuf,
    pub(crate) journal: Journal,
    pub(crate) log: PathBuf,
}

impl Served {
    /// Starts it on this config; it hears when this returns.
    pub(crate) async fn start(shop: &Shop, config: &Path, store: &Path) -> Self {
        Self::start_as(Command::new(STERNWAY), shop, config, store).await
    }

    /// The same under another program, which becomes it.
    pub(crate) async fn start_as(command: Command, shop: &Shop, config: &Path, store: &Path) -> Self {
        let mut served = Self::spawn(command, shop, config, store);
        assert!(served.hears().await, "the bot ended: {}", last_lines(&served.log));
        served
    }

    /// Starts it and does not wait.
    pub(crate) fn spawn(mut command: Command, shop: &Shop, config: &Path, store: &Path) -> Self {
        let log = shop.folder().join("bot.log");
        let stderr = File::options().create(true).append(true).open(&log).expect("a file of ours");
        let child = command
            .args(["serve", "--config"])
            .arg(config)
            .stdin(Stdio::null())
            .stdout(stderr.try_clone().expect("a file"))
            .stderr(stderr)
            .spawn()
            .expect("sternway can be started");
        Self { child, socket: shop.socket(), journal: Journal::of(store), log }
    }

    /// Waits until it hears; false when it has ended.
    pub(crate) async fn hears(&mut self) -> bool {
        let socket = self.socket.clone();
        until("the bot to hear", async || {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return Ok(false);
            }
            match Seat::try_sit(&socket, None).await {
                Ok(_) => Ok(true),
                Err(why) => Err(format!("{why}; {}", last_lines(&self.log))),
            }
        })
        .await
    }

    /// Its process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Somebody at the console, as the user who runs the tests.
    pub(crate) async fn sit(&self) -> Seat {
        Seat::try_sit(&self.socket, None).await.expect("the bot hears")
    }

    /// Whether it has ended.
    pub(crate) fn is_dead(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// `kill -9`, also when it is dead already.
    pub(crate) fn kill(mut self) {
        self.end();
    }

    /// SIGTERM.
    pub(crate) fn tell_to_stop(&self) {
        let _ = kill_process(self.pid(), Signal::TERM);
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        until("the bot to end", async || match self.child.try_wait() {
            Ok(Some(status)) => Ok(status),
            Ok(None) => Err(last_lines(&self.log)),
            Err(error) => Err(error.to_string()),
        })
        .await
    }

    /// SIGTERM and its end.
    pub(crate) async fn stop(mut self) -> ExitStatus {
        self.tell_to_stop();
        self.ended().await
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.end();
    }
}

/// The end of a log file.
pub(crate) fn last_lines(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(12)..].join("\n")
}

/// The log as its files tell it, read beside the running bot. What was read once is kept: a log only grows while one
/// bot runs, and each start of a bot begins a journal anew.
#[derive(Clone)]
pub(crate) struct Journal {
    pub(crate) store: PathBuf,
    read: Arc<Mutex<Known>>,
}

/// What is known of the files.
#[derive(Default)]
struct Known {
    /// How far each was read.
    files: BTreeMap<PathBuf, u64>,
    records: Vec<(Position, Wire)>,
    runs: BTreeMap<RunId, RunState>,
}

impl Known {
    fn read_on(&mut self, store: &Path) {
        let Ok(entries) = std::fs::read_dir(store.join("log")) else { return };
        let mut files: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        files.retain(|path| path.extension().is_some_and(|e| e == "log"));
        files.sort();
        for path in files {
            let from = self.files.entry(path.clone()).or_default();
            let mut file = File::open(&path).expect("a segment can be read");
            file.seek(SeekFrom::Start(*from)).expect("a file");
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).expect("a segment can be read");
            let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
            *from += whole as u64;
            for line in bytes[..whole].split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
                let (position, wire) = read_line(line);
                if let Some(Subject::Run(id)) = wire.subject {
                    let folded = fold(self.runs.remove(&id), position, wire.at, &wire.body);
                    self.runs.insert(id, folded.expect("the journal is consistent"));
                }
                self.records.push((position, wire));
            }
        }
    }
}

impl Journal {
    pub(crate) fn of(store: &Path) -> Self {
        Self { store: store.to_owned(), read: Arc::default() }
    }

    fn known<T>(&self, of: impl FnOnce(&Known) -> T) -> T {
        let mut known = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        known.read_on(&self.store);
        of(&known)
    }

    /// All whole records, in order.
    pub(crate) fn records(&self) -> Vec<(Position, Wire)> {
        self.known(|known| known.records.clone())
    }

    /// Every run on record, oldest first.
    pub(crate) fn runs(&self) -> Vec<RunState> {
        self.known(|known| known.runs.values().cloned().collect())
    }

    /// Runs asked for after this record.
    pub(crate) fn runs_after(&self, position: Position) -> Vec<RunState> {
        self.known(|known| known.runs.range(RunId(Position(position.0 + 1))..).map(|(_, run)| run.clone()).collect())
    }

    /// The newest rollback asked for after this record.
    pub(crate) fn newest_after(&self, position: Position) -> Option<RunState> {
        self.runs().into_iter().rfind(|r| r.id.0 > position && !r.dry_run && r.command == "rollback image")
    }

    /// Position of the last record.
    pub(crate) fn head(&self) -> Position {
        self.known(|known| known.records.last().map_or(Position(0), |(position, _)| *position))
    }

    /// How many records of runs stand behind that position.
    pub(crate) fn count_after(&self, position: Position) -> usize {
        let of_run = |wire: &Wire| matches!(wire.subject, Some(Subject::Run(id)) if id.0 > position);
        self.known(|known| known.records.iter().filter(|(_, wire)| of_run(wire)).count())
    }

    /// Releases of `api`.
    pub(crate) fn history(&self) -> History {
        let of_api = |wire: &Wire| matches!(&wire.subject, Some(Subject::Releases(of)) if of.ends_with("/api"));
        let of_api = self.records().into_iter().filter(|(_, wire)| of_api(wire));
        of_api.fold(History::default(), |history, (position, wire)| history.fold(position, wire.at, &wire.body))
    }

    /// Waits until a version is on record and, if wanted, proven; gives its id as people say it.
    pub(crate) async fn release(&self, reference: &str, proven: bool) -> String {
        until("a release on record", async || {
            let history = self.history();
            let found = history.releases.iter().rfind(|r| r.handles.reference == reference);
            match found {
                Some(release) if release.proven.is_some() || !proven => Ok(release.id.to_string()),
                Some(_) => Err(format!("{reference} is not proven")),
                None => Err(format!("{reference} is not on record")),
            }
        })
        .await
    }

    /// Waits until a run asked for after `position` is so; gives it.
    pub(crate) async fn run(&self, position: Position, what: &str, so: impl Fn(&RunState) -> bool) -> RunState {
        until(what, async || match self.newest_after(position) {
            Some(run) if so(&run) => Ok(run),
            Some(run) => Err(format!("{:?}, steps {:?}", run.status, run.steps)),
            None => Err("no run".to_owned()),
        })
        .await
    }

    /// Waits until the run goes no further by itself.
    pub(crate) async fn at_rest(&self, position: Position) -> RunState {
        self.run(position, "the run to end", at_rest).await
    }

    /// Events about a run, in order.
    pub(crate) fn events(&self, run: RunId) -> Vec<Event> {
        self.thread(run).into_iter().map(|(_, event)| event).collect()
    }

    /// The same with their positions.
    pub(crate) fn thread(&self, run: RunId) -> Vec<(Position, Event)> {
        let of_run = |wire: &Wire| wire.subject == Some(Subject::Run(run));
        self.known(|known| {
            let about = known.records.iter().filter(|(_, wire)| of_run(wire));
            about.map(|(position, wire)| (*position, wire.body.clone())).collect()
        })
    }

    /// `sternway audit verify` says that the record is whole.
    pub(crate) async fn is_whole(&self) {
        let mut command = tokio::process::Command::new(STERNWAY);
        command.args(["audit", "verify"]).arg(&self.store);
        let said = command.output().await.expect("sternway can be started");
        let words = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
        assert!(said.status.success() && words.contains("whole"), "audit verify: {words}");
    }
}

/// Ended, or stuck and nobody has chosen a way out.
pub(crate) fn at_rest(run: &RunState) -> bool {
    run.ended() || (matches!(run.status, Status::Stuck { .. }) && run.way.is_none())
}

fn read_line(line: &[u8]) -> (Position, Wire) {
    let value: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
    let position = value["seq"].as_str().and_then(|s| s.parse().ok()).expect("a position");
    let event = serde_json::to_vec(&value["event"]).expect("JSON");
    (Position(position), decode(&event).expect("a record of this version"))
}

//! `make bench-load`: many at once and much on record, as `docs/benchmarks.md` describes it. Needs no engine: what runs
//! services is simulated, everything else is what people run. Prints tables, and beside each aim whether it was met.
//!
//! `cargo bench --bench load -- history` does one part alone: `append`, `burst`, `everywhere` or `history`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for the terminal

mod burst;
#[path = "../../tests/support/crowd.rs"]
mod crowd;
mod everywhere;
#[path = "../swap/figures.rs"]
#[allow(dead_code)]
mod figures;
mod history;
#[path = "../swap/log.rs"]
mod log;
#[path = "../../tests/support/replay.rs"]
mod replay;
#[path = "../swap/serve.rs"]
#[allow(dead_code)]
mod serve;
#[path = "../../tests/support/town.rs"]
mod town;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sternway::clock::{Clock, SystemClock};
use sternway::domain::event::Subject;
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::{Record, SharedLog};

use crowd::Voice;
use town::{Open, Town, person, stack, until};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Appends by 64 tasks at once.
const APPEND_AIM: Duration = Duration::from_millis(10);

fn main() -> Result<()> {
    let parts: Vec<String> = std::env::args().skip(1).filter(|part| !part.starts_with('-')).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|p| p == part);
    // On the disk of the clone: a folder for temporary files may be in memory, where a sync costs nothing.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("load-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    // As many threads as `sternway serve` has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured: Result<()> = runtime.block_on(async {
        let thread = one_rollback(&folder.join("one")).await?;
        if wanted("append") {
            let (at_once, floor) = log::appends(&folder, &thread).await?;
            aim("p99 of an append, 64 tasks at once", at_once, APPEND_AIM);
            println!("{:.1} × the disk's own p99", at_once.as_secs_f64() / floor.as_secs_f64());
        }
        if wanted("burst") {
            burst::measure(&folder).await?;
        }
        if wanted("everywhere") {
            everywhere::measure(&folder).await?;
        }
        if wanted("history") {
            history::measure(&folder.join("history"), &thread).await?;
        }
        Ok(())
    });
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

/// Says whether a time is within its aim.
fn aim(what: &str, is: Duration, aim: Duration) {
    let verdict = if is < aim { "met" } else { "MISSED" };
    println!("aim: {what} below {aim:?}: {verdict} with {is:.1?}");
}

/// A bot with a log on disk, its doors open, and the town it serves.
struct Home {
    town: Town,
    log: SharedLog,
    file_log: Arc<FileLog>,
    clock: Arc<dyn Clock>,
    open: Open,
}

impl Home {
    /// After a deploy everywhere, so that a rollback has somewhere to go.
    async fn begin(folder: &Path, stacks: usize, people: usize, strangers: usize) -> Result<Self> {
        std::fs::create_dir_all(folder)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let town = Town::found(folder, stacks, people, Arc::clone(&clock));
        let options = OpenOptions::new(Arc::clone(&clock), env!("CARGO_PKG_VERSION"), "bench").with_room_for(stacks);
        let file_log = Arc::new(FileLog::open(town.store(), options)?.0);
        let log: SharedLog = Arc::clone(&file_log) as _;
        let open = town.open(&log, strangers).await;
        town.after_a_deploy(&log).await;
        Ok(Self { town, log, file_log, clock, open })
    }

    /// Asks for a rollback of a stack; true when it was accepted.
    async fn ask(&self, who: usize, n: usize) -> Result<bool> {
        let session = format!("asks-{n}");
        let mut voice = Voice::attach(&self.town.socket(), &session, &person(who)).await.ok_or("there is no seat")?;
        let words = format!("/rollback image api@{} because 1.1 answers with errors", stack(n));
        let answer = voice.ask(1, &words).await.ok_or("it was not answered")?;
        Ok(crowd::class_of(&answer).is_some_and(|(_, class)| class == crowd::Class::Done))
    }

    async fn all_ended(&self) {
        until(&self.clock, "every run ends", || {
            self.log.open_runs().is_ok_and(|open| open.iter().all(|run| run.open_approval().is_some()))
        })
        .await;
    }

    async fn end(self) -> Result<()> {
        self.open.close().await;
        let head = self.log.head();
        self.file_log.close();
        let whole = sternway::store::verify::verify(&self.town.store())?;
        if whole.head == head {
            Ok(())
        } else {
            Err(format!("the log ends with {:?}, not {head:?}", whole.head).into())
        }
    }
}

/// The records of one rollback, as the bot writes them.
async fn one_rollback(folder: &Path) -> Result<Vec<Record>> {
    let home = Home::begin(folder, 1, 1, 0).await?;
    if !home.ask(0, 0).await? {
        return Err("the rollback was not accepted".into());
    }
    home.all_ended().await;
    let newest = home.log.runs(1)?.pop().ok_or("there is no run")?;
    let thread = home.log.thread(&Subject::Run(newest.id))?;
    home.end().await?;
    Ok(thread)
}

//! `make soak`: the whole bot in one process, on the simulated engine and a log on disk, used by a town without a pause:
//! deploys behind its back, rollbacks, votes, refusals, consoles that come and go. Memory, file handles, threads and tasks
//! are read all the time, and may not grow once it is warm.
//!
//! `SOAK_SECONDS` says for how long: half an hour by default, two minutes in CI.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // a test that is a program

#[path = "../support/crowd.rs"]
mod crowd;

#[path = "../support/replay.rs"]
mod replay;

#[path = "../support/town.rs"]
mod town;

mod people;
mod trend;
mod vitals;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use sternway::clock::{Clock, SystemClock};
use sternway::domain::event::{Outcome, Subject};
use sternway::domain::run::Status;
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::verify::verify;
use sternway::store::{AppendError, SharedLog};

use people::Life;
use town::Town;
use vitals::Vitals;

const SECONDS: u64 = 1_800;
const STACKS: usize = 8;
/// Enough that nobody meets the limit of five rollbacks in ten minutes more often than now and then.
const PEOPLE: usize = 400;
const STRANGERS: usize = 8;
/// On record before it begins, so that the index's cache is as full as it gets.
const EVENTS_BEFORE: u64 = 10_000;
/// Samples in all; of the first quarter nothing is asked.
const SAMPLES: u32 = 120;

fn main() {
    // Its verdict has cases of its own; they cost nothing, and a verdict that cannot fail would be worth nothing.
    trend::cases();
    let seconds = match std::env::var_os("SOAK_SECONDS") {
        Some(text) => text.to_str().and_then(|t| t.parse().ok()).expect("SOAK_SECONDS is a number of seconds"),
        None => SECONDS,
    };
    // On the disk of the clone: a folder for temporary files may be in memory, where a sync costs nothing.
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("soak-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let verdict = runtime.block_on(soak(&folder, Duration::from_secs(seconds)));
    drop(runtime);
    std::fs::remove_dir_all(&folder).unwrap();
    if let Err(why) = verdict {
        println!("\nsoak: FAILED: {why}");
        std::process::exit(1);
    }
    println!("\nsoak: nothing grew in {seconds} s");
}

async fn soak(folder: &Path, long: Duration) -> Result<(), String> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let at_first = Vitals::now(0);
    let town = Arc::new(Town::found(folder, STACKS, PEOPLE, Arc::clone(&clock)));
    let options = OpenOptions::new(Arc::clone(&clock), env!("CARGO_PKG_VERSION"), "soak").with_room_for(STACKS);
    let file_log = Arc::new(FileLog::open(town.store(), options).map_err(|e| e.to_string())?.0);
    let log: SharedLog = Arc::clone(&file_log) as _;
    let open = town.open(&log, STRANGERS).await;
    town.after_a_deploy(&log).await;
    let life = Arc::new(Life::new(Arc::clone(&town), Arc::clone(&log)));
    life.first_rollback().await;
    let newest = log.runs(1).unwrap().pop().ok_or("nobody rolled anything back")?;
    let thread = log.thread(&Subject::Run(newest.id)).unwrap();
    let before = loop {
        match replay::fill(log.as_ref(), &thread, EVENTS_BEFORE).await {
            Ok(records) => break records,
            // A disk that others keep busy; nothing was written of it.
            Err(AppendError::CannotWrite(_)) => {
                town::until(&clock, "the disk answers again", || log.trouble().is_none()).await;
            }
            Err(error) => return Err(error.to_string()),
        }
    };

    let core = Arc::clone(open.bot.core());
    let living = life.begin();
    println!("{}", Vitals::HEADER);
    let began = Instant::now();
    let mut samples = Vec::new();
    let mut last_ended = 0;
    for n in 1..=SAMPLES {
        let due = long * n / SAMPLES;
        clock.sleep(due.saturating_sub(began.elapsed())).await;
        let sample = Vitals::now(core.tasks.len());
        let ended = life.ended.load(Ordering::Relaxed);
        if n % 6 == 0 {
            println!(
                "{}",
                sample.row(began.elapsed(), log.head().position.0, ended, life.said.load(Ordering::Relaxed))
            );
        }
        if n.is_multiple_of(SAMPLES / 3) {
            if ended == last_ended {
                return Err(format!("no run has ended in the last {:?}", long / 3));
            }
            last_ended = ended;
        }
        samples.push(sample);
    }
    life.stop();
    for one in living {
        one.await.map_err(|e| e.to_string())?;
    }
    let grew = vitals::verdict(&samples);
    let (said, events) = (life.said.load(Ordering::Relaxed), log.head().position.0 - before);
    println!("{said} things were said and {events} records written, {} runs ended", life.ended.load(Ordering::Relaxed));

    open.close().await;
    let ended_otherwise = log.runs(usize::MAX).unwrap().into_iter().find(|run| match &run.status {
        Status::Ended { outcome, .. } => {
            !matches!(outcome, Outcome::Done | Outcome::DryRun | Outcome::Refused { .. } | Outcome::Cancelled { .. })
                && !matches!(outcome, Outcome::Void { .. })
        }
        Status::Requested | Status::Planned => false,
        Status::Claimed | Status::Running | Status::Undoing { .. } | Status::Stuck { .. } => true,
    });
    if let Some(run) = ended_otherwise {
        return Err(format!("{} ended in a way that nothing here leads to: {:?}", run.id, run.status));
    }
    let head = log.head();
    file_log.close();
    drop((log, life, core, file_log, town));
    let whole = verify(&folder.join("store")).map_err(|damage| damage.to_string())?;
    if whole.head != head {
        return Err(format!("the log ends with {:?}, not {head:?}", whole.head));
    }
    let at_last = Vitals::now(0);
    println!(
        "before and after: {} and {} file handles, {} and {} threads",
        at_first.handles, at_last.handles, at_first.threads, at_last.threads
    );
    if at_last.handles > at_first.handles + 2 {
        return Err(format!("{} file handles are left open after the stop", at_last.handles - at_first.handles));
    }
    grew
}

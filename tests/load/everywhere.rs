//! A run on every stack of a town at once. Time passes only while everybody waits, so a run that had to wait for another
//! one's would show, and the machine's speed does not.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use sternway::clock::Clock;
use sternway::domain::event::Outcome;
use sternway::domain::run::{RunState, Status};
use sternway::store::SharedLog;
use sternway::store::memory::MemoryLog;
use sternway::store::verify::verify;

use crate::crowd::{Class, Voice, class_of};
use crate::town::{Town, person, stack, until};

const STACKS: usize = 100;

/// A clock on a runtime whose time stands still while anybody works.
struct Still {
    begin: Timestamp,
    since: tokio::time::Instant,
}

#[async_trait::async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        self.begin.checked_add(self.since.elapsed()).unwrap()
    }

    #[allow(clippy::disallowed_methods)] // a clock
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// In memory where there is such a place: the agent syncs every file.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// How long runs took that were asked for at the same moment, one on each of so many stacks.
async fn rolled_back(at_once: usize) -> Vec<SignedDuration> {
    let begin: Timestamp = "2026-11-22T01:00:00Z".parse().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(Still { begin, since: tokio::time::Instant::now() });
    let folder = folder();
    let town = Town::found(folder.path(), at_once, at_once, Arc::clone(&clock));
    let memory = Arc::new(MemoryLog::new(begin));
    let log: SharedLog = Arc::clone(&memory) as _;
    let open = town.open(&log, 0).await;
    town.after_a_deploy(&log).await;

    let asked = (0..at_once).map(|n| {
        let socket = town.socket();
        async move {
            let mut voice = Voice::attach(&socket, &format!("s-{n}"), &person(n)).await.expect("there is a seat");
            let words = format!("/rollback image api@{} because 1.1 answers with errors", stack(n));
            class_of(&voice.ask(1, &words).await.expect("it is answered")).unwrap().1
        }
    });
    let answers = futures_util::future::join_all(asked).await;
    assert!(answers.iter().all(|class| *class == Class::Done), "{answers:?}");
    until(&clock, "every run ends", || log.open_runs().unwrap().is_empty()).await;

    let runs: Vec<RunState> = log.runs(at_once + 1).unwrap();
    assert_eq!(runs.len(), at_once);
    let took = runs.iter().map(|run| match &run.status {
        Status::Ended { outcome: Outcome::Done, at } => at.duration_since(run.asked),
        other => panic!("{}: {other:?}", run.id),
    });
    let took = took.collect();
    for n in 0..at_once {
        assert_eq!(town.runs(&log, n), "town/api:1.0", "{}", stack(n));
    }
    let head = log.head();
    open.close().await;
    let lines = town.folder.join("lines");
    std::fs::write(&lines, memory.lines()).unwrap();
    assert!(verify(&lines).unwrap().head.position >= head.position, "the chain is whole");
    took
}

#[tokio::test(start_paused = true)]
async fn a_run_on_each_of_a_hundred_stacks_at_once_takes_no_longer_than_one_alone() {
    let alone = rolled_back(1).await[0];
    let together = rolled_back(STACKS).await;
    let longest = together.iter().max().unwrap();
    println!("alone {alone:?}, the longest of {STACKS} at once {longest:?}");
    // A look at the engine's port every 200 ms may fall before or after its answer.
    assert!(*longest <= alone + SignedDuration::from_millis(200), "alone {alone:?}, at once {longest:?}");
}

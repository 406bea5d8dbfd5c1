//! A disk that fills up at any step of a store's life and is freed again.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sternway::domain::event::Event;
use sternway::domain::ids::{Position, RunId};
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::verify::verify;
use sternway::store::{About, Draft, Log};

use super::full::{Small, until_well};
use super::samples::*;
use super::world::options;

/// Asks until the index is back, bounded.
async fn until_answered(log: &FileLog) {
    let mut often = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..500 {
        often.tick().await;
        if log.runs(1).is_ok() {
            return;
        }
    }
    panic!("the index does not come back: {:?}", log.runs(1).map(|runs| runs.len()));
}

/// What a store does in its life, in order; each may meet a full disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Open,
    Append,
    Claim,
    TellTheRun,
    ChangeOfSegment,
    Cursor,
    LoseTheIndex,
    Close,
}

const LIFE: [Step; 12] = [
    Step::Open,
    Step::Append,
    Step::Cursor,
    Step::Claim,
    Step::ChangeOfSegment,
    Step::TellTheRun,
    Step::Close,
    Step::LoseTheIndex,
    Step::Open,
    Step::Append,
    Step::ChangeOfSegment,
    Step::Close,
];

/// One life on a real, small file system.
struct Life {
    store: PathBuf,
    log: Option<FileLog>,
    run: Option<RunId>,
    acked: Vec<(Position, String)>,
    cursor: Position,
    number: usize,
}

impl Life {
    fn log(&self) -> &FileLog {
        self.log.as_ref().expect("it is open")
    }

    fn options() -> OpenOptions {
        OpenOptions { segment_bytes: 30_000, ..options() }
    }

    /// Does it, or says why it could not be done.
    async fn step(&mut self, step: Step) -> Result<(), String> {
        self.number += 1;
        match step {
            Step::Open => {
                let (log, _) = FileLog::open(&self.store, Self::options()).map_err(|e| e.to_string())?;
                self.log = Some(log);
            }
            Step::Append => {
                for n in 0..4 {
                    self.append(new_run(&format!("{}-{n}", self.number), "blog")).await?;
                }
            }
            Step::Claim => {
                self.log().reserve(20).map_err(|e| e.to_string())?;
                let run = match self.run {
                    Some(run) => run,
                    None => RunId(self.append(new_run("the run", "shop")).await?),
                };
                self.run = Some(run);
                let state = self.log().run(run).map_err(|e| e.to_string())?;
                let done = state.map_or(0, |run| usize::from(run.plan.is_some()) + usize::from(run.holds_claim()));
                for event in up_to_claim("shop").into_iter().skip(done) {
                    self.append(in_run(run, event)).await?;
                }
            }
            // Told to its end whatever the disk says, from the room that was kept.
            Step::TellTheRun => {
                for event in to_the_end("shop") {
                    let record = in_run(self.run.expect("claimed"), event);
                    self.append(record).await.unwrap_or_else(|why| panic!("a run that holds its stack: {why}"));
                }
            }
            Step::ChangeOfSegment => {
                let segments = || std::fs::read_dir(self.store.join("log")).map_or(0, Iterator::count);
                let before = segments();
                for n in 0..100 {
                    let text = "x".repeat(2_000);
                    let event =
                        Event::Refused { account: account("U1"), tried: text, kind: "denied".into(), why: "no".into() };
                    self.append(draft(About::Log, n, event)).await?;
                    let now = std::fs::read_dir(self.store.join("log")).map_or(0, Iterator::count);
                    if now > before {
                        break;
                    }
                }
            }
            Step::Cursor => {
                let position = self.log().head().position;
                self.log().set_outbox_cursor("slack", position).map_err(|e| e.to_string())?;
                self.cursor = position;
            }
            Step::LoseTheIndex => std::fs::remove_dir_all(self.store.join("index")).map_err(|e| e.to_string())?,
            Step::Close => {
                if let Some(log) = self.log.take() {
                    log.close();
                }
            }
        }
        Ok(())
    }

    async fn append(&mut self, draft: Draft) -> Result<Position, String> {
        let records = self.log().append(None, vec![draft]).await.map_err(|e| e.to_string())?;
        self.acked.push((records[0].position, records[0].hash.to_string()));
        Ok(records[0].position)
    }

    /// Everything that was acknowledged is there.
    fn holds(&self, log: &FileLog) -> Result<(), String> {
        let read = log.read(Position(0), usize::MAX).map_err(|e| e.to_string())?;
        for (position, hash) in &self.acked {
            let found = read.get(usize::try_from(position.0).expect("small")).map(|r| r.hash.to_string());
            if found.as_ref() != Some(hash) {
                return Err(format!("record {position} was acknowledged, there is {found:?}"));
            }
        }
        match log.outbox_cursor("slack") {
            Ok(cursor) if cursor >= self.cursor => Ok(()),
            other => Err(format!("the cursor was {}, now {other:?}", self.cursor)),
        }
    }
}

/// Takes all room but so many bytes.
fn fill(hog: &Path, leave: u64) {
    let mut file = std::fs::File::create(hog).expect("made");
    let filled = io::copy(&mut io::repeat(1), &mut file);
    assert_eq!(filled.expect_err("it is full").kind(), io::ErrorKind::StorageFull);
    let taken = file.metadata().expect("there").len();
    file.set_len(taken.saturating_sub(leave)).expect("given back");
}

/// The disk fills up before each step of a life, to the last byte and almost, and is freed after it.
#[tokio::test]
async fn a_disk_that_fills_at_any_step_and_is_freed_again_loses_nothing_and_needs_no_hand() {
    if Small::mount().is_none() {
        assert!(std::env::var_os("CI").is_none(), "CI must run this: no file system can be mounted");
        eprintln!("SKIPPED: no file system can be mounted here (not root?)");
        return;
    }
    let rooms: &[u64] = if super::torture::is_long() {
        &[0, 4096, 8192, 12_288, 20_480, 40_960, 61_440, 102_400, 262_144, 524_288, 1_048_576]
    } else {
        &[0, 20_480, 262_144]
    };
    let (mut tried, mut refused) = (0, 0);
    for full_at in 0..LIFE.len() {
        for leave in rooms {
            let small = Small::mount().expect("mounted before");
            let (store, hog) = (small.dir.path().join("store"), small.dir.path().join("hog"));
            let cursor = Position(0);
            let mut life = Life { store, log: None, run: None, acked: Vec::new(), cursor, number: 0 };
            for (k, step) in LIFE.into_iter().enumerate() {
                let told = format!("{step:?} (step {k}), full at {full_at} but for {leave} bytes");
                if k == full_at {
                    fill(&hog, *leave);
                    tried += 1;
                    refused += usize::from(life.step(step).await.is_err());
                    std::fs::remove_file(&hog).expect("freed");
                    if let Some(log) = &life.log {
                        until_well(log).await;
                        until_answered(log).await;
                        life.holds(log).unwrap_or_else(|why| panic!("{told}: {why}"));
                    }
                    if matches!(step, Step::Open) && life.log.is_some() {
                        continue;
                    }
                    // What was done of it already is done; the rest is done now.
                    if matches!(step, Step::TellTheRun | Step::LoseTheIndex | Step::Close) {
                        continue;
                    }
                }
                life.step(step).await.unwrap_or_else(|why| panic!("{told}: {why}"));
            }
            let (log, report) = FileLog::open(&life.store, Life::options()).expect("it opens");
            life.holds(&log).unwrap_or_else(|why| panic!("full at {full_at} but for {leave}: {why}; {report:?}"));
            assert_eq!(log.trouble(), None);
            assert!(log.run(life.run.expect("claimed")).expect("answered").is_some_and(|run| run.ended()));
            log.close();
            verify(&life.store).expect("the chain holds");
        }
    }
    eprintln!("full disk: {tried} fillings, {refused} steps refused meanwhile, 0 acknowledged records lost");
    assert!(refused > 5, "the disk was hardly ever full");
}

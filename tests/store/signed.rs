//! When the record is signed, and what happens when it cannot be.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use sternway::domain::event::Event;
use sternway::domain::ids::{Position, RunId};
use sternway::store::files::disk::{Disk, HostDisk, SegmentFile};
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::verify::verify;
use sternway::store::{About, Log};

use super::samples::*;
use super::world::{Folder, options};

/// Longest that anything may take here.
const PATIENCE: Duration = Duration::from_secs(60);

fn soon() -> OpenOptions {
    OpenOptions { checkpoint_age: Duration::from_millis(5), ..options() }
}

/// What stands on record: `.` for a record, `s` for a checkpoint.
fn pattern(log: &FileLog) -> String {
    let all = log.read(Position(0), 100_000).expect("read");
    all.iter().map(|r| if matches!(r.event, Event::Checkpoint { .. }) { 's' } else { '.' }).collect()
}

/// Runs that checkpoints name, in order.
fn named(log: &FileLog) -> Vec<RunId> {
    let all = log.read(Position(0), 100_000).expect("read");
    let of = |event: Event| match event {
        Event::Checkpoint { ended, .. } => ended,
        _ => Vec::new(),
    };
    all.into_iter().flat_map(|r| of(r.event)).collect()
}

async fn write(log: &FileLog, n: i64) {
    log.append(None, vec![draft(About::Log, n, Event::Stopped)]).await.expect("written");
}

/// A whole run.
async fn run(log: &FileLog, event: &str) -> RunId {
    let begun = log.append(None, vec![new_run(event, "shop")]).await.expect("written");
    let run = RunId(begun[0].position);
    for event in up_to_claim("shop").into_iter().chain(to_the_end("shop")) {
        log.append(None, vec![in_run(run, event)]).await.expect("written");
    }
    run
}

/// Waits until the log ends with a checkpoint.
async fn until_signed(log: &FileLog) {
    let mut moved = log.watch();
    let signed = async {
        while !pattern(log).ends_with('s') {
            moved.changed().await.expect("the log is open");
        }
    };
    tokio::time::timeout(PATIENCE, signed).await.unwrap_or_else(|_| panic!("never signed: {}", pattern(log)));
}

#[tokio::test]
async fn what_nobody_follows_is_signed_after_a_while_and_then_nothing_more_is() {
    let folder = Folder::new();
    let (log, _) = folder.open_with(soon()).expect("it opens");
    until_signed(&log).await;
    for n in 0..5 {
        write(&log, n).await;
        until_signed(&log).await;
    }
    let pattern = pattern(&log);
    assert!(!pattern.contains("ss"), "a checkpoint about nothing but a checkpoint: {pattern}");
    log.close();
    verify(&folder.path()).expect("it is whole");
}

#[tokio::test]
async fn a_busy_log_is_signed_every_thousand_records() {
    let folder = Folder::new();
    let log = folder.open();
    for n in 0..35 {
        let batch = (0..100).map(|_| draft(About::Log, n, Event::Stopped)).collect();
        log.append(None, batch).await.expect("written");
    }
    let pattern = pattern(&log);
    let longest = pattern.split('s').map(str::len).max();
    assert_eq!((pattern.matches('s').count(), longest), (3, Some(1_001)), "{pattern}");
    log.close();
    verify(&folder.path()).expect("it is whole");
}

#[tokio::test]
async fn a_log_closed_for_good_is_signed_to_its_end_and_one_that_is_signed_gets_nothing_more() {
    let folder = Folder::new();
    let log = folder.open();
    write(&log, 1).await;
    log.close();
    let log = folder.open();
    assert_eq!(pattern(&log), "..", "closing alone signs nothing");
    log.close_sealed();
    for _ in 0..2 {
        let log = folder.open();
        assert_eq!(pattern(&log), "..s");
        log.close_sealed();
    }
}

#[tokio::test]
async fn without_its_key_the_log_works_unsigned_and_says_so_and_the_right_key_covers_what_was_missed() {
    let folder = Folder::new();
    let first = run(&folder.open(), "e0").await;
    let key = folder.path().join("key");
    let good = fs::read(&key).expect("there");
    let mut unsigned = Vec::new();
    type Harm = fn(&Path);
    let harms: [(&str, Harm); 3] = [
        ("it is gone", |key| fs::remove_file(key).expect("removed")),
        ("it is damaged", |key| fs::write(key, "no key").expect("written")),
        ("it is another", |key| fs::write(key, "42".repeat(32)).expect("written")),
    ];
    for (what, harm) in harms {
        harm(&key);
        let left = fs::read(&key).ok();
        let (log, report) = folder.open_with(soon()).expect("it opens");
        assert!(report.warnings.iter().any(|w| w.contains("no checkpoints are signed")), "{what}: {report:?}");
        unsigned.push(run(&log, what).await);
        assert_eq!(named(&log), [first], "{what}: somebody signed");
        log.close_sealed();
        verify(&folder.path()).expect("it is whole all the same");
        assert_eq!(fs::read(&key).ok(), left, "{what}: a key was made where a log is");
    }
    fs::write(&key, good).expect("written");
    let (log, report) = folder.open_with(soon()).expect("it opens");
    assert_eq!(report.warnings, Vec::<String>::new());
    until_signed(&log).await;
    assert_eq!(named(&log), [vec![first], unsigned].concat(), "each run is named once");
    log.close();
    verify(&folder.path()).expect("it is whole");
}

/// Counts syncs of segments.
struct Counting(Arc<AtomicUsize>);

struct CountingFile(Box<dyn SegmentFile>, Arc<AtomicUsize>);

impl Disk for Counting {
    fn append_to(&self, file: &Path, length: u64) -> std::io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(CountingFile(HostDisk.append_to(file, length)?, self.0.clone())))
    }

    fn occupy(&self, file: &Path, bytes: u64) -> std::io::Result<()> {
        HostDisk.occupy(file, bytes)
    }

    fn free(&self, folder: &Path) -> std::io::Result<u64> {
        HostDisk.free(folder)
    }
}

impl SegmentFile for CountingFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write(bytes)
    }

    fn sync(&mut self) -> std::io::Result<()> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.sync()
    }
}

#[tokio::test]
async fn the_checkpoint_behind_a_run_costs_no_sync_of_its_own() {
    let folder = Folder::new();
    let syncs = Arc::new(AtomicUsize::new(0));
    let options = OpenOptions { disk: Arc::new(Counting(syncs.clone())), ..options() };
    let (log, _) = folder.open_with(options).expect("it opens");
    let before = syncs.load(Ordering::SeqCst);
    let run = run(&log, "e1").await;
    assert_eq!(named(&log), [run]);
    let appends = 1 + up_to_claim("shop").len() + to_the_end("shop").len();
    assert_eq!(syncs.load(Ordering::SeqCst) - before, appends);
}

#[tokio::test]
async fn the_tree_is_that_of_the_log_after_every_restart() {
    let folder = Folder::new();
    for n in 0..4 {
        let log = folder.open();
        run(&log, &format!("e{n}")).await;
        write(&log, n).await;
        log.close();
        if n == 1 {
            fs::remove_dir_all(folder.path().join("index")).expect("removed");
        }
        // Every root on the way is taken from the index and proven from the files.
        let verified = verify(&folder.path()).expect("it is whole");
        assert!(verified.signed.is_some(), "{verified:?}");
    }
}

//! The stored index is the fold of the log, at every prefix of a random history.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::table::{MemoryTable, Order, Table};
use super::super::verify::segments_of;
use super::super::{About, Draft, Log};
use super::histories::{Dice, next, one};
use super::index::{Truth, replay};
use super::{FileLog, IndexOutcome, OpenOptions};
use crate::clock::ManualClock;
use crate::domain::event::{Event, Subject};
use crate::domain::ids::{Position, RunId};
use crate::domain::run::name_of;

fn next_of(dice: &mut Dice, n: usize, log: &FileLog) -> Draft {
    let state = log.shared.state();
    next(dice, n, state.head.position, state.table().expect("ready"))
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new(Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH)), "test", "test");
    options.ballast_bytes = 0;
    options.segment_bytes = 20_000;
    options
}

fn stored(log: &FileLog) -> Vec<(Vec<u8>, Vec<u8>)> {
    let state = log.shared.state();
    let mut all = state.table().expect("ready").scan(&[], Order::Up, usize::MAX).expect("scanned");
    // The seal is sled's own.
    all.retain(|(key, _)| key != b"!");
    all
}

fn folded(log: &FileLog) -> Vec<(Vec<u8>, Vec<u8>)> {
    let segments = segments_of(&log.shared.layout.root).expect("listed");
    let mut table = MemoryTable::default();
    let truth = Truth { log: log.shared.log, key: log.shared.key, segments: &segments, head: log.head() };
    replay(truth, None, &mut table).expect("replayed");
    table.scan(&[], Order::Up, usize::MAX).expect("scanned")
}

#[tokio::test]
async fn the_stored_index_is_the_fold_of_the_log_at_every_prefix() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, _) = FileLog::open(folder.path(), options()).expect("it opens");
    let mut dice = Dice(1);
    let mut kinds = std::collections::BTreeMap::<String, usize>::new();
    for n in 0..1000 {
        let draft = next_of(&mut dice, n, &log);
        let kind = name_of(&draft.event);
        if log.append(None, vec![draft]).await.is_ok() {
            *kinds.entry(kind).or_default() += 1;
            let head = log.head().position.0;
            // Every prefix at first, where most differs; later every seventh.
            if head < 30 || head % 25 == 0 {
                assert_eq!(stored(&log), folded(&log), "after record {head}");
            }
        }
    }
    for wanted in ["run_claimed", "step_done", "undo_begun", "ended", "release_seen", "resumed"] {
        assert!(kinds.contains_key(wanted), "no {wanted} was written; the history proves little: {kinds:?}");
    }
    let all = log.read(Position(0), usize::MAX).expect("read");
    assert!(segments_of(folder.path()).expect("listed").len() > 3, "threads shall cross segments");
    for run in log.runs(usize::MAX).expect("answered") {
        let subject = Subject::Run(run.id);
        let wanted: Vec<_> = all.iter().filter(|r| r.subject.as_ref() == Some(&subject)).cloned().collect();
        assert_eq!(log.thread(&subject).expect("read"), wanted, "{}", run.id);
    }
    let before = stored(&log);
    log.close();
    drop(log);
    let (log, report) = FileLog::open(folder.path(), options()).expect("it opens");
    assert_eq!((report.index, stored(&log) == before), (IndexOutcome::Ready, true));
}

#[tokio::test]
async fn an_index_that_is_behind_is_caught_up_to_the_same() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = || FileLog::open(folder.path(), options()).expect("it opens");
    let index = folder.path().join("index");
    let old = folder.path().join("old");
    let mut dice = Dice(2);
    for (from, to) in [(0, 200), (200, 900)] {
        let (log, _) = open();
        for n in from..to {
            let _ = log.append(None, vec![next_of(&mut dice, n, &log)]).await;
        }
        log.close();
        if from == 0 {
            std::fs::create_dir(&old).expect("made");
            for entry in std::fs::read_dir(&index).expect("listed") {
                let entry = entry.expect("an entry");
                if entry.path().is_file() {
                    std::fs::copy(entry.path(), old.join(entry.file_name())).expect("copied");
                }
            }
        }
    }
    std::fs::remove_dir_all(&index).expect("removed");
    std::fs::rename(&old, &index).expect("moved");
    let (log, report) = open();
    assert!(matches!(report.index, IndexOutcome::CaughtUp { records } if records > 20), "{:?}", report.index);
    assert_eq!(stored(&log), folded(&log));
}

/// Answers and acknowledgements when the index fails after the records are durable.
#[tokio::test]
async fn an_index_that_fails_loses_no_record_and_gives_no_old_answer() {
    struct Failing(MemoryTable);
    impl super::super::table::View for Failing {
        fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, super::ReadError> {
            self.0.get(key)
        }
    }
    impl Table for Failing {
        fn scan(
            &self,
            prefix: &[u8],
            order: Order,
            limit: usize,
        ) -> Result<Vec<super::super::table::Pair>, super::ReadError> {
            self.0.scan(prefix, order, limit)
        }
        fn apply(&mut self, _: &super::super::table::Changes, _: super::Head) -> Result<(), super::ReadError> {
            Err(super::ReadError("no".to_owned()))
        }
    }
    let folder = tempfile::tempdir().expect("a folder");
    let (log, _) = FileLog::open(folder.path(), options()).expect("it opens");
    let mut dice = Dice(3);
    for n in 0..100 {
        let _ = log.append(None, vec![next_of(&mut dice, n, &log)]).await;
    }
    let mut failing = MemoryTable::default();
    let segments = segments_of(&log.shared.layout.root).expect("listed");
    let truth = Truth { log: log.shared.log, key: log.shared.key, segments: &segments, head: log.head() };
    replay(truth, None, &mut failing).expect("replayed");
    // Dropping sled's table closes it; the failing one stands in its place.
    log.shared.state_mut().index = super::Index::Ready(Box::new(Failing(failing)));

    let invoked = |event: &str| {
        let Event::Invoked { mut invocation, actor, command, target, dry_run } = one("invoked") else {
            panic!("it is one")
        };
        invocation.event = event.to_owned();
        let event = Event::Invoked { invocation, actor, command, target, dry_run };
        vec![Draft { about: About::NewRun, at: Timestamp::UNIX_EPOCH, event }]
    };
    let records = log.append(None, invoked("one")).await.expect("it is durable, so it is acknowledged");
    let run = RunId(records[0].position);
    assert!(log.head().position >= run.0);
    // Until the index is back it answers with an error, never with an older state.
    let mut often = tokio::time::interval(std::time::Duration::from_millis(5));
    for _ in 0..2000 {
        often.tick().await;
        match log.run(run) {
            Ok(found) => {
                assert!(found.is_some(), "an old answer");
                break;
            }
            Err(error) => assert!(error.0.contains("ask again"), "{error}"),
        }
    }
    log.append(None, invoked("two")).await.expect("it goes on");
    assert_eq!(stored(&log), folded(&log));
    assert_eq!(log.trouble(), None);
}

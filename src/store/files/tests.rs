//! The stored index is the fold of the log, at every prefix of a random history.

use std::sync::Arc;

use jiff::Timestamp;

use super::super::record::decode;
use super::super::table::{MemoryTable, Order, Table};
use super::super::verify::segments_of;
use super::super::{About, Draft, Log};
use super::index::{Truth, replay};
use super::{FileLog, IndexOutcome, OpenOptions};
use crate::clock::ManualClock;
use crate::domain::event::{Event, Outcome, Subject};
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::plan::{StepOutput, WayOut};
use crate::domain::run::{StepState, name_of};
use crate::store::line::Line;

const GOLDEN: &str = include_str!("../../../tests/golden/records.jsonl");

/// Numbers that look random and are the same each time (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).expect("less than sides")
    }
}

fn golden(kind: &str) -> Vec<Event> {
    let events = GOLDEN.lines().map(|line| {
        let cut = Line::cut(line.as_bytes()).expect("a line");
        decode(cut.event).expect("a record").body
    });
    events.filter(|event| name_of(event) == kind).collect()
}

fn one(kind: &str) -> Event {
    golden(kind).pop().expect("there is a golden line")
}

/// Something that may come next; much of it cannot, and is refused.
fn next(dice: &mut Dice, n: usize, log: &FileLog) -> Draft {
    let head = log.head().position;
    let Event::Planned { plan, hash, notes } = one("planned") else { panic!("it is a plan") };
    // Few steps: a history of this length shall reach ends.
    let mut plan = plan;
    plan.steps.truncate(2);
    let hash = plan.hash().unwrap_or(hash);
    let target = plan.target.clone();
    let open = log.open_runs().expect("answered");
    let holder = open.iter().find(|run| run.holds_claim());
    let run = match (dice.roll(10), holder, open.is_empty()) {
        (0, ..) | (_, None, true) => RunId(Position(1 + dice.roll(usize::try_from(head.0).expect("small") + 1) as u64)),
        (1..=7, Some(holder), _) => holder.id,
        _ => open[open.len() - 1 - dice.roll(open.len().min(2))].id,
    };
    let done = holder.map_or(0, |h| h.steps.iter().filter(|s| matches!(s, StepState::Done { .. })).count());
    let step = if dice.roll(4) == 0 { dice.roll(2) } else { done };
    let releases = ["release_seen", "release_proven", "release_left", "release_back"];
    let event = match dice.roll(26) {
        0 if open.len() < 4 => {
            let Event::Invoked { mut invocation, actor, command, target, dry_run } = one("invoked") else {
                panic!("it is one")
            };
            invocation.event = format!("e{n}");
            let event = Event::Invoked { invocation, actor, command, target, dry_run };
            return Draft { about: About::NewRun, at: Timestamp::UNIX_EPOCH, event };
        }
        1 => {
            let event = one(releases[dice.roll(4)]);
            let key = "shop@local/api".to_owned();
            return Draft { about: About::Subject(Subject::Releases(key)), at: Timestamp::UNIX_EPOCH, event };
        }
        2 => return Draft { about: About::Log, at: Timestamp::UNIX_EPOCH, event: one("refused") },
        3 => Event::Planned { plan, hash, notes },
        4 => one("approval_asked"),
        5 => Event::Granted { approval: ApprovalId(head) },
        6 | 7 => Event::RunClaimed { target, plan_hash: hash, approval: None },
        8 | 9 => Event::Passed { plan_hash: hash },
        12 | 13 => Event::StepDone { step, output: StepOutput::Nothing },
        14 => Event::StepFailed { step, why: "x".to_owned() },
        15 if dice.roll(2) == 0 => Event::UndoBegun { why: "x".to_owned() },
        16 | 23 => [Event::UndoIntent { step }, Event::UndoDone { step }][dice.roll(2)].clone(),
        17 if dice.roll(3) == 0 => [one("stuck"), Event::Resumed][dice.roll(2)].clone(),
        10 | 11 | 15 | 17 | 20 | 21 => Event::StepIntent { step },
        18 | 22 => Event::Resolved { way: [WayOut::Retry, WayOut::Undo, WayOut::Accept][dice.roll(3)], by: run },
        _ => Event::Ended {
            outcome: [
                Outcome::Done,
                Outcome::Undone { why: "x".to_owned() },
                Outcome::Accepted { observed: "x".to_owned() },
            ][dice.roll(3)]
            .clone(),
        },
    };
    Draft { about: About::Subject(Subject::Run(run)), at: Timestamp::UNIX_EPOCH, event }
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
    let truth = Truth { log: log.shared.log, segments: &segments, head: log.head() };
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
        let draft = next(&mut dice, n, &log);
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
            let _ = log.append(None, vec![next(&mut dice, n, &log)]).await;
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
        let _ = log.append(None, vec![next(&mut dice, n, &log)]).await;
    }
    let mut failing = MemoryTable::default();
    let segments = segments_of(&log.shared.layout.root).expect("listed");
    let truth = Truth { log: log.shared.log, segments: &segments, head: log.head() };
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

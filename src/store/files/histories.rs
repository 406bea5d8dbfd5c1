//! Random histories, and the laws of folding them: the stored index is the fold of the log at every prefix; folding is
//! deterministic and may stop and go on anywhere; a platform event that comes twice changes nothing.
//!
//! 256 histories by default, `PROPTEST_CASES=10000` in the long form. A failure is shrunk and kept in
//! `proptest-regressions/`, where every later run tries it first.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

use jiff::Timestamp;
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::super::admit::{Front, genesis};
use super::super::line::{Line, LogId};
use super::super::projections::Refusal;
use super::super::record::decode;
use super::super::table::{Location, MemoryTable, Overlay, Table};
use super::super::{About, AppendError, Draft, Head, queries};
use super::index::take_in;
use crate::domain::event::{Event, Outcome, Subject};
use crate::domain::ids::{ApprovalId, Position, RunId};
use crate::domain::plan::{StepOutput, WayOut};
use crate::domain::run::{RunState, Status, StepState, name_of};

const GOLDEN: &str = include_str!("../../../tests/golden/records.jsonl");

/// Numbers that look random and are the same each time (splitmix64).
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides as u64).expect("less than sides")
    }
}

/// The last golden event of a kind.
pub(super) fn one(kind: &str) -> Event {
    static EVENTS: LazyLock<HashMap<String, Event>> = LazyLock::new(|| {
        let events = GOLDEN.lines().map(|line| {
            let cut = Line::cut(line.as_bytes()).expect("a line");
            decode(cut.event).expect("a record").body
        });
        events.map(|event| (name_of(&event), event)).collect()
    });
    EVENTS.get(kind).expect("there is a golden line").clone()
}

/// What a run that stands there writes next, more often than not.
fn likely(run: &RunState, dice: &mut Dice, plan: &Event) -> Option<Event> {
    let Event::Planned { plan: planned, hash, .. } = plan else { return None };
    let touched = |s: &StepState| matches!(s, StepState::Open | StepState::Done { .. } | StepState::Failed { .. });
    Some(match &run.status {
        Status::Requested => plan.clone(),
        Status::Planned => {
            Event::RunClaimed { target: planned.target.clone(), plan_hash: hash.clone(), approval: None }
        }
        Status::Claimed => Event::Passed { plan_hash: hash.clone() },
        Status::Running => match run.steps.iter().position(|s| !matches!(s, StepState::Done { .. })) {
            None => Event::Ended { outcome: Outcome::Done },
            Some(step) if run.steps[step] == StepState::Open && dice.roll(3) > 0 => {
                Event::StepDone { step, output: StepOutput::Nothing }
            }
            Some(step) if run.steps[step] == StepState::Open => Event::StepFailed { step, why: "x".to_owned() },
            Some(step) if run.steps[step] == StepState::Waiting => Event::StepIntent { step },
            Some(_) => Event::UndoBegun { why: "x".to_owned() },
        },
        Status::Undoing { .. } => match run.steps.iter().position(|s| *s == StepState::UndoOpen) {
            Some(step) if dice.roll(3) == 0 => {
                Event::Stuck { step, why: "x".to_owned(), remains: vec!["x".to_owned()] }
            }
            Some(step) => Event::UndoDone { step },
            None => match run.steps.iter().rposition(touched) {
                Some(step) => Event::UndoIntent { step },
                None => Event::Ended { outcome: Outcome::Undone { why: "x".to_owned() } },
            },
        },
        Status::Stuck { .. } => {
            Event::Resolved { way: [WayOut::Retry, WayOut::Undo, WayOut::Accept][dice.roll(3)], by: run.id }
        }
        Status::Ended { .. } => return None,
    })
}

/// Something that may come next; much of it cannot, and is refused.
pub(super) fn next(dice: &mut Dice, n: usize, head: Position, table: &dyn Table) -> Draft {
    let Event::Planned { plan, hash, notes } = one("planned") else { panic!("it is a plan") };
    // Few steps: a history of this length shall reach ends.
    let mut plan = plan;
    plan.steps.truncate(2);
    let hash = plan.hash().unwrap_or(hash);
    let target = plan.target.clone();
    let open = queries::open_runs(table).expect("answered");
    let holder = open.iter().find(|run| run.holds_claim());
    let run = match (dice.roll(10), holder, open.is_empty()) {
        (0, ..) | (_, None, true) => RunId(Position(1 + dice.roll(usize::try_from(head.0).expect("small") + 1) as u64)),
        (1..=7, Some(holder), _) => holder.id,
        _ => open[open.len() - 1 - dice.roll(open.len().min(2))].id,
    };
    let done = holder.map_or(0, |h| h.steps.iter().filter(|s| matches!(s, StepState::Done { .. })).count());
    let step = if dice.roll(4) == 0 { dice.roll(2) } else { done };
    let releases = ["release_seen", "release_proven", "release_left", "release_back"];
    if dice.roll(2) == 0
        && let Some(state) = open.iter().find(|state| state.id == run)
        && let Some(event) =
            likely(state, dice, &Event::Planned { plan: plan.clone(), hash: hash.clone(), notes: notes.clone() })
    {
        return Draft { about: About::Subject(Subject::Run(run)), at: Timestamp::UNIX_EPOCH, event };
    }
    let event = match if open.is_empty() { dice.roll(3) } else { dice.roll(26) } {
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

/// A log in the making: lines, and the index as the writer keeps it.
struct History {
    lines: Vec<u8>,
    head: Head,
    stored: MemoryTable,
    /// The index after each record, folded from the lines alone.
    folds: Vec<MemoryTable>,
    invoked: Vec<Event>,
}

const LOG: LogId = LogId([7; 16]);

impl History {
    fn begin() -> Self {
        let mut stored = MemoryTable::default();
        let mut event = one("genesis");
        if let Event::Genesis { log_id, .. } = &mut event {
            *log_id = LOG.to_string();
        }
        let (lines, record, changes) = genesis(LOG, Timestamp::UNIX_EPOCH, event, &stored).expect("it fits");
        let head = Head { position: record.position, hash: record.hash };
        stored.apply(&changes, head).expect("memory takes every change");
        let folds = fold(MemoryTable::default(), &lines, 0).expect("it fits");
        Self { lines, head, stored, folds, invoked: Vec::new() }
    }

    /// A group of appends as the writer judges and writes them.
    fn group(&mut self, number: usize, dice: &mut Dice) -> Result<(), TestCaseError> {
        let place = Location { segment: 0, offset: self.lines.len() as u64 };
        let mut front = Front::new(LOG, self.head, place, &self.stored);
        for k in 0..=dice.roll(2) {
            let count = [1, 1, 1, 2][dice.roll(4)];
            let batch: Vec<_> =
                (0..count).map(|j| next(dice, number * 100 + k * 10 + j, self.head.position, &self.stored)).collect();
            if front.admit(None, &batch).is_ok() {
                let invoked = |draft: &Draft| matches!(draft.event, Event::Invoked { .. });
                self.invoked.extend(batch.into_iter().filter(invoked).map(|draft| draft.event));
            }
        }
        let (bytes, changes, head) = front.into_parts();
        self.stored.apply(&changes, head).expect("memory takes every change");
        let last = self.folds.last().cloned().expect("genesis");
        self.folds.extend(fold(last, &bytes, place.offset).map_err(TestCaseError::fail)?);
        self.lines.extend_from_slice(&bytes);
        self.head = head;
        Ok(())
    }
}

/// The index after each of the lines, which begin at that offset.
fn fold(mut table: MemoryTable, lines: &[u8], mut offset: u64) -> Result<Vec<MemoryTable>, String> {
    let mut folds = Vec::new();
    for line in lines.split_inclusive(|b| *b == b'\n') {
        let cut = Line::cut(&line[..line.len() - 1]).ok_or("no line")?;
        let mut overlay = Overlay::over(&table);
        take_in(&mut overlay, &cut, Location { segment: 0, offset }).map_err(|e| e.to_string())??;
        let changes = overlay.into_changes();
        table.apply(&changes, Head { position: Position(cut.seq), hash: cut.hash }).map_err(|e| e.to_string())?;
        folds.push(table.clone());
        offset += line.len() as u64;
    }
    Ok(folds)
}

fn obeys(rolls: &[u64], cut: usize, kinds: &mut BTreeMap<String, usize>) -> Result<(), TestCaseError> {
    let mut history = History::begin();
    for (number, roll) in rolls.iter().enumerate() {
        history.group(number, &mut Dice(*roll))?;
        prop_assert_eq!(Some(&history.stored), history.folds.last(), "after record {}", history.head.position);
    }
    prop_assert_eq!(history.folds.len() as u64, history.head.position.0 + 1);
    // Deterministic: all of it once more gives the same at every prefix.
    let again = fold(MemoryTable::default(), &history.lines, 0).map_err(TestCaseError::fail)?;
    prop_assert_eq!(&again, &history.folds);
    // Prefix-stable: stopped anywhere and gone on, as an index that is caught up.
    let lines: Vec<&[u8]> = history.lines.split_inclusive(|b| *b == b'\n').collect();
    for line in &lines {
        let event = decode(Line::cut(&line[..line.len() - 1]).expect("a line").event).expect("a record").body;
        *kinds.entry(name_of(&event)).or_default() += 1;
    }
    let cut = cut % lines.len();
    let (before, after) = (lines[..=cut].concat(), lines[cut + 1..].concat());
    let first = fold(MemoryTable::default(), &before, 0).map_err(TestCaseError::fail)?.pop().expect("genesis");
    prop_assert_eq!(&first, &history.folds[cut]);
    let rest = fold(first, &after, before.len() as u64).map_err(TestCaseError::fail)?;
    prop_assert_eq!(&rest[..], &history.folds[cut + 1..]);
    // A platform event that comes again changes nothing.
    for event in &history.invoked {
        let place = Location { segment: 0, offset: history.lines.len() as u64 };
        let mut front = Front::new(LOG, history.head, place, &history.stored);
        let twice = vec![Draft { about: About::NewRun, at: Timestamp::UNIX_EPOCH, event: event.clone() }];
        let answer = front.admit(None, &twice);
        prop_assert!(matches!(answer, Err(Refusal::Append(AppendError::Duplicate(_)))), "{:?}", answer);
        let (bytes, changes, head) = front.into_parts();
        prop_assert!(bytes.is_empty() && changes.is_empty() && head == history.head);
    }
    Ok(())
}

#[test]
fn the_index_is_the_fold_of_the_log_however_it_came_about() {
    let kinds = RefCell::new(BTreeMap::<String, usize>::new());
    let histories = (prop::collection::vec(any::<u64>(), 1..40), any::<usize>());
    let config = ProptestConfig { source_file: Some(file!()), ..ProptestConfig::default() };
    let run = TestRunner::new(config).run(&histories, |(rolls, cut)| obeys(&rolls, cut, &mut kinds.borrow_mut()));
    run.unwrap_or_else(|why| panic!("{why}"));
    let kinds = kinds.into_inner();
    for wanted in ["run_claimed", "step_done", "undo_begun", "undo_done", "ended", "release_seen", "resumed", "stuck"] {
        assert!(kinds.contains_key(wanted), "no {wanted} was written; the histories prove little: {kinds:?}");
    }
}

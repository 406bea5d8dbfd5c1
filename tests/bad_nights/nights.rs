//! The nights themselves: which there are, who lives through them, what is printed and what has to hold in the end.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::fault::{Dice, Fault, Point, Setting, Target};
use crate::lab::{self, Lab};
use crate::lane::Lane;

/// `all` for the long form; `RemoveOld@4,Slow@2` for these nights alone, with every setting.
const FORM: &str = "STERNWAY_NIGHTS";
/// A seed to replay.
const SEED: &str = "STERNWAY_NIGHTS_SEED";
/// The seed that every change meets.
const FIXED_SEED: u64 = 5;
/// Nights by the fresh seed, in each test.
const FRESH: usize = 2;
/// Lanes for each setting in the long form: most of a night is waiting.
const LANES: usize = 3;

fn told(words: &str) {
    // Past the capture of the test harness: the figures are to be seen.
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// What one test tries.
struct Plan {
    name: &'static str,
    faults: &'static [Fault],
    settings: Vec<Setting>,
    /// Lanes for each setting in the long form.
    lanes: usize,
    /// What happens there happens to every shop of the engine: one night at a time.
    alone: bool,
}

impl Plan {
    fn of(name: &'static str, faults: &'static [Fault], settings: Vec<Setting>) -> Self {
        Self { name, faults, settings, lanes: 1, alone: false }
    }
}

/// Nights that are wanted by name.
fn named() -> Option<Vec<(String, usize)>> {
    let form = std::env::var_os(FORM)?.into_string().ok()?;
    let one = |word: &str| word.split_once('@').map(|(fault, call)| (fault.to_owned(), call.parse().expect("a call")));
    (form != "all").then(|| form.split(',').filter_map(one).collect())
}

/// What came of it, as far as it came.
#[derive(Default)]
struct Book {
    lines: Vec<String>,
    ends: BTreeMap<String, usize>,
    failed: Vec<String>,
    tried: usize,
    kinds: BTreeSet<Fault>,
}

async fn nights(plan: Plan) {
    if !lab::possible() {
        return;
    }
    let began = Instant::now();
    let long = std::env::var_os(FORM).is_some_and(|form| form == "all");
    let lab = Arc::new(Lab::open(plan.faults.contains(&Fault::DiskFull)).await);
    let mut lanes = Vec::new();
    let mut points: BTreeMap<Setting, VecDeque<Point>> = BTreeMap::new();
    let mut least = 0;
    let mut counted = BTreeMap::new();
    for setting in &plan.settings {
        let Some(mut lane) = Lane::open(&lab, *setting).await else { return };
        let nothing = Point { setting: *setting, fault: Fault::Nothing, call: 0 };
        // The first run makes what later ones find made; the second is what is counted.
        lane.night(nothing).await;
        let quiet = lane.night(nothing).await;
        let wanted = if setting.target == Target::Good { "done" } else { "undone" };
        assert_eq!(quiet.end, wanted, "an uninterrupted run: {}", quiet.line);
        told(&format!("{}: {} calls that change something: {}", plan.name, quiet.calls.len(), quiet.line));
        counted.insert(*setting, quiet.calls.len());
        least += quiet.calls.len() * plan.faults.len();
        lanes.push(lane);
    }
    if long || named().is_some() {
        for (setting, calls) in &counted {
            let nights = plan.faults.iter().flat_map(|f| (1..=*calls).map(move |call| (*f, call)));
            let wanted = |(fault, call): &(Fault, usize)| match named() {
                Some(named) => named.contains(&(format!("{fault:?}"), *call)),
                None => true,
            };
            let nights = nights.filter(wanted).map(|(fault, call)| Point { setting: *setting, fault, call });
            points.insert(*setting, nights.collect());
        }
    }
    if long {
        let more = plan.settings.iter().flat_map(|s| std::iter::repeat_n(s, plan.lanes - 1));
        for setting in more {
            lanes.extend(Lane::open(&lab, *setting).await);
        }
    } else if named().is_some() {
        least = 0;
    } else {
        least = plan.faults.len();
        for point in sample(&plan, &counted) {
            points.entry(point.setting).or_default().push_back(point);
        }
    }
    let all: usize = points.values().map(VecDeque::len).sum();
    let (queue, book) = (Mutex::new(points), Mutex::new(Book::default()));
    let turn = plan.alone.then(|| tokio::sync::Mutex::new(()));
    join_all(lanes.into_iter().map(|lane| live(&lab, lane, &queue, &book, turn.as_ref()))).await;
    let book = book.into_inner().unwrap();
    told(&format!(
        "{}: {all} nights wanted, {} tried, of {} kinds, in {} s; ends {:?}",
        plan.name,
        book.tried,
        book.kinds.len(),
        began.elapsed().as_secs(),
        book.ends
    ));
    assert!(book.failed.is_empty(), "{} of {all} nights failed:\n{}", book.failed.len(), book.failed.join("\n\n"));
    assert_eq!(book.tried, all, "every night was tried");
    assert!(book.tried >= least, "{} nights are fewer than calls times kinds, {least}", book.tried);
    assert!(named().is_some() || book.kinds.len() == plan.faults.len(), "every kind was tried");
}

/// Every kind once by the fixed seed, and some by a fresh one; a seed to replay takes the fresh one's place.
fn sample(plan: &Plan, counted: &BTreeMap<Setting, usize>) -> Vec<Point> {
    let any = |dice: &mut Dice, fault: Fault| {
        let setting = plan.settings[dice.below(plan.settings.len())];
        Point { setting, fault, call: 1 + dice.below(counted[&setting]) }
    };
    let mut fixed = Dice(FIXED_SEED);
    let mut points: Vec<Point> = plan.faults.iter().map(|fault| any(&mut fixed, *fault)).collect();
    let given = std::env::var_os(SEED).and_then(|s| s.into_string().ok()).and_then(|s| s.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("random numbers");
        u64::from_le_bytes(bytes)
    });
    told(&format!("{}: {SEED}={seed} replays", plan.name));
    let mut fresh = Dice(seed);
    for _ in 0..FRESH {
        let fault = plan.faults[fresh.below(plan.faults.len())];
        points.push(any(&mut fresh, fault));
    }
    points
}

/// One lane after another night; what fails ends the lane, and another one takes its place.
async fn live(
    lab: &Arc<Lab>,
    lane: Lane,
    queue: &Mutex<BTreeMap<Setting, VecDeque<Point>>>,
    book: &Mutex<Book>,
    turn: Option<&tokio::sync::Mutex<()>>,
) {
    let setting = lane.setting;
    let mut lane = Some(lane);
    loop {
        let Some(point) = queue.lock().unwrap().get_mut(&setting).and_then(VecDeque::pop_front) else { return };
        let _turn = match turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if lane.is_none() {
            lane = Lane::open(lab, setting).await;
        }
        let Some(here) = &mut lane else { return };
        let night = AssertUnwindSafe(async {
            if turn.is_some() {
                // What happened to another shop happened to this one as well: it begins as its team has it.
                here.next_up(point).await;
            }
            here.night(point).await
        });
        let night = night.catch_unwind().await;
        let mut book = book.lock().unwrap();
        book.tried += 1;
        book.kinds.insert(point.fault);
        match night {
            Ok(night) => {
                told(&night.line);
                *book.ends.entry(night.end).or_default() += 1;
                book.lines.push(night.line);
            }
            Err(panic) => {
                let why = words_of(panic);
                told(&format!("FAILED: {point:?}: {why}"));
                book.failed.push(why);
                lane = None; // in what state that shop is nobody knows
            }
        }
    }
}

/// What a panic said.
fn words_of(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
}

fn usual() -> Vec<Setting> {
    [Target::Good, Target::Broken].map(|target| Setting::of(target, "1.29.2", "unless-stopped")).to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hangs_lies_or_is_gone_leaves_the_run_old_new_or_stuck() {
    nights(Plan { lanes: LANES, ..Plan::of("socket", Fault::OF_SOCKET, usual()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_killed_at_any_call_and_brought_back_leaves_the_run_old_new_or_stuck() {
    let restarts = ["unless-stopped", "always", "no"];
    let of = |restart| [Target::Good, Target::Broken].map(|target| Setting::of(target, "1.29.2", restart));
    let settings = restarts.into_iter().flat_map(of).collect();
    nights(Plan { alone: true, ..Plan::of("engine", Fault::OF_ENGINE, settings) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_at_the_keyboard_in_the_middle_of_a_run_is_told_and_the_way_leads_home() {
    let mut settings = usual();
    settings.extend([Target::Good, Target::Broken].map(|t| Setting::of(t, "2.26.1", "unless-stopped")));
    nights(Plan::of("hands", Fault::BY_HAND, settings)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_engine_leaves_the_run_old_new_or_stuck_until_there_is_room() {
    nights(Plan { alone: true, ..Plan::of("disk", Fault::OF_DISK, usual()) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_in_the_middle_of_a_run_neither_ends_it_early_nor_keeps_it() {
    let settings = usual().into_iter().map(|s| Setting { clock: true, ..s }).collect();
    nights(Plan::of("clock", Fault::OF_CLOCK, settings)).await;
}

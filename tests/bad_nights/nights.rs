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
const FRESH: usize = 1;
/// Lanes for each setting in the long form: most of a night is waiting.
const LANES: usize = 3;

fn told(words: &str) {
    // Past the capture of the test harness: the figures are to be seen.
    let _ = writeln!(std::io::stderr(), "{words}");
}

/// What one test tries.
struct Plan {
    name: &'static str,
    /// Which faults, in which setting.
    nights: Vec<(Setting, Vec<Fault>)>,
    /// Lanes for each setting in the long form.
    lanes: usize,
    /// What happens there happens to every shop of the engine: one night at a time.
    alone: bool,
}

impl Plan {
    fn of(name: &'static str, faults: &[Fault], settings: [Setting; 2]) -> Self {
        Self { name, nights: settings.map(|s| (s, faults.to_vec())).to_vec(), lanes: 1, alone: false }
    }

    /// Each kind, with the settings in which it is tried.
    fn kinds(&self) -> BTreeMap<Fault, Vec<Setting>> {
        let mut kinds: BTreeMap<Fault, Vec<Setting>> = BTreeMap::new();
        for (setting, faults) in &self.nights {
            faults.iter().for_each(|fault| kinds.entry(*fault).or_default().push(*setting));
        }
        kinds
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
    let lab = Arc::new(Lab::open(plan.kinds().contains_key(&Fault::DiskFull)).await);
    let mut lanes = Vec::new();
    let mut points: BTreeMap<Setting, VecDeque<Point>> = BTreeMap::new();
    let mut least = 0;
    let named = named();
    let calls_of: BTreeMap<Setting, usize> = if long || named.is_some() {
        BTreeMap::new()
    } else {
        // Which calls there are is known from before; a sample needs a shop only for the settings in it.
        plan.nights.iter().map(|(setting, _)| (*setting, setting.least_calls())).collect()
    };
    for point in if calls_of.is_empty() { Vec::new() } else { sample(&plan, &calls_of) } {
        points.entry(point.setting).or_default().push_back(point);
        least += 1;
    }
    for (setting, faults) in &plan.nights {
        if !calls_of.is_empty() && !points.contains_key(setting) {
            continue;
        }
        let Some(mut lane) = Lane::open(&lab, *setting, calls_of.is_empty()).await else { return };
        if !calls_of.is_empty() {
            lanes.push(lane);
            continue;
        }
        let nothing = Point { setting: *setting, fault: Fault::Nothing, call: 0 };
        // The first run makes what later ones find made; the second is what is counted.
        lane.night(nothing).await;
        let quiet = lane.night(nothing).await;
        let wanted = if setting.target == Target::Good { "done" } else { "undone" };
        assert_eq!(quiet.end, wanted, "an uninterrupted run: {}", quiet.line);
        let calls = quiet.calls.len();
        told(&format!("{}: {calls} calls that change something: {}", plan.name, quiet.line));
        assert_eq!(calls, setting.least_calls(), "of an uninterrupted run: {:?}", quiet.calls);
        lanes.push(lane);
        let nights = faults.iter().flat_map(|f| (1..=calls).map(move |call| (*f, call)));
        let wanted = |(fault, call): &(Fault, usize)| match &named {
            Some(named) => named.contains(&(format!("{fault:?}"), *call)),
            None => true,
        };
        let nights = nights.filter(wanted).map(|(fault, call)| Point { setting: *setting, fault, call });
        points.insert(*setting, nights.collect());
        least += if long { calls * faults.len() } else { 0 };
        for _ in 1..if long { plan.lanes } else { 1 } {
            lanes.extend(Lane::open(&lab, *setting, true).await);
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
    let kinds = plan.kinds().into_keys().filter(|fault| long || !fault.only_long()).count();
    assert!(named.is_some() || book.kinds.len() == kinds, "every kind was tried");
}

/// Every kind once by the fixed seed, and some by a fresh one; a seed to replay takes the fresh one's place.
fn sample(plan: &Plan, calls: &BTreeMap<Setting, usize>) -> Vec<Point> {
    let kinds: Vec<(Fault, Vec<Setting>)> = plan.kinds().into_iter().filter(|(f, _)| !f.only_long()).collect();
    let any = |dice: &mut Dice, (fault, settings): &(Fault, Vec<Setting>)| {
        let setting = settings[dice.below(settings.len())];
        Point { setting, fault: *fault, call: 1 + dice.below(calls[&setting]) }
    };
    let mut fixed = Dice(FIXED_SEED);
    let mut points: Vec<Point> = kinds.iter().map(|kind| any(&mut fixed, kind)).collect();
    let given = std::env::var_os(SEED).and_then(|s| s.into_string().ok()).and_then(|s| s.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("random numbers");
        u64::from_le_bytes(bytes)
    });
    told(&format!("{}: {SEED}={seed} replays", plan.name));
    let mut fresh = Dice(seed);
    for _ in 0..FRESH {
        let kind = fresh.below(kinds.len());
        points.push(any(&mut fresh, &kinds[kind]));
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
    let (setting, long) = (lane.setting, lane.long);
    let mut lane = Some(lane);
    loop {
        let Some(point) = queue.lock().unwrap().get_mut(&setting).and_then(VecDeque::pop_front) else { return };
        let _turn = match turn {
            Some(turn) => Some(turn.lock().await),
            None => None,
        };
        if lane.is_none() {
            lane = Lane::open(lab, setting, long).await;
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

const USUAL: [Setting; 2] = both("1.29.2", "unless-stopped");

const fn both(compose: &'static str, restart: &'static str) -> [Setting; 2] {
    [Setting::of(Target::Good, compose, restart), Setting::of(Target::Broken, compose, restart)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_hangs_lies_or_is_gone_leaves_the_run_old_new_or_stuck() {
    nights(Plan { lanes: LANES, ..Plan::of("socket", Fault::OF_SOCKET, USUAL) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_killed_at_any_call_and_brought_back_leaves_the_run_old_new_or_stuck() {
    // By their restart policies they come back by themselves or stay down.
    let mut plan = Plan::of("engine", &[Fault::KilledBefore, Fault::KilledAfter], USUAL);
    let with_containerd = Plan::of("", &[Fault::AllKilledBefore, Fault::AllKilledAfter], both("1.29.2", "always"));
    let never = Plan::of("", &[Fault::KilledBefore], both("1.29.2", "no"));
    plan.nights.extend(with_containerd.nights.into_iter().chain(never.nights));
    nights(Plan { alone: true, ..plan }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_at_the_keyboard_in_the_middle_of_a_run_is_told_and_the_way_leads_home() {
    let mut plan = Plan::of("hands", Fault::BY_HAND, USUAL);
    plan.nights.extend(Plan::of("", &[Fault::Redeploy], both("2.26.1", "unless-stopped")).nights);
    nights(plan).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_engine_leaves_the_run_old_new_or_stuck_until_there_is_room() {
    nights(Plan { alone: true, ..Plan::of("disk", Fault::OF_DISK, USUAL) }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_in_the_middle_of_a_run_neither_ends_it_early_nor_keeps_it() {
    nights(Plan::of("clock", Fault::OF_CLOCK, USUAL.map(|s| Setting { clock: true, ..s }))).await;
}

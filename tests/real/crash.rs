//! `kill -9` of the bot at every point of a run: before, within and after each engine call that changes something, at
//! each record of the run, and at each sync of a file, the log's and the agent's; single and scaled, stop-first and
//! start-first, to images that are good, bad, and bad too late; there and back; and once more while it recovers. Whatever the
//! instant, the next start ends the run fully old or fully new, and everybody who is asked tells the same.
//!
//! CI tries what a single service does in full and a sample of the rest; `make nights-kills` tries all.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::sync::Mutex;

use futures_util::FutureExt;
use futures_util::future::join_all;

use crate::chance::{Chance, Extent};
use crate::lane::{Aim, At, Form, Landed, Lane, Point, Way};
use crate::proxy::Side;
use crate::trace::Trace;

/// What CI tries of a form, for each aim; the long form tries all.
struct Short {
    /// Aims whose every call is tried, by each seed with a side of it.
    whole: &'static [Aim],
    /// Calls that each seed chooses, and a side of each.
    calls: usize,
    /// Syncs that each seed chooses.
    files: usize,
    /// Kills that are followed by another one while the bot recovers.
    twice: usize,
    /// Shops whose calls and records are tried at the same time.
    lanes: usize,
}

/// A night that fails this often is told without its rest.
const FAILURES_MAX: usize = 4;

/// What CI tries of all forms but the first.
const SAMPLE: Short = Short { whole: &[], calls: 2, files: 1, twice: 1, lanes: 1 };

/// Records that CI kills after, of an aim whose calls are all tried: syncs are the same moments, seen from below.
const RECORDS: usize = 6;

/// Uninterrupted runs: what each aim's has of calls, records and syncs.
type Counted = BTreeMap<Aim, Landed>;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_a_single_container_that_is_stopped_first_ends_old_or_new() {
    let form = Form { start_first: false, copies: 1, compose: None };
    let whole = &[Aim::Good, Aim::Exits];
    night(form, &Short { whole, calls: 4, files: 3, twice: 1, lanes: 2 }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_copies_that_are_stopped_first_end_old_or_new() {
    let form = Form { start_first: false, copies: 2, compose: Some("2.26.1") };
    night(form, &SAMPLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_a_single_container_that_starts_first_ends_old_or_new() {
    let form = Form { start_first: true, copies: 1, compose: Some("2.26.1") };
    night(form, &SAMPLE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_anywhere_copies_that_start_first_end_old_or_new() {
    let form = Form { start_first: true, copies: 2, compose: None };
    night(form, &SAMPLE).await;
}

async fn night(form: Form, short: &Short) {
    let extent = Extent::of_environment();
    let (plain, traced) = tokio::join!(lanes(form, false, &extent, short), async {
        if Trace::can() { lanes(form, true, &extent, short).await } else { None }
    });
    let Some(plain) = plain else { return };
    let nights = [Some(plain), traced];
    let tried = nights.iter().flatten().map(|n| n.results.len()).sum::<usize>();
    let failed: Vec<&String> = nights.iter().flatten().flat_map(|n| &n.failed).collect();
    assert!(failed.is_empty(), "{} of {tried} points failed ({extent}): {failed:#?}", failed.len());
}

/// What was tried on lanes of one kind.
struct Tried {
    results: Vec<(Point, Landed)>,
    failed: Vec<String>,
}

/// Counts, then tries every point that is to be tried, and prints what came of it.
async fn lanes(form: Form, traced: bool, extent: &Extent, short: &Short) -> Option<Tried> {
    let mut first = Lane::open(form, traced).await?;
    let counted = count(&mut first).await;
    let points = points(&counted, traced, extent, short);
    let planned = points.len();
    let queue = Mutex::new(VecDeque::from(points));
    let mut all = vec![first];
    let wanted = if extent.is_all() {
        2
    } else if traced {
        1
    } else {
        short.lanes
    };
    for _ in 1..wanted {
        all.extend(Lane::open(form, traced).await);
    }
    let tried = Mutex::new(Tried { results: Vec::new(), failed: Vec::new() });
    // What fails at one point must not hide the others: another shop goes on, as in what state that one is nobody knows.
    let lane_by_lane = all.into_iter().map(async |mut lane| {
        while let Some(point) = take(&queue, lane.way().await) {
            match AssertUnwindSafe(lane.point(point)).catch_unwind().await {
                Ok(landed) => tried.lock().unwrap().results.push((point, landed)),
                Err(why) => {
                    let why = words_of(why);
                    let _ = writeln!(std::io::stderr(), "FAILED: {why}");
                    let failed = {
                        let mut tried = tried.lock().unwrap();
                        tried.failed.push(why);
                        tried.failed.len()
                    };
                    match Lane::open(form, traced).await {
                        Some(another) if failed < FAILURES_MAX => lane = another,
                        _ => return,
                    }
                }
            }
        }
    });
    join_all(lane_by_lane).await;
    let mut tried = tried.into_inner().unwrap();
    print(form, traced, extent, &counted, &tried);
    let run = tried.results.iter().filter(|(point, _)| point.at != At::Nowhere).count();
    if tried.failed.is_empty() && run < planned {
        tried.failed.push(format!("only {run} of {planned} points were tried"));
    }
    tried.failed.extend(too_few(traced, extent, short, &counted, &tried.results));
    Some(tried)
}

/// The next point that can be tried from where the service is: to another good image there is one way from each. Where
/// only the other is left, a run that nobody interrupts goes there.
fn take(queue: &Mutex<VecDeque<Point>>, way: Way) -> Option<Point> {
    let mut queue = queue.lock().unwrap();
    let fits = |p: &Point| p.aim != Aim::Good || p.way == way;
    match queue.iter().position(fits) {
        Some(at) => queue.remove(at),
        None => (!queue.is_empty()).then_some(Point { aim: Aim::Good, way, at: At::Nowhere, again: None, up: false }),
    }
}

/// What uninterrupted runs consist of. The first one makes what later ones find made.
async fn count(lane: &mut Lane) -> Counted {
    let mut counted = Counted::new();
    for aim in [Aim::Good, Aim::Good, Aim::Exits, Aim::Tires] {
        let way = lane.way().await;
        let landed = lane.point(Point { aim, way, at: At::Nowhere, again: None, up: true }).await;
        let wanted = if aim == Aim::Good { "done" } else { "undone" };
        assert_eq!(landed.end, wanted, "an uninterrupted run to {aim:?}");
        // Create, policy, stop, start; then two names, policy, removal, signal, or start, policy, removal. One that starts
        // first and is no good comes and goes beside the one that serves.
        let least = match (aim, lane.form.start_first) {
            (Aim::Good | Aim::Tires, _) => 9,
            (Aim::Exits, false) => 7,
            (Aim::Exits, true) => 4,
        };
        assert!(landed.calls.len() >= least, "a swap is more calls than {:?}", landed.calls);
        counted.insert(aim, landed);
    }
    counted
}

/// Everything, or what the seeds choose of it.
fn points(counted: &Counted, traced: bool, extent: &Extent, short: &Short) -> Vec<Point> {
    let mut out: Vec<Point> = Vec::new();
    for chance in extent.chances() {
        for point in chosen(counted, traced, extent.is_all(), short, chance) {
            let same = |p: &Point| (p.aim, p.way, p.at, p.again) == (point.aim, point.way, point.at, point.again);
            if !out.iter().any(same) {
                out.push(point);
            }
        }
    }
    out
}

/// What one seed chooses: the same whatever the other one does.
fn chosen(counted: &Counted, traced: bool, all: bool, short: &Short, mut chance: Chance) -> Vec<Point> {
    let mut out = Vec::new();
    for (&aim, landed) in counted {
        let mut points: Vec<(At, Option<At>)> = Vec::new();
        if traced {
            let files = chance.some_of(1..=landed.files.len(), if all { usize::MAX } else { short.files });
            points.extend(files.into_iter().map(|nth| (At::File(nth), None)));
        } else {
            let whole = all || short.whole.contains(&aim);
            for nth in chance.some_of(1..=landed.calls.len(), if whole { usize::MAX } else { short.calls }) {
                let sides = chance.some_of(Side::ALL, if all { usize::MAX } else { 1 });
                points.extend(sides.into_iter().map(|side| (At::Call(nth, side), None)));
            }
            let records = if all { usize::MAX } else { RECORDS * usize::from(whole) };
            let records = chance.some_of(1..=landed.records, records);
            points.extend(records.into_iter().map(|nth| (At::Record(nth), None)));
        }
        for _ in 0..if all { landed.calls.len() } else { short.twice } {
            let mut somewhere = || {
                if traced {
                    return At::File(chance.up_to(landed.files.len()));
                }
                At::Call(chance.up_to(landed.calls.len()), chance.some_of(Side::ALL, 1)[0])
            };
            points.push((somewhere(), Some(somewhere())));
        }
        for (at, again) in points {
            // There and back in turn, so that a lane never has to go somewhere only to come from there.
            let ways = if all && again.is_none() { Way::BOTH.to_vec() } else { vec![Way::BOTH[out.len() % 2]] };
            for way in ways {
                out.push(Point { aim, way, at, again, up: all || out.len() % 4 == 0 });
            }
        }
    }
    chance.shuffle(&mut out);
    out
}

/// No fewer points than calls, or than the sample is to have; and none that was missed.
fn too_few(traced: bool, extent: &Extent, short: &Short, counted: &Counted, tried: &[(Point, Landed)]) -> Vec<String> {
    let mut words = Vec::new();
    for (aim, landed) in counted {
        let of_aim = tried.iter().filter(|(p, _)| p.aim == *aim && p.again.is_none());
        let reached = of_aim.filter(|(p, l)| l.reached && matches!(p.at, At::Call(..) | At::File(_))).count();
        let whole = extent.is_all() || short.whole.contains(aim);
        let least = match (traced, extent.is_all() || (whole && !traced)) {
            (false, true) if extent.is_all() => Side::ALL.len() * landed.calls.len(),
            (false, true) => landed.calls.len(),
            (true, true) => landed.files.len(),
            // A call or sync may come after the run has come to rest, or not at all this time: one of a few may be missed.
            (false, false) => short.calls - 1,
            (true, false) => short.files - 1,
        };
        if reached < least {
            words.push(format!("{aim:?}: killed at {reached} points, where {least} are the least"));
        }
    }
    words
}

/// Past the capture of the test harness: the counts are to be seen.
fn print(form: Form, traced: bool, extent: &Extent, counted: &Counted, tried: &Tried) {
    let mut text = format!(
        "{form:?}, {} points of killing at each {} ({extent}):",
        tried.results.len(),
        if traced { "sync" } else { "call" }
    );
    for (aim, landed) in counted {
        let of_aim: Vec<_> = tried.results.iter().filter(|(p, _)| p.aim == *aim && p.at != At::Nowhere).collect();
        let reached = of_aim.iter().filter(|(_, l)| l.reached).count();
        let twice = of_aim.iter().filter(|(_, l)| l.reached_again).count();
        let mut ends: BTreeMap<&str, usize> = BTreeMap::new();
        for (_, landed) in &of_aim {
            *ends.entry(landed.end.as_str()).or_default() += 1;
        }
        let long = if traced {
            format!("{} syncs, renames and removals of files", landed.files.len())
        } else {
            format!("{} calls that change something and {} records", landed.calls.len(), landed.records)
        };
        text += &format!(
            "\n  {aim:?}: an uninterrupted run has {long}; tried {} points, killed at {reached}, twice at {twice}, ends {ends:?}",
            of_aim.len(),
        );
    }
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What a panic said.
fn words_of(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
}

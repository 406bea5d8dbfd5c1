//! `kill -9` of the bot after every record of a run, and before and after every engine call of it that changes
//! something; with a target that is good and with one that is broken. Whatever the instant, the next start ends the
//! run fully old or fully new.

use std::collections::{BTreeSet, VecDeque};
use std::io::Write;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::join_all;
use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};
use sternway::domain::event::Outcome;
use sternway::domain::ids::{ApprovalId, Position};
use sternway::domain::names::Fingerprint;
use sternway::domain::run::{RunState, Status};

use crate::bot::{Journal, Served, at_rest, last_lines};
use crate::console::Omar;
use crate::proxy::{Proxy, Side};
use crate::shop::{BOUND, Settings, Shop, pause};

/// Projects that a test works on at the same time.
const LANES: usize = 2;

/// When an approval that was given is given again: a bot that was killed may not have heard it.
const APPROVE_AGAIN: Duration = Duration::from_secs(5);

/// Where the bot is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Point {
    Nowhere,
    /// As soon as so many records of the run stand in the log.
    Record(usize),
    /// At the call that changes something, counted from 1.
    Call(usize, Side),
}

/// What the run goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    /// Works: the run ends new, and the next one goes back again.
    Good,
    /// Ends at once: every run ends old.
    Broken,
}

/// A shop with a bot that is killed again and again.
struct Lane {
    shop: Shop,
    proxy: Proxy,
    config: PathBuf,
    journal: Journal,
    target: Target,
    /// `.env` as the shop began.
    env: String,
    /// Version, release and fingerprint of both sides.
    sides: [(&'static str, String, Fingerprint); 2],
}

/// What a point came to.
struct Landed {
    /// Records of the run when the bot was dead.
    records: usize,
    /// Calls that changed something until then.
    calls: Vec<String>,
    /// How it ended, in a word.
    end: String,
}

impl Lane {
    async fn open(target: Target) -> Option<Self> {
        let first = if target == Target::Good { "good" } else { "exits" };
        let shop = Shop::open(&[("1.0", first), ("1.1", "good")]).await?;
        let proxy = Proxy::open(shop.folder());
        let config = shop.write_config(&Settings { docker: Some(proxy.socket.clone()), ..Settings::default() });
        let env = shop.env();
        let bot = Served::start(&shop, &config, &shop.store()).await;
        let old = bot.journal.release(&shop.image("1.0"), target == Target::Good).await;
        shop.deploy("1.1").await;
        let new = bot.journal.release(&shop.image("1.1"), true).await;
        let journal = bot.journal.clone();
        bot.kill();
        let sides = [
            ("1.0", old, shop.fingerprint(&shop.image("1.0")).await),
            ("1.1", new, shop.fingerprint(&shop.image("1.1")).await),
        ];
        Some(Self { shop, proxy, config, journal, target, env, sides })
    }

    /// One run with the bot killed at the point, started again, and looked at when the run has ended.
    async fn point(&self, point: Point) -> Landed {
        let running = self.shop.running().await;
        let from = self.sides.iter().position(|s| s.2 == running).expect("one of the two runs");
        let to = 1 - from;
        let mut bot = Served::start(&self.shop, &self.config, &self.journal.store).await;
        let began = self.journal.head();
        let mut layla = bot.sit().await;
        let watcher = match point {
            Point::Record(count) => Some(kill_at_record(&self.journal, began, count, bot.pid())),
            Point::Call(nth, side) => {
                self.proxy.arm(Some((nth, side, bot.pid())));
                None
            }
            Point::Nowhere => None,
        };
        if !matches!(point, Point::Call(..)) {
            self.proxy.arm(None);
        }
        layla.send(1, &format!("/rollback image api to {} because of {point:?}", self.sides[to].1)).await;
        let waits = Instant::now();
        let mut omar = Approver::default();
        loop {
            let runs = self.runs_since(began);
            if !runs.is_empty() && runs.iter().all(at_rest) || bot.is_dead() {
                break;
            }
            omar.approve(&self.shop, &runs);
            assert!(waits.elapsed() < BOUND, "{point:?}: neither dead nor at rest: {}", self.tell(&runs));
            pause().await;
        }
        let calls = self.proxy.calls();
        let at_call = self.proxy.killed();
        if matches!(point, Point::Call(..)) {
            assert!(at_call.is_some(), "{point:?} was never reached: {calls:?}");
        }
        drop(watcher);
        bot.kill();
        let records = self.runs_since(began).iter().map(|r| self.journal.events(r.id).len()).sum();

        self.proxy.arm(None);
        let bot = Served::start(&self.shop, &self.config, &self.journal.store).await;
        let waits = Instant::now();
        let mut omar = Approver::default();
        let runs = loop {
            let runs = self.runs_since(began);
            if runs.iter().all(at_rest) {
                break runs;
            }
            omar.approve(&self.shop, &runs);
            assert!(
                waits.elapsed() < BOUND,
                "{point:?} ({at_call:?}): not at rest: {}\n{}",
                self.tell(&runs),
                last_lines(&bot.log)
            );
            pause().await;
        };
        let end = self.judge(point, from, to, &runs).await;
        bot.kill();
        Landed { records, calls, end }
    }

    fn runs_since(&self, began: Position) -> Vec<RunState> {
        self.journal.runs().into_iter().filter(|r| r.id.0 > began && !r.dry_run).collect()
    }

    fn tell(&self, runs: &[RunState]) -> String {
        runs.iter().map(|r| format!("{}: {:?} {:?}", r.id, r.status, self.journal.events(r.id).last())).collect()
    }

    /// Fully old or fully new, by the journal and by what is there.
    async fn judge(&self, point: Point, from: usize, to: usize, runs: &[RunState]) -> String {
        let told = || format!("{point:?}: {}", self.tell(runs));
        let mut done = false;
        let mut word = "never heard".to_owned();
        for run in runs {
            match &run.status {
                Status::Ended { outcome, .. } => {
                    done |= *outcome == Outcome::Done;
                    word = sternway::report::status_word(run).to_owned();
                }
                Status::Stuck { remains, .. } => panic!("stuck, with {remains:?}: {}", told()),
                _ => unreachable!("at rest"),
            }
        }
        if self.target == Target::Broken {
            assert!(!done, "a broken target cannot be done: {}", told());
        }
        let (version, _, wanted) = &self.sides[if done { to } else { from }];
        let api = self.shop.api().await;
        assert_eq!(self.shop.running().await, *wanted, "what runs is not what the journal says: {}", told());
        let name = format!("/{}", api_name(&self.shop, &api));
        assert_eq!(api["Name"], name, "{}", told());
        let policy = &api["HostConfig"]["RestartPolicy"];
        assert_eq!(policy["Name"], "unless-stopped", "restart policy: {}", told());
        assert_eq!(self.shop.leftovers().await, Vec::<String>::new(), "{}", told());
        self.shop.serves(version).await;
        assert_eq!(self.shop.env(), self.shop.env_with(&self.env, version), "the pin: {}", told());
        self.journal.is_whole().await;
        word
    }
}

/// The name that compose gave, by which generation of compose it was.
fn api_name(shop: &Shop, api: &serde_json::Value) -> String {
    let dashes = api["Config"]["Labels"]["com.docker.compose.version"].as_str().is_some_and(|v| !v.starts_with("1."));
    if dashes { format!("{}-api-1", shop.project()) } else { format!("{}_api_1", shop.project()) }
}

/// Omar approves whatever waits.
#[derive(Default)]
struct Approver {
    said: Option<(ApprovalId, Instant, Omar)>,
}

impl Approver {
    fn approve(&mut self, shop: &Shop, runs: &[RunState]) {
        let Some(open) = runs.iter().find_map(|r| r.open_approval()) else { return };
        let lately = |(id, at, _): &(ApprovalId, Instant, Omar)| *id == open.id && at.elapsed() < APPROVE_AGAIN;
        if !self.said.as_ref().is_some_and(lately) {
            self.said = Some((open.id, Instant::now(), Omar::says(shop, &[&format!("/approve {}", open.id)])));
        }
    }
}

/// Ends the watching for records when dropped, at the latest with the next record.
struct Watcher(Arc<AtomicBool>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Kills the bot as soon as that many records of runs stand in the log that came after `began`: usually while it
/// waits for the disk to say that the last one is durable. A thread of its own, so that nothing delays it.
fn kill_at_record(journal: &Journal, began: Position, count: usize, pid: Pid) -> Watcher {
    let over = Arc::new(AtomicBool::new(false));
    let folder = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
    inotify::add_watch(&folder, journal.store.join("log"), inotify::WatchFlags::MODIFY).expect("the log's folder");
    let (journal, flag) = (journal.clone(), Arc::clone(&over));
    std::thread::spawn(move || {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(folder, &mut buffer);
        while reader.next().is_ok() && !flag.load(Ordering::SeqCst) {
            if journal.count_after(began) >= count {
                let _ = kill_process(pid, Signal::KILL);
                return;
            }
        }
    });
    Watcher(over)
}

/// Kills at every point of one kind, and prints where it landed.
async fn every(target: Target, what: &str, points: impl Fn(&Landed) -> Vec<Point>) {
    let Some(first) = Lane::open(target).await else { return };
    // The first run makes what later ones find made; the second is what is counted.
    first.point(Point::Nowhere).await;
    let counted = first.point(Point::Nowhere).await;
    let wanted = if target == Target::Good { "done" } else { "undone" };
    assert_eq!(counted.end, wanted, "an uninterrupted run");
    let queue: Mutex<VecDeque<Point>> = Mutex::new(points(&counted).into());
    let all = queue.lock().unwrap().len();
    let mut lanes = vec![first];
    for _ in 1..LANES {
        lanes.extend(Lane::open(target).await);
    }
    let results = Mutex::new(Vec::new());
    // What fails at one point must not hide the others: it ends its lane, the other one goes on.
    let lane_by_lane = lanes.iter().map(async |lane| {
        loop {
            let Some(point) = queue.lock().unwrap().pop_front() else { return };
            let landed = AssertUnwindSafe(lane.point(point)).catch_unwind().await;
            let failed = landed.is_err();
            results.lock().unwrap().push((point, landed.map_err(words_of)));
            if failed {
                return; // in what state that shop is nobody knows
            }
        }
    });
    join_all(lane_by_lane).await;
    let results = results.lock().unwrap();
    let mut ends: std::collections::BTreeMap<String, usize> = Default::default();
    let mut distinct = BTreeSet::new();
    let mut failed = Vec::new();
    for (point, landed) in results.iter() {
        match landed {
            Ok(landed) => {
                *ends.entry(landed.end.clone()).or_default() += 1;
                distinct.insert((landed.records, landed.calls.len()));
            }
            Err(why) => failed.push(format!("{point:?}: {why}")),
        }
    }
    // Past the capture of the test harness: the count is to be seen.
    let _ = writeln!(
        std::io::stderr(),
        "{target:?} target, killed {what}: an uninterrupted run has {} records and {} calls that change something; \
         {all} points, {} distinct landings, ends {ends:?}\n  {}",
        counted.records,
        counted.calls.len(),
        distinct.len(),
        counted.calls.join("\n  "),
    );
    assert!(failed.is_empty(), "{} of {all} points failed: {failed:#?}", failed.len());
    assert_eq!(results.len(), all, "every point was tried");
    // Create, policy, stop, start; then two names, policy, removal, signal, or start, policy, removal.
    let least = if target == Target::Good { 9 } else { 7 };
    assert!(counted.calls.len() >= least, "a swap is more calls than {:?}", counted.calls);
    assert!(all >= counted.calls.len() && distinct.len() > all / 3, "{distinct:?}");
}

/// What a panic said.
fn words_of(panic: Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
}

fn at_records(counted: &Landed) -> Vec<Point> {
    (1..=counted.records).map(Point::Record).collect()
}

fn at_calls(counted: &Landed) -> Vec<Point> {
    (1..=counted.calls.len()).flat_map(|n| [Point::Call(n, Side::Before), Point::Call(n, Side::After)]).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_any_record_on_the_way_to_a_good_image_the_run_ends_old_or_new() {
    every(Target::Good, "after each record", at_records).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_after_any_record_on_the_way_to_a_broken_image_the_run_ends_old() {
    every(Target::Broken, "after each record", at_records).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_around_any_engine_call_on_the_way_to_a_good_image_the_run_ends_old_or_new() {
    every(Target::Good, "before and after each call", at_calls).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_around_any_engine_call_on_the_way_to_a_broken_image_the_run_ends_old() {
    every(Target::Broken, "before and after each call", at_calls).await;
}

//! Two hundred people at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sternway::clock::{Clock, SystemClock};
use sternway::store::SharedLog;
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::verify::verify;

use crate::crowd::{Class, Heard, Speaker, converse, speak, usual_words};
use crate::town::{PATIENCE, Town, person, stranger};

const PEOPLE: usize = 200;
/// Of these, so many are known to nobody.
const STRANGERS: usize = 20;
/// Said one after the other, each when the one before was answered; then so many at once.
const CONVERSED: usize = 4;
const AT_ONCE: usize = 6;
const STACKS: usize = 10;

/// Tasks of the bot that may be there at once: one for each that waits for its answer, and what is always there.
const TASKS_MAX: usize = 300;

/// What all of it may take in memory beyond what was there before, in MB: a few records of each waiting thing, and what an
/// allocator keeps. Two thousand plans at once would be more.
const MEMORY_MAX: u64 = 96;

fn memory_mb() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096 / 1_000_000
}

#[test]
fn two_thousand_commands_from_two_hundred_people_are_each_answered_and_nothing_piles_up() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(burst());
}

async fn burst() {
    let folder = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let town = Town::found(folder.path(), STACKS, PEOPLE - STRANGERS, Arc::clone(&clock));
    let options = OpenOptions::new(Arc::clone(&clock), "0.0-test", "test-host");
    let file_log = Arc::new(FileLog::open(town.store(), options).unwrap().0);
    let log: SharedLog = Arc::clone(&file_log) as _;
    let open = town.open(&log, STRANGERS).await;
    town.after_a_deploy(&log).await;

    let core = Arc::clone(open.bot.core());
    let before = memory_mb();
    let over = Arc::new(AtomicBool::new(false));
    let (most_tasks, most_memory) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let watching = tokio::spawn({
        let (core, clock, over) = (Arc::clone(&core), Arc::clone(&clock), Arc::clone(&over));
        let (tasks, memory) = (Arc::clone(&most_tasks), Arc::clone(&most_memory));
        async move {
            while !over.load(Ordering::SeqCst) {
                tasks.fetch_max(core.tasks.len(), Ordering::SeqCst);
                memory.fetch_max(usize::try_from(memory_mb()).unwrap(), Ordering::SeqCst);
                clock.sleep(Duration::from_millis(5)).await;
            }
        }
    });
    let resting = core.tasks.len();

    let crowd = (0..PEOPLE).map(|n| {
        let name = if n < PEOPLE - STRANGERS { person(n) } else { stranger(n - (PEOPLE - STRANGERS)) };
        let speaker = Speaker { socket: town.socket(), name, session: format!("burst-{n}") };
        let words: Vec<String> = (0..CONVERSED + AT_ONCE).map(|nth| usual_words(n, nth, STACKS)).collect();
        tokio::spawn(async move {
            let mut all = converse(&speaker, &words[..CONVERSED], 0).await;
            let speaker = Speaker { session: format!("flood-{n}"), ..speaker };
            all.extend(speak(&speaker, &words[CONVERSED..], PATIENCE).await.0);
            all
        })
    });
    let mut all: Vec<Heard> = Vec::new();
    for one in crowd.collect::<Vec<_>>() {
        all.extend(one.await.unwrap());
    }

    let unanswered: Vec<&Heard> = all.iter().filter(|h| h.answers < h.deliveries).collect();
    assert!(unanswered.is_empty(), "{} were not answered, such as {:?}", unanswered.len(), unanswered[0]);
    let mut classes: BTreeMap<Class, usize> = BTreeMap::new();
    for heard in &all {
        *classes.entry(heard.first.unwrap().1).or_default() += 1;
    }
    println!("{} said: {classes:?}", all.len());
    assert_eq!(all.len(), PEOPLE * (CONVERSED + AT_ONCE));
    assert!(classes.contains_key(&Class::Done) && classes.contains_key(&Class::Refused), "{classes:?}");

    crate::town::until(&clock, "every run ends", || {
        log.open_runs().unwrap().iter().all(|r| r.open_approval().is_some())
    })
    .await;
    crate::town::until(&clock, "the tasks are as many as before", || core.tasks.len() <= resting + 2).await;
    over.store(true, Ordering::SeqCst);
    watching.await.unwrap();
    let (tasks, memory) = (most_tasks.load(Ordering::SeqCst), most_memory.load(Ordering::SeqCst) as u64);
    println!("tasks: {resting} at rest, {tasks} at most; memory: {before} MB before, {memory} MB at most");
    assert!(tasks <= TASKS_MAX, "{tasks} tasks at once, {resting} at rest");
    assert!(memory <= before + MEMORY_MAX, "{before} MB before, {memory} MB at most");

    open.close().await;
    let head = log.head();
    file_log.close();
    assert_eq!(verify(&town.store()).unwrap().head, head, "the chain is whole");
}

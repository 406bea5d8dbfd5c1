//! 10,000 commands from 200 people, with and without a hundred runs going on: what came of each, how long people waited,
//! and what it took in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sternway::agent::sim::Behaviour;

use super::crowd::{Class, Heard, Speaker, converse, speak, usual_words};
use super::figures::nth;
use super::town::{PATIENCE, person, stranger};
use super::{Home, Result};

const PEOPLE: usize = 200;
/// Of these, so many are known to nobody.
const STRANGERS: usize = 20;
/// Said one after the other, each when the one before was answered.
const CONVERSED: usize = 10;
/// Then said all at once.
const AT_ONCE: usize = 40;
const STACKS: usize = 100;
/// How long the image that the runs go back to takes to be well: as long as people speak.
const SLOW_MS: u64 = 9_000;

/// How long people waited.
struct Waited {
    acknowledged: Vec<Duration>,
    answered: Vec<Duration>,
}

pub(crate) async fn measure(folder: &Path) -> Result<()> {
    println!(
        "\n{PEOPLE} people, {} commands: {CONVERSED} each one after the other, then {AT_ONCE} each at once",
        PEOPLE * (CONVERSED + AT_ONCE)
    );
    let quiet = once(&folder.join("quiet"), false).await?;
    let busy = once(&folder.join("busy"), true).await?;
    println!("\n| one after the other | p50 | p99 |\n|---|---|---|");
    let mut ratios = Vec::new();
    for (what, mut quiet, mut busy) in [
        ("said → heard", quiet.acknowledged, busy.acknowledged),
        ("said → first answer", quiet.answered, busy.answered),
    ] {
        for (how, waited) in [("", &mut quiet), (", 100 runs going on", &mut busy)] {
            println!("| {what}{how} | {:.1?} | {:.1?} |", nth(waited, 0.5), nth(waited, 0.99));
        }
        let ratio = |share| nth(&mut busy.clone(), share).as_secs_f64() / nth(&mut quiet.clone(), share).as_secs_f64();
        ratios.push(format!("{what}: {:.2} × in the middle, {:.2} × at the p99", ratio(0.5), ratio(0.99)));
    }
    println!("with runs against without: {}", ratios.join("; "));
    Ok(())
}

async fn once(folder: &Path, with_runs: bool) -> Result<Waited> {
    // Whoever asks for the runs says nothing else: each may ask for five.
    let asking = STACKS / 4;
    let home = Home::begin(folder, STACKS, PEOPLE + asking, STRANGERS).await?;
    home.town.engine.set_behaviour("town/api:1.0", Behaviour::HealthyAfter(SLOW_MS))?;
    let before = memory_kb()?;
    let (over, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let watching = tokio::spawn({
        let (over, most, clock) = (Arc::clone(&over), Arc::clone(&most), Arc::clone(&home.clock));
        async move {
            while !over.load(Ordering::Relaxed) {
                most.fetch_max(memory_kb().unwrap_or_default(), Ordering::Relaxed);
                clock.sleep(Duration::from_millis(20)).await;
            }
        }
    });
    if with_runs {
        let asked = (0..STACKS).map(|n| home.ask(PEOPLE + n % asking, n));
        let accepted = futures_util::future::join_all(asked).await;
        let accepted = accepted.into_iter().collect::<Result<Vec<bool>>>()?;
        println!("\n{} runs were accepted and are going on", accepted.iter().filter(|a| **a).count());
    }
    let speakers = || {
        (0..PEOPLE).map(|n| {
            let name = if n < PEOPLE - STRANGERS { person(n) } else { stranger(n - (PEOPLE - STRANGERS)) };
            (n, Speaker { socket: home.town.socket(), name, session: format!("burst-{n}") })
        })
    };
    let began = Instant::now();
    let talks = speakers().map(|(n, speaker)| {
        let words: Vec<String> = (0..CONVERSED).map(|nth| usual_words(n, nth, STACKS)).collect();
        tokio::spawn(async move { converse(&speaker, &words, 0).await })
    });
    let mut conversed: Vec<Heard> = Vec::new();
    for talk in talks.collect::<Vec<_>>() {
        conversed.extend(talk.await?);
    }
    let conversing = began.elapsed();
    let going_on = home.log.open_runs()?.iter().filter(|run| run.holds_claim()).count();

    let began = Instant::now();
    let floods = speakers().map(|(n, speaker)| {
        let words: Vec<String> = (CONVERSED..CONVERSED + AT_ONCE).map(|nth| usual_words(n, nth, STACKS)).collect();
        let speaker = Speaker { session: format!("flood-{n}"), ..speaker };
        tokio::spawn(async move { speak(&speaker, &words, PATIENCE).await })
    });
    let (mut flooded, mut attached_again): (Vec<Heard>, u32) = (Vec::new(), 0);
    for flood in floods.collect::<Vec<_>>() {
        let (heard, again) = flood.await?;
        flooded.extend(heard);
        attached_again += again;
    }
    let flooding = began.elapsed();
    let runs = if with_runs { format!(", {going_on} runs holding their stacks") } else { String::new() };
    classes(&format!("one after the other in {conversing:.1?}{runs}"), &conversed)?;
    classes(&format!("at once in {flooding:.1?}; consoles attached again: {attached_again}"), &flooded)?;
    home.all_ended().await;
    over.store(true, Ordering::Relaxed);
    watching.await?;
    let megabytes = |kb: u64| kb as f64 * 1.024 / 1000.0;
    println!(
        "memory of the whole process, the people included: {:.1} MB before, {:.1} MB at most, {:.1} MB after",
        megabytes(before),
        megabytes(most.load(Ordering::Relaxed)),
        megabytes(memory_kb()?)
    );
    home.end().await?;
    let acknowledged = conversed.iter().filter_map(|h| h.acknowledged).collect();
    Ok(Waited { acknowledged, answered: conversed.iter().filter_map(|h| Some(h.first?.0)).collect() })
}

fn classes(what: &str, all: &[Heard]) -> Result<()> {
    let mut classes: BTreeMap<Option<Class>, usize> = BTreeMap::new();
    for heard in all {
        *classes.entry(heard.first.map(|(_, class)| class)).or_default() += 1;
    }
    let count = |class| classes.get(&class).copied().unwrap_or_default();
    let [done, refused, limited, busy] =
        [Class::Done, Class::Refused, Class::Limited, Class::Busy].map(|class| count(Some(class)));
    println!("{what}: {} said; {done} done, {refused} refused, {limited} limited, {busy} busy", all.len());
    let owed = all.iter().filter(|h| h.answers < h.deliveries).count();
    if owed > 0 { Err(format!("{owed} were not answered").into()) } else { Ok(()) }
}

fn memory_kb() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

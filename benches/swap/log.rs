//! The log: how long an append takes.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sternway::clock::SystemClock;
use sternway::domain::event::{Event, Outcome};
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::{About, Draft, Log, Record};

use super::Result;
use super::figures::{nth, percentile};

/// Requests told one after the other; three records each, so the p99 has ten values beyond it.
const ONE_BY_ONE: usize = 334;
/// Tasks that append at once, and requests of each.
const TASKS: usize = 64;
const EACH: usize = 20;
/// Bare writes and syncs, to know what the disk itself takes.
const BARE: usize = 1_000;

/// Prints how long appends take in a fresh log in `folder`. What is written are requests that only ask for the plan, with
/// invocation and plan as in `thread`.
/// Gives the p99 of many tasks at once, and that of the disk alone.
pub(crate) async fn appends(folder: &Path, thread: &[Record]) -> Result<(Duration, Duration)> {
    let options = OpenOptions::new(Arc::new(SystemClock), env!("CARGO_PKG_VERSION"), "bench");
    let log = Arc::new(FileLog::open(folder.join("appends"), options)?.0);
    let request = Request::like(thread)?;
    println!("\n| append, durable when acknowledged | p50 | p99 | per second |\n|---|---|---|---|");
    let bytes = format!("{}", serde_json::to_string(&request.planned)?.len());
    let floor = row(
        &format!("bare `write` + `fdatasync` of {bytes} bytes, the disk's own part"),
        bare(folder, bytes.parse()?)?,
    );

    let began = Instant::now();
    let mut took = Vec::new();
    for n in 0..ONE_BY_ONE {
        took.extend(request.tell(&log, &format!("one-{n}")).await?);
    }
    row("FileLog, one by one", (took, began.elapsed()));

    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..TASKS {
        let (log, request) = (Arc::clone(&log), request.clone());
        tasks.spawn(async move {
            let mut took = Vec::new();
            for n in 0..EACH {
                took.extend(request.tell(&log, &format!("{task}-{n}")).await.map_err(|e| e.to_string())?);
            }
            Ok::<_, String>(took)
        });
    }
    let mut took = Vec::new();
    while let Some(done) = tasks.join_next().await {
        took.extend(done??);
    }
    let at_once = row(&format!("FileLog, {TASKS} tasks at once"), (took, began.elapsed()));
    log.close();
    Ok((at_once, floor))
}

/// Prints a row and gives its p99.
fn row(name: &str, (mut took, all): (Vec<Duration>, Duration)) -> Duration {
    let rate = took.len() as f64 / all.as_secs_f64();
    println!("| {name} | {} | {} | {rate:.0} |", percentile(&mut took, 0.5), percentile(&mut took, 0.99));
    nth(&mut took, 0.99)
}

/// A request for a plan, as three records.
#[derive(Clone)]
struct Request {
    invoked: Event,
    planned: Event,
}

impl Request {
    fn like(thread: &[Record]) -> Result<Self> {
        let find = |is: fn(&Event) -> bool| thread.iter().map(|r| &r.event).find(|e| is(e)).cloned();
        Ok(Self {
            invoked: find(|e| matches!(e, Event::Invoked { .. })).ok_or("no request in the thread")?,
            planned: find(|e| matches!(e, Event::Planned { .. })).ok_or("no plan in the thread")?,
        })
    }

    /// Appends the three one after the other; gives how long each took.
    async fn tell(&self, log: &FileLog, event: &str) -> Result<Vec<Duration>> {
        let mut invoked = renamed(&self.invoked, event);
        if let Event::Invoked { dry_run, .. } = &mut invoked {
            *dry_run = true;
        }
        let mut took = Vec::new();
        let mut about = About::NewRun;
        for event in [invoked, self.planned.clone(), Event::Ended { outcome: Outcome::DryRun }] {
            let draft = Draft { about, at: jiff::Timestamp::UNIX_EPOCH, event };
            let began = Instant::now();
            let written = log.append(None, vec![draft]).await?;
            took.push(began.elapsed());
            about = About::Subject(written[0].subject.clone().ok_or("a record of a run has a subject")?);
        }
        Ok(took)
    }
}

/// The same request from another delivery.
fn renamed(event: &Event, name: &str) -> Event {
    let mut event = event.clone();
    if let Event::Invoked { invocation, .. } = &mut event {
        name.clone_into(&mut invocation.event);
    }
    event
}

fn bare(folder: &Path, bytes: usize) -> Result<(Vec<Duration>, Duration)> {
    let path = folder.join("bare");
    let mut file = std::fs::File::create(&path)?;
    let line = vec![b'x'; bytes];
    let began = Instant::now();
    let mut took = Vec::new();
    for _ in 0..BARE {
        let one = Instant::now();
        file.write_all(&line)?;
        file.sync_data()?;
        took.push(one.elapsed());
    }
    let all = began.elapsed();
    std::fs::remove_file(path)?;
    Ok((took, all))
}

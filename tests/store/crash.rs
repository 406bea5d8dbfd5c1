//! `kill -9` under load: whatever was acknowledged is there afterwards, in order, and nothing half.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sternway::domain::event::Event;
use sternway::domain::ids::Position;
use sternway::store::files::{FileLog, IndexOutcome};
use sternway::store::{About, Log};

use super::samples::*;
use super::torture::{Acknowledged, Dice, Running, child, seeds, times};
use super::world::{Folder, options};

/// Names the folder to the child process; without it the child's entry does nothing.
pub const CHILD: &str = "STERNWAY_TEST_CRASH_FOLDER";

pub const ENTRY: &str = "crash::child_that_is_killed";

/// Kills on one folder, before another is begun.
const ON_ONE_FOLDER: usize = 20;

/// Entry of the child process: writes for ever and tells each acknowledged record.
#[test]
fn child_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(write_for_ever(PathBuf::from(folder)));
}

async fn write_for_ever(folder: PathBuf) {
    let mut options = options();
    // Small segments, so that kills fall on their change too.
    options.segment_bytes = 20_000;
    options.ballast_bytes = 256 * 1024;
    println!("begins");
    let (log, _) = FileLog::open(folder, options).expect("it opens");
    let log = Arc::new(log);
    let begin = log.head().position.0;
    let tasks = (0..8).map(|task| {
        let log = log.clone();
        tokio::spawn(async move {
            for n in 0.. {
                let mut batch = vec![new_run(&format!("{begin}-{task}-{n}"), "shop")];
                if n % 2 == 0 {
                    batch.push(draft(About::Log, n, Event::Stopped));
                    batch.push(release_seen("shop", 'a', "1.4"));
                }
                let records = log.append(None, batch).await.expect("the disk is well");
                let mut out = std::io::stdout().lock();
                for record in &records {
                    let _ = writeln!(out, "acked {} {}", record.position, record.hash);
                }
                let _ = out.flush();
                drop(out);
                if task == 0 && n % 7 == 3 {
                    let position = records[0].position;
                    log.set_outbox_cursor("slack", position).expect("the disk is well");
                    println!("cursor {position} .");
                }
            }
        })
    });
    futures_util::future::join_all(tasks).await;
}

/// When a child is killed.
#[derive(Debug)]
enum Moment {
    /// After so many acknowledgements of its own.
    Acknowledged(usize),
    /// While it opens: as soon as this file is there.
    Appears(&'static str),
}

fn moment(dice: &mut Dice, is_new: bool) -> Moment {
    match dice.roll(10) {
        0 if is_new => Moment::Appears(dice.pick(&["key.new", "log/000000000000.log", "ballast", "index/db"])),
        0 | 1 => Moment::Appears(dice.pick(&["lock", "index/conf", "index/db", "cursors.json"])),
        2 | 3 => Moment::Acknowledged(dice.roll(4)),
        _ => Moment::Acknowledged(dice.roll(90)),
    }
}

#[test]
fn two_hundred_kills_under_load_lose_nothing_that_was_acknowledged() {
    let (mut kills, mut records) = (0, 0);
    let seeds = seeds("kills under load");
    for seed in &seeds {
        let mut dice = Dice(*seed);
        let (mut folder, mut acked) = (Folder::new(), Acknowledged::default());
        let rounds = times(200, 1_000).div_ceil(seeds.len());
        for round in 0..rounds {
            let is_new = round % ON_ONE_FOLDER == 0;
            if is_new {
                (folder, acked) = (Folder::new(), Acknowledged::default());
            }
            let moment = moment(&mut dice, is_new);
            let told = format!("seed {seed}, round {round}, killed at {moment:?}");
            kill_at(&folder, &moment, &mut acked).unwrap_or_else(|why| panic!("{told}: {why}"));
            kills += 1;
            // Opened by the next child; now and then by us, to ask what is in it.
            if round % 5 == 4 || round + 1 == rounds {
                records += check(&folder, &acked, &told);
            }
        }
    }
    eprintln!("kills under load: {kills} kills, {records} acknowledged records found again, 0 lost");
}

fn kill_at(folder: &Folder, moment: &Moment, acked: &mut Acknowledged) -> Result<(), String> {
    let mut running = Running::start(child(ENTRY, CHILD, folder.path().as_os_str()));
    let mut own = 0;
    let begun = Instant::now();
    while let Some(Ok(line)) = running.lines.next() {
        own += usize::from(acked.hear(&line));
        let now = match moment {
            Moment::Acknowledged(count) => own >= *count,
            Moment::Appears(file) => {
                let file = folder.path().join(file);
                // Bounded: it may have come and gone.
                while !file.exists() && begun.elapsed() < Duration::from_millis(300) {
                    std::thread::yield_now();
                }
                line.ends_with("begins")
            }
        };
        if now && (own > 0 || line.ends_with("begins")) {
            running.kill(acked);
            return Ok(());
        }
    }
    Err(format!("the child ended by itself after {own} acknowledgements: it did not open, or a write failed"))
}

fn check(folder: &Folder, acked: &Acknowledged, told: &str) -> usize {
    let (log, report) = folder.reopen();
    assert!(!matches!(report.index, IndexOutcome::InMemory { .. }), "{told}: {report:?}");
    let read = log.read(Position(0), usize::MAX).expect("it is read");
    let requests = read.iter().filter(|r| matches!(r.event, Event::Invoked { .. })).count();
    assert_eq!(log.runs(usize::MAX).expect("the index answers").len(), requests, "{told}: runs in the index");
    let cursor = log.outbox_cursor("slack").expect("kept").0;
    assert!(cursor >= acked.cursor, "{told}: the cursor went back from {} to {cursor}", acked.cursor);
    log.close();
    let in_files = acked.is_in(&folder.path()).unwrap_or_else(|why| panic!("{told}: {why}"));
    assert!(acked.records.is_empty() || in_files == read.len() as u64, "{told}: {in_files} in files, {}", read.len());
    acked.records.len()
}

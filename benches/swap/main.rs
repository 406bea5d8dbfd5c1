//! `make bench`: what a rollback of the sample product costs, and what the bot itself costs, as `docs/benchmarks.md`
//! describes it. Prints the tables; needs an engine and the build context of `make product`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for the terminal

mod bot;
mod figures;
mod gap;
mod log;
#[path = "../../tests/support/replay.rs"]
mod replay;
mod serve;
mod shop;

use std::path::Path;

use figures::milliseconds;
use gap::Bench;
use shop::{Compose, Kind, Result};
use sternway::domain::event::Event;
use sternway::store::Record;

/// What is swapped: a service as it should be, two that are slow in their ways, and one that need not be missed at all.
const KINDS: [Kind; 4] = [
    Kind { title: "obeys SIGTERM", behaviour: "good", behind_nginx: false },
    Kind { title: "ignores SIGTERM", behaviour: "deaf", behind_nginx: false },
    Kind { title: "boots for 2 s", behaviour: "slow", behind_nginx: false },
    Kind { title: "obeys SIGTERM, behind nginx, start-first", behaviour: "good", behind_nginx: true },
];
/// Records in the log with which start and memory are measured.
const EVENTS: u64 = 10_000;

fn main() -> Result<()> {
    let id = format!("bench-{}", std::process::id());
    // On the disk of the clone: a folder for temporary files may be in memory, where a sync costs nothing.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(&id);
    // As many threads as `sternway serve` has.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let measured = runtime.block_on(measure(&id, &folder));
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

async fn measure(id: &str, folder: &Path) -> Result<()> {
    let product = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/product");
    let composes = Compose::both()?;
    let [one, two] = composes.each_ref().map(|compose| compose.version.as_str());
    println!("{}; Docker engine {}, Compose {one} and {two}", machine(), shop::engine()?);
    let mut last = None;
    for (nth, kind) in KINDS.into_iter().enumerate() {
        let bench = Bench::up(&product, &format!("{id}-{nth}"), &folder.join(nth.to_string()), kind, &composes).await?;
        let seen = bench.rounds().await?;
        seen.print(kind, &composes);
        if nth == 0 {
            last = Some(seen.thread);
            phases(last.as_deref().unwrap_or_default());
        }
    }
    let thread = last.ok_or("nothing was measured")?;

    log::appends(folder, &thread).await?;

    let bench = Bench::up(&product, &format!("{id}-served"), &folder.join("served"), KINDS[0], &composes).await?;
    let home = bench.into_first();
    let events = replay::fill(home.1.log().as_ref(), &thread, EVENTS).await?;
    let (config, socket) = (home.1.config.clone(), home.1.socket.clone());
    home.1.close();
    let plain = serve::measure(&config, &socket, &[]).await?;
    let thrifty = serve::measure(&config, &socket, &serve::THRIFTY).await?;
    println!("\n| `sternway serve` with {events} events | as it is | with the image's `MALLOC_…` |\n|---|---|---|");
    let [as_it_is, in_image] = [plain.starts, thrifty.starts].map(milliseconds);
    println!("| process start → the console answers | {as_it_is} | {in_image} |");
    let mb = |kib: u64| kib as f64 * 1.024 / 1000.0;
    for ((what, plain), (_, thrifty)) in plain.memory.into_iter().zip(thrifty.memory) {
        println!("| idle, {what} | {:.1} MB | {:.1} MB |", mb(plain), mb(thrifty));
    }
    Ok(())
}

/// When each record of one run was made, in milliseconds since the request.
fn phases(thread: &[Record]) {
    let Some(first) = thread.first() else { return };
    println!("\nThe last rollback by its records, in ms since the request:");
    for record in thread {
        let name = match &record.event {
            Event::Planned { .. } => "planned".to_owned(),
            Event::RunClaimed { .. } => "stack claimed".to_owned(),
            Event::Passed { .. } => "planned anew, passed".to_owned(),
            Event::StepIntent { step } => format!("step {} ordered", step + 1),
            Event::StepDone { step, .. } => format!("step {} done", step + 1),
            Event::Ended { .. } => "ended".to_owned(),
            _ => continue,
        };
        println!("  {:>6}  {name}", record.at.duration_since(first.at).as_millis());
    }
}

/// Processors, their kind, kernel.
fn machine() -> String {
    let cpus = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model.lines().find(|line| line.starts_with("model name")).and_then(|line| line.split_once(": "));
    let kernel = rustix::system::uname().release().to_string_lossy().into_owned();
    format!("{cpus} × {}, Linux {kernel}", model.map_or("unknown processor", |(_, name)| name))
}

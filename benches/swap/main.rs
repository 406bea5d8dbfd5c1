//! `make bench`: what a rollback of the sample product costs, and what the bot itself costs, as `docs/benchmarks.md`
//! describes it. Prints the tables; needs an engine and the build context of `make product`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for the terminal

mod bot;
mod figures;
mod log;
mod serve;
mod shop;

use std::path::Path;
use std::time::{Duration, Instant};

use bot::{Home, OwnSwap};
use figures::{counts, milliseconds, seconds};
use shop::{ComposeSwap, Result, Shop};
use sternway::domain::event::Event;
use sternway::prober::Prober;
use sternway::store::Record;

/// Swaps per way; an odd number has a median that was measured.
const ROUNDS: usize = 9;
/// One request every so often.
const EVERY: Duration = Duration::from_millis(2);
/// Good answers after which a service counts as back, before the next swap: about 0.4 s of them.
const CALM: usize = 200;
/// When it is not back by then it will not come.
const BOUND: Duration = Duration::from_secs(60);
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
    let shop = Shop::up(&product, id)?;
    println!("{}; {}\n", machine(), shop.engine()?);
    let home = Home::open(&shop, folder)?;
    home.wake(&shop.image("api", "1.0")).await?.sleep().await;

    let (mut compose, mut own) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        compose.push(by_compose(&shop).await?);
        own.push(by_bot(&shop, &home, round).await?);
    }
    swaps(&compose, &own);
    let thread = own.into_iter().next_back().map(|(swap, _)| swap.thread).ok_or("no rounds")?;
    phases(&thread);

    log::appends(folder, &thread).await?;

    let events = log::fill(home.log(), &thread, EVENTS).await?;
    let (config, socket) = (home.config.clone(), home.socket.clone());
    home.close();
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

/// A swap as people outside saw it.
struct Outside {
    gap: Duration,
    failed: usize,
}

async fn by_compose(shop: &Shop) -> Result<(ComposeSwap, Outside)> {
    let prober = calmly(shop).await?;
    // Blocks this thread; the prober has its own and the bot sleeps.
    let swap = tokio::task::block_in_place(|| shop.swap_by_compose("1.1"))?;
    let seen = outside(prober, swap.given).await?;
    Ok((swap, seen))
}

async fn by_bot(shop: &Shop, home: &Home, round: usize) -> Result<(OwnSwap, Outside)> {
    let bot = home.wake(&shop.image("api", "1.1")).await?;
    let prober = calmly(shop).await?;
    let swap = bot.roll_back(shop, "1.0", format!("round-{round}")).await?;
    let seen = outside(prober, swap.given).await?;
    bot.sleep().await;
    Ok((swap, seen))
}

async fn calmly(shop: &Shop) -> Result<Prober> {
    let prober = Prober::start(&shop.health_url(), EVERY)?;
    calm(&prober).await?;
    Ok(prober)
}

async fn outside(prober: Prober, given: Instant) -> Result<Outside> {
    calm(&prober).await?;
    let end = Instant::now();
    let probes = prober.stop().await;
    Ok(Outside { gap: probes.longest_gap_in(given, end), failed: probes.failures() })
}

/// Waits for [`CALM`] further good answers.
async fn calm(prober: &Prober) -> Result<()> {
    let enough = prober.good_so_far() + CALM;
    let reached = async {
        let mut look = tokio::time::interval(Duration::from_millis(10));
        while prober.good_so_far() < enough {
            look.tick().await;
        }
    };
    tokio::time::timeout(BOUND, reached).await.map_err(|_| format!("no good answers for {BOUND:?}"))?;
    Ok(())
}

fn swaps(compose: &[(ComposeSwap, Outside)], own: &[(OwnSwap, Outside)]) {
    println!("| {ROUNDS} swaps each, taking turns | `/rollback image api` | `docker-compose up -d --no-deps api` |");
    println!("|---|---|---|");
    let ours = |of: fn(&OwnSwap) -> Duration| seconds(own.iter().map(|(swap, _)| of(swap)).collect());
    let theirs = |of: fn(&ComposeSwap) -> Duration| seconds(compose.iter().map(|(swap, _)| of(swap)).collect());
    println!("| command → new container started | {} | {} |", ours(|s| s.started), theirs(|s| s.started));
    println!(
        "| longest time without a successful answer | {} | {} |",
        seconds(own.iter().map(|(_, seen)| seen.gap).collect()),
        seconds(compose.iter().map(|(_, seen)| seen.gap).collect())
    );
    println!(
        "| failed requests | {} | {} |",
        counts(own.iter().map(|(_, seen)| seen.failed).collect()),
        counts(compose.iter().map(|(_, seen)| seen.failed).collect())
    );
    println!(
        "| of the second: old container signalled → stopped | {} | {} |",
        ours(|s| s.cut.stopping),
        theirs(|s| s.cut.stopping)
    );
    println!(
        "| of the second: old stopped → new started | {} | {} |",
        ours(|s| s.cut.starting),
        theirs(|s| s.cut.starting)
    );
    println!("| of the first: order to the agent → new container started | {} | – |", ours(|s| s.ordered));
    println!("| apart: new container started → health proven | {} | – |", ours(|s| s.proof));
    println!("| command → all told (compose: returned) | {} | {} |", ours(|s| s.ended), theirs(|s| s.returned));
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

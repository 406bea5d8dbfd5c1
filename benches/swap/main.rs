//! `make bench`: what a rollback of the sample product costs, as `docs/benchmarks.md` describes it. Prints the
//! table; needs an engine and the build context of `make product`.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a program for the terminal

mod shop;

use std::path::Path;
use std::time::{Duration, Instant};

use shop::{Result, Shop};
use sternway::prober::Prober;

/// Swaps per way; an odd number has a median that was measured.
const ROUNDS: usize = 7;
/// One request every so often.
const EVERY: Duration = Duration::from_millis(2);
/// Good answers after which a service counts as back, before the next swap: about 0.4 s of them.
const CALM: usize = 200;
/// When it is not back by then it will not come.
const BOUND: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let product = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/product");
    let shop = Shop::up(&product, &format!("bench-{}", std::process::id()))?;
    let (mut started, mut gaps, mut returned, mut failed) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let version = if round % 2 == 0 { "1.1" } else { "1.0" };
        let swap = runtime.block_on(compose_round(&shop, version))?;
        started.push(swap.started);
        gaps.push(swap.gap);
        returned.push(swap.returned);
        failed.push(swap.failed);
    }
    println!("| docker-compose up -d --no-deps api, {ROUNDS} times | median | least | most |\n|---|---|---|---|");
    row("command → new container started", started);
    row("longest time without a successful answer", gaps);
    row("command → command returned", returned);
    failed.sort_unstable();
    println!("| failed requests | {} | {} | {} |", failed[ROUNDS / 2], failed[0], failed[ROUNDS - 1]);
    Ok(())
}

/// One swap as people outside saw it.
struct Round {
    started: Duration,
    returned: Duration,
    gap: Duration,
    failed: usize,
}

async fn compose_round(shop: &Shop, version: &str) -> Result<Round> {
    let prober = Prober::start(&shop.health_url(), EVERY)?;
    calm(&prober).await?;
    // Blocks this thread; the prober has its own.
    let swap = shop.swap_by_compose(version)?;
    calm(&prober).await?;
    let end = Instant::now();
    let probes = prober.stop().await;
    let gap = probes.longest_gap_in(swap.given, end);
    Ok(Round { started: swap.started, returned: swap.returned, gap, failed: probes.failures() })
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

fn row(name: &str, mut values: Vec<Duration>) {
    values.sort_unstable();
    let [median, least, most] = [values.len() / 2, 0, values.len() - 1].map(|at| values[at].as_secs_f64());
    println!("| {name} | {median:.2} s | {least:.2} s | {most:.2} s |");
}

//! A run on each of a hundred stacks at once, on the simulated engine: none waits for another one's.

use std::path::Path;
use std::time::{Duration, Instant};

use sternway::domain::event::Outcome;
use sternway::domain::run::Status;

use super::figures::{milliseconds, nth};
use super::{Home, Result};

const STACKS: usize = 100;
/// Runs one after the other, to compare with.
const ALONE: usize = 5;

pub(crate) async fn measure(folder: &Path) -> Result<()> {
    let home = Home::begin(&folder.join("everywhere"), STACKS + ALONE, STACKS + ALONE, 0).await?;
    for n in 0..ALONE {
        asked(&home, n).await?;
        home.all_ended().await;
    }
    let began = Instant::now();
    let all = (ALONE..STACKS + ALONE).map(|n| asked(&home, n));
    for one in futures_util::future::join_all(all).await {
        one?;
    }
    home.all_ended().await;
    let all = began.elapsed();
    let mut took = Vec::new();
    for run in home.log.runs(STACKS + ALONE)? {
        match run.status {
            Status::Ended { outcome: Outcome::Done, at } => {
                took.push(Duration::try_from(at.duration_since(run.asked))?);
            }
            other => return Err(format!("{} is not done: {other:?}", run.id).into()),
        }
    }
    // Newest first.
    let mut alone = took.split_off(STACKS);
    let ratio = nth(&mut took, 0.5).as_secs_f64() / nth(&mut alone, 0.5).as_secs_f64();
    println!("\n| asked → done | |\n|---|---|");
    println!("| a run alone | {} |", milliseconds(alone));
    println!("| {STACKS} at once, each on a stack of its own | {} |", milliseconds(took));
    println!(
        "all {STACKS} are done {:.2} s after the first was asked for; in the middle {ratio:.2} × one alone",
        all.as_secs_f64()
    );
    home.end().await
}

async fn asked(home: &Home, n: usize) -> Result<()> {
    if home.ask(n, n).await? { Ok(()) } else { Err("the rollback was not accepted".into()) }
}

//! `make bench-verify`: how long `sternway audit verify` takes over a history of a million records (aim: under 5 s),
//! from the segment files alone. The file cache is warm: the history was written a moment before.
//!
//! `STERNWAY_RECORDS` names another size. `--write FOLDER` only writes the history, for whoever wants to open it.
#![allow(clippy::print_stdout)] // a program for the terminal

#[path = "../../tests/support/history.rs"]
mod history;

use std::path::Path;
use std::time::{Duration, Instant};

use sternway::store::verify::verify;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const RECORDS: u64 = 1_000_000;
const ROUNDS: usize = 5;
const AIM: Duration = Duration::from_secs(5);

fn main() -> Result<()> {
    #[allow(clippy::disallowed_methods)] // a program for the terminal
    let records = std::env::var("STERNWAY_RECORDS").map_or(Ok(RECORDS), |n| n.parse())?;
    let mut arguments = std::env::args().skip(1).filter(|a| a != "--bench");
    if let (Some("--write"), Some(folder)) = (arguments.next().as_deref(), arguments.next()) {
        let written = history::write(Path::new(&folder), records, 1)?;
        println!("{} records, {} MB in {folder}", written.records, written.bytes / 1_000_000);
        return Ok(());
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("verify-{}", std::process::id()));
    let measured = measure(&folder, records);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

fn measure(folder: &Path, records: u64) -> Result<()> {
    let begun = Instant::now();
    let written = history::write(folder, records, 1)?;
    println!(
        "written: {} records of {} runs, {} MB, in {:.1} s",
        written.records,
        written.runs,
        written.bytes / 1_000_000,
        begun.elapsed().as_secs_f64()
    );
    let mut all = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let verified = verify(folder)?;
        all.push(begun.elapsed());
        if verified.records != written.records || verified.head.hash != written.head {
            return Err("it verified something else than was written".into());
        }
    }
    all.sort();
    let seconds: Vec<String> = all.iter().map(|d| format!("{:.2}", d.as_secs_f64())).collect();
    let median = all[ROUNDS / 2];
    let rate = written.bytes as f64 / 1e6 / median.as_secs_f64();
    println!("verified in {} s (median {:.2} s, {rate:.0} MB/s)", seconds.join(" "), median.as_secs_f64());
    println!("aim: under {} s: {}", AIM.as_secs(), if median < AIM { "reached" } else { "MISSED" });
    Ok(())
}

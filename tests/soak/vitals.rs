//! What the kernel and the runtime say of this process.

use std::time::Duration;

use super::trend;

/// One reading.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vitals {
    /// Memory of the process's own, in kB: what it has of files the kernel can drop.
    pub(super) memory: u64,
    pub(super) handles: u64,
    pub(super) threads: u64,
    /// Tasks of the runtime, those of the people included.
    pub(super) tasks: u64,
    /// Tasks that the bot waits for when it stops.
    pub(super) own_tasks: u64,
}

impl Vitals {
    pub(super) const HEADER: &str =
        "    time   RssAnon  handles  threads  tasks  of the bot   records  runs ended    said";

    pub(super) fn now(own_tasks: usize) -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |key: &str| {
            let line = status.lines().find_map(|l| l.strip_prefix(key)).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        Self {
            memory: line("RssAnon:"),
            threads: line("Threads:"),
            handles: std::fs::read_dir("/proc/self/fd").unwrap().count() as u64,
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64,
            own_tasks: own_tasks as u64,
        }
    }

    pub(super) fn row(&self, at: Duration, records: u64, ended: u64, said: u64) -> String {
        let megabytes = self.memory as f64 * 1.024 / 1000.0;
        format!(
            "{:>6} s {megabytes:>6.1} MB {:>8} {:>8} {:>6} {:>11} {records:>9} {ended:>11} {said:>7}",
            at.as_secs(),
            self.handles,
            self.threads,
            self.tasks,
            self.own_tasks,
        )
    }
}

/// Names what has grown since it was warm, if anything.
pub(super) fn verdict(samples: &[Vitals]) -> Result<(), String> {
    // What a reading may swing by: consoles that happen to be attached, a run more or less, what the allocator keeps.
    let measures: [(&str, fn(&Vitals) -> u64, trend::Slack); 5] = [
        ("RssAnon in kB", |v| v.memory, trend::Slack { share: 0.04, more: 3_000.0 }),
        ("file handles", |v| v.handles, trend::Slack { share: 0.10, more: 4.0 }),
        ("threads", |v| v.threads, trend::Slack { share: 0.10, more: 6.0 }),
        ("tasks", |v| v.tasks, trend::Slack { share: 0.10, more: 8.0 }),
        ("tasks of the bot", |v| v.own_tasks, trend::Slack { share: 0.10, more: 8.0 }),
    ];
    let mut grew = Vec::new();
    println!("\nmedians of the thirds after the first quarter:");
    for (name, of, slack) in measures {
        let values: Vec<f64> = samples.iter().map(|v| of(v) as f64).collect();
        let thirds = trend::thirds(&values);
        println!("  {name:<18} {:>9.0} {:>9.0} {:>9.0}", thirds[0], thirds[1], thirds[2]);
        if trend::grows(thirds, slack) {
            grew.push(format!("{name} grew from {:.0} over {:.0} to {:.0}", thirds[0], thirds[1], thirds[2]));
        }
    }
    if grew.is_empty() { Ok(()) } else { Err(grew.join("; ")) }
}

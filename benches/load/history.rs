//! A million records: how long until the bot serves after `kill -9`, how long it looks for an answer, and what it takes in
//! memory. The release binary in a process of its own; there is no engine, so what asks for one says that it is away.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sternway::chat::console::protocol::FromServer;
use sternway::clock::SystemClock;
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::{Log, Record};

use super::crowd::Voice;
use super::figures::milliseconds;
use super::town::Town;
use super::{Result, aim, replay, serve};

const EVENTS: u64 = 1_000_000;
const START_AIM: Duration = Duration::from_secs(5);
const ANSWER_AIM: Duration = Duration::from_millis(100);
/// Starts after a kill; an odd number has a median that was measured.
const STARTS: usize = 5;
/// Times that each thing is asked. `/audit` may be said ten times in a minute.
const ASKED: usize = 4;

pub(crate) async fn measure(folder: &Path, thread: &[Record]) -> Result<()> {
    std::fs::create_dir_all(folder)?;
    let mut town = Town::found(folder, 1, 1, Arc::new(SystemClock));
    let uid = rustix::process::getuid().as_raw();
    town.more_config = format!(
        "[[person]]\nid = \"bench\"\nroles = [\"on-call\", \"approver\"]\naccounts = {{ console = [\"uid:{uid}\"] }}\n"
    );
    let config = folder.join("sternway.toml");
    let away = format!("[sternway]\ndocker = \"unix://{}/no-engine\"", folder.display());
    std::fs::write(&config, town.config_text().replacen("[sternway]", &away, 1))?;
    fill(&town, thread).await?;

    let socket = town.socket();
    let (child, first) = serve::start(&config, &socket, &serve::THRIFTY).await?;
    println!("\n| `sternway serve` with {EVENTS} records | |\n|---|---|");
    println!("| first start, after an orderly end | {:.2} s |", first.as_secs_f64());
    let mut child = child;
    let (mut starts, mut worked) = (Vec::new(), Vec::new());
    for n in 0..STARTS {
        // Something was written since: what a kill leaves behind.
        let mut voice = Voice::attach_as(&socket, &format!("kill-{n}"), None).await.ok_or("there is no seat")?;
        voice.ask(1, "/rollback plan image api").await.ok_or("it was not answered")?;
        child.kill().await?;
        let (next, took) = serve::start(&config, &socket, &serve::THRIFTY).await?;
        child = next;
        starts.push(took);
        worked.push(cpu_time(&child)?);
    }
    let slowest = starts.iter().max().copied().unwrap_or_default();
    println!("| start after `kill -9` → the console answers | {} |", milliseconds(starts));
    println!("| of it: its own work on the processors | {} |", milliseconds(worked));
    let memory = |lines: Vec<(String, u64)>| {
        let all: Vec<String> =
            lines.iter().map(|(k, kb)| format!("{k} {:.1} MB", *kb as f64 * 1.024 / 1000.0)).collect();
        all.join(", ")
    };
    println!("| idle | {} |", memory(serve::idle(&child).await?));

    let mut voice = Voice::attach_as(&socket, "asks", None).await.ok_or("there is no seat")?;
    let mut id = 0;
    let mut worst = Duration::ZERO;
    for words in ["/runs list", "/audit show", "/audit show r1", "/runs show r1", "/releases api", "/help"] {
        let mut took = Vec::new();
        for _ in 0..ASKED {
            id += 1;
            let began = Instant::now();
            let answer = voice.ask(id, words).await.ok_or("it was not answered")?;
            took.push(began.elapsed());
            if let (FromServer::Answer { card, .. }, true) = (&answer, took.len() == 1 && words.starts_with("/audit")) {
                let title = card.title.iter().map(|s| s.words()).collect::<String>();
                if !title.starts_with("Records") {
                    return Err(format!("{words} was answered with {title}").into());
                }
            }
        }
        worst = worst.max(took.iter().max().copied().unwrap_or_default());
        println!(
            "| `{words}` | {:.1?}, at most {:.1?} |",
            super::figures::nth(&mut took, 0.5),
            super::figures::nth(&mut took, 1.0)
        );
    }
    println!("| idle after these | {} |", memory(serve::idle(&child).await?));
    child.kill().await?;
    let began = Instant::now();
    let verified = tokio::process::Command::new(env!("CARGO_BIN_EXE_sternway"))
        .args(["audit", "verify"])
        .arg(town.store())
        .stdout(Stdio::null())
        .status()
        .await?;
    println!("| `sternway audit verify` | {:.2} s |", began.elapsed().as_secs_f64());
    if !verified.success() {
        return Err("the log is not whole".into());
    }
    aim("the slowest start after kill -9", slowest, START_AIM);
    aim("the slowest answer", worst, ANSWER_AIM);
    Ok(())
}

/// What a process has worked so far: a start on a machine that does other things too is longer than that.
fn cpu_time(child: &tokio::process::Child) -> Result<Duration> {
    let pid = child.id().ok_or("it has ended")?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // proc_pid_stat(5): after the name in brackets the 12th and 13th field, in ticks of which Linux has 100 in a second.
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks: u64 = [11, 12].iter().filter_map(|n| fields.get(*n)?.parse::<u64>().ok()).sum();
    Ok(Duration::from_millis(ticks * 10))
}

/// Writes a million records through the log's own door, and says what they take on the disk.
async fn fill(town: &Town, thread: &[Record]) -> Result<()> {
    let options = || OpenOptions::new(Arc::new(SystemClock), env!("CARGO_PKG_VERSION"), "bench");
    let began = Instant::now();
    let log = FileLog::open(town.store(), options())?.0;
    let events = replay::fill(&log, thread, EVENTS).await?;
    // Everybody was told all of it.
    log.set_outbox_cursor("console", log.head().position)?;
    log.close();
    drop(log);
    let size = |folder: &str| -> Result<u64> {
        let mut bytes = 0;
        let mut folders = vec![town.store().join(folder)];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { bytes += entry.metadata()?.len() }
            }
        }
        Ok(bytes / 1_000_000)
    };
    println!(
        "\n{events} records in {:.0} s: {} MB of segments, {} MB of index",
        began.elapsed().as_secs_f64(),
        size("log")?,
        size("index")?
    );
    let began = Instant::now();
    let (log, report) = FileLog::open(town.store(), options())?;
    println!("opening the log alone: {:.2} s, the index {:?}", began.elapsed().as_secs_f64(), report.index);
    log.close();
    Ok(())
}

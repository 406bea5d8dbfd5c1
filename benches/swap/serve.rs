//! `sternway serve` as people run it: the release binary in a process of its own. How long until its console answers, and
//! how much memory it has when nothing happens.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sternway::chat::console::protocol::{
    FromClient, FromServer, LineReader, Read, SERVER_LINE_LIMIT, VERSION, json_line,
};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::process::{Child, Command};

use super::Result;

/// Starts; an odd number has a median that was measured.
const STARTS: usize = 7;
/// One try to reach the console every so often: what a start may come out too long.
const TRY_EVERY: Duration = Duration::from_millis(1);
/// It will not come any more.
const BOUND: Duration = Duration::from_mins(2);
/// How long nothing happens before its memory is read: longer than the 15 s between two looks at the stack.
const IDLE: Duration = Duration::from_secs(20);

/// What the image sets for glibc's allocator (Dockerfile): one heap, which gives back what is free.
pub(crate) const THRIFTY: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "1"), ("MALLOC_TRIM_THRESHOLD_", "131072"), ("MALLOC_MMAP_THRESHOLD_", "65536")];

/// What was measured.
pub(crate) struct Served {
    /// Process start → the console's welcome.
    pub(crate) starts: Vec<Duration>,
    /// Lines of `/proc/PID/status`, in kB, after [`IDLE`].
    pub(crate) memory: Vec<(String, u64)>,
}

/// Starts the binary several times on a bot's home, with these variables, and leaves the last one idle for a while.
pub(crate) async fn measure(config: &Path, socket: &Path, variables: &[(&str, &str)]) -> Result<Served> {
    let mut starts = Vec::new();
    loop {
        let (child, took) = start(config, socket, variables).await?;
        starts.push(took);
        let last = starts.len() == STARTS;
        let memory = if last { idle(&child).await? } else { Vec::new() };
        stop(child).await?;
        if last {
            return Ok(Served { starts, memory });
        }
    }
}

/// Starts the binary; gives it once its console answers, and how long that took.
pub(crate) async fn start(config: &Path, socket: &Path, variables: &[(&str, &str)]) -> Result<(Child, Duration)> {
    let began = Instant::now();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sternway"))
        .args(["serve", "--config"])
        .arg(config)
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let answered = tokio::time::timeout(BOUND, welcome(&mut child, socket)).await;
    answered.map_err(|_| format!("the console does not answer within {BOUND:?}"))??;
    Ok((child, began.elapsed()))
}

/// Comes back when the bot has said who it takes us for.
async fn welcome(child: &mut Child, socket: &Path) -> Result<()> {
    let mut tries = tokio::time::interval(TRY_EVERY);
    loop {
        tries.tick().await;
        if let Some(status) = child.try_wait()? {
            return Err(format!("sternway serve ended at once: {status}").into());
        }
        let Ok(stream) = UnixStream::connect(socket).await else { continue };
        let (reading, mut out) = stream.into_split();
        let hello = FromClient::Hello { version: VERSION, session: None, speaker: None };
        out.write_all(json_line(&hello).as_bytes()).await?;
        return match LineReader::new(reading, SERVER_LINE_LIMIT).next().await? {
            Read::Line(line) => match serde_json::from_str(&line)? {
                FromServer::Welcome { .. } => Ok(()),
                other => Err(format!("no welcome: {other:?}").into()),
            },
            other => Err(format!("no welcome: {other:?}").into()),
        };
    }
}

/// Its memory after [`IDLE`].
pub(crate) async fn idle(child: &Child) -> Result<Vec<(String, u64)>> {
    let mut ticks = tokio::time::interval(IDLE);
    ticks.tick().await;
    ticks.tick().await;
    let pid = child.id().ok_or("it has ended")?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let wanted = ["VmRSS", "RssAnon", "RssFile"];
    let lines = status.lines().filter_map(|line| line.split_once(':')).filter(|(key, _)| wanted.contains(key));
    lines.map(|(key, value)| Ok((key.to_owned(), value.trim().trim_end_matches(" kB").parse()?))).collect()
}

pub(crate) async fn stop(mut child: Child) -> Result<()> {
    let pid =
        child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?)).ok_or("it has ended")?;
    rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    tokio::time::timeout(BOUND, child.wait()).await.map_err(|_| "sternway serve does not stop")??;
    Ok(())
}

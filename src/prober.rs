//! The outside prober: asks a page every few milliseconds, as users would, and tells how long nobody got
//! a good answer. Demo and bench take their figures from it.
//!
//! *Open loop*: requests leave on schedule whether or not earlier ones were answered. A prober that waits
//! for each answer sends nothing while the service hangs, and so reports one slow request where five
//! hundred users waited (coordinated omission). It runs on a thread and a runtime of its own, so that a
//! busy bot does not make the service look slow. It must never be used to judge health: that is the
//! business of the plan's health rule.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// An answer later than this is no answer: a user has reloaded by then.
pub const PROBE_TIME_LIMIT: Duration = Duration::from_secs(1);
/// Requests under way at once: what the 2 ms schedule has open when nothing answers for the whole time
/// limit, and some. When all are taken the next request is counted as failed and not sent.
pub const PROBE_MAX_OUTSTANDING: usize = 640;
/// After so many probes (33 minutes at 2 ms, about 32 MB) recording stops and [`Probes::is_cut_short`] says so.
pub const PROBE_MAX_RECORDED: usize = 1_000_000;
/// A longer answer is cut off there and counts as failed: a health page is short.
const ANSWER_LIMIT: usize = 64 * 1024;

/// Why probing did not start.
#[derive(Debug, thiserror::Error)]
pub enum ProberError {
    /// Only plain HTTP to an address is probed.
    #[error("cannot probe {0:?}: give it as http://127.0.0.1:PORT/PATH, with an address and not a name")]
    Url(String),
    /// No thread or no event loop could be had.
    #[error("the prober's thread does not start")]
    Thread(#[source] std::io::Error),
}

/// A running prober. Dropping it ends the probing and forgets what it saw.
#[derive(Debug)]
#[must_use = "a prober is stopped to learn what it saw"]
pub struct Prober {
    stop: Option<oneshot::Sender<()>>,
    seen: oneshot::Receiver<Probes>,
    started: Instant,
    good: Arc<AtomicUsize>,
}

impl Prober {
    /// Begins to ask `url` (`http://127.0.0.1:3000/api/health`) once every `interval`, from now on.
    ///
    /// # Errors
    /// When the url is not plain HTTP to an address, or no thread can be had.
    pub fn start(url: &str, interval: Duration) -> Result<Self, ProberError> {
        let target = Target::parse(url).ok_or_else(|| ProberError::Url(url.to_owned()))?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ProberError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let (tell, seen) = oneshot::channel();
        let started = Instant::now();
        let good = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&good);
        std::thread::Builder::new()
            .name("prober".to_owned())
            .spawn(move || {
                let probes = runtime.block_on(probe(target, interval, started, stopped, &counter));
                // Nobody waits for it when the prober was dropped.
                let _ = tell.send(probes);
            })
            .map_err(ProberError::Thread)?;
        Ok(Self { stop: Some(stop), seen, started, good })
    }

    /// When it began; offsets in [`Probe`] count from here.
    pub fn started(&self) -> Instant {
        self.started
    }

    /// Good answers until now. Who wants to see the end of a gap waits until this has grown.
    pub fn good_so_far(&self) -> usize {
        self.good.load(Ordering::Relaxed)
    }

    /// Sends nothing more, waits for what is under way (at most [`PROBE_TIME_LIMIT`]) and tells all.
    pub async fn stop(mut self) -> Probes {
        self.stop.take();
        // The sender goes away unused only if the prober's thread died: then nothing was seen.
        (&mut self.seen).await.unwrap_or_else(|_| Probes::nothing_since(self.started))
    }
}

/// One request: when it was due, how long its answer took, whether that was a good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// When it was due, since the prober's start.
    pub start: Duration,
    /// From then to the end of its answer, or to its failure.
    pub latency: Duration,
    /// A complete answer with a 2xx status within [`PROBE_TIME_LIMIT`].
    pub ok: bool,
}

impl Probe {
    fn end(&self) -> Duration {
        self.start + self.latency
    }
}

/// What a prober saw.
#[derive(Debug, Clone)]
pub struct Probes {
    started: Instant,
    length: Duration,
    probes: Vec<Probe>,
    cut_short: bool,
}

impl Probes {
    fn nothing_since(started: Instant) -> Self {
        Self { started, length: started.elapsed(), probes: Vec::new(), cut_short: true }
    }

    /// The requests in the order in which they were due.
    pub fn all(&self) -> &[Probe] {
        &self.probes
    }

    /// How many requests were due.
    pub fn count(&self) -> usize {
        self.probes.len()
    }

    /// How many of them got no good answer.
    pub fn failures(&self) -> usize {
        self.probes.iter().filter(|probe| !probe.ok).count()
    }

    /// Whether recording ended before the prober was stopped.
    pub fn is_cut_short(&self) -> bool {
        self.cut_short
    }

    /// The longest time without a good answer, over the whole time of probing. See [`Self::longest_gap_in`].
    pub fn longest_gap(&self) -> Duration {
        self.longest_gap_in(self.started, self.started + self.length)
    }

    /// The longest time without a good answer between two instants: good answers are ordered by when they
    /// were *complete*, and the longest stretch between two neighbours counts, also the one from `from` to
    /// the first and from the last to `to`. So an answer that was held back counts from when it came, and a
    /// service that never comes back counts until the end. With a healthy service this is the interval plus
    /// the spread of the latency: read figures below a few milliseconds as none.
    pub fn longest_gap_in(&self, from: Instant, to: Instant) -> Duration {
        let (from, to) = (self.offset(from), self.offset(to).min(self.length));
        let mut ends: Vec<Duration> = self.good().map(Probe::end).filter(|end| (from..=to).contains(end)).collect();
        ends.sort_unstable();
        let mut last = from;
        let mut longest = Duration::ZERO;
        for end in ends.into_iter().chain([to]) {
            longest = longest.max(end.saturating_sub(last));
            last = end;
        }
        longest
    }

    /// From `instant` to the first complete good answer of a request that was due at or after it: what
    /// somebody saw who began to reload the page then. `None`: there was none.
    pub fn first_ok_after(&self, instant: Instant) -> Option<Duration> {
        let from = self.offset(instant);
        let first = self.good().filter(|probe| probe.start >= from).map(Probe::end).min()?;
        Some(first.saturating_sub(from))
    }

    /// The latency that a share of the good answers did not exceed: `0.5` is the median, `0.99` the p99
    /// (nearest rank). `None`: no good answers.
    pub fn latency_percentile(&self, share: f64) -> Option<Duration> {
        let mut latencies: Vec<Duration> = self.good().map(|probe| probe.latency).collect();
        latencies.sort_unstable();
        let rank = (share.clamp(0.0, 1.0) * latencies.len() as f64).ceil() as usize;
        latencies.get(rank.saturating_sub(1)).copied()
    }

    fn good(&self) -> impl Iterator<Item = &Probe> {
        self.probes.iter().filter(|probe| probe.ok)
    }

    fn offset(&self, instant: Instant) -> Duration {
        instant.saturating_duration_since(self.started)
    }
}

#[derive(Debug)]
struct Target {
    address: SocketAddr,
    request: Vec<u8>,
}

impl Target {
    fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let path = if path.is_empty() { "/" } else { path };
        let address = host.parse().ok()?;
        // Nothing that could end the request line early.
        if path.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return None;
        }
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").into_bytes();
        Some(Self { address, request })
    }
}

async fn probe(
    target: Target,
    interval: Duration,
    started: Instant,
    mut stopped: oneshot::Receiver<()>,
    good: &AtomicUsize,
) -> Probes {
    let target = Arc::new(target);
    let places = Arc::new(Semaphore::new(PROBE_MAX_OUTSTANDING));
    let mut under_way: JoinSet<Probe> = JoinSet::new();
    let mut probes = Vec::new();
    let mut cut_short = false;
    // Late ticks are made up for, each with the time at which it was due: the schedule never slips.
    let mut schedule = tokio::time::interval_at(started.into(), interval.max(Duration::from_micros(1)));
    schedule.set_missed_tick_behavior(MissedTickBehavior::Burst);
    loop {
        tokio::select! {
            biased;
            _ = &mut stopped => break,
            due = schedule.tick() => {
                let start = due.into_std().saturating_duration_since(started);
                if probes.len() + under_way.len() >= PROBE_MAX_RECORDED {
                    cut_short = true;
                    break;
                }
                match Arc::clone(&places).try_acquire_owned() {
                    Ok(place) => {
                        let target = Arc::clone(&target);
                        under_way.spawn(async move {
                            let answer = tokio::time::timeout(PROBE_TIME_LIMIT, ask(&target)).await;
                            drop(place);
                            let latency = started.elapsed().saturating_sub(start);
                            Probe { start, latency, ok: matches!(answer, Ok(Ok(true))) }
                        });
                    }
                    Err(_) => probes.push(Probe { start, latency: Duration::ZERO, ok: false }),
                }
            }
            Some(done) = under_way.join_next() => {
                good.fetch_add(usize::from(done.as_ref().is_ok_and(|probe| probe.ok)), Ordering::Relaxed);
                probes.extend(done);
            }
        }
    }
    let length = started.elapsed();
    while let Some(done) = under_way.join_next().await {
        probes.extend(done);
    }
    probes.sort_unstable_by_key(|probe| probe.start);
    Probes { started, length, probes, cut_short }
}

/// Asks once and reads the answer to its end; `true` when it is complete and its status is 2xx.
async fn ask(target: &Target) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(target.address).await?;
    stream.write_all(&target.request).await?;
    let mut answer = Vec::with_capacity(512);
    let mut limited = stream.take(ANSWER_LIMIT as u64);
    limited.read_to_end(&mut answer).await?;
    Ok(limited.limit() > 0 && is_good(&answer))
}

/// A 2xx status, a whole head, and as much body as the head announced: a process killed in mid-answer
/// closes its connection just as one that has finished.
fn is_good(answer: &[u8]) -> bool {
    let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { return false };
    let Ok(head) = std::str::from_utf8(&answer[..end]) else { return false };
    let announced = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok());
    let body = answer.len() - (end + 4);
    (head.starts_with("HTTP/1.1 2") || head.starts_with("HTTP/1.0 2")) && announced.is_none_or(|length| length == body)
}

#[cfg(test)]
mod tests;

//! Hands and logs that misbehave.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)] // test support

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sternway::agent::engine::Engine;
use sternway::agent::{Act, ActError, Observed, Order, Progress};
use sternway::dispatch::Host;
use sternway::domain::event::Subject;
use sternway::domain::ids::{ApprovalId, Position, RunId};
use sternway::domain::names::{HostName, ProjectName, ServiceName, Target};
use sternway::domain::plan::StepOutput;
use sternway::domain::release::{Handles, History};
use sternway::domain::run::RunState;
use sternway::store::{AppendError, Draft, Head, Log, ReadError, Record, SharedLog};
use tokio::sync::watch;

use crate::night::Night;

/// Whether one container points at another one of today, runs, and was started after it.
pub fn follows(night: &Night, name: &str, key: &str, of: &str) -> Result<(), String> {
    let (one, host) = night.run(async { (night.engine.inspect(name).await, night.engine.inspect(of).await) });
    let (one, host) = (one.unwrap().ok_or("it is gone")?, host.unwrap().ok_or("what it follows is gone")?);
    let points = one["HostConfig"][key].to_string();
    if !points.contains(host["Id"].as_str().unwrap()) {
        return Err(format!("{name} points at {points}, not at today's {of}"));
    }
    started_after(night, name, of)
}

/// Whether one container runs and was started after another one of today.
pub fn started_after(night: &Night, name: &str, of: &str) -> Result<(), String> {
    let (one, host) = night.run(async { (night.engine.inspect(name).await, night.engine.inspect(of).await) });
    let (one, host) = (one.unwrap().ok_or("it is gone")?, host.unwrap().ok_or("what it starts after is gone")?);
    let started =
        |c: &serde_json::Value| -> jiff::Timestamp { c["State"]["StartedAt"].as_str().unwrap().parse().unwrap() };
    if one["State"]["Running"] != true || started(&one) < started(&host) {
        return Err(format!("{name} was not started after {of}: {} and {}", one["State"], host["State"]));
    }
    Ok(())
}

/// Whether a container that was stopped by hand is left so.
pub fn stands_still(night: &Night, name: &str) -> Result<(), String> {
    let one = night.run(async { night.engine.inspect(name).await }).unwrap().ok_or("it is gone")?;
    if one["State"]["Running"] == false { Ok(()) } else { Err(format!("{name} was started: {}", one["State"])) }
}

/// The same hosts with other hands.
pub fn replace(
    hosts: BTreeMap<HostName, Host>,
    with: impl Fn(Arc<dyn Act>) -> Arc<dyn Act>,
) -> BTreeMap<HostName, Host> {
    hosts.into_iter().map(|(name, host)| (name, Host { act: with(host.act), inspect: host.inspect })).collect()
}

/// Does everything twice, as a network that delivers twice would.
pub struct Twice(pub Arc<dyn Act>);

#[async_trait::async_trait]
impl Act for Twice {
    async fn act(&self, order: &Order, progress: Progress) -> Result<StepOutput, ActError> {
        let first = self.0.act(order, progress.clone()).await;
        // Nobody hears what the second delivery comes to; what matters is that it changes nothing.
        let _ = self.0.act(order, progress).await;
        first
    }

    async fn observe(&self, order: &Order) -> Result<Observed, ActError> {
        self.0.observe(order).await
    }

    async fn keep(&self, project: &ProjectName, service: &ServiceName, image: &Handles) -> Result<(), ActError> {
        self.0.keep(project, service, image).await
    }

    fn can(&self) -> &'static [&'static str] {
        self.0.can()
    }
}

/// When a step fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Half {
    /// Before it has done anything.
    Before,
    /// After it has done all of it.
    After,
}

/// Fails one forward step, once.
pub struct Failing {
    inner: Arc<dyn Act>,
    step: usize,
    half: Half,
    orders: AtomicUsize,
}

impl Failing {
    pub fn new(inner: Arc<dyn Act>, step: usize, half: Half) -> Self {
        Self { inner, step, half, orders: AtomicUsize::new(0) }
    }
}

#[async_trait::async_trait]
impl Act for Failing {
    async fn act(&self, order: &Order, progress: Progress) -> Result<StepOutput, ActError> {
        if self.orders.fetch_add(1, Ordering::SeqCst) != self.step {
            return self.inner.act(order, progress).await;
        }
        if self.half == Half::After {
            self.inner.act(order, progress).await?;
        }
        Err(ActError::Failed("made to fail".into()))
    }

    async fn observe(&self, order: &Order) -> Result<Observed, ActError> {
        self.inner.observe(order).await
    }

    async fn keep(&self, project: &ProjectName, service: &ServiceName, image: &Handles) -> Result<(), ActError> {
        self.inner.keep(project, service, image).await
    }

    fn can(&self) -> &'static [&'static str] {
        self.inner.can()
    }
}

/// A log after whose nth append the bot dies: the records are durable, and nobody hears of it.
pub struct Dying {
    inner: SharedLog,
    after: usize,
    appends: AtomicUsize,
    dead: AtomicBool,
    died: watch::Sender<bool>,
}

impl Dying {
    pub fn after(inner: SharedLog, after: usize) -> Arc<Self> {
        Arc::new(Self {
            inner,
            after,
            appends: AtomicUsize::new(0),
            dead: AtomicBool::new(false),
            died: watch::Sender::new(false),
        })
    }

    pub fn appends(&self) -> usize {
        self.appends.load(Ordering::SeqCst)
    }

    pub fn is_dead(&self) -> bool {
        self.dead.load(Ordering::SeqCst)
    }

    /// Resolves at the moment of death.
    pub fn dead(&self) -> impl Future<Output = ()> + use<> {
        let mut died = self.died.subscribe();
        async move {
            let _ = died.wait_for(|d| *d).await;
        }
    }
}

#[async_trait::async_trait]
impl Log for Dying {
    async fn append(&self, expected: Option<Position>, batch: Vec<Draft>) -> Result<Vec<Record>, AppendError> {
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
        let written = self.inner.append(expected, batch).await?;
        if self.appends.fetch_add(1, Ordering::SeqCst) + 1 >= self.after {
            self.dead.store(true, Ordering::SeqCst);
            self.died.send_replace(true);
            std::future::pending::<()>().await;
        }
        Ok(written)
    }

    fn head(&self) -> Head {
        self.inner.head()
    }
    fn log_id(&self) -> String {
        self.inner.log_id()
    }
    fn read(&self, from: Position, limit: usize) -> Result<Vec<Record>, ReadError> {
        self.inner.read(from, limit)
    }
    fn thread(&self, subject: &Subject) -> Result<Vec<Record>, ReadError> {
        self.inner.thread(subject)
    }
    fn run(&self, id: RunId) -> Result<Option<RunState>, ReadError> {
        self.inner.run(id)
    }
    fn runs(&self, limit: usize) -> Result<Vec<RunState>, ReadError> {
        self.inner.runs(limit)
    }
    fn open_runs(&self) -> Result<Vec<RunState>, ReadError> {
        self.inner.open_runs()
    }
    fn run_of_approval(&self, id: ApprovalId) -> Result<Option<RunState>, ReadError> {
        self.inner.run_of_approval(id)
    }
    fn holder(&self, target: &Target) -> Result<Option<RunState>, ReadError> {
        self.inner.holder(target)
    }
    fn history(&self, target: &Target, service: &ServiceName) -> Result<History, ReadError> {
        self.inner.history(target, service)
    }
    fn services(&self) -> Result<Vec<(Target, ServiceName)>, ReadError> {
        self.inner.services()
    }
    fn epoch(&self) -> Result<Option<u64>, ReadError> {
        self.inner.epoch()
    }
    fn seen(&self, event: &str) -> Result<Option<Position>, ReadError> {
        self.inner.seen(event)
    }
    fn outbox_cursor(&self, surface: &str) -> Result<Position, ReadError> {
        self.inner.outbox_cursor(surface)
    }
    fn set_outbox_cursor(&self, surface: &str, position: Position) -> Result<(), ReadError> {
        self.inner.set_outbox_cursor(surface, position)
    }
    fn watch(&self) -> watch::Receiver<Position> {
        self.inner.watch()
    }
    fn reserve(&self, records: usize) -> Result<(), AppendError> {
        self.inner.reserve(records)
    }
    fn trouble(&self) -> Option<String> {
        self.inner.trouble()
    }
}

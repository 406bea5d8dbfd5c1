//! A running bot: the same wiring for `serve`, the demo and the tests, which differ only in the parts they hand in.
//!
//! Start: record the start, recover every run, then open the doors. Stop: close the doors, let every run reach a safe
//! point, record the stop.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chat::outbox::Outbox;
use crate::chat::{Chat, INTAKE_CAPACITY, Intake, SharedLookup};
use crate::clock::{Clock, closed};
use crate::command::Catalogue;
use crate::config::Config;
use crate::dispatch::core::{PLANS_AT_ONCE, cannot_read};
use crate::dispatch::{Core, Host, conductor, intake, keeper, lookup, narrator, recorder};
use crate::domain::event::Event;
use crate::domain::ids::RunId;
use crate::domain::names::HostName;
use crate::domain::run::{RunState, Status, StepState};
use crate::domain::trouble::Trouble;
use crate::gate::limits::Limits;
use crate::store::{About, Draft, SharedLog};
use crate::story;

/// Messages that may wait for one surface; beyond it edits coalesce and the rest waits.
const OUTBOX_CAPACITY: usize = 1_024;

/// How long a stop waits, beyond the limits of the steps that are under way, for runs to reach a safe point.
const STOP_WAIT: Duration = Duration::from_secs(30);

/// How long a stop waits for a message that is on its way.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// Between two looks at what may have expired.
const TICK: Duration = Duration::from_secs(1);

/// Ticks between two attempts to wake what sleeps.
const TICKS_PER_WAKE: u32 = 5;

/// Longest pause between two attempts to wake the same run, in ticks.
const WAKE_PAUSE_MAX: u32 = 600;

/// Ticks between two records of counted refusals.
const TICKS_PER_COUNT: u32 = 60;

/// Epoch of the tokens in a new log.
pub(super) const FIRST_EPOCH: u64 = 1;

/// What a bot is made of.
pub struct Parts {
    /// The config.
    pub config: Arc<Config>,
    /// What can be said.
    pub catalogue: Arc<Catalogue>,
    /// The log.
    pub log: SharedLog,
    /// The hosts.
    pub hosts: BTreeMap<HostName, Host>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Folder of the segments, when the log is on disk.
    pub store_folder: Option<PathBuf>,
    /// Files that set rights, with their hashes.
    pub files: BTreeMap<String, String>,
}

/// A running bot.
pub struct Bot {
    core: Arc<Core>,
    intake: Intake,
    queue: Mutex<Option<mpsc::Receiver<crate::domain::invocation::Invocation>>>,
    close: watch::Sender<bool>,
    /// Mouths outlive the other tasks, so that the last words are still said.
    mouths: TaskTracker,
    mouths_stop: CancellationToken,
}

impl Bot {
    /// Records the start and carries on with every run that was interrupted. Nobody is heard yet: see
    /// [`Self::open_doors`].
    ///
    /// # Errors
    /// When the log can be neither read nor written.
    pub async fn start(parts: Parts) -> Result<Self, Trouble> {
        let (close, closing) = watch::channel(false);
        let (progress, _) = watch::channel(BTreeMap::new());
        let (intake, queue) = mpsc::channel(INTAKE_CAPACITY);
        // An epoch that is too low would make every agent refuse, so a log that cannot be read starts nothing.
        let epoch = parts.log.epoch().map_err(|e| cannot_read(&e))?.unwrap_or(FIRST_EPOCH);
        let core = Arc::new(Core {
            limits: Limits::new(Arc::clone(&parts.clock), parts.config.limits.door),
            log: parts.log,
            config: parts.config,
            catalogue: parts.catalogue,
            hosts: parts.hosts,
            clock: parts.clock,
            epoch,
            progress: Arc::new(progress),
            closing,
            mouths: RwLock::default(),
            tasks: TaskTracker::new(),
            active: Mutex::new(BTreeSet::new()),
            planning: Semaphore::new(PLANS_AT_ONCE),
            services: Mutex::default(),
            store_folder: parts.store_folder,
        });
        let event = Event::Started { software: env!("CARGO_PKG_VERSION").to_owned(), files: parts.files, epoch };
        let draft = Draft { about: About::Log, at: core.clock.now(), event };
        if let Err(error) = core.log.append(None, vec![draft]).await {
            // What was interrupted has to be ended all the same; new requests are refused until it can be written.
            tracing::error!(%error, "the start cannot be recorded: nothing new is done until it can");
        }
        let open = conductor::recover(&core).await?;
        if open > 0 {
            tracing::info!(open, "requests of before go on");
        }
        for stack in &core.config.stacks {
            core.tasks.spawn(recorder::keep_releases(Arc::clone(&core), stack.clone()));
        }
        core.tasks.spawn(keeper::keep(Arc::clone(&core)));
        core.tasks.spawn(tick(Arc::clone(&core)));
        Ok(Self {
            core,
            intake,
            queue: Mutex::new(Some(queue)),
            close,
            mouths: TaskTracker::new(),
            mouths_stop: CancellationToken::new(),
        })
    }

    /// Where surfaces put what they hear.
    pub fn intake(&self) -> Intake {
        self.intake.clone()
    }

    /// Look-ups for surfaces.
    pub fn lookup(&self) -> SharedLookup {
        Arc::new(lookup::Memory(Arc::clone(&self.core)))
    }

    /// The shared parts, for those who assemble a program around the bot.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// A surface may be spoken to from here on: it is told everything since it was told last.
    pub fn add_mouth(&self, chat: Arc<dyn Chat>) {
        let surface = chat.surface();
        let outbox = Outbox::new(chat, OUTBOX_CAPACITY, Arc::clone(&self.core.clock));
        self.core.add_mouth(surface, Arc::clone(&outbox));
        let (mouth, stop) = (Arc::clone(&outbox), self.mouths_stop.clone());
        self.mouths.spawn(async move { mouth.run(stop).await });
        self.core.tasks.spawn(narrator::narrate(Arc::clone(&self.core), surface, outbox));
    }

    /// What was heard is taken from the queue from here on.
    pub fn open_doors(&self) {
        let queue = self.queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        if let Some(queue) = queue {
            self.core.tasks.spawn(intake::serve(Arc::clone(&self.core), queue));
        }
    }

    /// Closes the doors, lets runs reach a safe point, records the stop. Whoever ends the process sooner loses nothing:
    /// the next start looks at what the step under way came to.
    pub async fn stop(self) {
        self.close.send_replace(true);
        self.core.tasks.close();
        if tokio::time::timeout(self.stop_wait(), self.core.tasks.wait()).await.is_err() {
            tracing::warn!("a step is still under way; the next start looks at what it came to");
            self.core.drop_mouths();
            return;
        }
        let draft = Draft { about: About::Log, at: self.core.clock.now(), event: Event::Stopped };
        if let Err(error) = self.core.log.append(None, vec![draft]).await {
            tracing::warn!(%error, "the stop could not be recorded");
        }
        self.mouths_stop.cancel();
        self.mouths.close();
        if tokio::time::timeout(LAST_WORDS, self.mouths.wait()).await.is_err() {
            tracing::warn!("a chat did not take the last words; they are told again after the next start");
        }
        // Mouths hold the shared parts, which hold the mouths.
        self.core.drop_mouths();
    }

    /// As long as the step under way may take by its plan: then it has ended, or counts as lost anyway.
    fn stop_wait(&self) -> Duration {
        let open = self.core.log.open_runs().unwrap_or_default();
        let under_way = open.iter().filter(|run| self.core.is_under_way(run.id));
        let steps = under_way.flat_map(|run| run.plan.iter().flat_map(|p| &p.plan.steps).zip(&run.steps));
        let limit = steps.filter(|(_, state)| matches!(state, StepState::Open | StepState::UndoOpen));
        STOP_WAIT + Duration::from_secs(limit.map(|(step, _)| step.limit_s).max().unwrap_or_default())
    }
}

/// Ends what has expired, writes down what was counted.
async fn tick(core: Arc<Core>) {
    let mut closing = core.closing.clone();
    let mut ticks = 0u32;
    let mut woken = BTreeMap::new();
    let mut troubled = false;
    loop {
        tokio::select! {
            () = core.clock.sleep(TICK) => {}
            () = closed(&mut closing) => {
                write_counted(&core).await;
                return;
            }
        }
        troubled = tell_of_trouble(&core, troubled).await;
        let now = core.clock.now();
        for run in core.log.open_runs().unwrap_or_default() {
            let expired = run.open_approval().is_some_and(|a| now >= a.expires);
            if expired || (ticks.is_multiple_of(TICKS_PER_WAKE) && sleeps(&run)) {
                wake(&core, &run, ticks, &mut woken).await;
            }
        }
        woken.retain(|id, _| core.log.run(*id).ok().flatten().is_some_and(|r| !r.ended()));
        ticks += 1;
        if ticks.is_multiple_of(TICKS_PER_COUNT) {
            write_counted(&core).await;
        }
    }
}

/// Says once that the record cannot be written, and once that it can again. It cannot be on record, so this one message
/// goes round everything that follows the log (decision 9).
async fn tell_of_trouble(core: &Core, before: bool) -> bool {
    let trouble = core.log.trouble();
    let now = core.clock.now().as_second();
    match &trouble {
        Some(why) if !before => core.notice(&format!("record-broken/{now}"), &story::en::record_broken(why)).await,
        None if before => core.notice(&format!("record-mended/{now}"), &story::en::record_mended()).await,
        _ => {}
    }
    trouble.is_some()
}

/// Whether nothing but a task of ours can bring the run on: a last vote that came while its task was ending, a record that
/// could not be written, an agent that was away for long.
fn sleeps(run: &RunState) -> bool {
    match &run.status {
        Status::Requested | Status::Claimed | Status::Running | Status::Undoing { .. } => true,
        Status::Planned => run.agreed() && !run.dry_run,
        Status::Stuck { .. } => run.way.is_some(),
        Status::Ended { .. } => false,
    }
}

/// Sets a run going again if no task has it, ever more rarely. One that holds its stack takes a new claim first: its tokens
/// begin anew (durability R4).
async fn wake(core: &Arc<Core>, run: &RunState, tick: u32, woken: &mut BTreeMap<RunId, (u32, u32)>) {
    if core.is_taken(run.id) {
        return;
    }
    let (next, pause) = woken.get(&run.id).copied().unwrap_or((0, TICKS_PER_WAKE));
    if tick < next {
        return;
    }
    woken.insert(run.id, (tick + pause, (pause * 2).min(WAKE_PAUSE_MAX)));
    if run.holds_claim() {
        tracing::warn!(run.id = %run.id, "nobody was at work on it; going on");
        if let Err(error) = core.record(run.id, vec![Event::Resumed]).await {
            tracing::error!(run.id = %run.id, %error, "it cannot be resumed yet");
            return;
        }
    }
    conductor::go_on(core, run.id, None);
}

async fn write_counted(core: &Core) {
    for (account, counted) in core.limits.take_counted() {
        let event = Event::RefusalsCounted { account, count: counted.count, last: counted.last };
        let draft = Draft { about: About::Log, at: core.clock.now(), event };
        if let Err(error) = core.log.append(None, vec![draft]).await {
            tracing::warn!(%error, "counted refusals could not be recorded");
        }
    }
}

//! Our side: the whole bot in this process, with the agent, driver and log that `sternway serve` has; only its chat is in
//! memory. It sleeps while it is the other side's turn: its looks at the engine must not slow that one down.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sternway::agent::docker::DockerEngine;
use sternway::agent::probe::Probe;
use sternway::app::bot::{Bot, Parts};
use sternway::app::check;
use sternway::app::serve::hosts;
use sternway::chat::sim::SimChat;
use sternway::clock::{Clock, SystemClock};
use sternway::command::Catalogue;
use sternway::config::Config;
use sternway::dispatch::Host;
use sternway::domain::actor::{Account, Surface};
use sternway::domain::event::{Event, Outcome, Subject};
use sternway::domain::ids::RunId;
use sternway::domain::invocation::{Invocation, Place};
use sternway::domain::names::{HostName, ServiceName, Target};
use sternway::domain::plan::{StepAction, StepOutput};
use sternway::domain::run::Status;
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::{Log, Record};

use super::shop::{Cut, Result, Shop};

/// Longest wait for anything the bot does.
const BOUND: Duration = Duration::from_secs(60);
/// The account of the one person.
const ACCOUNT: &str = "uid:60001";

/// What a bot is made of, kept while it sleeps.
pub(crate) struct Home {
    /// The config file.
    pub(crate) config: PathBuf,
    /// The console's socket.
    pub(crate) socket: PathBuf,
    /// The store's folder.
    pub(crate) store: PathBuf,
    settings: Arc<Config>,
    catalogue: Arc<Catalogue>,
    log: Arc<FileLog>,
    hosts: BTreeMap<HostName, Host>,
    clock: Arc<dyn Clock>,
    target: Target,
}

/// A bot that is awake and at rest.
pub(crate) struct Awake<'a> {
    home: &'a Home,
    bot: Bot,
}

/// What one `/rollback image api` took.
pub(crate) struct OwnSwap {
    /// When it was said.
    pub(crate) given: Instant,
    /// From then until the engine had started the new container.
    pub(crate) started: Duration,
    /// From the journalled order to the agent until then.
    pub(crate) ordered: Duration,
    /// What the engine says of it.
    pub(crate) cut: Cut,
    /// From the start of the new container until its health was proven.
    pub(crate) proof: Duration,
    /// From the command until the run had ended, all steps after the swap included.
    pub(crate) ended: Duration,
    /// The run's records.
    pub(crate) thread: Vec<Record>,
}

impl Home {
    /// Writes the config of a bot for `shop`, with store and agent in `folder`, and opens its log and its agent.
    pub(crate) fn open(shop: &Shop, folder: &Path) -> Result<Self> {
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        let (store, config) = (folder.join("store"), folder.join("sternway.toml"));
        // Beside the shop: the path of a socket may not be long.
        let socket = shop.folder().join("sternway.sock");
        let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&config)?;
        std::io::Write::write_all(&mut file, text(shop, folder, &socket).as_bytes())?;
        let checked = check::load(&config).map_err(|problems| problems.join("\n"))?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let (log, _) = FileLog::open(&store, OpenOptions::new(Arc::clone(&clock), env!("CARGO_PKG_VERSION"), "bench"))?;
        let docker = std::env::var_os("DOCKER_HOST").map(|host| host.to_string_lossy().into_owned());
        let engine = DockerEngine::connect(docker.as_deref())?;
        engine.watch(checked.config.stacks.iter().map(|stack| stack.project.clone()));
        let hosts = hosts(&checked.config, Arc::new(engine), Arc::new(Probe::new()?), &clock)?;
        let target = checked.config.stacks.first().ok_or("no stack")?.target();
        let (settings, catalogue) = (Arc::new(checked.config), Arc::new(checked.catalogue));
        Ok(Self { config, socket, store, settings, catalogue, log: Arc::new(log), hosts, clock, target })
    }

    /// Its log.
    pub(crate) fn log(&self) -> &Arc<FileLog> {
        &self.log
    }

    /// Lets go of store and agent, so that another process can have them.
    pub(crate) fn close(self) {
        self.log.close();
    }

    /// Wakes the bot and waits until it has noticed and proven what runs, so that it is at rest.
    pub(crate) async fn wake(&self, runs: &str) -> Result<Awake<'_>> {
        let parts = Parts {
            config: Arc::clone(&self.settings),
            catalogue: Arc::clone(&self.catalogue),
            log: Arc::clone(&self.log) as _,
            hosts: self.hosts.clone(),
            clock: Arc::clone(&self.clock),
            store_folder: Some(self.store.clone()),
            files: BTreeMap::new(),
        };
        let bot = Bot::start(parts).await?;
        bot.add_mouth(SimChat::new(Surface::Console));
        bot.open_doors();
        let awake = Awake { home: self, bot };
        awake.until("what runs was not noticed and proven", || self.proven(runs)).await?;
        Ok(awake)
    }

    fn proven(&self, reference: &str) -> bool {
        let Ok(history) = self.log.history(&self.target, &api()) else { return false };
        let current = history.current.and_then(|id| history.get(id));
        current.is_some_and(|release| release.handles.reference == reference && release.proven.is_some())
    }
}

impl Awake<'_> {
    /// Says `/rollback image api` and waits for the run's end. `event` names this delivery.
    pub(crate) async fn roll_back(&self, shop: &Shop, to: &str, event: String) -> Result<OwnSwap> {
        let (given, wall) = (Instant::now(), self.home.clock.now());
        let said = Invocation {
            event: event.clone(),
            account: Account { surface: Surface::Console, id: ACCOUNT.to_owned(), detail: None },
            place: Place { surface: Surface::Console, channel: "console".to_owned(), thread: None },
            text: "/rollback image api".to_owned(),
            at: wall,
        };
        self.bot.intake().send(said).await?;
        let log = &self.home.log;
        let run = || log.seen(&event).ok().flatten().and_then(|at| log.run(RunId(at)).ok().flatten());
        self.until("the rollback did not end", || run().is_some_and(|r| r.ended() || stuck(&r.status))).await?;
        let ended = given.elapsed();
        let run = run().ok_or("the run is not on record")?;
        let Status::Ended { outcome: Outcome::Done, .. } = &run.status else {
            return Err(format!("the rollback was not done: {:?}", run.status).into());
        };
        let new = shop.started_at(to)?;
        let thread = log.thread(&Subject::Run(run.id))?;
        let plan = &run.plan.as_ref().ok_or("the run has no plan")?.plan;
        let swap = plan.steps.iter().position(|step| matches!(step.action, StepAction::SwapService(_)));
        let intent = thread.iter().find(|r| matches!(r.event, Event::StepIntent { step } if Some(step) == swap));
        let proof = thread.iter().find_map(|r| match &r.event {
            Event::StepDone { output: StepOutput::Swapped { proof, .. }, .. } => Some(proof.after_ms),
            _ => None,
        });
        Ok(OwnSwap {
            given,
            started: since(wall, new)?,
            ordered: since(intent.ok_or("the swap was not journalled")?.at, new)?,
            cut: shop.cut_since(wall)?,
            proof: Duration::from_millis(proof.ok_or("the swap gave no proof")?),
            ended,
            thread,
        })
    }

    /// Puts the bot to sleep again.
    pub(crate) async fn sleep(self) {
        self.bot.stop().await;
    }

    /// Looks whenever something was recorded, until it is so.
    async fn until(&self, otherwise: &str, so: impl Fn() -> bool) -> Result<()> {
        let mut moved = self.home.log.watch();
        let reached = async {
            while !so() {
                if moved.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        tokio::time::timeout(BOUND, reached).await.map_err(|_| format!("{otherwise} within {BOUND:?}"))?;
        Ok(())
    }
}

fn stuck(status: &Status) -> bool {
    matches!(status, Status::Stuck { .. })
}

fn api() -> ServiceName {
    ServiceName::parse("api").expect("a fixed name that is valid")
}

fn since(from: Timestamp, to: Timestamp) -> Result<Duration> {
    Ok(Duration::try_from(to.duration_since(from))?)
}

/// As a team would write it. What is left out has its default: 10 s to stop, which is compose's as well, and three
/// answers a second apart as a proof. Going back to a proven release needs nobody else's vote, so nobody is waited for.
fn text(shop: &Shop, folder: &Path, socket: &Path) -> String {
    format!(
        r#"
[sternway]
store = "{folder}/store"
agent = "{folder}/agent"
socket = "{socket}"

[[person]]
id = "layla"
roles = ["on-call"]
accounts = {{ console = ["{ACCOUNT}"] }}

[[stack]]
name = "shop"
project = "{project}"
dir = "{dir}"

[stack.service.api]
health = {{ url = "{health}" }}
pin = {{ file = ".env", key = "API_IMAGE" }}
proxies = [{{ service = "web", signal = "HUP" }}]
"#,
        folder = folder.display(),
        socket = socket.display(),
        project = shop.id(),
        dir = shop.folder().display(),
        health = shop.health_url(),
    )
}

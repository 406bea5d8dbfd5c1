//! Our side: the whole bot in this process, with the agent, driver and log that `sternway serve` has; only its chat is in
//! memory. It sleeps while it is the other side's turn: its looks at the engine must not slow that one down.

use std::collections::BTreeMap;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sternway::agent::docker::DockerEngine;
use sternway::agent::fault::{CallPoint, FaultyEngine, Verdict, When};
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
use sternway::domain::event::{Outcome, Subject};
use sternway::domain::ids::RunId;
use sternway::domain::invocation::{Invocation, Place};
use sternway::domain::names::{HostName, ServiceName, Target};
use sternway::domain::run::Status;
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::{Log, Record};

use super::shop::{Cut, GRACE_S, Result, Shop};

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
    calls: Calls,
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
    /// What the engine says of it; `None` where the new container is started first.
    pub(crate) cut: Option<Cut>,
    /// From the call that stops the old container to the return of the one that starts the new one, without these two:
    /// what Sternway itself adds to the time without a service. `None` as above.
    pub(crate) own: Option<Duration>,
    /// From the command until the run had ended, all steps after the swap included.
    pub(crate) ended: Duration,
    /// The run's records.
    pub(crate) thread: Vec<Record>,
}

/// The engine's changing calls, with the moments before and after each.
type Calls = Arc<Mutex<Vec<(CallPoint, Instant)>>>;

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
        let calls = Calls::default();
        let noted = Arc::clone(&calls);
        let engine = FaultyEngine::new(Arc::new(engine), move |point| {
            noted.lock().unwrap_or_else(PoisonError::into_inner).push((point, Instant::now()));
            Verdict::Go
        });
        let hosts = hosts(&checked.config, Arc::new(engine), Arc::new(Probe::new()?), &clock)?;
        let target = checked.config.stacks.first().ok_or("no stack")?.target();
        let (settings, catalogue) = (Arc::new(checked.config), Arc::new(checked.catalogue));
        Ok(Self { config, socket, store, settings, catalogue, log: Arc::new(log), hosts, calls, clock, target })
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
        self.calls().clear();
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
        shop.started_at(to)?;
        let stop_first = !shop.kind().behind_nginx;
        Ok(OwnSwap {
            given,
            cut: if stop_first { Some(shop.cut_since(wall)?) } else { None },
            own: if stop_first { Some(own_part(&self.calls())?) } else { None },
            ended,
            thread: log.thread(&Subject::Run(run.id))?,
        })
    }

    fn calls(&self) -> MutexGuard<'_, Vec<(CallPoint, Instant)>> {
        self.home.calls.lock().unwrap_or_else(PoisonError::into_inner)
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

/// Of the time from the first stop to the end of the first start after it, what was spent in neither call.
fn own_part(calls: &[(CallPoint, Instant)]) -> Result<Duration> {
    let moment = |name: &str, when: When| {
        let found = calls.iter().find(|(point, _)| point.name == name && point.when == when);
        found.map(|(_, at)| *at).ok_or_else(|| format!("the engine was not asked to {name}"))
    };
    let (stop, stopped) = (moment("stop", When::Before)?, moment("stop", When::After)?);
    let (start, started) = (moment("start", When::Before)?, moment("start", When::After)?);
    Ok((started - stop).saturating_sub(stopped - stop).saturating_sub(started - start))
}

/// As a team would write it, but for `interval`: so short that a round does not last long. It has no part in the gap.
/// Going back to a proven release needs nobody else's vote, so nobody is waited for.
fn text(shop: &Shop, folder: &Path, socket: &Path) -> String {
    let how = if shop.kind().behind_nginx {
        "health = { exec = true }\norder = \"start-first\"".to_owned()
    } else {
        format!("health = {{ url = \"{}\" }}", shop.health_url())
    };
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
{how}
interval = "50ms"
grace = "{GRACE_S}s"
pin = {{ file = ".env", key = "API_IMAGE" }}
proxies = [{{ service = "web", signal = "HUP" }}]
"#,
        folder = folder.display(),
        socket = socket.display(),
        project = shop.id(),
        dir = shop.folder().display(),
    )
}

//! A simulated night: the real bot over the simulated engine, a log and a chat in memory, and time that passes only while
//! everybody waits. The bot can be killed at any moment and started again over the same log, engine and agent folder.

#![allow(dead_code, unreachable_pub)] // each suite uses its part
#![allow(clippy::unwrap_used, clippy::panic)] // test support

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use sternway::agent::prove::Prober;
use sternway::agent::sim::{Behaviour, ComposeService, NewImage, SimEngine};
use sternway::app::bot::{Bot, Parts};
use sternway::app::{check, serve};
use sternway::chat::sim::SimChat;
use sternway::clock::Clock;
use sternway::config::Config;
use sternway::dispatch::Host;
use sternway::domain::actor::Surface;
use sternway::domain::ids::{Position, RunId};
use sternway::domain::names::{HostName, ServiceName, Target};
use sternway::domain::plan::HealthCheck;
use sternway::domain::release::History;
use sternway::domain::run::RunState;
use sternway::store::memory::MemoryLog;
use sternway::store::{Log, SharedLog};

/// Longest that anything may take, in simulated time.
pub const PATIENCE: Duration = Duration::from_secs(4 * 3_600);

pub const AMAL: &str = "uid:1";
pub const BEN: &str = "uid:2";
pub const CARLA: &str = "uid:3";
/// Carla's second account: votes from consoles count as one person (decision 30).
pub const CARLA_ON_SLACK: &str = "U0CARLA03";
pub const STRANGER: &str = "uid:9";

const AMAL_IN_CONFIG: &str = "[[person]]\nid = \"amal\"\nroles = [\"on-call\"]\naccounts = { console = [\"uid:1\"] }\n";

/// Time of the runtime that runs now, carried over from one to the next.
pub struct NightClock {
    state: Mutex<(Timestamp, Option<tokio::time::Instant>)>,
}

impl NightClock {
    fn enter(&self) {
        self.state.lock().unwrap().1 = Some(tokio::time::Instant::now());
    }

    fn leave(&self) {
        let now = self.now();
        *self.state.lock().unwrap() = (now, None);
    }
}

#[async_trait::async_trait]
impl Clock for NightClock {
    fn now(&self) -> Timestamp {
        let (base, since) = *self.state.lock().unwrap();
        match since {
            Some(since) => base.checked_add(since.elapsed()).unwrap(),
            None => base,
        }
    }

    #[allow(clippy::disallowed_methods)] // a clock
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// What kind of service the API is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Kind {
    /// One container that publishes a port, stopped before the new one starts.
    #[default]
    Plain,
    /// Three of them, each with a port of its own; somebody removed number 3 once.
    Scaled,
    /// One behind a proxy: the new one beside the old one; it publishes nothing and has a check of its own.
    StartFirst,
    /// Three of those.
    ScaledStartFirst,
    /// One with a sidecar in its network, and one more that uses the sidecar's volumes.
    Followed,
    /// One whose container somebody has removed since.
    Missing,
    /// Three of those.
    AllMissing,
    /// One with a worker that restarts with it, and a mailer that restarts with the worker; an idler would too, but it
    /// was stopped.
    Restarting,
}

impl Kind {
    pub const ALL: [Self; 8] = [
        Self::Plain,
        Self::Scaled,
        Self::StartFirst,
        Self::ScaledStartFirst,
        Self::Followed,
        Self::Missing,
        Self::AllMissing,
        Self::Restarting,
    ];

    /// Compose's numbers of its containers.
    pub fn numbers(self) -> &'static [u32] {
        match self {
            Self::Plain | Self::StartFirst | Self::Followed | Self::Missing | Self::Restarting => &[1],
            Self::Scaled | Self::ScaledStartFirst | Self::AllMissing => &[1, 2, 4],
        }
    }

    /// Whether somebody has removed its containers.
    pub fn is_missing(self) -> bool {
        matches!(self, Self::Missing | Self::AllMissing)
    }

    pub fn start_first(self) -> bool {
        matches!(self, Self::StartFirst | Self::ScaledStartFirst)
    }

    /// Each of its containers as compose makes them of this image.
    fn services(self, image: &str) -> Vec<ComposeService> {
        let one = |number: &u32| {
            let ports =
                if self.start_first() { vec![] } else { vec![(API - 1 + u16::try_from(*number).unwrap(), 3000)] };
            ComposeService { number: *number, ..ComposeService::new("shop", "api", image, &ports) }
        };
        let mut all: Vec<ComposeService> = self.numbers().iter().map(one).collect();
        if self == Self::Followed {
            let plain = |service| ComposeService::new("shop", service, "shop/sidecar:1.0", &[]);
            all.push(ComposeService { lives_in: Some("api".to_owned()), ..plain("sidecar") });
            all.push(ComposeService { volumes_from: vec!["sidecar".to_owned()], ..plain("copier") });
        }
        if self == Self::Restarting {
            all[0].volumes = vec!["/srv/shop/src:/app".to_owned()];
            for (service, with) in [("worker", "api"), ("mailer", "worker"), ("idler", "api")] {
                let plain = ComposeService::new("shop", service, "shop/sidecar:1.0", &[]);
                all.push(ComposeService { restarts_with: vec![with.to_owned()], ..plain });
            }
        }
        all
    }
}

/// What the team's hands do after a deploy of [`Kind::Restarting`].
async fn settle(engine: &SimEngine) {
    use sternway::agent::engine::Engine;
    engine.stop("shop-idler-1", 0).await.unwrap();
    engine.stop("shop-mailer-1", 0).await.unwrap();
    engine.start("shop-mailer-1").await.unwrap();
}

/// Everything that outlives a kill.
pub struct Night {
    pub kind: Kind,
    pub clock: Arc<NightClock>,
    pub engine: Arc<SimEngine>,
    pub log: Arc<MemoryLog>,
    pub folder: tempfile::TempDir,
    pub chat: Arc<SimChat>,
    /// More lines for the config.
    pub more_config: String,
    /// More lines for the table `[sternway]` of the config.
    pub of_sternway: String,
    /// Amal has left the team: the config does not know them any more.
    pub without_amal: bool,
}

/// Asks the simulated host's ports.
pub struct Ports(pub Arc<SimEngine>);

#[async_trait::async_trait]
impl Prober for Ports {
    async fn ask(&self, check: &HealthCheck) -> Result<(), String> {
        match check {
            HealthCheck::Http { url } => {
                let port = url.rsplit(':').next().and_then(|r| r.split('/').next()).and_then(|p| p.parse().ok());
                self.0.ask(port.expect("the config's urls have ports"))
            }
            HealthCheck::Tcp { port } => self.0.ask(*port),
            HealthCheck::Exec | HealthCheck::OwnPort { .. } | HealthCheck::Weak => Err("nothing to ask".into()),
        }
    }
}

pub const API: u16 = 3000;

/// In memory where there is such a place: the agent syncs every file, and nobody pulls a plug in a simulated night.
fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    tempfile::tempdir_in(memory).or_else(|_| tempfile::tempdir()).unwrap()
}

impl Night {
    /// A shop whose API runs 1.1 now and ran 1.0, with these behaviours; nothing is on record yet.
    pub fn new(old: Behaviour, new: Behaviour) -> Self {
        Self::of(Kind::Plain, old, new)
    }

    /// The same with an API of that kind.
    pub fn of(kind: Kind, old: Behaviour, new: Behaviour) -> Self {
        let start: Timestamp = "2026-11-22T01:00:00Z".parse().unwrap();
        let clock = Arc::new(NightClock { state: Mutex::new((start, None)) });
        let engine = Arc::new(SimEngine::new(Arc::clone(&clock) as _));
        for (reference, behaviour) in [
            ("shop/db:1.0", Behaviour::Healthy),
            ("shop/web:1.0", Behaviour::Healthy),
            ("shop/sidecar:1.0", Behaviour::Healthy),
            ("shop/api:1.0", old),
            ("shop/api:1.1", new),
        ] {
            let image = NewImage::new(reference, behaviour);
            let check =
                serde_json::json!({"Healthcheck": {"Test": ["CMD", "/well"], "Interval": 3_600_000_000_000u64}});
            engine.add_image(if kind.start_first() { image.config(check) } else { image });
        }
        for (service, ports) in [("db", vec![]), ("web", vec![(8080, 80)])] {
            engine.compose(&ComposeService::new("shop", service, &format!("shop/{service}:1.0"), &ports)).unwrap();
        }
        for service in kind.services("shop/api:1.0") {
            engine.compose(&service).unwrap();
        }
        let folder = folder();
        std::fs::create_dir(folder.path().join("shop")).unwrap();
        std::fs::write(folder.path().join("shop/.env"), "# the shop\nAPI_IMAGE=shop/api:1.0\nWEB_PORT=8080\n").unwrap();
        Self {
            kind,
            log: Arc::new(MemoryLog::new(start)),
            chat: SimChat::new(Surface::Console),
            clock,
            engine,
            folder,
            more_config: String::new(),
            of_sternway: String::new(),
            without_amal: false,
        }
    }

    /// The usual night: a good 1.0 is on record and proven, then somebody deployed 1.1.
    pub fn after_a_bad_deploy() -> Self {
        Self::after_a_bad_deploy_of(Kind::Plain)
    }

    /// The same with an API of that kind.
    pub fn after_a_bad_deploy_of(kind: Kind) -> Self {
        let night = Self::of(kind, Behaviour::Healthy, Behaviour::Unhealthy);
        night.live(async |bot| {
            bot.proven(1).await;
        });
        night.deploy("1.1");
        night.live(async |bot| {
            bot.until("1.1 is on record", |b| b.history().releases.len() == 2).await;
        });
        if kind.is_missing() {
            night.remove_the_api();
        }
        night
    }

    /// Somebody types `docker rm -f` for each of the API's containers.
    pub fn remove_the_api(&self) {
        for number in self.kind.numbers() {
            self.remove(&format!("shop-api-{number}"));
        }
    }

    /// `docker rm -f`.
    pub fn remove(&self, container: &str) {
        use sternway::agent::engine::Engine;
        self.run(async {
            self.engine.stop(container, 0).await.unwrap();
            self.engine.remove(container).await.unwrap();
        });
    }

    /// The team deploys a version with compose.
    pub fn deploy(&self, version: &str) {
        let image = format!("shop/api:{version}");
        self.set_pin(&image);
        for service in self.kind.services(&image) {
            self.engine.compose(&service).unwrap();
        }
        if self.kind == Kind::Restarting {
            self.run(settle(&self.engine));
        }
    }

    fn commands(&self) -> PathBuf {
        self.folder.path().join("commands")
    }

    /// The team has a command file of its own.
    pub fn set_command(&self, file: &str, text: &str) {
        std::fs::create_dir_all(self.commands()).unwrap();
        std::fs::write(self.commands().join(file), text).unwrap();
    }

    pub fn env(&self) -> PathBuf {
        self.folder.path().join("shop/.env")
    }

    pub fn pin(&self) -> String {
        std::fs::read_to_string(self.env()).unwrap()
    }

    fn set_pin(&self, image: &str) {
        std::fs::write(self.env(), format!("# the shop\nAPI_IMAGE={image}\nWEB_PORT=8080\n")).unwrap();
    }

    pub fn config(&self) -> Config {
        let text = format!(
            r#"
[sternway]
store = "{folder}/store"
agent = "{folder}/agent"
socket = "{folder}/socket"
{commands}
{of_sternway}
{amal}
[[person]]
id = "ben"
roles = ["on-call", "approver"]
accounts = {{ console = ["{BEN}"] }}

[[person]]
id = "carla"
roles = ["approver"]
accounts = {{ console = ["{CARLA}"], slack = ["{CARLA_ON_SLACK}"] }}

[[stack]]
name = "shop"
project = "shop"
dir = "{folder}/shop"

[stack.service.api]
health = {health}
order = "{order}"
count = 2
interval = "200ms"
deadline = "10s"
grace = "2s"
pin = {{ file = ".env", key = "API_IMAGE" }}
proxies = [{{ service = "web", signal = "HUP" }}]
{more}
"#,
            folder = self.folder.path().display(),
            commands = match self.commands().exists() {
                true => format!("commands = \"{}\"\n", self.commands().display()),
                false => String::new(),
            },
            more = self.more_config,
            of_sternway = self.of_sternway,
            order = if self.kind.start_first() { "start-first" } else { "stop-first" },
            health = if self.kind.start_first() {
                "{ exec = true }".to_owned()
            } else {
                format!("{{ url = \"http://127.0.0.1:{API}/health\" }}")
            },
            amal = if self.without_amal { "" } else { AMAL_IN_CONFIG },
        );
        Config::parse("night.toml", &text)
            .unwrap_or_else(|p| panic!("{}", p.iter().map(ToString::to_string).collect::<String>()))
    }

    /// The agent as production makes it, on the simulated engine.
    pub fn hosts(&self, config: &Config) -> BTreeMap<HostName, Host> {
        let clock: Arc<dyn Clock> = Arc::clone(&self.clock) as _;
        serve::hosts(config, Arc::clone(&self.engine), Arc::new(Ports(Arc::clone(&self.engine))), &clock).unwrap()
    }

    /// Starts the bot, lets `play` happen, and stops it in good order.
    pub fn live<R>(&self, play: impl AsyncFnOnce(&Living) -> R) -> R {
        self.live_with(Arc::clone(&self.log) as _, |hosts| hosts, play)
    }

    /// The same over another view of the log, and with other hands.
    pub fn live_with<R>(
        &self,
        log: SharedLog,
        hands: impl FnOnce(BTreeMap<HostName, Host>) -> BTreeMap<HostName, Host>,
        play: impl AsyncFnOnce(&Living) -> R,
    ) -> R {
        self.run(async {
            let living = self.start(log, hands).await;
            let outcome = play(&living).await;
            living.bot.stop().await;
            outcome
        })
    }

    /// Starts the bot and kills it when `death` comes: every task of it stops where it is.
    pub fn die_when(
        &self,
        log: SharedLog,
        hands: impl FnOnce(BTreeMap<HostName, Host>) -> BTreeMap<HostName, Host>,
        play: impl AsyncFnOnce(&Living),
        death: impl Future<Output = ()>,
    ) {
        self.run(async {
            let life = async {
                let living = self.start(log, hands).await;
                play(&living).await;
            };
            tokio::select! {
                () = life => {}
                () = death => {}
            }
        });
    }

    /// Runs in a runtime of its own whose time passes only while everything waits. Its end kills every task.
    pub fn run<R>(&self, future: impl Future<Output = R>) -> R {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        let outcome = runtime.block_on(async {
            self.clock.enter();
            let outcome = tokio::time::timeout(PATIENCE * 2, future).await;
            self.clock.leave();
            outcome
        });
        drop(runtime);
        outcome.unwrap_or_else(|_| panic!("nothing came of it in {PATIENCE:?}:\n{}", self.chat.transcript()))
    }

    async fn start(
        &self,
        log: SharedLog,
        hands: impl FnOnce(BTreeMap<HostName, Host>) -> BTreeMap<HostName, Host>,
    ) -> Living {
        let config = self.config();
        let hosts = hands(self.hosts(&config));
        let checked = check::with_commands(config).unwrap_or_else(|p| panic!("{}", p.join("\n")));
        let bot = Bot::start(Parts {
            config: Arc::new(checked.config),
            catalogue: Arc::new(checked.catalogue),
            log: Arc::clone(&log),
            hosts,
            clock: Arc::clone(&self.clock) as _,
            store_folder: None,
            files: BTreeMap::new(),
        })
        .await
        .unwrap_or_else(|t| panic!("the bot does not start: {t}"));
        bot.add_mouth(Arc::clone(&self.chat) as _);
        bot.open_doors();
        Living { bot, log, chat: Arc::clone(&self.chat), clock: Arc::clone(&self.clock) }
    }

    /// Id of the newest run.
    pub fn log_newest(&self) -> RunId {
        self.log_newest_id().expect("somebody asked for something")
    }

    /// The same, when there is one.
    pub fn log_newest_id(&self) -> Option<RunId> {
        Log::runs(self.log.as_ref(), 1).unwrap().first().map(|r| r.id)
    }

    /// The image string of the container that runs the API now, and whether it answers.
    pub fn serving(&self) -> (Option<String>, bool) {
        (self.engine.behind(API), self.engine.answers(API))
    }

    /// Every container that is not one of ours for keeping images, by name.
    pub fn containers(&self) -> Vec<String> {
        let mut names: Vec<String> = self.engine.names().into_iter().filter(|n| n.starts_with("shop-")).collect();
        names.sort();
        names
    }
}

/// A bot that runs, and the people around it.
pub struct Living {
    pub bot: Bot,
    pub log: SharedLog,
    pub chat: Arc<SimChat>,
    pub clock: Arc<NightClock>,
}

impl Living {
    /// A line as it arrives. Slack's ids begin with `U`; they are heard in the same channel.
    fn hear(&self, account: &str, words: &str) -> sternway::domain::invocation::Invocation {
        let mut invocation = self.chat.hear(account, "console", words, self.clock.now());
        if account.starts_with('U') {
            invocation.account.surface = Surface::Slack;
        }
        invocation
    }

    /// Somebody says a line in the console's channel.
    pub async fn say(&self, account: &str, words: &str) {
        let invocation = self.hear(account, words);
        self.bot.intake().send(invocation).await.unwrap_or_else(|_| panic!("the doors are closed"));
    }

    /// Says a line and gives the private answer to it, in words.
    pub async fn ask(&self, account: &str, words: &str) -> String {
        let invocation = self.hear(account, words);
        let key = invocation.event.clone();
        self.bot.intake().send(invocation).await.unwrap_or_else(|_| panic!("the doors are closed"));
        let answered = |said: &[sternway::chat::sim::Said]| said.iter().any(|s| s.to.is_some() && s.key.0 == key);
        let said =
            self.chat.wait_for(answered, PATIENCE).await.unwrap_or_else(|e| panic!("no answer to {words:?}: {e}"));
        said.iter().find(|s| s.to.is_some() && s.key.0 == key).map(|s| s.card.plain()).unwrap()
    }

    /// So many seconds go by.
    pub async fn clock_passes(&self, seconds: u64) {
        self.clock.sleep(Duration::from_secs(seconds)).await;
    }

    pub fn history(&self) -> History {
        let target: Target = self.bot.core().config.stacks[0].target();
        self.log.history(&target, &ServiceName::parse("api").unwrap()).unwrap()
    }

    /// Waits until so many releases of the API are proven.
    pub async fn proven(&self, count: usize) {
        self.until("releases are proven", |b| {
            b.history().releases.iter().filter(|r| r.proven.is_some()).count() >= count
        })
        .await;
    }

    /// Waits until it is so, looking after every record and every second.
    pub async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let mut moved = self.log.watch();
        let looking = async {
            while !so(self) {
                tokio::select! {
                    _ = moved.changed() => {}
                    () = self.clock.sleep(Duration::from_secs(1)) => {}
                }
            }
        };
        if tokio::time::timeout(PATIENCE, looking).await.is_err() {
            panic!("never: {what}\n{}\n{}", self.chat.transcript(), self.story());
        }
    }

    /// The newest run.
    pub fn newest(&self) -> Option<RunState> {
        self.log.runs(1).unwrap().into_iter().next()
    }

    /// Asks for a rollback of the API and waits until it stands somewhere.
    pub async fn rollback(&self, account: &str, words: &str, stands: impl Fn(&RunState) -> bool) -> RunState {
        let before = self.newest().map(|r| r.id);
        self.say(account, words).await;
        self.until(words, |b| b.newest().is_some_and(|r| Some(r.id) != before && stands(&r))).await;
        self.newest().unwrap()
    }

    /// Waits until the run stands somewhere.
    pub async fn run_until(&self, id: RunId, stands: impl Fn(&RunState) -> bool) -> RunState {
        self.until("the run stands there", |b| b.log.run(id).unwrap().is_some_and(|r| stands(&r))).await;
        self.log.run(id).unwrap().unwrap()
    }

    /// All records in a line each, for failures.
    pub fn story(&self) -> String {
        let records = self.log.read(Position(0), 10_000).unwrap();
        records.iter().map(|r| format!("{} {}\n", r.position, serde_json::to_string(&r.event).unwrap())).collect()
    }
}

/// The newest run that has ended or is stuck.
pub fn at_rest(run: &RunState) -> bool {
    run.ended() || matches!(run.status, sternway::domain::run::Status::Stuck { .. })
}

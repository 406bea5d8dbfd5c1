//! A town: many stacks on one simulated engine, many people, and the real bot that serves them all. Log and time are
//! handed in, so that a test may let time stand still and a bench may take the disk and the clock that people have.

#![allow(dead_code, unreachable_pub)] // each suite uses its part
#![allow(clippy::unwrap_used, clippy::panic)] // test support

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sternway::agent::prove::Prober;
use sternway::agent::sim::{Behaviour, ComposeService, SimEngine};
use sternway::app::bot::{Bot, Parts};
use sternway::app::{check, serve};
use sternway::chat::console::server::{ConsoleOptions, ConsoleServer, Limits};
use sternway::clock::Clock;
use sternway::config::Config;
use sternway::domain::names::{HostName, ServiceName, StackName, Target};
use sternway::domain::plan::HealthCheck;
use sternway::domain::release::History;
use sternway::store::SharedLog;
use tokio_util::sync::CancellationToken;

/// The first person's uid; nobody of this machine.
const FIRST_UID: u32 = 600_000;
/// The uid of the first of those whom the config does not know.
const FIRST_STRANGER: u32 = 700_000;
/// Port of the first stack's API on the simulated host.
const FIRST_PORT: u16 = 20_000;

/// The town.
pub struct Town {
    pub engine: Arc<SimEngine>,
    pub folder: PathBuf,
    pub clock: Arc<dyn Clock>,
    pub stacks: usize,
    pub people: usize,
    /// More lines for the config.
    pub more_config: String,
}

/// Asks the simulated host's ports.
struct Ports(Arc<SimEngine>);

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

pub fn stack(n: usize) -> String {
    format!("s{n:03}")
}

pub fn person(n: usize) -> String {
    format!("p{n:03}")
}

pub fn stranger(n: usize) -> String {
    format!("stranger{n:03}")
}

fn port(n: usize) -> u16 {
    FIRST_PORT + u16::try_from(n).unwrap()
}

impl Town {
    /// So many stacks with an API of version 1.0, and so many people who may both ask and approve. There are images of
    /// 1.1 as well, and of 1.2, which nobody has deployed yet.
    pub fn found(folder: &Path, stacks: usize, people: usize, clock: Arc<dyn Clock>) -> Self {
        let engine = Arc::new(SimEngine::new(Arc::clone(&clock)));
        for version in ["1.0", "1.1", "1.2"] {
            engine.image(&format!("town/api:{version}"), Behaviour::Healthy);
        }
        let town = Self { engine, folder: folder.to_owned(), clock, stacks, people, more_config: String::new() };
        for n in 0..stacks {
            std::fs::create_dir_all(folder.join(stack(n))).unwrap();
            town.deploy(n, "1.0");
        }
        town
    }

    /// Somebody deploys a version with compose.
    pub fn deploy(&self, n: usize, version: &str) {
        let image = format!("town/api:{version}");
        std::fs::write(self.folder.join(stack(n)).join(".env"), format!("API_IMAGE={image}\n")).unwrap();
        self.engine.compose(&ComposeService::new(&stack(n), "api", &image, &[(port(n), 3000)])).unwrap();
    }

    /// The image that a stack's API runs, by the name of its release.
    pub fn runs(&self, log: &SharedLog, n: usize) -> String {
        let history = self.history(log, n);
        let current = history.current.and_then(|id| history.get(id));
        current.map(|release| release.handles.reference.clone()).unwrap_or_default()
    }

    pub fn target(&self, n: usize) -> Target {
        Target { stack: StackName::parse(&stack(n)).unwrap(), host: HostName::parse("local").unwrap() }
    }

    pub fn history(&self, log: &SharedLog, n: usize) -> History {
        log.history(&self.target(n), &ServiceName::parse("api").unwrap()).unwrap()
    }

    /// Whom a console may speak as: everybody, and as many strangers as are asked for.
    pub fn speakers(&self, strangers: usize) -> Vec<(String, u32)> {
        let known = (0..self.people).map(|n| (person(n), FIRST_UID + u32::try_from(n).unwrap()));
        known.chain((0..strangers).map(|n| (stranger(n), FIRST_STRANGER + u32::try_from(n).unwrap()))).collect()
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.join("socket")
    }

    pub fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    /// The config as text, as a file may have it.
    pub fn config_text(&self) -> String {
        let folder = self.folder.display();
        let mut text = format!(
            "[sternway]\nstore = \"{folder}/store\"\nagent = \"{folder}/agent\"\nsocket = \"{folder}/socket\"\n"
        );
        for (name, uid) in self.speakers(0) {
            let accounts = format!("{{ console = [\"uid:{uid}\"] }}");
            write!(text, "[[person]]\nid = \"{name}\"\nroles = [\"on-call\", \"approver\"]\naccounts = {accounts}\n")
                .unwrap();
        }
        for n in 0..self.stacks {
            let (name, port) = (stack(n), port(n));
            let default = if n == 0 { "default = true\n" } else { "" };
            write!(
                text,
                "[[stack]]\nname = \"{name}\"\nproject = \"{name}\"\ndir = \"{folder}/{name}\"\n{default}\
                 [stack.service.api]\nhealth = {{ url = \"http://127.0.0.1:{port}/health\" }}\n\
                 count = 2\ninterval = \"200ms\"\ndeadline = \"10s\"\ngrace = \"2s\"\n\
                 repositories = [\"town/api\"]\npin = {{ file = \".env\", key = \"API_IMAGE\" }}\n"
            )
            .unwrap();
        }
        text + &self.more_config
    }

    /// The bot, started on a log; nobody is heard yet.
    pub async fn start(&self, log: &SharedLog) -> Bot {
        let text = self.config_text();
        let config = Config::parse("town.toml", &text)
            .unwrap_or_else(|p| panic!("{}", p.iter().map(ToString::to_string).collect::<String>()));
        let checked = check::with_commands(config).unwrap_or_else(|p| panic!("{}", p.join("\n")));
        let engine = Arc::clone(&self.engine);
        let hosts =
            serve::hosts(&checked.config, engine, Arc::new(Ports(Arc::clone(&self.engine))), &self.clock).unwrap();
        let parts = Parts {
            config: Arc::new(checked.config),
            catalogue: Arc::new(checked.catalogue),
            log: Arc::clone(log),
            hosts,
            clock: Arc::clone(&self.clock),
            store_folder: self.store().exists().then(|| self.store()),
            files: BTreeMap::new(),
        };
        Bot::start(parts).await.unwrap_or_else(|t| panic!("the bot does not start: {t}"))
    }

    /// Lets 1.0 be proven everywhere, and deploys 1.1, so that a rollback has somewhere to go.
    pub async fn after_a_deploy(&self, log: &SharedLog) {
        let proven = |count: usize| {
            move |history: &History| history.releases.iter().filter(|r| r.proven.is_some()).count() >= count
        };
        self.until_everywhere(log, "1.0 is proven", proven(1)).await;
        for n in 0..self.stacks {
            self.deploy(n, "1.1");
        }
        self.until_everywhere(log, "1.1 is proven", proven(2)).await;
    }

    async fn until_everywhere(&self, log: &SharedLog, what: &str, so: impl Fn(&History) -> bool) {
        let so = || (0..self.stacks).all(|n| so(&self.history(log, n)));
        until(&self.clock, what, so).await;
    }
}

/// Longest that a test waits for anything; reached only when something is wrong.
pub const PATIENCE: Duration = Duration::from_secs(240);

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(50);

/// Waits until it is so.
pub async fn until(clock: &Arc<dyn Clock>, what: &str, so: impl Fn() -> bool) {
    let looking = async {
        while !so() {
            clock.sleep(LOOK).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, looking).await.is_ok(), "never: {what}");
}

/// A bot whose doors are open: people speak to it through the real console.
pub struct Open {
    pub bot: Bot,
    stop: CancellationToken,
    doors: tokio::task::JoinHandle<()>,
}

impl Town {
    /// Starts the bot and opens its console, for everybody and so many strangers.
    pub async fn open(&self, log: &SharedLog, strangers: usize) -> Open {
        let bot = self.start(log).await;
        let room = self.people + strangers + 16;
        let limits = Limits { clients: room, clients_per_user: room, ..Limits::default() };
        let options =
            ConsoleOptions { clock: Arc::clone(&self.clock), limits, speakers: Some(self.speakers(strangers)) };
        let console = ConsoleServer::bind(&self.socket(), bot.intake(), bot.lookup(), options).unwrap();
        bot.add_mouth(Arc::clone(&console) as _);
        bot.open_doors();
        let stop = CancellationToken::new();
        let stopping = stop.clone();
        let doors = tokio::spawn(async move { console.serve(stopping).await });
        Open { bot, stop, doors }
    }
}

impl Open {
    /// Stops it in good order.
    pub async fn close(self) {
        self.bot.stop().await;
        self.stop.cancel();
        self.doors.await.unwrap();
    }
}

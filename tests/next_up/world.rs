//! A project that a team deploys with its compose, and an agent that rolls it back as the bot does: the planner's
//! plan, its steps and their undos.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::Value;
use sternway::agent::docker::DockerEngine;
use sternway::agent::engine::Engine;
use sternway::agent::host::{AgentConfig, Allowed, HostAgent};
use sternway::agent::prove::Prober;
use sternway::agent::sim::Behaviour;
use sternway::agent::{Act, Inspect, Order, fingerprint};
use sternway::clock::SystemClock;
use sternway::command::StepKind;
use sternway::domain::actor::Actor;
use sternway::domain::event::Token;
use sternway::domain::ids::{Position, ReleaseId, RunId};
use sternway::domain::names::{Fingerprint, HostName, ServiceName, StackName, Target};
use sternway::domain::plan::{HealthCheck, HealthRule, Plan, PlanNotes, Settings, StepAction, Undo};
use sternway::domain::release::{History, Origin, Release, Wanted};
use sternway::domain::trouble::Trouble;
use sternway::procedures::planner::{Ask, ServiceRules, prepare};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::composes::Compose;
use crate::forms::{self, Form};
use crate::real_engine::{self, RealEngine};

/// Longest wait for one call of compose.
const BOUND: Duration = Duration::from_secs(60);

/// Ports beside each other that a project has for itself: `API_PORT` to `API_LAST`.
const RANGE: u16 = 3;

/// Asks the published port.
struct Asks;

#[async_trait::async_trait]
impl Prober for Asks {
    async fn ask(&self, check: &HealthCheck) -> Result<(), String> {
        match check {
            HealthCheck::Tcp { port } => real_engine::ask(*port).await,
            other => Err(format!("{other:?} is not asked here")),
        }
    }
}

pub(crate) struct World {
    pub(crate) real: RealEngine,
    pub(crate) agent: HostAgent<DockerEngine>,
    pub(crate) compose: Compose,
    pub(crate) form: &'static Form,
    /// Whether the config names the pin.
    pub(crate) pinned: bool,
    folder: tempfile::TempDir,
    port: u16,
    releases: Vec<Release>,
    claims: AtomicU64,
}

impl World {
    /// With a project of that form in its folder, and images `1.0`, `1.1` and `2.0`; nothing is up.
    pub(crate) async fn new(compose: &Compose, form: &'static Form) -> Option<Self> {
        let real = RealEngine::find().await?;
        let folder = tempfile::tempdir().unwrap();
        let world_folder = folder.path().join("project");
        for tag in ["1.0", "1.1", "2.0"] {
            real.image(&format!("api:{tag}"), Behaviour::Healthy, &serde_json::json!({"Labels": {"tag": tag}})).await;
        }
        real.image("db:1", Behaviour::Mute, &serde_json::json!({})).await;
        let allowed = Allowed {
            folder: Some(world_folder.join(form.dir)),
            pins: [(form.pin.0.to_owned(), form.pin.1.to_owned())].into(),
        };
        let config = AgentConfig::new(folder.path().join("agent"), [(real.project(), allowed)].into());
        let agent = HostAgent::open(real.engine(), config, Arc::new(SystemClock), Arc::new(Asks)).unwrap();
        let world = Self {
            real,
            agent,
            compose: compose.clone(),
            form,
            pinned: true,
            folder,
            port: real_engine::free_range(RANGE),
            releases: Vec::new(),
            claims: AtomicU64::new(1),
        };
        for (path, template) in form.files {
            world.write(path, template);
        }
        Some(world)
    }

    fn project_folder(&self) -> PathBuf {
        self.folder.path().join("project")
    }

    /// A file of the project.
    pub(crate) fn write(&self, path: &str, template: &str) {
        let path = self.project_folder().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, self.text(template)).unwrap();
    }

    fn text(&self, template: &str) -> String {
        let project = self.real.project();
        let (api, db) = (self.real.reference("api"), self.real.reference("db:1"));
        forms::text(template, self.real.id(), project.as_str(), &api, &db)
    }

    fn env_path(&self) -> PathBuf {
        self.project_folder().join(self.form.dir).join(self.form.pin.0)
    }

    /// The file with the pin.
    pub(crate) fn env(&self) -> String {
        std::fs::read_to_string(self.env_path()).unwrap()
    }

    /// What the pin holds for a tag.
    pub(crate) fn pin_value(&self, tag: &str) -> String {
        if self.form.pin.1.ends_with("TAG") { tag.to_owned() } else { self.real.reference(&format!("api:{tag}")) }
    }

    /// Pins a version as a team does.
    pub(crate) fn pin(&self, tag: &str) {
        let name = match self.form.named_in_env {
            true => format!("COMPOSE_PROJECT_NAME={}\n", self.real.project()),
            false => String::new(),
        };
        let (key, value) = (self.form.pin.1, self.pin_value(tag));
        let text = format!(
            "# the shop's\n{name}API_PORT={}\nAPI_LAST={}\n\n{key}={value}\n# the end, no newline",
            self.port,
            self.port + RANGE - 1
        );
        std::fs::write(self.env_path(), text).unwrap();
    }

    /// Deploys a version and remembers the release as the bot's recorder does.
    pub(crate) async fn deploy(&mut self, tag: &str) {
        self.pin(tag);
        self.run(&["up", "-d"]).await;
        self.record().await;
    }

    /// What the recorder does after a deploy.
    pub(crate) async fn record(&mut self) {
        let stack = self.agent.stack(&self.real.project()).await.unwrap();
        let [one, ..] = stack.services[&self.service()].containers.as_slice() else {
            panic!("no container: {stack:?}")
        };
        self.agent.keep(&self.real.project(), &self.service(), &one.image).await.unwrap();
        self.releases.push(Release {
            id: ReleaseId(Position(self.releases.len() as u64 + 1)),
            handles: one.image.clone(),
            spec: one.spec.clone(),
            origin: Origin::Compose,
            since: one.started.unwrap(),
            back: Vec::new(),
            proven: one.started,
            left_by: None,
        });
    }

    /// Nothing is on record any more.
    pub(crate) fn forget(&mut self) {
        self.releases.clear();
    }

    /// Runs compose as the team does; it must succeed. Gives what it printed.
    pub(crate) async fn run(&self, verb: &[&str]) -> String {
        self.try_run(verb)
            .await
            .unwrap_or_else(|why| panic!("{} {}: {verb:?}: {why}", self.compose.version, self.form.name))
    }

    /// The same; `Err` with its words when it fails.
    pub(crate) async fn try_run(&self, verb: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.compose.program);
        for argument in self.form.arguments {
            command.arg(self.text(argument));
        }
        self.call(command, verb).await
    }

    /// Runs compose without the form's arguments, and with this in its environment; it must succeed.
    pub(crate) async fn run_bare(&self, verb: &[&str], environment: &[(&str, &str)]) -> String {
        let mut command = Command::new(&self.compose.program);
        command.envs(environment.iter().copied());
        self.call(command, verb).await.unwrap_or_else(|why| panic!("{}: {verb:?}: {why}", self.compose.version))
    }

    async fn call(&self, mut command: Command, verb: &[&str]) -> Result<String, String> {
        command.args(verb).current_dir(self.project_folder()).stdin(Stdio::null()).kill_on_drop(true);
        let done = timeout(BOUND, command.output()).await.expect("compose comes to an end").expect("compose runs");
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        if done.status.success() { Ok(said) } else { Err(format!("{said}{}", String::from_utf8_lossy(&done.stderr))) }
    }

    /// Every container of a service.
    pub(crate) async fn containers(&self, service: &str) -> Vec<Value> {
        let engine = self.real.engine();
        let mut found = Vec::new();
        for id in engine.project_containers(&self.real.project()).await.unwrap() {
            let Some(one) = engine.inspect(&id).await.unwrap() else { continue };
            if one["Config"]["Labels"]["com.docker.compose.service"] == service {
                found.push(one);
            }
        }
        found
    }

    /// The only container of `api`.
    pub(crate) async fn api(&self) -> Value {
        let mut all = self.containers("api").await;
        let names: Vec<&Value> = all.iter().map(|c| &c["Name"]).collect();
        assert_eq!(all.len(), 1, "{} {}: containers of api: {names:?}", self.compose.version, self.form.name);
        all.remove(0)
    }

    /// What the image behind a handle is.
    pub(crate) async fn print(&self, handle: &str) -> Fingerprint {
        let image = self.real.engine().image(handle).await.unwrap();
        fingerprint::fingerprint(&image.unwrap_or_else(|| panic!("no image {handle}"))).unwrap()
    }

    /// What a version is.
    pub(crate) async fn version(&self, tag: &str) -> Fingerprint {
        self.print(&self.real.reference(&format!("api:{tag}"))).await
    }

    /// What `api` runs, and that it answers.
    pub(crate) async fn running(&self) -> Fingerprint {
        let api = self.api().await;
        assert_eq!(api["State"]["Running"], true, "{}", api["State"]);
        self.print(api["Image"].as_str().unwrap()).await
    }

    fn service(&self) -> ServiceName {
        ServiceName::parse("api").unwrap()
    }

    fn rules(&self) -> ServiceRules {
        ServiceRules {
            health: HealthRule {
                check: HealthCheck::Tcp { port: self.port },
                count: 2,
                interval_ms: 20,
                deadline_s: 20,
            },
            guessed_among: Vec::new(),
            grace_s: 1,
            proxies: Vec::new(),
            start_first: None,
            pin: self.pinned.then(|| (self.form.pin.0.to_owned(), self.form.pin.1.to_owned())),
            pin_shared_with: Vec::new(),
            repositories: vec![self.real.reference("api")],
        }
    }

    pub(crate) fn target(&self) -> Target {
        Target { stack: StackName::parse("shop").unwrap(), host: HostName::parse("here").unwrap() }
    }

    /// The plan of `/rollback image api …`.
    pub(crate) async fn plan(&self, wanted: Wanted) -> Result<(Plan, PlanNotes), Trouble> {
        let ask = Ask {
            target: self.target(),
            project: self.real.project(),
            service: self.service(),
            wanted,
            settings: Settings::Today,
            requester: Actor::System,
            command: "rollback image".to_owned(),
            arguments: Default::default(),
            reason: String::new(),
            steps: vec![
                StepKind::ProtectImage,
                StepKind::SwapService,
                StepKind::WritePin,
                StepKind::SignalProxy,
                StepKind::ProveHealth,
            ],
            limit_s: 900,
            catalogue: String::new(),
            policy: String::new(),
        };
        let history = History { releases: self.releases.clone(), current: self.releases.last().map(|r| r.id) };
        let rules = self.rules();
        prepare(&ask, &self.agent, &history, &move |service, _| {
            // The others are asked nothing.
            let check = if service.as_str() == "api" { rules.health.check.clone() } else { HealthCheck::Weak };
            ServiceRules { health: HealthRule { check, ..rules.health.clone() }, ..rules.clone() }
        })
        .await
    }

    /// Plans and does it. Gives the run, for its undo, and the warnings on the card.
    pub(crate) async fn roll_back(&self, wanted: Wanted) -> (Done, Vec<String>) {
        let (plan, notes) = self.plan(wanted).await.unwrap_or_else(|why| panic!("{}: {why:?}", self.form.name));
        let claim = self.claims.fetch_add(100, Ordering::SeqCst);
        let mut done = Done { claim, n: 0, plan };
        for step in done.plan.steps.clone() {
            self.act(&mut done, step.action).await;
        }
        (done, notes.warnings)
    }

    /// Takes it back, last step first.
    pub(crate) async fn undo(&self, mut done: Done) {
        for step in done.plan.steps.clone().into_iter().rev() {
            if let Undo::Action(action) = step.undo {
                self.act(&mut done, *action).await;
            }
        }
    }

    async fn act(&self, done: &mut Done, action: StepAction) {
        done.n += 1;
        let order = Order {
            token: Token { epoch: 0, claim: Position(done.claim), n: done.n },
            target: self.target(),
            project: self.real.project(),
            run: RunId(Position(done.claim)),
            action,
        };
        let (progress, _heard) = mpsc::channel(64);
        let what = format!("{} {}: {:?}", self.compose.version, self.form.name, order.action);
        self.agent.act(&order, progress).await.unwrap_or_else(|why| panic!("{what}: {why}"));
    }
}

/// A rollback that was done.
pub(crate) struct Done {
    claim: u64,
    n: u64,
    plan: Plan,
}

/// Whether the engine speaks an API older than this.
pub(crate) async fn takes_compose_1(too_new: (u32, u32)) -> bool {
    let Some(real) = RealEngine::find().await else { return true };
    let api = real.engine().facts().await.unwrap().api;
    let (major, minor) = api.split_once('.').unwrap();
    (major.parse::<u32>().unwrap(), minor.parse::<u32>().unwrap()) < too_new
}

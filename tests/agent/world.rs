//! A host with one compose project of one service, on a simulated or a real engine, and agents for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use sternway::agent::engine::{Engine, EngineError};
use sternway::agent::fault::{FaultyEngine, Verdict, When};
use sternway::agent::host::{AgentConfig, Allowed, HostAgent};
use sternway::agent::prove::Prober;
use sternway::agent::sim::{Behaviour, NewImage, SimEngine};
use sternway::agent::{Act, ActError, ContainerFacts, Inspect, Observed, Order, StackFacts, fingerprint};
use sternway::clock::{Clock, SystemClock};
use sternway::domain::event::Token;
use sternway::domain::ids::{Position, RunId};
use sternway::domain::names::{HostName, ProjectName, ServiceName, StackName, Target};
use sternway::domain::plan::{
    HealthCheck, HealthRule, ImageChoice, Proxy, Settings, SpecRef, StartFirst, StepAction, StepOutput, Swap,
};

use crate::real_engine::{self, RealEngine};

#[path = "shape.rs"]
mod shape;

pub(crate) use shape::Shape;

pub(crate) type Agent = HostAgent<FaultyEngine<dyn Engine>>;

/// Tries of a create whose layers a prune has just taken.
const TRIES: u32 = 5;

/// A clock that jumps to the end of every sleep: simulated time takes none.
struct JumpingClock(Mutex<Timestamp>);

#[async_trait::async_trait]
impl Clock for JumpingClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap()
    }

    async fn sleep(&self, time: Duration) {
        {
            let mut now = self.0.lock().unwrap();
            *now = now.checked_add(time).unwrap();
        }
        tokio::task::yield_now().await;
    }
}

/// Asks what is published on the host, of whichever engine.
struct Asks(Option<SimEngine>);

#[async_trait::async_trait]
impl Prober for Asks {
    async fn ask(&self, check: &HealthCheck) -> Result<(), String> {
        let port = match check {
            HealthCheck::Http { url } => url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap(),
            HealthCheck::Tcp { port } => *port,
            HealthCheck::Exec | HealthCheck::OwnPort { .. } | HealthCheck::Weak => {
                return Err("not asked from outside".to_owned());
            }
        };
        match &self.0 {
            Some(sim) => sim.ask(port),
            None => real_engine::ask(port).await,
        }
    }
}

pub(crate) struct World {
    pub(crate) shape: Shape,
    pub(crate) sim: Option<SimEngine>,
    real: Option<RealEngine>,
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    folder: tempfile::TempDir,
    pub(crate) project: ProjectName,
    pub(crate) service: ServiceName,
    port: u16,
    networks: Vec<String>,
    claims: AtomicU64,
}

/// The service as it was deployed.
pub(crate) struct Deployed {
    /// The container that runs.
    pub(crate) id: String,
}

impl World {
    pub(crate) async fn sim() -> Self {
        let clock = Arc::new(JumpingClock(Mutex::new("2026-03-01T02:00:00Z".parse().unwrap())));
        let sim = SimEngine::new(clock.clone());
        let networks = vec!["shop_default".to_owned(), "shop_back".to_owned()];
        for network in &networks {
            sim.network(network);
        }
        let project = ProjectName::parse("shop").unwrap();
        Self::new(Some(sim.clone()), None, Arc::new(sim), clock, project, 18080, networks)
    }

    pub(crate) async fn real() -> Option<Self> {
        Some(Self::on(RealEngine::find().await?).await)
    }

    /// On this engine.
    pub(crate) async fn on(real: RealEngine) -> Self {
        let networks = vec![real.network("default").await, real.network("back").await];
        let (engine, project) = (real.engine(), real.project());
        let port = real_engine::free_port();
        Self::new(None, Some(real), engine, Arc::new(SystemClock), project, port, networks)
    }

    /// The engine was started again, and listens elsewhere.
    pub(crate) fn moves_to(&mut self, real: RealEngine) {
        self.engine = real.engine();
        self.real = Some(real);
    }

    /// Images that are put there from now on are told to be made at this time.
    pub(crate) fn dated(&mut self, time: &str) {
        self.real.as_mut().expect("a real engine").dated(time);
    }

    /// What a test on a real engine alone may ask it beyond the agent's contract.
    pub(crate) fn real_engine(&self) -> &RealEngine {
        self.real.as_ref().expect("a real engine")
    }

    fn new(
        sim: Option<SimEngine>,
        real: Option<RealEngine>,
        engine: Arc<dyn Engine>,
        clock: Arc<dyn Clock>,
        project: ProjectName,
        port: u16,
        networks: Vec<String>,
    ) -> Self {
        let service = ServiceName::parse("api").unwrap();
        // In memory where there is such a place: the agent syncs every file, and nobody pulls a plug here.
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
        let (shape, claims) = (Shape::default(), AtomicU64::new(1));
        Self { shape, sim, real, engine, clock, folder, project, service, port, networks, claims }
    }

    fn number(&self) -> u32 {
        self.shape.number.unwrap_or(1)
    }

    pub(crate) fn engine(&self) -> Arc<dyn Engine> {
        Arc::clone(&self.engine)
    }

    pub(crate) fn agent_folder(&self) -> std::path::PathBuf {
        self.folder.path().join("agent")
    }

    pub(crate) fn project_folder(&self) -> std::path::PathBuf {
        let folder = self.folder.path().join("project");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// An agent on this engine as it is.
    pub(crate) fn agent(&self) -> Agent {
        self.agent_on(Arc::new(FaultyEngine::counting(self.engine())))
    }

    pub(crate) fn agent_on(&self, engine: Arc<FaultyEngine<dyn Engine>>) -> Agent {
        let allowed =
            Allowed { folder: Some(self.project_folder()), pins: [(".env".to_owned(), "API_IMAGE".to_owned())].into() };
        let mut config = AgentConfig::new(self.agent_folder(), BTreeMap::from([(self.project.clone(), allowed)]));
        config.patience = Duration::from_secs(1);
        HostAgent::open(engine, config, Arc::clone(&self.clock), Arc::new(Asks(self.sim.clone()))).unwrap()
    }

    pub(crate) fn failing(&self, index: u64, when: When, verdict: Verdict) -> Arc<FaultyEngine<dyn Engine>> {
        Arc::new(FaultyEngine::at(self.engine(), index, when, verdict))
    }

    /// The reference of an image of this world.
    pub(crate) fn reference(&self, tag: &str) -> String {
        match &self.real {
            Some(real) => real.reference(&format!("api:{tag}")),
            None => format!("shop/api:{tag}"),
        }
    }

    /// Puts an image there.
    pub(crate) async fn image(&self, tag: &str, behaviour: Behaviour) -> ImageChoice {
        let reference = self.reference(tag);
        match (&self.sim, &self.real) {
            (Some(sim), _) => drop(sim.image(&reference, behaviour)),
            (None, Some(real)) => drop(real.image(&format!("api:{tag}"), behaviour, &json!({})).await),
            (None, None) => unreachable!("a world has an engine"),
        }
        self.choice(&reference).await
    }

    /// Puts an image there that declares a volume and has the labels of this project.
    pub(crate) async fn image_built_by_compose(&self, tag: &str, volume: &str) -> ImageChoice {
        let reference = self.reference(tag);
        let project = self.project.as_str();
        let config = json!({
            "Volumes": {volume: {}},
            "Labels": {"com.docker.compose.project": project, "com.docker.compose.service": "api"},
        });
        match (&self.sim, &self.real) {
            (Some(sim), _) => drop(sim.add_image(NewImage::new(&reference, Behaviour::Healthy).config(config))),
            (None, Some(real)) => {
                drop(real.image(&format!("api:{tag}"), Behaviour::Healthy, &config).await);
            }
            (None, None) => unreachable!("a world has an engine"),
        }
        self.choice(&reference).await
    }

    pub(crate) async fn choice(&self, reference: &str) -> ImageChoice {
        let inspect = self.engine.image(reference).await.unwrap().unwrap();
        let handles = fingerprint::handles(&inspect, reference).unwrap();
        ImageChoice { fingerprint: handles.fingerprint, image: handles.image, reference: reference.to_owned() }
    }

    /// Time goes on; on a real engine it does so by itself.
    pub(crate) async fn later(&self) {
        if self.sim.is_some() {
            self.clock.sleep(Duration::from_secs(1)).await;
        }
    }

    /// `docker pause`.
    pub(crate) async fn pause(&self, id: &str) {
        match (&self.sim, &self.real) {
            (Some(sim), _) => sim.set_paused(id, true),
            (None, Some(real)) => real.docker().pause_container(id).await.unwrap(),
            (None, None) => unreachable!("a world has an engine"),
        }
    }

    pub(crate) async fn remove_image(&self, reference: &str) {
        match (&self.sim, &self.real) {
            (Some(sim), _) => sim.remove_image(reference).unwrap(),
            (None, Some(real)) => real.remove_image(reference).await,
            (None, None) => unreachable!("a world has an engine"),
        }
    }

    pub(crate) fn container_name(&self) -> String {
        format!("{}-api-{}", self.project, self.number())
    }

    /// As compose v2 makes it; what stood there before is removed.
    pub(crate) async fn deploy(&self, image: &ImageChoice) -> Deployed {
        self.deploy_with(image, &["MODE=today"]).await
    }

    pub(crate) async fn deploy_with(&self, image: &ImageChoice, env: &[&str]) -> Deployed {
        self.clear().await;
        self.neighbours(image).await;
        let id = self.create(&self.container_name(), image, env, json!({})).await;
        self.engine.connect(&self.networks[1], &id, &json!({"Aliases": ["api"]})).await.unwrap();
        self.engine.start(&id).await.unwrap();
        Deployed { id }
    }

    pub(crate) async fn create(&self, name: &str, image: &ImageChoice, env: &[&str], labels: Value) -> String {
        let body = self.body(image, env, labels);
        // On containerd's store a prune beside it can take the layers that create is about to use; asked again, they are there.
        for _ in 0..TRIES {
            match self.engine.create(name, &body).await {
                Err(EngineError::Refused { message, .. }) if message.contains("parent snapshot") => {}
                made => return made.unwrap(),
            }
        }
        panic!("the engine loses the layers of {name} again and again")
    }

    /// One that publishes nothing.
    pub(crate) async fn create_unpublished(&self, name: &str, image: &ImageChoice, labels: Value) -> String {
        let mut body = self.body(image, &[], labels);
        body["HostConfig"].as_object_mut().unwrap().remove("PortBindings");
        self.engine.create(name, &body).await.unwrap()
    }

    fn body(&self, image: &ImageChoice, env: &[&str], labels: Value) -> Value {
        let mut all = json!({
            "com.docker.compose.project": self.project.as_str(),
            "com.docker.compose.service": "api",
            "com.docker.compose.container-number": self.number().to_string(),
            "com.docker.compose.oneoff": "False",
            "com.docker.compose.config-hash": format!("hash of {}", image.reference),
            "com.docker.compose.image": image.image,
            "com.docker.compose.depends_on": "mongo:service_started:false",
            "com.docker.compose.project.working_dir": "/srv/shop",
            "com.docker.compose.version": "2.40.3",
            "team": "shop",
        });
        for (key, value) in labels.as_object().into_iter().flatten() {
            all[key] = value.clone();
        }
        let network = self.networks[0].as_str();
        let mut body = json!({
            "Image": image.reference,
            "Env": env,
            "Labels": all,
            "ExposedPorts": {"8080/tcp": {}},
            "HostConfig": {
                "NetworkMode": network,
                "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": self.port.to_string()}]},
                "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
            },
            "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": ["api"]}}},
        });
        if self.shape.start_first {
            body["HostConfig"].as_object_mut().unwrap().remove("PortBindings");
            body["Healthcheck"] = json!({"Test": ["CMD", "/program", "check"], "Interval": 3_600_000_000_000u64});
        }
        body
    }

    /// Removes every container of the project.
    pub(crate) async fn clear(&self) {
        for id in self.engine.project_containers(&self.project).await.unwrap() {
            self.engine.set_restart(&id, &json!({"Name": "no"})).await.unwrap();
            self.engine.stop(&id, 0).await.unwrap();
            self.engine.remove(&id).await.unwrap();
        }
    }

    pub(crate) fn rule(&self) -> HealthRule {
        let check = match self.shape {
            Shape { start_first: true, .. } => HealthCheck::Exec,
            Shape { number: Some(_), .. } => {
                HealthCheck::OwnPort { inside: "8080/tcp".to_owned(), path: Some("/".to_owned()) }
            }
            _ => HealthCheck::Http { url: format!("http://127.0.0.1:{}/", self.port) },
        };
        HealthRule { check, count: 2, interval_ms: 20, deadline_s: 2 }
    }

    pub(crate) fn target(&self) -> Target {
        Target { stack: StackName::parse("shop").unwrap(), host: HostName::parse("here").unwrap() }
    }

    /// Claims from here on are newer than this.
    pub(crate) fn claims_from(&self, claim: u64) {
        self.claims.fetch_max(claim, Ordering::SeqCst);
    }

    /// A second goes by.
    pub(crate) async fn clock_passes(&self) {
        self.clock.sleep(Duration::from_secs(1)).await;
    }

    /// A run's claim, newer than every one before.
    pub(crate) fn claim(&self) -> u64 {
        self.claims.fetch_add(10, Ordering::SeqCst)
    }

    pub(crate) fn order(&self, claim: u64, n: u64, action: StepAction) -> Order {
        Order {
            token: Token { epoch: 0, claim: Position(claim), n },
            target: self.target(),
            project: self.project.clone(),
            run: RunId(Position(claim)),
            action,
        }
    }

    pub(crate) async fn stack(&self, agent: &Agent) -> StackFacts {
        agent.stack(&self.project).await.unwrap()
    }

    /// The containers in question as the agent sees them.
    pub(crate) async fn facts(&self, agent: &Agent) -> Vec<ContainerFacts> {
        let mut all = self.stack(agent).await.services.remove(&self.service).map(|s| s.containers).unwrap_or_default();
        all.retain(|c| c.number == self.number());
        all
    }

    /// The swap that a planner would make of what is there now.
    pub(crate) async fn swap(&self, agent: &Agent, to: &ImageChoice) -> Swap {
        let facts = self.facts(agent).await;
        let [one] = facts.as_slice() else { panic!("one container, not {facts:#?}") };
        Swap {
            service: self.service.clone(),
            replaces: Some(one.id.clone()),
            from: ImageChoice {
                fingerprint: one.image.fingerprint.clone(),
                image: one.image.image.clone(),
                reference: one.image.reference.clone(),
            },
            to: to.clone(),
            settings: Settings::Today,
            spec: one.spec.clone(),
            target_spec: None,
            health: self.rule(),
            grace_s: 1,
            number: self.shape.number,
            start_first: self.shape.start_first.then(|| StartFirst {
                proxies: vec![Proxy { service: ServiceName::parse("web").unwrap(), signal: Some("WINCH".to_owned()) }],
                drain_ms: 10,
            }),
            follows: None,
            missing: false,
        }
    }

    /// What takes a swap back.
    pub(crate) fn undo(&self, swap: &Swap) -> Swap {
        Swap {
            replaces: None,
            from: swap.to.clone(),
            to: swap.from.clone(),
            settings: Settings::Recorded,
            ..swap.clone()
        }
    }

    /// The one container of the service, which must have its name and its policy, and must run this image with
    /// nothing left beside it.
    pub(crate) async fn settled(&self, case: &str, runs: &ImageChoice) -> Value {
        let found = self.containers().await;
        let words = |c: &Value| format!("{} {} {}", c["Name"], c["State"]["Status"], c["Image"]);
        let all: Vec<String> = found.iter().map(words).collect();
        assert_eq!(found.len(), 1, "{case}: exactly one container, not {all:#?}");
        let one = found.into_iter().next().unwrap();
        assert_eq!(one["Name"], format!("/{}", self.container_name()), "{case}");
        assert_eq!(one["State"]["Status"], "running", "{case}");
        assert_eq!(one["Image"], runs.image, "{case}");
        assert_eq!(one["HostConfig"]["RestartPolicy"]["Name"], "always", "{case}");
        let networks: Vec<&String> = one["NetworkSettings"]["Networks"].as_object().unwrap().keys().collect();
        assert_eq!(networks.len(), 2, "{case}: {networks:?}");
        let open = std::fs::read_dir(self.agent_folder().join("operations")).unwrap().count();
        assert_eq!(open, 0, "{case}: an operation is still open");
        one
    }

    /// The containers in question, raw.
    async fn containers(&self) -> Vec<Value> {
        let mut found = Vec::new();
        for id in self.engine.project_containers(&self.project).await.unwrap() {
            let one = self.engine.inspect(&id).await.unwrap().unwrap();
            if self.is_it(&one) {
                found.push(one);
            }
        }
        found
    }

    /// Which of the two runs; it must be settled.
    pub(crate) async fn old_or_new<'a>(
        &self,
        case: &str,
        old: &'a ImageChoice,
        new: &'a ImageChoice,
    ) -> &'a ImageChoice {
        let one = self.containers().await.into_iter().next().unwrap_or_else(|| panic!("{case}: no container at all"));
        let runs = if one["Image"] == new.image { new } else { old };
        self.settled(case, runs).await;
        runs
    }

    pub(crate) fn forget(&self, room: &str) {
        let path = self.agent_folder().join(room);
        if Path::new(&path).exists() {
            std::fs::remove_dir_all(path).unwrap();
        }
    }
}

/// Carries an order out; progress is heard and thrown away.
pub(crate) async fn act(agent: &Agent, order: &Order) -> Result<StepOutput, ActError> {
    let (progress, _heard) = tokio::sync::mpsc::channel(4);
    agent.act(order, progress).await
}

pub(crate) fn swapping(swap: &Swap) -> StepAction {
    StepAction::SwapService(Box::new(swap.clone()))
}

pub(crate) fn effect(output: &StepOutput) -> bool {
    match output {
        StepOutput::Swapped { effect, .. } => *effect,
        other => panic!("not a swap's output: {other:?}"),
    }
}

pub(crate) fn why(result: Result<StepOutput, ActError>) -> String {
    match result {
        Err(ActError::Failed(why) | ActError::Refused(why)) => why,
        other => panic!("it must not have been done: {other:?}"),
    }
}

pub(crate) fn so(observed: &Observed) -> bool {
    matches!(observed, Observed::So(_))
}

/// A spec that nobody recorded.
pub(crate) fn no_spec() -> SpecRef {
    SpecRef { id: "00".to_owned(), mac: "00".to_owned() }
}

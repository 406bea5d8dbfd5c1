//! A sample project in a folder of its own with images that stand in for its own, deployed by a real compose, and an
//! agent that rolls it back as the bot does.
//!
//! The images have the names that the projects give them, and those are everybody's: so one test at a time has a project on
//! this machine, and where an image of that name is already there, nothing is done at all.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sternway::agent::docker::DockerEngine;
use sternway::agent::engine::Engine;
use sternway::agent::host::{AgentConfig, Allowed, HostAgent};
use sternway::agent::probe::Probe;
use sternway::agent::{Act, Inspect, Order, fingerprint};
use sternway::clock::SystemClock;
use sternway::command::StepKind;
use sternway::config::service::{Pin, Service};
use sternway::domain::actor::Actor;
use sternway::domain::event::Token;
use sternway::domain::ids::{Position, ReleaseId, RunId};
use sternway::domain::names::{Fingerprint, HostName, ServiceName, StackName, Target};
use sternway::domain::plan::{HealthCheck, Plan, PlanNotes, Settings, StepAction, Undo};
use sternway::domain::release::{History, Origin, Release, Wanted};
use sternway::domain::trouble::Trouble;
use sternway::procedures::planner::{Ask, ServiceRules, prepare};
use tokio::process::Command;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::composes::Compose;
use crate::real_engine::{self, RealEngine, TEST_LABEL, free_port};

/// Longest wait for one call of compose.
const BOUND: Duration = Duration::from_secs(60);
/// Longest wait for another test that has the same names.
const TURN: Duration = Duration::from_secs(300);

pub(crate) struct World {
    pub(crate) real: RealEngine,
    pub(crate) agent: HostAgent<DockerEngine>,
    pub(crate) compose: Compose,
    folder: tempfile::TempDir,
    pub(crate) ports: [u16; 3],
    releases: BTreeMap<String, Vec<Release>>,
    claims: AtomicU64,
    /// Let go last: the images are swept before.
    _turn: File,
}

impl World {
    /// With those files of a project; nothing is up. `None`, loudly, where there is no engine, or one that has an image of
    /// these names.
    pub(crate) async fn new(compose: &Compose, name: &str, files: &[(&str, &str)], images: &[&str]) -> Option<Self> {
        let turn = turn(name).await;
        let real = RealEngine::find().await?;
        for image in images {
            if let Some(there) = real.engine().image(image).await.unwrap() {
                let whose = there["Config"]["Labels"][TEST_LABEL].as_str().unwrap_or_default();
                if whose.is_empty() {
                    eprintln!("SKIPPED, NOT TESTED: {image} is on this engine, and it is not ours to touch");
                    return None;
                }
                // Of a test that was killed: we have its turn.
                real.remove_image(image).await;
            }
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let project = folder.path().join(real.project().as_str());
        let pins = [(pin().file, pin().key)].into();
        let allowed = Allowed { folder: Some(project), pins };
        let config = AgentConfig::new(folder.path().join("agent"), [(real.project(), allowed)].into());
        let mut ports = [free_port(), free_port(), free_port()];
        // As the projects have them: where a person asks is lower than where a debugger does.
        ports.sort_unstable();
        let probe = Arc::new(Probe::new().unwrap());
        let agent = HostAgent::open(real.engine(), config, Arc::new(SystemClock), probe).unwrap();
        let world = Self {
            real,
            agent,
            compose: compose.clone(),
            folder,
            ports,
            releases: BTreeMap::new(),
            claims: AtomicU64::new(1),
            _turn: turn,
        };
        for (path, text) in files {
            world.write(path, text);
        }
        Some(world)
    }

    /// The project's folder, which gives it its name.
    fn project_folder(&self) -> PathBuf {
        self.folder.path().join(self.real.project().as_str())
    }

    /// A file of the project.
    pub(crate) fn write(&self, path: &str, text: &str) {
        let swept = format!("labels: {{{TEST_LABEL}: '{}'}}", self.real.id());
        let mut text = text.replace("{swept}", &format!("{{{swept}}}"));
        for (n, port) in self.ports.iter().enumerate() {
            text = text.replace(&format!("{{port{n}}}"), &port.to_string());
        }
        let path = self.project_folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A file of the project.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.project_folder().join(path)).unwrap()
    }

    /// The stand-in's program as a file of the project, for what the project mounts or builds.
    pub(crate) fn program(&self, path: &str) {
        let path = self.project_folder().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(standin(), &path).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What a Dockerfile of such a backend comes to.
    pub(crate) fn dockerfile(&self, path: &str, kind: &str) {
        let text = format!(
            "FROM scratch AS builder\nLABEL {TEST_LABEL}={}\nCOPY program /code/bin/backend\nENV STANDIN={kind} \
             STANDIN_PORT=8000 STANDIN_NEEDS=/run/secrets/db-password\nSTOPSIGNAL SIGKILL\nCMD [\"/code/bin/backend\"]\n",
            self.real.id()
        );
        self.write(path, &text);
    }

    /// An image that stands in for the one of that name: `kind` is the program's, `version` makes it another image.
    pub(crate) async fn image(&self, reference: &str, port: u16, kind: &str, version: &str) {
        let program = fs::read(standin()).unwrap();
        let passwd = b"root:x:0:0:root:/:/none\npostgres:x:70:70:postgres:/:/none\n";
        let files: [(&str, u32, &[u8]); 5] = [
            ("etc/passwd", 0o644, passwd),
            ("program", 0o755, &program),
            ("usr/bin/pg_isready", 0o755, &program),
            ("usr/bin/curl", 0o755, &program),
            ("usr/bin/nodemon", 0o755, &program),
        ];
        let config = json!({
            "Env": ["PATH=/usr/bin", format!("STANDIN={kind}"), format!("STANDIN_PORT={port}"), format!("V={version}")],
            "Entrypoint": ["/program"], "StopSignal": "SIGKILL"
        });
        self.real.stand_in(reference, &files, &config).await;
    }

    /// The stand-in of a proxy that looks an upstream's address up once, and again on SIGHUP.
    pub(crate) async fn proxy(&self, reference: &str, upstream: &str) {
        let program = fs::read(real_engine::product()).unwrap();
        let config = json!({
            "Env": ["SHOP_ROLE=web", "SHOP_LISTEN=0.0.0.0:80", format!("SHOP_API={upstream}")],
            "Entrypoint": ["/product"]
        });
        self.real.stand_in(reference, &[("product", 0o755, &program)], &config).await;
    }

    /// Runs compose as the team does; it must succeed.
    pub(crate) async fn run(&self, arguments: &[&str]) {
        let mut command = Command::new(&self.compose.program);
        command.args(arguments).current_dir(self.project_folder()).stdin(Stdio::null()).kill_on_drop(true);
        // Nothing stays in a builder's cache, where no sweep of ours reaches.
        command.env("DOCKER_BUILDKIT", "0").env("COMPOSE_DOCKER_CLI_BUILD", "0");
        let done = timeout(BOUND, command.output()).await.expect("compose comes to an end").expect("compose runs");
        let said = String::from_utf8_lossy(&done.stderr);
        assert!(done.status.success(), "compose {} {arguments:?}: {said}", self.compose.version);
    }

    /// The only container of a service.
    pub(crate) async fn container(&self, service: &str) -> Value {
        let engine = self.real.engine();
        let mut found = Vec::new();
        for id in engine.project_containers(&self.real.project()).await.unwrap() {
            let Some(one) = engine.inspect(&id).await.unwrap() else { continue };
            if one["Config"]["Labels"]["com.docker.compose.service"] == service {
                found.push(one);
            }
        }
        let names: Vec<&Value> = found.iter().map(|c| &c["Name"]).collect();
        assert_eq!(found.len(), 1, "compose {}: containers of {service}: {names:?}", self.compose.version);
        found.remove(0)
    }

    /// Every container of the project by its service, without one of them.
    pub(crate) async fn others(&self, service: &str) -> BTreeMap<String, String> {
        let engine = self.real.engine();
        let mut found = BTreeMap::new();
        for id in engine.project_containers(&self.real.project()).await.unwrap() {
            let Some(one) = engine.inspect(&id).await.unwrap() else { continue };
            let of = one["Config"]["Labels"]["com.docker.compose.service"].as_str().unwrap_or_default().to_owned();
            if of != service {
                found.insert(of, format!("{id} {}", one["State"]["StartedAt"]));
            }
        }
        found
    }

    /// What a service runs.
    pub(crate) async fn running(&self, service: &str) -> Fingerprint {
        let one = self.container(service).await;
        assert_eq!(one["State"]["Running"], true, "{service}: {}", one["State"]);
        let image = self.real.engine().image(one["Image"].as_str().unwrap()).await.unwrap();
        fingerprint::fingerprint(&image.expect("a container's image")).unwrap()
    }

    /// Asked from outside, until it answers so or a bound is over.
    pub(crate) async fn answers(&self, url: &str, well: bool) {
        let probe = Probe::new().unwrap();
        let check = HealthCheck::Http { url: url.to_owned() };
        let end = Instant::now() + Duration::from_secs(15);
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        loop {
            tick.tick().await;
            let said = probe.ask(&check).await;
            let so = match &said {
                Ok(()) => well,
                Err(why) => !well && why.contains("503"),
            };
            if so {
                return;
            }
            assert!(Instant::now() < end, "compose {}: {url} well: {well}, but {said:?}", self.compose.version);
        }
    }

    /// Waits for a job's end.
    pub(crate) async fn ended(&self, service: &str) {
        let end = Instant::now() + Duration::from_secs(15);
        let mut tick = tokio::time::interval(Duration::from_millis(20));
        while self.container(service).await["State"]["Status"] != "exited" {
            assert!(Instant::now() < end, "{service} goes on");
            tick.tick().await;
        }
    }

    /// What the recorder does after a deploy.
    pub(crate) async fn record(&mut self, service: &str, proven: bool) {
        let name = ServiceName::parse(service).unwrap();
        let stack = self.agent.stack(&self.real.project()).await.unwrap();
        let [one] = stack.services[&name].containers.as_slice() else { panic!("one container: {stack:?}") };
        self.agent.keep(&self.real.project(), &name, &one.image).await.unwrap();
        let releases = self.releases.entry(service.to_owned()).or_default();
        releases.push(Release {
            id: ReleaseId(Position(releases.len() as u64 + 1)),
            handles: one.image.clone(),
            spec: one.spec.clone(),
            origin: Origin::Compose,
            since: one.started.unwrap(),
            back: Vec::new(),
            proven: one.started.filter(|_| proven),
            left_by: None,
        });
    }

    /// The plan of `/rollback image <service> …` under what the config says of the service.
    pub(crate) async fn plan(
        &self,
        service: &str,
        config: &Service,
        wanted: Wanted,
    ) -> Result<(Plan, PlanNotes), Trouble> {
        let ask = Ask {
            target: target(),
            project: self.real.project(),
            service: ServiceName::parse(service).unwrap(),
            wanted,
            settings: Settings::Today,
            requester: Actor::System,
            command: "rollback image".to_owned(),
            arguments: BTreeMap::new(),
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
        let releases = self.releases.get(service).cloned().unwrap_or_default();
        let history = History { current: releases.last().map(|r| r.id), releases };
        prepare(&ask, &self.agent, &history, &|_, container| ServiceRules {
            health: sternway::config::health_rule(config, &container.published, container.has_check),
            guessed_among: Vec::new(),
            grace_s: config.grace_s(),
            proxies: config.proxies.iter().filter_map(|p| Some((p.service.clone(), p.signal.clone()?))).collect(),
            start_first: None,
            pin: config.pin.as_ref().map(|p| (p.file.clone(), p.key.clone())),
            pin_shared_with: Vec::new(),
            repositories: Vec::new(),
        })
        .await
    }

    /// Plans and does it. Gives the run, for its undo, and the warnings on the card.
    pub(crate) async fn roll_back(&self, service: &str, config: &Service) -> (Done, Vec<String>) {
        let planned = self.plan(service, config, Wanted::Previous).await;
        let (plan, notes) = planned.unwrap_or_else(|why| panic!("{service}: {why:?}"));
        let mut done = Done { claim: self.claims.fetch_add(100, Ordering::SeqCst), n: 0, plan };
        for step in done.plan.steps.clone() {
            self.act(&mut done, step.action).await.unwrap_or_else(|why| panic!("{service}: {why}"));
        }
        (done, notes.warnings)
    }

    /// Takes it back, last step first.
    pub(crate) async fn undo(&self, mut done: Done) -> Result<(), String> {
        for step in done.plan.steps.clone().into_iter().rev() {
            if let Undo::Action(action) = step.undo {
                self.act(&mut done, *action).await?;
            }
        }
        Ok(())
    }

    async fn act(&self, done: &mut Done, action: StepAction) -> Result<(), String> {
        done.n += 1;
        let order = Order {
            token: Token { epoch: 0, claim: Position(done.claim), n: done.n },
            target: target(),
            project: self.real.project(),
            run: RunId(Position(done.claim)),
            action,
        };
        let (progress, _heard) = mpsc::channel(64);
        let what = format!("compose {}: {:?}", self.compose.version, order.action);
        self.agent.act(&order, progress).await.map(drop).map_err(|why| format!("{what}: {why}"))
    }
}

/// A rollback that was done.
pub(crate) struct Done {
    claim: u64,
    n: u64,
    plan: Plan,
}

/// The composes that work on this engine: from API 1.44 on, 1.29 breaks whenever it recreates.
pub(crate) async fn composes() -> Vec<Compose> {
    let Some(real) = RealEngine::find().await else { return Vec::new() };
    let api = real.engine().facts().await.unwrap().api;
    let minor: u32 = api.split_once('.').unwrap().1.parse().unwrap();
    let wanted = if minor < 44 { &["1.29", "2.26.1"][..] } else { &["2.26.1"] };
    wanted.iter().filter_map(|version| Compose::find(version)).collect()
}

/// What the config says when it says nothing, but quicker.
pub(crate) fn service() -> Service {
    let (grace, interval) = (Duration::from_secs(1), Duration::from_millis(50));
    Service { count: 2, interval, grace, deadline: Duration::from_secs(20), ..Service::default() }
}

/// Where a team writes the image once it has taken our advice.
pub(crate) fn pin() -> Pin {
    Pin { file: ".env".to_owned(), key: "APP_IMAGE".to_owned() }
}

fn target() -> Target {
    Target { stack: StackName::parse("sample").unwrap(), host: HostName::parse("here").unwrap() }
}

fn standin() -> PathBuf {
    real_engine::compiled("tests/samples/standin.rs")
}

/// This test's turn with a sample on this machine, also among several runs of the suite.
async fn turn(name: &str) -> File {
    let path = std::env::temp_dir().join(format!("sternway-sample-{name}.lock"));
    let file = File::options().create(true).truncate(false).write(true).open(&path).unwrap();
    let end = Instant::now() + TURN;
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while file.try_lock().is_err() {
        assert!(Instant::now() < end, "{} is held by another run", path.display());
        tick.tick().await;
    }
    file
}

//! A compose project with the agent beside it: brings the project up, lets the agent swap.

use std::collections::BTreeMap;
use std::sync::Arc;

use sternway::agent::docker::DockerEngine;
use sternway::agent::host::{AgentConfig, Allowed, HostAgent};
use sternway::agent::probe::Probe;
use sternway::agent::{Act, ActError, ContainerFacts, Inspect, Order};
use sternway::clock::SystemClock;
use sternway::domain::event::Token;
use sternway::domain::ids::{Position, RunId};
use sternway::domain::names::{HostName, ProjectName, ServiceName, StackName, Target};
use sternway::domain::plan::{HealthCheck, HealthRule, ImageChoice, Settings, StepAction, StepOutput, Swap};
use sternway::domain::release::Handles;
use tokio::sync::mpsc;

use crate::recreate_world::{Tool, World};

/// Containers of a project as the agent sees them, by service.
pub(crate) type Seen = BTreeMap<String, ContainerFacts>;

/// One project, one agent.
pub(crate) struct Bench {
    pub(crate) world: World,
    pub(crate) agent: HostAgent<DockerEngine>,
    project: ProjectName,
    n: std::sync::atomic::AtomicU64,
    _folder: tempfile::TempDir,
}

impl Bench {
    /// `None`, said loudly, where it cannot be tried.
    pub(crate) async fn new(name: &str, tool: Tool, compose: &str) -> Option<Self> {
        let world = World::new(name, tool, &written_for(name, tool, compose)).await?;
        std::fs::write(world.folder().join("one.env"), "FROM_FILE=1\nPASSWORD=of the file\n").unwrap();
        std::fs::write(world.folder().join("two.env"), "SECOND=\"quoted value\"\n").unwrap();
        std::fs::write(world.folder().join("token.txt"), "a token of this test\n").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let project = ProjectName::parse(&world.mark).unwrap();
        let allowed = Allowed { folder: Some(world.folder().to_owned()), ..Allowed::default() };
        let config = AgentConfig::new(folder.path().join("agent"), BTreeMap::from([(project.clone(), allowed)]));
        let engine = Arc::new(DockerEngine::connect(Some(&World::host())).unwrap());
        let prober = Arc::new(Probe::new().unwrap());
        let agent = HostAgent::open(engine, config, Arc::new(SystemClock), prober).unwrap();
        Some(Self { world, agent, project, n: 1.into(), _folder: folder })
    }

    /// What the agent sees, recorded as it is looked at.
    pub(crate) async fn facts(&self) -> Seen {
        let facts = self.agent.stack(&self.project).await.unwrap();
        let one = |(service, facts): (ServiceName, sternway::agent::ServiceFacts)| {
            assert_eq!(facts.containers.len(), 1, "{service}");
            (service.to_string(), facts.containers[0].clone())
        };
        facts.services.into_iter().map(one).collect()
    }

    /// Gives an order.
    pub(crate) async fn act(&self, action: StepAction) -> Result<StepOutput, ActError> {
        let n = self.n.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let target = Target { stack: StackName::parse("shop").unwrap(), host: HostName::parse("here").unwrap() };
        let order = Order {
            token: Token { epoch: 0, claim: Position(7), n },
            target,
            project: self.project.clone(),
            run: RunId(Position(7)),
            action,
        };
        let (progress, _hear) = mpsc::channel(64);
        self.agent.act(&order, progress).await
    }

    /// Swaps a service to what it was when `good` was seen.
    pub(crate) async fn swap(&self, service: &str, good: &Seen) {
        let now = self.facts().await;
        let (present, target) = (&now[service], &good[service]);
        assert_eq!(present.obstacles, Vec::<String>::new(), "{service}");
        let swap = swap_to(service, present, target);
        let done = self.act(StepAction::SwapService(Box::new(swap))).await;
        assert!(matches!(done, Ok(StepOutput::Swapped { effect: true, .. })), "{service}: {done:?}");
    }
}

/// From one to the other, with today's settings.
pub(crate) fn swap_to(service: &str, present: &ContainerFacts, target: &ContainerFacts) -> Swap {
    Swap {
        service: ServiceName::parse(service).unwrap(),
        replaces: Some(present.id.clone()),
        from: choice(&present.image),
        to: choice(&target.image),
        settings: Settings::Today,
        spec: present.spec.clone(),
        target_spec: Some(target.spec.clone()),
        health: HealthRule { check: HealthCheck::Weak, count: 1, interval_ms: 20, deadline_s: 30 },
        grace_s: 0,
        number: None,
        start_first: None,
        follows: None,
        missing: false,
    }
}

/// An image as plans name it.
pub(crate) fn choice(handles: &Handles) -> ImageChoice {
    ImageChoice {
        fingerprint: handles.fingerprint.clone(),
        image: handles.image.clone(),
        reference: handles.reference.clone(),
    }
}

/// The compose file with what differs between generations and between tests that run beside each other.
fn written_for(name: &str, tool: Tool, compose: &str) -> String {
    let pid = std::process::id();
    // A corner of 10/8 for each test, three networks in it.
    let own = name.bytes().fold(0u32, |sum, b| sum.wrapping_mul(31).wrapping_add(b.into())) % 50 + 200;
    let third = pid % 84 * 3;
    let port = (0..200).map(|i| 20_000 + (pid * 7 + own * 13 + i * 2) % 9_000).find(|p| free(*p) && free(p + 1));
    let port = port.expect("two free ports in a row");
    let generation = if tool == Tool::V1 { "[v1]" } else { "[v2]" };
    let lines = compose.lines().filter_map(|line| match line.get(..4) {
        Some("[v1]" | "[v2]") => line.strip_prefix(generation),
        _ => Some(line),
    });
    lines
        .map(|line| format!("{line}\n"))
        .collect::<String>()
        .replace("${FRONT}", &format!("10.{own}.{third}"))
        .replace("${BACK}", &format!("10.{own}.{}", third + 1))
        .replace("${SIX}", &format!("10.{own}.{}", third + 2))
        .replace("${SIX6}", &format!("fd00:57:{own:x}:{pid:x}"))
        .replace("${N}", &(own % 10).to_string())
        .replace("${PORT}", &port.to_string())
        .replace("${PORT_END}", &(port + 1).to_string())
}

fn free(port: u32) -> bool {
    u16::try_from(port).is_ok_and(|port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok())
}

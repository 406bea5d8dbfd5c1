//! Bringing images back from a real registry on loopback, with a login, through a real engine: and every way in which
//! that does not work. Needs an engine and Debian's docker-registry; without says `SKIPPED`, and fails where `CI` is set.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "support/real_engine.rs"]
mod real_engine;

#[path = "support/registry.rs"]
mod registry;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use sternway::agent::docker::DockerEngine;
use sternway::agent::engine::Engine;
use sternway::agent::host::{AgentConfig, Allowed, HostAgent};
use sternway::agent::prove::Prober;
use sternway::agent::sim::Behaviour;
use sternway::agent::{Act, ActError, ImageFound, Inspect, Order, fingerprint};
use sternway::clock::SystemClock;
use sternway::domain::event::Token;
use sternway::domain::ids::{Position, RunId};
use sternway::domain::names::{HostName, ServiceName, StackName, Target};
use sternway::domain::plan::{HealthCheck, ImageChoice, StepAction, StepOutput};
use sternway::domain::release::Handles;
use tokio::sync::mpsc;

use real_engine::RealEngine;
use registry::{Front, Mood, RealRegistry};

const PASSWORD: &str = "canary7f3a-registry";

struct NoProber;

#[async_trait::async_trait]
impl Prober for NoProber {
    async fn ask(&self, _: &HealthCheck) -> Result<(), String> {
        Err("nobody is asked here".to_owned())
    }
}

/// An engine, a registry with one image of ours that is on the engine no more, and its digest.
struct Scene {
    real: RealEngine,
    registry: RealRegistry,
    image: ImageChoice,
    digest: String,
    folder: tempfile::TempDir,
    orders: std::sync::atomic::AtomicU64,
}

impl Scene {
    async fn set() -> Option<Self> {
        let real = RealEngine::find().await?;
        let registry = RealRegistry::start(PASSWORD).await?;
        let reference = real.image("api:1.0", Behaviour::Healthy, &serde_json::json!({})).await;
        let inspect = real.engine().image(&reference).await.unwrap().unwrap();
        let handles = fingerprint::handles(&inspect, &reference).unwrap();
        let digest = registry.push(&real, &reference, "shop/api").await;
        real.remove_image(&registry.pushed("shop/api")).await;
        real.remove_image(&reference).await;
        let image = ImageChoice { fingerprint: handles.fingerprint, image: handles.image, reference };
        let scene =
            Self { real, registry, image, digest, folder: tempfile::tempdir().unwrap(), orders: Default::default() };
        assert_eq!(scene.agent(None).find_image(&scene.handles()).await.unwrap(), ImageFound::Gone);
        Some(scene)
    }

    fn handles(&self) -> Handles {
        Handles {
            fingerprint: self.image.fingerprint.clone(),
            image: self.image.image.clone(),
            reference: self.image.reference.clone(),
            digests: vec![self.digest.clone()],
        }
    }

    fn agent(&self, docker_config: Option<PathBuf>) -> HostAgent<DockerEngine> {
        let projects = BTreeMap::from([(self.real.project(), Allowed::default())]);
        let folder = self.folder.path().join(format!("agent-{}", self.next()));
        let mut config = AgentConfig::new(folder, projects);
        config.docker_config = docker_config;
        HostAgent::open(self.real.engine(), config, Arc::new(SystemClock), Arc::new(NoProber)).unwrap()
    }

    fn logged_in(&self) -> HostAgent<DockerEngine> {
        self.agent(Some(self.registry.config_file(&self.registry.host(), PASSWORD)))
    }

    fn next(&self) -> u64 {
        self.orders.fetch_add(1, std::sync::atomic::Ordering::SeqCst) + 1
    }

    async fn act(&self, agent: &HostAgent<DockerEngine>, action: StepAction) -> Result<StepOutput, ActError> {
        let target = Target { stack: StackName::parse("shop").unwrap(), host: HostName::parse("local").unwrap() };
        let claim = Position(self.next());
        let order = Order {
            token: Token { epoch: 1, claim, n: 1 },
            target,
            project: self.real.project(),
            run: RunId(claim),
            action,
        };
        let (words, _heard) = mpsc::channel(64);
        agent.act(&order, words).await
    }

    async fn pull(&self, agent: &HostAgent<DockerEngine>, from: &str) -> Result<StepOutput, ActError> {
        let action = StepAction::PullImage { service: api(), image: self.image.clone(), from: from.to_owned() };
        self.act(agent, action).await
    }

    fn pins(&self) -> String {
        format!("{}/api:{}", self.real.project(), self.image.fingerprint.short())
    }
}

fn api() -> ServiceName {
    ServiceName::parse("api").unwrap()
}

/// Why it was refused; never with the password in it.
fn why(result: Result<StepOutput, ActError>) -> String {
    let Err(ActError::Refused(why)) = result else { panic!("not refused: {result:?}") };
    assert!(!why.contains("canary7f3a"), "{why}");
    assert!(why.contains("Nothing was stopped"), "{why}");
    why
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_gone_comes_back_by_digest_and_goes_again_when_it_is_let_go() {
    let Some(scene) = Scene::set().await else { return };
    let agent = scene.logged_in();
    assert_eq!(agent.pullable(&scene.digest).await.unwrap(), Ok(()));
    scene.pull(&agent, &scene.digest).await.unwrap();
    let found = agent.find_image(&scene.handles()).await.unwrap();
    let ImageFound::Here { handles, .. } = found else { panic!("{found:?}") };
    assert_eq!(handles.fingerprint, scene.image.fingerprint);
    let kept = scene.real.engine().labelled("io.sternway.pin", &scene.pins()).await.unwrap();
    assert_eq!(kept.len(), 1, "kept at once: an image without a tag is what the next prune takes");
    let held = agent.holdings(&scene.real.project(), &api(), &scene.handles()).await.unwrap().unwrap();
    assert!(held.pinned && held.other_tags.is_empty() && held.bytes > 100_000, "{held:?}");
    // Said again it is so already, without the registry.
    scene.pull(&agent, &scene.digest).await.unwrap();

    let images = vec![scene.image.clone()];
    let released = scene.act(&agent, StepAction::ReleasePins { service: api(), images: images.clone() }).await;
    assert_eq!(released, Ok(StepOutput::Released { removed: 1, stayed: Vec::new() }), "its name of the registry too");
    assert_eq!(agent.find_image(&scene.handles()).await.unwrap(), ImageFound::Gone);
    let back = scene.act(&agent, StepAction::KeepPins { service: api(), images }).await;
    assert!(matches!(&back, Err(ActError::Failed(why)) if why.contains("cannot be brought back")), "{back:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_login_and_none_are_told_apart() {
    let Some(scene) = Scene::set().await else { return };
    let none = scene.agent(None);
    let told = why(scene.pull(&none, &scene.digest).await);
    assert!(told.contains("wants a login") && told.contains("docker_config"), "{told}");
    assert_eq!(none.pullable(&scene.digest).await.unwrap().map_err(|w| w.contains("wants a login")), Err(true));
    let wrong = scene.agent(Some(scene.registry.config_file(&scene.registry.host(), "canary7f3a-wrong")));
    let told = why(scene.pull(&wrong, &scene.digest).await);
    assert!(told.contains("refuses the login it was sent"), "{told}");
    let missing = scene.agent(Some("/nonexistent/config.json".into()));
    let told = why(scene.pull(&missing, &scene.digest).await);
    assert!(told.contains("docker_config /nonexistent/config.json cannot be read"), "{told}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_or_forgot_it_is_told() {
    let Some(mut scene) = Scene::set().await else { return };
    let agent = scene.logged_in();
    let other = format!("{}@sha256:{}", scene.digest.split('@').next().unwrap(), "ab".repeat(32));
    let told = why(scene.pull(&agent, &other).await);
    assert!(told.contains("does not have"), "{told}");
    scene.registry.forget("shop/api");
    let told = why(scene.pull(&agent, &scene.digest).await);
    assert!(told.contains("does not have"), "{told}");
    scene.registry.stop();
    let told = why(scene.pull(&agent, &scene.digest).await);
    assert!(told.contains("cannot be reached from the engine"), "{told}");
    let made_up = format!("{}@{}", scene.digest.split('@').next().unwrap(), "sha256:short");
    assert!(why(scene.pull(&agent, &made_up).await).contains("no digest"), "never asked for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_stingy_silent_or_fails_late_is_told() {
    let Some(scene) = Scene::set().await else { return };
    let front = Front::before(&scene.registry).await;
    let digest = format!("{}/shop/api@{}", front.host(), scene.digest.split('@').nth(1).unwrap());
    let agent = scene.agent(Some(scene.registry.config_file(&front.host(), PASSWORD)));
    front.set(Mood::Limited);
    let told = why(scene.pull(&agent, &digest).await);
    assert!(told.contains("too much was asked of it"), "{told}");
    assert_eq!(front.layers_asked(), 0, "asked for before it is pulled");

    front.set(Mood::LimitedLate);
    let told = why(scene.pull(&agent, &digest).await);
    assert!(told.contains("too much was asked of it"), "{told}");
    assert!(front.layers_asked() > 0, "the error came late");

    front.set(Mood::Silent);
    let told = agent.pullable(&digest).await.unwrap().unwrap_err();
    assert!(told.contains("does not answer in time"), "{told}");

    front.set(Mood::Well);
    scene.pull(&agent, &digest).await.unwrap();
    assert!(matches!(agent.find_image(&scene.handles()).await.unwrap(), ImageFound::Here { .. }));
}

//! A Docker engine that lives in memory, as strict as the real one: for tests and the demo. It passes the same
//! conformance suite (`tests/engine.rs`).
//!
//! What its images do is scripted ([`Behaviour`]); time is the [`Clock`] it is given. Its methods beside the
//! [`Engine`](super::engine::Engine) contract are what other hands do on a host: builds, foreign deploys, prunes,
//! engine restarts, full disks. It must never be kinder than Docker: a rollback that only works here is worse
//! than none. Not simulated: process output, pulls, real addresses, swarm.

mod behaviour;
mod calls;
mod compose;
mod container;
mod create;
mod images;
mod joined;
mod registry;
#[cfg(test)]
mod tests;
mod world;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::sync::broadcast;

pub use behaviour::Behaviour;
pub use compose::{ComposeService, Generation};
pub use images::NewImage;
pub use registry::RegistryMood;

use super::engine::EngineError;
use super::{EngineFacts, StoreKind};
use crate::clock::Clock;
use crate::domain::names::ProjectName;
use world::World;

/// The engine version that the simulation follows.
const VERSION: &str = "20.10.24";
/// Hints kept for a slow receiver, as with the real engine.
const HINTS_KEPT: usize = 256;

/// A simulated engine. Clones are the same engine.
#[derive(Clone)]
pub struct SimEngine {
    shared: Arc<Shared>,
}

struct Shared {
    clock: Arc<dyn Clock>,
    world: Mutex<World>,
    hints: broadcast::Sender<ProjectName>,
}

/// How a simulated engine ended before it came back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineEnd {
    /// SIGTERM: containers were stopped in order.
    Orderly,
    /// SIGKILL, or the power went.
    Killed,
}

impl SimEngine {
    /// An empty engine: 20.10.24, API 1.41, linux/amd64, graph driver store, 50 GB free.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let facts = EngineFacts {
            version: VERSION.to_owned(),
            api: "1.41".to_owned(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
            store: StoreKind::GraphDriver,
        };
        let (hints, _) = broadcast::channel(HINTS_KEPT);
        Self { shared: Arc::new(Shared { clock, world: Mutex::new(World::new(facts)), hints }) }
    }

    /// Puts a new, unique image there under `reference` and gives its id. A tag that stood elsewhere moves.
    /// (It hides the contract's call of that name; with a concrete `SimEngine` that one is `Engine::image(&sim, …)`.)
    pub fn image(&self, reference: &str, behaviour: Behaviour) -> String {
        self.add_image(NewImage::new(reference, behaviour))
    }

    /// Puts an image there and gives its id.
    pub fn add_image(&self, image: NewImage) -> String {
        self.with(|world, now| {
            let serial = world.next_serial();
            world.named(&image.reference, now);
            world.images.add(image, serial, now)
        })
    }

    /// `docker compose up -d` of one plain service; gives the container's id.
    ///
    /// # Errors
    /// What the engine said, such as a port that is taken.
    pub fn compose_up(
        &self,
        project: &str,
        service: &str,
        image: &str,
        ports: &[(u16, u16)],
    ) -> Result<String, EngineError> {
        self.compose(&ComposeService::new(project, service, image, ports))
    }

    /// `docker compose up -d` of one service: creates it, recreates it if anything differs, else leaves it alone.
    /// Gives the id of the container that runs now.
    ///
    /// # Errors
    /// What the engine said.
    pub fn compose(&self, service: &ComposeService) -> Result<String, EngineError> {
        self.with(|world, now| world.compose(service, now))
    }

    /// A foreign deploy: the same service as compose knew it last, with another image string.
    ///
    /// # Errors
    /// `NotFound` for a service that compose never ran, or what the engine said.
    pub fn compose_redeploy(&self, project: &str, service: &str, image: &str) -> Result<String, EngineError> {
        self.with(|world, now| {
            let key = (project.to_owned(), service.to_owned());
            let known = world.composed.get(&key).cloned();
            let known = known.ok_or_else(|| EngineError::NotFound(format!("no such service: {service}")))?;
            world.compose(&ComposeService { image: image.to_owned(), ..known }, now)
        })
    }

    /// `docker push` to the simulated registry, under a repository; gives `repository@sha256:…`.
    ///
    /// # Errors
    /// `NotFound` for the image.
    pub fn push(&self, image: &str, repository: &str) -> Result<String, EngineError> {
        self.with(|world, _| {
            let (digest, image) = world.images.pushed(image, repository)?;
            world.registry.keep(&digest, image);
            Ok(digest)
        })
    }

    /// How the simulated registry answers from now on.
    pub fn set_registry(&self, mood: RegistryMood) {
        self.with(|world, _| world.registry.mood = mood);
    }

    /// Makes sure that a network is there; gives its id.
    pub fn network(&self, name: &str) -> String {
        self.with(|world, _| world.network(name))
    }

    /// `docker rmi -f`.
    ///
    /// # Errors
    /// `NotFound`, or `Conflict` when named by id while a running container uses it.
    pub fn remove_image(&self, handle: &str) -> Result<(), EngineError> {
        self.with(|world, _| {
            let containers: BTreeMap<String, images::Use> = uses(world);
            world.images.remove(handle, true, |id| containers.get(id).copied())
        })
    }

    /// `docker image prune -a`; gives the ids of what went.
    pub fn prune_images(&self) -> Vec<String> {
        self.with(|world, _| {
            let containers = uses(world);
            world.images.prune(|id| containers.get(id).copied())
        })
    }

    /// `docker container prune`: removes all that do not run; gives their ids.
    pub fn prune_containers(&self) -> Vec<String> {
        self.with(|world, _| {
            let gone: Vec<String> = world.containers.iter().filter(|c| !c.runs()).map(|c| c.id.clone()).collect();
            for id in &gone {
                // None of these runs, so none is refused.
                let _ = world.remove(id);
            }
            gone
        })
    }

    /// `docker tag`, by a foreign hand: `reference` stands for this image from now on.
    ///
    /// # Errors
    /// `NotFound` for the image.
    pub fn retag(&self, reference: &str, image: &str) -> Result<(), EngineError> {
        let (repository, tag) = reference.rsplit_once(':').unwrap_or((reference, "latest"));
        self.with(|world, now| world.tag(image, repository, tag, now))
    }

    /// From its next start on the program in an image behaves otherwise, as one whose surroundings have changed.
    ///
    /// # Errors
    /// `NotFound` for the image.
    pub fn set_behaviour(&self, image: &str, behaviour: Behaviour) -> Result<(), EngineError> {
        self.with(|world, _| world.images.set_behaviour(image, behaviour))
    }

    /// What a prober hears at a port published on the host.
    ///
    /// # Errors
    /// Why it is not well, in a prober's words.
    pub fn ask(&self, host_port: u16) -> Result<(), String> {
        self.with(|world, now| match world.port_owner(host_port) {
            Some(container) => container.answer(now),
            None => Err("connection refused".to_owned()),
        })
    }

    /// Whether a prober hears well at a port published on the host.
    pub fn answers(&self, host_port: u16) -> bool {
        self.ask(host_port).is_ok()
    }

    /// Id of the container that holds a port of the host now.
    pub fn behind(&self, host_port: u16) -> Option<String> {
        self.with(|world, _| world.port_owner(host_port).map(|c| c.id.clone()))
    }

    /// Names of all containers, oldest first: what a test looks for leftovers in.
    pub fn names(&self) -> Vec<String> {
        self.with(|world, _| world.containers.iter().map(|c| c.name.clone()).collect())
    }

    /// Signals that a container was sent by `kill`, without `SIG`.
    pub fn signals(&self, container: &str) -> Vec<String> {
        self.with(|world, _| world.container(container).map(|c| c.signals.clone()).unwrap_or_default())
    }

    /// The program of a container ends by itself with this code; its restart policy may act.
    pub fn crash(&self, container: &str, code: i64) {
        self.with(|world, now| {
            if let Some(index) = world.position(container).filter(|i| world.containers[*i].runs()) {
                world.containers[index].ended(code, now, 100);
                let project = world.containers[index].label("com.docker.compose.project").map(str::to_owned);
                world.moved.extend(project);
            }
        });
    }

    /// `docker pause` (`true`) and `docker unpause`.
    pub fn set_paused(&self, container: &str, paused: bool) {
        use container::Status::{Paused, Running};
        self.with(|world, _| {
            if let Some(index) = world.position(container) {
                let status = &mut world.containers[index].status;
                match (*status, paused) {
                    (Running, true) => *status = Paused,
                    (Paused, false) => *status = Running,
                    _ => {}
                }
            }
        });
    }

    /// Somebody removes a container that ended, and the engine is still at it (`dead`: could not).
    pub fn set_being_removed(&self, container: &str, dead: bool) {
        use container::Status::{Dead, Removing};
        self.with(|world, _| {
            if let Some(index) = world.position(container).filter(|i| !world.containers[*i].runs()) {
                world.containers[index].status = if dead { Dead } else { Removing };
            }
        });
    }

    /// The engine ends and comes back, and with it what its restart policies bring back.
    pub fn restart_engine(&self, end: EngineEnd) {
        self.with(|world, now| world.restart_engine(end == EngineEnd::Orderly, now));
    }

    /// While `false`, each call is answered with `Unreachable`. Coming back hints at every project.
    pub fn set_reachable(&self, reachable: bool) {
        self.with(|world, _| {
            world.reachable = reachable;
            if reachable {
                let projects = world.composed.keys().map(|(project, _)| project.clone());
                world.moved.extend(projects.collect::<Vec<_>>());
            }
        });
    }

    /// Somebody switches the engine to its other image store: containers and images of the former one are hidden, and
    /// seen again after switching back; networks stay.
    pub fn switch_store(&self) {
        self.with(|world, _| world.switch_store());
    }

    /// While `true`, stop and remove work; create, start, rename and update fail (docker-facts section 4).
    pub fn set_disk_full(&self, full: bool) {
        self.with(|world, _| world.disk_full = full);
    }

    /// What `free_bytes` tells.
    pub fn set_free_bytes(&self, bytes: Option<u64>) {
        self.with(|world, _| world.free_bytes = bytes);
    }

    /// What `facts` tells. From API 1.44 on, create takes several networks.
    pub fn set_facts(&self, facts: EngineFacts) {
        self.with(|world, _| world.facts = facts);
    }

    /// One moment of the world: what was due has happened, and hints go out after it.
    fn with<T>(&self, act: impl FnOnce(&mut World, Timestamp) -> T) -> T {
        let now = self.shared.clock.now();
        let (result, moved) = {
            let mut world = self.shared.world.lock().unwrap_or_else(PoisonError::into_inner);
            world.settle(now);
            let result = act(&mut world, now);
            (result, if world.reachable { std::mem::take(&mut world.moved) } else { Default::default() })
        };
        for project in moved.iter().filter_map(|p| ProjectName::parse(p).ok()) {
            // Nobody listening is fine.
            let _ = self.shared.hints.send(project);
        }
        result
    }
}

impl std::fmt::Debug for SimEngine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimEngine").field("containers", &self.names()).finish()
    }
}

fn uses(world: &World) -> BTreeMap<String, images::Use> {
    world.containers.iter().filter_map(|c| Some((c.image.clone(), world.uses(&c.image)?))).collect()
}

/// 64 hex digits that are the same in each run: the `number`th thing of a `kind`.
fn hex_id(kind: &str, number: u64) -> String {
    hex_of(format!("{kind} {number}").as_bytes())
}

fn hex_of(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// The `host`th address of the network with this number.
fn address(network: u64, host: u64) -> String {
    format!("172.{network}.{}.{}", host / 256, host % 256)
}

/// `41` of `1.41`.
fn minor(api: &str) -> u32 {
    api.rsplit('.').next().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn refused(status: u16, message: &str) -> EngineError {
    EngineError::Refused { status, message: message.to_owned() }
}

/// Sets the members of `over` in `base`; null says nothing.
fn overlay(base: &mut Value, over: &Value) {
    if let (Some(base), Some(over)) = (base.as_object_mut(), over.as_object()) {
        for (key, value) in over.iter().filter(|(_, value)| !value.is_null()) {
            base.insert(key.clone(), value.clone());
        }
    }
}

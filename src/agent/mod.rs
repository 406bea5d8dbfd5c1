//! Hands on one Docker host. [`Inspect`] looks, [`Act`] changes; nothing else reaches an engine.
//!
//! The agent has its own folder (ledger, recorded specs, keys of the MACs), its own list of allowed
//! projects, and no access to the store. `Act` is desired state: *this service runs this image* — saying it
//! twice is saying it once. Every message carries a [`Token`]; the agent stores the highest per target before it
//! acts and refuses what is lower (durability R3). A swap ends old or new on a tokened `act` or `observe`,
//! never by itself. Must never: touch a project that is not allowed, remove a container because of a label
//! alone, run a shell, let a recorded spec or a secret leave its folder.

mod copied;
mod copies;
pub mod docker;
mod docker_calls;
mod docker_events;
mod docker_json;
mod docker_raw;
mod docker_registry;
pub mod engine;
pub mod fault;
pub mod fingerprint;
pub mod folder;
mod follow;
mod gone;
pub mod host;
mod images;
pub mod keep;
pub mod keys;
pub mod ledger;
pub mod login;
mod look;
mod make;
mod marks;
mod meddlers;
mod operate;
pub mod operation;
mod past;
pub mod pinfile;
mod pins;
pub mod probe;
pub mod proof;
pub mod prove;
mod pull;
mod raw;
pub mod registry;
mod release_pins;
mod restart;
mod settle;
mod signal;
pub mod sim;
pub mod spec;
mod store_kind;
mod swap;
mod tidy;
pub mod tokens;
mod voice;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

use crate::domain::event::Token;
use crate::domain::ids::RunId;
use crate::domain::names::{Fingerprint, ProjectName, ServiceName, Target};
use crate::domain::plan::{Follows, HealthRule, SpecRef, StepAction, StepOutput};
use crate::domain::release::Handles;

/// What kind of image store the engine has; ids mean different things in them (decision 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreKind {
    /// Ids are digests of the config.
    GraphDriver,
    /// Ids are digests of what was pulled, loaded or built.
    Containerd,
}

impl StoreKind {
    /// As people know it.
    pub fn as_str(self) -> &'static str {
        match self {
            StoreKind::GraphDriver => "graph driver",
            StoreKind::Containerd => "containerd",
        }
    }
}

/// The engine was switched to its other image store: containers and images of the former one are hidden, not gone
/// (docker-facts section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoreSwitched {
    /// The store they were last seen in.
    pub was: StoreKind,
    /// The one that the engine has now.
    pub is: StoreKind,
}

impl std::fmt::Display for StoreSwitched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "the engine's image store was switched from {} to {}: what was in the former one is hidden, not gone, and \
             comes back when it is switched back",
            self.was.as_str(),
            self.is.as_str()
        )
    }
}

/// The engine, as far as plans care.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineFacts {
    /// Engine version, such as `20.10.24`.
    pub version: String,
    /// Newest API it speaks, such as `1.41`.
    pub api: String,
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub arch: String,
    /// Its image store.
    pub store: StoreKind,
}

/// State of a container as the engine tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerState {
    /// Made, never started.
    Created,
    /// Runs.
    Running,
    /// Between two tries of its restart policy.
    Restarting,
    /// Frozen.
    Paused,
    /// Ended.
    Exited,
    /// The engine could not remove it.
    Dead,
    /// It was there and is gone; only [`Inspect::as_recorded`] tells of such ones.
    Missing,
}

/// One container of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFacts {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Compose's container number.
    pub number: u32,
    /// What it runs.
    pub image: Handles,
    /// Its state.
    pub state: ContainerState,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// Restarts counted by the engine since then.
    pub restarts: u64,
    /// Its settings, recorded.
    pub spec: SpecRef,
    /// Ports published on the host, as (host port, container port/protocol).
    pub published: Vec<(u16, String)>,
    /// Whether the container has a health check that can be run inside it.
    pub has_check: bool,
    /// Why it cannot be swapped faithfully yet: a sentence each, saying what to do. Empty = it can.
    pub obstacles: Vec<String>,
    /// Why no second one can run beside it: a few words each. Empty = start-first is possible.
    pub alone: Vec<String>,
    /// Services that Compose would restart after this one was recreated (`depends_on … restart: true`).
    pub restarts_with: Vec<ServiceName>,
    /// Code of the project's folder that it has mounted from the host, as (`./src`, place in the container): it does not
    /// go back with the image.
    pub from_host: Vec<(String, String)>,
    /// Services whose container it points at: it has to be made again when that one is.
    pub ties: Vec<Follows>,
    /// Labels of ours that do not carry a valid MAC: alarms (decision 16).
    pub forged: Vec<String>,
    /// The run whose unfinished work this container is, if the ledger says so.
    pub unfinished: Option<RunId>,
}

/// One service of a project.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceFacts {
    /// Its containers, by number.
    pub containers: Vec<ContainerFacts>,
}

/// One project on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StackFacts {
    /// The engine.
    pub engine: EngineFacts,
    /// Every service that has at least one container.
    pub services: BTreeMap<ServiceName, ServiceFacts>,
    /// Bytes free where the engine keeps its data; `None` when it cannot be seen from here.
    pub free_bytes: Option<u64>,
    /// An alarm: the project was last seen in the engine's other image store, and nothing of it is seen now.
    pub switched: Option<StoreSwitched>,
    /// Containers on this host that update or restart others by themselves: a few words each.
    pub meddlers: Vec<Meddler>,
    /// Names of containers that were there when the service's were made last, and are gone: removed or scaled down,
    /// which look the same. Services without any container are among them.
    pub gone: BTreeMap<ServiceName, Vec<String>>,
}

/// A container that changes others by itself, and so could undo a rollback or disturb its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meddler {
    /// Its name.
    pub name: String,
    /// What it does.
    pub does: Meddling,
    /// Services of the project that say by a label that it shall leave them alone.
    pub spares: Vec<ServiceName>,
}

/// What such a container does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meddling {
    /// Replaces containers when their tag got another image (watchtower).
    Updates,
    /// Restarts containers that Docker calls unhealthy (autoheal).
    Restarts,
}

/// Where an image was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageFound {
    /// Here, and it is what was looked for.
    Here {
        /// Its handles on this host now.
        handles: Handles,
        /// Whether it is for this engine's platform; else what it is for.
        foreign_platform: Option<String>,
    },
    /// Not here.
    Gone,
    /// Not seen, but it was last seen in the engine's other image store: hidden rather than gone.
    OtherStore(StoreSwitched),
}

/// What an image that is here takes, and what holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holdings {
    /// Bytes of all its layers together; layers that other images share are counted in.
    pub bytes: u64,
    /// Its layers.
    pub layers: Vec<String>,
    /// Whether a tag or container of ours holds it for this service.
    pub pinned: bool,
    /// Tags that are not ours for this service.
    pub other_tags: Vec<String>,
}

/// A start that the engine remembers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PastStart {
    /// The service whose container it was.
    pub service: ServiceName,
    /// What was started.
    pub image: Handles,
    /// When.
    pub at: Timestamp,
}

/// What stands at a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinFacts {
    /// HMAC of the value; `None` when the key is not in the file.
    pub value: Option<String>,
    /// Why it could not be written now: a sentence.
    pub obstacle: Option<String>,
    /// Whether the value is a bare word, without `/`, `:` and `@`: a tag, say.
    pub word: bool,
}

/// What compose left on a recorded container, as far as its next `up` looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeMark {
    /// Compose's version.
    pub version: String,
    /// Whether the hash of the settings is one that compose made.
    pub hashed: bool,
    /// Id of the image then.
    pub image: String,
    /// Whether it says that the service needs no other: so it is, or it was brought up with `--no-deps`.
    pub alone: bool,
}

/// The agent could not look.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// The engine does not answer.
    #[error("the Docker engine does not answer: {0}")]
    Unreachable(String),
    /// The project is not on the agent's list.
    #[error("this host's agent may not touch project {0}")]
    NotAllowed(ProjectName),
    /// The engine answered with something else.
    #[error("{0}")]
    Other(String),
}

/// Eyes. Nothing here changes a container, an image or a file of the team.
#[async_trait::async_trait]
pub trait Inspect: Send + Sync + 'static {
    /// The project as it is.
    async fn stack(&self, project: &ProjectName) -> Result<StackFacts, LookError>;

    /// The project with the containers of one service that has none put in as they were last recorded, in state
    /// [`ContainerState::Missing`]. What it has none of on record stays out.
    async fn as_recorded(&self, project: &ProjectName, service: &ServiceName) -> Result<StackFacts, LookError> {
        let _ = service;
        self.stack(project).await
    }

    /// Whether an image is here: by id, digest, and at last by fingerprint over the local images.
    async fn find_image(&self, wanted: &Handles) -> Result<ImageFound, LookError>;

    /// What an image that is here takes on the disk, and what holds it; `None` when it is not here.
    async fn holdings(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        wanted: &Handles,
    ) -> Result<Option<Holdings>, LookError>;

    /// Whether the registry of a `repository@sha256:…` would give it to this host's engine now. Asks for the manifest
    /// alone, within a limit. `Ok(Err(why))`: a sentence that says what is in the way.
    async fn pullable(&self, digest: &str) -> Result<Result<(), String>, LookError>;

    /// Images that the project's services started since then, as far as the engine remembers and as far as it is certain
    /// which image a name meant; oldest first. For what came and went while nobody looked.
    async fn past(&self, project: &ProjectName, since: Timestamp) -> Result<Vec<PastStart>, LookError>;

    /// Local images of a repository (for the first day, when nothing is on record), newest first.
    async fn local_images(&self, repository: &str) -> Result<Vec<Handles>, LookError>;

    /// Asks once whether the service is well. `Ok(Err(why))` when it is not.
    async fn ask_health(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        rule: &HealthRule,
    ) -> Result<Result<(), String>, LookError>;

    /// What stands at a pin of a project.
    async fn pin(&self, project: &ProjectName, file: &str, key: &str) -> Result<PinFacts, LookError>;

    /// HMAC of a value under the installation key, to compare it with what [`Self::pin`] tells.
    fn mac(&self, value: &str) -> String;

    /// Whether the spec is still in the agent's folder.
    async fn has_spec(&self, spec: &SpecRef) -> bool;

    /// What compose left on a recorded container. `None` when the spec is gone, or compose left nothing.
    async fn compose_mark(&self, spec: &SpecRef) -> Option<ComposeMark>;

    /// Hints that something changed in a project: look again. Lost hints are no harm, looks at intervals follow.
    fn changes(&self) -> tokio::sync::broadcast::Receiver<ProjectName>;
}

/// One order to the agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its place in the order of orders.
    pub token: Token,
    /// What the token is counted for.
    pub target: Target,
    /// The project on this host.
    pub project: ProjectName,
    /// The run it belongs to.
    pub run: RunId,
    /// What shall be so. Inputs are resolved: no `OutputOf` reaches an agent.
    pub action: StepAction,
}

/// What an order came to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActError {
    /// A newer message was seen: this one is from a past that ended. Nothing was done.
    #[error("a newer message was seen: {0:?}")]
    Stale(Token),
    /// Nothing was done, and why.
    #[error("{0}")]
    Refused(String),
    /// It was tried and could not be done; the old state is back and was verified unless `why` says otherwise.
    #[error("{0}")]
    Failed(String),
    /// Not known whether anything was done: look.
    #[error("no certain answer: {0}")]
    Unknown(String),
}

/// What looking at a step showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observed {
    /// The world is as the action wants it, proven.
    So(StepOutput),
    /// The world is not as the action wants it; nothing of it is under way any more.
    NotSo(String),
}

/// Progress of a step that takes long: a few words, the newest replaces the one before.
pub type Progress = mpsc::Sender<String>;

/// Hands.
#[async_trait::async_trait]
pub trait Act: Send + Sync + 'static {
    /// Makes it so, or says why not. Repeating an order that is so already has no effect and succeeds.
    async fn act(&self, order: &Order, progress: Progress) -> Result<StepOutput, ActError>;

    /// Ends what a crash left unfinished for this target (old or new), then says whether the action's wish is so.
    /// Closes the door to every message with a lower token.
    async fn observe(&self, order: &Order) -> Result<Observed, ActError>;

    /// Keeps a release's image from being pruned: a tag and a stopped container of ours, beside the team's.
    /// Adds only; needs no run and no token. May be repeated.
    async fn keep(&self, project: &ProjectName, service: &ServiceName, image: &Handles) -> Result<(), ActError>;

    /// Removes from the agent's own folder what nothing needs any more: recorded settings that are neither in
    /// `specs` nor of a container that was seen since, and notes of pins of runs that are not `open`. A file goes
    /// only when two calls in a row found it so. Gives how many went.
    async fn tidy(&self, specs: &BTreeSet<String>, open: &BTreeSet<RunId>) -> Result<usize, ActError> {
        let _ = (specs, open);
        Ok(0)
    }

    /// The step kinds this agent can perform, by their `do` names.
    fn can(&self) -> &'static [&'static str];
}

/// Looking up the fingerprint of what a service runs; `None` when it has no container, or its copies differ.
pub fn running(facts: &ServiceFacts) -> Option<&Fingerprint> {
    let first = &facts.containers.first()?.image.fingerprint;
    facts.containers.iter().all(|c| c.image.fingerprint == *first).then_some(first)
}

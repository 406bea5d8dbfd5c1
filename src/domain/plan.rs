//! Work as data, before any of it is done.
//!
//! A [`Plan`] holds exactly what is hashed and approved (decision 11): identities and intentions. What
//! helps a person decide but may change by itself (estimates, ages, wording) lives in [`PlanNotes`].

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::actor::Actor;
use super::canonical;
use super::ids::{ReleaseId, RunId};
use super::names::{Fingerprint, ProjectName, ServiceName, Target};

/// An image and the handle by which it will be used. The fingerprint is the identity; id and reference
/// are ways to find it on one host (decision 4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageChoice {
    /// What the image is.
    pub fingerprint: Fingerprint,
    /// The local image id (`sha256:…`) used as handle on this host.
    pub image: String,
    /// The reference the team knows it by, such as `shop/api:1.4`; shown, never trusted.
    pub reference: String,
}

/// A recorded container specification in the agent's own folder. Its content never leaves the agent;
/// the MAC (HMAC-SHA256 under the installation key, hex) tells whether two are equal (decision 10).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecRef {
    /// The agent's name for it.
    pub id: String,
    /// HMAC over the project's settings in it, the image left out.
    pub mac: String,
}

/// How health is asked (decision 25).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum HealthCheck {
    /// GET this URL from the Docker host; any 2xx is well.
    Http {
        /// An `http://127.0.0.1:…` URL.
        url: String,
    },
    /// Connect to this published port on 127.0.0.1.
    Tcp {
        /// The port on the host.
        port: u16,
    },
    /// Run the container's own health check command inside it.
    Exec,
    /// Ask the very container by the port that it publishes for its own `inside` port, whatever that is on the host
    /// at the moment: GET `path` there when it is given, else connect. For one of several copies.
    OwnPort {
        /// The container's own port and protocol: `3000/tcp`.
        inside: String,
        /// A path beginning with `/`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        path: Option<String>,
    },
    /// Nothing can be asked: the container runs and does not restart. The card says `weak proof`.
    Weak,
}

/// When a service counts as healthy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRule {
    /// How to ask.
    pub check: HealthCheck,
    /// Good answers in a row that make a proof.
    pub count: u32,
    /// Milliseconds between two questions.
    pub interval_ms: u64,
    /// Seconds after which an unproven service counts as unhealthy.
    pub deadline_s: u64,
}

/// Whose settings a new container gets (decision 22).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Settings {
    /// The project's settings of today, the image exchanged.
    Today,
    /// Exactly what the named spec recorded; used by undo and by `with recorded settings`.
    Recorded,
}

/// The one change this program exists for: this service runs this image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// The service.
    pub service: ServiceName,
    /// Full id of the container that is replaced; `None` in an undo, where it is whatever the run made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// What runs before.
    pub from: ImageChoice,
    /// What shall run.
    pub to: ImageChoice,
    /// Whose settings.
    pub settings: Settings,
    /// The spec they come from: of the present container (`Today`) or the recorded one (`Recorded`).
    pub spec: SpecRef,
    /// The spec recorded when the target image last ran, if any: it gives back the compose labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_spec: Option<SpecRef>,
    /// What proves the new container.
    pub health: HealthRule,
    /// Seconds the old container gets to stop by itself.
    pub grace_s: u32,
    /// Compose's number of the container, where the service has several; `None` means its only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The new container beside the old one until it is proven; `None` stops the old one first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_first: Option<StartFirst>,
    /// The image stays (`from` is `to`): it is made again because the container that it points at was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<Follows>,
    /// There is no container now, though there was one: it is made from the settings in `spec`. What takes it back is
    /// [`StepAction::RemoveMade`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
}

/// Whose container another one points at, and for what. The pointer is an id, so that whoever points has to be made
/// again when that container is (docker-facts section 3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Follows {
    /// The service that is pointed at.
    pub service: ServiceName,
    /// For what.
    pub tie: Tie,
}

/// What a container has of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tie {
    /// `network_mode: service:x`.
    Network,
    /// `pid: service:x`.
    Processes,
    /// `ipc: service:x`.
    Ipc,
    /// `volumes_from: x`.
    Volumes,
}

impl std::fmt::Display for Follows {
    /// `lives in api's network`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let service = &self.service;
        match self.tie {
            Tie::Network => write!(f, "lives in {service}'s network"),
            Tie::Processes => write!(f, "lives among {service}'s processes"),
            Tie::Ipc => write!(f, "shares {service}'s memory"),
            Tie::Volumes => write!(f, "uses {service}'s volumes"),
        }
    }
}

/// A container that is stopped and started again, as Compose does with whoever depends on a service with
/// `restart: true` once that service has another container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Its service.
    pub service: ServiceName,
    /// Compose's number of the container, where the service has several that run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// Full id of the container: a restart keeps it. One that was replaced meanwhile is left alone.
    pub container: String,
    /// The services that it depends on with `restart: true` and that this run replaces or restarts.
    pub after: Vec<ServiceName>,
    /// What it runs, before and after.
    pub fingerprint: Fingerprint,
    /// What proves it.
    pub health: HealthRule,
    /// Seconds it gets to stop by itself.
    pub grace_s: u32,
}

/// How a swap lets the new container serve before the old one stops.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFirst {
    /// The proxies in front of the service.
    pub proxies: Vec<Proxy>,
    /// Milliseconds between the word to the proxies and the old one's stop: until their DNS caches ran out and
    /// requests on their way have been answered.
    pub drain_ms: u64,
}

/// A proxy that requests come through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Its service in the same project.
    pub service: ServiceName,
    /// The signal that makes it resolve addresses anew; `None` when it does so by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
}

/// A value that is known now or that an earlier step of the same run will give.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    /// Known when planned.
    Known(String),
    /// The output of the step with this index.
    OutputOf(usize),
}

/// What one step does. Closed: a command file can only arrange what stands here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum StepAction {
    /// Make sure the image is there, is what it should be, and survives pruning. Changes no container.
    ProtectImage {
        /// The service it is for.
        service: ServiceName,
        /// The image.
        image: ImageChoice,
    },
    /// Bring the image back from its registry by digest, compare it, and keep it from being pruned. Changes no
    /// container; planned only when the image is not on the host.
    PullImage {
        /// The service it is for.
        service: ServiceName,
        /// The image that has to come of it.
        image: ImageChoice,
        /// `repository@sha256:…`, from the engine's own list of digests; never made from an image's id.
        from: String,
    },
    /// Recreate the service's container with another image, prove it, or put the old one back.
    SwapService(Box<Swap>),
    /// Take away again the container that `SwapService` of this run made where there was none. Never another one.
    RemoveMade {
        /// The service.
        service: ServiceName,
        /// Compose's number of the container, where the service has several.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        number: Option<u32>,
        /// Seconds it gets to stop by itself.
        grace_s: u32,
    },
    /// Restart a container that holds on to one that this run replaced (`depends_on … restart: true`), unless it has
    /// been started since, and prove it.
    RestartService(Box<Restart>),
    /// Write the image reference into the project's pin file (decision 23).
    WritePin {
        /// The service it is for.
        service: ServiceName,
        /// File beneath the project folder, from the config.
        file: String,
        /// The one key that is changed.
        key: String,
        /// The new value: an image reference.
        value: String,
        /// HMAC of the value that stands there now; `None` when the key is not there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<String>,
    },
    /// Put back what `WritePin` of this run replaced; the agent kept it.
    RestorePin {
        /// The service it is for.
        service: ServiceName,
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// HMAC of the value to be put back; `None` removes the key.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        old: Option<String>,
    },
    /// Send a signal to a proxy's container so that it resolves the service's address anew.
    SignalProxy {
        /// The proxy's service in the same project.
        proxy: ServiceName,
        /// The signal's name, such as `HUP`.
        signal: String,
    },
    /// Prove once more, from outside, that the service runs the image and is healthy.
    ProveHealth {
        /// The service.
        service: ServiceName,
        /// What must be running.
        fingerprint: Fingerprint,
        /// What proves it.
        health: HealthRule,
    },
    /// Let go of releases: our own tags and containers that kept their images, and an image that nothing else names or
    /// uses then. Never a tag of the team's.
    ReleasePins {
        /// The service.
        service: ServiceName,
        /// The images, oldest first.
        images: Vec<ImageChoice>,
    },
    /// Keep again what `ReleasePins` of this run let go; an image that is gone cannot be brought back.
    KeepPins {
        /// The service.
        service: ServiceName,
        /// The images.
        images: Vec<ImageChoice>,
    },
    /// Save a database; its output is the dump's id. Performed by agents that can (none of Docker's yet).
    DumpDatabase {
        /// The database's service.
        service: ServiceName,
    },
    /// Replace a database's content by a dump.
    RestoreDatabase {
        /// The database's service.
        service: ServiceName,
        /// Which dump.
        dump: Input,
    },
    /// Lead a stuck run out, the way the approvers agreed to (decision 17).
    ResolveRun {
        /// The stuck run.
        run: RunId,
        /// Which way.
        way: WayOut,
        /// Position of the stuck run's last record: what people looked at when they agreed.
        head: String,
    },
}

/// The ways out of `stuck`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WayOut {
    /// Go on towards the new state, from the step that could not be done.
    Retry,
    /// Go on towards the old state, from the undo that could not be done.
    Undo,
    /// It is now so: record what is there and let go of the claim.
    Accept,
}

impl WayOut {
    /// The word typed for it.
    pub fn as_str(self) -> &'static str {
        match self {
            WayOut::Retry => "retry",
            WayOut::Undo => "undo",
            WayOut::Accept => "accept",
        }
    }
}

/// How a step is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undo {
    /// There is nothing to take back.
    Nothing,
    /// By this action.
    Action(Box<StepAction>),
    /// Not at all: the plan says so before anyone agrees. Going back past it makes the run `stuck`.
    OneWay(String),
}

/// One step with its way back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// What to do.
    pub action: StepAction,
    /// How to take it back.
    pub undo: Undo,
    /// Seconds after which it counts as lost and is looked at.
    pub limit_s: u64,
}

/// A procedure with every name resolved to an id, and its undo. Its hash is what an approval is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// Where.
    pub target: Target,
    /// The Compose project there.
    pub project: ProjectName,
    /// Who asked.
    pub requester: Actor,
    /// The command without its slash: `rollback image`.
    pub command: String,
    /// Its arguments as understood.
    pub arguments: BTreeMap<String, String>,
    /// Why, in the requester's words, made visible; empty when none was given.
    pub reason: String,
    /// In order.
    pub steps: Vec<PlannedStep>,
    /// Seconds of acting after which no further step is begun and the run goes back; `None` for plans that act on
    /// nothing but another run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit_s: Option<u64>,
    /// Hash of the command catalogue it was made by.
    pub catalogue: String,
    /// Hash of the config it was made by.
    pub policy: String,
}

impl Plan {
    /// What an approval is bound to: SHA-256 over the canonical form, hex.
    ///
    /// # Errors
    /// Only when a number in the plan is not an integer below 2^53, which no planner makes.
    pub fn hash(&self) -> Result<String, canonical::NotCanonical> {
        canonical::sha256("sternway-plan-v1", self)
    }

    /// The first eight digits of a plan hash, as cards show it.
    pub fn short_hash(hash: &str) -> &str {
        hash.get(..8).unwrap_or(hash)
    }
}

/// What a card shows beside the plan. Recorded, but no part of the hash.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PlanNotes {
    /// The release that runs now, if on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_release: Option<ReleaseId>,
    /// The release to go to, if on record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to_release: Option<ReleaseId>,
    /// Whether the target was proven healthy while it ran.
    #[serde(default)]
    pub proven: bool,
    /// How long no answer is to be expected, in milliseconds: from, to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gap_ms: Option<(u64, u64)>,
    /// Sentences that an approver has to know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What would be let go and what disk space that frees, a sentence for each release.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub frees: Vec<String>,
}

/// Proof that a service is well.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Proof {
    /// Full id of the container that was proven.
    pub container: String,
    /// Good answers in a row.
    pub answers: u32,
    /// Milliseconds from the start of asking to the proof.
    pub after_ms: u64,
    /// Nothing could be asked; it only ran without restarting.
    #[serde(default, skip_serializing_if = "is_false")]
    pub weak: bool,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(b: &bool) -> bool {
    !*b
}

/// What a finished step gives to later steps, to undos and to the story.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "gave", rename_all = "snake_case")]
pub enum StepOutput {
    /// Nothing beyond being done.
    Nothing,
    /// A service runs what it should.
    Swapped {
        /// False when it was so already.
        effect: bool,
        /// The proof.
        proof: Proof,
        /// Milliseconds from the order to the start of the new container; absent when nothing was started.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        started_ms: Option<u64>,
    },
    /// A service was proven.
    Proven {
        /// The proof.
        proof: Proof,
    },
    /// Releases were let go.
    Released {
        /// Images that are no longer on the host.
        removed: u32,
        /// What stayed on the host all the same, a sentence each.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        stayed: Vec<String>,
    },
    /// A database was saved.
    Dumped {
        /// The dump's id, for later steps.
        dump: String,
    },
}

impl StepOutput {
    /// The text that [`Input::OutputOf`] stands for.
    pub fn as_input(&self) -> Option<&str> {
        match self {
            StepOutput::Dumped { dump } => Some(dump),
            StepOutput::Nothing
            | StepOutput::Swapped { .. }
            | StepOutput::Proven { .. }
            | StepOutput::Released { .. } => None,
        }
    }
}

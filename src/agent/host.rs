//! [`HostAgent`]: the agent of one Docker host, over any [`Engine`]. This file holds what it is made of and the
//! way every order takes: allowed? newest? one at a time; end what is open; then the action itself.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::engine::{Engine, EngineError};
use super::folder::{Folder, FolderError};
use super::images::FingerprintCache;
use super::keys::{KeyError, Keys};
use super::ledger::Ledger;
use super::marks::{self, Marked};
use super::prove::Prober;
use super::tidy::Unneeded;
use super::tokens::{self, Admitted, Manner};
use super::voice::Voice;
use super::{Act, ActError, LookError, Observed, Order, Progress, StoreKind};
use crate::clock::Clock;
use crate::domain::ids::RunId;
use crate::domain::names::{ProjectName, ServiceName, Target};
use crate::domain::plan::{StepAction, StepOutput, Swap, WayOut};
use crate::domain::release::Handles;

/// The step kinds that this agent knows how to perform, by their `do` names.
pub const STEPS: &[&str] = &[
    "pull_image",
    "protect_image",
    "swap_service",
    "remove_made",
    "write_pin",
    "restore_pin",
    "signal_proxy",
    "restart_service",
    "prove_health",
    "release_pins",
    "keep_pins",
];

const SIGNAL: &str = "signal_proxy";

/// What the agent may do, and where.
#[derive(Debug, Clone)]
pub struct AgentConfig {
    /// The agent's own folder. Made 0700 when it is missing; holds secrets.
    pub folder: PathBuf,
    /// The only projects it touches.
    pub projects: BTreeMap<ProjectName, Allowed>,
    /// The only step kinds it performs, out of [`STEPS`].
    pub steps: &'static [&'static str],
    /// Id (or its first twelve digits, or name) of the container this process runs in: never swapped.
    pub own_container: Option<String>,
    /// Bytes that must be free in the engine's data folder before anything is stopped.
    pub free_floor: u64,
    /// Docker's config file with the logins of registries; without it images are pulled without a login.
    pub docker_config: Option<PathBuf>,
    /// How long an engine that stopped answering is waited for in the middle of a swap before the order is given
    /// back as uncertain.
    pub patience: Duration,
}

impl AgentConfig {
    /// Bytes free below which no swap begins: a container's own files and an image's metadata fit well within.
    pub const FREE_FLOOR: u64 = 256 * 1024 * 1024;
    /// An engine restart takes a few seconds.
    pub const PATIENCE: Duration = Duration::from_secs(20);

    /// With every step kind, the usual floor and the usual patience.
    pub fn new(folder: PathBuf, projects: BTreeMap<ProjectName, Allowed>) -> Self {
        Self {
            folder,
            projects,
            steps: STEPS,
            own_container: None,
            free_floor: Self::FREE_FLOOR,
            docker_config: None,
            patience: Self::PATIENCE,
        }
    }
}

/// What the agent may touch of one project beside its containers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Allowed {
    /// The project's folder on this host; without it no pin can be written.
    pub folder: Option<PathBuf>,
    /// The pins it may write: file beneath the folder, and key.
    pub pins: BTreeSet<(String, String)>,
}

/// The agent could not begin.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// Its key cannot be used.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What one message at a time may move.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Busy {
    Target(Target),
    Project(ProjectName),
}

/// Hands and eyes on one Docker host.
pub struct HostAgent<E> {
    pub(super) engine: Arc<E>,
    pub(super) config: AgentConfig,
    pub(super) ledger: Ledger,
    pub(super) keys: Keys,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) prober: Arc<dyn Prober>,
    pub(super) prints: FingerprintCache,
    /// The engine's image store as it was told last.
    pub(super) store: Mutex<Option<StoreKind>>,
    pub(super) unneeded: Mutex<Unneeded>,
    busy: Mutex<HashMap<Busy, Arc<tokio::sync::Mutex<()>>>>,
}

impl<E: Engine> HostAgent<E> {
    /// Opens the folder and holds it. Touches nothing on the engine: what an earlier process left open is ended
    /// by the next tokened message, not by a start (decision 15).
    ///
    /// # Errors
    /// When the folder or the keys cannot be used, or another process holds the folder.
    pub fn open(
        engine: Arc<E>,
        config: AgentConfig,
        clock: Arc<dyn Clock>,
        prober: Arc<dyn Prober>,
    ) -> Result<Self, OpenError> {
        let folder = Folder::open(&config.folder)?;
        let keys = Keys::load_or_create(&config.folder)?;
        Ok(Self {
            engine,
            config,
            ledger: Ledger::new(folder),
            keys,
            clock,
            prober,
            prints: FingerprintCache::default(),
            store: Mutex::default(),
            unneeded: Mutex::default(),
            busy: Mutex::default(),
        })
    }

    /// The engine it works on.
    pub fn engine(&self) -> &Arc<E> {
        &self.engine
    }

    /// The order of services as last seen in a filled dependency label, for a project's service.
    ///
    /// # Errors
    /// When the agent's note cannot be read.
    pub fn depends(&self, project: &ProjectName, service: &ServiceName) -> Result<Option<String>, FolderError> {
        self.ledger.depends(project, service)
    }

    pub(super) fn allowed(&self, project: &ProjectName) -> Result<&Allowed, LookError> {
        self.config.projects.get(project).ok_or_else(|| LookError::NotAllowed(project.clone()))
    }

    /// The MAC of our labels.
    pub(super) fn seal(&self, text: &str) -> String {
        self.keys.mac("label", text.as_bytes())
    }

    /// What our labels on a container are worth.
    pub(super) fn read_marks(&self, inspect: &Value) -> Marked {
        marks::read(inspect, |text, mac| self.keys.verify("label", text.as_bytes(), mac))
    }

    /// The containers of a project, raw, compose's one-offs left out; sorted by name.
    pub(super) async fn containers(&self, project: &ProjectName) -> Result<Vec<Value>, EngineError> {
        let mut all = Vec::new();
        for id in self.engine.project_containers(project).await? {
            all.extend(self.engine.inspect(&id).await?);
        }
        all.sort_by(|a, b| super::raw::name(a).cmp(super::raw::name(b)));
        Ok(all)
    }

    /// One message at a time per target, whose tokens it moves, and per project, whose containers it moves; always
    /// locked in this order.
    async fn one_at_a_time(&self, order: &Order) -> [tokio::sync::OwnedMutexGuard<()>; 2] {
        let door = |what: Busy| {
            let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(busy.entry(what).or_default())
        };
        let (target, project) = (Busy::Target(order.target.clone()), Busy::Project(order.project.clone()));
        [door(target).lock_owned().await, door(project).lock_owned().await]
    }

    /// Whether this agent does such a thing here at all.
    fn may(&self, order: &Order) -> Result<(), ActError> {
        self.allowed(&order.project).map_err(|e| ActError::Refused(format!("{e}; nothing was done")))?;
        let tells = |swap: &Swap| swap.start_first.iter().flat_map(|s| &s.proxies).any(|p| p.signal.is_some());
        let kind = match &order.action {
            // Part of it is what `signal_proxy` does.
            StepAction::SwapService(swap) if tells(swap) && !self.config.steps.contains(&SIGNAL) => SIGNAL,
            action => step_kind(action),
        };
        if self.config.steps.contains(&kind) {
            Ok(())
        } else {
            Err(ActError::Refused(format!("this agent cannot do `{kind}`; nothing was done")))
        }
    }

    async fn perform(&self, order: &Order, began: Instant, voice: &Voice<'_>) -> Result<StepOutput, ActError> {
        match &order.action {
            StepAction::SwapService(swap) => self.swap(order, swap, began, *voice).await,
            StepAction::RemoveMade { service, number, grace_s } => {
                self.remove_made(order, service, *number, *grace_s, *voice).await
            }
            StepAction::ProtectImage { service, image } => self.protect(&order.project, service, image, voice).await,
            StepAction::PullImage { service, image, from } => {
                self.pull_image(&order.project, service, image, from, voice).await
            }
            StepAction::ReleasePins { service, images } => {
                self.release_pins(&order.project, service, images, voice).await
            }
            StepAction::KeepPins { service, images } => self.keep_pins(&order.project, service, images).await,
            StepAction::WritePin { file, key, value, old, .. } => {
                self.write_pin(order, file, key, value, old.as_deref())
            }
            StepAction::RestorePin { file, key, old, .. } => self.restore_pin(order, file, key, old.as_deref()),
            StepAction::RestartService(restart) => self.restart(order, restart, voice).await,
            StepAction::SignalProxy { proxy, signal } => self.signal(&order.project, proxy, signal).await,
            StepAction::ProveHealth { service, fingerprint, health } => {
                match self.prove_service(&order.project, service, fingerprint, health, voice).await? {
                    Ok(proof) => Ok(StepOutput::Proven { proof }),
                    Err(why) => Err(ActError::Failed(why)),
                }
            }
            StepAction::DumpDatabase { .. } | StepAction::RestoreDatabase { .. } | StepAction::ResolveRun { .. } => {
                Err(ActError::Refused(format!("this agent cannot do `{}`; nothing was done", step_kind(&order.action))))
            }
        }
    }

    /// Looks whether the action's wish is so. Everything that was open has been ended.
    async fn look(&self, order: &Order) -> Result<Observed, ActError> {
        match &order.action {
            StepAction::SwapService(swap) => self.look_at_swap(order, swap).await,
            StepAction::RemoveMade { service, number, .. } => self.look_at_removed(order, service, *number).await,
            StepAction::ProtectImage { service, image } | StepAction::PullImage { service, image, .. } => {
                self.is_protected(&order.project, service, image).await
            }
            StepAction::ReleasePins { service, images } => self.are_released(&order.project, service, images).await,
            StepAction::KeepPins { service, images } => self.are_kept(&order.project, service, images).await,
            StepAction::WritePin { file, key, value, .. } => {
                Ok(self.look_at_pin(order, file, key, Some(&self.mac_of(value))))
            }
            StepAction::RestorePin { file, key, old, .. } => Ok(self.look_at_pin(order, file, key, old.as_deref())),
            StepAction::RestartService(restart) => self.look_at_restart(order, restart).await,
            StepAction::SignalProxy { .. } => {
                Ok(Observed::NotSo("a signal leaves no trace; sent again it does no harm".to_owned()))
            }
            StepAction::ProveHealth { service, fingerprint, health } => {
                let proven = self.prove_service(&order.project, service, fingerprint, health, &Voice::silent()).await?;
                Ok(match proven {
                    Ok(proof) => Observed::So(StepOutput::Proven { proof }),
                    Err(why) => Observed::NotSo(why),
                })
            }
            StepAction::DumpDatabase { .. } | StepAction::RestoreDatabase { .. } | StepAction::ResolveRun { .. } => {
                Ok(Observed::NotSo(format!("this agent cannot do `{}`", step_kind(&order.action))))
            }
        }
    }

    /// HMAC of a value under the installation key.
    pub(super) fn mac_of(&self, value: &str) -> String {
        self.keys.mac("pin", value.as_bytes())
    }

    /// A certain end is remembered; when it cannot be, the result stands all the same.
    fn note_end<T>(&self, order: &Order, manner: Manner, result: &Result<T, ActError>) {
        if matches!(result, Err(ActError::Unknown(_))) {
            return;
        }
        if let Err(e) = tokens::ended(self.ledger.folder(), order, manner) {
            tracing::error!(error = %e, run = %order.run, "the end of an order could not be noted");
        }
    }
}

#[async_trait::async_trait]
impl<E: Engine> Act for HostAgent<E> {
    async fn act(&self, order: &Order, progress: Progress) -> Result<StepOutput, ActError> {
        let began = Instant::now();
        self.may(order)?;
        let _one = self.one_at_a_time(order).await;
        let voice = Voice::to(&progress);
        let admitted = tokens::admit(self.ledger.folder(), order, Manner::Act)?;
        let result = async {
            self.settle(order, &voice).await?;
            match admitted {
                Admitted::Act => self.perform(order, began, &voice).await,
                Admitted::LookOnly => match self.look(order).await? {
                    Observed::So(output) => Ok(without_effect(output)),
                    Observed::NotSo(why) => Err(ActError::Refused(format!(
                        "this very order came to its end before and is not carried out again: {why}"
                    ))),
                },
            }
        }
        .await;
        self.note_end(order, Manner::Act, &result);
        result
    }

    async fn observe(&self, order: &Order) -> Result<Observed, ActError> {
        self.allowed(&order.project).map_err(|e| ActError::Refused(format!("{e}; nothing was done")))?;
        let _one = self.one_at_a_time(order).await;
        tokens::admit(self.ledger.folder(), order, Manner::Observe)?;
        if matches!(order.action, StepAction::ResolveRun { way: WayOut::Accept, .. }) {
            return self.disown(order).await;
        }
        self.settle(order, &Voice::silent()).await?;
        self.look(order).await
    }

    async fn keep(&self, project: &ProjectName, service: &ServiceName, image: &Handles) -> Result<(), ActError> {
        self.allowed(project).map_err(|e| ActError::Refused(format!("{e}; nothing was done")))?;
        self.pin_image(project, service, image).await
    }

    async fn tidy(&self, specs: &BTreeSet<String>, open: &BTreeSet<RunId>) -> Result<usize, ActError> {
        self.clean(specs, open).map_err(|e| ActError::Refused(e.to_string()))
    }

    fn can(&self) -> &'static [&'static str] {
        self.config.steps
    }
}

/// The action's `do` name.
pub(super) fn step_kind(action: &StepAction) -> &'static str {
    match action {
        StepAction::PullImage { .. } => "pull_image",
        StepAction::ProtectImage { .. } => "protect_image",
        StepAction::ReleasePins { .. } => "release_pins",
        StepAction::KeepPins { .. } => "keep_pins",
        StepAction::SwapService(_) => "swap_service",
        StepAction::RemoveMade { .. } => "remove_made",
        StepAction::WritePin { .. } => "write_pin",
        StepAction::RestorePin { .. } => "restore_pin",
        StepAction::RestartService(_) => "restart_service",
        StepAction::SignalProxy { .. } => "signal_proxy",
        StepAction::ProveHealth { .. } => "prove_health",
        StepAction::DumpDatabase { .. } => "dump_database",
        StepAction::RestoreDatabase { .. } => "restore_database",
        StepAction::ResolveRun { .. } => "resolve_run",
    }
}

fn without_effect(output: StepOutput) -> StepOutput {
    match output {
        StepOutput::Swapped { proof, .. } => StepOutput::Swapped { effect: false, proof, started_ms: None },
        other @ (StepOutput::Nothing
        | StepOutput::Proven { .. }
        | StepOutput::Released { .. }
        | StepOutput::Dumped { .. }) => other,
    }
}

/// What an engine's error means to someone who only looks.
pub(super) fn look_error(error: EngineError) -> LookError {
    match error {
        EngineError::Unreachable(why) | EngineError::NoAnswer(why) => LookError::Unreachable(why),
        EngineError::NotFound(why) | EngineError::Conflict(why) => LookError::Other(why),
        EngineError::Refused { status, message } => LookError::Other(format!("{message} ({status})")),
    }
}

/// What an engine's error means to an order before it has changed anything.
pub(super) fn before_acting(error: EngineError) -> ActError {
    match error {
        // Nothing was done, but an engine that restarts is no reason to give up: it is looked at again, in measure (R6).
        EngineError::Unreachable(_) | EngineError::NoAnswer(_) => ActError::Unknown(error.to_string()),
        EngineError::NotFound(_) | EngineError::Conflict(_) | EngineError::Refused { .. } => {
            ActError::Refused(format!("{error}; nothing was done"))
        }
    }
}

//! From a request and facts to a plan. Only looks: it holds `Inspect` and cannot change anything.
//!
//! [`prepare`] gathers; [`choose`] and [`assemble`] decide and are pure, as is what they ask (`copies`, `dependents`,
//! `next_up`). The same function makes the dry run, the card
//! that approvers read and the plan under the claim, so all three are the same when the world is the same.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::assemble::assemble;
use super::choose::{choose, repositories, repository_of};
use super::copies::{no_container, representative, the_containers};
use super::{dependents, missing};
use crate::agent::{ContainerFacts, ImageFound, Inspect, LookError};
use crate::command::StepKind;
use crate::domain::actor::Actor;
use crate::domain::ids::ReleaseId;
use crate::domain::names::{ProjectName, ServiceName, Target};
use crate::domain::plan::{HealthRule, Plan, PlanNotes, PlannedStep, Settings, SpecRef, StartFirst, StepAction};
use crate::domain::release::{Handles, History, Wanted};
use crate::domain::trouble::{Trouble, TroubleKind};

use super::next_up::{self, Foreseen};

/// Seconds for a step beyond what its own waiting takes: creating, renaming, a slow engine.
pub(super) const SLACK_S: u64 = 60;

/// Seconds for a step that only looks or writes a line.
pub(super) const QUICK_S: u64 = 60;

/// A request to roll one service back, understood but not yet looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Where.
    pub target: Target,
    /// The project there.
    pub project: ProjectName,
    /// Which service.
    pub service: ServiceName,
    /// Where to.
    pub wanted: Wanted,
    /// Whose settings.
    pub settings: Settings,
    /// Who asks.
    pub requester: Actor,
    /// The command without its slash.
    pub command: String,
    /// Its arguments as understood.
    pub arguments: BTreeMap<String, String>,
    /// The reason, made visible.
    pub reason: String,
    /// The procedure's steps.
    pub steps: Vec<StepKind>,
    /// Seconds it may act.
    pub limit_s: u64,
    /// Hash of the catalogue.
    pub catalogue: String,
    /// Hash of the config.
    pub policy: String,
}

impl Ask {
    /// The plan that answers this request with these steps.
    pub(super) fn plan_of(&self, steps: Vec<PlannedStep>) -> Plan {
        Plan {
            target: self.target.clone(),
            project: self.project.clone(),
            requester: self.requester.clone(),
            command: self.command.clone(),
            arguments: self.arguments.clone(),
            reason: self.reason.clone(),
            steps,
            limit_s: Some(self.limit_s),
            catalogue: self.catalogue.clone(),
            policy: self.policy.clone(),
        }
    }
}

/// What the config says about one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRules {
    /// What proves it.
    pub health: HealthRule,
    /// The published TCP ports, when there are several and the config does not say how to ask: the lowest is asked.
    pub guessed_among: Vec<u16>,
    /// Seconds to stop by itself.
    pub grace_s: u32,
    /// Proxies to signal after a swap, with the signal.
    pub proxies: Vec<(ServiceName, String)>,
    /// The new container beside the old one until it is proven.
    pub start_first: Option<StartFirst>,
    /// Pin file and key.
    pub pin: Option<(String, String)>,
    /// Other services whose image is read from the same pin.
    pub pin_shared_with: Vec<ServiceName>,
    /// Repositories whose local images may be used without being on record.
    pub repositories: Vec<String>,
}

/// Tells what the config says about a service, given its container.
pub type Rules<'r> = &'r (dyn Fn(&ServiceName, &ContainerFacts) -> ServiceRules + Sync);

/// A service's containers and the image they shall go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The container that runs now; of several the one whose image counts as running.
    pub container: ContainerFacts,
    /// All containers of the service, by number.
    pub copies: Vec<ContainerFacts>,
    /// The image to go to.
    pub to: Handles,
    /// Its release, if on record.
    pub release: Option<ReleaseId>,
    /// The release that runs now, if on record.
    pub from_release: Option<ReleaseId>,
    /// Whether the target was proven healthy.
    pub proven: bool,
    /// The spec recorded with the target.
    pub target_spec: Option<SpecRef>,
    /// The digest to pull first, as the image is not here and its registry has it.
    pub pull: Option<String>,
    /// The service has no container: `copies` are those that should be there.
    pub missing: Option<Missing>,
}

/// By what it is known what should be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missing {
    /// The release that ran last.
    pub release: ReleaseId,
    /// When its settings were recorded last.
    pub recorded: Timestamp,
}

/// Looks and plans.
///
/// # Errors
/// Why there is no plan, as the person is told it.
pub async fn prepare(
    ask: &Ask,
    inspect: &dyn Inspect,
    history: &History,
    rules_of: Rules<'_>,
) -> Result<(Plan, PlanNotes), Trouble> {
    let mut facts = inspect.stack(&ask.project).await.map_err(|e| cannot_look(&e))?;
    let missing = missing::put_in(ask, inspect, history, &mut facts).await?;
    let copies: Vec<ContainerFacts> =
        the_containers(ask, &facts, history)?.iter().map(|c| with_its_name(c, history)).collect();
    let container = representative(&copies, history).ok_or_else(|| no_container(ask, &facts, history))?;
    let mut rules = rules_of(&ask.service, container);
    if missing.is_some() {
        rules.start_first = None; // there is none to start beside
    }
    let mut local = Vec::new();
    let looked_at = repositories(&rules, container);
    for repository in &looked_at {
        local.extend(inspect.local_images(repository).await.map_err(|e| cannot_look(&e))?);
    }
    let mut chosen = Chosen { copies: copies.clone(), missing, ..choose(ask, container, history, &rules, &local)? };
    // A container that a swap made knows its image by id alone: whether the target's tag still means the target has
    // to be asked in the target's own repository.
    if let Some(own) = repository_of(&chosen.to.reference).filter(|own| !looked_at.iter().any(|r| r == own)) {
        local.extend(inspect.local_images(own).await.map_err(|e| cannot_look(&e))?);
    }
    let found = inspect.find_image(&chosen.to).await.map_err(|e| cannot_look(&e))?;
    chosen.pull = super::pulling::bring(ask, inspect, &chosen.to, &found).await?;
    let pin = match &rules.pin {
        Some((file, key)) => {
            let pin = inspect.pin(&ask.project, file, key).await.map_err(|e| cannot_look(&e))?;
            let (running, target) = (&container.image.reference, &chosen.to.reference);
            let form = next_up::pin_form(&pin, running, target, |value| inspect.mac(value));
            Some((pin, form))
        }
        None => None,
    };
    if ask.settings == Settings::Recorded {
        let kept = match &chosen.target_spec {
            Some(spec) => inspect.has_spec(spec).await,
            None => false,
        };
        if !kept {
            return Err(Trouble::new(TroubleKind::NotFound, "No settings are recorded for that release.")
                .say("Go there with today's settings instead.")
                .try_this(format!("/rollback image {}", ask.service)));
        }
    }
    let (mut plan, mut notes) = assemble(ask, &rules, &facts, &chosen, &found, pin.as_ref(), &local)?;
    match chosen.missing {
        // They were left behind when it went, and could not be led back to what is gone.
        Some(_) => notes.warnings.extend(missing::left_behind(&ask.service, &facts)),
        None => dependents::follow(&mut plan, &ask.service, &facts, rules_of)?,
    }
    super::restarts::restart(&mut plan, &facts, rules_of);
    notes.warnings.extend(dependents::recreated_once(&plan, inspect).await);
    if let ImageFound::Here { handles, .. } = &found {
        notes.warnings.extend(recreated_once(&plan, &chosen, handles, inspect).await);
    }
    Ok((plan, notes))
}

/// Whether the next `up` will recreate what the plan makes; without a pin it is told already that it may.
async fn recreated_once(plan: &Plan, chosen: &Chosen, here: &Handles, inspect: &dyn Inspect) -> Option<String> {
    let (service, written) = plan.steps.iter().find_map(|step| match &step.action {
        StepAction::WritePin { service, value, .. } => Some((service, value)),
        _ => None,
    })?;
    let recorded = match &chosen.target_spec {
        Some(spec) => inspect.compose_mark(spec).await,
        None => None,
    };
    let present = inspect.compose_mark(&chosen.container.spec).await;
    let reference = &chosen.to.reference;
    next_up::recreated_once(&Foreseen {
        service,
        recorded: recorded.as_ref(),
        present: present.as_ref(),
        settings_equal: chosen.target_spec.as_ref().is_some_and(|spec| spec.mac == chosen.container.spec.mac),
        reference_kept: reference == written
            || reference.strip_suffix(written.as_str()).is_some_and(|n| n.ends_with(':')),
        image: &here.image,
    })
}

/// What a person is told when the agent could not look.
pub fn cannot_look(error: &LookError) -> Trouble {
    let trouble = Trouble::new(TroubleKind::Unavailable, sentence(&format!("{error}. Nothing was done.")));
    match error {
        LookError::Unreachable(_) => trouble.say("Is dockerd running on that host?").try_this("/status"),
        LookError::NotAllowed(_) => trouble.say("The agent's list of allowed projects is in the config."),
        LookError::Other(_) => trouble.try_this("/status"),
    }
}

/// The same with a capital letter in front.
fn sentence(words: &str) -> String {
    let mut letters = words.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// A container that a rollback made was made from an image's id, which says nothing to a person and no repository to us;
/// the record knows by which reference the team calls that image.
fn with_its_name(container: &ContainerFacts, history: &History) -> ContainerFacts {
    let mut container = container.clone();
    if repository_of(&container.image.reference).is_none()
        && let Some(known) = history.of(&container.image.fingerprint)
    {
        container.image.reference.clone_from(&known.handles.reference);
    }
    container
}

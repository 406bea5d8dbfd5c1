//! From a request and facts to a plan. Only looks: it holds `Inspect` and cannot change anything.
//!
//! [`prepare`] gathers, [`choose`] and [`assemble`] decide and are pure. The same function makes the dry run, the card
//! that approvers read and the plan under the claim, so all three are the same when the world is the same.

use std::collections::BTreeMap;

use crate::agent::{ContainerFacts, ContainerState, ImageFound, Inspect, LookError, PinFacts, StackFacts};
use crate::command::StepKind;
use crate::domain::actor::Actor;
use crate::domain::ids::ReleaseId;
use crate::domain::names::{ProjectName, ServiceName, Target};
use crate::domain::plan::{
    HealthCheck, HealthRule, ImageChoice, Plan, PlanNotes, PlannedStep, Settings, SpecRef, StepAction, Swap, Undo,
};
use crate::domain::release::{Handles, History, NoTarget, Wanted};
use crate::domain::text::visible;
use crate::domain::trouble::{Trouble, TroubleKind};

use super::next_up::{self, Foreseen, PinForm};

/// Free space below which no swap begins: a start fails on a full disk, even of the old container (docker-facts
/// section 4).
pub const FREE_FLOOR_BYTES: u64 = 256 * 1024 * 1024;

/// Seconds for a step beyond what its own waiting takes: creating, renaming, a slow engine.
const SLACK_S: u64 = 60;

/// Seconds for a step that only looks or writes a line.
const QUICK_S: u64 = 60;

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

/// What the config says about one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceRules {
    /// What proves it.
    pub health: HealthRule,
    /// Seconds to stop by itself.
    pub grace_s: u32,
    /// Proxies to signal after a swap, with the signal.
    pub proxies: Vec<(ServiceName, String)>,
    /// Pin file and key.
    pub pin: Option<(String, String)>,
    /// Other services whose image is read from the same pin.
    pub pin_shared_with: Vec<ServiceName>,
    /// Repositories whose local images may be used without being on record.
    pub repositories: Vec<String>,
}

/// A service's container and the image it shall go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The container that runs now.
    pub container: ContainerFacts,
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
}

/// Looks and plans.
///
/// # Errors
/// Why there is no plan, as the person is told it.
pub async fn prepare(
    ask: &Ask,
    inspect: &dyn Inspect,
    history: &History,
    rules: &(dyn Fn(&ContainerFacts) -> ServiceRules + Sync),
) -> Result<(Plan, PlanNotes), Trouble> {
    let facts = inspect.stack(&ask.project).await.map_err(|e| cannot_look(&e))?;
    let container = &with_its_name(the_container(ask, &facts)?, history);
    let rules = rules(container);
    let mut local = Vec::new();
    let looked_at = repositories(&rules, container);
    for repository in &looked_at {
        local.extend(inspect.local_images(repository).await.map_err(|e| cannot_look(&e))?);
    }
    let chosen = choose(ask, container, history, &rules, &local)?;
    // A container that a swap made knows its image by id alone: whether the target's tag still means the target has
    // to be asked in the target's own repository.
    if let Some(own) = repository_of(&chosen.to.reference).filter(|own| !looked_at.iter().any(|r| r == own)) {
        local.extend(inspect.local_images(own).await.map_err(|e| cannot_look(&e))?);
    }
    let found = inspect.find_image(&chosen.to).await.map_err(|e| cannot_look(&e))?;
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
    let (plan, mut notes) = assemble(ask, &rules, &facts, &chosen, &found, pin.as_ref(), &local)?;
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

fn repository_of(reference: &str) -> Option<&str> {
    let name = reference.split('@').next()?;
    let name = match name.rsplit_once(':') {
        Some((before, tag)) if !tag.contains('/') => before,
        _ => name,
    };
    (!name.is_empty() && !name.starts_with("sha256")).then_some(name)
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

/// The repositories whose local images are looked at: those of the config, and the one that runs.
fn repositories(rules: &ServiceRules, container: &ContainerFacts) -> Vec<String> {
    let mut out = rules.repositories.clone();
    if let Some(own) = repository_of(&container.image.reference).filter(|own| !out.iter().any(|r| r == own)) {
        out.push(own.to_owned());
    }
    out
}

/// The one container of the service, or why there is nothing to work on.
fn the_container<'f>(ask: &Ask, facts: &'f StackFacts) -> Result<&'f ContainerFacts, Trouble> {
    let Some(service) = facts.services.get(&ask.service) else {
        let known: Vec<&str> = facts.services.keys().map(ServiceName::as_str).collect();
        let near = known.iter().max_by(|a, b| {
            let near = |name: &str| strsim::jaro_winkler(name, ask.service.as_str());
            near(a).total_cmp(&near(b))
        });
        let mut trouble =
            Trouble::new(TroubleKind::NotFound, format!("{} has no service {}.", ask.target, ask.service));
        if known.is_empty() {
            return Err(trouble.say(format!("Project {} has no containers on this host at all.", ask.project)));
        }
        trouble = trouble.say(format!("It has: {}.", known.join(", ")));
        return Err(match near {
            Some(name) => trouble.try_this(format!("/rollback image {name}")),
            None => trouble,
        });
    };
    let unavailable = |why: String| Trouble::new(TroubleKind::Unavailable, why);
    // The second container of a swap that is under way is no scale.
    if let Some(run) = service.containers.iter().find_map(|c| c.unfinished) {
        return Err(Trouble::new(TroubleKind::Busy, format!("{run} has unfinished work on {}.", ask.service))
            .try_this(format!("/runs show {run}")));
    }
    let [container] = service.containers.as_slice() else {
        return Err(unavailable(format!(
            "{} has {} containers; scaled services cannot be rolled back yet.",
            ask.service,
            service.containers.len()
        ))
        .say("Scale it to one first, or go back with compose.")
        .try_this("/status"));
    };
    if let Some(first) = container.obstacles.first() {
        let mut trouble = unavailable(format!("{} cannot be recreated faithfully: {first}", ask.service));
        for more in container.obstacles.iter().skip(1) {
            trouble = trouble.say(more);
        }
        return Err(trouble.say("Nothing was touched.").try_this("/status"));
    }
    match container.state {
        ContainerState::Running | ContainerState::Restarting | ContainerState::Exited | ContainerState::Created => {
            Ok(container)
        }
        ContainerState::Paused | ContainerState::Dead => Err(unavailable(format!(
            "{}'s container is {}; it cannot be swapped like that.",
            ask.service,
            if container.state == ContainerState::Paused { "paused" } else { "dead" }
        ))
        .say("Unpause or remove it first.")
        .try_this("/status")),
    }
}

/// Chooses the image: a release on record, or a local image of an allowed repository (decision 20).
///
/// # Errors
/// Nothing to go back to, ambiguous, already there, left by a rollback, not allowed.
pub fn choose(
    ask: &Ask,
    container: &ContainerFacts,
    history: &History,
    rules: &ServiceRules,
    local: &[Handles],
) -> Result<Chosen, Trouble> {
    let running = &container.image.fingerprint;
    let from_release = history.of(running).map(|r| r.id);
    let service = &ask.service;
    let image = |word: &dyn std::fmt::Display| format!("/rollback image {service} {word}");
    let releases = format!("/releases {service}");
    let missing = match history.choose(&ask.wanted, running) {
        Ok(release) => {
            return Ok(Chosen {
                container: container.clone(),
                to: release.handles.clone(),
                release: Some(release.id),
                from_release,
                proven: release.proven.is_some(),
                target_spec: Some(release.spec.clone()),
            });
        }
        Err(missing) => missing,
    };
    let unrecorded = || {
        let mut seen: Vec<&Handles> = Vec::new();
        for one in local.iter().filter(|h| h.fingerprint != *running) {
            if !seen.iter().any(|s| s.fingerprint == one.fingerprint) {
                seen.push(one);
            }
        }
        seen
    };
    match missing {
        NoTarget::AlreadyThere(id) => {
            Err(Trouble::new(TroubleKind::NotFound, format!("{service} runs {id} already.")).try_this(releases))
        }
        NoTarget::Ambiguous(ids) => {
            let mut trouble = Trouble::usage(format!("{} releases of {service} fit; say which.", ids.len()));
            for id in ids.iter().rev() {
                trouble = trouble.try_this(image(id));
            }
            Err(trouble.try_this(releases))
        }
        NoTarget::NoneGood(ids) => {
            let mut trouble = Trouble::new(
                TroubleKind::NotFound,
                format!("{service} has no earlier release that is proven healthy and not left by a rollback."),
            )
            .say("Name one if you want it all the same.");
            for id in ids.iter().rev().take(3) {
                trouble = trouble.try_this(image(id));
            }
            Err(trouble.try_this(releases))
        }
        NoTarget::NothingBefore => {
            let mut trouble = Trouble::new(
                TroubleKind::NotFound,
                format!("{service} has nothing to go back to: only one image is on record."),
            );
            for one in unrecorded().into_iter().take(3) {
                trouble = trouble
                    .say(format!("{} is here, unproven.", visible(&one.reference)))
                    .try_this(image(&visible(&one.reference)));
            }
            Err(trouble.try_this(releases))
        }
        NoTarget::Unknown => from_local(ask, container, history, rules, local, from_release).ok_or_else(|| {
            let mut trouble = Trouble::new(TroubleKind::NotFound, format!("No release of {service} fits that."))
                .say("It has to be a release on record, or a local image of a repository that the config allows.");
            for release in history.releases.iter().rev().filter(|r| r.handles.fingerprint != *running).take(3) {
                trouble = trouble.try_this(image(&release.id));
            }
            trouble.try_this(releases)
        }),
    }
}

/// An image that is not on record, named by tag or digest, of a repository that is allowed.
fn from_local(
    ask: &Ask,
    container: &ContainerFacts,
    history: &History,
    rules: &ServiceRules,
    local: &[Handles],
    from_release: Option<ReleaseId>,
) -> Option<Chosen> {
    // On the first day, with nothing on record to go back to, the repository that runs will do; from then on what is not
    // on record needs the config's word (decision 20).
    let first_day = history.releases.iter().all(|r| r.handles.fingerprint == container.image.fingerprint);
    let allowed = if first_day { repositories(rules, container) } else { rules.repositories.clone() };
    let fits = |h: &&Handles| {
        let of_allowed = repository_of(&h.reference).is_some_and(|own| allowed.iter().any(|r| r == own));
        of_allowed
            && match &ask.wanted {
                Wanted::Tag(tag) => {
                    h.reference == *tag || h.reference.rsplit_once(':').is_some_and(|(_, own)| own == tag)
                }
                Wanted::Digest(text) => {
                    let hex = text.strip_prefix("sha256:").unwrap_or(text);
                    h.image.strip_prefix("sha256:").unwrap_or(&h.image).starts_with(hex)
                }
                Wanted::Previous | Wanted::Release(_) | Wanted::At(_) => false,
            }
    };
    let mut fitting = local.iter().filter(fits);
    let first = fitting.next()?;
    let only = fitting.all(|other| other.fingerprint == first.fingerprint);
    (only && first.fingerprint != container.image.fingerprint).then(|| Chosen {
        container: container.clone(),
        to: first.clone(),
        release: None,
        from_release,
        proven: false,
        target_spec: None,
    })
}

/// Puts the plan together.
///
/// # Errors
/// Image gone or for another platform, no space, a pin that cannot be written.
pub fn assemble(
    ask: &Ask,
    rules: &ServiceRules,
    facts: &StackFacts,
    chosen: &Chosen,
    found: &ImageFound,
    pin: Option<&(PinFacts, PinForm)>,
    local: &[Handles],
) -> Result<(Plan, PlanNotes), Trouble> {
    let service = &ask.service;
    let unavailable = |why: String| Trouble::new(TroubleKind::Unavailable, why).say("Nothing was touched.");
    let reference = visible(&chosen.to.reference);
    let handles = match found {
        ImageFound::Here { handles, foreign_platform: None } => handles,
        ImageFound::Here { foreign_platform: Some(other), .. } => {
            return Err(unavailable(format!(
                "{reference} is built for {other}, and this host is {}/{}.",
                facts.engine.os, facts.engine.arch
            ))
            .try_this(format!("/releases {service}")));
        }
        ImageFound::Gone => {
            let mut trouble = unavailable(format!("The image of {reference} is gone from this host."));
            if let Some(digest) = chosen.to.digests.first() {
                trouble =
                    trouble.say(format!("Pull it on the host (docker pull {}), then ask again.", visible(digest)));
            }
            return Err(trouble.try_this(format!("/releases {service}")));
        }
    };
    if facts.free_bytes.is_some_and(|free| free < FREE_FLOOR_BYTES) {
        return Err(unavailable(format!(
            "Only {} MB are free where Docker keeps its data; a start could fail.",
            facts.free_bytes.unwrap_or(0) / 1_000_000
        ))
        .say("Make room on the host first: docker system df shows where it went.")
        .try_this("/status"));
    }
    if let Some(obstacle) = pin.and_then(|(p, _)| p.obstacle.as_ref()) {
        return Err(unavailable(format!("The pin cannot be written: {obstacle}.")).try_this("/status"));
    }

    let tag_holds = local.iter().any(|h| h.reference == chosen.to.reference && h.fingerprint == chosen.to.fingerprint);
    let to = ImageChoice {
        fingerprint: chosen.to.fingerprint.clone(),
        image: handles.image.clone(),
        reference: chosen.to.reference.clone(),
    };
    let from = ImageChoice {
        fingerprint: chosen.container.image.fingerprint.clone(),
        image: chosen.container.image.image.clone(),
        reference: chosen.container.image.reference.clone(),
    };
    let mut notes = PlanNotes {
        from_release: chosen.from_release,
        to_release: chosen.release,
        proven: chosen.proven,
        gap_ms: Some((500, 2_000 + 1_000 * u64::from(rules.grace_s))),
        warnings: Vec::new(),
    };
    if !tag_holds {
        notes.warnings.push(format!("the tag {reference} no longer means this image; it is used by its fingerprint"));
    }
    if rules.health.check == HealthCheck::Weak {
        notes.warnings.push("weak proof: nothing can be asked, only that it runs".to_owned());
    }
    if !chosen.proven {
        notes.warnings.push("this image was never proven healthy here".to_owned());
    }
    for label in &chosen.container.forged {
        notes.warnings.push(format!("label {} of {service} is not ours: somebody forged it", visible(label)));
    }

    let health_s = rules.health.deadline_s;
    let swap = Swap {
        service: service.clone(),
        replaces: Some(chosen.container.id.clone()),
        from: from.clone(),
        to: to.clone(),
        settings: ask.settings,
        spec: match (&ask.settings, &chosen.target_spec) {
            (Settings::Recorded, Some(spec)) => spec.clone(),
            _ => chosen.container.spec.clone(),
        },
        target_spec: chosen.target_spec.clone(),
        health: rules.health.clone(),
        grace_s: rules.grace_s,
    };
    // Going back means as it was, and it may not have been well: what is proven then is that the very image runs and does
    // not restart. Asking a bad release for its health would leave the run stuck half-way instead.
    let as_it_was = HealthRule { check: HealthCheck::Weak, ..rules.health.clone() };
    let swap_back = Swap {
        replaces: None,
        health: as_it_was,
        from: to.clone(),
        to: from,
        settings: Settings::Recorded,
        spec: chosen.container.spec.clone(),
        target_spec: None,
        ..swap.clone()
    };
    // Stopping, proving, and proving the old one again when it has to come back.
    let swap_limit = SLACK_S + 2 * (u64::from(rules.grace_s) + health_s);

    let mut steps = Vec::new();
    for kind in &ask.steps {
        match kind {
            StepKind::ProtectImage => {
                // Undone last, after the swap back: only then is there an address that the proxies can learn anew. One for
                // each proxy, one without a proxy.
                let signals = rules.proxies.iter().map(|(proxy, signal)| {
                    let action = StepAction::SignalProxy { proxy: proxy.clone(), signal: signal.clone() };
                    Undo::Action(Box::new(action))
                });
                let signals = if ask.steps.contains(&StepKind::SignalProxy) { signals.collect() } else { Vec::new() };
                let undos = if signals.is_empty() { vec![Undo::Nothing] } else { signals };
                steps.extend(undos.into_iter().map(|undo| PlannedStep {
                    action: StepAction::ProtectImage { service: service.clone(), image: to.clone() },
                    undo,
                    limit_s: QUICK_S,
                }));
            }
            StepKind::SwapService => steps.push(PlannedStep {
                action: StepAction::SwapService(Box::new(swap.clone())),
                undo: Undo::Action(Box::new(StepAction::SwapService(Box::new(swap_back.clone())))),
                limit_s: swap_limit,
            }),
            StepKind::WritePin => match (&rules.pin, pin) {
                (Some((file, key)), Some((present, form))) => {
                    let (running, of) = (&chosen.container.image.reference, (&ask.project, service));
                    let value = next_up::pin_value(*form, key, &chosen.to, tag_holds, facts.engine.store, running, of)
                        .map_err(|why| unavailable(format!("The pin cannot be written: {why}.")).try_this("/status"))?;
                    if *form == PinForm::Elsewhere {
                        notes.warnings.push(format!("{key} in {file} does not name the image that runs now"));
                    }
                    notes.warnings.extend(next_up::shared(key, &rules.pin_shared_with));
                    steps.push(PlannedStep {
                        action: StepAction::WritePin {
                            service: service.clone(),
                            file: file.clone(),
                            key: key.clone(),
                            value,
                            old: present.value.clone(),
                        },
                        undo: Undo::Action(Box::new(StepAction::RestorePin {
                            service: service.clone(),
                            file: file.clone(),
                            key: key.clone(),
                            old: present.value.clone(),
                        })),
                        limit_s: QUICK_S,
                    });
                }
                _ => notes.warnings.push(format!(
                    "no pin is configured: the next `up` may bring {} back",
                    visible(&swap.from.reference)
                )),
            },
            StepKind::SignalProxy => {
                for (proxy, signal) in &rules.proxies {
                    if !facts.services.contains_key(proxy) {
                        return Err(unavailable(format!(
                            "The config names {proxy} as proxy of {service}, and it has no container."
                        ))
                        .try_this("/status"));
                    }
                    let action = StepAction::SignalProxy { proxy: proxy.clone(), signal: signal.clone() };
                    steps.push(PlannedStep { action, undo: Undo::Nothing, limit_s: QUICK_S });
                }
            }
            StepKind::ProveHealth => steps.push(PlannedStep {
                action: StepAction::ProveHealth {
                    service: service.clone(),
                    fingerprint: to.fingerprint.clone(),
                    health: rules.health.clone(),
                },
                undo: Undo::Nothing,
                limit_s: QUICK_S + health_s,
            }),
        }
    }
    let plan = Plan {
        target: ask.target.clone(),
        project: ask.project.clone(),
        requester: ask.requester.clone(),
        command: ask.command.clone(),
        arguments: ask.arguments.clone(),
        reason: ask.reason.clone(),
        steps,
        limit_s: Some(ask.limit_s),
        catalogue: ask.catalogue.clone(),
        policy: ask.policy.clone(),
    };
    Ok((plan, notes))
}

//! From a request and facts to a plan. Only looks: it holds `Inspect` and cannot change anything.
//!
//! [`prepare`] gathers, [`choose`] and [`assemble`] decide and are pure. The same function makes the dry run, the card
//! that approvers read and the plan under the claim, so all three are the same when the world is the same.

use std::collections::BTreeMap;

use super::copies::{self, no_container, representative, the_containers};
use super::dependents;
use crate::agent::{ContainerFacts, ImageFound, Inspect, LookError, PinFacts, StackFacts};
use crate::command::StepKind;
use crate::domain::actor::Actor;
use crate::domain::ids::ReleaseId;
use crate::domain::names::{ProjectName, ServiceName, Target};
use crate::domain::plan::{
    HealthRule, ImageChoice, Plan, PlanNotes, PlannedStep, Settings, SpecRef, StartFirst, StepAction, Undo,
};
use crate::domain::release::{Handles, History, NoTarget, Wanted};
use crate::domain::text::visible;
use crate::domain::trouble::{Trouble, TroubleKind};

use super::next_up::{self, Foreseen, PinForm};

/// Free space below which no swap begins: a start fails on a full disk, even of the old container (docker-facts
/// section 4).
pub const FREE_FLOOR_BYTES: u64 = 256 * 1024 * 1024;

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
    let facts = inspect.stack(&ask.project).await.map_err(|e| cannot_look(&e))?;
    let copies: Vec<ContainerFacts> =
        the_containers(ask, &facts, history)?.iter().map(|c| with_its_name(c, history)).collect();
    let container = representative(&copies, history).ok_or_else(|| no_container(ask, &facts, history))?;
    let rules = rules_of(&ask.service, container);
    let mut local = Vec::new();
    let looked_at = repositories(&rules, container);
    for repository in &looked_at {
        local.extend(inspect.local_images(repository).await.map_err(|e| cannot_look(&e))?);
    }
    let mut chosen = Chosen { copies: copies.clone(), ..choose(ask, container, history, &rules, &local)? };
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
    dependents::follow(&mut plan, &ask.service, &facts, rules_of)?;
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
                copies: vec![container.clone()],
                to: release.handles.clone(),
                release: Some(release.id),
                from_release,
                proven: release.proven.is_some(),
                target_spec: Some(release.spec.clone()),
                pull: None,
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
        copies: vec![container.clone()],
        to: first.clone(),
        release: None,
        from_release,
        proven: false,
        target_spec: None,
        pull: None,
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
        // It is pulled by digest first; by its fingerprint it is found then.
        ImageFound::Gone | ImageFound::OtherStore(_) if chosen.pull.is_some() => &chosen.to,
        ImageFound::OtherStore(switched) => {
            return Err(unavailable(format!("The image of {reference} is not seen on this host."))
                .say(format!("Alarm: {switched}."))
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
    let mut notes = PlanNotes {
        from_release: chosen.from_release,
        to_release: chosen.release,
        proven: chosen.proven,
        // Others answer meanwhile where there are others.
        gap_ms: (chosen.copies.len() == 1 && rules.start_first.is_none())
            .then(|| (500, 2_000 + 1_000 * u64::from(rules.grace_s))),
        warnings: Vec::new(),
        frees: Vec::new(),
    };
    if let Some(from) = &chosen.pull {
        notes.warnings.push(format!("its image is not on this host: it is pulled first, as {}", visible(from)));
    } else if !tag_holds {
        notes.warnings.push(format!("the tag {reference} no longer means this image; it is used by its fingerprint"));
    }
    if !chosen.proven {
        notes.warnings.push("this image was never proven healthy here".to_owned());
    }
    let swaps = copies::swaps(ask, rules, facts, chosen, &to)?;
    notes.warnings.extend(copies::warnings(ask, rules, facts, chosen));

    let health_s = rules.health.deadline_s;
    let drain_s = rules.start_first.as_ref().map_or(0, |s| s.drain_ms.div_ceil(1_000));
    // Stopping, proving, and proving the old one again when it has to come back.
    let swap_limit = SLACK_S + 2 * (u64::from(rules.grace_s) + health_s + drain_s);

    let mut steps = Vec::new();
    for kind in &ask.steps {
        match kind {
            StepKind::PullImage => {
                steps.extend(chosen.pull.iter().map(|from| super::pulling::step(ask, &to, from)));
            }
            // Planned by `prune`, where it stands alone.
            StepKind::ReleasePins => {}
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
            StepKind::SwapService => steps.extend(swaps.iter().map(|(swap, swap_back)| PlannedStep {
                action: StepAction::SwapService(Box::new(swap.clone())),
                undo: Undo::Action(Box::new(StepAction::SwapService(Box::new(swap_back.clone())))),
                limit_s: swap_limit,
            })),
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
                    visible(&chosen.container.image.reference)
                )),
            },
            // Start-first: the swap tells them itself, at its own moments.
            StepKind::SignalProxy if rules.start_first.is_some() => {}
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
                    health: copies::together(rules, &chosen.copies),
                },
                undo: Undo::Nothing,
                limit_s: QUICK_S + health_s * chosen.copies.len() as u64,
            }),
        }
    }
    Ok((ask.plan_of(steps), notes))
}

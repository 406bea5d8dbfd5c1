//! Puts a plan together from what was gathered and chosen: the steps in the procedure's order, each with its undo, and the
//! notes for the card. Pure.

use super::copies;
use super::next_up::{self, PinForm};
use super::planner::{Ask, Chosen, QUICK_S, SLACK_S, ServiceRules};
use crate::agent::{ImageFound, PinFacts, StackFacts};
use crate::command::StepKind;
use crate::domain::plan::{ImageChoice, Plan, PlanNotes, PlannedStep, StepAction, Undo};
use crate::domain::release::Handles;
use crate::domain::text::visible;
use crate::domain::trouble::{Trouble, TroubleKind};

/// Free space below which no swap begins: a start fails on a full disk, even of the old container (docker-facts
/// section 4).
pub(super) const FREE_FLOOR_BYTES: u64 = 256 * 1024 * 1024;

/// Puts the plan together.
///
/// # Errors
/// Image gone or for another platform, no space, a pin that cannot be written.
pub(super) fn assemble(
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
        gap_ms: (chosen.copies.len() == 1 && rules.start_first.is_none() && chosen.missing.is_none())
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
            StepKind::SwapService => steps.extend(swaps.iter().map(|(swap, back)| PlannedStep {
                action: StepAction::SwapService(Box::new(swap.clone())),
                undo: Undo::Action(Box::new(back.clone())),
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
                // The next `up` brings back what is brought back.
                _ if chosen.container.image.fingerprint == to.fingerprint => {}
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

//! Containers that point at the one that is swapped (`network_mode: service:x`, `volumes_from: x`): each is made again
//! after it, with its own image. Pure, like everything that plans.

use std::collections::BTreeSet;

use crate::agent::{ContainerFacts, Inspect, StackFacts};
use crate::domain::names::ServiceName;
use crate::domain::plan::{
    Follows, HealthCheck, HealthRule, ImageChoice, Plan, PlannedStep, Settings, StepAction, Swap, Tie, Undo,
};
use crate::domain::trouble::{Trouble, TroubleKind};

use super::planner::{QUICK_S, Rules, SLACK_S};

/// A container that follows another one.
struct Dependent<'f> {
    service: &'f ServiceName,
    container: &'f ContainerFacts,
    follows: &'f Follows,
}

/// Adds to a plan whatever follows the service that it swaps.
///
/// The new one is made after the swap. On the way back it is made after the swap was undone, as it has to point at what
/// is there then: so its undo hangs on a step before the swap, which also keeps its image.
///
/// # Errors
/// One of them cannot be made again, or there are several of it.
pub(super) fn follow(
    plan: &mut Plan,
    service: &ServiceName,
    facts: &StackFacts,
    rules: Rules<'_>,
) -> Result<(), Trouble> {
    let is_swap = |step: &PlannedStep| matches!(step.action, StepAction::SwapService(_));
    let (Some(first), Some(last)) = (plan.steps.iter().position(is_swap), plan.steps.iter().rposition(is_swap)) else {
        return Ok(());
    };
    let found = dependents(service, facts);
    if let (Some(one), true) = (found.first(), first < last) {
        let why = format!("{service} has several containers, and one of them is where {} belongs.", one.service);
        return Err(refused(&why).say(format!("Scale {service} to one, then ask again.")));
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for one in &found {
        let (keep, swap) = steps(service, one, facts, rules)?;
        before.insert(0, keep);
        after.push(swap);
    }
    plan.steps.splice(last + 1..last + 1, after);
    plan.steps.splice(first..first, before);
    Ok(())
}

/// Who of those that follow is recreated once more by the next `up`: compose 2 hashes the id of the container that a
/// service points at among its settings, compose 1 the service's name, but for `ipc` (found by
/// `tests/next_up/followed.rs` and `inside.rs`).
pub(super) async fn recreated_once(plan: &Plan, inspect: &dyn Inspect) -> Option<String> {
    let mut again = Vec::new();
    for step in &plan.steps {
        let StepAction::SwapService(swap) = &step.action else { continue };
        let mark = match &swap.follows {
            Some(_) => inspect.compose_mark(&swap.spec).await,
            None => None,
        };
        let in_memory = swap.follows.as_ref().is_some_and(|follows| follows.tie == Tie::Ipc);
        if mark.is_some_and(|mark| in_memory || !mark.version.starts_with("1.")) {
            again.push(swap.service.as_str());
        }
    }
    let (one, each) = if again.len() > 1 { ("their", "each ") } else { ("its", "") };
    (!again.is_empty()).then(|| {
        format!(
            "the next `up` recreates {} once more, {each}to the same image: compose counts the id of the container \
             that it points at among {one} settings",
            again.join(" and ")
        )
    })
}

/// Who points at the service's container, or at one that does: each after all that it points at.
fn dependents<'f>(service: &ServiceName, facts: &'f StackFacts) -> Vec<Dependent<'f>> {
    let mut moved = BTreeSet::from([service.clone()]);
    // Whoever is moved, by and by.
    loop {
        let more = facts.services.iter().filter(|(name, found)| {
            let ties = found.containers.iter().flat_map(|c| &c.ties);
            !moved.contains(*name) && ties.into_iter().any(|t| moved.contains(&t.service))
        });
        let more: Vec<ServiceName> = more.map(|(name, _)| name.clone()).collect();
        if more.is_empty() {
            break;
        }
        moved.extend(more);
    }
    // A container can only point at an older one, so that there is always one that waits for nobody.
    let mut waiting: Vec<(&ServiceName, &ContainerFacts)> = facts
        .services
        .iter()
        .filter(|(name, _)| *name != service && moved.contains(*name))
        .flat_map(|(name, found)| found.containers.iter().map(move |c| (name, c)))
        .collect();
    let mut found = Vec::new();
    while !waiting.is_empty() {
        let free = |(_, c): &(&ServiceName, &ContainerFacts)| {
            !c.ties.iter().any(|t| waiting.iter().any(|(other, _)| **other == t.service))
        };
        let (service, container) = waiting.remove(waiting.iter().position(free).unwrap_or(0));
        let ties = container.ties.iter().filter(|t| moved.contains(&t.service));
        if let Some(follows) = ties.min_by_key(|t| t.tie) {
            found.push(Dependent { service, container, follows });
        }
    }
    found
}

/// What keeps its image and makes it again on the way back, and what makes it again on the way there.
fn steps(
    of: &ServiceName,
    one: &Dependent<'_>,
    facts: &StackFacts,
    rules: Rules<'_>,
) -> Result<(PlannedStep, PlannedStep), Trouble> {
    let Dependent { service, container, follows } = one;
    let why = |what: &str| format!("{service} {follows} and has to be made again with {of}: {what}");
    let copies = facts.services.get(*service).map_or(0, |s| s.containers.len());
    if copies > 1 {
        return Err(refused(&why(&format!("it has {copies} containers, and only one can be. Scale it to one."))));
    }
    if let Some((first, more)) = container.obstacles.split_first() {
        let trouble = refused(&why(first));
        return Err(more.iter().fold(trouble, |trouble, obstacle| trouble.say(obstacle.as_str())));
    }
    let rules = rules(service, container);
    let image = ImageChoice {
        fingerprint: container.image.fingerprint.clone(),
        image: container.image.image.clone(),
        reference: container.image.reference.clone(),
    };
    let swap = Swap {
        service: (*service).clone(),
        replaces: Some(container.id.clone()),
        from: image.clone(),
        to: image.clone(),
        settings: Settings::Today,
        spec: container.spec.clone(),
        // Its own labels again: the next `up` finds nothing to do.
        target_spec: Some(container.spec.clone()),
        health: rules.health.clone(),
        grace_s: rules.grace_s,
        number: None,
        start_first: None,
        follows: Some((*follows).clone()),
        missing: false,
    };
    let swap_back = Swap {
        replaces: None,
        settings: Settings::Recorded,
        target_spec: None,
        health: HealthRule { check: HealthCheck::Weak, ..rules.health.clone() },
        ..swap.clone()
    };
    let limit_s = SLACK_S + 2 * (u64::from(rules.grace_s) + rules.health.deadline_s);
    let keep = PlannedStep {
        action: StepAction::ProtectImage { service: (*service).clone(), image },
        undo: Undo::Action(Box::new(StepAction::SwapService(Box::new(swap_back)))),
        limit_s: limit_s.max(QUICK_S),
    };
    let swap = PlannedStep { action: StepAction::SwapService(Box::new(swap)), undo: Undo::Nothing, limit_s };
    Ok((keep, swap))
}

fn refused(why: &str) -> Trouble {
    Trouble::new(TroubleKind::Unavailable, why).say("Nothing was touched.").try_this("/status")
}

//! Containers that hold on to one that a plan replaces (`depends_on … restart: true`): each is restarted after it, as
//! Compose does. Pure, like everything that plans.

use std::collections::BTreeMap;

use crate::agent::{ContainerFacts, ContainerState, StackFacts};
use crate::domain::names::ServiceName;
use crate::domain::plan::{HealthCheck, HealthRule, Plan, PlannedStep, Restart, StepAction, Undo};

use super::copies;
use super::planner::{Rules, SLACK_S};

/// Adds to a plan the restarts of whoever depends with `restart: true` on a service that it replaces, and of whoever so
/// depends on one of those.
///
/// They come once all containers are in place. On the way back they come after the containers are back, for those are
/// others again: so their undos hang on a step before the first swap, as those of followers do (`dependents.rs`).
pub(super) fn restart(plan: &mut Plan, facts: &StackFacts, rules: Rules<'_>) {
    let is_swap = |step: &PlannedStep| matches!(step.action, StepAction::SwapService(_));
    let swapped = plan.steps.iter().filter_map(|step| match &step.action {
        StepAction::SwapService(swap) => Some(swap.service.clone()),
        _ => None,
    });
    let found = restarting(swapped.collect(), facts);
    let keep = plan.steps.iter().find(|step| matches!(step.action, StepAction::ProtectImage { .. })).cloned();
    let (Some(first), Some(last), Some(keep)) =
        (plan.steps.iter().position(is_swap), plan.steps.iter().rposition(is_swap), keep)
    else {
        return;
    };
    // Followers hang theirs right before the first swap, and theirs come first on the way back.
    let hangs =
        |step: &PlannedStep| matches!(&step.undo, Undo::Action(undo) if matches!(**undo, StepAction::SwapService(_)));
    let before_followers = plan.steps[..first].iter().position(hangs).unwrap_or(first);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (service, depends) in &found {
        for restart in restarts(service, depends, facts, rules) {
            let limit_s = SLACK_S + u64::from(restart.grace_s) + restart.health.deadline_s;
            // As it was before may not have been well: going back only asks that it runs.
            let as_it_was = HealthRule { check: HealthCheck::Weak, ..restart.health.clone() };
            let back = Restart { health: as_it_was, ..restart.clone() };
            let undo = Undo::Action(Box::new(StepAction::RestartService(Box::new(back))));
            before.insert(0, PlannedStep { undo, limit_s: limit_s.max(keep.limit_s), ..keep.clone() });
            let action = StepAction::RestartService(Box::new(restart));
            after.push(PlannedStep { action, undo: Undo::Nothing, limit_s });
        }
    }
    plan.steps.splice(last + 1..last + 1, after);
    plan.steps.splice(before_followers..before_followers, before);
}

/// Who restarts, each after all that it restarts with, and with whom.
fn restarting(moved: Vec<ServiceName>, facts: &StackFacts) -> Vec<(ServiceName, Vec<ServiceName>)> {
    let with = |service: &ServiceName| {
        let copies = facts.services.get(service).into_iter().flat_map(|s| &s.containers);
        copies.flat_map(|c| &c.restarts_with).filter(|other| !moved.contains(*other)).cloned().collect::<Vec<_>>()
    };
    // Whoever restarts, by and by, and with whom.
    let mut all: BTreeMap<ServiceName, Vec<ServiceName>> = BTreeMap::new();
    let mut next = moved.clone();
    while let Some(service) = next.pop() {
        for other in with(&service) {
            let known = all.entry(other.clone()).or_default();
            if known.is_empty() {
                next.push(other);
            }
            if !known.contains(&service) {
                known.push(service.clone());
                known.sort();
            }
        }
    }
    let mut ordered = Vec::new();
    while !all.is_empty() {
        // Compose refuses circles; should there be one all the same, it has to begin somewhere.
        let free = all.iter().find(|(_, after)| !after.iter().any(|s| all.contains_key(s))).or(all.iter().next());
        let Some(service) = free.map(|(service, _)| service.clone()) else { break };
        if let Some(after) = all.remove(&service) {
            ordered.push((service, after));
        }
    }
    ordered
}

/// A restart for each container of a service that runs; one that is stopped stays so.
fn restarts(service: &ServiceName, after: &[ServiceName], facts: &StackFacts, rules: Rules<'_>) -> Vec<Restart> {
    let copies = facts.services.get(service).map_or(&[][..], |s| &s.containers);
    let runs = |c: &&ContainerFacts| matches!(c.state, ContainerState::Running | ContainerState::Restarting);
    let running: Vec<ContainerFacts> = copies.iter().filter(runs).cloned().collect();
    let one = |container: &ContainerFacts| {
        let rules = rules(service, container);
        Restart {
            service: service.clone(),
            number: (running.len() > 1).then_some(container.number),
            container: container.id.clone(),
            after: after.to_vec(),
            fingerprint: container.image.fingerprint.clone(),
            // It is stopped before it is started, so its address proves the very container unless others share it.
            health: copies::each(
                &super::planner::ServiceRules { start_first: None, ..rules.clone() },
                container,
                &running,
            ),
            grace_s: rules.grace_s,
        }
    };
    running.iter().map(one).collect()
}

//! Keeps the releases: notices every image that a service runs, whoever brought it, keeps it from being pruned, and proves
//! it. Woken by hints, by a timer and at start; hints may be lost, looks are not. It changes no container of the team.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::{Core, Host};
use crate::agent::{self, ContainerFacts, ContainerState, ServiceFacts};
use crate::clock::closed;
use crate::config::stack::Stack;
use crate::domain::event::{Event, Subject};
use crate::domain::ids::{Position, ReleaseId, RunId};
use crate::domain::names::{Fingerprint, ServiceName, Target};
use crate::domain::plan::{HealthCheck, SpecRef, StepAction};
use crate::domain::release::{History, Origin, subject_key};
use crate::domain::run::Status;
use crate::procedures::representative;
use crate::store::{About, Draft};

/// Between two looks when nothing hints at a change. Short enough that a deploy whose hint got lost is on record before
/// anybody asks for its rollback.
const LOOK_EVERY: Duration = Duration::from_secs(15);

/// Records looked back at for the one before this start; a recovery writes a few behind it.
const RECORDS_BACK: u64 = 200;

/// Between two questions to a service that is not proven yet.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Runs looked back at to tell who brought an image.
const RUNS_BACK: usize = 50;

/// Records the releases of one stack until the bot shuts down.
pub async fn keep_releases(core: Arc<Core>, stack: Stack) {
    let Ok(host) = core.host(&stack.host).cloned() else {
        tracing::error!(stack = %stack.name, "no agent for its host: its releases are not recorded");
        return;
    };
    let mut hints = host.inspect.changes();
    let mut closing = core.closing.clone();
    let mut good: BTreeMap<ServiceName, (String, u32)> = BTreeMap::new();
    // Everything up to here was looked at: by the process before this one, up to its last record.
    let mut seen_until = last_record(&core);
    let mut unsure = true;
    loop {
        let began = core.clock.now();
        // What nobody hinted at has not started either; the timer's looks leave the engine's memory alone.
        if unsure && missed(&core, &host, &stack, seen_until).await {
            (seen_until, unsure) = (began, false);
        }
        let unproven = look(&core, &host, &stack, &mut good).await;
        let pause = if unproven { ASK_EVERY } else { LOOK_EVERY };
        tokio::select! {
            () = core.clock.sleep(pause) => {}
            () = hinted(&mut hints, &stack) => unsure = true,
            () = closed(&mut closing) => return,
        }
    }
}

/// When the log was written last: a bot that ran then had looked at its stacks until then, give or take a look.
fn last_record(core: &Core) -> Timestamp {
    let before = |at: Timestamp| at.checked_sub(LOOK_EVERY * 2).unwrap_or(at);
    let head = core.log.head().position;
    // This start is on record already; what was written before it counts.
    let from = Position(head.0.saturating_sub(RECORDS_BACK));
    let records = core.log.read(from, usize::try_from(RECORDS_BACK).unwrap_or(usize::MAX) + 1).unwrap_or_default();
    let last = records.iter().rev().skip_while(|r| !matches!(r.event, Event::Started { .. })).nth(1);
    last.map_or_else(|| core.clock.now(), |record| before(record.at))
}

/// Records what came and went unseen since then, as far as the engine remembers it. False when that could not be asked.
async fn missed(core: &Core, host: &Host, stack: &Stack, since: Timestamp) -> bool {
    let target = stack.target();
    if !matches!(core.log.holder(&target), Ok(None)) {
        return false;
    }
    let past = match host.inspect.past(&stack.project, since).await {
        Ok(past) => past,
        Err(error) => {
            tracing::debug!(stack = %stack.name, %error, "the engine does not tell what it remembers");
            return false;
        }
    };
    if past.is_empty() {
        return true;
    }
    // What runs now is recorded by the look, with its settings.
    let Ok(facts) = host.inspect.stack(&stack.project).await else { return false };
    let runs: Vec<&Fingerprint> =
        facts.services.values().flat_map(|s| &s.containers).map(|c| &c.image.fingerprint).collect();
    for start in past.into_iter().filter(|start| !runs.contains(&&start.image.fingerprint)) {
        let Ok(history) = core.log.history(&target, &start.service) else { return false };
        let later = history.current.and_then(|id| history.get(id)).is_some_and(|r| r.ran_last() > start.at);
        // One that is on record is no news; one before what is known to run now would come out of order.
        if later || history.of(&start.image.fingerprint).is_some() {
            continue;
        }
        if let Err(error) = host.act.keep(&stack.project, &start.service, &start.image).await {
            tracing::info!(service = %start.service, %error, "what came and went is not kept from pruning");
        }
        let event = Event::ReleaseSeen {
            target: target.clone(),
            service: start.service.clone(),
            handles: start.image,
            // Its container is gone, and its settings with it.
            spec: SpecRef { id: String::new(), mac: String::new() },
            origin: Origin::Compose,
            since: start.at,
        };
        if !write(core, &target, &start.service, event).await {
            return false;
        }
    }
    true
}

async fn hinted(hints: &mut tokio::sync::broadcast::Receiver<crate::domain::names::ProjectName>, stack: &Stack) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match hints.recv().await {
            Ok(project) if project == stack.project => return,
            Ok(_) => {}
            Err(RecvError::Lagged(_)) => return,
            Err(RecvError::Closed) => std::future::pending::<()>().await,
        }
    }
}

/// One look at the stack. True when something runs that is not proven yet.
pub async fn look(core: &Core, host: &Host, stack: &Stack, good: &mut BTreeMap<ServiceName, (String, u32)>) -> bool {
    let target = stack.target();
    // A swap makes a hint with each of its moves; a look would only take the engine's time between its stop and its start.
    if core.log.holder(&target).is_ok_and(|holder| holder.is_some_and(|run| core.is_under_way(run.id))) {
        return false;
    }
    let facts = match host.inspect.stack(&stack.project).await {
        Ok(facts) => facts,
        Err(error) => {
            tracing::warn!(stack = %stack.name, %error, "cannot look at the stack");
            return false;
        }
    };
    if let Ok(mut services) = core.services.lock() {
        services.insert(stack.name.clone(), facts.services.keys().chain(facts.gone.keys()).cloned().collect());
    }
    // While a run holds the stack what is seen there is its doing, half done; its own records tell it. Asked again: one
    // may have begun while we looked.
    match core.log.holder(&target) {
        Ok(None) => {}
        Ok(Some(_)) | Err(_) => return false,
    }
    let brought = brought_by_runs(core, &target);
    let mut unproven = false;
    for (service, facts) in &facts.services {
        let Ok(history) = core.log.history(&target, service) else { continue };
        let Some(container) = noticed(facts, &history) else { continue };
        let mut container = container.clone();
        let mut brought_by = None;
        if let Some((run, reference)) = brought.get(&(service.clone(), container.image.fingerprint.clone())) {
            brought_by = Some(*run);
            // A container that we made was made from the image's id; the plan had the team's name for it.
            container.image.reference.clone_from(reference);
        }
        let container = &container;
        if let Some(event) = notice(&target, service, container, &history, brought_by, core.clock.now())
            && !write(core, &target, service, event).await
        {
            continue;
        }
        let Ok(history) = core.log.history(&target, service) else { continue };
        let Some(current) = history.current.and_then(|id| history.get(id)).cloned() else { continue };
        if current.handles.fingerprint != container.image.fingerprint {
            continue;
        }
        if let Err(error) = host.act.keep(&stack.project, service, &current.handles).await {
            tracing::warn!(%service, release = %current.id, %error, "its image could not be kept from pruning");
        }
        // Of a mixture another release may have answered.
        let alone = agent::running(facts) == Some(&current.handles.fingerprint);
        if current.proven.is_none() && alone && facts.containers.iter().all(|c| c.state == ContainerState::Running) {
            let proven = prove(core, host, stack, service, (container, &facts.containers), current.id, good).await;
            unproven |= !proven;
        }
    }
    unproven
}

/// The container that tells which release runs. Of several it is one with an image that is not on record; else one of
/// the release that was seen last, so that a mixture does not make it swing to and fro.
fn noticed<'f>(facts: &'f ServiceFacts, history: &History) -> Option<&'f ContainerFacts> {
    if facts.containers.iter().any(|c| c.unfinished.is_some()) {
        return None;
    }
    let unknown = |c: &&ContainerFacts| history.of(&c.image.fingerprint).is_none() && has_run(c);
    facts.containers.iter().find(unknown).or_else(|| representative(&facts.containers, history))
}

fn has_run(container: &ContainerFacts) -> bool {
    matches!(container.state, ContainerState::Running | ContainerState::Restarting | ContainerState::Exited)
}

/// What a container says about the releases of its service; `None` when it is known already. `brought_by` is the run that
/// went to this image although it was not on record.
pub fn notice(
    target: &Target,
    service: &ServiceName,
    container: &ContainerFacts,
    history: &History,
    brought_by: Option<RunId>,
    now: Timestamp,
) -> Option<Event> {
    if !has_run(container) {
        return None;
    }
    match history.of(&container.image.fingerprint) {
        // Settings that were changed since (a rotated password) are recorded with the release that runs.
        Some(known) if history.current == Some(known.id) && known.spec.mac == container.spec.mac => None,
        Some(known) => Some(Event::ReleaseBack {
            target: target.clone(),
            service: service.clone(),
            release: known.id,
            spec: container.spec.clone(),
            // A run that goes back writes this record itself, together with its end; so it was somebody else.
            origin: Origin::Compose,
        }),
        None => Some(Event::ReleaseSeen {
            target: target.clone(),
            service: service.clone(),
            handles: container.image.clone(),
            spec: container.spec.clone(),
            origin: brought_by.map_or(Origin::Compose, |run| Origin::Run { run }),
            since: container.started.unwrap_or(now),
        }),
    }
}

/// The newest finished run for each image it brought to a service, with the reference its plan had for it.
fn brought_by_runs(core: &Core, target: &Target) -> BTreeMap<(ServiceName, Fingerprint), (RunId, String)> {
    let mut out = BTreeMap::new();
    for run in core.log.runs(RUNS_BACK).unwrap_or_default() {
        let done = matches!(&run.status, Status::Ended { outcome: crate::domain::event::Outcome::Done, .. });
        if !done || run.target.as_ref() != Some(target) {
            continue;
        }
        for step in run.plan.iter().flat_map(|p| &p.plan.steps) {
            if let StepAction::SwapService(swap) = &step.action
                && swap.follows.is_none()
            {
                out.entry((swap.service.clone(), swap.to.fingerprint.clone()))
                    .or_insert_with(|| (run.id, swap.to.reference.clone()));
            }
        }
    }
    out
}

async fn write(core: &Core, target: &Target, service: &ServiceName, event: Event) -> bool {
    let about = About::Subject(Subject::Releases(subject_key(target, service)));
    match core.log.append(None, vec![Draft { about, at: core.clock.now(), event }]).await {
        Ok(_) => true,
        Err(error) => {
            tracing::warn!(%service, %error, "a release could not be recorded; looking again later");
            false
        }
    }
}

/// Asks a release's health once; with the count that its rule wants, in a row and of the same containers, it is proven.
async fn prove(
    core: &Core,
    host: &Host,
    stack: &Stack,
    service: &ServiceName,
    (container, copies): (&ContainerFacts, &[ContainerFacts]),
    release: ReleaseId,
    good: &mut BTreeMap<ServiceName, (String, u32)>,
) -> bool {
    let rule = core.rules(&stack.name, service, container).health;
    if rule.check == HealthCheck::Weak {
        return true; // never proven: that it runs proves nothing
    }
    let incarnation: Vec<String> = copies.iter().map(|c| format!("{}/{}", c.id, c.restarts)).collect();
    let incarnation = incarnation.join(" ");
    let entry = good.entry(service.clone()).or_default();
    if entry.0 != incarnation {
        *entry = (incarnation, 0);
    }
    match host.inspect.ask_health(&stack.project, service, &rule).await {
        Ok(Ok(())) => entry.1 += 1,
        Ok(Err(_)) | Err(_) => entry.1 = 0,
    }
    if entry.1 < rule.count {
        return false;
    }
    let target = stack.target();
    write(core, &target, service, Event::ReleaseProven { target: target.clone(), service: service.clone(), release })
        .await
}

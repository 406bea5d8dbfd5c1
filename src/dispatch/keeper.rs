//! Keeps the newest releases of each service from being pruned, and the agent's folder from growing: looked at when the
//! bot starts and every hour. It only adds pins (what is older is let go by `/releases prune` alone), and has the agent
//! remove files of its own that no release and no open run needs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Core;
use crate::agent::ActError;
use crate::clock::closed;
use crate::domain::names::{ServiceName, Target};
use crate::domain::plan::{Plan, StepAction, Undo};
use crate::domain::release::History;

/// Between two looks at everything that is kept. Somebody's prune may take a pin's container in between; the image
/// stays as long as its tag does, so an hour is soon enough.
const KEEP_EVERY: Duration = Duration::from_hours(1);

/// The same when an engine was away or a stack was being worked on.
const AGAIN_AFTER: Duration = Duration::from_mins(1);

/// Keeps what is to be kept until the bot shuts down.
pub async fn keep(core: Arc<Core>) {
    let mut closing = core.closing.clone();
    loop {
        let pause = if once(&core).await { KEEP_EVERY } else { AGAIN_AFTER };
        tokio::select! {
            () = core.clock.sleep(pause) => {}
            () = closed(&mut closing) => return,
        }
    }
}

/// One round. False when something could not be looked at.
async fn once(core: &Core) -> bool {
    let services = match core.log.services() {
        Ok(services) => services,
        Err(error) => {
            tracing::warn!(%error, "which services have releases cannot be read; what is kept is looked at later");
            return false;
        }
    };
    let mut whole = true;
    let mut histories = BTreeMap::new();
    for (target, service) in services {
        match core.log.history(&target, &service) {
            Ok(history) => drop(histories.insert((target, service), history)),
            Err(error) => {
                tracing::warn!(%service, %error, "its releases cannot be read; what is kept is looked at later");
                return false;
            }
        }
    }
    for ((target, service), history) in &histories {
        whole &= keep_releases(core, target, service, history).await;
    }
    whole && tidy(core, &histories).await
}

/// The newest releases of one service.
async fn keep_releases(core: &Core, target: &Target, service: &ServiceName, history: &History) -> bool {
    // A stack or host that has left the config is none of ours any more.
    let (Some(stack), Ok(host)) = (core.config.stack(&target.stack), core.host(&target.host)) else { return true };
    // Between a swap's stop and its start the engine's time is the swap's.
    if core.log.holder(target).is_ok_and(|holder| holder.is_some_and(|run| core.is_under_way(run.id))) {
        return false;
    }
    let newest = usize::try_from(core.config.sternway.keep_releases).unwrap_or(usize::MAX);
    for release in history.kept(newest) {
        match host.act.keep(&stack.project, service, &release.handles).await {
            Ok(()) => {}
            Err(ActError::Refused(why)) => tracing::info!(%service, release = %release.id, why, "cannot be kept"),
            Err(error) => {
                tracing::warn!(%service, release = %release.id, %error, "not known whether it is kept; looking again");
                return false;
            }
        }
    }
    true
}

/// Has each agent clean its folder of what neither a release nor an open run needs.
async fn tidy(core: &Core, histories: &BTreeMap<(Target, ServiceName), History>) -> bool {
    let Ok(open) = core.log.open_runs() else { return false };
    let mut specs: BTreeSet<String> =
        histories.values().flat_map(|h| &h.releases).map(|release| release.spec.id.clone()).collect();
    specs.extend(open.iter().filter_map(|run| run.plan.as_ref()).flat_map(|p| specs_of(&p.plan)));
    let runs = open.iter().map(|run| run.id).collect();
    for (name, host) in &core.hosts {
        match host.act.tidy(&specs, &runs).await {
            Ok(0) => {}
            Ok(files) => tracing::info!(host = %name, files, "removed from the agent's folder what nothing needs"),
            Err(error) => tracing::warn!(host = %name, %error, "the agent's folder could not be cleaned"),
        }
    }
    true
}

/// Recorded settings that a plan goes by, forward or back.
fn specs_of(plan: &Plan) -> Vec<String> {
    let mut out = Vec::new();
    for step in &plan.steps {
        let back = match &step.undo {
            Undo::Action(action) => Some(action.as_ref()),
            Undo::Nothing | Undo::OneWay(_) => None,
        };
        for action in [Some(&step.action), back].into_iter().flatten() {
            if let StepAction::SwapService(swap) = action {
                out.push(swap.spec.id.clone());
                out.extend(swap.target_spec.iter().map(|spec| spec.id.clone()));
            }
        }
    }
    out
}

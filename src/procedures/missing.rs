//! A service whose containers are gone: what should be there, by what was recorded
//! ([0013](../../docs/decisions/0013-a-container-that-is-gone.md)).

use super::planner::{Ask, Missing, cannot_look};
use crate::agent::{ContainerState, Inspect, StackFacts};
use crate::domain::names::ServiceName;
use crate::domain::release::History;
use crate::domain::trouble::Trouble;

/// Puts the containers that should be there into the facts, if the service has none and they are on record. The settings
/// are those recorded last; the image is that of the release that ran last.
///
/// # Errors
/// The agent could not look.
pub(super) async fn put_in(
    ask: &Ask,
    inspect: &dyn Inspect,
    history: &History,
    facts: &mut StackFacts,
) -> Result<Option<Missing>, Trouble> {
    let Some(last) = history.current.and_then(|id| history.get(id)) else { return Ok(None) };
    if facts.services.contains_key(&ask.service) || !facts.gone.contains_key(&ask.service) {
        return Ok(None);
    }
    *facts = inspect.as_recorded(&ask.project, &ask.service).await.map_err(|e| cannot_look(&e))?;
    let Some(service) = facts.services.get_mut(&ask.service) else { return Ok(None) };
    // One that has come back in this very moment is a container like any other.
    if service.containers.iter().any(|c| c.state != ContainerState::Missing) {
        return Ok(None);
    }
    for container in &mut service.containers {
        container.image = last.handles.clone();
    }
    Ok(Some(Missing { release: last.id, recorded: last.ran_last() }))
}

/// Who points at a container that is gone. They are not led to the new one: were that taken back, they could not be led
/// back to what is gone.
pub(super) fn left_behind(service: &ServiceName, facts: &StackFacts) -> Vec<String> {
    let mut out = Vec::new();
    for (name, found) in &facts.services {
        let ties = found.containers.iter().flat_map(|c| &c.ties).find(|tie| tie.service == *service);
        out.extend(ties.map(|follows| {
            format!(
                "{name} {follows}, of the container that is gone. When {service} is back: docker compose up -d --no-deps \
                 --force-recreate {name}"
            )
        }));
    }
    out
}

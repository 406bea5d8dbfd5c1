//! What came and went while nobody looked, from the events that the engine still remembers. An event names its image by
//! the words that compose used; what those words meant at that moment is told only where it is certain: by the id that
//! compose v2 writes into a label, or by a name that no image was given since. Everything else stays untold.

use jiff::Timestamp;
use serde_json::Value;

use super::engine::{Engine, EngineError};
use super::host::HostAgent;
use super::{PastStart, fingerprint, marks, raw};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::release::Handles;

/// Compose v2's label with the id of the image that a container was made from.
const IMAGE: &str = "com.docker.compose.image";

impl<E: Engine> HostAgent<E> {
    pub(super) async fn past_of(&self, project: &ProjectName, since: Timestamp) -> Result<Vec<PastStart>, EngineError> {
        let mut out = Vec::new();
        for event in self.engine.past_starts(project, since).await? {
            let label = |key: &str| event.pointer("/Actor/Attributes").and_then(|a| a.get(key)).and_then(Value::as_str);
            let Some(service) = label(raw::SERVICE).and_then(|s| ServiceName::parse(s).ok()) else { continue };
            // Runs of ours are on record by themselves, half-way states included; one-offs are no part of a service.
            if label(raw::ONEOFF) == Some("True") || marks::KEYS.iter().any(|key| label(key).is_some()) {
                continue;
            }
            let nanos = event.get("timeNano").and_then(Value::as_i64).unwrap_or_default();
            let Ok(at) = Timestamp::from_nanosecond(i128::from(nanos)) else { continue };
            let reference = label("image").unwrap_or_default();
            if let Some(image) = self.meant_then(label(IMAGE), reference, at).await? {
                out.push(PastStart { service, image, at });
            }
        }
        out.sort_by_key(|start| start.at);
        Ok(out)
    }

    /// What an event's words meant when it happened.
    async fn meant_then(
        &self,
        id: Option<&str>,
        reference: &str,
        at: Timestamp,
    ) -> Result<Option<Handles>, EngineError> {
        if let Some(id) = id.or_else(|| Some(reference).filter(|r| r.starts_with("sha256:"))) {
            let inspect = self.image_inspect(id).await?;
            return Ok(inspect.and_then(|i| fingerprint::handles(&i, reference)));
        }
        if reference.is_empty() || self.engine.past_names(at).await?.iter().any(|event| may_name(event, reference)) {
            return Ok(None);
        }
        let inspect = self.engine.image(reference).await?;
        Ok(inspect.and_then(|i| fingerprint::handles(&i, reference)))
    }
}

/// Whether this event may have given the reference another meaning. The engine forgets its oldest events first: as long
/// as it remembers a start it remembers all that came after it, so no such event means that nothing moved.
fn may_name(event: &Value, reference: &str) -> bool {
    // Neither a loaded tar's event nor an import's says which names came with it.
    if matches!(event.get("Action").and_then(Value::as_str), Some("load" | "import")) {
        return true;
    }
    let last = |name: &str| name.rsplit('/').next().unwrap_or(name).to_owned();
    let wanted = last(reference);
    let bare = wanted.split(':').next().unwrap_or(&wanted);
    let told = [event.pointer("/Actor/Attributes/name"), event.pointer("/Actor/ID")];
    told.into_iter().flatten().filter_map(Value::as_str).map(last).any(|name| name == wanted || name == bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_may_have_moved_a_name_is_told_from_what_cannot() {
        let event = |action: &str, id: &str, name: &str| json!({"Action": action, "Actor": {"ID": id, "Attributes": {"name": name}}});
        for (moves, action, id, name) in [
            (true, "tag", "sha256:aa", "shop/api:1.1"),
            (true, "tag", "sha256:aa", "docker.io/shop/api:1.1"),
            (true, "pull", "shop/api:1.1", "shop/api"),
            (true, "pull", "shop/api", "shop/api"),
            (true, "load", "sha256:aa", "sha256:aa"),
            (false, "tag", "sha256:aa", "shop/api:1.2"),
            (false, "tag", "sha256:aa", "io.sternway/pin/shop-api:aa"),
            (false, "tag", "sha256:aa", "shop/web:1.1"),
        ] {
            assert_eq!(may_name(&event(action, id, name), "shop/api:1.1"), moves, "{action} {name}");
        }
    }
}

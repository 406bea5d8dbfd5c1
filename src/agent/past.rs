//! What came and went while nobody looked, from the events that the engine still remembers. An event names its image by
//! the words that compose used; what those words meant at that moment is told only where it is certain: by the id that
//! compose v2 writes into a label, or by a tag that was not moved since. Everything else stays untold.

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
        if reference.is_empty() {
            return Ok(None);
        }
        let inspect = self.engine.image(reference).await?.filter(|image| {
            let tagged = image.pointer("/Metadata/LastTagTime").and_then(Value::as_str);
            let tagged = tagged.and_then(|t| t.parse::<Timestamp>().ok());
            // Year 1 means that the engine does not know.
            tagged.is_some_and(|t| t.as_second() > 0 && t < at)
        });
        Ok(inspect.and_then(|i| fingerprint::handles(&i, reference)))
    }
}

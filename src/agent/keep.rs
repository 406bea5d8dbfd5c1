//! Keeping a release's image from being pruned: a tag of ours *and* a created, never started container made from
//! exactly that tag (decision 24; docker-facts section 4). Adds only, and may be repeated.

use serde_json::{Map, Value, json};

use super::engine::{Engine, EngineError};
use super::host::{HostAgent, before_acting};
use super::images::{Image, foreign_platform};
use super::marks::{self, Marked};
use super::swap::{uncertain, wanted_handles};
use super::voice::Voice;
use super::{ActError, Observed, raw};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::plan::{ImageChoice, StepOutput};
use crate::domain::release::Handles;

/// Labels that would make a pin look like a part of a project; images built by compose carry them too.
const COMPOSE_PREFIX: &str = "com.docker.compose.";

/// Name and place of what keeps one image for one service.
pub(super) struct Pin {
    repository: String,
    tag: String,
    pub(super) container: String,
    /// Value of the label.
    pub(super) label: String,
}

impl Pin {
    pub(super) fn of(project: &ProjectName, service: &ServiceName, image: &Handles) -> Self {
        // Repository names are lower case and do not take every run of separators that a project may have.
        let plain = |text: &str| -> String {
            let lower = text.to_ascii_lowercase();
            let words: Vec<&str> =
                lower.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
            words.join("-")
        };
        let what = format!("{}-{}", plain(project.as_str()), plain(service.as_str()));
        let tag = image.fingerprint.short().to_owned();
        Self {
            repository: format!("io.sternway/pin/{what}"),
            container: format!("io.sternway.pin-{what}-{tag}"),
            label: format!("{project}/{service}:{tag}"),
            tag,
        }
    }

    pub(super) fn reference_of(&self) -> String {
        format!("{}:{}", self.repository, self.tag)
    }
}

/// The tag by which a release of a service is kept: it cannot move, as nobody else makes it.
pub fn pin_reference(project: &ProjectName, service: &ServiceName, image: &Handles) -> String {
    Pin::of(project, service, image).reference_of()
}

impl<E: Engine> HostAgent<E> {
    /// Makes tag and container where they are missing.
    pub(super) async fn pin_image(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        wanted: &Handles,
    ) -> Result<(), ActError> {
        let Some(image) = self.find(wanted).await.map_err(before_acting)? else {
            return Err(ActError::Refused(format!(
                "the image {} ({}) is not on this host any more: there is nothing to keep",
                wanted.reference,
                wanted.fingerprint.short()
            )));
        };
        self.note_image(&wanted.fingerprint).await.map_err(uncertain)?;
        let pin = Pin::of(project, service, wanted);
        if self.stands(&pin, &image).await.map_err(uncertain)? {
            return Ok(());
        }
        let refused = |what: &str, e: EngineError| match e {
            EngineError::NoAnswer(_) | EngineError::Unreachable(_) => uncertain(e),
            e => ActError::Refused(format!("{what}: {e}; no container of the service was touched")),
        };
        self.engine
            .tag(&image.handles.image, &pin.repository, &pin.tag)
            .await
            .map_err(|e| refused("the image could not be tagged", e))?;
        let taken = self.engine.inspect(&pin.container).await.map_err(uncertain)?;
        if let Some(there) = taken {
            if !matches!(self.read_marks(&there), Marked::Pin(label) if label == pin.label) {
                return Err(ActError::Refused(format!(
                    "a container that is not ours has the name {}: remove it with `docker rm {0}`",
                    pin.container
                )));
            }
            // Ours by its MAC, but of another image: the tag was moved under it. It never ran, so nothing is lost.
            self.engine.remove(raw::id(&there)).await.map_err(|e| refused("an old pin could not be removed", e))?;
        }
        let body = self.pin_body(&pin, &image.inspect);
        self.engine
            .create(&pin.container, &body)
            .await
            .map_err(|e| refused("the container that keeps the image could not be made", e))?;
        Ok(())
    }

    async fn stands(&self, pin: &Pin, image: &Image) -> Result<bool, EngineError> {
        let Some(tagged) = self.engine.image(&pin.reference_of()).await? else { return Ok(false) };
        let id = tagged.get("Id").and_then(Value::as_str);
        if id != Some(image.handles.image.as_str()) {
            return Ok(false);
        }
        let Some(there) = self.engine.inspect(&pin.container).await? else { return Ok(false) };
        let ours = matches!(self.read_marks(&there), Marked::Pin(label) if label == pin.label);
        Ok(ours && Some(raw::image(&there)) == id && raw::reference(&there) == pin.reference_of())
    }

    fn pin_body(&self, pin: &Pin, image: &Value) -> Value {
        let config = image.get("Config").unwrap_or(&Value::Null);
        let keys = |key: &str| -> Vec<String> {
            config.get(key).and_then(Value::as_object).into_iter().flatten().map(|(k, _)| k.clone()).collect()
        };
        // Labels cannot be taken away, only emptied: then no filter on a project finds it.
        let mut labels: Map<String, Value> =
            keys("Labels").into_iter().filter(|k| k.starts_with(COMPOSE_PREFIX)).map(|k| (k, json!(""))).collect();
        labels.extend(marks::of_pin(&pin.label, |text| self.seal(text)));
        // Without a mount of another kind each pin would leave an anonymous volume per VOLUME of the image.
        let mounts: Vec<Value> =
            keys("Volumes").into_iter().map(|path| json!({"Type": "tmpfs", "Target": path})).collect();
        json!({
            "Image": pin.reference_of(),
            "Entrypoint": ["/never-started"],
            "Cmd": [],
            "Labels": labels,
            "Healthcheck": {"Test": ["NONE"]},
            "HostConfig": {
                "NetworkMode": "none",
                "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
                "Mounts": mounts
            }
        })
    }

    /// Makes sure the planned image is there, is what it should be, fits the host, and survives pruning.
    pub(super) async fn protect(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        image: &ImageChoice,
        voice: &Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        voice.say("keeping the image from being pruned");
        let wanted = wanted_handles(image);
        if let Some(found) = self.find(&wanted).await.map_err(before_acting)? {
            let facts = self.engine.facts().await.map_err(before_acting)?;
            if let Some(platform) = foreign_platform(&found.inspect, &facts.os, &facts.arch) {
                let why = format!("{} is made for {platform}, not for this host", image.reference);
                return Err(ActError::Refused(format!("{why}; nothing was done")));
            }
        }
        self.pin_image(project, service, &wanted).await?;
        Ok(StepOutput::Nothing)
    }

    /// Whether tag and container stand.
    pub(super) async fn is_protected(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        image: &ImageChoice,
    ) -> Result<Observed, ActError> {
        let wanted = wanted_handles(image);
        let Some(found) = self.find(&wanted).await.map_err(uncertain)? else {
            return Ok(Observed::NotSo(format!("the image {} is not on this host any more", image.reference)));
        };
        let pin = Pin::of(project, service, &wanted);
        Ok(if self.stands(&pin, &found).await.map_err(uncertain)? {
            Observed::So(StepOutput::Nothing)
        } else {
            Observed::NotSo(format!("the image {} is not kept from being pruned yet", image.reference))
        })
    }
}

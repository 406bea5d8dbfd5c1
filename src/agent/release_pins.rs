//! Letting go of releases that are kept no more (decision 24 the other way round): our tag, our container, and then the
//! image if nothing else names or uses it. The engine is asked without force, so what a container uses stays.
//!
//! Must never: take away a tag or a container that is not ours, force anything, or touch an image through its id.

use serde_json::Value;

use super::engine::{Engine, EngineError};
use super::host::HostAgent;
use super::keep::Pin;
use super::marks::Marked;
use super::swap::{uncertain, wanted_handles};
use super::voice::Voice;
use super::{ActError, Holdings, Observed, fingerprint, raw};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::plan::{ImageChoice, StepOutput};
use crate::domain::release::Handles;
use crate::domain::text::visible;

/// What became of one image.
enum Went {
    /// It is no longer on the host.
    Removed,
    /// It is, and why.
    Stayed(String),
}

impl<E: Engine> HostAgent<E> {
    /// What an image takes and what holds it.
    pub(super) async fn holdings_of(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        wanted: &Handles,
    ) -> Result<Option<Holdings>, EngineError> {
        let Some(image) = self.find(wanted).await? else { return Ok(None) };
        let pin = Pin::of(project, service, wanted);
        let own = pin.reference_of();
        let layers = image.inspect.pointer("/RootFS/Layers").and_then(Value::as_array);
        let container = self.engine.inspect(&pin.container).await?.is_some_and(|c| self.is_pin(&c, &pin));
        let tags = tags_of(&image.inspect);
        Ok(Some(Holdings {
            bytes: image.inspect.get("Size").and_then(Value::as_u64).unwrap_or_default(),
            layers: layers.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
            pinned: container || tags.contains(&own),
            other_tags: tags.into_iter().filter(|t| *t != own).collect(),
        }))
    }

    fn is_pin(&self, container: &Value, pin: &Pin) -> bool {
        matches!(self.read_marks(container), Marked::Pin(label) if label == pin.label)
    }

    /// Lets go of them, one after the other. What has to stay is told and is no failure: then nothing of the others
    /// hangs on it.
    pub(super) async fn release_pins(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        images: &[ImageChoice],
        voice: &Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        let (mut removed, mut stayed) = (0, Vec::new());
        for (i, image) in images.iter().enumerate() {
            voice.say(format!("{} of {}", i + 1, images.len()));
            match self.let_go(project, service, image).await? {
                Went::Removed => removed += 1,
                Went::Stayed(why) => stayed.push(format!("{} stays: {why}", visible(&image.reference))),
            }
        }
        Ok(StepOutput::Released { removed, stayed })
    }

    async fn let_go(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        image: &ImageChoice,
    ) -> Result<Went, ActError> {
        let wanted = wanted_handles(image);
        let pin = Pin::of(project, service, &wanted);
        let own = pin.reference_of();
        let tagged = self.engine.image(&own).await.map_err(uncertain)?;
        if tagged.as_ref().is_some_and(|t| fingerprint::fingerprint(t).as_ref() != Some(&image.fingerprint)) {
            return Ok(Went::Stayed(format!("somebody moved {own} to another image, so nothing was taken away")));
        }
        if let Some(there) = self.engine.inspect(&pin.container).await.map_err(uncertain)? {
            if !self.is_pin(&there, &pin) {
                return Ok(Went::Stayed(format!("a container that is not ours has the name {}", pin.container)));
            }
            match self.engine.remove(raw::id(&there)).await {
                Ok(()) => {}
                Err(e @ (EngineError::Unreachable(_) | EngineError::NoAnswer(_))) => return Err(uncertain(e)),
                Err(e) => return Ok(Went::Stayed(format!("its pin could not be removed: {e}"))),
            }
        }
        if tagged.is_some() {
            match self.engine.untag(&own).await {
                Ok(()) => {}
                Err(EngineError::Conflict(why)) => {
                    // Used by somebody's container and named by nobody else: then it is kept as before.
                    self.pin_image(project, service, &wanted).await?;
                    return Ok(Went::Stayed(format!("a container uses it ({})", visible(&why))));
                }
                Err(e @ (EngineError::Unreachable(_) | EngineError::NoAnswer(_))) => return Err(uncertain(e)),
                Err(e) => {
                    self.pin_image(project, service, &wanted).await?;
                    return Ok(Went::Stayed(format!("the engine keeps it: {e}")));
                }
            }
        }
        self.nameless(&wanted).await
    }

    /// An image that was pulled by digest keeps that name of the registry's: without any tag it goes by it.
    async fn nameless(&self, wanted: &Handles) -> Result<Went, ActError> {
        let Some(left) = self.find(wanted).await.map_err(uncertain)? else { return Ok(Went::Removed) };
        let tags = tags_of(&left.inspect);
        if !tags.is_empty() {
            return Ok(Went::Stayed(format!("it is tagged {} too", visible(&tags.join(", ")))));
        }
        for digest in &left.handles.digests {
            match self.engine.untag(digest).await {
                Ok(()) => {}
                Err(EngineError::Conflict(_)) => return Ok(Went::Stayed("a container uses it".to_owned())),
                Err(e @ (EngineError::Unreachable(_) | EngineError::NoAnswer(_))) => return Err(uncertain(e)),
                Err(e) => return Ok(Went::Stayed(format!("the engine keeps it: {e}"))),
            }
        }
        Ok(match self.find(wanted).await.map_err(uncertain)? {
            None => Went::Removed,
            Some(_) => Went::Stayed("it has no name any more; docker image prune takes it".to_owned()),
        })
    }

    /// Whether nothing of ours keeps them any more.
    pub(super) async fn are_released(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        images: &[ImageChoice],
    ) -> Result<Observed, ActError> {
        let mut removed = 0;
        let mut stayed = Vec::new();
        for image in images {
            match self.holdings_of(project, service, &wanted_handles(image)).await.map_err(uncertain)? {
                None => removed += 1,
                Some(held) if held.pinned => {
                    return Ok(Observed::NotSo(format!("{} is still kept", visible(&image.reference))));
                }
                Some(held) => {
                    let tags = visible(&held.other_tags.join(", "));
                    stayed.push(format!("{} stays: it is tagged {tags} too", visible(&image.reference)));
                }
            }
        }
        Ok(Observed::So(StepOutput::Released { removed, stayed }))
    }

    /// Keeps again what was let go.
    pub(super) async fn keep_pins(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        images: &[ImageChoice],
    ) -> Result<StepOutput, ActError> {
        let mut gone = Vec::new();
        for image in images {
            let wanted = wanted_handles(image);
            if self.find(&wanted).await.map_err(uncertain)?.is_none() {
                gone.push(visible(&image.reference));
            } else {
                self.pin_image(project, service, &wanted).await?;
            }
        }
        if gone.is_empty() {
            return Ok(StepOutput::Nothing);
        }
        Err(ActError::Failed(format!(
            "{} went from this host and cannot be brought back; what is still here is kept again",
            gone.join(", ")
        )))
    }

    /// Whether all of them are kept.
    pub(super) async fn are_kept(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        images: &[ImageChoice],
    ) -> Result<Observed, ActError> {
        for image in images {
            match self.is_protected(project, service, image).await? {
                Observed::So(_) => {}
                not => return Ok(not),
            }
        }
        Ok(Observed::So(StepOutput::Nothing))
    }
}

fn tags_of(image: &Value) -> Vec<String> {
    let tags = image.get("RepoTags").and_then(Value::as_array);
    let named = |t: &&str| !t.starts_with("<none>");
    tags.into_iter().flatten().filter_map(Value::as_str).filter(named).map(str::to_owned).collect()
}

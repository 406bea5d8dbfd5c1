//! Bringing an image back from its registry, by digest alone, before anything is stopped: asked for first, pulled in
//! few tries, compared, and kept at once, as an image without a tag is what the next prune takes.
//!
//! Must never pull `repository@<image id>` (a config digest harms the content of engine 26's containerd store), let a
//! login out of this process, or take what came for what was planned without comparing.

use std::time::Duration;

use tokio::time::timeout;

use super::engine::{Engine, EngineError};
use super::host::{HostAgent, before_acting};
use super::login::{self, Login};
use super::swap::{uncertain, wanted_handles};
use super::voice::Voice;
use super::{ActError, fingerprint, registry};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::plan::{ImageChoice, StepOutput};
use crate::domain::text::visible;

/// Longest wait for a registry's word about one manifest; somebody waits for the plan meanwhile.
const ASK_LIMIT: Duration = Duration::from_secs(15);

/// Longest time for all tries of a pull. Layers that have come are kept by the engine for the next time.
const PULL_LIMIT: Duration = Duration::from_mins(20);

/// Pauses between tries; their number plus one is the number of tries. Only what may pass by itself is tried again.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(8)];

impl<E: Engine> HostAgent<E> {
    /// The login for a reference's registry, if the config names a file that has one.
    async fn login(&self, reference: &str) -> Result<Option<Login>, String> {
        match &self.config.docker_config {
            Some(file) => login::login_for(file, registry::host_of(reference)).await,
            None => Ok(None),
        }
    }

    /// Whether the registry would give it now; else a sentence.
    pub(super) async fn ask_registry(&self, digest: &str) -> Result<Result<(), String>, EngineError> {
        if !is_digest(digest) {
            return Ok(Err(format!("{} is no digest of a repository", visible(digest))));
        }
        let login = match self.login(digest).await {
            Ok(login) => login,
            Err(why) => return Ok(Err(why)),
        };
        match self.engine.distribution(digest, login.as_ref(), ASK_LIMIT).await {
            Ok(_) => Ok(Ok(())),
            Err(e @ (EngineError::Unreachable(_) | EngineError::NoAnswer(_))) => Err(e),
            Err(e) => Ok(Err(registry::sentence(digest, &e, login.is_some()))),
        }
    }

    /// Brings the image here, or says why not; nothing of the team's is touched in any case.
    pub(super) async fn pull_image(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        image: &ImageChoice,
        from: &str,
        voice: &Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        let wanted = wanted_handles(image);
        if self.find(&wanted).await.map_err(before_acting)?.is_none() {
            self.fetch(image, from, voice).await?;
        }
        self.pin_image(project, service, &wanted).await?;
        Ok(StepOutput::Nothing)
    }

    async fn fetch(&self, image: &ImageChoice, from: &str, voice: &Voice<'_>) -> Result<(), ActError> {
        let room = self.config.free_floor.saturating_add(self.recorded_size(&image.image));
        if let Some(free) = self.engine.free_bytes().await.filter(|free| *free < room) {
            return Err(refused(format!(
                "{} MB are free where Docker keeps its data, and this image wants {} MB; make room first: docker system \
                 df shows where it went",
                free / 1_000_000,
                room / 1_000_000
            )));
        }
        voice.say(format!("asking {} for the image", registry::host_of(from)));
        // Asking first is cheap, and nothing that is no manifest in the registry is ever pulled.
        if let Err(why) = self.ask_registry(from).await.map_err(before_acting)? {
            return Err(refused(why));
        }
        let login = self.login(from).await.map_err(refused)?;
        let Ok(pulled) = timeout(PULL_LIMIT, self.tries(from, login.as_ref(), voice)).await else {
            let minutes = PULL_LIMIT.as_secs() / 60;
            return Err(refused(format!(
                "the pull did not end within {minutes} minutes; pull it on the host (docker pull {}), then ask again",
                visible(from)
            )));
        };
        pulled?;
        let come = self.engine.image(from).await.map_err(uncertain)?;
        let print = come.as_ref().and_then(fingerprint::fingerprint);
        if print.as_ref() != Some(&image.fingerprint) {
            return Err(refused(format!(
                "what {} gave is {}, not the image {} that was planned",
                registry::host_of(from),
                print.as_ref().map_or("an image for another platform", |p| p.short()),
                image.fingerprint.short()
            )));
        }
        Ok(())
    }

    async fn tries(&self, from: &str, login: Option<&Login>, voice: &Voice<'_>) -> Result<(), ActError> {
        let heard = |come: u64, wanted: u64| {
            let percent = come.saturating_mul(100).checked_div(wanted).unwrap_or_default();
            voice.say(format!("pulling, {percent} % of {} MB", wanted.div_ceil(1_000_000)));
        };
        let mut pauses = PAUSES.iter();
        loop {
            let error = match self.engine.pull(from, login, &heard).await {
                Ok(()) => return Ok(()),
                Err(e @ (EngineError::Unreachable(_) | EngineError::NoAnswer(_))) => return Err(uncertain(e)),
                Err(error) => error,
            };
            match pauses.next() {
                Some(pause) if registry::passes(registry::kind(&error)) => {
                    voice.say("the registry did not answer; trying again");
                    self.clock.sleep(*pause).await;
                }
                _ => return Err(refused(registry::sentence(from, &error, login.is_some()))),
            }
        }
    }

    /// Bytes that the image took when it was here.
    fn recorded_size(&self, id: &str) -> u64 {
        let size = self.recorded_image(id).and_then(|i| i.get("Size").and_then(serde_json::Value::as_u64));
        size.unwrap_or_default()
    }
}

/// `repository@sha256:` and 64 hex digits.
fn is_digest(reference: &str) -> bool {
    reference.split_once("@sha256:").is_some_and(|(repository, hex)| {
        !repository.is_empty() && hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn refused(why: impl std::fmt::Display) -> ActError {
    ActError::Refused(format!("{why}. Nothing was stopped"))
}

//! The containers of one service: which are its copies, which one is meant, and how all of them are proven together.

use serde_json::Value;

use super::engine::{Engine, EngineError};
use super::host::HostAgent;
use super::swap::uncertain;
use super::voice::Voice;
use super::{ActError, ContainerState, raw};
use crate::domain::names::{Fingerprint, ProjectName, ServiceName};
use crate::domain::plan::{HealthCheck, HealthRule, Proof};

/// Whether a container is one of the service (not of `docker compose run`).
pub(super) fn is_of(container: &Value, service: &ServiceName) -> bool {
    raw::label(container, raw::SERVICE) == Some(service.as_str()) && raw::label(container, raw::ONEOFF) != Some("True")
}

/// All containers of the service, by number.
pub(super) fn copies<'a>(all: &'a [Value], service: &ServiceName) -> Vec<&'a Value> {
    let mut found: Vec<&Value> = all.iter().filter(|c| is_of(c, service)).collect();
    found.sort_by_key(|c| raw::number(c));
    found
}

/// The service's container of that number; its only one without a number.
pub(super) fn the_one<'a>(all: &'a [Value], service: &ServiceName, number: Option<u32>) -> Result<&'a Value, String> {
    let found = copies(all, service);
    let fits: Vec<&Value> =
        found.iter().copied().filter(|c| number.is_none_or(|number| raw::number(c) == number)).collect();
    match (fits.as_slice(), number) {
        ([one], _) => Ok(one),
        ([], None) => Err(none(service)),
        ([], Some(number)) => Err(format!("{service} has no container {number} any more: somebody scaled it")),
        (many, None) => Err(format!("{service} has {} containers now, not one: somebody scaled it", many.len())),
        (many, Some(number)) => {
            let names: Vec<&str> = many.iter().map(|c| raw::name(c)).collect();
            Err(format!("{service} has {number} more than once ({}): look with `docker ps -a`", names.join(", ")))
        }
    }
}

fn none(service: &ServiceName) -> String {
    format!("{service} has no container. Start it with `docker compose up -d {service}`")
}

/// Whether an answer may have come from any copy.
fn is_shared(check: &HealthCheck) -> bool {
    match check {
        HealthCheck::Http { .. } | HealthCheck::Tcp { .. } => true,
        HealthCheck::Exec | HealthCheck::OwnPort { .. } | HealthCheck::Weak => false,
    }
}

impl<E: Engine> HostAgent<E> {
    /// Proves that each container of a service runs an image and is well. An answer that any of them may have given
    /// proves them only together: then each has to run all the while.
    pub(super) async fn prove_service(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        wanted: &Fingerprint,
        rule: &HealthRule,
        voice: &Voice<'_>,
    ) -> Result<Result<Proof, String>, ActError> {
        let all = self.containers(project).await.map_err(uncertain)?;
        let found = copies(&all, service);
        let Some((last, others)) = found.split_last() else { return Ok(Err(none(service))) };
        let shared = is_shared(&rule.check);
        for one in others {
            let well = if shared {
                self.runs(one, wanted).await.map_err(uncertain)?
            } else {
                self.prove(raw::id(one), wanted, rule, voice).await.map_err(uncertain)?.map(drop)
            };
            if let Err(why) = well {
                return Ok(Err(why));
            }
        }
        let proven = self.prove(raw::id(last), wanted, rule, voice).await.map_err(uncertain)?;
        for before in others.iter().filter(|_| shared && proven.is_ok()) {
            let now = self.engine.inspect(raw::id(before)).await.map_err(uncertain)?;
            let life = |c: &Value| (raw::started(c), raw::restarts(c));
            if !now.is_some_and(|now| raw::state(&now) == ContainerState::Running && life(&now) == life(before)) {
                return Ok(Err(format!("{} restarted or ended while the service was being proven", raw::name(before))));
            }
        }
        Ok(proven)
    }

    /// Whether it runs this image, without asking it anything.
    async fn runs(&self, container: &Value, wanted: &Fingerprint) -> Result<Result<(), String>, EngineError> {
        let name = raw::name(container);
        if raw::state(container) != ContainerState::Running {
            return Ok(Err(format!("{name} does not run")));
        }
        let print = self.fingerprint_of(raw::image(container)).await?;
        Ok(if print.as_ref() == Some(wanted) { Ok(()) } else { Err(format!("{name} runs another image")) })
    }

    /// Asks each copy once, without a proof.
    pub(super) async fn ask_copies(
        &self,
        found: &[&Value],
        service: &ServiceName,
        rule: &HealthRule,
    ) -> Result<Result<(), String>, EngineError> {
        if found.is_empty() {
            return Ok(Err(none(service)));
        }
        let only_run = HealthRule { check: HealthCheck::Weak, ..rule.clone() };
        for (nth, one) in found.iter().enumerate() {
            let rule = if is_shared(&rule.check) && nth > 0 { &only_run } else { rule };
            if let Err(why) = self.ask_once(raw::id(one), rule).await? {
                return Ok(Err(why));
            }
        }
        Ok(Ok(()))
    }
}

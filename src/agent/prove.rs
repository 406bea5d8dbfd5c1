//! Proving that a container is well: asked from outside, often enough in a row, while the very container with
//! the very image keeps running without a restart (decision 25; docker-facts sections 4 and 6). The counting is
//! [`ProofCounter`]'s; here the questions are put.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use super::engine::{Engine, EngineError};
use super::host::HostAgent;
use super::operation::Life;
use super::probe::Probe;
use super::proof::{Observation, ProofCounter, Verdict};
use super::voice::Voice;
use super::{ContainerState, raw};
use crate::domain::names::Fingerprint;
use crate::domain::plan::{HealthCheck, HealthRule, Proof};

/// Asks a service from the Docker host. The container's own check is run by the agent itself.
#[async_trait::async_trait]
pub trait Prober: Send + Sync + 'static {
    /// Asks once, with a time limit of its own; `Err` says why the answer was no good.
    async fn ask(&self, check: &HealthCheck) -> Result<(), String>;
}

#[async_trait::async_trait]
impl Prober for Probe {
    async fn ask(&self, check: &HealthCheck) -> Result<(), String> {
        Probe::ask(self, check).await
    }
}

/// Longest a container's own check may take, in milliseconds: Docker's own default.
const EXEC_LIMIT_MS: u64 = 30_000;

/// Longest that one round of asking counts against the deadline, beyond its interval: a wall clock that jumps
/// must not end a wait.
const ROUND_MAX: Duration = Duration::from_secs(60);

impl<E: Engine> HostAgent<E> {
    /// Proves that this container runs this image and is well, or says why not. Returns at once when no answer
    /// can help any more: it exited, restarted, or Docker calls it unhealthy.
    pub(super) async fn prove(
        &self,
        id: &str,
        wanted: &Fingerprint,
        rule: &HealthRule,
        voice: &Voice<'_>,
    ) -> Result<Result<Proof, String>, EngineError> {
        let Some(inspect) = self.engine.inspect(id).await? else { return Ok(Err(gone())) };
        let name = raw::name(&inspect).to_owned();
        let runs = self.fingerprint_of(raw::image(&inspect)).await?;
        if runs.as_ref() != Some(wanted) {
            let runs = runs.as_ref().map_or("an unknown image", Fingerprint::short);
            return Ok(Err(format!("{name} runs {runs}, not {}", wanted.short())));
        }
        let mut counter = ProofCounter::new(rule.clone(), id);
        let mut spent = Spent::new(self.clock.now());
        let mut last = Verdict::KeepAsking;
        // What it is before the first question: an answer of a life that is over counts for nothing.
        match look(&inspect) {
            seen if seen.state == ContainerState::Created => return Ok(Err(format!("{name} was not started"))),
            seen => {
                if let done @ Verdict::Failed(_) = counter.fold(Duration::ZERO, None, Some(&seen)) {
                    last = done;
                }
            }
        }
        loop {
            match last {
                Verdict::Proven(proof) => return Ok(Ok(proof)),
                Verdict::Failed(why) => return Ok(Err(format!("{name}: {why}"))),
                Verdict::KeepAsking => {}
            }
            let answer = match &rule.check {
                HealthCheck::Weak => None,
                HealthCheck::Exec => Some(self.run_check(&inspect, rule).await?),
                check @ (HealthCheck::Http { .. } | HealthCheck::Tcp { .. }) => Some(self.prober.ask(check).await),
            };
            match &answer {
                Some(Ok(())) => voice.say(format!("good answer {} of {}", counter.in_a_row() + 1, rule.count)),
                Some(Err(why)) => voice.say(format!("no good answer yet: {why}")),
                None => voice.say("watching it run"),
            }
            let Some(now) = self.engine.inspect(id).await? else { return Ok(Err(gone())) };
            spent.until(self.clock.now(), counter.interval());
            last = counter.fold(spent.total, answer, Some(&look(&now)));
            if last == Verdict::KeepAsking {
                self.clock.sleep(counter.interval()).await;
            }
        }
    }

    async fn run_check(&self, inspect: &Value, rule: &HealthRule) -> Result<Result<(), String>, EngineError> {
        let Some(command) = raw::check_command(inspect) else {
            return Ok(Err("the container has no health check of its own".to_owned()));
        };
        let limit = EXEC_LIMIT_MS.min(rule.deadline_s.saturating_mul(1000).max(1000));
        match self.engine.exec(raw::id(inspect), &command, limit).await {
            Ok(0) => Ok(Ok(())),
            Ok(code) => Ok(Err(format!("its own check ended with code {code}"))),
            Err(e @ EngineError::Unreachable(_)) => Err(e),
            // An exec that hangs or cannot begin is a bad answer, not a lost engine.
            Err(e) => Ok(Err(format!("its own check could not be run: {e}"))),
        }
    }

    /// Asks once, without a proof: for a look at the present state.
    pub(super) async fn ask_once(&self, id: &str, rule: &HealthRule) -> Result<Result<(), String>, EngineError> {
        let Some(inspect) = self.engine.inspect(id).await? else { return Ok(Err(gone())) };
        let seen = look(&inspect);
        if seen.state != ContainerState::Running {
            return Ok(Err(format!("{} does not run", raw::name(&inspect))));
        }
        if seen.unhealthy {
            return Ok(Err(format!("Docker's own check calls {} unhealthy", raw::name(&inspect))));
        }
        match &rule.check {
            HealthCheck::Weak => Ok(Ok(())),
            HealthCheck::Exec => self.run_check(&inspect, rule).await,
            check @ (HealthCheck::Http { .. } | HealthCheck::Tcp { .. }) => Ok(self.prober.ask(check).await),
        }
    }
}

fn gone() -> String {
    "the container is gone".to_owned()
}

fn look(inspect: &Value) -> Observation {
    Observation {
        container: raw::id(inspect).to_owned(),
        state: raw::state(inspect),
        restarts: raw::restarts(inspect),
        started: raw::started(inspect),
        exit_code: match raw::seat(inspect).life {
            Life::Ended(code) => Some(code),
            Life::Created | Life::Up | Life::Paused => None,
        },
        unhealthy: raw::health(inspect) == "unhealthy",
    }
}

/// Time spent, by a clock that may be set while we wait.
struct Spent {
    last: Timestamp,
    total: Duration,
}

impl Spent {
    fn new(now: Timestamp) -> Self {
        Self { last: now, total: Duration::ZERO }
    }

    fn until(&mut self, now: Timestamp, interval: Duration) {
        let passed = Duration::try_from(now.duration_since(self.last)).unwrap_or_default();
        self.total += passed.min(interval + ROUND_MAX);
        self.last = now;
    }
}

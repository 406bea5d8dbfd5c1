//! Proving that a container is well: asked from outside, often enough in a row, while the very container with
//! the very image keeps running without a restart (decision 25; docker-facts sections 4 and 6).

use std::time::Duration;

use jiff::Timestamp;

use super::engine::{Engine, EngineError};
use super::host::HostAgent;
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
impl Prober for super::probe::Probe {
    async fn ask(&self, check: &HealthCheck) -> Result<(), String> {
        Self::ask(self, check).await
    }
}

/// Longest a container's own check may take, in milliseconds: Docker's own default.
const EXEC_LIMIT_MS: u64 = 30_000;

/// Longest that one round of asking counts against the deadline, beyond its interval: a wall clock that jumps
/// must not end a wait.
const ROUND_MAX: Duration = Duration::from_secs(60);

/// Why a container is not well, and whether there is any use in going on asking.
enum Answer {
    Well,
    NotYet(String),
    Never(String),
}

/// What must not change while a container is being proven.
#[derive(PartialEq, Eq)]
struct Life {
    restarts: u64,
    started: String,
}

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
        let need = rule.count.max(1);
        let interval = Duration::from_millis(rule.interval_ms);
        let deadline = Duration::from_secs(rule.deadline_s);
        let mut spent = Spent::new(self.clock.now());
        let mut life: Option<Life> = None;
        let mut good = 0;
        loop {
            let answer = self.ask_container(id, wanted, rule, &mut life).await?;
            match answer {
                Answer::Never(why) => return Ok(Err(why)),
                Answer::NotYet(why) => {
                    good = 0;
                    spent.until(self.clock.now(), interval);
                    if spent.total >= deadline {
                        return Ok(Err(format!("not well within {} s: {why}", rule.deadline_s)));
                    }
                    voice.say(format!("waiting for a good answer: {why}"));
                }
                Answer::Well => {
                    good += 1;
                    spent.until(self.clock.now(), interval);
                    if good >= need {
                        return Ok(Ok(Proof {
                            container: id.to_owned(),
                            answers: good,
                            after_ms: u64::try_from(spent.total.as_millis()).unwrap_or(u64::MAX),
                            weak: matches!(rule.check, HealthCheck::Weak),
                        }));
                    }
                    if spent.total >= deadline {
                        return Ok(Err(format!("only {good} of {need} good answers within {} s", rule.deadline_s)));
                    }
                    voice.say(format!("{good} of {need} good answers"));
                }
            }
            self.clock.sleep(interval).await;
        }
    }

    /// One round: the container first, then the question, then the container again, so that no answer counts
    /// that another container or another life gave.
    async fn ask_container(
        &self,
        id: &str,
        wanted: &Fingerprint,
        rule: &HealthRule,
        life: &mut Option<Life>,
    ) -> Result<Answer, EngineError> {
        if let Some(ill) = self.look_at_life(id, wanted, life).await? {
            return Ok(ill);
        }
        let asked = match &rule.check {
            HealthCheck::Weak => Ok(()),
            HealthCheck::Exec => self.run_check(id, rule).await?,
            check @ (HealthCheck::Http { .. } | HealthCheck::Tcp { .. }) => self.prober.ask(check).await,
        };
        if let Some(ill) = self.look_at_life(id, wanted, life).await? {
            return Ok(ill);
        }
        Ok(match asked {
            Ok(()) => Answer::Well,
            Err(why) => Answer::NotYet(why),
        })
    }

    async fn look_at_life(
        &self,
        id: &str,
        wanted: &Fingerprint,
        life: &mut Option<Life>,
    ) -> Result<Option<Answer>, EngineError> {
        let never = |why: String| Ok(Some(Answer::Never(why)));
        let Some(inspect) = self.engine.inspect(id).await? else {
            return never("the container is gone".to_owned());
        };
        let name = raw::name(&inspect);
        match raw::state(&inspect) {
            ContainerState::Running => {}
            ContainerState::Restarting => return never(format!("{name} restarts again and again")),
            ContainerState::Paused => return never(format!("{name} is paused")),
            ContainerState::Created => return never(format!("{name} was not started")),
            ContainerState::Exited | ContainerState::Dead => {
                let super::operation::Life::Ended(code) = raw::seat(&inspect).life else {
                    return never(format!("{name} does not run"));
                };
                return never(format!("{name} exited by itself with code {code}"));
            }
        }
        let now = Life { restarts: raw::restarts(&inspect), started: raw::started_text(&inspect).to_owned() };
        match life {
            None => {
                let runs = self.fingerprint_of(raw::image(&inspect)).await?;
                if runs.as_ref() != Some(wanted) {
                    let runs = runs.as_ref().map_or("an unknown image", Fingerprint::short);
                    return never(format!("{name} runs {runs}, not {}", wanted.short()));
                }
                *life = Some(now);
            }
            Some(before) if *before != now => return never(format!("{name} was restarted while it was asked")),
            Some(_) => {}
        }
        if raw::health(&inspect) == "unhealthy" {
            return never(format!("Docker's own check calls {name} unhealthy"));
        }
        Ok(None)
    }

    async fn run_check(&self, id: &str, rule: &HealthRule) -> Result<Result<(), String>, EngineError> {
        let Some(inspect) = self.engine.inspect(id).await? else {
            return Ok(Err("the container is gone".to_owned()));
        };
        let Some(command) = raw::check_command(&inspect) else {
            return Ok(Err("the container has no health check of its own".to_owned()));
        };
        let limit = EXEC_LIMIT_MS.min(rule.deadline_s.saturating_mul(1000).max(1000));
        match self.engine.exec(id, &command, limit).await {
            Ok(0) => Ok(Ok(())),
            Ok(code) => Ok(Err(format!("its own check ended with code {code}"))),
            Err(e @ EngineError::Unreachable(_)) => Err(e),
            // An exec that hangs or cannot begin is a bad answer, not a lost engine.
            Err(e) => Ok(Err(format!("its own check could not be run: {e}"))),
        }
    }

    /// Asks once, without a proof: for a look at the present state.
    pub(super) async fn ask_once(&self, id: &str, rule: &HealthRule) -> Result<Result<(), String>, EngineError> {
        let Some(inspect) = self.engine.inspect(id).await? else {
            return Ok(Err("the container is gone".to_owned()));
        };
        if raw::state(&inspect) != ContainerState::Running {
            return Ok(Err(format!("{} does not run", raw::name(&inspect))));
        }
        if raw::health(&inspect) == "unhealthy" {
            return Ok(Err(format!("Docker's own check calls {} unhealthy", raw::name(&inspect))));
        }
        match &rule.check {
            HealthCheck::Weak => Ok(Ok(())),
            HealthCheck::Exec => self.run_check(id, rule).await,
            check @ (HealthCheck::Http { .. } | HealthCheck::Tcp { .. }) => Ok(self.prober.ask(check).await),
        }
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

//! Restarting who holds on to a container that a run replaced (`depends_on … restart: true`), as Compose does when it
//! recreates that one. The container stays the very same; must never start one that was not running when the run was
//! planned, nor restart anybody when nothing of theirs was touched.
//!
//! Whether it is so already is seen from times that the engine tells: the container has been started since the last
//! container that this run started of a service it depends on. So a repeated order does nothing.

use jiff::Timestamp;
use serde_json::Value;

use super::copies::is_of;
use super::engine::{Engine, EngineError};
use super::folder::FolderError;
use super::host::{HostAgent, before_acting};
use super::ledger::Moved;
use super::marks::Marked;
use super::operation::{Operation, Phase};
use super::swap::uncertain;
use super::voice::Voice;
use super::{ActError, ContainerState, Observed, Order, raw};
use crate::domain::plan::{Restart, StepOutput};

/// What an order to restart a container finds.
enum Found<'a> {
    /// Nothing of what it depends on was moved by this run, or somebody replaced it: it is left alone.
    Nothing,
    /// It runs and has been started since.
    Since(&'a Value),
    /// It holds on to a container of before, or does not run any more.
    Before(&'a Value, Timestamp),
}

impl<E: Engine> HostAgent<E> {
    /// Stops and starts the container, unless it has been started since, and proves it.
    pub(super) async fn restart(
        &self,
        order: &Order,
        restart: &Restart,
        voice: &Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        let all = self.containers(&order.project).await.map_err(before_acting)?;
        let container = match self.held(order, restart, &all).map_err(refused)? {
            Found::Nothing => return Ok(StepOutput::Nothing),
            Found::Since(container) => container,
            Found::Before(container, since) => {
                // From here on whoever depends on this one has something to follow, whatever becomes of us.
                self.ledger.keep_moved(order, &restart.service, since).map_err(refused)?;
                let name = raw::name(container);
                let failed = |what: &str, e: EngineError| match e {
                    e @ (EngineError::Unreachable(_) | EngineError::NoAnswer(_)) => uncertain(e),
                    e => ActError::Failed(format!("{name} could not be {what}: {e}. Look with `docker logs {name}`")),
                };
                if raw::state(container) != ContainerState::Exited {
                    voice.say(format!("stopping {name}"));
                    let stopped = self.engine.stop(raw::id(container), restart.grace_s).await;
                    stopped.map_err(|e| failed("stopped for its restart", e))?;
                }
                voice.say(format!("starting {name} again"));
                let started = self.engine.start(raw::id(container)).await;
                started.map_err(|e| failed("started again and stands stopped", e))?;
                container
            }
        };
        self.note_restart(order, restart).await.map_err(uncertain)?;
        let id = raw::id(container);
        match self.prove(id, &restart.fingerprint, &restart.health, voice).await.map_err(uncertain)? {
            Ok(proof) => Ok(StepOutput::Proven { proof }),
            Err(why) => Err(ActError::Failed(why)),
        }
    }

    /// Whether it has been restarted and is well.
    pub(super) async fn look_at_restart(&self, order: &Order, restart: &Restart) -> Result<Observed, ActError> {
        let all = self.containers(&order.project).await.map_err(uncertain)?;
        let container = match self.held(order, restart, &all).map_err(refused)? {
            Found::Nothing => return Ok(Observed::So(StepOutput::Nothing)),
            Found::Since(container) => container,
            Found::Before(container, _) => {
                return Ok(Observed::NotSo(format!("{} was not restarted", raw::name(container))));
            }
        };
        self.note_restart(order, restart).await.map_err(uncertain)?;
        let (id, silent) = (raw::id(container), Voice::silent());
        Ok(match self.prove(id, &restart.fingerprint, &restart.health, &silent).await.map_err(uncertain)? {
            Ok(proof) => Observed::So(StepOutput::Proven { proof }),
            Err(why) => Observed::NotSo(why),
        })
    }

    fn held<'a>(&self, order: &Order, restart: &Restart, all: &'a [Value]) -> Result<Found<'a>, FolderError> {
        let mut since = None;
        for service in &restart.after {
            let noted = self.ledger.moved(&order.project, service)?.filter(|moved| moved.run == order.run);
            // The second witness, where the ledger was lost: the labels of what this run made.
            let ours =
                |c: &&Value| is_of(c, service) && matches!(self.read_marks(c), Marked::Swap(m) if m.run == order.run);
            let seen = || all.iter().filter(ours).filter_map(raw::started).max();
            since = since.max(noted.map(|moved| moved.at).or_else(seen));
        }
        let container = all.iter().find(|c| raw::id(c) == restart.container);
        let (Some(since), Some(container)) = (since, container) else { return Ok(Found::Nothing) };
        let runs = matches!(raw::state(container), ContainerState::Running | ContainerState::Restarting);
        let started = raw::started(container).is_some_and(|at| at > since);
        Ok(if runs && started { Found::Since(container) } else { Found::Before(container, since) })
    }

    /// Remembers when it was started, for those that depend on it in turn.
    async fn note_restart(&self, order: &Order, restart: &Restart) -> Result<(), EngineError> {
        let now = self.engine.inspect(&restart.container).await?;
        if let Some(at) = now.as_ref().and_then(raw::started)
            && let Err(e) = self.ledger.keep_moved(order, &restart.service, at)
        {
            tracing::warn!(error = %e, run = %order.run, "when a container was restarted could not be noted");
        }
        Ok(())
    }

    /// When the container was started that a swap ended with; `None` when nothing had been stopped for it.
    pub(super) async fn moved_by(&self, op: &Operation) -> Result<Option<Moved>, EngineError> {
        let ends_with = match &op.phase {
            Phase::Proven { .. } => op.new.as_ref(),
            // Start-first goes back while the old one serves.
            Phase::Back { cut: true, .. } if op.start_first.is_none() => Some(&op.old.id),
            Phase::Back { .. } | Phase::Preparing | Phase::Cutting => None,
        };
        let Some(id) = ends_with else { return Ok(None) };
        let at = self.engine.inspect(id).await?.as_ref().and_then(raw::started);
        Ok(at.map(|at| Moved { run: op.run, at }))
    }
}

fn refused(error: FolderError) -> ActError {
    ActError::Refused(format!("{error}; nothing was done"))
}

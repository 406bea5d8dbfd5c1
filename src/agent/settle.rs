//! Ending what a crash left open, on a tokened message and never by itself (decision 15).
//!
//! The ledger is the first witness. Only where it knows nothing of a container that carries our labels with a
//! valid MAC do the labels speak; a forged label is an alarm and decides nothing (decision 16).

use serde_json::Value;

use super::copies::is_of;
use super::engine::Engine;
use super::host::HostAgent;
use super::marks::{Mark, Marked};
use super::operate::Way;
use super::operation::{Life, OldContainer, Operation, Phase, Taken};
use super::swap::uncertain;
use super::voice::Voice;
use super::{ActError, Observed, Order, raw, spec};
use crate::domain::names::ServiceName;
use crate::domain::plan::{HealthCheck, HealthRule, Proof, StartFirst, StepAction, Swap};

/// A container of ours that no open operation knows, and what its labels say.
struct Found<'a> {
    container: &'a Value,
    service: ServiceName,
    mark: Mark,
}

impl<E: Engine> HostAgent<E> {
    /// Ends every open operation of the order's project, old or new.
    ///
    /// # Errors
    /// As [`HostAgent::run_to_end`]; [`ActError::Refused`] when the ledger cannot be read.
    pub(super) async fn settle(&self, order: &Order, voice: &Voice<'_>) -> Result<(), ActError> {
        let open = self.ledger.open().map_err(|e| ActError::Refused(e.to_string()))?;
        for op in open.into_iter().filter(|op| op.project == order.project) {
            tracing::warn!(run = %op.run, service = %op.service, "ending a swap that was interrupted");
            voice.say(format!("ending an interrupted swap of {}", op.service));
            self.take_up(op, *voice).await?;
        }
        self.settle_by_labels(order, voice).await
    }

    /// A person declared that what is there is so: closes what is open in the project without moving anything, and says what
    /// is there. The swaps' labels no longer count, or the next message would open them again.
    ///
    /// # Errors
    /// When the ledger cannot be written or the engine does not answer.
    pub(super) async fn disown(&self, order: &Order) -> Result<Observed, ActError> {
        let refused = |e: super::folder::FolderError| ActError::Refused(e.to_string());
        let all = self.containers(&order.project).await.map_err(uncertain)?;
        for one in all.iter().filter_map(|c| self.found(c)) {
            self.ledger.disown(&order.project, &one.mark.op).map_err(refused)?;
        }
        for op in self.ledger.open().map_err(refused)?.into_iter().filter(|op| op.project == order.project) {
            tracing::warn!(run = %op.run, service = %op.service, "an open swap is left as it is, by a person's word");
            self.ledger.disown(&order.project, &op.op).map_err(refused)?;
            self.ledger.drop_open(&op).map_err(refused)?;
        }
        let words = |c: &Value| {
            let state = c.pointer("/State/Status").and_then(Value::as_str).unwrap_or("unknown");
            format!("{} {state}", raw::name(c))
        };
        let there: Vec<String> = all.iter().map(words).collect();
        Ok(Observed::NotSo(format!("left as it is: {}", there.join(", "))))
    }

    async fn take_up(&self, op: Operation, voice: Voice<'_>) -> Result<(), ActError> {
        let taken = Taken { settling: true, ..Taken::default() };
        let ended = self.run_to_end(Way { op, taken, began: None, voice }).await?;
        tracing::info!(run = %ended.run, back = ?ended.back, "an interrupted swap has ended");
        Ok(())
    }

    async fn settle_by_labels(&self, order: &Order, voice: &Voice<'_>) -> Result<(), ActError> {
        let all = self.containers(&order.project).await.map_err(uncertain)?;
        let found: Vec<Found<'_>> = all.iter().filter_map(|c| self.found(c)).collect();
        let mut open: Vec<Operation> = Vec::new();
        for one in &found {
            // The old container of a later swap still carries the labels of the swap that made it.
            if found.iter().any(|other| other.mark.replaces == raw::id(one.container)) {
                continue;
            }
            let old = all.iter().find(|c| raw::id(c) == one.mark.replaces);
            if old.is_none() && raw::name(one.container) == one.mark.name {
                continue; // finished: the labels stay on it for its life
            }
            let Some(op) = self.by_labels(order, one, old, &all).await? else {
                return Err(self.alarm_of(one));
            };
            if open.iter().any(|other| other.service == op.service && other.number == op.number) {
                return Err(ActError::Failed(format!(
                    "two swaps of {} are open by their labels and the ledger knows neither: nothing was touched. \
                     Look with `docker ps -a`, remove what does not belong, then type `/runs retry {}`",
                    op.service, op.run
                )));
            }
            open.push(op);
        }
        for op in open {
            tracing::warn!(run = %op.run, service = %op.service, "ending a swap that only labels tell of");
            self.take_up(op, *voice).await?;
        }
        Ok(())
    }

    fn found<'a>(&self, container: &'a Value) -> Option<Found<'a>> {
        match self.read_marks(container) {
            Marked::Swap(mark) => {
                let service = ServiceName::parse(raw::label(container, raw::SERVICE)?).ok()?;
                if self.ledger.is_disowned(&mark.op) {
                    return None;
                }
                Some(Found { container, service, mark })
            }
            Marked::Forged(keys) => {
                tracing::warn!(container = raw::name(container), ?keys, "labels of ours without a valid MAC");
                None
            }
            Marked::Not | Marked::Pin(_) => None,
        }
    }

    /// The operation as the labels tell it; `None` when the old container is gone and the new one is not in its
    /// place: a foreign hand.
    async fn by_labels(
        &self,
        order: &Order,
        one: &Found<'_>,
        old: Option<&Value>,
        all: &[Value],
    ) -> Result<Option<Operation>, ActError> {
        let Some(old) = old else {
            return Ok(one.mark.made.then(|| self.unfinished_make(order, one)));
        };
        let new_id = raw::id(one.container).to_owned();
        let Some(wanted) = self.fingerprint_of(raw::image(one.container)).await.map_err(uncertain)? else {
            return Ok(None);
        };
        let number = raw::number(one.container);
        let same = |c: &&Value| is_of(c, &one.service) && raw::number(c) != number;
        let number = all.iter().any(|c| same(&c)).then_some(number);
        let swap = swap_of(order, &one.service, number);
        let health = rule_of(order, &one.service, number);
        let committed = raw::name(one.container) == one.mark.name || raw::name(old).contains(".prev-");
        let phase = if committed {
            // It was renamed, so it had been proven; with what answers is not known any more.
            let proof = Proof { container: new_id.clone(), answers: 0, after_ms: 0, weak: true };
            Phase::Proven { proof, started_ms: None }
        } else if raw::seat(old).life == Life::Up || health.is_none() {
            Phase::Back { why: "it was interrupted, and the ledger knows nothing of it".to_owned(), cut: true }
        } else {
            Phase::Cutting
        };
        let peers = self.peers(&order.project, all.iter()).map_err(|e| ActError::Refused(e.to_string()))?;
        let orphaned = spec::hosts(old, &peers).is_none();
        Ok(Some(Operation {
            op: one.mark.op.clone(),
            run: one.mark.run,
            target: order.target.clone(),
            token: order.token,
            project: order.project.clone(),
            service: one.service.clone(),
            number,
            name: one.mark.name.clone(),
            old: OldContainer { id: raw::id(old).to_owned(), policy: one.mark.old_policy.clone(), ran: !orphaned },
            new: Some(new_id),
            new_policy: one.mark.new_policy.clone(),
            wanted,
            health: health.unwrap_or(WEAK),
            grace_s: GRACE_S,
            start_first: one.mark.start_first.then(|| swap.and_then(|s| s.start_first.clone()).unwrap_or(UNTOLD)),
            late: Vec::new(),
            orphaned,
            missing: false,
            phase,
        }))
    }

    /// A container that was being made where there was none, and has not got its name yet: it goes again. How it would
    /// have to be proven is not known any more.
    fn unfinished_make(&self, order: &Order, one: &Found<'_>) -> Operation {
        let why = "it was interrupted, and the ledger knows nothing of it".to_owned();
        let number = matches!(&order.action, StepAction::SwapService(swap) if swap.number.is_some());
        Operation {
            number: number.then(|| raw::number(one.container)),
            phase: Phase::Back { why, cut: true },
            ..self.made(order, &one.service, one.container, &one.mark)
        }
    }

    fn alarm_of(&self, one: &Found<'_>) -> ActError {
        ActError::Failed(format!(
            "{} ({}) is of a swap of {} whose old container ({}) is gone, and it is not called {}: a foreign hand, \
             so nothing was touched. Rename or remove it, then type `/runs retry {}`",
            raw::name(one.container),
            raw::id(one.container).get(..12).unwrap_or_default(),
            one.service,
            one.mark.replaces.get(..12).unwrap_or_default(),
            one.mark.name,
            one.mark.run
        ))
    }

    /// Keys of our labels on a container that do not carry a valid MAC.
    pub(super) fn forged(&self, container: &Value) -> Vec<String> {
        match self.read_marks(container) {
            Marked::Forged(keys) => keys,
            // A pin never belongs to a project: one that says so was copied there.
            Marked::Pin(_) => vec![super::marks::PIN.to_owned()],
            Marked::Not | Marked::Swap(_) => Vec::new(),
        }
    }
}

/// How well a container is found that nobody says how to ask: it runs and does not restart for two seconds.
const WEAK: HealthRule = HealthRule { check: HealthCheck::Weak, count: 5, interval_ms: 400, deadline_s: 30 };

/// Seconds to stop when the ledger cannot tell what was planned: Docker's own default.
const GRACE_S: u32 = 10;

/// When the order does not say which proxies to tell: the run's later steps do that.
const UNTOLD: StartFirst = StartFirst { proxies: Vec::new(), drain_ms: 1_000 };

/// The order's swap, if it is of this container.
fn swap_of<'o>(order: &'o Order, service: &ServiceName, number: Option<u32>) -> Option<&'o Swap> {
    match &order.action {
        StepAction::SwapService(swap) if swap.service == *service && swap.number == number => Some(swap),
        _ => None,
    }
}

/// The health rule that the order itself has for a service.
fn rule_of(order: &Order, service: &ServiceName, number: Option<u32>) -> Option<HealthRule> {
    match &order.action {
        StepAction::SwapService(_) => swap_of(order, service, number).map(|swap| swap.health.clone()),
        StepAction::ProveHealth { service: of, health, .. } if of == service => Some(health.clone()),
        StepAction::ProveHealth { .. }
        | StepAction::PullImage { .. }
        | StepAction::ProtectImage { .. }
        | StepAction::ReleasePins { .. }
        | StepAction::KeepPins { .. }
        | StepAction::RemoveMade { .. }
        | StepAction::WritePin { .. }
        | StepAction::RestorePin { .. }
        | StepAction::SignalProxy { .. }
        | StepAction::RestartService(_)
        | StepAction::DumpDatabase { .. }
        | StepAction::RestoreDatabase { .. }
        | StepAction::ResolveRun { .. } => None,
    }
}

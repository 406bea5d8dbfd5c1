//! Making a container where there is none, and taking it away again: the service was there, and somebody removed its
//! container. It is made from the settings recorded of that one, by the same road as a swap, and its way back is that
//! there is none. Must never: remove a container that this very run did not make, or stand in anybody's place.

use std::time::Instant;

use serde_json::Value;

use super::copies::copies;
use super::engine::Engine;
use super::host::{HostAgent, before_acting};
use super::marks::{Mark, Marked};
use super::operate::{Way, own_labels};
use super::operation::{OldContainer, Operation, Phase, Taken};
use super::spec::{self, Recorded, Recreate};
use super::swap::{new_op, refused, uncertain, until_commit};
use super::voice::Voice;
use super::{ActError, Observed, Order, raw};
use crate::domain::names::{Fingerprint, ServiceName};
use crate::domain::plan::{HealthCheck, HealthRule, Settings, StepOutput, Swap};

/// Taken away, it is asked nothing.
const NOTHING_ASKED: HealthRule = HealthRule { check: HealthCheck::Weak, count: 1, interval_ms: 100, deadline_s: 1 };

impl<E: Engine> HostAgent<E> {
    /// Makes the service's container anew with the swap's image. `all` are the project's containers; none of them is it.
    pub(super) async fn make(
        &self,
        order: &Order,
        swap: &Swap,
        all: &[Value],
        began: Instant,
        voice: Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        let (target, api) = self.ready(swap, voice).await?;
        let (recorded, image) = self.recorded(&swap.spec).await?;
        let name = raw::name(&recorded);
        if let Some(other) = self.engine.inspect(name).await.map_err(before_acting)? {
            return Err(refused(in_the_way(&swap.service, &other)));
        }
        let peers = self.peers(&order.project, all.iter()).map_err(refused)?;
        let policy = raw::policy(&recorded);
        let op = Operation {
            op: new_op()?,
            run: order.run,
            target: order.target.clone(),
            token: order.token,
            project: order.project.clone(),
            service: swap.service.clone(),
            number: swap.number,
            name: name.to_owned(),
            old: OldContainer { id: raw::id(&recorded).to_owned(), policy: policy.clone(), ran: false },
            new: None,
            new_policy: policy.clone(),
            wanted: swap.to.fingerprint.clone(),
            health: swap.health.clone(),
            grace_s: swap.grace_s,
            start_first: None,
            late: Vec::new(),
            orphaned: false,
            missing: true,
            phase: Phase::Preparing,
        };
        let (own_labels, restart) = (own_labels(self, &op), until_commit(&policy));
        let wanted = match swap.settings {
            Settings::Today => {
                let labels = match &swap.target_spec {
                    Some(of_target) => {
                        self.labels_if_equal(of_target, &spec::settings(&recorded, &image), name).await?
                    }
                    None => None,
                };
                spec::recreate(Recreate {
                    old: &recorded,
                    old_image: &image,
                    new_image_id: &target.handles.image,
                    new_image: &target.inspect,
                    target_labels: labels.as_ref(),
                    own_labels: &own_labels,
                    restart: &restart,
                    api,
                    peers: &peers,
                })
            }
            Settings::Recorded => spec::recreate_recorded(Recorded {
                recorded: &recorded,
                image: &image,
                image_id: &target.handles.image,
                present: None,
                own_labels: &own_labels,
                restart: &restart,
                api,
                peers: &peers,
            }),
        };
        let wanted = wanted.map_err(|why| refused(why.join(" ")))?;
        self.make_and_run(op, &wanted, &target, began, voice).await
    }

    /// Takes away what this run made. Somebody else's container, and one that is gone already, are nothing to do.
    pub(super) async fn remove_made(
        &self,
        order: &Order,
        service: &ServiceName,
        number: Option<u32>,
        grace_s: u32,
        voice: Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        let all = self.containers(&order.project).await.map_err(before_acting)?;
        let Some((container, mark)) = self.made_by(order, service, number, &all)? else {
            return Ok(StepOutput::Nothing);
        };
        voice.say("removing the container that was made");
        let phase = Phase::Back { why: "it was taken back".to_owned(), cut: true };
        let op = Operation { number, grace_s, phase, ..self.made(order, service, container, &mark) };
        self.ledger.keep(&op).map_err(refused)?;
        self.run_to_end(Way { op, taken: Taken::default(), began: None, voice }).await?;
        Ok(StepOutput::Nothing)
    }

    /// Whether nothing that this run made is left.
    pub(super) async fn look_at_removed(
        &self,
        order: &Order,
        service: &ServiceName,
        number: Option<u32>,
    ) -> Result<Observed, ActError> {
        let all = self.containers(&order.project).await.map_err(uncertain)?;
        Ok(match self.made_by(order, service, number, &all)? {
            Some((container, _)) => Observed::NotSo(format!("{} is still there", raw::name(container))),
            None => Observed::So(StepOutput::Nothing),
        })
    }

    /// The container of a service that this order's run made where there was none: by labels with a valid MAC, and by the
    /// ledger as far as it remembers.
    fn made_by<'a>(
        &self,
        order: &Order,
        service: &ServiceName,
        number: Option<u32>,
        all: &'a [Value],
    ) -> Result<Option<(&'a Value, Mark)>, ActError> {
        let ended = self.ledger.ended(&order.project, service, number).map_err(refused)?;
        let known = ended.filter(|e| e.run == order.run).and_then(|e| e.new);
        let found = copies(all, service).into_iter().filter(|c| number.is_none_or(|n| n == raw::number(c)));
        let mut ours = found.filter_map(|container| match self.read_marks(container) {
            Marked::Swap(mark) if mark.made && mark.run == order.run => Some((container, mark)),
            Marked::Swap(_) | Marked::Pin(_) | Marked::Forged(_) | Marked::Not => None,
        });
        Ok(ours.find(|(container, _)| known.as_deref().is_none_or(|id| id == raw::id(container))))
    }

    /// The operation that a container was made by, as its labels tell it, without a number and decided to go back.
    pub(super) fn made(&self, order: &Order, service: &ServiceName, container: &Value, mark: &Mark) -> Operation {
        let nothing = || Fingerprint::parse(&"0".repeat(64)).expect("64 zeros are 64 hex digits");
        Operation {
            op: mark.op.clone(),
            run: mark.run,
            target: order.target.clone(),
            token: order.token,
            project: order.project.clone(),
            service: service.clone(),
            number: None,
            name: mark.name.clone(),
            old: OldContainer { id: mark.replaces.clone(), policy: mark.old_policy.clone(), ran: false },
            new: Some(raw::id(container).to_owned()),
            new_policy: mark.new_policy.clone(),
            // It goes, so nothing is compared with it.
            wanted: nothing(),
            health: NOTHING_ASKED,
            grace_s: 0,
            start_first: None,
            late: Vec::new(),
            orphaned: false,
            missing: true,
            phase: Phase::Back { why: "it was taken back".to_owned(), cut: true },
        }
    }
}

/// Another container has the name.
pub(super) fn in_the_way(service: &ServiceName, other: &Value) -> String {
    let name = raw::name(other);
    format!(
        "a container with the name {name} is there, and is none of {service}: somebody made it by hand. Give it another \
         name (`docker rename {name} …`), or remove it"
    )
}

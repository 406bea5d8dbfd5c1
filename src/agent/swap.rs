//! One container of a service onto another image. Everything slow or doubtful is done before anything stops: the
//! image is found and compared, the settings are those of the plan, the new container is made, connected and
//! compared with what was wanted. Then [`HostAgent::run_to_end`] ends it old or new.

use std::time::Instant;

use serde_json::Value;

use super::copies::{copies, is_of, the_one};
use super::engine::{Engine, EngineError};
use super::follow::is_there;
use super::host::{HostAgent, before_acting};
use super::images::{Image, foreign_platform};
use super::ledger::Ended;
use super::operate::{Way, own_labels};
use super::operation::{Life, OldContainer, Operation, Phase, Taken, is_no, no_restart};
use super::spec::{self, NewContainer, Peer, Recorded, Recreate, Surroundings};
use super::voice::Voice;
use super::{ActError, Observed, Order, raw};
use crate::domain::names::Fingerprint;
use crate::domain::plan::{ImageChoice, Proof, Settings, SpecRef, StartFirst, StepOutput, Swap};
use crate::domain::release::Handles;

/// Random digits of an operation's name: in container names, so few, and unique on one host, so enough.
const OP_BYTES: usize = 6;

/// A name for an operation.
pub(super) fn new_op() -> Result<String, ActError> {
    let mut random = [0; OP_BYTES];
    getrandom::fill(&mut random).map_err(|e| refused(format!("no random numbers: {e}")))?;
    Ok(hex::encode(random))
}

pub(super) fn refused(why: impl std::fmt::Display) -> ActError {
    ActError::Refused(format!("{why}; nothing was done"))
}

impl<E: Engine> HostAgent<E> {
    /// Makes the service run `swap.to`, or says why not.
    pub(super) async fn swap(
        &self,
        order: &Order,
        swap: &Swap,
        began: Instant,
        voice: Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        let all = self.containers(&order.project).await.map_err(before_acting)?;
        if swap.missing && copies(&all, &swap.service).iter().all(|c| swap.number.is_some_and(|n| n != raw::number(c)))
        {
            return self.make(order, swap, &all, began, voice).await;
        }
        let present = the_one(&all, &swap.service, swap.number).map_err(refused)?;
        let runs = self.fingerprint_of(raw::image(present)).await.map_err(before_acting)?;
        let others = all.iter().filter(|c| raw::id(c) != raw::id(present));
        let peers = self.peers(&order.project, others).map_err(refused)?;
        if runs.as_ref() == Some(&swap.to.fingerprint) && is_there(swap, present, &all, &peers) {
            return self.already(order, swap, present, &voice).await;
        }
        self.is_the_planned_one(swap, present, runs.as_ref())?;
        let (target, api) = self.ready(swap, voice).await?;
        self.can_be_swapped(swap, present, &peers).await?;
        let mut op = self.operation(order, swap, present, &peers)?;
        let mut wanted = self.new_container(swap, present, &target, &peers, api, &mut op).await?;
        if let Some(start_first) = &swap.start_first {
            let alone = spec::alone(present, &peers);
            if !alone.is_empty() {
                let why = format!("no second {} can run beside the first: {}", swap.service, alone.join("; "));
                return Err(refused(why));
            }
            op.late = wanted.hide_from(&networks_of(&all, start_first));
        }
        self.make_and_run(op, &wanted, &target, began, voice).await
    }

    /// What is slow or doubtful and concerns no container: the image, its platform, room on the disk. Gives the image and
    /// the engine's API.
    pub(super) async fn ready(&self, swap: &Swap, voice: Voice<'_>) -> Result<(Image, (u32, u32)), ActError> {
        voice.say("checking the image");
        let target = self.target_image(&swap.to).await?;
        let facts = self.engine.facts().await.map_err(before_acting)?;
        if let Some(platform) = foreign_platform(&target.inspect, &facts.os, &facts.arch) {
            let why = format!("{} is made for {platform}, this host is {}/{}", swap.to.reference, facts.os, facts.arch);
            return Err(refused(why));
        }
        if let Some(free) = self.engine.free_bytes().await
            && free < self.config.free_floor
        {
            let why = format!(
                "only {} MB are free where Docker keeps its data, {} MB are needed; free some with `docker system df`",
                free / 1_000_000,
                self.config.free_floor / 1_000_000
            );
            return Err(refused(why));
        }
        Ok((target, api(&facts.api)))
    }

    /// Writes the operation down, makes the new container and runs it all to its end.
    pub(super) async fn make_and_run(
        &self,
        mut op: Operation,
        wanted: &NewContainer,
        target: &Image,
        began: Instant,
        voice: Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        self.ledger.keep(&op).map_err(refused)?;
        voice.say("making the new container");
        if let Err(why) = self.prepare(&mut op, wanted, target).await {
            op.phase = Phase::Back { why, cut: false };
        }
        let way = Way { op, taken: Taken::default(), began: Some(began), voice };
        told(self.run_to_end(way).await?)
    }

    /// Makes and connects it and compares it with what was wanted. On success the ledger says that the old one
    /// may be touched from here on; on failure nothing but the new one was.
    async fn prepare(&self, op: &mut Operation, wanted: &NewContainer, target: &Image) -> Result<(), String> {
        let made = |e: EngineError| format!("the new container could not be made: {e}");
        let id = self.engine.create(&op.next_name(), &wanted.create).await.map_err(made)?;
        op.new = Some(id.clone());
        for (network, endpoint) in &wanted.connects {
            let connected = self.engine.connect(network, &id, endpoint).await;
            connected.map_err(|e| format!("the new container could not be connected to {network}: {e}"))?;
        }
        if !op.missing {
            self.carry_copied(op, &id).await?;
        }
        let created = self.engine.inspect(&id).await.map_err(made)?;
        let created = created.ok_or_else(|| "the new container was removed by somebody".to_owned())?;
        let differs = spec::matches(&created, &target.inspect, wanted);
        if !differs.is_empty() {
            return Err(format!("the engine made the new container otherwise than asked: {}", differs.join(", ")));
        }
        op.phase = Phase::Cutting;
        self.ledger.keep(op).map_err(|e| e.to_string())
    }

    /// The container and image that were planned, and no others: an approval is for one plan.
    fn is_the_planned_one(&self, swap: &Swap, present: &Value, runs: Option<&Fingerprint>) -> Result<(), ActError> {
        if swap.missing {
            let why =
                format!("{} has a container again ({}): somebody made one meanwhile", swap.service, raw::name(present));
            return Err(refused(why));
        }
        if swap.replaces.as_deref().is_some_and(|planned| planned != raw::id(present)) {
            let why = format!("{} has another container than the one planned for: somebody deployed", swap.service);
            return Err(refused(why));
        }
        if runs != Some(&swap.from.fingerprint) {
            let runs = runs.map_or("an image that is gone", Fingerprint::short);
            let why = format!(
                "{} runs {runs}, not {} as planned: somebody deployed meanwhile. Type `/releases {}`",
                swap.service,
                swap.from.fingerprint.short(),
                swap.service
            );
            return Err(refused(why));
        }
        Ok(())
    }

    async fn target_image(&self, to: &ImageChoice) -> Result<Image, ActError> {
        let found = self.find(&wanted_handles(to)).await.map_err(before_acting)?;
        found.ok_or_else(|| {
            refused(format!(
                "the image {} ({}) is not on this host any more, and no other local image is the same. Pull or load \
                 it again",
                to.reference,
                to.fingerprint.short()
            ))
        })
    }

    async fn can_be_swapped(&self, swap: &Swap, present: &Value, peers: &[Peer]) -> Result<(), ActError> {
        let changes = self.engine.filesystem_changes(raw::id(present)).await.map_err(before_acting)?;
        let image = self.image_inspect(raw::image(present)).await.map_err(before_acting)?.unwrap_or_default();
        let around = Surroundings { peers, own_container: self.config.own_container.as_deref() };
        let returns = swap.follows.is_some() && swap.replaces.is_none();
        let obstacles = if returns { spec::obstacles_to_return } else { spec::obstacles };
        let found = obstacles(present, &image, &changes, around);
        if found.is_empty() { Ok(()) } else { Err(refused(found.join(" "))) }
    }

    fn operation(&self, order: &Order, swap: &Swap, present: &Value, peers: &[Peer]) -> Result<Operation, ActError> {
        let orphaned = spec::hosts(present, peers).is_none();
        let old = OldContainer {
            id: raw::id(present).to_owned(),
            policy: raw::policy(present),
            ran: !orphaned && matches!(raw::seat(present).life, Life::Up | Life::Paused),
        };
        Ok(Operation {
            op: new_op()?,
            run: order.run,
            target: order.target.clone(),
            token: order.token,
            project: order.project.clone(),
            service: swap.service.clone(),
            number: swap.number,
            name: raw::name(present).to_owned(),
            new: None,
            new_policy: old.policy.clone(),
            old,
            wanted: swap.to.fingerprint.clone(),
            health: swap.health.clone(),
            grace_s: swap.grace_s,
            start_first: swap.start_first.clone(),
            late: Vec::new(),
            orphaned,
            missing: false,
            phase: Phase::Preparing,
        })
    }

    /// The body of create, by whose settings the plan says; the operation learns the restart policy in them.
    async fn new_container(
        &self,
        swap: &Swap,
        present: &Value,
        target: &Image,
        peers: &[Peer],
        api: (u32, u32),
        op: &mut Operation,
    ) -> Result<NewContainer, ActError> {
        let made = match swap.settings {
            Settings::Today => {
                let image = self.image_inspect(raw::image(present)).await.map_err(before_acting)?.unwrap_or_default();
                let today = spec::settings(present, &image);
                if self.mac_of_settings(&today) != swap.spec.mac {
                    let why = format!(
                        "the settings of {} are not those that were planned with: somebody deployed meanwhile",
                        swap.service
                    );
                    return Err(refused(why));
                }
                let labels = match &swap.target_spec {
                    Some(recorded) => self.labels_if_equal(recorded, &today, raw::name(present)).await?,
                    None => None,
                };
                let own_labels = own_labels(self, op);
                let restart = until_commit(&op.new_policy);
                spec::recreate(Recreate {
                    old: present,
                    old_image: &image,
                    new_image_id: &target.handles.image,
                    new_image: &target.inspect,
                    target_labels: labels.as_ref(),
                    own_labels: &own_labels,
                    restart: &restart,
                    api,
                    peers,
                })
            }
            Settings::Recorded => {
                let (recorded, image) = self.recorded(&swap.spec).await?;
                op.new_policy = raw::policy(&recorded);
                let own_labels = own_labels(self, op);
                let restart = until_commit(&op.new_policy);
                spec::recreate_recorded(Recorded {
                    recorded: &recorded,
                    image: &image,
                    image_id: &target.handles.image,
                    present: Some(present),
                    own_labels: &own_labels,
                    restart: &restart,
                    api,
                    peers,
                })
            }
        };
        made.map_err(|why| refused(why.join(" ")))
    }

    /// A recorded container and its image, if they are still what the plan was made with.
    pub(super) async fn recorded(&self, wanted: &SpecRef) -> Result<(Value, Value), ActError> {
        let gone =
            || refused("the recorded settings are not in the agent's folder any more. Roll back with today's settings");
        let recorded = self.ledger.spec(&wanted.id).map_err(refused)?.ok_or_else(gone)?;
        let image = self.image_inspect(&recorded.image).await.map_err(before_acting)?.ok_or_else(gone)?;
        if self.mac_of_settings(&spec::settings(&recorded.container, &image)) != wanted.mac {
            return Err(refused("the recorded settings are not those that were planned with"));
        }
        Ok((recorded.container, image))
    }

    /// The compose labels recorded with the target, when nothing but the image changed since: then the next `up`
    /// finds nothing to do (decision 22). A record that is gone costs one more recreate, nothing else.
    pub(super) async fn labels_if_equal(
        &self,
        recorded: &SpecRef,
        today: &Value,
        name: &str,
    ) -> Result<Option<serde_json::Map<String, Value>>, ActError> {
        let Some(record) = self.ledger.spec(&recorded.id).map_err(refused)? else { return Ok(None) };
        let Some(image) = self.image_inspect(&record.image).await.map_err(before_acting)? else { return Ok(None) };
        // The record may be of another copy: each is found by its own name too, and compose's labels are the same.
        let recorded = nameless(spec::settings(&record.container, &image), raw::name(&record.container));
        let equal = recorded == nameless(today.clone(), name);
        Ok(equal.then(|| spec::compose_labels(&record.container)))
    }

    /// HMAC over settings; what has no canonical form equals nothing.
    pub(super) fn mac_of_settings(&self, settings: &Value) -> String {
        match spec::mac_text(settings) {
            Ok(text) => self.keys.mac("spec", text.as_bytes()),
            Err(_) => String::new(),
        }
    }

    /// It runs the image already: say so with a fresh proof.
    async fn already(
        &self,
        order: &Order,
        swap: &Swap,
        present: &Value,
        voice: &Voice<'_>,
    ) -> Result<StepOutput, ActError> {
        match self.so(order, swap, present, voice).await? {
            Ok((proof, _)) => Ok(StepOutput::Swapped { effect: false, proof, started_ms: None }),
            Err(why) => Err(ActError::Failed(format!(
                "{} runs {} already, but is not well: {why}. Nothing was changed; look with `docker logs {}`",
                swap.service,
                swap.to.reference,
                raw::name(present)
            ))),
        }
    }

    /// Whether the present container, which runs the wanted image, is well; and what this run did about it.
    ///
    /// An undo wants back what was there before the run. When that very container still stands or stands again,
    /// it is so even if it is ill, as it may have been the reason for the run.
    async fn so(
        &self,
        order: &Order,
        swap: &Swap,
        present: &Value,
        voice: &Voice<'_>,
    ) -> Result<Result<(Proof, Option<Ended>), String>, ActError> {
        let id = raw::id(present);
        let ended = self.ledger.ended(&order.project, &swap.service, swap.number).map_err(refused)?;
        let of_this_run = ended.filter(|e| e.run == order.run && e.back.is_none() && e.new.as_deref() == Some(id));
        let proven = self.prove(id, &swap.to.fingerprint, &swap.health, voice).await.map_err(uncertain)?;
        let from_before = swap.replaces.is_none() && !swap.missing && of_this_run.is_none();
        Ok(match proven {
            Ok(proof) => Ok((proof, of_this_run)),
            Err(_) if from_before => {
                Ok((Proof { container: id.to_owned(), answers: 0, after_ms: 0, weak: true }, None))
            }
            Err(why) => Err(why),
        })
    }

    /// Whether the swap's wish is so, with a fresh proof.
    pub(super) async fn look_at_swap(&self, order: &Order, swap: &Swap) -> Result<Observed, ActError> {
        let all = self.containers(&order.project).await.map_err(uncertain)?;
        let present = match the_one(&all, &swap.service, swap.number) {
            Ok(present) => present,
            Err(why) => return Ok(Observed::NotSo(why)),
        };
        let runs = self.fingerprint_of(raw::image(present)).await.map_err(uncertain)?;
        if runs.as_ref() != Some(&swap.to.fingerprint) {
            let ended = self.ledger.ended(&order.project, &swap.service, swap.number).map_err(refused)?;
            let why = ended.filter(|e| e.run == order.run).and_then(|e| e.back);
            let runs = runs.as_ref().map_or("an unknown image", Fingerprint::short);
            let seen = format!("{} runs {runs}, not {}", swap.service, swap.to.fingerprint.short());
            return Ok(Observed::NotSo(why.map_or(seen.clone(), |why| format!("{seen}: {why}"))));
        }
        let others = all.iter().filter(|c| raw::id(c) != raw::id(present));
        let peers = self.peers(&order.project, others).map_err(refused)?;
        if !is_there(swap, present, &all, &peers) {
            let why = self.ledger.ended(&order.project, &swap.service, swap.number).map_err(refused)?;
            let why = why.filter(|e| e.run == order.run).and_then(|e| e.back).map(|why| format!(": {why}"));
            let seen = format!("{} does not point at the container of today", swap.service);
            return Ok(Observed::NotSo(seen + &why.unwrap_or_default()));
        }
        Ok(match self.so(order, swap, present, &Voice::silent()).await? {
            Ok((proof, ours)) => Observed::So(StepOutput::Swapped {
                effect: ours.is_some(),
                proof,
                started_ms: ours.and_then(|e| e.started_ms),
            }),
            Err(why) => Observed::NotSo(why),
        })
    }
}

/// Settings without the container's own name among its names on networks.
fn nameless(mut settings: Value, name: &str) -> Value {
    for (_, endpoint) in settings.get_mut("networks").and_then(Value::as_object_mut).into_iter().flatten() {
        if let Some(aliases) = endpoint.get_mut("Aliases").and_then(Value::as_array_mut) {
            aliases.retain(|alias| alias.as_str() != Some(name));
        }
    }
    settings
}

/// The restart policy a container is made with: none until it is proven. One that never restarts keeps its own way of
/// saying so, which no later change could give back.
pub(super) fn until_commit(policy: &Value) -> Value {
    if is_no(policy) { policy.clone() } else { no_restart() }
}

/// What a finished operation means to the one who ordered it.
fn told(ended: Ended) -> Result<StepOutput, ActError> {
    match (ended.back, ended.proof) {
        (None, Some(proof)) => Ok(StepOutput::Swapped { effect: true, proof, started_ms: ended.started_ms }),
        (None, None) => Err(ActError::Unknown("the swap ended without a proof".to_owned())),
        (Some(why), _) => Err(ActError::Failed(why)),
    }
}

/// By what handles a planned image is looked for.
pub(super) fn wanted_handles(choice: &ImageChoice) -> Handles {
    Handles {
        fingerprint: choice.fingerprint.clone(),
        image: choice.image.clone(),
        reference: choice.reference.clone(),
        digests: Vec::new(),
    }
}

/// Networks that the proxies' containers are on.
fn networks_of(all: &[Value], start_first: &StartFirst) -> Vec<String> {
    let of_proxy = |c: &&Value| start_first.proxies.iter().any(|p| is_of(c, &p.service));
    all.iter().filter(of_proxy).flat_map(raw::networks).collect()
}

/// The engine's answer is needed and did not come: look again.
pub(super) fn uncertain(error: EngineError) -> ActError {
    ActError::Unknown(error.to_string())
}

/// `1.41` as numbers; an engine that tells none is taken for an old one.
pub(super) fn api(text: &str) -> (u32, u32) {
    text.split_once('.').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?))).unwrap_or((1, 24))
}

//! Runs a swap to its end: looks, asks [`operation::next`] for the one next move, makes it, looks again.
//!
//! Straight on and after a crash alike. What cannot be written any more does not stop a swap that has begun:
//! the engine's own state and our labels are enough to end it (decision 9). Must never: leave the loop between
//! stop and start for a refusal of the engine without trying the way back.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::engine::{Engine, EngineError};
use super::host::HostAgent;
use super::ledger::{Ended, Moved};
use super::marks::{self, Marked};
use super::operation::{self, End, Life, Move, Operation, Phase, Seat, Seen, Taken, Which};
use super::voice::Voice;
use super::{ActError, raw};
use crate::domain::plan::HealthRule;

/// Moves after which something is wrong that looking again does not cure. A whole way there and back takes 20.
const MOVES_MAX: usize = 60;

/// Refusals by the engine on a way that has no other way before a person is called.
const REFUSALS_MAX: u32 = 3;

/// Seconds a new container that failed gets to stop: it serves nobody (docker-facts section 4).
const BROKEN_GRACE_S: u32 = 2;

/// How long to wait before an engine that refused or did not answer is asked again.
const PAUSE: Duration = Duration::from_millis(250);

/// One swap being run to its end by this process.
pub(super) struct Way<'a> {
    pub(super) op: Operation,
    pub(super) taken: Taken,
    /// When the order came; `None` when it is taken up again.
    pub(super) began: Option<Instant>,
    pub(super) voice: Voice<'a>,
}

impl<E: Engine> HostAgent<E> {
    /// Runs it to its end and closes it in the ledger.
    ///
    /// # Errors
    /// [`ActError::Unknown`] when the engine stopped answering; [`ActError::Failed`] when a person is needed. In
    /// both cases the operation stays open and the next tokened message takes it up again.
    pub(super) async fn run_to_end(&self, mut way: Way<'_>) -> Result<Ended, ActError> {
        let mut refusals = 0;
        let mut waited = Duration::ZERO;
        let mut started_ms = None;
        let mut moves = 0;
        while moves < MOVES_MAX {
            let asked = tokio::time::Instant::now();
            let seen = match self.see(&mut way.op).await {
                Ok(seen) => seen,
                Err(e) => {
                    self.wait_for(&way.op, &e, asked, &mut waited).await?;
                    continue;
                }
            };
            // An engine that does not answer uses up patience, which has its own bound, and no moves.
            moves += 1;
            let step = operation::next(&way.op, &seen, &way.taken);
            let asked = tokio::time::Instant::now();
            match step {
                Move::Done(end) => match self.moved_by(&way.op).await {
                    Ok(moved) => return self.close(way, &end, moved),
                    Err(e) => self.wait_for(&way.op, &e, asked, &mut waited).await?,
                },
                Move::Alarm(what) => return Err(self.alarm(&way.op, &seen, &what)),
                Move::Decide(phase) => self.decide(&mut way.op, phase),
                step => match self.make_move(&mut way, &step, &mut started_ms).await {
                    Ok(()) => {}
                    Err(e @ (EngineError::Unreachable(_) | EngineError::NoAnswer(_))) => {
                        self.wait_for(&way.op, &e, asked, &mut waited).await?;
                    }
                    Err(EngineError::NotFound(_)) => {} // gone since we looked: look again
                    Err(e) => {
                        refusals += 1;
                        self.refused(&mut way.op, &step, &e, refusals)?;
                        if refusals > 1 {
                            self.clock.sleep(PAUSE).await;
                        }
                    }
                },
            }
        }
        Err(ActError::Failed(format!(
            "the swap of {} did not come to an end: something else keeps changing its containers. It stays open. \
             Look with `docker ps -a`, then type `/runs retry {}`",
            way.op.service, way.op.run
        )))
    }

    /// What is there now. Finds the new container by its name when the ledger does not know its id yet.
    async fn see(&self, op: &mut Operation) -> Result<Seen, EngineError> {
        let old = self.engine.inspect(&op.old.id).await?;
        let new = match &op.new {
            Some(id) => self.engine.inspect(id).await?,
            None => self.engine.inspect(&op.next_name()).await?.filter(|found| self.is_of(op, found)),
        };
        if let (None, Some(found)) = (&op.new, &new) {
            op.new = Some(raw::id(found).to_owned());
        }
        let holder = match (&old, &new) {
            (Some(seat), _) if raw::name(seat) == op.name => None,
            (_, Some(seat)) if raw::name(seat) == op.name => None,
            _ => self.engine.inspect(&op.name).await?,
        };
        let ours = |found: &Value| raw::id(found) == op.old.id || Some(raw::id(found)) == op.new.as_deref();
        Ok(Seen {
            old: old.as_ref().map(raw::seat),
            new: new.as_ref().map(raw::seat),
            stranger: holder.filter(|h| !ours(h)).map(|h| raw::id(&h).to_owned()),
        })
    }

    /// A container is the operation's own by a valid label, never by its name alone (decision 16).
    fn is_of(&self, op: &Operation, found: &Value) -> bool {
        matches!(self.read_marks(found), Marked::Swap(mark) if mark.op == op.op)
    }

    async fn make_move(&self, way: &mut Way<'_>, step: &Move, started_ms: &mut Option<u64>) -> Result<(), EngineError> {
        let op = &way.op;
        let id = |which: Which| match which {
            Which::Old => op.old.id.clone(),
            Which::New => op.new.clone().unwrap_or_default(),
        };
        match step {
            Move::Policy(which, policy) => self.engine.set_restart(&id(*which), policy).await,
            Move::Stop(Which::Old) => {
                way.voice.say("stopping the old container");
                self.engine.stop(&op.old.id, op.grace_s).await
            }
            Move::Stop(Which::New) => {
                way.voice.say("stopping the new container");
                self.engine.stop(&id(Which::New), op.grace_s.min(BROKEN_GRACE_S)).await
            }
            Move::Start(Which::New) => {
                way.voice.say("starting the new container");
                self.engine.start(&id(Which::New)).await?;
                way.taken.new_started = true;
                *started_ms = way.began.map(|t| u64::try_from(t.elapsed().as_millis()).unwrap_or(u64::MAX));
                Ok(())
            }
            Move::Start(Which::Old) => {
                way.voice.say("starting the old container again");
                self.engine.start(&op.old.id).await?;
                way.taken.old_starts += 1;
                Ok(())
            }
            Move::Rename(which, name) => self.engine.rename(&id(*which), name).await,
            Move::Remove(which) => self.engine.remove(&id(*which)).await,
            Move::Prove(Which::New) => {
                way.voice.say("asking the new container");
                let (container, wanted, health) = (id(Which::New), op.wanted.clone(), op.health.clone());
                let proven = self.prove(&container, &wanted, &health, &way.voice).await?;
                way.taken.new_proven = proven.is_ok();
                match proven {
                    Ok(proof) => self.decide(&mut way.op, Phase::Proven { proof, started_ms: *started_ms }),
                    Err(why) => self.decide(&mut way.op, Phase::Back { why, cut: true }),
                }
                Ok(())
            }
            Move::Prove(Which::Old) => {
                way.voice.say("asking the old container");
                let (id, health) = (op.old.id.clone(), op.health.clone());
                way.taken.old_proof = Some(self.prove_old(&id, &health, &way.voice).await?);
                Ok(())
            }
            Move::Connect => {
                way.voice.say("showing the new container to the proxies");
                for (network, endpoint) in &op.late {
                    self.engine.connect(network, &id(Which::New), endpoint).await?;
                }
                way.taken.connected = true;
                Ok(())
            }
            Move::Tell => self.tell(way).await,
            Move::Drain => {
                way.voice.say("letting the proxies and the requests on their way move over");
                let drain_ms = op.start_first.as_ref().map_or(0, |s| s.drain_ms);
                self.clock.sleep(Duration::from_millis(drain_ms)).await;
                way.taken.drained = true;
                Ok(())
            }
            Move::Decide(_) | Move::Done(_) | Move::Alarm(_) => Ok(()),
        }
    }

    /// Signals the proxies. While the old one still serves, a proxy that cannot be told is a reason to go back: it would
    /// lose requests. Afterwards it is told, and asking the service through it decides.
    async fn tell(&self, way: &mut Way<'_>) -> Result<(), EngineError> {
        way.voice.say("telling the proxies");
        let op = &way.op;
        let old_serves = self.engine.inspect(&op.old.id).await?.is_some_and(|old| raw::seat(&old).life == Life::Up);
        let forward = matches!(op.phase, Phase::Proven { .. });
        let mut failed = None;
        for proxy in op.start_first.iter().flat_map(|s| &s.proxies) {
            let Some(signal) = &proxy.signal else { continue };
            match self.signal(&op.project, &proxy.service, signal).await {
                Ok(_) => {}
                Err(e @ ActError::Unknown(_)) => return Err(EngineError::Unreachable(e.to_string())),
                Err(e) => failed = Some(e.to_string()),
            }
        }
        if forward && old_serves {
            way.taken.told = true;
        } else {
            way.taken.told_last = true;
        }
        match failed {
            Some(why) if forward && old_serves => self.decide(&mut way.op, Phase::Back { why, cut: true }),
            Some(why) => tracing::warn!(run = %way.op.run, why, "a proxy was not told of a container that is gone"),
            None => {}
        }
        Ok(())
    }

    /// The old one runs what it ran: its own image is what is wanted of it.
    async fn prove_old(
        &self,
        id: &str,
        health: &HealthRule,
        voice: &Voice<'_>,
    ) -> Result<Result<(), String>, EngineError> {
        let Some(inspect) = self.engine.inspect(id).await? else {
            return Ok(Err("it is gone".to_owned()));
        };
        let Some(print) = self.fingerprint_of(raw::image(&inspect)).await? else {
            return Ok(Err("its image is gone, so it cannot be said what it runs".to_owned()));
        };
        Ok(self.prove(id, &print, health, voice).await?.map(|_| ()))
    }

    /// A decision is written down before it is acted on, if it can be. Memory and labels must do otherwise.
    fn decide(&self, op: &mut Operation, phase: Phase) {
        op.phase = phase;
        if let Err(e) = self.ledger.keep(op) {
            tracing::error!(error = %e, run = %op.run, service = %op.service, "a swap goes on unwritten");
        }
    }

    /// The engine said no. On the way there that means back; on the way back a few tries, then a person.
    fn refused(&self, op: &mut Operation, step: &Move, error: &EngineError, refusals: u32) -> Result<(), ActError> {
        let what = match step {
            Move::Start(Which::New) => "the new container could not be started",
            Move::Start(Which::Old) => "the old container could not be started again",
            Move::Stop(_) => "a container could not be stopped",
            Move::Rename(..) => "a container could not be renamed",
            Move::Remove(_) => "a container could not be removed",
            Move::Policy(..) => "a restart policy could not be set",
            Move::Connect => "the new container could not be connected to the proxies' network",
            _ => "the engine refused",
        };
        // While the old one serves there is a way back from everything.
        let beside = op.start_first.is_some() && matches!(step, Move::Connect);
        if op.phase == Phase::Cutting || beside {
            self.decide(op, Phase::Back { why: format!("{what}: {error}"), cut: true });
            return Ok(());
        }
        if refusals < REFUSALS_MAX {
            return Ok(());
        }
        // Where nothing stood before there is a way back from everything, too; the tries were for a look at who is in the way.
        if op.missing && !matches!(op.phase, Phase::Back { .. }) {
            self.decide(op, Phase::Back { why: format!("{what}: {error}"), cut: true });
            return Ok(());
        }
        let state = match &op.phase {
            Phase::Back { why, .. } => format!("going back because {why}"),
            _ => "the new container was proven".to_owned(),
        };
        Err(ActError::Failed(format!(
            "{what}: {error}; {state}. The swap of {} stays open with {} and {}. When the cause is removed, \
             type `/runs retry {}`",
            op.service,
            op.name,
            op.next_name(),
            op.run
        )))
    }

    /// Waits a little for an engine that does not answer, within the agent's patience; then nothing is certain. What a
    /// call waited for its answer in vain counts: an engine that accepts and never answers takes twenty seconds a call.
    async fn wait_for(
        &self,
        op: &Operation,
        error: &EngineError,
        asked: tokio::time::Instant,
        waited: &mut Duration,
    ) -> Result<(), ActError> {
        *waited += asked.elapsed();
        if *waited >= self.config.patience {
            return Err(ActError::Unknown(format!(
                "{error}; the swap of {} is open and is ended at the next look",
                op.service
            )));
        }
        *waited += PAUSE;
        self.clock.sleep(PAUSE).await;
        Ok(())
    }

    fn alarm(&self, op: &Operation, seen: &Seen, what: &str) -> ActError {
        let tell = |label: &str, id: &str, seat: &Option<Seat>| match seat {
            Some(seat) => {
                let life = match &seat.life {
                    Life::Created => "made, never started".to_owned(),
                    Life::Up => "running".to_owned(),
                    Life::Paused => "paused".to_owned(),
                    Life::Ended(code) => format!("exited with {code}"),
                };
                format!("{label} {} ({}): {life}", seat.name, short(id))
            }
            None => format!("{label} ({}): gone", short(id)),
        };
        ActError::Failed(format!(
            "{what}: a foreign hand was at the containers of {}, so nothing more was touched. {}; {}. Make one \
             container run as {}, or remove both and bring the service up as you always do, then type `/runs retry {}`",
            op.service,
            tell("Old", &op.old.id, &seen.old),
            tell("new", op.new.as_deref().unwrap_or_default(), &seen.new),
            op.name,
            op.run
        ))
    }

    fn close(&self, way: Way<'_>, end: &End, moved: Option<Moved>) -> Result<Ended, ActError> {
        let op = &way.op;
        let (proof, started_ms) = match &op.phase {
            Phase::Proven { proof, started_ms } => (Some(proof.clone()), *started_ms),
            _ => (None, None),
        };
        let back = match end {
            End::New => None,
            End::Old => Some(put_back(op, &way.taken)),
            End::Overtaken => Some("somebody deployed another container meanwhile; nothing of ours is left".to_owned()),
        };
        let before = self.ledger.ended(&op.project, &op.service, op.number).unwrap_or_default();
        let former = before.map(Ended::all_former).unwrap_or_default();
        let ended = Ended { run: op.run, old: op.old.id.clone(), new: op.new.clone(), back, proof, started_ms, former };
        if let Err(e) = self.ledger.close(op, &ended, moved) {
            // The world is as it should be; the open note ends the same way when it is taken up.
            tracing::error!(error = %e, run = %op.run, service = %op.service, "a swap that ended stays noted as open");
        }
        Ok(ended)
    }
}

/// Why it is fully old, and how the old one is.
fn put_back(op: &Operation, taken: &Taken) -> String {
    let Phase::Back { why, cut } = &op.phase else { return "it was put back".to_owned() };
    // One that nobody of ours touched may have gone down with its engine, and was started again.
    let cut = *cut || taken.old_starts > 0;
    let how = match (cut, op.old.ran, &taken.old_proof) {
        _ if op.missing => format!("the new container was removed, and {} has none again, as before", op.service),
        (false, ..) => "the old container was not touched".to_owned(),
        (true, true, None) if op.start_first.is_some() => "the old container served all the while".to_owned(),
        (true, false, _) if op.orphaned => {
            "the old container stands, not running: what it points at is gone".to_owned()
        }
        (true, false, _) => "the old container stands as it stood, not running".to_owned(),
        (true, true, Some(Ok(()))) => "the old container runs again and was verified".to_owned(),
        (true, true, Some(Err(ill))) => format!("the old container is back, but could not be verified: {ill}"),
        (true, true, None) => "the old container runs again".to_owned(),
    };
    format!("{why}; {how}")
}

/// What a person reads of an id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Labels of the new container, for the body of create.
pub(super) fn own_labels<E: Engine>(agent: &HostAgent<E>, op: &Operation) -> serde_json::Map<String, Value> {
    marks::of_swap(op, |text| agent.seal(text))
}

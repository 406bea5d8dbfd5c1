//! Drives one run: asks [`decide`] for the next thing, does it, asks again. Journal, act, journal.
//!
//! It holds the only path to `Act`, and only a [`Pass`] starts it. What it knows beyond the journal dies with it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::decide::{Heard, Knows, Next, decide};
use super::rules::Rules;
use crate::agent::{Act, ActError, Observed, Order};
use crate::clock::{Clock, closed};
use crate::domain::event::{Event, Outcome, Subject, Token};
use crate::domain::ids::{Position, RunId};
use crate::domain::plan::{Input, Plan, StepAction, StepOutput, Undo, WayOut};
use crate::domain::release::{Origin, subject_key};
use crate::domain::run::{RunState, StepState};
use crate::gate::Pass;
use crate::store::{About, AppendError, Draft, SharedLog};

/// Longest pause between two tries of the same thing.
const PAUSE_MAX: Duration = Duration::from_secs(16);

/// First pause; doubled each time.
const PAUSE_MIN: Duration = Duration::from_millis(500);

/// Words of progress that may wait; more replace nothing and are dropped, the newest state is on its way anyway.
const PROGRESS_CAPACITY: usize = 16;

/// Where progress of running steps goes.
pub type ProgressBoard = watch::Sender<std::collections::BTreeMap<RunId, String>>;

/// Everything a driver needs.
pub struct Driver {
    /// The log.
    pub log: SharedLog,
    /// The hands on the run's host.
    pub act: Arc<dyn Act>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Epoch of the tokens.
    pub epoch: u64,
    /// Newest words of each running step.
    pub progress: Arc<ProgressBoard>,
    /// True when the bot shuts down: stop at the next safe point.
    pub closing: watch::Receiver<bool>,
}

/// Why a drive ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drove {
    /// The run has ended, or is stuck and waits for a person.
    ToRest,
    /// The bot shuts down; the next start goes on.
    Interrupted,
    /// Another coordinator has taken over, or the run is not what was thought.
    Away,
}

impl Driver {
    /// Drives the run until there is nothing to do.
    pub async fn drive(&self, pass: Pass) -> Drove {
        let id = pass.run();
        let mut knows = Knows::default();
        let mut claim = Position(0);
        let mut n = 0u64;
        let mut acting_since = tokio::time::Instant::now();
        loop {
            let run = match self.log.run(id) {
                Ok(Some(run)) => run,
                Ok(None) => return Drove::Away,
                Err(error) => {
                    tracing::error!(run.id = %id, %error, "the run cannot be read; trying again");
                    if !self.pause(PAUSE_MAX).await {
                        return Drove::Interrupted;
                    }
                    continue;
                }
            };
            let present = run.claim.unwrap_or_default();
            if present != claim {
                claim = present;
                n = 0;
                acting_since = tokio::time::Instant::now();
            }
            // By what has passed, not by a wall clock that somebody may set meanwhile: it would end a run early or never.
            knows.out_of_time = run.time_limit().is_some_and(|limit| acting_since.elapsed() >= limit);
            match decide(&run, &knows, Rules::ALL) {
                Next::Rest => return if knows.heard == Heard::Stale { Drove::Away } else { Drove::ToRest },
                Next::Write(event) => {
                    // Before an intent is the safe point: nothing is under way and everything is on record.
                    let begins = matches!(*event, Event::StepIntent { .. } | Event::UndoIntent { .. });
                    if begins && *self.closing.borrow() {
                        return Drove::Interrupted;
                    }
                    match self.write(&run, *event).await {
                        Wrote::Yes => knows = Knows::default(),
                        Wrote::NotYet => {}
                        Wrote::Never => return Drove::Away,
                        Wrote::Closing => return Drove::Interrupted,
                    }
                }
                Next::Send { step, undo } => {
                    n += 1;
                    let token = Token { epoch: self.epoch, claim, n };
                    let heard = self.send(&run, step, undo, token).await;
                    knows.sent(heard);
                }
                Next::Look { step, undo } => {
                    if knows.uncertain > 0 && !self.pause(pause_after(knows.uncertain)).await {
                        return Drove::Interrupted;
                    }
                    n += 1;
                    let token = Token { epoch: self.epoch, claim, n };
                    let heard = self.look(&run, step, undo, token).await;
                    knows.looked(heard);
                }
            }
        }
    }

    /// Waits; false when the bot shuts down meanwhile.
    async fn pause(&self, time: Duration) -> bool {
        let mut closing = self.closing.clone();
        tokio::select! {
            () = self.clock.sleep(time) => true,
            () = closed(&mut closing) => false,
        }
    }

    async fn write(&self, run: &RunState, event: Event) -> Wrote {
        let at = self.clock.now();
        let mut batch = vec![Draft { about: About::Subject(Subject::Run(run.id)), at, event: event.clone() }];
        if let Event::Ended { outcome: Outcome::Done } = event {
            batch.extend(release_records(run).into_iter().map(|(about, event)| Draft { about, at, event }));
        }
        match self.log.append(None, batch).await {
            Ok(_) => Wrote::Yes,
            Err(AppendError::CannotFollow(error)) => {
                tracing::error!(run.id = %run.id, %error, "the journal refuses; another coordinator?");
                Wrote::Never
            }
            // Whatever is under way in the agent ends old or new by itself; the record follows when it can be written.
            Err(error) => {
                tracing::error!(run.id = %run.id, %error, "the record cannot be written; nothing more is done until it can");
                if self.pause(PAUSE_MIN * 2).await { Wrote::NotYet } else { Wrote::Closing }
            }
        }
    }

    fn order(&self, run: &RunState, step: usize, undo: bool, token: Token) -> Result<(Order, Duration), String> {
        let plan = run.plan.as_ref().map(|p| &p.plan).ok_or("the run has no plan")?;
        let planned = plan.steps.get(step).ok_or("the plan has no such step")?;
        let action = match (&planned.undo, undo) {
            (_, false) => &planned.action,
            (Undo::Action(action), true) => action,
            (Undo::Nothing | Undo::OneWay(_), true) => return Err("the step has no undo".to_owned()),
        };
        let action = resolve_inputs(action, run)?;
        let order = Order { token, target: plan.target.clone(), project: plan.project.clone(), run: run.id, action };
        Ok((order, Duration::from_secs(planned.limit_s)))
    }

    async fn send(&self, run: &RunState, step: usize, undo: bool, token: Token) -> Heard {
        let (order, limit) = match self.order(run, step, undo, token) {
            Ok(made) => made,
            Err(why) => return Heard::Failed(why),
        };
        tracing::info!(run.id = %run.id, step, undo, action = %super::decide::describe(&order.action), "ordered");
        let (words, mut spoken) = mpsc::channel::<String>(PROGRESS_CAPACITY);
        let acting = tokio::time::timeout(limit, self.act.act(&order, words));
        tokio::pin!(acting);
        let answer = loop {
            tokio::select! {
                answer = &mut acting => break answer,
                Some(words) = spoken.recv() => self.progress.send_modify(|board| { board.insert(run.id, words); }),
            }
        };
        self.progress.send_if_modified(|board| board.remove(&run.id).is_some());
        match answer {
            Err(_) => Heard::Uncertain(format!("no answer within {} s", limit.as_secs())),
            Ok(Ok(output)) => Heard::So(output),
            Ok(Err(error)) => heard(error),
        }
    }

    async fn look(&self, run: &RunState, step: usize, undo: bool, token: Token) -> Heard {
        let (order, limit) = match self.order(run, step, undo, token) {
            Ok(made) => made,
            Err(why) => return Heard::Failed(why),
        };
        let order = if run.way == Some(WayOut::Accept) { accepting(order, run) } else { order };
        match tokio::time::timeout(limit, self.act.observe(&order)).await {
            Err(_) => Heard::Uncertain(format!("no answer within {} s", limit.as_secs())),
            Ok(Ok(Observed::So(output))) => Heard::So(output),
            Ok(Ok(Observed::NotSo(why))) => Heard::NotSo(why),
            Ok(Err(error)) => heard(error),
        }
    }
}

/// `It is now so`: the look that changes nothing, not even what an interrupted swap left.
fn accepting(order: Order, run: &RunState) -> Order {
    let action = StepAction::ResolveRun { run: run.id, way: WayOut::Accept, head: run.last.to_string() };
    Order { action, ..order }
}

enum Wrote {
    Yes,
    NotYet,
    Never,
    Closing,
}

fn heard(error: ActError) -> Heard {
    match error {
        ActError::Stale(_) => Heard::Stale,
        ActError::Refused(why) | ActError::Failed(why) => Heard::Failed(why),
        ActError::Unknown(why) => Heard::Uncertain(why),
    }
}

/// Half a second, doubled for each try, at most [`PAUSE_MAX`].
fn pause_after(tries: u32) -> Duration {
    PAUSE_MIN.saturating_mul(1 << tries.saturating_sub(1).min(5)).min(PAUSE_MAX)
}

/// Puts earlier steps' outputs where the action wants them.
fn resolve_inputs(action: &StepAction, run: &RunState) -> Result<StepAction, String> {
    let StepAction::RestoreDatabase { service, dump: Input::OutputOf(step) } = action else {
        return Ok(action.clone());
    };
    match run.steps.get(*step) {
        Some(StepState::Done { output }) => match output.as_input() {
            Some(text) => {
                Ok(StepAction::RestoreDatabase { service: service.clone(), dump: Input::Known(text.to_owned()) })
            }
            None => Err(format!("step {} gave nothing that could be used here", step + 1)),
        },
        _ => Err(format!("step {} has given nothing yet", step + 1)),
    }
}

/// What a finished run means for the releases of the services it swapped (decision 21).
fn release_records(run: &RunState) -> Vec<(About, Event)> {
    let Some(planned) = &run.plan else { return Vec::new() };
    let Plan { target, steps, .. } = &planned.plan;
    let mut out = Vec::new();
    for (step, state) in steps.iter().zip(&run.steps) {
        let (StepAction::SwapService(swap), StepState::Done { output: StepOutput::Swapped { .. } }) =
            (&step.action, state)
        else {
            continue;
        };
        if swap.follows.is_some() {
            continue; // it runs what it ran
        }
        let about = About::Subject(Subject::Releases(subject_key(target, &swap.service)));
        // Of a scaled service each container is a step, and the release is one.
        if out.iter().any(|(known, _)| *known == about) {
            continue;
        }
        if let Some(release) = planned.notes.to_release {
            let event = Event::ReleaseBack {
                target: target.clone(),
                service: swap.service.clone(),
                release,
                spec: swap.target_spec.clone().unwrap_or_else(|| swap.spec.clone()),
                origin: Origin::Run { run: run.id },
            };
            out.push((about.clone(), event));
        }
        // One that was brought back was not left.
        if let Some(release) = planned.notes.from_release.filter(|from| planned.notes.to_release != Some(*from)) {
            let event =
                Event::ReleaseLeft { target: target.clone(), service: swap.service.clone(), release, run: run.id };
            out.push((about, event));
        }
    }
    out
}

//! Ordered delivery in front of any chat: what is handed in goes out in that order, one at a time, again and
//! again until the platform has it, and progress that was overtaken while waiting is left out.
//!
//! Chat being down changes nothing (promise 6): what must be seen waits here, in bounded room, and the log
//! position that [`Outbox::delivered`] reports tells the caller from where to hand it in again after a restart.
//! Message keys make that harmless. Must never log what a card says.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::{Chat, ChatError, MessageKey};
use crate::clock::Clock;
use crate::domain::card::{Card, Tone};
use crate::domain::ids::{Position, RunId};
use crate::domain::invocation::{Invocation, Place};
use crate::domain::text::{shorten, visible};

/// Longest time for one call; a chat should have given up by itself before.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// First and longest pause after a call whose end is unknown; it doubles between them.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The longest wait a platform may ask for at once. Should it want more, it says so again.
const LONGEST_LATER: Duration = Duration::from_secs(5 * 60);

/// Tries for progress, which the next edit replaces anyway.
const PROGRESS_TRIES: u32 = 5;

/// How long an answer is worth trying: the platforms' private answers expire after 15 min (Discord) and
/// 30 min (Slack), and nobody waits longer in front of one.
const ANSWER_AGE: SignedDuration = SignedDuration::from_mins(15);

/// How long everything else is tried. What is older than a day is read in the record, not in the chat.
const MESSAGE_AGE: SignedDuration = SignedDuration::from_hours(24);

/// What is to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A new message, the head of the run's thread.
    Post(InThread),
    /// The message with this key now reads like this. With tone [`Tone::Busy`] it is progress: it may be
    /// overtaken or left out; with any other tone it arrives.
    Edit(InThread),
    /// A message in the run's thread.
    Reply(InThread),
    /// A question in the run's thread.
    Ask(InThread),
    /// For everybody in a place, about no run.
    Notice {
        /// Where.
        place: Place,
        /// Names the message, the same on every try.
        key: MessageKey,
        /// What it says.
        card: Card,
    },
    /// For the account that made the invocation alone.
    Answer {
        /// What is answered.
        invocation: Invocation,
        /// What it says.
        card: Card,
    },
}

/// A message that belongs to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InThread {
    /// Where.
    pub place: Place,
    /// About which run.
    pub run: RunId,
    /// Names the message, the same on every try and in its edits.
    pub key: MessageKey,
    /// What it says.
    pub card: Card,
}

/// Something to be said, and the record it tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Position of that record in the log.
    pub position: Position,
    /// What is to be said.
    pub message: Message,
}

impl Delivery {
    fn is_progress(&self) -> bool {
        matches!(&self.message, Message::Edit(m) if m.card.tone == Tone::Busy)
    }

    /// The key that platforms and logs know it by.
    fn key(&self) -> &str {
        match &self.message {
            Message::Post(m) | Message::Edit(m) | Message::Reply(m) | Message::Ask(m) => &m.key.0,
            Message::Notice { key, .. } => &key.0,
            Message::Answer { invocation, .. } => &invocation.event,
        }
    }

    fn longest_age(&self) -> SignedDuration {
        if matches!(self.message, Message::Answer { .. }) { ANSWER_AGE } else { MESSAGE_AGE }
    }

    async fn call(&self, chat: &dyn Chat) -> Result<(), ChatError> {
        match &self.message {
            Message::Post(m) => chat.post(&m.place, m.run, &m.key, &m.card).await,
            Message::Edit(m) => chat.edit(&m.place, m.run, &m.key, &m.card).await,
            Message::Reply(m) => chat.reply(&m.place, m.run, &m.key, &m.card).await,
            Message::Ask(m) => chat.ask(&m.place, m.run, &m.key, &m.card).await,
            Message::Notice { place, key, card } => chat.notice(place, key, card).await,
            Message::Answer { invocation, card } => chat.answer(invocation, card).await,
        }
    }
}

/// The outbox was stopped: nothing is taken any more, and what was not delivered is handed in again after
/// the next start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outbox has stopped")]
pub struct Stopped;

/// Delivery to one chat.
pub struct Outbox {
    chat: Arc<dyn Chat>,
    capacity: usize,
    clock: Arc<dyn Clock>,
    queue: Mutex<Queue>,
    /// Something waits, or the outbox was stopped.
    filled: Notify,
    /// There may be room again.
    emptied: Notify,
    pending: watch::Sender<usize>,
    delivered: watch::Sender<Position>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// Highest position among what is no longer here.
    highest_gone: Position,
    stopped: bool,
}

#[derive(Debug)]
struct Waiting {
    delivery: Delivery,
    since: Timestamp,
    /// Tries that began.
    tries: u32,
    in_flight: bool,
}

impl Outbox {
    /// For at most `capacity` waiting deliveries. Delivers while [`Outbox::run`] runs.
    pub fn new(chat: Arc<dyn Chat>, capacity: usize, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self {
            chat,
            capacity: capacity.max(1),
            clock,
            queue: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
            pending: watch::Sender::new(0),
            delivered: watch::Sender::new(Position(0)),
        })
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands something in. When there is no room, progress is left out, and everything else waits for room
    /// (which, with the platform down, may take as long as that). Hand in by rising position; what one record
    /// gives rise to goes in by [`Outbox::send_all`].
    pub async fn send(&self, delivery: Delivery) -> Result<(), Stopped> {
        self.send_all(vec![delivery]).await
    }

    /// Hands in all that one record gives rise to, so that its position is reported only when all of it is
    /// there. It may take the queue over its capacity by as much.
    pub async fn send_all(&self, deliveries: Vec<Delivery>) -> Result<(), Stopped> {
        loop {
            let emptied = self.emptied.notified();
            {
                let mut queue = self.queue();
                if queue.stopped {
                    return Err(Stopped);
                }
                let must_arrive = deliveries.iter().any(|d| !d.is_progress());
                if must_arrive && queue.waiting.len() >= self.capacity {
                    queue.leave_out_progress();
                }
                if !must_arrive || queue.waiting.len() < self.capacity || queue.takes_in(&deliveries) {
                    for delivery in deliveries {
                        queue.put(delivery, self.capacity, self.clock.now());
                    }
                    self.report(&queue);
                    drop(queue);
                    self.filled.notify_one();
                    return Ok(());
                }
            }
            emptied.await;
        }
    }

    /// Everything that the records up to `position` give rise to has been handed in, also when that was nothing.
    pub fn passed(&self, position: Position) {
        let mut queue = self.queue();
        queue.highest_gone = queue.highest_gone.max(position);
        self.report(&queue);
    }

    /// Everything up to and including this position was delivered, refused by the platform or given up; kept
    /// by the caller and handed in again from there after a restart. Starts at 0.
    pub fn delivered(&self) -> watch::Receiver<Position> {
        self.delivered.subscribe()
    }

    /// Deliveries that wait, the one in flight included.
    pub fn pending(&self) -> usize {
        *self.pending.borrow()
    }

    /// Returns when nothing waits.
    pub async fn idle(&self) {
        // Cannot fail: the sender lives as long as `self`.
        let _ = self.pending.subscribe().wait_for(|pending| *pending == 0).await;
    }

    /// Delivers until `stop`; a call in flight is awaited, the rest stays undelivered.
    pub async fn run(&self, stop: CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let next = self.begin();
            let wait = match next {
                None => {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = self.filled.notified() => {}
                    }
                    continue;
                }
                Some((delivery, tries)) => {
                    let called = tokio::time::timeout(CALL_LIMIT, delivery.call(&*self.chat)).await;
                    let result = called.unwrap_or_else(|_| Err(ChatError::Unknown("it took too long".to_owned())));
                    if matches!(result, Err(ChatError::Unknown(_))) && tries > 1 {
                        pause = (pause * 2).min(LONGEST_PAUSE);
                    } else {
                        pause = FIRST_PAUSE;
                    }
                    self.end(&delivery, tries, result, pause)
                }
            };
            if let Some(wait) = wait {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = self.clock.sleep(wait) => {}
                }
            }
            if stop.is_cancelled() {
                break;
            }
        }
        self.queue().stopped = true;
        self.emptied.notify_waiters();
    }

    /// Takes the first in hand, without taking it out.
    fn begin(&self) -> Option<(Delivery, u32)> {
        let mut queue = self.queue();
        let first = queue.waiting.front_mut()?;
        first.in_flight = true;
        first.tries += 1;
        Some((first.delivery.clone(), first.tries))
    }

    /// What becomes of it; returns how long to wait before the next call.
    fn end(&self, delivery: &Delivery, tries: u32, result: Result<(), ChatError>, pause: Duration) -> Option<Duration> {
        let now = self.clock.now();
        let mut queue = self.queue();
        let first = queue.waiting.front_mut()?;
        first.in_flight = false;
        let too_old = now.duration_since(first.since) > delivery.longest_age();
        let (surface, key, position) = (self.chat.surface().as_str(), delivery.key(), delivery.position.0);
        let wait = match result {
            Ok(()) => None,
            Err(ChatError::Refused(why)) => {
                let why = visible(&shorten(&why, 300));
                tracing::warn!(surface, key, position, why, "the platform refused a message; it will not be there");
                None
            }
            Err(error) if too_old || (delivery.is_progress() && tries >= PROGRESS_TRIES) => {
                let why = visible(&shorten(&error.to_string(), 300));
                tracing::warn!(surface, key, position, tries, why, "a message could not be delivered and was given up");
                // The platform is no better for the next one.
                queue.take_first();
                self.after(&queue);
                return Some(pause);
            }
            Err(ChatError::Later(ms)) => return Some(Duration::from_millis(ms).min(LONGEST_LATER)),
            Err(ChatError::Unknown(why)) => {
                let why = visible(&shorten(&why, 300));
                tracing::info!(surface, key, position, tries, why, "a message may not have arrived; it is tried again");
                return Some(pause);
            }
        };
        queue.take_first();
        self.after(&queue);
        wait
    }

    fn after(&self, queue: &Queue) {
        self.report(queue);
        self.emptied.notify_waiters();
    }

    fn report(&self, queue: &Queue) {
        let done = match queue.waiting.iter().map(|w| w.delivery.position.0).min() {
            // Something before it may still wait: an edit that was overtaken kept its place, with a later position.
            Some(lowest) => queue.highest_gone.0.min(lowest.saturating_sub(1)),
            None => queue.highest_gone.0,
        };
        self.delivered.send_if_modified(|position| {
            let forward = done > position.0;
            if forward {
                *position = Position(done);
            }
            forward
        });
        self.pending.send_replace(queue.waiting.len());
    }
}

impl Queue {
    fn take_first(&mut self) {
        if let Some(first) = self.waiting.pop_front() {
            self.highest_gone = self.highest_gone.max(first.delivery.position);
        }
    }

    /// Whether all of these would go into messages that wait already, taking no room.
    fn takes_in(&self, deliveries: &[Delivery]) -> bool {
        deliveries.iter().all(|d| self.place_of_same(d).is_some())
    }

    /// The waiting message that an edit can be written into: one with its key that no platform has seen.
    /// An edit that was tried may still be replaced, as it would be overwritten anyway; a post may not, because
    /// a platform that has it takes the next try for the same message.
    fn place_of_same(&self, delivery: &Delivery) -> Option<usize> {
        let Message::Edit(edit) = &delivery.message else { return None };
        self.waiting.iter().rposition(|waiting| match &waiting.delivery.message {
            Message::Edit(m) => !waiting.in_flight && m.key == edit.key && m.place == edit.place,
            Message::Post(m) | Message::Ask(m) | Message::Reply(m) => {
                waiting.tries == 0 && m.key == edit.key && m.place == edit.place
            }
            Message::Notice { .. } | Message::Answer { .. } => false,
        })
    }

    fn put(&mut self, delivery: Delivery, capacity: usize, now: Timestamp) {
        if let (Some(at), Message::Edit(edit)) = (self.place_of_same(&delivery), &delivery.message) {
            let waiting = &mut self.waiting[at];
            waiting.since = now;
            match &mut waiting.delivery.message {
                Message::Post(m) | Message::Edit(m) | Message::Ask(m) | Message::Reply(m) => m.card = edit.card.clone(),
                Message::Notice { .. } | Message::Answer { .. } => {}
            }
            // The place in the order stays, and stands for both records.
            waiting.delivery.position = waiting.delivery.position.max(delivery.position);
            return;
        }
        if delivery.is_progress() && self.waiting.len() >= capacity {
            self.highest_gone = self.highest_gone.max(delivery.position);
            return;
        }
        self.waiting.push_back(Waiting { delivery, since: now, tries: 0, in_flight: false });
    }

    /// Makes room for what must arrive.
    fn leave_out_progress(&mut self) {
        let highest_gone = &mut self.highest_gone;
        self.waiting.retain(|waiting| {
            let stays = waiting.in_flight || !waiting.delivery.is_progress();
            if !stays {
                *highest_gone = (*highest_gone).max(waiting.delivery.position);
            }
            stays
        });
    }
}

#[cfg(test)]
mod tests;

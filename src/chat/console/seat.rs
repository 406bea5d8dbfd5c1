//! One attached client: the lines waiting to be written to it.
//!
//! The queue is bounded. A client that reads too slowly first loses what has been overtaken (older edits of a
//! message that was edited again); one that is hopeless is told so and dropped. Nobody else waits for it.

use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use super::protocol::{FromServer, server_line};

/// Who sits there, the same after a reconnect: the peer's uid and the name of the session.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct SeatName {
    pub(super) uid: u32,
    pub(super) session: String,
}

impl SeatName {
    /// The key of what was said there as number `id`; the same words said again have the same key.
    pub(super) fn event(&self, id: u64) -> String {
        format!("console/{}/{}/{id}", self.uid, self.session)
    }

    /// Reads [`SeatName::event`].
    pub(super) fn of_event(event: &str) -> Option<(Self, u64)> {
        let mut parts = event.strip_prefix("console/")?.split('/');
        let (uid, session, id) = (parts.next()?, parts.next()?, parts.next()?);
        let name = Self { uid: uid.parse().ok()?, session: session.to_owned() };
        parts.next().is_none().then_some((name, id.parse().ok()?))
    }
}

/// One attached client.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) name: SeatName,
    capacity: usize,
    queue: Mutex<Queue>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Waiting>,
    /// No more is taken; what waits is written and the connection ends.
    closing: bool,
}

#[derive(Debug)]
struct Waiting {
    line: Arc<str>,
    /// Key of the message it edits, if it is an edit.
    edits: Option<Arc<str>>,
}

impl Seat {
    pub(super) fn new(name: SeatName, capacity: usize) -> Self {
        Self { name, capacity, queue: Mutex::new(Queue::default()), wake: Notify::new() }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message for this client alone.
    pub(super) fn tell(&self, message: &FromServer) {
        self.push(server_line(message).into(), None);
    }

    /// Queues a line; `edits` is the key of the message that it edits.
    pub(super) fn push(&self, line: Arc<str>, edits: Option<Arc<str>>) {
        let mut queue = self.queue();
        if queue.closing {
            return;
        }
        if queue.lines.len() >= self.capacity {
            forget_overtaken(&mut queue.lines);
        }
        if queue.lines.len() >= self.capacity {
            queue.lines.clear();
            let why = "this console reads too slowly and was dropped; attaching again shows the last messages";
            queue.close(why, true);
        } else {
            queue.lines.push_back(Waiting { line, edits });
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Ends the connection after what already waits, with words.
    pub(super) fn close(&self, why: &str, again: bool) {
        self.queue().close(why, again);
        self.wake.notify_one();
    }

    /// Ends the connection after what already waits, without words: the other side has gone.
    pub(super) fn hang_up(&self) {
        self.queue().closing = true;
        self.wake.notify_one();
    }

    /// Writes what is queued until the seat is closed or the client cannot be written to: each line has
    /// `limit` to get out.
    pub(super) async fn write_to(&self, mut out: impl AsyncWrite + Unpin, limit: Duration) {
        loop {
            let (next, closing) = {
                let mut queue = self.queue();
                (queue.lines.pop_front(), queue.closing)
            };
            match next {
                Some(waiting) => match tokio::time::timeout(limit, out.write_all(waiting.line.as_bytes())).await {
                    Ok(Ok(())) => {}
                    Ok(Err(_)) | Err(_) => return,
                },
                None if closing => return,
                None => self.wake.notified().await,
            }
        }
    }
}

impl Queue {
    fn close(&mut self, why: &str, again: bool) {
        if !self.closing {
            let line = server_line(&FromServer::Closing { why: why.to_owned(), again }).into();
            self.lines.push_back(Waiting { line, edits: None });
            self.closing = true;
        }
    }
}

/// Keeps only the newest waiting edit of each message, at its own place in the order.
fn forget_overtaken(lines: &mut VecDeque<Waiting>) {
    let mut newer = HashSet::new();
    let mut kept: VecDeque<Waiting> = VecDeque::with_capacity(lines.len());
    while let Some(waiting) = lines.pop_back() {
        if waiting.edits.as_ref().is_none_or(|key| newer.insert(Arc::clone(key))) {
            kept.push_front(waiting);
        }
    }
    *lines = kept;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seat(capacity: usize) -> Seat {
        Seat::new(SeatName { uid: 1000, session: "s".into() }, capacity)
    }

    async fn written(seat: &Seat) -> String {
        seat.hang_up();
        let mut out = Vec::new();
        seat.write_to(&mut out, Duration::from_secs(5)).await;
        String::from_utf8(out).unwrap()
    }

    #[tokio::test]
    async fn when_full_the_newest_edit_of_each_message_stays_in_its_place() {
        let seat = seat(4);
        for (line, edits) in [("post1 ", None), ("edit1a ", Some("1")), ("edit2a ", Some("2")), ("edit1b ", Some("1"))]
        {
            seat.push(line.into(), edits.map(Into::into));
        }
        seat.push("edit2b ".into(), Some("2".into()));
        seat.push("answer ".into(), None);
        assert_eq!(written(&seat).await, "post1 edit1b edit2b answer ");
    }

    #[tokio::test]
    async fn a_hopeless_reader_is_dropped_with_words() {
        let seat = seat(3);
        for n in 0..5 {
            seat.push(format!("reply{n} ").into(), None);
        }
        let out = written(&seat).await;
        assert!(out.contains("closing") && out.contains("too slowly") && !out.contains("reply"), "{out}");
    }

    #[test]
    fn an_event_key_leads_back_to_the_seat_it_was_said_in() {
        let name = SeatName { uid: 1000, session: "ab-1".into() };
        assert_eq!(SeatName::of_event(&name.event(7)), Some((name, 7)));
        for other in ["Ev012", "console/1000/s", "console/x/s/1", "console/1/s/1/2", "console/1/s/-1"] {
            assert_eq!(SeatName::of_event(other), None, "{other}");
        }
    }
}

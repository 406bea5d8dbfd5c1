//! Who is attached, and the last messages for whoever attaches next. In memory only: what matters is in the
//! log, and a rendering can be made again from it (decision 8).

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::protocol::{FromServer, Kind, Told, server_line};
use super::seat::{Seat, SeatName};
use crate::domain::card::{Card, Tone};
use crate::domain::ids::RunId;

/// Answers kept for sessions that are away, until they attach again. The oldest go first.
const KEPT_ANSWERS: usize = 64;

/// The console's one channel.
#[derive(Debug, Default)]
pub(super) struct Room {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    seats: HashMap<SeatName, Arc<Seat>>,
    backlog: VecDeque<Told>,
    answers: VecDeque<(SeatName, u64, Card)>,
    /// The bot is stopping, and why in words.
    closed: Option<String>,
}

impl Room {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a client its seat: `welcome`, the last messages, answers it missed, then what is said from now
    /// on, in that order. The same session sitting there already is closed: its other end must be dead.
    pub(super) fn attach(&self, seat: &Arc<Seat>, welcome: &FromServer) {
        let mut inner = self.inner();
        seat.tell(welcome);
        // What belongs to a run that is over is over with it. A stuck one is not: its ways out must be read.
        let over = |told: &&Told| told.run_ended && told.card.tone != Tone::Bad;
        let over: HashSet<RunId> = inner.backlog.iter().filter(over).map(|told| told.run).collect();
        for told in &inner.backlog {
            let run_ended = told.run_ended || over.contains(&told.run);
            seat.tell(&FromServer::Message(Told { backlog: true, run_ended, ..told.clone() }));
        }
        inner.answers.retain(|(name, id, card)| {
            if *name == seat.name {
                seat.tell(&FromServer::Answer { id: *id, card: card.clone(), private: true });
            }
            *name != seat.name
        });
        if let Some(old) = inner.seats.insert(seat.name.clone(), Arc::clone(seat)) {
            old.close("this session is attached again elsewhere", false);
        }
        if let Some(why) = &inner.closed {
            seat.close(why, true);
        }
    }

    /// Takes the seat away.
    pub(super) fn leave(&self, seat: &Arc<Seat>) {
        let mut inner = self.inner();
        if inner.seats.get(&seat.name).is_some_and(|sitting| Arc::ptr_eq(sitting, seat)) {
            inner.seats.remove(&seat.name);
        }
    }

    /// Says something to everybody and keeps it for later, the last `keep` messages. A message whose key is
    /// known is an edit, however it comes: the outbox may say again what has arrived.
    pub(super) fn tell_all(&self, kind: Kind, run: RunId, key: &str, card: &Card, keep: usize) {
        let mut inner = self.inner();
        let run_ended = has_ended(run, key, card.tone);
        let known = inner.backlog.iter_mut().find(|told| told.key == key);
        let again = known.is_some();
        if let Some(told) = known {
            told.card = card.clone();
            told.run_ended = run_ended;
        } else {
            let kind = if kind == Kind::Edit { Kind::Post } else { kind };
            inner.backlog.push_back(Told {
                kind,
                run,
                key: key.to_owned(),
                card: card.clone(),
                run_ended,
                backlog: false,
            });
            while inner.backlog.len() > keep {
                inner.backlog.pop_front();
            }
        }
        let kind = if again { Kind::Edit } else { kind };
        let told = Told { kind, run, key: key.to_owned(), card: card.clone(), run_ended, backlog: false };
        let edits: Option<Arc<str>> = (kind == Kind::Edit).then(|| key.into());
        let line: Arc<str> = server_line(&FromServer::Message(told)).into();
        for seat in inner.seats.values() {
            seat.push(Arc::clone(&line), edits.clone());
        }
    }

    /// Says something to everybody who is here. It is not kept: `/status` says how things stand now.
    pub(super) fn notice_all(&self, card: &Card) {
        for seat in self.inner().seats.values() {
            seat.tell(&FromServer::Notice { card: card.clone() });
        }
    }

    /// Answers one client; if it is away, when it attaches again.
    pub(super) fn answer(&self, name: SeatName, id: u64, card: &Card) {
        let mut inner = self.inner();
        if let Some(seat) = inner.seats.get(&name) {
            seat.tell(&FromServer::Answer { id, card: card.clone(), private: true });
            return;
        }
        inner.answers.push_back((name, id, card.clone()));
        while inner.answers.len() > KEPT_ANSWERS {
            inner.answers.pop_front();
        }
    }

    /// Ends every connection with words, those that attach from now on included.
    pub(super) fn close_all(&self, why: &str) {
        let mut inner = self.inner();
        inner.closed = Some(why.to_owned());
        for seat in inner.seats.values() {
            seat.close(why, true);
        }
    }
}

/// Whether the run's own card says that the run goes no further by itself: it went well, it was refused or
/// put back, or it is stuck and a person is needed. Buttons do not matter: an ended run offers its undo.
fn has_ended(run: RunId, key: &str, tone: Tone) -> bool {
    let own = key.strip_prefix(&format!("{run}/card")).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    own && matches!(tone, Tone::Good | Tone::Warn | Tone::Bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_runs_own_card_tells_its_end() {
        let run = RunId::parse("r4").unwrap();
        let check = |key: &str, tone: Tone, expected: bool| {
            assert_eq!(has_ended(run, key, tone), expected, "{key} {tone:?}");
        };
        check("r4/card", Tone::Good, true);
        check("r4/card", Tone::Warn, true);
        check("r4/card", Tone::Bad, true);
        check("r4/card/console", Tone::Good, true);
        check("r4/card", Tone::Busy, false);
        check("r4/card", Tone::Ask, false);
        check("r4/reply/57", Tone::Good, false);
        check("r42/card", Tone::Good, false);
        check("r4/cards", Tone::Good, false);
    }
}

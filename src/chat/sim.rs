//! A chat that lives in memory, for tests and for the demo on the simulated engine. As strict as a platform:
//! it edits only what it has, shows a message with a known key only once, and fails when it is told to.

use std::collections::VecDeque;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::{Chat, ChatError, MessageKey};
use crate::domain::actor::{Account, Surface};
use crate::domain::card::Card;
use crate::domain::ids::RunId;
use crate::domain::invocation::{Invocation, Place};

/// How something was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// A new message.
    Post,
    /// A message that changed.
    Edit,
    /// In the run's thread.
    Reply,
    /// A question in the run's thread.
    Ask,
    /// To everybody in a place, about no run.
    Notice,
    /// To one account only.
    Answer,
}

/// Something that arrived in the chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// How.
    pub way: Way,
    /// Where.
    pub place: Place,
    /// About which run; an answer is about none.
    pub run: Option<RunId>,
    /// The message's key; for an answer the key of the invocation's delivery.
    pub key: MessageKey,
    /// To whom alone, for an answer.
    pub to: Option<Account>,
    /// What.
    pub card: Card,
}

/// What goes wrong with one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: this call goes well, a later one will not.
    Nothing,
    /// It does not arrive, and nobody knows.
    Down,
    /// The platform wants that many milliseconds first.
    Later(u64),
    /// It arrives, but the platform's answer is lost.
    LostAnswer,
    /// The platform will never take it.
    Refused(String),
}

/// A chat in memory.
#[derive(Debug)]
pub struct SimChat {
    surface: Surface,
    state: Mutex<State>,
    /// Counts what has arrived, so that one can wait for it.
    arrived: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    said: Vec<Said>,
    faults: VecDeque<Fault>,
    down: bool,
    calls: usize,
    heard: u64,
    acknowledged: Vec<String>,
}

impl SimChat {
    /// An empty one that stands for `surface`.
    pub fn new(surface: Surface) -> Arc<Self> {
        Arc::new(Self { surface, state: Mutex::default(), arrived: watch::Sender::new(0) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What somebody says in `channel`, as this surface would deliver it, each with a new delivery key.
    /// Deliver the same value twice to play a platform that does.
    pub fn hear(&self, account: &str, channel: &str, words: &str, at: Timestamp) -> Invocation {
        let mut state = self.state();
        state.heard += 1;
        Invocation {
            event: format!("sim-{}-{}", self.surface.as_str(), state.heard),
            account: Account { surface: self.surface, id: account.to_owned(), detail: None },
            place: Place { surface: self.surface, channel: channel.to_owned(), thread: None },
            text: words.to_owned(),
            at,
        }
    }

    /// Lets the next calls go wrong, one fault each, in order.
    pub fn fail_next(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state().faults.extend(faults);
    }

    /// Down until told otherwise: nothing arrives.
    pub fn set_down(&self, down: bool) {
        self.state().down = down;
    }

    /// Calls made so far, those that went wrong included.
    pub fn calls(&self) -> usize {
        self.state().calls
    }

    /// Delivery keys acknowledged so far.
    pub fn acknowledged(&self) -> Vec<String> {
        self.state().acknowledged.clone()
    }

    /// All that has arrived, in order, edits included.
    pub fn said(&self) -> Vec<Said> {
        self.state().said.clone()
    }

    /// What stands in the chat now: edits applied, each message once, in the order of their first arrival.
    pub fn standing(&self) -> Vec<Said> {
        let mut standing: Vec<Said> = Vec::new();
        for said in self.said() {
            match standing.iter_mut().find(|had| said.way == Way::Edit && had.is_message(&said.place, &said.key)) {
                Some(had) => had.card = said.card,
                None => standing.push(said),
            }
        }
        standing
    }

    /// Waits until what has arrived satisfies `enough`, for at most `bound` of real time.
    ///
    /// # Errors
    /// The transcript so far, when the time is over.
    pub async fn wait_for(&self, enough: impl Fn(&[Said]) -> bool, bound: Duration) -> Result<Vec<Said>, String> {
        let mut arrived = self.arrived.subscribe();
        let wait = arrived.wait_for(|_| enough(&self.said()));
        match tokio::time::timeout(bound, wait).await {
            Ok(_) => Ok(self.said()),
            Err(_) => Err(format!("not within {bound:?}; the chat reads\n{}", self.transcript())),
        }
    }

    /// All that has arrived, as text for snapshots.
    pub fn transcript(&self) -> String {
        transcript(&self.said())
    }

    /// One call: counted, spoiled if a fault waits, else kept.
    fn take(&self, said: Said) -> Result<(), ChatError> {
        let mut state = self.state();
        state.calls += 1;
        let mut lost = false;
        match state.faults.pop_front() {
            Some(Fault::Down) => return Err(ChatError::Unknown("simulated: down".to_owned())),
            Some(Fault::Later(ms)) => return Err(ChatError::Later(ms)),
            Some(Fault::Refused(why)) => return Err(ChatError::Refused(why)),
            Some(Fault::LostAnswer) => lost = true,
            None if state.down => return Err(ChatError::Unknown("simulated: down".to_owned())),
            Some(Fault::Nothing) | None => {}
        }
        let known = state.said.iter().any(|had| had.is_message(&said.place, &said.key));
        match said.way {
            Way::Edit if !known => {
                return Err(ChatError::Refused(format!("there is no message {} to edit", said.key.0)));
            }
            Way::Edit | Way::Answer => state.said.push(said),
            // Said again with the same key: shown once.
            Way::Post | Way::Reply | Way::Ask | Way::Notice if known => {}
            Way::Post | Way::Reply | Way::Ask | Way::Notice => state.said.push(said),
        }
        let count = state.said.len();
        drop(state);
        self.arrived.send_replace(count);
        if lost { Err(ChatError::Unknown("simulated: the answer was lost".to_owned())) } else { Ok(()) }
    }

    fn message(&self, way: Way, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        let said = Said { way, place: place.clone(), run: Some(run), key: key.clone(), to: None, card: card.clone() };
        self.take(said)
    }
}

impl Said {
    fn is_message(&self, place: &Place, key: &MessageKey) -> bool {
        self.way != Way::Answer && self.place.channel == place.channel && self.key == *key
    }
}

/// Messages as text: how and where each came, then its words, indented.
pub fn transcript(said: &[Said]) -> String {
    let mut out = String::new();
    for said in said {
        let way = match said.way {
            Way::Post => "post",
            Way::Edit => "edit",
            Way::Reply => "reply",
            Way::Ask => "ask",
            Way::Notice => "notice",
            Way::Answer => "answer",
        };
        let channel = &said.place.channel;
        let about = match (&said.to, said.run) {
            (Some(account), _) => format!("to {} in {channel}", account.id),
            (None, Some(run)) => format!("{run} in {channel} as {}", said.key.0),
            (None, None) => format!("in {channel}"),
        };
        let tone = format!("{:?}", said.card.tone).to_lowercase();
        let _ = writeln!(out, "{way} {about} ({tone})"); // writing to a String cannot fail
        for line in said.card.plain().lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}

#[async_trait::async_trait]
impl Chat for SimChat {
    fn surface(&self) -> Surface {
        self.surface
    }

    async fn acknowledge(&self, invocation: &Invocation) -> Result<(), ChatError> {
        self.state().acknowledged.push(invocation.event.clone());
        Ok(())
    }

    async fn post(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.message(Way::Post, place, run, key, card)
    }

    async fn edit(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.message(Way::Edit, place, run, key, card)
    }

    async fn reply(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.message(Way::Reply, place, run, key, card)
    }

    async fn ask(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.message(Way::Ask, place, run, key, card)
    }

    async fn notice(&self, place: &Place, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        let (place, key, card) = (place.clone(), key.clone(), card.clone());
        self.take(Said { way: Way::Notice, place, run: None, key, to: None, card })
    }

    async fn answer(&self, invocation: &Invocation, card: &Card) -> Result<(), ChatError> {
        self.take(Said {
            way: Way::Answer,
            place: invocation.place.clone(),
            run: None,
            key: MessageKey(invocation.event.clone()),
            to: Some(invocation.account.clone()),
            card: card.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::card::{Tone, code, text};

    fn place() -> Place {
        Place { surface: Surface::Slack, channel: "C1".into(), thread: None }
    }

    fn key() -> (RunId, MessageKey) {
        (RunId::parse("r4").unwrap(), MessageKey("r4/card".into()))
    }

    fn card(words: &str) -> Card {
        Card::new(Tone::Busy, vec![text(words), code("api")])
    }

    #[tokio::test]
    async fn it_reads_as_a_conversation() {
        let chat = SimChat::new(Surface::Slack);
        let (run, key) = key();
        let said = chat.hear("U1", "C1", "/rollback image api", Timestamp::UNIX_EPOCH);
        chat.answer(&said, &card("accepted ")).await.unwrap();
        chat.post(&place(), run, &key, &card("rolling ")).await.unwrap();
        chat.edit(&place(), run, &key, &card("rolled ")).await.unwrap();
        insta::assert_snapshot!(chat.transcript(), @r"
        answer to U1 in C1 (busy)
          accepted api
        post r4 in C1 as r4/card (busy)
          rolling api
        edit r4 in C1 as r4/card (busy)
          rolled api
        ");
        insta::assert_snapshot!(transcript(&chat.standing()[1..]), @r"
        post r4 in C1 as r4/card (busy)
          rolled api
        ");
    }

    #[tokio::test]
    async fn a_message_whose_answer_was_lost_is_shown_once_when_said_again() {
        let chat = SimChat::new(Surface::Slack);
        let (run, key) = key();
        chat.fail_next([Fault::Down, Fault::LostAnswer, Fault::Later(5)]);
        for expected in ["down", "lost", "5 ms"] {
            let error = chat.post(&place(), run, &key, &card("x")).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
        chat.post(&place(), run, &key, &card("x")).await.unwrap();
        assert_eq!((chat.said().len(), chat.calls()), (1, 4));
    }

    #[tokio::test]
    async fn what_is_not_there_cannot_be_edited_and_waiting_in_vain_shows_the_chat() {
        let chat = SimChat::new(Surface::Slack);
        let (run, key) = key();
        assert!(matches!(chat.edit(&place(), run, &key, &card("x")).await, Err(ChatError::Refused(_))));
        chat.post(&place(), run, &key, &card("only ")).await.unwrap();
        let shown = chat.wait_for(|said| said.len() > 1, Duration::from_millis(1)).await.unwrap_err();
        assert!(shown.contains("only api"), "{shown}");
    }
}

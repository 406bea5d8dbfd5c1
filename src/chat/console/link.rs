//! The client's end of the socket: connects, says hello, and when the bot goes away comes back to it.
//!
//! What was said and not answered is said again after a reconnect, under the same number: the bot hears it
//! once (promise 6). But only for a short while: a rollback typed minutes ago must not happen by surprise.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use super::client::ClientError;
use super::protocol::{FromClient, FromServer, LineReader, Read, SERVER_LINE_LIMIT, VERSION, json_line};
use super::server::new_session;
use crate::clock::Clock;

/// Time for the bot to welcome us, and for one line to get out.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// First and longest pause between attempts to come back. A local socket costs nothing to try.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long ago something may have been said to be said again by itself.
const SAY_AGAIN_WITHIN: SignedDuration = SignedDuration::from_secs(30);

/// Things said that may wait for an answer, and events that may wait for the screen.
const UNANSWERED: usize = 64;
const HAPPENINGS: usize = 64;

/// What a client wants said.
#[derive(Debug)]
enum Ask {
    Say { id: u64, text: String },
    Complete { id: u64, line: String, cursor: usize },
}

/// What a client learns.
#[derive(Debug)]
pub(super) enum Happening {
    /// The bot said something.
    Said(FromServer),
    /// The bot has gone; the link tries to come back.
    Lost(String),
    /// The link is back.
    Back,
    /// This was not said, and will not be.
    NotSaid { id: u64, text: String },
    /// The link has ended for good.
    Over(String),
}

/// Where to connect, and as whom.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) socket: PathBuf,
    pub(super) speaker: Option<String>,
    pub(super) clock: Arc<dyn Clock>,
}

/// A link that stands, or tries to. Dropping it ends it.
pub(super) struct Link {
    asks: mpsc::Sender<Ask>,
    last_id: u64,
    _task: AbortOnDropHandle<()>,
}

impl Link {
    /// Connects; returns the link, what happens on it, and the bot's welcome.
    pub(super) async fn open(address: Address) -> Result<(Self, mpsc::Receiver<Happening>, FromServer), ClientError> {
        let session = new_session()
            .ok_or_else(|| ClientError::Io(std::io::Error::other("the system gives no random numbers")))?;
        let (wire, welcome) = connect(&address, &session).await?;
        let (asks, asked) = mpsc::channel(UNANSWERED);
        let (happenings, happened) = mpsc::channel(HAPPENINGS);
        let task = Task { address, session, unanswered: BTreeMap::new(), untold: VecDeque::new() };
        let task = AbortOnDropHandle::new(tokio::spawn(task.run(wire, asked, happenings)));
        Ok((Self { asks, last_id: 0, _task: task }, happened, welcome))
    }

    /// Says something; returns its number, or `None` if too much waits already.
    pub(super) fn say(&mut self, text: &str) -> Option<u64> {
        self.last_id += 1;
        self.say_again(self.last_id, text).then_some(self.last_id)
    }

    /// Says the same thing once more under its number; `false` if too much waits already.
    pub(super) fn say_again(&self, id: u64, text: &str) -> bool {
        self.asks.try_send(Ask::Say { id, text: text.to_owned() }).is_ok()
    }

    /// Asks what could stand at the cursor; returns the number of the question.
    pub(super) fn complete(&mut self, line: &str, cursor: usize) -> u64 {
        self.last_id += 1;
        let ask = Ask::Complete { id: self.last_id, line: line.to_owned(), cursor };
        let _ = self.asks.try_send(ask); // a completion that comes late or never is only a missing hint
        self.last_id
    }
}

/// A connection that was welcomed.
struct Wire {
    lines: LineReader<OwnedReadHalf>,
    out: OwnedWriteHalf,
}

impl Wire {
    async fn write(&mut self, message: &FromClient) -> std::io::Result<()> {
        let line = json_line(message);
        tokio::time::timeout(ANSWER_LIMIT, self.out.write_all(line.as_bytes()))
            .await
            .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
    }

    /// The next message; `Err` with words when there will be none.
    async fn read(&mut self) -> Result<FromServer, String> {
        match self.lines.next().await {
            Ok(Read::Line(line)) => {
                serde_json::from_str(&line).map_err(|e| format!("the bot said something not understood: {e}"))
            }
            Ok(Read::End) => Err("the bot has gone".to_owned()),
            Ok(Read::TooLong | Read::NotText) => Err("the bot said something that is no console message".to_owned()),
            Err(error) => Err(format!("the bot has gone: {error}")),
        }
    }
}

async fn connect(address: &Address, session: &str) -> Result<(Wire, FromServer), ClientError> {
    let socket = address.socket.clone();
    let stream = match tokio::time::timeout(ANSWER_LIMIT, UnixStream::connect(&address.socket)).await {
        Ok(connected) => connected.map_err(|error| ClientError::of_connect(socket.clone(), error))?,
        Err(_) => return Err(ClientError::Silent { socket }),
    };
    let (reading, out) = stream.into_split();
    let mut wire = Wire { lines: LineReader::new(reading, SERVER_LINE_LIMIT), out };
    let hello =
        FromClient::Hello { version: VERSION, session: Some(session.to_owned()), speaker: address.speaker.clone() };
    // A bot that turned us away may have closed already: what it said is still there to be read.
    let sent = wire.write(&hello).await;
    match tokio::time::timeout(ANSWER_LIMIT, wire.read()).await {
        Ok(Ok(welcome @ FromServer::Welcome { .. })) => Ok((wire, welcome)),
        Ok(Ok(FromServer::Closing { why, again })) => Err(ClientError::Refused { why, again }),
        Ok(Ok(_)) => Err(ClientError::Refused { why: "the bot did not welcome this console".into(), again: false }),
        Ok(Err(why)) => match sent {
            Err(error) => Err(ClientError::of_connect(socket, error)),
            Ok(()) => Err(ClientError::Refused { why, again: true }),
        },
        Err(_) => Err(ClientError::Silent { socket }),
    }
}

/// Something said that has no answer yet.
struct Unanswered {
    text: String,
    at: Timestamp,
    heard: bool,
}

struct Task {
    address: Address,
    session: String,
    unanswered: BTreeMap<u64, Unanswered>,
    /// What has to be told when there is room.
    untold: VecDeque<Happening>,
}

/// Why a wire is no longer used.
enum Gone {
    /// Nobody wants the link any more.
    Unwanted,
    Lost(String),
    Over(String),
}

impl Task {
    async fn run(mut self, wire: Wire, mut asked: mpsc::Receiver<Ask>, happenings: mpsc::Sender<Happening>) {
        let mut wire = wire;
        loop {
            match self.talk(&mut wire, &mut asked, &happenings).await {
                Gone::Unwanted => return,
                Gone::Over(why) => return self.tell_last(&happenings, why).await,
                Gone::Lost(why) => self.untold.push_back(Happening::Lost(why)),
            }
            match self.come_back(&mut asked, &happenings).await {
                Ok(again) => wire = again,
                Err(Gone::Over(why)) => return self.tell_last(&happenings, why).await,
                Err(_) => return,
            }
        }
    }

    async fn tell_last(&mut self, happenings: &mpsc::Sender<Happening>, why: String) {
        self.untold.push_back(Happening::Over(why));
        for happening in self.untold.drain(..) {
            let _ = happenings.send(happening).await; // nobody listens: nobody needs to know
        }
    }

    /// Carries messages both ways until the wire breaks.
    async fn talk(
        &mut self,
        wire: &mut Wire,
        asked: &mut mpsc::Receiver<Ask>,
        happenings: &mpsc::Sender<Happening>,
    ) -> Gone {
        loop {
            let untold = !self.untold.is_empty();
            tokio::select! {
                // Room for the news first: a screen that is held up must slow the bot's sending, not fill memory.
                permit = happenings.reserve(), if untold => {
                    let (Ok(permit), Some(happening)) = (permit, self.untold.pop_front()) else { return Gone::Unwanted };
                    permit.send(happening);
                }
                ask = asked.recv() => {
                    let Some(ask) = ask else { return Gone::Unwanted };
                    let message = match ask {
                        Ask::Complete { id, line, cursor } => FromClient::Complete { id, line, cursor },
                        Ask::Say { id, text } => {
                            self.remember(id, &text);
                            FromClient::Say { id, text }
                        }
                    };
                    if let Err(error) = wire.write(&message).await {
                        return Gone::Lost(format!("the bot has gone: {error}"));
                    }
                }
                said = wire.read(), if !untold => match said {
                    Ok(FromServer::Closing { why, again: true }) => return Gone::Lost(why),
                    Ok(FromServer::Closing { why, again: false }) => return Gone::Over(why),
                    Ok(said) => {
                        self.note(&said);
                        self.untold.push_back(Happening::Said(said));
                    }
                    Err(why) => return Gone::Lost(why),
                }
            }
        }
    }

    /// Tries until the bot is there again, and says what still waits for an answer.
    async fn come_back(
        &mut self,
        asked: &mut mpsc::Receiver<Ask>,
        happenings: &mpsc::Sender<Happening>,
    ) -> Result<Wire, Gone> {
        let mut pause = FIRST_PAUSE;
        loop {
            let clock = Arc::clone(&self.address.clock);
            let mut paused = clock.sleep(pause);
            loop {
                let untold = !self.untold.is_empty();
                tokio::select! {
                    () = &mut paused => break,
                    permit = happenings.reserve(), if untold => {
                        let (Ok(permit), Some(happening)) = (permit, self.untold.pop_front()) else {
                            return Err(Gone::Unwanted);
                        };
                        permit.send(happening);
                    }
                    ask = asked.recv() => match ask {
                        None => return Err(Gone::Unwanted),
                        Some(Ask::Complete { .. }) => {}
                        Some(Ask::Say { id, text }) => self.remember(id, &text),
                    }
                }
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.give_up_old();
            match connect(&self.address, &self.session).await {
                Err(ClientError::Refused { why, again: false }) => return Err(Gone::Over(why)),
                Err(_) => {}
                Ok((mut wire, welcome)) => {
                    self.untold.push_back(Happening::Back);
                    self.note(&welcome);
                    self.untold.push_back(Happening::Said(welcome));
                    let mut whole = true;
                    for (id, said) in &self.unanswered {
                        let message = FromClient::Say { id: *id, text: said.text.clone() };
                        whole = whole && wire.write(&message).await.is_ok();
                    }
                    if whole {
                        return Ok(wire);
                    }
                }
            }
        }
    }

    fn remember(&mut self, id: u64, text: &str) {
        self.give_up_old();
        let at = self.address.clock.now();
        self.unanswered.insert(id, Unanswered { text: text.to_owned(), at, heard: false });
    }

    /// Forgets what was said too long ago to be said again; what was never heard is told to be unsaid.
    fn give_up_old(&mut self) {
        let now = self.address.clock.now();
        let untold = &mut self.untold;
        self.unanswered.retain(|id, said| {
            let young = now.duration_since(said.at) <= SAY_AGAIN_WITHIN;
            if !young && !said.heard {
                untold.push_back(Happening::NotSaid { id: *id, text: said.text.clone() });
            }
            young
        });
    }

    fn note(&mut self, said: &FromServer) {
        match said {
            FromServer::Welcome { speaker, .. } => self.address.speaker.clone_from(speaker),
            FromServer::Heard { id } => {
                if let Some(said) = self.unanswered.get_mut(id) {
                    said.heard = true;
                }
            }
            FromServer::Answer { id, .. } | FromServer::Busy { id, .. } | FromServer::Error { id: Some(id), .. } => {
                self.unanswered.remove(id);
            }
            _ => {}
        }
    }
}

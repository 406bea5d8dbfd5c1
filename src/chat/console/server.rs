//! The bot's end of the console: takes connections, turns lines into invocations, says what it is handed.
//!
//! Whoever connects is the user the kernel says (decision 30). Every wait has a limit and every queue an end:
//! a client that says nothing, reads nothing or says nonsense costs one of a bounded number of seats, briefly.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::sync::mpsc::error::TrySendError;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::CHANNEL;
use super::peer::Peer;
use super::protocol::{
    CLIENT_LINE_LIMIT, FromClient, FromServer, Item, Kind, LineReader, Read, SAY_LIMIT, VERSION, server_line,
};
use super::room::Room;
use super::seat::{Seat, SeatName};
pub use super::socket::BindError;
use super::socket::Socket;
use crate::chat::{Chat, ChatError, Intake, MessageKey, SharedLookup};
use crate::clock::Clock;
use crate::domain::actor::{Account, Surface};
use crate::domain::card::{Card, Tone, code, text};
use crate::domain::ids::RunId;
use crate::domain::invocation::{Invocation, Place};
use crate::domain::text::{shorten, visible};

/// Lines that make no sense before a client is dropped: it speaks something else.
const NONSENSE_LIMIT: u32 = 5;

/// Suggestions sent at once.
const ITEMS_LIMIT: usize = 100;

/// Things said per second on one connection, and in a burst. Above what hands and scripts do; below what
/// would fill the queue that all surfaces share.
const SAYS_PER_SECOND: NonZeroU32 = NonZeroU32::new(20).expect("is not zero");
const SAYS_AT_ONCE: NonZeroU32 = NonZeroU32::new(40).expect("is not zero");

/// How long a failing `accept` (no file descriptors left) is left alone before the next.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// How long stopping waits for clients to read their good-bye. They read it at once or not at all.
const GOOD_BYE: Duration = Duration::from_secs(2);

/// What is bounded, and where.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Clients attached at once.
    pub clients: usize,
    /// Of these, by one user.
    pub clients_per_user: usize,
    /// Lines that may wait for one client.
    pub waiting_lines: usize,
    /// Messages shown to whoever attaches.
    pub backlog: usize,
    /// Time to say `hello`.
    pub hello: Duration,
    /// Time for one line to get out.
    pub write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            clients: 64,
            clients_per_user: 24,
            waiting_lines: 256,
            backlog: 20,
            hello: Duration::from_secs(5),
            write: Duration::from_secs(10),
        }
    }
}

/// How a console server behaves.
pub struct ConsoleOptions {
    /// Tells when something was said.
    pub clock: Arc<dyn Clock>,
    /// What is bounded.
    pub limits: Limits,
    /// Demo only: the persons a client may speak as, with the uid of their console account. `None` outside
    /// the demo, and then the peer's credentials are all that counts (decision 30).
    pub speakers: Option<Vec<(String, u32)>>,
}

/// The console surface of a running bot.
pub struct ConsoleServer {
    socket: Socket,
    intake: Intake,
    lookup: SharedLookup,
    options: ConsoleOptions,
    room: Room,
    /// Connections by user, those without a seat included.
    connected: Mutex<HashMap<u32, usize>>,
}

impl ConsoleServer {
    /// Listens at `path`, mode 0660. Clients are served while [`ConsoleServer::serve`] runs. Needs a tokio
    /// runtime.
    pub fn bind(
        path: &Path,
        intake: Intake,
        lookup: SharedLookup,
        options: ConsoleOptions,
    ) -> Result<Arc<Self>, BindError> {
        let socket = Socket::bind(path)?;
        Ok(Arc::new(Self { socket, intake, lookup, options, room: Room::default(), connected: Mutex::default() }))
    }

    /// Serves clients until `stop`, then closes them with words. The socket's file goes with the server.
    pub async fn serve(self: &Arc<Self>, stop: CancellationToken) {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                Some(_) = connections.join_next() => {}
                accepted = self.socket.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        if let Some((stream, peer)) = self.admit(stream) {
                            let server = Arc::clone(self);
                            connections.spawn(async move {
                                let uid = peer.uid;
                                let _count = Leaving { server: &server, uid };
                                server.attend(stream, peer).await;
                            });
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the console cannot take connections now");
                        tokio::select! {
                            () = stop.cancelled() => break,
                            () = self.options.clock.sleep(ACCEPT_PAUSE) => {}
                        }
                    }
                }
            }
        }
        self.room.close_all("Sternway is stopping. Runs keep their place in the record; nothing is lost");
        let all = async { while connections.join_next().await.is_some() {} };
        // Clients that do not even read their good-bye are cut off when the set is dropped.
        let _ = tokio::time::timeout(GOOD_BYE, all).await;
    }

    /// Counts a connection, or turns it away with words if there are too many.
    fn admit(&self, stream: UnixStream) -> Option<(UnixStream, Peer)> {
        let peer = Peer::of(&stream).ok()?;
        let limits = &self.options.limits;
        let mut connected = self.connected.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = connected.values().sum();
        let own = connected.entry(peer.uid).or_default();
        if all < limits.clients && *own < limits.clients_per_user {
            *own += 1;
            return Some((stream, peer));
        }
        let mine = *own;
        drop(connected);
        let why =
            format!("{all} consoles are attached, {mine} of them yours: there is no room. Close one and try again");
        // Room for one line is always there on a new socket; whoever is not reading has lost nothing.
        if let Ok(mut stream) = stream.into_std() {
            let line = server_line(&FromServer::Closing { why, again: true });
            let _ = std::io::Write::write_all(&mut stream, line.as_bytes());
        }
        None
    }

    /// One connection from `hello` to its end.
    async fn attend(&self, stream: UnixStream, peer: Peer) {
        let limits = &self.options.limits;
        let (reading, writing) = stream.into_split();
        let mut lines = LineReader::new(reading, CLIENT_LINE_LIMIT);
        let hello = match tokio::time::timeout(limits.hello, lines.next()).await {
            Ok(Ok(line)) => self.read_hello(line),
            Ok(Err(_)) => return,
            Err(_) => Err(format!("no hello within {} s", limits.hello.as_secs_f32())),
        };
        let (session, speaker) = match hello {
            Ok(hello) => hello,
            Err(why) => {
                let seat = Seat::new(SeatName { uid: peer.uid, session: String::new() }, 1);
                seat.close(&why, false);
                return seat.write_to(writing, limits.write).await;
            }
        };
        let name = SeatName { uid: peer.uid, session };
        let seat = Arc::new(Seat::new(name, limits.waiting_lines.max(limits.backlog + 2)));
        let mut client = Client { peer, speaker, seat: Arc::clone(&seat), says: rate_limiter(), nonsense: 0 };
        self.room.attach(&seat, &self.welcome(&client));

        let mut writer = std::pin::pin!(seat.write_to(writing, limits.write));
        tokio::select! {
            () = &mut writer => {}
            () = self.listen(&mut client, &mut lines) => {
                seat.hang_up();
                // What is already queued still goes out: a script may have closed its sending side.
                let _ = tokio::time::timeout(limits.write, writer).await;
            }
        }
        self.room.leave(&seat);
    }

    /// The session's name and the speaker asked for, or why this client is not welcome.
    fn read_hello(&self, line: Read) -> Result<(String, Option<(String, u32)>), String> {
        let line = match line {
            Read::Line(line) => line,
            Read::TooLong => return Err(too_long()),
            Read::NotText | Read::End => return Err("this is no console of Sternway: type `sternway console`".into()),
        };
        let Ok(FromClient::Hello { version, session, speaker }) = serde_json::from_str(&line) else {
            return Err("the first line must be a hello; to talk from a terminal type `sternway console`".into());
        };
        if version != VERSION {
            return Err(format!(
                "this bot speaks console protocol {VERSION}, this console {version}; use the `sternway` that the bot runs"
            ));
        }
        let session = match session {
            Some(name) if is_session_name(&name) => name,
            Some(_) => return Err("a session's name has 1 to 64 of a-z, 0-9 and -".into()),
            None => new_session().ok_or("the system gives no random numbers")?,
        };
        let speaker = match speaker {
            Some(name) => Some(self.speaker(&name)?),
            None => None,
        };
        Ok((session, speaker))
    }

    /// The configured person of that name; outside the demo there is none.
    fn speaker(&self, name: &str) -> Result<(String, u32), String> {
        let Some(speakers) = &self.options.speakers else {
            return Err("speaking as somebody else is for `sternway demo` only; here the system vouches for you".into());
        };
        speakers.iter().find(|(known, _)| known == name).cloned().ok_or_else(|| {
            let names: Vec<_> = speakers.iter().map(|(name, _)| name.as_str()).collect();
            format!("nobody here is called {}; there is {}", visible(&shorten(name, 40)), names.join(", "))
        })
    }

    fn welcome(&self, client: &Client) -> FromServer {
        let greeting = self.lookup.greet(&client.account(), &place());
        let known = greeting.is_ok();
        FromServer::Welcome {
            greeting: greeting.unwrap_or_else(|why| why),
            known,
            demo: self.options.speakers.is_some(),
            speaker: client.speaker.as_ref().map(|(name, _)| name.clone()),
        }
    }

    /// Hears a client until it goes or is turned out.
    async fn listen(&self, client: &mut Client, lines: &mut LineReader<OwnedReadHalf>) {
        loop {
            let line = match lines.next().await {
                Ok(Read::Line(line)) => line,
                Ok(Read::NotText) => "not UTF-8".to_owned(),
                Ok(Read::TooLong) => return client.seat.close(&too_long(), false),
                Ok(Read::End) | Err(_) => return,
            };
            match serde_json::from_str(&line) {
                Ok(FromClient::Say { id, text }) => self.hear(client, id, text),
                Ok(FromClient::Complete { id, line, cursor }) => self.complete(client, id, &line, cursor),
                Ok(FromClient::Hello { .. }) => client.refuse(None, "hello was said already"),
                Err(error) => {
                    client.nonsense += 1;
                    if client.nonsense >= NONSENSE_LIMIT {
                        let why = "too many lines that are no console messages; to talk from a terminal type `sternway console`";
                        return client.seat.close(why, false);
                    }
                    client.refuse(None, &format!("not understood: {}", visible(&shorten(&error.to_string(), 200))));
                }
            }
        }
    }

    /// Something was said: into the queue at once, or not at all and said so.
    fn hear(&self, client: &mut Client, id: u64, text: String) {
        if text.trim().is_empty() {
            return client.refuse(Some(id), "nothing was said; /help shows what can be");
        }
        if text.len() > SAY_LIMIT {
            let why = format!("{} bytes at once are too many, {SAY_LIMIT} is the limit; nothing was done", text.len());
            return client.refuse(Some(id), &why);
        }
        if let Some(name) = text.strip_prefix("/as ").filter(|_| self.options.speakers.is_some()) {
            return self.switch(client, id, name.trim());
        }
        if client.says.check().is_err() {
            return client.busy(id, "too much at once from this console; nothing was done, try again in a second");
        }
        match self.intake.try_reserve() {
            Ok(permit) => {
                // First: the answer may come as soon as the queue has it.
                client.seat.tell(&FromServer::Heard { id });
                permit.send(Invocation {
                    event: client.seat.name.event(id),
                    account: client.account(),
                    place: place(),
                    text,
                    at: self.options.clock.now(),
                });
            }
            Err(TrySendError::Full(())) => {
                client.busy(id, "Sternway is busy with other commands; nothing was done, try again in a moment");
            }
            Err(TrySendError::Closed(())) => client.busy(id, "Sternway is stopping; nothing was done"),
        }
    }

    /// Demo: from now on this client speaks as somebody else.
    fn switch(&self, client: &mut Client, id: u64, name: &str) {
        let card = match self.speaker(name) {
            Ok(speaker) => {
                client.speaker = Some(speaker);
                client.seat.tell(&self.welcome(client));
                Card::new(Tone::Plain, vec![text("You now speak as "), code(name), text(".")])
            }
            Err(why) => Card::new(Tone::Warn, vec![text(why)]),
        };
        client.seat.tell(&FromServer::Answer { id, card, private: true });
    }

    fn complete(&self, client: &Client, id: u64, line: &str, cursor: usize) {
        let mut cursor = cursor.min(line.len());
        while !line.is_char_boundary(cursor) {
            cursor -= 1;
        }
        let items = match (&self.options.speakers, line[..cursor].strip_prefix("/as ")) {
            (Some(speakers), Some(begun)) => speakers
                .iter()
                .filter(|(name, _)| name.starts_with(begun.trim_start()))
                .map(|(name, _)| Item { text: name.clone(), about: "speak as".into() })
                .collect(),
            _ => self
                .lookup
                .complete(&client.account(), &place(), line, cursor)
                .into_iter()
                .take(ITEMS_LIMIT)
                .map(|c| Item { text: c.text, about: c.about })
                .collect(),
        };
        client.seat.tell(&FromServer::Completions { id, items });
    }

    fn tell(&self, place: &Place, kind: Kind, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        if place.surface != Surface::Console || place.channel != CHANNEL {
            return Err(ChatError::Refused(format!("the console has no channel {}", visible(&place.channel))));
        }
        self.room.tell_all(kind, run, &key.0, card, self.options.limits.backlog);
        Ok(())
    }
}

/// Somebody attached.
struct Client {
    peer: Peer,
    speaker: Option<(String, u32)>,
    seat: Arc<Seat>,
    says: DefaultDirectRateLimiter,
    nonsense: u32,
}

impl Client {
    fn account(&self) -> Account {
        match &self.speaker {
            Some((name, uid)) => self.peer.speaking_as(name, *uid),
            None => self.peer.account(),
        }
    }

    fn refuse(&self, id: Option<u64>, why: &str) {
        self.seat.tell(&FromServer::Error { id, why: why.to_owned() });
    }

    fn busy(&self, id: u64, why: &str) {
        self.seat.tell(&FromServer::Busy { id, why: why.to_owned() });
    }
}

/// Counts a connection out, also when its task is cut off.
struct Leaving<'a> {
    server: &'a ConsoleServer,
    uid: u32,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut connected = self.server.connected.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = connected.get_mut(&self.uid) {
            *own -= 1;
            if *own == 0 {
                connected.remove(&self.uid);
            }
        }
    }
}

fn place() -> Place {
    Place { surface: Surface::Console, channel: CHANNEL.to_owned(), thread: None }
}

fn rate_limiter() -> DefaultDirectRateLimiter {
    RateLimiter::direct(Quota::per_second(SAYS_PER_SECOND).allow_burst(SAYS_AT_ONCE))
}

fn too_long() -> String {
    format!("a line may have {CLIENT_LINE_LIMIT} bytes; this one has more and nothing of it was done")
}

fn is_session_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A name that nobody else has; `None` if the system has no randomness.
pub(super) fn new_session() -> Option<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).ok()?;
    Some(hex::encode(bytes))
}

#[async_trait::async_trait]
impl Chat for ConsoleServer {
    fn surface(&self) -> Surface {
        Surface::Console
    }

    /// Nothing to do: `heard` went out when it was queued.
    async fn acknowledge(&self, _: &Invocation) -> Result<(), ChatError> {
        Ok(())
    }

    async fn post(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.tell(place, Kind::Post, run, key, card)
    }

    async fn edit(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.tell(place, Kind::Edit, run, key, card)
    }

    async fn reply(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.tell(place, Kind::Reply, run, key, card)
    }

    async fn ask(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.tell(place, Kind::Ask, run, key, card)
    }

    async fn notice(&self, _: &Place, _: &MessageKey, card: &Card) -> Result<(), ChatError> {
        self.room.notice_all(card);
        Ok(())
    }

    async fn answer(&self, invocation: &Invocation, card: &Card) -> Result<(), ChatError> {
        let Some((name, id)) = SeatName::of_event(&invocation.event) else {
            return Err(ChatError::Refused("this was not said on the console".to_owned()));
        };
        self.room.answer(name, id, card);
        Ok(())
    }
}

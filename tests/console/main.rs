//! The console over a real Unix socket: several clients, hostile ones among them, scripts, and a bot that
//! goes away and comes back.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // helpers of tests, outside of test functions

mod hostile;
mod keyboard;
mod scripts;

use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sternway::chat::console::client::{ClientError, ClientOptions, Ended, run_client, run_script};
use sternway::chat::console::protocol::{
    CLIENT_LINE_LIMIT, FromClient, FromServer, Item, Kind, LineReader, Read, SERVER_LINE_LIMIT, VERSION, json_line,
};
use sternway::chat::console::server::{ConsoleOptions, ConsoleServer, Limits};
use sternway::chat::{Chat, ChatError, Completion, INTAKE_CAPACITY, Lookup, MessageKey};
use sternway::clock::SystemClock;
use sternway::domain::actor::{Account, Surface};
use sternway::domain::card::{Card, Tone, code, text};
use sternway::domain::ids::RunId;
use sternway::domain::invocation::{Invocation, Place};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Longest wait for anything; reached only when a test fails.
const BOUND: Duration = Duration::from_secs(10);

struct Names;

impl Lookup for Names {
    fn complete(&self, account: &Account, _: &Place, line: &str, cursor: usize) -> Vec<Completion> {
        let begun = line[..cursor].rsplit(' ').next().unwrap_or("");
        ["/rollback", "/releases", "/status", "/help", "image", "api", "web", "rel17", "rel9"]
            .into_iter()
            .filter(|word| word.starts_with(begun) && account.surface == Surface::Console)
            .map(|word| Completion { text: word.to_owned(), about: "known here".to_owned() })
            .collect()
    }

    fn greet(&self, account: &Account, _: &Place) -> Result<String, String> {
        match account.id.as_str() {
            "uid:9001" => Ok("carol, stack shop".to_owned()),
            _ => Err(format!("{} is linked to nobody.", account.id)),
        }
    }
}

/// A bot's console, without the bot.
struct Bot {
    server: Arc<ConsoleServer>,
    heard: mpsc::Receiver<Invocation>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    path: PathBuf,
    _folder: Option<tempfile::TempDir>,
}

fn options() -> ConsoleOptions {
    ConsoleOptions { clock: Arc::new(SystemClock), limits: Limits::default(), speakers: None }
}

fn demo() -> ConsoleOptions {
    ConsoleOptions { speakers: Some(vec![("carol".into(), 9001), ("dave".into(), 9002)]), ..options() }
}

impl Bot {
    fn start(options: ConsoleOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("console.sock");
        Self { _folder: Some(folder), ..Self::start_at(&path, options, INTAKE_CAPACITY) }
    }

    fn start_at(path: &Path, options: ConsoleOptions, intake: usize) -> Self {
        let (send, heard) = mpsc::channel(intake);
        let server = ConsoleServer::bind(path, send, Arc::new(Names), options).unwrap();
        let stop = CancellationToken::new();
        let (serving, stopped) = (Arc::clone(&server), stop.clone());
        let task = tokio::spawn(async move { serving.serve(stopped).await });
        Self { server, heard, stop, task, path: path.to_owned(), _folder: None }
    }

    async fn attach(&self) -> Wire {
        Wire::attach(&self.path, None, None).await
    }

    async fn hear(&mut self) -> Invocation {
        tokio::time::timeout(BOUND, self.heard.recv()).await.expect("nothing was heard").expect("the server has gone")
    }

    async fn stop(self) {
        self.stop.cancel();
        tokio::time::timeout(BOUND, self.task).await.expect("the server did not stop").unwrap();
    }
}

/// A client that can say anything.
struct Wire {
    lines: LineReader<OwnedReadHalf>,
    out: OwnedWriteHalf,
}

impl Wire {
    async fn connect(path: &Path) -> Self {
        let (reading, out) = UnixStream::connect(path).await.unwrap().into_split();
        Self { lines: LineReader::new(reading, SERVER_LINE_LIMIT), out }
    }

    async fn attach(path: &Path, session: Option<&str>, speaker: Option<&str>) -> Self {
        let mut wire = Self::connect(path).await;
        wire.hello(session, speaker).await;
        match wire.next().await {
            Some(FromServer::Welcome { .. }) => wire,
            other => panic!("no welcome: {other:?}"),
        }
    }

    async fn hello(&mut self, session: Option<&str>, speaker: Option<&str>) {
        let (session, speaker) = (session.map(Into::into), speaker.map(Into::into));
        self.tell(&FromClient::Hello { version: VERSION, session, speaker }).await;
    }

    async fn raw(&mut self, bytes: &[u8]) {
        let _ = self.out.write_all(bytes).await; // the server may have closed already
    }

    async fn tell(&mut self, message: &FromClient) {
        self.raw(json_line(message).as_bytes()).await;
    }

    async fn say(&mut self, id: u64, words: &str) {
        self.tell(&FromClient::Say { id, text: words.to_owned() }).await;
    }

    /// The next message; `None` at the end of the connection.
    async fn next(&mut self) -> Option<FromServer> {
        match tokio::time::timeout(BOUND, self.lines.next()).await.expect("the server says nothing") {
            Ok(Read::Line(line)) => Some(serde_json::from_str(&line).unwrap_or_else(|e| panic!("{e}: {line}"))),
            Ok(Read::End) => None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => None,
            other => panic!("{other:?}"),
        }
    }

    /// Messages until the connection ends.
    async fn rest(&mut self) -> Vec<FromServer> {
        let mut rest = Vec::new();
        while let Some(message) = self.next().await {
            rest.push(message);
        }
        rest
    }

    /// Reads up to the closing words.
    async fn closing(&mut self) -> String {
        match self.rest().await.pop() {
            Some(FromServer::Closing { why, .. }) => why,
            other => panic!("closed without words: {other:?}"),
        }
    }
}

fn place() -> Place {
    Place { surface: Surface::Console, channel: "console".into(), thread: None }
}

fn run(n: u64) -> RunId {
    RunId::parse(&format!("r{n}")).unwrap()
}

fn key(words: &str) -> MessageKey {
    MessageKey(words.to_owned())
}

fn card(tone: Tone, words: &str) -> Card {
    Card::new(tone, vec![text(words)])
}

fn own_account() -> String {
    format!("uid:{}", rustix::process::getuid().as_raw())
}

#[tokio::test]
async fn what_is_said_is_heard_as_the_user_the_kernel_names_and_answered_in_private() {
    let mut bot = Bot::start(options());
    let mut asking = bot.attach().await;
    let mut other = bot.attach().await;

    asking.say(1, "/status").await;
    assert_eq!(asking.next().await, Some(FromServer::Heard { id: 1 }));
    let heard = bot.hear().await;
    assert_eq!(
        (heard.text.as_str(), heard.account.id.clone(), heard.place.clone()),
        ("/status", own_account(), place())
    );
    let detail = heard.account.detail.clone().unwrap();
    assert!(detail.starts_with(&format!("pid {}, login uid ", std::process::id())), "{detail}");

    bot.server.answer(&heard, &card(Tone::Plain, "all well")).await.unwrap();
    bot.server.post(&place(), run(4), &key("r4/card"), &card(Tone::Busy, "rolling")).await.unwrap();
    assert_eq!(
        asking.next().await,
        Some(FromServer::Answer { id: 1, card: card(Tone::Plain, "all well"), private: true })
    );
    for wire in [&mut asking, &mut other] {
        let Some(FromServer::Message(told)) = wire.next().await else { panic!("the post comes to everybody, alone") };
        assert_eq!((told.kind, told.run, told.run_ended, told.backlog), (Kind::Post, run(4), false, false));
    }
    bot.stop().await;
}

#[tokio::test]
async fn the_same_thing_said_again_after_a_reconnect_has_the_same_key_and_no_other_has_it() {
    let mut bot = Bot::start(options());
    let mut keys = Vec::new();
    for (session, id) in [("a1", 1), ("a1", 1), ("a1", 2), ("b2", 1)] {
        let mut wire = Wire::attach(&bot.path, Some(session), None).await;
        wire.say(id, "/rollback image api").await;
        keys.push(bot.hear().await.event);
    }
    assert_eq!(keys[0], keys[1]);
    assert!(keys[0] != keys[2] && keys[0] != keys[3] && keys[2] != keys[3], "{keys:?}");
    bot.stop().await;
}

#[tokio::test]
async fn an_answer_waits_for_its_session_and_goes_to_no_other() {
    let mut bot = Bot::start(options());
    let mut wire = Wire::attach(&bot.path, Some("mine"), None).await;
    wire.say(7, "/status").await;
    let heard = bot.hear().await;
    drop(wire);
    // Gone for the server too when the same session can sit down without closing anybody.
    let mut other = Wire::attach(&bot.path, Some("other"), None).await;
    let mut again = loop {
        bot.server.answer(&heard, &card(Tone::Plain, "late")).await.unwrap();
        let mut wire = Wire::attach(&bot.path, Some("mine"), None).await;
        match tokio::time::timeout(Duration::from_millis(50), wire.next()).await {
            Ok(Some(FromServer::Answer { id: 7, card, .. })) if card.plain() == "late" => break wire,
            Ok(other) => panic!("{other:?}"),
            Err(_) => {} // the answer went to the seat that was just leaving
        }
    };
    again.say(8, "/help").await;
    assert_eq!(again.next().await, Some(FromServer::Heard { id: 8 }));
    other.say(1, "/help").await;
    assert_eq!(other.next().await, Some(FromServer::Heard { id: 1 }), "the other saw nothing of it");
    bot.stop().await;
}

#[tokio::test]
async fn nobody_speaks_as_somebody_else_outside_the_demo() {
    let mut bot = Bot::start(options());
    let mut wire = Wire::connect(&bot.path).await;
    wire.hello(None, Some("carol")).await;
    assert!(wire.closing().await.contains("sternway demo"));

    let mut wire = bot.attach().await;
    wire.say(1, "/as carol").await;
    let heard = bot.hear().await;
    assert_eq!((heard.text.as_str(), heard.account.id), ("/as carol", own_account()), "just words, for the dispatch");
    bot.stop().await;
}

#[tokio::test]
async fn in_the_demo_one_terminal_can_be_several_people() {
    let mut bot = Bot::start(demo());
    let mut wire = Wire::connect(&bot.path).await;
    wire.hello(None, Some("carol")).await;
    assert_eq!(
        wire.next().await,
        Some(FromServer::Welcome {
            greeting: "carol, stack shop".into(),
            known: true,
            demo: true,
            speaker: Some("carol".into())
        })
    );
    wire.say(1, "/status").await;
    let heard = bot.hear().await;
    assert_eq!(heard.account.id, "uid:9001");
    assert!(heard.account.detail.unwrap().ends_with("speaking as carol in the demo"));

    wire.say(2, "/as dave").await;
    wire.say(3, "/status").await;
    assert_eq!(bot.hear().await.account.id, "uid:9002");
    wire.say(4, "/as nobody").await;
    wire.say(5, "/status").await;
    assert_eq!(bot.hear().await.account.id, "uid:9002", "an unknown name changes nothing");
    bot.stop().await;
}

#[tokio::test]
async fn completion_answers_from_memory_and_survives_any_cursor() {
    let bot = Bot::start(demo());
    let mut wire = bot.attach().await;
    let ask = async |wire: &mut Wire, id, line: &str, cursor| {
        wire.tell(&FromClient::Complete { id, line: line.into(), cursor }).await;
        match wire.next().await {
            Some(FromServer::Completions { id: told, items }) if told == id => {
                items.into_iter().map(|Item { text, .. }| text).collect::<Vec<_>>()
            }
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(ask(&mut wire, 1, "/re", 3).await, ["/releases"]);
    assert_eq!(ask(&mut wire, 2, "/rollback image api rel", 23).await, ["rel17", "rel9"]);
    assert_eq!(ask(&mut wire, 3, "/as da", 6).await, ["dave"]);
    assert_eq!(ask(&mut wire, 4, "بط", usize::MAX).await, [""; 0]);
    assert_eq!(ask(&mut wire, 5, "ب/", 1).await.len(), 9, "a cursor inside a letter is moved before it");
    bot.stop().await;
}

#[tokio::test]
async fn whoever_attaches_sees_the_last_messages_as_they_stand() {
    let bot = Bot::start(ConsoleOptions { limits: Limits { backlog: 3, ..Limits::default() }, ..options() });
    for n in 1..=4 {
        let card_key = key(&format!("r{n}/card"));
        bot.server.post(&place(), run(n), &card_key, &card(Tone::Busy, "rolling")).await.unwrap();
        bot.server.edit(&place(), run(n), &card_key, &card(Tone::Good, "rolled")).await.unwrap();
    }
    // The outbox may say again what has arrived.
    bot.server.post(&place(), run(4), &key("r4/card"), &card(Tone::Good, "rolled")).await.unwrap();
    let mut wire = bot.attach().await;
    for n in 2..=4 {
        let Some(FromServer::Message(told)) = wire.next().await else { panic!("no backlog") };
        assert_eq!(
            (told.run, told.card.plain().as_str(), told.backlog, told.run_ended),
            (run(n), "rolled", true, true)
        );
    }
    let elsewhere = Place { channel: "C123".into(), ..place() };
    let refused = bot.server.post(&elsewhere, run(5), &key("k"), &card(Tone::Plain, "")).await;
    assert!(matches!(refused, Err(ChatError::Refused(_))), "{refused:?}");
    bot.stop().await;
}

#[tokio::test]
async fn stopping_says_so_and_takes_the_socket_away() {
    let bot = Bot::start(options());
    let (mut wire, path) = (bot.attach().await, bot.path.clone());
    let _silent = bot.attach().await;
    let (folder, server) = (bot._folder, bot.server);
    bot.stop.cancel();
    assert!(wire.closing().await.contains("stopping"));
    tokio::time::timeout(BOUND, bot.task).await.unwrap().unwrap();
    drop(server);
    assert!(!path.exists() && folder.is_some());
}

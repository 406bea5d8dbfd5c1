//! The console over a real Unix socket: several clients, hostile ones among them, scripts, and a bot that
//! goes away and comes back.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // helpers of tests, outside of test functions

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
async fn a_full_queue_is_told_at_once_and_nothing_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let mut bot = Bot::start_at(&folder.path().join("s"), options(), 1);
    let mut wire = bot.attach().await;
    wire.say(1, "/status").await;
    wire.say(2, "/status").await;
    assert_eq!(wire.next().await, Some(FromServer::Heard { id: 1 }));
    assert!(matches!(wire.next().await, Some(FromServer::Busy { id: 2, .. })));
    bot.hear().await;
    wire.say(2, "/status").await;
    assert_eq!(wire.next().await, Some(FromServer::Heard { id: 2 }), "said again it has its chance");
    bot.stop().await;
}

#[tokio::test]
async fn one_client_cannot_flood_the_queue_of_all() {
    let mut bot = Bot::start(options());
    let mut wire = bot.attach().await;
    for id in 0..200 {
        wire.say(id, "/status").await;
    }
    let mut busy = 0;
    for _ in 0..200 {
        busy += usize::from(matches!(wire.next().await, Some(FromServer::Busy { .. })));
    }
    assert!(busy > 0, "all 200 were taken");
    assert_eq!(bot.hear().await.text, "/status");
    bot.stop().await;
}

#[tokio::test]
async fn nonsense_is_refused_with_words_and_a_little_of_it_is_forgiven() {
    let mut bot = Bot::start(options());
    let mut wire = bot.attach().await;
    for nonsense in [&b"{\"type\":\"shell\",\"cmd\":\"ls\"}\n"[..], b"\xff\xfe\n", b"[[[[[[\n", b"\n"] {
        wire.raw(nonsense).await;
        let Some(FromServer::Error { id: None, why }) = wire.next().await else { panic!("{nonsense:?}") };
        assert!(why.contains("not understood") || why.contains("hello"), "{why}");
    }
    for blank in ["", "  \t"] {
        wire.say(1, blank).await;
        assert!(matches!(wire.next().await, Some(FromServer::Error { id: Some(1), .. })));
    }
    wire.say(1, &"x".repeat(9000)).await;
    assert!(matches!(wire.next().await, Some(FromServer::Error { id: Some(1), .. })));
    wire.say(2, "/help").await;
    assert_eq!(bot.hear().await.text, "/help", "it can still speak");
    wire.raw(b"once more\n").await;
    assert!(wire.closing().await.contains("no console messages"));
    bot.stop().await;
}

#[tokio::test]
async fn whoever_does_not_greet_well_is_turned_away_with_words() {
    let mut bot = Bot::start(ConsoleOptions {
        limits: Limits { hello: Duration::from_millis(100), ..Limits::default() },
        ..options()
    });
    let says: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\n", "must be a hello"),
        (b"{\"type\":\"say\",\"id\":1,\"text\":\"/status\"}\n", "must be a hello"),
        (b"{\"type\":\"hello\",\"version\":99}\n", "protocol 1"),
        (b"{\"type\":\"hello\",\"version\":1,\"session\":\"../x\"}\n", "a session's name"),
        (b"", "no hello within"),
    ];
    for (first, expected) in says {
        let mut wire = Wire::connect(&bot.path).await;
        wire.raw(first).await;
        let why = wire.closing().await;
        assert!(why.contains(expected), "{first:?}: {why}");
    }
    assert!(bot.heard.try_recv().is_err(), "nothing of it was heard");
    bot.stop().await;
}

#[tokio::test]
async fn a_huge_line_is_refused_and_its_end_is_never_taken_for_a_command() {
    let mut bot = Bot::start(options());
    let mut wire = bot.attach().await;
    let mut huge = vec![b'x'; CLIENT_LINE_LIMIT * 8];
    huge.extend_from_slice(b"\n{\"type\":\"say\",\"id\":1,\"text\":\"/rollback full\"}\n");
    let (closing, ()) = tokio::join!(
        async {
            match wire.lines.next().await {
                Ok(Read::Line(line)) => line,
                other => panic!("{other:?}"),
            }
        },
        async {
            let _ = wire.out.write_all(&huge).await; // broken off by the server
        }
    );
    assert!(closing.contains("closing") && closing.contains("65536"), "{closing}");
    assert!(bot.heard.try_recv().is_err());
    bot.stop().await;
}

#[tokio::test]
async fn a_client_that_stops_sending_still_gets_what_was_queued() {
    let mut bot = Bot::start(options());
    let mut wire = bot.attach().await;
    wire.say(1, "/status").await;
    wire.out.shutdown().await.unwrap();
    assert_eq!(wire.rest().await, [FromServer::Heard { id: 1 }]);
    assert_eq!(bot.hear().await.text, "/status");
    bot.stop().await;
}

#[tokio::test]
async fn a_thousand_connections_find_a_bounded_number_of_seats_and_words_at_the_door() {
    let mut bot = Bot::start(ConsoleOptions {
        limits: Limits { clients: 30, clients_per_user: 10, ..Limits::default() },
        ..options()
    });
    let mut all = Vec::new();
    for _ in 0..1000 {
        all.push(Wire::connect(&bot.path).await);
    }
    for wire in &mut all[10..] {
        assert!(wire.closing().await.contains("no room"));
    }
    // Those inside are served as if nothing were.
    let inside = &mut all[3];
    inside.hello(None, None).await;
    assert!(matches!(inside.next().await, Some(FromServer::Welcome { .. })));
    inside.say(1, "/status").await;
    assert_eq!(bot.hear().await.text, "/status");
    // And when they leave there is room again.
    drop(all);
    let deadline = tokio::time::Instant::now() + BOUND;
    loop {
        let mut wire = Wire::connect(&bot.path).await;
        wire.hello(None, None).await;
        match wire.next().await {
            Some(FromServer::Welcome { .. }) => break,
            _ => assert!(tokio::time::Instant::now() < deadline, "the seats stay taken"),
        }
    }
    bot.stop().await;
}

#[tokio::test]
async fn a_slow_reader_loses_overtaken_edits_first_and_never_holds_up_the_others() {
    let bot = Bot::start(ConsoleOptions { limits: Limits { waiting_lines: 32, ..Limits::default() }, ..options() });
    let mut slow = bot.attach().await;
    let mut quick = bot.attach().await;
    bot.server.post(&place(), run(4), &key("r4/card"), &card(Tone::Busy, "begins")).await.unwrap();
    let padding = "x".repeat(8000);
    for n in 0..500 {
        let words = format!("{n} {padding}");
        bot.server.edit(&place(), run(4), &key("r4/card"), &card(Tone::Busy, &words)).await.unwrap();
        let Some(FromServer::Message(_)) = quick.next().await else { panic!("the quick one is held up at {n}") };
    }
    bot.server.edit(&place(), run(4), &key("r4/card"), &card(Tone::Good, "done")).await.unwrap();
    let mut seen = 0;
    loop {
        match slow.next().await {
            Some(FromServer::Message(told)) if told.run_ended => break,
            Some(FromServer::Message(_)) => seen += 1,
            other => panic!("after {seen} messages: {other:?}"),
        }
    }
    assert!(seen < 400, "nothing was left out: {seen}");
    bot.stop().await;
}

#[tokio::test]
async fn a_hopeless_reader_is_dropped_with_words() {
    let bot = Bot::start(ConsoleOptions { limits: Limits { waiting_lines: 32, ..Limits::default() }, ..options() });
    let mut slow = bot.attach().await;
    let padding = "x".repeat(8000);
    for n in 0..500 {
        let words = format!("{n} {padding}");
        bot.server.reply(&place(), run(4), &key(&format!("r4/{n}")), &card(Tone::Plain, &words)).await.unwrap();
    }
    assert!(slow.closing().await.contains("too slowly"));
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

/// What a script's conversation looks like.
#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

fn client(bot: &Path) -> ClientOptions {
    let quick = BOUND / 2;
    ClientOptions {
        answer_limit: quick,
        runs_limit: quick,
        ..ClientOptions::new(bot.to_owned(), Arc::new(SystemClock))
    }
}

fn spawn_script(
    options: ClientOptions,
    input: &'static str,
) -> (tokio::task::JoinHandle<Result<Ended, ClientError>>, Paper) {
    let paper = Paper::default();
    let mut out = paper.clone();
    let script = async move { run_script(&options, BufReader::new(Cursor::new(input)), &mut out).await };
    (tokio::spawn(script), paper)
}

#[tokio::test]
async fn a_script_says_its_lines_in_turn_and_waits_for_the_runs_it_began() {
    let mut bot = Bot::start(demo());
    let (script, paper) = spawn_script(
        ClientOptions { speaker: Some("carol".into()), ..client(&bot.path) },
        "# first look\n/status\n\n/rollback image api\n",
    );
    let heard = bot.hear().await;
    assert!(bot.heard.try_recv().is_err(), "the second line waits for the first answer");
    bot.server.answer(&heard, &card(Tone::Plain, "all well")).await.unwrap();
    let heard = bot.hear().await;
    let accepted = Card::new(Tone::Plain, vec![code("r4"), text(" accepted")]);
    bot.server.answer(&heard, &accepted).await.unwrap();
    // Somebody else's run ends badly; that is no trouble of this script.
    bot.server.post(&place(), run(3), &key("r3/card"), &card(Tone::Bad, "r3 is stuck")).await.unwrap();
    let rolling = card(Tone::Busy, "Rolling api back").line(vec![text("… swap")]);
    bot.server.post(&place(), run(4), &key("r4/card"), &rolling).await.unwrap();
    let mut done = rolling.clone();
    done.lines = vec![vec![text("✓ swap  0:03")]];
    done.tone = Tone::Good;
    bot.server.edit(&place(), run(4), &key("r4/card"), &done).await.unwrap();
    assert_eq!(script.await.unwrap().unwrap(), Ended::Well);
    insta::assert_snapshot!(paper.text(), @r"
    │ · Sternway console: carol, stack shop
    › /status
    │ · all well
    › /rollback image api
    │ · r4 accepted
    r3 │ ✗ r3 is stuck
    r4 │ … Rolling api back
       │ … swap
    r4 │ ✓ Rolling api back
       │ ✓ swap  0:03
    ");
    bot.stop().await;
}

#[tokio::test]
async fn a_refusal_or_a_run_that_is_put_back_makes_a_script_fail() {
    for bad_answer in [true, false] {
        let mut bot = Bot::start(options());
        let (script, paper) = spawn_script(client(&bot.path), "/rollback image api\n");
        let heard = bot.hear().await;
        if bad_answer {
            bot.server.answer(&heard, &card(Tone::Warn, "not yours to do")).await.unwrap();
        } else {
            bot.server.post(&place(), run(4), &key("r4/card"), &card(Tone::Busy, "rolling")).await.unwrap();
            bot.server.edit(&place(), run(4), &key("r4/card"), &card(Tone::Warn, "put back")).await.unwrap();
        }
        assert_eq!(script.await.unwrap().unwrap(), Ended::Trouble, "{}", paper.text());
        bot.stop().await;
    }
}

#[tokio::test]
async fn a_script_waits_no_longer_than_its_limits_and_says_what_it_left() {
    let mut bot = Bot::start(options());
    let short = Duration::from_millis(100);
    let (script, paper) = spawn_script(
        ClientOptions { answer_limit: short, runs_limit: short, ..client(&bot.path) },
        "/status\n/rollback image api\n",
    );
    bot.hear().await;
    bot.hear().await;
    bot.server.post(&place(), run(4), &key("r4/card"), &card(Tone::Busy, "rolling")).await.unwrap();
    assert_eq!(script.await.unwrap().unwrap(), Ended::Trouble);
    let said = paper.text();
    assert!(said.contains("no answer within") && said.contains("not ended yet: r4"), "{said}");
    bot.stop().await;
}

#[tokio::test]
async fn a_busy_bot_is_asked_again_by_a_script() {
    let folder = tempfile::tempdir().unwrap();
    let mut bot = Bot::start_at(&folder.path().join("s"), options(), 1);
    let mut filler = bot.attach().await;
    filler.say(1, "/filler").await;
    assert_eq!(filler.next().await, Some(FromServer::Heard { id: 1 }));
    let (script, paper) = spawn_script(client(&bot.path), "/status\n");
    // Refused at least once before there is room: whatever time that takes, it does not change the end.
    let deadline = tokio::time::Instant::now() + BOUND;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while !paper.text().contains("/status") {
        tick.tick().await;
        assert!(tokio::time::Instant::now() < deadline, "the script says nothing");
    }
    for _ in 0..20 {
        tick.tick().await;
    }
    assert_eq!(bot.hear().await.text, "/filler");
    let heard = bot.hear().await;
    bot.server.answer(&heard, &card(Tone::Plain, "at last")).await.unwrap();
    assert_eq!(script.await.unwrap().unwrap(), Ended::Well, "{}", paper.text());
    bot.stop().await;
}

#[tokio::test]
async fn a_client_comes_back_to_a_bot_that_restarted_and_says_again_what_had_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let mut bot = Bot::start_at(&path, demo(), 8);
    let (script, paper) =
        spawn_script(ClientOptions { speaker: Some("carol".into()), ..client(&path) }, "/rollback image api\n");
    let first = bot.hear().await;
    let server = Arc::clone(&bot.server);
    bot.stop().await;
    drop(server);

    let mut bot = Bot::start_at(&path, demo(), 8);
    let again = bot.hear().await;
    assert_eq!((&again.event, &again.text), (&first.event, &first.text), "one deed, whatever was lost between");
    assert_eq!(again.account.id, "uid:9001", "and still the same speaker");
    bot.server.answer(&again, &card(Tone::Plain, "accepted once")).await.unwrap();
    assert_eq!(script.await.unwrap().unwrap(), Ended::Well);
    let said = paper.text();
    assert!(said.contains("stopping") && said.contains("back again") && said.contains("accepted once"), "{said}");
    bot.stop().await;
}

#[tokio::test]
async fn a_client_without_a_bot_says_what_to_do_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("s");
    let error = run_script(&client(&path), Cursor::new(""), &mut Paper::default()).await.unwrap_err().to_string();
    assert!(error.contains("no bot listens") && error.contains("sternway console"), "{error}");

    let bot = Bot::start(options());
    let as_carol = ClientOptions { speaker: Some("carol".into()), ..client(&bot.path) };
    let error = run_script(&as_carol, Cursor::new(""), &mut Paper::default()).await.unwrap_err().to_string();
    assert!(error.contains("sternway demo"), "{error}");
    bot.stop().await;
}

/// A bot to talk to by hand: `cargo test --test console by_hand -- --ignored --nocapture` in a terminal.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs somebody at a keyboard"]
async fn by_hand() {
    let mut bot = Bot::start(demo());
    let server = Arc::clone(&bot.server);
    let talk = tokio::spawn(async move {
        let mut n = 40;
        while let Some(heard) = bot.heard.recv().await {
            n += 2;
            by_hand_answer(&server, &heard, n).await;
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let options = ClientOptions {
        speaker: Some("carol".into()),
        colour: true,
        history: Some(folder.path().join("deep/history")),
        ..client(&bot.path)
    };
    let ended = run_client(options).await;
    talk.abort();
    println!("ended: {ended:?}");
}

async fn by_hand_answer(server: &Arc<ConsoleServer>, heard: &Invocation, n: u64) {
    let said = |words: &str| Card::new(Tone::Plain, vec![text(words)]);
    match heard.text.as_str() {
        "/status" => {
            let card = Card::new(Tone::Good, vec![text("Stack "), code("shop"), text(": all services answer")])
                .line(vec![code("api"), text("  rel19  since 02:10, proven")])
                .line(vec![code("mongodb"), text("  rel3  since Monday, proven")])
                .detail(vec![text("last rollback "), code("r31"), text(" by carol, 12 days ago")]);
            server.answer(heard, &card).await.unwrap();
        }
        "/arabic" => {
            let card = Card::new(Tone::Bad, vec![text("خدمة "), code("api"), text(" لا تستجيب منذ النشر الأخير")])
                .line(vec![text("بطء شديد في الواجهة بعد النشر "), code("rel19"), text(" هذا الصباح")])
                .button("Rollback", "/rollback image api".into());
            server.answer(heard, &card).await.unwrap();
        }
        "/evil" => {
            let card = Card::new(Tone::Warn, vec![text("name: \u{1b}[2J\u{1b}[31mapi\u{202e}ipa\u{7}")]);
            server.answer(heard, &card).await.unwrap();
        }
        "/rollback image api" => {
            let run = run(n);
            let (place, card_key) = (place(), key(&format!("{run}/card")));
            let ask =
                Card::new(Tone::Ask, vec![text("Roll "), code("api"), text(" back to "), code("rel17"), text("?")])
                    .line(vec![text("stack "), code("shop"), text(", asked by carol because checkout fails")])
                    .line(vec![
                        text("now "),
                        code("rel19"),
                        text(", since 02:10; then "),
                        code("rel17"),
                        text(", ran 9 days"),
                    ])
                    .line(vec![text("gap of about 4 s; undo: "), code("rel19"), text(" again")])
                    .detail(vec![code("sha256:0f3a9c5b2d7e8f10a1b2c3d4e5f60718293a4b5c6d7e8f90")])
                    .button("Approve", "/approve a45".into())
                    .button("Deny", "/deny a45".into());
            server.post(&place, run, &card_key, &ask).await.unwrap();
            let server = Arc::clone(server);
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_millis(700));
                tick.tick().await;
                let steps = ["pull image", "stop old container", "start new container", "prove health for 30 s"];
                for done in 0..=steps.len() {
                    tick.tick().await;
                    let mut card = Card::new(
                        if done == steps.len() { Tone::Good } else { Tone::Busy },
                        vec![
                            text(if done == steps.len() { "Rolled " } else { "Rolling " }),
                            code("api"),
                            text(" back to "),
                            code("rel17"),
                        ],
                    );
                    for (at, step) in steps.iter().enumerate().take(done + 1) {
                        let line = if at < done { format!("✓ {step}  0:0{at}") } else { format!("… {step}") };
                        card.lines.push(vec![text(line)]);
                    }
                    server.edit(&place, run, &card_key, &card).await.unwrap();
                }
            });
        }
        "/stop" => {
            server.reply(&place(), run(n), &key(&format!("x{n}")), &said("one more thing in the thread")).await.unwrap()
        }
        other => server
            .answer(heard, &Card::new(Tone::Warn, vec![text("There is no command "), code(other), text(". Try /help")]))
            .await
            .unwrap(),
    }
}

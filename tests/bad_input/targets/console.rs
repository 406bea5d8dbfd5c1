//! The console's socket, both ways: a client that says anything to a server, a server that says anything to a client.

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sternway::chat::console::client::{ClientOptions, run_script};
use sternway::chat::console::protocol::{
    CLIENT_LINE_LIMIT, FromServer, LineReader, Read, SAY_LIMIT, SERVER_LINE_LIMIT,
};
use sternway::chat::console::server::{ConsoleOptions, ConsoleServer, Limits};
use sternway::chat::{Completion, Lookup};
use sternway::clock::{Clock, SystemClock};
use sternway::domain::actor::Account;
use sternway::domain::invocation::Place;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{assert_shown, block_on, folder};

struct Nobody;

impl Lookup for Nobody {
    fn complete(&self, _: &Account, _: &Place, line: &str, cursor: usize) -> Vec<Completion> {
        let begun = line.get(..cursor).expect("the cursor stands between characters");
        vec![Completion { text: begun.to_owned(), about: "said".to_owned() }]
    }
    fn greet(&self, account: &Account, _: &Place) -> Result<String, String> {
        Err(format!("{} is linked to nobody.", account.id))
    }
}

const HELLO: &[u8] = b"{\"type\":\"hello\",\"version\":1,\"session\":\"good\"}\n";

pub fn server(data: &[u8]) {
    let dir = folder();
    let socket = dir.path().join("s");
    block_on(async {
        let (intake, mut heard) = mpsc::channel(64);
        let options = ConsoleOptions { clock: Arc::new(SystemClock), limits: Limits::default(), speakers: None };
        let server = ConsoleServer::bind(&socket, intake, Arc::new(Nobody), options).unwrap();
        let stop = CancellationToken::new();
        let (serving, stopped) = (Arc::clone(&server), stop.clone());
        let task = tokio::spawn(async move { serving.serve(stopped).await });
        let mut answers = talk_to(&socket, data).await;
        // Said behind a good hello, too.
        answers.extend(talk_to(&socket, &[HELLO, data].concat()).await);
        for answer in answers {
            assert!(answer.len() <= SERVER_LINE_LIMIT, "a line of {} bytes", answer.len());
            serde_json::from_str::<FromServer>(&answer).unwrap_or_else(|why| panic!("{why}: {answer}"));
        }
        while let Ok(invocation) = heard.try_recv() {
            assert!(invocation.text.len() <= SAY_LIMIT && !invocation.text.trim().is_empty());
            assert!(invocation.account.id.starts_with("uid:"), "somebody else speaks: {invocation:?}");
        }
        // Somebody else is served as if nothing were.
        let others = talk_to(&socket, HELLO).await;
        assert!(others.first().is_some_and(|line| line.contains("welcome")), "{others:?}");
        stop.cancel();
        task.await.unwrap();
    });
}

/// Says all of it and reads to the end.
async fn talk_to(socket: &Path, data: &[u8]) -> Vec<String> {
    let (reading, mut writing) = UnixStream::connect(socket).await.unwrap().into_split();
    let saying = async {
        let _ = writing.write_all(data).await; // it may be turned out in the middle
        let _ = writing.shutdown().await;
    };
    let hearing = async {
        let mut lines = LineReader::new(reading, SERVER_LINE_LIMIT);
        let mut all = Vec::new();
        while let Ok(Read::Line(line)) = lines.next().await {
            all.push(line);
        }
        all
    };
    tokio::join!(saying, hearing).1
}

/// Never waits: a client that lost its bot comes back at once.
struct Hasty;

#[async_trait::async_trait]
impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }
    async fn sleep(&self, _: Duration) {
        tokio::task::yield_now().await;
    }
}

const WELCOME: &[u8] = b"{\"type\":\"welcome\",\"greeting\":\"amal\",\"known\":true,\"demo\":false}\n";
const ANSWER: &[u8] =
    b"{\"type\":\"answer\",\"id\":1,\"card\":{\"tone\":\"plain\",\"title\":[{\"text\":\"over\"}],\"lines\":[]},\"private\":true}\n";

pub fn client(data: &[u8]) {
    let dir = folder();
    let socket = dir.path().join("s");
    for colour in [false, true] {
        let _ = std::fs::remove_file(&socket);
        let drawn = block_on(async {
            let listener = UnixListener::bind(&socket).unwrap();
            let mut options = ClientOptions::new(socket.clone(), Arc::new(Hasty));
            options.colour = colour;
            options.width = Some(60);
            options.runs_limit = Duration::ZERO;
            options.answer_limit = Duration::from_secs(1);
            let mut out = Vec::new();
            tokio::select! {
                () = answer(&listener, data) => {}
                _ = run_script(&options, Cursor::new(b"/status\n".to_vec()), &mut out) => {}
            }
            String::from_utf8(out).expect("it draws text")
        });
        assert_shown("the console", &without_isolates(&without_colours(&drawn)));
    }
}

/// The first one who comes is told the input, whoever comes back is not; both are answered once they say something.
async fn answer(listener: &UnixListener, data: &[u8]) {
    let mut input = [data, b"\n"].concat();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let input = std::mem::take(&mut input);
        tokio::spawn(async move {
            let (reading, mut writing) = stream.into_split();
            let _ = writing.write_all(WELCOME).await; // it may hang up at any point
            let _ = writing.write_all(&input).await;
            let mut lines = LineReader::new(reading, CLIENT_LINE_LIMIT);
            while let Ok(Read::Line(line)) = lines.next().await {
                if line.contains("\"say\"") {
                    let _ = writing.write_all(ANSWER).await;
                }
            }
        });
    }
}

/// Select Graphic Rendition of ECMA-48, which is all that is drawn beside text.
fn without_colours(drawn: &str) -> String {
    let mut parts = drawn.split('\u{1b}');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let parameters = part.strip_prefix('[').and_then(|rest| rest.split_once('m'));
        match parameters.filter(|(numbers, _)| numbers.bytes().all(|b| b.is_ascii_digit() || b == b';')) {
            Some((_, text)) => out.push_str(text),
            None => out.push('\u{1b}'),
        }
    }
    out
}

/// The isolates that are drawn around code in lines that run from right to left: in pairs, each closed on its line.
fn without_isolates(drawn: &str) -> String {
    let line = |line: &str| {
        let mut open = false;
        let kept: String = line
            .chars()
            .filter(|c| match c {
                '\u{2066}' => std::mem::replace(&mut open, true),
                '\u{2069}' => !std::mem::replace(&mut open, false),
                _ => true,
            })
            .collect();
        if open { format!("{kept}\u{2066}") } else { kept }
    };
    drawn.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

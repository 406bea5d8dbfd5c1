//! People in front of the console: the user who runs the tests over the socket itself, and another user through
//! `sternway console`, because the kernel vouches for who speaks.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use sternway::chat::console::protocol::{
    FromClient, FromServer, LineReader, Read, SERVER_LINE_LIMIT, VERSION, json_line,
};
use sternway::domain::card::Card;
use sternway::domain::run::RunState;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::bot::STERNWAY;
use crate::shop::{BOUND, OMAR_UID, Shop, until};

/// Everything the bot said to one connection.
#[derive(Clone, Default)]
pub(crate) struct Heard {
    pub(crate) lines: Arc<Mutex<Vec<String>>>,
}

impl Heard {
    /// All of it as it came.
    pub(crate) fn text(&self) -> String {
        self.lines.lock().unwrap().join("\n")
    }

    fn messages(&self) -> Vec<FromServer> {
        self.lines.lock().unwrap().iter().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Words of the channel's messages, in order.
    pub(crate) fn channel(&self) -> String {
        let cards = self.messages().into_iter().filter_map(|m| match m {
            FromServer::Message(told) => Some(told.card.plain()),
            _ => None,
        });
        cards.collect::<Vec<_>>().join("\n")
    }
}

/// Somebody attached.
pub(crate) struct Seat {
    out: OwnedWriteHalf,
    pub(crate) heard: Heard,
    moved: watch::Receiver<usize>,
    last: u64,
    _reader: AbortOnDropHandle<()>,
}

impl Seat {
    /// Attaches, in a session of that name if one is given.
    pub(crate) async fn try_sit(socket: &Path, session: Option<&str>) -> Result<Self, String> {
        let stream = UnixStream::connect(socket).await.map_err(|e| e.to_string())?;
        let (reading, mut out) = stream.into_split();
        let hello = FromClient::Hello { version: VERSION, session: session.map(str::to_owned), speaker: None };
        out.write_all(json_line(&hello).as_bytes()).await.map_err(|e| e.to_string())?;
        let mut lines = LineReader::new(reading, SERVER_LINE_LIMIT);
        let first = timeout(Duration::from_secs(10), lines.next()).await.map_err(|e| e.to_string())?;
        let Ok(Read::Line(first)) = first else { return Err("no welcome".to_owned()) };
        if !matches!(serde_json::from_str(&first), Ok(FromServer::Welcome { known: true, .. })) {
            return Err(first);
        }
        let heard = Heard::default();
        let (told, moved) = watch::channel(0);
        let kept = heard.clone();
        let reader = tokio::spawn(async move {
            while let Ok(Read::Line(line)) = lines.next().await {
                kept.lines.lock().unwrap().push(line);
                told.send_modify(|n| *n += 1);
            }
        });
        Ok(Self { out, heard, moved, last: 0, _reader: AbortOnDropHandle::new(reader) })
    }

    /// Says something under a number, without waiting. A bot that is gone hears nothing.
    pub(crate) async fn send(&mut self, id: u64, text: &str) {
        self.last = self.last.max(id);
        let line = json_line(&FromClient::Say { id, text: text.to_owned() });
        let _ = self.out.write_all(line.as_bytes()).await;
    }

    /// Says something and gives the first answer.
    pub(crate) async fn say(&mut self, text: &str) -> Card {
        let id = self.last + 1;
        self.send(id, text).await;
        self.answer(id).await
    }

    /// The first answer to what was said under that number.
    pub(crate) async fn answer(&mut self, id: u64) -> Card {
        self.nth_answer(id, 0).await
    }

    /// The answer after `nth` others to the same words.
    pub(crate) async fn nth_answer(&mut self, id: u64, nth: usize) -> Card {
        let found = |messages: Vec<FromServer>| {
            let answers = messages.into_iter().filter_map(|m| match m {
                FromServer::Answer { id: of, card, .. } if of == id => Some(card),
                FromServer::Busy { id: of, why } if of == id => panic!("busy: {why}"),
                FromServer::Error { why, .. } => panic!("error: {why}"),
                _ => None,
            });
            answers.into_iter().nth(nth)
        };
        let waited = timeout(BOUND, async {
            loop {
                if let Some(card) = found(self.heard.messages()) {
                    return Some(card);
                }
                if self.moved.changed().await.is_err() {
                    return found(self.heard.messages());
                }
            }
        });
        match waited.await {
            Ok(Some(card)) => card,
            _ => panic!("no answer {nth} to {id}; heard: {}", self.heard.text()),
        }
    }
}

/// Another user at the console: he says his lines and goes on reading until he is dropped.
pub(crate) struct Omar {
    child: std::process::Child,
    /// Open while he sits there: a console at the end of its input leaves soon after its runs have ended, and what is
    /// answered to him alone may come later than that.
    _input: ChildStdin,
    out: PathBuf,
}

impl Omar {
    /// Says lines, one after another, in a console of his own.
    pub(crate) fn says(shop: &Shop, lines: &[&str]) -> Self {
        let mut random = [0; 4];
        getrandom::fill(&mut random).expect("random numbers");
        let out = shop.folder().join(format!("omar-{}.txt", hex::encode(random)));
        let file = std::fs::File::create(&out).expect("a file of ours");
        let mut child = Command::new(readable_program())
            .args(["console", "--socket"])
            .arg(shop.socket())
            .current_dir("/")
            .env("HOME", "/nonexistent")
            .uid(OMAR_UID)
            .gid(rustix::process::getgid().as_raw()) // the socket's group
            .stdin(Stdio::piped())
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .spawn()
            .expect("sternway can be started as another user");
        let mut input = child.stdin.take().expect("a pipe");
        let text: String = lines.iter().map(|l| format!("{l}\n")).collect();
        let _ = input.write_all(text.as_bytes());
        Self { child, _input: input, out }
    }

    /// Approves what a run waits for, once `seat` has heard the question: in the files it can be seen a moment before
    /// it is durable, and until then there is nothing to approve. `more` is said afterwards.
    pub(crate) async fn approves(shop: &Shop, seat: &Seat, run: &RunState, because: &str, more: &[&str]) -> Self {
        let words = format!("/approve {}", run.approval.as_ref().expect("a question").id);
        until("the question in the channel", async || match seat.heard.text() {
            text if text.contains(&words) => Ok(()),
            text => Err(text),
        })
        .await;
        let words = if because.is_empty() { words } else { format!("{words} because {because}") };
        Self::says(shop, &[&[words.as_str()], more].concat())
    }

    /// What he read so far.
    pub(crate) fn read(&self) -> String {
        std::fs::read_to_string(&self.out).unwrap_or_default()
    }
}

impl Drop for Omar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The program where every user may run it: the clone may lie in a folder that is closed to others.
fn readable_program() -> &'static Path {
    static PROGRAM: OnceLock<tempfile::TempPath> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let (_, path) = tempfile::Builder::new().prefix("sternway-").tempfile().expect("a file").into_parts();
        std::fs::copy(STERNWAY, &path).expect("a copy of the program");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it is ours");
        path
    })
}

//! One person in front of the console, played by the demo: says lines over the real socket and shows what comes back.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedWriteHalf;
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use crate::chat::console::draw::{Drawing, Look, answer, notice};
use crate::chat::console::protocol::{FromClient, FromServer, LineReader, Read, VERSION, json_line};
use crate::domain::card::Card;

/// Longest line the bot may say.
const LINE_LIMIT: usize = 1024 * 1024;

/// Longest wait for an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Longest wait for a message that the bot has to say.
const SHOWN_LIMIT: Duration = Duration::from_secs(30);

/// The terminal, shared by all seats.
#[derive(Clone)]
pub(super) struct Screen {
    drawing: Arc<Mutex<Drawing>>,
    look: Look,
    /// Keys of the messages that stand on it.
    shown: Arc<watch::Sender<BTreeSet<String>>>,
}

impl Screen {
    pub(super) fn new(look: Look) -> Self {
        Self { drawing: Arc::default(), look, shown: Arc::new(watch::Sender::new(BTreeSet::new())) }
    }

    /// Waits until a message stands on the screen, so that nobody on it answers what the visitor has not read.
    pub(super) async fn shown(&self, key: &str) -> anyhow::Result<()> {
        let mut keys = self.shown.subscribe();
        let there = tokio::time::timeout(SHOWN_LIMIT, keys.wait_for(|keys| keys.contains(key))).await;
        there.with_context(|| format!("the message {key} was never shown"))?.context("the screen is gone")?;
        Ok(())
    }

    /// Words of the demo itself.
    pub(super) fn say(&self, words: &str) {
        self.print(&format!("\n{}", notice(words, self.look)));
    }

    /// Shows text as it is.
    pub(super) fn print(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A terminal that went away ends the demo at its next question.
        let _ = writeln!(out, "{}", text.trim_end_matches('\n'));
        let _ = out.flush();
    }
}

/// A person's connection.
pub(super) struct Seat {
    name: String,
    out: OwnedWriteHalf,
    last: u64,
    answers: mpsc::Receiver<(u64, Card)>,
    screen: Screen,
    _reader: AbortOnDropHandle<()>,
}

impl Seat {
    /// Sits down as a person. The one at the `wall` shows what everybody sees.
    pub(super) async fn take(socket: &Path, name: &str, wall: bool, screen: Screen) -> anyhow::Result<Self> {
        let stream = UnixStream::connect(socket).await.context("the bot's console")?;
        let (reading, mut out) = stream.into_split();
        let hello = FromClient::Hello { version: VERSION, session: None, speaker: Some(name.to_owned()) };
        out.write_all(json_line(&hello).as_bytes()).await?;
        let (told, answers) = mpsc::channel(64);
        let shown = screen.clone();
        let reader = tokio::spawn(async move {
            let mut lines = LineReader::new(reading, LINE_LIMIT);
            while let Ok(Read::Line(line)) = lines.next().await {
                match serde_json::from_str(&line) {
                    Ok(FromServer::Message(message)) if wall => {
                        let text = {
                            let mut drawing = shown.drawing.lock().unwrap_or_else(PoisonError::into_inner);
                            drawing.message(&message, shown.look)
                        };
                        if !text.trim().is_empty() {
                            shown.print(&text);
                        }
                        shown.shown.send_modify(|keys| {
                            keys.insert(message.key);
                        });
                    }
                    Ok(FromServer::Answer { id, card, .. }) => {
                        shown.print(&answer(&card, shown.look));
                        let _ = told.send((id, card)).await;
                    }
                    Ok(FromServer::Busy { why, .. } | FromServer::Error { why, .. }) => {
                        shown.print(&notice(&why, shown.look))
                    }
                    _ => {}
                }
            }
        });
        Ok(Self { name: name.to_owned(), out, last: 0, answers, screen, _reader: AbortOnDropHandle::new(reader) })
    }

    /// Says a line and waits for the answer to it; gives the answer and how long it took.
    pub(super) async fn say(&mut self, text: &str) -> anyhow::Result<(Card, Duration)> {
        self.screen.print(&format!("\n{} › {text}", self.name));
        self.last += 1;
        let began = Instant::now();
        let line = json_line(&FromClient::Say { id: self.last, text: text.to_owned() });
        self.out.write_all(line.as_bytes()).await?;
        let wanted = self.last;
        let answer = tokio::time::timeout(ANSWER_LIMIT, async {
            while let Some((id, card)) = self.answers.recv().await {
                if id == wanted {
                    return Some(card);
                }
            }
            None
        });
        match answer.await {
            Ok(Some(card)) => Ok((card, began.elapsed())),
            Ok(None) => bail!("the bot hung up on {}", self.name),
            Err(_) => bail!("no answer to {text:?} within {} s", ANSWER_LIMIT.as_secs()),
        }
    }
}

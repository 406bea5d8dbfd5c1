//! What is said over the console's socket: one JSON object per line, UTF-8, both ways.
//!
//! The client begins with `hello`; the server answers `welcome` or `closing`. Lines are bounded on both
//! sides: a longer line is refused and the connection closed, because what follows it cannot be trusted to
//! begin anywhere. Both ends must be of one [`VERSION`]: they are the same binary.

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

use crate::domain::card::{Card, Line as CardLine, text};
use crate::domain::ids::RunId;

/// Version of this protocol. Raised when an old client would misunderstand.
pub const VERSION: u32 = 1;

/// Bytes in a line from a client, its newline not counted. A command is far shorter.
pub const CLIENT_LINE_LIMIT: usize = 64 * 1024;

/// Bytes in one thing said. Commands are far shorter; a longer one is a paste gone wrong.
pub const SAY_LIMIT: usize = 8 * 1024;

/// Bytes in a line from the server, its newline not counted. Longer cards are cut and say so.
pub const SERVER_LINE_LIMIT: usize = 256 * 1024;

/// What a client says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromClient {
    /// First line of a connection.
    Hello {
        /// The client's [`VERSION`].
        version: u32,
        /// Names the sitting, the same after a reconnect, so that what was said twice is heard once:
        /// up to 64 of `a-z 0-9 -`. Without it the server makes one for this connection.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        session: Option<String>,
        /// Demo only: the configured person to speak as.
        #[serde(default, rename = "as", skip_serializing_if = "Option::is_none")]
        speaker: Option<String>,
    },
    /// Something typed.
    Say {
        /// Counts what is said in a session; said again after a reconnect, it keeps its number.
        id: u64,
        /// The words, `/` included.
        text: String,
    },
    /// Which words could stand at the cursor?
    Complete {
        /// Named again in the answer.
        id: u64,
        /// The line so far.
        line: String,
        /// Byte offset in it.
        cursor: usize,
    },
}

/// One suggestion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// What would stand in place of the word at the cursor.
    pub text: String,
    /// A few words about it.
    #[serde(default)]
    pub about: String,
}

/// How a message of the channel came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A new message, the head of a run's thread.
    Post,
    /// The message with this key now reads like this.
    Edit,
    /// In the run's thread.
    Reply,
    /// A question in the run's thread.
    Ask,
}

/// A message of the channel, seen by everybody attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Told {
    /// How it came.
    pub kind: Kind,
    /// The run it is about.
    pub run: RunId,
    /// Names it, the same in its edits.
    pub key: String,
    /// What it says.
    pub card: Card,
    /// The run goes no further by itself: it ended, or it is stuck and waits for a person.
    #[serde(default, skip_serializing_if = "is_false")]
    pub run_ended: bool,
    /// Said before this client attached.
    #[serde(default, skip_serializing_if = "is_false")]
    pub backlog: bool,
}

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromServer {
    /// The client is attached, or now speaks as somebody else.
    Welcome {
        /// Who it is taken for, or why for nobody.
        greeting: String,
        /// Whether it is taken for a person of the config.
        known: bool,
        /// Whether clients may speak as several people.
        demo: bool,
        /// Demo only: whom it speaks as.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        speaker: Option<String>,
    },
    /// What was said has arrived; promises nothing (decision 26).
    Heard {
        /// Of the `say`.
        id: u64,
    },
    /// The answer to what this client said.
    Answer {
        /// Of the `say`.
        id: u64,
        /// What it says.
        card: Card,
        /// Whether nobody else sees it.
        private: bool,
    },
    /// Said to everybody, about no run.
    Notice {
        /// What it says.
        card: Card,
    },
    /// A message of the channel.
    Message(Told),
    /// Suggestions.
    Completions {
        /// Of the `complete`.
        id: u64,
        /// The likeliest first.
        items: Vec<Item>,
    },
    /// What was said is not taken now; nothing was done.
    Busy {
        /// Of the `say`.
        id: u64,
        /// Why, and what to do.
        why: String,
    },
    /// A line was refused; nothing was done.
    Error {
        /// Of the `say` or `complete`, where there was one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        id: Option<u64>,
        /// Why, and what to do.
        why: String,
    },
    /// The last line of a connection.
    Closing {
        /// Why, and what to do.
        why: String,
        /// Whether attaching again can help.
        again: bool,
    },
}

#[allow(clippy::trivially_copy_pass_by_ref)] // the shape serde wants
fn is_false(b: &bool) -> bool {
    !b
}

/// A message as one line, newline included. A card that would make it longer than [`SERVER_LINE_LIMIT`]
/// loses its details, then its last lines, and says so; its buttons stay.
pub fn server_line(message: &FromServer) -> String {
    let line = json_line(message);
    if line.len() <= SERVER_LINE_LIMIT {
        return line;
    }
    let mut message = message.clone();
    match &mut message {
        FromServer::Answer { card, .. } | FromServer::Message(Told { card, .. }) => cut(card),
        FromServer::Completions { items, .. } => items.truncate(10),
        _ => {}
    }
    let line = json_line(&message);
    if line.len() <= SERVER_LINE_LIMIT {
        return line;
    }
    json_line(&FromServer::Error { id: None, why: "a message was too long for the console; see /audit".to_owned() })
}

/// Anything of this protocol as one line, newline included.
pub fn json_line<T: Serialize>(message: &T) -> String {
    let mut line = serde_json::to_string(message).expect("these types have string keys only and always serialise");
    line.push('\n');
    line
}

/// Leaves half of the limit for the title, the buttons and the marks of JSON; a byte takes six at worst (`\\u001b`).
fn cut(card: &mut Card) {
    let size = |line: &CardLine| line.iter().map(|s| s.words().len() * 6 + 16).sum::<usize>();
    card.details.clear();
    let mut room = SERVER_LINE_LIMIT / 2;
    let kept = card
        .lines
        .iter()
        .take_while(|line| {
            let fits = size(line) <= room;
            room = room.saturating_sub(size(line));
            fits
        })
        .count();
    card.lines.truncate(kept);
    card.lines.push(vec![text("… cut here: too long for the console")]);
}

/// One line read, or why not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    /// A whole line, without its newline.
    Line(String),
    /// The line is longer than the limit; nothing after it can be read.
    TooLong,
    /// The line is not UTF-8.
    NotText,
    /// The other side has gone. Half a line before that is dropped: it was not said to its end.
    End,
}

/// Reads bounded lines. Dropping the future of [`LineReader::next`] loses nothing.
#[derive(Debug)]
pub struct LineReader<R> {
    inner: BufReader<R>,
    line: Vec<u8>,
    limit: usize,
}

impl<R: AsyncRead + Unpin> LineReader<R> {
    /// Lines of at most `limit` bytes.
    pub fn new(inner: R, limit: usize) -> Self {
        Self { inner: BufReader::new(inner), line: Vec::new(), limit }
    }

    /// The next line.
    pub async fn next(&mut self) -> std::io::Result<Read> {
        loop {
            let chunk = self.inner.fill_buf().await?;
            if chunk.is_empty() {
                return Ok(Read::End);
            }
            let newline = chunk.iter().position(|b| *b == b'\n');
            let taken = newline.unwrap_or(chunk.len());
            if self.line.len() + taken > self.limit {
                return Ok(Read::TooLong);
            }
            self.line.extend_from_slice(&chunk[..taken]);
            self.inner.consume(taken + usize::from(newline.is_some()));
            if newline.is_some() {
                let line = std::mem::take(&mut self.line);
                return Ok(String::from_utf8(line).map_or(Read::NotText, Read::Line));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::card::{Tone, code};

    #[test]
    fn the_words_on_the_wire_stay_as_they_are() {
        let check = |line: &str, expected: FromClient| {
            assert_eq!(serde_json::from_str::<FromClient>(line).unwrap(), expected, "{line}");
        };
        check(
            r#"{"type":"hello","version":1,"as":"carol"}"#,
            FromClient::Hello { version: 1, session: None, speaker: Some("carol".into()) },
        );
        check(r#"{"type":"say","id":1,"text":"/status"}"#, FromClient::Say { id: 1, text: "/status".into() });
        let told = Told {
            kind: Kind::Edit,
            run: RunId::parse("r42").unwrap(),
            key: "r42/card".into(),
            card: Card::new(Tone::Busy, vec![text("swap "), code("api")]),
            run_ended: false,
            backlog: false,
        };
        assert_eq!(
            server_line(&FromServer::Message(told)),
            concat!(
                r#"{"type":"message","kind":"edit","run":"r42","key":"r42/card","#,
                r#""card":{"tone":"busy","title":[{"text":"swap "},{"code":"api"}],"lines":[]}}"#,
                "\n"
            )
        );
    }

    #[test]
    fn a_card_too_long_for_a_line_is_cut_says_so_and_keeps_its_buttons() {
        let mut card = Card::new(Tone::Ask, vec![text("t")]).button("Approve", "/approve a1".into());
        card.lines = vec![vec![text("\u{1}".repeat(1000))]; 1000];
        let line = server_line(&FromServer::Answer { id: 1, card, private: true });
        assert!(line.len() <= SERVER_LINE_LIMIT, "{} bytes", line.len());
        assert!(line.contains("cut here") && line.contains("/approve a1"), "{}", &line[line.len() - 300..]);
    }

    #[tokio::test]
    async fn lines_are_bounded_and_half_a_line_is_not_said() {
        let mut r = LineReader::new(&b"abc\n\xff\n1234567\n12345678\n"[..], 7);
        assert_eq!(r.next().await.unwrap(), Read::Line("abc".into()));
        assert_eq!(r.next().await.unwrap(), Read::NotText);
        assert_eq!(r.next().await.unwrap(), Read::Line("1234567".into()));
        assert_eq!(r.next().await.unwrap(), Read::TooLong);
        let mut r = LineReader::new(&b"abc"[..], 7);
        assert_eq!(r.next().await.unwrap(), Read::End);
    }
}

//! People at the real console: each with a connection and a session of their own, saying many things at once and
//! listening until each was answered. A console that is dropped attaches again and repeats what was not answered, as
//! `sternway console` does.

#![allow(dead_code, unreachable_pub)] // each suite uses its part
#![allow(clippy::unwrap_used, clippy::panic)] // test support

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sternway::chat::console::protocol::{
    FromClient, FromServer, LineReader, Read, SERVER_LINE_LIMIT, VERSION, json_line,
};
use sternway::domain::card::{Card, Tone};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

/// What became of something that was said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Done,
    Refused,
    Limited,
    Busy,
}

/// One attached console.
pub struct Voice {
    lines: LineReader<OwnedReadHalf>,
    out: OwnedWriteHalf,
}

impl Voice {
    /// Attaches as somebody; `None` when the bot turns the console away.
    pub async fn attach(socket: &Path, session: &str, speaker: &str) -> Option<Self> {
        Self::attach_as(socket, session, Some(speaker)).await
    }

    /// The same as whoever the kernel says.
    pub async fn attach_as(socket: &Path, session: &str, speaker: Option<&str>) -> Option<Self> {
        let (reading, out) = UnixStream::connect(socket).await.ok()?.into_split();
        let mut voice = Self { lines: LineReader::new(reading, SERVER_LINE_LIMIT), out };
        let (session, speaker) = (Some(session.to_owned()), speaker.map(str::to_owned));
        voice.send(&FromClient::Hello { version: VERSION, session, speaker }).await.ok()?;
        match voice.next().await {
            Some(FromServer::Welcome { .. }) => Some(voice),
            _ => None,
        }
    }

    async fn send(&mut self, message: &FromClient) -> std::io::Result<()> {
        self.out.write_all(json_line(message).as_bytes()).await
    }

    pub async fn say(&mut self, id: u64, text: &str) -> std::io::Result<()> {
        self.send(&FromClient::Say { id, text: text.to_owned() }).await
    }

    /// The next message; `None` when the connection has ended.
    pub async fn next(&mut self) -> Option<FromServer> {
        match self.lines.next().await {
            Ok(Read::Line(line)) => Some(serde_json::from_str(&line).unwrap()),
            Ok(Read::TooLong | Read::NotText) => panic!("the server sent what it must not"),
            Ok(Read::End) | Err(_) => None,
        }
    }

    /// Says one thing and gives the first answer to it.
    pub async fn ask(&mut self, id: u64, text: &str) -> Option<FromServer> {
        self.say(id, text).await.ok()?;
        loop {
            let message = self.next().await?;
            if class_of(&message).is_some_and(|(answered, _)| answered == id) {
                return Some(message);
            }
        }
    }
}

/// Which of the things said a message answers, and how.
pub fn class_of(message: &FromServer) -> Option<(u64, Class)> {
    match message {
        FromServer::Answer { id, card, .. } => Some((*id, class_of_card(card))),
        FromServer::Busy { id, .. } => Some((*id, Class::Busy)),
        FromServer::Error { id: Some(id), .. } => Some((*id, Class::Refused)),
        _ => None,
    }
}

fn class_of_card(card: &Card) -> Class {
    let trouble = matches!(card.tone, Tone::Warn | Tone::Bad) && card.title.len() == 1;
    let words = card.plain();
    match words {
        _ if !trouble => Class::Done,
        w if w.contains("That was too often") => Class::Limited,
        w if ["has been held by", "too much is being written", "too many plans"].iter().any(|b| w.contains(b)) => {
            Class::Busy
        }
        _ => Class::Refused,
    }
}

/// One who speaks.
#[derive(Debug, Clone)]
pub struct Speaker {
    pub socket: PathBuf,
    pub name: String,
    pub session: String,
}

/// What was said and what came of it.
#[derive(Debug, Clone)]
pub struct Heard {
    pub words: String,
    pub said: Instant,
    /// How often it was delivered on purpose.
    pub deliveries: u32,
    /// `heard` came: the command is in the bot's queue.
    pub acknowledged: Option<Duration>,
    /// The first answer.
    pub first: Option<(Duration, Class)>,
    pub answers: u32,
}

impl Heard {
    fn is_owed(&self) -> bool {
        self.answers < self.deliveries
    }
}

type Said = (u64, String, u32, Instant);

fn note(all: &mut BTreeMap<u64, Heard>, told: &mut tokio::sync::mpsc::UnboundedReceiver<Said>) {
    while let Ok((id, words, deliveries, said)) = told.try_recv() {
        all.insert(id, Heard { words, said, deliveries, acknowledged: None, first: None, answers: 0 });
    }
}

/// Says everything as fast as the socket takes it and listens until each delivery was answered or `patience` is over.
/// What follows `!` is delivered twice. Gives what came of each, and how often the console had to attach again.
pub async fn speak(speaker: &Speaker, words: &[String], patience: Duration) -> (Vec<Heard>, u32) {
    let mut all: BTreeMap<u64, Heard> = BTreeMap::new();
    let mut attached = 0;
    let talking = async {
        let mut unsaid = words.iter();
        while unsaid.len() > 0 || all.values().any(Heard::is_owed) {
            let Some(mut voice) = Voice::attach(&speaker.socket, &speaker.session, &speaker.name).await else {
                tokio::task::yield_now().await;
                continue;
            };
            attached += 1;
            for (id, heard) in all.iter().filter(|(_, heard)| heard.is_owed()) {
                for _ in heard.answers..heard.deliveries {
                    let _ = voice.say(*id, &heard.words).await;
                }
            }
            let Voice { mut lines, mut out } = voice;
            // Both ways at once: neither side may wait for the other to be read.
            let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
            let speaking = async {
                let first = u64::try_from(words.len() - unsaid.len()).unwrap();
                for (id, line) in (first..).zip(unsaid.by_ref()) {
                    let (text, deliveries) = match line.strip_prefix('!') {
                        Some(twice) => (twice, 2),
                        None => (line.as_str(), 1),
                    };
                    let _ = tell.send((id, text.to_owned(), deliveries, Instant::now()));
                    for _ in 0..deliveries {
                        let say = json_line(&FromClient::Say { id, text: text.to_owned() });
                        if out.write_all(say.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                }
                drop(tell);
                std::future::pending::<()>().await;
            };
            let listening = async {
                loop {
                    let Ok(Read::Line(line)) = lines.next().await else { return };
                    note(&mut all, &mut told);
                    let message: FromServer = serde_json::from_str(&line).unwrap();
                    match class_of(&message) {
                        Some((id, class)) => {
                            let heard = all.get_mut(&id).expect("what is answered was said");
                            heard.answers += 1;
                            heard.first.get_or_insert((heard.said.elapsed(), class));
                        }
                        None => match message {
                            FromServer::Heard { id } => {
                                let heard = all.get_mut(&id).expect("what is heard was said");
                                heard.acknowledged.get_or_insert(heard.said.elapsed());
                            }
                            FromServer::Closing { .. } => return,
                            _ => {}
                        },
                    }
                    if told.is_closed() && told.is_empty() && !all.values().any(Heard::is_owed) {
                        return;
                    }
                }
            };
            tokio::select! {
                () = speaking => {}
                () = listening => {}
            }
            note(&mut all, &mut told);
        }
    };
    let _ = tokio::time::timeout(patience, talking).await;
    (all.into_values().collect(), attached.max(1) - 1)
}

/// Says one thing after the other, each when the one before was answered.
pub async fn converse(speaker: &Speaker, words: &[String], first: u64) -> Vec<Heard> {
    let mut all = Vec::new();
    let mut voice = Voice::attach(&speaker.socket, &speaker.session, &speaker.name).await.expect("there is a seat");
    for (id, words) in (first..).zip(words) {
        let words = words.trim_start_matches('!').to_owned();
        let mut heard =
            Heard { words, said: Instant::now(), deliveries: 1, acknowledged: None, first: None, answers: 0 };
        voice.say(id, &heard.words).await.unwrap();
        while heard.is_owed() {
            let Some(message) = voice.next().await else { break };
            match (class_of(&message), message) {
                (Some((answered, class)), _) if answered == id => {
                    heard.answers += 1;
                    heard.first = Some((heard.said.elapsed(), class));
                }
                (_, FromServer::Heard { id: heard_id }) if heard_id == id => {
                    heard.acknowledged = Some(heard.said.elapsed());
                }
                _ => {}
            }
        }
        all.push(heard);
    }
    all
}

/// What people say on such a day, good and bad, the same for the same person and number: looks, plans, rollbacks, votes,
/// slips of the finger, and deliveries that come twice.
pub fn usual_words(person: usize, nth: usize, stacks: usize) -> String {
    // Spreads kinds and stacks; any odd multipliers would do.
    let mix = (person * 7919 + nth * 104_729) % 1_000_003;
    let stack = format!("s{:03}", (person + nth * 13) % stacks);
    match mix % 20 {
        0..=3 => "/status".to_owned(),
        4 | 5 => format!("/releases api@{stack}"),
        6 => format!("!/releases api@{stack}"),
        7..=9 => format!("/rollback plan image api@{stack}"),
        10 => format!("/rollback image api@{stack} because 1.1 answers with errors"),
        11 => format!("!/rollback image api@{stack} because the phone said it twice"),
        12 => format!("/rollback image api@{stack} to 1.2"),
        13 => format!("/approve a{}", 2 + mix % 500),
        14 => "/runs list".to_owned(),
        15 => format!("/runs show r{}", 2 + mix % 500),
        16 => "/audit show".to_owned(),
        17 => "/rolback image api".to_owned(),
        18 => format!("/cancel r{}", 2 + mix % 500),
        _ => "/help rollback".to_owned(),
    }
}

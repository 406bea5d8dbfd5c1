//! A console fed from a pipe: says each line, waits for its answer, and at the end of input for the runs that
//! the lines began. Also what a terminal gets that can do nothing but print.
//!
//! Which runs are ours is read off what is visible: the bot names a run in the title of its answer, or posts
//! a new run before it answers. Taking somebody else's run for ours costs a wait, nothing more.

use std::collections::BTreeMap;
use std::io::{BufRead, Write};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use super::client::{ClientError, ClientOptions, Ended};
use super::draw::{Drawing, answer, notice};
use super::link::{Happening, Link};
use super::protocol::{FromServer, Kind, SAY_LIMIT, Told};
use crate::domain::card::{Card, Span, Tone};
use crate::domain::ids::RunId;
use crate::domain::text::{shorten, visible};

/// How often a line is said again when the bot is busy, and the first pause before that; it doubles.
const BUSY_TRIES: u32 = 6;
const BUSY_PAUSE: Duration = Duration::from_millis(250);

/// How long a run that an answer named may take to show up in the channel before it is not waited for:
/// the answer may have been about an old one.
const RUN_SHOWS_UP: Duration = Duration::from_secs(3);

/// How long it must be quiet after the runs have ended before the client leaves, and how long it listens at most.
const QUIET: Duration = Duration::from_millis(300);
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Lines of `input`, read by a thread of their own because a pipe can only be read by blocking.
pub(super) fn lines_of(mut input: impl BufRead + Send + 'static) -> std::io::Result<mpsc::Receiver<String>> {
    let (send, lines) = mpsc::channel(1);
    std::thread::Builder::new().name("console-input".into()).spawn(move || {
        let mut line = Vec::new();
        // An input that breaks has ended as far as the conversation is concerned.
        while let Ok(Some(whole)) = next_line(&mut input, &mut line) {
            let text = String::from_utf8_lossy(&line);
            // Of a line that is too long the beginning alone must not be taken for what was meant: it stays too long.
            let text = if whole { text.trim().to_owned() } else { text.into_owned() };
            if send.blocking_send(text).is_err() {
                return;
            }
        }
    })?;
    Ok(lines)
}

/// Reads to the end of a line and keeps a little more of it than can be said: `Some(false)` when there was more than
/// that, `None` when the input has ended.
fn next_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> std::io::Result<Option<bool>> {
    line.clear();
    let (mut any, mut whole) = (false, true);
    loop {
        let part = match input.fill_buf() {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        if part.is_empty() {
            return Ok(any.then_some(whole));
        }
        any = true;
        let end = part.iter().position(|b| *b == b'\n');
        let taken = end.unwrap_or(part.len());
        let room = (SAY_LIMIT + 1).saturating_sub(line.len());
        whole &= taken <= room;
        line.extend_from_slice(&part[..taken.min(room)]);
        input.consume(taken + usize::from(end.is_some()));
        if end.is_some() {
            return Ok(Some(whole));
        }
    }
}

/// Something said that waits for its answer.
struct Waiting {
    id: u64,
    text: String,
    until: Instant,
    tries: u32,
    /// When to say it again, if the bot was busy.
    again: Option<Instant>,
}

/// A run that a line began.
struct OwnRun {
    named_at: Instant,
    seen: bool,
    ended: bool,
}

struct Script<'a, W> {
    options: &'a ClientOptions,
    link: Link,
    out: &'a mut W,
    drawing: Drawing,
    waiting: Option<Waiting>,
    runs: BTreeMap<RunId, OwnRun>,
    trouble: bool,
    /// A person types: nothing is echoed and nothing waits.
    keyboard: bool,
}

pub(super) async fn run<W: Write + Send>(
    options: &ClientOptions,
    link: Link,
    mut happened: mpsc::Receiver<Happening>,
    welcome: FromServer,
    mut lines: mpsc::Receiver<String>,
    out: &mut W,
    keyboard: bool,
) -> Result<Ended, ClientError> {
    let mut script = Script {
        options,
        link,
        out,
        drawing: Drawing::default(),
        waiting: None,
        runs: BTreeMap::new(),
        trouble: false,
        keyboard,
    };
    if let FromServer::Welcome { greeting, .. } = welcome {
        script.notice(&format!("Sternway console: {greeting}"))?;
    }
    // Every line, with its answer.
    loop {
        if script.waiting.is_some() && !script.keyboard {
            let until = script.next_wake();
            match timeout_at(until, happened.recv()).await {
                Ok(Some(happening)) => {
                    if !script.take(happening)? {
                        return Ok(Ended::Trouble);
                    }
                }
                Ok(None) => return Ok(Ended::Trouble),
                Err(_) => script.woke()?,
            }
            continue;
        }
        tokio::select! {
            line = lines.recv() => match line {
                Some(line) => script.say(&line)?,
                None => break,
            },
            happening = happened.recv() => match happening {
                Some(happening) => {
                    if !script.take(happening)? {
                        return Ok(Ended::Trouble);
                    }
                }
                None => return Ok(Ended::Trouble),
            },
        }
    }
    // Then the runs that they began.
    let until = Instant::now() + options.runs_limit;
    while !keyboard && !options.runs_limit.is_zero() {
        let Some(first) = script.first_open_run() else { break };
        match timeout_at(first.min(until), happened.recv()).await {
            Ok(Some(happening)) => {
                if !script.take(happening)? {
                    return Ok(Ended::Trouble);
                }
            }
            Ok(None) => return Ok(Ended::Trouble),
            Err(_) if Instant::now() >= until => {
                script.give_up_runs()?;
                break;
            }
            Err(_) => {}
        }
    }
    // A run's card turns before the last words in its thread: those are still heard.
    let until = Instant::now() + LAST_WORDS;
    while !keyboard && !options.runs_limit.is_zero() && script.runs.values().any(|run| run.ended) {
        let Ok(Some(happening)) = timeout_at(until.min(Instant::now() + QUIET), happened.recv()).await else { break };
        if !script.take(happening)? {
            break;
        }
    }
    Ok(if script.trouble { Ended::Trouble } else { Ended::Well })
}

impl<W: Write + Send> Script<'_, W> {
    fn print(&mut self, drawn: &str) -> Result<(), ClientError> {
        self.out.write_all(drawn.as_bytes()).and_then(|()| self.out.flush()).map_err(ClientError::Io)
    }

    fn notice(&mut self, words: &str) -> Result<(), ClientError> {
        self.print(&notice(words, self.options.look()))
    }

    fn bad(&mut self, words: &str) -> Result<(), ClientError> {
        self.trouble = true;
        self.notice(words)
    }

    fn say(&mut self, line: &str) -> Result<(), ClientError> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if !self.keyboard {
            self.print(&format!("› {}\n", visible(line)))?;
        }
        if line.len() > SAY_LIMIT {
            return self.bad(&format!("not said: {} bytes are too many, {SAY_LIMIT} is the limit", line.len()));
        }
        let Some(id) = self.link.say(line) else {
            return self.bad("not said: too much waits for an answer; try again in a moment");
        };
        let until = Instant::now() + self.options.answer_limit;
        self.waiting = Some(Waiting { id, text: line.to_owned(), until, tries: 0, again: None });
        Ok(())
    }

    fn next_wake(&self) -> Instant {
        self.waiting.as_ref().map_or_else(Instant::now, |w| w.again.map_or(w.until, |again| again.min(w.until)))
    }

    /// The time for which something waited has come.
    fn woke(&mut self) -> Result<(), ClientError> {
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        if waiting.again.take().is_some() && Instant::now() < waiting.until {
            let (id, text) = (waiting.id, waiting.text.clone());
            self.link.say_again(id, &text); // if even this has no room, the time limit tells
            return Ok(());
        }
        self.waiting = None;
        let limit = self.options.answer_limit.as_secs();
        self.bad(&format!("no answer within {limit} s; it may still come. /runs shows what was accepted"))
    }

    fn is_waiting_for(&self, id: u64) -> bool {
        self.waiting.as_ref().is_some_and(|waiting| waiting.id == id)
    }

    /// Shows what happened; `false` when nothing more can.
    fn take(&mut self, happening: Happening) -> Result<bool, ClientError> {
        match happening {
            Happening::Said(said) => self.hear(said)?,
            Happening::Lost(why) => self.notice(&format!("{}; trying to come back", shorten(&why, 300)))?,
            Happening::Back => self.notice("back again")?,
            Happening::NotSaid { id, text } => {
                if self.is_waiting_for(id) {
                    self.waiting = None;
                }
                self.bad(&format!(
                    "the bot never heard “{}”; nothing was done. Say it again if you still want it",
                    text
                ))?;
            }
            Happening::Over(why) => {
                self.bad(&why)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn hear(&mut self, said: FromServer) -> Result<(), ClientError> {
        match said {
            FromServer::Answer { id, card, .. } => {
                self.trouble |= matches!(card.tone, Tone::Warn | Tone::Bad);
                for run in named_runs(&card) {
                    self.own(run);
                }
                if self.is_waiting_for(id) {
                    self.waiting = None;
                }
                self.print(&answer(&card, self.options.look()))
            }
            FromServer::Notice { card } => self.print(&answer(&card, self.options.look())),
            FromServer::Message(told) => self.told(&told),
            FromServer::Busy { id, why } if self.is_waiting_for(id) => {
                if let Some(waiting) = self.waiting.as_mut().filter(|w| w.tries < BUSY_TRIES && !self.keyboard) {
                    waiting.again = Some(Instant::now() + BUSY_PAUSE * 2u32.pow(waiting.tries));
                    waiting.tries += 1;
                    return Ok(());
                }
                self.waiting = None;
                self.bad(&why)
            }
            FromServer::Error { id, why } => {
                if id.is_some_and(|id| self.is_waiting_for(id)) {
                    self.waiting = None;
                }
                self.bad(&why)
            }
            FromServer::Busy { .. }
            | FromServer::Welcome { .. }
            | FromServer::Heard { .. }
            | FromServer::Completions { .. }
            | FromServer::Closing { .. } => Ok(()),
        }
    }

    fn own(&mut self, run: RunId) {
        self.runs.entry(run).or_insert(OwnRun { named_at: Instant::now(), seen: false, ended: false });
    }

    fn told(&mut self, told: &Told) -> Result<(), ClientError> {
        // What others said before we came is not part of this conversation, but how our runs ended while
        // the link was broken is.
        if told.backlog && !self.runs.contains_key(&told.run) {
            return Ok(());
        }
        if told.kind == Kind::Post && self.waiting.is_some() && !self.keyboard {
            self.own(told.run);
            self.waiting = None;
        }
        if let Some(own) = self.runs.get_mut(&told.run) {
            own.seen = true;
            if told.run_ended && !own.ended {
                own.ended = true;
                self.trouble |= matches!(told.card.tone, Tone::Warn | Tone::Bad);
            }
        }
        let drawn = self.drawing.message(told, self.options.look());
        self.print(&drawn)
    }

    /// When to look again at the runs that have not ended; `None` when there are none. A run that never
    /// showed up is not waited for.
    fn first_open_run(&mut self) -> Option<Instant> {
        let now = Instant::now();
        self.runs.retain(|_, run| run.seen || now < run.named_at + RUN_SHOWS_UP);
        let far = now + self.options.runs_limit;
        self.runs
            .values()
            .filter(|run| !run.ended)
            .map(|run| if run.seen { far } else { run.named_at + RUN_SHOWS_UP })
            .min()
    }

    fn give_up_runs(&mut self) -> Result<(), ClientError> {
        let open: Vec<_> =
            self.runs.iter().filter(|(_, run)| run.seen && !run.ended).map(|(id, _)| id.to_string()).collect();
        if open.is_empty() {
            return Ok(());
        }
        self.bad(&format!("not ended yet: {}. They go on without this console; /runs shows them", open.join(", ")))
    }
}

/// The runs that the title of an answer names.
fn named_runs(card: &Card) -> impl Iterator<Item = RunId> + '_ {
    card.title.iter().filter_map(|span| match span {
        Span::Code(words) => RunId::parse(words).ok(),
        _ => None,
    })
}

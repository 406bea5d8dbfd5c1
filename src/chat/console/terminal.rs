//! The console at a keyboard: a line with history and completion at the bottom, the conversation above it.
//!
//! Three parties: a thread that edits the line (it blocks on keys), a thread that prints above it (it blocks
//! while the editor is busy), and the async side that talks to the bot. They meet in bounded channels, and
//! the async side never waits for either thread, so a half-pressed Tab cannot stop the conversation.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc as blocking;
use std::time::Duration;

use rustyline::completion::{Candidate, Completer};
use rustyline::config::{ColorMode, CompletionType, Config};
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::FileHistory;
use rustyline::validate::Validator;
use rustyline::{Context, Editor, ExternalPrinter, Helper};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use super::client::{ClientError, ClientOptions, Ended};
use super::draw::{Drawing, answer, notice};
use super::link::{Happening, Link};
use super::protocol::{FromServer, Item, SAY_LIMIT};
use crate::domain::text::{is_hidden, shorten, visible};

/// How long Tab waits for the bot. Longer would feel stuck; without an answer nothing is completed.
const COMPLETION_LIMIT: Duration = Duration::from_millis(800);

/// How long the prompt waits for the answer, so that it stands beneath it. Longer answers come above it.
const PROMPT_WAITS: Duration = Duration::from_millis(700);

/// Drawn messages that may wait for the printing thread.
const PRINTS: usize = 64;

/// Lines of history kept.
const HISTORY: usize = 1000;

/// Time for the last words to be printed when leaving.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// What the editing thread reports.
enum Input {
    Line(String),
    Interrupted,
    Left,
    Failed(String),
}

/// A question for completions and where its answer goes.
struct Tab {
    line: String,
    cursor: usize,
    reply: blocking::SyncSender<Vec<Item>>,
}

pub(super) async fn run(
    options: ClientOptions,
    link: Link,
    mut happened: mpsc::Receiver<Happening>,
    welcome: FromServer,
) -> Result<Ended, ClientError> {
    let (keyboard, mut inputs, mut tabs, printer) = Keyboard::start(&options).await?;
    let (print, prints) = mpsc::channel(PRINTS);
    let printed = start_printer(printer, prints)?;
    let mut screen = Screen {
        options,
        link,
        print,
        drawing: Drawing::default(),
        speaker: None,
        demo: false,
        awaited: None,
        asked: HashMap::new(),
    };
    screen.hear(welcome);
    screen.say_notice("Tab completes, /help explains, Ctrl-D leaves");
    let mut prompt_at = Some(Instant::now());
    let mut over = false;
    let ended = loop {
        // The screen has room, or nothing more is taken from the bot.
        let room = async {
            let _room = screen.print.reserve().await;
            happened.recv().await
        };
        let prompt = async {
            match prompt_at {
                Some(at) => timeout_at(at, std::future::pending::<()>()).await.is_err(),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            happening = room, if !over => match happening {
                Some(happening) => screen.take(happening),
                None => over = true, // its last word said why
            },
            _ = prompt => {
                prompt_at = None;
                keyboard.prompt(&screen.prompt());
                continue;
            }
            tab = tabs.recv() => if let Some(tab) = tab {
                let id = screen.link.complete(&tab.line, tab.cursor);
                screen.asked.clear(); // only one Tab is pressed at a time
                screen.asked.insert(id, tab.reply);
                continue;
            },
            input = inputs.recv() => match input {
                Some(Input::Line(line)) if matches!(line.trim(), "/quit" | "/exit") => break Ok(Ended::Well),
                Some(Input::Line(line)) => {
                    screen.say(line.trim());
                    prompt_at = Some(Instant::now() + PROMPT_WAITS);
                }
                Some(Input::Interrupted) => {
                    screen.say_notice("nothing was said. Ctrl-D or /quit leaves; runs go on without you");
                    prompt_at = Some(Instant::now());
                }
                Some(Input::Left) | None => break Ok(Ended::Well),
                Some(Input::Failed(why)) => break Err(ClientError::Terminal(why)),
            },
        }
        if prompt_at.is_some() && screen.awaited.is_none() {
            prompt_at = Some(Instant::now());
        }
    };
    drop(screen);
    let _ = timeout(LAST_WORDS, printed).await;
    ended
}

/// What is shown, and what is waited for.
struct Screen {
    options: ClientOptions,
    link: Link,
    print: mpsc::Sender<String>,
    drawing: Drawing,
    speaker: Option<String>,
    demo: bool,
    /// What was said last and has no answer yet: the prompt waits for it a little.
    awaited: Option<u64>,
    asked: HashMap<u64, blocking::SyncSender<Vec<Item>>>,
}

impl Screen {
    /// Shows something above the prompt. Without room it is lost; what comes from the bot is only taken when
    /// there is room.
    fn show(&self, drawn: String) {
        if !drawn.is_empty() {
            let _ = self.print.try_send(drawn);
        }
    }

    fn say_notice(&self, words: &str) {
        self.show(notice(words, self.options.look()));
    }

    fn prompt(&self) -> String {
        match &self.speaker {
            Some(name) => format!("{} › ", visible(&shorten(name, 20))),
            None => "› ".to_owned(),
        }
    }

    fn say(&mut self, line: &str) {
        self.awaited = None;
        if line.is_empty() {
        } else if line.len() > SAY_LIMIT {
            self.say_notice(&format!("not said: {} bytes are too many, {SAY_LIMIT} is the limit", line.len()));
        } else {
            self.awaited = self.link.say(line);
            if self.awaited.is_none() {
                self.say_notice("not said: too much waits for an answer; try again in a moment");
            }
        }
    }

    fn answered(&mut self, id: u64) {
        if self.awaited == Some(id) {
            self.awaited = None;
        }
    }

    fn take(&mut self, happening: Happening) {
        match happening {
            Happening::Said(said) => self.hear(said),
            Happening::Lost(why) => self.say_notice(&format!("{}; trying to come back", shorten(&why, 300))),
            Happening::Back => self.say_notice("back again"),
            Happening::NotSaid { id, text } => {
                self.answered(id);
                let text = shorten(&text, 200);
                self.say_notice(&format!(
                    "the bot never heard “{text}”; nothing was done. Say it again if you still want it"
                ));
            }
            Happening::Over(why) => {
                self.awaited = None;
                self.say_notice(&format!("{}. Ctrl-D leaves", shorten(&why, 300)));
            }
        }
    }

    fn hear(&mut self, said: FromServer) {
        let look = self.options.look();
        match said {
            FromServer::Welcome { greeting, known, demo, speaker } => {
                let switched = self.speaker.is_some() && speaker != self.speaker;
                self.speaker = speaker;
                if switched {
                    return; // the answer to `/as` tells
                }
                let nobody = if known { "" } else { " You may look, not act." };
                self.say_notice(&format!("Sternway console: {greeting}{nobody}"));
                if demo && !self.demo {
                    self.say_notice("demo: /as NAME speaks as somebody else");
                }
                self.demo = demo;
            }
            FromServer::Answer { id, card, .. } => {
                self.answered(id);
                self.show(answer(&card, look));
            }
            FromServer::Notice { card } => self.show(answer(&card, look)),
            FromServer::Message(told) => {
                let drawn = self.drawing.message(&told, look);
                self.show(drawn);
            }
            FromServer::Busy { id, why } => {
                self.answered(id);
                self.say_notice(&why);
            }
            FromServer::Error { id, why } => {
                if let Some(id) = id {
                    self.answered(id);
                }
                self.say_notice(&why);
            }
            FromServer::Completions { id, items } => {
                if let Some(reply) = self.asked.remove(&id) {
                    let _ = reply.try_send(items); // Tab has stopped waiting
                }
            }
            FromServer::Heard { .. } | FromServer::Closing { .. } => {}
        }
    }
}

type Line = Editor<Tabs, FileHistory>;

/// The thread that edits the line.
struct Keyboard {
    prompts: blocking::Sender<String>,
}

impl Keyboard {
    async fn start(
        options: &ClientOptions,
    ) -> Result<(Self, mpsc::Receiver<Input>, mpsc::Receiver<Tab>, impl ExternalPrinter + Send + 'static), ClientError>
    {
        let (prompts, prompted) = blocking::channel();
        let (input, inputs) = mpsc::channel(4);
        let (ask, tabs) = mpsc::channel(4);
        let (ready, started) = oneshot::channel();
        let (colour, history) = (options.colour, options.history.clone());
        std::thread::Builder::new()
            .name("console-keys".into())
            .spawn(move || {
                let made = make_editor(Tabs { ask, colour }, history.as_ref()).and_then(|mut editor| {
                    let printer = editor.create_external_printer()?;
                    Ok((editor, printer))
                });
                match made {
                    Ok((editor, printer)) => {
                        if ready.send(Ok(printer)).is_ok() {
                            edit_lines(editor, history.as_ref(), &prompted, &input);
                        }
                    }
                    Err(error) => drop(ready.send(Err(error.to_string()))),
                }
            })
            .map_err(ClientError::Io)?;
        let printer = started.await.map_err(|_| ClientError::Terminal("the editor stopped".into()))?;
        Ok((Self { prompts }, inputs, tabs, printer.map_err(ClientError::Terminal)?))
    }

    /// Asks for the next line.
    fn prompt(&self, prompt: &str) {
        let _ = self.prompts.send(prompt.to_owned()); // if the thread has ended, its channel told
    }
}

fn make_editor(tabs: Tabs, history: Option<&PathBuf>) -> rustyline::Result<Line> {
    let config = Config::builder()
        .max_history_size(HISTORY)?
        .history_ignore_dups(true)?
        .history_ignore_space(true)
        .auto_add_history(true)
        .completion_type(CompletionType::List)
        .completion_show_all_if_ambiguous(true)
        .color_mode(if tabs.colour { ColorMode::Enabled } else { ColorMode::Disabled })
        .build();
    let mut editor = Line::with_config(config)?;
    editor.set_helper(Some(tabs));
    if let Some(file) = history {
        if let Some(folder) = file.parent() {
            let _ = std::fs::create_dir_all(folder); // without it there is no history, which is no reason to stop
        }
        let _ = editor.load_history(file); // the first time there is none
    }
    Ok(editor)
}

fn edit_lines(
    mut editor: Line,
    history: Option<&PathBuf>,
    prompted: &blocking::Receiver<String>,
    input: &mpsc::Sender<Input>,
) {
    while let Ok(prompt) = prompted.recv() {
        let (said, leave) = match editor.readline(&prompt) {
            Ok(line) => {
                if let Some(file) = history {
                    let _ = editor.append_history(file); // a full disk costs the history, not the line
                }
                (Input::Line(line), false)
            }
            Err(ReadlineError::Interrupted) => (Input::Interrupted, false),
            Err(ReadlineError::Eof) => (Input::Left, true),
            Err(error) => (Input::Failed(error.to_string()), true),
        };
        if input.blocking_send(said).is_err() || leave {
            return;
        }
    }
}

/// The thread that prints above the line. Ends, and reports so, when nobody can send any more.
fn start_printer(
    mut printer: impl ExternalPrinter + Send + 'static,
    mut prints: mpsc::Receiver<String>,
) -> Result<oneshot::Receiver<()>, ClientError> {
    let (done, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("console-screen".into())
        .spawn(move || {
            while let Some(mut drawn) = prints.blocking_recv() {
                while let Ok(more) = prints.try_recv() {
                    drawn.push_str(&more);
                }
                if printer.print(drawn).is_err() {
                    break;
                }
            }
            let _ = done.send(()); // nobody waits when the process is leaving anyway
        })
        .map_err(ClientError::Io)?;
    Ok(ended)
}

/// Completion by the bot, and the colour of the prompt.
struct Tabs {
    ask: mpsc::Sender<Tab>,
    colour: bool,
}

/// A suggestion as the editor wants it.
struct Suggestion {
    shown: String,
    text: String,
}

impl Candidate for Suggestion {
    fn display(&self) -> &str {
        &self.shown
    }

    fn replacement(&self) -> &str {
        &self.text
    }
}

impl Completer for Tabs {
    type Candidate = Suggestion;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Suggestion>)> {
        let start = line[..pos].rfind(char::is_whitespace).map_or(0, |at| at + 1);
        let (reply, replied) = blocking::sync_channel(1);
        let asked = self.ask.try_send(Tab { line: line.to_owned(), cursor: pos, reply }).is_ok();
        let items = if asked { replied.recv_timeout(COMPLETION_LIMIT).unwrap_or_default() } else { Vec::new() };
        Ok((start, suggestions(items)))
    }
}

/// What would go into the line must be what it looks like: names with hidden characters are not offered.
fn suggestions(items: Vec<Item>) -> Vec<Suggestion> {
    use unicode_width::UnicodeWidthStr;
    let items: Vec<Item> = items.into_iter().filter(|item| !item.text.chars().any(is_hidden)).collect();
    let widest = items.iter().map(|item| item.text.width()).max().unwrap_or(0);
    let single = items.len() == 1;
    items
        .into_iter()
        .map(|item| {
            let about = visible(&shorten(&item.about, 60));
            let gap = " ".repeat(widest - item.text.width() + 2);
            let shown = if about.is_empty() { item.text.clone() } else { format!("{}{gap}{about}", item.text) };
            let goes_on = item.text.ends_with(['@', ':', '=', ' ']);
            let text = if single && !goes_on { item.text + " " } else { item.text };
            Suggestion { shown, text }
        })
        .collect()
}

impl Highlighter for Tabs {
    fn highlight_prompt<'b, 's: 'b, 'p: 'b>(&'s self, prompt: &'p str, _: bool) -> Cow<'b, str> {
        if self.colour { Cow::Owned(format!("\u{1b}[1;36m{prompt}\u{1b}[0m")) } else { Cow::Borrowed(prompt) }
    }
}

impl Hinter for Tabs {
    type Hint = String;
}

impl Validator for Tabs {}

impl Helper for Tabs {}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str, about: &str) -> Item {
        Item { text: text.into(), about: about.into() }
    }

    #[test]
    fn suggestions_line_up_and_a_single_one_ends_its_word() {
        let many = suggestions(vec![item("rel17", "yesterday"), item("rel9", "on Monday")]);
        assert_eq!(many.iter().map(|s| s.shown.as_str()).collect::<Vec<_>>(), ["rel17  yesterday", "rel9   on Monday"]);
        assert_eq!(many[0].text, "rel17");
        assert_eq!(suggestions(vec![item("/status", "")])[0].text, "/status ");
        assert_eq!(suggestions(vec![item("api@", "")])[0].text, "api@");
    }

    #[test]
    fn a_suggestion_that_is_not_what_it_looks_like_is_not_offered() {
        let offered = suggestions(vec![item("ap\u{202e}i", ""), item("web", "a\u{1b}[2Jb")]);
        assert_eq!(offered.len(), 1);
        assert_eq!(offered[0].shown, "web  a⟨U+001B⟩[2Jb");
    }
}

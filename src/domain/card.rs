//! Messages no chat has touched: what a person is told, as meaning; each surface draws it its own way.
//!
//! At most twelve lines of about forty columns before it folds, the next action last (decision 28).
//! Spans keep ids and code apart from prose so that right-to-left text can isolate them. Whatever goes into one through
//! [`text`], [`strong`], [`code`] or [`Card::button`] is made visible first: no caller has to think of it, and a newline
//! from outside cannot pass for a line of ours.

use serde::{Deserialize, Serialize};

use super::text::visible;

/// A piece of a line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Span {
    /// Prose in the reader's language.
    Text(String),
    /// Prose that matters most in the line.
    Strong(String),
    /// Something to be read letter by letter: an id, a name, a digest, a command.
    Code(String),
}

impl Span {
    /// Its words, undecorated.
    pub fn words(&self) -> &str {
        match self {
            Span::Text(s) | Span::Strong(s) | Span::Code(s) => s,
        }
    }
}

/// One line.
pub type Line = Vec<Span>;

/// How a card feels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Information.
    Plain,
    /// Work going on.
    Busy,
    /// It went well.
    Good,
    /// Somebody has to decide.
    Ask,
    /// It was refused, or it was put back.
    Warn,
    /// A person is needed.
    Bad,
}

/// A button. Pressing it says `command`, so every surface without buttons can print it instead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Button {
    /// What stands on it.
    pub label: String,
    /// The command it stands for, such as `/approve a45`.
    pub command: String,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Card {
    /// How it feels.
    pub tone: Tone,
    /// First line: what this is about.
    pub title: Line,
    /// The rest, in order.
    pub lines: Vec<Line>,
    /// What folds away on a phone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<Line>,
    /// The next actions, the likeliest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub buttons: Vec<Button>,
}

impl Card {
    /// A card with a title only.
    pub fn new(tone: Tone, title: Line) -> Self {
        Self { tone, title, lines: Vec::new(), details: Vec::new(), buttons: Vec::new() }
    }

    /// The same card with one more line.
    #[must_use]
    pub fn line(mut self, line: Line) -> Self {
        self.lines.push(line);
        self
    }

    /// The same card with one more folded line.
    #[must_use]
    pub fn detail(mut self, line: Line) -> Self {
        self.details.push(line);
        self
    }

    /// The same card with one more button.
    #[must_use]
    pub fn button(mut self, label: &str, command: String) -> Self {
        self.buttons.push(Button { label: visible(label), command: visible(&command) });
        self
    }

    /// All words, line by line, without decoration: for fallbacks, scripts and tests.
    pub fn plain(&self) -> String {
        let join = |line: &Line| line.iter().map(Span::words).collect::<String>();
        let mut out = vec![join(&self.title)];
        out.extend(self.lines.iter().map(join));
        out.extend(self.details.iter().map(join));
        out.extend(self.buttons.iter().map(|b| format!("[{}] {}", b.label, b.command)));
        out.join("\n")
    }
}

/// Prose.
pub fn text(s: impl AsRef<str>) -> Span {
    Span::Text(visible(s.as_ref()))
}

/// Prose that matters most.
pub fn strong(s: impl AsRef<str>) -> Span {
    Span::Strong(visible(s.as_ref()))
}

/// An id, a name, a command.
pub fn code(s: impl ToString) -> Span {
    Span::Code(visible(&s.to_string()))
}

//! What a person is told when they do not get what they asked: cause, place in their own words, next
//! command (promise 8). Every room that refuses a person makes one of these; surfaces only draw its card.
//!
//! It must never carry a secret, a stack trace or the text of an internal error: [`TroubleKind::Internal`]
//! shows a reference under which the whole chain was logged.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::card::{Card, Line, Tone, code, strong, text};
use super::text::{shorten, visible};

/// Columns of a phone's line (decision 28).
pub const COLUMNS: usize = 40;
/// Lines of a card before it folds (decision 28).
pub const ROWS: usize = 12;

/// What went wrong, by what the person can do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleKind {
    /// It was not said so that it could be understood: say it differently.
    Usage,
    /// This person may not, here or now: somebody else has to.
    Denied,
    /// Too often: wait.
    Limited,
    /// Something else holds the stack: wait for it or look at it.
    Busy,
    /// There is nothing of that name: choose from what there is.
    NotFound,
    /// The world does not answer: look at it.
    Unavailable,
    /// Our fault: tell whoever runs Sternway, with the reference.
    Internal,
}

impl TroubleKind {
    /// The word used in records.
    pub fn as_str(self) -> &'static str {
        match self {
            TroubleKind::Usage => "usage",
            TroubleKind::Denied => "denied",
            TroubleKind::Limited => "limited",
            TroubleKind::Busy => "busy",
            TroubleKind::NotFound => "not_found",
            TroubleKind::Unavailable => "unavailable",
            TroubleKind::Internal => "internal",
        }
    }

    fn tone(self) -> Tone {
        match self {
            TroubleKind::Internal | TroubleKind::Unavailable => Tone::Bad,
            TroubleKind::Usage
            | TroubleKind::Denied
            | TroubleKind::Limited
            | TroubleKind::Busy
            | TroubleKind::NotFound => Tone::Warn,
        }
    }
}

impl fmt::Display for TroubleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What helps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// A sentence: what would be valid, who holds the lock, when to try again.
    Say(String),
    /// A command to type, complete. The first one is the likeliest and stands last on the card.
    Type(String),
}

/// A place in what the person said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// The words as typed.
    pub line: String,
    /// Bytes of `line`, on character boundaries; empty at the place where something is missing.
    pub span: Range<usize>,
}

/// Why a person did not get what they asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What they can do about it.
    pub kind: TroubleKind,
    /// The cause, one sentence.
    pub message: String,
    /// What helps, in order of use.
    pub hints: Vec<Hint>,
    /// The words it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Pointer>,
}

impl Trouble {
    /// Trouble with its cause. Text from outside in `message` is made visible.
    pub fn new(kind: TroubleKind, message: impl AsRef<str>) -> Self {
        Self { kind, message: visible(message.as_ref()), hints: Vec::new(), at: None }
    }

    /// It could not be understood.
    pub fn usage(message: impl AsRef<str>) -> Self {
        Self::new(TroubleKind::Usage, message)
    }

    /// Our own fault; `reference` leads to what was logged.
    pub fn internal(reference: &str) -> Self {
        Self::new(TroubleKind::Internal, format!("Sternway failed here and has logged why under {reference}."))
    }

    /// The same with a sentence that helps.
    #[must_use]
    pub fn say(mut self, sentence: impl AsRef<str>) -> Self {
        self.hints.push(Hint::Say(visible(sentence.as_ref())));
        self
    }

    /// The same with a command to type next.
    #[must_use]
    pub fn try_this(mut self, command: impl AsRef<str>) -> Self {
        let hint = Hint::Type(visible(command.as_ref()));
        if !self.hints.contains(&hint) {
            self.hints.push(hint);
        }
        self
    }

    /// The same, pointing at these bytes of what was typed. A span that does not fit points at the end.
    #[must_use]
    pub fn at(mut self, line: &str, span: Range<usize>) -> Self {
        let fits = span.start <= span.end && line.get(span.clone()).is_some();
        let span = if fits { span } else { line.len()..line.len() };
        self.at = Some(Pointer { line: line.to_owned(), span });
        self
    }

    /// The bytes of what was typed that it is about.
    pub fn span(&self) -> Option<Range<usize>> {
        self.at.as_ref().map(|p| p.span.clone())
    }

    /// The commands it offers, the likeliest first.
    pub fn commands(&self) -> impl Iterator<Item = &str> {
        self.hints.iter().filter_map(|h| match h {
            Hint::Type(command) => Some(command.as_str()),
            Hint::Say(_) => None,
        })
    }

    /// The message a person sees: cause, the line with a marker under the word, what would be valid, and at
    /// last what to type next. At most [`ROWS`] rows of [`COLUMNS`] columns.
    pub fn to_card(&self) -> Card {
        let title: Line = vec![strong(shorten(&self.message, 4 * COLUMNS))];
        let mut budget = ROWS - rows(&title);
        let mut lines: Vec<Line> = Vec::new();
        if let Some(pointer) = &self.at {
            lines.extend(pointer.draw());
            budget = budget.saturating_sub(lines.len());
        }

        let mut commands = self.commands().map(|c| shorten(c, 2 * COLUMNS - "Type ".len()));
        let last: Option<Line> = commands.next().map(|c| vec![text("Type "), code(c)]);
        budget = budget.saturating_sub(last.as_ref().map_or(0, rows));
        let sentences = self.hints.iter().filter_map(|h| match h {
            Hint::Say(sentence) => Some(vec![text(shorten(sentence, 4 * COLUMNS))]),
            Hint::Type(_) => None,
        });
        for line in sentences.chain(commands.map(|c| vec![text("  or "), code(c)])) {
            if rows(&line) > budget {
                break;
            }
            budget -= rows(&line);
            lines.push(line);
        }
        lines.extend(last);
        Card { lines, ..Card::new(self.kind.tone(), title) }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Trouble {}

/// Rows that a line takes on a phone.
fn rows(line: &Line) -> usize {
    let columns: usize = line.iter().map(|span| span.words().chars().count()).sum();
    columns.div_ceil(COLUMNS).max(1)
}

impl Pointer {
    /// The part of the line around the place, and a marker under it. Where columns cannot be trusted to line up
    /// (right-to-left or wide characters) the word is repeated instead of underlined.
    fn draw(&self) -> [Line; 2] {
        let part = |range: Range<usize>| one_line(self.line.get(range).unwrap_or(""));
        let before = part(0..self.span.start);
        let word = shorten(&part(self.span.clone()), COLUMNS / 2);
        let after = part(self.span.end..self.line.len());
        let word_columns = word.chars().count().max(1);
        let after_columns = after.chars().count().min(6);
        let before_columns = before.chars().count();
        let room = COLUMNS - word_columns - after_columns;
        let before = if before_columns > room {
            let tail: String = before.chars().skip(before_columns - room + 1).collect();
            format!("…{tail}")
        } else {
            before
        };
        let indent = before.chars().count();
        let after = shorten(&after, COLUMNS.saturating_sub(indent + word_columns));
        let shown = format!("{before}{word}{after}");
        let marker = if shown.chars().all(lines_up) {
            format!("{}{}", " ".repeat(indent), "^".repeat(word_columns))
        } else {
            format!("here: {word}")
        };
        [vec![code(shown)], vec![code(marker)]]
    }
}

/// Whether a character is one column wide and written left to right.
fn lines_up(c: char) -> bool {
    (c as u32) < 0x0300 || matches!(c, '…' | '“' | '”' | '‘' | '’' | '–' | '—' | '⟨' | '⟩')
}

/// The same on one line, nothing hidden.
fn one_line(part: &str) -> String {
    let flat: String = part.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
    visible(&flat)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typo() -> Trouble {
        Trouble::usage("“imgae” is not something /rollback does.")
            .at("/rollback imgae api", 10..15)
            .say("It does: image, plan.")
            .try_this("/rollback image api")
            .try_this("/help rollback")
    }

    #[test]
    fn the_card_marks_the_word_and_ends_in_what_to_type() {
        let expected = "“imgae” is not something /rollback does.\n/rollback imgae api\n          ^^^^^\nIt does: image, plan.\n  or /help rollback\nType /rollback image api";
        assert_eq!(typo().to_card().plain(), expected);
    }

    #[test]
    fn the_marker_stays_under_the_word_in_a_line_longer_than_a_phone() {
        let line = format!("/rollback image {} oops {}", "a".repeat(60), "b".repeat(60));
        let start = line.find("oops").unwrap();
        let card = Trouble::usage("no").at(&line, start..start + 4).to_card();
        let shown: Vec<char> = card.lines[0][0].words().chars().collect();
        let marker = card.lines[1][0].words();
        let first = marker.find('^').unwrap();
        assert_eq!(shown[first..first + 4].iter().collect::<String>(), "oops", "{shown:?}");
        assert!(shown.len() <= COLUMNS, "{} columns", shown.len());
    }

    #[test]
    fn a_right_to_left_line_repeats_the_word_instead_of_underlining_it() {
        let line = "/rollback صورة api";
        let start = "/rollback ".len();
        let card = Trouble::usage("no").at(line, start..start + "صورة".len()).to_card();
        assert_eq!(card.lines[1][0].words(), "here: صورة");
    }

    #[test]
    fn a_card_never_grows_past_its_rows_and_keeps_the_next_action() {
        let mut trouble = Trouble::usage("m".repeat(500)).at(&"x".repeat(300), 100..200);
        for n in 0..20 {
            trouble = trouble.say("s".repeat(100)).try_this(format!("/command number {n} {}", "c".repeat(90)));
        }
        let card = trouble.to_card();
        let total: usize = rows(&card.title) + card.lines.iter().map(rows).sum::<usize>();
        assert!(total <= ROWS, "{total} rows:\n{}", card.plain());
        assert!(card.plain().lines().last().unwrap().starts_with("Type /command number 0"), "{}", card.plain());
    }

    #[test]
    fn a_span_that_does_not_fit_points_at_the_end_instead_of_failing() {
        for span in [0..99, 2..3, 99..100] {
            assert_eq!(Trouble::usage("no").at("aبb", span).span(), Some(4..4));
        }
    }

    #[test]
    fn what_would_steer_a_terminal_is_visible_in_every_part() {
        let nasty = "a\u{1b}[2Jb\u{202e}";
        let card = Trouble::usage(nasty).say(nasty).try_this(nasty).at(nasty, 0..3).to_card();
        assert!(!card.plain().chars().any(|c| c != '\n' && crate::domain::text::is_hidden(c)), "{:?}", card.plain());
    }
}

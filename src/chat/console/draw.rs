//! PURE. Cards as lines of a terminal: wrapped to its width, coloured or not, and of an edited card only what
//! changed.
//!
//! Everything shown came from outside, so every word goes through [`visible`]; the only escape sequences are
//! the ones made here. Code is isolated only in lines that hold right-to-left letters, where it would
//! otherwise be shuffled (decision 28).

use std::collections::VecDeque;

use unicode_width::UnicodeWidthStr;

use super::protocol::Told;
use crate::domain::card::{Card, Line, Span, Tone, code, strong, text};
use crate::domain::text::{shorten, visible};

/// Cards whose last reading is remembered, to show only what an edit changed.
const REMEMBERED: usize = 200;

/// Narrower terminals are treated as this wide, in columns.
const NARROWEST: usize = 24;

/// Characters of one span that are drawn; nothing that people read in a terminal is longer.
const SPAN_LIMIT: usize = 4000;

/// What the terminal can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether colours are welcome.
    pub colour: bool,
    /// Columns; `None` where nothing needs wrapping, such as a pipe.
    pub width: Option<usize>,
}

/// Draws, and remembers what stands on the screen already.
#[derive(Debug, Default)]
pub struct Drawing {
    shown: VecDeque<(String, Card)>,
}

impl Drawing {
    /// A message of the channel. Empty if nothing of it is new.
    pub fn message(&mut self, told: &Told, look: Look) -> String {
        let place = self.shown.iter().position(|(key, _)| *key == told.key);
        let before = place.and_then(|at| self.shown.remove(at)).map(|(_, card)| card);
        self.shown.push_back((told.key.clone(), told.card.clone()));
        while self.shown.len() > REMEMBERED {
            self.shown.pop_front();
        }
        let thread = told.run.to_string();
        match before {
            Some(before) => changes(&thread, &before, &told.card, look),
            // What ended before we came is a line; what still goes on is told in full.
            None if told.backlog && told.run_ended => rows(&thread, &[title(&told.card)], look),
            None => rows(&thread, &whole(&told.card), look),
        }
    }
}

/// A card that belongs to no thread, such as an answer.
pub fn answer(card: &Card, look: Look) -> String {
    rows("", &whole(card), look)
}

/// Words of the console itself.
pub fn notice(words: &str, look: Look) -> String {
    rows("", &[Row { marker: Some(("·", Ink::Dim)), line: vec![text(words)], ink: Ink::Dim }], look)
}

/// How something is coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ink {
    None,
    Strong,
    Code,
    Dim,
    Good,
    Warn,
    Bad,
    Ask,
}

impl Ink {
    /// Select Graphic Rendition parameters (ECMA-48, 8.3.117): the eight colours every terminal has.
    fn parameters(self) -> Option<&'static str> {
        match self {
            Ink::None => None,
            Ink::Strong => Some("1"),
            Ink::Code => Some("36"),
            Ink::Dim => Some("2"),
            Ink::Good => Some("1;32"),
            Ink::Warn => Some("1;33"),
            Ink::Bad => Some("1;31"),
            Ink::Ask => Some("1;35"),
        }
    }

    fn paint(self, words: &str, look: Look) -> String {
        match self.parameters() {
            Some(parameters) if look.colour => format!("\u{1b}[{parameters}m{words}\u{1b}[0m"),
            _ => words.to_owned(),
        }
    }
}

/// A line with what stands before it.
struct Row {
    marker: Option<(&'static str, Ink)>,
    line: Line,
    /// For its prose.
    ink: Ink,
}

fn tone_mark(tone: Tone) -> (&'static str, Ink) {
    match tone {
        Tone::Plain => ("·", Ink::Dim),
        Tone::Busy => ("…", Ink::Code),
        Tone::Good => ("✓", Ink::Good),
        Tone::Ask => ("?", Ink::Ask),
        Tone::Warn => ("!", Ink::Warn),
        Tone::Bad => ("✗", Ink::Bad),
    }
}

fn title(card: &Card) -> Row {
    Row { marker: Some(tone_mark(card.tone)), line: card.title.clone(), ink: Ink::Strong }
}

fn button_rows(card: &Card) -> impl Iterator<Item = Row> + '_ {
    card.buttons.iter().map(|b| Row {
        marker: None,
        line: vec![strong(format!("[{}]", b.label)), text(" "), code(&b.command)],
        ink: Ink::None,
    })
}

fn body_rows(card: &Card) -> impl Iterator<Item = Row> + '_ {
    let lines = card.lines.iter().map(|line| Row { marker: None, line: line.clone(), ink: Ink::None });
    lines.chain(card.details.iter().map(|line| Row { marker: None, line: line.clone(), ink: Ink::Dim }))
}

fn whole(card: &Card) -> Vec<Row> {
    std::iter::once(title(card)).chain(body_rows(card)).chain(button_rows(card)).collect()
}

/// The lines of `after` that `before` had not.
fn changes(thread: &str, before: &Card, after: &Card, look: Look) -> String {
    let mut had: Vec<&Line> = before.lines.iter().chain(&before.details).collect();
    let mut new = Vec::new();
    if (before.tone, &before.title) != (after.tone, &after.title) {
        new.push(title(after));
    }
    new.extend(body_rows(after).filter(|row| match had.iter().position(|line| **line == row.line) {
        Some(at) => {
            had.swap_remove(at);
            false
        }
        None => true,
    }));
    if before.buttons != after.buttons {
        new.extend(button_rows(after));
    }
    rows(thread, &new, look)
}

/// Rows beneath each other behind one bar, which the thread's id opens.
fn rows(thread: &str, rows: &[Row], look: Look) -> String {
    let mut out = String::new();
    let indent = thread.width();
    // `r42 │ `, or just `│ ` where no thread is.
    let bar = if thread.is_empty() { 2 } else { indent + 3 };
    for (n, row) in rows.iter().enumerate() {
        let marker = row.marker.map_or(0, |(mark, _)| mark.width() + 1);
        let columns = look.width.map(|width| width.max(NARROWEST) - bar - marker);
        let wrapped = wrap(&row.line, columns, row.ink);
        for (m, pieces) in wrapped.iter().enumerate() {
            let opening = n == 0 && m == 0;
            if !thread.is_empty() {
                let id = if opening { Ink::Code.paint(thread, look) } else { " ".repeat(indent) };
                out.push_str(&id);
                out.push(' ');
            }
            out.push_str(&Ink::Dim.paint("│", look));
            out.push(' ');
            match row.marker {
                Some((mark, ink)) if m == 0 => {
                    out.push_str(&ink.paint(mark, look));
                    out.push(' ');
                }
                _ => out.push_str(&" ".repeat(marker)),
            }
            out.push_str(&finish(pieces, look));
            out.push('\n');
        }
    }
    out
}

/// A stretch of one line in one colour.
#[derive(Debug, Clone)]
struct Piece {
    words: String,
    ink: Ink,
    is_code: bool,
}

/// Breaks a line at its spaces, and words that are too long between characters. A word may go through several
/// spans: the comma after a name stays with it.
fn wrap(line: &Line, columns: Option<usize>, prose: Ink) -> Vec<Vec<Piece>> {
    let limit = columns.unwrap_or(usize::MAX).max(1);
    let mut out: Vec<Vec<Piece>> = vec![Vec::new()];
    let mut used: usize = 0;
    for word in words(line, prose) {
        let whole: usize = word.iter().map(|piece| piece.words.trim_end_matches(' ').width()).sum();
        if used > 0 && used.saturating_add(whole) > limit {
            out.push(Vec::new());
            used = 0;
        }
        for piece in word {
            let mut rest = piece.words.as_str();
            while used.saturating_add(rest.trim_end_matches(' ').width()) > limit {
                if used >= limit {
                    out.push(Vec::new());
                    used = 0;
                    continue;
                }
                let cut = fitting(rest, limit - used);
                // A wide character may not fit into the last column.
                if used > 0 && rest[..cut].width() > limit - used {
                    used = limit;
                    continue;
                }
                add(&mut out, &rest[..cut], &piece);
                rest = &rest[cut..];
                used = limit;
            }
            add(&mut out, rest, &piece);
            used = used.saturating_add(rest.width()).min(limit);
        }
    }
    for pieces in &mut out {
        if let Some(last) = pieces.last_mut() {
            last.words.truncate(last.words.trim_end_matches(' ').len());
        }
    }
    out
}

/// The words of a line, made visible, each with the spaces behind it.
fn words(line: &Line, prose: Ink) -> Vec<Vec<Piece>> {
    let mut out: Vec<Vec<Piece>> = vec![Vec::new()];
    for span in line {
        let (ink, is_code) = match span {
            Span::Text(_) => (prose, false),
            Span::Strong(_) => (if prose == Ink::Dim { Ink::Dim } else { Ink::Strong }, false),
            Span::Code(_) => (Ink::Code, true),
        };
        for part in visible(&shorten(span.words(), SPAN_LIMIT)).split_inclusive(' ') {
            let piece = Piece { words: part.to_owned(), ink, is_code };
            match out.last_mut() {
                Some(word) if word.last().is_none_or(|before| !before.words.ends_with(' ')) => word.push(piece),
                _ => out.push(vec![piece]),
            }
        }
    }
    out
}

/// Adds some words of `of` to the last line.
fn add(out: &mut [Vec<Piece>], words: &str, of: &Piece) {
    let Some(line) = out.last_mut() else { return };
    match line.last_mut() {
        Some(piece) if piece.ink == of.ink && piece.is_code == of.is_code => piece.words.push_str(words),
        _ => line.push(Piece { words: words.to_owned(), ..*of }),
    }
}

/// Bytes of the longest beginning of at most `limit` columns; at least one character, marks upon it included.
fn fitting(words: &str, limit: usize) -> usize {
    // Marks take no columns: without an end of their own they could go on for ever.
    let ends = words.char_indices().map(|(at, c)| at + c.len_utf8()).take(limit.saturating_mul(8));
    let mut best = words.chars().next().map_or(0, char::len_utf8);
    for end in ends {
        if words[..end].width() > limit {
            break;
        }
        best = best.max(end);
    }
    best
}

/// Colours a line, and isolates its code if it holds right-to-left letters.
fn finish(pieces: &[Piece], look: Look) -> String {
    let isolate = pieces.iter().any(|piece| piece.words.chars().any(is_rtl));
    pieces
        .iter()
        .map(|piece| {
            let painted = piece.ink.paint(&piece.words, look);
            // Left-to-right isolate, pop directional isolate (UAX 9, 2.4): code reads left to right.
            if isolate && piece.is_code { format!("\u{2066}{painted}\u{2069}") } else { painted }
        })
        .collect()
}

/// Whether a character is written from right to left: the Hebrew, Arabic, Syriac and Thaana blocks and their
/// presentation forms.
fn is_rtl(c: char) -> bool {
    matches!(c, '\u{0590}'..='\u{08ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefc}' | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chat::console::protocol::Kind;
    use crate::domain::ids::RunId;

    const PLAIN: Look = Look { colour: false, width: None };

    fn told(card: Card) -> Told {
        let run = RunId::parse("r42").unwrap();
        Told { kind: Kind::Post, run, key: "r42/card".into(), card, run_ended: false, backlog: false }
    }

    fn rolling() -> Card {
        Card::new(Tone::Busy, vec![text("Rolling "), code("api"), text(" back to "), code("rel17")])
            .line(vec![text("✓ pull image  0:01")])
            .line(vec![text("… swap "), code("api"), text("  0:02")])
            .button("Cancel", "/cancel r42".into())
    }

    #[test]
    fn a_new_card_is_drawn_whole_and_an_edit_only_where_it_changed() {
        let mut drawing = Drawing::default();
        insta::assert_snapshot!(drawing.message(&told(rolling()), PLAIN), @r"
        r42 │ … Rolling api back to rel17
            │ ✓ pull image  0:01
            │ … swap api  0:02
            │ [Cancel] /cancel r42
        ");
        let mut next = rolling();
        next.lines[1] = vec![text("✓ swap "), code("api"), text("  0:03")];
        next.lines.push(vec![text("… prove health")]);
        insta::assert_snapshot!(drawing.message(&told(next.clone()), PLAIN), @r"
        r42 │ ✓ swap api  0:03
            │ … prove health
        ");
        assert_eq!(drawing.message(&told(next.clone()), PLAIN), "", "said again, nothing is new");
        next.tone = Tone::Good;
        next.buttons.clear();
        insta::assert_snapshot!(drawing.message(&told(next), PLAIN), @"r42 │ ✓ Rolling api back to rel17");
    }

    #[test]
    fn what_ended_before_we_came_is_one_line() {
        let mut old = told(rolling());
        (old.run_ended, old.backlog, old.card.tone) = (true, true, Tone::Good);
        insta::assert_snapshot!(Drawing::default().message(&old, PLAIN), @"r42 │ ✓ Rolling api back to rel17");
    }

    #[test]
    fn lines_wrap_at_the_width_and_no_row_is_wider() {
        let card = Card::new(Tone::Ask, vec![text("Restore "), code("mongodb"), text(" on shop from b120?")])
            .line(vec![text("Lost: 1,204 documents written since 02:10, counted just now")])
            .line(vec![text("first "), code("sha256:0123456789abcdef0123456789abcdef0123456789abcdef")])
            .line(vec![text("now rel19, since 02:10; then "), code("rel17"), text(", which ran")])
            .line(vec![text("بطء شديد في الواجهة بعد النشر الأخير مباشرة اليوم")])
            .line(vec![text("日本語日本語日本語日本語日本語日本語日本語")])
            .button("Approve", "/approve a45".into());
        insta::assert_snapshot!(rows("r42", &whole(&card), Look { colour: false, width: Some(40) }), @r"
        r42 │ ? Restore mongodb on shop from
            │   b120?
            │ Lost: 1,204 documents written
            │ since 02:10, counted just now
            │ first
            │ sha256:0123456789abcdef0123456789a
            │ bcdef0123456789abcdef
            │ now rel19, since 02:10; then
            │ rel17, which ran
            │ بطء شديد في الواجهة بعد النشر
            │ الأخير مباشرة اليوم
            │ 日本語日本語日本語日本語日本語日本
            │ 語日本語
            │ [Approve] /approve a45
        ");
        for width in [1, 10, 24, 25, 33, 40, 80] {
            for row in rows("r42", &whole(&card), Look { colour: false, width: Some(width) }).lines() {
                assert!(row.width() <= width.max(NARROWEST), "{width}: {row}");
            }
        }
    }

    #[test]
    fn nothing_from_outside_steers_the_terminal() {
        let evil = "a\u{1b}[2Jb\u{9b}31mc\rd\u{7}e\u{202e}f\u{8}";
        let mut card = Card::new(Tone::Bad, vec![text(evil), strong(evil), code(evil)]);
        card = card.line(vec![code(evil)]).detail(vec![text(evil)]).button(evil, evil.to_owned());
        for look in [PLAIN, Look { colour: false, width: Some(30) }] {
            let drawn = Drawing::default().message(&told(card.clone()), look) + &notice(evil, look);
            let found: Vec<char> = drawn.chars().filter(|c| *c != '\n' && crate::domain::text::is_hidden(*c)).collect();
            assert!(found.is_empty(), "{found:?} in {drawn}");
        }
        let drawn = answer(&card, Look { colour: true, width: None });
        let ours = drawn.split('\u{1b}').skip(1).all(|rest| {
            let end = rest.find('m').unwrap_or(0);
            rest.starts_with('[') && rest[1..end].bytes().all(|b| b.is_ascii_digit() || b == b';')
        });
        assert!(ours && drawn.contains("⟨U+001B⟩[2J"), "{drawn:?}");
    }

    #[test]
    fn code_is_isolated_only_where_letters_run_from_right_to_left() {
        let arabic = Card::new(Tone::Plain, vec![text("خدمة "), code("api"), text(" عادت")]);
        assert!(answer(&arabic, PLAIN).contains("\u{2066}api\u{2069}"));
        let latin = Card::new(Tone::Plain, vec![text("service "), code("api")]);
        assert!(!answer(&latin, PLAIN).contains('\u{2066}'));
    }
}

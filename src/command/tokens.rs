//! From the characters a chat client sends to the words a person meant.
//!
//! Clients turn `--` and straight quotes into typographic ones, put no-break spaces and direction marks
//! between words, and phones write full-width or Arabic digits. All of that is undone here for words; the
//! raw line stays as it was, and every word knows which bytes of it it came from.

use std::ops::Range;

use crate::domain::text::is_hidden;

/// One word, read the way it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Word {
    /// Typographic dashes, digits and full-width characters made plain.
    pub(crate) text: String,
    /// Its bytes in the line, quotes included.
    pub(crate) span: Range<usize>,
    /// It stood in quotes: never a keyword, and punctuation belongs to it.
    pub(crate) quoted: bool,
    /// Bytes at its end that only end a sentence.
    tail: usize,
}

impl Word {
    /// Without the punctuation that ends a sentence. A quoted word keeps it.
    pub(crate) fn trimmed(mut self) -> Self {
        if !self.quoted {
            let kept = self.text.trim_end_matches(is_tail).len();
            self.text.truncate(kept);
            self.span.end -= self.tail;
            self.tail = 0;
        }
        self
    }
}

/// A quote that is not closed, by its bytes in the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unclosed(pub(crate) Range<usize>);

/// Reads words one by one; copying it is remembering a place.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Words<'a> {
    line: &'a str,
    at: usize,
    end: usize,
}

impl<'a> Words<'a> {
    /// At the start of a line. A line that is all one code span (`` `/status` ``) is read without its backticks.
    pub(crate) fn of(line: &'a str) -> Self {
        let (mut at, mut end) = (0, line.len());
        let inner = line.trim_matches(is_blank);
        if inner.len() >= 2 && inner.starts_with('`') && inner.ends_with('`') {
            let words = inner.trim_matches('`');
            if !words.is_empty() && !words.contains('`') {
                at = words.as_ptr() as usize - line.as_ptr() as usize;
                end = at + words.len();
            }
        }
        Self { line, at, end }
    }

    /// The line it reads.
    pub(crate) fn line(&self) -> &'a str {
        self.line
    }

    /// Where the unread part ends: the place to point at when something is missing.
    pub(crate) fn end(&self) -> Range<usize> {
        let end = self.line[..self.end].trim_end_matches(is_blank).len().max(self.at.min(self.end));
        end..end
    }

    /// The unread part, blanks around it removed, and where it begins.
    pub(crate) fn rest(&self) -> (usize, &'a str) {
        let part = &self.line[self.at..self.end];
        let trimmed = part.trim_start_matches(is_blank);
        (self.end - trimmed.len(), trimmed.trim_end_matches(is_blank))
    }

    /// Goes on reading at this byte of the line, which must begin a character.
    pub(crate) fn go_to(&mut self, at: usize) {
        self.at = at.min(self.end);
    }

    /// The next word.
    pub(crate) fn next(&mut self) -> Result<Option<Word>, Unclosed> {
        let (start, rest) = self.rest();
        let Some(first) = rest.chars().next() else {
            self.at = self.end;
            return Ok(None);
        };
        if let Some(family) = quote_family(first) {
            return self.quoted(start, rest, first, family).map(Some);
        }
        let mut end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        // `to:"two words"` is the keyword and a quoted word.
        let mut before = first;
        for (i, c) in rest[..end].char_indices().skip(1) {
            if matches!(before, ':' | '=' | '：' | '＝') && quote_family(c).is_some() {
                end = i;
                break;
            }
            before = c;
        }
        let raw = rest[..end].trim_end_matches(is_silent);
        self.at = start + end;
        let tail = raw.len() - raw.trim_end_matches(is_tail).len();
        Ok(Some(Word { text: plain(raw), span: start..start + raw.len(), quoted: false, tail }))
    }

    /// In double quotes a backslash keeps the next quote or backslash as it is.
    fn quoted(&mut self, start: usize, rest: &str, open: char, family: Quotes) -> Result<Word, Unclosed> {
        let inner = &rest[open.len_utf8()..];
        let mut text = String::new();
        let mut chars = inner.char_indices().peekable();
        while let Some((i, c)) = chars.next() {
            let behind = i + c.len_utf8();
            if c == '\\' && family == Quotes::Double {
                let kept = |(_, next): &(usize, char)| *next == '\\' || quote_family(*next) == Some(Quotes::Double);
                text.push(chars.next_if(kept).map_or(c, |(_, next)| next));
                continue;
            }
            let followed_by_blank = || inner[behind..].chars().next().is_none_or(is_blank);
            if quote_family(c) == Some(family) && (family != Quotes::Single || followed_by_blank()) {
                let end = start + open.len_utf8() + behind;
                self.at = end;
                return Ok(Word {
                    text: text.trim_matches(is_blank).to_owned(),
                    span: start..end,
                    quoted: true,
                    tail: 0,
                });
            }
            text.push(c);
        }
        Err(Unclosed(start..start + rest.len()))
    }

    /// Where the read part ends, blanks left out.
    pub(crate) fn read_to(&self) -> usize {
        self.line[..self.at].trim_end_matches(is_blank).len()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quotes {
    Double,
    Single,
    Code,
}

/// Whether it opens and closes double quotes, of whatever typography: clients mix them.
pub(crate) fn is_double_quote(c: char) -> bool {
    quote_family(c) == Some(Quotes::Double)
}

/// Whether a word that begins so is quoted.
pub(crate) fn is_quote(c: char) -> bool {
    quote_family(c).is_some()
}

fn quote_family(c: char) -> Option<Quotes> {
    match c {
        '"' | '“' | '”' | '„' | '‟' | '«' | '»' | '＂' => Some(Quotes::Double),
        '\'' | '‘' | '’' | '‚' | '‛' => Some(Quotes::Single),
        '`' => Some(Quotes::Code),
        _ => None,
    }
}

/// Direction marks and zero-width characters: they come along when one copies, and mean nothing between words.
fn is_silent(c: char) -> bool {
    matches!(c, '\u{200c}' | '\u{200d}' | '\u{180e}' | '\u{2800}')
        || (is_hidden(c) && !c.is_control() && !matches!(c, '\u{2028}' | '\u{2029}'))
}

/// What may stand between two words.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || is_silent(c)
}

/// What may end a sentence behind a word without belonging to it.
fn is_sentence_end(c: char) -> bool {
    matches!(c, '.' | ',' | '!' | '?' | ';' | '؟' | '،' | '؛' | '。' | '…' | '！' | '，' | '．' | '？' | '；')
}

/// What [`Word::trimmed`] takes off: the end of a sentence, and marks copied along with it.
fn is_tail(c: char) -> bool {
    is_sentence_end(c) || is_silent(c)
}

/// Typographic and full-width characters as a keyboard has them.
fn plain(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    for (i, c) in raw.char_indices() {
        match c {
            '\u{2010}' | '\u{2011}' | '\u{2212}' | '\u{fe63}' => out.push('-'),
            '\u{2013}' if i > 0 => out.push('-'),
            '\u{2012}'..='\u{2015}' => out.push_str("--"),
            '\u{ff01}'..='\u{ff5e}' => out.extend(char::from_u32(c as u32 - 0xfee0)),
            '\u{0660}'..='\u{0669}' => out.extend(char::from_digit(c as u32 - 0x0660, 10)),
            '\u{06f0}'..='\u{06f9}' => out.extend(char::from_digit(c as u32 - 0x06f0, 10)),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<String> {
        let mut words = Words::of(line);
        let mut out = Vec::new();
        while let Some(word) = words.next().unwrap() {
            assert!(line.get(word.span.clone()).is_some(), "span of {word:?} cuts a character");
            out.push(word.trimmed().text);
        }
        out
    }

    #[test]
    fn words_are_read_as_they_were_meant() {
        let table: &[(&str, &[&str])] = &[
            ("a  b", &["a", "b"]),
            ("a\u{a0}b\u{202f}c\u{3000}d\te\nf", &["a", "b", "c", "d", "e", "f"]),
            ("\u{200f}a\u{200e} \u{2068}b\u{2069} \u{feff}c", &["a", "b", "c"]),
            ("—to –to --to", &["--to", "--to", "--to"]),
            ("web–1 web‑1", &["web-1", "web-1"]),
            ("“two words” 'one' «three»", &["two words", "one", "three"]),
            ("`/status`", &["/status"]),
            ("to:“a b” c", &["to:", "a b", "c"]),
            ("ｒｅｌ１７ rel١٧ rel۱۷", &["rel17", "rel17", "rel17"]),
            ("api. api?! api؟ api！", &["api", "api", "api", "api"]),
            ("\u{2068}r42\u{2069}.", &["r42"]),
            ("“api.”", &["api."]),
            (r#""a \"b\" \\ \c" d"#, &[r#"a "b" \ \c"#, "d"]),
            ("", &[]),
            ("\u{200f} \u{200e}", &[]),
        ];
        for (line, expected) in table {
            assert_eq!(read(line), *expected, "{line:?}");
        }
    }

    #[test]
    fn a_mark_inside_a_word_is_kept_so_that_it_can_be_refused_and_shown() {
        assert_eq!(read("ap\u{202e}i"), ["ap\u{202e}i"]);
    }

    #[test]
    fn an_open_quote_is_told_with_its_place() {
        assert_eq!(Words::of("“abc").next(), Err(Unclosed(0..6)));
        assert_eq!(Words::of("'it's").next(), Err(Unclosed(0..5)), "an apostrophe inside a word closes nothing");
    }

    #[test]
    fn the_span_of_a_trimmed_word_loses_what_the_word_loses() {
        let line = "x api؟!";
        let mut words = Words::of(line);
        words.next().unwrap();
        let word = words.next().unwrap().unwrap().trimmed();
        assert_eq!(&line[word.span], "api");
    }
}

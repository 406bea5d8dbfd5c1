//! Finding and changing one key in the bytes of an `.env` file. Everything else stays byte for byte.
//!
//! The readers of such files (compose 1's python-dotenv, compose 2's godotenv, shells) differ in rare places; what
//! they would read differently is refused rather than guessed.

use std::ops::Range;

/// Longest value we take, in bytes; the longest image reference is 255 + 1 + 128 and a digest.
const VALUE_MAX: usize = 512;

/// Why a key in the text cannot be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextTrouble {
    /// Which of them counts is not the same for every reader.
    #[error("{key} is set twice, in lines {first} and {second}: remove one of them")]
    Twice {
        /// The key.
        key: String,
        /// Line number from 1.
        first: usize,
        /// Line number from 1.
        second: usize,
    },
    /// A quote that nothing closes.
    #[error("the quote that opens in line {0} is never closed: close it")]
    OpenQuote(usize),
    /// The key stands there, but not as `KEY=value`.
    #[error("line {line} names {key}, but not as {key}=value: write it so")]
    NotAssigned {
        /// The key.
        key: String,
        /// Line number from 1.
        line: usize,
    },
    /// Variables, escapes, blanks: replaced, it could not be put back with certainty.
    #[error(
        "the value of {key} in line {line} is no plain image reference (it holds blanks, quotes, `$` or the like): write the reference out"
    )]
    NotPlain {
        /// The key.
        key: String,
        /// Line number from 1.
        line: usize,
    },
}

/// Where a key stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// The bytes of the value, without quotes.
    value: Range<usize>,
    /// The bytes of the whole line, its end included.
    line: Range<usize>,
}

/// Whether this is a value that we write, and so one that can be put back: an image reference, or nothing.
pub(super) fn is_plain(value: &[u8]) -> bool {
    let plain = |b: &u8| b.is_ascii_alphanumeric() || b"._-/:@+[]".contains(b);
    value.len() <= VALUE_MAX && value.iter().all(plain)
}

/// Whether this is a key that we look for.
pub(super) fn is_key(key: &str) -> bool {
    let mut bytes = key.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// Looks for the key. `None` when it is not there.
pub(super) fn find(text: &[u8], key: &str) -> Result<Option<Found>, TextTrouble> {
    let mut found: Option<(usize, Found)> = None;
    let mut at = if text.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut number = 1;
    while at < text.len() {
        let start = at;
        let end = line_end(text, start);
        let line = number;
        number += 1;
        at = end;

        let name_at = skip_blanks(text, start, end);
        let name_at = match text[name_at..end].strip_prefix(b"export") {
            Some(rest) if rest.first().is_some_and(|b| is_blank(*b)) => skip_blanks(text, name_at + 6, end),
            _ => name_at,
        };
        let name_len = text[name_at..end].iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'_').count();
        let name_end = name_at + name_len;
        let ours = &text[name_at..name_end] == key.as_bytes();
        let equals = skip_blanks(text, name_end, end);
        if name_len == 0 || text.get(equals) != Some(&b'=') || equals >= end {
            // A bare name, or `KEY: value`, which compose 2 reads and compose 1 does not.
            let names_it =
                ours && matches!(text[name_end..end].first(), None | Some(b' ' | b'\t' | b'\r' | b'\n' | b':'));
            if names_it {
                return Err(TextTrouble::NotAssigned { key: key.to_owned(), line });
            }
            continue;
        }

        let value_at = skip_blanks(text, equals + 1, end);
        let (value, quoted) = match text[value_at..end].first() {
            Some(quote @ (b'"' | b'\'')) => {
                // A quoted value may go on over several lines; what looks like a key in it is none.
                let close = closing(text, value_at + 1, *quote).ok_or(TextTrouble::OpenQuote(line))?;
                if close >= end {
                    number += text[end..close].iter().filter(|b| **b == b'\n').count() + 1;
                    at = line_end(text, close);
                }
                (value_at + 1..close, true)
            }
            // An empty value and a comment to one reader, a value to another; and what is put there would run into it.
            Some(b'#') => (value_at..value_at + 1, false),
            _ => (value_at..unquoted_end(text, value_at, end), false),
        };
        if !ours {
            continue;
        }
        if let Some((first, _)) = found {
            return Err(TextTrouble::Twice { key: key.to_owned(), first, second: line });
        }
        let plain = is_plain(&text[value.clone()]) && (!quoted || nothing_but_comment(text, value.end + 1, at));
        if !plain {
            return Err(TextTrouble::NotPlain { key: key.to_owned(), line });
        }
        found = Some((line, Found { value, line: start..at }));
    }
    Ok(found.map(|(_, found)| found))
}

/// The value of a found key.
pub(super) fn value(text: &[u8], found: &Found) -> String {
    String::from_utf8_lossy(&text[found.value.clone()]).into_owned()
}

/// The text with the key set to the value, or without its line. `found` is what [`find`] said of the same text.
/// Setting a key that is not there and taking it away again gives the same bytes back.
pub(super) fn change(text: &[u8], key: &str, found: Option<&Found>, value: Option<&str>) -> Vec<u8> {
    match (found, value) {
        (Some(found), Some(value)) => [&text[..found.value.start], value.as_bytes(), &text[found.value.end..]].concat(),
        (Some(found), None) => {
            let mut before = &text[..found.line.start];
            if !text[found.line.clone()].ends_with(b"\n") {
                before = before.strip_suffix(b"\n").unwrap_or(before);
                if has_crlf(before) {
                    before = before.strip_suffix(b"\r").unwrap_or(before);
                }
            }
            [before, &text[found.line.end..]].concat()
        }
        (None, Some(value)) => {
            let line_end: &[u8] = if has_crlf(text) { b"\r\n" } else { b"\n" };
            let line = [key.as_bytes(), b"=", value.as_bytes()].concat();
            if text.is_empty() || text.ends_with(b"\n") {
                [text, &line, line_end].concat()
            } else {
                [text, line_end, &line].concat()
            }
        }
        (None, None) => text.to_vec(),
    }
}

fn has_crlf(text: &[u8]) -> bool {
    text.windows(2).any(|w| w == b"\r\n")
}

fn is_blank(b: u8) -> bool {
    b == b' ' || b == b'\t'
}

fn skip_blanks(text: &[u8], from: usize, end: usize) -> usize {
    from + text[from..end].iter().take_while(|b| is_blank(**b)).count()
}

/// One past the line's `\n`, or the end of the text.
fn line_end(text: &[u8], from: usize) -> usize {
    text[from..].iter().position(|b| *b == b'\n').map_or(text.len(), |n| from + n + 1)
}

/// The quote that closes; a backslash takes the meaning of the next byte away.
fn closing(text: &[u8], from: usize, quote: u8) -> Option<usize> {
    let mut at = from;
    while at < text.len() {
        match text[at] {
            b'\\' => at += 1,
            b if b == quote => return Some(at),
            _ => {}
        }
        at += 1;
    }
    None
}

/// Where an unquoted value ends: before a comment (`#` after a blank), blanks and the line's end.
fn unquoted_end(text: &[u8], from: usize, end: usize) -> usize {
    let mut stop = end;
    for at in from..end {
        if text[at] == b'#' && (at == from || is_blank(text[at - 1])) {
            stop = at;
            break;
        }
    }
    let trailing = text[from..stop].iter().rev().take_while(|b| b.is_ascii_whitespace()).count();
    stop - trailing
}

/// Whether only blanks and a comment follow in the line.
fn nothing_but_comment(text: &[u8], from: usize, end: usize) -> bool {
    let rest = text[from..end].trim_ascii();
    rest.is_empty() || rest.starts_with(b"#")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The value of `IMG`, or the trouble's text.
    fn read(text: &str) -> Result<Option<String>, String> {
        let found = find(text.as_bytes(), "IMG").map_err(|e| e.to_string())?;
        Ok(found.map(|f| value(text.as_bytes(), &f)))
    }

    fn set(text: &str, to: Option<&str>) -> String {
        let found = find(text.as_bytes(), "IMG").unwrap();
        String::from_utf8(change(text.as_bytes(), "IMG", found.as_ref(), to)).unwrap()
    }

    #[test]
    fn one_value_changes_and_all_else_stays_byte_for_byte() {
        for (before, after) in [
            ("IMG=a:1\n", "IMG=b@sha256:2\n"),
            ("# IMG=x\n\nA=1\nIMG=a:1", "# IMG=x\n\nA=1\nIMG=b@sha256:2"),
            ("A=1\r\nIMG=a:1\r\nB=2\r\n", "A=1\r\nIMG=b@sha256:2\r\nB=2\r\n"),
            ("  export  IMG = 'a:1'  # why\nB=2", "  export  IMG = 'b@sha256:2'  # why\nB=2"),
            ("IMG=\"a:1\"#c\nIMG2=x\nXIMG=y\n", "IMG=\"b@sha256:2\"#c\nIMG2=x\nXIMG=y\n"),
            ("IMG=a:1 # was a:0 \t\nM=\"x\nIMG=no\ny\"\n", "IMG=b@sha256:2 # was a:0 \t\nM=\"x\nIMG=no\ny\"\n"),
            ("M='it\\'s\nIMG=no'\nIMG=a:1\n", "M='it\\'s\nIMG=no'\nIMG=b@sha256:2\n"),
            ("\u{feff}IMG=a:1\n", "\u{feff}IMG=b@sha256:2\n"),
            ("A=it's\nIMG=a:1\n", "A=it's\nIMG=b@sha256:2\n"),
        ] {
            assert_eq!(read(before), Ok(Some("a:1".to_owned())), "{before:?}");
            assert_eq!(set(before, Some("b@sha256:2")), after);
            assert_eq!(set(after, Some("a:1")), before, "and back");
        }
        assert_eq!(read("IMG=\nB=1"), Ok(Some(String::new())));
        assert_eq!(set("IMG=\nB=1", Some("a")), "IMG=a\nB=1");
    }

    #[test]
    fn a_key_that_was_not_there_leaves_no_trace_when_taken_away_again() {
        for before in ["", "A=1\n", "A=1", "A=1\r\nB=2\r\n", "A=1\r\nB=2", "#\n\n"] {
            assert_eq!(read(before), Ok(None));
            let with = set(before, Some("a:1"));
            assert_eq!(read(&with), Ok(Some("a:1".to_owned())), "{with:?}");
            assert_eq!(set(&with, None), before, "{with:?}");
        }
        assert_eq!(set("A=1\nIMG=a\nB=2\n", None), "A=1\nB=2\n");
    }

    #[test]
    fn what_readers_could_read_differently_is_refused_with_the_line() {
        for (text, part) in [
            ("IMG=a\nB=1\nexport IMG=b\n", "lines 1 and 3"),
            ("M=\"1\n2\n3\"\nIMG=a\nIMG=a\n", "lines 4 and 5"),
            ("A=1\nIMG\n", "line 2 names IMG"),
            ("IMG: a\n", "line 1 names IMG"),
            ("IMG=${REPO}:1\n", "line 1 is no plain"),
            ("IMG=\"a\\n\"\n", "no plain"),
            ("IMG=a b\n", "no plain"),
            ("IMG='a'b\n", "no plain"),
            ("IMG=\"a\nb\"\n", "no plain"),
            ("IMG=a#b\n", "no plain"),
            ("IMG=ü\n", "no plain"),
            ("A='x\nIMG=a\n", "opens in line 1"),
        ] {
            let refused = read(text).expect_err(text);
            assert!(refused.contains(part), "{text:?}: {refused}");
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::test_runner::Config { cases: 2_000, failure_persistence: None, ..Default::default() })]
        #[test]
        fn no_bytes_make_it_panic_and_a_change_is_read_back(text in "[ \\ta-bIMG=\"'#\\\\\\r\\n$:é]{0,40}") {
            if let Ok(found) = find(text.as_bytes(), "IMG") {
                let changed = change(text.as_bytes(), "IMG", found.as_ref(), Some("x:9"));
                let again = find(&changed, "IMG").expect("still readable").expect("it is there");
                proptest::prop_assert_eq!(value(&changed, &again), "x:9");
                let old = found.as_ref().map(|f| value(text.as_bytes(), f));
                let back = change(&changed, "IMG", Some(&again), old.as_deref());
                proptest::prop_assert_eq!(String::from_utf8(back).unwrap(), text);
            }
        }
    }
}

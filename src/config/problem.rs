//! What is wrong with a file, where, and what would be right: read by the person who installs Sternway.

use std::fmt;
use std::ops::Range;

use crate::domain::text;

/// Longest source line that is shown; a longer one is cut and says so.
const LINE_SHOWN_MAX: usize = 120;

/// Characters of a message or a hint that are shown; a key in the file may be as long as the file.
const TOLD_MAX: usize = 800;

/// Words in a key that make us hide what stands behind it, should somebody have written a secret there.
const SECRET_WORDS: [&str; 6] = ["token", "secret", "password", "passwd", "credential", "webhook"];

/// One thing that is wrong in one place of a file.
///
/// Shows itself as `file:line:column: message`, the line with a marker, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named to us.
    pub file: String,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1; 0 when the whole file is meant.
    pub column: usize,
    /// The key with the tables around it, such as `stack.service.api.grace`; may be empty.
    pub key: String,
    /// What is wrong, one sentence.
    pub message: String,
    /// What would be right, or what to type next.
    pub hint: Option<String>,
    /// The line as it is shown: no control characters, nothing that looks like a secret.
    shown: String,
    /// Characters the marker spans.
    width: usize,
}

impl Problem {
    /// A problem with the file as a whole.
    pub fn of_file(file: &str, message: impl Into<String>, hint: impl Into<Option<String>>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
            hint: hint.into(),
            shown: String::new(),
            width: 0,
        }
    }

    /// A problem at the byte range `span` of `text`.
    pub(crate) fn at(file: &str, text: &str, span: Range<usize>, key: &str, message: String) -> Self {
        let start = floor(text, span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |i| i + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |i| start + i);
        let source = text[line_start..line_end].trim_end_matches('\r');
        let marked = text[start..floor(text, span.end.clamp(start, line_end.max(start)))].chars().count();
        Self {
            file: file.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: text[line_start..start].chars().count() + 1,
            key: key.to_owned(),
            message,
            hint: None,
            shown: without_secrets(source),
            width: marked.max(1),
        }
    }

    pub(crate) fn with_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint;
        self
    }
}

/// The nearest character boundary at or below `index`.
fn floor(text: &str, index: usize) -> usize {
    let mut at = index.min(text.len());
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

/// The line with the values of keys that sound like secrets, and what a URL says before its `@`, left out.
fn without_secrets(line: &str) -> String {
    if let Some(scheme) = line.find("://")
        && let Some(at) = line[scheme..].find('@')
    {
        return format!("{}://***{}", &line[..scheme], &line[scheme + at..]);
    }
    let lower = line.to_lowercase();
    let first = SECRET_WORDS.iter().filter_map(|word| lower.find(word)).min();
    let cut = first.and_then(|at| lower[at..].find('=').map(|eq| at + eq + 1));
    match cut {
        // Lower-casing can change lengths outside ASCII; then show nothing rather than the wrong part.
        Some(_) if lower.len() != line.len() => "***".to_owned(),
        Some(cut) => format!("{} ***", &line[..cut]),
        None => line.to_owned(),
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |words: &str| text::shorten(&text::visible(words), TOLD_MAX);
        let file = text::visible(&self.file);
        if self.line == 0 {
            write!(f, "{file}: {}", told(&self.message))?;
        } else {
            let number = self.line.to_string();
            write!(f, "{file}:{number}:{}: {}", self.column, told(&self.message))?;
            let line = text::shorten(&text::visible(&self.shown.replace('\t', " ")), LINE_SHOWN_MAX);
            write!(f, "\n  {number} | {line}")?;
            let room = line.chars().count().saturating_sub(self.column - 1);
            if room > 0 {
                let before = " ".repeat(self.column - 1);
                let marker = "^".repeat(self.width.min(room));
                write!(f, "\n  {} | {before}{marker}", " ".repeat(number.len()))?;
            }
        }
        match &self.hint {
            Some(hint) => write!(f, "\n  → {}", told(hint)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_names_file_line_and_column_and_marks_the_place() {
        let text = "[sternway]\nzöne = 1\n";
        let start = text.find('=').unwrap();
        let problem = Problem::at("s.toml", text, start..start + 1, "sternway.zöne", "odd".to_owned())
            .with_hint(Some("write `zone`".to_owned()));
        assert_eq!(problem.to_string(), "s.toml:2:6: odd\n  2 | zöne = 1\n    |      ^\n  → write `zone`");
    }

    #[test]
    fn a_secret_written_into_the_file_by_mistake_is_not_repeated() {
        for line in [
            "bot_token = \"xoxb-1\"",
            "x = { Password = 'xoxb-1' }",
            "API_SECRET=xoxb-1",
            "İtoken = 'xoxb-1'",
            "url = 'http://u:xoxb@h/'",
        ] {
            let shown = Problem::at("s.toml", line, 0..1, "", "odd".to_owned()).to_string();
            assert!(!shown.contains("xoxb"), "{shown}");
        }
    }

    #[test]
    fn a_place_past_the_end_or_inside_a_character_is_no_reason_to_fall() {
        let text = "a = \"é";
        for span in [0..99, 99..100, 6..7, 7..7] {
            let shown = Problem::at("s.toml", text, span, "a", "odd".to_owned()).to_string();
            assert!(shown.starts_with("s.toml:1:"), "{shown}");
        }
    }

    #[test]
    fn escapes_in_the_file_do_not_reach_the_terminal() {
        let text = "a = \"\u{1b}[31m\"";
        assert!(!Problem::at("s.toml", text, 0..1, "a", "odd".to_owned()).to_string().contains('\u{1b}'));
    }
}

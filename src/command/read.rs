//! Reads one command file as it is written: keys, types and words, each with its place. Nothing is inherited
//! and nothing judged here (`rules.rs`). All that is wrong is collected, so that one look at the answer mends
//! the whole file.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::domain::text::{is_hidden, shorten, visible};

use super::suggest::closest;
use super::value::read_duration;
use super::words::{Kind, Lock, ReasonRule, Risk, Source, StepKind, TypeWord, Vocabulary, Waived};

/// Longest command file, in bytes: ours have two thousand, and a person has to be able to review it.
pub const FILE_MAX: usize = 64 * 1024;

/// Things wrong with one file that are told, each with its place: more would not be read, and in a file that is none of
/// ours each costs a search for its line.
const BAD_MAX: usize = 100;

/// Characters that are told of one thing; a key in the file may be as long as the file.
const TOLD_MAX: usize = 800;

/// One thing wrong with a command file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bad {
    /// The file's name.
    pub file: String,
    /// Its line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The key it is about; empty when the file is no TOML there.
    pub key: String,
    /// What is wrong, and what would be valid.
    pub message: String,
}

impl fmt::Display for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bad { line, column, .. } = self;
        let told = |words: &str| shorten(&visible(words), TOLD_MAX);
        let (file, key, message) = (visible(&self.file), told(&self.key), told(&self.message));
        if key.is_empty() {
            write!(f, "{file}:{line}:{column}: {message}")
        } else {
            write!(f, "{file}:{line}:{column}: {key}: {message}")
        }
    }
}

/// A value with its bytes in the file.
pub(super) type At<T> = Spanned<T>;

/// An argument as written.
#[derive(Debug, Clone)]
pub(super) struct RawArgument {
    pub(super) name: Option<At<String>>,
    pub(super) kind: Option<At<TypeWord>>,
    pub(super) choices: Option<At<Vec<At<String>>>>,
    pub(super) required: Option<At<bool>>,
    pub(super) from_thread: Option<At<bool>>,
    pub(super) keyword: Option<At<String>>,
    pub(super) positional: Option<At<bool>>,
    pub(super) complete: Option<At<Source>>,
    pub(super) about: Option<At<String>>,
    pub(super) span: Range<usize>,
}

/// An approval rule as written.
#[derive(Debug, Clone)]
pub(super) struct RawApproval {
    pub(super) from: Option<At<String>>,
    pub(super) count: Option<At<i64>>,
    pub(super) waived: Option<At<Waived>>,
    pub(super) expires: Option<At<u64>>,
}

/// A rate limit as written.
#[derive(Debug, Clone)]
pub(super) struct RawRate {
    pub(super) count: Option<At<i64>>,
    pub(super) per: Option<At<u64>>,
}

/// A command or subcommand as written.
#[derive(Debug, Clone)]
pub(super) struct RawCommand {
    pub(super) name: Option<At<String>>,
    pub(super) short: Option<At<String>>,
    pub(super) long: Option<At<String>>,
    pub(super) examples: Option<At<Vec<At<String>>>>,
    pub(super) kind: Option<At<Kind>>,
    pub(super) does: Option<At<String>>,
    pub(super) risk: Option<At<Risk>>,
    pub(super) roles: Option<At<Vec<At<String>>>>,
    pub(super) approval: Option<At<RawApproval>>,
    pub(super) rate: Option<At<RawRate>>,
    pub(super) lock: Option<At<Lock>>,
    pub(super) time_limit: Option<At<u64>>,
    pub(super) reason: Option<At<ReasonRule>>,
    pub(super) arguments: Option<Vec<RawArgument>>,
    pub(super) steps: Option<At<Vec<At<StepKind>>>>,
    pub(super) span: Range<usize>,
}

/// A file as written.
#[derive(Debug)]
pub(super) struct RawFile {
    pub(super) command: RawCommand,
    pub(super) default: Option<At<String>>,
    pub(super) subs: Option<Vec<RawCommand>>,
}

/// One file being read, and what was found wrong with it.
pub(super) struct Reader<'a> {
    file: &'a str,
    source: &'a str,
    bad: Vec<Bad>,
    /// Things wrong that are not told for themselves.
    more: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(file: &'a str, source: &'a str) -> Self {
        Self { file, source, bad: Vec::new(), more: 0 }
    }

    pub(super) fn into_bad(mut self) -> Vec<Bad> {
        if self.more > 0 {
            let message = format!("and {} more that are not told: mend these first", self.more);
            let last = self.bad.last().map_or((1, 1), |bad| (bad.line, bad.column));
            self.bad.push(Bad {
                file: self.file.to_owned(),
                line: last.0,
                column: last.1,
                key: String::new(),
                message,
            });
        }
        self.bad
    }

    pub(super) fn is_clean(&self) -> bool {
        self.bad.is_empty()
    }

    /// Something is wrong at these bytes.
    pub(super) fn wrong(&mut self, at: Range<usize>, key: &str, message: impl Into<String>) {
        if self.bad.len() >= BAD_MAX {
            self.more += 1;
            return;
        }
        let (line, column) = line_and_column(self.source, at.start);
        let bad = Bad { file: self.file.to_owned(), line, column, key: key.to_owned(), message: message.into() };
        if !self.bad.contains(&bad) {
            self.bad.push(bad);
        }
    }

    /// A key is missing here; not told where one of that name was there and could not be read.
    pub(super) fn lacks(&mut self, at: Range<usize>, key: &str, message: impl Into<String>) {
        if !self.bad.iter().any(|bad| bad.key == key) {
            self.wrong(at, key, message);
        }
    }

    /// Reads the whole file. What could be read is given even when something was wrong, so that the rules can
    /// find more of it; `None` when it is no TOML.
    pub(super) fn read(&mut self) -> Option<RawFile> {
        if self.source.len() > FILE_MAX {
            self.wrong(FILE_MAX..FILE_MAX, "", format!("a command file has at most {FILE_MAX} bytes"));
            return None;
        }
        if let Some((i, c)) =
            self.source.char_indices().find(|(_, c)| is_hidden(*c) && !matches!(c, '\n' | '\r' | '\t'))
        {
            self.wrong(i..i, "", format!("a hidden character U+{:04X}: a reviewer could not see it", c as u32));
            return None;
        }
        let (table, errors) = DeTable::parse_recoverable(self.source);
        for error in &errors {
            let at = error.span().unwrap_or(0..0);
            self.wrong(at, "", format!("this is no TOML: {}", error.message().trim_end()));
        }
        if !errors.is_empty() {
            return None;
        }
        let mut keys = Keys { reader: self, table: table.get_ref(), known: BTreeSet::new() };
        let default = keys.string("default");
        let subs = keys.tables("sub");
        let command = keys.command(0..0);
        keys.finish();
        let subs = subs.map(|subs| {
            subs.into_iter()
                .map(|(table, at)| {
                    let mut keys = Keys { reader: self, table, known: BTreeSet::new() };
                    let sub = keys.command(at);
                    keys.finish();
                    sub
                })
                .collect()
        });
        Some(RawFile { command, default, subs })
    }
}

/// Line and column (in characters), from 1, of a byte.
fn line_and_column(source: &str, at: usize) -> (usize, usize) {
    let before = source.get(..at.min(source.len())).unwrap_or(source);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
    (line, column)
}

/// The keys of one table. Asking for a key makes it known; [`Keys::finish`] refuses the rest.
struct Keys<'r, 'a, 't> {
    reader: &'r mut Reader<'a>,
    table: &'t DeTable<'t>,
    known: BTreeSet<&'static str>,
}

impl<'a, 't> Keys<'_, 'a, 't> {
    fn get(&mut self, key: &'static str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.insert(key);
        self.table.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v)
    }

    fn wrong(&mut self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str) {
        let found = match value.get_ref() {
            DeValue::String(_) => "text",
            DeValue::Integer(_) => "a number",
            DeValue::Float(_) => "a number with a point",
            DeValue::Boolean(_) => "true or false",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.reader.wrong(value.span(), key, format!("{wanted} is wanted here, not {found}"));
    }

    fn string(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.get(key)?;
        match value.get_ref().as_str() {
            Some(text) => Some(Spanned::new(value.span(), text.to_owned())),
            None => {
                self.wrong(value, key, "text in quotes");
                None
            }
        }
    }

    fn boolean(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.get(key)?;
        let found = value.get_ref().as_bool();
        if found.is_none() {
            self.wrong(value, key, "true or false");
        }
        found.map(|b| Spanned::new(value.span(), b))
    }

    fn integer(&mut self, key: &'static str) -> Option<At<i64>> {
        let value = self.get(key)?;
        let found = value.get_ref().as_integer().and_then(|i| i64::from_str_radix(i.as_str(), i.radix()).ok());
        if found.is_none() {
            self.wrong(value, key, "a whole number");
        }
        found.map(|n| Spanned::new(value.span(), n))
    }

    /// A duration in seconds.
    fn duration(&mut self, key: &'static str) -> Option<At<u64>> {
        let text = self.string(key)?;
        let found = read_duration(text.get_ref());
        if found.is_none() {
            let message = format!("“{}” is no duration; it looks like \"90s\", \"15m\" or \"2h30m\"", text.get_ref());
            self.reader.wrong(text.span(), key, message);
        }
        found.map(|seconds| Spanned::new(text.span(), seconds))
    }

    fn word<V: Vocabulary>(&mut self, key: &'static str) -> Option<At<V>> {
        let text = self.string(key)?;
        self.reader.vocabulary(key, &text)
    }

    fn strings(&mut self, key: &'static str) -> Option<At<Vec<At<String>>>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(value, key, "a list in [ ]");
            return None;
        };
        let mut out = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_str() {
                Some(text) => out.push(Spanned::new(item.span(), text.to_owned())),
                None => self.wrong(item, key, "text in quotes"),
            }
        }
        Some(Spanned::new(value.span(), out))
    }

    fn words<V: Vocabulary>(&mut self, key: &'static str) -> Option<At<Vec<At<V>>>> {
        let texts = self.strings(key)?;
        let span = texts.span();
        let words = texts.into_inner().iter().filter_map(|t| self.reader.vocabulary(key, t)).collect();
        Some(Spanned::new(span, words))
    }

    fn tables(&mut self, key: &'static str) -> Option<Vec<(&'t DeTable<'t>, Range<usize>)>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(value, key, &format!("a list of tables, each headed [[{key}]],"));
            return None;
        };
        let mut out = Vec::new();
        for item in array.iter() {
            match item.get_ref().as_table() {
                Some(table) => out.push((table, item.span())),
                None => self.wrong(item, key, "a table"),
            }
        }
        Some(out)
    }

    fn table(&mut self, key: &'static str) -> Option<(&'t DeTable<'t>, Range<usize>)> {
        let value = self.get(key)?;
        if value.get_ref().as_table().is_none() {
            self.wrong(value, key, "a table in { }");
        }
        value.get_ref().as_table().map(|table| (table, value.span()))
    }

    fn command(&mut self, span: Range<usize>) -> RawCommand {
        let arguments = self.tables("argument");
        let approval = self.table("approval");
        let rate = self.table("rate");
        let mut raw = RawCommand {
            name: self.string("name"),
            short: self.string("short"),
            long: self.string("long"),
            examples: self.strings("examples"),
            kind: self.word("kind"),
            does: self.string("does"),
            risk: self.word("risk"),
            roles: self.strings("roles"),
            approval: None,
            rate: None,
            lock: self.word("lock"),
            time_limit: self.duration("time_limit"),
            reason: self.word("reason"),
            arguments: None,
            steps: self.words("steps"),
            span,
        };
        raw.arguments =
            arguments.map(|list| list.into_iter().map(|(table, at)| self.inner(table).argument(at)).collect());
        raw.approval = approval.map(|(table, at)| Spanned::new(at, self.inner(table).approval()));
        raw.rate = rate.map(|(table, at)| Spanned::new(at, self.inner(table).rate()));
        raw
    }

    /// The keys of a table inside this one.
    fn inner(&mut self, table: &'t DeTable<'t>) -> Keys<'_, 'a, 't> {
        Keys { reader: &mut *self.reader, table, known: BTreeSet::new() }
    }

    fn argument(mut self, span: Range<usize>) -> RawArgument {
        let raw = RawArgument {
            name: self.string("name"),
            kind: self.word("type"),
            choices: self.strings("choices"),
            required: self.boolean("required"),
            from_thread: self.boolean("from_thread"),
            keyword: self.string("keyword"),
            positional: self.boolean("positional"),
            complete: self.word("complete"),
            about: self.string("about"),
            span,
        };
        self.finish();
        raw
    }

    fn approval(mut self) -> RawApproval {
        let raw = RawApproval {
            from: self.string("from"),
            count: self.integer("count"),
            waived: self.word("waived"),
            expires: self.duration("expires"),
        };
        self.finish();
        raw
    }

    fn rate(mut self) -> RawRate {
        let raw = RawRate { count: self.integer("count"), per: self.duration("per") };
        self.finish();
        raw
    }

    /// Refuses every key that nobody asked for.
    fn finish(self) {
        for key in self.table.keys() {
            let name = key.get_ref().as_ref();
            if self.known.contains(name) {
                continue;
            }
            let valid = self.known.iter().copied().collect::<Vec<_>>().join(", ");
            let meant = did_you_mean(name, self.known.iter().copied());
            self.reader.wrong(key.span(), name, format!("there is no such key{meant}; the keys here are: {valid}"));
        }
    }
}

impl Reader<'_> {
    /// A word of a closed set.
    pub(super) fn vocabulary<V: Vocabulary>(&mut self, key: &str, text: &At<String>) -> Option<At<V>> {
        let word = text.get_ref();
        if let Some((_, found)) = V::ALL.iter().find(|(w, _)| w == word) {
            return Some(Spanned::new(text.span(), *found));
        }
        let all = || V::ALL.iter().map(|(w, _)| *w);
        let valid = all().collect::<Vec<_>>().join(", ");
        let meant = did_you_mean(word, all());
        self.wrong(text.span(), key, format!("“{word}” is not {}{meant}; valid: {valid}", V::WHAT));
        None
    }
}

/// `, did you mean “x”?` or nothing.
pub(super) fn did_you_mean<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    closest(word, candidates).first().map(|c| format!(", did you mean “{c}”?")).unwrap_or_default()
}

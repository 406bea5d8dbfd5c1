//! Reads tables of a TOML file key by key, so that every problem is found in one go and each has its place.
//!
//! A section asks for each key it knows; what nobody asked for is unknown and refused, with the nearest key
//! that was. That way the list of valid keys is never written twice.

use std::cell::{Cell, RefCell};
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use crate::domain::names::{HostName, PersonId, ProjectName, RoleName, ServiceName, StackName};

/// Problems of one file that are told: more would not be read, and each costs a search for its line.
const PROBLEMS_MAX: usize = 100;

/// How alike two words must be to be offered for one another (Jaro-Winkler, 0 to 1).
const ALIKE: f64 = 0.8;

/// The nearest of `known` to a word that is not among them.
pub(crate) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::jaro_winkler(word, k), k))
        .filter(|(score, _)| *score >= ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, k)| k)
}

/// `did you mean …? ` when something is near, and then all that would be valid.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> String {
    let all = if known.is_empty() { "nothing".to_owned() } else { known.join(", ") };
    match nearest(word, known.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? valid here: {all}"),
        None => format!("valid here: {all}"),
    }
}

/// A file being read, and what was found wrong so far.
pub(crate) struct Source<'a> {
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
    problems: RefCell<Vec<Problem>>,
    /// Problems that are not told for themselves.
    more: Cell<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(name: &'a str, text: &'a str) -> Self {
        Self { name, text, problems: RefCell::new(Vec::new()), more: Cell::new(0) }
    }

    /// The problem at a place, for later.
    pub(crate) fn problem(&self, span: Range<usize>, key: &str, message: impl Into<String>) -> Problem {
        Problem::at(self.name, self.text, span, key, message.into())
    }

    pub(crate) fn refuse(&self, span: Range<usize>, key: &str, message: impl Into<String>, hint: Option<String>) {
        if self.problems.borrow().len() < PROBLEMS_MAX {
            self.problems.borrow_mut().push(self.problem(span, key, message).with_hint(hint));
        } else {
            self.more.set(self.more.get() + 1);
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// What was found, in the order of the file.
    pub(crate) fn into_problems(self) -> Vec<Problem> {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|p| (p.line, p.column));
        if self.more.get() > 0 {
            let message = format!("and {} more problems that are not told: mend these first", self.more.get());
            problems.push(Problem::of_file(self.name, message, None));
        }
        problems
    }
}

/// A value and where it stands.
#[derive(Clone)]
pub(crate) struct Node<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) path: Rc<str>,
    pub(crate) value: &'a Spanned<DeValue<'a>>,
}

impl<'a> Node<'a> {
    /// Notes a problem at this value; `None`, so that it can end a `from_toml`.
    pub(crate) fn refuse<T>(&self, message: impl Display, hint: impl Into<Option<String>>) -> Option<T> {
        self.note(message, hint);
        None
    }

    /// Notes a problem at this value.
    pub(crate) fn note(&self, message: impl Display, hint: impl Into<Option<String>>) {
        self.source.refuse(self.value.span(), &self.path, message.to_string(), hint.into());
    }

    /// The same place with nothing noted yet: a problem that only others can judge.
    pub(crate) fn problem(&self, message: impl Into<String>) -> Problem {
        self.source.problem(self.value.span(), &self.path, message)
    }

    /// The text that stands here, or a refusal that says what was wanted.
    pub(crate) fn text(&self, wanted: &str) -> Option<&'a str> {
        match self.value.get_ref().as_str() {
            Some(text) => Some(text),
            None => self.wrong_type(wanted),
        }
    }

    pub(crate) fn wrong_type<T>(&self, wanted: &str) -> Option<T> {
        let found = self.value.get_ref().type_str();
        self.refuse(format!("this is a TOML {found}, but {wanted} is wanted"), None)
    }

    /// The items of a list.
    pub(crate) fn items(&self, wanted: &str) -> Option<Vec<Node<'a>>> {
        match self.value.get_ref().as_array() {
            Some(array) => Some(array.iter().map(|value| Node { value, ..self.clone() }).collect()),
            None => self.wrong_type(wanted),
        }
    }

    /// The table that stands here, as a section of its own.
    pub(crate) fn section(&self, wanted: &str) -> Option<Section<'a>> {
        match self.value.get_ref().as_table() {
            Some(table) => Some(Section::new(self.source, self.path.clone(), self.value.span(), table)),
            None => self.wrong_type(wanted),
        }
    }
}

/// Something that can stand behind a key.
pub(crate) trait FromToml: Sized {
    /// Takes the value, or notes what is wrong with it.
    fn from_toml(node: Node<'_>) -> Option<Self>;
}

impl FromToml for String {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        node.text("a text").map(str::to_owned)
    }
}

impl FromToml for bool {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        match node.value.get_ref().as_bool() {
            Some(b) => Some(b),
            None => node.wrong_type("true or false"),
        }
    }
}

impl FromToml for u32 {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        let Some(integer) = node.value.get_ref().as_integer() else {
            return node.wrong_type("a whole number");
        };
        match u32::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()) {
            Ok(n) => Some(n),
            Err(_) => node.refuse(format!("{integer} is not a number from 0 to {}", u32::MAX), None),
        }
    }
}

impl<T: FromToml> FromToml for Vec<T> {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        Some(node.items("a list")?.into_iter().filter_map(T::from_toml).collect())
    }
}

macro_rules! from_text {
    ($($type:ty, $parse:path, $wanted:literal;)*) => {$(
        impl $crate::config::reader::FromToml for $type {
            fn from_toml(node: $crate::config::reader::Node<'_>) -> Option<Self> {
                match $parse(node.text($wanted)?) {
                    Ok(value) => Some(value),
                    Err(why) => node.refuse(why, None),
                }
            }
        }
    )*};
}
pub(crate) use from_text;

from_text! {
    StackName, StackName::parse, "a stack's name";
    HostName, HostName::parse, "a host's name";
    ProjectName, ProjectName::parse, "a Compose project's name";
    ServiceName, ServiceName::parse, "a service's name";
    PersonId, PersonId::parse, "a person's id";
    RoleName, RoleName::parse, "a role's name";
}

/// A path as written; a relative one is taken from the folder of the config file.
impl FromToml for PathBuf {
    fn from_toml(node: Node<'_>) -> Option<Self> {
        let text = node.text("a path")?;
        if text.is_empty() {
            return node.refuse("a path cannot be empty", None);
        }
        if text.starts_with('~') || text.contains('$') {
            let hint = "write the whole path: nothing is expanded here".to_owned();
            return node.refuse(format!("“{text}” would need a shell to be understood"), hint);
        }
        let folder = Path::new(node.source.name).parent().unwrap_or(Path::new(""));
        Some(folder.join(text))
    }
}

/// A table: keys that are known in advance, or entries under names of the team's choice.
pub(crate) struct Section<'a> {
    pub(crate) source: &'a Source<'a>,
    pub(crate) path: Rc<str>,
    header: Range<usize>,
    table: &'a DeTable<'a>,
    asked: Vec<&'static str>,
}

/// One entry of a table whose keys are names: the key, where it stands, and the value.
pub(crate) struct Entry<'a> {
    pub(crate) key: &'a str,
    pub(crate) key_span: Range<usize>,
    pub(crate) node: Node<'a>,
}

impl<'a> Section<'a> {
    pub(crate) fn new(source: &'a Source<'a>, path: Rc<str>, header: Range<usize>, table: &'a DeTable<'a>) -> Self {
        Self { source, path, header, table, asked: Vec::new() }
    }

    fn path_of(&self, key: &str) -> Rc<str> {
        if self.path.is_empty() { key.into() } else { format!("{}.{key}", self.path).into() }
    }

    /// The value behind a key. From now on the key is one that is known here.
    pub(crate) fn node(&mut self, key: &'static str) -> Option<Node<'a>> {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
        let value = self.table.get(key)?;
        Some(Node { source: self.source, path: self.path_of(key), value })
    }

    /// The value behind a key that may be absent.
    pub(crate) fn optional<T: FromToml>(&mut self, key: &'static str) -> Option<T> {
        T::from_toml(self.node(key)?)
    }

    /// The value behind a key that must be there; `example` shows what to write.
    pub(crate) fn required<T: FromToml>(&mut self, key: &'static str, example: &str) -> Option<T> {
        match self.node(key) {
            Some(node) => T::from_toml(node),
            None => {
                self.refuse(format!("`{key}` is missing"), format!("add, for example: {key} = {example}"));
                None
            }
        }
    }

    /// A value within bounds, or the default; `unit` is said with the bounds.
    pub(crate) fn bounded<T>(
        &mut self,
        key: &'static str,
        default: T,
        bounds: RangeInclusive<T>,
        show: fn(&T) -> String,
    ) -> T
    where
        T: FromToml + PartialOrd + Clone,
    {
        self.bounded_option(key, bounds, show).unwrap_or(default)
    }

    /// A value within bounds that may be absent.
    pub(crate) fn bounded_option<T>(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<T>,
        show: fn(&T) -> String,
    ) -> Option<T>
    where
        T: FromToml + PartialOrd + Clone,
    {
        let node = self.node(key)?;
        let value = T::from_toml(node.clone())?;
        if bounds.contains(&value) {
            return Some(value);
        }
        let (low, high) = (show(bounds.start()), show(bounds.end()));
        node.refuse(format!("`{key}` is from {low} to {high}, not {}", show(&value)), None)
    }

    /// The tables of an array of tables, `[[key]]`.
    pub(crate) fn sections(&mut self, key: &'static str) -> Vec<Section<'a>> {
        let Some(node) = self.node(key) else { return Vec::new() };
        let wanted = format!("[[{key}]]");
        if node.value.get_ref().as_table().is_some() {
            let hint = format!("write it as {wanted}, with two brackets: there may be several");
            node.note("this is one table where a list of tables is wanted", hint);
            return Vec::new();
        }
        let items = node.items(&wanted).unwrap_or_default();
        items.into_iter().filter_map(|item| item.section(&wanted)).collect()
    }

    /// All entries of a table whose keys are names. Makes every key a known one.
    pub(crate) fn entries(&self) -> Vec<Entry<'a>> {
        let mut entries: Vec<Entry<'a>> = self
            .table
            .iter()
            .map(|(key, value)| Entry {
                key: key.get_ref(),
                key_span: key.span(),
                node: Node { source: self.source, path: self.path_of(key.get_ref()), value },
            })
            .collect();
        entries.sort_by_key(|e| e.key_span.start);
        entries
    }

    /// Notes a problem with the section as a whole.
    pub(crate) fn refuse(&self, message: impl Into<String>, hint: impl Into<Option<String>>) {
        let key = self.path.to_string();
        self.source.refuse(self.header.clone(), &key, message, hint.into());
    }

    /// Refuses every key that nobody asked for.
    pub(crate) fn finish(self) {
        let mut keys = self.asked.clone();
        keys.sort_unstable();
        let place = if self.path.is_empty() { "the file".to_owned() } else { format!("[{}]", self.path) };
        for entry in self.entries() {
            if !self.asked.contains(&entry.key) {
                let message = format!("`{}` is no key of {place}", entry.key);
                self.source.refuse(entry.key_span, &entry.node.path, message, Some(did_you_mean(entry.key, &keys)));
            }
        }
    }
}

//! Reads what stands behind a command: keywords, values in order, the reason.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::domain::ids::{ApprovalId, RunId};
use crate::domain::release::Wanted;
use crate::domain::text::{shorten, visible};
use crate::domain::trouble::Trouble;

use super::catalogue::Catalogue;
use super::line;
use super::parse::{command_word, next};
use super::rules::REASON_WORDS;
use super::spec::{ArgumentSpec, ArgumentType, CommandPath, CommandSpec, Presence};
use super::suggest::closest;
use super::tokens::{Word, Words, is_blank};
use super::value::{Arguments, ServiceWord, TargetWord, Value, read_duration};
use super::words::{ReasonRule, Risk};

/// Longest reason and longest text, in characters. It stands on a card and in the log for good.
pub const REASON_MAX: usize = 500;

/// What a word introduces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Introduced<'s> {
    /// The reason: the rest of the line.
    Reason,
    /// The value of this argument.
    Argument(&'s ArgumentSpec),
}

/// What a word introduces and where its value begins. `to rel17`, `to:rel17`, `to=rel17`, `--to rel17` are one;
/// marked so, an argument's own name will do as well. Quoted words introduce nothing.
pub(super) fn introduced<'s>(spec: &'s CommandSpec, word: &Word, line: &str) -> Option<(Introduced<'s>, usize)> {
    if word.quoted {
        return None;
    }
    let bare = word.text.trim_start_matches('-');
    let dashed = bare.len() < word.text.len();
    let (name, joined) = match bare.find([':', '=']) {
        Some(i) => (&bare[..i], true),
        None => (bare, false),
    };
    let name = name.to_ascii_lowercase();
    let what = if spec.reason != ReasonRule::None && REASON_WORDS.contains(&name.as_str()) {
        Introduced::Reason
    } else {
        let means = |a: &&ArgumentSpec| a.keyword.as_deref() == Some(&name) || ((dashed || joined) && a.name == name);
        Introduced::Argument(spec.arguments.iter().find(means)?)
    };
    let raw = line.get(word.span.clone()).unwrap_or("");
    let value = match raw.char_indices().find(|(_, c)| matches!(c, ':' | '=' | '：' | '＝')) {
        Some((i, c)) if joined => word.span.start + i + c.len_utf8(),
        _ => word.span.end,
    };
    Some((what, value))
}

/// Reads the arguments of one command.
pub(super) struct Leaf<'c, 'a> {
    pub(super) catalogue: &'c Catalogue,
    pub(super) spec: &'c CommandSpec,
    /// What was typed to get here; differs from the spec in a dry run.
    pub(super) policy: &'c CommandSpec,
    pub(super) words: Words<'a>,
    pub(super) given: Arguments,
    places: BTreeMap<String, Range<usize>>,
    pub(super) reason: Option<String>,
    /// An argument that was taken by its place alone and could as well be the first word of a sentence.
    pub(super) loose: Option<(&'c str, usize)>,
    /// A target was asked for by its keyword, in words that may be a sentence: `to the one before`.
    pub(super) vague: bool,
}

impl<'c, 'a> Leaf<'c, 'a> {
    pub(super) fn new(
        catalogue: &'c Catalogue,
        spec: &'c CommandSpec,
        policy: &'c CommandSpec,
        words: Words<'a>,
    ) -> Self {
        let (given, places) = (Arguments::default(), BTreeMap::new());
        Self { catalogue, spec, policy, words, given, places, reason: None, loose: None, vague: false }
    }

    pub(super) fn read(mut self) -> Result<(Arguments, Option<String>), Trouble> {
        loop {
            let before = self.words;
            let Some(word) = next(&mut self.words)? else { break };
            match introduced(self.spec, &word, self.words.line()) {
                Some((Introduced::Reason, value)) => {
                    self.words.go_to(value);
                    self.read_reason(&word)?;
                }
                Some((Introduced::Argument(argument), value)) => {
                    self.words.go_to(value);
                    self.take(argument, &word)?;
                    self.vague |= self.given.target(&argument.name).is_some_and(is_mere_word);
                }
                None => {
                    let wanted = self.next_positional();
                    if !word.quoted && word.text.starts_with('-') && !takes_dash(wanted, &word) {
                        return Err(self.unknown_option(&word));
                    }
                    let Some(argument) = wanted else { return Err(self.unexpected(&word)) };
                    self.suspect(argument, &word)?;
                    self.words = before;
                    self.take(argument, &word)?;
                    let sentence = word.text.chars().all(char::is_alphabetic) && !word.quoted;
                    let optional = argument.presence != Presence::Required;
                    self.loose = (sentence && optional).then_some((&argument.name, word.span.start));
                }
            }
        }
        self.nothing_missing()?;
        Ok((self.given, self.reason))
    }

    pub(super) fn line(&self) -> &'a str {
        self.words.line()
    }

    /// What was typed to say this command.
    pub(super) fn path(&self) -> String {
        line::path_of(self.spec, self.policy)
    }

    fn next_positional(&self) -> Option<&'c ArgumentSpec> {
        self.spec.arguments.iter().find(|a| a.positional && self.given.get(&a.name).is_none())
    }

    pub(super) fn trouble(&self, message: impl AsRef<str>, span: Range<usize>) -> Trouble {
        Trouble::usage(message).at(self.line(), span)
    }

    /// The same with the way it is said, and what to type next. An example is offered only where typing it changes
    /// nothing: somebody half awake would copy it, and its `a45` may be a plan they never looked at.
    pub(super) fn with_usage(&self, trouble: Trouble) -> Trouble {
        let usage = self.spec.usage().replacen(self.spec.path.as_str(), &self.path(), 1);
        let trouble = trouble.say(usage);
        match self.policy.examples.first() {
            Some(example) if self.policy.risk == Risk::Look => trouble.try_this(example),
            _ => trouble.try_this(format!("/help {}", self.path())),
        }
    }

    /// Reads the value that begins at the cursor into this argument.
    fn take(&mut self, argument: &'c ArgumentSpec, introduced_by: &Word) -> Result<(), Trouble> {
        if let Some(first) = self.places.get(&argument.name) {
            let earlier = self.line().get(first.clone()).unwrap_or("");
            let message = format!("{} was given before: “{}”.", argument.name, shorten(earlier, 32));
            return Err(self.trouble(message, introduced_by.span.clone()));
        }
        let (start, _) = self.words.rest();
        let mut cursor = self.words;
        let value = self.value(argument, &mut cursor)?;
        self.words = cursor;
        self.places.insert(argument.name.clone(), start.min(introduced_by.span.start)..self.words.read_to());
        self.given.set(&argument.name, value);
        Ok(())
    }

    fn value(&self, argument: &ArgumentSpec, words: &mut Words<'a>) -> Result<Value, Trouble> {
        let start = *words;
        if argument.kind == ArgumentType::Text {
            return self.text(argument, words);
        }
        let word = next(words)?.filter(|word| {
            let bare = !word.text.contains([':', '=']);
            !(bare && introduced(self.spec, word, self.line()).is_some())
        });
        let Some(word) = word else {
            let message = format!("{} is missing: {}.", argument.name, argument.kind.looks_like());
            let (at, _) = start.rest();
            return Err(self.with_usage(self.trouble(message, at..at)));
        };
        let text = word.text.as_str();
        let wrong = |why: String| {
            let trouble = self.trouble(format!("{why}."), word.span.clone());
            self.with_usage(trouble.say(format!("Wanted: {}.", argument.kind.looks_like())))
        };
        match &argument.kind {
            ArgumentType::Service => ServiceWord::parse(text).map(Value::Service).map_err(wrong),
            ArgumentType::ReleaseTarget => {
                let half = text.strip_prefix('@').is_some_and(super::moment::Moment::wants_time);
                let mut behind = *words;
                if half && let Some(time) = next(&mut behind)? {
                    let both = TargetWord::parse(&format!("{text} {}", time.text)).map_err(wrong)?;
                    *words = behind;
                    return Ok(Value::Target(both));
                }
                TargetWord::parse(text).map(Value::Target).map_err(wrong)
            }
            ArgumentType::Run => RunId::parse(text).map(Value::Run).map_err(|e| wrong(e.to_string())),
            ArgumentType::Approval => ApprovalId::parse(text).map(Value::Approval).map_err(|e| wrong(e.to_string())),
            ArgumentType::Choice(choices) => {
                *words = start;
                let found = choice(choices, words)?;
                found.map(|c| Value::Choice(c.to_owned())).ok_or_else(|| {
                    let meant = closest(text, choices.iter().map(String::as_str));
                    let meant = meant.first().map(|m| format!(", did you mean “{m}”?")).unwrap_or_default();
                    wrong(format!("“{}” is not one of its choices{meant}", shorten(text, 32)))
                })
            }
            ArgumentType::Integer => text
                .parse()
                .map(Value::Integer)
                .map_err(|_| wrong(format!("“{}” is not a whole number", shorten(text, 32)))),
            ArgumentType::Duration => read_duration(text)
                .map(|s| Value::Duration(std::time::Duration::from_secs(s)))
                .ok_or_else(|| wrong(format!("“{}” is not a duration", shorten(text, 32)))),
            ArgumentType::Command => self.command(&word, words),
            // Read above: it is no single word.
            ArgumentType::Text => Ok(Value::Text(word.text)),
        }
    }

    /// The longest path that the words name.
    fn command(&self, first: &Word, words: &mut Words<'a>) -> Result<Value, Trouble> {
        let mut path = command_word(first);
        if self.catalogue.find(&path).is_none() {
            let names = self.catalogue.commands().iter().map(|c| c.name.as_str());
            let mut trouble =
                self.trouble(format!("There is no command “{}”.", shorten(&path, 32)), first.span.clone());
            for name in closest(&path, names.clone()) {
                trouble = trouble.try_this(format!("/{} {name}", self.path()));
            }
            let names: Vec<&str> = names.collect();
            return Err(trouble.say(format!("There are: {}.", names.join(", "))).try_this(format!("/{}", self.path())));
        }
        loop {
            let mut behind = *words;
            let Some(word) = next(&mut behind)? else { break };
            let longer = format!("{path} {}", command_word(&word));
            if self.catalogue.find(&longer).is_none() {
                break;
            }
            (path, *words) = (longer, behind);
        }
        Ok(Value::Command(CommandPath::new(&path.split(' ').collect::<Vec<_>>())))
    }

    /// Words up to the reason or an option with dashes, or one quoted text.
    fn text(&self, argument: &ArgumentSpec, words: &mut Words<'a>) -> Result<Value, Trouble> {
        let (start, rest) = words.rest();
        let mut cursor = *words;
        if let Ok(Some(word)) = cursor.next()
            && word.quoted
        {
            *words = cursor;
            return self.bounded(&word.text, &word.span, &argument.name).map(Value::Text);
        }
        let mut end = start + rest.len();
        let mut cursor = *words;
        while let Ok(Some(word)) = cursor.next() {
            let dashed = word.text.starts_with('-');
            match introduced(self.spec, &word, self.line()) {
                Some((Introduced::Reason, _)) => end = word.span.start,
                Some((Introduced::Argument(_), _)) if dashed => end = word.span.start,
                _ => continue,
            }
            break;
        }
        words.go_to(end);
        let said = &self.line()[start.min(end)..end];
        if said.trim_matches(is_blank).is_empty() {
            let message = format!("{} is missing: {}.", argument.name, argument.kind.looks_like());
            return Err(self.with_usage(self.trouble(message, start..start)));
        }
        self.bounded(said, &(start..end), &argument.name).map(Value::Text)
    }

    /// Words from a person as they are kept: on one line, nothing hidden.
    fn bounded(&self, said: &str, span: &Range<usize>, what: &str) -> Result<String, Trouble> {
        let flat: String = said.chars().map(|c| if c.is_whitespace() { ' ' } else { c }).collect();
        let kept = visible(flat.trim_matches(is_blank));
        let length = kept.chars().count();
        if length > REASON_MAX {
            let message = format!("The {what} has {length} characters; at most {REASON_MAX} are kept.");
            return Err(self.trouble(message, span.clone()));
        }
        Ok(kept)
    }

    fn read_reason(&mut self, because: &Word) -> Result<(), Trouble> {
        if self.reason.is_some() {
            return Err(self.trouble("A reason was given before.", because.span.clone()));
        }
        let (start, rest) = self.words.rest();
        if rest.chars().all(|c| is_blank(c) || ".…?!-—".contains(c)) {
            let trouble = self.trouble("A reason follows here, in your own words.", self.words.end());
            return Err(self.with_usage(trouble));
        }
        // `because "slow" to rel17`: quotes end a reason, if what stands behind them is a command again.
        let mut cursor = self.words;
        if let Ok(Some(word)) = cursor.next()
            && word.quoted
            && !word.text.is_empty()
        {
            let mut behind = cursor;
            let ends = match behind.next() {
                Ok(None) => true,
                Ok(Some(after)) => introduced(self.spec, &after, self.line()).is_some(),
                Err(_) => false,
            };
            if ends {
                self.words = cursor;
                self.reason = Some(self.bounded(&word.text, &word.span, "reason")?);
                return Ok(());
            }
        }
        self.swallows_nothing(rest)?;
        self.reason = Some(self.bounded(rest, &(start..start + rest.len()), "reason")?);
        self.words.go_to(usize::MAX);
        Ok(())
    }

    /// Refuses a reason that ends in what was probably meant as an argument: `because slow to rel17` would
    /// else go back to another release than the one that was said.
    fn swallows_nothing(&self, reason: &str) -> Result<(), Trouble> {
        let mut cursor = self.words;
        while let Ok(Some(word)) = cursor.next() {
            let Some((Introduced::Argument(argument), value)) = introduced(self.spec, &word, self.line()) else {
                continue;
            };
            if self.given.get(&argument.name).is_some() {
                continue;
            }
            let mut behind = cursor;
            behind.go_to(value);
            let Ok(found) = self.value(argument, &mut behind) else { continue };
            let at_end = behind.rest().1.is_empty();
            if !(word.text.starts_with('-') || (at_end && unmistakable(&found))) {
                continue;
            }
            let (start, _) = self.words.rest();
            let end = behind.rest().0;
            let told = self.line()[word.span.start..end].trim_matches(is_blank);
            let reason_before = self.line()[start..word.span.start].trim_matches(is_blank);
            let before = line::compose(self.spec, self.policy, &self.given, None);
            return Err(self
                .trouble(
                    format!("“{}” stands in the reason, where it changes nothing.", shorten(told, 32)),
                    word.span.start..end,
                )
                .say("If it belongs to the reason, put the reason in quotes.")
                .try_this(format!("{before} {told} because {reason_before}").trim_end())
                .try_this(format!("{before} because \"{reason}\"")));
        }
        Ok(())
    }
}

/// Whether a target is a tag of letters only, which any word of a sentence could be.
fn is_mere_word(target: &TargetWord) -> bool {
    matches!(target, TargetWord::Named(Wanted::Tag(tag)) if tag.chars().all(char::is_alphabetic))
}

/// Whether a word that begins with a dash is the value that comes next: a negative number.
fn takes_dash(wanted: Option<&ArgumentSpec>, word: &Word) -> bool {
    wanted.is_some_and(|a| a.kind == ArgumentType::Integer) && word.text.parse::<i64>().is_ok()
}

/// Whether the value alone tells that it was meant as one; a tag or a name could be any word of a sentence.
fn unmistakable(value: &Value) -> bool {
    match value {
        Value::Target(target) => target.is_unmistakable(),
        Value::Run(_) | Value::Approval(_) | Value::Choice(_) | Value::Duration(_) | Value::Integer(_) => true,
        Value::Service(_) | Value::Text(_) | Value::Command(_) => false,
    }
}

/// The longest choice that the words say; the beginning of a phrase will do where it is the only one.
fn choice<'s>(choices: &'s [String], words: &mut Words<'_>) -> Result<Option<&'s str>, Trouble> {
    let mut cursor = *words;
    let mut said = String::new();
    let mut whole: Option<(&str, Words<'_>)> = None;
    let mut part: Option<(&str, Words<'_>)> = None;
    while let Some(word) = next(&mut cursor)? {
        if !said.is_empty() {
            said.push(' ');
        }
        said.push_str(&word.text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase());
        let longer = format!("{said} ");
        if let Some(found) = choices.iter().find(|c| **c == said) {
            whole = Some((found, cursor));
        }
        let mut begun = choices.iter().filter(|c| c.starts_with(&longer));
        match (begun.next(), begun.next()) {
            (None, _) => break,
            (Some(only), None) => part = Some((only, cursor)),
            (Some(_), Some(_)) => part = None,
        }
    }
    let found = whole.or(part);
    if let Some((_, behind)) = found {
        *words = behind;
    }
    Ok(found.map(|(choice, _)| choice))
}

//! What a word that fits nowhere was probably meant to be, and what to type instead. Nothing is guessed into
//! effect: a slip is always answered, never acted on.

use crate::domain::text::shorten;
use crate::domain::trouble::Trouble;

use super::arguments::Leaf;
use super::line;
use super::rules::REASON_WORDS;
use super::spec::{ArgumentSpec, ArgumentType, Presence};
use super::suggest::closest;
use super::tokens::{Word, is_blank};
use super::value::TargetWord;
use super::words::ReasonRule;

/// A word shorter than this is not suspected of being a misspelt keyword: it may be a tag.
const SUSPECT_MIN: usize = 5;

impl<'c> Leaf<'c, '_> {
    /// A word in an optional place that is nearly a keyword, with more behind it, is a slip and no tag.
    pub(super) fn suspect(&self, argument: &ArgumentSpec, word: &Word) -> Result<(), Trouble> {
        let tag = argument.kind == ArgumentType::ReleaseTarget && argument.presence != Presence::Required;
        if !tag || word.quoted || word.text.chars().count() < SUSPECT_MIN || self.words.rest().1.is_empty() {
            return Ok(());
        }
        match closest(&word.text, self.keywords()).first() {
            Some(keyword) if *keyword != word.text => Err(self.meant(word, keyword)),
            _ => Ok(()),
        }
    }

    /// The words that can still introduce something here.
    pub(super) fn keywords(&self) -> Vec<&'c str> {
        let open = self.spec.arguments.iter().filter(|a| self.given.get(&a.name).is_none());
        let mut out: Vec<&str> = open.filter_map(|a| a.keyword.as_deref()).collect();
        if self.spec.reason != ReasonRule::None && self.reason.is_none() {
            out.push(REASON_WORDS[0]);
        }
        out
    }

    fn meant(&self, word: &Word, keyword: &str) -> Trouble {
        let line = self.line();
        let (before, after) = (&line[..word.span.start], &line[word.span.end..]);
        self.trouble(
            format!("“{}” is not understood; did you mean “{keyword}”?", shorten(&word.text, 32)),
            word.span.clone(),
        )
        .try_this(format!("{}{keyword}{}", before, after).trim_matches(is_blank))
    }

    pub(super) fn unknown_option(&self, word: &Word) -> Trouble {
        let name = word.text.trim_start_matches('-');
        let name = name.split([':', '=']).next().unwrap_or(name);
        if name.is_empty() {
            return self.unexpected(word);
        }
        if let Some(keyword) = closest(name, self.keywords()).first() {
            return self.meant(word, keyword);
        }
        let keywords = self.keywords();
        let trouble =
            self.trouble(format!("/{} has no option “{}”.", self.path(), shorten(&word.text, 32)), word.span.clone());
        let trouble =
            if keywords.is_empty() { trouble } else { trouble.say(format!("It has: {}.", keywords.join(", "))) };
        self.with_usage(trouble)
    }

    pub(super) fn unexpected(&self, word: &Word) -> Trouble {
        if !word.quoted
            && let Some(keyword) = closest(&word.text, self.keywords()).first()
            && word.text.chars().count() >= SUSPECT_MIN.min(keyword.len())
        {
            return self.meant(word, keyword);
        }
        let trouble = self.trouble(format!("“{}” is not expected here.", shorten(&word.text, 32)), word.span.clone());
        // What was meant as another target, or as more of one, is no reason.
        let target = TargetWord::parse(&word.text).is_ok_and(|t| t.is_unmistakable());
        if self.spec.reason == ReasonRule::None || self.reason.is_some() || target || self.vague {
            return self.with_usage(trouble);
        }
        // `api slow since noon`: the sentence began a word earlier. `a45 — too risky`: it begins behind the dash.
        let (given, start) = match self.loose {
            Some((name, start)) => (self.given.without(name), start),
            None if word.text.chars().all(|c| c == '-') => (self.given.clone(), word.span.end),
            None => (self.given.clone(), word.span.start),
        };
        let words = self.line()[start..].trim_matches(is_blank);
        let before = line::compose(self.spec, self.policy, &given, None);
        trouble.say("A reason follows the word because.").try_this(format!("{before} because {words}").trim_end())
    }

    pub(super) fn nothing_missing(&self) -> Result<(), Trouble> {
        let missing = |a: &&ArgumentSpec| a.presence == Presence::Required && self.given.get(&a.name).is_none();
        if let Some(argument) = self.spec.arguments.iter().find(missing) {
            let message = format!("/{} needs {}.", self.path(), argument.kind.looks_like());
            return Err(self.with_usage(self.trouble(message, self.words.end())));
        }
        if self.spec.reason == ReasonRule::Required && self.reason.is_none() {
            let before = line::compose(self.spec, self.policy, &self.given, None);
            return Err(self
                .trouble(format!("/{} needs a reason: others will ask why.", self.path()), self.words.end())
                .try_this(format!("{before} because …")));
        }
        Ok(())
    }
}

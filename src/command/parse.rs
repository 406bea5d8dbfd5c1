//! From a line to a [`Request`]: which command is meant. Its arguments are read in `arguments.rs`.

use std::sync::Arc;

use crate::domain::text::shorten;
use crate::domain::trouble::Trouble;

use super::arguments::Leaf;
use super::catalogue::{Catalogue, Command, Shape};
use super::spec::{CommandPath, CommandSpec};
use super::suggest::closest;
use super::tokens::{Unclosed, Word, Words};
use super::value::Arguments;

/// The word before every command where a platform has no room for our own slash commands (decision 29).
pub const PRODUCT: &str = "sternway";
/// Longest line, in bytes: a reason of [`super::REASON_MAX`] characters in any script and the rest many times over.
pub const LINE_MAX: usize = 4_096;

/// What was meant; valid by the catalogue, nothing in the world asked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The command: `rollback image`, also when only its plan is asked for.
    pub command: CommandPath,
    /// What would be done.
    pub spec: Arc<CommandSpec>,
    /// Whose roles, rate and risk hold: the spec itself, or that of the dry run.
    pub policy: Arc<CommandSpec>,
    /// Only the plan is asked for; nothing is to be done.
    pub dry_run: bool,
    /// What was given.
    pub arguments: Arguments,
    /// Why, in the person's words, made visible.
    pub reason: Option<String>,
}

impl Catalogue {
    /// Understands a line: `/rollback image api`, with or without slash, behind `/sternway` or a mention.
    ///
    /// # Errors
    /// What was not understood, pointing at the word, with what would be.
    pub fn parse(&self, text: &str) -> Result<Request, Trouble> {
        if text.len() > LINE_MAX {
            return Err(Trouble::usage(format!("A command has at most {LINE_MAX} bytes; this has {}.", text.len()))
                .try_this("/help"));
        }
        let mut words = Words::of(text);
        let mut spoken_to = false;
        let name = loop {
            let Some(word) = next(&mut words)? else {
                let line = if spoken_to { "/help" } else { return Err(self.nothing_said(text)) };
                return self.parse(line);
            };
            if is_address(&word) {
                spoken_to = true;
            } else {
                break word;
            }
        };
        let Some(command) = self.command(&command_word(&name)) else {
            return Err(self.unknown_command(&name, &words));
        };
        match &command.shape {
            Shape::Single(spec) => self.leaf(spec, words),
            Shape::Group { .. } => self.group(command, words),
        }
    }

    fn leaf(&self, spec: &Arc<CommandSpec>, words: Words<'_>) -> Result<Request, Trouble> {
        self.request(spec, spec, words)
    }

    fn request(
        &self,
        spec: &Arc<CommandSpec>,
        policy: &Arc<CommandSpec>,
        words: Words<'_>,
    ) -> Result<Request, Trouble> {
        let (arguments, reason) = Leaf::new(self, spec, policy, words).read()?;
        Ok(Request {
            command: spec.path.clone(),
            spec: Arc::clone(spec),
            policy: Arc::clone(policy),
            dry_run: policy.is_dry_run(),
            arguments,
            reason,
        })
    }

    fn group(&self, command: &Command, words: Words<'_>) -> Result<Request, Trouble> {
        let Shape::Group { subs, default } = &command.shape else {
            return Err(self.nothing_said(words.line()));
        };
        let mut behind = words;
        let Some(word) = next(&mut behind)? else {
            return match default {
                Some(default) => self.leaf(default, words),
                None => Err(missing_sub(&command.name, subs, words)),
            };
        };
        match command.sub(&command_word(&word)) {
            Some(sub) if sub.is_dry_run() => self.dry_run(command, sub, behind),
            Some(sub) => self.leaf(sub, behind),
            None => {
                // `/runs stuck`: the words may belong to the command that is meant when none is said.
                if let Some(Ok(request)) = default.as_ref().map(|d| self.leaf(d, words)) {
                    return Ok(request);
                }
                let tries = subs.iter().filter(|s| !s.is_dry_run()).filter_map(|s| self.leaf(s, words).ok());
                Err(self.unknown_sub(&command.name, subs, &word, words, tries.collect()))
            }
        }
    }

    fn dry_run(&self, command: &Command, dry: &Arc<CommandSpec>, words: Words<'_>) -> Result<Request, Trouble> {
        let procedures: Vec<Arc<CommandSpec>> = command.procedures().cloned().collect();
        let mut behind = words;
        let Some(word) = next(&mut behind)? else {
            return Err(missing_sub(dry.path.as_str(), &procedures, words));
        };
        match procedures.iter().find(|p| p.path.last() == command_word(&word)) {
            Some(spec) => self.request(spec, dry, behind),
            None => {
                let tries = procedures.iter().filter_map(|p| self.request(p, dry, words).ok());
                Err(self.unknown_sub(dry.path.as_str(), &procedures, &word, words, tries.collect()))
            }
        }
    }

    fn nothing_said(&self, line: &str) -> Trouble {
        Trouble::usage("No command was given.").at(line, line.len()..line.len()).try_this("/help")
    }

    fn unknown_command(&self, word: &Word, behind: &Words<'_>) -> Trouble {
        let said = command_word(word);
        let names: Vec<&str> = self.commands().iter().map(|c| c.name.as_str()).collect();
        let mut trouble = Trouble::usage(format!("There is no command “{}”.", shorten(&said, 32)))
            .at(behind.line(), word.span.clone());
        let rest = behind.rest().1;
        for name in closest(&said, names.iter().copied()) {
            trouble = trouble.try_this(format!("/{name} {rest}").trim_end());
        }
        // `/undo r42`: a subcommand said without its command.
        let homes = self.specs().filter(|s| s.path.words().count() > 1 && s.path.last() == said);
        for home in homes {
            trouble = trouble.try_this(format!("/{} {rest}", home.path).trim_end());
        }
        trouble.say(format!("There are: {}.", names.join(", "))).try_this("/help")
    }

    fn unknown_sub(
        &self,
        path: &str,
        subs: &[Arc<CommandSpec>],
        word: &Word,
        words: Words<'_>,
        tries: Vec<Request>,
    ) -> Trouble {
        let said = command_word(word);
        let names: Vec<&str> = subs.iter().map(|s| s.path.last()).collect();
        let mut trouble = Trouble::usage(format!("“{}” is not something /{path} does.", shorten(&word.text, 32)))
            .at(words.line(), word.span.clone());
        let mut behind = words;
        behind.go_to(word.span.end);
        let rest = behind.rest().1;
        for name in closest(&said, names.iter().copied()) {
            trouble = trouble.try_this(format!("/{path} {name} {rest}").trim_end());
        }
        let homes = self.specs().filter(|s| s.path.words().count() > 1 && s.path.last() == said);
        for home in homes {
            trouble = trouble.try_this(format!("/{} {rest}", home.path).trim_end());
        }
        if trouble.hints.is_empty() {
            for request in tries {
                trouble = trouble.try_this(request.line());
            }
        }
        let top = path.split(' ').next().unwrap_or(path);
        trouble.say(format!("It does: {}.", names.join(", "))).try_this(format!("/help {top}"))
    }
}

/// The next word that says something, without the punctuation behind it.
pub(super) fn next(words: &mut Words<'_>) -> Result<Option<Word>, Trouble> {
    loop {
        match words.next() {
            Ok(Some(word)) => {
                let word = word.trimmed();
                if word.quoted || !word.text.is_empty() {
                    return Ok(Some(word));
                }
            }
            Ok(None) => return Ok(None),
            Err(Unclosed(span)) => {
                return Err(Trouble::usage("A quote is opened here and never closed.")
                    .at(words.line(), span)
                    .say("Close it, or leave it out: names need no quotes."));
            }
        }
    }
}

/// Whether a word only says that Sternway is meant: a mention, the product's name, a lone slash.
fn is_address(word: &Word) -> bool {
    let text = word.text.trim_end_matches([':', ',']);
    let mention = text.starts_with("<@") && text.ends_with('>');
    let name = text.trim_start_matches(['/', '@']);
    mention || text == "/" || name.eq_ignore_ascii_case(PRODUCT)
}

/// A command's word as the catalogue has it.
pub(super) fn command_word(word: &Word) -> String {
    let text = word.text.strip_prefix('/').unwrap_or(&word.text);
    text.trim_end_matches(':').to_ascii_lowercase()
}

fn missing_sub(path: &str, subs: &[Arc<CommandSpec>], words: Words<'_>) -> Trouble {
    let names: Vec<&str> = subs.iter().map(|s| s.path.last()).collect();
    Trouble::usage(format!("/{path} needs to know what to do."))
        .at(words.line(), words.end())
        .say(format!("It does: {}.", names.join(", ")))
        .try_this(format!("/help {path}"))
}

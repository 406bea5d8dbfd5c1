//! Rules for the arguments of one command: names that collide with nothing, an order that can be typed, types
//! that fit what completes them.

use std::collections::BTreeSet;

use super::read::{RawArgument, Reader};
use super::rules::{CHOICES_MAX, NAME_MAX, REASON_WORDS, SHORT_MAX, name_fits, required_text, words};
use super::spec::{ArgumentSpec, ArgumentType, Presence};
use super::words::{Source, TypeWord};

/// Discord takes 25 options and 25 subcommands; one option is kept for the reason.
pub(super) const ARGUMENTS_MAX: usize = 24;
/// Longest choice: Discord's limit for a value.
pub(super) const CHOICE_MAX: usize = 100;

pub(super) fn arguments(reader: &mut Reader<'_>, raw: &[RawArgument]) -> Vec<ArgumentSpec> {
    if raw.len() > ARGUMENTS_MAX {
        reader.wrong(
            raw[ARGUMENTS_MAX].span.clone(),
            "argument",
            format!("a command has at most {ARGUMENTS_MAX} arguments"),
        );
    }
    let mut taken: BTreeSet<String> = REASON_WORDS.iter().map(|w| (*w).to_owned()).collect();
    let mut optional_before: Option<String> = None;
    let mut greedy: Option<String> = None;
    let mut out = Vec::new();
    for raw in raw {
        let Some(argument) = argument(reader, raw) else { continue };
        let mut own: BTreeSet<&str> = BTreeSet::from([argument.name.as_str()]);
        own.extend(argument.keyword.as_deref());
        for word in own {
            if !taken.insert(word.to_owned()) {
                reader.wrong(
                    raw.span.clone(),
                    "argument",
                    format!("“{word}” means something else in this command already"),
                );
            }
        }
        if argument.positional {
            if let Some(greedy) = &greedy {
                reader.wrong(
                    raw.span.clone(),
                    "argument",
                    format!(
                        "`{}` could never be given: `{greedy}` before it takes the rest of the line",
                        argument.name
                    ),
                );
            }
            match (&optional_before, argument.presence) {
                (Some(before), Presence::Required) => {
                    let message =
                        format!("`{}` is required and stands behind `{before}`, which may be left out", argument.name);
                    reader.wrong(raw.span.clone(), "argument", message);
                }
                (_, Presence::Optional | Presence::FromThread) => optional_before = Some(argument.name.clone()),
                (None, Presence::Required) => {}
            }
            if argument.kind == ArgumentType::Text {
                greedy = Some(argument.name.clone());
            }
        }
        out.push(argument);
    }
    out
}

fn argument(reader: &mut Reader<'_>, raw: &RawArgument) -> Option<ArgumentSpec> {
    let name = required_text(reader, &raw.name, raw.span.clone(), "name");
    for (word, key) in [(&raw.name, "name"), (&raw.keyword, "keyword")] {
        if let Some(at) = word {
            name_fits(reader, at, key, NAME_MAX);
        }
    }
    let Some(word) = &raw.kind else {
        reader.lacks(raw.span.clone(), "type", format!("an argument has to say this; valid: {}", words::<TypeWord>()));
        return None;
    };
    let word = *word.get_ref();
    if let (Some(choices), true) = (&raw.choices, word != TypeWord::Choice) {
        reader.wrong(choices.span(), "choices", format!("only a choice has choices; this is a {word}"));
    }
    let kind = match word {
        TypeWord::Service => ArgumentType::Service,
        TypeWord::ReleaseTarget => ArgumentType::ReleaseTarget,
        TypeWord::Run => ArgumentType::Run,
        TypeWord::Approval => ArgumentType::Approval,
        TypeWord::Text => ArgumentType::Text,
        TypeWord::Integer => ArgumentType::Integer,
        TypeWord::Duration => ArgumentType::Duration,
        TypeWord::Command => ArgumentType::Command,
        TypeWord::Choice => ArgumentType::Choice(choices(reader, raw)),
    };
    let presence = match (&raw.required, &raw.from_thread) {
        (required, Some(at)) if *at.get_ref() => {
            if required.as_ref().is_some_and(|r| *r.get_ref()) {
                reader.wrong(at.span(), "from_thread", "what is required cannot be taken from the thread");
            }
            if !matches!(word, TypeWord::Run | TypeWord::Approval) {
                reader.wrong(at.span(), "from_thread", "only a run or an approval belongs to a thread");
            }
            Presence::FromThread
        }
        (Some(at), _) if !*at.get_ref() => Presence::Optional,
        _ => Presence::Required,
    };
    let usual = usual_source(word);
    let complete = raw.complete.as_ref().map_or(usual, |c| *c.get_ref());
    let fits =
        complete == Source::None || complete == usual || (word == TypeWord::Run && complete == Source::StuckRuns);
    if let (false, Some(at)) = (fits, &raw.complete) {
        reader.wrong(at.span(), "complete", format!("{complete} do not complete a {word}; valid: {usual}, none"));
    }
    let about = raw.about.as_ref().map(|a| a.get_ref().clone()).unwrap_or_default();
    if let Some(at) = &raw.about
        && about.chars().count() > SHORT_MAX
    {
        reader.wrong(at.span(), "about", format!("at most {SHORT_MAX} characters: chat platforms refuse more"));
    }
    Some(ArgumentSpec {
        name: name?,
        kind,
        presence,
        keyword: raw.keyword.as_ref().map(|k| k.get_ref().clone()),
        positional: raw.keyword.is_none() || raw.positional.as_ref().is_some_and(|p| *p.get_ref()),
        complete,
        about,
    })
}

fn usual_source(word: TypeWord) -> Source {
    match word {
        TypeWord::Service => Source::Services,
        TypeWord::ReleaseTarget => Source::Releases,
        TypeWord::Run => Source::Runs,
        TypeWord::Approval => Source::Approvals,
        TypeWord::Command => Source::Commands,
        TypeWord::Choice | TypeWord::Text | TypeWord::Integer | TypeWord::Duration => Source::None,
    }
}

fn choices(reader: &mut Reader<'_>, raw: &RawArgument) -> Vec<String> {
    let Some(list) = &raw.choices else {
        reader.lacks(raw.span.clone(), "choices", "a choice has to list its choices");
        return Vec::new();
    };
    if list.get_ref().is_empty() || list.get_ref().len() > CHOICES_MAX {
        reader.wrong(list.span(), "choices", format!("1 to {CHOICES_MAX} choices, not {}", list.get_ref().len()));
    }
    for choice in list.get_ref() {
        let text = choice.get_ref();
        let normal = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || " -_".contains(c);
        if *text != normal || text.is_empty() || text.len() > CHOICE_MAX || !text.chars().all(plain) {
            let message = format!(
                "“{text}” has to be lower-case words of a-z, 0-9, - and _ with one space between, at most {CHOICE_MAX} characters"
            );
            reader.wrong(choice.span(), "choices", message);
        }
    }
    list.get_ref().iter().map(|c| c.get_ref().clone()).collect()
}

//! From what a file says to what holds: fills in what is inherited, refuses what is missing, contradicts itself
//! or does not fit the chat platforms. The floors of consent stand apart, in `floors.rs`.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::domain::names::RoleName;

use super::argument_rules::arguments;
use super::floors;
use super::read::{At, RawApproval, RawCommand, RawFile, RawRate, Reader, did_you_mean};
use super::spec::{Action, ApprovalRule, CommandPath, CommandSpec, RateLimit, Who};
use super::words::{Kind, Lock, ReasonRule, Risk, Vocabulary, Waived};

/// Longest `short`: Discord's limit for a description (discord.md section 7).
pub(super) const SHORT_MAX: usize = 100;
/// Longest `long`, in characters: it has to fit a card's folded part.
pub(super) const LONG_MAX: usize = 1_000;
/// Longest name with its slash on Slack is 32 (slack.md section 9), so 31 without.
pub(super) const COMMAND_NAME_MAX: usize = 31;
/// Longest name of a subcommand, argument or keyword: Discord's 32.
pub(super) const NAME_MAX: usize = 32;
/// Discord's limit for subcommands and choices.
pub(super) const CHOICES_MAX: usize = 25;
/// Time limit of what only looks or decides, in seconds, when the file gives none.
pub(super) const LOOK_LIMIT_S: u64 = 30;
/// Longest time limit and rate window: a day, in seconds.
pub(super) const DAY_S: u64 = 86_400;
/// Most votes one plan can ask for.
pub(super) const VOTES_MAX: i64 = 9;
/// Most calls one rate limit can allow.
pub(super) const RATE_MAX: i64 = 1_000;

/// The word in `roles` that means everybody.
pub(super) const ANYONE: &str = "anyone";
/// The word in `roles` that means every role that some command's approval asks.
pub(super) const VOTERS: &str = "voters";
/// Words that introduce a reason.
pub(super) const REASON_WORDS: [&str; 2] = ["because", "reason"];

/// A checked command with the places in its file that later checks may have to point at.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) spec: CommandSpec,
    /// It is for whoever may vote; filled in when all files are known.
    pub(super) voters: bool,
    pub(super) example_spans: Vec<Range<usize>>,
    pub(super) span: Range<usize>,
}

/// A checked file.
#[derive(Debug, Clone)]
pub(super) struct CheckedFile {
    pub(super) name: String,
    pub(super) short: String,
    pub(super) long: String,
    pub(super) default: Option<String>,
    pub(super) is_group: bool,
    pub(super) commands: Vec<Checked>,
}

/// Checks a file; `None` when something stands in the reader's list.
pub(super) fn check(reader: &mut Reader<'_>, stem: &str, raw: RawFile) -> Option<CheckedFile> {
    let top = &raw.command;
    let name = required_text(reader, &top.name, 0..0, "name").unwrap_or_default();
    if let Some(at) = &top.name {
        name_fits(reader, at, "name", COMMAND_NAME_MAX);
        if name != stem {
            reader.wrong(at.span(), "name", format!("the file is called {stem}.toml, so its command is “{stem}”"));
        }
        if name == super::parse::PRODUCT {
            reader.wrong(at.span(), "name", "this is the word before every command; choose another");
        }
    }
    let short = short_of(reader, top);
    let long = long_of(reader, top);
    let mut commands = Vec::new();
    match &raw.subs {
        None => {
            if let Some(default) = &raw.default {
                reader.wrong(default.span(), "default", "there is no [[sub]] that could be meant");
            }
            commands.extend(command(reader, CommandPath::new(&[&name]), top, None));
        }
        Some(subs) => {
            for (here, key) in [
                (top.does.as_ref().map(At::span), "does"),
                (top.steps.as_ref().map(At::span), "steps"),
                (top.examples.as_ref().map(At::span), "examples"),
            ] {
                if let Some(at) = here {
                    reader.wrong(at, key, "this belongs to one [[sub]]; it is not inherited");
                }
            }
            if subs.is_empty() || subs.len() > CHOICES_MAX {
                reader.wrong(0..0, "sub", format!("a command has 1 to {CHOICES_MAX} subcommands, not {}", subs.len()));
            }
            let mut seen = BTreeSet::new();
            for sub in subs {
                let sub_name = required_text(reader, &sub.name, sub.span.clone(), "name").unwrap_or_default();
                if let Some(at) = &sub.name {
                    name_fits(reader, at, "name", NAME_MAX);
                    if !seen.insert(sub_name.clone()) {
                        reader.wrong(at.span(), "name", format!("there is a “{sub_name}” already"));
                    }
                }
                commands.extend(command(reader, CommandPath::new(&[&name, &sub_name]), sub, Some(top)));
            }
            if let Some(default) = &raw.default
                && !seen.contains(default.get_ref())
            {
                let names = seen.iter().map(String::as_str).collect::<Vec<_>>().join(", ");
                let meant = did_you_mean(default.get_ref(), seen.iter().map(String::as_str));
                let message = format!("“{}” is no [[sub]] of this file{meant}; valid: {names}", default.get_ref());
                reader.wrong(default.span(), "default", message);
            }
        }
    }
    reader.is_clean().then(|| CheckedFile {
        name,
        short,
        long,
        default: raw.default.map(At::into_inner),
        is_group: raw.subs.is_some(),
        commands,
    })
}

/// The value here, else what the file says for all its subcommands.
fn inherited<'r, T>(
    own: &'r RawCommand,
    top: Option<&'r RawCommand>,
    pick: fn(&RawCommand) -> &Option<T>,
) -> Option<&'r T> {
    pick(own).as_ref().or_else(|| top.and_then(|t| pick(t).as_ref()))
}

fn command(reader: &mut Reader<'_>, path: CommandPath, own: &RawCommand, top: Option<&RawCommand>) -> Option<Checked> {
    let span = own.name.as_ref().map_or_else(|| own.span.clone(), At::span);
    let missing = |reader: &mut Reader<'_>, key: &str, valid: String| {
        reader.lacks(span.clone(), key, format!("`{path}` has to say this; valid: {valid}"));
    };

    let kind = inherited(own, top, |r| &r.kind).map(|k| *k.get_ref());
    if kind.is_none() {
        missing(reader, "kind", words::<Kind>());
    }
    let risk = inherited(own, top, |r| &r.risk);
    if risk.is_none() {
        missing(reader, "risk", words::<Risk>());
    }
    let roles = inherited(own, top, |r| &r.roles);
    if roles.is_none() {
        missing(reader, "roles", format!("a list of roles, or \"{ANYONE}\" for what only looks"));
    }
    let action = kind.and_then(|kind| action(reader, kind, own, &path, &span));
    let lock = inherited(own, top, |r| &r.lock);
    let limit = inherited(own, top, |r| &r.time_limit);
    if kind == Some(Kind::Procedure) {
        if lock.is_none() {
            missing(reader, "lock", words::<Lock>());
        }
        if limit.is_none() {
            missing(reader, "time_limit", "a duration such as \"10m\"".to_owned());
        }
    }
    if let Some(limit) = limit {
        within(reader, limit, "time_limit", 1, DAY_S);
    }
    let approval = inherited(own, top, |r| &r.approval).and_then(|a| approval(reader, a));
    let rate = inherited(own, top, |r| &r.rate).and_then(|r| rate(reader, r));
    let (who, voters) = roles.and_then(|r| who(reader, r)).unwrap_or((Who::Anyone, false));
    let raw_arguments = inherited(own, top, |r| &r.arguments);
    let arguments = arguments(reader, raw_arguments.map_or(&[][..], Vec::as_slice));
    let examples = own.examples.as_ref().map(|e| e.get_ref().as_slice()).unwrap_or_default();

    // A look never asks anyone, whatever it would inherit.
    let looks = risk.is_some_and(|r| *r.get_ref() == Risk::Look);
    let own_approval = own.approval.as_ref().map(At::span);
    if looks && let Some(at) = own_approval {
        reader.wrong(at, "approval", "what only looks needs no approval");
    }
    let spec = CommandSpec {
        path,
        action: action?,
        arguments,
        reason: inherited(own, top, |r| &r.reason).map_or(ReasonRule::None, |r| *r.get_ref()),
        risk: *risk?.get_ref(),
        who,
        approval: approval.filter(|_| !looks),
        rate,
        lock: if looks { Lock::None } else { lock.map_or(Lock::None, |l| *l.get_ref()) },
        limit_s: limit.map_or(LOOK_LIMIT_S, |l| *l.get_ref()),
        short: short_of(reader, own),
        long: long_of(reader, own),
        examples: examples.iter().map(|e| e.get_ref().clone()).collect(),
    };
    let places = floors::Places {
        command: span.clone(),
        risk: risk?.span(),
        roles: roles?.span(),
        approval: inherited(own, top, |r| &r.approval).map(At::span),
        count: inherited(own, top, |r| &r.approval).and_then(|a| a.get_ref().count.as_ref()).map(At::span),
        waived: inherited(own, top, |r| &r.approval).and_then(|a| a.get_ref().waived.as_ref()).map(At::span),
        lock: lock.map(At::span),
        steps: own.steps.as_ref().map(At::span),
    };
    floors::check(reader, &spec, &places);
    Some(Checked { spec, voters, example_spans: examples.iter().map(At::span).collect(), span })
}

pub(super) fn words<V: Vocabulary>() -> String {
    V::ALL.iter().map(|(w, _)| *w).collect::<Vec<_>>().join(", ")
}

fn action(
    reader: &mut Reader<'_>,
    kind: Kind,
    own: &RawCommand,
    path: &CommandPath,
    span: &Range<usize>,
) -> Option<Action> {
    if kind == Kind::Procedure {
        if let Some(does) = &own.does {
            reader.wrong(does.span(), "does", "a procedure has `steps` instead");
        }
        let Some(steps) = &own.steps else {
            reader.lacks(
                span.clone(),
                "steps",
                format!("`{path}` is a procedure and has no steps; valid: {}", words::<super::words::StepKind>()),
            );
            return None;
        };
        return Some(Action::Procedure(steps.get_ref().iter().map(|s| *s.get_ref()).collect()));
    }
    if let Some(steps) = &own.steps {
        reader.wrong(steps.span(), "steps", format!("only a procedure has steps; this is a {kind}"));
    }
    let Some(does) = &own.does else {
        let valid = if kind == Kind::Query { words::<super::words::Query>() } else { words::<super::words::Builtin>() };
        reader.lacks(span.clone(), "does", format!("`{path}` has to say what it does; valid: {valid}"));
        return None;
    };
    if kind == Kind::Query {
        reader.vocabulary("does", does).map(|q| Action::Query(q.into_inner()))
    } else {
        reader.vocabulary("does", does).map(|b| Action::Builtin(b.into_inner()))
    }
}

fn approval(reader: &mut Reader<'_>, raw: &At<RawApproval>) -> Option<ApprovalRule> {
    let RawApproval { from, count, waived, expires } = raw.get_ref();
    let mut needs = |there: bool, key: &str, valid: &str| {
        if !there {
            reader.lacks(raw.span(), key, format!("an approval has to say this; valid: {valid}"));
        }
    };
    needs(from.is_some(), "from", "a role");
    needs(count.is_some(), "count", "the number of votes, from 1");
    needs(waived.is_some(), "waived", &words::<Waived>());
    needs(expires.is_some(), "expires", "a duration such as \"30m\"");
    let (from, count, waived, expires) = (from.as_ref()?, count.as_ref()?, waived.as_ref()?, expires.as_ref()?);
    let role = role(reader, from, "from")?;
    // Below 1 is a matter of the floors, which say why.
    if !(0..=VOTES_MAX).contains(count.get_ref()) {
        reader.wrong(count.span(), "count", format!("1 to {VOTES_MAX} votes can be asked, not {}", count.get_ref()));
    }
    within(reader, expires, "expires", 60, DAY_S);
    let count = u32::try_from(*count.get_ref()).ok()?;
    Some(ApprovalRule { from: role, count, waived: *waived.get_ref(), expires_s: *expires.get_ref() })
}

fn rate(reader: &mut Reader<'_>, raw: &At<RawRate>) -> Option<RateLimit> {
    let RawRate { count, per } = raw.get_ref();
    let (Some(count), Some(per)) = (count, per) else {
        reader.lacks(raw.span(), "rate", "a rate looks like { count = 5, per = \"10m\" }");
        return None;
    };
    if !(1..=RATE_MAX).contains(count.get_ref()) {
        reader.wrong(count.span(), "count", format!("a rate allows 1 to {RATE_MAX} calls, not {}", count.get_ref()));
    }
    within(reader, per, "per", 1, DAY_S);
    Some(RateLimit { count: u32::try_from(*count.get_ref()).ok()?, per_s: *per.get_ref() })
}

fn within(reader: &mut Reader<'_>, seconds: &At<u64>, key: &str, least: u64, most: u64) {
    if !(least..=most).contains(seconds.get_ref()) {
        let show = super::value::show_duration;
        reader.wrong(
            seconds.span(),
            key,
            format!("from {} to {}, not {}", show(least), show(most), show(*seconds.get_ref())),
        );
    }
}

fn role(reader: &mut Reader<'_>, raw: &At<String>, key: &str) -> Option<RoleName> {
    if [ANYONE, VOTERS].contains(&raw.get_ref().as_str()) {
        reader.wrong(raw.span(), key, format!("“{}” is not a role here", raw.get_ref()));
        return None;
    }
    RoleName::parse(raw.get_ref()).map_err(|e| reader.wrong(raw.span(), key, e.to_string())).ok()
}

fn who(reader: &mut Reader<'_>, raw: &At<Vec<At<String>>>) -> Option<(Who, bool)> {
    let list = raw.get_ref();
    let special = |word: &str| list.iter().any(|r| r.get_ref() == word);
    if list.is_empty() {
        reader.wrong(
            raw.span(),
            "roles",
            format!("nobody could say it: name roles, or \"{ANYONE}\" for what only looks"),
        );
        return None;
    }
    if special(ANYONE) {
        if list.len() > 1 {
            reader.wrong(raw.span(), "roles", format!("\"{ANYONE}\" stands alone: it has everybody in it"));
        }
        return Some((Who::Anyone, false));
    }
    let voters = special(VOTERS);
    let named = list.iter().filter(|r| r.get_ref() != VOTERS);
    let roles = named.filter_map(|r| role(reader, r, "roles")).collect();
    Some((Who::Roles(roles), voters))
}

pub(super) fn required_text(
    reader: &mut Reader<'_>,
    raw: &Option<At<String>>,
    span: Range<usize>,
    key: &str,
) -> Option<String> {
    match raw {
        Some(at) => Some(at.get_ref().clone()),
        None => {
            reader.lacks(span, key, "this has to be said");
            None
        }
    }
}

/// Lower-case words that every chat platform takes as a name (discord.md section 7, slack.md section 3).
pub(super) fn name_fits(reader: &mut Reader<'_>, at: &At<String>, key: &str, most: usize) {
    let text = at.get_ref();
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let begins = text.chars().next().is_some_and(|c| c.is_ascii_lowercase());
    if !begins || !text.chars().all(good) || text.len() > most {
        let message =
            format!("“{text}” has to be a-z, 0-9 and -, begin with a letter and have at most {most} characters");
        reader.wrong(at.span(), key, message);
    }
}

fn short_of(reader: &mut Reader<'_>, raw: &RawCommand) -> String {
    let span = raw.name.as_ref().map_or_else(|| raw.span.clone(), At::span);
    let short = required_text(reader, &raw.short, span, "short").unwrap_or_default();
    if let Some(at) = &raw.short
        && (short.trim().is_empty() || short.chars().count() > SHORT_MAX || short.contains('\n'))
    {
        reader.wrong(
            at.span(),
            "short",
            format!("one line of 1 to {SHORT_MAX} characters: chat platforms refuse more"),
        );
    }
    short
}

fn long_of(reader: &mut Reader<'_>, raw: &RawCommand) -> String {
    let Some(at) = &raw.long else { return String::new() };
    if at.get_ref().chars().count() > LONG_MAX {
        reader.wrong(at.span(), "long", format!("at most {LONG_MAX} characters"));
    }
    at.get_ref().trim().to_owned()
}

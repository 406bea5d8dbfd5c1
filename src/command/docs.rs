//! `docs/commands.md`, from the catalogue.

use std::fmt::Write as _;

use super::catalogue::{Catalogue, Command, Shape};
use super::spec::{Action, CommandSpec, Presence};
use super::value::show_duration;
use super::words::{Lock, ReasonRule, Waived};

/// Votes in a sentence; `None` where there is nothing to vote on.
pub(super) fn consent(spec: &CommandSpec) -> Option<String> {
    let rule = spec.approval.as_ref()?;
    let votes = if rule.count == 1 { "1 vote".to_owned() } else { format!("{} votes", rule.count) };
    let waived = match rule.waived {
        Waived::Never => "",
        Waived::ProvenRelease => ", none for a proven release",
    };
    Some(format!("Needs {votes} from {} within {}{waived}", rule.from, show_duration(rule.expires_s)))
}

/// The rate limit in a sentence.
pub(super) fn often(spec: &CommandSpec) -> Option<String> {
    let rate = spec.rate?;
    let times = if rate.count == 1 { "once".to_owned() } else { format!("{} times", rate.count) };
    Some(format!("At most {times} in {} per person", show_duration(rate.per_s)))
}

/// A short description as a sentence of its own, its full stop left out.
pub(super) fn sentence(short: &str) -> String {
    let mut letters = short.trim_end_matches('.').chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

impl Catalogue {
    /// The document: every command with its arguments, consent, limits, steps and examples.
    pub fn docs(&self) -> String {
        let mut out = String::from(
            "# Commands\n\nGenerated from `commands/*.toml`; change those, then run `UPDATE=1 cargo test --test commands`.\n\n\
             Every command can be said with or without its slash, as `/sternway <command>`, or behind a mention.\n\
             `to rel17`, `to:rel17`, `to=rel17` and `--to rel17` mean the same. A reason follows `because` and takes\n\
             the rest of the line, or stands in quotes.\n\n\
             | command | risk | who | |\n| --- | --- | --- | --- |\n",
        );
        for spec in self.specs() {
            let anchor = spec.path.as_str().replace(' ', "-");
            let _ = writeln!(
                out,
                "| [`/{}`](#{anchor}) | {} | {} | {} |",
                spec.path,
                spec.risk,
                spec.who,
                cell(&spec.short)
            );
        }
        for command in self.commands() {
            section(&mut out, command);
        }
        out
    }
}

fn section(out: &mut String, command: &Command) {
    if let Shape::Group { default, .. } = &command.shape {
        let _ = write!(out, "\n## {}\n\n{}.\n", command.name, sentence(&command.short));
        if !command.long.is_empty() {
            let _ = write!(out, "\n{}\n", command.long);
        }
        if let Some(default) = default {
            let _ = write!(out, "\n`/{}` alone means `/{}`.\n", command.name, default.path);
        }
        for spec in command.specs() {
            let _ = write!(out, "\n### {}\n", spec.path);
            describe(out, spec);
        }
    } else if let Some(spec) = command.specs().first() {
        let _ = write!(out, "\n## {}\n", command.name);
        describe(out, spec);
    }
}

fn describe(out: &mut String, spec: &CommandSpec) {
    let _ = write!(out, "\n{}.\n\n```text\n{}\n```\n", sentence(&spec.short), spec.usage());
    if !spec.long.is_empty() {
        let _ = write!(out, "\n{}\n", spec.long);
    }
    if !spec.arguments.is_empty() {
        out.push_str("\n| argument | | |\n| --- | --- | --- |\n");
        for argument in &spec.arguments {
            let presence = match argument.presence {
                Presence::Required => "required",
                Presence::Optional => "optional",
                Presence::FromThread => "in a run's thread: the thread's",
            };
            let about = if argument.about.is_empty() { argument.kind.looks_like() } else { argument.about.clone() };
            let _ = writeln!(out, "| `{}` | {presence} | {} |", argument.name, cell(&about));
        }
    }
    let _ = write!(out, "\n- Risk: {}. Who: {}.\n", spec.risk, spec.who);
    if let Some(votes) = consent(spec) {
        let _ = writeln!(out, "- {votes}.");
    }
    match spec.reason {
        ReasonRule::None => {}
        ReasonRule::Optional => out.push_str("- A reason may be given: `because …`.\n"),
        ReasonRule::Required => out.push_str("- A reason must be given: `because …`.\n"),
    }
    if let Some(often) = often(spec) {
        let _ = writeln!(out, "- {often}.");
    }
    if spec.lock == Lock::Stack {
        out.push_str("- Holds the stack while it works.\n");
    }
    let _ = writeln!(out, "- Given up after {}.", show_duration(spec.limit_s));
    if let Action::Procedure(steps) = &spec.action {
        let steps = steps.iter().map(|s| format!("`{s}`")).collect::<Vec<_>>().join(", ");
        let _ = writeln!(out, "- Steps: {steps}.");
    }
    if !spec.examples.is_empty() {
        let _ = write!(out, "\n```text\n{}\n```\n", spec.examples.join("\n"));
    }
}

/// Text that cannot end its cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace('\n', " ")
}

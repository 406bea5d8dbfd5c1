//! The least that holds whatever a command file says (decision 14): which consent a change needs, who can
//! never be allowed it, what a step or a handler cannot do without. A file may ask for more, never for less.

use std::ops::Range;

use super::read::Reader;
use super::spec::{Action, ArgumentType, CommandSpec, Presence, Who};
use super::words::{Builtin, Lock, Query, ReasonRule, Risk, StepKind, Waived};

/// Fewest votes for whatever makes a plan that changes something.
pub const VOTES_FLOOR: u32 = 1;

/// Where in the file the judged keys stand.
pub(super) struct Places {
    pub(super) command: Range<usize>,
    pub(super) risk: Range<usize>,
    pub(super) roles: Range<usize>,
    pub(super) approval: Option<Range<usize>>,
    pub(super) count: Option<Range<usize>>,
    pub(super) waived: Option<Range<usize>>,
    pub(super) lock: Option<Range<usize>>,
    pub(super) steps: Option<Range<usize>>,
}

/// Tells the reader about everything that is less than the floor.
pub(super) fn check(reader: &mut Reader<'_>, spec: &CommandSpec, at: &Places) {
    risk(reader, spec, at);
    consent(reader, spec, at);
    needed_arguments(reader, spec, at);
    if let Action::Procedure(steps) = &spec.action {
        step_order(reader, steps, at);
    }
}

fn risk(reader: &mut Reader<'_>, spec: &CommandSpec, at: &Places) {
    let least = match &spec.action {
        Action::Procedure(steps) if steps.iter().any(|s| changes(*s)) => Risk::Change,
        Action::Procedure(_) | Action::Query(_) => Risk::Look,
        Action::Builtin(_) => Risk::Change,
    };
    if spec.risk < least {
        reader.wrong(at.risk.clone(), "risk", format!("`{}` changes things: at least \"{least}\"", spec.path));
    }
    if matches!(spec.action, Action::Query(_)) && spec.risk != Risk::Look {
        reader.wrong(at.risk.clone(), "risk", format!("a query only looks: \"{}\"", Risk::Look));
    }
    if spec.risk != Risk::Look && spec.who == Who::Anyone {
        let message = "whoever is linked to no person may look, never act: name roles instead of \"anyone\"";
        reader.wrong(at.roles.clone(), "roles", message);
    }
    let is_procedure = matches!(spec.action, Action::Procedure(_));
    if is_procedure && spec.risk != Risk::Look && spec.lock != Lock::Stack {
        let place = at.lock.clone().unwrap_or_else(|| at.command.clone());
        reader.wrong(place, "lock", "two changes of one stack must never meet: \"stack\"");
    }
}

/// Whether a step can change anything.
fn changes(step: StepKind) -> bool {
    match step {
        StepKind::PullImage | StepKind::ProtectImage | StepKind::ProveHealth => false,
        StepKind::SwapService | StepKind::WritePin | StepKind::SignalProxy | StepKind::ReleasePins => true,
    }
}

fn consent(reader: &mut Reader<'_>, spec: &CommandSpec, at: &Places) {
    let plans = match &spec.action {
        Action::Procedure(_) => spec.risk != Risk::Look,
        Action::Builtin(builtin) => builtin.plans(),
        Action::Query(_) => false,
    };
    if !plans {
        if let (Action::Builtin(_), Some(place), true) = (&spec.action, &at.approval, spec.approval.is_some()) {
            reader.wrong(place.clone(), "approval", format!("`{}` makes no plan that could be voted on", spec.path));
        }
        return;
    }
    let Some(approval) = &spec.approval else {
        // An approval that is there but not readable has been told already.
        if at.approval.is_none() {
            let message = format!(
                "`{}` makes a plan that changes something, so it has to say whose votes it needs: approval = {{ from, count, waived, expires }}",
                spec.path
            );
            reader.wrong(at.command.clone(), "approval", message);
        }
        return;
    };
    if approval.count < VOTES_FLOOR {
        let place = at.count.clone().unwrap_or_else(|| at.command.clone());
        let message = if spec.risk == Risk::Destructive {
            format!("destructive work needs at least {VOTES_FLOOR} vote")
        } else {
            format!(
                "at least {VOTES_FLOOR}; to let proven releases through without a vote say waived = \"{}\"",
                Waived::ProvenRelease
            )
        };
        reader.wrong(place, "count", message);
    }
    let may_waive = spec.risk == Risk::Change && matches!(spec.action, Action::Procedure(_));
    if approval.waived != Waived::Never && !may_waive {
        let place = at.waived.clone().unwrap_or_else(|| at.command.clone());
        let what = if spec.risk == Risk::Destructive { "destructive work" } else { "a way out of a stuck run" };
        reader.wrong(place, "waived", format!("{what} always needs its votes: \"{}\"", Waived::Never));
    }
}

fn step_order(reader: &mut Reader<'_>, steps: &[StepKind], at: &Places) {
    let place = at.steps.clone().unwrap_or_else(|| at.command.clone());
    if steps.is_empty() {
        reader.wrong(place, "steps", "a procedure without steps does nothing");
        return;
    }
    for (i, step) in steps.iter().enumerate() {
        if steps[..i].contains(step) {
            reader.wrong(place.clone(), "steps", format!("{step} stands twice"));
        }
    }
    let index = |wanted: StepKind| steps.iter().position(|s| *s == wanted);
    if index(StepKind::ReleasePins).is_some() && steps.len() > 1 {
        let message = "release_pins frees what cannot be brought back, so it stands alone: nothing behind it can fail";
        reader.wrong(place.clone(), "steps", message);
    }
    if let Some(pull) = index(StepKind::PullImage)
        && index(StepKind::ProtectImage).is_none_or(|protect| protect < pull)
    {
        let message = "pull_image brings what protect_image keeps: it stands before it";
        reader.wrong(place.clone(), "steps", message);
    }
    let Some(swap) = index(StepKind::SwapService) else { return };
    if index(StepKind::ProtectImage).is_none_or(|protect| protect > swap) {
        let message = "swap_service needs protect_image before it: the way back must survive pruning";
        reader.wrong(place.clone(), "steps", message);
    }
    for early in [StepKind::WritePin, StepKind::SignalProxy, StepKind::ProveHealth] {
        if index(early).is_some_and(|i| i < swap) {
            reader.wrong(
                place.clone(),
                "steps",
                format!("{early} is about what swap_service made: it stands behind it"),
            );
        }
    }
}

/// What steps and handlers count on finding in the request.
fn needed_arguments(reader: &mut Reader<'_>, spec: &CommandSpec, at: &Places) {
    let needs: &[(&str, ArgumentType, bool)] = match &spec.action {
        Action::Procedure(_) => &[("service", ArgumentType::Service, true)],
        Action::Query(Query::Releases) => &[("service", ArgumentType::Service, true)],
        Action::Query(Query::RunsShow) => &[("run", ArgumentType::Run, false)],
        Action::Query(
            Query::DryRun
            | Query::Status
            | Query::RunsList
            | Query::AuditShow
            | Query::AuditVerify
            | Query::AuditExport
            | Query::Help,
        ) => &[],
        Action::Builtin(Builtin::Approve | Builtin::Deny) => &[("approval", ArgumentType::Approval, false)],
        Action::Builtin(Builtin::Cancel | Builtin::RunsRetry | Builtin::RunsUndo | Builtin::RunsAccept) => {
            &[("run", ArgumentType::Run, false)]
        }
    };
    for (name, kind, required) in needs {
        let found = spec.argument(name).filter(|a| a.kind == *kind);
        let good = found.is_some_and(|a| !required || a.presence == Presence::Required);
        if !good {
            let how = if *required { "a required argument" } else { "an argument" };
            let message = format!("`{}` cannot do without {how} `{name}` of type {}", spec.path, kind.word());
            reader.wrong(at.command.clone(), "argument", message);
        }
    }
    let swaps = matches!(&spec.action, Action::Procedure(steps) if steps.contains(&StepKind::SwapService));
    if swaps && !spec.arguments.iter().any(|a| a.kind == ArgumentType::ReleaseTarget && a.name == "to") {
        let message = format!("`{}` swaps a service, so it needs an argument `to` of type release_target", spec.path);
        reader.wrong(at.command.clone(), "argument", message);
    }
    if spec.is_dry_run() && (!spec.arguments.is_empty() || spec.reason != ReasonRule::None) {
        let message = "a dry run takes the arguments of the command it is about, none of its own";
        reader.wrong(at.command.clone(), "argument", message);
    }
}

//! The messages in English. One function for each; values come typed, ids and commands are code spans.

mod copies;

use jiff::Timestamp;

use crate::domain::actor::Actor;
use crate::domain::card::{Card, Line, Span, Tone, code, strong, text};
use crate::domain::event::Outcome;
use crate::domain::ids::RunId;
use crate::domain::names::PersonId;
use crate::domain::plan::{Plan, Proof, StepAction, StepOutput, Undo, WayOut};
use crate::domain::run::{Approval, RunState, Status, StepState};
use crate::domain::text::{shorten, visible};
use crate::procedures::decide::describe;

/// Characters of a cause on a run's card: two rows of a phone.
const CAUSE_MAX: usize = 80;

/// Characters of a reason before the fold: with `because` two rows of a phone.
const REASON_SHOWN: usize = 72;

/// `3.2 s`, `4:05`, `2 h 10 min`: short, readable, never more exact than useful.
pub fn duration(from: Timestamp, to: Timestamp) -> String {
    milliseconds(u64::try_from(to.as_millisecond() - from.as_millisecond()).unwrap_or(0))
}

/// A number of milliseconds in the same form.
pub fn milliseconds(ms: u64) -> String {
    let s = ms / 1000;
    match s {
        0..60 => format!("{}.{} s", s, ms % 1000 / 100),
        60..3600 => format!("{}:{:02} min", s / 60, s % 60),
        _ => format!("{} h {} min", s / 3600, s % 3600 / 60),
    }
}

/// Hours and minutes of a day in UTC; cards are read within hours.
pub fn clock_time(at: Timestamp) -> String {
    at.strftime("%H:%M UTC").to_string()
}

/// Date and time in UTC.
pub fn date_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M UTC").to_string()
}

/// The first visible answer: the request is on record under this id (decision 26).
pub fn accepted(run: RunId, command: &str) -> Card {
    Card::new(Tone::Plain, vec![code(run), text(" accepted: "), text(command)])
}

/// The run's own card, edited as it goes on. `progress` is the newest word of the step that is under way.
pub fn run_card(run: &RunState, now: Timestamp, progress: Option<&str>) -> Card {
    let mut card =
        Card::new(tone(run), vec![code(run.id), text(" "), strong(&run.command), text(" "), text(headline(run))]);
    let Some(planned) = &run.plan else {
        return card.line(status_line(run, now));
    };
    let plan = &planned.plan;
    for line in change_lines(run) {
        card = card.line(line);
    }
    let mut asked = vec![text("asked by "), strong(plan.requester.to_string())];
    if run.steps.is_empty() {
        asked.extend([text(" on "), code(&plan.target)]);
    }
    if let Some(approval) = run.approval.as_ref().filter(|a| !a.votes.is_empty()) {
        let names: Vec<String> = approval.votes.iter().map(|v| v.by.to_string()).collect();
        asked.extend([text(", approved by "), strong(names.join(", "))]);
    }
    // What has to be weighed stands open until the first step; from then on what happens does.
    let mut weighed = Vec::from_iter(reason_line(plan));
    weighed.extend(planned.notes.warnings.iter().map(|w| vec![text("! "), text(w)]));
    if run.steps.is_empty() {
        card = card.line(asked);
        card.lines.extend(weighed);
        if !run.ended() || run.dry_run {
            card.lines.extend(copies::gap_line(&planned.notes, &planned.plan.steps));
        }
        for (i, step) in plan.steps.iter().enumerate() {
            card = card.detail(vec![
                text(format!("{}. ", i + 1)),
                text(describe(&step.action)),
                text(undo_words(&step.undo)),
            ]);
        }
    } else {
        for group in copies::groups(&plan.steps, &run.steps) {
            let mut line = group.line();
            if group.is_open() {
                let words = progress.map(|words| format!("{words}, ")).unwrap_or_default();
                line.push(text(format!(" ({words}{} so far)", duration(run.began.unwrap_or(now), now))));
            }
            card = card.line(line);
        }
        card = card.line(asked).detail(vec![text("on "), code(&plan.target)]);
        card.details.extend(weighed);
    }
    card.details.extend(whole_reason(plan));
    card = card.detail(vec![text("plan "), code(Plan::short_hash(&planned.hash))]);
    // The whole of a long cause stands in the reply that told it.
    let status = status_line(run, now).into_iter().map(|span| match span {
        Span::Text(words) => Span::Text(shorten(&words, CAUSE_MAX)),
        other => other,
    });
    card = card.line(status.collect());
    if run.ended() {
        card
    } else if let Status::Stuck { .. } = run.status {
        ways_out(card, run.id)
    } else {
        card.button("Cancel", format!("/cancel {}", run.id))
    }
}

/// Why, as much of it as fits before the fold.
fn reason_line(plan: &Plan) -> Option<Line> {
    (!plan.reason.is_empty()).then(|| vec![text("because "), text(shorten(&plan.reason, REASON_SHOWN))])
}

/// All of a reason that does not fit there.
fn whole_reason(plan: &Plan) -> Option<Line> {
    (plan.reason.chars().count() > REASON_SHOWN).then(|| vec![text("because "), text(&plan.reason)])
}

fn ways_out(card: Card, run: RunId) -> Card {
    card.button("Go on", format!("/runs retry {run}"))
        .button("Go back", format!("/runs undo {run}"))
        .button("It is so", format!("/runs accept {run}"))
}

fn tone(run: &RunState) -> Tone {
    match &run.status {
        Status::Requested | Status::Claimed | Status::Running => Tone::Busy,
        Status::Planned if run.open_approval().is_some() => Tone::Ask,
        Status::Planned => Tone::Busy,
        Status::Undoing { .. } => Tone::Busy,
        Status::Stuck { .. } => Tone::Bad,
        Status::Ended { outcome, .. } => outcome_tone(outcome),
    }
}

fn outcome_tone(outcome: &Outcome) -> Tone {
    match outcome {
        Outcome::Done | Outcome::Accepted { .. } => Tone::Good,
        Outcome::DryRun => Tone::Plain,
        Outcome::Undone { .. }
        | Outcome::Void { .. }
        | Outcome::Refused { .. }
        | Outcome::Denied { .. }
        | Outcome::Expired
        | Outcome::Cancelled { .. } => Tone::Warn,
    }
}

fn headline(run: &RunState) -> String {
    let mut services: Vec<&str> = run
        .plan
        .iter()
        .flat_map(|p| &p.plan.steps)
        .filter_map(|s| match &s.action {
            StepAction::SwapService(swap) if swap.follows.is_none() => Some(swap.service.as_str()),
            StepAction::ReleasePins { service, .. } => Some(service.as_str()),
            _ => None,
        })
        .collect();
    services.dedup();
    services.join(", ")
}

/// What changes, a line for each service.
fn change_lines(run: &RunState) -> Vec<Line> {
    let Some(planned) = &run.plan else { return Vec::new() };
    let mut lines = Vec::new();
    let mut say = |line: Line| {
        // Of a scaled service each container is a step; a mixture has more than one `from`.
        if !lines.contains(&line) {
            lines.push(line);
        }
    };
    for step in &planned.plan.steps {
        match &step.action {
            StepAction::SwapService(swap) if swap.follows.is_none() => {
                say(if swap.missing {
                    vec![text("from none, where "), code(&swap.from.reference), text(" should be")]
                } else {
                    vec![text("from "), code(&swap.from.reference), text(" "), code(swap.from.fingerprint.short())]
                });
                let mut to =
                    vec![text("to   "), code(&swap.to.reference), text(" "), code(swap.to.fingerprint.short())];
                match planned.notes.to_release {
                    Some(id) => to.extend([
                        text(" ("),
                        code(id),
                        text(if planned.notes.proven { ", proven)" } else { ", unproven)" }),
                    ]),
                    None => to.push(text(" (not on record, unproven)")),
                }
                say(to);
            }
            // Once it has begun the step itself is on the card.
            StepAction::SwapService(_) | StepAction::RestartService(_) if run.steps.is_empty() => {
                say(vec![text(describe(&step.action))]);
            }
            StepAction::ResolveRun { run, way, .. } => {
                say(vec![text(way_words(*way)), text(" "), code(run)]);
            }
            StepAction::ReleasePins { .. } => {
                for freed in &planned.notes.frees {
                    say(vec![text("lets go of "), text(freed)]);
                }
            }
            StepAction::RestoreDatabase { service, .. } => {
                say(vec![text("replaces the data of "), code(service)]);
            }
            _ => {}
        }
    }
    lines
}

fn way_words(way: WayOut) -> &'static str {
    match way {
        WayOut::Retry => "go on to the new state with",
        WayOut::Undo => "go back to the old state with",
        WayOut::Accept => "accept what is there now and end",
    }
}

fn undo_words(undo: &Undo) -> String {
    match undo {
        Undo::Nothing => String::new(),
        // Undos go from the last step to the first: what has to come last hangs on the first.
        Undo::Action(action) if hangs_on_the_first(action) => {
            format!("; last on the way back: {}", describe(action))
        }
        Undo::Action(action) => format!("; undo: {}", describe(action)),
        Undo::OneWay(reason) => format!("; CANNOT BE UNDONE: {reason}"),
    }
}

/// A signal undoes no step, nor does a restart, nor making a container again that points at the one before: all come
/// after the swap back.
fn hangs_on_the_first(undo: &StepAction) -> bool {
    match undo {
        StepAction::SignalProxy { .. } | StepAction::RestartService(_) => true,
        StepAction::SwapService(swap) => swap.follows.is_some(),
        _ => false,
    }
}

fn mark(state: &StepState) -> &'static str {
    match state {
        StepState::Waiting => "◦",
        StepState::Open => "…",
        StepState::Done { .. } => "✓",
        StepState::Failed { .. } => "✗",
        StepState::UndoOpen => "↶",
        StepState::Undone => "↩",
    }
}

fn output_words(output: &StepOutput) -> String {
    match output {
        StepOutput::Nothing => String::new(),
        StepOutput::Swapped { effect: false, .. } => " (it was so already)".to_owned(),
        StepOutput::Swapped { proof, .. } | StepOutput::Proven { proof } if proof.weak => {
            " (weak proof: it runs)".to_owned()
        }
        StepOutput::Swapped { proof, .. } | StepOutput::Proven { proof } => {
            format!(" ({} answers)", proof.answers)
        }
        StepOutput::Released { removed, stayed } if stayed.is_empty() => format!(" ({removed} removed from the host)"),
        StepOutput::Released { removed, stayed } => {
            format!(" ({removed} removed from the host; {})", shorten(&stayed.join("; "), 4 * CAUSE_MAX))
        }
        StepOutput::Dumped { dump } => format!(" ({dump})"),
    }
}

fn status_line(run: &RunState, now: Timestamp) -> Line {
    match &run.status {
        Status::Requested => vec![text("looking at what is there")],
        Status::Planned => match run.open_approval() {
            Some(a) => {
                let votes = match (a.needs.count, a.needs.count.saturating_sub(a.votes.len() as u32)) {
                    (1, _) => "waits for a vote from ".to_owned(),
                    (all, left) => format!("waits for {left} of {all} votes from "),
                };
                vec![text(votes), code(&a.needs.role), text(format!(" until {}", clock_time(a.expires)))]
            }
            None => vec![text("about to begin")],
        },
        Status::Claimed => vec![text("holds "), code(target(run)), text("; checking the plan once more")],
        Status::Running => vec![text(format!("at work since {}", clock_time(run.began.unwrap_or(now))))],
        Status::Undoing { why } => vec![text("going back: "), text(why)],
        Status::Stuck { why, .. } => vec![strong("STUCK: "), text(why), text("; a person has to choose")],
        Status::Ended { outcome, at } => ended_line(run, outcome, *at),
    }
}

fn target(run: &RunState) -> String {
    run.target.as_ref().map_or_else(|| "the stack".to_owned(), ToString::to_string)
}

fn ended_line(run: &RunState, outcome: &Outcome, at: Timestamp) -> Line {
    match outcome {
        Outcome::Done if run.leads_out() => vec![text("agreed and handed over")],
        Outcome::Done => {
            vec![strong("done"), text(format!(" in {}", duration(run.began.unwrap_or(at), at)))]
        }
        Outcome::Undone { why } => vec![strong("everything is as it was: "), text(why)],
        Outcome::Accepted { observed } => vec![strong("accepted as it is: "), text(observed)],
        Outcome::Void { differences } => {
            vec![strong("void, nothing was done: "), text(differences.first().cloned().unwrap_or_default())]
        }
        Outcome::DryRun => vec![text("only a plan: nothing was done")],
        Outcome::Refused { why, .. } => vec![strong("refused: "), text(why)],
        Outcome::Denied { by, reason } if reason.is_empty() => {
            vec![strong("denied"), text(" by "), strong(by.as_str())]
        }
        Outcome::Denied { by, reason } => {
            vec![strong("denied"), text(" by "), strong(by.as_str()), text(": "), text(reason)]
        }
        Outcome::Expired => vec![strong("expired: "), text("nobody decided in time, nothing was done")],
        Outcome::Cancelled { by } => {
            vec![strong("cancelled"), text(" by "), strong(by.as_str()), text(", nothing was done")]
        }
    }
}

/// The question to the approvers; its buttons vanish once it is decided.
pub fn question(run: &RunState, approval: &Approval) -> Card {
    let decided = approval.granted.is_some() || run.ended();
    let title = vec![
        code(approval.id),
        text(if decided { " asked: " } else { " Do you agree? " }),
        code(run.id),
        text(" "),
        strong(&run.command),
        text(" "),
        text(headline(run)),
    ];
    let mut card = Card::new(if decided { Tone::Plain } else { Tone::Ask }, title);
    for line in change_lines(run) {
        card = card.line(line);
    }
    if let Some(planned) = &run.plan {
        for step in &planned.plan.steps {
            if let Undo::OneWay(reason) = &step.undo {
                card = card.line(vec![strong("cannot be undone: "), text(reason)]);
            }
        }
        if !decided {
            card.lines.extend(reason_line(&planned.plan));
            card.details.extend(whole_reason(&planned.plan));
            for warning in &planned.notes.warnings {
                card = card.line(vec![text("! "), text(warning)]);
            }
            card.lines.extend(copies::gap_line(&planned.notes, &planned.plan.steps));
        }
        card = card.line(vec![text("plan "), code(Plan::short_hash(&planned.hash))]);
    }
    let Actor::Person(_) = run.requester else {
        return finish_question(card, approval, decided, run);
    };
    card = card.line(vec![
        strong(run.requester.to_string()),
        text(if decided { " asked" } else { " asked and cannot approve it" }),
    ]);
    finish_question(card, approval, decided, run)
}

fn finish_question(card: Card, approval: &Approval, decided: bool, run: &RunState) -> Card {
    if approval.granted.is_some() {
        return card.line(vec![strong("agreed")]);
    }
    if let Status::Ended { outcome, at } = &run.status {
        return card.line(ended_line(run, outcome, *at));
    }
    debug_assert!(!decided);
    card.line(vec![
        text(format!("{} of {} votes from ", approval.votes.len(), approval.needs.count)),
        code(&approval.needs.role),
        text(format!(", until {}", clock_time(approval.expires))),
    ])
    .button("Approve", format!("/approve {}", approval.id))
    .button("Deny", format!("/deny {}", approval.id))
}

/// Somebody agreed.
pub fn voted(run: &RunState, by: &PersonId, reason: &str) -> Card {
    let (have, need) = run.approval.as_ref().map_or((0, 0), |a| (a.votes.len(), a.needs.count));
    let mut title = vec![strong(by.as_str()), text(format!(" approved ({have} of {need})"))];
    if !reason.is_empty() {
        title.extend([text(": "), text(reason)]);
    }
    Card::new(Tone::Good, title)
}

/// A step could not be done.
pub fn step_failed(run: &RunState, step: usize, why: &str) -> Card {
    let what = run.plan.as_ref().and_then(|p| p.plan.steps.get(step)).map(|s| describe(&s.action)).unwrap_or_default();
    Card::new(Tone::Warn, vec![strong(what), text(" failed: "), text(why)])
        .line(vec![text("everything done so far is being taken back")])
}

/// Neither done nor undone.
pub fn stuck(run: &RunState) -> Card {
    let Status::Stuck { why, remains, .. } = &run.status else {
        return Card::new(Tone::Plain, vec![code(run.id), text(" is no longer stuck")]);
    };
    let mut card = Card::new(Tone::Bad, vec![code(run.id), text(" is "), strong("stuck"), text(": "), text(why)]);
    for line in remains {
        card = card.line(vec![text("- "), text(line)]);
    }
    let card = card.line(vec![code(target(run)), text(" stays locked until a person chooses:")]);
    ways_out(card, run.id)
}

/// Somebody wants it taken back.
pub fn cancel_asked(by: &PersonId) -> Card {
    Card::new(Tone::Warn, vec![strong(by.as_str()), text(" cancelled: it goes back at the next safe point")])
}

/// A way out was chosen.
pub fn resolved(way: WayOut, by: RunId) -> Card {
    Card::new(Tone::Busy, vec![text("a way out was agreed in "), code(by), text(": "), strong(way.as_str())])
}

/// Sternway was interrupted and goes on.
pub fn resumed(run: &RunState) -> Card {
    let how = if run.look_first { "looking at what the last step came to" } else { "nothing was under way" };
    Card::new(Tone::Busy, vec![text("Sternway was interrupted and goes on: "), text(how)])
}

/// The end, as a lasting message.
pub fn ended(run: &RunState, outcome: &Outcome, at: Timestamp) -> Card {
    let mut title = vec![code(run.id), text(" ")];
    title.extend(ended_line(run, outcome, at));
    let mut card = Card::new(outcome_tone(outcome), title);
    if let Outcome::Done = outcome {
        for (step, state) in run.plan.iter().flat_map(|p| &p.plan.steps).zip(&run.steps) {
            if let (StepAction::RestartService(restart), StepState::Done { output: StepOutput::Proven { proof } }) =
                (&step.action, state)
            {
                let words = format!(" was restarted{}", proven_by(proof));
                card.lines.retain(|before| before.first() != Some(&strong(restart.service.as_str())));
                card = card.line(vec![strong(restart.service.as_str()), text(words)]);
            }
            if let (StepAction::SwapService(swap), StepState::Done { output: StepOutput::Swapped { proof, .. } }) =
                (&step.action, state)
            {
                let mut line = vec![strong(swap.service.as_str())];
                if swap.follows.is_some() {
                    line.push(text(" was recreated"));
                } else {
                    line.extend([
                        text(" runs "),
                        code(&swap.to.reference),
                        text(" "),
                        code(swap.to.fingerprint.short()),
                    ]);
                }
                line.push(text(proven_by(proof)));
                // One line for a scaled service; the last of its containers speaks for all.
                card.lines.retain(|before| before.first() != line.first());
                card = card.line(line);
            }
        }
    }
    if let Outcome::Void { differences } = outcome {
        for line in differences.iter().skip(1) {
            card = card.line(vec![text("- "), text(line)]);
        }
    }
    match outcome {
        // That release does not do: which others are there?
        Outcome::Undone { .. } => {
            let service = run.plan.iter().flat_map(|p| &p.plan.steps).find_map(|s| match &s.action {
                StepAction::SwapService(swap) if swap.follows.is_none() => Some(&swap.service),
                _ => None,
            });
            if let Some(service) = service {
                card = card.button("Releases", format!("/releases {service}"));
            }
            card.button("Show", format!("/runs show {}", run.id))
        }
        Outcome::Done => card.button("Show", format!("/runs show {}", run.id)),
        _ => card,
    }
}

/// The last line of a thread: what the record was when the run had ended, for whoever wants to compare it later. Whoever
/// changes the record afterwards would have to change this message too.
pub fn witness(records: u64, root: &str) -> Card {
    Card::new(Tone::Plain, vec![text(format!("record {records} · ")), code(root)])
}

fn proven_by(proof: &Proof) -> String {
    if proof.weak {
        return ", weak proof".to_owned();
    }
    format!(", proven by {} answers in {}", proof.answers, milliseconds(proof.after_ms))
}

/// The log cannot be written from now on (decision 9).
pub fn record_broken(why: &str) -> Card {
    Card::new(Tone::Bad, vec![strong("The record cannot be written, nothing new is done: "), text(visible(why))])
        .line(vec![text("Runs that have begun end old or new. Make room on the disk of Sternway's store.")])
        .line(vec![text("It goes on by itself.")])
}

/// The log can be written again.
pub fn record_mended() -> Card {
    Card::new(Tone::Good, vec![text("The record can be written again; Sternway takes commands.")])
}

/// The index was set aside and made anew (decision 6).
pub fn index_rebuilt(why: &str) -> Card {
    Card::new(Tone::Warn, vec![text("The index was rebuilt from the record: "), text(visible(why))])
        .line(vec![text("Nothing is lost. The old one is kept as index.aside.")])
}

//! A service with several containers: one step for each in the record, one line for all of them on a card.

use crate::domain::card::{Line, text};
use crate::domain::plan::{PlanNotes, PlannedStep, StepAction, StepOutput, Swap, Undo};
use crate::domain::run::StepState;
use crate::procedures::decide::describe;

use super::{mark, milliseconds, output_words};

/// Steps that are one line: one step, or the swaps of a service's containers.
pub(super) struct Group<'p> {
    pub(super) steps: Vec<(&'p PlannedStep, &'p StepState)>,
}

/// The steps of a run as lines of its card.
pub(super) fn groups<'p>(steps: &'p [PlannedStep], states: &'p [StepState]) -> Vec<Group<'p>> {
    let mut out: Vec<Group<'p>> = Vec::new();
    for pair in steps.iter().zip(states) {
        match out.last_mut() {
            Some(group) if group.swap().is_some_and(|before| belongs(before, &pair.0.action)) => group.steps.push(pair),
            Some(group) if group.keeps() && keeps_a_follower(pair.0) => group.steps.push(pair),
            _ => out.push(Group { steps: vec![pair] }),
        }
    }
    out
}

fn belongs(before: &Swap, action: &StepAction) -> bool {
    let StepAction::SwapService(swap) = action else { return false };
    swap.missing == before.missing
        && swap.number.is_some()
        && before.number.is_some()
        && before.service == swap.service
        && before.to == swap.to
}

/// The images of containers that are made again as they are: kept beside the one that the run is about, not worth a line.
fn keeps_a_follower(step: &PlannedStep) -> bool {
    let back = matches!(&step.undo, Undo::Action(undo) if super::hangs_on_the_first(undo));
    back && matches!(step.action, StepAction::ProtectImage { .. })
}

impl Group<'_> {
    fn keeps(&self) -> bool {
        self.steps.first().is_some_and(|(step, _)| matches!(step.action, StepAction::ProtectImage { .. }))
    }

    fn swap(&self) -> Option<&Swap> {
        match &self.steps.first()?.0.action {
            StepAction::SwapService(swap) => Some(swap),
            _ => None,
        }
    }

    /// Whether a step of it is under way.
    pub(super) fn is_open(&self) -> bool {
        self.steps.iter().any(|(_, s)| matches!(s, StepState::Open | StepState::UndoOpen))
    }

    /// Its line, without the progress of what is under way.
    pub(super) fn line(&self) -> Line {
        let count = self.steps.len();
        let Some((step, state)) = self.steps.first() else { return Line::new() };
        if let (1, StepState::Done { output }) = (count, state) {
            return vec![text(mark(state)), text(" "), text(describe(&step.action)), text(output_words(output))];
        }
        let Some(swap) = self.swap().filter(|_| count > 1) else {
            let undone = |s: &StepState| matches!(s, StepState::Waiting | StepState::Done { .. });
            let worst = self.steps.iter().map(|(_, s)| *s).find(|s| !undone(s));
            let state = worst.or(self.steps.last().map(|(_, s)| *s)).unwrap_or(state);
            return vec![text(mark(state)), text(" "), text(describe(&step.action))];
        };
        // The one it stands at: under way or failed; else the last that was begun.
        let at = |wanted: fn(&StepState) -> bool| self.steps.iter().position(|(_, s)| wanted(s));
        let active = at(|s| matches!(s, StepState::Open | StepState::UndoOpen))
            .or_else(|| at(|s| matches!(s, StepState::Failed { .. })))
            .or_else(|| self.steps.iter().rposition(|(_, s)| **s != StepState::Waiting));
        let service = &swap.service;
        let verb = if swap.missing { "make" } else { "swap" };
        let Some(active) = active else {
            return vec![text(format!("{} {verb} {service}, {count} in turn", mark(state)))];
        };
        let state = self.steps[active].1;
        let outputs: Vec<&StepOutput> = self.steps.iter().filter_map(|(_, s)| done(s)).collect();
        let words = if outputs.len() == count { all_words(&outputs) } else { String::new() };
        vec![text(format!("{} {verb} {service} {} of {count}{words}", mark(state), active + 1))]
    }
}

fn done(state: &StepState) -> Option<&StepOutput> {
    match state {
        StepState::Done { output } => Some(output),
        _ => None,
    }
}

/// The least that was heard of one of them.
fn all_words(outputs: &[&StepOutput]) -> String {
    let answers = |o: &&&StepOutput| match o {
        StepOutput::Swapped { proof, .. } | StepOutput::Proven { proof } if !proof.weak => proof.answers,
        _ => 0,
    };
    outputs.iter().min_by_key(answers).map(|o| output_words(o)).unwrap_or_default()
}

/// How long people will notice, before anything is done.
pub(super) fn gap_line(notes: &PlanNotes, steps: &[PlannedStep]) -> Option<Line> {
    if let Some((least, most)) = notes.gap_ms {
        return Some(vec![text(format!("expect {} to {} without an answer", milliseconds(least), milliseconds(most)))]);
    }
    let swaps: Vec<&Swap> = steps
        .iter()
        .filter_map(|s| match &s.action {
            StepAction::SwapService(swap) if swap.follows.is_none() && !swap.missing => Some(&**swap),
            _ => None,
        })
        .collect();
    let first = swaps.first()?;
    let words = match (&first.start_first, first.number) {
        (Some(_), _) => "no gap: the new one is proven beside the old one first".to_owned(),
        (None, Some(_)) if swaps.len() > 1 => format!("{} in turn: while one is away the others answer", swaps.len()),
        (None, Some(_)) => "one of several: while it is away the others answer".to_owned(),
        (None, None) => return None,
    };
    Some(vec![text(words)])
}

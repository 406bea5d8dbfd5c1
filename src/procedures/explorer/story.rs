//! Tells what happened in a walk, for people.

use super::agents::Going;
use super::cast::{NAMES, WAYS, id_of};
use super::moves::{Did, How, Step};
use super::real::Real;
use super::world::{Ear, Kind, Message, Version};
use crate::domain::event::{Event, Outcome};

fn version(version: Version) -> &'static str {
    match version {
        Version::Old => "1.4",
        Version::New => "1.3",
        Version::Third => "1.5",
        Version::Gone => "nothing",
        Version::Past => "1.2",
    }
}

fn name(service: u8) -> &'static str {
    NAMES[usize::from(service)]
}

/// What an order wants: `swap api from 1.4 to 1.3`.
fn wants(message: &Message) -> String {
    let service = name(message.service);
    match message.kind {
        Kind::Swap { from, to } if message.undo => {
            format!("put {service} back from {} to {}", version(from), version(to))
        }
        Kind::Swap { from, to } => format!("swap {service} from {} to {}", version(from), version(to)),
        Kind::OneShot => format!("do to {service} what cannot be done twice"),
        Kind::Prove { to } => format!("prove that {service} runs {} and is well", version(to)),
    }
}

/// One move in a sentence; nothing for those that no story needs.
pub(super) fn sentence(real: &Real, step: &Step) -> Option<String> {
    Some(match step.did {
        Did::Asked(slot) if slot == 0 => format!("Amal asks to roll the stack back ({}).", id_of(slot)),
        Did::Asked(slot) => format!("Amal asks for another change of the same stack ({}).", id_of(slot)),
        Did::AskedWay(slot, of, way) => {
            format!("Amal asks to {} {} ({}).", WAYS[usize::from(way)].as_str(), id_of(of), id_of(slot))
        }
        Did::Planned(slot) => format!("Sternway looks at the stack and makes the plan of {}.", id_of(slot)),
        Did::SeesFree(slot) => format!("{} sees that the stack is free.", id_of(slot)),
        Did::Wrote(slot, event) => wrote(real, slot, event, step.wrong.is_some())?,
        Did::Voided(slot, _) => format!("{} is void: the plan of now is another one. It is asked again.", id_of(slot)),
        Did::LedOut(slot, of, event) => {
            let way = match real.event(event) {
                Event::Resolved { way, .. } => way.as_str(),
                _ => "lead out",
            };
            format!("Everybody agreed to {}: {} is led out by `{way}`.", id_of(slot), id_of(of))
        }
        Did::Sent(slot, message, how) => {
            let order = format!("{} orders: {}", id_of(slot), wants(&message));
            match how {
                How::Answered(Going::Well) => format!("{order}. It is done."),
                How::Answered(Going::Cleanly) => format!("{order}. That fails, and nothing was changed."),
                How::Answered(Going::HalfDone) => format!("{order}. That fails, and it was changed all the same."),
                How::AnswerLost => format!("{order}. It is done, and the answer gets lost."),
                How::Late => format!("{order}. The order is on its way for long."),
                How::Refused => format!("{order}. The agent has seen a newer message and refuses it."),
            }
        }
        Did::Looked(slot, message, ear) => {
            let so = match ear {
                Ear::So => "it is so",
                Ear::NotSo => "it is not so",
                Ear::Stale => "the agent has seen a newer message and does not answer",
                Ear::Nothing | Ear::Failed | Ear::Uncertain => "no answer comes",
            };
            let what = if message.undo { "was put back" } else { "is as wanted" };
            format!("{} looks whether {} {what}: {so}.", id_of(slot), name(message.service))
        }
        Did::Arrives(message, changed) => {
            let run = id_of(usize::from(message.slot));
            let what = wants(&message);
            if changed {
                format!("The late order of {run} arrives and is carried out: {what}.")
            } else {
                format!("The late order of {run} arrives ({what}) and changes nothing.")
            }
        }
        Did::Dies => "The bot is killed.".to_owned(),
        Did::Starts => "The bot starts again.".to_owned(),
        Did::Vote(slot, who) => format!("{} agrees to {}.", who.name(), id_of(slot)),
        Did::Denied(slot) => format!("Ben denies {}.", id_of(slot)),
        Did::Cancelled(slot) => format!("Amal cancels {}.", id_of(slot)),
        Did::Hours => "Two hours pass.".to_owned(),
        Did::Redeployed(service) => format!("Somebody deploys {} 1.5 by hand.", NAMES[service]),
        Did::Removed(service) => format!("Somebody removes the container of {}.", NAMES[service]),
        Did::Way(slot, way) => format!("People choose to {} {}.", WAYS[usize::from(way)].as_str(), id_of(slot)),
        Did::RightLost => "While it is down, Amal loses the right to ask for this.".to_owned(),
    })
}

fn wrote(real: &Real, slot: usize, event: u32, wrong: bool) -> Option<String> {
    let run = id_of(slot);
    let of = |step: &usize| format!("step {}", step + 1);
    Some(match real.event(event) {
        Event::Planned { .. } => format!("The plan of {run} is on record, and who has to agree is asked."),
        Event::RunClaimed { .. } => format!("{run} takes the stack."),
        Event::Passed { .. } => format!("{run} may act."),
        // An order says it.
        Event::StepIntent { .. } | Event::UndoIntent { .. } if !wrong => return None,
        Event::StepIntent { step } => format!("{run} begins {}.", of(step)),
        Event::UndoIntent { step } => format!("{run} wants to take back {}.", of(step)),
        Event::StepDone { step, .. } => format!("On record: {} of {run} is done.", of(step)),
        Event::StepFailed { step, .. } => format!("On record: {} of {run} failed.", of(step)),
        Event::UndoBegun { .. } => format!("{run} turns back."),
        Event::UndoDone { step } => format!("On record: {} of {run} is taken back.", of(step)),
        Event::Stuck { .. } => format!("{run} is stuck and calls a person."),
        Event::Ended { outcome } => match outcome {
            Outcome::Done => format!("{run} ends: done."),
            Outcome::Undone { .. } => format!("{run} ends: undone."),
            Outcome::Accepted { .. } => format!("{run} ends: it is now so."),
            Outcome::Expired => format!("{run} ends: expired."),
            Outcome::Refused { why, .. } => format!("{run} is refused: {why}"),
            Outcome::Void { .. } => format!("{run} ends: void."),
            Outcome::Cancelled { .. } => format!("{run} ends: cancelled."),
            Outcome::Denied { .. } => format!("{run} ends: denied."),
            Outcome::DryRun => return None,
        },
        _ => return None,
    })
}

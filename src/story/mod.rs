//! From records to what people are told. Pure: the same records always give the same story, so a thread can be
//! told again at any time (`/runs show`), and a message that was not delivered is made again from the log.
//!
//! `en` holds one function for each message; another language is another file with the same functions.

pub mod en;

use jiff::Timestamp;

use crate::domain::card::Card;
use crate::domain::event::{Event, Outcome};
use crate::domain::ids::Position;
use crate::domain::run::RunState;

/// How a message appears in the run's thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// The head of the thread.
    Post,
    /// The message with that key changes.
    Edit,
    /// A lasting message.
    Reply,
    /// A lasting message with buttons.
    Ask,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// How.
    pub how: How,
    /// The message's key: `r42/card`, `r42/57`.
    pub key: String,
    /// What.
    pub card: Card,
}

/// Key of a run's own card.
pub fn card_key(run: &RunState) -> String {
    format!("{}/card", run.id)
}

/// What one record of a run gives to say; `run` is the state after it.
pub fn tell(run: &RunState, position: Position, at: Timestamp, event: &Event) -> Vec<Told> {
    if !run.has_thread() {
        return Vec::new();
    }
    let reply = |card: Card| Told { how: How::Reply, key: format!("{}/{position}", run.id), card };
    let edit = || Told { how: How::Edit, key: card_key(run), card: en::run_card(run, at, None) };
    let question = |how: How| {
        run.approval.as_ref().map(|a| Told { how, key: format!("{}/{}", run.id, a.id), card: en::question(run, a) })
    };
    let mut out = Vec::new();
    match event {
        Event::Planned { .. } => {
            out.push(Told { how: How::Post, key: card_key(run), card: en::run_card(run, at, None) });
        }
        Event::ApprovalAsked { .. } => {
            out.push(edit());
            out.extend(question(How::Ask));
        }
        Event::Approved { by, reason, .. } => {
            out.push(reply(en::voted(run, by, reason)));
            out.extend(question(How::Edit));
        }
        Event::StepFailed { step, why } => {
            out.push(edit());
            out.push(reply(en::step_failed(run, *step, why)));
        }
        Event::Stuck { .. } => {
            out.push(edit());
            out.push(reply(en::stuck(run)));
        }
        Event::CancelAsked { by } => {
            out.push(edit());
            out.push(reply(en::cancel_asked(by)));
        }
        Event::Resolved { way, by } => {
            out.push(edit());
            out.push(reply(en::resolved(*way, *by)));
        }
        Event::Resumed => {
            out.push(edit());
            out.push(reply(en::resumed(run)));
        }
        Event::Ended { outcome } => {
            out.push(edit());
            if run.approval.is_some()
                && !matches!(outcome, Outcome::Done | Outcome::Undone { .. } | Outcome::Accepted { .. })
            {
                out.extend(question(How::Edit));
            }
            out.push(reply(en::ended(run, outcome, at)));
        }
        Event::Granted { .. } => {
            out.push(edit());
            out.extend(question(How::Edit));
        }
        Event::RunClaimed { .. }
        | Event::Passed { .. }
        | Event::StepIntent { .. }
        | Event::StepDone { .. }
        | Event::UndoBegun { .. }
        | Event::UndoIntent { .. }
        | Event::UndoDone { .. } => out.push(edit()),
        Event::Genesis { .. }
        | Event::Started { .. }
        | Event::Stopped
        | Event::NewEpoch { .. }
        | Event::IndexRebuilt { .. }
        | Event::Checkpoint { .. }
        | Event::Invoked { .. }
        | Event::Said { .. }
        | Event::Refused { .. }
        | Event::RefusalsCounted { .. }
        | Event::ReleaseSeen { .. }
        | Event::ReleaseProven { .. }
        | Event::ReleaseLeft { .. }
        | Event::ReleaseBack { .. } => {}
    }
    out
}

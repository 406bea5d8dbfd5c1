//! What is said about a run that exists: approve, deny, cancel. Decided on the state as of one position and written only
//! if nothing has been written since, so that two people at the same moment never both give the last vote.

use std::sync::Arc;

use super::core::{DECIDE_TRIES, cannot_read, cannot_record};
use super::{Core, conductor, intake};
use crate::command::{Builtin, Request, Value};
use crate::domain::actor::{Actor, Person};
use crate::domain::card::{Card, Tone, code, strong, text};
use crate::domain::event::Event;
use crate::domain::ids::ApprovalId;
use crate::domain::invocation::Invocation;
use crate::domain::names::RoleName;
use crate::domain::run::RunState;
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::gate::votes;
use crate::store::AppendError;

/// Judges and records it, then sets the run going again if that was what it waited for.
///
/// # Errors
/// Why it does not count.
pub async fn about_a_run(
    core: &Arc<Core>,
    invocation: &Invocation,
    person: Option<&Person>,
    what: Builtin,
    request: &Request,
) -> Result<(), Trouble> {
    let person = person
        .ok_or_else(|| Trouble::new(TroubleKind::Denied, "An account that is linked to nobody may only look."))?;
    let reason = request.reason.as_deref().unwrap_or_default();
    if core.log.seen(&invocation.event).map_err(|e| cannot_read(&e))?.is_some() {
        // The same delivery once more: it counts already, and is no second vote to be refused.
        let (run, _) = subject(core, what, request)?;
        core.answer(invocation, heard(what, &run, false)).await;
        return Ok(());
    }
    for _ in 0..DECIDE_TRIES {
        let head = core.log.head();
        let (run, approval) = subject(core, what, request)?;
        let now = core.clock.now();
        let events = match (what, approval) {
            (Builtin::Approve, Some(id)) => votes::approve(&run, id, person, &invocation.account, reason, now)?,
            (Builtin::Deny, Some(id)) => vec![votes::deny(&run, id, person, reason, now)?],
            _ => vec![votes::cancel(&run, person, &cancelled_by(core, &run))?],
        };
        let granted = events.iter().any(|e| matches!(e, Event::Granted { .. }));
        let ended = events.iter().any(|e| matches!(e, Event::Ended { .. }));
        let mut all =
            vec![Event::Said { invocation: invocation.clone(), actor: Some(Actor::Person(person.id.clone())) }];
        all.extend(events);
        match core.log.append(Some(head.position), core.drafts(run.id, all)).await {
            Ok(_) => {
                core.answer(invocation, heard(what, &run, granted)).await;
                if granted && !ended {
                    conductor::go_on(core, run.id, Some(invocation.clone()));
                }
                return Ok(());
            }
            // Somebody wrote in between: look again.
            Err(AppendError::Moved(_) | AppendError::CannotFollow(_)) => {}
            // The same delivery once more: it counts already.
            Err(AppendError::Duplicate(_)) => {
                core.answer(invocation, heard(what, &run, false)).await;
                return Ok(());
            }
            Err(error) => return Err(cannot_record(&error)),
        }
    }
    Err(cannot_record(&AppendError::Busy))
}

fn subject(core: &Core, what: Builtin, request: &Request) -> Result<(RunState, Option<ApprovalId>), Trouble> {
    if what == Builtin::Cancel {
        return Ok((intake::named_run(core, request)?, None));
    }
    let Some(Value::Approval(id)) = request.arguments.get("approval") else {
        return Err(Trouble::usage("It does not say which approval.")
            .say("As in a45; in a run's thread it may be left out.")
            .try_this("/runs list"));
    };
    let run = core.log.run_of_approval(*id).map_err(|e| cannot_read(&e))?;
    run.map(|run| (run, Some(*id))).ok_or_else(|| {
        Trouble::new(TroubleKind::NotFound, format!("There is no approval {id}.")).try_this("/runs list")
    })
}

/// The role that may cancel beside the requester: the one that may approve it, `approver` when none was asked.
fn cancelled_by(core: &Core, run: &RunState) -> RoleName {
    let asked = run.approval.as_ref().map(|a| a.needs.role.clone());
    asked
        .or_else(|| {
            let request = conductor::understand(core, run).ok()?;
            request.spec.approval.as_ref().map(|a| a.from.clone())
        })
        .unwrap_or_else(approver)
}

fn heard(what: Builtin, run: &RunState, granted: bool) -> Card {
    let words = match what {
        Builtin::Approve if granted => "your vote counts, and was the last one needed: ",
        Builtin::Approve => "your vote counts: ",
        Builtin::Deny => "denied: ",
        _ if run.holds_claim() => "cancelled, it goes back at the next safe point: ",
        _ => "cancelled: ",
    };
    Card::new(Tone::Plain, vec![text(words), code(run.id), text(" "), strong(&run.command)])
}

/// Who may cancel what nobody has to approve.
fn approver() -> RoleName {
    RoleName::parse("approver").expect("a fixed name that is valid")
}

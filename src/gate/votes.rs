//! Who may agree, disagree and take back. Votes count persons, never accounts, and never the requester.

use jiff::Timestamp;

use crate::domain::actor::{Account, Actor, Person, Surface};
use crate::domain::event::{Event, Outcome};
use crate::domain::ids::ApprovalId;
use crate::domain::run::{Approval, RunState, Status};
use crate::domain::trouble::{Trouble, TroubleKind};

fn denied(message: String) -> Trouble {
    Trouble::new(TroubleKind::Denied, message)
}

/// The question that is open under this id, or why none is.
fn open(run: &RunState, id: ApprovalId, now: Timestamp) -> Result<&Approval, Trouble> {
    let gone = |why: String| Trouble::new(TroubleKind::NotFound, why).try_this(format!("/runs show {}", run.id));
    let Some(approval) = run.approval.as_ref().filter(|a| a.id == id) else {
        return Err(gone(format!("{id} is not a question of {}.", run.id)));
    };
    if approval.granted.is_some() {
        return Err(gone(format!("{id} was decided already: agreed.")));
    }
    match &run.status {
        Status::Planned if now < approval.expires => Ok(approval),
        Status::Planned => Err(gone(format!("{id} has expired. Nothing was done."))),
        Status::Ended { outcome: Outcome::Denied { by, .. }, .. } => Err(gone(format!("{id} was denied by {by}."))),
        Status::Ended { outcome: Outcome::Expired, .. } => Err(gone(format!("{id} has expired. Nothing was done."))),
        Status::Ended { outcome: Outcome::Cancelled { by }, .. } => Err(gone(format!("{id} was cancelled by {by}."))),
        _ => Err(gone(format!("{id} is no longer open."))),
    }
}

/// The records of a vote for it; with the last vote that is needed also the one that grants it.
///
/// # Errors
/// Why this vote does not count; nothing is recorded but the refusal.
pub fn approve(
    run: &RunState,
    id: ApprovalId,
    person: &Person,
    account: &Account,
    reason: &str,
    now: Timestamp,
) -> Result<Vec<Event>, Trouble> {
    let approval = open(run, id, now)?;
    if run.requester == Actor::Person(person.id.clone()) {
        return Err(denied(format!("You asked for {}, so somebody else has to approve it.", run.id)).say(format!(
            "It waits for a vote from {} until {}.",
            approval.needs.role,
            crate::story::en::clock_time(approval.expires)
        )));
    }
    if !person.roles.contains(&approval.needs.role) {
        return Err(denied(format!("{id} wants a vote from {}, which is not among your roles.", approval.needs.role)));
    }
    if approval.votes.iter().any(|v| v.by == person.id) {
        return Err(denied(format!("Your vote for {id} counts already, and counts once.")));
    }
    if account.surface == Surface::Console && approval.votes.iter().any(|v| v.account.surface == Surface::Console) {
        return Err(denied(format!("All votes from consoles count as one, and {id} has one already."))
            .say("Whoever is root on the host could be anybody there: the next vote has to come from a chat."));
    }
    let mut events = vec![Event::Approved {
        approval: id,
        plan_hash: approval.plan_hash.clone(),
        by: person.id.clone(),
        account: account.clone(),
        reason: reason.to_owned(),
    }];
    if approval.votes.len() as u64 + 1 >= u64::from(approval.needs.count) {
        events.push(Event::Granted { approval: id });
    }
    Ok(events)
}

/// The record that ends the request: one denial is enough. Whoever may approve may deny, the requester included
/// (that is a `/cancel`).
///
/// # Errors
/// Why this denial does not count.
pub fn deny(run: &RunState, id: ApprovalId, person: &Person, reason: &str, now: Timestamp) -> Result<Event, Trouble> {
    let approval = open(run, id, now)?;
    if !person.roles.contains(&approval.needs.role) {
        return Err(denied(format!("{id} can be denied by {}, which is not among your roles.", approval.needs.role)));
    }
    Ok(Event::Ended { outcome: Outcome::Denied { by: person.id.clone(), reason: reason.to_owned() } })
}

/// What a cancel comes to: before the claim it ends the request, afterwards it asks for the way back (decision 19).
/// For the requester and for whoever may approve it.
///
/// # Errors
/// Why it cannot be cancelled by this person or any more.
pub fn cancel(run: &RunState, person: &Person, approver: &crate::domain::names::RoleName) -> Result<Event, Trouble> {
    let own = run.requester == Actor::Person(person.id.clone());
    if !own && !person.roles.contains(approver) {
        return Err(denied(format!("{} can be cancelled by {} or by {approver}.", run.id, run.requester)));
    }
    let show = format!("/runs show {}", run.id);
    match &run.status {
        Status::Requested | Status::Planned => {
            Ok(Event::Ended { outcome: Outcome::Cancelled { by: person.id.clone() } })
        }
        Status::Running if let Some((step, why)) = run.past_return() => Err(Trouble::new(
            TroubleKind::Busy,
            format!("{} has done step {}, which cannot be taken back: {why}. It goes on to its end.", run.id, step + 1),
        )
        .try_this(show)),
        Status::Claimed | Status::Running if run.cancel.is_none() => Ok(Event::CancelAsked { by: person.id.clone() }),
        Status::Claimed | Status::Running => {
            Err(Trouble::new(TroubleKind::Busy, format!("{} is being cancelled already.", run.id)).try_this(show))
        }
        Status::Undoing { .. } => {
            Err(Trouble::new(TroubleKind::Busy, format!("{} is on its way back already.", run.id)).try_this(show))
        }
        Status::Stuck { .. } => Err(Trouble::new(TroubleKind::Busy, format!("{} is stuck; choose a way out.", run.id))
            .try_this(format!("/runs undo {}", run.id))
            .try_this(format!("/runs retry {}", run.id))),
        Status::Ended { .. } => {
            Err(Trouble::new(TroubleKind::NotFound, format!("{} has ended already.", run.id)).try_this(show))
        }
    }
}

//! From what was heard to what is on record: the door, understanding, screening, and the accepted request.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};

use super::Core;
use super::core::{cannot_read, cannot_record};
use super::{conductor, queries, said};
use crate::clock::closed;
use crate::command::{Action, Builtin, RateLimit, Request, TargetWord, Value, resolve_at};
use crate::config::stack::Stack;
use crate::domain::actor::{Actor, Person};
use crate::domain::event::Event;
use crate::domain::ids::RunId;
use crate::domain::invocation::Invocation;
use crate::domain::names::Target;
use crate::domain::release::Wanted;
use crate::domain::run::RunState;
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::gate;
use crate::store::{About, AppendError, Draft};
use crate::story::en;

/// Invocations judged at the same time; more wait in the queue.
const AT_ONCE: usize = 32;

/// Takes invocations from the queue until it is closed or the bot shuts down.
pub async fn serve(core: Arc<Core>, mut queue: mpsc::Receiver<Invocation>) {
    let room = Arc::new(Semaphore::new(AT_ONCE));
    let mut closing = core.closing.clone();
    loop {
        let invocation = tokio::select! {
            next = queue.recv() => match next { Some(i) => i, None => return },
            () = closed(&mut closing) => return,
        };
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let core = Arc::clone(&core);
        let tasks = core.tasks.clone();
        tasks.spawn(async move {
            handle(&core, invocation).await;
            drop(permit);
        });
    }
}

/// Judges one invocation and answers it.
pub async fn handle(core: &Arc<Core>, invocation: Invocation) {
    if let Err(wait) = core.limits.door(&invocation.account) {
        // Nothing is dropped silently: each is answered, and one record counts them.
        let trouble = too_often(wait);
        if first_of_its_kind(core, &invocation, "door") {
            core.refuse(&invocation, &trouble).await;
        } else {
            core.answer(&invocation, trouble.to_card()).await;
        }
        return;
    }
    if let Err(trouble) = understood(core, &invocation).await {
        match trouble.kind {
            // A typo is answered, not recorded; a refusal is both.
            TroubleKind::Usage | TroubleKind::NotFound | TroubleKind::Internal => {
                core.answer(&invocation, trouble.to_card()).await;
            }
            TroubleKind::Busy | TroubleKind::Unavailable => core.refuse(&invocation, &trouble).await,
            TroubleKind::Denied | TroubleKind::Limited => {
                let same = if trouble.kind == TroubleKind::Limited { "limit" } else { &trouble.message };
                if first_of_its_kind(core, &invocation, same) {
                    core.refuse(&invocation, &trouble).await;
                } else {
                    core.answer(&invocation, trouble.to_card()).await;
                }
            }
        }
    }
}

/// Whether this refusal is worth a record of its own; the same ones that follow are counted (decision 13).
fn first_of_its_kind(core: &Core, invocation: &Invocation, same: &str) -> bool {
    core.limits.count(&invocation.account, same, &crate::domain::text::visible(&invocation.text))
}

/// `12 s`, `2:05 min`; rounded up, so that it is not too early.
fn wait_words(wait: Duration) -> String {
    let s = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(u64::MAX).max(1);
    if s < 60 { format!("{s} s") } else { en::milliseconds(s.saturating_mul(1000)) }
}

fn too_often(wait: Duration) -> Trouble {
    Trouble::new(TroubleKind::Limited, format!("That was too often. Try again in {}.", wait_words(wait)))
}

fn slow(limit: Duration) -> Trouble {
    Trouble::new(TroubleKind::Unavailable, format!("No answer within {} s; the host is slow or away.", limit.as_secs()))
        .say("Nothing was done. Try again, or look at the host.")
}

async fn understood(core: &Arc<Core>, invocation: &Invocation) -> Result<(), Trouble> {
    let mut request = core.catalogue.parse(&invocation.text)?;
    fill_from_thread(core, &mut request, invocation.place.thread);
    let person = core.person(&invocation.account);
    gate::screen(&request.policy, &invocation.account, person)?;
    if !core.config.allowed_in(&invocation.place, request.command.as_str()) {
        return Err(Trouble::new(TroubleKind::Denied, format!("/{} cannot be said in this channel.", request.command)));
    }
    if let Some(rate) = rate_limit(core, &request) {
        let who = person.map_or_else(|| invocation.account.to_string(), |p| p.id.to_string());
        core.limits.command(&who, request.command.as_str(), rate).map_err(too_often)?;
    }
    match &request.spec.action {
        _ if request.dry_run => begin(core, invocation, person, &request).await,
        Action::Query(query) => {
            let limit = Duration::from_secs(request.policy.limit_s);
            let looking = queries::answer(core, invocation, *query, &request);
            let card = tokio::time::timeout(limit, looking).await.map_err(|_| slow(limit))??;
            core.answer(invocation, card).await;
            Ok(())
        }
        Action::Procedure(_) => begin(core, invocation, person, &request).await,
        Action::Builtin(builtin @ (Builtin::RunsRetry | Builtin::RunsUndo | Builtin::RunsAccept)) => {
            super::ways_out::check(core, &request, *builtin)?;
            begin(core, invocation, person, &request).await
        }
        Action::Builtin(builtin @ (Builtin::Approve | Builtin::Deny | Builtin::Cancel)) => {
            said::about_a_run(core, invocation, person, *builtin, &request).await
        }
    }
}

/// Puts an accepted request on record and sets it going. The first visible answer follows the durable record.
async fn begin(
    core: &Arc<Core>,
    invocation: &Invocation,
    person: Option<&Person>,
    request: &Request,
) -> Result<(), Trouble> {
    let actor = match person {
        Some(person) => Actor::Person(person.id.clone()),
        None => return Err(Trouble::new(TroubleKind::Denied, "An account that is linked to nobody may only look.")),
    };
    let target = target_of(core, invocation, request)?;
    let dry_run = request.dry_run;
    let event =
        Event::Invoked { invocation: invocation.clone(), actor, command: request.command.to_string(), target, dry_run };
    let draft = Draft { about: About::NewRun, at: core.clock.now(), event };
    match core.log.append(None, vec![draft]).await {
        Ok(written) => {
            let Some(first) = written.first() else { return Ok(()) };
            let run = RunId(first.position);
            if !dry_run {
                core.answer(invocation, en::accepted(run, &request.command.to_string())).await;
            }
            conductor::go_on(core, run, Some(invocation.clone()));
            Ok(())
        }
        Err(AppendError::Duplicate(position)) => {
            // The same delivery once more: the same answer, and nothing else.
            if core.log.run(RunId(position)).ok().flatten().is_some() {
                core.answer(invocation, en::accepted(RunId(position), &request.command.to_string())).await;
            }
            Ok(())
        }
        Err(error) => Err(cannot_record(&error)),
    }
}

/// Shows a dry run's plan to whoever asked. One that was refused was answered with why.
pub async fn show_plan(core: &Core, run: RunId, invocation: Option<&Invocation>) {
    let Ok(Some(state)) = core.log.run(run) else { return };
    if !(state.dry_run && state.ended() && state.plan.is_some()) {
        return;
    }
    let Some(invocation) = invocation.cloned().or_else(|| conductor::asked_in(core, run)) else { return };
    let mut card = en::run_card(&state, core.clock.now(), None);
    if let Ok(request) = conductor::understand(core, &state) {
        let wet = Request { dry_run: false, policy: request.spec.clone(), ..request };
        card = card.button("Do it", wet.line());
    }
    core.answer(&invocation, card).await;
}

/// Which stack on which host: said outright (`api@shop`), or bound to the place.
fn target_of(core: &Core, invocation: &Invocation, request: &Request) -> Result<Option<Target>, Trouble> {
    let Some(word) = request.arguments.service("service") else {
        return Ok(run_argument(request).and_then(|id| core.log.run(id).ok().flatten()).and_then(|r| r.target));
    };
    stack_for(core, invocation, word.stack.as_ref()).map(|stack| Some(stack.target()))
}

/// The stack meant.
///
/// # Errors
/// When no such stack is configured, or the place has none and none was said.
pub fn stack_for<'c>(
    core: &'c Core,
    invocation: &Invocation,
    said: Option<&crate::domain::names::StackName>,
) -> Result<&'c Stack, Trouble> {
    let known = || core.config.stacks.iter().map(|s| s.name.to_string()).collect::<Vec<_>>().join(", ");
    match said {
        Some(name) => core.config.stack(name).ok_or_else(|| {
            Trouble::new(TroubleKind::NotFound, format!("No stack is called {name}."))
                .say(format!("There is: {}.", known()))
                .try_this("/status")
        }),
        None => core.config.stack_of(&invocation.place).ok_or_else(|| {
            Trouble::usage("This channel has no stack of its own; say which.")
                .say(format!("As in api@NAME. There is: {}.", known()))
        }),
    }
}

/// The stricter of command file and config.
fn rate_limit(core: &Core, request: &Request) -> Option<RateLimit> {
    let by_config = core.config.limit_of(request.command.as_str()).map(|count| RateLimit { count, per_s: 60 });
    let per_hour = |r: &RateLimit| u64::from(r.count) * 3_600 / r.per_s.max(1);
    [request.policy.rate, by_config].into_iter().flatten().min_by_key(per_hour)
}

fn run_argument(request: &Request) -> Option<RunId> {
    match request.arguments.get("run") {
        Some(Value::Run(id)) => Some(*id),
        _ => None,
    }
}

/// In a run's thread, run and approval may be left out.
pub fn fill_from_thread(core: &Core, request: &mut Request, thread: Option<RunId>) {
    let Some(thread) = thread else { return };
    if request.spec.argument("run").is_some() && request.arguments.get("run").is_none() {
        request.arguments.set("run", Value::Run(thread));
    }
    if request.spec.argument("approval").is_some()
        && request.arguments.get("approval").is_none()
        && let Ok(Some(run)) = core.log.run(thread)
        && let Some(approval) = &run.approval
    {
        request.arguments.set("approval", Value::Approval(approval.id));
    }
}

/// A release target in the words of `domain::release`; a time of day is the requester's, as of when they asked.
///
/// # Errors
/// When that moment does not exist.
pub fn wanted(core: &Core, run: &RunState, word: &TargetWord) -> Result<Wanted, Trouble> {
    match word {
        TargetWord::Named(wanted) => Ok(wanted.clone()),
        TargetWord::At(moment) => {
            let zone = match &run.requester {
                Actor::Person(id) => core.config.zone_of(id).clone(),
                Actor::Trigger(_) | Actor::System => core.config.sternway.zone.clone(),
            };
            resolve_at(moment, run.asked, &zone).map(Wanted::At)
        }
    }
}

/// The run that was named or whose thread this is.
///
/// # Errors
/// When there is none.
pub fn named_run(core: &Core, request: &Request) -> Result<RunState, Trouble> {
    let id = run_argument(request).ok_or_else(|| {
        Trouble::usage("It does not say which run.")
            .say("As in r42; in a run's thread it may be left out.")
            .try_this("/runs list")
    })?;
    core.log
        .run(id)
        .map_err(|e| cannot_read(&e))?
        .ok_or_else(|| Trouble::new(TroubleKind::NotFound, format!("There is no run {id}.")).try_this("/runs list"))
}

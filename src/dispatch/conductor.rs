//! Takes a request from one standstill to the next: planned, asked, claimed, passed, driven. Everything it needs is in
//! the log, so the same function carries on after a restart.

use std::sync::Arc;
use std::time::Duration;

use super::Core;
use super::core::cannot_record;
use crate::clock::closed;
use crate::command::{Action, ApprovalRule, Request, StepKind, Value, Waived};
use crate::config::approvals::{ApprovalNeeds, Waive};
use crate::domain::actor::Actor;
use crate::domain::event::{Event, Needs, Outcome};
use crate::domain::ids::{Position, RunId};
use crate::domain::invocation::Invocation;
use crate::domain::plan::{Plan, PlanNotes, Settings};
use crate::domain::run::{RunState, Status};
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::gate;
use crate::procedures::driver::{Driver, Drove};
use crate::procedures::planner::{self, Ask};
use crate::procedures::prune;
use crate::store::{About, AppendError, Draft};

/// How long a request waits for its stack when asked to.
const WAIT_MAX: Duration = Duration::from_mins(30);

/// How long after it was asked for a request may begin that needs nobody's approval: the longest wait for a stack, and some.
const ACTS_WITHIN: Duration = Duration::from_mins(45);

/// Records set aside for a run beyond those of its steps: claim, pass, votes, resumes, end.
const RECORDS_BESIDE_STEPS: usize = 32;

/// Records one step can come to: intent, done or failed, undo intent, undo done.
const RECORDS_PER_STEP: usize = 4;

/// Times people are asked again by themselves when the world moved; after that somebody has to ask.
const ASKED_AGAIN_MAX: usize = 3;

/// Stands before the delivery key of what was asked again, once for each time.
const AGAIN: &str = "again:";

/// How often an index that cannot be read is asked again: the log builds it anew beside us, and whoever asked still
/// waits for an answer.
const READ_TRIES: u32 = 10;

/// Between two of these tries.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// Why a request stops where it is.
enum Stop {
    /// Until something happens that wakes it.
    Here,
    /// For good, with this refusal on record.
    Refused(Trouble),
    /// The record could not be written.
    Unwritten(AppendError),
}

impl From<AppendError> for Stop {
    fn from(error: AppendError) -> Self {
        Stop::Unwritten(error)
    }
}

impl From<Trouble> for Stop {
    fn from(trouble: Trouble) -> Self {
        Stop::Refused(trouble)
    }
}

/// Takes the run as far as it can go, in a task of its own. Does nothing when another task does already.
pub fn go_on(core: &Arc<Core>, run: RunId, invocation: Option<Invocation>) {
    if core.is_closing() || !core.take(run) {
        return;
    }
    let core = Arc::clone(core);
    let tasks = core.tasks.clone();
    tasks.spawn(async move {
        use tracing::Instrument;
        let span = tracing::info_span!("run", run.id = %run);
        let seen = advance(&core, run, invocation.as_ref()).instrument(span).await;
        super::intake::show_plan(&core, run, invocation.as_ref()).await;
        core.release(run);
        // Something may have come between the last look and the release, such as the last vote. When nothing has, the
        // run stopped for another reason, such as a log that cannot be written, and the next tick tries again.
        if let Ok(Some(state)) = core.log.run(run)
            && Some(state.last) != seen
            && matches!(state.status, Status::Planned)
            && state.agreed()
            && !state.dry_run
        {
            go_on(&core, run, invocation);
        }
    });
}

/// The words that a run began with.
pub(super) fn asked_in(core: &Core, id: RunId) -> Option<Invocation> {
    match core.log.read(id.0, 1).ok()?.pop()?.event {
        Event::Invoked { invocation, .. } => Some(invocation),
        _ => None,
    }
}

/// Gives the run's last record at the last look.
async fn advance(core: &Arc<Core>, id: RunId, invocation: Option<&Invocation>) -> Option<Position> {
    let mut unread = 0;
    loop {
        let run = match core.log.run(id) {
            Ok(Some(run)) => run,
            Ok(None) => return None,
            Err(error) if unread < READ_TRIES => {
                tracing::warn!(%error, "the run cannot be read; trying again");
                unread += 1;
                core.clock.sleep(READ_PAUSE).await;
                continue;
            }
            Err(error) => {
                tracing::error!(%error, "the run cannot be read");
                if let Some(invocation) = invocation {
                    core.answer(invocation, super::core::cannot_read(&error).to_card()).await;
                }
                return None;
            }
        };
        let seen = Some(run.last);
        match step(core, &run).await {
            Ok(()) => {}
            Err(Stop::Here) => return seen,
            Err(Stop::Refused(trouble)) => {
                let outcome = Outcome::Refused { kind: trouble.kind.as_str().to_owned(), why: trouble.message.clone() };
                if let Err(error) = core.record(id, vec![Event::Ended { outcome }]).await {
                    tracing::error!(%error, "a refusal could not be recorded");
                }
                // Without a plan there is no thread that tells it, so whoever asked is told, a restart later too.
                let on_record = || if run.plan.is_none() { asked_in(core, id) } else { None };
                if let Some(invocation) = invocation.cloned().or_else(on_record) {
                    core.answer(&invocation, trouble.to_card()).await;
                }
                return seen;
            }
            Err(Stop::Unwritten(error)) => {
                tracing::error!(%error, "the run stops here: the record cannot be written");
                if let Some(invocation) = invocation {
                    core.answer(invocation, cannot_record(&error).to_card()).await;
                }
                return seen;
            }
        }
    }
}

/// One step further.
async fn step(core: &Arc<Core>, run: &RunState) -> Result<(), Stop> {
    match &run.status {
        Status::Requested => plan(core, run).await,
        Status::Planned => claim(core, run).await,
        Status::Claimed => pass(core, run).await,
        Status::Running | Status::Undoing { .. } | Status::Stuck { .. } => {
            let pass = gate::pass_again(run).ok_or(Stop::Here)?;
            drive(core, run, pass).await
        }
        Status::Ended { .. } => Err(Stop::Here),
    }
}

/// Understands the words of a request again; they are on record.
pub fn understand(core: &Core, run: &RunState) -> Result<Request, Trouble> {
    let mut request = core.catalogue.parse(&run.words)?;
    super::intake::fill_from_thread(core, &mut request, run.place.thread);
    Ok(request)
}

/// The approval a request needs: the stricter of command file and config.
fn approval_rule(core: &Core, request: &Request) -> Option<ApprovalRule> {
    let by_file = request.spec.approval.as_ref().map(|rule| ApprovalNeeds {
        count: rule.count,
        from: rule.from.clone(),
        waive: match rule.waived {
            Waived::Never => Waive::Never,
            Waived::ProvenRelease => Waive::ProvenRelease,
        },
        expires: Duration::from_secs(rule.expires_s),
    });
    let needs = core.config.approval_needs(request.command.as_str(), by_file)?;
    Some(ApprovalRule {
        from: needs.from,
        count: needs.count,
        waived: match needs.waive {
            Waive::Never => Waived::Never,
            Waive::ProvenRelease => Waived::ProvenRelease,
        },
        expires_s: needs.expires.as_secs(),
    })
}

async fn plan(core: &Arc<Core>, run: &RunState) -> Result<(), Stop> {
    let request = understand(core, run)?;
    if !run.dry_run && !matches!(request.spec.action, Action::Builtin(_)) {
        wait_for_stack(core, run, &request).await?;
    }
    let (plan, notes) = {
        let _turn = core.turn_at_planning().await?;
        prepare(core, run, &request).await?
    };
    let hash =
        plan.hash().map_err(|e| Trouble::new(TroubleKind::Internal, format!("the plan cannot be hashed: {e}")))?;
    let mut rule = approval_rule(core, &request);
    if asked_in(core, run.id).is_some_and(|i| i.event.starts_with(AGAIN))
        && let Some(rule) = &mut rule
    {
        // The world moved under a plan that people knew; the new one goes nowhere unseen.
        rule.waived = Waived::Never;
    }
    let mut events = vec![Event::Planned { plan: Box::new(plan.clone()), hash: hash.clone(), notes: notes.clone() }];
    if run.dry_run {
        events.push(Event::Ended { outcome: Outcome::DryRun });
    } else if let Some(rule) = gate::admit(&plan, &notes, rule.as_ref()) {
        let expires = core.clock.now().checked_add(Duration::from_secs(rule.expires_s)).unwrap_or(jiff::Timestamp::MAX);
        let needs = Needs { role: rule.from.clone(), count: rule.count };
        events.push(Event::ApprovalAsked { plan_hash: hash, needs, expires });
    }
    core.record(run.id, events).await?;
    Ok(())
}

/// The plan for a request as the world is now.
async fn prepare(core: &Core, run: &RunState, request: &Request) -> Result<(Plan, PlanNotes), Trouble> {
    match &request.spec.action {
        Action::Procedure(_) | Action::Query(_) => {
            let ask = ask_of(core, run, request)?;
            let host = core.host(&ask.target.host)?;
            let history = core.log.history(&ask.target, &ask.service).map_err(|e| super::core::cannot_read(&e))?;
            if ask.steps.contains(&StepKind::ReleasePins) {
                let keep = usize::try_from(core.config.sternway.keep_releases).unwrap_or(usize::MAX);
                return prune::prepare(&ask, host.inspect.as_ref(), &history, keep).await;
            }
            let stack = ask.target.stack.clone();
            planner::prepare(&ask, host.inspect.as_ref(), &history, &move |s, c| core.rules(&stack, s, c)).await
        }
        Action::Builtin(_) => super::ways_out::prepare(core, run, request),
    }
}

/// The request with its names resolved to a target.
fn ask_of(core: &Core, run: &RunState, request: &Request) -> Result<Ask, Trouble> {
    let target = run.target.clone().ok_or_else(|| Trouble::usage("It does not say which stack."))?;
    let stack = core.config.stack(&target.stack).ok_or_else(|| {
        Trouble::new(TroubleKind::NotFound, format!("stack {} is no longer in the config.", target.stack))
    })?;
    let word = request.arguments.service("service").ok_or_else(|| Trouble::usage("It does not say which service."))?;
    let wanted = match request.arguments.target("to") {
        None => crate::domain::release::Wanted::Previous,
        Some(word) => super::intake::wanted(core, run, word)?,
    };
    let recorded = request.arguments.choice("with").is_some();
    let steps = match &request.spec.action {
        Action::Procedure(steps) => steps.clone(),
        Action::Query(_) | Action::Builtin(_) => Vec::new(),
    };
    Ok(Ask {
        target,
        project: stack.project.clone(),
        service: word.service.clone(),
        wanted,
        settings: if recorded { Settings::Recorded } else { Settings::Today },
        requester: run.requester.clone(),
        command: request.command.to_string(),
        arguments: request.arguments.to_texts(),
        reason: request.reason.clone().unwrap_or_default(),
        steps,
        limit_s: request.policy.limit_s,
        catalogue: core.catalogue.hash().to_owned(),
        policy: core.config.hash(),
    })
}

/// Returns when nobody else holds the stack; refuses when somebody does and the request does not want to wait.
async fn wait_for_stack(core: &Core, run: &RunState, request: &Request) -> Result<(), Stop> {
    let Some(target) = &run.target else { return Ok(()) };
    let waits = request.arguments.choice("and").is_some();
    let until = core.clock.now().checked_add(WAIT_MAX).unwrap_or(jiff::Timestamp::MAX);
    let mut moved = core.log.watch();
    let mut closing = core.closing.clone();
    loop {
        let holder = core.log.holder(target).map_err(|e| super::core::cannot_read(&e))?;
        let Some(holder) = holder.filter(|h| h.id != run.id) else { return Ok(()) };
        if !waits || matches!(holder.status, Status::Stuck { .. }) {
            return Err(Stop::Refused(held(core, run, &holder)));
        }
        if core.clock.now() >= until {
            return Err(Stop::Refused(held(core, run, &holder).say("It was waited for, in vain.")));
        }
        match core.log.run(run.id) {
            Ok(Some(now)) if now.ended() => return Err(Stop::Here),
            _ => {}
        }
        tokio::select! {
            _ = moved.changed() => {}
            () = core.clock.sleep(Duration::from_secs(5)) => {}
            () = closed(&mut closing) => return Err(Stop::Here),
        }
    }
}

/// Says who holds the stack and since when, and offers to wait.
fn held(core: &Core, run: &RunState, holder: &RunState) -> Trouble {
    let target = holder.target.as_ref().map_or_else(|| "the stack".to_owned(), ToString::to_string);
    let since = crate::story::en::duration(holder.began.unwrap_or(holder.asked), core.clock.now());
    let trouble = Trouble::new(
        TroubleKind::Busy,
        format!("{target} has been held by {} ({} by {}) for {since}.", holder.id, holder.command, holder.requester),
    );
    if matches!(holder.status, Status::Stuck { .. }) {
        return trouble.say("It is stuck and waits for a person.").try_this(format!("/runs show {}", holder.id));
    }
    let Ok(mut request) = understand(core, run) else { return trouble };
    request.arguments.set("and", Value::Choice("wait".to_owned()));
    let again = request.line();
    trouble.say("Wait for it, or look at it.").try_this(again).try_this(format!("/runs show {}", holder.id))
}

async fn claim(core: &Arc<Core>, run: &RunState) -> Result<(), Stop> {
    let Some(planned) = &run.plan else { return Err(Stop::Here) };
    if run.dry_run {
        core.record(run.id, vec![Event::Ended { outcome: Outcome::DryRun }]).await?;
        return Err(Stop::Here);
    }
    if let Some(open) = run.open_approval() {
        if core.clock.now() >= open.expires {
            core.record(run.id, vec![Event::Ended { outcome: Outcome::Expired }]).await?;
        }
        return Err(Stop::Here);
    }
    // Consent and request are for now: what was agreed to before a long down-time is asked for again (R10).
    let now = core.clock.now();
    let too_old = run.asked.checked_add(ACTS_WITHIN).is_ok_and(|until| now >= until);
    let lapsed = run.approval.as_ref().map_or(too_old, |a| now >= a.expires);
    if lapsed {
        core.record(run.id, vec![Event::Ended { outcome: Outcome::Expired }]).await?;
        return Err(Stop::Here);
    }
    may_still(core, run)?;
    if run.leads_out() {
        super::ways_out::lead_out(core, run, &planned.plan).await?;
        return Err(Stop::Here);
    }
    let room = planned.plan.steps.len() * RECORDS_PER_STEP + RECORDS_BESIDE_STEPS;
    core.log.reserve(room).map_err(|e| cannot_record(&e))?;
    let claim = Event::RunClaimed {
        target: planned.plan.target.clone(),
        plan_hash: planned.hash.clone(),
        approval: run.approval.as_ref().map(|a| a.id),
    };
    match core.record(run.id, vec![claim]).await {
        Ok(_) => Ok(()),
        Err(AppendError::CannotFollow(error)) => {
            let holder = core.log.holder(&planned.plan.target).ok().flatten().filter(|h| h.id != run.id);
            match holder {
                // Somebody was quicker: refused, or waited for if that was asked for.
                Some(_) => wait_for_stack(core, run, &understand(core, run)?).await,
                None => {
                    tracing::warn!(%error, "the claim was refused");
                    Err(Stop::Here)
                }
            }
        }
        Err(error) => Err(error.into()),
    }
}

/// After a wait the requester's right is asked anew: they may have lost the role since.
fn may_still(core: &Core, run: &RunState) -> Result<(), Trouble> {
    let Actor::Person(id) = &run.requester else { return Ok(()) };
    let request = understand(core, run)?;
    match core.config.person(id) {
        Some(person) if request.spec.who.includes(&person.roles) => Ok(()),
        _ => Err(Trouble::new(TroubleKind::Denied, format!("{id} may no longer ask for /{}.", run.command))),
    }
}

/// Makes the plan again under the claim; the same plan passes, another one is void and asked anew (decision 13).
async fn pass(core: &Arc<Core>, run: &RunState) -> Result<(), Stop> {
    if let Some(by) = &run.cancel {
        core.record(run.id, vec![Event::Ended { outcome: Outcome::Cancelled { by: by.clone() } }]).await?;
        return Err(Stop::Here);
    }
    let request = understand(core, run)?;
    let made = prepare(core, run, &request).await;
    let differences = match made {
        Ok((plan, _)) => match gate::pass(run, &plan) {
            Ok(pass) => {
                let plan_hash = run.plan.as_ref().map(|p| p.hash.clone()).unwrap_or_default();
                core.record(run.id, vec![Event::Passed { plan_hash }]).await?;
                return drive(core, run, pass).await;
            }
            Err(differences) => differences,
        },
        Err(trouble) => vec![trouble.message],
    };
    void(core, run, differences).await?;
    Err(Stop::Here)
}

/// Ends a run whose plan is no longer true, and in the same batch asks for the same thing once more, as a new run with a
/// new plan and a new question.
async fn void(core: &Arc<Core>, run: &RunState, mut differences: Vec<String>) -> Result<(), Stop> {
    let again = asked_in(core, run.id)
        .filter(|i| i.event.matches(AGAIN).count() < ASKED_AGAIN_MAX)
        .map(|i| Invocation { event: format!("{AGAIN}{}:{}", run.id, i.event), at: core.clock.now(), ..i });
    if again.is_none() {
        differences.push("it keeps moving: ask again when nobody deploys".to_owned());
    }
    let mut batch = core.drafts(run.id, vec![Event::Ended { outcome: Outcome::Void { differences } }]);
    if let Some(invocation) = &again {
        let event = Event::Invoked {
            invocation: invocation.clone(),
            actor: run.requester.clone(),
            command: run.command.clone(),
            target: run.target.clone(),
            dry_run: false,
        };
        batch.push(Draft { about: About::NewRun, at: core.clock.now(), event });
    }
    let written = core.log.append(None, batch).await?;
    if let (Some(invocation), Some(next)) = (again, written.get(1)) {
        go_on(core, RunId(next.position), Some(invocation));
    }
    Ok(())
}

async fn drive(core: &Arc<Core>, run: &RunState, pass: gate::Pass) -> Result<(), Stop> {
    let target = run.plan.as_ref().map(|p| p.plan.target.clone()).ok_or(Stop::Here)?;
    let Ok(host) = core.host(&target.host) else {
        tracing::error!(%target, "no agent for this host; the run stays as it is");
        return Err(Stop::Here);
    };
    let driver = Driver {
        log: Arc::clone(&core.log),
        act: Arc::clone(&host.act),
        clock: Arc::clone(&core.clock),
        epoch: core.epoch,
        progress: Arc::clone(&core.progress),
        closing: core.closing.clone(),
    };
    match driver.drive(pass).await {
        Drove::ToRest | Drove::Interrupted | Drove::Away => Err(Stop::Here),
    }
}

/// At start: every run that has not ended goes on where it stood. One that holds its stack first takes a new claim
/// (durability R4), before the doors open.
///
/// # Errors
/// When the log cannot be read.
pub async fn recover(core: &Arc<Core>) -> Result<usize, Trouble> {
    let open = core.log.open_runs().map_err(|e| super::core::cannot_read(&e))?;
    let count = open.len();
    for run in open {
        if matches!(run.status, Status::Stuck { .. }) && run.way.is_none() {
            continue; // it waits for a person, as before
        }
        if run.holds_claim() {
            if let Err(error) = core.record(run.id, vec![Event::Resumed]).await {
                tracing::error!(run.id = %run.id, %error, "it cannot be resumed yet; it is tried again");
                continue;
            }
        } else if run.dry_run {
            let why = "Sternway was restarted before there was a plan".to_owned();
            let outcome = Outcome::Refused { kind: TroubleKind::Unavailable.as_str().to_owned(), why };
            if let Err(error) = core.record(run.id, vec![Event::Ended { outcome }]).await {
                tracing::error!(run.id = %run.id, %error, "a dry run of before cannot be ended yet");
            }
            continue;
        }
        go_on(core, run.id, None);
    }
    Ok(count)
}

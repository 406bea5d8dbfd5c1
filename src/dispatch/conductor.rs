//! Takes a request from one standstill to the next: planned, asked, claimed, passed, driven. Everything it needs is in
//! the log, so the same function carries on after a restart. What comes next is said by `procedures::request`; this only
//! does it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::Core;
use super::core::{DECIDE_TRIES, cannot_record};
use super::ways_out::{self, Led};
use crate::clock::closed;
use crate::command::{Action, ApprovalRule, Request, StepKind, Value, Waived};
use crate::config::approvals::{ApprovalNeeds, Waive};
use crate::domain::actor::Actor;
use crate::domain::event::{Event, Outcome};
use crate::domain::ids::{Position, RunId};
use crate::domain::invocation::Invocation;
use crate::domain::plan::{Plan, PlanNotes, Settings};
use crate::domain::run::{RunState, Status};
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::gate;
use crate::procedures::driver::{Driver, Drove};
use crate::procedures::planner::{self, Ask};
use crate::procedures::prune;
use crate::procedures::request::{self, AtStart, Made, Sees, Turn};
use crate::procedures::rules::Rules;
use crate::store::{About, AppendError, Draft};

/// How long a request waits for its stack when asked to.
const WAIT_MAX: Duration = Duration::from_mins(30);

/// While it waits, how often it looks without having been told that something moved.
const WAIT_LOOK: Duration = Duration::from_secs(5);

/// Records set aside for a run beyond those of its steps: claim, pass, votes, resumes, end.
const RECORDS_BESIDE_STEPS: usize = 32;

/// Records one step can come to: intent, done or failed, undo intent, undo done.
const RECORDS_PER_STEP: usize = 4;

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

/// What a task knows of its request beyond the journal; it is lost with the process.
struct Task {
    /// The plan, made since the last record.
    made: Option<Made>,
    /// Since when it waits for its stack.
    waits_since: Option<tokio::time::Instant>,
    /// Wakes whoever waits when something was written.
    moved: watch::Receiver<Position>,
    /// How often others' writes overtook a decision of its.
    overtaken: usize,
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
    let mut task = Task { made: None, waits_since: None, moved: core.log.watch(), overtaken: 0 };
    loop {
        task.moved.mark_unchanged();
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
        match step(core, &run, &mut task).await {
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

/// One step further: what `request::turn` says.
async fn step(core: &Arc<Core>, run: &RunState, task: &mut Task) -> Result<(), Stop> {
    let now = core.clock.now();
    let may = if run.status == Status::Planned { may_still(core, run) } else { Ok(()) };
    let wish = Wish::of(core, run)?;
    let (head, stuck) = match ways_out::stuck_of(run) {
        Some(id) => (core.log.head().position, core.log.run(id).map_err(|e| super::core::cannot_read(&e))?),
        None => (Position(0), None),
    };
    let sees = Sees {
        now,
        made: task.made.as_ref(),
        holder: wish.holder.as_ref(),
        waits: wish.waits,
        // By what passes, not by a wall clock that somebody may set meanwhile.
        in_vain: task.waits_since.is_some_and(|since| since.elapsed() >= WAIT_MAX),
        may: &may,
        again: run.status == Status::Requested && asked_in(core, run.id).is_some_and(|words| request::is_again(&words)),
        stuck: stuck.as_ref(),
    };
    match request::turn(run, &sees, Rules::ALL) {
        Turn::Rest => return Err(Stop::Here),
        Turn::Wait => {
            task.waits_since.get_or_insert_with(tokio::time::Instant::now);
            return wait(core, task).await;
        }
        Turn::Held => {
            let Some(holder) = &wish.holder else { return Err(Stop::Here) };
            let trouble = held(core, run, holder);
            let vain = sees.waits && sees.in_vain && !matches!(holder.status, Status::Stuck { .. });
            return Err(Stop::Refused(if vain { trouble.say("It was waited for, in vain.") } else { trouble }));
        }
        Turn::Refuse(trouble) => return Err(Stop::Refused(trouble)),
        Turn::Plan => {
            task.made = Some(make(core, run).await);
            return Ok(());
        }
        Turn::Write(events) => drop(core.record(run.id, events).await?),
        Turn::Claim(event) => claim(core, run, *event).await?,
        Turn::Pass(pass, event) => {
            core.record(run.id, vec![*event]).await?;
            return drive(core, run, pass).await;
        }
        Turn::Void(differences) => {
            void(core, run, differences).await?;
            return Err(Stop::Here);
        }
        Turn::LeadOut { stuck, resolved } => match ways_out::lead_out(core, run, stuck, *resolved, head).await? {
            Led::Out => return Err(Stop::Here),
            Led::Moved if task.overtaken >= DECIDE_TRIES => {
                return Err(Stop::Refused(cannot_record(&AppendError::Busy)));
            }
            Led::Moved => task.overtaken += 1,
        },
        Turn::Drive(pass) => return drive(core, run, pass).await,
    }
    task.made = None;
    Ok(())
}

/// What a request wants of its stack.
#[derive(Default)]
struct Wish {
    /// Whoever else holds it.
    holder: Option<RunState>,
    /// It wants to wait for it.
    waits: bool,
}

impl Wish {
    fn of(core: &Core, run: &RunState) -> Result<Self, Stop> {
        let target = match run.status {
            Status::Requested => run.target.as_ref(),
            // While it waits for votes nobody has to make room.
            Status::Planned if run.agreed() => run.plan.as_ref().map(|p| &p.plan.target),
            _ => None,
        };
        let Some(target) = target.filter(|_| !run.dry_run && !run.leads_out()) else { return Ok(Self::default()) };
        let Ok(request) = understand(core, run) else { return Ok(Self::default()) };
        if matches!(request.spec.action, Action::Builtin(_)) {
            return Ok(Self::default());
        }
        let holder = match core.log.holder(target) {
            // The log itself refuses a second claim.
            Err(_) if run.status == Status::Planned => None,
            holder => holder.map_err(|e| super::core::cannot_read(&e))?,
        };
        let waits = request.arguments.choice("and").is_some();
        Ok(Self { holder: holder.filter(|h| h.id != run.id), waits })
    }
}

/// Returns when something was written, or after a while.
async fn wait(core: &Core, task: &mut Task) -> Result<(), Stop> {
    let mut closing = core.closing.clone();
    tokio::select! {
        _ = task.moved.changed() => Ok(()),
        () = core.clock.sleep(WAIT_LOOK) => Ok(()),
        () = closed(&mut closing) => Err(Stop::Here),
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

/// The plan for a request as the world is now, with the votes that it needs.
async fn make(core: &Core, run: &RunState) -> Made {
    let made = async {
        let request = understand(core, run)?;
        // Whoever holds the stack does not stand behind those who only ask.
        let _turn = if run.holds_claim() { None } else { Some(core.turn_at_planning().await?) };
        let (plan, notes) = prepare(core, run, &request).await?;
        Ok(Made::Plan { plan: Box::new(plan), notes, rule: approval_rule(core, &request) })
    };
    made.await.unwrap_or_else(Made::Not)
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
        Action::Builtin(_) => ways_out::prepare(core, run, request),
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

/// Takes the stack. Somebody may be quicker: the log refuses, and it is looked again who holds it.
async fn claim(core: &Core, run: &RunState, event: Event) -> Result<(), Stop> {
    let Some(planned) = &run.plan else { return Err(Stop::Here) };
    let room = planned.plan.steps.len() * RECORDS_PER_STEP + RECORDS_BESIDE_STEPS;
    core.log.reserve(room).map_err(|e| cannot_record(&e))?;
    match core.record(run.id, vec![event]).await {
        Ok(_) => Ok(()),
        Err(AppendError::CannotFollow(error)) => {
            let holder = core.log.holder(&planned.plan.target).ok().flatten().filter(|h| h.id != run.id);
            if holder.is_some() {
                return Ok(());
            }
            tracing::warn!(%error, "the claim was refused");
            Err(Stop::Here)
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

/// Ends a run whose plan is no longer true, and in the same batch asks for the same thing once more, as a new run with a
/// new plan and a new question.
async fn void(core: &Arc<Core>, run: &RunState, differences: Vec<String>) -> Result<(), Stop> {
    let now = core.clock.now();
    let (ended, invoked) = request::void(run, asked_in(core, run.id), now, differences);
    let mut batch = core.drafts(run.id, vec![ended]);
    batch.extend(invoked.map(|event| Draft { about: About::NewRun, at: now, event }));
    let written = core.log.append(None, batch).await?;
    if let Some(next) = written.get(1)
        && let Event::Invoked { invocation, .. } = &next.event
    {
        go_on(core, RunId(next.position), Some(invocation.clone()));
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
        match request::at_start(&run, Rules::ALL) {
            AtStart::Leave => continue, // it waits for a person, as before
            AtStart::Write(event) => {
                if let Err(error) = core.record(run.id, vec![*event]).await {
                    tracing::error!(run.id = %run.id, %error, "it cannot be taken up yet; it is tried again");
                    continue;
                }
            }
            AtStart::GoOn => {}
        }
        go_on(core, run.id, None);
    }
    Ok(count)
}

//! A restore of a database, as later issues will bring it: a safety dump whose id the restore and its undo use, a step that
//! takes an hour and tells how far it is, and a clean-up that cannot be taken back. Driven by the real driver.

#![allow(unreachable_pub, clippy::unwrap_used, clippy::panic)] // test support

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use sternway::agent::{Act, ActError, Observed, Order, Progress};
use sternway::clock::Clock;
use sternway::domain::actor::{Account, Actor, Surface};
use sternway::domain::event::{Event, Outcome, Subject, Token};
use sternway::domain::ids::RunId;
use sternway::domain::invocation::{Invocation, Place};
use sternway::domain::names::{HostName, PersonId, ProjectName, ServiceName, StackName, Target};
use sternway::domain::plan::{Input, Plan, PlanNotes, PlannedStep, StepAction, StepOutput, Undo};
use sternway::domain::release::Handles;
use sternway::domain::run::{RunState, Status};
use sternway::gate;
use sternway::procedures::driver::Driver;
use sternway::store::memory::MemoryLog;
use sternway::store::{About, Draft, Log};

use crate::hands::{Dying, Failing, Half, Twice};
use crate::night::{Night, NightClock};
use sternway::agent::sim::Behaviour;

const BACKUP: &str = "b-good";

/// A database that lives in memory, and the agent's own folder beside it.
struct Databases {
    clock: Arc<NightClock>,
    state: Mutex<State>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    content: String,
    dumps: BTreeMap<String, String>,
    highest: Option<Token>,
    restores: u32,
}

impl Databases {
    fn new(clock: Arc<NightClock>) -> Arc<Self> {
        let dumps = BTreeMap::from([(BACKUP.to_owned(), "good data".to_owned())]);
        let state = State { content: "bad data".into(), dumps, highest: None, restores: 0 };
        Arc::new(Self { clock, state: Mutex::new(state) })
    }

    fn content(&self) -> String {
        self.state.lock().unwrap().content.clone()
    }

    fn let_in(&self, token: Token) -> Result<(), ActError> {
        let mut state = self.state.lock().unwrap();
        match state.highest {
            Some(highest) if token < highest => Err(ActError::Stale(highest)),
            _ => {
                state.highest = Some(token);
                Ok(())
            }
        }
    }

    fn is_so(&self, action: &StepAction) -> Option<StepOutput> {
        let state = self.state.lock().unwrap();
        match action {
            StepAction::DumpDatabase { .. } => {
                let saved = state.dumps.iter().find(|(id, content)| *id != BACKUP && **content == state.content);
                saved.map(|(id, _)| StepOutput::Dumped { dump: id.clone() })
            }
            StepAction::RestoreDatabase { dump: Input::Known(id), .. } => {
                (state.dumps.get(id) == Some(&state.content)).then_some(StepOutput::Nothing)
            }
            _ => None,
        }
    }
}

#[async_trait::async_trait]
impl Act for Databases {
    async fn act(&self, order: &Order, progress: Progress) -> Result<StepOutput, ActError> {
        self.let_in(order.token)?;
        if let Some(output) = self.is_so(&order.action) {
            return Ok(output);
        }
        match &order.action {
            StepAction::DumpDatabase { .. } => {
                let mut state = self.state.lock().unwrap();
                let id = format!("safety-{}", state.dumps.len());
                let content = state.content.clone();
                state.dumps.insert(id.clone(), content);
                Ok(StepOutput::Dumped { dump: id })
            }
            StepAction::RestoreDatabase { dump: Input::Known(id), .. } => {
                for tenth in 1..=10 {
                    self.clock.sleep(Duration::from_secs(360)).await;
                    let _ = progress.try_send(format!("{} %", tenth * 10));
                }
                let mut state = self.state.lock().unwrap();
                let content = state.dumps.get(id).cloned().ok_or_else(|| ActError::Refused(format!("no dump {id}")))?;
                state.content = content;
                state.restores += 1;
                Ok(StepOutput::Nothing)
            }
            other => Err(ActError::Refused(format!("not a database's step: {other:?}"))),
        }
    }

    async fn observe(&self, order: &Order) -> Result<Observed, ActError> {
        self.let_in(order.token)?;
        Ok(self.is_so(&order.action).map_or_else(|| Observed::NotSo("not so yet".into()), Observed::So))
    }

    async fn keep(&self, _: &ProjectName, _: &ServiceName, _: &Handles) -> Result<(), ActError> {
        Ok(())
    }

    fn can(&self) -> &'static [&'static str] {
        &["dump_database", "restore_database"]
    }
}

fn plan(one_way_end: bool) -> Plan {
    let service = ServiceName::parse("mongo").unwrap();
    let dump =
        PlannedStep { action: StepAction::DumpDatabase { service: service.clone() }, undo: Undo::Nothing, limit_s: 60 };
    let restore = |dump| StepAction::RestoreDatabase { service: service.clone(), dump };
    let undo = if one_way_end {
        Undo::OneWay("the old data is given up".into())
    } else {
        Undo::Action(Box::new(restore(Input::OutputOf(0))))
    };
    let mut steps =
        vec![dump.clone(), PlannedStep { action: restore(Input::Known(BACKUP.into())), undo, limit_s: 7_200 }];
    steps.push(dump);
    Plan {
        target: Target { stack: StackName::parse("shop").unwrap(), host: HostName::parse("local").unwrap() },
        project: ProjectName::parse("shop").unwrap(),
        requester: Actor::Person(PersonId::parse("amal").unwrap()),
        command: "rollback database".into(),
        arguments: BTreeMap::new(),
        reason: String::new(),
        steps,
        limit_s: None,
        catalogue: String::new(),
        policy: String::new(),
    }
}

/// Writes the records of a run that has passed; its driver starts from there.
async fn pass(log: &MemoryLog, plan: Plan) -> RunId {
    let at = Timestamp::UNIX_EPOCH;
    let account = Account { surface: Surface::Console, id: "uid:1".into(), detail: None };
    let place = Place { surface: Surface::Console, channel: "console".into(), thread: None };
    let invocation = Invocation { event: "once".into(), account, place, text: "/rollback database mongo".into(), at };
    let (target, hash) = (plan.target.clone(), plan.hash().unwrap());
    let event = Event::Invoked {
        invocation,
        actor: plan.requester.clone(),
        command: plan.command.clone(),
        target: Some(target.clone()),
        dry_run: false,
    };
    let first = log.append(None, vec![Draft { about: About::NewRun, at, event }]).await.unwrap();
    let id = RunId(first[0].position);
    for event in [
        Event::Planned { plan: Box::new(plan), hash: hash.clone(), notes: PlanNotes::default() },
        Event::RunClaimed { target, plan_hash: hash.clone(), approval: None },
        Event::Passed { plan_hash: hash },
    ] {
        log.append(None, vec![Draft { about: About::Subject(Subject::Run(id)), at, event }]).await.unwrap();
    }
    id
}

struct Restore {
    night: Night,
    databases: Arc<Databases>,
    words: Mutex<Vec<String>>,
}

impl Restore {
    fn new() -> Self {
        let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
        let databases = Databases::new(Arc::clone(&night.clock));
        Self { night, databases, words: Mutex::default() }
    }

    fn pass(&self, plan: Plan) -> RunId {
        self.night.run(pass(&self.night.log, plan))
    }

    /// Drives the run over this log with these hands until it rests, or until `death`.
    fn drive(&self, id: RunId, log: Arc<dyn Log>, act: Arc<dyn Act>, resumed: bool, death: impl Future<Output = ()>) {
        self.night.run(async {
            if resumed {
                let about = About::Subject(Subject::Run(id));
                let at = self.night.clock.now();
                log.append(None, vec![Draft { about, at, event: Event::Resumed }]).await.unwrap();
            }
            let (progress, mut board) = tokio::sync::watch::channel(BTreeMap::new());
            let driver = Driver {
                log: Arc::clone(&log),
                act,
                clock: Arc::clone(&self.night.clock) as _,
                epoch: 1,
                progress: Arc::new(progress),
                closing: tokio::sync::watch::channel(false).1,
            };
            let run = log.run(id).unwrap().unwrap();
            let pass = gate::pass_again(&run).expect("the run has passed before");
            let driving = driver.drive(pass);
            let listening = async {
                while board.changed().await.is_ok() {
                    self.words.lock().unwrap().extend(board.borrow_and_update().get(&id).cloned());
                }
                std::future::pending::<()>().await;
            };
            tokio::select! {
                _ = driving => {}
                () = listening => {}
                () = death => {}
            }
        });
    }

    fn drive_on(&self, id: RunId, act: Arc<dyn Act>, resumed: bool) -> RunState {
        self.drive(id, Arc::clone(&self.night.log) as _, act, resumed, std::future::pending());
        self.night.log.run(id).unwrap().unwrap()
    }
}

fn outcome(run: &RunState) -> Option<&Outcome> {
    match &run.status {
        Status::Ended { outcome, .. } => Some(outcome),
        _ => None,
    }
}

#[test]
fn a_restore_succeeds_and_tells_for_an_hour_how_far_it_is() {
    let restore = Restore::new();
    let id = restore.pass(plan(false));
    let began = restore.night.clock.now();
    let run = restore.drive_on(id, Arc::clone(&restore.databases) as _, false);
    assert_eq!(outcome(&run), Some(&Outcome::Done));
    assert_eq!(restore.databases.content(), "good data");
    let hour = restore.night.clock.now().duration_since(began);
    assert!(hour.as_secs() >= 3_600, "it took {hour}");
    assert!(restore.words.lock().unwrap().contains(&"50 %".to_owned()), "{:?}", restore.words);
}

#[test]
fn a_restore_with_each_step_run_twice_restores_once() {
    let restore = Restore::new();
    let id = restore.pass(plan(false));
    let run = restore.drive_on(id, Arc::new(Twice(Arc::clone(&restore.databases) as _)), false);
    assert_eq!(outcome(&run), Some(&Outcome::Done));
    assert_eq!(restore.databases.state.lock().unwrap().restores, 1);
}

#[test]
fn a_restore_that_fails_at_any_step_is_undone_from_the_safety_dump() {
    for step in 0..3 {
        for half in [Half::Before, Half::After] {
            let restore = Restore::new();
            let id = restore.pass(plan(false));
            let run =
                restore.drive_on(id, Arc::new(Failing::new(Arc::clone(&restore.databases) as _, step, half)), false);
            assert!(matches!(outcome(&run), Some(Outcome::Undone { .. })), "{half:?} step {step}: {:?}", run.status);
            assert_eq!(restore.databases.content(), "bad data", "{half:?} step {step}");
        }
    }
}

#[test]
fn a_step_after_the_one_way_restore_that_fails_leaves_the_run_stuck_with_what_remains() {
    let restore = Restore::new();
    let id = restore.pass(plan(true));
    let run = restore.drive_on(id, Arc::new(Failing::new(Arc::clone(&restore.databases) as _, 2, Half::Before)), false);
    let Status::Stuck { step, why, remains } = &run.status else { panic!("{:?}", run.status) };
    assert_eq!((*step, why.as_str()), (1, "the old data is given up"));
    assert!(remains.iter().any(|r| r.contains("restore database mongo")), "{remains:?}");
    assert!(run.holds_claim(), "a stuck run keeps its stack");
}

#[test]
fn a_restore_killed_after_any_record_recovers_to_the_same_end() {
    let appends = {
        let restore = Restore::new();
        let id = restore.pass(plan(false));
        let counting = Dying::after(Arc::clone(&restore.night.log) as _, usize::MAX);
        restore.drive(
            id,
            Arc::clone(&counting) as _,
            Arc::clone(&restore.databases) as _,
            false,
            std::future::pending(),
        );
        counting.appends()
    };
    assert_eq!(appends, 7, "three intents, three dones and the end");
    for kill_after in 1..=appends {
        let restore = Restore::new();
        let id = restore.pass(plan(false));
        let dying = Dying::after(Arc::clone(&restore.night.log) as _, kill_after);
        restore.drive(id, Arc::clone(&dying) as _, Arc::clone(&restore.databases) as _, false, dying.dead());
        assert!(dying.is_dead());
        let run = restore.night.log.run(id).unwrap().unwrap();
        let run = if run.ended() { run } else { restore.drive_on(id, Arc::clone(&restore.databases) as _, true) };
        assert_eq!(outcome(&run), Some(&Outcome::Done), "killed after append {kill_after}");
        assert_eq!(restore.databases.content(), "good data", "killed after append {kill_after}");
    }
}

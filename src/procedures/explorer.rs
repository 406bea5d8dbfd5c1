//! Explores every interleaving of a run with the real `decide` and the real `fold` in a small world of one agent:
//! crashes anywhere, answers that get lost while the order takes effect now or at any later time, a step that
//! fails cleanly or half-way, an undo that fails, a cancel, and a following run on the same stack.
//!
//! It is worth something only while every protective rule, left out, still gives a counter-example
//! (durability section 5), so that is tested too.

use std::collections::{BTreeMap, HashSet, VecDeque};

use jiff::Timestamp;

use super::decide::{Heard, Knows, Next, Rules, UNCERTAIN_MAX, decide};
use crate::domain::actor::{Account, Actor, Surface};
use crate::domain::event::{Event, Outcome};
use crate::domain::ids::{Position, RunId};
use crate::domain::invocation::{Invocation, Place};
use crate::domain::names::{HostName, PersonId, ProjectName, ServiceName, StackName, Target};
use crate::domain::plan::{Plan, PlanNotes, PlannedStep, StepAction, StepOutput, Undo, WayOut};
use crate::domain::run::{RunState, Status, StepState, fold};

/// What the coordinator and the agent do beyond `decide`: rules that live outside of it.
#[derive(Clone, Copy)]
struct Outside {
    /// R3: the agent refuses tokens lower than the highest it has seen.
    token_checked: bool,
    /// R4: a new coordinator takes a new claim.
    new_claim: bool,
}

/// How often each mishap may still happen.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Luck {
    crashes: u8,
    lost: u8,
    step_fails: u8,
    undo_fails: u8,
    cancels: u8,
    time_ups: u8,
}

/// A message that may still arrive.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Late {
    token: (u64, u64),
    step: usize,
    undo: bool,
}

#[derive(Clone)]
struct World {
    run: RunState,
    knows: Knows,
    /// Messages sent under the present claim.
    n: u64,
    claims: u64,
    /// Which steps are in effect.
    effect: Vec<bool>,
    highest: (u64, u64),
    late: Vec<Late>,
    luck: Luck,
    resolved: u8,
    /// The plan's time is up.
    time_up: bool,
    /// A step that cannot be repeated was carried out again while it was in effect.
    twice: bool,
    /// Of the run before: its messages may arrive while this one goes on or after it ended.
    story: Vec<String>,
}

impl World {
    fn key(&self) -> String {
        format!(
            "{:?}|{:?}|{:?}|{:?}|{:?}|{:?}|{}|{}|{:?}|{:?}|{:?}|{:?}|{}",
            self.run.status,
            self.run.steps,
            self.run.claim,
            self.run.cancel.is_some(),
            self.run.look_first,
            self.run.way,
            self.n,
            self.claims,
            self.knows,
            self.effect,
            (self.highest, &self.late),
            self.luck_key(),
            self.resolved
        )
    }

    fn luck_key(&self) -> (u8, u8, u8, u8, u8, bool) {
        let luck = &self.luck;
        // Whether the time may still run out follows from whether it has.
        (luck.crashes, luck.lost, luck.step_fails, luck.undo_fails, luck.cancels, self.time_up)
    }

    fn note(&self, line: impl Into<String>) -> Self {
        let mut next = self.clone();
        next.story.push(line.into());
        next
    }

    /// Appends a record through the real fold. The position counts claims only, so that equal states meet.
    fn write(&self, event: &Event) -> Result<Self, String> {
        let mut next = self.note(format!("journal: {}", short(event)));
        if matches!(event, Event::Resumed | Event::Resolved { .. }) {
            next.claims += 1;
            next.n = 0;
        }
        let run = fold(Some(self.run.clone()), Position(next.claims), Timestamp::UNIX_EPOCH, event);
        next.run = run.map_err(|e| e.to_string())?;
        next.run.last = Position(0);
        next.run.began = None;
        next.knows = Knows::default();
        Ok(next)
    }

    fn crash(&self, outside: Outside) -> Result<Self, String> {
        let mut next = self.note("the bot dies and starts again");
        next.knows = Knows::default();
        next.luck.crashes -= 1;
        if next.run.ended() || !next.run.holds_claim() {
            return Ok(next);
        }
        if outside.new_claim {
            return next.write(&Event::Resumed);
        }
        next.n = 0;
        next.run.look_first = next.run.steps.iter().any(|s| matches!(s, StepState::Open | StepState::UndoOpen));
        Ok(next)
    }

    /// The agent gets a message. `None` when it refuses it.
    fn deliver(&self, message: &Late, outside: Outside, acts: bool) -> Option<Self> {
        if outside.token_checked && message.token < self.highest {
            return None;
        }
        let mut next = self.clone();
        next.highest = next.highest.max(message.token);
        if acts {
            let one_way = matches!(next.run.undo_of(message.step), Some(Undo::OneWay(_)));
            next.twice |= one_way && !message.undo && next.effect[message.step];
            next.effect[message.step] = !message.undo;
        }
        Some(next)
    }
}

fn short(event: &Event) -> String {
    match event {
        Event::StepIntent { step } => format!("step {step} intended"),
        Event::StepDone { step, .. } => format!("step {step} done"),
        Event::StepFailed { step, why } => format!("step {step} failed: {why}"),
        Event::UndoIntent { step } => format!("undo of {step} intended"),
        Event::UndoDone { step } => format!("undo of {step} done"),
        Event::Ended { outcome } => format!("ended {outcome:?}"),
        other => crate::domain::run::name_of(other),
    }
}

struct Explorer {
    rules: Rules,
    outside: Outside,
    seen: HashSet<String>,
    ends: BTreeMap<&'static str, usize>,
    wrong: Option<Vec<String>>,
}

impl Explorer {
    fn explore(rules: Rules, outside: Outside, start: World) -> Self {
        let mut me = Self { rules, outside, seen: HashSet::new(), ends: BTreeMap::new(), wrong: None };
        let mut todo = VecDeque::from([start]);
        while let Some(world) = todo.pop_front() {
            if me.wrong.is_some() || !me.seen.insert(world.key()) {
                continue;
            }
            me.check(&world);
            for next in me.successors(&world) {
                match next {
                    Ok(world) => todo.push_back(world),
                    Err(why) => me.wrong_because(&world, &format!("the record refuses: {why}")),
                }
            }
        }
        me
    }

    fn wrong_because(&mut self, world: &World, why: &str) {
        let mut story = world.story.clone();
        story.push(format!("WRONG: {why}"));
        self.wrong.get_or_insert(story);
    }

    /// The invariants.
    fn check(&mut self, world: &World) {
        let old = world.effect.iter().all(|e| !e);
        let new = world.effect.iter().all(|e| *e);
        let late_can_act = world.late.iter().any(|m| !self.outside.token_checked || m.token >= world.highest);
        match &world.run.status {
            Status::Ended { outcome, .. } => {
                match outcome {
                    Outcome::Done if !new => self.wrong_because(world, "it says done, and the new state is not there"),
                    Outcome::Undone { .. } if !old => {
                        self.wrong_because(world, "it says undone, and the old state is not there")
                    }
                    _ => {}
                }
                if late_can_act {
                    self.wrong_because(world, "it has ended, and a message of it can still change something");
                }
                if world.run.holds_claim() {
                    self.wrong_because(world, "it has ended and holds the stack");
                }
                let name = match outcome {
                    Outcome::Done => "new",
                    Outcome::Undone { .. } => "old",
                    _ => "accepted",
                };
                *self.ends.entry(name).or_default() += 1;
            }
            Status::Stuck { remains, .. } => {
                if !world.run.holds_claim() {
                    self.wrong_because(world, "it is stuck and let go of the stack");
                }
                if remains.is_empty() {
                    self.wrong_because(world, "it is stuck and does not say what remains");
                }
                *self.ends.entry("stuck").or_default() += 1;
            }
            _ => {}
        }
        if world.twice {
            self.wrong_because(world, "a step that cannot be repeated took effect twice");
        }
        for (i, state) in world.run.steps.iter().enumerate() {
            if matches!(state, StepState::Waiting) && world.effect[i] {
                self.wrong_because(world, &format!("step {i} is in effect and not on record"));
            }
        }
    }

    fn successors(&self, world: &World) -> Vec<Result<World, String>> {
        let mut out = Vec::new();
        // Late messages arrive whenever they like, also after the end.
        for (i, message) in world.late.iter().enumerate() {
            let mut rest =
                world.note(format!("a late message for step {} (undo: {}) arrives", message.step, message.undo));
            rest.late.remove(i);
            out.push(Ok(rest.deliver(message, self.outside, true).unwrap_or(rest)));
        }
        if world.run.ended() {
            return out;
        }
        if world.luck.crashes > 0 {
            out.push(world.crash(self.outside));
        }
        if world.luck.cancels > 0 && !matches!(world.run.status, Status::Stuck { .. }) {
            let mut next = world.clone();
            next.luck.cancels -= 1;
            let knows = next.knows.clone();
            out.push(next.write(&Event::CancelAsked { by: person("ben") }).map(|mut w| {
                w.knows = knows;
                w
            }));
        }
        if world.luck.time_ups > 0 && matches!(world.run.status, Status::Running) {
            let mut next = world.note("the plan's time is up");
            next.luck.time_ups -= 1;
            next.time_up = true;
            out.push(Ok(next));
        }
        let knows = Knows { out_of_time: world.time_up, ..world.knows.clone() };
        match decide(&world.run, &knows, &self.rules) {
            Next::Write(event) => out.push(world.write(&event)),
            Next::Send { step, undo } => out.extend(self.send(world, step, undo)),
            Next::Look { step, undo } => out.extend(self.look(world, step, undo)),
            Next::Rest => {
                if matches!(world.run.status, Status::Stuck { .. }) && world.resolved < 2 && world.run.way.is_none() {
                    for way in [WayOut::Retry, WayOut::Undo, WayOut::Accept] {
                        let mut next = world.note(format!("a person chooses {}", way.as_str()));
                        next.resolved += 1;
                        next.luck.undo_fails = 0;
                        out.push(next.write(&Event::Resolved { way, by: RunId(Position(9)) }));
                    }
                }
            }
        }
        out
    }

    fn token(world: &mut World) -> (u64, u64) {
        world.n += 1;
        (world.run.claim.map_or(0, |p| p.0), world.n)
    }

    fn send(&self, world: &World, step: usize, undo: bool) -> Vec<Result<World, String>> {
        let mut base = world.note(format!("order: step {step} (undo: {undo})"));
        let token = Self::token(&mut base);
        let message = Late { token, step, undo };
        let mut out = Vec::new();
        let Some(arrived) = base.deliver(&message, self.outside, true) else {
            base.knows.heard = Heard::Stale;
            return vec![Ok(base)];
        };
        let heard = |mut w: World, heard: Heard| {
            w.knows.uncertain += u8::from(matches!(heard, Heard::Uncertain(_))) as u32;
            w.knows.heard = heard;
            Ok(w)
        };
        out.push(heard(arrived.clone(), Heard::So(StepOutput::Nothing)));
        if world.luck.lost > 0 {
            let mut lost = arrived.note("  carried out, the answer is lost");
            lost.luck.lost -= 1;
            out.push(heard(lost, Heard::Uncertain("no answer".into())));
            let mut later = base.note("  the order is on its way for long");
            later.luck.lost -= 1;
            later.late.push(message.clone());
            later.late.sort();
            out.push(heard(later, Heard::Uncertain("no answer".into())));
        }
        let fails = if undo { world.luck.undo_fails } else { world.luck.step_fails };
        if fails > 0 {
            for half in [false, true] {
                let refused = base.deliver(&message, self.outside, half).unwrap_or_else(|| base.clone());
                let mut failed = refused.note(if half { "  it fails half-way" } else { "  it fails cleanly" });
                if undo {
                    failed.luck.undo_fails -= 1;
                } else {
                    failed.luck.step_fails -= 1;
                }
                out.push(heard(failed, Heard::Failed("it failed".into())));
            }
        }
        out
    }

    fn look(&self, world: &World, step: usize, undo: bool) -> Vec<Result<World, String>> {
        let mut base = world.note(format!("look: step {step} (undo: {undo})"));
        let token = Self::token(&mut base);
        let message = Late { token, step, undo };
        let Some(mut seen) = base.deliver(&message, self.outside, false) else {
            base.knows.heard = Heard::Stale;
            return vec![Ok(base)];
        };
        let is_so = seen.effect[step] != undo;
        seen.knows.uncertain = (seen.knows.uncertain + 1).min(UNCERTAIN_MAX + 1);
        seen.knows.heard = if is_so { Heard::So(StepOutput::Nothing) } else { Heard::NotSo("not so".into()) };
        vec![Ok(seen)]
    }
}

fn person(name: &str) -> PersonId {
    PersonId::parse(name).unwrap()
}

fn step(undo: Undo) -> PlannedStep {
    let service = ServiceName::parse("api").unwrap();
    PlannedStep { action: StepAction::DumpDatabase { service }, undo, limit_s: 10 }
}

fn back() -> Undo {
    Undo::Action(Box::new(StepAction::DumpDatabase { service: ServiceName::parse("api").unwrap() }))
}

/// A run that has passed with these steps.
fn passed(undos: Vec<Undo>, luck: Luck) -> World {
    let steps = undos.len();
    let target = Target { stack: StackName::parse("shop").unwrap(), host: HostName::parse("local").unwrap() };
    let account = Account { surface: Surface::Console, id: "uid:1".into(), detail: None };
    let place = Place { surface: Surface::Console, channel: "console".into(), thread: None };
    let plan = Plan {
        target: target.clone(),
        project: ProjectName::parse("shop").unwrap(),
        requester: Actor::Person(person("amal")),
        command: "rollback image".into(),
        arguments: BTreeMap::new(),
        reason: String::new(),
        steps: undos.into_iter().map(step).collect(),
        limit_s: None,
        catalogue: String::new(),
        policy: String::new(),
    };
    let hash = plan.hash().unwrap();
    let mut run = None;
    for event in [
        Event::Invoked {
            invocation: Invocation {
                event: "e".into(),
                account,
                place,
                text: "/rollback image api".into(),
                at: Timestamp::UNIX_EPOCH,
            },
            actor: Actor::Person(person("amal")),
            command: "rollback image".into(),
            target: Some(target.clone()),
            dry_run: false,
        },
        Event::Planned { plan: Box::new(plan), hash: hash.clone(), notes: PlanNotes::default() },
        Event::RunClaimed { target, plan_hash: hash.clone(), approval: None },
        Event::Passed { plan_hash: hash },
    ] {
        run = Some(fold(run, Position(1), Timestamp::UNIX_EPOCH, &event).unwrap());
    }
    let run = run.unwrap();
    World {
        run,
        knows: Knows::default(),
        n: 0,
        claims: 1,
        effect: vec![false; steps],
        highest: (0, 0),
        late: Vec::new(),
        luck,
        resolved: 0,
        time_up: false,
        twice: false,
        story: Vec::new(),
    }
}

const BAD_NIGHT: Luck = Luck { crashes: 2, lost: 2, step_fails: 1, undo_fails: 1, cancels: 1, time_ups: 0 };
const OUTSIDE: Outside = Outside { token_checked: true, new_claim: true };

fn tell(story: &[String]) -> String {
    story.iter().map(|l| format!("\n  {l}")).collect()
}

#[test]
fn no_bad_night_ends_wrong_while_every_rule_holds() {
    for undos in [vec![back(), back()], vec![back(), Undo::OneWay("data is gone".into()), back()]] {
        // The larger world has one crash less, and a time limit that may run out.
        let larger = undos.len() > 2;
        let luck = if larger { Luck { crashes: 1, time_ups: 1, ..BAD_NIGHT } } else { BAD_NIGHT };
        let found = Explorer::explore(Rules::ALL, OUTSIDE, passed(undos.clone(), luck));
        if let Some(story) = found.wrong {
            panic!("after {} states:{}", found.seen.len(), tell(&story));
        }
        eprintln!("{} steps: {} states, ends {:?}", undos.len(), found.seen.len(), found.ends);
        assert!(found.seen.len() > 5_000, "the world is too small to prove anything: {} states", found.seen.len());
        for end in ["new", "old", "stuck", "accepted"] {
            assert!(found.ends.contains_key(end), "no path ends {end}: {:?}", found.ends);
        }
    }
}

#[test]
fn each_rule_left_out_gives_a_counter_example() {
    let all = Rules::ALL;
    let cases: Vec<(&str, Rules, Outside, bool)> = vec![
        ("R1 journal first", Rules { journal_first: false, ..all }, OUTSIDE, false),
        ("R3 the agent checks the token", all, Outside { token_checked: false, ..OUTSIDE }, false),
        ("R4 recovery takes a new claim", all, Outside { new_claim: false, ..OUTSIDE }, false),
        ("R4 recovery looks first", Rules { look_first: false, ..all }, OUTSIDE, true),
        ("R5 the uncertain is taken back", Rules { undo_uncertain: false, ..all }, OUTSIDE, false),
        ("R7 a failed undo is stuck", Rules { failed_undo_is_stuck: false, ..all }, OUTSIDE, false),
    ];
    for (name, rules, outside, one_way) in cases {
        let steps = vec![back(), if one_way { Undo::OneWay("data is gone".into()) } else { back() }];
        let found = Explorer::explore(rules, outside, passed(steps, BAD_NIGHT));
        let story = found
            .wrong
            .unwrap_or_else(|| panic!("{name}: left out, and nothing goes wrong in {} states", found.seen.len()));
        eprintln!("{name}, left out:{}\n", tell(&story));
    }
}

//! What a run does next. A pure function of the folded journal and of what the coordinator heard last;
//! everything the coordinator knows beyond the journal is in [`Knows`] and is lost when it dies.
//!
//! What comes before a run may act is decided in `request`. The protective rules are a value ([`Rules`]) so that the
//! explorer can leave one out and must then find a story in which something goes wrong.

use super::rules::{Rule, Rules};
use crate::domain::event::{Event, Outcome};
use crate::domain::names::ServiceName;
use crate::domain::plan::{StepAction, StepOutput, Undo, WayOut};
use crate::domain::run::{RunState, Status, StepState};

/// Looks and resends in a row without a certain answer before a step counts as failed. Six with the driver's
/// doubling pauses (0.5 s … 16 s) give an engine that restarts about half a minute.
pub const UNCERTAIN_MAX: u32 = 6;

/// What the agent's last answer was.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub enum Heard {
    /// Nothing asked since the last record was written.
    #[default]
    Nothing,
    /// The order was carried out, or a look showed that the world is so.
    So(StepOutput),
    /// The order could not be carried out.
    Failed(String),
    /// No certain answer to an order or a look.
    Uncertain(String),
    /// A look showed that the world is not so, and that nothing is under way.
    NotSo(String),
    /// A newer coordinator has spoken to the agent: this one has to leave.
    Stale,
}

/// What the coordinator knows beyond the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Knows {
    /// The last answer.
    pub heard: Heard,
    /// Uncertain answers and resends in a row.
    pub uncertain: u32,
    /// The plan's time limit has passed.
    pub out_of_time: bool,
}

impl Knows {
    /// An order was sent, and this came back.
    pub fn sent(&mut self, heard: Heard) {
        self.heard = heard;
    }

    /// It was looked, and this came back.
    pub fn looked(&mut self, heard: Heard) {
        self.uncertain += 1;
        self.heard = heard;
    }

    /// It was tried often enough.
    fn gives_up(&self, rules: Rules) -> bool {
        self.uncertain > UNCERTAIN_MAX || !rules.hold(Rule::TimeoutIsNoFailure)
    }
}

/// The next thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Write this record, then ask again with nothing heard.
    Write(Box<Event>),
    /// Order the step (or its undo), then ask again with what was heard.
    Send {
        /// Index in the plan.
        step: usize,
        /// Its undo instead.
        undo: bool,
    },
    /// Look whether the step (or its undo) is so, then ask again with what was heard.
    Look {
        /// Index in the plan.
        step: usize,
        /// Its undo instead.
        undo: bool,
    },
    /// Nothing: the run has ended, is stuck, or belongs to somebody else now.
    Rest,
}

/// The one next thing to do.
pub fn decide(run: &RunState, knows: &Knows, rules: Rules) -> Next {
    if knows.heard == Heard::Stale {
        return Next::Rest;
    }
    match &run.status {
        Status::Running => forward(run, knows, rules),
        Status::Undoing { why } => back(run, knows, rules, why),
        Status::Stuck { step, .. } if run.way == Some(WayOut::Accept) => accept(*step, knows, rules),
        Status::Requested | Status::Planned | Status::Claimed | Status::Stuck { .. } | Status::Ended { .. } => {
            Next::Rest
        }
    }
}

fn forward(run: &RunState, knows: &Knows, rules: Rules) -> Next {
    if let Some(step) = run.steps.iter().position(|s| *s == StepState::Open) {
        let failed = |why: &String| write(Event::StepFailed { step, why: why.clone() });
        return match &knows.heard {
            Heard::Nothing if run.look_first && rules.hold(Rule::LookFirst) => Next::Look { step, undo: false },
            Heard::Nothing => Next::Send { step, undo: false },
            Heard::So(output) => write(Event::StepDone { step, output: output.clone() }),
            Heard::Failed(why) => failed(why),
            Heard::Uncertain(why) if knows.gives_up(rules) => failed(why),
            Heard::Uncertain(_) => Next::Look { step, undo: false },
            Heard::NotSo(why) if knows.uncertain > UNCERTAIN_MAX => failed(why),
            Heard::NotSo(_) => Next::Send { step, undo: false },
            Heard::Stale => Next::Rest,
        };
    }
    let failed = run.steps.iter().find_map(|s| match s {
        StepState::Failed { why } => Some(why),
        _ => None,
    });
    if let Some(why) = failed {
        return write(Event::UndoBegun { why: why.clone() });
    }
    let Some(step) = run.steps.iter().position(|s| !matches!(s, StepState::Done { .. })) else {
        return write(Event::Ended { outcome: Outcome::Done });
    };
    // Past a step that cannot be taken back the way home is forward: turning round would only get it stuck.
    if run.past_return().is_none() || !rules.hold(Rule::NoTurnPastReturn) {
        if let Some(by) = run.cancel.as_ref().filter(|_| rules.hold(Rule::CancelIsHeeded)) {
            return write(Event::UndoBegun { why: format!("cancelled by {by}") });
        }
        if knows.out_of_time && rules.hold(Rule::LimitIsHeeded) {
            return write(Event::UndoBegun { why: "it took longer than its time limit".to_owned() });
        }
    }
    if !rules.hold(Rule::JournalFirst) && knows.heard == Heard::Nothing {
        return Next::Send { step, undo: false };
    }
    write(Event::StepIntent { step })
}

fn back(run: &RunState, knows: &Knows, rules: Rules, why: &str) -> Next {
    if let Some(step) = run.steps.iter().position(|s| *s == StepState::UndoOpen) {
        if matches!(run.undo_of(step), Some(Undo::Nothing)) {
            return write(Event::UndoDone { step });
        }
        let stuck = |why: &String| {
            if rules.hold(Rule::FailedUndoIsStuck) {
                write(Event::Stuck { step, why: why.clone(), remains: remains(run, step) })
            } else {
                write(Event::UndoDone { step })
            }
        };
        return match &knows.heard {
            Heard::Nothing if run.look_first && rules.hold(Rule::LookFirst) => Next::Look { step, undo: true },
            Heard::Nothing => Next::Send { step, undo: true },
            Heard::So(_) => write(Event::UndoDone { step }),
            Heard::Failed(why) => stuck(why),
            Heard::Uncertain(why) if knows.gives_up(rules) => stuck(why),
            Heard::Uncertain(_) => Next::Look { step, undo: true },
            Heard::NotSo(why) if knows.uncertain > UNCERTAIN_MAX => stuck(why),
            Heard::NotSo(_) => Next::Send { step, undo: true },
            Heard::Stale => Next::Rest,
        };
    }
    let touched = |s: &StepState| match s {
        StepState::Done { .. } => true,
        StepState::Open | StepState::Failed { .. } => rules.hold(Rule::UndoUncertain),
        StepState::Waiting | StepState::Undone | StepState::UndoOpen => false,
    };
    let mut steps = run.steps.iter();
    let next = if rules.hold(Rule::UndoInReverse) { steps.rposition(touched) } else { steps.position(touched) };
    let Some(step) = next else {
        return write(Event::Ended { outcome: Outcome::Undone { why: why.to_owned() } });
    };
    match run.undo_of(step) {
        Some(Undo::OneWay(reason)) => write(Event::Stuck { step, why: reason.clone(), remains: remains(run, step) }),
        _ => write(Event::UndoIntent { step }),
    }
}

/// `It is now so`: one tokened look, which also shuts the door to late orders, then the end.
fn accept(step: usize, knows: &Knows, rules: Rules) -> Next {
    let ended = |observed: String| write(Event::Ended { outcome: Outcome::Accepted { observed } });
    match &knows.heard {
        Heard::Nothing if rules.hold(Rule::LookBeforeAccept) => Next::Look { step, undo: false },
        Heard::Nothing => ended("nobody looked".to_owned()),
        Heard::So(_) => ended("the step that was stuck has taken effect".to_owned()),
        Heard::NotSo(why) | Heard::Failed(why) => ended(why.clone()),
        Heard::Uncertain(_) if knows.uncertain <= UNCERTAIN_MAX => Next::Look { step, undo: false },
        Heard::Uncertain(_) | Heard::Stale => Next::Rest,
    }
}

/// What is not as it was, a sentence for each step that is neither untouched nor taken back.
fn remains(run: &RunState, stuck_at: usize) -> Vec<String> {
    let mut out = Vec::new();
    for (i, state) in run.steps.iter().enumerate() {
        let Some(planned) = run.plan.as_ref().and_then(|p| p.plan.steps.get(i)) else { continue };
        let what = match (&planned.action, &planned.undo) {
            (StepAction::ProtectImage { .. }, Undo::Action(undo)) if i == stuck_at => describe(undo),
            (action, _) => describe(action),
        };
        if i == stuck_at {
            out.push(format!("{what}: neither done nor taken back"));
        } else if let (StepAction::ProtectImage { .. }, Undo::Action(undo)) = (&planned.action, &planned.undo)
            && matches!(undo.as_ref(), StepAction::SwapService(_) | StepAction::RestartService(_))
            && matches!(state, StepState::Done { .. })
        {
            out.push(format!("{}: not done on the way back", describe(undo)));
        } else if matches!(state, StepState::Done { .. })
            && planned.undo != Undo::Nothing
            && !matches!(planned.action, StepAction::ProtectImage { .. })
        {
            out.push(format!("{what}: done, not taken back"));
        }
    }
    out
}

/// A step in a few words, the same in cards, lists and logs.
pub fn describe(action: &StepAction) -> String {
    match action {
        StepAction::PullImage { image, from, .. } => {
            format!("pull {} from {}", image.reference, from.split('@').next().unwrap_or(from))
        }
        StepAction::ReleasePins { service, images } => format!("let go of {} of {service}", releases(images.len())),
        StepAction::KeepPins { service, images } => format!("keep {} of {service} again", releases(images.len())),
        StepAction::ProtectImage { service, image } => format!("keep image {} for {service}", image.reference),
        StepAction::RemoveMade { service, number, .. } => match number {
            Some(number) => format!("remove the {service} {number} that was made"),
            None => format!("remove the {service} that was made"),
        },
        StepAction::SwapService(swap) => match swap.number {
            Some(number) if swap.missing => format!("make {} {number} of {}", swap.service, swap.to.reference),
            None if swap.missing => format!("make {} of {}", swap.service, swap.to.reference),
            _ if let Some(follows) = &swap.follows => format!("recreate {}, which {follows}", swap.service),
            Some(number) => format!("swap {} {number} to {}", swap.service, swap.to.reference),
            None => format!("swap {} to {}", swap.service, swap.to.reference),
        },
        StepAction::RestartService(restart) => {
            let after: Vec<&str> = restart.after.iter().map(ServiceName::as_str).collect();
            let number = restart.number.map(|n| format!(" {n}")).unwrap_or_default();
            format!("restart {}{number}, which restarts with {}", restart.service, after.join(" and "))
        }
        StepAction::WritePin { file, key, .. } => format!("pin {key} in {file}"),
        StepAction::RestorePin { file, key, .. } => format!("put back {key} in {file}"),
        StepAction::SignalProxy { proxy, signal } => format!("signal {proxy} with {signal}"),
        StepAction::ProveHealth { service, .. } => format!("prove {service} from outside"),
        StepAction::DumpDatabase { service } => format!("save database {service}"),
        StepAction::RestoreDatabase { service, .. } => format!("restore database {service}"),
        StepAction::ResolveRun { run, way, .. } => format!("{} {run}", way.as_str()),
    }
}

fn releases(count: usize) -> String {
    if count == 1 { "1 old release".to_owned() } else { format!("{count} old releases") }
}

fn write(event: Event) -> Next {
    Next::Write(Box::new(event))
}

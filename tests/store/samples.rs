//! Records to write: people, plans and a whole run, told in order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use sternway::domain::actor::{Account, Actor, Surface};
use sternway::domain::event::{Event, Needs, Outcome, Subject};
use sternway::domain::ids::{ApprovalId, ReleaseId, RunId};
use sternway::domain::invocation::{Invocation, Place};
use sternway::domain::names::{Fingerprint, HostName, PersonId, ProjectName, RoleName, ServiceName, StackName, Target};
use sternway::domain::plan::{
    HealthCheck, HealthRule, ImageChoice, Plan, PlanNotes, PlannedStep, Proof, Settings, SpecRef, StepAction,
    StepOutput, Swap, Undo,
};
use sternway::domain::release::{Handles, Origin, subject_key};
use sternway::store::{About, Draft};

pub fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + second).expect("in the calendar")
}

pub fn target(stack: &str) -> Target {
    Target { stack: StackName::parse(stack).expect("a name"), host: HostName::parse("local").expect("a name") }
}

pub fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).expect("a name")
}

pub fn person(name: &str) -> PersonId {
    PersonId::parse(name).expect("a name")
}

pub fn account(id: &str) -> Account {
    Account { surface: Surface::Slack, id: id.to_owned(), detail: None }
}

pub fn invocation(event: &str, text: &str) -> Invocation {
    Invocation {
        event: event.to_owned(),
        account: account("U1"),
        place: Place { surface: Surface::Slack, channel: "C1".to_owned(), thread: None },
        text: text.to_owned(),
        at: at(0),
    }
}

pub fn fingerprint(digit: char) -> Fingerprint {
    Fingerprint::parse(&digit.to_string().repeat(64)).expect("64 digits")
}

pub fn image(digit: char, tag: &str) -> ImageChoice {
    ImageChoice {
        fingerprint: fingerprint(digit),
        image: format!("sha256:{}", digit.to_string().repeat(64)),
        reference: format!("shop/api:{tag}"),
    }
}

pub fn spec() -> SpecRef {
    SpecRef { id: "spec-1".to_owned(), mac: "ab".repeat(32) }
}

pub fn handles(digit: char, tag: &str) -> Handles {
    Handles {
        fingerprint: fingerprint(digit),
        image: format!("sha256:{}", digit.to_string().repeat(64)),
        reference: format!("shop/api:{tag}"),
        digests: vec![format!("shop/api@sha256:{}", digit.to_string().repeat(64))],
    }
}

pub fn plan(stack: &str) -> Plan {
    let swap = Swap {
        service: service("api"),
        replaces: Some("c".repeat(64)),
        from: image('b', "1.5"),
        to: image('a', "1.4"),
        settings: Settings::Today,
        spec: spec(),
        target_spec: None,
        health: HealthRule {
            check: HealthCheck::Http { url: "http://127.0.0.1:8080/health".to_owned() },
            count: 3,
            interval_ms: 500,
            deadline_s: 60,
        },
        grace_s: 10,
        number: None,
        start_first: None,
        follows: None,
        missing: false,
    };
    Plan {
        target: target(stack),
        project: ProjectName::parse(stack).expect("a name"),
        requester: Actor::Person(person("amina")),
        command: "rollback image".to_owned(),
        arguments: BTreeMap::from([("service".to_owned(), "api".to_owned())]),
        reason: "errors since 1.5".to_owned(),
        steps: vec![PlannedStep { action: StepAction::SwapService(Box::new(swap)), undo: Undo::Nothing, limit_s: 120 }],
        limit_s: None,
        catalogue: "11".repeat(32),
        policy: "22".repeat(32),
    }
}

pub fn planned(stack: &str) -> Event {
    let plan = plan(stack);
    let hash = plan.hash().expect("no floats");
    Event::Planned { plan: Box::new(plan), hash, notes: PlanNotes::default() }
}

pub fn plan_hash(stack: &str) -> String {
    plan(stack).hash().expect("no floats")
}

pub fn invoked(event: &str, stack: &str) -> Event {
    Event::Invoked {
        invocation: invocation(event, "/rollback image api"),
        actor: Actor::Person(person("amina")),
        command: "rollback image".to_owned(),
        target: Some(target(stack)),
        dry_run: false,
    }
}

pub fn said(event: &str) -> Event {
    Event::Said { invocation: invocation(event, "/approve"), actor: Some(Actor::Person(person("bashir"))) }
}

pub fn needs() -> Needs {
    Needs { role: RoleName::parse("approver").expect("a name"), count: 1 }
}

pub fn draft(about: About, second: i64, event: Event) -> Draft {
    Draft { about, at: at(second), event }
}

pub fn new_run(event: &str, stack: &str) -> Draft {
    draft(About::NewRun, 0, invoked(event, stack))
}

pub fn in_run(run: RunId, event: Event) -> Draft {
    draft(About::Subject(Subject::Run(run)), 1, event)
}

pub fn ended(outcome: Outcome) -> Event {
    Event::Ended { outcome }
}

pub fn claimed(stack: &str, approval: Option<ApprovalId>) -> Event {
    Event::RunClaimed { target: target(stack), plan_hash: plan_hash(stack), approval }
}

pub fn approved(approval: ApprovalId, stack: &str, by: &str) -> Event {
    Event::Approved {
        approval,
        plan_hash: plan_hash(stack),
        by: person(by),
        account: account("U2"),
        reason: "seen".to_owned(),
    }
}

pub fn step_done(step: usize) -> Event {
    let proof = Proof { container: "d".repeat(64), answers: 3, after_ms: 1500, weak: false };
    Event::StepDone { step, output: StepOutput::Swapped { effect: true, proof, started_ms: Some(900) } }
}

pub fn about_releases(stack: &str, name: &str) -> About {
    About::Subject(Subject::Releases(subject_key(&target(stack), &service(name))))
}

pub fn release_seen(stack: &str, digit: char, tag: &str) -> Draft {
    let event = Event::ReleaseSeen {
        target: target(stack),
        service: service("api"),
        handles: handles(digit, tag),
        spec: spec(),
        origin: Origin::Compose,
        since: at(0),
    };
    draft(about_releases(stack, "api"), 2, event)
}

pub fn release_proven(stack: &str, release: ReleaseId) -> Draft {
    let event = Event::ReleaseProven { target: target(stack), service: service("api"), release };
    draft(about_releases(stack, "api"), 3, event)
}

/// What follows the request, up to the claim, of a run that needs no approval.
pub fn up_to_claim(stack: &str) -> Vec<Event> {
    vec![planned(stack), claimed(stack, None)]
}

/// The rest of a run that goes well.
pub fn to_the_end(stack: &str) -> Vec<Event> {
    vec![
        Event::Passed { plan_hash: plan_hash(stack) },
        Event::StepIntent { step: 0 },
        step_done(0),
        ended(Outcome::Done),
    ]
}

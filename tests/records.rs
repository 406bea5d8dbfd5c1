//! The words on disk. `golden/records.jsonl` holds one line of each type of record; a released line is never
//! changed, whoever changes a type adds lines. A test that fails here means: old logs would read differently.

#![allow(clippy::panic)] // helpers of tests fail the test
#![allow(unreachable_pub)] // helpers are shared with another test

#[allow(dead_code)]
#[path = "store/samples.rs"]
mod samples;

use std::collections::BTreeMap;

use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::Value;
use sternway::domain::canonical;
use sternway::domain::event::{Event, FORMAT, Needs, Outcome, Subject};
use sternway::domain::ids::{ApprovalId, Position, ReleaseId, RunId};
use sternway::domain::names::RoleName;
use sternway::domain::plan::{
    Follows, HealthCheck, HealthRule, Input, PlanNotes, PlannedStep, Proof, Proxy, Restart, Settings, StartFirst,
    StepAction, StepOutput, Swap, Tie, Undo, WayOut,
};
use sternway::domain::release::{Origin, subject_key};
use sternway::domain::run::name_of;
use sternway::store::Hash;
use sternway::store::checkpoint::Signer;
use sternway::store::line::{Line, LogId, write};
use sternway::store::merkle::Tree;
use sternway::store::record::{OfBatch, Wire, decode, encode};

use samples::*;

const GOLDEN: &str = include_str!("golden/records.jsonl");

/// Raised together with a new line in the golden file.
const TYPES: usize = 31;

/// Number of a type. No `_`: a new variant does not compile until it stands here, and the test below then
/// asks for its golden line.
fn number(event: &Event) -> usize {
    match event {
        Event::Genesis { .. } => 0,
        Event::Started { .. } => 1,
        Event::Stopped => 2,
        Event::IndexRebuilt { .. } => 3,
        Event::NewEpoch { .. } => 29,
        Event::Checkpoint { .. } => 30,
        Event::Invoked { .. } => 4,
        Event::Said { .. } => 5,
        Event::Refused { .. } => 6,
        Event::RefusalsCounted { .. } => 7,
        Event::Planned { .. } => 8,
        Event::ApprovalAsked { .. } => 9,
        Event::Approved { .. } => 10,
        Event::Granted { .. } => 11,
        Event::RunClaimed { .. } => 12,
        Event::Passed { .. } => 13,
        Event::StepIntent { .. } => 14,
        Event::StepDone { .. } => 15,
        Event::StepFailed { .. } => 16,
        Event::CancelAsked { .. } => 17,
        Event::UndoBegun { .. } => 18,
        Event::UndoIntent { .. } => 19,
        Event::UndoDone { .. } => 20,
        Event::Stuck { .. } => 21,
        Event::Resolved { .. } => 22,
        Event::Resumed => 23,
        Event::Ended { .. } => 24,
        Event::ReleaseSeen { .. } => 25,
        Event::ReleaseProven { .. } => 26,
        Event::ReleaseLeft { .. } => 27,
        Event::ReleaseBack { .. } => 28,
    }
}

/// A plan with the kinds of step that were added later: pulling, letting go, one beside the other, one that follows
/// another, one that is made where there is none.
fn newer_plan(text: &str, n: u32) -> Event {
    let mut plan = plan("shop");
    let swap = match plan.steps.remove(0).action {
        StepAction::SwapService(swap) => *swap,
        other => panic!("the sample plan swaps, not {other:?}"),
    };
    let api = || service("api");
    let step = |action, undo| PlannedStep { action, undo, limit_s: 120 };
    let swapping = |swap: Swap| StepAction::SwapService(Box::new(swap));
    let proxy = |signal: Option<&str>| Proxy { service: service("nginx"), signal: signal.map(str::to_owned) };
    let own_port = HealthCheck::OwnPort { inside: "3000/tcp".to_owned(), path: Some("/health".to_owned()) };
    let beside = Swap {
        number: Some(2),
        health: HealthRule { check: own_port, count: n, interval_ms: 500, deadline_s: 60 },
        start_first: Some(StartFirst { proxies: vec![proxy(Some("HUP")), proxy(None)], drain_ms: 1_500 }),
        ..swap.clone()
    };
    let follows = |tie| Swap {
        service: service("sidecar"),
        to: swap.from.clone(),
        follows: Some(Follows { service: api(), tie }),
        ..swap.clone()
    };
    let made = Swap { replaces: None, missing: true, number: Some(3), ..swap.clone() };
    let restart = |number| {
        StepAction::RestartService(Box::new(Restart {
            service: service("worker"),
            number,
            container: "d".repeat(64),
            after: vec![api(), service("sidecar")],
            fingerprint: image('b', "1.0").fingerprint,
            health: swap.health.clone(),
            grace_s: n,
        }))
    };
    plan.steps = vec![
        step(
            StepAction::PullImage {
                service: api(),
                image: image('a', "1.4"),
                from: format!("registry.example/shop/api@sha256:{}", "ab".repeat(32)),
            },
            Undo::Nothing,
        ),
        step(
            StepAction::ProtectImage { service: service("sidecar"), image: image('b', "1.0") },
            Undo::Action(Box::new(swapping(Swap { replaces: None, ..follows(Tie::Volumes) }))),
        ),
        step(swapping(beside.clone()), Undo::Action(Box::new(swapping(Swap { replaces: None, ..beside })))),
        step(swapping(follows(Tie::Network)), Undo::Nothing),
        step(swapping(follows(Tie::Processes)), Undo::Nothing),
        step(swapping(follows(Tie::Ipc)), Undo::Nothing),
        step(
            swapping(made),
            Undo::Action(Box::new(StepAction::RemoveMade { service: api(), number: Some(3), grace_s: n })),
        ),
        step(
            swapping(Swap { replaces: None, missing: true, ..swap.clone() }),
            Undo::Action(Box::new(StepAction::RemoveMade { service: api(), number: None, grace_s: n })),
        ),
        step(restart(Some(2)), Undo::Action(Box::new(restart(None)))),
        step(
            StepAction::ReleasePins { service: api(), images: vec![image('a', "1.4"), image('b', "1.3")] },
            Undo::Action(Box::new(StepAction::KeepPins { service: api(), images: vec![image('a', "1.4")] })),
        ),
    ];
    let hash = plan.hash().expect("no floats");
    let notes = PlanNotes { frees: vec![text.to_owned()], ..PlanNotes::default() };
    Event::Planned { plan: Box::new(plan), hash, notes }
}

/// A plan with every kind of step, undo, check and input.
fn whole_plan(text: &str, n: u32) -> Event {
    let mut plan = plan("shop");
    plan.reason = text.to_owned();
    plan.arguments.insert("because".to_owned(), text.to_owned());
    let health = |check| HealthRule { check, count: n, interval_ms: 500, deadline_s: 60 };
    let restore = StepAction::RestorePin {
        service: service("api"),
        file: ".env".to_owned(),
        key: "API_IMAGE".to_owned(),
        old: Some("ab".repeat(32)),
    };
    let mut swap = match plan.steps.remove(0).action {
        StepAction::SwapService(swap) => swap,
        other => panic!("the sample plan swaps, not {other:?}"),
    };
    swap.settings = Settings::Recorded;
    swap.target_spec = Some(spec());
    swap.health = health(HealthCheck::Tcp { port: 8080 });
    let step = |action, undo| PlannedStep { action, undo, limit_s: 120 };
    plan.steps = vec![
        step(StepAction::ProtectImage { service: service("api"), image: image('a', "1.4") }, Undo::Nothing),
        step(StepAction::SwapService(swap.clone()), Undo::Action(Box::new(StepAction::SwapService(swap)))),
        step(
            StepAction::WritePin {
                service: service("api"),
                file: ".env".to_owned(),
                key: "API_IMAGE".to_owned(),
                value: "shop/api:1.4".to_owned(),
                old: None,
            },
            Undo::Action(Box::new(restore)),
        ),
        step(StepAction::SignalProxy { proxy: service("nginx"), signal: "HUP".to_owned() }, Undo::Nothing),
        step(
            StepAction::ProveHealth {
                service: service("api"),
                fingerprint: fingerprint('a'),
                health: health(HealthCheck::Exec),
            },
            Undo::Nothing,
        ),
        step(StepAction::DumpDatabase { service: service("mongo") }, Undo::Nothing),
        step(
            StepAction::RestoreDatabase { service: service("mongo"), dump: Input::Known("b120".to_owned()) },
            Undo::Action(Box::new(StepAction::RestoreDatabase { service: service("mongo"), dump: Input::OutputOf(5) })),
        ),
        step(
            StepAction::ResolveRun { run: RunId(Position(7)), way: WayOut::Accept, head: "cd".repeat(32) },
            Undo::OneWay(text.to_owned()),
        ),
        step(
            StepAction::ProveHealth {
                service: service("api"),
                fingerprint: fingerprint('a'),
                health: health(HealthCheck::Weak),
            },
            Undo::Nothing,
        ),
    ];
    let hash = plan.hash().expect("no floats");
    let notes = PlanNotes {
        from_release: Some(ReleaseId(Position(17))),
        to_release: Some(ReleaseId(Position(12))),
        proven: true,
        gap_ms: Some((900, 1500)),
        warnings: vec![text.to_owned()],
        frees: Vec::new(),
    };
    Event::Planned { plan: Box::new(plan), hash, notes }
}

/// At least one record of each type, with that text wherever people or machines may write freely.
fn every_type(text: &str, n: u32) -> Vec<Event> {
    let text = || text.to_owned();
    let step = usize::try_from(n).expect("small");
    let position = Position(u64::from(n));
    let mut heard = invocation(&text(), &text());
    heard.account.detail = Some(text());
    heard.place.thread = Some(RunId(position));
    let release = ReleaseId(position);
    let (shop, api) = (target("shop"), service("api"));
    let proof = |weak| Proof { container: "d".repeat(64), answers: n, after_ms: 1500, weak };
    let amina = || person("amina");
    let ended = |outcome| Event::Ended { outcome };
    let done = |output| Event::StepDone { step, output };
    vec![
        Event::Genesis {
            log_id: "5a".repeat(16),
            host: text(),
            software: "0.1.0".to_owned(),
            keys: vec!["ef".repeat(32)],
            previous: Some("cd".repeat(32)),
        },
        Event::Started {
            software: "0.1.0".to_owned(),
            files: BTreeMap::from([(text(), "ab".repeat(32))]),
            epoch: u64::from(n),
        },
        Event::Stopped,
        Event::IndexRebuilt { why: text() },
        Event::NewEpoch { epoch: u64::from(n), by: text() },
        Event::Invoked {
            invocation: heard.clone(),
            actor: sternway::domain::actor::Actor::Trigger(text()),
            command: text(),
            target: Some(shop.clone()),
            dry_run: n.is_multiple_of(2),
        },
        Event::Said { invocation: heard, actor: Some(sternway::domain::actor::Actor::System) },
        Event::Said { invocation: invocation("e", "/deny"), actor: None },
        Event::Refused { account: account("U1"), tried: text(), kind: "denied".to_owned(), why: text() },
        Event::RefusalsCounted { account: account("U1"), count: u64::from(n), last: text() },
        whole_plan(&text(), n),
        Event::ApprovalAsked {
            plan_hash: "ab".repeat(32),
            needs: Needs { role: RoleName::parse("approver").expect("a name"), count: n },
            expires: at(900),
        },
        Event::Approved {
            approval: ApprovalId(position),
            plan_hash: "ab".repeat(32),
            by: amina(),
            account: account("U1"),
            reason: text(),
        },
        Event::Granted { approval: ApprovalId(position) },
        Event::RunClaimed { target: shop.clone(), plan_hash: "ab".repeat(32), approval: Some(ApprovalId(position)) },
        Event::Passed { plan_hash: "ab".repeat(32) },
        Event::StepIntent { step },
        done(StepOutput::Nothing),
        done(StepOutput::Swapped { effect: true, proof: proof(false), started_ms: Some(900) }),
        done(StepOutput::Proven { proof: proof(true) }),
        done(StepOutput::Dumped { dump: text() }),
        Event::StepFailed { step, why: text() },
        Event::CancelAsked { by: amina() },
        Event::UndoBegun { why: text() },
        Event::UndoIntent { step },
        Event::UndoDone { step },
        Event::Stuck { step, why: text(), remains: vec![text()] },
        Event::Resolved { way: WayOut::Retry, by: RunId(position) },
        Event::Resolved { way: WayOut::Undo, by: RunId(position) },
        Event::Resumed,
        ended(Outcome::Done),
        ended(Outcome::Undone { why: text() }),
        ended(Outcome::Accepted { observed: text() }),
        ended(Outcome::Void { differences: vec![text()] }),
        ended(Outcome::DryRun),
        ended(Outcome::Refused { kind: "busy".to_owned(), why: text() }),
        ended(Outcome::Denied { by: amina(), reason: text() }),
        ended(Outcome::Expired),
        ended(Outcome::Cancelled { by: amina() }),
        Event::ReleaseSeen {
            target: shop.clone(),
            service: api.clone(),
            handles: handles('a', "1.4"),
            spec: spec(),
            origin: Origin::Compose,
            since: at(0),
        },
        Event::ReleaseProven { target: shop.clone(), service: api.clone(), release },
        Event::ReleaseLeft { target: shop.clone(), service: api.clone(), release, run: RunId(position) },
        Event::ReleaseBack {
            target: shop,
            service: api,
            release,
            spec: spec(),
            origin: Origin::Run { run: RunId(position) },
        },
        // Below stands what was added since, in the order in which it was.
        newer_plan(&text(), n),
        done(StepOutput::Released { removed: n, stayed: vec![text()] }),
        Event::Checkpoint { note: note(n), ended: vec![RunId(position)] },
        Event::Checkpoint { note: note(n), ended: Vec::new() },
    ]
}

/// A signed note about a small tree; the same key gives the same signature.
fn note(n: u32) -> String {
    let mut tree = Tree::default();
    tree.push(&n.to_be_bytes());
    let key = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    Signer::new(LogId([0x5a; 16]), key).sign(&tree).expect("its name fits")
}

/// The record of an event, belonging to something when its type can.
fn wire(event: Event, at: Timestamp) -> Wire {
    let subject = match &event {
        Event::ReleaseSeen { target, service, .. }
        | Event::ReleaseProven { target, service, .. }
        | Event::ReleaseLeft { target, service, .. }
        | Event::ReleaseBack { target, service, .. } => Some(Subject::Releases(subject_key(target, service))),
        Event::Genesis { .. }
        | Event::Started { .. }
        | Event::Stopped
        | Event::NewEpoch { .. }
        | Event::IndexRebuilt { .. }
        | Event::Checkpoint { .. }
        | Event::Refused { .. }
        | Event::RefusalsCounted { .. } => None,
        _ => Some(Subject::Run(RunId(Position(42)))),
    };
    let prev_of = subject.is_some().then(|| Hash([3; 32]).to_string());
    let batch = matches!(event, Event::Granted { .. }).then_some(OfBatch(2, 3));
    Wire { v: FORMAT, at, subject, prev_of, batch, body: event }
}

#[test]
fn records_stand_on_disk_as_they_always_have() {
    let mut lines = Vec::new();
    let mut prev = Hash::ZERO;
    for (seq, event) in (0..).zip(every_type("naïve \"quote\" \\ بطء \u{202e} \u{1} \n", 3)) {
        let text = encode(&wire(event, at(seq))).expect("canonical");
        prev = write(&mut lines, LogId([0x5a; 16]), u64::try_from(seq).expect("small"), prev, &text);
    }
    let lines = String::from_utf8(lines).expect("text");
    for (number, (now, golden)) in (1..).zip(lines.lines().zip(GOLDEN.lines())) {
        assert_eq!(now, golden, "line {number}: old logs hold the golden form; it can be added to, not changed");
    }
    let (now, golden) = (lines.lines().count(), GOLDEN.lines().count());
    let rest: Vec<&str> = lines.lines().skip(golden).collect();
    assert_eq!(now, golden, "tests/golden/records.jsonl misses these lines:\n{}", rest.join("\n"));
}

#[test]
fn every_type_has_a_golden_line_and_is_read_back_from_it() {
    let mut found = BTreeMap::new();
    for line in GOLDEN.lines() {
        let cut = Line::cut(line.as_bytes()).expect("a line");
        assert_eq!(cut.proper_hash(LogId([0x5a; 16])), cut.hash, "{line}");
        let wire = decode(cut.event).unwrap_or_else(|e| panic!("{e}: {line}"));
        assert_eq!(encode(&wire).expect("canonical").as_bytes(), cut.event);
        found.insert(number(&wire.body), name_of(&wire.body));
    }
    let missing: Vec<usize> = (0..TYPES).filter(|n| !found.contains_key(n)).collect();
    assert!(missing.is_empty(), "no golden line for types {missing:?}; there are {found:?}");
    let names: std::collections::BTreeSet<_> = found.values().collect();
    assert_eq!(names.len(), found.len(), "two types share a name: {found:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_parsed_from_a_line_is_written_the_same(
        text in "\\PC{0,12}|[\\x00-\\x1f\"\\\\\u{202e}\u{fffd}\u{10000}]{0,6}",
        n in any::<u32>(),
        second in 0..4_000_000_000_i64,
    ) {
        for event in every_type(&text, n) {
            let wire = wire(event, Timestamp::from_second(second).expect("in the calendar"));
            let bytes = encode(&wire).expect("canonical");
            let value: Value = serde_json::from_str(&bytes).expect("JSON");
            prop_assert_eq!(&canonical::text(&value).expect("canonical"), &bytes);
            let back = decode(bytes.as_bytes()).expect("a record");
            prop_assert_eq!(&back, &wire);
            prop_assert_eq!(encode(&back).expect("canonical"), bytes);
        }
    }
}

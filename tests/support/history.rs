//! A long history, written fast: years of nights in seconds, as the bot itself would have left them in a store's
//! folder. Self-contained, so that benches may include it too.
//!
//! [`write`] makes `FOLDER/key` and `FOLDER/log/*.log`, and no index: opening the log builds that from the segments.
//! Every record can follow the one before it by the same rules that the bot obeys, so what is made here opens,
//! verifies and answers questions. The same arguments give the same bytes.

#![allow(dead_code, unreachable_pub)] // each user uses its part
#![allow(clippy::unwrap_used, clippy::panic)] // test support

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ed25519_dalek::SigningKey;
use jiff::Timestamp;
use sternway::domain::actor::{Account, Actor, Surface};
use sternway::domain::event::{Event, FORMAT, Needs, Outcome, Subject};
use sternway::domain::ids::{ApprovalId, Position, RunId};
use sternway::domain::invocation::{Invocation, Place};
use sternway::domain::names::{Fingerprint, HostName, PersonId, ProjectName, RoleName, ServiceName, StackName, Target};
use sternway::domain::plan::{
    HealthCheck, HealthRule, ImageChoice, Plan, PlanNotes, PlannedStep, Proof, Settings, SpecRef, StepAction,
    StepOutput, Swap, Undo,
};
use sternway::domain::release::{Handles, Origin, subject_key};
use sternway::store::Hash;
use sternway::store::checkpoint::Signer;
use sternway::store::line::{LogId, write as write_line};
use sternway::store::merkle::Tree;
use sternway::store::record::{Wire, encode};

/// Bytes after which a segment is closed, as in production.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;

/// Stacks that the runs go round: one service each.
const STACKS: u64 = 100;

/// Seconds between two records.
const APART: i64 = 20;

/// The secret key of every such log. A secret of nothing.
pub const KEY: [u8; 32] = [0x5e; 32];

/// What was written.
#[derive(Debug, Clone, Copy)]
pub struct Written {
    /// How many records, genesis included: at least as many as were asked for, up to the end of the run under way.
    pub records: u64,
    /// The last one's hash.
    pub head: Hash,
    /// The log's id.
    pub log: LogId,
    /// Bytes of all segments.
    pub bytes: u64,
    /// Runs that have ended.
    pub runs: u64,
}

/// Writes a log of at least so many records into a fresh folder. `seed` becomes its id.
pub fn write(folder: &Path, records: u64, seed: u64) -> io::Result<Written> {
    write_in_segments(folder, records, seed, SEGMENT_BYTES)
}

/// The same, with segments of another size.
pub fn write_in_segments(folder: &Path, records: u64, seed: u64, segment_bytes: usize) -> io::Result<Written> {
    let mut history = Pen::begin(folder, seed, segment_bytes)?;
    for stack in 0..STACKS.min(records / 20 + 1) {
        history.release(stack)?;
    }
    let mut n = 0;
    while history.next < records {
        history.run(n, n % STACKS)?;
        n += 1;
    }
    history.flush()?;
    history.written.runs = n;
    Ok(history.written)
}

struct Pen<'a> {
    folder: &'a Path,
    segment_bytes: usize,
    log: LogId,
    next: u64,
    prev: Hash,
    subjects: BTreeMap<String, Hash>,
    tree: Tree,
    first: u64,
    bytes: Vec<u8>,
    written: Written,
}

impl<'a> Pen<'a> {
    fn begin(folder: &'a Path, seed: u64, segment_bytes: usize) -> io::Result<Self> {
        fs::create_dir_all(folder.join("log"))?;
        fs::write(folder.join("key"), format!("{}\n", hex::encode(KEY)))?;
        fs::set_permissions(folder.join("key"), fs::Permissions::from_mode(0o600))?;
        let mut id = *b"history-........";
        id[8..].copy_from_slice(&seed.to_be_bytes());
        let log = LogId(id);
        let written = Written { records: 0, head: Hash::ZERO, log, bytes: 0, runs: 0 };
        let mut pen = Self {
            folder,
            segment_bytes,
            log,
            next: 0,
            prev: Hash::ZERO,
            subjects: BTreeMap::new(),
            tree: Tree::default(),
            first: 0,
            bytes: Vec::new(),
            written,
        };
        let key = SigningKey::from_bytes(&KEY).verifying_key();
        pen.put(
            None,
            Event::Genesis {
                log_id: log.to_string(),
                host: "history".to_owned(),
                software: env!("CARGO_PKG_VERSION").to_owned(),
                keys: vec![hex::encode(key.as_bytes())],
                previous: None,
            },
        )?;
        Ok(pen)
    }

    fn put(&mut self, subject: Option<Subject>, event: Event) -> io::Result<Position> {
        if self.bytes.len() >= self.segment_bytes {
            self.flush()?;
            self.first = self.next;
        }
        let key = subject.as_ref().map(|s| match s {
            Subject::Run(id) => format!("run {id}"),
            Subject::Releases(key) => key.clone(),
        });
        let prev_of = key.as_ref().map(|key| self.subjects.get(key).copied().unwrap_or(Hash::ZERO).to_string());
        let seq = self.next;
        let wire = Wire { v: FORMAT, at: at(seq), subject, prev_of, batch: None, body: event };
        let text = encode(&wire).map_err(io::Error::other)?;
        self.prev = write_line(&mut self.bytes, self.log, seq, self.prev, &text);
        self.tree.push(&self.prev.0);
        if let Some(key) = key {
            self.subjects.insert(key, self.prev);
        }
        self.next += 1;
        self.written.records = self.next;
        self.written.head = self.prev;
        Ok(Position(seq))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.written.bytes += self.bytes.len() as u64;
        fs::write(self.folder.join(format!("log/{:012}.log", self.first)), &self.bytes)?;
        self.bytes.clear();
        Ok(())
    }

    fn release(&mut self, stack: u64) -> io::Result<()> {
        let (target, service) = (target(stack), service());
        let event = Event::ReleaseSeen {
            target: target.clone(),
            service: service.clone(),
            handles: Handles {
                fingerprint: fingerprint('a'),
                image: image('a', "1.4").image,
                reference: "shop/api:1.4".to_owned(),
                digests: vec![format!("shop/api@sha256:{}", "a".repeat(64))],
            },
            spec: spec(),
            origin: Origin::Compose,
            since: at(0),
        };
        self.put(Some(Subject::Releases(subject_key(&target, &service))), event)?;
        Ok(())
    }

    /// Asked for, planned, approved, done; now and then somebody is refused first.
    fn run(&mut self, n: u64, stack: u64) -> io::Result<()> {
        if n.is_multiple_of(3) {
            let (tried, kind) = ("/rollback image api".to_owned(), "denied".to_owned());
            let why = "Only people with the role on-call may do that.".to_owned();
            self.put(None, Event::Refused { account: account("U9"), tried, kind, why })?;
        }
        let target = target(stack);
        let plan = plan(&target, n);
        let hash = plan.hash().map_err(io::Error::other)?;
        let run = RunId(Position(self.next));
        let about = || Some(Subject::Run(run));
        let asked = invocation(&format!("e{n}"), "/rollback image api because errors since 1.5", self.next);
        let actor = Actor::Person(person("amina"));
        let command = "rollback image".to_owned();
        let target_of = Some(target.clone());
        let invoked = Event::Invoked { invocation: asked, actor, command, target: target_of, dry_run: false };
        self.put(about(), invoked)?;
        self.put(about(), Event::Planned { plan: Box::new(plan), hash: hash.clone(), notes: PlanNotes::default() })?;
        let needs = Needs { role: RoleName::parse("approver").unwrap(), count: 1 };
        let expires = at(self.next + 1000);
        let asked = self.put(about(), Event::ApprovalAsked { plan_hash: hash.clone(), needs, expires })?;
        let approval = ApprovalId(asked);
        let said = invocation(&format!("v{n}"), &format!("/approve {approval}"), self.next);
        self.put(about(), Event::Said { invocation: said, actor: Some(Actor::Person(person("bashir"))) })?;
        let (by, reason) = (person("bashir"), "seen in the dashboards".to_owned());
        let vote = Event::Approved { approval, plan_hash: hash.clone(), by, account: account("U2"), reason };
        self.put(about(), vote)?;
        self.put(about(), Event::Granted { approval })?;
        let claim = Event::RunClaimed { target, plan_hash: hash.clone(), approval: Some(approval) };
        self.put(about(), claim)?;
        self.put(about(), Event::Passed { plan_hash: hash })?;
        self.put(about(), Event::StepIntent { step: 0 })?;
        let proof = Proof { container: "d".repeat(64), answers: 3, after_ms: 1500, weak: false };
        let output = StepOutput::Swapped { effect: true, proof, started_ms: Some(900) };
        self.put(about(), Event::StepDone { step: 0, output })?;
        self.put(about(), Event::Ended { outcome: Outcome::Done })?;
        let note = Signer::new(self.log, SigningKey::from_bytes(&KEY)).sign(&self.tree).unwrap();
        self.put(None, Event::Checkpoint { note, ended: vec![run] })?;
        self.subjects.remove(&format!("run {run}"));
        Ok(())
    }
}

fn at(seq: u64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + APART * i64::try_from(seq).unwrap()).unwrap()
}

/// The nth stack's target.
pub fn target(stack: u64) -> Target {
    let name = format!("shop{stack}");
    Target { stack: StackName::parse(&name).unwrap(), host: HostName::parse("local").unwrap() }
}

/// The service that every stack has.
pub fn service() -> ServiceName {
    ServiceName::parse("api").unwrap()
}

fn person(name: &str) -> PersonId {
    PersonId::parse(name).unwrap()
}

fn account(id: &str) -> Account {
    Account { surface: Surface::Slack, id: id.to_owned(), detail: None }
}

fn invocation(event: &str, text: &str, seq: u64) -> Invocation {
    Invocation {
        event: event.to_owned(),
        account: account("U1"),
        place: Place { surface: Surface::Slack, channel: "C1".to_owned(), thread: None },
        text: text.to_owned(),
        at: at(seq),
    }
}

fn fingerprint(digit: char) -> Fingerprint {
    Fingerprint::parse(&digit.to_string().repeat(64)).unwrap()
}

fn image(digit: char, tag: &str) -> ImageChoice {
    ImageChoice {
        fingerprint: fingerprint(digit),
        image: format!("sha256:{}", digit.to_string().repeat(64)),
        reference: format!("shop/api:{tag}"),
    }
}

fn spec() -> SpecRef {
    SpecRef { id: "spec-1".to_owned(), mac: "ab".repeat(32) }
}

fn plan(target: &Target, n: u64) -> Plan {
    let swap = Swap {
        service: service(),
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
        target: target.clone(),
        project: ProjectName::parse(target.stack.as_str()).unwrap(),
        requester: Actor::Person(person("amina")),
        command: "rollback image".to_owned(),
        arguments: BTreeMap::from([("service".to_owned(), "api".to_owned())]),
        reason: format!("errors since 1.5, night {n}"),
        steps: vec![PlannedStep { action: StepAction::SwapService(Box::new(swap)), undo: Undo::Nothing, limit_s: 120 }],
        limit_s: None,
        catalogue: "11".repeat(32),
        policy: "22".repeat(32),
    }
}

//! Read-only questions and their answers in words. Pure: whoever asks has gathered what is needed.

mod releases;

use jiff::Timestamp;

pub use releases::{Disk, OnDisk, releases, with_alarm};

use crate::agent::{ContainerFacts, ContainerState, EngineFacts, ServiceFacts};
use crate::domain::card::{Card, Line, Tone, code, strong, text};
use crate::domain::event::{Event, Outcome};
use crate::domain::names::{ServiceName, Target};
use crate::domain::release::History;
use crate::domain::run::{RunState, Status, name_of};
use crate::domain::text::{shorten, visible};
use crate::store::{Record, checkpoint};
use crate::story::en::{date_time, duration};

/// A service as `/status` shows it.
pub struct ServiceStatus {
    /// Its name.
    pub name: ServiceName,
    /// What the engine says.
    pub facts: ServiceFacts,
    /// What it answered, if it could be asked.
    pub health: Option<Result<(), String>>,
    /// Its releases.
    pub history: History,
    /// Names of containers that are gone, removed or scaled away.
    pub gone: Vec<String>,
}

/// `/status`.
pub fn status(
    target: &Target,
    engine: &EngineFacts,
    services: &[ServiceStatus],
    holder: Option<&RunState>,
    trouble: Option<&str>,
    now: Timestamp,
) -> Card {
    let well = services.iter().all(|s| matches!(s.health, Some(Ok(()))));
    let tone = if trouble.is_some() {
        Tone::Bad
    } else if well {
        Tone::Good
    } else {
        Tone::Warn
    };
    let mut card =
        Card::new(tone, vec![strong(target.to_string()), text(format!(", engine {}", visible(&engine.version)))]);
    if let Some(why) = trouble {
        card = card.line(vec![strong("the record cannot be written, nothing is done: "), text(visible(why))]);
    }
    for service in services {
        let mut line: Line = vec![match &service.health {
            None if service.facts.containers.is_empty() => text("✗ "),
            Some(Ok(())) => text("✓ "),
            Some(Err(_)) => text("✗ "),
            None => text("? "),
        }];
        line.push(strong(service.name.as_str()));
        match service.facts.containers.as_slice() {
            [] => {
                line.push(text(" has no container any more"));
                if let Some(last) = service.history.current.and_then(|id| service.history.get(id)) {
                    let back = format!("/rollback image {} {}", service.name, last.id);
                    line.extend([
                        text("; "),
                        code(visible(&last.handles.reference)),
                        text(" "),
                        code(last.id),
                        text(" ran last: "),
                        code(back),
                        text(" brings it back"),
                    ]);
                }
            }
            [one] => match service.history.of(&one.image.fingerprint) {
                // A container made by a rollback names its image by id; the release knows the team's name for it.
                Some(release) => line.extend([
                    text(" "),
                    code(visible(&release.handles.reference)),
                    text(" "),
                    code(release.id),
                    text(format!(" {}", state_words(one.state, one.started, now))),
                ]),
                None => line.extend([
                    text(" "),
                    code(visible(&one.image.reference)),
                    text(format!(" {}", state_words(one.state, one.started, now))),
                ]),
            },
            many => match many.iter().find_map(|c| c.unfinished) {
                Some(run) => line.push(text(format!(" is being swapped by {run}"))),
                None => line.extend(copies_words(many, &service.history)),
            },
        }
        if let Some(Err(why)) = &service.health {
            line.push(text(format!(": {}", shorten(&visible(why), 80))));
        }
        card = card.line(line);
        if !service.facts.containers.is_empty() && !service.gone.is_empty() {
            let gone: Vec<String> = service.gone.iter().map(|name| visible(name)).collect();
            card = card.line(vec![text(format!("  gone, scaled away or removed: {}", gone.join(", ")))]);
        }
        // Whoever asks because it is down has to know what a rollback would say.
        let obstacles = service.facts.containers.iter().filter(|c| c.state != ContainerState::Running);
        for why in obstacles.flat_map(|c| &c.obstacles) {
            card = card.line(vec![text("  "), text(visible(why))]);
        }
    }
    if services.is_empty() {
        card = card.line(vec![text("no containers of this project on this host")]);
    }
    match holder {
        Some(run) => card
            .line(vec![text("held by "), code(run.id), text(format!(" ({} by {})", run.command, run.requester))])
            .button("Show", format!("/runs show {}", run.id)),
        None => card,
    }
}

/// What the copies of a scaled service run, and how many of them are up.
fn copies_words(copies: &[ContainerFacts], history: &History) -> Line {
    let up = copies.iter().filter(|c| c.state == ContainerState::Running).count();
    let mut images: Vec<(&ContainerFacts, usize)> = Vec::new();
    for one in copies {
        match images.iter_mut().find(|(seen, _)| seen.image.fingerprint == one.image.fingerprint) {
            Some((_, count)) => *count += 1,
            None => images.push((one, 1)),
        }
    }
    let mut line = Line::new();
    for (one, count) in &images {
        let release = history.of(&one.image.fingerprint);
        line.push(text(if images.len() > 1 { format!(" {count} × ") } else { " ".to_owned() }));
        line.push(code(visible(release.map_or(&one.image.reference, |r| &r.handles.reference))));
        if let Some(release) = release {
            line.extend([text(" "), code(release.id)]);
        }
    }
    line.push(text(format!(" {up}/{} up", copies.len())));
    line
}

fn state_words(state: ContainerState, started: Option<Timestamp>, now: Timestamp) -> String {
    let since = started.map(|s| format!(" for {}", duration(s, now))).unwrap_or_default();
    match state {
        ContainerState::Running => format!("up{since}"),
        ContainerState::Restarting => "restarting again and again".to_owned(),
        ContainerState::Created => "created, never started".to_owned(),
        ContainerState::Paused => "paused".to_owned(),
        ContainerState::Exited => "stopped".to_owned(),
        ContainerState::Dead => "dead".to_owned(),
        ContainerState::Missing => "gone".to_owned(),
    }
}

/// `/runs list`.
pub fn runs(runs: &[RunState], now: Timestamp) -> Card {
    let mut card = Card::new(Tone::Plain, vec![strong("Runs"), text(", newest first")]);
    if runs.is_empty() {
        card = card.line(vec![text("none yet")]);
    }
    for run in runs {
        let target = run.target.as_ref().map(|t| format!(" on {t}")).unwrap_or_default();
        card = card.line(vec![
            code(run.id),
            text(" "),
            text(&run.command),
            text(format!("{target} by {}, {} ago: ", run.requester, duration(run.asked, now))),
            strong(status_word(run)),
        ]);
    }
    card
}

/// Where a run stands, in a word or two.
pub fn status_word(run: &RunState) -> &'static str {
    match &run.status {
        Status::Requested => "planning",
        Status::Planned if run.open_approval().is_some() => "waits for approval",
        Status::Planned => "about to begin",
        Status::Claimed => "checking",
        Status::Running => "at work",
        Status::Undoing { .. } => "going back",
        Status::Stuck { .. } => "STUCK",
        Status::Ended { outcome, .. } => match outcome {
            Outcome::Done => "done",
            Outcome::Undone { .. } => "undone",
            Outcome::Accepted { .. } => "accepted as it is",
            Outcome::Void { .. } => "void",
            Outcome::DryRun => "only a plan",
            Outcome::Refused { .. } => "refused",
            Outcome::Denied { .. } => "denied",
            Outcome::Expired => "expired",
            Outcome::Cancelled { .. } => "cancelled",
        },
    }
}

/// `/runs show r42`: the card as it stands, and the whole thread told again from the records.
pub fn run(run: &RunState, thread: &[Record], now: Timestamp) -> Card {
    let mut card = crate::story::en::run_card(run, now, None);
    card = card.detail(vec![text("the records, times in UTC:")]);
    for record in thread {
        card = card.detail(record_line(record));
    }
    card
}

/// `/audit show`.
pub fn records(records: &[Record]) -> Card {
    let mut card = Card::new(Tone::Plain, vec![strong("Records"), text(format!(" ({}), times in UTC", records.len()))]);
    for record in records {
        card = card.line(record_line(record));
    }
    card.button("Verify", "/audit verify".to_owned())
}

fn record_line(record: &Record) -> Line {
    let at = record.at.strftime("%H:%M:%S").to_string();
    vec![
        code(record.position),
        text(format!(" {at} ")),
        strong(name_of(&record.event)),
        text(record_words(&record.event)),
    ]
}

fn record_words(event: &Event) -> String {
    let words = match event {
        Event::Genesis { host, .. } => format!(" on {host}"),
        Event::Started { software, .. } => format!(" sternway {software}"),
        Event::Stopped | Event::Resumed => String::new(),
        Event::IndexRebuilt { why } => format!(": {why}"),
        Event::NewEpoch { epoch, by } => format!(" {epoch} by {by}"),
        Event::Checkpoint { note, .. } => {
            checkpoint::read(note).map_or_else(|e| format!(": {e}"), |(_, says)| format!(" {}", says.short_root()))
        }
        Event::Invoked { invocation, actor, .. } => format!(" by {actor}: {}", visible(&invocation.text)),
        Event::Said { invocation, actor } => {
            let who = actor.as_ref().map_or_else(|| invocation.account.to_string(), ToString::to_string);
            format!(" by {who}: {}", visible(&invocation.text))
        }
        Event::Refused { account, tried, why, .. } => format!(" {account}: {tried}: {why}"),
        Event::RefusalsCounted { account, count, last } => format!(" {account}: {count} more, last {last}"),
        Event::Planned { hash, .. } | Event::Passed { plan_hash: hash } => {
            format!(" plan {}", crate::domain::plan::Plan::short_hash(hash))
        }
        Event::ApprovalAsked { needs, expires, .. } => {
            format!(": {} from {} until {}", needs.count, needs.role, date_time(*expires))
        }
        Event::Approved { by, account, reason, .. } => with_reason(format!(" by {by} ({account})"), reason),
        Event::Granted { approval } => format!(" {approval}"),
        Event::RunClaimed { target, .. } => format!(" {target}"),
        Event::StepIntent { step }
        | Event::StepDone { step, .. }
        | Event::UndoIntent { step }
        | Event::UndoDone { step } => {
            format!(" step {}", step + 1)
        }
        Event::StepFailed { step, why } => format!(" step {}: {why}", step + 1),
        Event::CancelAsked { by } => format!(" by {by}"),
        Event::UndoBegun { why } => format!(": {why}"),
        Event::Stuck { step, why, .. } => format!(" at step {}: {why}", step + 1),
        Event::Resolved { way, by } => format!(" {} by {by}", way.as_str()),
        Event::Ended { outcome } => format!(": {}", outcome_words(outcome)),
        Event::ReleaseSeen { service, handles, .. } => format!(" {service} {}", visible(&handles.reference)),
        Event::ReleaseProven { service, release, .. } => format!(" {service} {release}"),
        Event::ReleaseLeft { service, release, run, .. } => format!(" {service} {release} by {run}"),
        Event::ReleaseBack { service, release, .. } => format!(" {service} {release}"),
    };
    shorten(&words, 160)
}

fn with_reason(words: String, reason: &str) -> String {
    if reason.is_empty() { words } else { format!("{words}: {reason}") }
}

fn outcome_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Undone { why } => format!("undone, {why}"),
        Outcome::Accepted { observed } => format!("accepted, {observed}"),
        Outcome::Void { differences } => format!("void, {}", differences.join("; ")),
        Outcome::DryRun => "only a plan".to_owned(),
        Outcome::Refused { why, .. } => format!("refused, {why}"),
        Outcome::Denied { by, reason } => with_reason(format!("denied by {by}"), reason),
        Outcome::Expired => "expired".to_owned(),
        Outcome::Cancelled { by } => format!("cancelled by {by}"),
    }
}

/// `/audit verify`.
pub fn verified(outcome: Result<crate::store::verify::Verified, crate::store::verify::Damage>) -> Card {
    match outcome {
        Ok(good) => {
            let card =
                Card::new(Tone::Good, vec![strong("The record is whole: "), text(format!("{} records", good.records))]);
            let card = match good.now {
                Some(now) => card.line(vec![text(format!("now: record {} · ", now.size)), code(now.short_root())]),
                None => card,
            };
            let card = match signed_last(&good) {
                Some(says) => card
                    .line(vec![text(format!("signed: record {} · ", says.size)), code(says.short_root())])
                    .line(vec![text("A cut or rewritten record shows only against such a line of before.")])
                    .detail(vec![text("On the host, or on a copy of the store:")])
                    .detail(vec![code(format!("sternway audit verify --checkpoint {says}"))]),
                None => card.line(vec![text("Nothing of it is signed yet.")]),
            };
            match good.verifier {
                Some(key) => card.detail(vec![text("key "), code(key)]),
                None => card,
            }
        }
        Err(damage) => Card::new(Tone::Bad, vec![strong("THE RECORD WAS CHANGED: "), text(damage.to_string())])
            .line(vec![text("Do not trust what comes after it; keep the files as they are.")]),
    }
}

fn signed_last(good: &crate::store::verify::Verified) -> Option<checkpoint::Checkpoint> {
    good.signed.as_ref().and_then(|on_record| checkpoint::read(&on_record.note).ok()).map(|(_, says)| says)
}

/// `/audit export`: a file is made on the host, never sent through chat.
pub fn exported(file: &crate::store::export::ExportedFile) -> Card {
    let (lines, bytes) = (file.exported.lines, file.bytes);
    Card::new(Tone::Good, vec![strong(format!("{lines} records, {bytes} bytes, ")), text("are in a file on the host:")])
        .line(vec![code(file.path.display().to_string())])
        .line(vec![text("SHA-256 "), code(file.sha256.clone())])
        .line(vec![text("Anybody can check it: "), code("sternway audit verify FILE")])
        .line(vec![text("The next export takes its place.")])
}

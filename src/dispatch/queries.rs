//! Answers to what only looks: gathers, and lets `report` put it into words.

use std::collections::BTreeMap;

use super::Core;
use super::core::cannot_read;
use super::intake::{named_run, stack_for};
use crate::agent::{ImageFound, ServiceFacts};
use crate::command::Query;
use crate::command::{Request, Value, closest};
use crate::domain::card::Card;
use crate::domain::event::Subject;
use crate::domain::ids::Position;
use crate::domain::invocation::Invocation;
use crate::domain::names::ServiceName;
use crate::domain::trouble::{Trouble, TroubleKind};
use crate::procedures::planner::cannot_look;
use crate::report::{self, OnDisk};
use crate::store::export::{ExportError, Range, export_beside};

/// Runs in a list.
const LISTED: usize = 10;

/// Records in `/audit show` without a run.
const RECORDS: u64 = 15;

/// The card that answers a query.
///
/// # Errors
/// Why it cannot be answered.
pub async fn answer(core: &Core, invocation: &Invocation, query: Query, request: &Request) -> Result<Card, Trouble> {
    let now = core.clock.now();
    match query {
        Query::Help => match request.arguments.get("command") {
            Some(Value::Command(path)) => Ok(core.catalogue.help(Some(path))),
            _ => Ok(core.catalogue.help(None)),
        },
        Query::Releases => {
            let word =
                request.arguments.service("service").ok_or_else(|| Trouble::usage("It does not say which service."))?;
            let stack = stack_for(core, invocation, word.stack.as_ref())?;
            let target = stack.target();
            let history = core.log.history(&target, &word.service).map_err(|e| cannot_read(&e))?;
            if history.releases.is_empty() {
                let known = core.services.lock().ok().and_then(|s| s.get(&stack.name).cloned()).unwrap_or_default();
                let names: Vec<&str> = known.iter().map(ServiceName::as_str).collect();
                let next = match closest(word.service.as_str(), names.iter().copied()).first() {
                    Some(near) if *near != word.service.as_str() => format!("/releases {near}"),
                    _ => "/status".to_owned(),
                };
                return Err(Trouble::new(
                    TroubleKind::NotFound,
                    format!("Nothing is on record for {} on {target}.", word.service),
                )
                .say(format!("It has: {}.", names.join(", ")))
                .try_this(next));
            }
            let host = core.host(&target.host)?;
            let mut seen = BTreeMap::new();
            for release in &history.releases {
                let held = host.inspect.holdings(&stack.project, &word.service, &release.handles).await;
                let one = match held {
                    Ok(Some(held)) => OnDisk::Here(held),
                    Ok(None) => match host.inspect.find_image(&release.handles).await {
                        Ok(ImageFound::Gone) => OnDisk::Gone,
                        Ok(ImageFound::OtherStore(switched)) => OnDisk::Hidden(switched),
                        Ok(ImageFound::Here { .. }) | Err(_) => continue,
                    },
                    Err(_) => continue,
                };
                seen.insert(release.id, one);
            }
            let keep = usize::try_from(core.config.sternway.keep_releases).unwrap_or(usize::MAX);
            // Without an answer nothing is said of containers.
            let none_there = host.inspect.stack(&stack.project).await.is_ok_and(|facts| {
                facts.gone.contains_key(&word.service) && !facts.services.contains_key(&word.service)
            });
            let disk = report::Disk { seen, keep, none_there };
            Ok(report::releases(&target, &word.service, &history, &disk, now))
        }
        Query::Status => {
            let stack = stack_for(core, invocation, None)?;
            let target = stack.target();
            let host = core.host(&target.host)?;
            let facts = host.inspect.stack(&stack.project).await.map_err(|e| cannot_look(&e))?;
            let holder = core.log.holder(&target).map_err(|e| cannot_read(&e))?;
            let mut services = Vec::new();
            for (name, service) in &facts.services {
                let swapping = service.containers.iter().any(|c| c.unfinished.is_some());
                let health = match service.containers.first() {
                    Some(one) if !swapping || service.containers.len() == 1 => {
                        let rule = core.rules(&stack.name, name, one).health;
                        Some(host.inspect.ask_health(&stack.project, name, &rule).await.map_err(|e| cannot_look(&e))?)
                    }
                    _ => None,
                };
                let history = core.log.history(&target, name).map_err(|e| cannot_read(&e))?;
                let gone = facts.gone.get(name).cloned().unwrap_or_default();
                let (name, facts) = (name.clone(), service.clone());
                services.push(report::ServiceStatus { name, facts, health, history, gone });
            }
            for (name, gone) in facts.gone.iter().filter(|(name, _)| !facts.services.contains_key(*name)) {
                let history = core.log.history(&target, name).map_err(|e| cannot_read(&e))?;
                let (name, facts, gone) = (name.clone(), ServiceFacts::default(), gone.clone());
                services.push(report::ServiceStatus { name, facts, health: None, history, gone });
            }
            services.sort_by(|a, b| a.name.cmp(&b.name));
            let trouble = core.log.trouble();
            let card = report::status(&target, &facts.engine, &services, holder.as_ref(), trouble.as_deref(), now);
            Ok(report::with_alarm(card, facts.switched))
        }
        Query::RunsList => {
            let runs = core.log.runs(LISTED).map_err(|e| cannot_read(&e))?;
            Ok(report::runs(&runs, now))
        }
        Query::RunsShow => {
            let run = named_run(core, request)?;
            let thread = core.log.thread(&Subject::Run(run.id)).map_err(|e| cannot_read(&e))?;
            Ok(report::run(&run, &thread, now))
        }
        Query::AuditShow => {
            let records = match request.arguments.get("run") {
                Some(Value::Run(id)) => core.log.thread(&Subject::Run(*id)).map_err(|e| cannot_read(&e))?,
                _ => {
                    let head = core.log.head().position.0;
                    let from = Position(head.saturating_sub(RECORDS - 1));
                    core.log.read(from, usize::try_from(RECORDS).unwrap_or(usize::MAX)).map_err(|e| cannot_read(&e))?
                }
            };
            Ok(report::records(&records))
        }
        Query::AuditVerify => verify(core).await,
        Query::AuditExport => export(core, request).await,
        Query::DryRun => Err(Trouble::usage("Say which command's plan you want.").try_this("/rollback plan image api")),
    }
}

/// The folder of the log, when it is on disk.
fn store_folder(core: &Core) -> Result<std::path::PathBuf, Trouble> {
    core.store_folder.clone().ok_or_else(|| {
        Trouble::new(TroubleKind::Unavailable, "This Sternway keeps its log in memory; there is no file of it.")
    })
}

/// Writes all records, or those up to the end of a run, into a file on the host. The chain begins with the first record:
/// without what stands before a run nobody could check its records.
async fn export(core: &Core, request: &Request) -> Result<Card, Trouble> {
    let folder = store_folder(core)?;
    let range = match request.arguments.get("run") {
        Some(Value::Run(id)) => {
            let records = core.log.thread(&Subject::Run(*id)).map_err(|e| cannot_read(&e))?;
            if records.is_empty() {
                return Err(
                    Trouble::new(TroubleKind::NotFound, format!("{id} is not on record.")).try_this("/runs list")
                );
            }
            Range { from: None, to: records.last().map(|r| r.position) }
        }
        _ => Range::default(),
    };
    // Reads the whole log: on a thread of its own, so that nothing waits for it.
    match tokio::task::spawn_blocking(move || export_beside(&folder, range)).await {
        Ok(Ok(file)) => Ok(report::exported(&file)),
        Ok(Err(ExportError::Damage(damage))) => Ok(report::verified(Err(damage))),
        Ok(Err(error)) => Err(Trouble::new(TroubleKind::Unavailable, format!("Nothing was exported: {error}."))
            .say("On the host it can go anywhere: sternway audit export --config FILE > audit.jsonl")),
        Err(error) => {
            tracing::error!(%error, "export ended unexpectedly");
            Err(Trouble::internal("audit export"))
        }
    }
}

async fn verify(core: &Core) -> Result<Card, Trouble> {
    let folder = store_folder(core)?;
    // A verification reads the whole log: on a thread of its own, so that nothing waits for it.
    let result = tokio::task::spawn_blocking(move || crate::store::verify::verify(&folder)).await;
    match result {
        Ok(outcome) => Ok(report::verified(outcome)),
        Err(error) => {
            tracing::error!(%error, "verification ended unexpectedly");
            Err(Trouble::internal("audit verify"))
        }
    }
}

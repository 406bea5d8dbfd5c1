//! Look-ups while somebody types, from memory and index only: no engine is asked, nothing is recorded (decision 26).

use std::sync::Arc;

use super::Core;
use crate::chat::{Completion, Lookup};
use crate::command::World;
use crate::domain::actor::Account;
use crate::domain::invocation::Place;
use crate::domain::names::ServiceName;
use crate::domain::run::Status;

/// Runs offered while typing.
const OFFERED: usize = 20;

/// Answers from the bot's memory.
pub struct Memory(pub Arc<Core>);

impl Lookup for Memory {
    fn complete(&self, account: &Account, place: &Place, line: &str, cursor: usize) -> Vec<Completion> {
        let _ = account; // looking is everybody's
        let world = self.world(place);
        self.0
            .catalogue
            .complete(line, cursor, &world)
            .into_iter()
            .map(|s| Completion { text: s.text, about: s.about })
            .collect()
    }

    fn greet(&self, account: &Account, place: &Place) -> Result<String, String> {
        let stack = self.0.config.stack_of(place).map_or_else(|| "no stack".to_owned(), |s| s.name.to_string());
        match self.0.person(account) {
            Some(person) => {
                let roles: Vec<&str> = person.roles.iter().map(crate::domain::names::RoleName::as_str).collect();
                Ok(format!("{} ({}) on {stack}", person.id, roles.join(", ")))
            }
            None => Err(format!("{account} is linked to nobody: you may look, on {stack}")),
        }
    }
}

impl Memory {
    fn world(&self, place: &Place) -> World {
        let core = &self.0;
        let stack = core.config.stack_of(place);
        let services: Vec<ServiceName> = stack
            .and_then(|s| core.services.lock().ok().and_then(|known| known.get(&s.name).cloned()))
            .unwrap_or_default();
        let mut world = World::default();
        if let Some(stack) = stack {
            for service in &services {
                let history = core.log.history(&stack.target(), service).unwrap_or_default();
                let releases = history.releases.iter().rev().map(|r| {
                    let proven = if r.proven.is_some() { "proven" } else { "unproven" };
                    (r.id.to_string(), format!("{} {proven}", r.handles.reference))
                });
                world.releases.insert(service.to_string(), releases.collect());
            }
        }
        world.services = services.iter().map(ToString::to_string).collect();
        for run in core.log.runs(OFFERED).unwrap_or_default() {
            let about = format!("{} by {}", run.command, run.requester);
            if matches!(run.status, Status::Stuck { .. }) {
                world.stuck.push((run.id.to_string(), about.clone()));
            }
            if let Some(approval) = run.open_approval() {
                world.approvals.push((approval.id.to_string(), about.clone()));
            }
            world.runs.push((run.id.to_string(), about));
        }
        world
    }
}

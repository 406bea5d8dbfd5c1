//! Look-ups while somebody types, from memory and index only: no engine is asked, nothing is recorded (decision 26).

use std::sync::{Arc, PoisonError};

use super::Core;
use crate::chat::{Completion, Lookup};
use crate::command::{Offer, ServiceWord, World};
use crate::config::stack::Stack;
use crate::domain::actor::Account;
use crate::domain::invocation::Place;
use crate::domain::release::Release;
use crate::domain::run::{RunState, Status};
use crate::domain::text::visible;

/// Runs offered while typing.
const OFFERED: usize = 20;

/// Answers from the bot's memory.
pub struct Memory(pub Arc<Core>);

impl Lookup for Memory {
    fn complete(&self, account: &Account, place: &Place, line: &str, cursor: usize) -> Vec<Completion> {
        let _ = account; // looking is everybody's
        let world = Here { core: &self.0, stack: self.0.config.stack_of(place) };
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

/// What can be named in one place.
struct Here<'a> {
    core: &'a Core,
    stack: Option<&'a Stack>,
}

impl Here<'_> {
    fn runs_where(&self, fits: impl Fn(&RunState) -> bool) -> Vec<Offer> {
        let runs = self.core.log.runs(OFFERED).unwrap_or_default();
        runs.iter()
            .filter(|r| fits(r))
            .map(|r| Offer::new(r.id.to_string(), format!("{} by {}", r.command, r.requester)))
            .collect()
    }
}

impl World for Here<'_> {
    fn services(&self) -> Vec<Offer> {
        let known = self.core.services.lock().unwrap_or_else(PoisonError::into_inner);
        let here = self.stack.and_then(|s| known.get(&s.name));
        here.into_iter().flatten().map(|s| Offer::new(s.as_str(), "")).collect()
    }

    fn releases(&self, service: &str) -> Vec<Offer> {
        let Ok(word) = ServiceWord::parse(service) else { return Vec::new() };
        let stack = word.stack.as_ref().map_or(self.stack, |name| self.core.config.stack(name));
        let Some(stack) = stack else { return Vec::new() };
        let history = self.core.log.history(&stack.target(), &word.service).unwrap_or_default();
        let offer = |r: &Release| {
            let proven = if r.proven.is_some() { "proven" } else { "unproven" };
            Offer::new(r.id.to_string(), format!("{} {proven}", visible(&r.handles.reference)))
        };
        history.releases.iter().rev().filter(|r| history.current != Some(r.id)).map(offer).collect()
    }

    fn runs(&self) -> Vec<Offer> {
        self.runs_where(|_| true)
    }

    fn stuck_runs(&self) -> Vec<Offer> {
        self.runs_where(|r| matches!(r.status, Status::Stuck { .. }))
    }

    fn approvals(&self) -> Vec<Offer> {
        let runs = self.core.log.runs(OFFERED).unwrap_or_default();
        let offer = |r: &RunState| {
            r.open_approval().map(|a| Offer::new(a.id.to_string(), format!("{} of {}", r.command, r.id)))
        };
        runs.iter().filter_map(offer).collect()
    }
}

//! Which containers a service had when they were made last, so that one which is gone can be told and made again from
//! what was recorded of it. A note beside the recorded settings, written as the project is looked at.
//!
//! A container that was removed and one that was scaled away look the same to the engine. So nothing is said to be
//! missing here, only gone: what that means is for whoever plans.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::engine::Engine;
use super::host::{HostAgent, look_error};
use super::ledger::{Copies, LastSeen};
use super::make::in_the_way;
use super::{ContainerFacts, LookError, raw};
use crate::domain::names::{ProjectName, ServiceName};

/// How old the note's time may get while nothing changes: it is written once an hour, not with every look.
const NOTED_EVERY: SignedDuration = SignedDuration::from_hours(1);

/// How long what is gone is told: who has not missed it for a week took it away for good.
const TOLD_FOR: SignedDuration = SignedDuration::from_hours(7 * 24);

/// A container that is gone, put in as it was recorded.
pub(super) struct Gone {
    /// The recorded inspect, in state [`raw::MISSING`].
    pub(super) container: Value,
    /// Name of its record.
    pub(super) spec: String,
    /// What Compose had copied into it, as the engine would list it.
    pub(super) changes: Value,
    /// Who has its name now.
    pub(super) in_the_way: Option<String>,
}

impl<E: Engine> HostAgent<E> {
    /// The containers of a service that has none, as they were recorded.
    pub(super) async fn gone(&self, project: &ProjectName, service: &ServiceName) -> Result<Vec<Gone>, LookError> {
        let other = |e: super::folder::FolderError| LookError::Other(e.to_string());
        let noted = self.ledger.copies(project).map_err(other)?.remove(service);
        let mut out = Vec::new();
        for one in noted.into_iter().flat_map(|noted| noted.copies) {
            let Some(recorded) = self.ledger.spec(&one.spec).map_err(other)? else { return Ok(Vec::new()) };
            let mut container = recorded.container;
            if let Some(map) = container.as_object_mut() {
                map.insert("State".to_owned(), json!({"Status": raw::MISSING}));
            }
            let holder = self.engine.inspect(raw::name(&container)).await.map_err(look_error)?;
            out.push(Gone {
                in_the_way: holder.map(|holder| in_the_way(service, &holder)),
                changes: recorded.copied.iter().map(|path| json!({"Kind": 1, "Path": path})).collect(),
                container,
                spec: one.spec,
            });
        }
        Ok(out)
    }

    /// Writes down which containers a service has; true when it was written. Fewer than before, none of them new, is no news: that some are gone
    /// is to be told until the service is made anew.
    pub(super) fn note_copies(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        seen: &[&ContainerFacts],
        newest: Option<Timestamp>,
        noted: Option<&Copies>,
    ) -> Result<bool, LookError> {
        let now = self.clock.now();
        let copies: Vec<LastSeen> =
            seen.iter().map(|c| LastSeen { name: c.name.clone(), number: c.number, spec: c.spec.id.clone() }).collect();
        if let Some(noted) = noted {
            let fewer = copies.len() < noted.copies.len();
            let fewer = fewer && copies.iter().all(|one| noted.copies.iter().any(|other| other.number == one.number));
            let anew = newest.is_some_and(|created| created > noted.at);
            let stale = now.duration_since(noted.at) >= NOTED_EVERY;
            if (fewer && !anew) || (copies == noted.copies && !stale) {
                return Ok(false);
            }
        }
        let note = Copies { at: now, copies };
        self.ledger.keep_copies(project, service, &note).map_err(|e| LookError::Other(e.to_string()))?;
        Ok(true)
    }

    /// Names of the noted containers that are not there.
    pub(super) fn gone_names(
        &self,
        noted: &BTreeMap<ServiceName, Copies>,
        there: impl Fn(&ServiceName, u32) -> bool,
    ) -> BTreeMap<ServiceName, Vec<String>> {
        let lately = |noted: &Copies| self.clock.now().duration_since(noted.at) < TOLD_FOR;
        let of = |(service, noted): (&ServiceName, &Copies)| {
            let gone = noted.copies.iter().filter(|one| !there(service, one.number)).map(|one| one.name.clone());
            let gone: Vec<String> = gone.collect();
            (!gone.is_empty()).then(|| (service.clone(), gone))
        };
        noted.iter().filter(|(_, noted)| lately(noted)).filter_map(of).collect()
    }
}

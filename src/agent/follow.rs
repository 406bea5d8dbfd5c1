//! Containers that point at others by id (`network_mode: service:x`, `volumes_from: x`): who they are, and whether they
//! point at the containers of today. Only looks.

use serde_json::Value;

use super::engine::Engine;
use super::folder::FolderError;
use super::host::HostAgent;
use super::raw;
use super::spec::{self, Peer};
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::plan::{Follows, Swap};

impl<E: Engine> HostAgent<E> {
    /// Containers as others may point at them: by the ids of today, and by those that our swaps have replaced.
    pub(super) fn peers<'a>(
        &self,
        project: &ProjectName,
        containers: impl Iterator<Item = &'a Value>,
    ) -> Result<Vec<Peer>, FolderError> {
        let with_former = |container: &Value| {
            let mut peer = Peer::of(container);
            if let Ok(service) = ServiceName::parse(&peer.service) {
                for number in [None, Some(raw::number(container))] {
                    let ended = self.ledger.ended(project, &service, number)?;
                    peer.former.extend(ended.into_iter().flat_map(|e| e.all_former()));
                }
                peer.former.retain(|former| *former != peer.id);
            }
            Ok(peer)
        };
        containers.map(with_former).collect()
    }
}

/// The services that a container points at.
pub(super) fn ties(container: &Value, peers: &[Peer]) -> Vec<Follows> {
    let named = spec::ties(container, peers).into_iter();
    named.filter_map(|(peer, tie)| Some(Follows { service: ServiceName::parse(&peer.service).ok()?, tie })).collect()
}

/// Whether a container that follows others is where they are: it points at the containers of today, and joined the
/// namespaces that they have since their last start. Any other swap has nothing to follow.
pub(super) fn is_there(swap: &Swap, present: &Value, all: &[Value], peers: &[Peer]) -> bool {
    if swap.follows.is_none() {
        return true;
    }
    let joined = |id: &str| {
        let host = all.iter().find(|c| raw::id(c) == id);
        host.is_some_and(|host| raw::started(host) <= raw::started(present))
    };
    spec::points_at_today(present, peers)
        && spec::hosts(present, peers).is_some_and(|hosts| hosts.into_iter().all(joined))
}

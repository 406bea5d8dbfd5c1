//! The other containers of the project, as far as a container can point at them (`container:<id>`).

use serde_json::Value;

use super::json::{at, is_empty, strings, text};
use super::labels::{NUMBER, ONEOFF, SERVICE, label};
use super::own::joined;
use crate::domain::plan::Tie;

/// One container of the project, other than the one in question.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Peer {
    /// Full id.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// Its service.
    pub service: String,
    /// Compose's number of it, as its label has it.
    pub number: String,
    /// Whether it is one of `docker compose run`.
    pub oneoff: bool,
    /// Ids of containers that this service had before, by the ledger; add them so that a mode that names one of
    /// them can be led to the container of today.
    pub former: Vec<String>,
    /// Ids or names of the containers whose namespaces or volumes it uses.
    pub uses: Vec<String>,
    /// What it has mounted: destination, and the volume's name or the folder on the host.
    pub mounts: Vec<(String, String)>,
}

/// `HostConfig` keys that can hold `container:<id>`.
pub(super) const MODES: [&str; 3] = ["NetworkMode", "PidMode", "IpcMode"];

impl Peer {
    /// From inspect; `former` is left empty.
    pub fn of(inspect: &Value) -> Self {
        let mounts = at(inspect, &["Mounts"]).as_array().into_iter().flatten();
        Self {
            id: text(inspect, &["Id"]).to_owned(),
            name: text(inspect, &["Name"]).trim_start_matches('/').to_owned(),
            service: label(inspect, SERVICE).to_owned(),
            number: label(inspect, NUMBER).to_owned(),
            oneoff: label(inspect, ONEOFF) == "True",
            former: Vec::new(),
            uses: references(inspect).into_iter().map(|(_, named)| named.to_owned()).collect(),
            mounts: mounts.map(|m| (text(m, &["Destination"]).to_owned(), what_is_mounted(m).to_owned())).collect(),
        }
    }

    fn is(&self, id_or_name: &str) -> bool {
        self.is_now(id_or_name) || self.former.iter().any(|former| means(former, id_or_name))
    }

    fn is_now(&self, id_or_name: &str) -> bool {
        means(&self.id, id_or_name) || self.name == id_or_name.trim_start_matches('/')
    }
}

/// Whether a reference means the container of this id.
fn means(full: &str, id: &str) -> bool {
    full == id || (id.len() >= 12 && full.starts_with(id))
}

/// The containers that a container points at, by the words it uses.
fn references(inspect: &Value) -> Vec<(Tie, &str)> {
    let host = at(inspect, &["HostConfig"]);
    let ties = [Tie::Network, Tie::Processes, Tie::Ipc];
    let modes = MODES.iter().zip(ties).filter_map(|(key, tie)| Some((tie, joined(text(host, &[key]))?)));
    let volumes = strings(at(host, &["VolumesFrom"])).into_iter().filter_map(|entry| entry.split(':').next());
    modes.chain(volumes.map(|named| (Tie::Volumes, named))).collect()
}

/// Whom of the project a container points at, and for what; each once, by its closest tie.
pub fn ties<'p>(inspect: &Value, peers: &'p [Peer]) -> Vec<(&'p Peer, Tie)> {
    let mut found: Vec<(&Peer, Tie)> = Vec::new();
    for (tie, named) in references(inspect) {
        let peer = peers.iter().find(|p| p.is_now(named)).or_else(|| peers.iter().find(|p| p.is(named)));
        if let Some(peer) = peer.filter(|p| !found.iter().any(|(known, _)| known.id == p.id)) {
            found.push((peer, tie));
        }
    }
    found
}

/// Whether everything that a container points at is a container of today.
pub fn points_at_today(inspect: &Value, peers: &[Peer]) -> bool {
    references(inspect).iter().all(|(_, named)| peers.iter().any(|p| p.is_now(named)))
}

/// Ids of the containers in whose namespaces a container lives: its process joins them when it starts. `None` when one
/// of them is gone, so that it cannot be started.
pub fn hosts<'p>(inspect: &Value, peers: &'p [Peer]) -> Option<Vec<&'p str>> {
    let joins = references(inspect).into_iter().filter(|(tie, _)| *tie != Tie::Volumes);
    joins.map(|(_, named)| peers.iter().find(|p| p.is_now(named)).map(|p| p.id.as_str())).collect()
}

/// `container:<today's id>` for a mode that names a container of the project; `None` when none of them is meant.
pub(super) fn translate(mode: &str, peers: &[Peer]) -> Option<String> {
    let wanted = joined(mode)?;
    peers.iter().find(|p| p.is(wanted)).map(|p| format!("container:{}", p.id))
}

/// A volume's name, or the folder of the host.
fn what_is_mounted(mount: &Value) -> &str {
    let name = text(mount, &["Name"]);
    if name.is_empty() { text(mount, &["Source"]) } else { name }
}

/// The containers that `VolumesFrom` names, each with its entry as it has to be today; `Err` when one of them is none
/// of the project (any more).
pub(super) fn volumes_from<'a>(inspect: &Value, peers: &'a [Peer]) -> Result<Vec<(&'a Peer, String)>, ()> {
    let entries = strings(at(inspect, &["HostConfig", "VolumesFrom"])).into_iter();
    let today = |entry: &str| {
        let (named, mode) = entry.split_once(':').map_or((entry, None), |(named, mode)| (named, Some(mode)));
        let peer = peers.iter().find(|p| p.is(named))?;
        // A name stays a name: it is today's container's already.
        let named = if named.trim_start_matches('/') == peer.name { named } else { &peer.id };
        Some((peer, mode.map_or(named.to_owned(), |mode| format!("{named}:{mode}"))))
    };
    entries.map(|entry| today(entry).ok_or(())).collect()
}

/// Whether this mount of the container is there because of `volumes_from`: it comes again by itself.
pub(super) fn is_brought(inspect: &Value, mount: &Value, peers: &[Peer]) -> bool {
    if is_empty(at(inspect, &["HostConfig", "VolumesFrom"])) {
        return false;
    }
    let (destination, what) = (text(mount, &["Destination"]), what_is_mounted(mount));
    let from = volumes_from(inspect, peers).unwrap_or_default();
    from.iter().flat_map(|(peer, _)| &peer.mounts).any(|(at, of)| at == destination && of == what)
}

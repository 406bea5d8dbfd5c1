//! What the agent knows of its own deeds: open operations, how the last ones ended, and what it recorded of
//! containers and images. Typed access to the [`Folder`]; labels on containers are only a second witness.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Order;
use super::folder::{Folder, FolderError, Room};
use super::operation::Operation;
use crate::domain::canonical;
use crate::domain::ids::RunId;
use crate::domain::names::{ProjectName, ServiceName};
use crate::domain::plan::Proof;

/// A container as it was recorded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedSpec {
    /// Raw inspect, without what changes by itself.
    pub container: Value,
    /// Id of the image it was made from.
    pub image: String,
    /// Paths of secrets that Compose had copied into it: they went with it, as their content is recorded nowhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub copied: Vec<String>,
}

/// How the last operation of a service ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// The run it belonged to.
    pub run: RunId,
    /// Full id of the container that ran before.
    pub old: String,
    /// Full id of the container made for it.
    pub new: Option<String>,
    /// `None`: fully new. Else why it is fully old.
    pub back: Option<String>,
    /// The proof of the new one.
    pub proof: Option<Proof>,
    /// Milliseconds from the order to the new container's start.
    pub started_ms: Option<u64>,
    /// Containers that the service had before that, the newest first: others may still point at one of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub former: Vec<String>,
}

impl Ended {
    /// Ids of the service's containers before the one of today, newest first.
    pub fn all_former(self) -> Vec<String> {
        let last = if self.back.is_none() { Some(self.old) } else { self.new };
        last.into_iter().chain(self.former).take(FORMER_MAX).collect()
    }
}

/// Containers remembered of one service: a run makes at most three, and whoever pointed at an older one was made again.
const FORMER_MAX: usize = 8;

/// The containers of a service as they were last seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copies {
    /// When that was written down.
    pub at: Timestamp,
    /// Each of them.
    pub copies: Vec<LastSeen>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastSeen {
    /// Its name.
    pub name: String,
    /// Compose's number of it.
    pub number: u32,
    /// Name of the record of its settings.
    pub spec: String,
}

/// When a run last started a container of a service: whoever holds on to that service was started before or since.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// The run.
    pub run: RunId,
    /// By the engine's clock.
    pub at: Timestamp,
}

/// What a pin held before a run changed it. The value stays in this folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OldPin {
    /// The value; `None` when the key was not there.
    pub value: Option<String>,
    /// What the run wrote in its place: only that is ever taken back.
    #[serde(default)]
    pub written: Option<String>,
}

/// The ledger.
#[derive(Debug)]
pub struct Ledger {
    folder: Folder,
}

fn of_service(project: &ProjectName, service: &ServiceName) -> String {
    format!("{project}~{service}")
}

/// File of one container of a service; of its only one without a number.
fn of_container(project: &ProjectName, service: &ServiceName, number: Option<u32>) -> String {
    match number {
        Some(number) => format!("{project}~{service}~{number}"),
        None => of_service(project, service),
    }
}

/// File of a swap that was disowned; its id is hex, so it meets no service's file.
fn disowned(op: &str) -> String {
    format!("disowned.{op}")
}

/// File of when a service was moved; a project's name holds no dot, so it meets no container's file.
fn moved(project: &ProjectName, service: &ServiceName) -> String {
    format!("moved.{}", of_service(project, service))
}

/// File of an image's inspect.
pub(super) fn of_image(id: &str) -> String {
    id.replace(|c: char| !c.is_ascii_alphanumeric(), "-")
}

impl Ledger {
    /// Keeps its files in that folder.
    pub fn new(folder: Folder) -> Self {
        Self { folder }
    }

    /// The folder itself, for the door.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// Every open operation.
    ///
    /// # Errors
    /// When one of them cannot be read: then it is not known what is under way.
    pub fn open(&self) -> Result<Vec<Operation>, FolderError> {
        let mut open = Vec::new();
        for name in self.folder.names(Room::Operations)? {
            open.extend(self.folder.read::<Operation>(Room::Operations, &name)?);
        }
        Ok(open)
    }

    /// Writes an operation down, durably.
    ///
    /// # Errors
    /// When it cannot be: then nothing that depends on it may be done.
    pub fn keep(&self, op: &Operation) -> Result<(), FolderError> {
        self.folder.write(Room::Operations, &of_container(&op.project, &op.service, op.number), op)
    }

    /// Closes an operation: first how it ended and when its container was `started`, if anything was stopped; then that
    /// it is no longer open.
    ///
    /// # Errors
    /// When it cannot be written; the operation is open then and ends the same way once more.
    pub fn close(&self, op: &Operation, ended: &Ended, started: Option<Moved>) -> Result<(), FolderError> {
        let name = of_container(&op.project, &op.service, op.number);
        if let Some(started) = started {
            self.folder.write(Room::Ended, &moved(&op.project, &op.service), &started)?;
        }
        self.folder.write(Room::Ended, &name, ended)?;
        self.folder.remove(Room::Operations, &name)
    }

    /// Remembers that the order's run started a container of a service at that time.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_moved(&self, order: &Order, service: &ServiceName, at: Timestamp) -> Result<(), FolderError> {
        self.folder.write(Room::Ended, &moved(&order.project, service), &Moved { run: order.run, at })
    }

    /// When a run last started a container of the service.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn moved(&self, project: &ProjectName, service: &ServiceName) -> Result<Option<Moved>, FolderError> {
        self.folder.read(Room::Ended, &moved(project, service))
    }

    /// Takes an open operation off the list without an end: a person declared that what is there is so.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn drop_open(&self, op: &Operation) -> Result<(), FolderError> {
        self.folder.remove(Room::Operations, &of_container(&op.project, &op.service, op.number))
    }

    /// From here on the labels of this swap say nothing any more.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn disown(&self, project: &ProjectName, op: &str) -> Result<(), FolderError> {
        self.folder.write(Room::Ended, &disowned(op), project)
    }

    /// Whether a person declared this swap's remains to be so. What cannot be read counts as not.
    pub fn is_disowned(&self, op: &str) -> bool {
        matches!(self.folder.read::<ProjectName>(Room::Ended, &disowned(op)), Ok(Some(_)))
    }

    /// How the last operation of a service's container ended.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn ended(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        number: Option<u32>,
    ) -> Result<Option<Ended>, FolderError> {
        self.folder.read(Room::Ended, &of_container(project, service, number))
    }

    /// Records a container and gives the record's name. The same settings give the same name, whatever the
    /// container's uptime, restarts and addresses.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record(&self, container: &Value, image: &str, copied: &[String]) -> Result<String, FolderError> {
        let recorded = RecordedSpec { container: steady(container), image: image.to_owned(), copied: copied.to_vec() };
        let id = spec_id(&recorded);
        self.folder.touch(Room::Specs, &id);
        if !self.folder.has(Room::Specs, &id) {
            self.folder.write(Room::Specs, &id, &recorded)?;
        }
        Ok(id)
    }

    /// A recorded container. `None` when there is none of that name, or what is there is not what was recorded.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn spec(&self, id: &str) -> Result<Option<RecordedSpec>, FolderError> {
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Ok(None); // a name from outside is no path
        }
        let found: Option<RecordedSpec> = self.folder.read(Room::Specs, id)?;
        Ok(found.filter(|spec| spec_id(spec) == id))
    }

    /// Remembers an image's inspect: it may be needed when the image object is gone and its container lives.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn record_image(&self, id: &str, image: &Value) -> Result<(), FolderError> {
        let name = of_image(id);
        self.folder.touch(Room::Images, &name);
        if self.folder.has(Room::Images, &name) {
            return Ok(());
        }
        self.folder.write(Room::Images, &name, image)
    }

    /// An image's inspect as recorded.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn image(&self, id: &str) -> Result<Option<Value>, FolderError> {
        self.folder.read(Room::Images, &of_image(id))
    }

    /// Remembers what a pin held before a run changed it. The first note of a run stands: a repeated step
    /// must not take our own value for the old one.
    ///
    /// # Errors
    /// When it cannot be written: then the pin must not be changed.
    pub fn keep_pin(&self, run: RunId, project: &ProjectName, at: &str, old: &OldPin) -> Result<(), FolderError> {
        let name = pin_name(run, project, at);
        if self.folder.has(Room::Pins, &name) {
            return Ok(());
        }
        self.folder.write(Room::Pins, &name, old)
    }

    /// What a pin held before a run changed it.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn old_pin(&self, run: RunId, project: &ProjectName, at: &str) -> Result<Option<OldPin>, FolderError> {
        self.folder.read(Room::Pins, &pin_name(run, project, at))
    }

    /// Remembers a filled dependency label: tools that recreate single services write an empty one
    /// (docker-facts section 1).
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_depends(&self, project: &ProjectName, service: &ServiceName, label: &str) -> Result<(), FolderError> {
        let name = of_service(project, service);
        let known: Option<String> = self.folder.read(Room::Depends, &name)?;
        if label.is_empty() || known.as_deref() == Some(label) {
            return Ok(());
        }
        self.folder.write(Room::Depends, &name, &label)
    }

    /// The dependency label of a service as last seen filled.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn depends(&self, project: &ProjectName, service: &ServiceName) -> Result<Option<String>, FolderError> {
        self.folder.read(Room::Depends, &of_service(project, service))
    }
}

impl Ledger {
    /// Remembers which containers a service had.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_copies(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        copies: &Copies,
    ) -> Result<(), FolderError> {
        self.folder.write(Room::Copies, &of_service(project, service), copies)
    }

    /// Which containers each service of a project had when they were last seen.
    ///
    /// # Errors
    /// When a note cannot be read.
    pub fn copies(&self, project: &ProjectName) -> Result<BTreeMap<ServiceName, Copies>, FolderError> {
        let mut out = BTreeMap::new();
        for name in self.folder.names(Room::Copies)? {
            let service = name.strip_prefix(project.as_str()).and_then(|rest| rest.strip_prefix('~'));
            let Some(service) = service.and_then(|s| ServiceName::parse(s).ok()) else { continue };
            if let Some(copies) = self.folder.read::<Copies>(Room::Copies, &name)? {
                out.insert(service, copies);
            }
        }
        Ok(out)
    }

    /// Records of settings that these notes name.
    ///
    /// # Errors
    /// When a note cannot be read.
    pub fn specs_of_copies(&self) -> Result<BTreeSet<String>, FolderError> {
        let mut out = BTreeSet::new();
        for name in self.folder.names(Room::Copies)? {
            let copies = self.folder.read::<Copies>(Room::Copies, &name)?;
            out.extend(copies.into_iter().flat_map(|c| c.copies).map(|one| one.spec));
        }
        Ok(out)
    }
}

/// The run whose note of a pin this is.
pub(super) fn run_of_pin(name: &str) -> Option<RunId> {
    RunId::parse(name.split('~').next()?).ok()
}

fn pin_name(run: RunId, project: &ProjectName, at: &str) -> String {
    use sha2::{Digest, Sha256};
    let place = hex::encode(Sha256::digest(at.as_bytes()));
    format!("{run}~{project}~{}", &place[..16])
}

/// Digits of a record's name: enough for every container a host will ever run.
const SPEC_ID_DIGITS: usize = 32;

fn spec_id(spec: &RecordedSpec) -> String {
    // What an engine tells has no floats; if one ever does, its text stands in for it.
    let mut id = canonical::sha256("sternway-spec-v1", spec)
        .or_else(|_| canonical::sha256("sternway-spec-v1", &serde_json::json!(spec).to_string()))
        .unwrap_or_default();
    id.truncate(SPEC_ID_DIGITS);
    id
}

/// An inspect without what changes while the settings stay the same: a plan's hash must not move because a
/// container was restarted (decision 11).
pub fn steady(container: &Value) -> Value {
    const FLEETING: [&str; 12] = [
        "State",
        "RestartCount",
        "ResolvConfPath",
        "HostnamePath",
        "HostsPath",
        "LogPath",
        "ExecIDs",
        "GraphDriver",
        "Storage",
        "SizeRw",
        "SizeRootFs",
        "ProcessLabel",
    ];
    const FLEETING_ENDPOINT: [&str; 10] = [
        "NetworkID",
        "EndpointID",
        "Gateway",
        "IPAddress",
        "IPPrefixLen",
        "IPv6Gateway",
        "GlobalIPv6Address",
        "GlobalIPv6PrefixLen",
        "MacAddress",
        "DNSNames",
    ];
    let mut out = container.clone();
    if let Some(map) = out.as_object_mut() {
        for key in FLEETING {
            map.remove(key);
        }
        let mut networks = map.get("NetworkSettings").and_then(|n| n.get("Networks")).cloned().unwrap_or_default();
        for (_, endpoint) in networks.as_object_mut().into_iter().flatten() {
            for key in FLEETING_ENDPOINT {
                endpoint.as_object_mut().map(|e| e.remove(key));
            }
        }
        map.insert("NetworkSettings".to_owned(), serde_json::json!({"Networks": networks}));
        // The order of Mounts is random per call before engine 29.
        if let Some(mounts) = map.get_mut("Mounts").and_then(Value::as_array_mut) {
            mounts.sort_by_key(|m| m.get("Destination").and_then(Value::as_str).unwrap_or_default().to_owned());
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::path::Path;

    fn ledger(dir: &Path) -> Ledger {
        Ledger::new(Folder::open(dir).unwrap())
    }

    fn inspect(address: &str, restarts: u64, env: &str) -> Value {
        json!({
            "Id": "c1", "RestartCount": restarts, "State": {"Running": restarts == 0},
            "Config": {"Env": [env]},
            "Mounts": [{"Destination": "/b"}, {"Destination": "/a"}],
            "NetworkSettings": {"IPAddress": address, "Networks": {"n": {"IPAddress": address, "Aliases": ["api"]}}}
        })
    }

    #[test]
    fn a_restart_gives_the_same_record_and_another_setting_another() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path());
        let one = ledger.record(&inspect("172.18.0.2", 0, "A=1"), "sha256:i", &[]).unwrap();
        assert_eq!(ledger.record(&inspect("172.18.0.9", 7, "A=1"), "sha256:i", &[]).unwrap(), one);
        assert_ne!(ledger.record(&inspect("172.18.0.2", 0, "A=2"), "sha256:i", &[]).unwrap(), one);
        assert_ne!(ledger.record(&inspect("172.18.0.2", 0, "A=1"), "sha256:j", &[]).unwrap(), one);
        assert_eq!(ledger.spec(&one).unwrap().unwrap().container["Config"]["Env"][0], "A=1");
    }

    #[test]
    fn a_record_that_is_not_what_was_recorded_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path());
        let id = ledger.record(&inspect("a", 0, "A=1"), "sha256:i", &[]).unwrap();
        let path = ledger.folder().path(Room::Specs, &id);
        let changed = std::fs::read_to_string(&path).unwrap().replace("A=1", "A=9");
        std::fs::write(&path, changed).unwrap();
        assert_eq!(ledger.spec(&id).unwrap(), None);
        assert_eq!(ledger.spec("../operations/x").unwrap(), None);
    }

    #[test]
    fn the_first_note_of_a_pin_stands() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path());
        let run = RunId(crate::domain::ids::Position(4));
        let project = ProjectName::parse("shop").unwrap();
        ledger.keep_pin(run, &project, ".env#A", &OldPin { value: Some("old".into()), written: None }).unwrap();
        ledger.keep_pin(run, &project, ".env#A", &OldPin { value: Some("ours".into()), written: None }).unwrap();
        assert_eq!(ledger.old_pin(run, &project, ".env#A").unwrap().unwrap().value.as_deref(), Some("old"));
    }

    #[test]
    fn an_empty_dependency_label_does_not_replace_a_filled_one() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = ledger(dir.path());
        let (project, service) = (ProjectName::parse("shop").unwrap(), ServiceName::parse("api").unwrap());
        ledger.keep_depends(&project, &service, "mongo:service_started:false").unwrap();
        ledger.keep_depends(&project, &service, "").unwrap();
        assert_eq!(ledger.depends(&project, &service).unwrap().as_deref(), Some("mongo:service_started:false"));
    }
}

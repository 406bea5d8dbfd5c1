//! Everything a simulated engine has, and what its calls do to it. Time comes in as an argument.
//!
//! The words of refusals are those of engine 20.10, as the conformance suite saw them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::compose::ComposeService;
use super::container::{Container, Status};
use super::images::{Images, Use};
use super::registry::Registry;
use super::{create, hex_id, refused};
use crate::agent::engine::EngineError;
use crate::agent::{EngineFacts, StoreKind};
use crate::domain::names::ProjectName;

const PROJECT_LABEL: &str = "com.docker.compose.project";
/// Events that an engine remembers.
const EVENTS_KEPT: usize = 256;
/// Where random host ports begin, as on Linux.
const RANDOM_PORTS: std::ops::Range<u16> = 32768..60999;

#[derive(Debug)]
pub(super) struct World {
    pub(super) facts: EngineFacts,
    pub(super) reachable: bool,
    pub(super) disk_full: bool,
    pub(super) free_bytes: Option<u64>,
    pub(super) images: Images,
    pub(super) containers: Vec<Container>,
    /// Network ids by name.
    pub(super) networks: BTreeMap<String, String>,
    /// What compose was last told to run, by project and service.
    pub(super) composed: BTreeMap<(String, String), ComposeService>,
    /// Projects to be hinted at after the call.
    pub(super) moved: BTreeSet<String>,
    pub(super) registry: Registry,
    /// Starts of containers as events, for whoever asks later.
    pub(super) past: VecDeque<Value>,
    /// What the other image store has.
    hidden: (Images, Vec<Container>),
    serial: u64,
}

impl World {
    pub(super) fn new(facts: EngineFacts) -> Self {
        let networks =
            ["bridge", "host", "none"].iter().enumerate().map(|(n, name)| (name.to_string(), hex_id("net", n as u64)));
        Self {
            facts,
            reachable: true,
            disk_full: false,
            free_bytes: Some(50_000_000_000),
            images: Images::default(),
            containers: Vec::new(),
            networks: networks.collect(),
            composed: BTreeMap::new(),
            moved: BTreeSet::new(),
            registry: Registry::default(),
            past: VecDeque::new(),
            hidden: Default::default(),
            serial: 100,
        }
    }

    fn remember(&mut self, index: usize, now: Timestamp) {
        let container = &self.containers[index];
        let mut attributes = container.config["Labels"].clone();
        if !attributes.is_object() {
            attributes = json!({});
        }
        attributes["image"] = container.config["Image"].clone();
        attributes["name"] = json!(container.name);
        let actor = json!({"ID": container.id, "Attributes": attributes});
        self.happened("container", "start", actor, now);
    }

    /// An image got a name.
    pub(super) fn named(&mut self, reference: &str, now: Timestamp) {
        self.happened("image", "tag", json!({"ID": "sha256:", "Attributes": {"name": reference}}), now);
    }

    pub(super) fn tag(&mut self, image: &str, repository: &str, tag: &str, now: Timestamp) -> Result<(), EngineError> {
        self.images.tag(image, repository, tag)?;
        self.named(&format!("{repository}:{tag}"), now);
        Ok(())
    }

    fn happened(&mut self, kind: &str, action: &str, actor: Value, now: Timestamp) {
        let nanos = i64::try_from(now.as_nanosecond()).unwrap_or(i64::MAX);
        self.past.push_back(json!({
            "Type": kind, "Action": action, "status": action, "Actor": actor, "scope": "local",
            "time": now.as_second(), "timeNano": nanos
        }));
        if self.past.len() > EVENTS_KEPT {
            self.past.pop_front();
        }
    }

    pub(super) fn switch_store(&mut self) {
        std::mem::swap(&mut self.images, &mut self.hidden.0);
        std::mem::swap(&mut self.containers, &mut self.hidden.1);
        self.facts.store = match self.facts.store {
            StoreKind::GraphDriver => StoreKind::Containerd,
            StoreKind::Containerd => StoreKind::GraphDriver,
        };
    }

    pub(super) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn settle(&mut self, now: Timestamp) {
        for index in 0..self.containers.len() {
            if self.containers[index].settle(now) {
                self.note(index);
            }
        }
    }

    /// Hints at the project of a container.
    fn note(&mut self, index: usize) {
        let project = self.containers[index].label(PROJECT_LABEL).map(str::to_owned);
        self.moved.extend(project.filter(|p| ProjectName::parse(p).is_ok()));
    }

    /// By id, name (with or without slash), or the beginning of an id.
    pub(super) fn position(&self, handle: &str) -> Option<usize> {
        let name = handle.strip_prefix('/').unwrap_or(handle);
        let exact = self.containers.iter().position(|c| c.id == handle || c.name == name);
        exact.or_else(|| {
            let mut fits =
                (0..self.containers.len()).filter(|i| !handle.is_empty() && self.containers[*i].id.starts_with(handle));
            let first = fits.next()?;
            fits.next().is_none().then_some(first)
        })
    }

    fn at(&self, handle: &str) -> Result<usize, EngineError> {
        self.position(handle).ok_or_else(|| EngineError::NotFound(format!("No such container: {handle}")))
    }

    pub(super) fn container(&self, handle: &str) -> Result<&Container, EngineError> {
        self.at(handle).map(|index| &self.containers[index])
    }

    fn room(&self) -> Result<(), EngineError> {
        if self.disk_full { Err(refused(500, "write /var/lib/docker: no space left on device")) } else { Ok(()) }
    }

    fn name_free(&self, name: &str) -> Result<(), String> {
        let Some(owner) = self.containers.iter().find(|c| c.name == name) else { return Ok(()) };
        Err(format!(
            "Conflict. The container name \"/{name}\" is already in use by container \"{}\". You have to remove (or rename) that container to be able to reuse that name.",
            owner.id
        ))
    }

    pub(super) fn uses(&self, image: &str) -> Option<Use> {
        let mut users = self.containers.iter().filter(|c| c.image == image).peekable();
        users.peek()?;
        Some(if users.any(Container::runs) { Use::Running } else { Use::Stopped })
    }

    pub(super) fn create(&mut self, name: &str, body: &Value, now: Timestamp) -> Result<String, EngineError> {
        create::check_name(name)?;
        let reference = body["Image"].as_str().unwrap_or_default();
        let image = self.images.get(reference)?;
        let (image_id, image_config, mut behaviour) = (image.id.clone(), image.config.clone(), image.behaviour);
        if image.arch != self.facts.arch {
            // Created with a warning, started with 204, and dead at once (docker-facts section 4).
            behaviour = super::Behaviour::Exits(1);
        }
        let host = create::host(body);
        check_policy(&host["RestartPolicy"])?;
        let endpoints = create::endpoints(body, &host, &self.facts.api)?;
        self.name_free(name).map_err(EngineError::Conflict)?;
        self.room()?;
        self.joins(&host, false)?;
        let serial = self.next_serial();
        let id = hex_id("container", serial);
        let config = create::config(body, &image_config, &id);
        let mounts = create::mounts(&config, &host, serial);
        self.containers.push(Container {
            serial,
            id: id.clone(),
            name: name.to_owned(),
            image: image_id,
            behaviour,
            config,
            host,
            endpoints,
            addresses: BTreeMap::new(),
            ports: Vec::new(),
            mounts,
            created: now,
            status: Status::Created,
            started: None,
            finished: None,
            exit_code: 0,
            error: String::new(),
            restarts: 0,
            by_hand: false,
            killed_at: None,
            signals: Vec::new(),
        });
        self.note(self.containers.len() - 1);
        Ok(id)
    }

    pub(super) fn start(&mut self, handle: &str, now: Timestamp) -> Result<(), EngineError> {
        let index = self.at(handle)?;
        match self.containers[index].status {
            Status::Running | Status::Restarting { .. } => return Ok(()),
            Status::Paused => {
                return Err(EngineError::Conflict("cannot start a paused container, try unpause instead".to_owned()));
            }
            Status::Created | Status::Exited => {}
            Status::Removing | Status::Dead => {
                return Err(EngineError::Conflict("container is marked for removal and cannot be started".to_owned()));
            }
        }
        self.room()?;
        self.joins(&self.containers[index].host, true)?;
        let laid = self.addresses(index).and_then(|addresses| Ok((addresses, self.ports(index)?)));
        match laid {
            Ok((addresses, ports)) => {
                let container = &mut self.containers[index];
                container.addresses = addresses;
                container.ports = ports;
                container.began(now);
                self.note(index);
                self.remember(index, now);
                Ok(())
            }
            Err(error) => {
                let container = &mut self.containers[index];
                if container.exit_code == 0 {
                    container.exit_code = 128;
                }
                container.error = error.to_string();
                Err(error)
            }
        }
    }

    /// The addresses a start would give, lowest free ones first.
    fn addresses(&self, index: usize) -> Result<BTreeMap<String, (u64, u64)>, EngineError> {
        let container = &self.containers[index];
        let mut given = BTreeMap::new();
        for (network, endpoint) in &container.endpoints {
            given.insert(network.clone(), self.address_in(network, endpoint)?);
        }
        Ok(given)
    }

    fn address_in(&self, network: &str, endpoint: &Value) -> Result<(u64, u64), EngineError> {
        let by_id = |id: &String| *id == network;
        let Some(number) =
            self.networks.iter().position(|(name, id)| name == network || by_id(id)).map(|n| 17 + n as u64)
        else {
            return Err(EngineError::NotFound(format!("network {network} not found")));
        };
        let taken: BTreeSet<u64> =
            self.containers.iter().filter_map(|c| c.addresses.get(network)).map(|(_, host)| *host).collect();
        let wanted = endpoint["IPAMConfig"]["IPv4Address"].as_str().and_then(|a| a.rsplit('.').next()?.parse().ok());
        match wanted {
            Some(host) if taken.contains(&host) => Err(refused(403, "Address already in use")),
            Some(host) => Ok((number, host)),
            None => {
                let free = (2..).find(|host| !taken.contains(host));
                free.map(|host| (number, host)).ok_or_else(|| refused(500, "no available IPv4 addresses"))
            }
        }
    }

    /// The host ports a start would take.
    fn ports(&self, index: usize) -> Result<Vec<(String, u16, String)>, EngineError> {
        let container = &self.containers[index];
        // A binding whose port is not exposed is silently not published (engine 20.10).
        let exposed = |inside: &str| !container.config["ExposedPorts"][inside].is_null();
        let bindings = container.host["PortBindings"].as_object().into_iter().flatten();
        let bindings = bindings.filter(|(inside, _)| exposed(inside));
        let mut wanted: Vec<(String, u16, String)> = Vec::new();
        for (inside, hosts) in bindings {
            for host in hosts.as_array().into_iter().flatten() {
                let ip = host["HostIp"].as_str().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0").to_owned();
                let port = match host["HostPort"].as_str().unwrap_or_default() {
                    "" | "0" => RANDOM_PORTS.into_iter().find(|port| {
                        self.port_owner(*port).is_none() && !wanted.iter().any(|(_, given, _)| given == port)
                    }),
                    said => said.parse().ok(),
                };
                let Some(port) = port else { return Err(refused(400, "invalid port specification")) };
                let protocol = |text: &str| text.rsplit('/').next().unwrap_or("tcp").to_owned();
                let clash = self.containers.iter().flat_map(|c| &c.ports).any(|(theirs, taken, at)| {
                    *taken == port
                        && protocol(at) == protocol(inside)
                        && (*theirs == ip || theirs == "0.0.0.0" || ip == "0.0.0.0")
                });
                if clash {
                    return Err(refused(
                        500,
                        &format!(
                            "driver failed programming external connectivity on endpoint {} ({}): Bind for {ip}:{port} failed: port is already allocated",
                            container.name,
                            hex_id("endpoint", container.serial)
                        ),
                    ));
                }
                wanted.push((ip, port, inside.clone()));
            }
        }
        Ok(wanted)
    }

    /// The container that holds a host port.
    pub(super) fn port_owner(&self, port: u16) -> Option<&Container> {
        self.containers.iter().find(|c| c.ports.iter().any(|(_, held, _)| *held == port))
    }

    /// Ends a container, or says until when it will defy that.
    pub(super) fn stop(
        &mut self,
        handle: &str,
        grace_s: u32,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, EngineError> {
        let index = self.at(handle)?;
        let container = &mut self.containers[index];
        if !container.runs() {
            return Ok(None);
        }
        let restarting = matches!(container.status, Status::Restarting { .. });
        if container.behaviour == super::Behaviour::IgnoresSigterm && !restarting && grace_s > 0 {
            let until = now.checked_add(SignedDuration::from_secs(grace_s.into())).unwrap_or(Timestamp::MAX);
            container.killed_at = Some(container.killed_at.map_or(until, |earlier| earlier.min(until)));
            return Ok(container.killed_at);
        }
        let code = if restarting {
            container.exit_code
        } else if grace_s == 0 {
            137
        } else {
            0
        };
        container.by_hand = true;
        container.ended(code, now, 0);
        self.note(index);
        Ok(None)
    }

    pub(super) fn rename(&mut self, handle: &str, name: &str) -> Result<(), EngineError> {
        let index = self.at(handle)?;
        if self.containers[index].name == name {
            return Ok(());
        }
        create::check_name(name)?;
        self.name_free(name).map_err(|why| EngineError::Conflict(format!("Error when allocating new name: {why}")))?;
        self.room()?;
        self.containers[index].name = name.to_owned();
        self.note(index);
        Ok(())
    }

    pub(super) fn set_restart(&mut self, handle: &str, policy: &Value) -> Result<(), EngineError> {
        let index = self.at(handle)?;
        check_policy(policy)?;
        self.room()?;
        // Engine 20.10 takes an empty name for "not said" and leaves the policy as it is.
        if let Some(name) = policy["Name"].as_str().filter(|name| !name.is_empty()) {
            let tries = policy["MaximumRetryCount"].as_i64().unwrap_or_default();
            self.containers[index].host["RestartPolicy"] = json!({"Name": name, "MaximumRetryCount": tries});
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, handle: &str) -> Result<(), EngineError> {
        let Some(index) = self.position(handle) else { return Ok(()) };
        let container = &self.containers[index];
        let (state, how) = match container.status {
            Status::Running => ("running", "Stop"),
            Status::Restarting { .. } => ("restarting", "Stop"),
            Status::Paused => ("paused", "Unpause and then stop"),
            Status::Created | Status::Exited | Status::Removing | Status::Dead => {
                self.note(index);
                self.containers.remove(index);
                return Ok(());
            }
        };
        Err(EngineError::Conflict(format!(
            "You cannot remove a {state} container {}. {how} the container before attempting removal or force remove",
            container.id
        )))
    }

    pub(super) fn kill(&mut self, handle: &str, signal: &str, now: Timestamp) -> Result<(), EngineError> {
        let index = self.at(handle)?;
        let name = signal.strip_prefix("SIG").unwrap_or(signal);
        let known = ["HUP", "INT", "QUIT", "USR1", "USR2", "TERM", "KILL", "WINCH", "1", "2", "3", "9", "15"];
        if !known.contains(&name) {
            return Err(refused(400, &format!("Invalid signal: {signal}")));
        }
        let container = &mut self.containers[index];
        if !matches!(container.status, Status::Running | Status::Paused) {
            return Err(EngineError::Conflict(format!(
                "Cannot kill container: {handle}: Container {} is not running",
                container.id
            )));
        }
        container.signals.push(name.to_owned());
        container.by_hand = true;
        let deaf = container.behaviour == super::Behaviour::IgnoresSigterm;
        let code = match name {
            "KILL" | "9" => Some(137),
            "TERM" | "15" | "INT" | "2" | "QUIT" | "3" if !deaf => Some(0),
            _ => None,
        };
        if let Some(code) = code {
            container.ended(code, now, 0);
            self.note(index);
        }
        Ok(())
    }

    /// One that does not run takes any network, even an unknown one, and keeps what it was told first.
    pub(super) fn connect(&mut self, network: &str, handle: &str, endpoint: &Value) -> Result<(), EngineError> {
        let found = self.networks.iter().find(|(name, id)| *name == network || *id == network);
        let name = found.map(|(name, _)| name.clone());
        let index = self.at(handle)?;
        let mode = self.containers[index].host["NetworkMode"].as_str().unwrap_or_default();
        if mode == "host" || mode.starts_with("container:") {
            let why = "container sharing network namespace with another container or host cannot be connected to any other network";
            return Err(refused(403, why));
        }
        if matches!(self.containers[index].status, Status::Running | Status::Paused) {
            let Some(name) = &name else {
                return Err(EngineError::NotFound(format!("network {network} not found")));
            };
            if self.containers[index].addresses.contains_key(name) {
                return Ok(());
            }
            let address = self.address_in(name, endpoint)?;
            self.containers[index].addresses.insert(name.clone(), address);
        }
        let name = name.unwrap_or_else(|| network.to_owned());
        let container = &mut self.containers[index];
        let mut given = endpoint.clone();
        if !matches!(name.as_str(), "bridge" | "host" | "none") {
            let mut aliases = given["Aliases"].as_array().cloned().unwrap_or_default();
            aliases.push(json!(container.id[..12]));
            given = if given.is_object() { given } else { json!({}) };
            given["Aliases"] = aliases.into();
        }
        container.endpoints.entry(name).or_insert(given);
        Ok(())
    }

    /// The engine ends and comes back (docker-facts section 4): `always` returns even if stopped by hand;
    /// `unless-stopped` returns after an orderly end only; a container never started stays so.
    pub(super) fn restart_engine(&mut self, orderly: bool, now: Timestamp) {
        self.past.clear();
        let mut back = Vec::new();
        for container in &mut self.containers {
            let ran = container.runs();
            let by_hand = container.by_hand;
            let returns = match container.host["RestartPolicy"]["Name"].as_str() {
                Some("always") => container.started.is_some(),
                Some("unless-stopped") => ran && orderly && !by_hand,
                _ => false,
            };
            if ran {
                container.by_hand = true;
                container.ended(if orderly { 0 } else { 137 }, now, 0);
                container.by_hand = by_hand;
            }
            if returns {
                back.push(container.id.clone());
            }
        }
        for id in back {
            // One whose port is gone stays down, and its inspect says why, as on the real one.
            let _ = self.start(&id, now);
        }
        for index in 0..self.containers.len() {
            self.note(index);
        }
    }
}

fn check_policy(policy: &Value) -> Result<(), EngineError> {
    let name = policy["Name"].as_str().unwrap_or_default();
    if !["", "no", "always", "unless-stopped", "on-failure"].contains(&name) {
        return Err(refused(400, &format!("invalid restart policy '{name}'")));
    }
    if policy["MaximumRetryCount"].as_i64().unwrap_or_default() != 0 && name != "on-failure" {
        return Err(refused(400, &format!("maximum retry count cannot be used with restart policy '{name}'")));
    }
    Ok(())
}

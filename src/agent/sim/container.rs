//! One simulated container: its state over time, and what inspect tells about it.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::behaviour::Behaviour;
use super::hex_id;

/// First wait of the engine before it restarts a container; doubled each time (moby `restartmanager`).
const RESTART_MIN_MS: i64 = 100;
/// Longest such wait.
const RESTART_MAX_MS: i64 = 60_000;
/// Docker's health interval when the image names none.
const HEALTH_INTERVAL: Duration = Duration::from_secs(30);
/// Health checks looked back at; older ones cannot change the verdict any more.
const CHECKS_MAX: u128 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Created,
    Running,
    Paused,
    Restarting {
        next: Timestamp,
        delay_ms: i64,
    },
    Exited,
    /// It is being removed.
    Removing,
    /// It could not be removed.
    Dead,
}

#[derive(Debug)]
pub(super) struct Container {
    pub(super) serial: u64,
    pub(super) id: String,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) behaviour: Behaviour,
    pub(super) config: Value,
    pub(super) host: Value,
    /// Endpoint settings as given, by network.
    pub(super) endpoints: BTreeMap<String, Value>,
    /// Network number and host part of the address in each network, while it runs.
    pub(super) addresses: BTreeMap<String, (u64, u64)>,
    /// Published ports while it runs: host address, host port, container port/protocol.
    pub(super) ports: Vec<(String, u16, String)>,
    pub(super) mounts: Vec<Value>,
    pub(super) created: Timestamp,
    pub(super) status: Status,
    pub(super) started: Option<Timestamp>,
    pub(super) finished: Option<Timestamp>,
    pub(super) exit_code: i64,
    pub(super) error: String,
    pub(super) restarts: u64,
    /// Stopped or signalled through the API: `unless-stopped` does not come back after an engine restart.
    pub(super) by_hand: bool,
    /// When a stop that is ignored turns into a kill.
    pub(super) killed_at: Option<Timestamp>,
    /// Signals it was sent by `kill`.
    pub(super) signals: Vec<String>,
}

impl Container {
    /// As the engine counts it: a paused or restarting one runs.
    pub(super) fn runs(&self) -> bool {
        matches!(self.status, Status::Running | Status::Paused | Status::Restarting { .. })
    }

    /// A start was tried, whether or not it succeeded: its endpoints were laid out.
    fn tried(&self) -> bool {
        self.started.is_some() || !self.error.is_empty()
    }

    pub(super) fn label(&self, key: &str) -> Option<&str> {
        self.config["Labels"].get(key)?.as_str()
    }

    /// How long its program has run.
    pub(super) fn up(&self, now: Timestamp) -> Duration {
        let since = self.started.map(|started| now.duration_since(started)).unwrap_or_default();
        since.try_into().unwrap_or_default()
    }

    /// What its program answers.
    pub(super) fn answer(&self, now: Timestamp) -> Result<(), String> {
        match self.status {
            Status::Running => self.behaviour.answer(self.up(now)),
            Status::Paused => Err("timed out".to_owned()),
            Status::Created | Status::Exited | Status::Restarting { .. } | Status::Removing | Status::Dead => {
                Err("connection refused".to_owned())
            }
        }
    }

    /// Its program ended; its restart policy may give it another try.
    pub(super) fn ended(&mut self, code: i64, now: Timestamp, delay_ms: i64) {
        self.addresses.clear();
        self.ports.clear();
        self.killed_at = None;
        self.finished = Some(now);
        self.exit_code = code;
        let policy = &self.host["RestartPolicy"];
        let tries = policy["MaximumRetryCount"].as_u64().unwrap_or_default();
        let again = match policy["Name"].as_str() {
            Some("always" | "unless-stopped") => !self.by_hand,
            Some("on-failure") => !self.by_hand && code != 0 && (tries == 0 || self.restarts < tries),
            _ => false,
        };
        let next = now.checked_add(SignedDuration::from_millis(delay_ms)).unwrap_or(Timestamp::MAX);
        self.status = if again { Status::Restarting { next, delay_ms } } else { Status::Exited };
    }

    /// Lets everything happen that was due until now. Whether anything did.
    pub(super) fn settle(&mut self, now: Timestamp) -> bool {
        let mut moved = false;
        if let Some(at) = self.killed_at.filter(|at| *at <= now) {
            self.by_hand = true;
            self.ended(137, at, RESTART_MIN_MS);
            moved = true;
        }
        while let Status::Restarting { next, delay_ms } = self.status {
            if next > now {
                break;
            }
            self.restarts += 1;
            self.started = Some(next);
            moved = true;
            match self.behaviour.exits() {
                Some(code) => self.ended(code, next, (delay_ms * 2).min(RESTART_MAX_MS)),
                None => self.status = Status::Running,
            }
        }
        moved
    }

    /// Its program was started just now.
    pub(super) fn began(&mut self, now: Timestamp) {
        self.status = Status::Running;
        self.started = Some(now);
        self.exit_code = 0;
        self.error.clear();
        self.restarts = 0;
        self.by_hand = false;
        if let Some(code) = self.behaviour.exits() {
            self.ended(code, now, RESTART_MIN_MS);
        }
    }

    /// `GET /containers/{id}/json`.
    pub(super) fn inspect(&self, now: Timestamp, network_ids: &BTreeMap<String, String>) -> Value {
        let command: Vec<Value> = ["Entrypoint", "Cmd"]
            .iter()
            .flat_map(|field| self.config[*field].as_array().cloned().unwrap_or_default())
            .collect();
        let folder = format!("/var/lib/docker/containers/{}", self.id);
        json!({
            "Id": self.id, "Created": self.created.to_string(), "Path": command.first().cloned().unwrap_or_default(),
            "Args": command.get(1..).unwrap_or_default(), "State": self.state(now), "Image": self.image,
            "ResolvConfPath": format!("{folder}/resolv.conf"), "HostnamePath": format!("{folder}/hostname"),
            "HostsPath": format!("{folder}/hosts"), "LogPath": format!("{folder}/{}-json.log", self.id),
            "Name": format!("/{}", self.name), "RestartCount": self.restarts, "Driver": "overlay2",
            "Platform": "linux", "MountLabel": "", "ProcessLabel": "", "AppArmorProfile": "", "ExecIDs": null,
            "HostConfig": self.host, "GraphDriver": {"Data": {}, "Name": "overlay2"}, "Mounts": self.mounts,
            "Config": self.config, "NetworkSettings": self.network_settings(network_ids)
        })
    }

    fn state(&self, now: Timestamp) -> Value {
        let status = match self.status {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting { .. } => "restarting",
            Status::Exited => "exited",
            Status::Removing => "removing",
            Status::Dead => "dead",
        };
        let time = |at: Option<Timestamp>| at.map_or("0001-01-01T00:00:00Z".to_owned(), |at| at.to_string());
        let alive = matches!(self.status, Status::Running | Status::Paused);
        let mut state = json!({
            "Status": status, "Running": self.runs(), "Paused": self.status == Status::Paused,
            "Restarting": matches!(self.status, Status::Restarting { .. }), "OOMKilled": false, "Dead": self.status == Status::Dead,
            "Pid": if alive { 1000 + self.serial } else { 0 }, "ExitCode": self.exit_code, "Error": self.error,
            "StartedAt": time(self.started), "FinishedAt": time(self.finished)
        });
        let test = self.config.pointer("/Healthcheck/Test/0").and_then(Value::as_str);
        if self.started.is_some() && test.is_some_and(|test| test != "NONE") {
            state["Health"] = self.health(now);
        }
        state
    }

    /// Docker's own verdict: the first check comes after one whole interval; `Retries` failures in a row are
    /// needed for `unhealthy`; a container that does not run is `unhealthy`.
    fn health(&self, now: Timestamp) -> Value {
        let check = &self.config["Healthcheck"];
        let interval = check["Interval"].as_u64().filter(|ns| *ns > 0).map_or(HEALTH_INTERVAL, Duration::from_nanos);
        let retries = check["Retries"].as_u64().filter(|n| *n > 0).unwrap_or(3);
        let (mut status, mut failing) = ("starting", 0);
        if !self.runs() {
            status = "unhealthy";
        } else {
            let checks = (self.up(now).as_nanos() / interval.as_nanos()).min(CHECKS_MAX);
            for number in 1..=u32::try_from(checks).unwrap_or(u32::MAX) {
                if self.behaviour.answer(interval * number).is_ok() {
                    (status, failing) = ("healthy", 0);
                } else {
                    failing += 1;
                    if failing >= retries {
                        status = "unhealthy";
                    }
                }
            }
        }
        json!({"Status": status, "FailingStreak": failing, "Log": []})
    }

    fn network_settings(&self, network_ids: &BTreeMap<String, String>) -> Value {
        let running = self.status == Status::Running || self.status == Status::Paused;
        let mut ports = Map::new();
        if running {
            for exposed in self.config["ExposedPorts"].as_object().into_iter().flatten() {
                ports.insert(exposed.0.clone(), Value::Null);
            }
        }
        for (address, port, inside) in &self.ports {
            let binding = json!({"HostIp": address, "HostPort": port.to_string()});
            match ports.get_mut(inside).and_then(Value::as_array_mut) {
                Some(bindings) => bindings.push(binding),
                None => drop(ports.insert(inside.clone(), json!([binding]))),
            }
        }
        let networks: Map<String, Value> = self
            .endpoints
            .iter()
            .map(|(name, given)| (name.clone(), self.endpoint(name, given, network_ids)))
            .collect();
        json!({
            "Bridge": "", "SandboxID": if running { hex_id("sandbox", self.serial) } else { String::new() },
            "HairpinMode": false, "LinkLocalIPv6Address": "", "LinkLocalIPv6PrefixLen": 0, "Ports": ports,
            "SandboxKey": "", "SecondaryIPAddresses": null, "SecondaryIPv6Addresses": null, "EndpointID": "",
            "Gateway": "", "GlobalIPv6Address": "", "GlobalIPv6PrefixLen": 0, "IPAddress": "", "IPPrefixLen": 0,
            "IPv6Gateway": "", "MacAddress": "", "Networks": networks
        })
    }

    fn endpoint(&self, network: &str, given: &Value, ids: &BTreeMap<String, String>) -> Value {
        let mut aliases = given["Aliases"].as_array().cloned().unwrap_or_default();
        let short = json!(&self.id[..12]);
        if self.tried() && !matches!(network, "bridge" | "host" | "none") && !aliases.contains(&short) {
            aliases.push(short);
        }
        let here = self.addresses.get(network);
        let address = here.map_or(String::new(), |(net, host)| super::address(*net, *host));
        let known = self.tried() || here.is_some();
        json!({
            "IPAMConfig": given["IPAMConfig"], "Links": given["Links"],
            "Aliases": if aliases.is_empty() { Value::Null } else { aliases.into() },
            "NetworkID": ids.get(network).filter(|_| known).cloned().unwrap_or_default(),
            "EndpointID": if here.is_some() { hex_id(network, self.serial) } else { String::new() },
            "Gateway": here.map_or(String::new(), |(net, _)| super::address(*net, 1)), "IPAddress": address,
            "IPPrefixLen": if here.is_some() { 16 } else { 0 }, "IPv6Gateway": "", "GlobalIPv6Address": "",
            "GlobalIPv6PrefixLen": 0,
            "MacAddress": here.map_or(String::new(), |(net, host)| format!("02:42:ac:{net:02x}:00:{host:02x}")),
            "DriverOpts": given["DriverOpts"]
        })
    }
}

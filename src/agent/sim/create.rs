//! What `create` makes of its body: image config merged in (moby `daemon/commit.go`, `merge`), defaults filled,
//! volumes and endpoints laid out, so that inspect tells what engine 20.10 would tell.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{hex_id, overlay, refused};
use crate::agent::engine::EngineError;

/// Members of inspect's `Config`, with what they are when nobody says.
fn config_defaults() -> Value {
    json!({
        "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
        "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Env": null, "Cmd": null,
        "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": null, "OnBuild": null, "Labels": {}
    })
}

/// Members that inspect shows only when they say something (`omitempty` in moby's `container.Config`).
const SHOWN_IF_SET: [&str; 8] = [
    "ExposedPorts",
    "ArgsEscaped",
    "Healthcheck",
    "NetworkDisabled",
    "MacAddress",
    "StopSignal",
    "StopTimeout",
    "Shell",
];

fn host_defaults() -> Value {
    json!({
        "Binds": null, "ContainerIDFile": "", "LogConfig": {"Type": "json-file", "Config": {}},
        "NetworkMode": "default", "PortBindings": null, "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
        "AutoRemove": false, "VolumeDriver": "", "VolumesFrom": null, "CapAdd": null, "CapDrop": null,
        "CgroupnsMode": "host", "Dns": null, "DnsOptions": null, "DnsSearch": null, "ExtraHosts": null,
        "GroupAdd": null, "IpcMode": "private", "Cgroup": "", "Links": null, "OomScoreAdj": 0, "PidMode": "",
        "Privileged": false, "PublishAllPorts": false, "ReadonlyRootfs": false, "SecurityOpt": null, "UTSMode": "",
        "UsernsMode": "", "ShmSize": 67_108_864, "Runtime": "runc", "ConsoleSize": [0, 0], "Isolation": "",
        "MaskedPaths": ["/proc/asound", "/proc/acpi", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
            "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/proc/scsi", "/sys/firmware"],
        "ReadonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
    })
}

/// The rest of them, for `json!` has a limit of its own.
fn limit_defaults() -> Value {
    json!({
        "CpuShares": 0, "Memory": 0, "NanoCpus": 0, "CgroupParent": "", "BlkioWeight": 0,
        "BlkioWeightDevice": null, "BlkioDeviceReadBps": null, "BlkioDeviceWriteBps": null,
        "BlkioDeviceReadIOps": null, "BlkioDeviceWriteIOps": null, "CpuPeriod": 0, "CpuQuota": 0,
        "CpuRealtimePeriod": 0, "CpuRealtimeRuntime": 0, "CpusetCpus": "", "CpusetMems": "", "Devices": null,
        "DeviceCgroupRules": null, "DeviceRequests": null, "KernelMemory": 0, "KernelMemoryTCP": 0,
        "MemoryReservation": 0, "MemorySwap": 0, "MemorySwappiness": null, "OomKillDisable": false,
        "PidsLimit": null, "Ulimits": null, "CpuCount": 0, "CpuPercent": 0, "IOMaximumIOps": 0,
        "IOMaximumBandwidth": 0
    })
}

/// A container's `Config`, from create's body, its image's config and its id.
pub(super) fn config(body: &Value, image: &Value, id: &str) -> Value {
    let mut config = config_defaults();
    let known = |key: &str| SHOWN_IF_SET.contains(&key) || config_defaults().get(key).is_some();
    let said: Map<String, Value> = body
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(key, value)| known(key) && !value.is_null())
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    overlay(&mut config, &Value::Object(said));
    merge(&mut config, image);
    if config["Labels"].is_null() {
        config["Labels"] = json!({});
    }
    let shares_network = body["HostConfig"]["NetworkMode"].as_str().is_some_and(|m| m.starts_with("container:"));
    if is_empty(&config["Hostname"]) && !shares_network {
        config["Hostname"] = json!(id.get(..12).unwrap_or(id));
    }
    if let Some(members) = config.as_object_mut() {
        members.retain(|key, value| !SHOWN_IF_SET.contains(&key.as_str()) || !is_empty(value));
    }
    config
}

fn merge(config: &mut Value, image: &Value) {
    for field in ["User", "WorkingDir", "StopSignal"] {
        if is_empty(&config[field]) {
            config[field] = image[field].clone();
        }
    }
    let key = |entry: &Value| entry.as_str().and_then(|e| e.split('=').next()).unwrap_or_default().to_owned();
    let mut env = config["Env"].as_array().cloned().unwrap_or_default();
    for entry in image["Env"].as_array().into_iter().flatten() {
        if !env.iter().any(|given| key(given) == key(entry)) {
            env.push(entry.clone());
        }
    }
    config["Env"] = if env.is_empty() { Value::Null } else { env.into() };
    for field in ["Labels", "ExposedPorts", "Volumes"] {
        let mut merged = image[field].as_object().cloned().unwrap_or_default();
        merged.extend(config[field].as_object().cloned().unwrap_or_default());
        config[field] = if merged.is_empty() { Value::Null } else { merged.into() };
    }
    if is_empty(&config["Entrypoint"]) {
        if is_empty(&config["Cmd"]) {
            config["Cmd"] = image["Cmd"].clone();
        }
        // An entrypoint given as [] or [""] resets the image's; absent takes it.
        if config["Entrypoint"].is_null() {
            config["Entrypoint"] = image["Entrypoint"].clone();
        }
    }
    match (config["Healthcheck"].as_object().cloned(), image["Healthcheck"].as_object()) {
        (None, Some(check)) => config["Healthcheck"] = check.clone().into(),
        (Some(given), Some(check)) => {
            let mut merged = check.clone();
            merged.extend(given.into_iter().filter(|(_, v)| !is_empty(v) && v.as_i64() != Some(0)));
            config["Healthcheck"] = merged.into();
        }
        (_, None) => {}
    }
}

/// A container's `HostConfig`: what was given over the engine's defaults.
pub(super) fn host(body: &Value) -> Value {
    let mut host = host_defaults();
    if let (Some(host), Value::Object(limits)) = (host.as_object_mut(), limit_defaults()) {
        host.extend(limits);
    }
    overlay(&mut host, &body["HostConfig"]);
    let policy = &host["RestartPolicy"];
    let tries = policy["MaximumRetryCount"].as_i64().unwrap_or_default();
    host["RestartPolicy"] = json!({"Name": policy["Name"].as_str().unwrap_or_default(), "MaximumRetryCount": tries});
    if is_empty(&host["NetworkMode"]) {
        host["NetworkMode"] = json!("default");
    }
    host
}

/// Endpoint settings by network, as asked for: the given one and the network mode's.
pub(super) fn endpoints(body: &Value, host: &Value, api: &str) -> Result<BTreeMap<String, Value>, EngineError> {
    let given = body["NetworkingConfig"]["EndpointsConfig"].as_object().cloned().unwrap_or_default();
    let many_allowed = super::minor(api) >= 44;
    if given.len() > 1 && !many_allowed {
        let names: Vec<_> = given.keys().cloned().collect();
        let names = names.join(", ");
        return Err(refused(400, &format!("Container cannot be connected to network endpoints: {names}")));
    }
    let mut endpoints: BTreeMap<String, Value> = given.into_iter().collect();
    match host["NetworkMode"].as_str().unwrap_or_default() {
        "default" | "bridge" => drop(endpoints.entry("bridge".to_owned()).or_default()),
        mode if mode.starts_with("container:") => endpoints.clear(),
        mode => drop(endpoints.entry(mode.to_owned()).or_default()),
    }
    Ok(endpoints)
}

/// Inspect's `Mounts`: binds, given mounts, and an anonymous volume for each `Volumes` entry not covered.
pub(super) fn mounts(config: &Value, host: &Value, serial: u64) -> Vec<Value> {
    let mut mounts: Vec<Value> = Vec::new();
    let volume = |name: &str, destination: &str, mode: &str| {
        json!({
            "Type": "volume", "Name": name, "Source": format!("/var/lib/docker/volumes/{name}/_data"),
            "Destination": destination, "Driver": "local", "Mode": mode, "RW": mode != "ro", "Propagation": ""
        })
    };
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    for bind in texts(&host["Binds"]) {
        let mut parts = bind.splitn(3, ':');
        let (source, destination) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let mode = parts.next().unwrap_or_default();
        mounts.push(if source.starts_with('/') {
            json!({"Type": "bind", "Source": source, "Destination": destination, "Mode": mode,
                "RW": mode != "ro", "Propagation": "rprivate"})
        } else {
            volume(source, destination, mode)
        });
    }
    let anonymous = |n: usize| hex_id("volume", serial * 1000 + n as u64);
    for mount in host["Mounts"].as_array().into_iter().flatten() {
        let destination = mount["Target"].as_str().unwrap_or_default();
        let source = mount["Source"].as_str().unwrap_or_default();
        let mode = if mount["ReadOnly"] == true { "ro" } else { "" };
        mounts.push(match mount["Type"].as_str() {
            Some("volume") if source.is_empty() => volume(&anonymous(mounts.len()), destination, mode),
            Some("volume") => volume(source, destination, mode),
            kind => json!({"Type": kind, "Source": source, "Destination": destination, "Mode": "",
                "RW": mode != "ro", "Propagation": "rprivate"}),
        });
    }
    for (destination, _) in config["Volumes"].as_object().into_iter().flatten() {
        if !mounts.iter().any(|mount| mount["Destination"] == *destination) {
            mounts.push(volume(&anonymous(mounts.len()), destination, ""));
        }
    }
    mounts
}

/// Docker's rule for names of containers.
pub(super) fn check_name(name: &str) -> Result<(), EngineError> {
    let rest = |b: u8| b.is_ascii_alphanumeric() || b"_.-".contains(&b);
    let fine = name.len() > 1 && name.as_bytes()[0].is_ascii_alphanumeric() && name.bytes().all(rest);
    if fine {
        return Ok(());
    }
    Err(refused(400, &format!("Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")))
}

pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(set) => !set,
        Value::Number(_) => false,
    }
}

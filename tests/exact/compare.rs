//! Two containers side by side: raw inspect and OCI spec, flat, a line per field, without what differs between any
//! two containers (ids, times, drawn addresses).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value, json};

/// A field by its path.
pub(crate) type Flat = BTreeMap<String, Value>;

/// Fields of inspect that no two containers share, whoever made them.
const OF_EACH: [&str; 9] =
    ["Id", "Created", "State", "RestartCount", "GraphDriver", "Storage", "ExecIDs", "SizeRw", "SizeRootFs"];

/// The same of `NetworkSettings` and of an endpoint. Addresses that were asked for stand in `IPAMConfig`.
const OF_EACH_NETWORK: [&str; 14] = [
    "SandboxID",
    "SandboxKey",
    "Ports",
    "EndpointID",
    "IPAddress",
    "IPPrefixLen",
    "Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "IPv6Gateway",
    "MacAddress",
    "Networks",
    "SecondaryIPAddresses",
    "SecondaryIPv6Addresses",
];

/// Lists whose order says nothing, or that compose 2 writes down as they come out of a map.
const SETS: [&str; 11] = [
    "Binds",
    "Mounts",
    "Aliases",
    "DNSNames",
    "Links",
    "Config.Env",
    "process.env",
    "Ulimits",
    "ExtraHosts",
    "rlimits",
    "additionalGids",
];

/// A started container's inspect, flat.
pub(crate) fn inspect(raw: &Value) -> Flat {
    let raw = without_ids(raw, raw["Id"].as_str().unwrap());
    let mut flat = Flat::new();
    for (key, value) in raw.as_object().unwrap().iter().filter(|(key, _)| !OF_EACH.contains(&key.as_str())) {
        match key.as_str() {
            "Mounts" => {
                for mount in value.as_array().unwrap() {
                    add(&mut flat, &format!("Mounts {}", mount["Destination"].as_str().unwrap()), mount);
                }
            }
            "NetworkSettings" => {
                add(&mut flat, key, &without(value, &OF_EACH_NETWORK));
                for (name, endpoint) in value["Networks"].as_object().unwrap() {
                    flat.insert(format!("Networks {name}"), json!(true));
                    add(&mut flat, &format!("Networks {name}"), &without(endpoint, &OF_EACH_NETWORK));
                    if endpoint["IPAMConfig"].is_object() {
                        let addresses = [&endpoint["IPAddress"], &endpoint["GlobalIPv6Address"]];
                        flat.insert(format!("Networks {name}.addresses"), json!(addresses));
                    }
                }
            }
            _ => add(&mut flat, key, value),
        }
    }
    flat.insert("State.Status".to_owned(), raw["State"]["Status"].clone());
    flat
}

/// A running container's OCI spec, flat; `None` where the engine's shim cannot be looked at from here.
pub(crate) fn oci(raw: &Value) -> Option<Flat> {
    let pid = raw["State"]["Pid"].as_u64().filter(|pid| *pid > 0)?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let shim = status.lines().find_map(|l| l.strip_prefix("PPid:"))?.trim().to_owned();
    // The shim's working folder is the bundle.
    let path = PathBuf::from("/proc").join(shim).join("cwd/config.json");
    let spec: Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let mut spec = without_ids(&spec, raw["Id"].as_str().unwrap());
    for namespace in spec["linux"]["namespaces"].as_array_mut().into_iter().flatten() {
        // `/proc/<pid>/ns/…`, a sandbox of its own: that it joins one is what counts
        if namespace["path"].is_string() {
            namespace["path"] = json!("joined");
        }
    }
    let mut mounts = Map::new();
    for mount in spec["mounts"].as_array().into_iter().flatten() {
        mounts.insert(mount["destination"].as_str().unwrap_or_default().to_owned(), mount.clone());
    }
    spec["mounts"] = Value::Object(mounts);
    for key in ["root", "hooks"] {
        spec.as_object_mut().unwrap().remove(key); // the layer's path; the sandbox's id
    }
    let mut flat = Flat::new();
    add(&mut flat, "oci", &spec);
    Some(flat)
}

/// Paths that differ, with both values.
pub(crate) fn differences<'a>(ours: &'a Flat, theirs: &'a Flat) -> Vec<(String, Option<&'a Value>, Option<&'a Value>)> {
    let mut paths: Vec<&String> = ours.keys().chain(theirs.keys()).collect();
    paths.sort();
    paths.dedup();
    paths
        .into_iter()
        .map(|path| (path.clone(), ours.get(path), theirs.get(path)))
        .filter(|(_, ours, theirs)| ours != theirs)
        .collect()
}

/// Objects become paths; everything else is one value. Labels, ports and the like have dots and slashes in their
/// keys, which is no harm.
fn add(flat: &mut Flat, path: &str, value: &Value) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                add(flat, &format!("{path}.{key}"), value);
            }
        }
        Value::Array(items) if SETS.iter().any(|set| path.ends_with(set)) => {
            let mut items = items.clone();
            items.sort_by_key(ToString::to_string);
            items.dedup();
            flat.insert(path.to_owned(), Value::Array(items));
        }
        _ => drop(flat.insert(path.to_owned(), value.clone())),
    }
}

fn without(value: &Value, keys: &[&str]) -> Value {
    let kept = value.as_object().unwrap().iter().filter(|(key, _)| !keys.contains(&key.as_str()));
    Value::Object(kept.map(|(k, v)| (k.clone(), v.clone())).collect())
}

/// The container's own id, and its beginning, are the same word in all containers.
fn without_ids(value: &Value, id: &str) -> Value {
    let text = value.to_string().replace(id, "<id>").replace(&id[..12], "<short id>");
    serde_json::from_str(&text).unwrap()
}

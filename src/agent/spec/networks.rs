//! Networks: what of an endpoint the project asked for, and which endpoint goes into create.

use serde_json::{Map, Value, json};

use super::json::{at, entries, put, strings, text};
use super::own::{joined, short_id};

/// The API that takes all endpoints, MAC addresses included, in create.
pub(super) const ALL_IN_CREATE: (u32, u32) = (1, 44);

/// What the project asked for of one endpoint: never addresses, ids or a generated MAC.
pub(super) fn endpoint(inspect: &Value, endpoint: &Value) -> Map<String, Value> {
    let mut own = Map::new();
    // An empty one is not the same as none to whoever compares inspects.
    if endpoint["IPAMConfig"].is_object() {
        own.insert("IPAMConfig".to_owned(), endpoint["IPAMConfig"].clone());
    }
    for key in ["Links", "DriverOpts"] {
        put(&mut own, key, endpoint[key].clone());
    }
    if endpoint["GwPriority"].as_i64().is_some_and(|p| p != 0) {
        own.insert("GwPriority".to_owned(), endpoint["GwPriority"].clone());
    }
    // Engines before 26 list the container's short id, compose 1 writes it itself.
    let aliases: Vec<&str> = strings(&endpoint["Aliases"]).into_iter().filter(|a| *a != short_id(inspect)).collect();
    put(&mut own, "Aliases", json!(aliases));
    own
}

/// Whether the mode stands for networks of its own kind: `host`, `none`, or another container's.
fn has_no_endpoints(mode: &str) -> bool {
    mode == "host" || mode == "none" || joined(mode).is_some()
}

/// The endpoints that can be asked for, by network.
pub(super) fn endpoints(inspect: &Value) -> Map<String, Value> {
    if has_no_endpoints(text(inspect, &["HostConfig", "NetworkMode"])) {
        return Map::new();
    }
    entries(at(inspect, &["NetworkSettings", "Networks"]))
        .map(|(name, e)| (name.clone(), Value::Object(endpoint(inspect, e))))
        .collect()
}

/// The network that `HostConfig.NetworkMode` means, among those the container is attached to. `Ok(None)` where
/// there are no endpoints.
///
/// # Errors
/// With the mode when the container is not attached to it (any more).
pub(super) fn primary(inspect: &Value) -> Result<Option<String>, String> {
    let mode = text(inspect, &["HostConfig", "NetworkMode"]);
    if has_no_endpoints(mode) {
        return Ok(None);
    }
    let networks = at(inspect, &["NetworkSettings", "Networks"]);
    let wanted = if mode.is_empty() || mode == "default" { "bridge" } else { mode };
    if networks.get(wanted).is_some() {
        return Ok(Some(wanted.to_owned()));
    }
    // `docker run --network` accepts an id, even a shortened one.
    let by_id = entries(networks).find(|(_, e)| wanted.len() >= 12 && text(e, &["NetworkID"]).starts_with(wanted));
    by_id.map(|(name, _)| Some(name.clone())).ok_or_else(|| mode.to_owned())
}

/// The MAC address that was configured, if it can be told from a generated one: `Config.MacAddress` (API up to 1.51).
pub(super) fn configured_mac(inspect: &Value) -> Option<&str> {
    Some(text(inspect, &["Config", "MacAddress"])).filter(|mac| !mac.is_empty())
}

/// `/<name>:/<self>/<alias>` of inspect, as create wants it: `name:alias`. Anything else stays as it is.
pub(super) fn link(entry: &str) -> String {
    let rewritten = entry.split_once(':').and_then(|(name, rest)| {
        let alias = rest.strip_prefix('/')?.rsplit('/').next()?;
        Some(format!("{}:{alias}", name.trim_start_matches('/')))
    });
    rewritten.unwrap_or_else(|| entry.to_owned())
}

//! The project's settings of a container in one canonical form, and what differs between two of them.

use serde_json::{Map, Value, json};

use super::json::{at, entries, plain, put, strings, text};
use super::labels::project_labels;
use super::networks::{configured_mac, endpoints, link};
use super::own::{env_parts, own_config};
use super::{mounts, own};
use crate::domain::canonical::{self, NotCanonical};

/// Groups whose entries are named one by one in [`changed_keys`].
const NAMED: [&str; 5] = ["environment", "labels", "mounts", "networks", "host"];

/// `HostConfig` keys that are told elsewhere in the settings or are no settings.
const ELSEWHERE: [&str; 7] =
    ["Binds", "Mounts", "PortBindings", "Links", "ContainerIDFile", "ConsoleSize", "RestartPolicy"];

/// `HostConfig` keys whose zero or false is not the same as unset.
const ZERO_COUNTS: [&str; 2] = ["MemorySwappiness", "Init"];

/// `HostConfig` lists whose order says nothing: compose 2 writes them down as they come out of a map.
const UNORDERED: [&str; 2] = ["Ulimits", "ExtraHosts"];

/// The project's settings of a container: its inspect minus what came from its image and what the engine made.
/// Two containers of one service with different images have equal settings when only the image was changed.
///
/// Compose's own labels and ours are no part of it, nor is the image. **Holds secrets**: it never leaves the
/// agent's folder; show [`changed_keys`], compare by [`mac_text`] (decision 10).
pub fn settings(inspect: &Value, image: &Value) -> Value {
    let mut config = own_config(inspect, image);
    let host = at(inspect, &["HostConfig"]);
    let mut all = Map::new();

    let env = config.remove("Env").unwrap_or_default();
    let env: Map<String, Value> =
        strings(&env).into_iter().map(env_parts).map(|(name, value)| (name.to_owned(), json!(value))).collect();
    put(&mut all, "environment", Value::Object(env));
    put(&mut all, "labels", Value::Object(project_labels(inspect, image)));

    config.remove("Volumes"); // compose 1 lists every mount there; the named ones are told below
    put(&mut all, "mounts", Value::Object(mounts::canonical(inspect, image)));

    let networks: Map<String, Value> = endpoints(inspect)
        .into_iter()
        .map(|(name, mut endpoint)| {
            for key in ["Aliases", "Links"] {
                if let Some(list) = endpoint[key].as_array_mut() {
                    list.sort_by_key(ToString::to_string);
                    list.dedup();
                }
            }
            (name, plain(&endpoint).unwrap_or_else(|| json!({})))
        })
        .collect();
    put(&mut all, "networks", Value::Object(networks));
    put(&mut all, "mac_address", json!(configured_mac(inspect)));
    put(&mut all, "links", json!(strings(at(host, &["Links"])).into_iter().map(link).collect::<Vec<_>>()));

    let published = at(host, &["PortBindings"]);
    put(&mut all, "ports", plain(published).unwrap_or_default());
    if let Some(Value::Object(exposed)) = config.remove("ExposedPorts") {
        let only: Vec<String> = exposed.into_iter().map(|(p, _)| p).filter(|p| published.get(p).is_none()).collect();
        put(&mut all, "expose", json!(only));
    }
    put(&mut all, "restart", restart(at(host, &["RestartPolicy"])));

    // An empty list means something here: the image's entrypoint is switched off.
    for (engine, ours) in [("Entrypoint", "entrypoint"), ("Cmd", "command")] {
        if let Some(value) = config.remove(engine) {
            all.insert(ours.to_owned(), value);
        }
    }
    for (key, value) in config {
        if key.starts_with("Attach") {
            continue; // whether somebody watched while it was made
        }
        put(&mut all, &snake(&key), plain(&value).unwrap_or_default());
    }

    let mut rest = Map::new();
    for (key, value) in entries(host).filter(|(key, _)| !ELSEWHERE.contains(&key.as_str())) {
        let kept = if value.as_str().and_then(own::joined).is_some() {
            Some(json!("container")) // the id is another one after each recreate of that service
        } else if key == "VolumesFrom" {
            let modes = strings(value).into_iter().map(|e| e.split_once(':').map_or("", |(_, mode)| mode));
            plain(&json!(modes.collect::<Vec<_>>())) // likewise
        } else if ZERO_COUNTS.contains(&key.as_str()) {
            Some(value.clone())
        } else {
            plain(value)
        };
        let mut kept = kept.unwrap_or_default();
        if let (true, Some(list)) = (UNORDERED.contains(&key.as_str()), kept.as_array_mut()) {
            list.sort_by_key(ToString::to_string);
        }
        put(&mut rest, key, kept);
    }
    put(&mut all, "host", Value::Object(rest));
    Value::Object(all)
}

/// The text over which the MAC of [`settings`] is made (`SpecRef.mac`).
///
/// # Errors
/// Never for what [`settings`] gives; the type says so for other values.
pub fn mac_text(settings: &Value) -> Result<String, NotCanonical> {
    canonical::text(settings)
}

/// What differs between two settings: `environment PASSWORD`, `mounts /data`, `command`. Key names, never values;
/// sorted.
pub fn changed_keys(a: &Value, b: &Value) -> Vec<String> {
    let mut changed = Vec::new();
    for key in keys(a, b) {
        let (one, other) = (&a[key], &b[key]);
        if one == other {
            continue;
        }
        if NAMED.contains(&key) {
            for name in keys(one, other) {
                // Missing and null differ here: `FOO` without a value takes a variable of the image away.
                if one.get(name) != other.get(name) {
                    changed.push(if key == "host" { name.to_owned() } else { format!("{key} {name}") });
                }
            }
        } else {
            changed.push(key.to_owned());
        }
    }
    changed.sort();
    changed
}

/// The keys of both, each once.
fn keys<'a>(a: &'a Value, b: &'a Value) -> Vec<&'a str> {
    let mut all: Vec<&str> = entries(a).chain(entries(b)).map(|(k, _)| k.as_str()).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// No policy and `no` are one.
fn restart(policy: &Value) -> Value {
    match text(policy, &["Name"]) {
        "" | "no" => Value::Null,
        _ => plain(policy).unwrap_or_default(),
    }
}

/// `WorkingDir` → `working_dir`: the way compose files spell it.
fn snake(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 2);
    for (i, c) in key.chars().enumerate() {
        if c.is_ascii_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// Whether the container's name is the one compose gives it, or the wreck of a recreate that broke off
/// (`<12 hex>_name`, docker-facts section 1). Gives the name that it should have.
pub(super) fn wreck_of(name: &str) -> Option<&str> {
    let (head, rest) = name.split_once('_')?;
    (head.len() == own::SHORT_ID && head.bytes().all(|b| b.is_ascii_hexdigit()) && !rest.is_empty()).then_some(rest)
}

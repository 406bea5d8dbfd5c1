//! What of a container's `Config` is the project's own: everything but what its image gave and what the engine
//! made (docker-facts section 3, the table of fields).

use serde_json::{Map, Value, json};

use super::json::{at, entries, is_empty, put, same, strings, text};

/// Length of the id's beginning that the engine uses as host name and alias.
pub(super) const SHORT_ID: usize = 12;

/// Compose 1 leaves this note for a scheduler that is long gone; it names the container before.
const AFFINITY: &str = "affinity:container=";

/// The first twelve digits of a container's id.
pub(super) fn short_id(inspect: &Value) -> &str {
    text(inspect, &["Id"]).get(..SHORT_ID).unwrap_or_default()
}

/// `container:<id>`: another container's network, and with it its names.
pub(super) fn joined(mode: &str) -> Option<&str> {
    mode.strip_prefix("container:")
}

/// The project's own part of `Config`, in the engine's keys, fit for create. Labels and `Image` are left out
/// (others decide on them), and so is `MacAddress` (it belongs to a network).
pub(super) fn own_config(inspect: &Value, image: &Value) -> Map<String, Value> {
    let config = at(inspect, &["Config"]);
    let given = at(image, &["Config"]);
    let mut own: Map<String, Value> =
        entries(config).filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect();
    for key in ["Image", "ArgsEscaped", "Labels", "MacAddress"] {
        own.remove(key);
    }

    own.remove("Env");
    put(&mut own, "Env", json!(own_env(at(config, &["Env"]), at(given, &["Env"]))));

    // The engine takes Cmd from the image only together with Entrypoint.
    let entrypoint_given = same(at(config, &["Entrypoint"]), at(given, &["Entrypoint"]));
    if entrypoint_given {
        own.remove("Entrypoint");
        if same(at(config, &["Cmd"]), at(given, &["Cmd"])) {
            own.remove("Cmd");
        }
    } else if is_empty(at(config, &["Entrypoint"])) {
        // Not null: an empty list is how the image's entrypoint is switched off.
        own.insert("Entrypoint".to_owned(), json!([]));
    }

    own.remove("Healthcheck");
    put(&mut own, "Healthcheck", own_check(at(config, &["Healthcheck"]), at(given, &["Healthcheck"])));

    for key in ["WorkingDir", "User", "StopSignal", "Shell", "OnBuild"] {
        if same(at(config, &[key]), at(given, &[key])) {
            own.remove(key);
        }
    }

    for key in ["Volumes", "ExposedPorts"] {
        let rest: Map<String, Value> = entries(at(config, &[key]))
            .filter(|(name, _)| at(given, &[key]).get(name.as_str()).is_none())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        own.remove(key);
        put(&mut own, key, Value::Object(rest));
    }
    let published: Vec<&String> = entries(at(inspect, &["HostConfig", "PortBindings"])).map(|(port, _)| port).collect();
    if !published.is_empty() {
        let exposed = own.entry("ExposedPorts").or_insert_with(|| json!({}));
        for port in published {
            exposed[port.as_str()] = json!({});
        }
    }

    let mode = text(inspect, &["HostConfig", "NetworkMode"]);
    if joined(mode).is_some() {
        for key in ["Hostname", "Domainname", "ExposedPorts"] {
            own.remove(key);
        }
    }
    let host_name = text(config, &["Hostname"]);
    if host_name.is_empty() || host_name == short_id(inspect) || text(inspect, &["HostConfig", "UTSMode"]) == "host" {
        own.remove("Hostname");
    }
    if text(config, &["Domainname"]).is_empty() {
        own.remove("Domainname");
    }
    own
}

/// The entries that are not the image's. One that the project set to the very value of the image cannot be told
/// from the image's own and follows the new image.
fn own_env(container: &Value, image: &Value) -> Vec<String> {
    let given = strings(image);
    strings(container)
        .into_iter()
        .filter(|entry| !given.contains(entry) && !entry.starts_with(AFFINITY))
        .map(str::to_owned)
        .collect()
}

/// What the project says of the health check. The engine fills each field that was left out from the image, so each
/// field equal to the image's follows the new image: a check command of the bad release need not exist in the good
/// one. `NONE` switches the image's check off, and nothing else counts then.
fn own_check(container: &Value, image: &Value) -> Value {
    if is_off(container) {
        return if is_off(image) { Value::Null } else { json!({"Test": ["NONE"]}) };
    }
    let own: Map<String, Value> = entries(container)
        .filter(|(key, value)| !same(value, at(image, &[key])))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    Value::Object(own)
}

/// Whether a health check is switched off.
pub(super) fn is_off(check: &Value) -> bool {
    strings(at(check, &["Test"])).first() == Some(&"NONE")
}

/// Name and value of an `Env` entry. Without `=` it takes a variable away.
pub(super) fn env_parts(entry: &str) -> (&str, Option<&str>) {
    match entry.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (entry, None),
    }
}

//! Whether the engine made what was asked for: looked at after create, before anything is stopped.

use serde_json::{Map, Value, json};

use super::json::{at, entries, is_empty, plain, same, strings, text};
use super::networks::endpoint;
use super::own::{env_parts, is_off, own_config, short_id};
use super::recreate::{NewContainer, has_foreign_network};

/// Names of what differs between a container as made and connected, and what was wanted; never values. Empty =
/// it is what was asked for. `image` is the inspect of the image it was made from.
pub fn matches(created: &Value, image: &Value, wanted: &NewContainer) -> Vec<String> {
    let body = &wanted.create;
    let mut differs = Vec::new();
    config(created, image, body, &mut differs);
    host(created, body, &mut differs);
    networks(created, wanted, &mut differs);
    differs.sort();
    differs.dedup();
    differs
}

fn config(created: &Value, image: &Value, body: &Value, differs: &mut Vec<String>) {
    let got = at(created, &["Config"]);
    let given = at(image, &["Config"]);

    let asked = text(body, &["Image"]);
    if text(got, &["Image"]) != asked || (asked.starts_with("sha256:") && text(created, &["Image"]) != asked) {
        differs.push("image".to_owned());
    }

    let merged = |ours: &Value| -> Map<String, Value> {
        let mut env = env_map(at(given, &["Env"]));
        env.extend(env_map(ours));
        env.retain(|_, value| !value.is_null()); // a name without a value takes the image's away
        env
    };
    let mut env = env_map(at(got, &["Env"]));
    env.retain(|_, value| !value.is_null());
    named("environment", &Value::Object(env), &Value::Object(merged(at(body, &["Env"]))), differs);

    let mut labels = at(given, &["Labels"]).as_object().cloned().unwrap_or_default();
    labels.extend(at(body, &["Labels"]).as_object().cloned().unwrap_or_default());
    named("labels", at(got, &["Labels"]), &Value::Object(labels), differs);

    // The engine's own rule: Cmd comes from the image only when neither was given.
    let entrypoint = body.get("Entrypoint");
    let no_entrypoint = entrypoint.is_none_or(is_empty);
    let command = if no_entrypoint && is_empty(at(body, &["Cmd"])) { at(given, &["Cmd"]) } else { at(body, &["Cmd"]) };
    if !same(at(got, &["Entrypoint"]), entrypoint.unwrap_or(at(given, &["Entrypoint"]))) {
        differs.push("entrypoint".to_owned());
    }
    if !same(at(got, &["Cmd"]), command) {
        differs.push("command".to_owned());
    }

    for key in ["WorkingDir", "User", "StopSignal", "Shell"] {
        let found = at(got, &[key]);
        // A shell is for builds: engines do not take it over from the image.
        let left_out = key == "Shell" && is_empty(found) && body.get(key).is_none();
        if !left_out && !same(found, body.get(key).unwrap_or(at(given, &[key]))) {
            differs.push(key.to_owned());
        }
    }
    let mut check = at(given, &["Healthcheck"]).as_object().cloned().unwrap_or_default();
    for (key, value) in entries(at(body, &["Healthcheck"])).filter(|(_, v)| plain(v).is_some()) {
        check.insert(key.clone(), value.clone());
    }
    let check = Value::Object(check);
    let got_check = at(got, &["Healthcheck"]);
    if !(same(got_check, &check) || (is_off(got_check) && is_off(&check))) {
        differs.push("healthcheck".to_owned());
    }

    for key in ["ExposedPorts", "Volumes"] {
        let mut all = at(given, &[key]).as_object().cloned().unwrap_or_default();
        all.extend(at(body, &[key]).as_object().cloned().unwrap_or_default());
        if key == "ExposedPorts" && has_foreign_network(created) {
            continue;
        }
        let got: Vec<&String> = entries(at(got, &[key])).map(|(k, _)| k).collect();
        if got != all.keys().collect::<Vec<_>>() {
            differs.push(key.to_owned());
        }
    }

    const DONE: [&str; 15] = [
        "Image",
        "Env",
        "Labels",
        "Entrypoint",
        "Cmd",
        "WorkingDir",
        "User",
        "StopSignal",
        "Shell",
        "Healthcheck",
        "ExposedPorts",
        "Volumes",
        "HostConfig",
        "NetworkingConfig",
        "MacAddress",
    ];
    for (key, value) in entries(body).filter(|(key, _)| !DONE.contains(&key.as_str())) {
        if !same(value, at(got, &[key])) {
            differs.push(key.clone());
        }
    }
    // Nothing of the project may have come in that was not asked for, such as a host name.
    for key in ["Hostname", "Domainname", "StopTimeout", "Tty", "OpenStdin"] {
        let own = own_config(created, image);
        if body.get(key).is_none() && own.get(key).is_some_and(|v| plain(v).is_some()) && !network_of_host(created) {
            differs.push(key.to_owned());
        }
    }
}

fn host(created: &Value, body: &Value, differs: &mut Vec<String>) {
    let got = at(created, &["HostConfig"]);
    for (key, value) in entries(at(body, &["HostConfig"])) {
        let equal = match key.as_str() {
            // inspect tells them as `/<name>:/<self>/<alias>`, in its own order
            "Links" => {
                let told: Vec<String> = strings(at(got, &[key])).into_iter().map(super::networks::link).collect();
                sorted(&json!(told)) == sorted(value)
            }
            "RestartPolicy" => {
                let name = |v: &Value| Some(text(v, &["Name"]).to_owned()).filter(|n| !n.is_empty() && n != "no");
                name(value) == name(at(got, &[key]))
                    && same(at(value, &["MaximumRetryCount"]), at(got, &[key, "MaximumRetryCount"]))
            }
            _ => same(value, at(got, &[key])),
        };
        if !equal {
            differs.push(format!("host {key}"));
        }
    }
    // A volume that was to be attached by name is attached.
    for bind in strings(at(body, &["HostConfig", "Binds"])).into_iter().filter_map(super::mounts::bind) {
        let mount = at(created, &["Mounts"])
            .as_array()
            .into_iter()
            .flatten()
            .find(|m| text(m, &["Destination"]) == bind.destination);
        let attached = mount.is_some_and(|m| {
            bind.source.starts_with('/') || text(m, &["Type"]) != "volume" || text(m, &["Name"]) == bind.source
        });
        if !attached {
            differs.push(format!("mounts {}", bind.destination));
        }
    }
}

fn networks(created: &Value, wanted: &NewContainer, differs: &mut Vec<String>) {
    let mut all = at(&wanted.create, &["NetworkingConfig", "EndpointsConfig"]).as_object().cloned().unwrap_or_default();
    all.extend(wanted.connects.iter().cloned());
    if all.is_empty() {
        return; // `host`, `none`, another container's: told by NetworkMode
    }
    let mac = text(&wanted.create, &["MacAddress"]);
    if !mac.is_empty() && text(created, &["Config", "MacAddress"]) != mac {
        differs.push("mac_address".to_owned());
    }
    let got: Map<String, Value> = entries(at(created, &["NetworkSettings", "Networks"]))
        .map(|(name, e)| {
            let mut own = endpoint(created, e);
            if all.get(name).is_some_and(|w| !is_empty(at(w, &["MacAddress"]))) {
                own.insert("MacAddress".to_owned(), e["MacAddress"].clone());
            }
            (name.clone(), comparable(&Value::Object(own), short_id(created)))
        })
        .collect();
    let all: Map<String, Value> =
        all.iter().map(|(name, e)| (name.clone(), comparable(e, short_id(created)))).collect();
    named("networks", &Value::Object(got), &Value::Object(all), differs);
}

/// Lists sorted, blanks gone; the new container's own short id among its aliases does not count.
fn comparable(endpoint: &Value, short_id: &str) -> Value {
    let mut endpoint = plain(endpoint).unwrap_or_else(|| json!({}));
    for key in ["Aliases", "Links"] {
        if let Some(list) = endpoint.get_mut(key).and_then(Value::as_array_mut) {
            list.retain(|a| a.as_str() != Some(short_id));
            list.sort_by_key(ToString::to_string);
            list.dedup();
        }
    }
    plain(&endpoint).unwrap_or_else(|| json!({}))
}

fn named(group: &str, got: &Value, wanted: &Value, differs: &mut Vec<String>) {
    for (name, value) in entries(wanted) {
        if got.get(name) != Some(value) {
            differs.push(format!("{group} {name}"));
        }
    }
    for (name, _) in entries(got) {
        if wanted.get(name).is_none() {
            differs.push(format!("{group} {name}"));
        }
    }
}

fn env_map(env: &Value) -> Map<String, Value> {
    strings(env).into_iter().map(env_parts).map(|(name, value)| (name.to_owned(), json!(value))).collect()
}

fn sorted(list: &Value) -> Vec<String> {
    let mut list: Vec<String> = strings(list).into_iter().map(str::to_owned).collect();
    list.sort();
    list
}

fn network_of_host(created: &Value) -> bool {
    text(created, &["HostConfig", "NetworkMode"]) == "host"
}

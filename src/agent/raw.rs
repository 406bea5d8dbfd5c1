//! Reading an engine's raw container inspect: the few fields the agent decides by, missing = empty.

use jiff::Timestamp;
use serde_json::Value;

use super::ContainerState;
use super::operation::{Life, Seat};

/// Compose's label for the service.
pub(super) const SERVICE: &str = "com.docker.compose.service";
/// Compose's label for the project.
pub(super) const PROJECT: &str = "com.docker.compose.project";
/// Compose's label for the container's number.
pub(super) const NUMBER: &str = "com.docker.compose.container-number";
/// Compose's label for containers of `run`: no part of the service.
pub(super) const ONEOFF: &str = "com.docker.compose.oneoff";
/// Compose's label for the order of services.
pub(super) const DEPENDS_ON: &str = "com.docker.compose.depends_on";

/// What stands for the state of a recorded container that is there no more; no engine has such a word.
pub(super) const MISSING: &str = "missing";

fn at<'a>(inspect: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(inspect, |v, key| v.get(*key).unwrap_or(&Value::Null))
}

fn text<'a>(inspect: &'a Value, path: &[&str]) -> &'a str {
    at(inspect, path).as_str().unwrap_or_default()
}

/// Full id.
pub(super) fn id(inspect: &Value) -> &str {
    text(inspect, &["Id"])
}

/// Name without the leading slash.
pub(super) fn name(inspect: &Value) -> &str {
    let name = text(inspect, &["Name"]);
    name.strip_prefix('/').unwrap_or(name)
}

/// Id of the image.
pub(super) fn image(inspect: &Value) -> &str {
    text(inspect, &["Image"])
}

/// The reference it was made from.
pub(super) fn reference(inspect: &Value) -> &str {
    text(inspect, &["Config", "Image"])
}

/// A label's value; `None` when it is not there.
pub(super) fn label<'a>(inspect: &'a Value, key: &str) -> Option<&'a str> {
    at(inspect, &["Config", "Labels"]).get(key).and_then(Value::as_str)
}

/// The restart policy as it stands.
pub(super) fn policy(inspect: &Value) -> Value {
    at(inspect, &["HostConfig", "RestartPolicy"]).clone()
}

/// Restarts by the engine.
pub(super) fn restarts(inspect: &Value) -> u64 {
    at(inspect, &["RestartCount"]).as_u64().unwrap_or_default()
}

/// A variable of its environment.
pub(super) fn env<'a>(inspect: &'a Value, key: &str) -> Option<&'a str> {
    let all = at(inspect, &["Config", "Env"]).as_array().into_iter().flatten().filter_map(Value::as_str);
    all.filter_map(|entry| entry.split_once('=')).find(|(name, _)| *name == key).map(|(_, value)| value)
}

/// The words its program was given.
pub(super) fn arguments(inspect: &Value) -> impl Iterator<Item = &str> {
    at(inspect, &["Args"]).as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// Compose's number of the container; 1 where there is none.
pub(super) fn number(inspect: &Value) -> u32 {
    label(inspect, NUMBER).and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Names of the networks it is on.
pub(super) fn networks(inspect: &Value) -> Vec<String> {
    let all = at(inspect, &["NetworkSettings", "Networks"]).as_object();
    all.into_iter().flatten().map(|(name, _)| name.clone()).collect()
}

/// The host port at which a container's own port is published now.
pub(super) fn host_port(inspect: &Value, inside: &str) -> Option<u16> {
    let now = at(inspect, &["NetworkSettings", "Ports"]);
    let bindings = now.get(inside).and_then(Value::as_array);
    bindings.into_iter().flatten().find_map(|b| text(b, &["HostPort"]).parse().ok().filter(|port| *port != 0))
}

/// When it was started last, as the engine writes it.
pub(super) fn started_text(inspect: &Value) -> &str {
    text(inspect, &["State", "StartedAt"])
}

/// When it was started last; the engine's year 1 means never.
pub(super) fn started(inspect: &Value) -> Option<Timestamp> {
    let at: Timestamp = started_text(inspect).parse().ok()?;
    (at.as_second() > 0).then_some(at)
}

/// When it was made.
pub(super) fn created(inspect: &Value) -> Option<Timestamp> {
    text(inspect, &["Created"]).parse().ok()
}

/// Docker's own health verdict, empty when there is no check.
pub(super) fn health(inspect: &Value) -> &str {
    text(inspect, &["State", "Health", "Status"])
}

/// Its state; the flags stand in where an engine gives no status word.
pub(super) fn state(inspect: &Value) -> ContainerState {
    match text(inspect, &["State", "Status"]) {
        "created" => ContainerState::Created,
        "running" => ContainerState::Running,
        "restarting" => ContainerState::Restarting,
        "paused" => ContainerState::Paused,
        "dead" | "removing" => ContainerState::Dead,
        MISSING => ContainerState::Missing,
        "" if at(inspect, &["State", "Running"]).as_bool() == Some(true) => ContainerState::Running,
        _ => ContainerState::Exited,
    }
}

/// What the order of a swap sees of it.
pub(super) fn seat(inspect: &Value) -> Seat {
    let life = match state(inspect) {
        // A start that failed (port taken) leaves it `created`, with exit code 128.
        ContainerState::Created => Life::Created,
        ContainerState::Running | ContainerState::Restarting => Life::Up,
        ContainerState::Paused => Life::Paused,
        ContainerState::Exited | ContainerState::Dead | ContainerState::Missing => {
            Life::Ended(at(inspect, &["State", "ExitCode"]).as_i64().unwrap_or_default())
        }
    };
    Seat { name: name(inspect).to_owned(), life, policy: policy(inspect) }
}

/// Ports published on the host: as they are while it runs, as they are asked for while it does not.
pub(super) fn published(inspect: &Value) -> Vec<(u16, String)> {
    let pairs = |ports: &Value| -> Vec<(u16, String)> {
        let mut all = Vec::new();
        for (inner, bindings) in ports.as_object().into_iter().flatten() {
            for binding in bindings.as_array().into_iter().flatten() {
                if let Ok(port) = text(binding, &["HostPort"]).parse::<u16>()
                    && port != 0
                {
                    all.push((port, inner.clone()));
                }
            }
        }
        all.sort();
        all.dedup();
        all
    };
    let now = pairs(at(inspect, &["NetworkSettings", "Ports"]));
    if now.is_empty() { pairs(at(inspect, &["HostConfig", "PortBindings"])) } else { now }
}

/// The container's own health check as a command to run inside it; `None` when there is none.
pub(super) fn check_command(inspect: &Value) -> Option<Vec<String>> {
    let test = at(inspect, &["Config", "Healthcheck", "Test"]).as_array()?;
    let words: Vec<String> = test.iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let (kind, rest) = words.split_first()?;
    match kind.as_str() {
        "CMD" if !rest.is_empty() => Some(rest.to_vec()),
        "CMD-SHELL" if !rest.is_empty() => {
            // The image's own shell, else the engine's default: exactly what the engine itself would run.
            let shell = at(inspect, &["Config", "Shell"]).as_array();
            let mut command: Vec<String> =
                shell.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
            if command.is_empty() {
                command = vec!["/bin/sh".to_owned(), "-c".to_owned()];
            }
            command.extend(rest.iter().cloned());
            Some(command)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ports_are_told_as_they_are_and_else_as_they_are_asked_for() {
        let running = json!({"NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "49153"}], "81/tcp": null}},
            "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "0"}]}}});
        assert_eq!(published(&running), vec![(49153, "80/tcp".to_owned())]);
        let stopped = json!({"NetworkSettings": {"Ports": {}}, "HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}});
        assert_eq!(published(&stopped), vec![(8080, "80/tcp".to_owned())]);
    }

    #[test]
    fn a_switched_off_check_is_none() {
        let with = |test: Value| json!({"Config": {"Healthcheck": {"Test": test}}});
        assert_eq!(check_command(&with(json!(["NONE"]))), None);
        assert_eq!(check_command(&with(json!(["CMD", "/ok"]))), Some(vec!["/ok".to_owned()]));
        assert_eq!(check_command(&with(json!(["CMD-SHELL", "a && b"]))).unwrap().last().unwrap(), "a && b");
        assert_eq!(check_command(&json!({})), None);
    }
}

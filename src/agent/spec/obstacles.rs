//! Why a container cannot be swapped faithfully yet. Each sentence says what, why, and what to do; none holds a
//! value of the container's settings.

use serde_json::Value;

use super::json::{at, entries, is_empty, strings, text};
use super::labels::{NUMBER, ONEOFF, PROJECT, SERVICE, label};
use super::networks::primary;
use super::own::joined;
use super::peers::{MODES, Peer, translate, volumes_from};
use super::settings::wreck_of;

/// What stands around the container in question.
#[derive(Debug, Clone, Copy, Default)]
pub struct Surroundings<'a> {
    /// The other containers of the project, those of an unfinished swap left out.
    pub peers: &'a [Peer],
    /// Our own container's id (or its first twelve digits, which is its host name), when we run in one.
    pub own_container: Option<&'a str>,
}

/// Where compose copies secrets to that have no file to mount.
const SECRETS: &str = "/run/secrets/";

/// Longest path of one that can be carried as a file (`agent/copied.rs`).
const SECRET_PATH_MAX: usize = 99;

/// Every reason why this container must not be swapped now; empty = it can be.
/// `changes` is `GET /containers/{id}/changes`, an array or null.
pub fn obstacles(inspect: &Value, image: &Value, changes: &Value, around: Surroundings<'_>) -> Vec<String> {
    let mut found = obstacles_to_return(inspect, image, changes, around);
    found.extend(one_shot(inspect));
    found
}

/// The same for a container that is made again on the way back. It may have been stopped by us, so that it looks like a
/// job that has ended.
pub fn obstacles_to_return(inspect: &Value, image: &Value, changes: &Value, around: Surroundings<'_>) -> Vec<String> {
    let mut found = identity(inspect, around);
    found.extend(state(inspect));
    found.extend(uncarried(inspect, image, around.peers));
    found.extend(uncopied(inspect, changes));
    found.extend(dependants(inspect, around.peers));
    found
}

/// The same for a container that is gone and is made from what was recorded of it. Nobody can take a secret from it any
/// more, and whoever points at it is left behind already.
pub fn obstacles_to_make(inspect: &Value, image: &Value, changes: &Value, around: Surroundings<'_>) -> Vec<String> {
    let mut found = identity(inspect, around);
    found.extend(uncarried(inspect, image, around.peers));
    let name = name(inspect);
    found.extend(copied_files(inspect, changes).into_iter().map(|path| {
        format!(
            "compose copied the secret {path} into {name}, and it is gone with it. Run `docker compose up -d {}`, then ask \
             again; with a `file:` the secret would be mounted.",
            label(inspect, SERVICE)
        )
    }));
    found
}

/// Ours, compose's, swarm's, one of many?
fn identity(inspect: &Value, around: Surroundings<'_>) -> Vec<String> {
    let mut found = Vec::new();
    let id = text(inspect, &["Id"]);
    let name = name(inspect);
    if around.own_container.is_some_and(|own| own == name || (own.len() >= 12 && id.starts_with(own))) {
        found.push(format!(
            "{name} is Sternway's own container: it would stop itself half-way. Roll it back by hand with docker compose."
        ));
    }
    let swarm = |key: &String| key.starts_with("com.docker.swarm.") || key == "com.docker.stack.namespace";
    if entries(at(inspect, &["Config", "Labels"])).any(|(key, _)| swarm(key)) {
        found.push(format!(
            "{name} belongs to a Swarm service, which would replace it at once. Roll it back with `docker service update`."
        ));
        return found;
    }
    let missing: Vec<&str> =
        [PROJECT, SERVICE, NUMBER].into_iter().filter(|key| label(inspect, key).is_empty()).collect();
    if !missing.is_empty() {
        found.push(format!(
            "{name} lacks compose's label {}: it is not known which service it is. Recreate it with `docker compose up -d`.",
            missing.join(", ")
        ));
    }
    if label(inspect, ONEOFF) == "True" {
        found.push(format!(
            "{name} is a one-off of `docker compose run`, not the service. Stop it when its work is done."
        ));
    }
    let service = label(inspect, SERVICE);
    let others: Vec<&str> = around
        .peers
        .iter()
        .filter(|p| !service.is_empty() && p.service == service && !p.oneoff && p.id != id)
        .filter(|p| p.number == label(inspect, NUMBER))
        .map(|p| p.name.as_str())
        .collect();
    if !others.is_empty() {
        found.push(format!(
            "{name} and {} are both number {} of {service}: a recreate broke off, or somebody copied one. Look with \
             `docker ps -a` and remove what does not belong.",
            others.join(", "),
            label(inspect, NUMBER)
        ));
    }
    if let Some(rest) = wreck_of(&name) {
        found.push(format!(
            "{name} is what a recreate that broke off has left under a temporary name. Run `docker rename {name} {rest}`, \
             then `docker start {rest}`."
        ));
    }
    found
}

/// States in which nothing can be stopped or started as usual. A container that restarts again and again is none:
/// that is what rollbacks are for.
fn state(inspect: &Value) -> Option<String> {
    let name = name(inspect);
    match text(inspect, &["State", "Status"]) {
        "dead" => Some(format!(
            "{name} is dead: the engine could not remove it. Run `docker rm -f {name}`, then ask again: it is made anew."
        )),
        "removing" => Some(format!(
            "{name} is being removed by someone else. Ask again when `docker ps -a` does not list it any more: it is made anew."
        )),
        _ => None,
    }
}

/// A job that has done its work.
fn one_shot(inspect: &Value) -> Option<String> {
    let ended = text(inspect, &["State", "Status"]) == "exited" && is_one_shot(inspect);
    ended.then(|| {
        format!(
            "{} seems to be a one-shot job: it ended well by itself, so nothing could prove another image. \
             If it should run, start it first.",
            name(inspect)
        )
    })
}

/// Ended well by itself, is not brought back by any policy, and has neither port nor check that could prove it.
fn is_one_shot(inspect: &Value) -> bool {
    let host = at(inspect, &["HostConfig"]);
    let check = strings(at(inspect, &["Config", "Healthcheck", "Test"]));
    at(inspect, &["State", "ExitCode"]).as_i64() == Some(0)
        && matches!(text(host, &["RestartPolicy", "Name"]), "" | "no")
        && is_empty(at(host, &["PortBindings"]))
        && matches!(check.first(), None | Some(&"NONE"))
}

/// What create could not be told faithfully, whatever the image.
pub(super) fn uncarried(inspect: &Value, image: &Value, peers: &[Peer]) -> Vec<String> {
    let mut found = Vec::new();
    let name = name(inspect);
    let host = at(inspect, &["HostConfig"]);
    if !at(image, &["Config"]).is_object() {
        found.push(format!(
            "the image that {name} was made from is gone: what came from it cannot be told from the project's settings. \
             Pull it again, or roll back with `docker compose up -d`."
        ));
    }
    if at(host, &["AutoRemove"]) == &Value::Bool(true) {
        found.push(format!(
            "{name} runs with --rm: stopped, it is gone, and there is no way back. Start the service with `docker compose up -d`."
        ));
    }
    if volumes_from(inspect, peers).is_err() {
        found.push(format!(
            "{name} takes volumes from another container (volumes_from), and none of the project is that one (any more). Run \
             `docker compose up -d --force-recreate {}` so that it points at today's container.",
            label(inspect, SERVICE)
        ));
    }
    for (key, option) in MODES.iter().zip(["network_mode", "pid", "ipc"]) {
        let mode = text(host, &[key]);
        if joined(mode).is_some() && translate(mode, peers).is_none() {
            found.push(format!(
                "{name} uses another container by {option}, and none of the project is that one (any more). Run \
                 `docker compose up -d --force-recreate {}` so that it points at today's container.",
                label(inspect, SERVICE)
            ));
        }
    }
    if let Err(mode) = primary(inspect) {
        found.push(left_network(&mode));
    }
    found
}

/// The sentence for a container that is not attached to the network it was made for.
pub(super) fn left_network(mode: &str) -> String {
    format!(
        "the container is not attached to {mode}, the network it was made for: somebody disconnected it. \
         Connect it again with `docker network connect`, or run `docker compose up -d`."
    )
}

/// Paths of the secrets that compose copied into the container instead of mounting them. `changes` as in [`obstacles`].
pub fn copied_files(inspect: &Value, changes: &Value) -> Vec<String> {
    /// `Kind` of an added file in `changes`.
    const ADDED: u64 = 1;
    // A mounted secret leaves its mount point in the layer: that one is carried by the mount.
    let mounted: Vec<&str> =
        at(inspect, &["Mounts"]).as_array().into_iter().flatten().map(|m| text(m, &["Destination"])).collect();
    let added = changes.as_array().into_iter().flatten().filter(|change| change["Kind"].as_u64() == Some(ADDED));
    let secrets = added.map(|change| text(change, &["Path"])).filter(|path| path.starts_with(SECRETS));
    secrets.filter(|path| !mounted.contains(path)).map(str::to_owned).collect()
}

/// Secrets that were copied, where they cannot be copied again.
fn uncopied(inspect: &Value, changes: &Value) -> Vec<String> {
    let name = name(inspect);
    let read_only = at(inspect, &["HostConfig", "ReadonlyRootfs"]) == &Value::Bool(true);
    let lost = copied_files(inspect, changes).into_iter().filter(|path| read_only || path.len() > SECRET_PATH_MAX);
    lost.map(|path| {
        format!(
            "compose copied the secret {path} into {name}, which {}, so it cannot be copied again. \
             Give the secret a `file:` in the compose file, or roll back with `docker compose up -d`.",
            if read_only { "has a read-only root" } else { "is a path of too many letters" }
        )
    })
    .collect()
}

/// Containers of no service that use this one: they would point at a container that is gone. Those of services are made
/// again (`procedures/dependents.rs`).
fn dependants(inspect: &Value, peers: &[Peer]) -> Vec<String> {
    let id = text(inspect, &["Id"]);
    let name = name(inspect);
    peers
        .iter()
        .filter(|p| p.id != id && (p.oneoff || p.service.is_empty()))
        .filter(|p| p.uses.iter().any(|used| *used == name || (used.len() >= 12 && id.starts_with(used.as_str()))))
        .map(|p| {
            format!(
                "{} uses the network, processes or volumes of {name}, would be left with a container that is gone, and \
                 is no service that could be made again: `docker compose run` made it. Stop it when its work is done.",
                p.name
            )
        })
        .collect()
}

fn name(inspect: &Value) -> String {
    text(inspect, &["Name"]).trim_start_matches('/').to_owned()
}

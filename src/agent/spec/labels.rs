//! Which labels of a container are whose: the image's, the project's, compose's own, ours.

use serde_json::{Map, Value};

use super::json::{at, entries, text};

/// Compose's labels begin so.
pub const COMPOSE_PREFIX: &str = "com.docker.compose.";
/// The project's name.
pub const PROJECT: &str = "com.docker.compose.project";
/// The service's name.
pub const SERVICE: &str = "com.docker.compose.service";
/// The container's number within its service.
pub const NUMBER: &str = "com.docker.compose.container-number";
/// `True` for containers of `docker compose run`.
pub const ONEOFF: &str = "com.docker.compose.oneoff";
/// What compose compares to decide whether to recreate.
pub const CONFIG_HASH: &str = "com.docker.compose.config-hash";
/// The image's id (compose v2), compared likewise.
pub(super) const IMAGE: &str = "com.docker.compose.image";
/// The services that must be up before this one (compose v2); empty after `up --no-deps`.
pub const DEPENDS_ON: &str = "com.docker.compose.depends_on";
/// The project's folder, where its files are.
pub const WORKING_DIR: &str = "com.docker.compose.project.working_dir";
/// Compose's own version.
pub const VERSION: &str = "com.docker.compose.version";
/// The compose files, separated by commas; Compose 1 writes them as they were typed, relative to the folder.
pub const CONFIG_FILES: &str = "com.docker.compose.project.config_files";
/// Marks a recreate of compose v2 that is under way.
const REPLACE: &str = "com.docker.compose.replace";

/// Our labels begin so.
pub use crate::agent::keys::LABEL_PREFIX as OWN_PREFIX;

/// What `config-hash` says when no hash is known that fits the container: never equal to a real one, so that the
/// next `up` recreates the container once instead of believing that another release runs. Compose v2 does not
/// see containers without the label at all, hence a value.
pub const NO_CONFIG_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The labels that compose wrote on a container; they say how it was made and are no part of its settings.
pub fn compose_labels(inspect: &Value) -> Map<String, Value> {
    entries(at(inspect, &["Config", "Labels"]))
        .filter(|(key, _)| key.starts_with(COMPOSE_PREFIX))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// A label's value, empty when it is not there.
pub(super) fn label<'a>(inspect: &'a Value, key: &str) -> &'a str {
    text(inspect, &["Config", "Labels", key])
}

/// Whether compose's second generation made it: the first writes no image id.
pub(super) fn by_compose_2(inspect: &Value) -> bool {
    !label(inspect, IMAGE).is_empty()
}

/// Whether a `depends_on` label (`db:service_started:false,api:service_healthy:true`) says `restart: true` of a service.
pub fn restarts_with(depends_on: &str, service: &str) -> bool {
    depends_on.split(',').any(|one| {
        let mut parts = one.trim().split(':');
        parts.next() == Some(service) && parts.nth(1) == Some("true")
    })
}

/// The project's own labels: neither the image's, nor compose's, nor ours.
pub(super) fn project_labels(inspect: &Value, image: &Value) -> Map<String, Value> {
    let of_image = at(image, &["Config", "Labels"]);
    entries(at(inspect, &["Config", "Labels"]))
        .filter(|(key, value)| {
            !key.starts_with(COMPOSE_PREFIX)
                && !key.starts_with(OWN_PREFIX)
                && of_image.get(key.as_str()) != Some(*value)
        })
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect()
}

/// Compose's labels for a new container. With the labels recorded when the image last ran, the next `up` finds
/// what it would have made itself; without, the hash is one that fits nothing ([`NO_CONFIG_HASH`]), as the present
/// one would claim that the present release still runs.
///
/// Taken from the present container in any case: who it is (project, service, number) and where the files are.
pub(super) fn new_compose_labels(
    present: &Map<String, Value>,
    recorded: Option<&Map<String, Value>>,
    new_image_id: &str,
) -> Map<String, Value> {
    let of_place = |key: &str| {
        key == NUMBER
            || key == ONEOFF
            || key == SERVICE
            || key == PROJECT
            || key.starts_with("com.docker.compose.project.")
    };
    let mut labels: Map<String, Value> = Map::new();
    for (key, value) in present {
        if of_place(key) || recorded.is_none() {
            labels.insert(key.clone(), value.clone());
        }
    }
    match recorded {
        Some(recorded) => {
            for (key, value) in recorded {
                if key.starts_with(COMPOSE_PREFIX) && !of_place(key) {
                    labels.insert(key.clone(), value.clone());
                }
            }
            // `up --no-deps` empties the order of services: the fuller of the two is the truer.
            let emptied = labels.get(DEPENDS_ON).is_none_or(|v| v.as_str() == Some(""));
            if let (true, Some(value)) = (emptied, present.get(DEPENDS_ON)) {
                labels.insert(DEPENDS_ON.to_owned(), value.clone());
            }
        }
        None => {
            if labels.contains_key(CONFIG_HASH) {
                labels.insert(CONFIG_HASH.to_owned(), Value::from(NO_CONFIG_HASH));
            }
        }
    }
    if labels.contains_key(IMAGE) {
        labels.insert(IMAGE.to_owned(), Value::from(new_image_id));
    }
    labels.remove(REPLACE);
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn map(value: Value) -> Map<String, Value> {
        value.as_object().cloned().unwrap()
    }

    #[test]
    fn recorded_hash_and_todays_place_make_the_new_labels() {
        let present = map(
            json!({PROJECT: "shop", SERVICE: "api", NUMBER: "1", WORKING_DIR: "/new", CONFIG_HASH: "bad",
            IMAGE: "sha256:bad", DEPENDS_ON: "db:service_started:false", REPLACE: "x", "com.docker.compose.version": "2.40.3"}),
        );
        let recorded =
            map(json!({PROJECT: "shop", SERVICE: "api", NUMBER: "3", WORKING_DIR: "/old", CONFIG_HASH: "good",
            IMAGE: "sha256:elsewhere", DEPENDS_ON: "", "com.docker.compose.version": "2.26.1"}));
        assert_eq!(
            Value::Object(new_compose_labels(&present, Some(&recorded), "sha256:good")),
            json!({PROJECT: "shop", SERVICE: "api", NUMBER: "1", WORKING_DIR: "/new", CONFIG_HASH: "good",
                IMAGE: "sha256:good", DEPENDS_ON: "db:service_started:false", "com.docker.compose.version": "2.26.1"})
        );
    }

    #[test]
    fn who_restarts_with_a_service_is_read_from_the_label() {
        let label = "db:service_started:false,api:service_healthy:true";
        assert!(restarts_with(label, "api"));
        assert!(!restarts_with(label, "db") && !restarts_with(label, "ap") && !restarts_with("", "api"));
        assert!(!restarts_with("api", "api") && !restarts_with("api:service_started", "api"));
    }

    #[test]
    fn without_recorded_labels_the_hash_of_the_bad_release_is_not_copied() {
        let present = map(json!({PROJECT: "shop", CONFIG_HASH: "bad", IMAGE: "sha256:bad", REPLACE: "x"}));
        assert_eq!(
            Value::Object(new_compose_labels(&present, None, "sha256:good")),
            json!({PROJECT: "shop", CONFIG_HASH: NO_CONFIG_HASH, IMAGE: "sha256:good"})
        );
    }
}

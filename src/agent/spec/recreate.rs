//! The body of create for "the same container, other image" (docker-facts section 3).

use serde_json::{Map, Value, json};

use super::json::{at, entries, is_empty, put, strings, text};
use super::labels::{compose_labels, new_compose_labels, project_labels};
use super::networks::{ALL_IN_CREATE, configured_mac, endpoints, link, primary};
use super::own::{joined, own_config};
use super::peers::{MODES, Peer, translate, volumes_from};
use super::{mounts, obstacles};

/// What a new container is made from: today's settings, another image (decision 22).
#[derive(Debug, Clone, Copy)]
pub struct Recreate<'a> {
    /// Inspect of the present container.
    pub old: &'a Value,
    /// Inspect of the image it was made from.
    pub old_image: &'a Value,
    /// The image to run, by its local id (decision 24: tags move).
    pub new_image_id: &'a str,
    /// Inspect of that image.
    pub new_image: &'a Value,
    /// Compose's labels recorded when that image last ran ([`compose_labels`]). Give them only when settings are
    /// otherwise equal: then the next `up` finds nothing to do. With `None`, it recreates the container once.
    pub target_labels: Option<&'a Map<String, Value>>,
    /// Our labels for the new container (`io.sternway.…`); ours on the old one are not copied.
    pub own_labels: &'a Map<String, Value>,
    /// `HostConfig.RestartPolicy` until commit: `{"Name": "no"}`.
    pub restart: &'a Value,
    /// The engine's newest API, such as `(1, 41)`.
    pub api: (u32, u32),
    /// The other containers of the project.
    pub peers: &'a [Peer],
}

/// What a recorded container is made again from, image included: for undo and `with recorded settings`.
#[derive(Debug, Clone, Copy)]
pub struct Recorded<'a> {
    /// The recorded inspect.
    pub recorded: &'a Value,
    /// The recorded inspect of its image.
    pub image: &'a Value,
    /// That image's local id now.
    pub image_id: &'a str,
    /// The container that stands there now: anonymous volumes are taken from it, as they hold today's data, and
    /// from the record only where it has none. `None` takes all from the record.
    pub present: Option<&'a Value>,
    /// As in [`Recreate`].
    pub own_labels: &'a Map<String, Value>,
    /// As in [`Recreate`].
    pub restart: &'a Value,
    /// As in [`Recreate`].
    pub api: (u32, u32),
    /// As in [`Recreate`].
    pub peers: &'a [Peer],
}

/// A container to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewContainer {
    /// The body of `POST /containers/create`. Holds secrets.
    pub create: Value,
    /// Networks to connect before start, in this order, with their `EndpointConfig`. Empty from API 1.44 on, where
    /// create takes all.
    pub connects: Vec<(String, Value)>,
}

impl NewContainer {
    /// Takes out the networks of this list, to be connected later, and gives them with their `EndpointConfig`. Nothing
    /// is taken when the container would have no network of its own until then.
    pub fn hide_from(&mut self, networks: &[String]) -> Vec<(String, Value)> {
        let hidden = |name: &String| networks.contains(name);
        let primary = text(&self.create, &["HostConfig", "NetworkMode"]).to_owned();
        let endpoints = self.create.pointer_mut("/NetworkingConfig/EndpointsConfig").and_then(Value::as_object_mut);
        let Some(endpoints) = endpoints.filter(|all| all.contains_key(&primary) && !hidden(&primary)) else {
            return Vec::new();
        };
        let names: Vec<String> = endpoints.keys().filter(|name| hidden(name)).cloned().collect();
        let mut late: Vec<(String, Value)> =
            names.into_iter().filter_map(|name| endpoints.remove_entry(&name)).collect();
        let (later, now) = std::mem::take(&mut self.connects).into_iter().partition(|(name, _)| hidden(name));
        self.connects = now;
        late.extend::<Vec<_>>(later);
        late
    }
}

impl std::fmt::Debug for NewContainer {
    /// Networks only: the body holds secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let networks: Vec<&str> = self.connects.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("NewContainer").field("connects", &networks).finish_non_exhaustive()
    }
}

/// Today's container with another image.
///
/// # Errors
/// A sentence for each thing that cannot be carried (the same as [`super::obstacles`] says of them).
pub fn recreate(input: Recreate<'_>) -> Result<NewContainer, Vec<String>> {
    let labels = new_compose_labels(&compose_labels(input.old), input.target_labels, input.new_image_id);
    Build {
        from: input.old,
        from_image: input.old_image,
        image_id: input.new_image_id,
        image: input.new_image,
        present: input.old,
        compose_labels: labels,
        own_labels: input.own_labels,
        restart: input.restart,
        api: input.api,
        peers: input.peers,
    }
    .build()
}

/// The recorded container again, exactly: its settings, its image, its compose labels.
///
/// # Errors
/// As [`recreate`].
pub fn recreate_recorded(input: Recorded<'_>) -> Result<NewContainer, Vec<String>> {
    let recorded = compose_labels(input.recorded);
    Build {
        from: input.recorded,
        from_image: input.image,
        image_id: input.image_id,
        image: input.image,
        present: input.present.unwrap_or(input.recorded),
        compose_labels: new_compose_labels(&recorded, Some(&recorded), input.image_id),
        own_labels: input.own_labels,
        restart: input.restart,
        api: input.api,
        peers: input.peers,
    }
    .build()
}

struct Build<'a> {
    from: &'a Value,
    from_image: &'a Value,
    image_id: &'a str,
    image: &'a Value,
    present: &'a Value,
    compose_labels: Map<String, Value>,
    own_labels: &'a Map<String, Value>,
    restart: &'a Value,
    api: (u32, u32),
    peers: &'a [Peer],
}

impl Build<'_> {
    fn build(self) -> Result<NewContainer, Vec<String>> {
        let trouble = obstacles::uncarried(self.from, self.from_image, self.peers);
        if !trouble.is_empty() {
            return Err(trouble);
        }
        let mut body = own_config(self.from, self.from_image);
        let own_volumes = body.get("Volumes").cloned().unwrap_or_default();

        let mut labels = project_labels(self.from, self.from_image);
        labels.extend(self.compose_labels.clone());
        labels.extend(self.own_labels.clone());
        body.insert("Labels".to_owned(), Value::Object(labels));
        body.insert("Image".to_owned(), Value::from(self.image_id));

        body.insert("HostConfig".to_owned(), Value::Object(self.host(&own_volumes)));

        let (in_create, connects) = self.networks()?;
        if let (Some(mac), true) = (configured_mac(self.from), self.api < ALL_IN_CREATE) {
            body.insert("MacAddress".to_owned(), Value::from(mac));
        }
        if !in_create.is_empty() {
            body.insert("NetworkingConfig".to_owned(), json!({ "EndpointsConfig": in_create }));
        }
        Ok(NewContainer { create: Value::Object(body), connects })
    }

    fn host(&self, own_volumes: &Value) -> Map<String, Value> {
        let mut host: Map<String, Value> = at(self.from, &["HostConfig"]).as_object().cloned().unwrap_or_default();
        for key in ["ContainerIDFile", "ConsoleSize"] {
            host.remove(key);
        }
        for key in MODES {
            if let Some(mode) = translate(text(at(self.from, &["HostConfig"]), &[key]), self.peers) {
                host.insert(key.to_owned(), Value::String(mode));
            }
        }
        let links: Vec<String> = strings(at(self.from, &["HostConfig", "Links"])).into_iter().map(link).collect();
        host.remove("Links");
        put(&mut host, "Links", json!(links));
        host.insert("RestartPolicy".to_owned(), self.restart.clone());
        let from: Vec<String> =
            volumes_from(self.from, self.peers).into_iter().flatten().map(|(_, entry)| entry).collect();
        if !from.is_empty() {
            host.insert("VolumesFrom".to_owned(), json!(from));
        }
        mounts::carry(&mut host, self.present, self.from, own_volumes, self.image, self.peers);
        host
    }

    /// What goes into create, and what has to be connected afterwards.
    fn networks(&self) -> Result<Endpoints, Vec<String>> {
        let mut all = endpoints(self.from);
        // `uncarried` has refused the error; naming it again costs nothing.
        let Some(primary) = primary(self.from).map_err(|mode| vec![obstacles::left_network(&mode)])? else {
            return Ok((Map::new(), Vec::new()));
        };
        if self.api >= ALL_IN_CREATE {
            if let Some(mac) = configured_mac(self.from) {
                all[primary.as_str()]["MacAddress"] = Value::from(mac);
            } else if text(self.from, &["State", "Status"]) == "created" {
                // Only before its first start does the engine tell which MAC addresses were asked for.
                for (name, endpoint) in entries(at(self.from, &["NetworkSettings", "Networks"])) {
                    let mac = &endpoint["MacAddress"];
                    if let (false, Some(own)) = (is_empty(mac), all.get_mut(name)) {
                        own["MacAddress"] = mac.clone();
                    }
                }
            }
            return Ok((all, Vec::new()));
        }
        let first = all.remove(&primary).unwrap_or_default();
        Ok((Map::from_iter([(primary, first)]), all.into_iter().collect()))
    }
}

/// Endpoints for create, and those to connect afterwards.
type Endpoints = (Map<String, Value>, Vec<(String, Value)>);

/// Whether a container has another one's network, and so no endpoints and names of its own.
pub(super) fn has_foreign_network(inspect: &Value) -> bool {
    joined(text(inspect, &["HostConfig", "NetworkMode"])).is_some()
}

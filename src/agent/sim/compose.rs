//! What `docker compose up` makes, in its two generations, so that tests and the demo meet the labels, names and
//! orders that real projects have (docker-facts section 2).

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::container::Container;
use super::hex_of;
use super::world::World;
use crate::agent::engine::EngineError;

/// Which compose wrote the containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Generation {
    /// 1.29: names with `_`, stops and renames OLD first; its hash covers the image's id.
    V1,
    /// 2.x: names with `-`, creates NEW first; its hash covers the image's name, a label its id.
    V2,
}

/// One service of a compose file.
#[derive(Debug, Clone)]
pub struct ComposeService {
    /// The project.
    pub project: String,
    /// The service.
    pub service: String,
    /// The image string of the file, variables resolved.
    pub image: String,
    /// Published on 127.0.0.1: host port, container port.
    pub ports: Vec<(u16, u16)>,
    /// `KEY=value`.
    pub environment: Vec<String>,
    /// `name:/path[:ro]` or `/host:/path[:ro]`.
    pub volumes: Vec<String>,
    /// `no`, `always`, `unless-stopped` or `on-failure`.
    pub restart: String,
    /// Services it depends on (`condition: service_started`).
    pub depends_on: Vec<String>,
    /// Services it depends on with `restart: true`.
    pub restarts_with: Vec<String>,
    /// Labels of the file.
    pub labels: Vec<(String, String)>,
    /// Networks beside the project's default one.
    pub networks: Vec<String>,
    /// The service whose network it lives in (`network_mode: service:x`).
    pub lives_in: Option<String>,
    /// Services whose volumes it uses (`volumes_from`).
    pub volumes_from: Vec<String>,
    /// Compose's container number, from 1.
    pub number: u32,
    /// Which compose.
    pub generation: Generation,
    /// The folder of the file.
    pub working_dir: String,
}

impl ComposeService {
    /// A plain service: compose v2, `unless-stopped`, nothing beside image and ports.
    pub fn new(project: &str, service: &str, image: &str, ports: &[(u16, u16)]) -> Self {
        Self {
            project: project.to_owned(),
            service: service.to_owned(),
            image: image.to_owned(),
            ports: ports.to_vec(),
            environment: Vec::new(),
            volumes: Vec::new(),
            restart: "unless-stopped".to_owned(),
            depends_on: Vec::new(),
            restarts_with: Vec::new(),
            labels: Vec::new(),
            networks: Vec::new(),
            lives_in: None,
            volumes_from: Vec::new(),
            number: 1,
            generation: Generation::V2,
            working_dir: format!("/srv/{project}"),
        }
    }

    /// The container's final name.
    pub fn container_name(&self) -> String {
        let dash = match self.generation {
            Generation::V1 => '_',
            Generation::V2 => '-',
        };
        format!("{}{dash}{}{dash}{}", self.project, self.service, self.number)
    }

    fn hash(&self, image_id: &str) -> String {
        let image = match self.generation {
            Generation::V1 => image_id,
            Generation::V2 => &self.image,
        };
        let text = json!([
            self.service,
            image,
            self.ports,
            self.environment,
            self.volumes,
            self.restart,
            self.labels,
            self.networks
        ]);
        hex_of(text.to_string().as_bytes())
    }

    /// Create's body, with the labels compose writes.
    fn body(&self, image_id: &str, replaces: bool) -> Value {
        let mut labels: Map<String, Value> = self.labels.iter().map(|(k, v)| (k.clone(), json!(v))).collect();
        let mut label = |key: &str, value: String| {
            labels.insert(format!("com.docker.compose.{key}"), Value::String(value));
        };
        label("config-hash", self.hash(image_id));
        label("container-number", self.number.to_string());
        label("oneoff", "False".to_owned());
        label("project", self.project.clone());
        label("project.working_dir", self.working_dir.clone());
        label("service", self.service.clone());
        match self.generation {
            Generation::V1 => {
                label("project.config_files", "docker-compose.yml".to_owned());
                label("version", "1.29.2".to_owned());
            }
            Generation::V2 => {
                label("project.config_files", format!("{}/docker-compose.yml", self.working_dir));
                label("version", "2.40.3".to_owned());
                label("image", image_id.to_owned());
                let needs = self.depends_on.iter().map(|s| format!("{s}:service_started:false"));
                let restarts = self.restarts_with.iter().map(|s| format!("{s}:service_started:true"));
                let needs: Vec<_> = needs.chain(restarts).collect();
                label("depends_on", needs.join(","));
                if replaces {
                    label("replace", format!("{}-{}", self.service, self.number));
                }
            }
        }
        let binding = |(host, inside): &(u16, u16)| {
            (format!("{inside}/tcp"), json!([{"HostIp": "127.0.0.1", "HostPort": host.to_string()}]))
        };
        let ports: Map<String, Value> = self.ports.iter().map(binding).collect();
        let exposed: Map<String, Value> = ports.keys().map(|key| (key.clone(), json!({}))).collect();
        let network = format!("{}_default", self.project);
        json!({
            "Image": self.image, "Env": self.environment, "Labels": labels, "ExposedPorts": exposed,
            "HostConfig": {
                "Binds": if self.volumes.is_empty() { Value::Null } else { json!(self.volumes) },
                "NetworkMode": network, "PortBindings": ports,
                "RestartPolicy": {"Name": self.restart, "MaximumRetryCount": 0}
            },
            "NetworkingConfig": {"EndpointsConfig": {network: {"Aliases": self.aliases()}}}
        })
    }

    fn aliases(&self) -> Vec<String> {
        match self.generation {
            Generation::V1 => vec![self.service.clone()],
            Generation::V2 => vec![self.container_name(), self.service.clone()],
        }
    }
}

impl World {
    /// Create's body, with the ids of the containers that the service points at.
    fn compose_body(&self, wanted: &ComposeService, image: &str, replaces: bool) -> Value {
        let mut body = wanted.body(image, replaces);
        let id = |service: &String| {
            let of_it = |c: &&Container| {
                c.label("com.docker.compose.project") == Some(&wanted.project)
                    && c.label("com.docker.compose.service") == Some(service)
            };
            self.containers.iter().find(of_it).map_or_else(|| service.clone(), |c| c.id.clone())
        };
        if let Some(host) = &wanted.lives_in {
            body["HostConfig"]["NetworkMode"] = json!(format!("container:{}", id(host)));
            body["NetworkingConfig"] = Value::Null;
        }
        if !wanted.volumes_from.is_empty() {
            let from: Vec<String> = wanted.volumes_from.iter().map(|s| format!("{}:rw", id(s))).collect();
            body["HostConfig"]["VolumesFrom"] = json!(from);
        }
        body
    }

    /// Whether a container points at others than compose would have it point at now.
    fn points_elsewhere(&self, old: &Container, wanted: &ComposeService, image: &str) -> bool {
        let body = self.compose_body(wanted, image, true);
        let differs = |key: &str| !body["HostConfig"][key].is_null() && body["HostConfig"][key] != old.host[key];
        differs("NetworkMode") || differs("VolumesFrom")
    }

    /// As `up -d` does it for one service: leaves the container alone when nothing differs, else recreates it in
    /// the order of its generation. Gives the id of the container that runs now.
    pub(super) fn compose(&mut self, wanted: &ComposeService, now: Timestamp) -> Result<String, EngineError> {
        let image = self.images.get(&wanted.image)?.id.clone();
        for network in std::iter::once("default").chain(wanted.networks.iter().map(String::as_str)) {
            self.network(&format!("{}_{network}", wanted.project));
        }
        self.composed.insert((wanted.project.clone(), wanted.service.clone()), wanted.clone());
        let number = wanted.number.to_string();
        let old = self.containers.iter().find(|c| {
            c.label("com.docker.compose.project") == Some(&wanted.project)
                && c.label("com.docker.compose.service") == Some(&wanted.service)
                && c.label("com.docker.compose.container-number") == Some(&number)
                && c.label("com.docker.compose.oneoff") == Some("False")
        });
        let name = wanted.container_name();
        let Some(old) = old else {
            return self.compose_new(wanted, &name, &image, false, now);
        };
        let hash_differs = old.label("com.docker.compose.config-hash") != Some(&wanted.hash(&image));
        let image_differs =
            wanted.generation == Generation::V2 && old.label("com.docker.compose.image") != Some(&image);
        let id = old.id.clone();
        if !hash_differs && !image_differs && !self.points_elsewhere(old, wanted, &image) {
            self.start(&id, now)?;
            return Ok(id);
        }
        let temporary = format!("{}_{name}", &id[..12]);
        let stopped = |world: &mut Self| world.stop(&id, 0, now).map(drop);
        match wanted.generation {
            Generation::V1 => {
                stopped(self)?;
                self.rename(&id, &temporary)?;
                let new = self.compose_new(wanted, &name, &image, true, now)?;
                self.remove(&id)?;
                Ok(new)
            }
            Generation::V2 => {
                let new = self.create(&temporary, &self.compose_body(wanted, &image, true), now)?;
                stopped(self)?;
                self.remove(&id)?;
                self.rename(&new, &name)?;
                self.compose_start(wanted, &new, now)?;
                self.restart_dependents(wanted, now)?;
                Ok(new)
            }
        }
    }

    /// `depends_on … restart: true`: those that say so of the recreated service, and nobody who depends on them
    /// (tried with 2.40.3; it stops them before and starts them after).
    fn restart_dependents(&mut self, wanted: &ComposeService, now: Timestamp) -> Result<(), EngineError> {
        let says_so = |c: &&Container| {
            let label = c.label("com.docker.compose.depends_on").unwrap_or_default();
            c.runs()
                && c.label("com.docker.compose.project") == Some(&wanted.project)
                && crate::agent::spec::restarts_with(label, &wanted.service)
        };
        let ids: Vec<String> = self.containers.iter().filter(says_so).map(|c| c.id.clone()).collect();
        for id in ids {
            self.stop(&id, 0, now)?;
            self.start(&id, now)?;
        }
        Ok(())
    }

    fn compose_new(
        &mut self,
        wanted: &ComposeService,
        name: &str,
        image: &str,
        replaces: bool,
        now: Timestamp,
    ) -> Result<String, EngineError> {
        let id = self.create(name, &self.compose_body(wanted, image, replaces), now)?;
        self.compose_start(wanted, &id, now)?;
        Ok(id)
    }

    fn compose_start(&mut self, wanted: &ComposeService, id: &str, now: Timestamp) -> Result<(), EngineError> {
        for network in &wanted.networks {
            self.connect(&format!("{}_{network}", wanted.project), id, &json!({"Aliases": wanted.aliases()}))?;
        }
        self.start(id, now)
    }

    /// Makes sure that a network is there; gives its id.
    pub(super) fn network(&mut self, name: &str) -> String {
        if let Some(id) = self.networks.get(name) {
            return id.clone();
        }
        let id = super::hex_id("network", self.next_serial());
        self.networks.insert(name.to_owned(), id.clone());
        id
    }
}

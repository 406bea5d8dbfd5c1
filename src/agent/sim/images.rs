//! The images of a simulated engine: ids, tags that move, inspect and list as engine 20.10 tells them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::behaviour::Behaviour;
use super::{hex_id, refused};
use crate::agent::engine::EngineError;

/// An image to be put into a simulated engine.
#[derive(Debug, Clone)]
pub struct NewImage {
    /// Its tag, such as `shop/api:1.0`. A tag that stands elsewhere moves here.
    pub reference: String,
    /// What its program does.
    pub behaviour: Behaviour,
    /// Members of inspect's `Config` that shall differ from the plain ones (`Env`, `Healthcheck`, `Labels`, …).
    pub config: Value,
    /// What makes its layers; equal content and equal config are the same image (fingerprint). `None` = unique.
    pub content: Option<String>,
    /// `repository@sha256:…` entries.
    pub digests: Vec<String>,
    /// `linux`.
    pub os: String,
    /// `amd64`.
    pub arch: String,
}

impl NewImage {
    /// A unique image for the engine's own platform.
    pub fn new(reference: &str, behaviour: Behaviour) -> Self {
        Self {
            reference: reference.to_owned(),
            behaviour,
            config: json!({}),
            content: None,
            digests: Vec::new(),
            os: "linux".to_owned(),
            arch: "amd64".to_owned(),
        }
    }

    /// With these members of `Config`.
    #[must_use]
    pub fn config(mut self, config: Value) -> Self {
        self.config = config;
        self
    }
}

#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) id: String,
    pub(super) behaviour: Behaviour,
    pub(super) config: Value,
    pub(super) arch: String,
    os: String,
    layers: Vec<String>,
    pub(super) digests: Vec<String>,
    created: Timestamp,
}

/// All images, in the order they came.
#[derive(Debug, Default)]
pub(super) struct Images {
    all: Vec<Image>,
    tags: BTreeMap<String, String>,
}

impl Images {
    /// Adds an image and gives its id. `serial` is new each time.
    pub(super) fn add(&mut self, new: NewImage, serial: u64, now: Timestamp) -> String {
        let id = format!("sha256:{}", hex_id("image", serial));
        let content = new.content.unwrap_or_else(|| id.clone());
        let mut config = json!({
            "Hostname": "", "Domainname": "", "User": "", "AttachStdin": false, "AttachStdout": false,
            "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false,
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Cmd": ["serve"], "Image": "", "Volumes": null, "WorkingDir": "", "Entrypoint": ["/app"],
            "OnBuild": null, "Labels": null
        });
        super::overlay(&mut config, &new.config);
        self.all.push(Image {
            id: id.clone(),
            behaviour: new.behaviour,
            config,
            os: new.os,
            arch: new.arch,
            layers: vec![
                format!("sha256:{}", hex_id("base", 0)),
                format!("sha256:{}", super::hex_of(content.as_bytes())),
            ],
            digests: new.digests,
            created: now,
        });
        self.tags.insert(normal(&new.reference), id.clone());
        id
    }

    /// By tag, `repository@digest`, id, or the beginning of an id.
    pub(super) fn find(&self, handle: &str) -> Option<&Image> {
        if let Some(id) = self.tags.get(&normal(handle)) {
            return self.all.iter().find(|image| image.id == *id);
        }
        if handle.contains('@') {
            return self.all.iter().find(|image| image.digests.iter().any(|d| d == handle));
        }
        let hex = handle.strip_prefix("sha256:").unwrap_or(handle);
        if hex.is_empty() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        let mut fits = self.all.iter().filter(|image| image.id["sha256:".len()..].starts_with(hex));
        let first = fits.next();
        if fits.next().is_some() { None } else { first }
    }

    pub(super) fn get(&self, handle: &str) -> Result<&Image, EngineError> {
        self.find(handle).ok_or_else(|| EngineError::NotFound(format!("No such image: {}", normal(handle))))
    }

    /// The program of an image behaves otherwise from its next start on.
    pub(super) fn set_behaviour(&mut self, handle: &str, behaviour: Behaviour) -> Result<(), EngineError> {
        let id = self.get(handle)?.id.clone();
        for image in self.all.iter_mut().filter(|i| i.id == id) {
            image.behaviour = behaviour;
        }
        Ok(())
    }

    /// Moves or sets a tag.
    pub(super) fn tag(&mut self, handle: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let id = self.get(handle)?.id.clone();
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_./:".contains(&b);
        if repository.is_empty() || !repository.bytes().all(plain) {
            return Err(refused(500, "invalid reference format: repository name must be lowercase"));
        }
        if tag.is_empty() || !tag.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
            return Err(refused(500, "invalid tag format"));
        }
        self.tags.insert(format!("{repository}:{tag}"), id);
        Ok(())
    }

    /// An image came by digest: it has no tag.
    pub(super) fn pulled(&mut self, image: Image) {
        if self.find(&image.id).is_none() {
            self.all.push(image);
        }
    }

    /// A push gives the image one more name of the registry's.
    pub(super) fn pushed(&mut self, handle: &str, repository: &str) -> Result<(String, Image), EngineError> {
        let id = self.get(handle)?.id.clone();
        // The manifest's digest is another one than the image's id in this store.
        let digest = format!("{repository}@sha256:{}", super::hex_of(format!("manifest {id}").as_bytes()));
        let image = self.all.iter_mut().find(|i| i.id == id);
        let image = image.ok_or_else(|| EngineError::NotFound(format!("No such image: {handle}")))?;
        if !image.digests.contains(&digest) {
            image.digests.push(digest.clone());
        }
        let kept = Image { digests: vec![digest.clone()], ..image.clone() };
        Ok((digest, kept))
    }

    /// As `docker rmi` does it: a tag goes, and with the last one the image; refused if that one is used by a
    /// container. With `force` only the image of a running container stays, without its tag. By id all goes,
    /// unless (even with force) a running one uses it.
    pub(super) fn remove(
        &mut self,
        handle: &str,
        force: bool,
        used_by: impl Fn(&str) -> Option<Use>,
    ) -> Result<(), EngineError> {
        let id = self.get(handle)?.id.clone();
        let used = used_by(&id);
        let name = normal(handle);
        if handle.contains('@') && self.tags.values().any(|of| *of == id) {
            // A name of the registry's goes by itself while a tag is left.
            for image in self.all.iter_mut().filter(|i| i.id == id) {
                image.digests.retain(|d| d != handle);
            }
            return Ok(());
        }
        if self.tags.contains_key(&name) {
            let others = self.tags.iter().any(|(tag, of)| *of == id && *tag != name);
            if !others && used.is_some() && !force {
                return Err(EngineError::Conflict(format!(
                    "conflict: unable to remove repository reference \"{handle}\" (must force) - a container uses it"
                )));
            }
            self.tags.remove(&name);
            // Force takes the image from under a container that does not run; that one still starts.
            if others || used == Some(Use::Running) {
                return Ok(());
            }
        } else if used == Some(Use::Running) || (used.is_some() && !force) {
            return Err(EngineError::Conflict(format!("conflict: unable to delete {id} - a container uses it")));
        }
        self.tags.retain(|_, of| *of != id);
        self.all.retain(|image| image.id != id);
        Ok(())
    }

    /// As `docker image prune -a`: everything that no container was made from. Gives the ids.
    pub(super) fn prune(&mut self, used_by: impl Fn(&str) -> Option<Use>) -> Vec<String> {
        let (kept, gone): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.all).into_iter().partition(|image| used_by(&image.id).is_some());
        self.all = kept;
        let gone: Vec<String> = gone.into_iter().map(|image| image.id).collect();
        self.tags.retain(|_, of| !gone.contains(of));
        gone
    }

    /// `GET /images/{name}/json`.
    pub(super) fn inspect(&self, handle: &str) -> Option<Value> {
        let image = self.find(handle)?;
        Some(json!({
            "Id": image.id, "RepoTags": self.tags_of(&image.id), "RepoDigests": image.digests, "Parent": "",
            "Comment": "", "Created": image.created.to_string(), "Container": "", "ContainerConfig": image.config,
            "DockerVersion": super::VERSION, "Author": "", "Config": image.config, "Architecture": image.arch,
            "Os": image.os, "Size": 5_000_000, "VirtualSize": 5_000_000,
            "GraphDriver": {"Data": {}, "Name": "overlay2"},
            "RootFS": {"Type": "layers", "Layers": image.layers},
            "Metadata": {"LastTagTime": image.created.to_string()}
        }))
    }

    /// `GET /images/json`, newest first.
    pub(super) fn list(&self) -> Vec<Value> {
        let item = |image: &Image| {
            let mut tags = self.tags_of(&image.id);
            if tags.is_empty() {
                tags.push("<none>:<none>".to_owned());
            }
            json!({
                "Containers": -1, "Created": image.created.as_second(), "Id": image.id,
                "Labels": image.config["Labels"], "ParentId": "",
                "RepoDigests": if image.digests.is_empty() { Value::Null } else { json!(image.digests) },
                "RepoTags": tags, "SharedSize": -1, "Size": 5_000_000, "VirtualSize": 5_000_000
            })
        };
        self.all.iter().rev().map(item).collect()
    }

    fn tags_of(&self, id: &str) -> Vec<String> {
        self.tags.iter().filter(|(_, of)| *of == id).map(|(tag, _)| tag.clone()).collect()
    }
}

/// Who uses an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// At least one running container.
    Running,
    /// Only containers that do not run.
    Stopped,
}

/// A reference without a tag means `latest`.
fn normal(reference: &str) -> String {
    let last = reference.rsplit('/').next().unwrap_or(reference);
    if last.contains(':') || reference.contains('@') { reference.to_owned() } else { format!("{reference}:latest") }
}

//! Eyes of the host's agent: the project as it is, recorded as it is looked at.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use serde_json::Value;

use super::copies::copies;
use super::engine::Engine;
use super::follow::ties;
use super::gone::Gone;
use super::host::{HostAgent, look_error};
use super::images::foreign_platform;
use super::operation::{Operation, Phase};
use super::spec::{self, Surroundings};
use super::swap::api;
use super::{
    ComposeMark, ContainerFacts, EngineFacts, Holdings, ImageFound, Inspect, LookError, PastStart, PinFacts,
    ServiceFacts, StackFacts, fingerprint, pinfile, raw,
};
use crate::domain::canonical;
use crate::domain::names::{Fingerprint, ProjectName, ServiceName};
use crate::domain::plan::{HealthRule, SpecRef};
use crate::domain::release::Handles;

/// Repositories of our own pins begin so; they are no releases of anybody.
const PINS: &str = "io.sternway/";

fn other(error: impl std::fmt::Display) -> LookError {
    LookError::Other(error.to_string())
}

/// What is there beside the container that is looked at.
#[derive(Clone, Copy)]
struct Scene<'a> {
    /// All containers of the project, those that are gone included.
    all: &'a [Value],
    /// Open operations.
    open: &'a [Operation],
    engine: &'a EngineFacts,
}

impl<E: Engine> HostAgent<E> {
    async fn facts_of(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        container: &Value,
        scene: Scene<'_>,
        gone: Option<&Gone>,
    ) -> Result<ContainerFacts, LookError> {
        let Scene { all, open, engine } = scene;
        let id = raw::id(container);
        let own_op = open.iter().find(|op| {
            let this_one = op.number.is_none_or(|n| n == raw::number(container));
            op.project == *project && op.service == *service && this_one
        });
        let is_new = own_op.is_some_and(|op| self.is_new_of(op, container));
        let is_rest = own_op.is_some_and(|op| op.old.id == id && matches!(op.phase, Phase::Proven { .. }));
        let mut obstacles = Vec::new();
        let image = match self.engine.image(raw::image(container)).await.map_err(look_error)? {
            Some(here) => {
                self.ledger.record_image(raw::image(container), &here).map_err(other)?;
                Some(here)
            }
            None => self.recorded_image(raw::image(container)),
        };
        let handles = match image.as_ref().and_then(|i| fingerprint::handles(i, raw::reference(container))) {
            Some(handles) => handles,
            None => {
                obstacles.push(format!(
                    "the image of {} is gone and was never recorded: what it runs cannot be said. Deploy it anew",
                    raw::name(container)
                ));
                unknown_image(container)
            }
        };
        let image = image.unwrap_or_default();
        if let Some(label) = raw::label(container, raw::DEPENDS_ON) {
            self.ledger.keep_depends(project, service, label).map_err(other)?;
        }
        // Peers are whom it may point at; the two halves of an open swap are one service, not two.
        let halves = |c: &Value| own_op.is_some_and(|op| op.old.id == raw::id(c) || self.is_new_of(op, c));
        let others = all.iter().filter(|c| raw::id(c) != id && !halves(c));
        let peers = self.peers(project, others).map_err(other)?;
        let around = Surroundings { peers: &peers, own_container: self.config.own_container.as_deref() };
        let changes = match gone {
            Some(gone) => gone.changes.clone(),
            None => self.engine.filesystem_changes(id).await.map_err(look_error)?,
        };
        obstacles.extend(gone.and_then(|gone| gone.in_the_way.clone()));
        obstacles.extend(match gone {
            Some(_) => spec::obstacles_to_make(container, &image, &changes, around),
            None => spec::obstacles(container, &image, &changes, around),
        });
        obstacles.extend(self.only_in_files(project, service, container, engine));
        if let Some(op) = own_op {
            obstacles.push(format!(
                "a swap of {service} by {} is open: it is ended by the next step of that run, or by `/runs retry {0}`",
                op.run
            ));
        }
        Ok(ContainerFacts {
            id: id.to_owned(),
            name: raw::name(container).to_owned(),
            number: raw::number(container),
            image: handles,
            state: raw::state(container),
            started: raw::started(container),
            restarts: raw::restarts(container),
            spec: match gone {
                Some(gone) => {
                    SpecRef { id: gone.spec.clone(), mac: self.mac_of_settings(&spec::settings(container, &image)) }
                }
                None => {
                    let copied = spec::copied_files(container, &changes);
                    self.record(container, &image, own_op, is_new, &copied)?
                }
            },
            published: raw::published(container),
            has_check: raw::check_command(container).is_some(),
            obstacles,
            alone: spec::alone(container, &peers),
            restarts_with: self.restarts_with(project, service, all)?,
            from_host: spec::from_host(container),
            ties: ties(container, &peers),
            forged: self.forged(container),
            unfinished: own_op.filter(|_| is_new || is_rest).map(|op| op.run),
        })
    }

    /// Services that depend on this one with `restart: true`. A label that `up --no-deps` emptied is as it was last seen.
    fn restarts_with(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        all: &[Value],
    ) -> Result<Vec<ServiceName>, LookError> {
        let mut found = std::collections::BTreeSet::new();
        // Nobody restarts themselves half-way.
        let own = |c: &Value| {
            let own = self.config.own_container.as_deref();
            own.is_some_and(|own| own == raw::name(c) || (own.len() >= 12 && raw::id(c).starts_with(own)))
        };
        let others = all.iter().filter(|c| !own(c));
        for other in others.filter_map(|c| ServiceName::parse(raw::label(c, raw::SERVICE)?).ok()) {
            let depends = self.ledger.depends(project, &other).map_err(self::other)?.unwrap_or_default();
            let now = all.iter().filter(|c| raw::label(c, raw::SERVICE) == Some(other.as_str()));
            let mut labels = now.filter_map(|c| raw::label(c, raw::DEPENDS_ON)).chain([depends.as_str()]);
            let label = labels.find(|label| !label.is_empty()).unwrap_or_default();
            if other != *service && spec::restarts_with(label, service.as_str()) {
                found.insert(other);
            }
        }
        Ok(found.into_iter().collect())
    }

    /// What a swap would lose because only the compose files tell of it. Read are those beneath the project's folder of
    /// the config: a label must not lead us elsewhere.
    fn only_in_files(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        container: &Value,
        engine: &EngineFacts,
    ) -> Vec<String> {
        let tells_mac = api(&engine.api) < spec::TELLS_MAC_BEFORE;
        let folder = self.config.projects.get(project).and_then(|allowed| allowed.folder.as_deref());
        let (Some(folder), Some(files)) = (folder, raw::label(container, spec::CONFIG_FILES)) else {
            return Vec::new();
        };
        let beneath = |file: &str| {
            let path = Path::new(file);
            let path = if path.is_absolute() { path.strip_prefix(folder).ok()? } else { path };
            path.to_str().map(str::to_owned)
        };
        let read = files.split(',').filter_map(|file| beneath(file.trim())).filter_map(|file| {
            let text = pinfile::text(folder, &file)?;
            Some(spec::only_in_file(&text, &file, service.as_str(), tells_mac))
        });
        read.flatten().collect()
    }

    fn is_new_of(&self, op: &Operation, container: &Value) -> bool {
        op.new.as_deref() == Some(raw::id(container)) || raw::name(container) == op.next_name()
    }

    /// Records the container as it will be when the swap it may be in has ended: in between its restart policy is
    /// `no` and its name another, and neither is a setting of the project.
    fn record(
        &self,
        container: &Value,
        image: &Value,
        op: Option<&Operation>,
        is_new: bool,
        copied: &[String],
    ) -> Result<SpecRef, LookError> {
        let mut steady = container.clone();
        if let Some(op) = op.filter(|op| is_new || op.old.id == raw::id(container)) {
            let policy = if is_new { &op.new_policy } else { &op.old.policy };
            if let Some(host) = steady.get_mut("HostConfig").and_then(Value::as_object_mut) {
                host.insert("RestartPolicy".to_owned(), policy.clone());
            }
            if let Some(map) = steady.as_object_mut() {
                map.insert("Name".to_owned(), Value::from(format!("/{}", op.name)));
            }
        }
        let id = self.ledger.record(&steady, raw::image(container), copied).map_err(other)?;
        Ok(SpecRef { id, mac: self.mac_of_settings(&spec::settings(&steady, image)) })
    }
}

impl<E: Engine> HostAgent<E> {
    /// The project as it is, and with what is gone put in.
    async fn look_at(&self, project: &ProjectName, gone: &[Gone]) -> Result<StackFacts, LookError> {
        self.allowed(project)?;
        let engine = self.engine.facts().await.map_err(look_error)?;
        let mut all = self.containers(project).await.map_err(look_error)?;
        let open = self.ledger.open().map_err(other)?;
        self.store_is(engine.store);
        let switched = self.project_in(project, !all.is_empty(), engine.store);
        let is_there = |service: &ServiceName, number: Option<u32>, all: &[Value]| {
            copies(all, service).into_iter().any(|c| number.is_none_or(|n| n == raw::number(c)))
        };
        let service_of = |c: &Value| raw::label(c, raw::SERVICE).and_then(|s| ServiceName::parse(s).ok());
        // It may have come back since it was found gone.
        let back = gone.iter().filter_map(|g| service_of(&g.container)).any(|service| is_there(&service, None, &all));
        let gone = if back { &[] } else { gone };
        let noted = self.ledger.copies(project).map_err(other)?;
        let mut facts = StackFacts {
            engine,
            services: Default::default(),
            free_bytes: self.engine.free_bytes().await,
            switched,
            meddlers: self.meddlers(&all).await.map_err(look_error)?,
            gone: self.gone_names(&noted, |service, number| is_there(service, Some(number), &all)),
        };
        all.extend(gone.iter().map(|g| g.container.clone()));
        let mut made: BTreeMap<ServiceName, Vec<Timestamp>> = BTreeMap::new();
        let engine = facts.engine.clone();
        let scene = Scene { all: &all, open: &open, engine: &engine };
        for container in &all {
            let Some(service) = service_of(container) else { continue };
            if raw::label(container, raw::ONEOFF) == Some("True") {
                continue;
            }
            let gone = gone.iter().find(|g| raw::id(&g.container) == raw::id(container));
            let one = self.facts_of(project, &service, container, scene, gone).await?;
            // What was never started was never in use.
            if gone.is_none() && one.started.is_some() {
                made.entry(service.clone()).or_default().extend(raw::created(container));
            }
            let of_service: &mut ServiceFacts = facts.services.entry(service).or_default();
            of_service.containers.push(one);
            of_service.containers.sort_by(|a, b| (a.number, &a.name).cmp(&(b.number, &b.name)));
        }
        // Between the moves of a swap what stands there is neither of its ends.
        let under_way = |service: &ServiceName| open.iter().any(|op| op.project == *project && op.service == *service);
        for (service, created) in made.iter().filter(|(service, _)| !under_way(service)) {
            let seen: Vec<&ContainerFacts> =
                facts.services[service].containers.iter().filter(|c| c.started.is_some()).collect();
            if self.note_copies(project, service, &seen, created.iter().max().copied(), noted.get(service))? {
                facts.gone.remove(service);
            }
        }
        Ok(facts)
    }
}

/// An identity that is no real image's, for a container whose image nobody knows any more.
fn unknown_image(container: &Value) -> Handles {
    let stand_in = canonical::sha256("sternway-unknown-image-v1", &raw::image(container)).unwrap_or_default();
    let zeros = || Fingerprint::parse(&"0".repeat(64)).expect("64 zeros are 64 hex digits");
    Handles {
        fingerprint: Fingerprint::parse(&stand_in).unwrap_or_else(zeros),
        image: raw::image(container).to_owned(),
        reference: raw::reference(container).to_owned(),
        digests: Vec::new(),
    }
}

#[async_trait::async_trait]
impl<E: Engine> Inspect for HostAgent<E> {
    async fn stack(&self, project: &ProjectName) -> Result<StackFacts, LookError> {
        self.look_at(project, &[]).await
    }

    async fn as_recorded(&self, project: &ProjectName, service: &ServiceName) -> Result<StackFacts, LookError> {
        self.allowed(project)?;
        self.look_at(project, &self.gone(project, service).await?).await
    }

    async fn find_image(&self, wanted: &Handles) -> Result<ImageFound, LookError> {
        let found = self.find(wanted).await.map_err(look_error)?;
        let facts = self.engine.facts().await.map_err(look_error)?;
        let switched = self.image_in(&wanted.fingerprint, found.is_some(), facts.store);
        let Some(found) = found else { return Ok(switched.map_or(ImageFound::Gone, ImageFound::OtherStore)) };
        let foreign_platform = foreign_platform(&found.inspect, &facts.os, &facts.arch);
        Ok(ImageFound::Here { handles: found.handles, foreign_platform })
    }

    async fn holdings(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        wanted: &Handles,
    ) -> Result<Option<Holdings>, LookError> {
        self.holdings_of(project, service, wanted).await.map_err(look_error)
    }

    async fn pullable(&self, digest: &str) -> Result<Result<(), String>, LookError> {
        self.ask_registry(digest).await.map_err(look_error)
    }

    async fn past(&self, project: &ProjectName, since: Timestamp) -> Result<Vec<PastStart>, LookError> {
        self.allowed(project)?;
        self.past_of(project, since).await.map_err(look_error)
    }

    async fn local_images(&self, repository: &str) -> Result<Vec<Handles>, LookError> {
        let mut found: Vec<(i64, Handles)> = Vec::new();
        for item in self.engine.images().await.map_err(look_error)? {
            let tags = item.get("RepoTags").and_then(Value::as_array).cloned().unwrap_or_default();
            let of_it =
                |tag: &&str| !tag.starts_with(PINS) && tag.rsplit_once(':').is_some_and(|(name, _)| name == repository);
            let tags: Vec<&str> = tags.iter().filter_map(Value::as_str).filter(of_it).collect();
            let Some(id) = item.get("Id").and_then(Value::as_str).filter(|_| !tags.is_empty()) else { continue };
            let Some(inspect) = self.engine.image(id).await.map_err(look_error)? else { continue };
            let created = item.get("Created").and_then(Value::as_i64).unwrap_or_default();
            found.extend(tags.iter().filter_map(|tag| fingerprint::handles(&inspect, tag)).map(|h| (created, h)));
        }
        found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.reference.cmp(&b.1.reference)));
        Ok(found.into_iter().map(|(_, handles)| handles).collect())
    }

    async fn ask_health(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        rule: &HealthRule,
    ) -> Result<Result<(), String>, LookError> {
        self.allowed(project)?;
        let all = self.containers(project).await.map_err(look_error)?;
        self.ask_copies(&copies(&all, service), service, rule).await.map_err(look_error)
    }

    async fn pin(&self, project: &ProjectName, file: &str, key: &str) -> Result<PinFacts, LookError> {
        self.allowed(project)?;
        Ok(self.pin_facts(project, file, key))
    }

    fn mac(&self, value: &str) -> String {
        self.mac_of(value)
    }

    async fn has_spec(&self, spec: &SpecRef) -> bool {
        matches!(self.ledger.spec(&spec.id), Ok(Some(_)))
    }

    async fn compose_mark(&self, spec: &SpecRef) -> Option<ComposeMark> {
        let recorded = self.ledger.spec(&spec.id).ok().flatten()?;
        let label = |key: &str| raw::label(&recorded.container, key);
        let hash = label(spec::CONFIG_HASH)?;
        Some(ComposeMark {
            version: label(spec::VERSION).unwrap_or_default().to_owned(),
            hashed: hash != spec::NO_CONFIG_HASH,
            image: recorded.image.clone(),
            alone: label(raw::DEPENDS_ON) == Some(""),
        })
    }

    fn changes(&self) -> tokio::sync::broadcast::Receiver<ProjectName> {
        self.engine.hints()
    }
}

//! The [`Engine`] contract over the simulated world.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::broadcast;

use super::SimEngine;
use super::container::Status;
use super::world::World;
use crate::agent::EngineFacts;
use crate::agent::engine::{Engine, EngineError, Heard};
use crate::agent::login::Login;
use crate::domain::names::ProjectName;

impl SimEngine {
    /// One call: it reaches the world, or nothing.
    fn call<T>(&self, act: impl FnOnce(&mut World, Timestamp) -> Result<T, EngineError>) -> Result<T, EngineError> {
        self.with(|world, now| {
            if !world.reachable {
                return Err(EngineError::Unreachable("the simulated engine is away".to_owned()));
            }
            act(world, now)
        })
    }
}

#[async_trait::async_trait]
impl Engine for SimEngine {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        self.call(|world, _| Ok(world.facts.clone()))
    }

    async fn free_bytes(&self) -> Option<u64> {
        self.call(|world, _| Ok(if world.disk_full { Some(0) } else { world.free_bytes })).ok().flatten()
    }

    async fn project_containers(&self, project: &ProjectName) -> Result<Vec<String>, EngineError> {
        self.labelled("com.docker.compose.project", project.as_str()).await
    }

    async fn labelled(&self, key: &str, value: &str) -> Result<Vec<String>, EngineError> {
        // Newest first, as the real list.
        let fits = |world: &World| {
            let all = world.containers.iter().rev();
            all.filter(|c| c.label(key) == Some(value)).map(|c| c.id.clone()).collect()
        };
        self.call(|world, _| Ok(fits(world)))
    }

    async fn inspect(&self, id_or_name: &str) -> Result<Option<Value>, EngineError> {
        self.call(|world, now| {
            Ok(world.container(id_or_name).ok().map(|container| container.inspect(now, &world.networks)))
        })
    }

    async fn filesystem_changes(&self, id: &str) -> Result<Value, EngineError> {
        self.call(|world, _| {
            let container = world.container(id)?;
            // Mount points are made at the first start, and that shows.
            let made = |mount: &Value| serde_json::json!({"Path": mount["Destination"], "Kind": 1});
            let changes: Vec<Value> =
                container.mounts.iter().filter(|_| container.started.is_some()).map(made).collect();
            Ok(if changes.is_empty() { Value::Null } else { changes.into() })
        })
    }

    async fn image(&self, handle: &str) -> Result<Option<Value>, EngineError> {
        if handle.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(super::refused(400, &format!("“{}” names nothing on an engine", handle.escape_debug())));
        }
        self.call(|world, _| Ok(world.images.inspect(handle)))
    }

    async fn images(&self) -> Result<Vec<Value>, EngineError> {
        self.call(|world, _| Ok(world.images.list()))
    }

    /// Any command is the health question: 0 when the program is well, else 1.
    async fn exec(&self, id: &str, _command: &[String], _limit_ms: u64) -> Result<i64, EngineError> {
        self.call(|world, now| {
            let container = world.container(id)?;
            match container.status {
                Status::Running => Ok(i64::from(container.answer(now).is_err())),
                Status::Paused => Err(EngineError::Conflict(format!("Container {id} is paused, unpause it first"))),
                Status::Created | Status::Exited | Status::Restarting { .. } | Status::Removing | Status::Dead => {
                    Err(EngineError::Conflict(format!("Container {} is not running", container.id)))
                }
            }
        })
    }

    async fn create(&self, name: &str, body: &Value) -> Result<String, EngineError> {
        self.call(|world, now| world.create(name, body, now))
    }

    async fn connect(&self, network: &str, id: &str, endpoint: &Value) -> Result<(), EngineError> {
        self.call(|world, _| world.connect(network, id, endpoint))
    }

    /// Programs of this world have no files of their own.
    async fn take_file(&self, id: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        self.call(|world, _| {
            let container = world.container(id)?;
            Err(EngineError::NotFound(format!("Could not find the file {path} in container {}", container.id)))
        })
    }

    async fn put_files(&self, id: &str, _tar: &[u8]) -> Result<(), EngineError> {
        self.call(|world, _| world.container(id).map(drop))
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        self.call(|world, now| world.start(id, now))
    }

    /// The wait for a program that ignores SIGTERM is the clock's. A caller that gives up on it changes nothing:
    /// the kill comes when its time has come.
    async fn stop(&self, id: &str, grace_s: u32) -> Result<(), EngineError> {
        let mut until = self.call(|world, now| world.stop(id, grace_s, now))?;
        while let Some(deadline) = until {
            let left: Duration = deadline.duration_since(self.shared.clock.now()).try_into().unwrap_or_default();
            self.shared.clock.sleep(left).await;
            until = self.call(|world, _| Ok(world.container(id).ok().and_then(|container| container.killed_at)))?;
        }
        Ok(())
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        self.call(|world, _| world.rename(id, name))
    }

    async fn set_restart(&self, id: &str, policy: &Value) -> Result<(), EngineError> {
        self.call(|world, _| world.set_restart(id, policy))
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        self.call(|world, _| world.remove(id))
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        self.call(|world, now| world.kill(id, signal, now))
    }

    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        self.call(|world, now| world.tag(image, repository, tag, now))
    }

    async fn past_starts(&self, project: &ProjectName, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        self.call(|world, _| {
            let since = i64::try_from(since.as_nanosecond()).unwrap_or_default();
            let of_it = |e: &&Value| {
                e["Actor"]["Attributes"]["com.docker.compose.project"] == project.as_str()
                    && e["timeNano"].as_i64().is_some_and(|at| at >= since)
            };
            Ok(world.past.iter().filter(of_it).cloned().collect())
        })
    }

    async fn past_names(&self, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        self.call(|world, _| {
            let since = i64::try_from(since.as_nanosecond()).unwrap_or_default();
            let of_it = |e: &&Value| e["Type"] == "image" && e["timeNano"].as_i64().is_some_and(|at| at >= since);
            Ok(world.past.iter().filter(of_it).cloned().collect())
        })
    }

    async fn untag(&self, reference: &str) -> Result<(), EngineError> {
        self.call(|world, _| {
            let used: std::collections::BTreeMap<String, _> = super::uses(world);
            match world.images.remove(reference, false, |id| used.get(id).copied()) {
                Err(EngineError::NotFound(_)) => Ok(()),
                other => other,
            }
        })
    }

    async fn distribution(&self, reference: &str, _: Option<&Login>, _: Duration) -> Result<Value, EngineError> {
        self.call(|world, _| world.registry.has(reference).map(|_| serde_json::json!({})))
    }

    async fn pull(&self, digest: &str, _: Option<&Login>, heard: &Heard<'_>) -> Result<(), EngineError> {
        let image = self.call(|world, _| {
            let image = world.registry.give(digest)?.clone();
            if world.disk_full {
                return Err(super::refused(500, "write /var/lib/docker/tmp: no space left on device"));
            }
            Ok(image)
        })?;
        heard(5_000_000, 5_000_000);
        self.call(|world, _| {
            world.images.pulled(image);
            Ok(())
        })
    }

    fn hints(&self) -> broadcast::Receiver<ProjectName> {
        self.shared.hints.subscribe()
    }
}

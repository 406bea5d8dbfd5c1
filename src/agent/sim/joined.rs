//! Containers that point at others by id: the engine asks for them when one is made, and again when it is started.

use serde_json::Value;

use super::container::Status;
use super::world::World;
use crate::agent::engine::EngineError;

impl World {
    /// Whether the containers that a `HostConfig` points at are there. Namespaces are joined at each start, and only those
    /// of a container that runs; volumes are taken over once.
    pub(super) fn joins(&self, host: &Value, start: bool) -> Result<(), EngineError> {
        let modes = ["NetworkMode", "PidMode", "IpcMode"].into_iter();
        for joined in modes.filter_map(|key| host[key].as_str()?.strip_prefix("container:")) {
            let Some(there) = self.position(joined) else { return Err(none(joined)) };
            if start && self.containers[there].status != Status::Running {
                let why = format!("cannot join network of a non running container: {joined}");
                return Err(EngineError::Conflict(why));
            }
        }
        let volumes = host["VolumesFrom"].as_array().into_iter().flatten().filter_map(Value::as_str);
        for from in volumes.filter(|_| !start).filter_map(|entry| entry.split(':').next()) {
            self.position(from).ok_or_else(|| none(from))?;
        }
        Ok(())
    }
}

fn none(id: &str) -> EngineError {
    EngineError::NotFound(format!("No such container: {id}"))
}

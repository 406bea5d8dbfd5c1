//! The few calls of the Docker Engine API that the agent makes, as a trait: a real engine through bollard
//! (`docker.rs`) and one that lives in memory (`sim.rs`) implement it and pass the same suite.
//!
//! JSON of inspect calls is the engine's own, raw: typed clients drop fields (docker-facts section 9).

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::broadcast;

use super::EngineFacts;
use super::login::Login;
use crate::domain::names::ProjectName;

/// Why a call to the engine did not give what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The call did not reach the engine: nothing was done.
    #[error("the Docker engine does not answer: {0}")]
    Unreachable(String),
    /// The call may have reached the engine, but no answer came in time: look.
    #[error("the Docker engine gave no answer: {0}")]
    NoAnswer(String),
    /// 404: no such container, image or network.
    #[error("{0}")]
    NotFound(String),
    /// 409: the name is taken, or the container's state forbids it.
    #[error("{0}")]
    Conflict(String),
    /// Any other refusal by the engine.
    #[error("{message}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The engine's own words.
        message: String,
    },
}

/// Who hears of a pull's progress: bytes that have come, and bytes that are known to be wanted.
pub type Heard<'a> = dyn Fn(u64, u64) + Send + Sync + 'a;

/// A Docker engine. Calls that change something are the ones after `images`; each may be repeated:
/// "already so" is success. Every call has a time limit of its own.
#[async_trait::async_trait]
pub trait Engine: Send + Sync + 'static {
    /// Who answers.
    async fn facts(&self) -> Result<EngineFacts, EngineError>;
    /// Bytes free in the engine's data folder, `None` when it is not visible from this process.
    async fn free_bytes(&self) -> Option<u64>;
    /// Ids of all containers of a Compose project (label `com.docker.compose.project`), whatever their state.
    async fn project_containers(&self, project: &ProjectName) -> Result<Vec<String>, EngineError>;
    /// Ids of all containers that carry a label with exactly this value.
    async fn labelled(&self, key: &str, value: &str) -> Result<Vec<String>, EngineError>;
    /// `GET /containers/{id}/json`, raw; `None` on 404.
    async fn inspect(&self, id_or_name: &str) -> Result<Option<Value>, EngineError>;
    /// `GET /containers/{id}/changes`, raw (an array or null): what was written into its own layer.
    async fn filesystem_changes(&self, id: &str) -> Result<Value, EngineError>;
    /// `GET /images/{name}/json`, raw; `None` on 404.
    async fn image(&self, handle: &str) -> Result<Option<Value>, EngineError>;
    /// `GET /images/json`, raw items.
    async fn images(&self) -> Result<Vec<Value>, EngineError>;
    /// Runs a command inside a running container without a TTY and gives its exit code.
    async fn exec(&self, id: &str, command: &[String], limit_ms: u64) -> Result<i64, EngineError>;

    /// What the engine still remembers of starts of a Compose project's containers since then, oldest first, as raw
    /// events (`GET /events?since=…&until=…`). It remembers its last 256 events of every kind, health checks included,
    /// and none from before its own start.
    async fn past_starts(&self, project: &ProjectName, since: Timestamp) -> Result<Vec<Value>, EngineError>;

    /// What it remembers of images that were given a name since then: tagged, pulled, loaded, imported.
    async fn past_names(&self, since: Timestamp) -> Result<Vec<Value>, EngineError>;

    /// `POST /containers/create?name=`; gives the id. The body is create's own JSON (Config fields on top level,
    /// `HostConfig`, `NetworkingConfig`).
    async fn create(&self, name: &str, body: &Value) -> Result<String, EngineError>;
    /// Attaches a container to a network; `endpoint` is the `EndpointConfig` JSON. Already attached is success.
    async fn connect(&self, network: &str, id: &str, endpoint: &Value) -> Result<(), EngineError>;
    /// One file or folder of a container's, whatever its state, as a tar archive: `GET /containers/{id}/archive?path=`.
    async fn take_file(&self, id: &str, path: &str) -> Result<Vec<u8>, EngineError>;
    /// Unpacks a tar archive into a container, at its root: `PUT /containers/{id}/archive?path=/`.
    async fn put_files(&self, id: &str, tar: &[u8]) -> Result<(), EngineError>;
    /// Starts a container. Already running is success.
    async fn start(&self, id: &str) -> Result<(), EngineError>;
    /// Stops a container, killing it after `grace_s` seconds. Already stopped is success.
    async fn stop(&self, id: &str, grace_s: u32) -> Result<(), EngineError>;
    /// Renames a container. Already of that name is success.
    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError>;
    /// Sets the restart policy, given as inspect's `HostConfig.RestartPolicy` JSON.
    async fn set_restart(&self, id: &str, policy: &Value) -> Result<(), EngineError>;
    /// Removes a stopped container; its volumes stay (`v=false`, `force=false`). Gone already is success.
    async fn remove(&self, id: &str) -> Result<(), EngineError>;
    /// Sends a signal to a running container.
    async fn kill(&self, id: &str, signal: &str) -> Result<(), EngineError>;
    /// Gives an image one more tag.
    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError>;

    /// Takes one tag off an image (`DELETE /images/{tag}`, no force). The last tag takes the image with it, unless a
    /// container uses it: then `Conflict`, and nothing was done. Not there already is success.
    async fn untag(&self, reference: &str) -> Result<(), EngineError>;
    /// `GET /distribution/{reference}/json`: whether the reference's registry has it, asked by the engine. The limit is
    /// for the whole question.
    async fn distribution(&self, reference: &str, login: Option<&Login>, limit: Duration)
    -> Result<Value, EngineError>;
    /// `POST /images/create`: pulls `repository@sha256:…`, reading the stream to its end, with an error inside it being
    /// one (docker-facts section 4). `heard` gets bytes so far and bytes known of, if any; the pull ends with the call.
    async fn pull(&self, digest: &str, login: Option<&Login>, heard: &Heard<'_>) -> Result<(), EngineError>;

    /// Hints from the engine's event stream: this project had a container created, started or ended, and also
    /// after every reconnect. The implementation reconnects by itself.
    fn hints(&self) -> broadcast::Receiver<ProjectName>;
}

//! A real Docker engine. bollard makes the calls whose meaning lies in the path (start, stop, rename, remove,
//! kill, tag, exec); calls that carry JSON of ours or of the engine go raw (`docker_raw.rs`), because a typed
//! client drops fields and takes an answer of any length.
//!
//! Keeps no state about containers and repeats no call but one (`set_restart`, see there); "already so" is
//! success, everything else is told as it came. A fresh client per call costs nothing (neither kind pools connections) and lets the engine be absent
//! when the program starts.

use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error as BollardError;
use bollard::exec::CreateExecOptions;
use bollard::query_parameters::{
    KillContainerOptionsBuilder, RemoveContainerOptionsBuilder, RenameContainerOptionsBuilder, StartContainerOptions,
    StopContainerOptionsBuilder, TagImageOptionsBuilder,
};
use futures_util::{TryFutureExt, try_join};
use hyper::Method;
use hyper::body::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::broadcast;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::docker_calls::{bollard, from_bollard};
use super::docker_events::{Listener, PROJECT_LABEL};
use super::docker_raw::{Endpoint, a_container, answered, encoded, is_id, query_encoded};
use super::engine::{Engine, EngineError, Heard};
use super::login::Login;
use super::{EngineFacts, StoreKind};
use crate::domain::names::ProjectName;

/// Looking answers from memory; a busy engine may still take seconds.
const LOOK_LIMIT: Duration = Duration::from_secs(20);
/// Create and start may copy a volume's first content or wait for a slow disk.
const CHANGE_LIMIT: Duration = Duration::from_secs(120);
/// What stop may take beyond the grace: the kill and the tearing down of the network.
const STOP_MARGIN: Duration = Duration::from_secs(30);
/// How long a removal that somebody else began is waited for.
const REMOVAL_LIMIT: Duration = Duration::from_secs(20);
/// How long an update is tried against a container that ends and restarts all the time.
const UPDATE_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two looks at such a removal, or at an exec whose output ended before its exit was recorded.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The driver type by which the containerd image store shows itself in `info` (docker-facts section 3).
const CONTAINERD_STORE: &str = "io.containerd.snapshotter.v1";

/// A Docker engine behind its socket.
#[derive(Debug)]
pub struct DockerEngine {
    endpoint: Endpoint,
    listener: Listener,
}

impl DockerEngine {
    /// An engine at `host`: `unix:///path`, `tcp://127.0.0.1:2375`, or the default socket. The caller reads
    /// `DOCKER_HOST`. Nothing is sent yet: an engine that is away shows itself at the first call, and may come.
    ///
    /// # Errors
    /// `Unreachable` when `host` is of another form, or when no async runtime runs to listen for events on.
    pub fn connect(host: Option<&str>) -> Result<Self, EngineError> {
        let endpoint = Endpoint::parse(host)?;
        let runtime = tokio::runtime::Handle::try_current()
            .map_err(|_| EngineError::Unreachable("it can only be connected from an async runtime".to_owned()))?;
        let listener = Listener::start(endpoint.clone(), &runtime);
        Ok(Self { endpoint, listener })
    }

    /// Hints for these projects follow every reconnect to the engine, even if nothing was seen of them yet; one
    /// comes now. May be said again.
    pub fn watch(&self, projects: impl IntoIterator<Item = ProjectName>) {
        self.listener.watch(projects);
    }

    async fn look(&self, path: &str) -> Result<Value, EngineError> {
        self.endpoint.send(Method::GET, path, None, LOOK_LIMIT).await?.json()
    }

    async fn post(&self, path: &str, body: &Value) -> Result<Value, EngineError> {
        let answer = self.endpoint.send(Method::POST, path, Some(body), CHANGE_LIMIT).await?;
        Ok(answer.json().unwrap_or(Value::Null))
    }

    /// One call through bollard, within `limit`.
    async fn call<T, F>(&self, limit: Duration, make: impl FnOnce(Docker) -> F) -> Result<T, EngineError>
    where
        F: Future<Output = Result<T, BollardError>>,
    {
        let docker = bollard(&self.endpoint, limit)?;
        answered(limit, make(docker).map_err(from_bollard)).await
    }

    /// Events between then and the engine's own now: it tells what it remembers and ends, whatever the time is here.
    async fn past(&self, filters: &Value, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        let info = self.look("/info").await?;
        let until = info["SystemTime"].as_str().and_then(|time| time.parse().ok());
        let until = until.ok_or_else(|| EngineError::NoAnswer("it does not tell its time".to_owned()))?;
        if until <= since { Ok(Vec::new()) } else { self.endpoint.past(filters, since, until, LOOK_LIMIT).await }
    }

    async fn listed(&self, label: String) -> Result<Vec<String>, EngineError> {
        let filters = json!({ "label": [label] }).to_string();
        let found = self.look(&format!("/containers/json?all=true&filters={}", query_encoded(&filters))).await?;
        let all = found.as_array().into_iter().flatten().filter_map(|container| container["Id"].as_str());
        Ok(all.map(str::to_owned).collect())
    }

    /// Whether a container has an endpoint in the network, named or by id.
    async fn is_in(&self, network: &str, id: &str) -> bool {
        let Ok(Some(container)) = self.inspect(id).await else { return false };
        let endpoints = container.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
        endpoints.into_iter().flatten().any(|(name, endpoint)| name == network || endpoint["NetworkID"] == network)
    }

    /// Waits until a container that is being removed by somebody is gone.
    async fn wait_gone(&self, id: &str) -> Result<(), EngineError> {
        let until = Instant::now() + REMOVAL_LIMIT;
        let mut ticks = ticks();
        while Instant::now() < until {
            if self.inspect(id).await?.is_none() {
                return Ok(());
            }
            ticks.tick().await;
        }
        Err(EngineError::Conflict(format!("container {id} is being removed, but stays")))
    }

    async fn run(&self, id: String, command: Vec<String>, limit: Duration) -> Result<i64, EngineError> {
        let docker = bollard(&self.endpoint, limit.max(Duration::from_secs(1)))?;
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            cmd: Some(command),
            ..Default::default()
        };
        let exec = docker.create_exec(&id, options).await.map_err(from_bollard)?.id;
        self.endpoint.listen_to(&exec).await?;
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            let seen = docker.inspect_exec(&exec).await.map_err(from_bollard)?;
            if let (Some(code), false) = (seen.exit_code, seen.running.unwrap_or(false)) {
                return Ok(code);
            }
        }
    }
}

#[async_trait::async_trait]
impl Engine for DockerEngine {
    async fn facts(&self) -> Result<EngineFacts, EngineError> {
        let (version, info) = try_join!(self.look("/version"), self.look("/info"))?;
        let text = |key: &str| version[key].as_str().unwrap_or_default().to_owned();
        let status = info["DriverStatus"].as_array().into_iter().flatten();
        let containerd =
            status.flat_map(|pair| pair.as_array().into_iter().flatten()).any(|word| word == CONTAINERD_STORE);
        Ok(EngineFacts {
            version: text("Version"),
            api: text("ApiVersion"),
            os: text("Os"),
            arch: text("Arch"),
            store: if containerd { StoreKind::Containerd } else { StoreKind::GraphDriver },
        })
    }

    /// Only behind a socket file: a folder of this machine's that happens to have the name of one of another
    /// machine says nothing.
    async fn free_bytes(&self) -> Option<u64> {
        if !matches!(self.endpoint, Endpoint::Unix(_)) {
            return None;
        }
        let info = self.look("/info").await.ok()?;
        let root = info["DockerRootDir"].as_str()?.to_owned();
        let look = tokio::task::spawn_blocking(move || rustix::fs::statvfs(Path::new(&root)).ok());
        let found = timeout(LOOK_LIMIT, look).await.ok()?.ok()??;
        found.f_bavail.checked_mul(found.f_frsize)
    }

    async fn project_containers(&self, project: &ProjectName) -> Result<Vec<String>, EngineError> {
        self.labelled(PROJECT_LABEL, project.as_str()).await
    }

    async fn labelled(&self, key: &str, value: &str) -> Result<Vec<String>, EngineError> {
        self.listed(format!("{key}={value}")).await
    }

    async fn inspect(&self, id_or_name: &str) -> Result<Option<Value>, EngineError> {
        let seen = found(self.look(&format!("/containers/{}/json", one_segment(id_or_name)?)).await)?;
        seen.map(a_container).transpose()
    }

    async fn filesystem_changes(&self, id: &str) -> Result<Value, EngineError> {
        self.look(&format!("/containers/{}/changes", one_segment(id)?)).await
    }

    async fn image(&self, handle: &str) -> Result<Option<Value>, EngineError> {
        found(self.look(&format!("/images/{}/json", no_steps_up(handle)?)).await)
    }

    async fn images(&self) -> Result<Vec<Value>, EngineError> {
        match self.look("/images/json").await? {
            Value::Array(items) => Ok(items),
            Value::Null => Ok(Vec::new()),
            _ => Err(EngineError::NoAnswer("what it sent is no list of images".to_owned())),
        }
    }

    async fn exec(&self, id: &str, command: &[String], limit_ms: u64) -> Result<i64, EngineError> {
        let id = one_segment(id)?;
        match timeout(Duration::from_millis(limit_ms), self.run(id, command.to_vec(), Duration::from_millis(limit_ms)))
            .await
        {
            Ok(code) => code,
            Err(_) => Err(EngineError::NoAnswer(format!("the command did not end within {limit_ms} ms"))),
        }
    }

    async fn create(&self, name: &str, body: &Value) -> Result<String, EngineError> {
        let made = self.post(&format!("/containers/create?name={}", encoded(name)), body).await?;
        let id = made.get("Id").and_then(Value::as_str).filter(|id| is_id(id));
        id.map(str::to_owned).ok_or_else(|| EngineError::NoAnswer("it made a container and gave no id".to_owned()))
    }

    async fn connect(&self, network: &str, id: &str, endpoint: &Value) -> Result<(), EngineError> {
        let body = json!({ "Container": id, "EndpointConfig": endpoint });
        let asked = self.post(&format!("/networks/{}/connect", one_segment(network)?), &body).await;
        match asked {
            Err(EngineError::Refused { .. } | EngineError::Conflict(_)) if self.is_in(network, id).await => Ok(()),
            other => other.map(drop),
        }
    }

    async fn take_file(&self, id: &str, path: &str) -> Result<Vec<u8>, EngineError> {
        let path = format!("/containers/{}/archive?path={}", one_segment(id)?, encoded(path));
        Ok(self.endpoint.send(Method::GET, &path, None, CHANGE_LIMIT).await?.bytes())
    }

    async fn put_files(&self, id: &str, tar: &[u8]) -> Result<(), EngineError> {
        let path = format!("/containers/{}/archive?path=/&noOverwriteDirNonDir=1", one_segment(id)?);
        let body = ("application/x-tar", Bytes::copy_from_slice(tar));
        self.endpoint.send_bytes(Method::PUT, &path, body, CHANGE_LIMIT).await.map(drop)
    }

    async fn start(&self, id: &str) -> Result<(), EngineError> {
        let id = one_segment(id)?;
        self.call(
            CHANGE_LIMIT,
            |docker| async move { docker.start_container(&id, None::<StartContainerOptions>).await },
        )
        .await
    }

    async fn stop(&self, id: &str, grace_s: u32) -> Result<(), EngineError> {
        let id = one_segment(id)?;
        let options = StopContainerOptionsBuilder::new().t(i32::try_from(grace_s).unwrap_or(i32::MAX)).build();
        let limit = Duration::from_secs(grace_s.into()) + STOP_MARGIN;
        self.call(limit, |docker| async move { docker.stop_container(&id, Some(options)).await }).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<(), EngineError> {
        let (id, wanted) = (one_segment(id)?, format!("/{name}"));
        let options = RenameContainerOptionsBuilder::new().name(name).build();
        let (target, looked_at) = (id.clone(), id);
        let asked =
            self.call(CHANGE_LIMIT, |docker| async move { docker.rename_container(&target, options).await }).await;
        match asked {
            Err(EngineError::Refused { .. } | EngineError::Conflict(_))
                if self.inspect(&looked_at).await?.is_some_and(|seen| seen["Name"] == wanted) =>
            {
                Ok(())
            }
            other => other,
        }
    }

    async fn set_restart(&self, id: &str, policy: &Value) -> Result<(), EngineError> {
        let (path, body) = (format!("/containers/{}/update", one_segment(id)?), json!({ "RestartPolicy": policy }));
        let until = Instant::now() + UPDATE_LIMIT;
        let mut ticks = ticks();
        loop {
            ticks.tick().await;
            match self.post(&path, &body).await {
                // A crash loop has moments in which the container counts as running and its process is gone. The
                // engine puts everything back then, and a bad release in such a loop is what we come for.
                Err(EngineError::Refused { status: 500, message })
                    if message.contains("cannot update a stopped container") && Instant::now() < until => {}
                other => return other.map(drop),
            }
        }
    }

    async fn remove(&self, id: &str) -> Result<(), EngineError> {
        let id = one_segment(id)?;
        let options = RemoveContainerOptionsBuilder::new().v(false).force(false).build();
        let target = id.clone();
        let asked =
            self.call(CHANGE_LIMIT, |docker| async move { docker.remove_container(&target, Some(options)).await });
        match asked.await {
            Err(EngineError::NotFound(_)) => Ok(()),
            // Another caller's removal (or our own, whose answer was lost) is still at work.
            Err(EngineError::Conflict(why)) if why.contains("already in progress") => self.wait_gone(&id).await,
            other => other,
        }
    }

    async fn kill(&self, id: &str, signal: &str) -> Result<(), EngineError> {
        let id = one_segment(id)?;
        let options = KillContainerOptionsBuilder::new().signal(signal).build();
        self.call(CHANGE_LIMIT, |docker| async move { docker.kill_container(&id, Some(options)).await }).await
    }

    async fn tag(&self, image: &str, repository: &str, tag: &str) -> Result<(), EngineError> {
        let image = no_steps_up(image)?;
        let options = TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
        self.call(CHANGE_LIMIT, |docker| async move { docker.tag_image(&image, Some(options)).await }).await
    }

    async fn past_starts(&self, project: &ProjectName, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        let label = format!("{PROJECT_LABEL}={project}");
        self.past(&json!({"type": ["container"], "event": ["start"], "label": [label]}), since).await
    }

    async fn past_names(&self, since: Timestamp) -> Result<Vec<Value>, EngineError> {
        self.past(&json!({"type": ["image"], "event": ["tag", "pull", "load", "import"]}), since).await
    }

    async fn untag(&self, reference: &str) -> Result<(), EngineError> {
        let path = format!("/images/{}?force=false", no_steps_up(reference)?);
        match self.endpoint.send(Method::DELETE, &path, None, CHANGE_LIMIT).await {
            Err(EngineError::NotFound(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    async fn distribution(
        &self,
        reference: &str,
        login: Option<&Login>,
        limit: Duration,
    ) -> Result<Value, EngineError> {
        self.endpoint.distribution(&no_steps_up(reference)?, login, limit).await
    }

    async fn pull(&self, digest: &str, login: Option<&Login>, heard: &Heard<'_>) -> Result<(), EngineError> {
        match digest.split_once('@') {
            Some((repository, hash)) => self.endpoint.pull(repository, hash, login, heard).await,
            None => Err(not_a_name(digest)),
        }
    }

    fn hints(&self) -> broadcast::Receiver<ProjectName> {
        self.listener.subscribe()
    }
}

/// 404 is an answer, not a failure, where one only looks.
fn found(looked: Result<Value, EngineError>) -> Result<Option<Value>, EngineError> {
    match looked {
        Ok(value) => Ok(Some(value)),
        Err(EngineError::NotFound(_)) => Ok(None),
        Err(other) => Err(other),
    }
}

/// An id or name that fills exactly one segment of a path: it cannot lead a call elsewhere.
fn one_segment(name: &str) -> Result<String, EngineError> {
    let encoded = no_steps_up(name)?;
    if encoded.contains('/') { Err(not_a_name(name)) } else { Ok(encoded) }
}

/// An image reference: may have slashes, but no empty or dotted segments.
fn no_steps_up(name: &str) -> Result<String, EngineError> {
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err(not_a_name(name));
    }
    Ok(encoded(name))
}

fn not_a_name(name: &str) -> EngineError {
    EngineError::Refused { status: 400, message: format!("“{}” names nothing on an engine", name.escape_debug()) }
}

fn ticks() -> tokio::time::Interval {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_a_call_elsewhere() {
        for bad in ["", "..", "a/../b", "/a", "a//b", "a/."] {
            assert!(no_steps_up(bad).is_err(), "{bad:?}");
        }
        assert!(one_segment("a/b").is_err());
        assert_eq!(one_segment("a?b").as_deref(), Ok("a%3Fb"));
        assert_eq!(no_steps_up("shop/api:1.0").as_deref(), Ok("shop/api:1.0"));
    }

    #[test]
    fn without_a_runtime_it_is_an_error_and_no_panic() {
        assert!(matches!(DockerEngine::connect(None), Err(EngineError::Unreachable(_))));
    }

    #[tokio::test]
    async fn an_engine_that_is_not_there_is_unreachable_through_both_clients() {
        let folder = tempfile::tempdir().unwrap();
        let missing = format!("unix://{}/none.sock", folder.path().display());
        // Bound and dropped: nobody listens there, but the file stays.
        let dead = folder.path().join("dead.sock");
        drop(std::os::unix::net::UnixListener::bind(&dead).unwrap());
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for host in [missing, format!("unix://{}", dead.display()), format!("tcp://127.0.0.1:{port}")] {
            let engine = DockerEngine::connect(Some(&host)).unwrap();
            for error in [engine.inspect("x").await.map(drop), engine.start("x").await, engine.facts().await.map(drop)]
            {
                let Err(EngineError::Unreachable(why)) = error else { panic!("{host}: {error:?}") };
                assert!(!why.is_empty(), "{host}");
            }
            assert_eq!(engine.free_bytes().await, None);
        }
    }

    #[tokio::test]
    async fn a_call_that_was_heard_and_not_answered_is_told_as_such() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = format!("tcp://{}", listener.local_addr().unwrap());
        let engine = DockerEngine::connect(Some(&host)).unwrap();
        // Takes each request and hangs up without a word.
        let server = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = [0; 2048];
                let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await;
            }
        };
        let calls = async {
            for error in [engine.create("x", &json!({})).await.map(drop), engine.start("x").await] {
                assert!(matches!(error, Err(EngineError::NoAnswer(_))), "{error:?}");
            }
        };
        tokio::select! { () = server => {}, () = calls => {} }
    }

    #[tokio::test]
    async fn a_policy_is_set_even_while_the_container_crashes_in_a_loop() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let engine = DockerEngine::connect(Some(&format!("tcp://{}", listener.local_addr().unwrap()))).unwrap();
        // Engine 20.10's words when it meets the gap between two lives of the container.
        let gap = r#"{"message":"Cannot update container x: cannot update a stopped container: unknown"}"#;
        let no = r#"{"message":"no space left on device"}"#;
        let mut answers = vec![(500, no), (200, "{}"), (500, gap), (500, gap)];
        let server = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut bytes = [0; 2048];
                let read = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await.unwrap();
                if !String::from_utf8_lossy(&bytes[..read]).starts_with("POST /containers/x/update") {
                    continue; // the event listener's
                }
                let (status, body) = answers.pop().expect("no more calls than answers");
                let head = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n", body.len());
                tokio::io::AsyncWriteExt::write_all(&mut stream, format!("{head}{body}").as_bytes()).await.unwrap();
            }
        };
        let calls = async {
            assert_eq!(engine.set_restart("x", &json!({"Name": "no"})).await, Ok(()));
            let other = engine.set_restart("x", &json!({"Name": "no"})).await;
            assert!(matches!(other, Err(EngineError::Refused { status: 500, .. })), "other refusals pass: {other:?}");
        };
        tokio::select! { () = server => {}, () = calls => {} }
    }

    #[tokio::test]
    async fn dropping_the_engine_ends_its_listener() {
        let engine = DockerEngine::connect(Some("unix:///nonexistent/docker.sock")).unwrap();
        let mut hints = engine.hints();
        drop(engine);
        let closed = timeout(Duration::from_secs(5), hints.recv()).await.expect("the channel closes");
        assert_eq!(closed, Err(broadcast::error::RecvError::Closed));
    }
}

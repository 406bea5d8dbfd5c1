//! A real registry on loopback with a login (Debian's docker-registry and htpasswd), and a front of ours before it that
//! can be made slow, stingy or silent. Installed by `tests/setup/registry.sh`.

#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // each suite uses its part

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bollard::auth::DockerCredentials;
use bollard::query_parameters::{PushImageOptionsBuilder, TagImageOptionsBuilder};
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::real_engine::{RealEngine, free_port};

/// The registry's user.
pub(crate) const USER: &str = "robot";

/// A registry of this test's own; ends with it.
pub(crate) struct RealRegistry {
    child: Child,
    folder: tempfile::TempDir,
    port: u16,
    password: String,
}

impl RealRegistry {
    /// One that listens, behind this password. `None`, loudly, where it cannot be installed; fails where `CI` is set.
    pub(crate) async fn start(password: &str) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/registry.sh");
        static READY: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
        let ensure = || Command::new(script).arg("ensure").stdin(Stdio::null()).status().is_ok_and(|s| s.success());
        let ready = *READY.get_or_init(ensure);
        if !ready {
            assert!(std::env::var_os("CI").is_none(), "CI must run the registry suite");
            eprintln!("SKIPPED: no registry to test against (tests/setup/registry.sh says why)");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let login = Command::new("htpasswd").args(["-Bbn", USER, password]).output().unwrap();
        assert!(login.status.success());
        std::fs::write(folder.path().join("htpasswd"), login.stdout).unwrap();
        let port = free_port();
        let config = format!(
            "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
             storage: {{filesystem: {{rootdirectory: {0}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\nauth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}\n",
            folder.path().display()
        );
        std::fs::write(folder.path().join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.path().join("config.yml"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Self { child, folder, port, password: password.to_owned() };
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for _ in 0..1_000 {
            if TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
                return Some(registry);
            }
            ticks.tick().await;
        }
        panic!("the registry does not listen");
    }

    /// `127.0.0.1:5000`.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The tag that a push leaves on the engine.
    pub(crate) fn pushed(&self, name: &str) -> String {
        format!("{}/{name}:pushed", self.host())
    }

    /// `docker push`; gives `repository@sha256:…`.
    pub(crate) async fn push(&self, engine: &RealEngine, image: &str, name: &str) -> String {
        let docker = engine.docker();
        let repository = format!("{}/{name}", self.host());
        let tag = TagImageOptionsBuilder::new().repo(&repository).tag("pushed").build();
        docker.tag_image(image, Some(tag)).await.unwrap();
        let login = DockerCredentials {
            username: Some(USER.to_owned()),
            password: Some(self.password.clone()),
            serveraddress: Some(self.host()),
            ..Default::default()
        };
        let options = PushImageOptionsBuilder::new().tag("pushed").build();
        let mut push = docker.push_image(&repository, Some(options), Some(login));
        while let Some(step) = push.next().await {
            let step = step.unwrap_or_else(|e| panic!("pushing {repository}: {e}"));
            assert!(step.error_detail.is_none(), "pushing {repository}: {:?}", step.error_detail);
        }
        let pushed = docker.inspect_image(&format!("{repository}:pushed")).await.unwrap();
        pushed.repo_digests.unwrap().into_iter().find(|d| d.starts_with(&repository)).unwrap()
    }

    /// A Docker config file with this password for some registry.
    pub(crate) fn config_file(&self, host: &str, password: &str) -> PathBuf {
        let output = Command::new("base64").arg("-w0").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut coding = output.unwrap();
        std::io::Write::write_all(&mut coding.stdin.take().unwrap(), format!("{USER}:{password}").as_bytes()).unwrap();
        let coded = String::from_utf8(coding.wait_with_output().unwrap().stdout).unwrap();
        let file = self.folder.path().join(format!("docker-{}.json", coded.len()));
        let config = serde_json::json!({"auths": {host: {"auth": coded}}});
        std::fs::write(&file, config.to_string()).unwrap();
        file
    }

    /// Somebody deletes a repository in it.
    pub(crate) fn forget(&self, name: &str) {
        let data = self.folder.path().join("data/docker/registry/v2/repositories").join(name);
        std::fs::remove_dir_all(data).unwrap();
    }

    /// It goes down.
    pub(crate) fn stop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RealRegistry {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How a front treats what is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Passes it on.
    Well,
    /// 429 for each manifest.
    Limited,
    /// 429 for each layer, so that a pull fails inside its stream.
    LimitedLate,
    /// Takes the connection and says nothing.
    Silent,
    /// 503 for each layer.
    Unwell,
}

/// A front before a registry.
pub(crate) struct Front {
    port: u16,
    mood: Arc<Mutex<Mood>>,
    /// Requests for layers so far.
    layers: Arc<Mutex<u32>>,
    task: JoinHandle<()>,
}

impl Front {
    pub(crate) async fn before(registry: &RealRegistry) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (mood, layers) = (Arc::new(Mutex::new(Mood::Well)), Arc::new(Mutex::new(0)));
        let (seen, counted, upstream) = (Arc::clone(&mood), Arc::clone(&layers), registry.port);
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let (seen, counted) = (Arc::clone(&seen), Arc::clone(&counted));
                tokio::spawn(async move {
                    let _ = serve(client, upstream, &seen, &counted).await;
                });
            }
        });
        Self { port, mood, layers, task }
    }

    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn set(&self, mood: Mood) {
        *self.mood.lock().unwrap() = mood;
    }

    /// Requests for layers so far.
    pub(crate) fn layers_asked(&self) -> u32 {
        *self.layers.lock().unwrap()
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request; the connection ends with its answer.
async fn serve(mut client: TcpStream, upstream: u16, mood: &Mutex<Mood>, layers: &Mutex<u32>) -> std::io::Result<()> {
    let mut head = Vec::new();
    let mut byte = [0; 1];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).await? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
        let now = *mood.lock().unwrap();
        if now == Mood::Silent {
            // Until the other side gives up.
            while client.read(&mut byte).await? != 0 {}
            return Ok(());
        }
        // A TLS greeting: engines try that first.
        if head[0] == 0x16 {
            return Ok(());
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let is_layer = path.contains("/blobs/");
    if is_layer {
        *layers.lock().unwrap() += 1;
    }
    let refused = match *mood.lock().unwrap() {
        Mood::Limited if path.contains("/manifests/") => Some("429 Too Many Requests"),
        Mood::LimitedLate if is_layer => Some("429 Too Many Requests"),
        Mood::Unwell if is_layer => Some("503 Service Unavailable"),
        Mood::Well | Mood::Silent | Mood::Limited | Mood::LimitedLate | Mood::Unwell => None,
    };
    if let Some(status) = refused {
        let code = if status.starts_with("429") { "TOOMANYREQUESTS" } else { "UNAVAILABLE" };
        let body =
            format!("{{\"errors\":[{{\"code\":\"{code}\",\"message\":\"You have reached your pull rate limit\"}}]}}");
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nDocker-Distribution-Api-Version: registry/2.0\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
        return client.write_all(answer.as_bytes()).await;
    }
    let mut server = TcpStream::connect(("127.0.0.1", upstream)).await?;
    let lines: Vec<&str> = head.split("\r\n").filter(|l| !l.to_ascii_lowercase().starts_with("connection:")).collect();
    let mut request = lines.join("\r\n").trim_end().to_owned();
    request.push_str("\r\nConnection: close\r\n\r\n");
    server.write_all(request.as_bytes()).await?;
    tokio::io::copy(&mut server, &mut client).await?;
    client.shutdown().await
}

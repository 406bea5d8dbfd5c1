//! A compose project of two image tags on a real engine, under one of Compose's generations; swept when the test
//! ends (also after a crash of an earlier one).

// Each test binary uses its own part of it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use sternway::agent::spec::NewContainer;

use crate::engine_socket::engine_socket;

const LABEL: &str = "sternway-test";

/// The engine's socket.
static SOCKET: LazyLock<PathBuf> = LazyLock::new(|| engine_socket().unwrap_or_default());

/// A generation of Compose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tool {
    /// docker-compose 1.29, as installed.
    V1,
    /// A version of the second generation, fetched on demand.
    V2(&'static str),
}

impl Tool {
    /// The program, or why it cannot be had.
    fn program(self) -> Result<String, String> {
        match self {
            Self::V1 => match run("docker-compose", &["version"], None) {
                Ok(says) if says.contains("1.29") => Ok("docker-compose".to_owned()),
                _ => Err("docker-compose 1.29 is not installed".to_owned()),
            },
            Self::V2(version) => {
                let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/compose.sh");
                Ok(run(script.to_str().unwrap(), &[version], None)?.trim().to_owned())
            }
        }
    }
}

/// One project on the engine.
pub(crate) struct World {
    /// The project's name, the images' repository and the label's value.
    pub(crate) mark: String,
    folder: tempfile::TempDir,
    program: String,
    /// What the engine speaks.
    pub(crate) api: (u32, u32),
    /// Anonymous volumes seen: they carry no label.
    volumes: Mutex<BTreeSet<String>>,
}

/// A container as far as it can be equal to another: flat, a line per field.
pub(crate) type Compared = BTreeMap<String, Value>;

impl World {
    /// `None`, said loudly, when there is no engine or no such Compose; where an engine is required that fails.
    pub(crate) async fn new(name: &str, tool: Tool, compose: &str) -> Option<Self> {
        let program = if run("docker", &["version"], None).is_err() {
            Err("no Docker engine answers".to_owned())
        } else if !SOCKET.exists() {
            Err("DOCKER_HOST has to name a socket that is there".to_owned())
        } else {
            tool.program()
        };
        let program = match program {
            Ok(program) => program,
            Err(missing) => {
                let required = ["CI", "STERNWAY_REQUIRE_ENGINE"].iter().any(|name| std::env::var_os(name).is_some());
                assert!(!required, "this test may not be skipped here: {missing}");
                eprintln!("SKIPPED, NOT TESTED: {missing}");
                return None;
            }
        };
        sweep_the_dead();
        let mark = format!("recreate-{name}-{}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let version = call("GET", "/version", None).await;
        let (major, minor) = version["ApiVersion"].as_str().unwrap().split_once('.').unwrap();
        let api = (major.parse().unwrap(), minor.parse().unwrap());
        let world = Self { mark, folder, program, api, volumes: Mutex::default() };
        world.build_images();
        world.rewrite(compose).await;
        Some(world)
    }

    /// Where the engine listens, as `DOCKER_HOST` says it.
    pub(crate) fn host() -> String {
        format!("unix://{}", SOCKET.display())
    }

    /// The project's folder.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another compose file.
    pub(crate) async fn rewrite(&self, compose: &str) {
        std::fs::write(self.folder.path().join("docker-compose.yml"), compose).unwrap();
    }

    fn build_images(&self) {
        std::fs::copy(program(), self.folder.path().join("m")).unwrap();
        for (tag, other, start) in [
            ("v1", "/anon", r#"ENTRYPOINT ["/m"]\nCMD ["serve","8080","v1"]"#),
            ("v2", "/anon2", r#"ENTRYPOINT ["/m","serve"]\nCMD ["8080","v2"]"#),
        ] {
            // The mark comes first: no layer is shared with a test beside this one, whose sweep would take it away.
            let text = format!(
                "FROM scratch\nLABEL {LABEL}={mark}\nCOPY m /m\nENV VERSION={tag} SHARED=same ONLY_{tag}=1\n\
                 LABEL org.version={tag} org.same=same org.only.{tag}=1\nWORKDIR /srv{n}\nUSER 100{n}:100{n}\n\
                 EXPOSE 8080 90{n}\nVOLUME /kept {other}\nSTOPSIGNAL {signal}\nSHELL [\"/sh{n}\"]\n\
                 ONBUILD LABEL built.on={tag}\n\
                 HEALTHCHECK --interval={n}s --retries=1{n} CMD [\"/m\",\"check\",\"{tag}\"]\n{start}\n",
                mark = self.mark,
                n = &tag[1..],
                signal = if tag == "v1" { "SIGINT" } else { "SIGQUIT" },
                start = start.replace("\\n", "\n"),
            );
            std::fs::write(self.folder.path().join("Dockerfile"), text).unwrap();
            let folder = self.folder.path().to_str().unwrap();
            run("docker", &["build", "-q", "-t", &format!("{}:{tag}", self.mark), folder], None).unwrap();
        }
    }

    /// `up -d` with the variable at this tag.
    pub(crate) async fn up(&self, tag: &str, more: &[&str]) {
        let mut arguments = vec!["-p", self.mark.as_str(), "up", "-d", "-t", "0"];
        arguments.extend(more);
        self.compose(tag, &arguments);
    }

    /// A service as `up` would make it, not started.
    pub(crate) async fn shelve(&self, tag: &str, service: &str) -> Value {
        self.compose(tag, &["-p", &self.mark, "--profile", service, "up", "--no-start", service]);
        self.service(service).await
    }

    fn compose(&self, tag: &str, arguments: &[&str]) {
        run(&self.program, arguments, Some((self.folder.path(), &self.mark, tag))).unwrap();
    }

    /// Runs docker.
    pub(crate) async fn docker(&self, arguments: &[&str]) -> String {
        run("docker", arguments, None).unwrap()
    }

    /// Raw inspect.
    pub(crate) async fn inspect(&self, id: &str) -> Value {
        let inspect = call("GET", &format!("/containers/{id}/json"), None).await;
        let names = inspect["Mounts"].as_array().unwrap().iter().filter_map(|m| m["Name"].as_str());
        self.volumes.lock().unwrap().extend(names.map(str::to_owned));
        inspect
    }

    /// Raw changes.
    pub(crate) async fn changes(&self, id: &str) -> Value {
        call("GET", &format!("/containers/{id}/changes"), None).await
    }

    /// Mode, owner, group and content of a file in a container, as the engine's archive tells them.
    pub(crate) async fn file(&self, inspect: &Value, path: &str) -> Option<(Vec<u8>, Vec<u8>)> {
        let from = format!("{}:{path}", inspect["Id"].as_str().unwrap());
        let output = Command::new("docker").args(["cp", &from, "-"]).output().unwrap();
        let tar = output.status.success().then_some(output.stdout)?;
        // A note about parts of a second may stand before it.
        let header = if tar[156] == b'x' { 1024 } else { 0 };
        Some((tar[header + 100..header + 124].to_vec(), tar[header + 512..].to_vec()))
    }

    /// Raw image inspect.
    pub(crate) async fn image(&self, tag: &str) -> Value {
        call("GET", &format!("/images/{}:{tag}/json", self.mark), None).await
    }

    /// Every container of the project.
    pub(crate) async fn project(&self) -> Vec<Value> {
        let filter = format!("label=com.docker.compose.project={}", self.mark);
        let mut all = Vec::new();
        for id in self.docker(&["ps", "-aq", "--no-trunc", "--filter", &filter]).await.split_whitespace() {
            all.push(self.inspect(id).await);
        }
        all
    }

    /// The only container of a service.
    pub(crate) async fn service(&self, service: &str) -> Value {
        let of_service = |c: &&Value| c["Config"]["Labels"]["com.docker.compose.service"] == service;
        let all = self.project().await;
        let found: Vec<&Value> = all.iter().filter(of_service).collect();
        assert_eq!(found.len(), 1, "containers of {service}");
        found[0].clone()
    }

    /// The containers of these services.
    pub(crate) async fn each(&self, services: &[&str]) -> Vec<Value> {
        let mut all = Vec::new();
        for service in services {
            all.push(self.service(service).await);
        }
        all
    }

    /// Creates and connects, does not start.
    pub(crate) async fn make(&self, name: &str, wanted: &NewContainer) -> Value {
        let path = format!("/containers/create?name={}.{name}", self.mark);
        let made = call("POST", &path, Some(&wanted.create)).await;
        let id = made["Id"].as_str().unwrap();
        for (network, endpoint) in &wanted.connects {
            let body = json!({"Container": id, "EndpointConfig": endpoint});
            call("POST", &format!("/networks/{network}/connect"), Some(&body)).await;
        }
        self.inspect(id).await
    }

    /// Puts a new container into the old one's place and starts it.
    pub(crate) async fn replace(&self, old: &Value, wanted: &NewContainer) -> Value {
        let made = self.make("next", wanted).await;
        let (old_id, id) = (old["Id"].as_str().unwrap(), made["Id"].as_str().unwrap());
        self.docker(&["stop", "-t", "0", old_id]).await;
        self.docker(&["rm", old_id]).await;
        self.docker(&["rename", id, old["Name"].as_str().unwrap().trim_start_matches('/')]).await;
        self.docker(&["start", id]).await;
        self.inspect(id).await
    }
}

impl Drop for World {
    fn drop(&mut self) {
        sweep(&self.mark);
        for volume in self.volumes.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let _gone_already = run("docker", &["volume", "rm", volume], None);
        }
    }
}

/// Inspect without what differs between any two containers: ids, addresses, times, compose 1's scheduler note, ours.
pub(crate) fn compared(inspect: &Value) -> Compared {
    let short = &inspect["Id"].as_str().unwrap()[..12];
    let mut flat = Compared::new();
    for (key, value) in inspect["Config"].as_object().unwrap() {
        match key.as_str() {
            "Image" => {}
            "Hostname" if value == short => {}
            "Env" => {
                for entry in value.as_array().unwrap().iter().filter(|e| !e.as_str().unwrap().starts_with("affinity:"))
                {
                    flat.insert(format!("Env {}", entry.as_str().unwrap()), json!(true));
                }
            }
            "Labels" => {
                for (label, value) in value.as_object().unwrap().iter().filter(|(l, _)| !l.starts_with("io.sternway."))
                {
                    flat.insert(format!("Labels {label}"), value.clone());
                }
            }
            _ => {
                flat.insert(format!("Config {key}"), value.clone());
            }
        }
    }
    for (key, value) in inspect["HostConfig"].as_object().unwrap() {
        let mut value = value.clone();
        if let ("Binds", Some(list)) = (key.as_str(), value.as_array_mut()) {
            // An anonymous volume is there by its image's wish or, carried over, by name: the mount below tells.
            list.retain(|bind| bind.as_str().unwrap().find(':') != Some(64));
            list.sort_by_key(ToString::to_string);
        }
        flat.insert(format!("HostConfig {key}"), value);
    }
    for mount in inspect["Mounts"].as_array().unwrap() {
        let mut mount = mount.clone();
        if mount["Mode"] == "rw" {
            mount["Mode"] = json!("");
        }
        flat.insert(format!("Mount {}", mount["Destination"]), mount);
    }
    for (network, endpoint) in inspect["NetworkSettings"]["Networks"].as_object().unwrap() {
        for key in ["IPAMConfig", "Links", "Aliases", "DriverOpts"] {
            let mut value = endpoint[key].clone();
            if let Some(list) = value.as_array_mut() {
                list.retain(|a| a != short);
                list.sort_by_key(ToString::to_string);
            }
            flat.insert(format!("Network {network} {key}"), value);
        }
    }
    for key in ["Image", "Path", "Args", "Platform", "Driver", "AppArmorProfile"] {
        flat.insert(key.to_owned(), inspect[key].clone());
    }
    flat
}

/// A call of the engine's API; any refusal fails the test with the engine's words.
async fn call(method: &str, path: &str, body: Option<&Value>) -> Value {
    let stream = tokio::net::UnixStream::connect(SOCKET.as_path()).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let body = body.map(ToString::to_string).unwrap_or_default();
    let request = hyper::Request::builder()
        .method(method)
        .uri(path)
        .header("host", "docker")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .unwrap();
    let limit = std::time::Duration::from_secs(60);
    let answer = tokio::time::timeout(limit, sender.send_request(request)).await.expect("the engine hangs").unwrap();
    let status = answer.status();
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    driver.abort();
    assert!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
    serde_json::from_slice(&bytes).unwrap_or(Value::Null)
}

fn run(program: &str, arguments: &[&str], project: Option<(&Path, &str, &str)>) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some((folder, name, tag)) = project {
        command.current_dir(folder).env("NAME", name).env("MARK", name).env("TAG", tag);
    }
    let output = command.output().map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// The program inside the images, compiled once per target folder.
fn program() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let built = folder.join("recreate-program-2");
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if !built.exists() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/recreate_world/program.rs");
        let part = folder.join(format!("recreate-program-2-{}", std::process::id()));
        let (source, out) = (source.to_str().unwrap(), part.to_str().unwrap());
        run("rustc", &["-O", "-C", "target-feature=+crt-static", "-C", "strip=symbols", source, "-o", out], None)
            .unwrap();
        std::fs::rename(&part, &built).unwrap();
    }
    built
}

/// Removes what tests of dead processes left.
fn sweep_the_dead() {
    let filter = format!("label={LABEL}");
    let format_ps = format!("{{{{.Label \"{LABEL}\"}}}}");
    let mut marks = run("docker", &["ps", "-a", "--filter", &filter, "--format", &format_ps], None).unwrap_or_default();
    marks += &run("docker", &["network", "ls", "--filter", &filter, "--format", &format_ps], None).unwrap_or_default();
    for mark in marks.lines().filter(|m| m.starts_with("recreate-")) {
        let alive = mark.rsplit('-').next().is_some_and(|pid| Path::new("/proc").join(pid).exists());
        if !alive {
            sweep(mark);
        }
    }
}

/// Removes containers, networks, volumes and images of one test.
fn sweep(mark: &str) {
    let filter = format!("label={LABEL}={mark}");
    let list = |arguments: &[&str]| -> Vec<String> {
        run("docker", arguments, None).unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    };
    let containers = list(&["ps", "-aq", "--filter", &filter]);
    // Anonymous volumes carry no label: they are known by the containers that have them.
    let mut volumes = Vec::new();
    for id in &containers {
        volumes.extend(list(&["inspect", "-f", "{{range .Mounts}}{{println .Name}}{{end}}", id]));
    }
    volumes.extend(list(&["volume", "ls", "-q", "--filter", &filter]));
    let remove = |what: &[&str], ids: Vec<String>| {
        for id in ids {
            let _gone_already = run("docker", &[what, &[id.as_str()]].concat(), None);
        }
    };
    remove(&["rm", "-f", "-v"], containers);
    remove(&["network", "rm"], list(&["network", "ls", "-q", "--filter", &filter]));
    remove(&["volume", "rm"], volumes);
    remove(&["rmi", "-f"], vec![format!("{mark}:v1"), format!("{mark}:v2")]);
}

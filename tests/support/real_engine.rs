//! A real Docker engine for tests: is there one, images of a scripted program made without network, free ports,
//! and a sweep of everything that carries the test's label, also after a crash of an earlier run.
//!
//! Shared engines are expected: nothing without our own label is touched, ports are published on 127.0.0.1 only.

// Helpers of tests fail like tests, and each test binary uses its own part of them.
#![allow(dead_code, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters::{
    ImportImageOptions, ListContainersOptionsBuilder, ListImagesOptionsBuilder, ListNetworksOptionsBuilder,
    ListVolumesOptionsBuilder, PruneImagesOptionsBuilder, RemoveContainerOptionsBuilder, RemoveImageOptionsBuilder,
    RemoveVolumeOptions,
};
use futures_util::StreamExt;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sternway::agent::docker::DockerEngine;
use sternway::agent::engine::Engine;
use sternway::agent::sim::Behaviour;
use sternway::domain::names::ProjectName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Everything a test makes carries this label with the test's id as value.
pub(crate) const TEST_LABEL: &str = "io.sternway.test";
/// What the sample product's Compose file puts on its containers, network and volume, with the same value.
const PRODUCT_LABEL: &str = "io.sternway.demo";
/// Leftovers of dead test processes are swept once they are this old, in seconds.
const LEFTOVER_AGE_S: i64 = 600;
/// How long one question to a published port may take.
const ASK_LIMIT: Duration = Duration::from_secs(2);

/// A real engine, and the label under which one test works on it.
pub(crate) struct RealEngine {
    engine: Arc<DockerEngine>,
    docker: Docker,
    id: String,
    arch: String,
    /// The engine's time when the test began.
    now: String,
}

impl RealEngine {
    /// The engine of `DOCKER_HOST` or the default socket. Without one: says so loudly and gives `None`; fails
    /// where `CI` is set.
    pub(crate) async fn find() -> Option<Self> {
        let host = std::env::var_os("DOCKER_HOST").and_then(|h| h.into_string().ok());
        let found = Self::at(host.as_deref()).await?;
        sweep_leftovers(&found.docker, &found.now).await;
        Some(found)
    }

    /// The engine at this address; the same where it does not answer.
    pub(crate) async fn at(host: Option<&str>) -> Option<Self> {
        let engine = DockerEngine::connect(host).expect("DOCKER_HOST has a known form");
        let arch = match engine.facts().await {
            Ok(facts) => facts.arch,
            Err(why) => {
                assert!(std::env::var_os("CI").is_none(), "CI must run the engine suite: {why}");
                eprintln!("SKIPPED: no Docker engine to test against ({why})");
                return None;
            }
        };
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("pid{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let docker = match host {
            Some(host) => Docker::connect_with_host(host),
            None => Docker::connect_with_unix_defaults(),
        };
        let docker = docker.expect("it answered a moment ago");
        let now = docker.info().await.expect("it answers").system_time.expect("it has a clock");
        Some(Self { engine: Arc::new(engine), docker, id, arch, now })
    }

    /// The engine as the agent sees it.
    pub(crate) fn engine(&self) -> Arc<DockerEngine> {
        Arc::clone(&self.engine)
    }

    /// The value of [`TEST_LABEL`] on everything this test makes; also a good prefix for names.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// A project of this test's own.
    pub(crate) fn project(&self) -> ProjectName {
        ProjectName::parse(&format!("st-{}", self.id)).expect("letters, digits and a dash")
    }

    /// The reference of an image of this test.
    pub(crate) fn reference(&self, name: &str) -> String {
        format!("sternway-test-{}/{name}", self.id)
    }

    /// Loads an image of one layer with the scripted program in it, which behaves so; `name` has its tag in it.
    /// `config` are members of its `Config` (`Env`, `Volumes`, `Healthcheck`, …). Gives the reference.
    pub(crate) async fn image(&self, name: &str, behaviour: Behaviour, config: &Value) -> String {
        let arguments = match behaviour {
            Behaviour::Healthy | Behaviour::IgnoresSigterm => json!(["serve", "0", "-"]),
            Behaviour::HealthyAfter(ms) => json!(["serve", ms.to_string(), "-"]),
            Behaviour::HealthyFor(ms) => json!(["serve", "0", ms.to_string()]),
            Behaviour::Unhealthy => json!(["serve", "0", "0"]),
            Behaviour::Mute => json!(["mute"]),
            Behaviour::Exits(code) => json!(["exit", code.to_string()]),
        };
        let signal = if behaviour == Behaviour::IgnoresSigterm { "SIGTERM" } else { "SIGKILL" };
        let mut whole = json!({
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "Entrypoint": ["/program"], "Cmd": arguments, "StopSignal": signal, "Labels": {}
        });
        for (key, value) in config.as_object().into_iter().flatten() {
            whole[key] = value.clone();
        }
        whole["Labels"][TEST_LABEL] = json!(self.id);
        whole["Labels"]["name"] = json!(name);
        let reference = self.reference(name);
        let program = std::fs::read(program()).expect("it was just compiled");
        let layer = tar(&[("program", 0o755, &program)]);
        self.load(&reference, &layer, &whole).await;
        reference
    }

    /// Loads an image of the sample product as its Dockerfile describes it: `role` is `api`, `web` or `db`, the
    /// behaviours are those of `tests/product`. Gives the reference.
    pub(crate) async fn product(&self, role: &str, version: &str, behaviour: &str) -> String {
        let config = json!({
            "Env": [
                "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                format!("SHOP_ROLE={role}"), format!("SHOP_VERSION={version}"), format!("SHOP_BEHAVIOUR={behaviour}")
            ],
            "Entrypoint": ["/product"],
            "Healthcheck": {
                "Test": ["CMD", "/product", "check"], "Interval": 5_000_000_000u64, "Timeout": 2_000_000_000u64,
                "Retries": 2
            },
            "Labels": {TEST_LABEL: self.id, PRODUCT_LABEL: self.id, "org.opencontainers.image.version": version}
        });
        let reference = format!("{}:{version}", self.reference(role));
        let program = std::fs::read(product()).expect("it was just compiled");
        // A layer of this test's own: no other test's sweep can be removing it meanwhile.
        let layer = tar(&[("product", 0o755, &program), ("of-test", 0o644, self.id.as_bytes())]);
        self.load(&reference, &layer, &config).await;
        reference
    }

    /// Loads an image under a name that others use too, with these files (path, mode, content) in it. The caller sees to
    /// it that nobody else's image has that name here.
    pub(crate) async fn stand_in(&self, reference: &str, files: &[(&str, u32, &[u8])], config: &Value) {
        let mut config = config.clone();
        config["Labels"] = json!({TEST_LABEL: self.id});
        self.load(reference, &tar(files), &config).await;
    }

    /// Loads an image of one layer.
    async fn load(&self, reference: &str, layer: &[u8], config: &Value) {
        self.load_tar(archive(reference, &self.arch, &self.now, layer, config)).await;
    }

    /// `docker load`.
    pub(crate) async fn load_tar(&self, archive: Vec<u8>) {
        let mut load =
            self.docker.import_image(ImportImageOptions::default(), bollard::body_full(archive.into()), None);
        while let Some(step) = load.next().await {
            let step = step.unwrap_or_else(|e| panic!("loading an image: {e}"));
            assert!(step.error_detail.is_none(), "loading an image: {:?}", step.error_detail);
        }
    }

    /// `docker save`.
    pub(crate) async fn save_tar(&self, reference: &str) -> Vec<u8> {
        let mut archive = Vec::new();
        let mut saving = self.docker.export_image(reference);
        while let Some(part) = saving.next().await {
            archive.extend_from_slice(&part.unwrap_or_else(|e| panic!("saving {reference}: {e}")));
        }
        archive
    }

    /// `docker image prune -a`, for engines that nobody else uses.
    pub(crate) async fn prune_images(&self) {
        let filters = HashMap::from([("dangling", vec!["false"])]);
        let options = PruneImagesOptionsBuilder::new().filters(&filters).build();
        self.docker.prune_images(Some(options)).await.expect("images can be pruned");
    }

    /// Images that are loaded from now on are told to be made at this time.
    pub(crate) fn dated(&mut self, now: &str) {
        now.clone_into(&mut self.now);
    }

    /// Makes a network with the test's label.
    pub(crate) async fn network(&self, name: &str) -> String {
        let name = format!("st-{}-{name}", self.id);
        let request = serde_json::from_value(json!({"Name": name, "Labels": {TEST_LABEL: self.id}}));
        self.docker.create_network(request.expect("a network request")).await.expect("a network can be made");
        name
    }

    /// The same with a range of addresses of the test's own.
    pub(crate) async fn network_with_range(&self, name: &str) -> String {
        let name = format!("st-{}-{name}", self.id);
        let mut why = None;
        // A range that another network has is refused: try others. Nobody else's begin with 10.2xx here.
        for nth in 0..50 {
            let seed = std::process::id().wrapping_add(nth * 7919);
            let range = format!("10.{}.{}.0/24", 200 + seed / 256 % 50, seed % 256);
            let request = serde_json::from_value(json!({
                "Name": name, "Labels": {TEST_LABEL: self.id}, "IPAM": {"Config": [{"Subnet": range}]}
            }));
            match self.docker.create_network(request.expect("a network request")).await {
                Ok(_) => return name,
                Err(refused) => why = Some(refused),
            }
        }
        panic!("no range of addresses is free: {why:?}");
    }

    /// `docker rmi -f`.
    pub(crate) async fn remove_image(&self, reference: &str) {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        self.docker.remove_image(reference, Some(options), None).await.expect("the image can be removed");
    }

    /// bollard, for what the agent's contract does not offer.
    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }
}

impl Drop for RealEngine {
    fn drop(&mut self) {
        let (docker, id) = (self.docker.clone(), self.id.clone());
        // Drop cannot wait inside the test's own runtime.
        let sweeping = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(sweep(&docker, &id));
        });
        let _ = sweeping.join();
    }
}

/// A port of 127.0.0.1 that nobody holds now.
pub(crate) fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("bound").port()
}

/// The first of so many ports beside each other that are free now.
pub(crate) fn free_range(count: u16) -> u16 {
    for _ in 0..100 {
        let first = free_port();
        let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
        if first.checked_add(count).is_some() && (first..first + count).all(free) {
            return first;
        }
    }
    panic!("no {count} free ports beside each other")
}

/// Asks a published port by HTTP whether the program behind it is well.
pub(crate) async fn ask(port: u16) -> Result<(), String> {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    match timeout(ASK_LIMIT, asked).await {
        Err(_) => Err("timed out".to_owned()),
        Ok(Err(why)) => Err(why.to_string()),
        Ok(Ok(answer)) if answer.starts_with("HTTP/1.1 200") => Ok(()),
        Ok(Ok(answer)) => Err(format!("answered {:?}", answer.lines().next().unwrap_or_default())),
    }
}

/// Removes everything that carries this test id.
async fn sweep(docker: &Docker, id: &str) {
    let filters = HashMap::from([("label", vec![format!("{TEST_LABEL}={id}")])]);
    let containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    for container in docker.list_containers(Some(containers)).await.unwrap_or_default() {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let _ = docker.remove_container(&container.id.unwrap_or_default(), Some(options)).await;
    }
    for label in [TEST_LABEL, PRODUCT_LABEL] {
        let filters = HashMap::from([("label", vec![format!("{label}={id}")])]);
        let networks = ListNetworksOptionsBuilder::new().filters(&filters).build();
        for network in docker.list_networks(Some(networks)).await.unwrap_or_default() {
            let _ = docker.remove_network(&network.name.unwrap_or_default()).await;
        }
        let volumes = ListVolumesOptionsBuilder::new().filters(&filters).build();
        let volumes = docker.list_volumes(Some(volumes)).await.unwrap_or_default().volumes;
        for volume in volumes.unwrap_or_default() {
            let _ = docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await;
        }
    }
    let images = ListImagesOptionsBuilder::new().filters(&filters).build();
    for image in docker.list_images(Some(images)).await.unwrap_or_default() {
        let options = RemoveImageOptionsBuilder::new().force(true).build();
        let _ = docker.remove_image(&image.id, Some(options), None).await;
    }
}

/// What test processes that are gone left behind; once per process.
async fn sweep_leftovers(docker: &Docker, now: &str) {
    static DONE: OnceLock<()> = OnceLock::new();
    if DONE.set(()).is_err() {
        return;
    }
    let now: jiff::Timestamp = now.parse().expect("RFC 3339");
    let dead = |labels: &HashMap<String, String>, created: i64| -> Option<String> {
        let id = labels.get(TEST_LABEL)?;
        let pid = id.strip_prefix("pid")?.split('-').next()?.parse::<u32>().ok()?;
        let gone = !Path::new(&format!("/proc/{pid}")).exists();
        (gone && now.as_second() - created > LEFTOVER_AGE_S).then(|| id.clone())
    };
    let filters = HashMap::from([("label", vec![TEST_LABEL])]);
    let containers = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let images = ListImagesOptionsBuilder::new().filters(&filters).build();
    let mut ids: Vec<String> = Vec::new();
    for container in docker.list_containers(Some(containers)).await.unwrap_or_default() {
        ids.extend(dead(&container.labels.unwrap_or_default(), container.created.unwrap_or_default()));
    }
    for image in docker.list_images(Some(images)).await.unwrap_or_default() {
        ids.extend(dead(&image.labels, image.created));
    }
    ids.sort();
    ids.dedup();
    for id in ids {
        sweep(docker, &id).await;
    }
}

/// The scripted program as a static file.
pub(crate) fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compiled("tests/support/scripted.rs")).clone()
}

/// The sample product's program as a static file.
pub(crate) fn product() -> PathBuf {
    static PRODUCT: OnceLock<PathBuf> = OnceLock::new();
    PRODUCT.get_or_init(|| compiled("tests/product/product.rs")).clone()
}

/// A static program of one source file, compiled once for each state of it.
pub(crate) fn compiled(source: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(source);
    let name = source.file_stem().and_then(|n| n.to_str()).expect("a file of ours");
    let text = std::fs::read_to_string(&source).expect("the program's source");
    let mark = sternway::domain::canonical::sha256("scripted", &text).expect("text is canonical");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let made = folder.join(format!("{name}-{}", &mark[..16]));
    // One at a time in this process.
    static COMPILING: Mutex<()> = Mutex::new(());
    let _turn = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    if !made.exists() {
        // Two test binaries may compile at once; each renames a file of its own into place.
        let own = folder.join(format!("{name}-{}.{}", &mark[..16], std::process::id()));
        let done = Command::new("rustc")
            .args(["-O", "--edition", "2024", "-C", "target-feature=+crt-static", "-C", "strip=symbols", "-o"])
            .arg(&own)
            .arg(&source)
            .output()
            .expect("rustc can be run");
        assert!(done.status.success(), "rustc: {}", String::from_utf8_lossy(&done.stderr));
        std::fs::rename(&own, &made).expect("same folder");
    }
    made
}

/// An image of one layer as `docker load` takes it (Docker image specification 1.2): `manifest.json`, the
/// image's config, the layer.
fn archive(reference: &str, arch: &str, created: &str, layer: &[u8], config: &Value) -> Vec<u8> {
    let image = json!({
        "architecture": arch, "os": "linux", "created": created, "config": config,
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{}", hex::encode(Sha256::digest(layer)))]},
        "history": [{"created": created, "created_by": "test"}]
    });
    let manifest = json!([{"Config": "image.json", "RepoTags": [reference], "Layers": ["layer.tar"]}]);
    tar(&[
        ("manifest.json", 0o644, manifest.to_string().as_bytes()),
        ("image.json", 0o644, image.to_string().as_bytes()),
        ("layer.tar", 0o644, layer),
    ])
}

/// A tar archive (POSIX ustar) of these files: name, mode, content.
fn tar(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let mut head = [0u8; 512];
        let mut put = |at: usize, text: &str| head[at..at + text.len()].copy_from_slice(text.as_bytes());
        put(0, name);
        put(100, &format!("{mode:07o}"));
        put(108, "0000000");
        put(116, "0000000");
        put(124, &format!("{:011o}", content.len()));
        put(136, "00000000000");
        put(148, "        ");
        put(156, "0");
        put(257, "ustar");
        put(263, "00");
        let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
        head[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        head[154] = 0;
        archive.extend_from_slice(&head);
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(512), 0);
    }
    archive.resize(archive.len() + 1024, 0);
    archive
}

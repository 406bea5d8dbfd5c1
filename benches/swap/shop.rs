//! The sample product, brought up by the real docker-compose in a folder, under a name and with images of its
//! own, so that several can live on one engine; and taken away again, also after a failure.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use sternway::clock::{Clock, SystemClock};

/// What may go wrong here is told to the person at the terminal, and nobody decides by it.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The services, in the order in which they need each other.
const SERVICES: [&str; 3] = ["db", "api", "web"];

/// Seconds that every way gives the old container to stop by itself.
pub(crate) const GRACE_S: u32 = 2;

/// What the shop's API is like, and what stands in front of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    /// As the tables call it.
    pub(crate) title: &'static str,
    /// `BEHAVIOUR` of the API's images.
    pub(crate) behaviour: &'static str,
    /// Whether it is reached through nginx alone, which is reloaded, and may run twice for a while.
    pub(crate) behind_nginx: bool,
}

/// A Compose program.
#[derive(Debug, Clone)]
pub(crate) struct Compose {
    words: Vec<String>,
    /// Its version.
    pub(crate) version: String,
}

/// Debian's nginx and HAProxy (tests/setup/proxies.sh); stays on the engine, as after the tests.
const PROXIES: &str = "sternway-test/proxies:1";

/// A running shop.
#[derive(Debug)]
pub(crate) struct Shop {
    id: String,
    folder: PathBuf,
    kind: Kind,
    /// Where the API is reached from outside: its own port, or nginx's.
    port: u16,
    compose: Compose,
}

/// What one swap that is not ours took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Swap {
    /// When the command was given.
    pub(crate) given: Instant,
    /// From then until all had been done.
    pub(crate) returned: Duration,
    /// What the engine says of it.
    pub(crate) cut: Cut,
}

/// The part of a swap in which nobody can answer, by the engine's own events.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// From the signal to the old container until it had stopped: the engine's work.
    pub(crate) stopping: Duration,
    /// From then until the new one had been started: the engine's work, and whatever its caller does in between.
    pub(crate) starting: Duration,
}

impl Shop {
    /// Builds the images `1.0` and `1.1` from the build context `product` (`make product`) and brings the shop up
    /// on `1.0`. `id` must be unlike that of every other shop on this engine, and fit for a project name.
    pub(crate) fn up(product: &Path, id: &str, kind: Kind, compose: &Compose) -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("sternway-{id}"));
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let [api_port, web_port] = free_ports()?;
        let port = if kind.behind_nginx { web_port } else { api_port };
        let shop = Self { id: id.to_owned(), folder, kind, port, compose: compose.clone() };
        for (role, version) in SERVICES.map(|role| (role, "1.0")).into_iter().chain([("api", "1.1")]) {
            shop.build(product, role, version)?;
        }
        if kind.behind_nginx {
            shop.put_nginx_in_front()?;
        } else {
            std::fs::copy(product.join("compose.yml"), shop.folder.join("compose.yml"))?;
        }
        let mut settings =
            format!("COMPOSE_PROJECT_NAME={id}\nSHOP_ID={id}\nAPI_PORT={api_port}\nWEB_PORT={web_port}\n");
        for role in SERVICES {
            writeln!(settings, "{}_IMAGE={}", role.to_uppercase(), shop.image(role, "1.0"))?;
        }
        std::fs::write(shop.folder.join(".env"), settings)?;
        shop.compose(&["up", "-d"], None)?;
        Ok(shop)
    }

    /// Debian's nginx as `web`, from the image that the tests behind proxies use, and an API without a port of its own.
    fn put_nginx_in_front(&self) -> Result<()> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/proxies.sh");
        let mut fetch = Command::new("sh");
        fetch.arg(script).arg(PROXIES);
        run(fetch)?;
        // With the shop's label, by which all of it is found in the end.
        let (context, label) = (self.folder.join("nginx"), format!("io.sternway.demo={}", self.id));
        std::fs::create_dir(&context)?;
        std::fs::write(context.join("Dockerfile"), format!("FROM {PROXIES}\n"))?;
        let mut build = docker(&["build", "--quiet", "--label", &label, "--tag", &self.image("web", "1.0")]);
        build.arg(&context);
        run(build)?;
        std::fs::write(self.folder.join("proxy.conf"), include_str!("nginx.conf"))?;
        std::fs::write(self.folder.join("compose.yml"), include_str!("behind-nginx.yml"))?;
        Ok(())
    }

    /// What the API is like.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The page that tells whether the API is well, as seen from outside.
    pub(crate) fn health_url(&self) -> String {
        format!("http://127.0.0.1:{}/api/health", self.port)
    }

    /// The source document's way back: `up -d --no-deps api` with another image.
    pub(crate) fn swap_by_compose(&self, version: &str) -> Result<Swap> {
        let (given, wall) = (Instant::now(), SystemClock.now());
        let grace = GRACE_S.to_string();
        self.compose(&["up", "-d", "--no-deps", "-t", &grace, "api"], Some(&self.image("api", version)))?;
        self.reload()?;
        let returned = given.elapsed();
        self.started_at(version)?;
        Ok(Swap { given, returned, cut: self.cut_since(wall)? })
    }

    /// The same container once more: `docker stop`, `docker start`. Nothing can bring a service back faster.
    pub(crate) fn restart_bare(&self) -> Result<Swap> {
        let container = self.container()?;
        let (given, wall) = (Instant::now(), SystemClock.now());
        run(docker(&["stop", "-t", &GRACE_S.to_string(), &container]))?;
        run(docker(&["start", &container]))?;
        self.reload()?;
        let returned = given.elapsed();
        Ok(Swap { given, returned, cut: self.cut_since(wall)? })
    }

    /// As the procedure does after a swap behind nginx, which looks addresses up once.
    fn reload(&self) -> Result<()> {
        if self.kind.behind_nginx {
            self.compose(&["kill", "-s", "HUP", "web"], None)?;
        }
        Ok(())
    }

    /// The cut of the one swap since then.
    pub(crate) fn cut_since(&self, since: Timestamp) -> Result<Cut> {
        let (since, until) = (since.to_string(), SystemClock.now().to_string());
        let of_project = format!("label=com.docker.compose.project={}", self.id);
        let mut events =
            docker(&["events", "--since", &since, "--until", &until, "--format", "{{.Action}} {{.TimeNano}}"]);
        events.args(["--filter", &of_project, "--filter", "label=com.docker.compose.service=api"]);
        for event in ["kill", "stop", "start"] {
            events.args(["--filter", &format!("event={event}")]);
        }
        let told = text(&run(events)?);
        let mut moments = told.lines().map(|line| line.split_once(' ').unwrap_or_default());
        let mut next = |wanted: &str| -> Result<u64> {
            let found = moments.find(|(event, _)| *event == wanted);
            Ok(found.ok_or_else(|| format!("no {wanted} in the engine's events: {told}"))?.1.parse()?)
        };
        let (kill, stop, start) = (next("kill")?, next("stop")?, next("start")?);
        Ok(Cut { stopping: Duration::from_nanos(stop - kill), starting: Duration::from_nanos(start - stop) })
    }

    /// When the engine started the API's one container, which has to run that version.
    pub(crate) fn started_at(&self, version: &str) -> Result<Timestamp> {
        let container = self.container()?;
        // By id: a tag may have been moved.
        let format = "{{.Image}} {{.State.StartedAt}}";
        let told = text(&run(docker(&["inspect", "--format", format, &container]))?);
        let (image, at) = told.split_once(' ').ok_or("docker inspect told nothing")?;
        let wanted = text(&run(docker(&["image", "inspect", "--format", "{{.Id}}", &self.image("api", version)]))?);
        if image != wanted {
            return Err(format!("{container} runs {image}, not {wanted}").into());
        }
        Ok(at.parse()?)
    }

    /// The id of the API's one running container.
    fn container(&self) -> Result<String> {
        let of_project = format!("label=com.docker.compose.project={}", self.id);
        let of_service = "label=com.docker.compose.service=api";
        let list = ["ps", "-q", "--no-trunc", "--filter", &of_project, "--filter", of_service];
        Ok(text(&run(docker(&list))?))
    }

    /// The Compose project's name.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The Compose project's folder.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reference of an image.
    pub(crate) fn image(&self, role: &str, version: &str) -> String {
        format!("sternway-demo-{}/{role}:{version}", self.id)
    }

    fn build(&self, product: &Path, role: &str, version: &str) -> Result<()> {
        let tag = self.image(role, version);
        let (id, role) = (format!("ID={}", self.id), format!("ROLE={role}"));
        let (version, behaviour) = (format!("VERSION={version}"), format!("BEHAVIOUR={}", self.kind.behaviour));
        let mut build = docker(&["build", "--quiet", "--tag", &tag, "--build-arg", &id]);
        build.args(["--build-arg", &role, "--build-arg", &version]);
        build.args(["--build-arg", &behaviour]).arg(product);
        run(build).map(drop)
    }

    fn compose(&self, arguments: &[&str], api: Option<&str>) -> Result<Output> {
        let mut command = self.compose.command();
        command.args(arguments).current_dir(&self.folder);
        if let Some(image) = api {
            command.env("API_IMAGE", image);
        }
        run(command)
    }
}

impl Drop for Shop {
    /// As much as can be removed; what cannot is told and does not hide why the shop came down.
    fn drop(&mut self) {
        if self.folder.join(".env").exists()
            && let Err(error) = self.compose(&["down", "--volumes", "--timeout", "2"], None)
        {
            eprintln!("the shop {} is not down: {error}", self.id);
        }
        // What keeps releases from being pruned carries the label of its image.
        let ours = format!("label=io.sternway.demo={}", self.id);
        for (list, remove) in [
            (["ps", "-aq", "--no-trunc", "--filter", &ours], ["rm", "--force"]),
            (["images", "-q", "--no-trunc", "--filter", &ours], ["rmi", "--force"]),
        ] {
            let found = run(docker(&list)).map(|output| text(&output)).unwrap_or_default();
            let ids: BTreeSet<&str> = found.lines().collect();
            let all: Vec<&str> = remove.into_iter().chain(ids.iter().copied()).collect();
            if !ids.is_empty()
                && let Err(error) = run(docker(&all))
            {
                eprintln!("something of the shop {} is left: {error}", self.id);
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

impl Compose {
    /// The two to compare with: the machine's own, and Compose 2.26.1 (fetched once by tests/setup/compose.sh).
    pub(crate) fn both() -> Result<[Self; 2]> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/compose.sh");
        let mut fetch = Command::new("sh");
        fetch.arg(script).arg("2.26.1");
        Ok([Self::of(own_compose()?)?, Self::of(vec![text(&run(fetch)?)])?])
    }

    fn of(words: Vec<String>) -> Result<Self> {
        let mut compose = Self { words, version: String::new() };
        let mut ask = compose.command();
        ask.args(["version", "--short"]);
        text(&run(ask)?).trim_start_matches('v').clone_into(&mut compose.version);
        Ok(compose)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.words[0]);
        command.args(&self.words[1..]);
        command
    }
}

/// Version of the engine.
pub(crate) fn engine() -> Result<String> {
    Ok(text(&run(docker(&["version", "--format", "{{.Server.Version}}"]))?))
}

/// `docker-compose` where there is one (Debian's 1.29 is only that), else the plugin.
fn own_compose() -> Result<Vec<String>> {
    for words in [&["docker-compose"][..], &["docker", "compose"]] {
        let mut command = Command::new(words[0]);
        if run_silently(command.args(&words[1..]).arg("version")) {
            return Ok(words.iter().map(|word| (*word).to_owned()).collect());
        }
    }
    Err("neither docker-compose nor docker compose: apt-get install docker-compose".into())
}

fn run_silently(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn run(mut command: Command) -> Result<Output> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("{command:?}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr)).into())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Two ports that were free a moment ago.
fn free_ports() -> Result<[u16; 2]> {
    let (one, two) = (TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?, TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?);
    Ok([one.local_addr()?.port(), two.local_addr()?.port()])
}

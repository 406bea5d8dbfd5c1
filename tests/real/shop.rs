//! The sample product on a real engine: brought up by the real compose under a name and ports of the test's own,
//! taken away by `RealEngine` also after a crash. Beside it the folder in which the bot lives.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use bollard::query_parameters::ListContainersOptionsBuilder;
use serde_json::Value;
use sternway::agent::engine::Engine;
use sternway::agent::fingerprint;
use sternway::domain::names::Fingerprint;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::real_engine::{RealEngine, free_port};

/// Longest wait for anything; reached only when a test fails.
pub(crate) const BOUND: Duration = Duration::from_secs(90);

/// The user the approver is for the kernel. Nobody's on any machine; the console takes its person from it.
pub(crate) const OMAR_UID: u32 = 60_002;

/// A shop, and room for a bot.
pub(crate) struct Shop {
    pub(crate) engine: RealEngine,
    folder: tempfile::TempDir,
    pub(crate) api_port: u16,
    pub(crate) web_port: u16,
    compose: Vec<String>,
}

impl Shop {
    /// A shop with these versions of `api`, each with its behaviour; the first is up. `None`, loudly, where there
    /// is no engine or this user cannot speak as two people.
    pub(crate) async fn open(versions: &[(&str, &str)]) -> Option<Self> {
        Self::with(versions, |compose| compose).await
    }

    /// The same with another Compose file.
    pub(crate) async fn with(versions: &[(&str, &str)], edit: impl FnOnce(String) -> String) -> Option<Self> {
        Self::by(compose_command().await, versions, edit).await
    }

    /// The same with that compose.
    pub(crate) async fn by(
        compose: Vec<String>,
        versions: &[(&str, &str)],
        edit: impl FnOnce(String) -> String,
    ) -> Option<Self> {
        let mut shop = Self::bare().await?;
        if !rustix::process::getuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "CI must run these tests as root: two users speak here");
            eprintln!("SKIPPED: only root can speak on the console as two people");
            return None;
        }
        shop.compose = compose;
        fs::create_dir(shop.project_folder()).expect("a folder");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/product/compose.yml");
        let text = edit(fs::read_to_string(file).expect("the product's compose file"));
        fs::write(shop.project_folder().join("compose.yml"), text).expect("it is ours");
        for role in ["db", "web"] {
            shop.engine.product(role, "1.0", "good").await;
        }
        for (version, behaviour) in versions {
            shop.engine.product("api", version, behaviour).await;
        }
        let first = versions.first().expect("a version").0;
        let env = format!(
            "# of the shop\nCOMPOSE_PROJECT_NAME={project}\nSHOP_ID={id}\n\nAPI_IMAGE={api}\nWEB_IMAGE={web}\nDB_IMAGE={db}\n\
             API_PORT={}\nWEB_PORT={}\n\n# the end, without a newline",
            shop.api_port,
            shop.web_port,
            project = shop.project(),
            id = shop.engine.id(),
            api = shop.image(first),
            web = shop.engine.reference("web:1.0"),
            db = shop.engine.reference("db:1.0"),
        );
        fs::write(shop.env_path(), env).expect("it is ours");
        shop.compose(&["up", "-d"]).await;
        Some(shop)
    }

    /// No shop, but an engine and a folder to work with. `None`, loudly, where there is no engine.
    pub(crate) async fn bare() -> Option<Self> {
        let engine = RealEngine::find().await?;
        let folder = tempfile::tempdir().expect("a folder");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o711)).expect("it is ours");
        Some(Self { engine, folder, api_port: free_port(), web_port: free_port(), compose: Vec::new() })
    }

    /// The sample product as a build context, as `make product` makes it.
    pub(crate) fn product_folder(&self) -> PathBuf {
        let (made, source) =
            (self.folder().join("product"), Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/product"));
        fs::create_dir_all(&made).expect("a folder of ours");
        for file in ["Dockerfile", "compose.yml", "example.env"] {
            fs::copy(source.join(file), made.join(file)).expect("a file of the product");
        }
        fs::copy(crate::real_engine::product(), made.join("product")).expect("it was just compiled");
        made
    }

    /// The folder of everything.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The folder of the project.
    pub(crate) fn project_folder(&self) -> PathBuf {
        self.folder.path().join("shop")
    }

    fn env_path(&self) -> PathBuf {
        self.project_folder().join(".env")
    }

    /// Name of the project.
    pub(crate) fn project(&self) -> String {
        self.engine.project().to_string()
    }

    /// Reference of a version of `api`.
    pub(crate) fn image(&self, version: &str) -> String {
        self.engine.reference(&format!("api:{version}"))
    }

    /// The `.env` file.
    pub(crate) fn env(&self) -> String {
        fs::read_to_string(self.env_path()).expect("it is there")
    }

    /// The `.env` file as it has to be with this version pinned.
    pub(crate) fn env_with(&self, before: &str, version: &str) -> String {
        let pinned = |line: &str| match line.strip_prefix("API_IMAGE=") {
            Some(_) => format!("API_IMAGE={}", self.image(version)),
            None => line.to_owned(),
        };
        before.split('\n').map(pinned).collect::<Vec<_>>().join("\n")
    }

    /// Deploys a version as a team does: the pin, then compose.
    pub(crate) async fn deploy(&self, version: &str) {
        self.pin(version);
        self.compose(&["up", "-d", "--no-deps", "api"]).await;
    }

    /// Writes a version into the `.env` file, as a team does before it deploys.
    pub(crate) fn pin(&self, version: &str) {
        let env = self.env_with(&self.env(), version);
        fs::write(self.env_path(), env).expect("it is ours");
    }

    /// Runs compose in the project's folder.
    pub(crate) async fn compose(&self, arguments: &[&str]) {
        let (program, first) = self.compose.split_first().expect("compose");
        let mut command = Command::new(program);
        command.args(first).args(arguments).current_dir(self.project_folder()).stdin(Stdio::null()).kill_on_drop(true);
        let done = timeout(BOUND, command.output()).await.expect("compose comes to an end").expect("compose runs");
        assert!(done.status.success(), "compose {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// The bot's config. `more` stands at its end, `of_api` in the table of `api`.
    pub(crate) fn write_config(&self, settings: &Settings) -> PathBuf {
        let docker = match &settings.docker {
            Some(socket) => format!("docker = \"unix://{}\"\n", socket.display()),
            None => String::new(),
        };
        let store = settings.store.clone().unwrap_or_else(|| self.store());
        let text = format!(
            r#"
[sternway]
store = "{store}"
agent = "{folder}/agent"
socket = "{folder}/sternway.sock"
log = "json"
level = "debug"
{docker}
[[person]]
id = "layla"
roles = ["on-call", "approver", "admin"]
accounts = {{ console = ["uid:0"] }}

[[person]]
id = "omar"
roles = ["on-call", "approver", "admin"]
accounts = {{ console = ["uid:{OMAR_UID}"] }}

[[stack]]
name = "shop"
project = "{project}"
dir = "{folder}/shop"

[stack.service.api]
health = {{ url = "http://127.0.0.1:{api}/api/health" }}
count = 2
interval = "50ms"
deadline = "{deadline}s"
grace = "1s"
pin = {{ file = ".env", key = "API_IMAGE" }}
proxies = [{{ service = "web", signal = "HUP" }}]

[stack.service.web]
health = {{ url = "http://127.0.0.1:{web}/" }}

[stack.service.db]
health = {{ exec = true }}

[limits]
door = 600

[approvals."rollback image"]
waive = "{waive}"
"#,
            store = store.display(),
            folder = self.folder().display(),
            project = self.project(),
            api = self.api_port,
            web = self.web_port,
            deadline = settings.deadline_s,
            waive = if settings.ask_always { "never" } else { "proven_release" },
        );
        let path = self.folder().join("sternway.toml");
        fs::write(&path, text).expect("it is ours");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("it is ours");
        path
    }

    /// Folder of the store.
    pub(crate) fn store(&self) -> PathBuf {
        self.folder().join("store")
    }

    /// The console's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder().join("sternway.sock")
    }

    /// Inspects of all containers of a service, whatever their names.
    pub(crate) async fn containers(&self, service: &str) -> Vec<Value> {
        let engine = self.engine.engine();
        let ids = engine.project_containers(&self.engine.project()).await.expect("the engine answers");
        let mut found = Vec::new();
        for id in ids {
            let Some(one) = engine.inspect(&id).await.expect("the engine answers") else { continue };
            if one["Config"]["Labels"]["com.docker.compose.service"] == service {
                found.push(one);
            }
        }
        found
    }

    /// Any container, raw.
    pub(crate) async fn containers_inspect(&self, id: &str) -> Value {
        self.engine.engine().inspect(id).await.expect("the engine answers").unwrap_or_default()
    }

    /// The only container of `api`.
    pub(crate) async fn api(&self) -> Value {
        let mut all = self.containers("api").await;
        let names: Vec<&Value> = all.iter().map(|c| &c["Name"]).collect();
        assert_eq!(all.len(), 1, "api has one container: {names:?}");
        all.remove(0)
    }

    /// Names of containers that a swap makes and takes away again.
    pub(crate) async fn leftovers(&self) -> Vec<String> {
        let options = ListContainersOptionsBuilder::new().all(true).build();
        let all = self.engine.docker().list_containers(Some(options)).await.expect("the engine answers");
        let names = all.into_iter().flat_map(|c| c.names.unwrap_or_default());
        let ours =
            |name: &String| name.contains(&self.project()) && (name.contains(".next-") || name.contains(".prev-"));
        names.filter(ours).collect()
    }

    /// What an image is.
    pub(crate) async fn fingerprint(&self, handle: &str) -> Fingerprint {
        let image = self.engine.engine().image(handle).await.expect("the engine answers");
        let image = image.unwrap_or_else(|| panic!("no image {handle}"));
        fingerprint::fingerprint(&image).expect("an image of this platform")
    }

    /// What the container of `api` runs.
    pub(crate) async fn running(&self) -> Fingerprint {
        let api = self.api().await;
        assert_eq!(api["State"]["Running"], true, "{}", api["State"]);
        self.fingerprint(api["Image"].as_str().expect("an id")).await
    }

    /// Asks from outside, through the front end: status and body.
    pub(crate) async fn through_web(&self, path: &str) -> Result<String, String> {
        get(self.web_port, path).await
    }

    /// Asks the API's own port.
    pub(crate) async fn direct(&self, path: &str) -> Result<String, String> {
        get(self.api_port, path).await
    }

    /// Waits until both doors give this version, well.
    pub(crate) async fn serves(&self, version: &str) {
        let wanted = format!("{{\"status\":\"ok\",\"version\":\"{version}\"}}");
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let seen = (self.direct("/api/health").await, self.through_web("/api/health").await);
            if seen == (Ok(wanted.clone()), Ok(wanted.clone())) {
                return;
            }
            assert!(Instant::now() < until, "outside: {seen:?}, not {version}");
            pause().await;
        }
    }
}

/// What differs between configs.
#[derive(Clone)]
pub(crate) struct Settings {
    /// Socket of an engine other than the usual one.
    pub(crate) docker: Option<PathBuf>,
    /// Another folder for the store.
    pub(crate) store: Option<PathBuf>,
    pub(crate) deadline_s: u32,
    /// Whether a rollback to a proven release needs a second person too.
    pub(crate) ask_always: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self { docker: None, store: None, deadline_s: 20, ask_always: false }
    }
}

/// Between two looks at a condition.
pub(crate) async fn pause() {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    tick.tick().await;
    tick.tick().await;
}

/// Waits for a condition, bounded; says what was seen.
pub(crate) async fn until<T>(what: &str, mut so: impl AsyncFnMut() -> Result<T, String>) -> T {
    let end = Instant::now() + BOUND;
    loop {
        match so().await {
            Ok(value) => return value,
            Err(seen) => assert!(Instant::now() < end, "waited for {what}; seen last: {seen}"),
        }
        pause().await;
    }
}

/// GET; the trimmed body of a 200, else what came.
pub(crate) async fn get(port: u16, path: &str) -> Result<String, String> {
    let asked = async {
        let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await?;
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(head.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = match timeout(Duration::from_secs(3), asked).await {
        Err(_) => return Err("no answer in time".to_owned()),
        Ok(Err(why)) => return Err(why.to_string()),
        Ok(Ok(answer)) => answer,
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let body = body.trim().to_owned();
    if head.starts_with("HTTP/1.1 200") {
        Ok(body)
    } else {
        Err(format!("{} {body}", head.lines().next().unwrap_or("")))
    }
}

/// Whichever compose is here.
pub(crate) async fn compose_command() -> Vec<String> {
    for candidate in [vec!["docker-compose"], vec!["docker", "compose"]] {
        let mut command = Command::new(candidate[0]);
        command.args(&candidate[1..]).arg("version").stdin(Stdio::null());
        if command.output().await.is_ok_and(|o| o.status.success()) {
            return candidate.into_iter().map(str::to_owned).collect();
        }
    }
    panic!("neither docker-compose nor docker compose is here")
}

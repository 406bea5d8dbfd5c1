//! Where the story is played: a folder of its own, an engine real or simulated, and what both can do.

use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};

use super::Options;
use super::real::Real;
use super::simulated::Simulated;
use crate::agent::probe::Probe;
use crate::app::serve::hosts;
use crate::clock::Clock;
use crate::config::Config;
use crate::dispatch::Host;
use crate::domain::names::HostName;

/// A version of the shop's API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// 1.0, the one to go back to.
    Old,
    /// 1.1, the bad deploy.
    New,
}

impl Version {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Version::Old => "1.0",
            Version::New => "1.1",
        }
    }
}

enum Engine {
    Real(Real),
    Simulated(Simulated),
}

/// A stage that can be torn down.
pub(super) struct Theatre {
    engine: Engine,
    /// The demo's own folder, 0700.
    pub(super) folder: PathBuf,
    /// Four hex digits that everything made carries.
    pub(super) id: String,
}

impl Theatre {
    /// Opens the real stage, or the simulated one when asked to.
    #[allow(clippy::print_stdout)] // it is a play in a terminal
    pub(super) async fn open(options: &Options) -> anyhow::Result<Self> {
        let mut random = [0u8; 2];
        getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("no random numbers: {e}"))?;
        let id = hex::encode(random);
        let folder = std::env::temp_dir().join(format!("sternway-demo-{id}"));
        std::fs::DirBuilder::new().mode(0o700).create(&folder).with_context(|| format!("{}", folder.display()))?;
        let project = folder.join("shop");
        std::fs::create_dir(&project)?;
        if options.simulated {
            println!("No Docker engine here: the story is played on a simulated one.");
            return Ok(Self {
                engine: Engine::Simulated(Simulated::open(&id, &project, options.previous)?),
                folder,
                id,
            });
        }
        let opened = Real::open(&id, &project, options).await;
        match opened {
            Ok(real) => Ok(Self { engine: Engine::Real(real), folder, id }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    /// The Compose project.
    pub(super) fn project(&self) -> String {
        format!("demo-{}", self.id)
    }

    /// What stands on this stage, in a line.
    pub(super) fn describe(&self) -> String {
        match &self.engine {
            Engine::Real(real) => real.describe(),
            Engine::Simulated(_) => "a simulated engine".to_owned(),
        }
    }

    /// Brings the shop up with the old version.
    pub(super) async fn bring_up(&self) -> anyhow::Result<()> {
        match &self.engine {
            Engine::Real(real) => real.bring_up().await,
            Engine::Simulated(sim) => sim.bring_up(),
        }
    }

    /// Deploys a version as the team does: the pin file, then compose.
    pub(super) async fn deploy(&self, version: Version) -> anyhow::Result<()> {
        set_pin(&self.folder.join("shop/.env"), &self.image(version))?;
        match &self.engine {
            Engine::Real(real) => real.deploy().await,
            Engine::Simulated(sim) => sim.deploy(&self.image(version)),
        }
    }

    /// Deletes the old version's image, against all protection.
    pub(super) async fn remove_old_image(&self) -> anyhow::Result<()> {
        match &self.engine {
            Engine::Real(real) => real.remove_image(&self.image(Version::Old)).await,
            Engine::Simulated(sim) => sim.remove_image(&self.image(Version::Old)),
        }
    }

    /// Reference of a version's image.
    pub(super) fn image(&self, version: Version) -> String {
        image(&self.id, "api", version.as_str())
    }

    /// URL that people use, through the front end; probed from outside.
    pub(super) fn outside(&self) -> Option<String> {
        match &self.engine {
            Engine::Real(real) => Some(format!("http://127.0.0.1:{}/api/health", real.web_port)),
            Engine::Simulated(_) => None,
        }
    }

    /// Port of the API on the host, where health is asked.
    fn api_port(&self) -> u16 {
        match &self.engine {
            Engine::Real(real) => real.api_port,
            Engine::Simulated(_) => super::simulated::API_PORT,
        }
    }

    fn web_port(&self) -> u16 {
        match &self.engine {
            Engine::Real(real) => real.web_port,
            Engine::Simulated(_) => super::simulated::WEB_PORT,
        }
    }

    /// The demo's own config.
    pub(super) fn config(&self) -> anyhow::Result<Config> {
        let text = format!(
            r#"
[sternway]
store = "{folder}/store"
agent = "{folder}/agent"
socket = "{folder}/sternway.sock"

[[person]]
id = "layla"
roles = ["on-call", "approver"]
accounts = {{ console = ["uid:{layla}"] }}

[[person]]
id = "omar"
roles = ["on-call", "approver"]
accounts = {{ console = ["uid:{omar}"] }}

[[stack]]
name = "shop"
project = "{project}"
dir = "{folder}/shop"

[stack.service.api]
health = {{ url = "http://127.0.0.1:{api}/api/health" }}
count = 5
interval = "300ms"
deadline = "20s"
grace = "2s"
pin = {{ file = ".env", key = "API_IMAGE" }}
proxies = [{{ service = "web", signal = "HUP" }}]

[stack.service.web]
health = {{ url = "http://127.0.0.1:{web}/" }}

# Even a rollback to a proven release wants a second person here.
[approvals."rollback image"]
waive = "never"
"#,
            folder = self.folder.display(),
            layla = LAYLA.1,
            omar = OMAR.1,
            project = self.project(),
            api = self.api_port(),
            web = self.web_port(),
        );
        let path = self.folder.join("sternway.toml");
        write_private(&path, &text)?;
        Config::load(&path).map_err(|problems| {
            anyhow::anyhow!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })
    }

    /// The agent on this stage's engine.
    pub(super) fn hosts(
        &self,
        config: &Config,
        clock: &Arc<dyn Clock>,
    ) -> anyhow::Result<std::collections::BTreeMap<HostName, Host>> {
        match &self.engine {
            Engine::Real(real) => {
                let engine = real.connect()?;
                engine.watch(config.stacks.iter().map(|s| s.project.clone()));
                hosts(config, Arc::new(engine), Arc::new(Probe::new().map_err(|e| anyhow::anyhow!(e))?), clock)
            }
            Engine::Simulated(sim) => hosts(config, Arc::clone(&sim.engine), sim.prober(), clock),
        }
    }

    /// Removes everything.
    pub(super) async fn remove(&self) -> anyhow::Result<()> {
        let removed = match &self.engine {
            Engine::Real(real) => real.remove().await,
            Engine::Simulated(_) => Ok(()),
        };
        std::fs::remove_dir_all(&self.folder).with_context(|| format!("{} is left", self.folder.display()))?;
        removed
    }
}

/// The person on call, and the number of their made-up account.
pub(super) const LAYLA: (&str, u32) = ("layla", 60_001);
/// The person who approves.
pub(super) const OMAR: (&str, u32) = ("omar", 60_002);

/// Reference of one of the demo's images.
pub(super) fn image(id: &str, role: &str, version: &str) -> String {
    format!("demo-{id}/{role}:{version}")
}

fn set_pin(path: &Path, image: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(path)?;
    let mut found = false;
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            if line.starts_with("API_IMAGE=") {
                found = true;
                format!("API_IMAGE={image}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    if !found {
        bail!("{} has no API_IMAGE", path.display());
    }
    std::fs::write(path, lines.join("\n") + "\n")?;
    Ok(())
}

/// Writes a file that nobody else can write.
pub(super) fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(text.as_bytes())?;
    Ok(())
}

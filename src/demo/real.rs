//! The stage on a real engine: images are built from the sample product's static program, the project is brought up by the
//! real compose. Programs are called with fixed arguments, never through a shell.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::Command;

use super::theatre::{image, write_private};
use super::{Options, Previous};
use crate::agent::docker::DockerEngine;
use crate::agent::engine::Engine as _;

/// Longest that one call of docker or compose may take.
const CALL_LIMIT: Duration = Duration::from_mins(2);

/// A project on a real engine.
pub(super) struct Real {
    id: String,
    project: PathBuf,
    docker: Option<String>,
    compose: Vec<&'static str>,
    version: String,
    pub(super) api_port: u16,
    pub(super) web_port: u16,
}

impl Real {
    pub(super) async fn open(id: &str, project: &Path, options: &Options) -> anyhow::Result<Self> {
        let compose = compose_command().await?;
        let mut real = Self {
            id: id.to_owned(),
            project: project.to_owned(),
            docker: options.docker.clone(),
            compose,
            version: String::new(),
            api_port: free_port()?,
            web_port: free_port()?,
        };
        let facts = real.connect()?.facts().await.context("no Docker engine answers (try --simulated)")?;
        real.version = facts.version;
        let missing = || format!("the sample product is not in {}; `make product` makes it", options.product.display());
        let product = options.product.canonicalize().with_context(missing)?;
        std::fs::copy(product.join("compose.yml"), project.join("compose.yml")).with_context(missing)?;
        let env = format!(
            "COMPOSE_PROJECT_NAME=demo-{id}\nSHOP_ID={id}\nAPI_IMAGE={}\nWEB_IMAGE={}\nDB_IMAGE={}\nAPI_PORT={}\nWEB_PORT={}\n",
            image(id, "api", "1.0"),
            image(id, "web", "1.0"),
            image(id, "db", "1.0"),
            real.api_port,
            real.web_port,
        );
        write_private(&project.join(".env"), &env)?;
        let old = if options.previous == Previous::Breaks { "breaks" } else { "good" };
        let built = async {
            for (role, version, behaviour) in
                [("db", "1.0", "good"), ("web", "1.0", "good"), ("api", "1.0", old), ("api", "1.1", "breaks")]
            {
                real.build(&product, role, version, behaviour).await?;
            }
            anyhow::Ok(())
        }
        .await;
        if let Err(error) = built {
            let _ = real.remove().await;
            return Err(error);
        }
        Ok(real)
    }

    pub(super) fn describe(&self) -> String {
        format!("Docker engine {}, {}", self.version, self.compose.join(" "))
    }

    pub(super) fn connect(&self) -> anyhow::Result<DockerEngine> {
        Ok(DockerEngine::connect(self.docker.as_deref())?)
    }

    async fn build(&self, product: &Path, role: &str, version: &str, behaviour: &str) -> anyhow::Result<()> {
        let arguments = [
            "build".to_owned(),
            "--quiet".to_owned(),
            "--build-arg".to_owned(),
            format!("ROLE={role}"),
            "--build-arg".to_owned(),
            format!("VERSION={version}"),
            "--build-arg".to_owned(),
            format!("BEHAVIOUR={behaviour}"),
            "--build-arg".to_owned(),
            format!("ID={}", self.id),
            "--tag".to_owned(),
            image(&self.id, role, version),
            product.display().to_string(),
        ];
        self.call("docker", &arguments).await.map(|_| ())
    }

    pub(super) async fn bring_up(&self) -> anyhow::Result<()> {
        self.compose(&["up", "-d"]).await
    }

    pub(super) async fn deploy(&self) -> anyhow::Result<()> {
        self.compose(&["up", "-d", "--no-deps", "api"]).await
    }

    pub(super) async fn remove_image(&self, reference: &str) -> anyhow::Result<()> {
        let id =
            self.call("docker", &["image", "inspect", "--format", "{{.Id}}", reference].map(str::to_owned)).await?;
        self.call("docker", &["rmi", "-f", id.trim()].map(str::to_owned)).await.map(|_| ())
    }

    async fn compose(&self, arguments: &[&str]) -> anyhow::Result<()> {
        let (program, first) = self.compose.split_first().context("no compose")?;
        let mut all: Vec<String> = first.iter().map(|s| (*s).to_owned()).collect();
        all.extend(arguments.iter().map(|s| (*s).to_owned()));
        self.call(program, &all).await.map(|_| ())
    }

    /// Removes containers, networks, volumes and images of this demo, and nothing else.
    pub(super) async fn remove(&self) -> anyhow::Result<()> {
        let mut troubles = Vec::new();
        if self.project.join("compose.yml").exists()
            && let Err(error) = self.compose(&["down", "--volumes", "--timeout", "1"]).await
        {
            troubles.push(format!("{error:#}"));
        }
        let label = format!("label=io.sternway.demo={}", self.id);
        // What keeps releases from pruning carries the image's label too. Images in two rounds: the builder's intermediate
        // ones go with the last image made from them in a graph driver, and stay in containerd's store.
        let containers = (vec!["ps", "-aq", "--no-trunc", "--filter", &label], vec!["rm", "-f"]);
        let images = (vec!["images", "-q", "--no-trunc", "--filter", &label], vec!["rmi", "-f"]);
        let intermediate = (vec!["images", "-aq", "--no-trunc", "--filter", &label], vec!["rmi", "-f"]);
        for (list, remove) in [containers, images, intermediate] {
            let listed = self.call("docker", &list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>()).await;
            let mut ids: Vec<String> = match listed {
                Ok(text) => text.lines().map(str::to_owned).collect(),
                Err(error) => {
                    troubles.push(format!("{error:#}"));
                    continue;
                }
            };
            ids.sort();
            ids.dedup();
            if ids.is_empty() {
                continue;
            }
            let arguments: Vec<String> = remove.iter().map(|s| (*s).to_owned()).chain(ids).collect();
            if let Err(error) = self.call("docker", &arguments).await {
                troubles.push(format!("{error:#}"));
            }
        }
        if troubles.is_empty() { Ok(()) } else { bail!("something of the demo is left: {}", troubles.join("; ")) }
    }

    /// Runs a program in the project's folder and gives what it printed.
    async fn call(&self, program: &str, arguments: &[String]) -> anyhow::Result<String> {
        let mut command = Command::new(program);
        command.args(arguments).current_dir(&self.project).kill_on_drop(true).stdin(std::process::Stdio::null());
        if let Some(host) = &self.docker {
            command.env("DOCKER_HOST", host);
        }
        let said = format!("{program} {}", arguments.join(" "));
        let output = tokio::time::timeout(CALL_LIMIT, command.output())
            .await
            .with_context(|| format!("{said}: no end within {} s", CALL_LIMIT.as_secs()))?
            .with_context(|| said.clone())?;
        if !output.status.success() {
            bail!("{said}: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}

/// Whichever compose is here.
async fn compose_command() -> anyhow::Result<Vec<&'static str>> {
    for candidate in [vec!["docker-compose"], vec!["docker", "compose"]] {
        let mut command = Command::new(candidate[0]);
        command.args(&candidate[1..]).arg("version").stdin(std::process::Stdio::null());
        if command.output().await.is_ok_and(|o| o.status.success()) {
            return Ok(candidate);
        }
    }
    bail!("neither docker-compose nor docker compose is here")
}

fn free_port() -> anyhow::Result<u16> {
    Ok(std::net::TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

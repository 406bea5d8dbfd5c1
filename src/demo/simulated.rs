//! The stage on the simulated engine: the same shop, living in memory.

use std::path::Path;
use std::sync::Arc;

use super::Previous;
use super::theatre::{Version, image, write_private};
use crate::agent::prove::Prober;
use crate::agent::sim::{Behaviour, ComposeService, SimEngine};
use crate::clock::SystemClock;
use crate::domain::plan::HealthCheck;

/// Ports of the simulated host.
pub(super) const API_PORT: u16 = 13_000;
pub(super) const WEB_PORT: u16 = 18_080;

/// A project in memory.
pub(super) struct Simulated {
    pub(super) engine: Arc<SimEngine>,
    id: String,
}

impl Simulated {
    pub(super) fn open(id: &str, project: &Path, previous: Previous) -> anyhow::Result<Self> {
        let engine = Arc::new(SimEngine::new(Arc::new(SystemClock)));
        let old = if previous == Previous::Breaks { Behaviour::HealthyFor(2_000) } else { Behaviour::Healthy };
        engine.image(&image(id, "db", "1.0"), Behaviour::Healthy);
        engine.image(&image(id, "web", "1.0"), Behaviour::Healthy);
        engine.image(&image(id, "api", "1.0"), old);
        engine.image(&image(id, "api", "1.1"), Behaviour::HealthyFor(2_000));
        write_private(&project.join(".env"), &format!("API_IMAGE={}\n", image(id, "api", "1.0")))?;
        Ok(Self { engine, id: id.to_owned() })
    }

    pub(super) fn bring_up(&self) -> anyhow::Result<()> {
        let project = format!("demo-{}", self.id);
        for (role, ports) in [("db", vec![]), ("api", vec![(API_PORT, 3000)]), ("web", vec![(WEB_PORT, 8080)])] {
            let reference = image(&self.id, role, Version::Old.as_str());
            self.engine.compose(&ComposeService::new(&project, role, &reference, &ports))?;
        }
        Ok(())
    }

    pub(super) fn deploy(&self, reference: &str) -> anyhow::Result<()> {
        self.engine.compose_redeploy(&format!("demo-{}", self.id), "api", reference)?;
        Ok(())
    }

    pub(super) fn remove_image(&self, reference: &str) -> anyhow::Result<()> {
        Ok(self.engine.remove_image(reference)?)
    }

    pub(super) fn prober(&self) -> Arc<dyn Prober> {
        Arc::new(SimProber(Arc::clone(&self.engine)))
    }
}

/// Asks the simulated host's ports.
pub(super) struct SimProber(Arc<SimEngine>);

#[async_trait::async_trait]
impl Prober for SimProber {
    async fn ask(&self, check: &HealthCheck) -> Result<(), String> {
        match check {
            HealthCheck::Http { url } => {
                let port = url.split(':').nth(2).and_then(|rest| rest.split('/').next()).and_then(|p| p.parse().ok());
                port.map_or_else(|| Err(format!("{url} names no port")), |port| self.0.ask(port))
            }
            HealthCheck::Tcp { port } => self.0.ask(*port),
            HealthCheck::Exec | HealthCheck::OwnPort { .. } | HealthCheck::Weak => {
                Err("nothing to ask from outside".to_owned())
            }
        }
    }
}

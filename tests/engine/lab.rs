//! The place where a case runs: an engine, and what a case needs around it, alike for both kinds.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sternway::agent::engine::Engine;
use sternway::agent::sim::{Behaviour, NewImage, SimEngine};
use sternway::clock::SystemClock;
use sternway::domain::names::ProjectName;
use tokio::sync::OnceCell;
use tokio::time::{Instant, interval};

use crate::real_engine::{RealEngine, TEST_LABEL, ask, free_port};

/// Longest wait for something that shall come true.
const PATIENCE: Duration = Duration::from_secs(20);

/// One engine and a test's own corner of it.
pub(crate) struct Lab {
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) project: ProjectName,
    id: String,
    kind: Kind,
    /// Where what is published lives. The engine's default bridge is not there on every engine (`--bridge none`), and is
    /// shared with others where it is.
    front: OnceCell<String>,
}

pub(crate) enum Kind {
    Sim(SimEngine),
    Real(RealEngine),
}

impl Lab {
    pub(crate) fn sim() -> Self {
        let sim = SimEngine::new(Arc::new(SystemClock));
        let project = ProjectName::parse("st-sim").unwrap();
        Self {
            engine: Arc::new(sim.clone()),
            project,
            id: "sim".to_owned(),
            kind: Kind::Sim(sim),
            front: OnceCell::new(),
        }
    }

    pub(crate) async fn real() -> Option<Self> {
        let real = RealEngine::find().await?;
        let (engine, project, id) = (real.engine(), real.project(), real.id().to_owned());
        Some(Self { engine, project, id, kind: Kind::Real(real), front: OnceCell::new() })
    }

    pub(crate) fn kind(&self) -> &Kind {
        &self.kind
    }

    /// Puts an image there, with these members of its `Config`.
    pub(crate) async fn image_with(&self, name: &str, behaviour: Behaviour, config: Value) -> String {
        match &self.kind {
            Kind::Real(real) => real.image(name, behaviour, &config).await,
            Kind::Sim(sim) => {
                let reference = format!("sternway-test-sim/{name}");
                sim.add_image(NewImage::new(&reference, behaviour).config(config));
                reference
            }
        }
    }

    pub(crate) async fn image(&self, name: &str, behaviour: Behaviour) -> String {
        self.image_with(name, behaviour, json!({})).await
    }

    pub(crate) async fn network(&self, name: &str) -> String {
        match &self.kind {
            Kind::Real(real) => real.network(name).await,
            Kind::Sim(sim) => {
                sim.network(name);
                name.to_owned()
            }
        }
    }

    /// A network whose addresses the test has chosen.
    pub(crate) async fn network_with_range(&self, name: &str) -> String {
        match &self.kind {
            Kind::Real(real) => real.network_with_range(name).await,
            Kind::Sim(_) => self.network(name).await,
        }
    }

    pub(crate) async fn remove_image(&self, reference: &str) {
        match &self.kind {
            Kind::Real(real) => real.remove_image(reference).await,
            Kind::Sim(sim) => sim.remove_image(reference).unwrap(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        free_port()
    }

    pub(crate) async fn ask(&self, port: u16) -> Result<(), String> {
        match &self.kind {
            Kind::Real(_) => ask(port).await,
            Kind::Sim(sim) => sim.ask(port),
        }
    }

    /// A name of this test's own.
    pub(crate) fn name(&self, name: &str) -> String {
        format!("st-{}-{name}", self.id)
    }

    /// Create's body for a container of this test's project.
    pub(crate) fn body(&self, image: &str) -> Value {
        json!({
            "Image": image,
            "Labels": {TEST_LABEL: self.id, "com.docker.compose.project": self.project.as_str()},
            "HostConfig": {}
        })
    }

    /// The same with a port published on 127.0.0.1.
    pub(crate) async fn publishing(&self, image: &str, port: u16) -> Value {
        let mut body = self.body(image);
        body["HostConfig"]["NetworkMode"] = json!(self.front.get_or_init(|| self.network("front")).await);
        body["ExposedPorts"] = json!({"8080/tcp": {}});
        body["HostConfig"]["PortBindings"] =
            json!({"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]});
        body
    }

    pub(crate) async fn create(&self, name: &str, body: &Value) -> String {
        self.engine.create(&self.name(name), body).await.unwrap_or_else(|e| panic!("create {name}: {e}"))
    }

    pub(crate) async fn inspect(&self, id: &str) -> Value {
        self.engine.inspect(id).await.expect("inspect").unwrap_or_else(|| panic!("{id} is gone"))
    }

    /// Waits until inspect shows this, and gives it.
    pub(crate) async fn until(&self, id: &str, what: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let until = Instant::now() + PATIENCE;
        let mut ticks = interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            let seen = self.inspect(id).await;
            if fits(&seen) {
                return seen;
            }
            assert!(Instant::now() < until, "not {what}: {} restarts {}", seen["State"], seen["RestartCount"]);
        }
    }

    pub(crate) async fn until_status(&self, id: &str, status: &str) -> Value {
        self.until(id, status, |seen| seen["State"]["Status"] == status).await
    }

    /// Waits until the published port is well.
    pub(crate) async fn until_well(&self, port: u16) {
        let until = Instant::now() + PATIENCE;
        let mut ticks = interval(Duration::from_millis(20));
        loop {
            ticks.tick().await;
            match self.ask(port).await {
                Ok(()) => return,
                Err(why) => assert!(Instant::now() < until, "port {port} is not well: {why}"),
            }
        }
    }
}

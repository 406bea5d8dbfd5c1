//! The event stream as hints, and its return after the engine was away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sternway::agent::docker::DockerEngine;
use sternway::agent::engine::Engine;
use sternway::agent::sim::Behaviour;
use sternway::domain::names::ProjectName;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::broadcast::Receiver;
use tokio::time::timeout;

use crate::engine_socket::engine_socket;
use crate::lab::{Kind, Lab};

on_both_engines! {
    whatever_moves_in_a_project_is_hinted_at,
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a hint at this project; hints at others (tests beside this one) pass by.
async fn hinted(hints: &mut Receiver<ProjectName>, project: &ProjectName, what: &str) {
    let wait = async { while hints.recv().await.expect("the stream goes on") != *project {} };
    timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("no hint at {project} after {what}"));
}

/// Takes what is there; a single act may give several hints, and late ones must not count for the next act.
async fn drain(hints: &mut Receiver<ProjectName>) {
    while timeout(Duration::from_millis(300), hints.recv()).await.is_ok() {}
}

async fn whatever_moves_in_a_project_is_hinted_at(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let mut hints = lab.engine.hints();
    // The first create comes before the subscription stands, at times: it must not be lost for that.
    if let Kind::Real(real) = lab.kind() {
        real.engine().watch([lab.project.clone()]);
        hinted(&mut hints, &lab.project, "watch").await;
    }
    drain(&mut hints).await;
    let id = lab.create("api", &lab.body(&image)).await;
    hinted(&mut hints, &lab.project, "create").await;
    drain(&mut hints).await;
    lab.engine.start(&id).await.unwrap();
    hinted(&mut hints, &lab.project, "start").await;
    drain(&mut hints).await;
    lab.engine.stop(&id, 1).await.unwrap();
    hinted(&mut hints, &lab.project, "stop").await;
    drain(&mut hints).await;
    lab.engine.remove(&id).await.unwrap();
    hinted(&mut hints, &lab.project, "remove").await;
}

/// A socket that passes everything on to the real one, and can be cut.
struct Relay {
    path: PathBuf,
    task: Option<tokio::task::JoinHandle<()>>,
}

impl Relay {
    fn open(path: &Path, engine: &Path) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).expect("a socket of our own");
        let engine = engine.to_owned();
        let task = tokio::spawn(async move {
            let mut pipes = tokio::task::JoinSet::new();
            while let Ok((mut near, _)) = listener.accept().await {
                let engine = engine.clone();
                pipes.spawn(async move {
                    let mut far = UnixStream::connect(engine).await.expect("the engine");
                    let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                });
            }
        });
        Self { path: path.to_owned(), task: Some(task) }
    }

    /// Every connection breaks and none is taken.
    async fn cut(&mut self) {
        let task = self.task.take().expect("cut once");
        task.abort();
        let _ = task.await;
        let _ = std::fs::remove_file(&self.path);
    }
}

#[tokio::test]
async fn real_a_returning_engine_is_noticed_and_every_known_project_hinted_at() {
    let Some(lab) = Lab::real().await else { return };
    let Some(socket) = engine_socket() else {
        eprintln!("SKIPPED: the engine is not behind a socket");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let host = format!("unix://{}", path.display());
    let engine = DockerEngine::connect(Some(&host)).unwrap();
    let mut hints = engine.hints();
    let watched = ProjectName::parse("st-watched-only").unwrap();
    engine.watch([watched.clone()]);
    assert!(engine.facts().await.is_err(), "nobody listens yet");

    let mut relay = Relay::open(&path, &socket);
    hinted(&mut hints, &watched, "the first connection").await;
    let image = lab.image("api:1", Behaviour::Healthy).await;
    lab.create("api", &lab.body(&image)).await;
    hinted(&mut hints, &lab.project, "create").await;

    relay.cut().await;
    drain(&mut hints).await;
    assert!(engine.facts().await.is_err(), "cut");
    let relay = Relay::open(&path, &socket);
    hinted(&mut hints, &watched, "the reconnect").await;
    drop(relay);
}

//! Raw bytes as what an engine's socket answers to every call that only looks, and to some that change.

use std::path::Path;
use std::time::Duration;

use sternway::agent::docker::DockerEngine;
use sternway::agent::engine::{Engine, EngineError};
use sternway::domain::names::ProjectName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixListener;

use super::{block_on, folder};

/// Longest time that the input itself may take for one call.
const LIMIT: Duration = Duration::from_secs(5);

pub fn feed(data: &[u8]) {
    let dir = folder();
    let socket = dir.path().join("engine.sock");
    block_on(async {
        let listener = UnixListener::bind(&socket).unwrap();
        tokio::select! {
            () = serve(&listener, data) => {}
            () = ask_all(&socket) => {}
        }
    });
}

async fn serve(listener: &UnixListener, data: &[u8]) {
    loop {
        let Ok((mut stream, _)) = listener.accept().await else { return };
        let _ = stream.read(&mut [0; 4096]).await;
        // A call has its own idea of how much of this it takes.
        let _ = tokio::time::timeout(LIMIT, stream.write_all(data)).await;
    }
}

async fn ask_all(socket: &Path) {
    let engine = DockerEngine::connect(Some(&format!("unix://{}", socket.display()))).unwrap();
    let shop = ProjectName::parse("shop").unwrap();
    let since = "2026-01-01T00:00:00Z".parse().unwrap();
    engine.watch([shop.clone()]);
    heard("facts", engine.facts().await);
    let _ = engine.free_bytes().await;
    for id in heard("project", engine.project_containers(&shop).await).into_iter().flatten().take(3) {
        // An id is the engine's word: it must lead to nothing but a container.
        heard("inspect", engine.inspect(&id).await);
    }
    heard("changes", engine.filesystem_changes("x").await);
    heard("image", engine.image("shop/api:1.0").await);
    heard("images", engine.images().await);
    heard("starts", engine.past_starts(&shop, since).await);
    heard("names", engine.past_names(since).await);
    heard("exec", engine.exec("x", &["/well".to_owned()], 20).await);
    heard("create", engine.create("x", &serde_json::json!({})).await);
    heard("file", engine.take_file("x", "/a").await);
    heard("start", engine.start("x").await);
    heard("stop", engine.stop("x", 0).await);
    heard("tag", engine.tag("x", "shop/api", "1.0").await);
    heard("distribution", engine.distribution("shop/api:1.0", None, LIMIT).await);
    let digest = format!("shop/api@sha256:{}", "a".repeat(64));
    heard("pull", engine.pull(&digest, None, &|_, _| {}).await);
}

/// The engine's own words are bounded; who shows them makes them visible.
fn heard<T>(call: &str, answer: Result<T, EngineError>) -> Option<T> {
    match answer {
        Ok(value) => Some(value),
        Err(why) => {
            let words = why.to_string();
            assert!(words.len() <= 32 * 1024, "{call}: {} bytes of error", words.len());
            None
        }
    }
}

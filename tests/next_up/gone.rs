//! A service whose container somebody has removed: what is made of it is what compose would have made, and the next `up`
//! finds nothing to do.

use serde_json::Value;
use sternway::agent::engine::Engine;
use sternway::domain::ids::{Position, ReleaseId};
use sternway::domain::release::Wanted;

use crate::composes::Compose;
use crate::forms::ENV;
use crate::verbs::up_changes_nothing;
use crate::world::World;

/// Compose 1 breaks half-way when it recreates on engines that speak this API and newer ones (`wreck.rs`).
const TOO_NEW_FOR_1: (u32, u32) = (1, 44);

/// Labels by which compose knows its container.
fn known_by(container: &Value) -> Vec<Value> {
    let label = |key: &str| container["Config"]["Labels"][format!("com.docker.compose.{key}")].clone();
    ["project", "service", "container-number", "config-hash", "oneoff", "version", "image", "depends_on"]
        .map(label)
        .into()
}

async fn whole_life(version: &str) {
    if version.starts_with("1.") && !crate::world::takes_compose_1(TOO_NEW_FOR_1).await {
        eprintln!("not on this engine: compose {version} breaks when it recreates here");
        return;
    }
    let Some(compose) = Compose::find(version) else { return };
    let Some(mut world) = World::new(&compose, &ENV).await else { return };
    world.deploy("1.0").await;
    let of_good = world.api().await;
    world.deploy("1.1").await;
    let of_bad = world.api().await;
    let env_of_bad = world.env();
    let (good, bad) = (world.version("1.0").await, world.version("1.1").await);
    let db = world.containers("db").await.remove(0)["Id"].clone();
    let engine = world.real.engine();
    let remove = async |container: &Value| {
        let id = container["Id"].as_str().unwrap();
        engine.stop(id, 0).await.unwrap();
        engine.remove(id).await.unwrap();
    };

    remove(&of_bad).await;
    let (done, warnings) = world.roll_back(Wanted::Previous).await;
    assert!(warnings.len() == 1 && warnings[0].starts_with("no container now: one is made"), "{warnings:?}");
    assert_eq!(world.running().await, good);
    let made = world.api().await;
    assert_eq!((known_by(&made), &made["Name"]), (known_by(&of_good), &of_good["Name"]));
    up_changes_nothing(&world, "after one was made").await;

    world.undo(done).await;
    assert!(world.containers("api").await.is_empty(), "undone means none again");
    assert_eq!(world.env(), env_of_bad, "byte for byte");

    // The very release that should be there is brought back.
    let (_, warnings) = world.roll_back(Wanted::Release(ReleaseId(Position(2)))).await;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(world.running().await, bad);
    assert_eq!(known_by(&world.api().await), known_by(&of_bad));
    up_changes_nothing(&world, "after it was brought back").await;
    assert_eq!(world.env(), env_of_bad);
    assert_eq!(world.containers("db").await.remove(0)["Id"], db, "nobody touched db");
    world.deploy("2.0").await;
    assert_eq!(world.running().await, world.version("2.0").await);
    world.run(&["down", "-t", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_1_29_finds_what_it_would_have_made_where_there_was_none() {
    whole_life("1.29").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_26_finds_what_it_would_have_made_where_there_was_none() {
    whole_life("2.26.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_40_finds_what_it_would_have_made_where_there_was_none() {
    whole_life("2.40.3").await;
}

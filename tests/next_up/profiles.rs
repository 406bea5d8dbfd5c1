//! A service behind a profile, brought up with `--profile`: rolled back, taken back, and left alone by the next `up` with
//! the profile as by the one without.

use sternway::domain::release::Wanted;

use crate::composes::Compose;
use crate::forms::{ENV, Form};
use crate::verbs::up_changes_nothing;
use crate::world::World;

const PROFILE: Form = Form {
    name: "profile",
    files: &[(
        "compose.yml",
        "services:
  api:
    image: ${API_IMAGE}
    profiles: [debug]
    ports: ['127.0.0.1:${API_PORT}:8080']
    environment: {MODE: today}
    restart: unless-stopped
DBBACK",
    )],
    arguments: &["--profile", "debug"],
    ..ENV
};

/// Compose 1 breaks half-way when it recreates on engines that speak this API and newer ones (`wreck.rs`).
const TOO_NEW_FOR_1: (u32, u32) = (1, 44);

/// With the profile by flag or variable, and without it.
async fn left_alone(world: &World, when: &str) {
    up_changes_nothing(world, when).await;
    let before = world.api().await;
    for (environment, words) in [(&[("COMPOSE_PROFILES", "debug")][..], "by variable"), (&[], "without the profile")] {
        world.run_bare(&["up", "-d"], environment).await;
        let after = world.api().await;
        for field in ["/Id", "/State/StartedAt", "/Name"] {
            let case = format!("compose {}: {when}, up {words}", world.compose.version);
            assert_eq!(after.pointer(field), before.pointer(field), "{case}");
        }
    }
}

async fn whole_life(version: &str) {
    if version.starts_with("1.") && !crate::world::takes_compose_1(TOO_NEW_FOR_1).await {
        eprintln!("not on this engine: compose {version} breaks when it recreates here");
        return;
    }
    let Some(compose) = Compose::find(version) else { return };
    let Some(mut world) = World::new(&compose, &PROFILE).await else { return };
    world.deploy("1.0").await;
    world.deploy("1.1").await;
    let (good, bad) = (world.version("1.0").await, world.version("1.1").await);
    let db = world.containers("db").await.remove(0)["Id"].clone();
    let (done, warnings) = world.roll_back(Wanted::Previous).await;
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(world.running().await, good);
    left_alone(&world, "after the rollback").await;
    world.undo(done).await;
    assert_eq!(world.running().await, bad);
    left_alone(&world, "after the undo").await;
    assert_eq!(world.containers("db").await.remove(0)["Id"], db, "nobody touched db");
    world.run(&["down", "-t", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_1_29_leaves_a_service_behind_a_profile_alone() {
    whole_life("1.29").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_26_leaves_a_service_behind_a_profile_alone() {
    whole_life("2.26.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_40_leaves_a_service_behind_a_profile_alone() {
    whole_life("2.40.3").await;
}

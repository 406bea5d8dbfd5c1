//! A service that others point at by id: `network_mode: service:api` and `volumes_from: api`. They move with it, there
//! and back, and the next `up` finds them where compose would have put them.

use serde_json::Value;
use sternway::domain::release::Wanted;

use crate::composes::Compose;
use crate::forms::{ENV, Form};
use crate::world::World;

const FOLLOWED: Form = Form {
    name: "followed",
    files: &[(
        "compose.yml",
        "services:
  api:
    image: ${API_IMAGE}
    ports: ['127.0.0.1:${API_PORT}:8080']
    volumes: ['/kept']
    restart: unless-stopped
  sidecar: {image: '{db}', network_mode: 'service:api', depends_on: [api], restart: unless-stopped}
  copier: {image: '{db}', volumes_from: [api], depends_on: [api]}
DBBACK",
    )],
    ..ENV
};

/// Compose 1 breaks half-way when it recreates on engines that speak this API and newer ones (`wreck.rs`).
pub(crate) const TOO_NEW_FOR_1: (u32, u32) = (1, 44);

async fn one(world: &World, service: &str) -> Value {
    let mut all = world.containers(service).await;
    assert_eq!(all.len(), 1, "containers of {service}");
    all.remove(0)
}

/// Where its process's network is; `None` where that cannot be seen from here.
fn network(container: &Value) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{}/ns/net", container["State"]["Pid"])).ok()
}

/// All run, and the two point at the API of today and live with it. Gives their ids.
async fn they_follow(world: &World, when: &str) -> [Value; 3] {
    let (api, sidecar, copier) = (one(world, "api").await, one(world, "sidecar").await, one(world, "copier").await);
    let id = api["Id"].as_str().unwrap();
    for container in [&api, &sidecar, &copier] {
        assert_eq!(container["State"]["Running"], true, "{when}: {}", container["Name"]);
        assert_eq!(container["Name"].as_str().unwrap().matches(['.', '~']).count(), 0, "{when}: {}", container["Name"]);
    }
    assert_eq!(sidecar["HostConfig"]["NetworkMode"], format!("container:{id}"), "{when}");
    assert_eq!(sidecar["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped", "{when}");
    let from = copier["HostConfig"]["VolumesFrom"][0].as_str().unwrap();
    assert!(from.starts_with(id), "{when}: {from}, not {id}");
    let volume = |c: &Value| {
        let mounts = c["Mounts"].as_array().unwrap();
        mounts.iter().find(|m| m["Destination"] == "/kept").map(|m| m["Name"].clone())
    };
    assert!(volume(&api).is_some() && volume(&api) == volume(&copier), "{when}: one volume in both");
    match (network(&api), network(&sidecar)) {
        (Some(of_api), Some(of_sidecar)) => assert_eq!(of_api, of_sidecar, "{when}: one network"),
        _ => eprintln!("NOT COMPARED: network namespaces cannot be seen from here"),
    }
    [api["Id"].clone(), sidecar["Id"].clone(), copier["Id"].clone()]
}

/// After compose's `up`: who was recreated.
async fn up(world: &World, before: &[Value; 3], when: &str) -> Vec<&'static str> {
    world.run(&["up", "-d"]).await;
    let after = they_follow(world, when).await;
    let names = ["api", "sidecar", "copier"].into_iter().zip(before.iter().zip(&after));
    names.filter(|(_, (before, after))| before != after).map(|(name, _)| name).collect()
}

async fn whole_life(version: &str, recreated: &[&str]) {
    if version.starts_with("1.") && !crate::world::takes_compose_1(TOO_NEW_FOR_1).await {
        eprintln!("not on this engine: compose {version} breaks when it recreates here");
        return;
    }
    let Some(compose) = Compose::find(version) else { return };
    let Some(mut world) = World::new(&compose, &FOLLOWED).await else { return };
    world.deploy("1.0").await;
    world.deploy("1.1").await;
    if version.starts_with("1.") {
        // Compose 1 leaves them with the container that it removed, unless it is told to make them again.
        world.run(&["up", "-d", "--no-deps", "--force-recreate", "sidecar", "copier"]).await;
    }
    let (good, bad) = (world.version("1.0").await, world.version("1.1").await);
    let of_compose = they_follow(&world, "compose's own").await;

    let (done, warnings) = world.roll_back(Wanted::Previous).await;
    assert_eq!(world.running().await, good);
    let ours = they_follow(&world, "after the rollback").await;
    assert!(ours.iter().zip(&of_compose).all(|(ours, theirs)| ours != theirs), "all three were made again");
    assert_eq!(up(&world, &ours, "after the next up").await, recreated);
    assert_eq!(warnings.iter().any(|w| w.contains("once more")), !recreated.is_empty(), "{warnings:?}");
    assert_eq!(world.running().await, good);

    world.undo(done).await;
    assert_eq!(world.running().await, bad);
    let back = they_follow(&world, "after the undo").await;
    assert_eq!(up(&world, &back, "after the undo and the next up").await, recreated);

    world.roll_back(Wanted::Previous).await;
    they_follow(&world, "after another rollback").await;
    assert_eq!(world.running().await, good);
    world.run(&["restart", "api"]).await;
    world.run(&["down", "-t", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_1_29_finds_those_that_follow_where_it_would_have_put_them() {
    whole_life("1.29", &[]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_26_finds_those_that_follow_where_it_would_have_put_them() {
    whole_life("2.26.1", &["sidecar", "copier"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_40_finds_those_that_follow_where_it_would_have_put_them() {
    whole_life("2.40.3", &["sidecar", "copier"]).await;
}

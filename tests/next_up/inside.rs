//! A service that others live inside by id: `pid: service:api` among its processes, `ipc: service:api` in its memory.
//! They move with it, there and back, and share what it has, by the kernel's word.

use serde_json::Value;
use sternway::domain::release::Wanted;

use crate::composes::Compose;
use crate::forms::{ENV, Form};
use crate::world::World;

const INSIDE: Form = Form {
    name: "inside",
    files: &[(
        "compose.yml",
        "services:
  api:
    image: ${API_IMAGE}
    ports: ['127.0.0.1:${API_PORT}:8080']
    ipc: shareable
    restart: unless-stopped
  watcher: {image: '{db}', pid: 'service:api', depends_on: [api]}
  mate: {image: '{db}', ipc: 'service:api', depends_on: [api], restart: unless-stopped}
DBBACK",
    )],
    ..ENV
};

async fn one(world: &World, service: &str) -> Value {
    let mut all = world.containers(service).await;
    assert_eq!(all.len(), 1, "containers of {service}");
    all.remove(0)
}

/// A namespace of its process; `None` where that cannot be seen from here.
fn namespace(container: &Value, kind: &str) -> Option<std::path::PathBuf> {
    std::fs::read_link(format!("/proc/{}/ns/{kind}", container["State"]["Pid"])).ok()
}

/// All run, and both point at the API of today and share with it. Gives their ids.
async fn they_share(world: &World, when: &str) -> [Value; 3] {
    let (api, watcher, mate) = (one(world, "api").await, one(world, "watcher").await, one(world, "mate").await);
    let points = format!("container:{}", api["Id"].as_str().unwrap());
    // The watcher dies with the API, among whose processes it lives: were it restarted, Compose's own `up` would at times
    // fail to stop it ("is not running").
    for (container, key, kind, policy) in
        [(&watcher, "PidMode", "pid", "no"), (&mate, "IpcMode", "ipc", "unless-stopped")]
    {
        assert_eq!(container["State"]["Running"], true, "{when}: {}", container["Name"]);
        assert_eq!(container["HostConfig"][key], points, "{when}: {}", container["Name"]);
        let restart = container["HostConfig"]["RestartPolicy"]["Name"].as_str().unwrap();
        assert_eq!(if restart.is_empty() { "no" } else { restart }, policy, "{when}: {}", container["Name"]);
        match (namespace(&api, kind), namespace(container, kind)) {
            (Some(of_api), Some(own)) => assert_eq!(of_api, own, "{when}: one {kind} namespace"),
            _ => eprintln!("NOT COMPARED: {kind} namespaces cannot be seen from here"),
        }
    }
    [api["Id"].clone(), watcher["Id"].clone(), mate["Id"].clone()]
}

async fn whole_life(version: &str, recreated: &[&str]) {
    if version.starts_with("1.") && !crate::world::takes_compose_1(crate::followed::TOO_NEW_FOR_1).await {
        eprintln!("not on this engine: compose {version} breaks when it recreates here");
        return;
    }
    let Some(compose) = Compose::find(version) else { return };
    let Some(mut world) = World::new(&compose, &INSIDE).await else { return };
    world.deploy("1.0").await;
    world.deploy("1.1").await;
    if version.starts_with("1.") {
        // Compose 1 leaves them with the container that it removed, unless it is told to make them again.
        world.run(&["up", "-d", "--no-deps", "--force-recreate", "watcher", "mate"]).await;
    }
    let (good, bad) = (world.version("1.0").await, world.version("1.1").await);
    let of_compose = they_share(&world, "compose's own").await;

    let (done, warnings) = world.roll_back(Wanted::Previous).await;
    assert_eq!(world.running().await, good);
    let ours = they_share(&world, "after the rollback").await;
    assert!(ours.iter().zip(&of_compose).all(|(ours, theirs)| ours != theirs), "all three were made again");
    assert_eq!(warnings.iter().any(|w| w.contains("once more")), !recreated.is_empty(), "{warnings:?}");
    world.run(&["up", "-d"]).await;
    let after = they_share(&world, "after the next up").await;
    let names = ["api", "watcher", "mate"].into_iter().zip(ours.iter().zip(&after));
    let again: Vec<&str> = names.filter(|(_, (before, after))| before != after).map(|(name, _)| name).collect();
    assert_eq!(again, recreated, "who the next up recreates");
    assert_eq!(world.running().await, good);

    world.undo(done).await;
    assert_eq!(world.running().await, bad);
    they_share(&world, "after the undo").await;
    world.run(&["down", "-t", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_1_29_finds_those_inside_where_it_would_have_put_them() {
    whole_life("1.29", &["mate"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_26_finds_those_inside_where_it_would_have_put_them() {
    whole_life("2.26.1", &["watcher", "mate"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_40_finds_those_inside_where_it_would_have_put_them() {
    whole_life("2.40.3", &["watcher", "mate"]).await;
}

//! A scaled service that publishes a range of ports: one at a time, each copy on a port of the range, there and back,
//! and the next `up` leaves all of them alone.

use serde_json::Value;
use sternway::domain::release::Wanted;

use crate::composes::Compose;
use crate::forms::{ENV, Form};
use crate::real_engine;
use crate::world::World;

const RANGE: Form = Form {
    name: "port range",
    files: &[(
        "compose.yml",
        "services:
  api:
    image: ${API_IMAGE}
    ports: ['127.0.0.1:${API_PORT}-${API_LAST}:8080']
    restart: unless-stopped
DBBACK",
    )],
    ..ENV
};

const UP: [&str; 4] = ["up", "-d", "--scale", "api=3"];

/// Ids of the three, which run that version and answer, each on a port of its own.
async fn three(world: &World, tag: &str, when: &str) -> Vec<String> {
    let wanted = world.version(tag).await;
    let (mut ids, mut ports) = (Vec::new(), Vec::new());
    for one in world.containers("api").await {
        assert_eq!(one["State"]["Running"], true, "{when}: {}", one["Name"]);
        assert_eq!(world.print(one["Image"].as_str().unwrap()).await, wanted, "{when}: {}", one["Name"]);
        let asked = &one["HostConfig"]["PortBindings"]["8080/tcp"][0]["HostPort"];
        assert!(asked.as_str().unwrap().contains('-'), "{when}: the range is kept: {asked}");
        let port = published(&one);
        real_engine::ask(port).await.unwrap_or_else(|why| panic!("{when}: {} at {port}: {why}", one["Name"]));
        ports.push(port);
        ids.push(one["Id"].as_str().unwrap().to_owned());
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!((ids.len(), ports.len()), (3, 3), "{when}: three copies on three ports: {ports:?}");
    ids.sort();
    ids
}

fn published(container: &Value) -> u16 {
    container["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"].as_str().unwrap().parse().unwrap()
}

async fn whole_life(version: &str) {
    let Some(compose) = Compose::find(version) else { return };
    let Some(mut world) = World::new(&compose, &RANGE).await else { return };
    for tag in ["1.0", "1.1"] {
        world.pin(tag);
        world.run(&UP).await;
        world.record().await;
    }
    let deployed = three(&world, "1.1", "compose's own").await;
    let (done, _) = world.roll_back(Wanted::Previous).await;
    let ours = three(&world, "1.0", "after the rollback").await;
    assert!(ours.iter().all(|id| !deployed.contains(id)), "all three are others");
    world.run(&UP).await;
    assert_eq!(three(&world, "1.0", "after the next up").await, ours, "it finds nothing to do");
    world.undo(done).await;
    let back = three(&world, "1.1", "after the undo").await;
    world.run(&UP).await;
    assert_eq!(three(&world, "1.1", "after the undo and the next up").await, back, "it finds nothing to do");
    world.run(&["down", "-t", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_copies_on_a_range_of_ports_under_compose_1_29() {
    if crate::world::takes_compose_1(crate::followed::TOO_NEW_FOR_1).await {
        whole_life("1.29").await;
    } else {
        eprintln!("not on this engine: compose 1.29 breaks when it recreates here");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_copies_on_a_range_of_ports_under_compose_2_26() {
    whole_life("2.26.1").await;
}

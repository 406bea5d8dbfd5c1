//! `depends_on … restart: true`: whoever holds on to the API is restarted by the plan itself, there and back, as Compose
//! does it; a stopped one stays stopped, and the next `up` leaves everybody alone.

use serde_json::Value;
use sternway::domain::release::Wanted;

use crate::composes::Compose;
use crate::forms::{ENV, Form};
use crate::world::World;

const RESTARTING: Form = Form {
    name: "restarting",
    files: &[(
        "compose.yml",
        "services:
  api:
    image: ${API_IMAGE}
    ports: ['127.0.0.1:${API_PORT}:8080']
    restart: unless-stopped
  worker: {image: '{db}', depends_on: {api: {condition: service_started, restart: true}}, restart: unless-stopped}
  mailer: {image: '{db}', depends_on: {worker: {condition: service_started, restart: true}}}
  idler: {image: '{db}', depends_on: {api: {condition: service_started, restart: true}}, profiles: [now-and-then]}
  plain: {image: '{db}', depends_on: [api]}
DBBACK",
    )],
    ..ENV
};

const ALL: [&str; 5] = ["api", "worker", "mailer", "idler", "plain"];

/// Id, start and whether it runs, of each.
async fn all(world: &World) -> [(Value, jiff::Timestamp, bool); 5] {
    let mut found = Vec::new();
    for service in ALL {
        let mut containers = world.containers(service).await;
        assert_eq!(containers.len(), 1, "containers of {service}");
        let one = containers.remove(0);
        let started = one["State"]["StartedAt"].as_str().unwrap().parse().unwrap();
        found.push((one["Id"].clone(), started, one["State"]["Running"] == true));
    }
    found.try_into().unwrap()
}

/// The API is another container, worker and mailer the same ones started after it in this order, the others untouched.
async fn restarted_since(world: &World, before: &[(Value, jiff::Timestamp, bool); 5], when: &str) {
    let now = all(world).await;
    assert_ne!(now[0].0, before[0].0, "{when}: the API is another container");
    let [api, worker, mailer, ..] = &now;
    assert!(worker.1 > api.1 && mailer.1 > worker.1, "{when}: in order: {now:?}");
    for (name, (now, before)) in ALL.iter().zip(now.iter().zip(before)).skip(1) {
        assert_eq!(now.0, before.0, "{when}: {name} is the very same container");
        assert_eq!(now.2, before.2, "{when}: {name} runs as before");
    }
    assert_eq!(now[3..], before[3..], "{when}: who is stopped, and who did not ask for it, is left alone");
}

async fn whole_life(version: &str) {
    let Some(compose) = Compose::find(version) else { return };
    let Some(mut world) = World::new(&compose, &RESTARTING).await else { return };
    world.deploy("1.0").await;
    world.run(&["--profile", "now-and-then", "up", "-d", "idler"]).await;
    world.run(&["--profile", "now-and-then", "stop", "-t", "1", "idler"]).await;
    world.deploy("1.1").await;
    let (good, bad) = (world.version("1.0").await, world.version("1.1").await);

    let deployed = all(&world).await;
    let (done, warnings) = world.roll_back(Wanted::Previous).await;
    assert_eq!(world.running().await, good);
    restarted_since(&world, &deployed, "after the rollback").await;
    assert!(!warnings.iter().any(|w| w.contains("restart")), "nothing is left to do by hand: {warnings:?}");
    let ours = all(&world).await;
    world.run(&["up", "-d"]).await;
    assert_eq!(all(&world).await, ours, "the next up finds nothing to do");

    world.undo(done).await;
    assert_eq!(world.running().await, bad);
    restarted_since(&world, &ours, "after the undo").await;
    world.run(&["down", "-t", "1"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_restarts_with_the_service_under_compose_2_26() {
    whole_life("2.26.1").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_restarts_with_the_service_under_compose_2_40() {
    whole_life("2.40.3").await;
}

//! A backend that is built on the host and has no name of its own, behind a proxy that knows its address: docker/awesome-compose,
//! nginx-golang-postgres.

use std::collections::BTreeMap;

use sternway::config::service::{Proxy, Service};
use sternway::domain::names::ServiceName;

use crate::world::{World, composes, pin, service};

const FILE: &str = include_str!("nginx-golang-postgres/compose.yaml");

/// Up with a good backend, and then a rebuilt one that answers 503; both on record.
async fn spoil(world: &mut World) {
    world.dockerfile("backend/Dockerfile", "good");
    world.run(&["up", "-d", "--build"]).await;
    world.answers(&outside(world), true).await;
    world.record("backend", true).await;
    world.dockerfile("backend/Dockerfile", "bad");
    world.run(&["up", "-d", "--build"]).await;
    world.run(&["kill", "-s", "HUP", "proxy"]).await;
    world.answers(&outside(world), false).await;
    world.record("backend", false).await;
}

/// The only door: what the proxy passes on.
fn outside(world: &World) -> String {
    format!("http://127.0.0.1:{}/api/", world.ports[0])
}

/// What the config has to say of it: who keeps its address.
fn behind_the_proxy() -> Service {
    let proxy = Proxy { service: ServiceName::parse("proxy").unwrap(), signal: Some("HUP".to_owned()) };
    Service { proxies: vec![proxy], ..service() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backend_that_was_rebuilt_goes_back_and_the_card_says_that_no_pin_can_hold_it() {
    for compose in composes().await {
        let files = [("compose.yaml", FILE), ("db/password.txt", "word\n"), ("proxy/nginx.conf", "# theirs\n")];
        let images = ["postgres:latest", "nginx:latest"];
        let Some(mut world) = World::new(&compose, "built", &files, &images).await else { return };
        world.image("postgres:latest", 5432, "good", "1").await;
        world.proxy("nginx:latest", "backend:8000").await;
        world.program("backend/program");
        spoil(&mut world).await;
        let (bad, before) = (world.container("backend").await, world.others("backend").await);
        let spoilt = world.running("backend").await;

        let (done, warnings) = world.roll_back("backend", &behind_the_proxy()).await;
        for wanted in ["no longer means this image", "no pin is configured: the next `up` may bring"] {
            assert!(warnings.iter().any(|w| w.contains(wanted)), "{wanted}: {warnings:?}");
        }
        world.answers(&outside(&world), true).await;
        let back = world.container("backend").await;
        for what in ["/Mounts", "/HostConfig/Binds", "/HostConfig/Mounts", "/Name"] {
            assert_eq!(back.pointer(what), bad.pointer(what), "the secret's file and all else: {what}");
        }
        let good = world.running("backend").await;
        assert_ne!(good, spoilt);

        world.undo(done).await.unwrap();
        assert_eq!(world.running("backend").await, spoilt);
        world.answers(&outside(&world), false).await;

        world.roll_back("backend", &behind_the_proxy()).await;
        assert_eq!(world.running("backend").await, good);
        assert_eq!(world.others("backend").await, before, "database and proxy were left alone");
        world.run(&["up", "-d"]).await;
        assert_eq!(world.running("backend").await, spoilt, "as the card said");
        the_others_are_as_compose_leaves_them(&world, &before).await;

        // With a name in a variable: one recreate, announced, and to the same image.
        let name = format!("{}:edge", world.real.reference("backend"));
        world.write("compose.yaml", &FILE.replace("target: builder}", "target: builder}\n    image: ${APP_IMAGE}"));
        world.write(".env", &format!("APP_IMAGE={name}\n"));
        spoil(&mut world).await;
        let before = world.others("backend").await;
        let pinned = Service { pin: Some(pin()), ..behind_the_proxy() };
        let (_, warnings) = world.roll_back("backend", &pinned).await;
        let told = warnings.iter().find(|w| w.contains("recreates backend once, to the same image"));
        assert_eq!(told.map(|w| w.contains("what depends on backend")), Some(takes_along(&world)), "{warnings:?}");
        world.answers(&outside(&world), true).await;
        world.run(&["up", "-d"]).await;
        assert_eq!(world.running("backend").await, good, "{}", world.read(".env"));
        the_others_are_as_compose_leaves_them(&world, &before).await;
        world.run(&["down", "-v"]).await;
    }
}

/// Whether this compose recreates what depends on a service that it recreates, whoever made that one.
fn takes_along(world: &World) -> bool {
    world.compose.version.starts_with("2.26")
}

/// After an `up` that recreated the backend.
async fn the_others_are_as_compose_leaves_them(world: &World, before: &BTreeMap<String, String>) {
    let after = world.others("backend").await;
    assert_eq!(after["db"], before["db"]);
    assert_eq!(after["proxy"] != before["proxy"], takes_along(world), "compose {}", world.compose.version);
}

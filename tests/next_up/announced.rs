//! Where one recreate is unavoidable, the card says so beforehand; it is one, and to the same image.

use sternway::agent::engine::Engine;
use sternway::domain::names::Fingerprint;
use sternway::domain::release::Wanted;

use crate::composes::Compose;
use crate::forms::{ENV, TAG};
use crate::world::{World, takes_compose_1};

/// The composes that work on this engine.
async fn composes() -> Vec<Compose> {
    let old = takes_compose_1((1, 44)).await;
    let wanted = if old { &["1.29", "2.26.1"][..] } else { &["2.26.1"] };
    wanted.iter().filter_map(|v| Compose::find(v)).collect()
}

/// The next `up` recreates it, to this image, and the one after that leaves it alone.
async fn once(world: &World, warnings: &[String], reason: &str, image: &Fingerprint) {
    let told: Vec<&String> = warnings.iter().filter(|w| w.contains("recreates api once, to the same image")).collect();
    assert!(told.len() == 1 && told[0].contains(reason), "announced, because {reason}: {warnings:?}");
    let before = world.api().await["Id"].clone();
    world.run(&["up", "-d"]).await;
    let after = world.api().await["Id"].clone();
    assert_ne!(after, before, "compose {}: what was announced ({reason}) came", world.compose.version);
    assert_eq!(&world.running().await, image, "the same image");
    world.run(&["up", "-d"]).await;
    assert_eq!(world.api().await["Id"], after, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_changed_since_cost_one_recreate() {
    for compose in composes().await {
        let Some(mut world) = World::new(&compose, &ENV).await else { return };
        world.deploy("1.0").await;
        world.write("compose.yml", &ENV.files[0].1.replace("MODE: today", "MODE: tomorrow"));
        world.deploy("1.1").await;
        let (_, warnings) = world.roll_back(Wanted::Previous).await;
        let good = world.version("1.0").await;
        once(&world, &warnings, "settings have changed", &good).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_that_moved_costs_one_recreate_and_is_never_followed() {
    for compose in composes().await {
        let Some(mut world) = World::new(&compose, &ENV).await else { return };
        world.deploy("1.0").await;
        let good = world.version("1.0").await;
        world.deploy("1.1").await;
        world.real.engine().tag(&world.real.reference("api:2.0"), &world.real.reference("api"), "1.0").await.unwrap();
        let (_, warnings) = world.roll_back(Wanted::Previous).await;
        assert!(warnings.iter().any(|w| w.contains("no longer means this image")), "{warnings:?}");
        once(&world, &warnings, "otherwise than before", &good).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_never_ran_costs_one_recreate() {
    for compose in composes().await {
        let Some(mut world) = World::new(&compose, &ENV).await else { return };
        world.deploy("1.1").await;
        world.forget();
        let (_, warnings) = world.roll_back(Wanted::Tag("1.0".to_owned())).await;
        let good = world.version("1.0").await;
        once(&world, &warnings, "not on record", &good).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_brought_up_without_its_dependencies_costs_one_recreate_where_compose_counts_them() {
    let Some(compose) = Compose::find("2.26.1") else { return };
    let Some(mut world) = World::new(&compose, &ENV).await else { return };
    world.pin("1.0");
    world.run(&["up", "-d", "--no-deps", "api"]).await;
    world.record().await;
    world.deploy("1.1").await;
    let (_, warnings) = world.roll_back(Wanted::Previous).await;
    let good = world.version("1.0").await;
    once(&world, &warnings, "--no-deps", &good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_compose_than_then_costs_one_recreate() {
    let Ok([old, new]) = <[Compose; 2]>::try_from(composes().await) else {
        eprintln!("not on this engine: only one compose works here");
        return;
    };
    let Some(mut world) = World::new(&old, &ENV).await else { return };
    world.deploy("1.0").await;
    world.compose = new;
    world.deploy("1.1").await;
    let (_, warnings) = world.roll_back(Wanted::Previous).await;
    let good = world.version("1.0").await;
    once(&world, &warnings, "compose was 1.29.2 then and is 2.26.1", &good).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_pin_the_card_says_that_the_next_up_brings_the_bad_one_back_and_so_it_does() {
    for compose in composes().await {
        let Some(mut world) = World::new(&compose, &ENV).await else { return };
        world.deploy("1.0").await;
        world.deploy("1.1").await;
        world.pinned = false;
        let (_, warnings) = world.roll_back(Wanted::Previous).await;
        assert!(warnings.iter().any(|w| w.contains("no pin is configured")), "{warnings:?}");
        world.run(&["up", "-d"]).await;
        assert_eq!(world.running().await, world.version("1.1").await);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_that_holds_only_a_tag_is_refused_when_the_tag_has_moved() {
    for compose in composes().await {
        let Some(mut world) = World::new(&compose, &TAG).await else { return };
        world.deploy("1.0").await;
        world.deploy("1.1").await;
        let (before, env) = (world.api().await["Id"].clone(), world.env());
        world.real.engine().tag(&world.real.reference("api:2.0"), &world.real.reference("api"), "1.0").await.unwrap();
        let refused = world.plan(Wanted::Previous).await.expect_err("there is no right value");
        assert!(refused.message.contains("holds only a tag"), "{refused:?}");
        assert_eq!((world.api().await["Id"].clone(), world.env()), (before, env));
    }
}

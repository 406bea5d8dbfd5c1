//! What the conformance suite cannot show: time under a manual clock, compose, engine restarts, full disks.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::agent::engine::Engine;
use crate::clock::ManualClock;

fn world() -> (Arc<ManualClock>, SimEngine) {
    let clock = Arc::new(ManualClock::at(Timestamp::UNIX_EPOCH));
    let sim = SimEngine::new(clock.clone());
    for (tag, behaviour) in [
        ("1.0", Behaviour::Healthy),
        ("1.1", Behaviour::Exits(1)),
        ("slow", Behaviour::HealthyAfter(2000)),
        ("fading", Behaviour::HealthyFor(2000)),
        ("deaf", Behaviour::IgnoresSigterm),
    ] {
        sim.image(&format!("shop/api:{tag}"), behaviour);
    }
    (clock, sim)
}

async fn seen(sim: &SimEngine, name: &str) -> Value {
    sim.inspect(name).await.unwrap().unwrap_or_else(|| panic!("no {name} among {:?}", sim.names()))
}

async fn status(sim: &SimEngine, name: &str) -> Value {
    seen(sim, name).await["State"]["Status"].clone()
}

#[tokio::test]
async fn health_follows_the_clock() {
    let (clock, sim) = world();
    sim.compose_up("shop", "slow", "shop/api:slow", &[(8001, 8080)]).unwrap();
    sim.compose_up("shop", "fading", "shop/api:fading", &[(8002, 8080)]).unwrap();
    assert_eq!((sim.answers(8001), sim.answers(8002)), (false, true));
    clock.advance(Duration::from_secs(2));
    assert_eq!((sim.answers(8001), sim.answers(8002)), (true, false));
    assert_eq!(sim.ask(9999), Err("connection refused".to_owned()));
}

#[tokio::test]
async fn a_stop_that_is_ignored_lasts_the_grace_even_if_its_caller_died() {
    let (clock, sim) = world();
    let id = sim.compose_up("shop", "api", "shop/api:deaf", &[(8001, 8080)]).unwrap();
    {
        let mut stop = sim.stop(&id, 10);
        assert!(futures_util::poll!(&mut stop).is_pending());
    }
    clock.advance(Duration::from_secs(9));
    assert!(sim.answers(8001), "it serves while it is asked to stop");
    clock.advance(Duration::from_secs(1));
    assert_eq!(status(&sim, &id).await, "exited");
    assert_eq!(seen(&sim, &id).await["State"]["ExitCode"], 137);
}

#[tokio::test]
async fn up_leaves_alone_what_is_the_same_and_recreates_what_is_not() {
    for (generation, name) in [(Generation::V2, "shop-api-1"), (Generation::V1, "shop_api_1")] {
        let (_clock, sim) = world();
        let service =
            ComposeService { generation, ..ComposeService::new("shop", "api", "shop/api:1.0", &[(8001, 8080)]) };
        let first = sim.compose(&service).unwrap();
        assert_eq!(sim.compose(&service).unwrap(), first, "{generation:?}");
        let labels = seen(&sim, name).await["Config"]["Labels"].clone();
        for key in ["project", "service", "config-hash", "container-number", "oneoff", "project.working_dir", "version"]
        {
            assert!(labels[format!("com.docker.compose.{key}")].is_string(), "{generation:?} {key}: {labels}");
        }
        assert_eq!(labels["com.docker.compose.image"].is_string(), generation == Generation::V2);

        sim.image("shop/api:1.0", Behaviour::Unhealthy);
        let second = sim.compose(&service).unwrap();
        assert_ne!(second, first, "{generation:?}: the tag moved");
        assert_eq!(sim.names(), [name], "{generation:?}: nothing is left over");
        assert_eq!(sim.behind(8001), Some(second));
    }
}

#[tokio::test]
async fn a_foreign_deploy_is_hinted_at_and_keeps_the_service_as_it_was() {
    let (_clock, sim) = world();
    let mut hints = sim.hints();
    sim.compose_up("shop", "api", "shop/api:1.0", &[(8001, 8080)]).unwrap();
    assert_eq!(hints.try_recv().unwrap().as_str(), "shop");
    sim.compose_redeploy("shop", "api", "shop/api:slow").unwrap();
    assert_eq!(hints.try_recv().unwrap().as_str(), "shop");
    let now = seen(&sim, "shop-api-1").await;
    assert_eq!(now["Config"]["Image"], "shop/api:slow");
    assert_eq!(now["Config"]["Labels"]["com.docker.compose.replace"], "api-1");
    assert!(sim.compose_redeploy("shop", "none", "shop/api:slow").is_err());
}

#[tokio::test]
async fn policies_decide_who_returns_with_the_engine() {
    for (end, unless_stopped) in [(EngineEnd::Orderly, "running"), (EngineEnd::Killed, "exited")] {
        let (_clock, sim) = world();
        for policy in ["no", "always", "unless-stopped", "on-failure"] {
            let restart = policy.to_owned();
            sim.compose(&ComposeService { restart, ..ComposeService::new("shop", policy, "shop/api:1.0", &[]) })
                .unwrap();
        }
        sim.compose(&ComposeService {
            restart: "always".to_owned(),
            ..ComposeService::new("shop", "stopped", "shop/api:1.0", &[])
        })
        .unwrap();
        sim.stop("shop-stopped-1", 1).await.unwrap();
        sim.restart_engine(end);
        for (service, expected) in [
            ("no", "exited"),
            ("always", "running"),
            ("unless-stopped", unless_stopped),
            ("on-failure", "exited"),
            ("stopped", "running"),
        ] {
            assert_eq!(status(&sim, &format!("shop-{service}-1")).await, expected, "{service} after {end:?}");
        }
    }
}

#[tokio::test]
async fn a_full_disk_lets_stop_and_nothing_that_writes() {
    let (_clock, sim) = world();
    let id = sim.compose_up("shop", "api", "shop/api:1.0", &[(8001, 8080)]).unwrap();
    sim.set_disk_full(true);
    assert_eq!(sim.free_bytes().await, Some(0));
    assert_eq!(sim.stop(&id, 1).await, Ok(()));
    for refused in [
        sim.start(&id).await,
        sim.rename(&id, "other").await,
        sim.set_restart(&id, &json!({"Name": "no"})).await,
        sim.create("new", &json!({"Image": "shop/api:1.0"})).await.map(drop),
    ] {
        assert!(matches!(refused, Err(EngineError::Refused { status: 500, .. })), "{refused:?}");
    }
    sim.set_disk_full(false);
    assert_eq!(sim.start(&id).await, Ok(()));
}

#[tokio::test]
async fn an_engine_that_is_away_does_nothing_and_hints_when_it_returns() {
    let (_clock, sim) = world();
    sim.compose_up("shop", "api", "shop/api:1.0", &[]).unwrap();
    let mut hints = sim.hints();
    sim.set_reachable(false);
    assert!(matches!(sim.stop("shop-api-1", 1).await, Err(EngineError::Unreachable(_))));
    assert_eq!(sim.free_bytes().await, None);
    assert!(hints.try_recv().is_err());
    sim.set_reachable(true);
    assert_eq!(hints.try_recv().unwrap().as_str(), "shop");
    assert_eq!(status(&sim, "shop-api-1").await, "running");
}

#[tokio::test]
async fn pruning_spares_what_a_container_was_made_from() {
    let (_clock, sim) = world();
    let id = sim.compose_up("shop", "api", "shop/api:1.0", &[]).unwrap();
    sim.create("pin", &json!({"Image": "shop/api:slow"})).await.unwrap();
    assert_eq!(sim.prune_images().len(), 3);
    for kept in ["shop/api:1.0", "shop/api:slow"] {
        assert!(Engine::image(&sim, kept).await.unwrap().is_some(), "{kept}");
    }
    assert_eq!(sim.prune_containers().len(), 1);
    assert_eq!(sim.prune_images().len(), 1);
    assert_eq!(status(&sim, &id).await, "running");
}

#[tokio::test]
async fn an_image_for_another_platform_dies_at_once() {
    let (_clock, sim) = world();
    sim.add_image(NewImage { arch: "arm64".to_owned(), ..NewImage::new("shop/api:arm", Behaviour::Healthy) });
    let id = sim.create("arm", &json!({"Image": "shop/api:arm"})).await.unwrap();
    assert_eq!(sim.start(&id).await, Ok(()));
    assert_eq!((status(&sim, &id).await, &seen(&sim, &id).await["State"]["ExitCode"]), (json!("exited"), &json!(1)));
}

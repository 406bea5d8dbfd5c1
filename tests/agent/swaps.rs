//! A swap from order to end, when nothing crashes.

use std::sync::Arc;

use serde_json::json;
use sternway::agent::engine::EngineError;
use sternway::agent::fault::{FaultyEngine, Verdict, When};
use sternway::agent::sim::Behaviour;
use sternway::agent::{Act, ActError, Inspect, Observed};
use sternway::domain::plan::{HealthCheck, HealthRule, StepAction, StepOutput};

use crate::world::{World, act, effect, no_spec, so, swapping, why};

on_both_engines!(
    a_good_target_is_swapped_in_and_a_repeated_order_has_no_effect,
    a_target_that_exits_at_once_is_put_back_at_once,
    a_target_that_starts_but_is_ill_is_put_back,
    an_old_container_that_ignores_sigterm_is_stopped_after_its_grace,
    a_port_that_somebody_took_in_between_is_put_back,
    an_undo_brings_back_the_recorded_container,
    an_undo_of_a_swap_that_failed_has_no_effect,
    another_container_than_the_planned_one_is_refused,
    an_undo_does_not_undo_what_somebody_deployed_since,
    a_late_message_is_refused_and_its_duplicate_only_looks,
    health_is_asked_and_proven,
    a_paused_container_is_swapped_like_any_other_and_runs_when_it_has_to_come_back,
    one_of_several_is_swapped_and_the_others_are_left_alone,
);

async fn a_paused_container_is_swapped_like_any_other_and_runs_when_it_has_to_come_back(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let bad = world.image("0", Behaviour::Exits(1)).await;
    let agent = world.agent();
    for (target, runs) in [(&bad, &old), (&new, &new)] {
        let deployed = world.deploy(&old).await;
        world.pause(&deployed.id).await;
        let swap = world.swap(&agent, target).await;
        let ended = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
        assert_eq!(ended.is_ok(), runs == &new, "{ended:?}");
        world.settled("after it was paused", runs).await;
    }
}

async fn one_of_several_is_swapped_and_the_others_are_left_alone(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    // Another copy, under a number that need not follow, and on a port of its own.
    let label = json!({"com.docker.compose.container-number": "7"});
    let other = world.create_unpublished(&format!("{}-api-7", world.project), &old, label).await;
    world.engine().start(&other).await.unwrap();
    let agent = world.agent();
    let mut swap = world.swap(&agent, &new).await;
    let unnumbered = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
    assert!(why(unnumbered).contains("has 2 containers now, not one"));
    swap.number = Some(1);
    swap.health.check = HealthCheck::OwnPort { inside: "8080/tcp".to_owned(), path: None };
    let claim = world.claim();
    assert!(effect(&act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap()));
    world.settled("one of two", &new).await;
    assert_eq!(world.engine().inspect(&other).await.unwrap().unwrap()["Image"], old.image.as_str());
    let prove = StepAction::ProveHealth {
        service: world.service.clone(),
        fingerprint: new.fingerprint.clone(),
        health: world.rule(),
    };
    let mixed = act(&agent, &world.order(claim, 2, prove)).await;
    let told = why(mixed);
    assert!(told.contains("api-7 runs ") && told.contains(", not "), "all of them have to run it: {told}");
}

async fn a_good_target_is_swapped_in_and_a_repeated_order_has_no_effect(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let deployed = world.deploy(&old).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    let claim = world.claim();
    let done = act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap();
    assert!(effect(&done), "{done:?}");
    let StepOutput::Swapped { proof, started_ms, .. } = &done else { panic!("{done:?}") };
    assert_eq!(proof.answers, 2);
    assert!(!proof.weak && started_ms.is_some(), "{done:?}");
    let one = world.settled("after the swap", &new).await;
    assert_ne!(one["Id"], deployed.id.as_str());
    assert_eq!(one["Id"], proof.container.as_str());
    assert_eq!(one["Config"]["Labels"]["team"], "shop");
    let env = one["Config"]["Env"].as_array().unwrap();
    assert!(env.iter().any(|e| e == "MODE=today"), "{env:?}");

    let again = act(&agent, &world.order(claim, 2, swapping(&swap))).await.unwrap();
    assert!(!effect(&again), "{again:?}");
    let observed = agent.observe(&world.order(claim, 3, swapping(&swap))).await.unwrap();
    let Observed::So(output) = &observed else { panic!("{observed:?}") };
    assert!(effect(output), "this run did it: {output:?}");
    assert_eq!(world.settled("after the repetition", &new).await["Id"], one["Id"]);
    let facts = world.facts(&agent).await;
    assert_eq!((facts[0].forged.len(), facts[0].unfinished), (0, None));
    assert_eq!(facts[0].spec.mac, swap.spec.mac, "the settings are the same, only the image is another");
    assert!(agent.has_spec(&facts[0].spec).await);
}

async fn a_target_that_exits_at_once_is_put_back_at_once(world: &World) {
    let (old, bad) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Exits(3)).await);
    let deployed = world.deploy(&old).await;
    let agent = world.agent();
    let mut swap = world.swap(&agent, &bad).await;
    swap.health.deadline_s = 600; // it must not be waited for
    let claim = world.claim();
    let why = why(act(&agent, &world.order(claim, 1, swapping(&swap))).await);
    assert!(why.contains("code 3") && why.contains("verified"), "{why}");
    assert_eq!(world.settled("put back", &old).await["Id"], deployed.id.as_str());
    assert!(!so(&agent.observe(&world.order(claim, 2, swapping(&swap))).await.unwrap()));
}

async fn a_target_that_starts_but_is_ill_is_put_back(world: &World) {
    let (old, bad) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Unhealthy).await);
    let deployed = world.deploy(&old).await;
    let agent = world.agent();
    let mut swap = world.swap(&agent, &bad).await;
    swap.health.deadline_s = 1;
    let why = why(act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await);
    assert!(why.contains("503") && why.contains("verified"), "{why}");
    assert_eq!(world.settled("put back", &old).await["Id"], deployed.id.as_str());
}

async fn an_old_container_that_ignores_sigterm_is_stopped_after_its_grace(world: &World) {
    let old = world.image("2", Behaviour::IgnoresSigterm).await;
    let new = world.image("1", Behaviour::Healthy).await;
    world.deploy(&old).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    assert!(effect(&act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await.unwrap()));
    world.settled("after its grace", &new).await;
}

async fn a_port_that_somebody_took_in_between_is_put_back(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let deployed = world.deploy(&old).await;
    // The first start of a swap is that of the new container.
    let first_start = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let engine = Arc::new(FaultyEngine::new(world.engine(), move |point| {
        let taken = point.name == "start" && point.when == When::Before;
        if taken && first_start.swap(false, std::sync::atomic::Ordering::SeqCst) {
            Verdict::Refuse(EngineError::Refused { status: 500, message: "port is already allocated".to_owned() })
        } else {
            Verdict::Go
        }
    }));
    let agent = world.agent_on(engine);
    let swap = world.swap(&agent, &new).await;
    let why = why(act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await);
    assert!(why.contains("port is already allocated") && why.contains("verified"), "{why}");
    assert_eq!(world.settled("put back", &old).await["Id"], deployed.id.as_str());
}

async fn an_undo_brings_back_the_recorded_container(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let before = {
        let deployed = world.deploy_with(&old, &["MODE=today", "PASSWORD=of-the-day"]).await;
        world.engine().inspect(&deployed.id).await.unwrap().unwrap()
    };
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    let claim = world.claim();
    act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap();
    let undo = world.undo(&swap);
    assert!(effect(&act(&agent, &world.order(claim, 2, swapping(&undo))).await.unwrap()));
    let after = world.settled("undone", &old).await;
    assert_eq!(after["Config"]["Env"], before["Config"]["Env"]);
    for key in ["config-hash", "image", "depends_on", "container-number"] {
        let key = format!("com.docker.compose.{key}");
        assert_eq!(after["Config"]["Labels"][&key], before["Config"]["Labels"][&key], "{key}");
    }
    assert!(so(&agent.observe(&world.order(claim, 3, swapping(&undo))).await.unwrap()));
    assert_eq!(world.facts(&agent).await[0].spec.mac, swap.spec.mac);
}

async fn an_undo_of_a_swap_that_failed_has_no_effect(world: &World) {
    // The old one is ill, as it may be when people want it gone; the target is worse.
    let (old, bad) = (world.image("2", Behaviour::Unhealthy).await, world.image("1", Behaviour::Exits(1)).await);
    let deployed = world.deploy(&old).await;
    let agent = world.agent();
    let mut swap = world.swap(&agent, &bad).await;
    swap.health.deadline_s = 1;
    let claim = world.claim();
    let why = why(act(&agent, &world.order(claim, 1, swapping(&swap))).await);
    assert!(why.contains("could not be verified"), "{why}");
    let undone = act(&agent, &world.order(claim, 2, swapping(&world.undo(&swap)))).await.unwrap();
    assert!(!effect(&undone), "{undone:?}");
    let StepOutput::Swapped { proof, .. } = undone else { panic!("a swap's output") };
    assert_eq!(proof.answers, 0, "nothing was proven, and the proof says so");
    assert_eq!(world.settled("as before", &old).await["Id"], deployed.id.as_str());
}

async fn another_container_than_the_planned_one_is_refused(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    let agent = world.agent();
    let planned = world.swap(&agent, &new).await;
    let deployed = world.deploy(&old).await;
    let refused = act(&agent, &world.order(world.claim(), 1, swapping(&planned))).await;
    let Err(ActError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("another container"), "{why}");
    assert_eq!(world.settled("untouched", &old).await["Id"], deployed.id.as_str());

    // Another password, the container's own id not in the plan: still not what was approved.
    let mut swap = world.swap(&agent, &new).await;
    world.deploy_with(&old, &["MODE=other"]).await;
    swap.replaces = None;
    let refused = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
    let Err(ActError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("settings"), "{why}");
    swap.settings = sternway::domain::plan::Settings::Recorded;
    swap.spec = no_spec();
    let refused = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
    let Err(ActError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("recorded settings"), "{why}");
    world.settled("untouched again", &old).await;
}

async fn an_undo_does_not_undo_what_somebody_deployed_since(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let theirs = world.image("3", Behaviour::Healthy).await;
    world.deploy(&old).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    let claim = world.claim();
    act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap();
    let deployed = world.deploy(&theirs).await;
    let refused = act(&agent, &world.order(claim, 2, swapping(&world.undo(&swap)))).await;
    let Err(ActError::Refused(why)) = refused else { panic!("{refused:?}") };
    assert!(why.contains("somebody deployed"), "{why}");
    assert_eq!(world.settled("theirs", &theirs).await["Id"], deployed.id.as_str());
}

async fn a_late_message_is_refused_and_its_duplicate_only_looks(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    let claim = world.claim();
    let undo = world.undo(&swap);
    let late = world.order(claim, 1, swapping(&swap));
    assert!(!so(&agent.observe(&world.order(claim, 2, swapping(&swap))).await.unwrap()));
    assert!(matches!(act(&agent, &late).await, Err(ActError::Stale(_))));
    world.settled("the door was closed by looking", &old).await;

    let order = world.order(claim, 3, swapping(&swap));
    assert!(effect(&act(&agent, &order).await.unwrap()));
    assert!(!effect(&act(&agent, &order).await.unwrap()), "the same message twice");
    // Somebody deploys; the duplicate that arrives now must not undo it.
    let deployed = world.deploy(&old).await;
    assert!(matches!(act(&agent, &order).await, Err(ActError::Refused(_))));
    assert_eq!(world.settled("the duplicate", &old).await["Id"], deployed.id.as_str());
    let other = world.order(claim, 3, swapping(&undo));
    assert!(matches!(act(&agent, &other).await, Err(ActError::Stale(_))), "another message, the same token");
}

async fn health_is_asked_and_proven(world: &World) {
    let old = world.image("2", Behaviour::Healthy).await;
    world.deploy(&old).await;
    let agent = world.agent();
    assert_eq!(agent.ask_health(&world.project, &world.service, &world.rule()).await.unwrap(), Ok(()));
    let prove = |health: HealthRule, fingerprint| StepAction::ProveHealth {
        service: world.service.clone(),
        fingerprint,
        health,
    };
    let claim = world.claim();
    let proven = act(&agent, &world.order(claim, 1, prove(world.rule(), old.fingerprint.clone()))).await.unwrap();
    assert!(matches!(&proven, StepOutput::Proven { proof } if proof.answers == 2), "{proven:?}");
    let weak = HealthRule { check: HealthCheck::Weak, ..world.rule() };
    let proven = act(&agent, &world.order(claim, 2, prove(weak, old.fingerprint.clone()))).await.unwrap();
    assert!(matches!(&proven, StepOutput::Proven { proof } if proof.weak), "{proven:?}");
    let other = sternway::domain::names::Fingerprint::parse(&"a".repeat(64)).unwrap();
    let why = why(act(&agent, &world.order(claim, 3, prove(world.rule(), other))).await);
    assert!(why.contains("aaaaaaaaaaaa"), "{why}");
    let dump = StepAction::DumpDatabase { service: world.service.clone() };
    let refused = act(&agent, &world.order(claim, 4, dump)).await;
    assert!(matches!(&refused, Err(ActError::Refused(why)) if why.contains("cannot")), "{refused:?}");
}

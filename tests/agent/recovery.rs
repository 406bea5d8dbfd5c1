//! What an agent meets when it comes back: foreign hands, forged labels, dropped orders, full disks.

use std::sync::Arc;

use serde_json::json;
use sternway::agent::fault::{FaultyEngine, Verdict, When};
use sternway::agent::sim::Behaviour;
use sternway::agent::{Act, ActError};
use sternway::domain::plan::ImageChoice;

use crate::world::{Agent, World, act, effect, so, swapping, why};

on_both_engines!(
    a_forged_label_is_told_and_decides_nothing,
    an_old_container_removed_by_somebody_is_told_and_nothing_is_touched,
    an_order_whose_caller_went_away_is_ended_by_the_next_look,
);

/// The index of the first call of this name in a swap.
async fn index_of(world: &World, old: &ImageChoice, new: &ImageChoice, name: &str) -> u64 {
    world.deploy(old).await;
    let engine = Arc::new(FaultyEngine::counting(world.engine()));
    let agent = world.agent_on(Arc::clone(&engine));
    let swap = world.swap(&agent, new).await;
    act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await.unwrap();
    engine.names().iter().position(|n| *n == name).unwrap() as u64
}

/// Killed right after the old one was stopped.
async fn killed_after_stop(world: &World, old: &ImageChoice, new: &ImageChoice) -> (u64, sternway::domain::plan::Swap) {
    let index = index_of(world, old, new, "stop").await;
    world.deploy(old).await;
    let engine = world.failing(index, When::After, Verdict::Hang);
    let agent = world.agent_on(Arc::clone(&engine));
    let swap = world.swap(&agent, new).await;
    let claim = world.claim();
    let order = world.order(claim, 1, swapping(&swap));
    tokio::select! {
        ended = act(&agent, &order) => panic!("it ended with {ended:?}"),
        _ = engine.hung() => {}
    }
    (claim, swap)
}

async fn a_forged_label_is_told_and_decides_nothing(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let deployed = world.deploy(&old).await;
    let forged = json!({
        "com.docker.compose.service": "other",
        "io.sternway.op": "abc", "io.sternway.run": "r1", "io.sternway.replaces": deployed.id,
        "io.sternway.name": world.container_name(), "io.sternway.restart": "{\"Name\":\"no\"}",
        "io.sternway.policy": "{\"Name\":\"no\"}", "io.sternway.order": "stop-first",
        "io.sternway.mac": "0".repeat(64),
    });
    let name = format!("{}.next-abc", world.container_name());
    let forger = world.create(&name, &new, &[], forged).await;
    let agent = world.agent();
    let stack = world.stack(&agent).await;
    let other = stack.services.iter().find(|(name, _)| name.as_str() == "other").unwrap().1;
    assert!(other.containers[0].forged.contains(&"io.sternway.op".to_owned()), "{other:?}");
    let swap = world.swap(&agent, &new).await;
    assert!(!so(&agent.observe(&world.order(world.claim(), 1, swapping(&swap))).await.unwrap()));
    assert!(effect(&act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await.unwrap()));
    let there = world.engine().inspect(&forger).await.unwrap();
    assert_eq!(there.expect("a label is no reason to remove it")["State"]["Status"], "created");
    world.engine().remove(&forger).await.unwrap();
    world.settled("beside a forger", &new).await;
}

async fn an_old_container_removed_by_somebody_is_told_and_nothing_is_touched(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let (claim, swap) = killed_after_stop(world, &old, &new).await;
    world.engine().remove(swap.replaces.as_ref().unwrap()).await.unwrap();
    let agent = world.agent();
    let told = why(agent.observe(&world.order(claim, 2, swapping(&swap))).await.map(|_| unreachable!()));
    assert!(told.contains("foreign hand") && told.contains("gone") && told.contains(".next-"), "{told}");
    let facts = world.facts(&agent).await;
    assert_eq!(facts.len(), 1);
    assert!(facts[0].unfinished.is_some() && !facts[0].obstacles.is_empty(), "{facts:?}");
    // A person follows the sentence: one container, run as the service.
    world.engine().rename(&facts[0].id, &world.container_name()).await.unwrap();
    assert!(so(&agent.observe(&world.order(claim, 3, swapping(&swap))).await.unwrap()));
    world.settled("put right by hand", &new).await;
}

async fn an_order_whose_caller_went_away_is_ended_by_the_next_look(world: &World) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::HealthyAfter(300)).await);
    world.deploy(&old).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    let claim = world.claim();
    let (progress, mut heard) = tokio::sync::mpsc::channel(64);
    let order = world.order(claim, 1, swapping(&swap));
    tokio::select! {
        ended = agent.act(&order, progress) => panic!("it was to be dropped, not to end with {ended:?}"),
        () = async { while heard.recv().await.is_some_and(|words| !words.contains("asking")) {} } => {}
    }
    assert!(so(&agent.observe(&world.order(claim, 2, swapping(&swap))).await.unwrap()));
    world.settled("the next look", &new).await;
}

#[tokio::test]
async fn a_full_disk_in_the_middle_leaves_it_open_and_the_next_order_ends_it() {
    let world = World::sim().await;
    let sim = world.sim.clone().unwrap();
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    let full = sim.clone();
    let engine = Arc::new(FaultyEngine::new(world.engine(), move |point| {
        if point.name == "stop" && point.when == When::After {
            full.set_disk_full(true);
        }
        Verdict::Go
    }));
    let agent: Agent = world.agent_on(engine);
    let swap = world.swap(&agent, &new).await;
    let claim = world.claim();
    let told = why(act(&agent, &world.order(claim, 1, swapping(&swap))).await);
    assert!(told.contains("stays open") && told.contains("/runs retry"), "{told}");
    sim.set_disk_full(false);
    let undone = act(&agent, &world.order(claim, 2, swapping(&world.undo(&swap)))).await.unwrap();
    assert!(!effect(&undone), "settling it was enough: {undone:?}");
    world.settled("after the disk was freed", &old).await;
}

#[tokio::test]
async fn too_little_room_is_refused_before_anything_is_touched() {
    let world = World::sim().await;
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let deployed = world.deploy(&old).await;
    world.sim.as_ref().unwrap().set_free_bytes(Some(1_000_000));
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    let refused = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
    assert!(matches!(&refused, Err(ActError::Refused(why)) if why.contains("1 MB")), "{refused:?}");
    assert_eq!(world.settled("untouched", &old).await["Id"], deployed.id.as_str());
}

#[tokio::test]
async fn a_damaged_note_of_an_open_swap_stops_everything_and_names_the_file() {
    let world = World::sim().await;
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let (claim, swap) = killed_after_stop(&world, &old, &new).await;
    let note = world.agent_folder().join("operations").join("shop~api.json");
    std::fs::write(&note, b"{\"op\": \"half").unwrap();
    let agent = world.agent();
    let order = world.order(claim, 2, swapping(&swap));
    let Err(ActError::Refused(told)) = agent.observe(&order).await else { panic!("it must not be guessed") };
    assert!(told.contains("operations/shop~api.json") && told.contains("move it aside"), "{told}");
    // A person does so: the labels are the second witness.
    std::fs::remove_file(&note).unwrap();
    agent.observe(&world.order(claim, 3, swapping(&swap))).await.unwrap();
    world.settled("by its labels", &new).await;
}

#[tokio::test]
async fn an_engine_that_comes_back_within_patience_is_waited_for() {
    let world = World::sim().await;
    let sim = world.sim.clone().unwrap();
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    let away = sim.clone();
    let engine = Arc::new(FaultyEngine::new(world.engine(), move |point| {
        if point.name == "stop" && point.when == When::After {
            away.set_reachable(false);
        }
        Verdict::Go
    }));
    let agent = world.agent_on(engine);
    let swap = world.swap(&agent, &new).await;
    let claim = world.claim();
    let lost = act(&agent, &world.order(claim, 1, swapping(&swap))).await;
    assert!(matches!(lost, Err(ActError::Unknown(_))), "{lost:?}");
    sim.set_reachable(true);
    assert!(so(&agent.observe(&world.order(claim, 2, swapping(&swap))).await.unwrap()));
    world.settled("after the engine came back", &new).await;
}

#[tokio::test]
async fn settings_seen_in_the_middle_of_a_swap_are_those_of_its_end() {
    let world = World::sim().await;
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let (claim, swap) = killed_after_stop(&world, &old, &new).await;
    let agent = world.agent();
    let facts = world.facts(&agent).await;
    assert_eq!(facts.len(), 2, "{facts:?}");
    for one in &facts {
        assert_eq!(one.spec.mac, swap.spec.mac, "{} has the policy `no` for now only", one.name);
        assert!(one.obstacles.iter().any(|o| o.contains("is open")), "{:?}", one.obstacles);
    }
    let unfinished: Vec<_> = facts.iter().filter(|f| f.unfinished.is_some()).map(|f| f.name.as_str()).collect();
    assert_eq!(unfinished.len(), 1);
    assert!(unfinished[0].contains(".next-"), "{unfinished:?}");
    assert!(so(&agent.observe(&world.order(claim, 2, swapping(&swap))).await.unwrap()));
}

#[tokio::test]
async fn a_deploy_by_somebody_in_the_middle_of_a_swap_is_told_and_not_touched() {
    let world = World::sim().await;
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let (claim, swap) = killed_after_stop(&world, &old, &new).await;
    let engine = world.engine();
    let (first, name) = (swap.replaces.clone().unwrap(), world.container_name());
    engine.rename(&first, "elsewhere").await.unwrap();
    let theirs = world.create(&name, &old, &[], json!({})).await;
    let agent = world.agent();
    let told = why(agent.observe(&world.order(claim, 2, swapping(&swap))).await.map(|_| unreachable!()));
    assert!(told.contains("another container"), "{told}");
    assert_eq!(engine.project_containers(&world.project).await.unwrap().len(), 3);
    // They clean up after themselves: nothing of the swap is left, so nothing is open.
    let left = engine.project_containers(&world.project).await.unwrap();
    for id in left.iter().filter(|id| **id != theirs) {
        engine.remove(id).await.unwrap();
    }
    engine.start(&theirs).await.unwrap();
    assert!(!so(&agent.observe(&world.order(claim, 3, swapping(&swap))).await.unwrap()));
    assert_eq!(std::fs::read_dir(world.agent_folder().join("operations")).unwrap().count(), 0);
}

#[tokio::test]
async fn a_container_that_restarts_again_and_again_is_rolled_back_like_any_other() {
    let world = World::sim().await;
    let (old, new) = (world.image("2", Behaviour::Exits(1)).await, world.image("1", Behaviour::Healthy).await);
    world.deploy(&old).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &new).await;
    assert!(effect(&act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await.unwrap()));
    world.settled("after a crash loop", &new).await;
}

#[tokio::test]
async fn no_secret_of_a_container_is_in_what_the_agent_tells() {
    let world = World::sim().await;
    let (old, bad) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Exits(1)).await);
    world.deploy_with(&old, &["PASSWORD=canary-7421"]).await;
    let agent = world.agent();
    let swap = world.swap(&agent, &bad).await;
    let claim = world.claim();
    let failed = act(&agent, &world.order(claim, 1, swapping(&swap))).await;
    let observed = agent.observe(&world.order(claim, 2, swapping(&swap))).await;
    let told = format!("{failed:?} {observed:?} {:?} {swap:?}", world.stack(&agent).await);
    assert!(!told.contains("canary-7421"), "{told}");
    let specs = std::fs::read_dir(world.agent_folder().join("specs")).unwrap();
    let kept = specs.map(|f| std::fs::read_to_string(f.unwrap().path()).unwrap()).collect::<String>();
    assert!(kept.contains("canary-7421"), "only the agent's own folder has it");
}

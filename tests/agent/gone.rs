//! A service whose container somebody has removed: it is made anew from what was recorded, or there is none again.
//! Nobody else's container is ever touched, whoever comes in between.

use std::sync::Arc;

use serde_json::{Value, json};
use sternway::agent::engine::{Engine, EngineError};
use sternway::agent::fault::{FaultyEngine, Verdict, When};
use sternway::agent::sim::{Behaviour, EngineEnd};
use sternway::agent::{Act, ActError, ContainerState, Inspect, Observed, Order};
use sternway::domain::plan::{ImageChoice, Settings, StepAction, Swap};

use crate::world::{Agent, Shape, World, act, effect, so, swapping, why};

on_both_engines!(
    it_is_made_from_what_was_recorded,
    killed_at_every_call_of_making_one,
    killed_at_every_call_of_making_one_that_is_not_well,
    killed_at_every_call_of_taking_it_away_again,
    whoever_has_its_name_keeps_it,
    whoever_has_its_port_keeps_it,
    one_that_is_back_with_another_image_is_left_alone,
    one_that_is_back_with_the_wanted_image_is_not_taken_away,
    one_that_was_never_started_is_swapped_and_on_the_way_back_stays_so,
);

/// The service ran this image, and its container is removed.
async fn removed(world: &World, image: &ImageChoice) {
    world.deploy(image).await;
    world.stack(&world.agent()).await;
    world.clear().await;
}

/// The swap that a planner makes of what should be there.
async fn planned(world: &World, agent: &Agent, from: &ImageChoice, to: &ImageChoice) -> Swap {
    let mut facts = agent.as_recorded(&world.project, &world.service).await.unwrap();
    let found = facts.services.remove(&world.service).map(|s| s.containers).unwrap_or_default();
    let one = found.into_iter().find(|c| world.shape.number.is_none_or(|n| n == c.number));
    let one = one.expect("it is on record");
    assert_eq!((one.state, one.obstacles.as_slice()), (ContainerState::Missing, &[] as &[String]));
    let mut health = world.rule();
    health.interval_ms = 10;
    Swap {
        service: world.service.clone(),
        replaces: None,
        from: from.clone(),
        to: to.clone(),
        settings: Settings::Today,
        spec: one.spec.clone(),
        target_spec: Some(one.spec),
        health,
        grace_s: 1,
        number: world.shape.number,
        start_first: None,
        follows: None,
        missing: true,
    }
}

fn taking_away(world: &World) -> StepAction {
    StepAction::RemoveMade { service: world.service.clone(), number: world.shape.number, grace_s: 1 }
}

async fn there(world: &World) -> Vec<Value> {
    let mut found = Vec::new();
    for id in world.engine().project_containers(&world.project).await.unwrap() {
        found.push(world.engine().inspect(&id).await.unwrap().unwrap());
    }
    found
}

fn none_open(world: &World, case: &str) {
    let open = std::fs::read_dir(world.agent_folder().join("operations")).unwrap().count();
    assert_eq!(open, 0, "{case}: an operation is still open");
}

/// Whether the new one stands, whole; else there must be none.
async fn made(world: &World, case: &str, new: &ImageChoice) -> bool {
    if there(world).await.is_empty() {
        none_open(world, case);
        return false;
    }
    world.settled(case, new).await;
    true
}

async fn it_is_made_from_what_was_recorded(world: &World) {
    let (ran, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    world.deploy_with(&ran, &["MODE=today", "PASSWORD=rotated"]).await;
    let agent = world.agent();
    world.stack(&agent).await;
    let before = there(world).await.remove(0);
    world.clear().await;
    for target in [&to, &ran] {
        let swap = planned(world, &agent, &ran, target).await;
        let claim = world.claim();
        let output = act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap();
        assert!(effect(&output));
        let after = world.settled("made", target).await;
        let env = after["Config"]["Env"].as_array().unwrap();
        assert!(env.contains(&json!("PASSWORD=rotated")), "{env:?}");
        for label in ["container-number", "config-hash", "service", "project", "depends_on", "version"] {
            let label = format!("com.docker.compose.{label}");
            assert_eq!(after["Config"]["Labels"][&label], before["Config"]["Labels"][&label], "{label}");
        }
        assert_eq!(after["HostConfig"]["PortBindings"], before["HostConfig"]["PortBindings"]);
        let again = act(&agent, &world.order(claim, 2, swapping(&swap))).await.unwrap();
        assert!(!effect(&again), "said twice is said once");
        // Another run's undo is not about this one.
        let other = world.order(world.claim(), 1, taking_away(world));
        act(&agent, &other).await.unwrap();
        world.settled("another run takes nothing away", target).await;
        let order = world.order(claim + 10_000, 3, taking_away(world));
        let order = Order { run: world.order(claim, 1, taking_away(world)).run, ..order };
        act(&agent, &order).await.unwrap();
        assert!(there(world).await.is_empty(), "undone means none again");
        none_open(world, "taken away");
        world.claims_from(claim + 20_000);
    }
}

/// The order is begun, and the agent killed where its engine hangs.
async fn killed(agent: Agent, engine: &Arc<FaultyEngine<dyn Engine>>, order: &Order) {
    tokio::select! {
        ended = act(&agent, order) => panic!("it ended with {ended:?}"),
        _ = engine.hung() => {}
    }
}

/// What else happens between the kill and the next agent.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    LedgerLost,
    EngineKilled,
}

impl Then {
    fn happens(self, world: &World) {
        match (self, &world.sim) {
            (Self::Nothing, _) => {}
            (Self::LedgerLost, _) => world.forget("operations"),
            (Self::EngineKilled, Some(sim)) => sim.restart_engine(EngineEnd::Killed),
            (Self::EngineKilled, None) => unreachable!("only a simulated engine is killed"),
        }
    }
}

async fn killed_at_every_call_of_making_one(world: &World) {
    let ends = kill_everywhere(world, Behaviour::Healthy, Then::Nothing).await;
    assert!(ends.0 > 0 && ends.1 > 0, "some end with none, some with the new one: {ends:?}");
}

async fn killed_at_every_call_of_making_one_that_is_not_well(world: &World) {
    let ends = kill_everywhere(world, Behaviour::Exits(1), Then::Nothing).await;
    assert_eq!(ends.1, 0, "{ends:?}");
}

#[tokio::test]
async fn killed_at_every_call_whatever_else_happens() {
    for number in [None, Some(5)] {
        for target in [Behaviour::Healthy, Behaviour::Exits(1), Behaviour::Unhealthy] {
            for then in [Then::Nothing, Then::LedgerLost, Then::EngineKilled] {
                let world = World::sim().await.of(Shape { number, ..Shape::default() });
                kill_everywhere(&world, target, then).await;
            }
        }
    }
}

/// Names of the changing calls when nothing goes wrong.
async fn calls(world: &World, ran: &ImageChoice, to: &ImageChoice) -> Vec<&'static str> {
    removed(world, ran).await;
    let engine = Arc::new(FaultyEngine::counting(world.engine()));
    let agent = world.agent_on(Arc::clone(&engine));
    let swap = planned(world, &agent, ran, to).await;
    let _ = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
    engine.names()
}

/// Gives how many ended with none and how many with the new one.
async fn kill_everywhere(world: &World, target: Behaviour, then: Then) -> (u32, u32) {
    let (ran, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", target).await);
    let calls = calls(world, &ran, &to).await;
    assert!(calls.len() >= 3, "{calls:?}");
    let mut ends = (0, 0);
    for index in 0..calls.len() as u64 {
        for when in [When::Before, When::After] {
            let case = format!("killed {when:?} call {index} ({}) to {target:?}", calls[index as usize]);
            removed(world, &ran).await;
            let (swap, claim) = (planned(world, &world.agent(), &ran, &to).await, world.claim());
            let engine = world.failing(index, when, Verdict::Hang);
            let agent = world.agent_on(Arc::clone(&engine));
            killed(agent, &engine, &world.order(claim, 1, swapping(&swap))).await;
            then.happens(world);
            let agent = world.agent();
            let observed = agent.observe(&world.order(claim, 2, swapping(&swap))).await;
            let observed = observed.unwrap_or_else(|e| panic!("{case}: {e}"));
            let new = made(world, &case, &to).await;
            assert_eq!(so(&observed), new, "{case}: {observed:?}");
            if new {
                ends.1 += 1
            } else {
                ends.0 += 1
            }
            // And back, from whatever it came to.
            act(&agent, &world.order(claim, 3, taking_away(world))).await.unwrap_or_else(|e| panic!("{case}: {e}"));
            assert!(there(world).await.is_empty(), "{case}: undone means none again");
        }
    }
    println!("{} changing calls of making one of {target:?}: {ends:?}", calls.len());
    ends
}

async fn killed_at_every_call_of_taking_it_away_again(world: &World) {
    let (ran, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let thens = if world.sim.is_some() {
        vec![Then::Nothing, Then::LedgerLost, Then::EngineKilled]
    } else {
        vec![Then::Nothing]
    };
    for (index, when, then) in thens
        .into_iter()
        .flat_map(|then| (0..2).flat_map(move |i| [When::Before, When::After].map(|when| (i, when, then))))
    {
        let case = format!("taking it away, killed {when:?} call {index}");
        removed(world, &ran).await;
        let (swap, claim) = (planned(world, &world.agent(), &ran, &to).await, world.claim());
        act(&world.agent(), &world.order(claim, 1, swapping(&swap))).await.unwrap();
        let engine = world.failing(index, when, Verdict::Hang);
        let agent = world.agent_on(Arc::clone(&engine));
        killed(agent, &engine, &world.order(claim, 2, taking_away(world))).await;
        then.happens(world);
        let agent = world.agent();
        let observed = agent.observe(&world.order(claim, 3, taking_away(world))).await.unwrap();
        if let Observed::NotSo(why) = &observed {
            assert!(then == Then::LedgerLost, "{case}: only without its ledger it has to be told once more: {why}");
            act(&agent, &world.order(claim, 4, taking_away(world))).await.unwrap();
        }
        assert!(there(world).await.is_empty(), "{case}");
        none_open(world, &case);
    }
}

/// The agent lives on: what it says of the end must be what is there.
#[tokio::test]
async fn a_refusal_or_a_lost_answer_at_every_call() {
    for (target, refuse) in [Behaviour::Healthy, Behaviour::Exits(1)].into_iter().flat_map(|t| [(t, false), (t, true)])
    {
        let world = World::sim().await;
        let (ran, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", target).await);
        let calls = calls(&world, &ran, &to).await;
        for index in 0..calls.len() as u64 {
            let verdict = if refuse {
                Verdict::Refuse(EngineError::Refused { status: 500, message: "no space left on device".to_owned() })
            } else {
                Verdict::LoseAnswer
            };
            let case = format!("{verdict:?} at call {index} ({}) to {target:?}", calls[index as usize]);
            removed(&world, &ran).await;
            let (swap, claim) = (planned(&world, &world.agent(), &ran, &to).await, world.claim());
            let agent = world.agent_on(world.failing(index, When::Before, verdict));
            let ended = act(&agent, &world.order(claim, 1, swapping(&swap))).await;
            if matches!(ended, Err(ActError::Unknown(_))) {
                agent.observe(&world.order(claim, 2, swapping(&swap))).await.unwrap();
            }
            let new = made(&world, &case, &to).await;
            match &ended {
                Ok(_) => assert!(new, "{case}"),
                Err(ActError::Failed(why)) => {
                    assert!(!new, "{case}: {why}");
                    assert!(why.contains("api has none again, as before"), "{case}: {why}");
                }
                Err(ActError::Refused(_)) => assert!(!new, "{case}: {ended:?}"),
                Err(ActError::Stale(_) | ActError::Unknown(_)) => {}
            }
        }
    }
}

/// A container that is none of the service's, with whatever makes it be in the way.
async fn foreign(world: &World, name: &str, image: &ImageChoice, port: bool) -> String {
    let labels = json!({"com.docker.compose.service": "other", "com.docker.compose.container-number": "9"});
    let id = match port {
        true => world.create(name, image, &[], labels).await,
        false => world.create_unpublished(name, image, labels).await,
    };
    world.engine().start(&id).await.unwrap();
    id
}

async fn stands(world: &World, id: &str, name: &str) {
    let one = world.engine().inspect(id).await.unwrap().expect("it was removed");
    assert_eq!(one["Name"], format!("/{name}"));
    assert_eq!(one["State"]["Status"], "running");
}

async fn whoever_has_its_name_keeps_it(world: &World) {
    let (ran, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let name = world.container_name();
    // There before the order.
    removed(world, &ran).await;
    let agent = world.agent();
    let swap = planned(world, &agent, &ran, &to).await;
    let other = foreign(world, &name, &to, false).await;
    let told = why(act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await);
    assert!(told.contains(&format!("a container with the name {name} is there, and is none of api")), "{told}");
    stands(world, &other, &name).await;
    drop(agent);
    // There since the new one was started: the agent was killed before it could give it its name.
    removed(world, &ran).await;
    let engine = world.failing(2, When::After, Verdict::Hang);
    let agent = world.agent_on(Arc::clone(&engine));
    let (swap, claim) = (planned(world, &agent, &ran, &to).await, world.claim());
    killed(agent, &engine, &world.order(claim, 1, swapping(&swap))).await;
    let other = foreign(world, &name, &to, false).await;
    let observed = world.agent().observe(&world.order(claim, 2, swapping(&swap))).await.unwrap();
    assert!(matches!(&observed, Observed::NotSo(_)), "{observed:?}");
    stands(world, &other, &name).await;
    assert_eq!(there(world).await.len(), 1, "ours is gone");
    none_open(world, "name taken");
}

async fn whoever_has_its_port_keeps_it(world: &World) {
    let (ran, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    removed(world, &ran).await;
    let agent = world.agent();
    let swap = planned(world, &agent, &ran, &to).await;
    let name = format!("{}-other-9", world.project);
    let other = foreign(world, &name, &to, true).await;
    let told = why(act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await);
    assert!(told.contains("the new container could not be started"), "{told}");
    assert!(told.contains("api has none again, as before"), "{told}");
    stands(world, &other, &name).await;
    assert_eq!(there(world).await.len(), 1, "ours is gone");
}

async fn one_that_is_back_with_another_image_is_left_alone(world: &World) {
    let (ran, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    removed(world, &ran).await;
    let agent = world.agent();
    let (swap, claim) = (planned(world, &agent, &ran, &to).await, world.claim());
    world.deploy(&ran).await;
    let told = why(act(&agent, &world.order(claim, 1, swapping(&swap))).await);
    assert!(told.contains("api has a container again"), "{told}");
    act(&agent, &world.order(claim, 2, taking_away(world))).await.unwrap();
    world.settled("left alone", &ran).await;
}

async fn one_that_is_back_with_the_wanted_image_is_not_taken_away(world: &World) {
    let (ran, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    removed(world, &ran).await;
    let agent = world.agent();
    let (swap, claim) = (planned(world, &agent, &ran, &to).await, world.claim());
    world.deploy(&to).await;
    let output = act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap();
    assert!(!effect(&output), "it was so already");
    act(&agent, &world.order(claim, 2, taking_away(world))).await.unwrap();
    world.settled("somebody else made it", &to).await;
}

async fn one_that_was_never_started_is_swapped_and_on_the_way_back_stays_so(world: &World) {
    for (target, ends_well) in [(Behaviour::Exits(1), false), (Behaviour::Healthy, true)] {
        let (bad, to) = (world.image("2", Behaviour::Healthy).await, world.image("1", target).await);
        world.clear().await;
        let id = world.create(&world.container_name(), &bad, &["MODE=today"], json!({})).await;
        world.engine().connect(world.network(1), &id, &json!({"Aliases": ["api"]})).await.unwrap();
        let agent = world.agent();
        let facts = world.facts(&agent).await;
        assert_eq!((facts[0].state, facts[0].obstacles.as_slice()), (ContainerState::Created, &[] as &[String]));
        let swap = world.swap(&agent, &to).await;
        let ended = act(&agent, &world.order(world.claim(), 1, swapping(&swap))).await;
        if ends_well {
            assert!(effect(&ended.unwrap()));
            world.settled("swapped", &to).await;
        } else {
            let told = why(ended);
            assert!(told.contains("the old container stands as it stood, not running"), "{told}");
            let one = world.engine().inspect(&id).await.unwrap().expect("it is still there");
            assert_eq!(one["State"]["Status"], "created");
            assert_eq!(one["Name"], format!("/{}", world.container_name()));
        }
        drop(agent);
    }
}

#[tokio::test]
async fn what_was_never_recorded_or_never_ran_is_not_made() {
    let world = World::sim().await;
    let image = world.image("1", Behaviour::Healthy).await;
    let agent = world.agent();
    world.create(&world.container_name(), &image, &[], json!({})).await;
    world.stack(&agent).await;
    world.clear().await;
    let facts = agent.as_recorded(&world.project, &world.service).await.unwrap();
    assert!(facts.services.is_empty() && facts.gone.is_empty(), "it was made and never started: {facts:?}");
}

#[tokio::test]
async fn a_copy_that_is_gone_is_told_until_the_service_is_made_anew() {
    let world = World::sim().await.of(Shape { number: Some(5), ..Shape::default() });
    let image = world.image("1", Behaviour::Healthy).await;
    let agent = world.agent();
    let gone = async || world.stack(&agent).await.gone.remove(&world.service).unwrap_or_default();
    world.deploy(&image).await;
    assert!(gone().await.is_empty());
    let copy = format!("{}-api-7", world.project);
    world.engine().stop(&copy, 0).await.unwrap();
    world.engine().remove(&copy).await.unwrap();
    assert_eq!((gone().await, gone().await), (vec![copy.clone()], vec![copy.clone()]));
    // The settings of what is gone outlive the agent's cleanings.
    for _ in 0..3 {
        agent.tidy(&Default::default(), &Default::default()).await.unwrap();
    }
    world.clear().await;
    let names = |facts: &sternway::agent::StackFacts| -> Vec<String> {
        facts.services[&world.service].containers.iter().map(|c| c.name.clone()).collect()
    };
    let should = agent.as_recorded(&world.project, &world.service).await.unwrap();
    assert_eq!(names(&should).len(), 3, "all that were there when it was made: {:?}", names(&should));
    world.clock_passes().await;
    let id = world.create(&world.container_name(), &image, &[], json!({})).await;
    world.engine().start(&id).await.unwrap();
    assert!(gone().await.is_empty(), "the team made it anew, with one");
}

//! Who depends on the service with `restart: true`: restarted once after a swap of the same run, proven, and left alone
//! when there is nothing to restart for.

use std::sync::Arc;

use serde_json::{Value, json};
use sternway::agent::fault::{FaultyEngine, Verdict, When};
use sternway::agent::sim::Behaviour;
use sternway::agent::{Act, Observed};
use sternway::domain::names::ServiceName;
use sternway::domain::plan::{HealthCheck, HealthRule, ImageChoice, Restart, StepAction, StepOutput};

use crate::world::{World, act, so, swapping, why};

on_both_engines!(
    it_is_restarted_once_after_the_swap_and_once_more_after_the_way_back,
    killed_at_every_call_of_a_restart,
    nothing_is_restarted_when_nothing_was_moved,
    a_ledger_that_was_lost_changes_nothing,
    one_that_went_down_by_itself_is_started_again,
    one_that_does_not_come_up_well_is_told,
    one_that_was_replaced_meanwhile_is_left_alone,
);

fn service(name: &str) -> ServiceName {
    ServiceName::parse(name).unwrap()
}

fn restarting(restart: &Restart) -> StepAction {
    StepAction::RestartService(Box::new(restart.clone()))
}

/// An API that runs the old image, beside a worker that restarts with it.
async fn shop(world: &World, worker: Behaviour) -> (ImageChoice, Restart) {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", Behaviour::Healthy).await);
    let own = world.image("worker", worker).await;
    world.deploy(&old).await;
    let labels = json!({
        "com.docker.compose.service": "worker",
        "com.docker.compose.container-number": "1",
        "com.docker.compose.depends_on": "api:service_started:true",
    });
    let id = world.create_unpublished(&format!("{}-worker-1", world.project), &own, labels).await;
    world.engine().start(&id).await.unwrap();
    world.later().await;
    let restart = Restart {
        service: service("worker"),
        number: None,
        container: id,
        after: vec![service("api")],
        fingerprint: own.fingerprint,
        health: HealthRule { check: HealthCheck::Weak, count: 2, interval_ms: 20, deadline_s: 2 },
        grace_s: 1,
    };
    (new, restart)
}

async fn inspect(world: &World, id: &str) -> Value {
    world.engine().inspect(id).await.unwrap().unwrap()
}

fn started(container: &Value) -> jiff::Timestamp {
    container["State"]["StartedAt"].as_str().unwrap().parse().unwrap()
}

/// It runs, the very same, and was started after the API of today.
async fn is_after(world: &World, restart: &Restart, case: &str) {
    let api = inspect(world, &world.container_name()).await;
    let worker = inspect(world, &restart.container).await;
    assert_eq!(worker["State"]["Running"], true, "{case}: {}", worker["State"]);
    assert!(started(&worker) > started(&api), "{case}: {} and {}", worker["State"], api["State"]);
}

/// Swaps the API; gives the run's claim.
async fn swapped(world: &World, to: &ImageChoice) -> u64 {
    let agent = world.agent();
    let (swap, claim) = (world.swap(&agent, to).await, world.claim());
    act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap();
    claim
}

async fn it_is_restarted_once_after_the_swap_and_once_more_after_the_way_back(world: &World) {
    let (new, restart) = shop(world, Behaviour::Mute).await;
    let agent = world.agent();
    let facts = world.facts(&agent).await;
    assert_eq!(facts[0].restarts_with, [service("worker")]);
    let (swap, claim) = (world.swap(&agent, &new).await, world.claim());
    act(&agent, &world.order(claim, 1, swapping(&swap))).await.unwrap();
    let order = world.order(claim, 2, restarting(&restart));
    assert!(!so(&agent.observe(&order).await.unwrap()), "it was not restarted yet");
    let done = act(&agent, &world.order(claim, 3, restarting(&restart))).await.unwrap();
    assert!(matches!(done, StepOutput::Proven { .. }), "{done:?}");
    is_after(world, &restart, "after the swap").await;
    let first = started(&inspect(world, &restart.container).await);
    for n in 4..6 {
        act(&agent, &world.order(claim, n, restarting(&restart))).await.unwrap();
    }
    assert_eq!(started(&inspect(world, &restart.container).await), first, "said again is done once");
    assert!(so(&agent.observe(&world.order(claim, 6, restarting(&restart))).await.unwrap()));

    act(&agent, &world.order(claim, 7, swapping(&world.undo(&swap)))).await.unwrap();
    act(&agent, &world.order(claim, 8, restarting(&restart))).await.unwrap();
    is_after(world, &restart, "after the way back").await;
    assert_ne!(started(&inspect(world, &restart.container).await), first);
}

async fn killed_at_every_call_of_a_restart(world: &World) {
    const CALLS: [&str; 2] = ["stop", "start"];
    for (index, call) in CALLS.iter().enumerate() {
        for when in [When::Before, When::After] {
            let case = format!("killed {when:?} {call}");
            let (new, restart) = shop(world, Behaviour::Mute).await;
            let claim = swapped(world, &new).await;
            let engine = world.failing(index as u64, when, Verdict::Hang);
            let agent = world.agent_on(Arc::clone(&engine));
            let order = world.order(claim, 2, restarting(&restart));
            tokio::select! {
                ended = act(&agent, &order) => panic!("{case}: it ended with {ended:?}"),
                _ = engine.hung() => {}
            }
            assert_eq!(engine.names(), CALLS[..=index], "{case}");
            drop(agent);
            let agent = world.agent();
            let observed = agent.observe(&world.order(claim, 3, restarting(&restart))).await.unwrap();
            let whole = (index, when) == (1, When::After);
            assert_eq!(so(&observed), whole, "{case}: {observed:?}");
            if !whole {
                act(&agent, &world.order(claim, 4, restarting(&restart))).await.unwrap();
            }
            is_after(world, &restart, &case).await;
        }
    }
}

async fn nothing_is_restarted_when_nothing_was_moved(world: &World) {
    let (new, restart) = shop(world, Behaviour::Mute).await;
    // A run of before moved it; this one did not.
    swapped(world, &new).await;
    let engine = Arc::new(FaultyEngine::counting(world.engine()));
    let (agent, claim) = (world.agent_on(Arc::clone(&engine)), world.claim());
    let done = act(&agent, &world.order(claim, 1, restarting(&restart))).await.unwrap();
    assert_eq!((done, engine.names()), (StepOutput::Nothing, Vec::new()));
    let seen = agent.observe(&world.order(claim, 2, restarting(&restart))).await.unwrap();
    assert_eq!(seen, Observed::So(StepOutput::Nothing));
}

async fn a_ledger_that_was_lost_changes_nothing(world: &World) {
    let (new, restart) = shop(world, Behaviour::Mute).await;
    let claim = swapped(world, &new).await;
    world.forget("ended");
    act(&world.agent(), &world.order(claim, 2, restarting(&restart))).await.unwrap();
    is_after(world, &restart, "by labels alone").await;
}

async fn one_that_went_down_by_itself_is_started_again(world: &World) {
    let (new, restart) = shop(world, Behaviour::Mute).await;
    let claim = swapped(world, &new).await;
    world.engine().stop(&restart.container, 0).await.unwrap();
    act(&world.agent(), &world.order(claim, 2, restarting(&restart))).await.unwrap();
    is_after(world, &restart, "it ran when the run was planned").await;
}

async fn one_that_does_not_come_up_well_is_told(world: &World) {
    let (new, restart) = shop(world, Behaviour::Exits(3)).await;
    let claim = swapped(world, &new).await;
    let told = why(act(&world.agent(), &world.order(claim, 2, restarting(&restart))).await);
    assert!(told.contains("worker-1"), "{told}");
}

async fn one_that_was_replaced_meanwhile_is_left_alone(world: &World) {
    let (new, restart) = shop(world, Behaviour::Mute).await;
    let claim = swapped(world, &new).await;
    let before = started(&inspect(world, &restart.container).await);
    let gone = Restart { container: "f".repeat(64), ..restart.clone() };
    let done = act(&world.agent(), &world.order(claim, 2, restarting(&gone))).await.unwrap();
    assert_eq!(done, StepOutput::Nothing);
    assert_eq!(started(&inspect(world, &restart.container).await), before);
}

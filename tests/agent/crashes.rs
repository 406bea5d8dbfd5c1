//! The agent is killed, or loses an answer, or is refused, at every changing call. Whatever happens, the next
//! tokened look ends fully old or fully new.

use std::sync::Arc;

use sternway::agent::engine::EngineError;
use sternway::agent::fault::{FaultyEngine, Verdict, When};
use sternway::agent::sim::{Behaviour, EngineEnd};
use sternway::agent::{Act, ActError};
use sternway::domain::plan::{ImageChoice, Swap};

use crate::world::{Shape, World, act, so, swapping};

on_both_engines!(killed_at_every_call_of_a_good_swap, killed_at_every_call_of_a_swap_that_is_put_back,);

/// What else happens between the kill and the next agent.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Nothing,
    LedgerLost,
    EngineKilled,
}

async fn killed_at_every_call_of_a_good_swap(world: &World) {
    let ends = kill_everywhere(world, Behaviour::Healthy, Then::Nothing).await;
    assert!(ends.new > 0 && ends.old > 0, "some end old, some new: {ends:?}");
}

async fn killed_at_every_call_of_a_swap_that_is_put_back(world: &World) {
    let ends = kill_everywhere(world, Behaviour::Exits(1), Then::Nothing).await;
    assert_eq!(ends.new, 0, "{ends:?}");
}

/// Whatever else happens between the kill and the next agent, for each kind of service.
mod shapes {
    use super::*;

    async fn whatever_happens(shape: Shape) {
        for (then, target) in [
            (Then::Nothing, Behaviour::Healthy),
            (Then::Nothing, Behaviour::Exits(1)),
            (Then::LedgerLost, Behaviour::Healthy),
            (Then::LedgerLost, Behaviour::Exits(1)),
            (Then::LedgerLost, Behaviour::Unhealthy),
            (Then::EngineKilled, Behaviour::Healthy),
            (Then::EngineKilled, Behaviour::Exits(1)),
            (Then::EngineKilled, Behaviour::Unhealthy),
        ] {
            kill_everywhere(&World::sim().await.of(shape), target, then).await;
        }
    }

    #[tokio::test]
    async fn killed_at_every_call_of_stop_first() {
        whatever_happens(Shape::ALL[0]).await;
    }

    #[tokio::test]
    async fn killed_at_every_call_of_stop_first_of_one_of_three() {
        whatever_happens(Shape::ALL[1]).await;
    }

    #[tokio::test]
    async fn killed_at_every_call_of_start_first() {
        whatever_happens(Shape::ALL[2]).await;
    }

    #[tokio::test]
    async fn killed_at_every_call_of_start_first_of_one_of_three() {
        whatever_happens(Shape::ALL[3]).await;
    }
}

/// The shapes that the cases above leave out, on a real engine.
mod real_shapes {
    use super::*;

    #[tokio::test]
    async fn killed_at_every_call_of_start_first_of_one_of_three() {
        for target in [Behaviour::Healthy, Behaviour::Exits(1)] {
            if let Some(world) = World::real().await {
                kill_everywhere(&world.of(Shape { start_first: true, number: Some(5) }), target, Then::Nothing).await;
            }
        }
    }

    #[tokio::test]
    async fn killed_at_every_call_of_one_of_three() {
        if let Some(world) = World::real().await {
            let one_of_three = Shape { start_first: false, number: Some(5) };
            kill_everywhere(&world.of(one_of_three), Behaviour::Healthy, Then::Nothing).await;
        }
    }
}

#[derive(Debug, Default)]
struct Ends {
    old: u32,
    new: u32,
}

async fn kill_everywhere(world: &World, target: Behaviour, then: Then) -> Ends {
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", target).await);
    let calls = uninterrupted(world, &old, &new).await;
    let shape = world.shape;
    let mut ends = Ends::default();
    let beside = world.beside().await;
    for index in 0..calls.len() as u64 {
        for when in [When::Before, When::After] {
            let case = format!("{shape:?} killed {when:?} call {index} ({}) to {target:?}", calls[index as usize]);
            // Whatever the case before ended with is what this one begins with: swaps upon swaps, as in life.
            let (old, new) = if runs_now(world).await == new.image { (&new, &old) } else { (&old, &new) };
            let (swap, claim) = planned(world, new).await;
            let engine = world.failing(index, when, Verdict::Hang);
            let agent = world.agent_on(Arc::clone(&engine));
            let order = world.order(claim, 1, swapping(&swap));
            tokio::select! {
                ended = act(&agent, &order) => panic!("{case}: it ended with {ended:?}"),
                _ = engine.hung() => {}
            }
            drop(agent);
            match (then, &world.sim) {
                (Then::Nothing, _) => {}
                (Then::LedgerLost, _) => world.forget("operations"),
                (Then::EngineKilled, Some(sim)) => sim.restart_engine(EngineEnd::Killed),
                (Then::EngineKilled, None) => unreachable!("only a simulated engine is killed"),
            }
            let agent = world.agent();
            let observed = agent.observe(&world.order(claim, 2, swapping(&swap))).await;
            let observed = observed.unwrap_or_else(|e| panic!("{case}: {e}"));
            let runs = world.old_or_new(&case, old, new).await;
            assert_eq!(so(&observed), runs == new, "{case}: {observed:?}");
            if runs == new {
                ends.new += 1
            } else {
                ends.old += 1
            }
            if then != Then::EngineKilled {
                assert_eq!(world.beside().await, beside, "{case}: nobody else is touched");
            }
        }
    }
    let engine = if world.sim.is_some() { "simulated" } else { "real" };
    println!("{} changing calls of a swap to {target:?} on the {engine} engine, {shape:?}: {ends:?}", calls.len());
    ends
}

/// Names of the changing calls when nothing goes wrong.
async fn uninterrupted(world: &World, old: &ImageChoice, new: &ImageChoice) -> Vec<&'static str> {
    let (swap, claim) = fresh(world, old, new).await;
    let engine = Arc::new(FaultyEngine::counting(world.engine()));
    let agent = world.agent_on(Arc::clone(&engine));
    let _ = act(&agent, &world.order(claim, 1, swapping(&swap))).await;
    world.old_or_new("uninterrupted", old, new).await;
    engine.names()
}

/// The old image deployed anew, and the swap planned on it.
async fn fresh(world: &World, old: &ImageChoice, new: &ImageChoice) -> (Swap, u64) {
    world.deploy(old).await;
    planned(world, new).await
}

async fn planned(world: &World, to: &ImageChoice) -> (Swap, u64) {
    let agent = world.agent();
    let mut swap = world.swap(&agent, to).await;
    swap.health.interval_ms = 10;
    (swap, world.claim())
}

/// Id of the image of the one container.
async fn runs_now(world: &World) -> String {
    world.facts(&world.agent()).await[0].image.image.clone()
}

#[tokio::test]
async fn an_answer_lost_at_every_call() {
    for shape in Shape::ALL {
        for target in [Behaviour::Healthy, Behaviour::Exits(1)] {
            fail_everywhere(shape, target, |_| Verdict::LoseAnswer).await;
        }
    }
}

#[tokio::test]
async fn a_refusal_at_every_call() {
    let refusal = || EngineError::Refused { status: 500, message: "no space left on device".to_owned() };
    for shape in Shape::ALL {
        for target in [Behaviour::Healthy, Behaviour::Exits(1)] {
            fail_everywhere(shape, target, |when| match when {
                When::Before => Verdict::Refuse(refusal()),
                When::After => Verdict::LoseAnswer,
            })
            .await;
        }
    }
}

/// The agent lives on: what it says of the end must be what is there.
async fn fail_everywhere(shape: Shape, target: Behaviour, verdict: impl Fn(When) -> Verdict) {
    let world = World::sim().await.of(shape);
    let (old, new) = (world.image("2", Behaviour::Healthy).await, world.image("1", target).await);
    let calls = uninterrupted(&world, &old, &new).await;
    for index in 0..calls.len() as u64 {
        for when in [When::Before, When::After] {
            let case = format!(
                "{shape:?} {:?} {when:?} call {index} ({}) to {target:?}",
                verdict(when),
                calls[index as usize]
            );
            let (swap, claim) = fresh(&world, &old, &new).await;
            let agent = world.agent_on(world.failing(index, when, verdict(when)));
            let ended = act(&agent, &world.order(claim, 1, swapping(&swap))).await;
            if matches!(ended, Err(ActError::Unknown(_))) {
                agent.observe(&world.order(claim, 2, swapping(&swap))).await.unwrap();
            }
            let runs = world.old_or_new(&case, &old, &new).await;
            match &ended {
                Ok(_) => assert_eq!(runs, &new, "{case}: {ended:?}"),
                Err(ActError::Failed(_) | ActError::Refused(_)) => assert_eq!(runs, &old, "{case}: {ended:?}"),
                Err(ActError::Stale(_) | ActError::Unknown(_)) => {}
            }
        }
    }
}

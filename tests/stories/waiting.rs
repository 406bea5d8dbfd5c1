//! One run per stack at a time: the second one is told who holds it, and may wait.

use insta::assert_snapshot;
use sternway::agent::sim::Behaviour;
use sternway::domain::event::{Event, Outcome};
use sternway::domain::ids::RunId;
use sternway::domain::run::{RunState, Status};

use crate::cast::{
    ASK, answer, at_step, done, masked, night_with, orders, outcome, over, question, records, stands, waits,
};
use crate::night::{AMAL, BEN, CARLA, Living, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";

/// A night whose rollback takes some seconds.
fn slow() -> Night {
    let night = Night::after_a_bad_deploy();
    night.engine.set_behaviour("shop/api:1.0", Behaviour::HealthyAfter(5_000)).unwrap();
    night
}

async fn all_over(bot: &Living, count: usize) -> Vec<RunState> {
    let all = |b: &Living| b.log.runs(10).unwrap();
    bot.until("all have ended", |b| all(b).len() == count && all(b).iter().all(RunState::ended)).await;
    let mut runs = all(bot);
    runs.reverse();
    runs
}

#[test]
fn a_second_request_is_told_who_holds_the_stack_and_offered_to_wait() {
    let night = slow();
    let told = night.live(async |bot| {
        let first = bot.rollback(AMAL, ROLLBACK, at_step(1)).await;
        let told = answer(bot, BEN, "/rollback image api to 1.0 because “it is slow”").await;
        bot.run_until(first.id, at_rest).await;
        told
    });
    assert_snapshot!(masked(&told));
    stands(&night, "1.0");
}

#[test]
fn what_is_seen_in_the_middle_of_a_swap_is_put_down_to_its_run() {
    let night = slow();
    night.live(async |bot| {
        let first = bot.rollback(AMAL, ROLLBACK, at_step(1)).await;
        let r = first.id;
        let told = answer(bot, BEN, "/rollback plan image api").await;
        assert_eq!(told, format!("{r} has unfinished work on api.\nType /runs show {r}"));
        let told = bot.ask(BEN, "/status").await;
        assert!(told.contains(&format!("api is being swapped by {r}")), "{told}");
        assert!(told.contains(&format!("held by {r} (rollback image by amal)")), "{told}");
        bot.run_until(first.id, at_rest).await;
    });
}

#[test]
fn who_waits_goes_on_when_the_stack_is_free() {
    let night = slow();
    let runs = night.live(async |bot| {
        let first = bot.rollback(AMAL, ROLLBACK, at_step(1)).await;
        bot.say(BEN, "/rollback image api and wait because I insist").await;
        bot.until("it waits", |b| b.newest().is_some_and(|r| r.id != first.id)).await;
        assert!(matches!(bot.newest().unwrap().status, Status::Requested));
        bot.ask(AMAL, &format!("/cancel {}", first.id)).await;
        all_over(bot, 2).await
    });
    assert!(matches!(outcome(&runs[0]), Outcome::Undone { .. }), "{:?}", runs[0].status);
    assert!(done(&runs[1]), "{:?}", runs[1].status);
    stands(&night, "1.0");
}

#[test]
fn who_waits_is_planned_for_the_world_as_it_is_afterwards() {
    let night = slow();
    let (runs, told) = night.live(async |bot| {
        bot.rollback(AMAL, ROLLBACK, at_step(1)).await;
        let told = answer(bot, BEN, "/rollback image api and wait").await;
        (all_over(bot, 2).await, told)
    });
    assert!(done(&runs[0]));
    assert!(told.starts_with("api has no earlier release that is proven healthy and not left"), "{told}");
    stands(&night, "1.0");
}

#[test]
fn of_two_that_wait_one_acts_and_the_other_is_asked_again() {
    let night = slow();
    let runs = night.live(async |bot| {
        let first = bot.rollback(AMAL, ROLLBACK, at_step(1)).await;
        bot.say(BEN, "/rollback image api and wait because of one").await;
        bot.say(AMAL, "/rollback image api and wait because of two").await;
        bot.until("both wait", |b| b.log.runs(10).unwrap().len() == 3).await;
        bot.ask(AMAL, &format!("/cancel {}", first.id)).await;
        bot.until("all is over", |b| {
            let runs = b.log.runs(10).unwrap();
            runs.len() > 2 && runs.iter().all(RunState::ended)
        })
        .await;
        bot.log.runs(10).unwrap()
    });
    assert_eq!(runs.iter().filter(|r| done(r)).count(), 1, "{:?}", runs.iter().map(|r| &r.status).collect::<Vec<_>>());
    let busy = |r: &&RunState| matches!(outcome(r), Outcome::Refused { kind, .. } if kind == "busy");
    assert_eq!(runs.iter().filter(busy).count(), 0, "who asked to wait is not told to");
    stands(&night, "1.0");
}

#[test]
fn who_waits_can_be_cancelled() {
    let night = slow();
    let runs = night.live(async |bot| {
        let first = bot.rollback(AMAL, ROLLBACK, at_step(1)).await;
        bot.say(BEN, "/rollback image api and wait").await;
        bot.until("it waits", |b| b.newest().is_some_and(|r| r.id != first.id)).await;
        bot.ask(BEN, &format!("/cancel {}", bot.newest().unwrap().id)).await;
        all_over(bot, 2).await
    });
    assert!(done(&runs[0]));
    assert!(matches!(outcome(&runs[1]), Outcome::Cancelled { .. }), "{:?}", runs[1].status);
}

#[test]
fn who_waits_still_waits_after_a_restart_of_the_bot() {
    let night = slow();
    let waiting: RunId = night.live(async |bot| {
        let first = bot.rollback(AMAL, ROLLBACK, at_step(1)).await;
        bot.say(BEN, "/rollback image api and wait").await;
        bot.until("it waits", |b| b.newest().is_some_and(|r| r.id != first.id)).await;
        bot.newest().unwrap().id
    });
    let (runs, waited) = night.live(async |bot| {
        let runs = all_over(bot, 2).await;
        (runs, bot.log.run(waiting).unwrap().unwrap())
    });
    assert!(done(&runs[0]), "{:?}", runs[0].status);
    assert!(matches!(outcome(&waited), Outcome::Refused { kind, .. } if kind == "not_found"), "{:?}", waited.status);
}

#[test]
fn an_approved_plan_that_finds_the_stack_held_is_refused_in_its_thread() {
    let night = night_with(ASK);
    night.engine.set_behaviour("shop/api:1.0", Behaviour::HealthyAfter(5_000)).unwrap();
    let (second, last) = night.live(async |bot| {
        let first = bot.rollback(AMAL, ROLLBACK, waits).await;
        let second = bot.rollback(BEN, ROLLBACK, waits).await;
        bot.ask(CARLA, &format!("/approve {}", question(&first))).await;
        bot.run_until(first.id, at_step(1)).await;
        bot.ask(CARLA, &format!("/approve {}", question(&second))).await;
        let second = bot.run_until(second.id, over).await;
        bot.run_until(first.id, at_rest).await;
        let last = crate::cast::last_word(&night, second.id);
        (second, last)
    });
    assert!(matches!(outcome(&second), Outcome::Refused { kind, .. } if kind == "busy"), "{:?}", second.status);
    assert_eq!(orders(&night, second.id), 0);
    assert!(last.contains("refused: shop@local has been held by"), "{last}");
    assert_eq!(records(&night, |e| matches!(e, Event::RunClaimed { .. })).len(), 1);
    stands(&night, "1.0");
}

//! The bot is stopped in good order in the middle of things, and started again.

use sternway::agent::sim::Behaviour;
use sternway::domain::event::Event;
use sternway::domain::run::{Status, StepState};
use sternway::store::Log;

use crate::cast::{at_step, done, records, stands, undone};
use crate::night::{AMAL, BEN, Night, at_rest};

fn stopped(night: &Night) -> usize {
    records(night, |e| matches!(e, Event::Stopped)).len()
}

#[test]
fn a_stop_in_the_middle_of_a_swap_waits_for_it_and_the_next_start_goes_on() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_behaviour("shop/api:1.0", Behaviour::HealthyAfter(5_000)).unwrap();
    let stops = stopped(&night);
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_swap).await);
    let swap = run.steps.iter().position(|s| *s == StepState::Open).unwrap();
    assert_eq!(stopped(&night), stops + 1, "the stop is on record");
    let run = night.log.run(run.id).unwrap().unwrap();
    assert_eq!(run.status, Status::Running);
    assert!(matches!(run.steps[swap], StepState::Done { .. }), "{:?}", run.steps);
    assert_eq!(run.steps[swap + 1], StepState::Waiting, "nothing was begun after the order to stop");
    let run = night.live(async |bot| bot.run_until(run.id, at_rest).await);
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
    let said: String = night.chat.standing().iter().map(|s| s.card.plain() + "\n").collect();
    assert!(said.contains("Sternway was interrupted and goes on: nothing was under way"), "{said}");
}

fn at_swap(run: &sternway::domain::run::RunState) -> bool {
    let swaps = |p: &sternway::domain::run::PlanOnRecord| {
        p.plan.steps.iter().position(|s| matches!(s.action, sternway::domain::plan::StepAction::SwapService(_)))
    };
    run.plan.as_ref().and_then(swaps).is_some_and(|step| at_step(step)(run))
}

#[test]
fn a_stop_on_the_way_back_goes_on_with_the_way_back() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_behaviour("shop/api:1.0", Behaviour::HealthyAfter(5_000)).unwrap();
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api", at_swap).await;
        bot.ask(AMAL, &format!("/cancel {}", run.id)).await;
        run
    });
    let run = night.live(async |bot| bot.run_until(run.id, at_rest).await);
    assert!(undone(&run), "{:?}", run.status);
    stands(&night, "1.1");
}

#[test]
fn a_stop_right_after_the_request_loses_nothing() {
    let night = Night::after_a_bad_deploy();
    let id = night.live(async |bot| {
        bot.ask(BEN, "/rollback image api").await;
        bot.newest().unwrap().id
    });
    let run = night.live(async |bot| bot.run_until(id, at_rest).await);
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
}

#[test]
fn a_run_that_takes_longer_than_its_command_allows_goes_back() {
    let night = Night::after_a_bad_deploy();
    let ours = include_str!("../../commands/rollback.toml");
    night.set_command("rollback.toml", &ours.replace("time_limit = \"45m\"", "time_limit = \"3s\""));
    night.engine.set_behaviour("shop/api:1.0", Behaviour::HealthyAfter(5_000)).unwrap();
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_rest).await);
    assert!(undone(&run), "{:?}", run.status);
    stands(&night, "1.1");
    let said: String = night.chat.standing().iter().map(|s| s.card.plain() + "\n").collect();
    assert!(said.contains("it took longer than its time limit"), "{said}");
}

#[test]
fn time_in_which_the_bot_was_down_does_not_count_against_the_limit() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_behaviour("shop/api:1.0", Behaviour::HealthyAfter(5_000)).unwrap();
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_swap).await);
    night.run(async { sternway::clock::Clock::sleep(&*night.clock, std::time::Duration::from_hours(2)).await });
    let run = night.live(async |bot| bot.run_until(run.id, at_rest).await);
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
}

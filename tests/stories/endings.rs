//! How a request ends when nobody decides, or somebody takes it back.

use std::sync::Arc;
use std::time::Duration;

use sternway::agent::sim::Behaviour;
use sternway::clock::Clock;
use sternway::domain::event::{Event, Outcome};
use sternway::domain::run::StepState;
use sternway::store::Log;

use crate::cast::{
    asking, at_step, done, last_word, log_of, orders, outcome, over, question, refusals, stands, undone, waits,
};
use crate::faulty_log::FaultyLog;
use crate::night::{AMAL, BEN, CARLA, CARLA_ON_SLACK, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";

#[test]
fn a_question_that_nobody_answers_expires_and_a_late_vote_is_told_so() {
    let night = asking();
    let (asked, run, late) = night.live(async |bot| {
        let asked = bot.rollback(AMAL, ROLLBACK, waits).await;
        let run = bot.run_until(asked.id, over).await;
        let late = bot.ask(CARLA, &format!("/approve {}", question(&asked))).await;
        (asked, run, late)
    });
    assert_eq!(*outcome(&run), Outcome::Expired);
    let expires = asked.approval.as_ref().unwrap().expires;
    assert_eq!(expires.duration_since(asked.asked).as_mins(), 30);
    assert_eq!(late, format!("{} has expired. Nothing was done.\nType /runs show {}", question(&asked), run.id));
    assert_eq!(orders(&night, run.id), 0);
    stands(&night, "1.1");
    let last = last_word(&night, run.id);
    assert!(last.contains("expired: nobody decided in time, nothing was done"), "{last}");
}

#[test]
fn an_approval_survives_a_restart_of_the_bot() {
    let night = asking();
    let run = night.live(async |bot| bot.rollback(AMAL, ROLLBACK, waits).await);
    let run = night.live(async |bot| {
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
}

#[test]
fn a_vote_that_was_cast_before_a_restart_still_counts_after_it() {
    let night = crate::cast::night_with(crate::cast::ASK_TWO);
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        bot.ask(BEN, &format!("/approve {}", question(&run))).await;
        run
    });
    let run = night.live(async |bot| {
        bot.ask(CARLA_ON_SLACK, &format!("/approve {}", question(&run))).await;
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
}

#[test]
fn a_question_expires_also_while_the_bot_is_down() {
    let night = asking();
    let run = night.live(async |bot| bot.rollback(AMAL, ROLLBACK, waits).await);
    night.run(async { night.clock.sleep(Duration::from_mins(31)).await });
    let run = night.live(async |bot| {
        let late = bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        assert!(late.contains("has expired"), "{late}");
        bot.run_until(run.id, over).await
    });
    assert_eq!(*outcome(&run), Outcome::Expired);
    stands(&night, "1.1");
}

/// The disk fails right after the claim, and the bot is started again late: what was asked for then is not done hours later, when nobody expects it any more.
#[test]
fn a_claim_that_is_found_after_a_long_down_time_lets_go_and_does_nothing() {
    let night = Night::after_a_bad_deploy();
    let disk = FaultyLog::breaking_at(log_of(&night), |event| matches!(event, Event::Passed { .. }));
    let log = Arc::clone(&disk) as _;
    night.live_with(
        log,
        |hands| hands,
        async |bot| {
            bot.say(AMAL, ROLLBACK).await;
            bot.until("the claim stands and no more", |_| disk.is_broken()).await;
        },
    );
    let run = night.log_newest();
    assert!(night.log.run(run).unwrap().unwrap().holds_claim());
    night.run(async { night.clock.sleep(Duration::from_mins(46)).await });
    let run = night.live(async |bot| bot.run_until(run, over).await);
    assert_eq!(*outcome(&run), Outcome::Expired);
    assert_eq!(orders(&night, run.id), 0);
    stands(&night, "1.1");
}

#[test]
fn a_requester_cancels_before_anything_is_done() {
    let night = asking();
    let (run, late) = night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        let told = bot.ask(AMAL, &format!("/cancel {}", run.id)).await;
        assert!(told.starts_with("cancelled: "), "{told}");
        let late = bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        (bot.run_until(run.id, over).await, late)
    });
    assert!(matches!(outcome(&run), Outcome::Cancelled { by } if by.as_str() == "amal"), "{:?}", run.status);
    assert!(late.contains("was cancelled by amal"), "{late}");
    assert_eq!(orders(&night, run.id), 0);
    stands(&night, "1.1");
}

#[test]
fn a_cancel_in_the_middle_undoes_everything() {
    let night = Night::after_a_bad_deploy();
    // So that the swap takes a while.
    night.engine.set_behaviour("shop/api:1.0", Behaviour::HealthyAfter(5_000)).unwrap();
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, at_step(1)).await;
        let told = bot.ask(CARLA, &format!("/cancel {}", run.id)).await;
        assert!(told.starts_with("cancelled, it goes back at the next safe point: "), "{told}");
        let again = bot.ask(AMAL, &format!("/cancel {}", run.id)).await;
        assert!(again.contains("is being cancelled already"), "{again}");
        bot.run_until(run.id, at_rest).await
    });
    assert!(matches!(outcome(&run), Outcome::Undone { why } if why == "cancelled by carla"), "{:?}", run.status);
    assert_eq!(run.steps[1], StepState::Undone);
    assert_eq!(run.steps[2], StepState::Waiting);
    stands(&night, "1.1");
}

#[test]
fn a_run_that_is_going_back_or_over_cannot_be_cancelled() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_behaviour("shop/api:1.0", Behaviour::Unhealthy).unwrap();
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, |r| !r.steps.is_empty() && waits_back(r)).await;
        let told = bot.ask(AMAL, &format!("/cancel {}", run.id)).await;
        assert!(told.contains("on its way back already") || told.contains("has ended already"), "{told}");
        let run = bot.run_until(run.id, at_rest).await;
        let told = bot.ask(AMAL, &format!("/cancel {}", run.id)).await;
        assert!(told.contains("has ended already"), "{told}");
        run
    });
    assert!(undone(&run));
    stands(&night, "1.1");
}

fn waits_back(run: &sternway::domain::run::RunState) -> bool {
    matches!(run.status, sternway::domain::run::Status::Undoing { .. }) || run.ended()
}

#[test]
fn somebody_who_neither_asked_nor_may_approve_cannot_cancel() {
    let night = asking();
    let (run, told) = night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, waits).await;
        let told = bot.ask(AMAL, &format!("/cancel {}", run.id)).await;
        (bot.log.run(run.id).unwrap().unwrap(), told)
    });
    assert_eq!(told.lines().next().unwrap(), format!("{} can be cancelled by ben or by approver.", run.id));
    assert!(waits(&run));
    assert_eq!(refusals(&night).len(), 1);
    assert!(night.log.run(run.id).unwrap().unwrap().cancel.is_none());
}

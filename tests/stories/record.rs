//! The log cannot be written: nothing is begun, and what has begun ends.

use std::sync::Arc;
use std::time::Duration;

use sternway::agent::sim::Behaviour;
use sternway::chat::sim::Way;
use sternway::clock::Clock;
use sternway::domain::event::Event;
use sternway::domain::run::{RunState, Status};
use sternway::store::{About, Draft, Log};

use crate::cast::{ASK, answer, done, log_of, night_with, orders, question, stands, waits};
use crate::faulty_log::FaultyLog;
use crate::night::{AMAL, API, BEN, CARLA, Living, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";
const NOTHING: &str = "the record cannot be written, nothing is done";

async fn pass(bot: &Living, seconds: u64) {
    bot.clock.sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn without_a_record_nothing_is_begun_and_when_it_is_back_the_bot_works() {
    let night = Night::after_a_bad_deploy();
    let log = FaultyLog::new(log_of(&night));
    let run = night.live_with(
        Arc::clone(&log) as _,
        |hosts| hosts,
        async |bot| {
            log.set_broken(true);
            let told = bot.ask(BEN, ROLLBACK).await;
            assert!(told.to_lowercase().starts_with(NOTHING), "{told}");
            assert!(told.ends_with("Type /status"), "{told}");
            let status = bot.ask(BEN, "/status").await;
            assert!(status.to_lowercase().contains(NOTHING), "looking works, and says it: {status}");
            pass(bot, 60).await;
            assert!(bot.newest().is_none(), "something was begun");
            log.set_broken(false);
            pass(bot, 60).await;
            bot.rollback(BEN, ROLLBACK, at_rest).await
        },
    );
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
    // Everybody hears it once, whoever asks or not.
    let notices: Vec<_> =
        night.chat.said().into_iter().filter(|s| s.way == Way::Notice).map(|s| s.card.plain()).collect();
    assert_eq!(notices.len(), 2, "{notices:#?}");
    assert!(notices[0].starts_with("The record cannot be written, nothing new is done"), "{notices:#?}");
    assert!(notices[1].starts_with("The record can be written again"), "{notices:#?}");
}

#[test]
fn an_index_that_was_rebuilt_is_told_once() {
    let night = Night::after_a_bad_deploy();
    let why = "it did not open".to_owned();
    let rebuilt = Draft { about: About::Log, at: night.clock.now(), event: Event::IndexRebuilt { why } };
    night.run(async { night.log.append(None, vec![rebuilt]).await.unwrap() });
    for _ in 0..2 {
        night.live(async |bot| bot.until("it is told", |b| b.chat.said().iter().any(|s| s.way == Way::Notice)).await);
    }
    let notices: Vec<_> =
        night.chat.said().into_iter().filter(|s| s.way == Way::Notice).map(|s| s.card.plain()).collect();
    assert_eq!(notices.len(), 1, "{notices:#?}");
    assert!(notices[0].contains("rebuilt from the record: it did not open"), "{notices:#?}");
}

#[test]
fn a_vote_that_cannot_be_written_does_not_count_and_says_so() {
    let night = night_with(ASK);
    let log = FaultyLog::new(log_of(&night));
    let run = night.live_with(
        Arc::clone(&log) as _,
        |hosts| hosts,
        async |bot| {
            let run = bot.rollback(AMAL, ROLLBACK, waits).await;
            let vote = format!("/approve {}", question(&run));
            log.set_broken(true);
            let told = bot.ask(CARLA, &vote).await;
            assert!(told.to_lowercase().starts_with(NOTHING), "{told}");
            pass(bot, 10).await;
            assert_eq!(orders(&night, run.id), 0);
            log.set_broken(false);
            let told = bot.ask(CARLA, &vote).await;
            assert!(told.starts_with("your vote counts"), "the first try counted: {told}");
            bot.run_until(run.id, at_rest).await
        },
    );
    assert!(done(&run), "{:?}", run.status);
}

/// The disk goes away at the first record that fits; a minute later it is back. What stood on the host meanwhile is
/// judged by `meanwhile`.
fn breaks_at(
    what: &str,
    fits: impl Fn(&Event) -> bool + Send + Sync + 'static,
    meanwhile: impl Fn(&Night),
) -> RunState {
    let night = Night::after_a_bad_deploy();
    let log = FaultyLog::breaking_at(log_of(&night), fits);
    let run = night.live_with(
        Arc::clone(&log) as _,
        |hosts| hosts,
        async |bot| {
            bot.say(BEN, ROLLBACK).await;
            bot.until("the disk is away", |_| log.is_broken()).await;
            pass(bot, 60).await;
            assert!(log.refused() > 0);
            assert!(!bot.newest().unwrap().ended(), "{what}: it cannot have ended without a record");
            meanwhile(&night);
            log.set_broken(false);
            let id = bot.newest().unwrap().id;
            bot.run_until(id, at_rest).await
        },
    );
    assert!(done(&run), "{what}: {:?}", run.status);
    stands(&night, "1.0");
    run
}

fn old_is_up(night: &Night) {
    assert_eq!(night.containers(), ["shop-api-1", "shop-db-1", "shop-web-1"]);
    assert_eq!(night.pin(), "# the shop\nAPI_IMAGE=shop/api:1.1\nWEB_PORT=8080\n");
    assert!(night.engine.behind(API).is_some());
    assert!(!night.engine.answers(API), "something was done without a record");
}

fn new_is_up(night: &Night) {
    assert_eq!(night.containers(), ["shop-api-1", "shop-db-1", "shop-web-1"]);
    assert!(night.engine.answers(API), "the swap that had begun did not end");
}

#[test]
fn a_run_whose_claim_cannot_be_written_begins_later() {
    breaks_at("claim", |e| matches!(e, Event::RunClaimed { .. }), old_is_up);
}

#[test]
fn a_run_whose_pass_cannot_be_written_does_nothing_until_it_can() {
    breaks_at("pass", |e| matches!(e, Event::Passed { .. }), old_is_up);
}

#[test]
fn a_step_whose_intent_cannot_be_written_is_not_ordered_until_it_can() {
    breaks_at("intent", |e| matches!(e, Event::StepIntent { step: 1 }), old_is_up);
}

#[test]
fn a_swap_that_has_begun_ends_new_without_a_record_and_the_run_goes_on_when_there_is_one() {
    let run = breaks_at("done", |e| matches!(e, Event::StepDone { step: 1, .. }), new_is_up);
    assert_eq!(run.steps.len(), 5);
}

#[test]
fn a_swap_that_fails_without_a_record_ends_old_and_the_run_is_undone_when_there_is_one() {
    use sternway::agent::sim::Behaviour;
    let night = Night::after_a_bad_deploy();
    night.engine.set_behaviour("shop/api:1.0", Behaviour::Exits(1)).unwrap();
    let log = FaultyLog::breaking_at(log_of(&night), |e| matches!(e, Event::StepFailed { .. }));
    let run = night.live_with(
        Arc::clone(&log) as _,
        |hosts| hosts,
        async |bot| {
            bot.say(BEN, ROLLBACK).await;
            bot.until("the disk is away", |_| log.is_broken()).await;
            pass(bot, 60).await;
            old_is_up(&night);
            log.set_broken(false);
            bot.run_until(bot.newest().unwrap().id, at_rest).await
        },
    );
    assert!(crate::cast::undone(&run), "{:?}", run.status);
    stands(&night, "1.1");
}

#[test]
fn a_bot_that_stops_while_the_record_cannot_be_written_goes_on_after_the_next_start() {
    let night = Night::after_a_bad_deploy();
    let log = FaultyLog::breaking_at(log_of(&night), |e| matches!(e, Event::StepDone { step: 1, .. }));
    night.live_with(
        Arc::clone(&log) as _,
        |hosts| hosts,
        async |bot| {
            bot.say(BEN, ROLLBACK).await;
            bot.until("the disk is away", |_| log.is_broken()).await;
            pass(bot, 5).await;
        },
    );
    let run = night.live(async |bot| {
        let run = bot.newest().unwrap();
        assert!(!matches!(run.status, Status::Ended { .. }));
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
}

#[test]
fn a_dry_run_without_a_record_is_not_answered_with_a_plan() {
    let night = Night::after_a_bad_deploy();
    let log = FaultyLog::new(log_of(&night));
    night.live_with(
        Arc::clone(&log) as _,
        |hosts| hosts,
        async |bot| {
            log.set_broken(true);
            let told = answer(bot, AMAL, "/rollback plan image api").await;
            assert!(told.to_lowercase().starts_with(NOTHING), "{told}");
            log.set_broken(false);
        },
    );
    assert!(night.log.runs(10).unwrap().is_empty());
}

#[test]
fn what_a_surface_need_not_be_told_is_not_read_again_at_every_start() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| {
        let nothing_to_tell = || Draft { about: About::Log, at: bot.clock.now(), event: Event::Stopped };
        for _ in 0..6 {
            bot.log.append(None, (0..200).map(|_| nothing_to_tell()).collect()).await.unwrap();
        }
        let follows = |b: &Living| b.log.outbox_cursor("console").unwrap().0 + 600 > b.log.head().position.0;
        bot.until("the cursor follows what gives rise to no message", follows).await;
    });
}

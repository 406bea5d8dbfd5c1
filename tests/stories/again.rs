//! The same thing said twice, and too often.

use std::time::Duration;

use sternway::chat::sim::Way;
use sternway::clock::Clock;
use sternway::domain::event::Event;

use crate::cast::{ASK_TWO, answer, asking, done, hear, night_with, over, question, records, refusals, stands, waits};
use crate::night::{AMAL, BEN, CARLA, Living, Night, STRANGER, at_rest};

const ROLLBACK: &str = "/rollback image api";

/// What was answered so far to `account`.
fn answers(night: &Night, account: &str) -> Vec<String> {
    let to = |s: &sternway::chat::sim::Said| s.to.as_ref().is_some_and(|a| a.id == account);
    night.chat.said().iter().filter(|s| s.way == Way::Answer && to(s)).map(|s| s.card.plain()).collect()
}

async fn quiet(bot: &Living, seconds: u64) {
    bot.clock.sleep(Duration::from_secs(seconds)).await;
}

#[test]
fn a_command_delivered_twice_runs_once() {
    let night = Night::after_a_bad_deploy();
    let run = night.live(async |bot| {
        let said = hear(bot, BEN, ROLLBACK);
        bot.bot.intake().send(said.clone()).await.unwrap();
        bot.bot.intake().send(said.clone()).await.unwrap();
        bot.until("it is over", |b| b.newest().is_some_and(|r| at_rest(&r))).await;
        bot.bot.intake().send(said).await.unwrap();
        quiet(bot, 30).await;
        assert_eq!(bot.log.runs(10).unwrap().len(), 1);
        bot.newest().unwrap()
    });
    assert!(done(&run), "{:?}", run.status);
    let accepted = format!("{} accepted: rollback image", run.id);
    assert_eq!(answers(&night, BEN), vec![accepted; 3], "each delivery gets the same answer");
    assert!(refusals(&night).is_empty());
    stands(&night, "1.0");
}

#[test]
fn a_command_delivered_again_after_a_restart_runs_once() {
    let night = Night::after_a_bad_deploy();
    let said = night.live(async |bot| {
        let said = hear(bot, BEN, ROLLBACK);
        bot.bot.intake().send(said.clone()).await.unwrap();
        bot.until("it is over", |b| b.newest().is_some_and(|r| at_rest(&r))).await;
        said
    });
    night.live(async |bot| {
        bot.bot.intake().send(said).await.unwrap();
        quiet(bot, 30).await;
        assert_eq!(bot.log.runs(10).unwrap().len(), 1);
    });
}

#[test]
fn a_vote_delivered_twice_counts_once_and_is_not_refused() {
    let night = night_with(ASK_TWO);
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        let vote = hear(bot, CARLA, &format!("/approve {}", question(&run)));
        for _ in 0..2 {
            bot.bot.intake().send(vote.clone()).await.unwrap();
        }
        quiet(bot, 5).await;
        bot.bot.intake().send(vote).await.unwrap();
        quiet(bot, 5).await;
        bot.log.run(run.id).unwrap().unwrap()
    });
    assert!(waits(&run), "{:?}", run.status);
    assert_eq!(run.approval.as_ref().unwrap().votes.len(), 1);
    let told = answers(&night, CARLA);
    assert_eq!(told.len(), 3);
    assert!(told.iter().all(|t| t.starts_with("your vote counts: ")), "{told:?}");
    assert!(refusals(&night).is_empty(), "{:?}", refusals(&night));
}

#[test]
fn a_cancel_delivered_twice_is_not_refused() {
    let night = asking();
    night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        let cancel = hear(bot, AMAL, &format!("/cancel {}", run.id));
        for _ in 0..2 {
            bot.bot.intake().send(cancel.clone()).await.unwrap();
            quiet(bot, 5).await;
        }
        bot.run_until(run.id, over).await;
    });
    let told = answers(&night, AMAL);
    assert!(told[1..].iter().all(|t| t.starts_with("cancelled: ")), "{told:?}");
}

#[test]
fn at_the_door_each_of_a_flood_is_told_when_to_try_again_and_all_are_counted_in_one_record() {
    let night = night_with("[limits]\ndoor = 5\n");
    night.live(async |bot| {
        for _ in 0..5 {
            assert!(bot.ask(AMAL, "/help").await.contains("What you can say"));
        }
        assert_eq!(bot.ask(AMAL, "/status").await, "That was too often. Try again in 12 s.");
        for _ in 0..20 {
            assert_eq!(bot.ask(AMAL, "/runs list").await, "That was too often. Try again in 12 s.");
        }
        assert!(bot.ask(BEN, "/help").await.contains("What you can say"), "another person is heard");
        quiet(bot, 12).await;
        assert!(bot.ask(AMAL, "/help").await.contains("What you can say"), "after that time it is heard");
        quiet(bot, 60).await;
    });
    assert_eq!(refusals(&night).len(), 1);
    let counted = records(&night, |e| matches!(e, Event::RefusalsCounted { .. }));
    let [Event::RefusalsCounted { account, count, last }] = counted.as_slice() else { panic!("{counted:?}") };
    assert_eq!((account.id.as_str(), *count, last.as_str()), (AMAL, 20, "/runs list"));
}

#[test]
fn each_commands_own_limit_says_when_to_try_again_and_holds_per_person() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        for _ in 0..5 {
            answer(bot, AMAL, "/rollback image api to 7.7").await;
        }
        for _ in 0..3 {
            let told = answer(bot, AMAL, "/rollback image api to 7.7").await;
            assert_eq!(told, "That was too often. Try again in 2:00 min.");
        }
        let other = answer(bot, BEN, "/rollback image api to 7.7").await;
        assert!(other.starts_with("No release of api fits that."), "{other}");
        assert!(bot.ask(AMAL, "/status").await.contains("shop@local"), "other commands are not limited by it");
        quiet(bot, 120).await;
        let told = answer(bot, AMAL, "/rollback image api to 7.7").await;
        assert!(told.starts_with("No release of api fits that."), "{told}");
    });
    let limited = |e: &Event| matches!(e, Event::Refused { kind, .. } if kind == "limited");
    assert_eq!(records(&night, limited).len(), 1, "the same refusal again is counted");
    let counted = records(&night, |e| matches!(e, Event::RefusalsCounted { count: 2, .. }));
    assert_eq!(counted.len(), 1);
}

#[test]
fn the_same_refusal_again_and_again_is_counted_in_one_record_and_each_is_answered() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        for _ in 0..4 {
            assert!(bot.ask(STRANGER, ROLLBACK).await.contains("linked to nobody here"));
        }
    });
    assert_eq!(refusals(&night).len(), 1);
    let counted = records(&night, |e| matches!(e, Event::RefusalsCounted { .. }));
    let [Event::RefusalsCounted { count: 3, last, .. }] = counted.as_slice() else {
        panic!("written at the latest when the bot stops: {counted:?}")
    };
    assert_eq!(last, ROLLBACK);
}

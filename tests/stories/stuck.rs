//! Runs that could neither finish nor be undone, and the three ways out.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use insta::assert_snapshot;
use sternway::agent::Act;
use sternway::domain::event::Outcome;
use sternway::domain::plan::StepAction;
use sternway::domain::run::{RunState, Status};

use crate::broken_hands::{Broken, Mended};
use crate::cast::{answer, done, log_of, masked, orders, outcome, over, question, stands, undone, waits};
use crate::hands;
use crate::night::{AMAL, API, BEN, CARLA, Living, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";

fn is_stuck(run: &RunState) -> bool {
    matches!(run.status, Status::Stuck { .. })
}

/// Index of the step that writes the pin: the swap before it is done, what follows is not begun.
fn pin_step(night: &Night) -> usize {
    let plan = night.live(async |bot| bot.rollback(AMAL, "/rollback plan image api", over).await.plan.unwrap().plan);
    plan.steps.iter().position(|s| matches!(s.action, StepAction::WritePin { .. })).unwrap()
}

/// A night in which the pin can neither be written nor put back until the hands are mended.
fn broken<R>(play: impl AsyncFnOnce(&Night, &Living, RunState, &Mended) -> R) -> (Night, R) {
    let night = Night::after_a_bad_deploy();
    let step = pin_step(&night);
    let mended = Mended::default();
    let hands = Arc::clone(&mended);
    let outcome = night.live_with(
        log_of(&night),
        |hosts| hands::replace(hosts, |act| Arc::new(Broken::new(act, step, &hands)) as Arc<dyn Act>),
        async |bot| {
            let run = bot.rollback(AMAL, ROLLBACK, is_stuck).await;
            play(&night, bot, run, &mended).await
        },
    );
    (night, outcome)
}

/// Asks for a way out as Ben and lets Carla agree.
async fn led_out(bot: &Living, words: &str) -> RunState {
    let way = bot.rollback(BEN, words, waits).await;
    let own = bot.ask(BEN, &format!("/approve {}", question(&way))).await;
    assert!(own.contains("somebody else has to approve it"), "{own}");
    assert_eq!(orders_of(bot, &way), 0);
    bot.ask(CARLA, &format!("/approve {}", question(&way))).await;
    bot.run_until(way.id, over).await
}

fn orders_of(bot: &Living, run: &RunState) -> usize {
    bot.log.run(run.id).unwrap().unwrap().steps.len()
}

fn holder(bot: &Living) -> Option<RunState> {
    bot.log.holder(&bot.bot.core().config.stacks[0].target()).unwrap()
}

#[test]
fn a_stuck_run_says_what_remains_keeps_the_stack_and_everybody_is_told() {
    let (night, (run, told)) = broken(async |_, bot, run, _| {
        assert_eq!(holder(bot).unwrap().id, run.id);
        let told = answer(bot, BEN, ROLLBACK).await;
        let waiting = answer(bot, BEN, "/rollback image api and wait").await;
        assert_eq!(told, waiting, "waiting for a stuck run would be in vain");
        let cancelled = bot.ask(AMAL, &format!("/cancel {}", run.id)).await;
        assert!(cancelled.contains("is stuck; choose a way out."), "{cancelled}");
        assert!(cancelled.ends_with(&format!("Type /runs undo {}", run.id)), "{cancelled}");
        (run, told)
    });
    let Status::Stuck { remains, .. } = &run.status else { panic!("{:?}", run.status) };
    assert_eq!(remains.len(), 2, "{remains:?}");
    let thread = crate::cast::thread_of(&night, run.id);
    assert_snapshot!(masked(&format!("{}\n\n{told}", sternway::chat::sim::transcript(&thread))));
}

#[test]
fn a_stuck_run_is_led_on_to_the_new_state() {
    let (night, run) = broken(async |_, bot, run, mended| {
        mended.store(true, Ordering::SeqCst);
        let way = led_out(bot, &format!("/runs retry {} because the disk has room", run.id)).await;
        assert!(done(&way), "{:?}", way.status);
        let run = bot.run_until(run.id, at_rest).await;
        assert!(holder(bot).is_none());
        run
    });
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
}

#[test]
fn a_stuck_run_is_led_back_to_the_old_state() {
    let (night, run) = broken(async |_, bot, run, mended| {
        mended.store(true, Ordering::SeqCst);
        led_out(bot, &format!("/runs undo {}", run.id)).await;
        let run = bot.run_until(run.id, at_rest).await;
        assert!(holder(bot).is_none());
        run
    });
    assert!(undone(&run), "{:?}", run.status);
    stands(&night, "1.1");
}

#[test]
fn what_a_stuck_run_left_is_accepted_as_it_is_with_a_reason() {
    let (night, run) = broken(async |night, bot, run, _| {
        let bare = answer(bot, BEN, &format!("/runs accept {}", run.id)).await;
        assert!(bare.to_lowercase().contains("reason") || bare.contains("because"), "{bare}");
        let before = night.engine.behind(API);
        led_out(bot, &format!("/runs accept {} because we wrote the pin by hand", run.id)).await;
        let run = bot.run_until(run.id, at_rest).await;
        assert_eq!(night.engine.behind(API), before, "accepting changed something");
        assert!(holder(bot).is_none());
        bot.until("what runs is on record", |b| {
            let history = b.history();
            history.current == Some(history.releases[0].id)
        })
        .await;
        run
    });
    assert!(matches!(outcome(&run), Outcome::Accepted { .. }), "{:?}", run.status);
    assert!(night.engine.answers(API), "the new container stays");
    assert!(night.pin().contains("API_IMAGE=shop/api:1.1"), "nothing was written");
}

#[test]
fn a_way_out_that_fails_leaves_it_stuck_and_another_one_works() {
    let (night, run) = broken(async |_, bot, run, mended| {
        led_out(bot, &format!("/runs retry {}", run.id)).await;
        let again = bot.run_until(run.id, |r| is_stuck(r) && r.way.is_none()).await;
        assert!(again.last > run.last);
        assert_eq!(holder(bot).unwrap().id, run.id);
        mended.store(true, Ordering::SeqCst);
        led_out(bot, &format!("/runs undo {}", run.id)).await;
        bot.run_until(run.id, at_rest).await
    });
    assert!(undone(&run), "{:?}", run.status);
    stands(&night, "1.1");
}

#[test]
fn a_way_out_that_was_asked_before_the_run_moved_on_is_void() {
    let (night, (late, run)) = broken(async |_, bot, run, mended| {
        mended.store(true, Ordering::SeqCst);
        let late = bot.rollback(BEN, &format!("/runs retry {}", run.id), waits).await;
        led_out(bot, &format!("/runs undo {}", run.id)).await;
        let run = bot.run_until(run.id, at_rest).await;
        bot.ask(CARLA, &format!("/approve {}", question(&late))).await;
        (bot.run_until(late.id, over).await, run)
    });
    assert!(undone(&run), "{:?}", run.status);
    let Outcome::Void { differences } = outcome(&late) else { panic!("{:?}", late.status) };
    assert_eq!(differences[0], format!("{} has moved on since it was asked", run.id));
    stands(&night, "1.1");
}

#[test]
fn a_way_out_wants_a_vote_of_the_right_role_and_shows_what_it_is_about() {
    broken(async |_, bot, run, _| {
        let way = bot.rollback(AMAL, &format!("/runs undo {}", run.id), waits).await;
        let told = bot.ask(AMAL, &format!("/approve {}", question(&way))).await;
        assert!(told.starts_with("/approve is for approver"), "{told}");
        let card = bot.chat.standing().into_iter().find(|s| s.key.0 == format!("{}/card", way.id)).unwrap();
        let words = card.card.plain();
        assert!(words.contains(&format!("go back to the old state with {}", run.id)), "{words}");
        assert!(words.contains("stuck because: "), "{words}");
        assert!(words.contains("neither done nor taken back"), "{words}");
    });
}

#[test]
fn a_stuck_run_stays_stuck_over_a_restart_and_is_led_out_then() {
    let (night, id) = broken(async |_, _, run, _| run.id);
    let run = night.live(async |bot| {
        let run = bot.log.run(id).unwrap().unwrap();
        assert!(is_stuck(&run), "{:?}", run.status);
        led_out(bot, &format!("/runs undo {id}")).await;
        bot.run_until(id, at_rest).await
    });
    assert!(undone(&run), "{:?}", run.status);
    stands(&night, "1.1");
}

#[test]
fn a_run_that_is_not_stuck_needs_no_way_out() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, at_rest).await;
        let told = answer(bot, BEN, &format!("/runs undo {}", run.id)).await;
        assert_eq!(told, format!("{0} is not stuck, so there is nothing to undo.\nType /runs show {0}", run.id));
        assert!(orders(&night, run.id) > 0);
    });
}

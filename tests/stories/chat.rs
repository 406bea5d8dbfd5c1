//! Chat being down changes nothing: runs go on, messages arrive later, in order, once.

use sternway::chat::sim::{Fault, Said, Way, transcript};
use sternway::domain::ids::RunId;
use sternway::domain::run::RunState;

use crate::cast::{done, is_witness, last_word, masked, stands, thread_of};
use crate::night::{BEN, Living, Night, at_rest};

const ROLLBACK: &str = "/rollback image api because of errors";

/// The thread of the same run in a night whose chat is well.
fn as_it_should_read() -> String {
    let night = Night::after_a_bad_deploy();
    let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
    masked(&transcript(&thread_of(&night, run.id)))
}

async fn told_to_the_end(bot: &Living, run: RunId) {
    let end = |s: &Said| s.run == Some(run) && s.way == Way::Reply && is_witness(s);
    bot.until("the end is told", |b| b.chat.said().iter().any(end)).await;
}

fn rollback(night: &Night) -> RunState {
    night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, at_rest).await;
        night.chat.set_down(false);
        told_to_the_end(bot, run.id).await;
        run
    })
}

fn reads_as_it_should(night: &Night, run: &RunState) {
    assert!(done(run), "{:?}", run.status);
    stands(night, "1.0");
    assert_eq!(masked(&transcript(&thread_of(night, run.id))), as_it_should_read());
    let mut keys: Vec<_> = night.chat.said().into_iter().filter(|s| s.way != Way::Edit && s.run.is_some()).collect();
    let count = keys.len();
    keys.dedup_by(|a, b| a.key == b.key);
    assert_eq!(keys.len(), count, "something was said twice");
}

#[test]
fn with_chat_down_the_run_goes_on_and_the_thread_comes_later_complete_in_order_once() {
    let night = Night::after_a_bad_deploy();
    night.chat.set_down(true);
    let run = rollback(&night);
    reads_as_it_should(&night, &run);
}

#[test]
fn what_chat_missed_is_told_after_a_restart_of_the_bot() {
    let night = Night::after_a_bad_deploy();
    night.chat.set_down(true);
    let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
    assert!(thread_of(&night, run.id).is_empty(), "the chat was down");
    night.chat.set_down(false);
    night.live(async |bot| told_to_the_end(bot, run.id).await);
    reads_as_it_should(&night, &run);
}

#[test]
fn a_thread_that_was_told_is_not_told_again_after_a_restart() {
    let night = Night::after_a_bad_deploy();
    let run = rollback(&night);
    let said = night.chat.said().len();
    night.live(async |bot| bot.ask(BEN, "/help").await);
    assert_eq!(night.chat.said().len(), said + 1, "only the answer to /help is new");
    reads_as_it_should(&night, &run);
}

#[test]
fn a_chat_whose_answers_get_lost_shows_each_message_once() {
    let night = Night::after_a_bad_deploy();
    night.chat.fail_next((0..200).map(|n| if n % 2 == 0 { Fault::LostAnswer } else { Fault::Nothing }));
    let run = rollback(&night);
    reads_as_it_should(&night, &run);
}

#[test]
fn a_chat_that_asks_to_wait_gets_everything_in_the_end() {
    let night = Night::after_a_bad_deploy();
    night.chat.fail_next((0..40).map(|n| if n % 2 == 0 { Fault::Later(30_000) } else { Fault::Nothing }));
    let run = rollback(&night);
    reads_as_it_should(&night, &run);
}

#[test]
fn a_message_that_the_platform_refuses_stops_neither_the_run_nor_the_others() {
    let night = Night::after_a_bad_deploy();
    // The answer, then the card.
    night.chat.fail_next([Fault::Nothing, Fault::Refused("too long".to_owned())]);
    let run = rollback(&night);
    assert!(done(&run), "{:?}", run.status);
    let last = last_word(&night, run.id);
    assert!(last.contains("done in"), "{last}");
}

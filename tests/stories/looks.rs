//! What people see when they only look.

use insta::assert_snapshot;

use crate::cast::{ASK, answer, masked, night_with, over, question, waits};
use crate::night::{AMAL, BEN, CARLA, Night, STRANGER, at_rest};

/// A night with a dry run, a denial and a rollback on record, and the answer to one question then.
fn looked(words: &str) -> String {
    let night = night_with(ASK);
    let told = night.live(async |bot| {
        bot.rollback(AMAL, "/rollback plan image api", over).await;
        let denied = bot.rollback(AMAL, "/rollback image api because I am tired", waits).await;
        bot.ask(CARLA, &format!("/deny {} because look first", question(&denied))).await;
        let run = bot.rollback(AMAL, "/rollback image api because 1.1 answers with errors", waits).await;
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        bot.run_until(run.id, at_rest).await;
        bot.until("all that can be is proven", |b| {
            let web = sternway::domain::names::ServiceName::parse("web").unwrap();
            let target = b.bot.core().config.stacks[0].target();
            b.log.history(&target, &web).unwrap().releases.iter().all(|r| r.proven.is_some())
        })
        .await;
        answer(bot, BEN, &words.replace("RUN", &run.id.to_string()).replace("DENIED", &denied.id.to_string())).await
    });
    masked(&told)
}

#[test]
fn status_shows_what_runs_and_whether_it_is_well() {
    assert_snapshot!(looked("/status"));
}

#[test]
fn releases_show_where_one_can_go() {
    assert_snapshot!(looked("/releases api"));
}

#[test]
fn runs_are_listed_newest_first() {
    assert_snapshot!(looked("/runs list"));
}

#[test]
fn a_run_is_told_again_from_its_records() {
    assert_snapshot!(looked("/runs show RUN"));
}

#[test]
fn a_denied_run_says_who_denied_it_and_why() {
    assert_snapshot!(looked("/runs show DENIED"));
}

#[test]
fn the_record_of_a_run_is_shown() {
    assert_snapshot!(looked("/audit show RUN"));
}

#[test]
fn help_says_what_can_be_said() {
    assert_snapshot!(looked("/help"));
}

#[test]
fn help_about_one_command_says_how_it_is_said() {
    assert_snapshot!(looked("/help rollback"));
}

#[test]
fn help_about_the_rollback_of_an_image_shows_who_has_to_agree() {
    assert_snapshot!(looked("/help rollback image"));
}

#[test]
fn a_sick_service_is_seen_in_status() {
    let night = Night::after_a_bad_deploy();
    let told = night.live(async |bot| bot.ask(STRANGER, "/status").await);
    assert_snapshot!(masked(&told));
}

#[test]
fn releases_that_are_gone_from_the_host_say_so() {
    let night = Night::after_a_bad_deploy();
    let told = night.live(async |bot| {
        night.engine.remove_image(&bot.history().releases[0].handles.image).unwrap();
        bot.ask(AMAL, "/releases api").await
    });
    assert!(told.contains("gone from this host"), "{told}");
}

#[test]
fn a_service_without_releases_says_what_there_is() {
    let night = Night::after_a_bad_deploy();
    let told = night.live(async |bot| bot.ask(AMAL, "/releases apj").await);
    assert_eq!(told, "Nothing is on record for apj on shop@local.\nIt has: api, db, web.\nType /releases api");
}

#[test]
fn a_run_that_does_not_exist_says_where_runs_are() {
    let night = Night::after_a_bad_deploy();
    let told = night.live(async |bot| bot.ask(AMAL, "/runs show r999").await);
    assert_eq!(told, "There is no run r999.\nType /runs list");
}

#[test]
fn looking_leaves_no_run_and_no_record_of_a_refusal() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        for words in ["/status", "/releases api", "/runs list", "/help", "/audit show"] {
            bot.ask(AMAL, words).await;
        }
        assert!(bot.newest().is_none());
    });
    assert!(crate::cast::refusals(&night).is_empty());
}

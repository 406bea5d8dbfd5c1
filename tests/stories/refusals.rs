//! Requests for which there is no plan: each is refused with its cause, and with what to type next.

use insta::assert_snapshot;
use sternway::agent::sim::{Behaviour, ComposeService};
use sternway::agent::{EngineFacts, StoreKind};

use crate::cast::{answer, masked, records, refusals};
use crate::night::{AMAL, API, BEN, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";

/// What Amal is told when they ask for this, with nothing done and the refusal on record.
fn refused(night: &Night, words: &str) -> String {
    let before = (night.containers(), night.pin(), night.engine.behind(API));
    let known = refusals(night).len();
    let told = night.live(async |bot| {
        let told = answer(bot, AMAL, words).await;
        assert!(bot.newest().is_none_or(|r| r.ended()), "the request is still open");
        told
    });
    assert_eq!((night.containers(), night.pin(), night.engine.behind(API)), before, "something was done");
    assert_eq!(refusals(night).len(), known + 1, "the refusal is on record");
    masked(&told)
}

/// Somebody builds and deploys this version; then so many releases are on record.
fn deployed(night: &Night, version: &str, behaviour: Behaviour, releases: usize) {
    night.engine.image(&format!("shop/api:{version}"), behaviour);
    night.deploy(version);
    night.live(async |bot| bot.until("it is on record", |b| b.history().releases.len() == releases).await);
}

fn first_day() -> Night {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    night
}

#[test]
fn on_the_first_day_local_images_are_offered_as_unproven() {
    assert_snapshot!(refused(&first_day(), ROLLBACK));
}

#[test]
fn with_a_single_image_there_is_nothing_to_go_back_to() {
    let night = first_day();
    night.engine.remove_image("shop/api:1.1").unwrap();
    assert_snapshot!(refused(&night, ROLLBACK));
}

#[test]
fn a_release_that_was_never_proven_is_no_default_target() {
    let night = Night::new(Behaviour::Unhealthy, Behaviour::Healthy);
    night.live(async |bot| bot.until("on record", |b| b.history().releases.len() == 1).await);
    deployed(&night, "1.1", Behaviour::Healthy, 2);
    assert_snapshot!(refused(&night, ROLLBACK));
}

#[test]
fn a_release_that_a_rollback_left_is_no_default_target() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    night.deploy("1.1");
    night.live(async |bot| {
        bot.proven(2).await;
        bot.rollback(BEN, ROLLBACK, at_rest).await;
    });
    assert_snapshot!(refused(&night, ROLLBACK));
}

#[test]
fn a_tag_that_two_releases_had_is_ambiguous() {
    let night = Night::after_a_bad_deploy();
    // The same tag, built again.
    deployed(&night, "1.1", Behaviour::Unhealthy, 3);
    assert_snapshot!(refused(&night, "/rollback image api to 1.1"));
}

#[test]
fn what_runs_already_is_no_target() {
    assert_snapshot!(refused(&Night::after_a_bad_deploy(), "/rollback image api to 1.1"));
}

#[test]
fn a_target_that_nothing_fits_is_told_with_what_there_is() {
    assert_snapshot!(refused(&Night::after_a_bad_deploy(), "/rollback image api to 7.7"));
}

#[test]
fn an_image_of_a_foreign_repository_is_no_target() {
    let night = Night::after_a_bad_deploy();
    night.engine.image("evil/api:1.0", Behaviour::Healthy);
    assert_snapshot!(refused(&night, "/rollback image api to evil/api:1.0"));
}

#[test]
fn an_image_that_is_gone_cannot_be_gone_back_to() {
    let night = Night::after_a_bad_deploy();
    let image = night.live(async |bot| bot.history().releases[0].handles.image.clone());
    night.engine.remove_image(&image).unwrap();
    assert_snapshot!(refused(&night, ROLLBACK));
}

#[test]
fn an_image_for_another_platform_is_refused() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_facts(EngineFacts {
        version: "20.10.24".into(),
        api: "1.41".into(),
        os: "linux".into(),
        arch: "arm64".into(),
        store: StoreKind::GraphDriver,
    });
    assert_snapshot!(refused(&night, ROLLBACK));
}

#[test]
fn an_engine_that_does_not_answer_is_told_as_such() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_reachable(false);
    assert_snapshot!(refused(&night, ROLLBACK));
    night.engine.set_reachable(true);
}

#[test]
fn a_nearly_full_disk_is_refused_before_anything_is_touched() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_free_bytes(Some(100_000_000));
    assert_snapshot!(refused(&night, ROLLBACK));
}

#[test]
fn a_pin_file_that_is_gone_is_refused_before_anything_is_touched() {
    let night = Night::after_a_bad_deploy();
    std::fs::remove_file(night.env()).unwrap();
    let told = night.live(async |bot| answer(bot, AMAL, ROLLBACK).await);
    assert_snapshot!(masked(&told));
    assert_eq!(night.containers(), ["shop-api-1", "shop-db-1", "shop-web-1"]);
}

#[test]
fn an_unknown_service_is_told_with_the_nearest_one() {
    assert_snapshot!(refused(&Night::after_a_bad_deploy(), "/rollback image apj"));
}

#[test]
fn an_unknown_stack_is_told_with_those_there_are() {
    let night = Night::after_a_bad_deploy();
    let told = night.live(async |bot| answer(bot, AMAL, "/rollback image api@shpo").await);
    assert_snapshot!(masked(&told));
    assert!(records(&night, |e| matches!(e, sternway::domain::event::Event::Invoked { .. })).is_empty());
}

#[test]
fn recorded_settings_that_are_gone_are_refused() {
    let night = Night::after_a_bad_deploy();
    let specs = night.folder.path().join("agent/specs");
    assert!(specs.is_dir(), "the agent keeps its specs elsewhere");
    std::fs::remove_dir_all(&specs).unwrap();
    assert_snapshot!(refused(&night, "/rollback image api with recorded settings"));
}

#[test]
fn a_forged_label_is_shown_as_a_warning_and_decides_nothing() {
    let night = Night::after_a_bad_deploy();
    let labels = vec![("io.sternway.op".to_owned(), "swap \u{1b}[31m".to_owned())];
    let forged = ComposeService { labels, ..ComposeService::new("shop", "api", "shop/api:1.1", &[(API, 3000)]) };
    night.engine.compose(&forged).unwrap();
    let run = night.live(async |bot| {
        let told = answer(bot, AMAL, "/rollback plan image api").await;
        assert_snapshot!(masked(&told));
        bot.rollback(BEN, ROLLBACK, at_rest).await
    });
    assert!(crate::cast::done(&run), "{:?}", run.status);
    crate::cast::stands(&night, "1.0");
}

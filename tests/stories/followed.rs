//! Services that point at the one that is rolled back: `network_mode: service:api`, and one more by `volumes_from`.

use insta::assert_snapshot;
use sternway::agent::sim::{Behaviour, ComposeService};
use sternway::chat::sim::transcript;
use sternway::domain::event::Event;
use sternway::domain::run::{RunState, Status, StepState};

use crate::cast::{ASK, agreed, answer, done, inspect, masked, records, thread_of, undone};
use crate::night::{AMAL, BEN, Kind, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";

/// Both run and point at the containers of today.
fn they_follow(night: &Night) {
    for (name, key, of) in
        [("shop-sidecar-1", "NetworkMode", "shop-api-1"), ("shop-copier-1", "VolumesFrom", "shop-sidecar-1")]
    {
        let (one, host) = (inspect(night, name), inspect(night, of));
        let points = one["HostConfig"][key].to_string();
        assert!(points.contains(host["Id"].as_str().unwrap()), "{name} points at {points}, not at today's {of}");
        assert_eq!(one["State"]["Running"], true, "{name}");
        assert_eq!(one["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped", "{name}");
    }
}

#[test]
fn who_lives_in_the_service_moves_with_it_and_the_card_says_so() {
    let mut night = Night::after_a_bad_deploy_of(Kind::Followed);
    night.more_config = ASK.to_owned();
    let (plan, run) = agreed(&night);
    assert!(done(&run), "{:?}", run.status);
    they_follow(&night);
    assert_snapshot!(format!("{}\n\n{}", masked(&plan), masked(&transcript(&thread_of(&night, run.id)))));
}

#[test]
fn who_follows_runs_what_it_ran_and_no_release_of_it_is_told() {
    let night = Night::after_a_bad_deploy_of(Kind::Followed);
    night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, at_rest).await;
        assert!(done(&run), "{:?}", run.status);
        bot.clock_passes(120).await;
    });
    let moved = |e: &Event| match e {
        Event::ReleaseBack { service, .. } | Event::ReleaseLeft { service, .. } => service.as_str() != "api",
        _ => false,
    };
    assert_eq!(records(&night, moved).len(), 0);
    let seen = records(&night, |e| matches!(e, Event::ReleaseSeen { service, .. } if service.as_str() == "sidecar"));
    assert_eq!(seen.len(), 1, "{seen:?}");
}

#[test]
fn when_the_target_is_ill_they_come_back_with_the_service() {
    let night = Night::after_a_bad_deploy_of(Kind::Followed);
    night.engine.set_behaviour("shop/api:1.0", Behaviour::Unhealthy).unwrap();
    let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
    assert!(undone(&run), "{:?}", run.status);
    they_follow(&night);
}

#[test]
fn when_one_of_them_does_not_start_all_go_back_though_the_old_one_has_nowhere_to_live() {
    let night = Night::after_a_bad_deploy_of(Kind::Followed);
    night.engine.set_behaviour("shop/sidecar:1.0", Behaviour::Exits(3)).unwrap();
    let run = night.live(async |bot| {
        bot.say(BEN, ROLLBACK).await;
        let failed = |run: &RunState| {
            run.steps.iter().any(|s| !matches!(s, StepState::Waiting | StepState::Open | StepState::Done { .. }))
        };
        bot.until("it failed", |b| b.newest().is_some_and(|r| failed(&r))).await;
        night.engine.set_behaviour("shop/sidecar:1.0", Behaviour::Healthy).unwrap();
        let id = bot.newest().unwrap().id;
        bot.run_until(id, at_rest).await
    });
    assert!(undone(&run), "{:?}", run.status);
    let told = format!("{:?}", run.status);
    assert!(told.contains("stands, not running: what it points at is gone"), "{told}");
    they_follow(&night);
}

#[test]
fn when_one_of_them_cannot_be_made_again_the_run_is_stuck_and_names_it() {
    let night = Night::after_a_bad_deploy_of(Kind::Followed);
    night.engine.set_behaviour("shop/sidecar:1.0", Behaviour::Exits(3)).unwrap();
    let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
    assert!(matches!(run.status, Status::Stuck { .. }), "{:?}", run.status);
    let told = format!("{:?}", run.status);
    assert!(told.contains("recreate sidecar, which lives in api's network"), "{told}");
}

#[test]
fn who_follows_and_cannot_be_made_again_is_a_reason_to_do_nothing() {
    let night = Night::after_a_bad_deploy_of(Kind::Followed);
    let second = ComposeService {
        number: 2,
        lives_in: Some("api".to_owned()),
        ..ComposeService::new("shop", "sidecar", "shop/sidecar:1.0", &[])
    };
    night.engine.compose(&second).unwrap();
    let before = night.engine.names();
    let told = night.live(async |bot| answer(bot, AMAL, ROLLBACK).await);
    assert_eq!(night.engine.names(), before, "nothing may be touched");
    assert_snapshot!(masked(&told));
}

//! A service whose container somebody has removed: the plan starts from what should be there, and going back means none.

use insta::assert_snapshot;
use sternway::agent::sim::{Behaviour, ComposeService};
use sternway::chat::sim::transcript;
use sternway::domain::plan::StepAction;
use sternway::domain::run::RunState;

use crate::cast::{ASK, answer, done, masked, over, question, rows, stands, thread_of, undone, waits};
use crate::night::{AMAL, API, BEN, CARLA, Kind, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";

fn none_stands(night: &Night) {
    assert_eq!(night.containers(), ["shop-db-1", "shop-web-1"]);
    assert_eq!(night.pin(), "# the shop\nAPI_IMAGE=shop/api:1.1\nWEB_PORT=8080\n");
}

/// To which image its swaps go, and whether each makes a container.
fn swaps(run: &RunState) -> Vec<(String, bool)> {
    let steps = &run.plan.as_ref().unwrap_or_else(|| panic!("no plan: {:?}", run.status)).plan.steps;
    let swap = |s: &sternway::domain::plan::PlannedStep| match &s.action {
        StepAction::SwapService(swap) => Some((swap.to.reference.clone(), swap.missing)),
        _ => None,
    };
    steps.iter().filter_map(swap).collect()
}

#[test]
fn without_a_target_it_goes_to_the_previous_good_release_as_ever() {
    let mut night = Night::after_a_bad_deploy_of(Kind::Missing);
    night.more_config = ASK.to_owned();
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api because of errors", waits).await;
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(swaps(&run), [("shop/api:1.0".to_owned(), true)]);
    stands(&night, "1.0");
    for said in night.chat.said() {
        assert!(rows(&said.card) <= 12, "{} rows:\n{}", rows(&said.card), said.card.plain());
    }
    night.live(async |bot| {
        bot.clock_passes(60).await;
        let history = bot.history();
        assert_eq!(history.current, Some(history.releases[0].id));
        assert_eq!(history.releases[1].left_by, Some(run.id), "what it left is no default target any more");
    });
    assert_snapshot!(masked(&transcript(&thread_of(&night, run.id))));
}

#[test]
fn the_release_that_should_be_there_is_brought_back() {
    for word in ["release", "tag"] {
        let night = Night::after_a_bad_deploy_of(Kind::Missing);
        night.engine.set_behaviour("shop/api:1.1", Behaviour::Healthy).unwrap();
        let run = night.live(async |bot| {
            let word = if word == "tag" { "to 1.1".to_owned() } else { format!("to {}", bot.history().releases[1].id) };
            bot.rollback(BEN, &format!("{ROLLBACK} {word}"), |r| waits(r) || at_rest(r)).await
        });
        let run = match waits(&run) {
            true => night.live(async |bot| {
                bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
                bot.run_until(run.id, at_rest).await
            }),
            false => run,
        };
        assert!(done(&run), "{word}: {:?}", run.status);
        assert_eq!(swaps(&run), [("shop/api:1.1".to_owned(), true)]);
        stands(&night, "1.1");
        night.live(async |bot| {
            let history = bot.history();
            assert_eq!(history.current, Some(history.releases[1].id));
            assert_eq!(history.releases[1].left_by, None, "it was not left, but brought back");
        });
    }
}

#[test]
fn what_is_not_well_is_removed_again_and_told() {
    let night = Night::after_a_bad_deploy_of(Kind::Missing);
    night.engine.set_behaviour("shop/api:1.0", Behaviour::Unhealthy).unwrap();
    let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
    assert!(undone(&run), "{:?}", run.status);
    let told = format!("{:?}", run.status);
    assert!(told.contains("the new container was removed, and api has none again, as before"), "{told}");
    none_stands(&night);
}

#[test]
fn status_releases_and_a_dry_run_tell_that_it_is_gone() {
    let night = Night::after_a_bad_deploy_of(Kind::Missing);
    let told = night.live(async |bot| {
        bot.clock_passes(30).await;
        let mut told = Vec::new();
        for line in ["/status", "/releases api", "/rollback plan image api"] {
            told.push(masked(&answer(bot, BEN, line).await));
        }
        told.join("\n\n")
    });
    none_stands(&night);
    assert_snapshot!(told);
}

#[test]
fn after_a_week_nobody_misses_it() {
    let night = Night::after_a_bad_deploy_of(Kind::Missing);
    for _ in 0..8 * 24 {
        night.run(async {
            use sternway::clock::Clock;
            night.clock.sleep(std::time::Duration::from_secs(3_600)).await;
        });
    }
    let told = night.live(async |bot| answer(bot, BEN, "/status").await);
    assert!(!told.contains("api"), "{told}");
}

#[test]
fn all_copies_are_made_and_all_go_again_when_one_is_not_well() {
    let night = Night::after_a_bad_deploy_of(Kind::AllMissing);
    let run = night.live(async |bot| {
        bot.say(BEN, ROLLBACK).await;
        let second = |run: &RunState| {
            run.steps.iter().filter(|s| matches!(s, sternway::domain::run::StepState::Done { .. })).count() == 2
        };
        bot.until("the first was made", |b| b.newest().is_some_and(|r| second(&r))).await;
        night.engine.set_behaviour("shop/api:1.0", Behaviour::Exits(3)).unwrap();
        let id = bot.newest().unwrap().id;
        bot.run_until(id, at_rest).await
    });
    assert!(undone(&run), "{:?}", run.status);
    assert_eq!(swaps(&run).len(), 3);
    none_stands(&night);
}

#[test]
fn one_of_several_that_is_gone_is_told_and_not_made() {
    let night = Night::after_a_bad_deploy_of(Kind::Scaled);
    night.remove("shop-api-2");
    let (status, plan, run) = night.live(async |bot| {
        let status = answer(bot, BEN, "/status").await;
        let plan = answer(bot, BEN, "/rollback plan image api").await;
        (status, plan, bot.rollback(BEN, ROLLBACK, at_rest).await)
    });
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(swaps(&run).len(), 2);
    assert_eq!(night.containers(), ["shop-api-1", "shop-api-4", "shop-db-1", "shop-web-1"]);
    assert_snapshot!(format!("{}\n\n{}", masked(&status), masked(&plan)));
}

#[test]
fn with_nothing_earlier_it_is_told_how_it_is_brought_back() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    night.remove_the_api();
    let told = night.live(async |bot| answer(bot, AMAL, ROLLBACK).await);
    assert_snapshot!(masked(&told));
}

#[test]
fn without_recorded_settings_it_is_told_with_what_it_ran() {
    let night = Night::after_a_bad_deploy_of(Kind::Missing);
    std::fs::remove_dir_all(night.folder.path().join("agent/copies")).unwrap();
    let told = night.live(async |bot| answer(bot, AMAL, ROLLBACK).await);
    none_stands(&night);
    assert_snapshot!(masked(&told));
}

#[test]
fn somebody_who_brings_it_back_meanwhile_voids_the_plan() {
    let mut night = Night::after_a_bad_deploy_of(Kind::Missing);
    night.more_config = ASK.to_owned();
    night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        night.deploy("1.1");
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        let run = bot.run_until(run.id, over).await;
        let told = format!("{:?}", run.status);
        assert!(told.contains("api has a container again"), "{told}");
    });
}

#[test]
fn whoever_lived_in_it_is_named() {
    let night = Night::after_a_bad_deploy_of(Kind::Followed);
    night.remove("shop-api-1");
    let told = night.live(async |bot| answer(bot, AMAL, "/rollback plan image api").await);
    assert!(told.contains("sidecar lives in api's network, of the container that is gone."), "{told}");
    assert!(told.contains("docker compose up -d --no-deps --force-recreate sidecar"), "{told}");
}

#[test]
fn a_name_that_somebody_else_has_is_told_before_anything_is_done() {
    let night = Night::after_a_bad_deploy_of(Kind::Missing);
    night.run(async {
        use sternway::agent::engine::Engine;
        let body = serde_json::json!({"Image": "shop/web:1.0"});
        night.engine.create("shop-api-1", &body).await.unwrap();
    });
    let told = night.live(async |bot| answer(bot, AMAL, ROLLBACK).await);
    assert!(told.contains("a container with the name shop-api-1 is there, and is none of api"), "{told}");
}

#[test]
fn one_that_the_engine_is_removing_is_waited_for_and_then_made_anew() {
    for dead in [true, false] {
        let night = Night::after_a_bad_deploy();
        night.run(async {
            use sternway::agent::engine::Engine;
            night.engine.stop("shop-api-1", 0).await.unwrap();
        });
        night.engine.set_being_removed("shop-api-1", dead);
        let (told, status) =
            night.live(async |bot| (answer(bot, AMAL, ROLLBACK).await, answer(bot, AMAL, "/status").await));
        let wanted =
            if dead { "`docker rm -f shop-api-1`, then ask again" } else { "is being removed by someone else" };
        assert!(told.contains(wanted) && status.contains(wanted), "{told}\n{status}");
        night.remove("shop-api-1");
        let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
        assert!(done(&run), "{:?}", run.status);
        stands(&night, "1.0");
    }
}

#[test]
fn one_that_was_never_started_is_told_and_swapped() {
    let night = Night::after_a_bad_deploy_of(Kind::Missing);
    let api = ComposeService::new("shop", "api", "shop/api:1.1", &[(API, 3000)]);
    night.run(async {
        use sternway::agent::engine::Engine;
        let made = night.engine.compose(&api).unwrap();
        let body = night.engine.inspect(&made).await.unwrap().unwrap();
        let mut create = body["Config"].clone();
        create["HostConfig"] = body["HostConfig"].clone();
        create["NetworkingConfig"] = serde_json::json!({"EndpointsConfig": body["NetworkSettings"]["Networks"]});
        night.engine.stop(&made, 0).await.unwrap();
        night.engine.remove(&made).await.unwrap();
        night.engine.create("shop-api-1", &create).await.unwrap();
    });
    let told = night.live(async |bot| answer(bot, AMAL, "/rollback plan image api").await);
    assert!(told.contains("shop-api-1 was made and never started"), "{told}");
    let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
}

//! What a service has run is on record, whoever brought it.

use std::time::Duration;

use sternway::agent::sim::{Behaviour, ComposeService, EngineEnd, Generation};
use sternway::clock::Clock;
use sternway::domain::release::Origin;

use crate::cast::{done, stands};
use crate::night::{API, BEN, Living, Night, at_rest};

async fn pass(bot: &Living, seconds: u64) {
    bot.clock.sleep(Duration::from_secs(seconds)).await;
}

/// 1.0, then 1.1, both proven.
fn two_good_ones() -> Night {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    night.deploy("1.1");
    night.live(async |bot| bot.proven(2).await);
    night
}

async fn runs_version(bot: &Living, version: &str) {
    bot.until("it is seen", |b| {
        let history = b.history();
        let current = history.current.and_then(|id| history.get(id));
        current.is_some_and(|r| r.handles.reference.ends_with(version))
    })
    .await;
}

#[test]
fn what_compose_deploys_is_recorded_as_brought_by_compose() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| {
        bot.proven(1).await;
        night.deploy("1.1");
        bot.proven(2).await;
        let history = bot.history();
        assert!(history.releases.iter().all(|r| r.origin == Origin::Compose), "{history:?}");
        assert_eq!(history.current, Some(history.releases[1].id));
        assert!(history.releases[0].since < history.releases[1].since);
    });
}

#[test]
fn a_deploy_that_nobody_hinted_at_is_seen_all_the_same() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    night.deploy("1.1"); // while the bot is down
    night.live(async |bot| bot.until("it is seen", |b| b.history().releases.len() == 2).await);
}

/// What is on record, oldest first, the running one marked.
fn on_record(bot: &Living) -> Vec<String> {
    let history = bot.history();
    let word = |r: &sternway::domain::release::Release| {
        let tag = r.handles.reference.rsplit(':').next().unwrap().to_owned();
        if history.current == Some(r.id) { format!("{tag} runs") } else { tag }
    };
    history.releases.iter().map(word).collect()
}

/// 1.0 is on record; while the bot is down 1.1 comes, and then 1.2.
fn missed() -> Vec<String> {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.engine.image("shop/api:1.2", Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    night.run(async { night.clock.sleep(Duration::from_secs(3_600)).await });
    night.deploy("1.1");
    night.run(async { night.clock.sleep(Duration::from_secs(3_600)).await });
    night.deploy("1.2");
    night.live(async |bot| {
        runs_version(bot, "1.2").await;
        let all = on_record(bot);
        pass(bot, 60).await;
        assert_eq!(on_record(bot), all, "told once");
        let current = bot.history().current.unwrap();
        assert!(!bot.history().get(current).unwrap().spec.id.is_empty(), "what runs has its settings on record");
        let releases = bot.history().releases;
        assert!(releases.is_sorted_by_key(|r| r.since), "{releases:?}");
        all
    })
}

#[test]
fn what_came_and_went_while_we_were_down_is_on_record() {
    assert_eq!(missed(), ["1.0", "1.1", "1.2 runs"]);
}

#[test]
fn what_the_engine_forgot_is_not_made_up() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.engine.image("shop/api:1.2", Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    night.deploy("1.1");
    night.deploy("1.2");
    night.engine.restart_engine(EngineEnd::Orderly);
    night.live(async |bot| {
        runs_version(bot, "1.2").await;
        pass(bot, 60).await;
        assert_eq!(on_record(bot), ["1.0", "1.2 runs"]);
    });
}

#[test]
fn a_name_of_compose_v1_that_did_not_move_says_what_it_meant() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.engine.image("shop/api:1.2", Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    for version in ["1.1", "1.2"] {
        let mut api = ComposeService::new("shop", "api", &format!("shop/api:{version}"), &[(API, 3000)]);
        api.generation = Generation::V1;
        night.engine.compose(&api).unwrap();
    }
    night.live(async |bot| {
        runs_version(bot, "1.2").await;
        assert_eq!(on_record(bot), ["1.0", "1.1", "1.2 runs"]);
    });
}

#[test]
fn a_deploy_whose_image_nobody_knows_any_more_is_not_made_up() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.engine.image("shop/api:1.2", Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    night.deploy("1.1");
    night.deploy("1.2");
    night.engine.remove_image("shop/api:1.1").unwrap();
    night.live(async |bot| {
        runs_version(bot, "1.2").await;
        assert_eq!(on_record(bot), ["1.0", "1.2 runs"]);
    });
}

#[test]
fn two_deploys_between_two_looks_are_both_on_record() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.engine.image("shop/api:1.2", Behaviour::Healthy);
    night.live(async |bot| {
        bot.proven(1).await;
        night.deploy("1.1");
        night.deploy("1.2");
        runs_version(bot, "1.2").await;
        assert_eq!(on_record(bot), ["1.0", "1.1", "1.2 runs"]);
        // One can go there, with today's settings: its own are not known.
        let none = crate::cast::answer(bot, BEN, "/rollback image api to 1.1 with recorded settings").await;
        assert!(none.contains("No settings are recorded"), "{none}");
        let run = bot.rollback(BEN, "/rollback image api to 1.1", |r| r.open_approval().is_some()).await;
        assert!(!run.plan.unwrap().notes.proven);
    });
}

#[test]
fn a_tag_of_compose_v1_that_moved_since_says_nothing() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    let mut api = ComposeService::new("shop", "api", "shop/api:1.1", &[(API, 3000)]);
    api.generation = Generation::V1;
    night.engine.compose(&api).unwrap();
    night.run(async { night.clock.sleep(Duration::from_secs(60)).await });
    night.engine.image("shop/api:1.1", Behaviour::Healthy);
    night.engine.compose(&api).unwrap();
    night.live(async |bot| {
        bot.until("it is seen", |b| b.history().releases.len() == 2).await;
        pass(bot, 60).await;
        assert_eq!(on_record(bot), ["1.0", "1.1 runs"], "which image the first 1.1 was nobody can say");
    });
}

#[test]
fn our_own_swaps_are_not_taken_for_deploys_of_others() {
    let night = two_good_ones();
    night.live(async |bot| {
        assert!(done(&bot.rollback(BEN, "/rollback image api", at_rest).await));
        pass(bot, 60).await;
    });
    night.live(async |bot| {
        pass(bot, 60).await;
        assert_eq!(on_record(bot), ["1.0 runs", "1.1"]);
        assert!(bot.history().releases[1].left_by.is_some());
    });
}

#[test]
fn a_tag_that_was_built_anew_is_a_release_of_its_own() {
    let night = Night::after_a_bad_deploy();
    night.engine.image("shop/api:1.1", Behaviour::Healthy);
    night.deploy("1.1");
    night.live(async |bot| {
        bot.until("it is seen", |b| b.history().releases.len() == 3).await;
        let history = bot.history();
        assert_eq!(history.releases[1].handles.reference, history.releases[2].handles.reference);
        assert_ne!(history.releases[1].handles.fingerprint, history.releases[2].handles.fingerprint);
    });
}

#[test]
fn a_rollback_makes_no_new_release() {
    let night = two_good_ones();
    night.live(async |bot| {
        let run = bot.rollback(BEN, "/rollback image api", at_rest).await;
        pass(bot, 60).await;
        let history = bot.history();
        assert_eq!(history.releases.len(), 2);
        assert_eq!(history.current, Some(history.releases[0].id));
        assert_eq!(history.releases[1].left_by, Some(run.id));
    });
}

#[test]
fn a_release_is_proven_only_by_enough_good_answers_in_a_row() {
    // The first answer is good, and no other one.
    let night = Night::new(Behaviour::HealthyFor(500), Behaviour::Healthy);
    night.live(async |bot| {
        pass(bot, 120).await;
        assert_eq!(bot.history().releases.len(), 1);
        assert_eq!(bot.history().releases[0].proven, None, "one good answer of two was enough");
    });
    let night = Night::new(Behaviour::HealthyAfter(20_000), Behaviour::Healthy);
    night.live(async |bot| {
        pass(bot, 15).await;
        assert_eq!(bot.history().releases[0].proven, None);
        bot.proven(1).await;
    });
}

#[test]
fn a_service_that_cannot_be_asked_is_never_proven() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.live(async |bot| {
        pass(bot, 120).await;
        let target = bot.bot.core().config.stacks[0].target();
        let db = sternway::domain::names::ServiceName::parse("db").unwrap();
        let history = bot.log.history(&target, &db).unwrap();
        assert_eq!((history.releases.len(), history.releases[0].proven), (1, None));
    });
}

#[test]
fn a_release_that_is_deployed_anew_is_a_target_again() {
    let night = two_good_ones();
    night.live(async |bot| assert!(done(&bot.rollback(BEN, "/rollback image api", at_rest).await)));
    night.deploy("1.1");
    night.live(async |bot| {
        runs_version(bot, "1.1").await;
        assert_eq!(bot.history().releases[1].left_by, None);
    });
    night.engine.image("shop/api:1.2", Behaviour::Unhealthy);
    night.deploy("1.2");
    night.live(async |bot| {
        runs_version(bot, "1.2").await;
        assert!(done(&bot.rollback(BEN, "/rollback image api", at_rest).await));
    });
    stands(&night, "1.1");
}

#[test]
fn a_release_that_a_run_once_brought_is_cleared_by_a_deploy_too() {
    let night = two_good_ones();
    night.live(async |bot| {
        assert!(done(&bot.rollback(BEN, "/rollback image api to 1.0", at_rest).await));
        assert!(done(&bot.rollback(BEN, "/rollback image api to 1.1", at_rest).await));
        assert!(bot.history().releases[0].left_by.is_some());
        assert!(bot.history().releases[1].left_by.is_none(), "somebody wanted it back");
    });
    night.deploy("1.0");
    night.live(async |bot| {
        runs_version(bot, "1.0").await;
        assert_eq!(bot.history().releases[0].left_by, None);
    });
}

#[test]
fn images_on_record_survive_a_prune() {
    let night = Night::after_a_bad_deploy();
    night.engine.prune_images();
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_rest).await);
    assert!(done(&run), "{:?}", run.status);
    assert!(night.engine.answers(API));
}

#[test]
fn after_a_rollback_the_service_is_still_called_by_its_teams_name() {
    let night = two_good_ones();
    night.live(async |bot| {
        assert!(done(&bot.rollback(BEN, "/rollback image api", at_rest).await));
        let run = bot.rollback(BEN, "/rollback plan image api to 1.1", crate::cast::over).await;
        let card = crate::cast::answer(bot, BEN, &format!("/runs show {}", run.id)).await;
        assert!(card.contains("from shop/api:1.0 "), "{card}");
        assert!(!card.contains("no longer means this image"), "{card}");
        let status = bot.ask(BEN, "/status").await;
        assert!(status.contains("api shop/api:1.0 rel"), "{status}");
    });
}

#[test]
fn an_image_with_two_tags_is_found_by_the_one_on_record() {
    let night = Night::after_a_bad_deploy();
    // Somebody tags the old image once more; the name on record still stands for it.
    night.engine.retag("shop/api:0-stable", "shop/api:1.0").unwrap();
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_rest).await);
    assert_eq!(run.plan.as_ref().unwrap().notes.warnings, Vec::<String>::new());
    stands(&night, "1.0");
}

#[test]
fn a_container_that_is_only_restarted_is_no_release() {
    let night = two_good_ones();
    let mut api = ComposeService::new("shop", "api", "shop/api:1.1", &[(API, 3000)]);
    api.environment = vec!["LOG=debug".to_owned()];
    night.live(async |bot| {
        night.engine.compose(&api).unwrap();
        pass(bot, 60).await;
        assert_eq!(bot.history().releases.len(), 2);
    });
}

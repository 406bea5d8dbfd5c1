//! The world moves between plan and act: nothing is done, the difference is shown, people are asked again.

use insta::assert_snapshot;
use sternway::agent::sim::{Behaviour, ComposeService};
use sternway::chat::sim::transcript;
use sternway::domain::event::Outcome;
use sternway::domain::ids::RunId;
use sternway::domain::plan::StepAction;
use sternway::domain::run::RunState;

use crate::cast::{asking, done, masked, orders, outcome, over, question, refusals, stands, thread_of, waits};
use crate::night::{AMAL, API, CARLA, Living, Night, at_rest};

/// Everybody agrees, and the run ends void; gives its differences.
async fn agreed_in_vain(bot: &Living, run: &RunState) -> Vec<String> {
    bot.ask(CARLA, &format!("/approve {}", question(run))).await;
    let run = bot.run_until(run.id, over).await;
    match outcome(&run) {
        Outcome::Void { differences } => differences.clone(),
        other => panic!("{} ended with {other:?}", run.id),
    }
}

/// The request that was made for `id` by itself, once it stands somewhere.
async fn asked_again(bot: &Living, id: RunId, stands: impl Fn(&RunState) -> bool) -> RunState {
    bot.until("it is asked again", |b| b.newest().is_some_and(|r| r.id > id && stands(&r))).await;
    bot.newest().unwrap()
}

fn from(run: &RunState) -> &str {
    let swap = run.plan.as_ref().unwrap().plan.steps.iter().find_map(|s| match &s.action {
        StepAction::SwapService(swap) => Some(swap),
        _ => None,
    });
    &swap.unwrap().from.reference
}

#[test]
fn a_foreign_deploy_after_the_plan_voids_the_approval_and_people_are_asked_again() {
    let night = asking();
    let (first, second) = night.live(async |bot| {
        let first = bot.rollback(AMAL, "/rollback image api because of errors", waits).await;
        night.engine.image("shop/api:1.2", Behaviour::Unhealthy);
        night.deploy("1.2");
        let differences = agreed_in_vain(bot, &first).await;
        assert!(differences[0].starts_with("api now runs shop/api:1.2 ("), "{differences:?}");
        assert!(differences[0].contains(") instead of shop/api:1.1 ("), "{differences:?}");
        let second = asked_again(bot, first.id, waits).await;
        // The old approval is worth nothing for the new plan.
        let told = bot.ask(CARLA, &format!("/approve {}", question(&first))).await;
        assert!(told.contains("was decided already"), "{told}");
        assert_eq!(orders(&night, second.id), 0);
        bot.ask(CARLA, &format!("/approve {}", question(&second))).await;
        (first, bot.run_until(second.id, at_rest).await)
    });
    assert_eq!(orders(&night, first.id), 0);
    assert_eq!((from(&first), from(&second)), ("shop/api:1.1", "shop/api:1.2"));
    assert_ne!(first.plan.unwrap().hash, second.plan.as_ref().unwrap().hash);
    assert!(done(&second), "{:?}", second.status);
    stands(&night, "1.0");
    assert_snapshot!(masked(&transcript(&thread_of(&night, first.id))));
}

#[test]
fn people_are_asked_again_three_times_and_no_more() {
    let night = asking();
    let runs = night.live(async |bot| {
        let mut run = bot.rollback(AMAL, "/rollback image api", waits).await;
        for version in ["1.2", "1.3", "1.4"] {
            night.engine.image(&format!("shop/api:{version}"), Behaviour::Unhealthy);
            night.deploy(version);
            agreed_in_vain(bot, &run).await;
            run = asked_again(bot, run.id, waits).await;
        }
        night.engine.image("shop/api:1.5", Behaviour::Unhealthy);
        night.deploy("1.5");
        let last = agreed_in_vain(bot, &run).await;
        assert_eq!(last.last().unwrap(), "it keeps moving: ask again when nobody deploys");
        bot.log.runs(10).unwrap()
    });
    assert_eq!(runs.len(), 4);
    assert!(runs.iter().all(|r| orders(&night, r.id) == 0));
    stands(&night, "1.5");
}

#[test]
fn another_container_of_the_same_image_voids_the_approval() {
    let night = asking();
    night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api", waits).await;
        let mut other = ComposeService::new("shop", "api", "shop/api:1.1", &[(API, 3000)]);
        other.environment = vec!["LOG=debug".to_owned()];
        night.engine.compose(&other).unwrap();
        assert_eq!(agreed_in_vain(bot, &run).await, ["api's container was replaced by another one"]);
        asked_again(bot, run.id, waits).await;
    });
    stands(&night, "1.1");
}

#[test]
fn a_changed_pin_voids_the_approval() {
    let night = asking();
    night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api", waits).await;
        std::fs::write(night.env(), "API_IMAGE=shop/api:9\n").unwrap();
        assert_eq!(agreed_in_vain(bot, &run).await, ["API_IMAGE in .env was changed"]);
    });
    assert_eq!(night.pin(), "API_IMAGE=shop/api:9\n");
}

#[test]
fn a_tag_that_moved_voids_the_approval_and_is_never_trusted() {
    let night = asking();
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api", waits).await;
        // Somebody builds another image under the tag that the plan goes to.
        night.engine.image("shop/api:1.0", Behaviour::Exits(1));
        let differences = agreed_in_vain(bot, &run).await;
        assert_eq!(differences, ["another value would be written to API_IMAGE in .env"]);
        let again = asked_again(bot, run.id, waits).await;
        let warnings = &again.plan.as_ref().unwrap().notes.warnings;
        assert!(warnings[0].contains("the tag shop/api:1.0 no longer means this image"), "{warnings:?}");
        bot.ask(CARLA, &format!("/approve {}", question(&again))).await;
        bot.run_until(again.id, at_rest).await
    });
    assert!(done(&run), "the old image was there all the time: {:?}", run.status);
    assert!(night.engine.answers(API));
}

#[test]
fn an_image_that_is_gone_after_the_plan_voids_the_approval_and_the_new_request_is_refused() {
    let night = asking();
    let again = night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api", waits).await;
        let image = bot.history().releases[0].handles.image.clone();
        night.engine.remove_image(&image).unwrap();
        let differences = agreed_in_vain(bot, &run).await;
        assert!(differences[0].contains("is gone from this host"), "{differences:?}");
        asked_again(bot, run.id, over).await
    });
    assert!(matches!(outcome(&again), Outcome::Refused { .. }), "{:?}", again.status);
    assert!(refusals(&night).iter().any(|why| why.contains("is gone from this host")));
    stands_with_old_image_gone(&night);
}

fn stands_with_old_image_gone(night: &Night) {
    assert_eq!(night.containers(), ["shop-api-1", "shop-db-1", "shop-web-1"]);
    assert!(night.pin().contains("API_IMAGE=shop/api:1.1"));
}

#[test]
fn a_config_that_changed_while_votes_were_missing_voids_the_approval() {
    let mut night = asking();
    let run = night.live(async |bot| bot.rollback(AMAL, "/rollback image api", waits).await);
    night.more_config = crate::cast::ASK_TWO.to_owned();
    night.live(async |bot| {
        let differences = agreed_in_vain(bot, &run).await;
        assert_eq!(differences, ["the config was changed"]);
        let again = asked_again(bot, run.id, waits).await;
        assert_eq!(again.approval.unwrap().needs.count, 2, "the new config's rule holds for the new request");
    });
    stands(&night, "1.1");
}

#[test]
fn an_engine_that_does_not_answer_under_the_claim_lets_go_of_the_stack() {
    let night = asking();
    night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api", waits).await;
        night.engine.set_reachable(false);
        let differences = agreed_in_vain(bot, &run).await;
        assert!(differences[0].contains("Nothing was done."), "{differences:?}");
        let target = bot.bot.core().config.stacks[0].target();
        assert!(bot.log.holder(&target).unwrap().is_none());
        asked_again(bot, run.id, over).await;
        night.engine.set_reachable(true);
    });
    stands(&night, "1.1");
}

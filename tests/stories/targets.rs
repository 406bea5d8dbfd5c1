//! How a person names what to go back to.

use std::time::Duration;

use sternway::agent::sim::Behaviour;
use sternway::clock::Clock;
use sternway::domain::plan::{PlanNotes, StepAction};
use sternway::domain::run::RunState;

use crate::cast::{answer, done, over, question, stands, waits};
use crate::night::{AMAL, BEN, CARLA, Living, Night, at_rest};

fn to(run: &RunState) -> (String, PlanNotes) {
    let planned = run.plan.as_ref().unwrap_or_else(|| panic!("no plan: {:?}", run.status));
    let swap = planned.plan.steps.iter().find_map(|s| match &s.action {
        StepAction::SwapService(swap) => Some(swap.to.reference.clone()),
        _ => None,
    });
    (swap.unwrap(), planned.notes.clone())
}

/// Where a dry run with these words would go.
async fn leads_to(bot: &Living, target: &str) -> String {
    let run = bot.rollback(AMAL, &format!("/rollback plan image api {target}"), over).await;
    to(&run).0
}

fn pass_time(night: &Night, minutes: u64) {
    night.run(async { night.clock.sleep(Duration::from_secs(60 * minutes)).await });
}

/// 1.0 from 01:00, 1.1 from about 01:40, 1.2 from about 02:00; the first two proven.
fn three_releases() -> Night {
    let night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.engine.image("shop/api:1.2", Behaviour::Unhealthy);
    night.live(async |bot| bot.proven(1).await);
    pass_time(&night, 40);
    night.deploy("1.1");
    night.live(async |bot| bot.proven(2).await);
    pass_time(&night, 20);
    night.deploy("1.2");
    night.live(async |bot| bot.until("1.2 is on record", |b| b.history().releases.len() == 3).await);
    night
}

#[test]
fn a_target_is_named_by_release_tag_reference_digest_or_time() {
    let night = three_releases();
    night.live(async |bot| {
        let first = bot.history().releases[0].clone();
        let image = &first.handles.image;
        assert!(image.starts_with("sha256:"));
        for (said, wanted) in [
            (String::new(), "shop/api:1.1"),
            (format!("to {}", first.id), "shop/api:1.0"),
            (first.id.to_string(), "shop/api:1.0"),
            ("to 1.0".to_owned(), "shop/api:1.0"),
            ("to shop/api:1.1".to_owned(), "shop/api:1.1"),
            (format!("to {image}"), "shop/api:1.0"),
            (format!("to {}", &image[..19]), "shop/api:1.0"),
            (format!("to sha256:{}", first.handles.fingerprint), "shop/api:1.0"),
            (format!("to {}", first.handles.fingerprint.short()), "shop/api:1.0"),
            ("to @01:30".to_owned(), "shop/api:1.0"),
            ("to @01:50".to_owned(), "shop/api:1.1"),
        ] {
            assert_eq!(leads_to(bot, &said).await, wanted, "{said}");
        }
    });
}

#[test]
fn a_time_before_anything_ran_fits_nothing() {
    let night = three_releases();
    let told = night.live(async |bot| answer(bot, AMAL, "/rollback image api to @00:30").await);
    assert!(told.starts_with("No release of api fits that."), "{told}");
}

#[test]
fn a_time_after_a_rollback_means_what_the_rollback_brought() {
    let night = three_releases();
    night.live(async |bot| {
        let run = bot.rollback(BEN, "/rollback image api to 1.0", at_rest).await;
        assert!(done(&run));
    });
    pass_time(&night, 60);
    night.engine.image("shop/api:1.3", Behaviour::Unhealthy);
    night.deploy("1.3");
    night.live(async |bot| {
        bot.until("1.3 is on record", |b| b.history().releases.len() == 4).await;
        assert_eq!(leads_to(bot, "to @02:30").await, "shop/api:1.0");
        assert_eq!(leads_to(bot, "to @01:50").await, "shop/api:1.1");
    });
}

#[test]
fn a_time_is_understood_on_the_speakers_clock() {
    let mut night = three_releases();
    night.more_config =
        "[[person]]\nid = \"emad\"\nroles = [\"on-call\"]\nzone = \"Asia/Riyadh\"\naccounts = { console = [\"uid:7\"] }\n"
            .to_owned();
    night.live(async |bot| {
        let run = bot.rollback("uid:7", "/rollback plan image api to @04:30", over).await;
        assert_eq!(to(&run).0, "shop/api:1.0", "04:30 in Riyadh is 01:30 UTC");
    });
}

#[test]
fn a_local_image_of_an_allowed_repository_is_taken_as_unproven_after_a_vote() {
    let mut night = Night::after_a_bad_deploy();
    night.engine.image("shop/api:0.9", Behaviour::Healthy);
    let told = night.live(async |bot| bot.ask(AMAL, "/rollback plan image api to 0.9").await);
    assert!(told.contains("No release of api fits that"), "with releases on record the config has to allow it: {told}");
    night.more_config = "repositories = [\"shop/api\"]\n".to_owned();
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api to 0.9", waits).await;
        let (reference, notes) = to(&run);
        assert_eq!(reference, "shop/api:0.9");
        assert!(notes.to_release.is_none() && !notes.proven);
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        let run = bot.run_until(run.id, at_rest).await;
        bot.until("it is on record", |b| b.history().releases.len() == 3).await;
        let release = bot.history().releases[2].clone();
        assert_eq!(release.origin, sternway::domain::release::Origin::Run { run: run.id });
        run
    });
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "0.9");
}

#[test]
fn recorded_settings_are_those_the_release_ran_with() {
    use sternway::agent::sim::ComposeService;
    let night = Night::after_a_bad_deploy();
    // Since then somebody rotated a password: 1.1 runs with the new one.
    let mut api = ComposeService::new("shop", "api", "shop/api:1.1", &[(crate::night::API, 3000)]);
    api.environment = vec!["PASSWORD=new".to_owned()];
    night.engine.compose(&api).unwrap();
    let told = night.live(async |bot| {
        let today = bot.rollback(AMAL, "/rollback plan image api", over).await;
        let recorded = bot.rollback(AMAL, "/rollback plan image api with recorded settings", over).await;
        assert_ne!(today.plan.unwrap().hash, recorded.plan.as_ref().unwrap().hash);
        let run = bot.rollback(BEN, "/rollback image api with recorded settings", at_rest).await;
        assert!(done(&run), "{:?}", run.status);
        answer(bot, AMAL, &format!("/runs show {}", run.id)).await
    });
    assert!(!told.contains("PASSWORD=new"), "{told}");
    stands(&night, "1.0");
}

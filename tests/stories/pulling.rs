//! A release whose image is gone from the host comes back by digest, or is refused in a sentence before anything stops.

use sternway::agent::sim::{Behaviour, RegistryMood};
use sternway::domain::event::Outcome;
use sternway::domain::plan::StepAction;

use crate::cast::{ASK, answer, done, night_with, orders, outcome, over, question, stands, undone, waits};
use crate::night::{API, BEN, CARLA, Night, at_rest};

const REPOSITORY: &str = "registry.example/shop/api";

/// The usual night; the good 1.0 came from a registry, and everything unused was pruned from the host.
fn gone() -> Night {
    gone_with("")
}

fn gone_with(more: &str) -> Night {
    let mut night = Night::new(Behaviour::Healthy, Behaviour::Unhealthy);
    night.more_config = more.to_owned();
    night.engine.push("shop/api:1.0", REPOSITORY).unwrap();
    night.live(async |bot| bot.proven(1).await);
    night.deploy("1.1");
    night.live(async |bot| bot.until("1.1 is on record", |b| b.history().releases.len() == 2).await);
    vanish(&night);
    night
}

/// `docker system prune -a`: containers that do not run, our pins among them, then images.
fn vanish(night: &Night) {
    night.engine.prune_containers();
    let went = night.engine.prune_images();
    assert!(!went.is_empty());
}

#[test]
fn a_release_that_is_gone_is_pulled_first_and_kept_at_once() {
    let night = gone();
    let run = night.live(async |bot| {
        let releases = answer(bot, BEN, "/releases api").await;
        assert!(releases.contains("gone from this host, its registry may have it"), "{releases}");
        bot.rollback(BEN, "/rollback image api", at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
    let steps = &run.plan.as_ref().unwrap().plan.steps;
    assert!(
        matches!(&steps[0].action, StepAction::PullImage { from, .. } if from.starts_with(REPOSITORY)),
        "{steps:?}"
    );
    assert!(night.engine.answers(API));
    // The next `up` finds the image by the digest that is pinned.
    assert!(night.pin().contains(&format!("API_IMAGE={REPOSITORY}@sha256:")), "{}", night.pin());
    night.engine.prune_images();
    assert!(night.engine.names().iter().any(|n| n.starts_with("io.sternway.pin-shop-api")));
}

#[test]
fn each_no_of_a_registry_is_a_sentence_and_nothing_is_touched() {
    for (mood, words) in [
        (RegistryMood::Down, "the registry registry.example cannot be reached from the engine"),
        (RegistryMood::Silent, "the registry registry.example does not answer in time"),
        (RegistryMood::Locked, "the registry registry.example wants a login"),
        (RegistryMood::Limited, "says that too much was asked of it"),
        (RegistryMood::Empty, "the registry registry.example does not have registry.example/shop/api@sha256:"),
    ] {
        let night = gone();
        let (before, behind) = (night.containers(), night.engine.behind(API));
        night.engine.set_registry(mood);
        let told = night.live(async |bot| answer(bot, BEN, "/rollback image api").await);
        assert!(told.contains("is gone from this host and cannot be pulled"), "{mood:?}: {told}");
        assert!(told.contains(words) && told.contains("Nothing was touched"), "{mood:?}: {told}");
        assert_eq!(orders(&night, night.log_newest()), 0);
        assert_eq!((night.containers(), night.engine.behind(API)), (before, behind), "{mood:?}");
    }
}

#[test]
fn a_registry_that_fails_after_the_plan_stops_nothing() {
    let night = gone();
    let behind = night.engine.behind(API);
    night.engine.set_registry(RegistryMood::LimitedLate);
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_rest).await);
    let Outcome::Undone { why } = outcome(&run) else { panic!("{:?}", run.status) };
    assert!(undone(&run) && why.contains("too much was asked of it") && why.contains("Nothing was stopped"), "{why}");
    assert_eq!(orders(&night, run.id), 1, "the pull, and nothing behind it");
    assert_eq!(night.engine.behind(API), behind);
    stands_still(&night);
}

fn stands_still(night: &Night) {
    assert_eq!(night.containers(), ["shop-api-1", "shop-db-1", "shop-web-1"]);
    assert!(night.pin().contains("API_IMAGE=shop/api:1.1"));
}

#[test]
fn a_registry_that_goes_while_people_decide_voids_the_plan() {
    let night = gone_with(ASK);
    night.live(async |bot| {
        let run = bot.rollback(BEN, "/rollback image api", waits).await;
        night.engine.set_registry(RegistryMood::Down);
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        let run = bot.run_until(run.id, over).await;
        let Outcome::Void { differences } = outcome(&run) else { panic!("{:?}", run.status) };
        assert!(differences[0].contains("cannot be pulled"), "{differences:?}");
    });
    stands_still(&night);
}

#[test]
fn an_image_that_never_was_in_a_registry_is_gone_and_nothing_is_made_up() {
    let night = night_with("");
    vanish(&night);
    let told = night.live(async |bot| answer(bot, BEN, "/rollback image api").await);
    assert!(told.contains("The image of shop/api:1.0 is gone from this host.") && !told.contains("pull"), "{told}");
}

#[test]
fn an_image_that_is_here_is_never_pulled() {
    let night = Night::new(Behaviour::Healthy, Behaviour::Unhealthy);
    night.engine.push("shop/api:1.0", REPOSITORY).unwrap();
    night.live(async |bot| bot.proven(1).await);
    night.deploy("1.1");
    night.engine.set_registry(RegistryMood::Down);
    let run = night.live(async |bot| {
        bot.until("1.1 is on record", |b| b.history().releases.len() == 2).await;
        bot.rollback(BEN, "/rollback image api", at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
}

#[test]
fn a_store_that_was_switched_under_us_is_an_alarm_and_nothing_counts_as_gone() {
    let night = Night::after_a_bad_deploy();
    night.engine.switch_store();
    night.live(async |bot| {
        let history = bot.history();
        let status = answer(bot, BEN, "/status").await;
        assert!(
            status.contains("ALARM: the engine's image store was switched from graph driver to containerd"),
            "{status}"
        );
        let releases = answer(bot, BEN, "/releases api").await;
        assert!(releases.contains("hidden in the graph driver image store"), "{releases}");
        assert!(releases.contains("ALARM") && !releases.contains("gone from this host"), "{releases}");
        bot.clock_passes(3_700).await;
        assert_eq!(bot.history(), history, "nothing new is on record");
    });
    // The team deploys the bad one anew in the new store; the good one is still in the other.
    night.engine.image("shop/api:1.1", Behaviour::Unhealthy);
    night.engine.compose_redeploy("shop", "api", "shop/api:1.1").unwrap();
    let told = night.live(async |bot| answer(bot, BEN, "/rollback image api to 1.0").await);
    assert!(told.contains("is not seen on this host") && told.contains("Alarm"), "{told}");
    assert!(!told.contains("is gone from"), "{told}");
    night.engine.switch_store();
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api to 1.0", at_rest).await);
    assert!(done(&run), "{:?}", run.status);
}

//! Services that depend on the one that is rolled back with `restart: true`, and one more that so depends on the first.

use insta::assert_snapshot;
use sternway::agent::sim::Behaviour;
use sternway::chat::sim::transcript;

use crate::cast::{ASK, agreed, done, inspect, masked, thread_of, undone};
use crate::night::{BEN, Kind, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";

fn started(night: &Night, name: &str) -> jiff::Timestamp {
    inspect(night, name)["State"]["StartedAt"].as_str().unwrap().parse().unwrap()
}

/// Worker and mailer were started in their order after the API of today; the idler stands as it stood.
fn they_restarted(night: &Night) {
    let [api, worker, mailer] = ["shop-api-1", "shop-worker-1", "shop-mailer-1"].map(|name| {
        assert_eq!(inspect(night, name)["State"]["Running"], true, "{name}");
        started(night, name)
    });
    assert!(api < worker && worker < mailer, "{api} {worker} {mailer}");
    assert_eq!(inspect(night, "shop-idler-1")["State"]["Running"], false, "who is stopped stays so");
}

#[test]
fn who_restarts_with_the_service_is_restarted_by_the_run_and_the_card_says_so() {
    let mut night = Night::after_a_bad_deploy_of(Kind::Restarting);
    night.more_config = ASK.to_owned();
    let (plan, run) = agreed(&night);
    assert!(done(&run), "{:?}", run.status);
    they_restarted(&night);
    assert_snapshot!(format!("{}\n\n{}", masked(&plan), masked(&transcript(&thread_of(&night, run.id)))));
}

#[test]
fn when_the_target_is_ill_they_are_restarted_after_the_old_one_is_back() {
    let night = Night::after_a_bad_deploy_of(Kind::Restarting);
    night.engine.set_behaviour("shop/api:1.0", Behaviour::Unhealthy).unwrap();
    let before = started(&night, "shop-worker-1");
    let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
    assert!(undone(&run), "{:?}", run.status);
    they_restarted(&night);
    assert!(started(&night, "shop-worker-1") > before, "its connections were cut");
}

#[test]
fn when_one_of_them_does_not_come_up_well_all_go_back() {
    let mut night = Night::after_a_bad_deploy_of(Kind::Restarting);
    night.more_config =
        "[stack.service.worker]\nhealth = { port = 9 }\ninterval = \"200ms\"\ndeadline = \"2s\"\n".to_owned();
    let run = night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await);
    assert!(undone(&run), "{:?}", run.status);
    let told = format!("{:?}", run.status);
    assert!(told.contains("shop-worker-1"), "{told}");
    they_restarted(&night);
}

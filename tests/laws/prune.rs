//! The laws for `/releases prune`. It frees what cannot be brought back, so the third law reads: a failure before
//! anything went leaves the world as it was; one after it ends stuck and says what went.

use std::sync::Arc;

use sternway::agent::Act;
use sternway::agent::sim::Behaviour;
use sternway::domain::run::{RunState, Status};

use super::hands::{self, Dying, Failing, Half, Twice};
use super::night::{BEN, CARLA, Living, Night, at_rest};
use super::{done, undone};

/// 1.0 is old, has no tag but ours, and is to be let go of.
fn full() -> Night {
    let mut night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.of_sternway = "keep_releases = 2".to_owned();
    night.engine.image("shop/api:1.2", Behaviour::Healthy);
    night.live(async |bot| bot.proven(1).await);
    for (i, version) in ["1.1", "1.2"].iter().enumerate() {
        night.deploy(version);
        night.live(async |bot| bot.proven(i + 2).await);
    }
    night.engine.remove_image("shop/api:1.0").unwrap();
    night
}

fn kept(night: &Night) -> usize {
    night.engine.names().iter().filter(|n| n.starts_with("io.sternway.pin-shop-api")).count()
}

async fn prune(bot: &Living) -> RunState {
    let run = bot.rollback(BEN, "/releases prune api", |r| r.open_approval().is_some()).await;
    vote(bot, &run).await;
    bot.run_until(run.id, at_rest).await
}

async fn vote(bot: &Living, run: &RunState) {
    let approval = run.approval.as_ref().unwrap().id;
    bot.say(CARLA, &format!("/approve {approval}")).await;
}

fn with(night: &Night, hands: impl Fn(Arc<dyn Act>) -> Arc<dyn Act>) -> RunState {
    night.live_with(Arc::clone(&night.log) as _, |hosts| hands::replace(hosts, hands), async |bot| prune(bot).await)
}

#[test]
fn it_succeeds_once_and_twice() {
    let night = full();
    assert!(done(&night.live(async |bot| prune(bot).await)));
    assert_eq!(kept(&night), 2);
    let night = full();
    let run = with(&night, |act| Arc::new(Twice(act)) as Arc<dyn Act>);
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(kept(&night), 2);
}

#[test]
fn failing_leaves_the_world_as_it_was_or_says_what_went() {
    let night = full();
    let run = with(&night, |act| Arc::new(Failing::new(act, 0, Half::Before)) as Arc<dyn Act>);
    assert!(undone(&run), "{:?}", run.status);
    assert_eq!(kept(&night), 3);

    let night = full();
    let run = with(&night, |act| Arc::new(Failing::new(act, 0, Half::After)) as Arc<dyn Act>);
    let Status::Stuck { why, .. } = &run.status else { panic!("{:?}", run.status) };
    assert!(why.contains("shop/api:1.0 went from this host and cannot be brought back"), "{why}");
}

#[test]
fn killed_after_any_record_it_recovers_to_the_same_end() {
    let night = full();
    let counting = Dying::after(Arc::clone(&night.log) as _, usize::MAX);
    night.live_with(Arc::clone(&counting) as _, |hosts| hosts, async |bot| drop(prune(bot).await));
    let records = counting.appends() - 1;
    assert!(records > 6, "an uninterrupted prune writes only {records} records");
    for kill_after in 1..=records {
        let night = full();
        let before = night.log_newest_id();
        let dying = Dying::after(Arc::clone(&night.log) as _, kill_after);
        let dead = dying.dead();
        night.die_when(Arc::clone(&dying) as _, |hosts| hosts, async |bot| drop(prune(bot).await), dead);
        assert!(dying.is_dead(), "the log was not written {kill_after} times");
        let run = night.live(async |bot| {
            let Some(run) = bot.newest().filter(|r| Some(r.id) != before) else { return prune(bot).await };
            let run = bot.run_until(run.id, |r| r.open_approval().is_some() || r.agreed() && r.plan.is_some()).await;
            if run.open_approval().is_some() {
                vote(bot, &run).await;
            }
            bot.run_until(run.id, at_rest).await
        });
        assert!(done(&run), "killed after record {kill_after}: {:?}", run.status);
        assert_eq!(kept(&night), 2, "killed after record {kill_after}");
    }
}

//! The newest releases are kept from being pruned; older ones are let go of when somebody says so, and never otherwise.

use insta::assert_snapshot;
use serde_json::json;
use sternway::agent::engine::Engine;
use sternway::agent::sim::Behaviour;
use sternway::domain::run::RunState;

use crate::cast::{answer, done, masked, orders, over, question, refusals, waits};
use crate::night::{BEN, CARLA, Living, Night, at_rest};

const PRUNE: &str = "/releases prune api because the disk is full";

/// 1.0 to 1.3, all proven; the newest two are kept and what a rollback would go to.
pub(crate) fn four_releases() -> Night {
    let mut night = Night::new(Behaviour::Healthy, Behaviour::Healthy);
    night.of_sternway = "keep_releases = 2".to_owned();
    for version in ["1.2", "1.3"] {
        night.engine.image(&format!("shop/api:{version}"), Behaviour::Healthy);
    }
    night.live(async |bot| bot.proven(1).await);
    for (i, version) in ["1.1", "1.2", "1.3"].iter().enumerate() {
        night.deploy(version);
        night.live(async |bot| bot.proven(i + 2).await);
    }
    night
}

/// Versions of the API whose images are on the host.
fn here(night: &Night) -> Vec<&'static str> {
    let all = ["1.0", "1.1", "1.2", "1.3"];
    let ids = night.run(async {
        let images = night.engine.images().await.unwrap();
        images.into_iter().map(|i| i["Id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    });
    let history = night.live(async |bot| bot.history());
    let is_here = |version: &&str| {
        let release = history.releases.iter().find(|r| r.handles.reference.ends_with(*version)).unwrap();
        ids.contains(&release.handles.image)
    };
    all.into_iter().filter(is_here).collect()
}

fn pins(night: &Night) -> usize {
    night.engine.names().iter().filter(|n| n.starts_with("io.sternway.pin-shop-api")).count()
}

/// The team takes its own tags off old images, as a tidy script does.
fn untag(night: &Night, versions: &[&str]) {
    for version in versions {
        night.engine.remove_image(&format!("shop/api:{version}")).unwrap();
    }
}

async fn pruned(bot: &Living) -> RunState {
    let run = bot.rollback(BEN, PRUNE, waits).await;
    bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
    bot.run_until(run.id, at_rest).await
}

#[test]
fn nothing_on_record_is_lost_to_a_prune_of_images() {
    let night = four_releases();
    untag(&night, &["1.0", "1.1", "1.2", "1.3"]);
    night.engine.prune_images();
    assert_eq!(here(&night), ["1.0", "1.1", "1.2", "1.3"], "the old ones too: nobody let go of them");
}

#[test]
fn pins_of_the_newest_are_made_again_at_start_and_every_hour() {
    let night = four_releases();
    assert_eq!(pins(&night), 4);
    night.engine.prune_containers();
    assert_eq!(pins(&night), 0);
    night.live(async |bot| {
        bot.until("they are made again", |_| pins(&night) == 2).await;
        night.engine.prune_containers();
        bot.clock_passes(3_700).await;
        assert_eq!(pins(&night), 2, "the two newest, and not the old ones");
    });
}

#[test]
fn letting_go_takes_our_pins_and_the_images_that_nobody_else_names() {
    let night = four_releases();
    untag(&night, &["1.0"]);
    night.live(async |bot| {
        let run = pruned(bot).await;
        assert!(done(&run), "{}", bot.story());
    });
    assert_eq!(pins(&night), 2);
    assert_eq!(here(&night), ["1.1", "1.2", "1.3"], "1.1 has a tag of the team's");
    night.live(async |bot| {
        let told = answer(bot, BEN, "/releases api").await;
        let old = told.lines().find(|l| l.contains("shop/api:1.0")).unwrap();
        assert!(old.contains("gone from this host"), "{told}");
        let again = answer(bot, BEN, PRUNE).await;
        assert!(again.contains("nothing to let go"), "{again}");
    });
}

#[test]
fn the_plan_says_what_goes_and_that_it_cannot_come_back() {
    let night = four_releases();
    untag(&night, &["1.0"]);
    let told = night.live(async |bot| {
        bot.clock_passes(2).await;
        let plan = answer(bot, BEN, "/releases plan prune api").await;
        let releases = answer(bot, BEN, "/releases api").await;
        format!("{plan}\n\n{releases}")
    });
    assert_eq!(pins(&night), 4, "a look changes nothing");
    assert_snapshot!(masked(&told));
}

#[test]
fn nobody_lets_go_alone() {
    let night = four_releases();
    night.live(async |bot| {
        let run = bot.rollback(BEN, PRUNE, waits).await;
        let own = bot.ask(BEN, &format!("/approve {}", question(&run))).await;
        assert!(own.contains("your own") || own.contains("asked for"), "{own}");
        bot.ask(CARLA, &format!("/deny {}", question(&run))).await;
        bot.run_until(run.id, over).await;
    });
    assert_eq!(pins(&night), 4);
}

#[test]
fn an_image_that_a_container_uses_stays_and_stays_kept() {
    let night = four_releases();
    untag(&night, &["1.0", "1.1"]);
    night.run(async {
        let pin = night.engine.images().await.unwrap();
        let mut tags = pin.iter().flat_map(|i| i["RepoTags"].as_array().unwrap()).filter_map(|t| t.as_str());
        let oldest = tags.rfind(|t| t.starts_with("io.sternway/pin/shop-api")).unwrap().to_owned();
        let id = Engine::image(night.engine.as_ref(), &oldest).await.unwrap().unwrap()["Id"].clone();
        night.engine.create("somebodys", &json!({"Image": id})).await.unwrap();
    });
    night.live(async |bot| {
        let run = pruned(bot).await;
        assert!(done(&run), "{}", bot.story());
        let card = answer(bot, BEN, &format!("/runs show {}", run.id)).await;
        assert!(card.contains("1 removed from the host; shop/api:1.0 stays: a container uses it"), "{card}");
    });
    assert_eq!(here(&night), ["1.0", "1.2", "1.3"]);
    assert_eq!(pins(&night), 3);
}

#[test]
fn what_has_our_name_without_our_mark_is_left_alone() {
    let night = four_releases();
    untag(&night, &["1.0", "1.1"]);
    let name = night.run(async {
        let history = |n: &str| n.starts_with("io.sternway.pin-shop-api");
        let names: Vec<String> = night.engine.names().into_iter().filter(|n| history(n)).collect();
        // The first one was made for 1.0.
        let inspect = night.engine.inspect(&names[0]).await.unwrap().unwrap();
        night.engine.remove(inspect["Id"].as_str().unwrap()).await.unwrap();
        night.engine.create(&names[0], &json!({"Image": inspect["Config"]["Image"]})).await.unwrap();
        names[0].clone()
    });
    night.live(async |bot| {
        let run = pruned(bot).await;
        assert!(done(&run), "{}", bot.story());
        let card = answer(bot, BEN, &format!("/runs show {}", run.id)).await;
        assert!(card.contains("a container that is not ours has the name"), "{card}");
    });
    assert!(night.engine.names().contains(&name));
    assert_eq!(here(&night), ["1.0", "1.2", "1.3"]);
}

#[test]
fn a_release_that_was_gone_back_to_counts_among_the_newest() {
    let night = four_releases();
    night.live(async |bot| {
        assert!(done(&bot.rollback(BEN, "/rollback image api to 1.0", at_rest).await));
        let run = pruned(bot).await;
        assert!(done(&run), "{}", bot.story());
        let history = bot.history();
        let kept: Vec<&str> = history.kept(2).iter().map(|r| r.handles.reference.rsplit(':').next().unwrap()).collect();
        // 1.0 runs; 1.3 is the newest beside it; 1.2 is where a rollback without a target would go.
        assert_eq!(kept, ["1.0", "1.3", "1.2"]);
    });
    assert_eq!(pins(&night), 3);
}

#[test]
fn nothing_old_means_nothing_to_let_go() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        let told = answer(bot, BEN, "/releases prune api").await;
        assert!(told.contains("its newest 5 releases are kept"), "{told}");
    });
    assert_eq!(refusals(&night).len(), 1);
    let run = night.log_newest();
    assert_eq!(orders(&night, run), 0);
}

#[test]
fn the_agents_folder_keeps_what_releases_need_and_loses_the_rest() {
    let night = four_releases();
    let specs = || std::fs::read_dir(night.folder.path().join("agent/specs")).unwrap().count();
    // Settings of a container that no release is recorded with: the service is scaled, and scaled down again.
    let stray = night.folder.path().join("agent/specs/00aa.json");
    std::fs::write(&stray, "{}").unwrap();
    let pins = night.folder.path().join("agent/pins/r1~shop~0011223344556677.json");
    std::fs::write(&pins, "{\"value\":null}").unwrap();
    let before = specs();
    night.live(async |bot| {
        bot.clock_passes(60).await;
        assert!(stray.exists(), "once found unneeded is not enough");
        bot.clock_passes(2 * 3_600).await;
    });
    assert!(!stray.exists() && !pins.exists());
    assert!(specs() < before && specs() >= 4, "{} of {before}", specs());
    night.live(async |bot| {
        let run = bot.rollback(BEN, "/rollback image api to 1.0 with recorded settings", at_rest).await;
        assert!(done(&run), "{}", bot.story());
    });
}

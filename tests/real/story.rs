//! The story as it should go.

use sternway::domain::event::Outcome;
use sternway::domain::run::Status;

use crate::bot::Served;
use crate::console::Omar;
use crate::shop::{Settings, Shop, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_team_rolls_a_service_back_and_everything_they_are_told_is_so() {
    let Some(shop) = Shop::open(&[("1.0", "good"), ("1.1", "good")]).await else { return };
    let config = shop.write_config(&Settings { ask_always: true, ..Settings::default() });
    let bot = Served::start(&shop, &config, &shop.store()).await;
    let first = bot.journal.release(&shop.image("1.0"), true).await;
    shop.deploy("1.1").await;
    let second = bot.journal.release(&shop.image("1.1"), true).await;
    let (planned, before) = (shop.fingerprint(&shop.image("1.0")).await, shop.env());
    let old = shop.api().await;

    let mut layla = bot.sit().await;
    let status = layla.say("/status").await.plain();
    assert!(status.contains(&shop.image("1.1")) && status.contains("✓ api"), "{status}");
    let plan = layla.say("/rollback plan image api").await.plain();
    assert!(plan.contains(&shop.image("1.0")) && plan.contains(planned.short()), "{plan}");
    assert_eq!(shop.api().await["Id"], old["Id"], "a plan changes nothing");

    let asked_at = bot.journal.head();
    layla.say("/rollback image api because 1.1 is slow").await;
    let run = bot.journal.run(asked_at, "the question", |r| r.open_approval().is_some()).await;
    let approval = run.approval.as_ref().unwrap().id;
    // The record is in its file a moment before the bot answers from it.
    until("the question to be told", async || match layla.heard.channel() {
        text if text.contains(&approval.to_string()) => Ok(()),
        text => Err(text),
    })
    .await;
    let own = layla.say(&format!("/approve {approval}")).await.plain();
    assert!(own.contains("somebody else"), "one's own request: {own}");
    let omar = Omar::approves(&shop, &layla, &run, "it is slow here too", &[]).await;
    let run = bot.journal.at_rest(asked_at).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}\n{}", run.status, omar.read());

    let new = shop.api().await;
    assert_eq!(shop.running().await, planned, "what runs is what was planned");
    assert_eq!(new["Name"], old["Name"], "under the service's own name");
    assert_eq!(new["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");
    shop.serves("1.0").await;
    assert_eq!(shop.env(), shop.env_with(&before, "1.0"), "the pin is written, the rest of .env is byte for byte");
    let releases = layla.say("/releases api").await.plain();
    assert!(releases.contains(&format!("▶ {first}")), "{releases}");
    assert!(releases.contains(&second) && releases.contains(&format!("left by {}", run.id)), "{releases}");
    let shown = layla.say(&format!("/runs show {}", run.id)).await.plain();
    assert!(shown.contains("done") && shown.contains("omar") && shown.contains("it is slow here too"), "{shown}");
    // The channel follows the record; its last word may come a moment later.
    until("the channel to tell the end", async || match layla.heard.channel() {
        text if text.contains("omar approved") && text.contains("✓ prove api from outside") => Ok(()),
        text => Err(text),
    })
    .await;
    let verified = layla.say("/audit verify").await.plain();
    assert!(verified.contains("whole"), "{verified}");
    bot.journal.is_whole().await;

    // And forward again: the pin is what the team calls the image, not a name of ours.
    let asked_at = bot.journal.head();
    layla.say(&format!("/rollback image api to {second} because 1.0 was not better")).await;
    let run = bot.journal.run(asked_at, "the question", |r| r.open_approval().is_some()).await;
    let _omar = Omar::approves(&shop, &layla, &run, "", &[]).await;
    let run = bot.journal.at_rest(asked_at).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    assert_eq!(shop.env(), before, "every byte as it was before the first rollback");
    shop.serves("1.1").await;
    let (planned, version) = (shop.fingerprint(&shop.image("1.1")).await, "1.1");

    // The team's next plain `up` brings nothing bad back.
    shop.compose(&["up", "-d"]).await;
    assert_eq!(shop.running().await, planned, "after a plain `up -d`");
    shop.serves(version).await;
    assert!(bot.stop().await.success(), "it stops in good order");
}

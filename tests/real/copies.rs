//! Services of several containers and services behind a proxy, with the real compose and the real bot.

use std::path::Path;

use sternway::domain::event::Outcome;
use sternway::domain::run::{RunState, Status};

use crate::bot::Served;
use crate::shop::{Settings, Shop, until};

/// The API's port as the Compose file has it.
pub(crate) const PORT_OF_API: &str = "ports: [\"127.0.0.1:${API_PORT:-13000}:3000\"]";

/// Changes the config that was written.
pub(crate) fn edited(config: &Path, change: impl FnOnce(String) -> String) {
    let text = std::fs::read_to_string(config).unwrap();
    let changed = change(text.clone());
    assert_ne!(text, changed, "the config was to be another");
    std::fs::write(config, changed).unwrap();
}

/// Names and ids of the API's containers.
async fn copies(shop: &Shop) -> Vec<(String, String)> {
    let text = |v: &serde_json::Value| v.as_str().unwrap_or_default().to_owned();
    let mut all: Vec<_> = shop.containers("api").await.iter().map(|c| (text(&c["Name"]), text(&c["Id"]))).collect();
    all.sort();
    all
}

async fn all_run(shop: &Shop, version: &str) {
    let wanted = shop.fingerprint(&shop.image(version)).await;
    for one in shop.containers("api").await {
        assert_eq!(one["State"]["Running"], true, "{} runs", one["Name"]);
        assert_eq!(shop.fingerprint(one["Image"].as_str().unwrap()).await, wanted, "{} runs {version}", one["Name"]);
    }
}

/// A shop whose API runs 1.1 after 1.0, both on record; rolls it back.
async fn rolled_back(shop: &Shop, bot: &Served, deploy: &[&str]) -> RunState {
    bot.journal.release(&shop.image("1.0"), true).await;
    shop.pin("1.1");
    shop.compose(deploy).await;
    bot.journal.release(&shop.image("1.1"), true).await;
    let mut layla = bot.sit().await;
    let asked_at = bot.journal.head();
    layla.say("/rollback image api because of a test").await;
    bot.journal.at_rest(asked_at).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_copies_are_rolled_back_and_the_next_up_leaves_them_alone() {
    let random = |compose: String| compose.replace(PORT_OF_API, "ports: [\"127.0.0.1::3000\"]");
    let Some(shop) = Shop::with(&[("1.0", "good"), ("1.1", "good")], random).await else { return };
    let up = ["up", "-d", "--no-deps", "--scale", "api=3", "api"];
    shop.compose(&up).await;
    let config = shop.write_config(&Settings::default());
    // Each is asked at a port of its own.
    edited(&config, |text| text.lines().filter(|l| !l.contains("/api/health")).map(|l| format!("{l}\n")).collect());
    let bot = Served::start(&shop, &config, &shop.store()).await;
    let run = rolled_back(&shop, &bot, &up).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    all_run(&shop, "1.0").await;
    let after = copies(&shop).await;
    assert_eq!(after.len(), 3, "{after:?}");
    assert_eq!(shop.leftovers().await, Vec::<String>::new());
    let mut layla = bot.sit().await;
    let status = layla.say("/status").await.plain();
    assert!(status.contains("3/3 up"), "{status}");
    shop.compose(&["up", "-d", "--scale", "api=3"]).await;
    assert_eq!(copies(&shop).await, after, "the next `up` finds nothing to do");
    bot.journal.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_behind_a_proxy_goes_back_beside_itself() {
    let unpublished = |compose: String| compose.replace(PORT_OF_API, "expose: [\"3000\"]");
    let Some(shop) = Shop::with(&[("1.0", "good"), ("1.1", "good")], unpublished).await else { return };
    let config = shop.write_config(&Settings::default());
    edited(&config, |text| {
        let through_web = text.replace(
            &format!("127.0.0.1:{}/api/health", shop.api_port),
            &format!("127.0.0.1:{}/api/health", shop.web_port),
        );
        through_web.replace("grace = \"1s\"\n", "grace = \"1s\"\norder = \"start-first\"\n")
    });
    let bot = Served::start(&shop, &config, &shop.store()).await;
    let run = rolled_back(&shop, &bot, &["up", "-d", "--no-deps", "api"]).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    all_run(&shop, "1.0").await;
    let after = copies(&shop).await;
    assert_eq!(after.len(), 1, "{after:?}");
    assert_eq!(shop.leftovers().await, Vec::<String>::new());
    until("1.0 to answer through the proxy", async || match shop.through_web("/api/health").await {
        Ok(body) if body.contains("1.0") => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    shop.compose(&["up", "-d"]).await;
    assert_eq!(copies(&shop).await, after, "the next `up` finds nothing to do");
}

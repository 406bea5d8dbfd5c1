//! The clock jumps while a request waits for its approval: what has expired never acts, what has not still may, and the
//! record stays whole.

use std::sync::Arc;

use sternway::domain::event::{Event, Outcome};
use sternway::domain::run::{RunState, Status};

use crate::bot::{Served, last_lines};
use crate::clock::FakeClock;
use crate::console::Omar;
use crate::lab::{self, Lab};
use crate::lane::between_looks;
use crate::proxy::Proxy;
use crate::shop::{Settings, Shop, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_a_request_waits_for_its_approval_a_jump_of_the_clock_lets_nothing_expired_act() {
    if !lab::possible() {
        return;
    }
    let lab = Arc::new(Lab::open(false).await);
    let versions = [("1.0", "good"), ("1.1", "good")];
    let compose = crate::shop::compose_command().await;
    let Some(shop) = Shop::at(&lab.host, compose, &versions, |text| text).await else { return };
    let Some(clock) = FakeClock::find(shop.folder()) else { return };
    let proxy = Proxy::before(shop.folder(), &lab.host);
    let settings = Settings { docker: Some(proxy.socket.clone()), ask_always: true, ..Settings::default() };
    let config = shop.write_config(&settings);
    let mut bot = Served::start_with(&shop, &config, &shop.store(), &clock.environment()).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    let before = shop.api().await["Id"].clone();

    // Forwards: it expires at once, and a vote that comes afterwards is told so and does nothing.
    let run = ask(&bot).await;
    proxy.arm(None);
    clock.set(5);
    expired(&bot, &run).await;
    refused_a_vote(&shop, &bot, &run).await;
    assert_eq!(proxy.calls(), Vec::<String>::new(), "nothing acted");

    // The same while the bot is dead: it expired while nobody looked.
    let run = ask(&bot).await;
    bot.kill();
    clock.set(10);
    bot = Served::start_with(&shop, &config, &shop.store(), &clock.environment()).await;
    expired(&bot, &run).await;
    refused_a_vote(&shop, &bot, &run).await;
    assert_eq!(shop.api().await["Id"], before, "the container that ran before");

    // Backwards: it has not expired, and acts once it is agreed to.
    let run = ask(&bot).await;
    clock.set(-5);
    let open = approval(&run);
    let omar = Omar::says(&shop, &[&format!("/approve {open}")]);
    until("the approved run to end", async || {
        let now = of(&bot, &run);
        if now.ended() {
            Ok(())
        } else {
            Err(format!("{:?}; omar read {}; {}", now.status, omar.read(), last_lines(&bot.log)))
        }
    })
    .await;
    let outcome = |run: &RunState| matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. });
    assert!(outcome(&of(&bot, &run)), "{:?}", of(&bot, &run).status);
    shop.serves("1.0").await;
    bot.journal.is_whole().await;
    shop.compose(&["up", "-d"]).await;
    shop.serves("1.0").await;
}

/// A rollback that waits for Omar.
async fn ask(bot: &Served) -> RunState {
    let began = bot.journal.head();
    bot.sit().await.say("/rollback image api because the clock is wrong").await;
    bot.journal.run(began, "the question", |r| r.open_approval().is_some()).await
}

fn of(bot: &Served, run: &RunState) -> RunState {
    bot.journal.runs().into_iter().find(|r| r.id == run.id).expect("it is on record")
}

fn approval(run: &RunState) -> String {
    run.approval.as_ref().expect("a question").id.to_string()
}

async fn expired(bot: &Served, run: &RunState) {
    until("the request to expire", async || match of(bot, run).status {
        Status::Ended { outcome: Outcome::Expired, .. } => Ok(()),
        other => Err(format!("{other:?}")),
    })
    .await;
    let acted = |e: &Event| matches!(e, Event::RunClaimed { .. } | Event::StepIntent { .. });
    assert!(!bot.journal.events(run.id).iter().any(acted), "{}", run.id);
}

async fn refused_a_vote(shop: &Shop, bot: &Served, run: &RunState) {
    let omar = Omar::says(shop, &[&format!("/approve {}", approval(run))]);
    let head = bot.journal.head();
    until("Omar to be told", async || {
        let read = omar.read();
        if read.contains("expired") || read.contains("decided") || read.contains("ended") { Ok(()) } else { Err(read) }
    })
    .await;
    between_looks().await;
    let after = bot.journal.records().into_iter().filter(|(p, _)| *p > head);
    let granted =
        after.filter(|(_, wire)| matches!(wire.body, Event::Granted { .. } | Event::RunClaimed { .. })).count();
    assert_eq!(granted, 0, "{}: {}", run.id, omar.read());
}

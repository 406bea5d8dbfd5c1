//! Two at once, and one who is heard twice.

use sternway::domain::event::Outcome;
use sternway::domain::run::Status;

use crate::bot::Served;
use crate::console::{Omar, Seat};
use crate::shop::{Settings, Shop, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_people_who_command_at_the_same_moment_one_runs_and_the_other_hears_who_holds_it() {
    let Some(shop) = Shop::open(&[("1.0", "good"), ("1.1", "good")]).await else { return };
    let config = shop.write_config(&Settings::default());
    let bot = Served::start(&shop, &config, &shop.store()).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    let asked_at = bot.journal.head();
    let mut layla = bot.sit().await;
    // Omar's console takes a moment to start; then both have been heard before either run is over.
    let omar = Omar::says(&shop, &["/rollback image api because of me"]);
    until("omar to be heard", async || match bot.journal.newest_after(asked_at) {
        Some(_) => Ok(()),
        None => Err(omar.read()),
    })
    .await;
    layla.send(1, "/rollback image api because of me too").await;
    let runs = until("both to end", async || {
        let runs: Vec<_> = bot.journal.runs().into_iter().filter(|r| r.id.0 > asked_at).collect();
        let all = runs.len() == 2 && runs.iter().all(crate::bot::at_rest);
        if all { Ok(runs) } else { Err(format!("{:?}", runs.iter().map(|r| &r.status).collect::<Vec<_>>())) }
    })
    .await;
    let done = |o: &Outcome| *o == Outcome::Done;
    let ends: Vec<&Outcome> = runs
        .iter()
        .filter_map(|r| match &r.status {
            Status::Ended { outcome, .. } => Some(outcome),
            _ => None,
        })
        .collect();
    assert_eq!(ends.iter().filter(|o| done(o)).count(), 1, "one runs: {ends:?}");
    let holder = runs.iter().find(|r| matches!(&r.status, Status::Ended { outcome, .. } if done(outcome))).unwrap();
    let other = runs.iter().find(|r| r.id != holder.id).unwrap();
    let Status::Ended { outcome: Outcome::Refused { kind, why }, .. } = &other.status else {
        panic!("{:?}", other.status)
    };
    assert_eq!(kind, "busy");
    assert!(why.contains(&holder.id.to_string()) && why.contains(&holder.requester.to_string()), "who holds it: {why}");
    // The answer follows the record.
    until("the other one to be told, and offered to wait", async || {
        let told = layla.heard.text() + &omar.read();
        if told.contains("held by") && told.contains("and wait") { Ok(()) } else { Err(told) }
    })
    .await;
    shop.serves("1.0").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_delivered_again_runs_once_also_after_a_restart() {
    let Some(shop) = Shop::open(&[("1.0", "good"), ("1.1", "good")]).await else { return };
    let config = shop.write_config(&Settings::default());
    let bot = Served::start(&shop, &config, &shop.store()).await;
    let first = bot.journal.release(&shop.image("1.0"), true).await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    let asked_at = bot.journal.head();
    let words = format!("/rollback image api to {first} because of errors");
    let asked = || bot.journal.runs().into_iter().filter(|r| r.id.0 > asked_at).count();

    let mut layla = Seat::try_sit(&shop.socket(), Some("night")).await.unwrap();
    layla.send(7, &words).await;
    layla.send(7, &words).await;
    let answers = [layla.nth_answer(7, 0).await.plain(), layla.nth_answer(7, 1).await.plain()];
    assert_eq!(answers[0], answers[1], "the same answer");
    drop(layla);
    let mut again = Seat::try_sit(&shop.socket(), Some("night")).await.unwrap();
    again.send(7, &words).await;
    assert_eq!(again.answer(7).await.plain(), answers[0], "and after the connection was lost");
    let run = bot.journal.at_rest(asked_at).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    let container = shop.api().await["Id"].clone();
    assert_eq!(asked(), 1, "one run");

    let journal = bot.journal.clone();
    bot.kill();
    let bot = Served::start(&shop, &config, &shop.store()).await;
    let mut again = Seat::try_sit(&shop.socket(), Some("night")).await.unwrap();
    again.send(7, &words).await;
    assert_eq!(again.answer(7).await.plain(), answers[0], "and after the bot was killed");
    // Whatever that would have begun stands behind this question in the queue.
    again.say("/runs list").await;
    assert_eq!(journal.runs().into_iter().filter(|r| r.id.0 > asked_at).count(), 1, "still one run");
    assert_eq!(shop.api().await["Id"], container, "nothing was swapped again");
    drop(bot);
}

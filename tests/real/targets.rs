//! Targets that are not what they should be, or are no more what they were.

use sternway::agent::engine::Engine;
use sternway::domain::event::Outcome;
use sternway::domain::ids::Position;
use sternway::domain::run::{RunState, Status};

use crate::bot::{Served, at_rest, last_lines};
use crate::console::{Omar, Seat};
use crate::shop::{Settings, Shop, until};

/// A shop that ran 1.0 and runs 1.1 now, both on record, and a bot.
async fn after_a_deploy(old: &str, new: &str, settings: Settings) -> Option<(Shop, Served, String)> {
    let shop = Shop::open(&[("1.0", old), ("1.1", new), ("2.0", "good")]).await?;
    let config = shop.write_config(&settings);
    let bot = Served::start(&shop, &config, &shop.store()).await;
    let first = bot.journal.release(&shop.image("1.0"), matches!(old, "good" | "deaf")).await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    Some((shop, bot, first))
}

/// Asks for a rollback and gives the run that waits for approval.
async fn ask(bot: &Served, layla: &mut Seat, words: &str) -> (Position, RunState) {
    let asked_at = bot.journal.head();
    layla.say(words).await;
    let run = bot.journal.run(asked_at, "the question", |r| r.open_approval().is_some()).await;
    (asked_at, run)
}

/// Omar approves the run, and it comes to rest.
async fn approved(shop: &Shop, bot: &Served, layla: &Seat, asked_at: Position, run: &RunState) -> RunState {
    let omar = Omar::approves(shop, layla, run, "", &[]).await;
    until("the approved run to end", async || match bot.journal.newest_after(asked_at) {
        Some(run) if at_rest(&run) => Ok(run),
        Some(run) => Err(format!("{:?}; omar read: {}; {}", run.status, omar.read(), last_lines(&bot.log))),
        None => Err("no run".to_owned()),
    })
    .await
}

/// A rollback to an image that is no good ends with the old container back, and verified.
async fn the_old_one_comes_back(behaviour: &str, why: &[&str]) {
    let settings = Settings { deadline_s: 5, ..Settings::default() };
    let Some((shop, bot, first)) = after_a_deploy(behaviour, "good", settings).await else { return };
    let (before, old) = (shop.env(), shop.api().await);
    let mut layla = bot.sit().await;
    let (asked_at, run) = ask(&bot, &mut layla, &format!("/rollback image api to {first}")).await;
    let run = approved(&shop, &bot, &layla, asked_at, &run).await;
    let Status::Ended { outcome: Outcome::Undone { why: told }, .. } = &run.status else { panic!("{:?}", run.status) };
    assert!(why.iter().any(|w| told.contains(w)), "it says why: {told}");
    assert!(told.contains("runs again and was verified"), "and how it stands: {told}");
    let back = shop.api().await;
    assert_eq!((&back["Id"], &back["Name"]), (&old["Id"], &old["Name"]), "the very container that ran before");
    assert_eq!(back["HostConfig"]["RestartPolicy"], old["HostConfig"]["RestartPolicy"]);
    assert_eq!(shop.leftovers().await, Vec::<String>::new());
    assert_eq!(shop.env(), before, "nothing was pinned");
    shop.serves("1.1").await;
    bot.journal.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_exits_at_once_leaves_the_old_container_running_and_verified() {
    the_old_one_comes_back("exits", &["exited", "ended with exit code", "restart"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_starts_but_is_never_healthy_leaves_the_old_container_running_and_verified() {
    the_old_one_comes_back("never-healthy", &["500", "well"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_never_answers_sigterm_is_killed_after_its_grace_and_replaced() {
    let Some((shop, bot, _)) = after_a_deploy("good", "deaf", Settings::default()).await else { return };
    let planned = shop.fingerprint(&shop.image("1.0")).await;
    let old = shop.api().await;
    let asked_at = bot.journal.head();
    bot.sit().await.say("/rollback image api").await;
    let run = bot.journal.at_rest(asked_at).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    assert!(run.approval.is_none(), "back to a proven release the person on call needs nobody (decision 14)");
    assert_ne!(shop.api().await["Id"], old["Id"]);
    assert_eq!(shop.running().await, planned);
    shop.serves("1.0").await;
    assert_eq!(shop.leftovers().await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_deleted_after_the_plan_makes_the_approval_void_and_nothing_is_stopped() {
    let settings = Settings { ask_always: true, ..Settings::default() };
    let Some((shop, bot, _)) = after_a_deploy("good", "good", settings).await else { return };
    let before = (shop.env(), shop.api().await);
    let mut layla = bot.sit().await;
    let (asked_at, run) = ask(&bot, &mut layla, "/rollback image api").await;
    let image = shop.engine.docker().inspect_image(&shop.image("1.0")).await.unwrap().id.unwrap();
    shop.engine.remove_image(&image).await;
    let omar = Omar::approves(&shop, &layla, &run, "", &[]).await;
    let first = until("the first run to end", async || {
        let first = bot.journal.runs().into_iter().find(|r| r.id == run.id).unwrap();
        if first.ended() { Ok(first) } else { Err(format!("{:?}\n{}", first.status, omar.read())) }
    })
    .await;
    let why = match &first.status {
        Status::Ended { outcome: Outcome::Void { differences }, .. } => differences.join("; "),
        Status::Ended { outcome: Outcome::Refused { why, .. }, .. } => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(why.contains("gone"), "the reason: {why}");
    // People are asked again, or told that there is nothing to ask.
    let again = bot.journal.run(asked_at, "the second request", |r| r.id != run.id && r.ended()).await;
    assert!(matches!(&again.status, Status::Ended { outcome: Outcome::Refused { .. } | Outcome::Void { .. }, .. }));
    let after = (shop.env(), shop.api().await);
    assert_eq!(before.0, after.0, "the pin");
    for what in ["/Id", "/Name", "/State/StartedAt", "/HostConfig/RestartPolicy"] {
        assert_eq!(before.1.pointer(what), after.1.pointer(what), "{what} of the container that runs");
    }
    shop.serves("1.1").await;
    bot.journal.is_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tag_moved_after_the_plan_changes_nothing_about_what_will_run() {
    let settings = Settings { ask_always: true, ..Settings::default() };
    let Some((shop, bot, _)) = after_a_deploy("good", "good", settings).await else { return };
    let planned = shop.fingerprint(&shop.image("1.0")).await;
    let moved = shop.fingerprint(&shop.image("2.0")).await;
    let before = shop.env();
    let mut layla = bot.sit().await;
    let (asked_at, run) = ask(&bot, &mut layla, "/rollback image api").await;
    let (repository, tag) = (shop.engine.reference("api"), "1.0");
    shop.engine.engine().tag(&shop.image("2.0"), &repository, tag).await.unwrap();
    assert_eq!(shop.fingerprint(&shop.image("1.0")).await, moved, "the tag has moved");
    let _omar = Omar::approves(&shop, &layla, &run, "", &[]).await;
    // Either it runs the planned image all the same, or the approval is void and people are asked anew about that image.
    let void = |r: &RunState| matches!(&r.status, Status::Ended { outcome: Outcome::Void { .. }, .. });
    let goes_on = |r: &RunState| r.ended() && !void(r) || r.id != run.id && r.open_approval().is_some();
    let mut run = bot.journal.run(asked_at, "an end or a new question", goes_on).await;
    if !run.ended() {
        run = approved(&shop, &bot, &layla, asked_at, &run).await;
    }
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    assert_eq!(shop.running().await, planned, "the fingerprint of the plan, not what the tag means now");
    shop.serves("1.0").await;
    let pinned = shop.env();
    let pin = pinned.lines().find_map(|l| l.strip_prefix("API_IMAGE=")).unwrap();
    assert_eq!(shop.fingerprint(pin).await, planned, "what is pinned means the planned image: {pin}");
    assert_eq!(pinned.replace(pin, "X"), before.replace(&shop.image("1.1"), "X"), "all else byte for byte");
    shop.compose(&["up", "-d"]).await;
    assert_eq!(shop.running().await, planned, "and the team's next `up` agrees");
}

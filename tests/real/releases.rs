//! What happens to images behind our back: tags move, tags are built anew, images go and come from a tar or a registry.

use bollard::query_parameters::{ImportImageOptions, RemoveImageOptionsBuilder};
use futures_util::StreamExt;
use sternway::agent::engine::Engine;
use sternway::clock::{Clock, SystemClock};
use sternway::domain::event::Outcome;
use sternway::domain::names::Fingerprint;
use sternway::domain::plan::StepAction;
use sternway::domain::run::{RunState, Status};

use crate::bot::Served;
use crate::canary::{CANARY, files, tells};
use crate::registry::RealRegistry;
use crate::shop::{Settings, Shop, until};

fn done(run: &RunState) -> bool {
    matches!(run.status, Status::Ended { outcome: Outcome::Done, .. })
}

async fn rollback(bot: &Served, words: &str) -> RunState {
    let asked_at = bot.journal.head();
    bot.sit().await.say(words).await;
    bot.journal.at_rest(asked_at).await
}

/// Tag and container by which a release's image is kept.
fn pin(shop: &Shop, image: &Fingerprint) -> (String, String) {
    let (project, tag) = (shop.project(), image.short());
    (format!("io.sternway/pin/{project}-api:{tag}"), format!("io.sternway.pin-{project}-api-{tag}"))
}

/// `docker rm` of its pin, then `docker rmi -f` by id: it is gone, whatever named it.
async fn delete(shop: &Shop, image: &Fingerprint) {
    let engine = shop.engine.engine();
    let (tag, container) = pin(shop, image);
    let id = engine.image(&tag).await.unwrap().unwrap()["Id"].as_str().unwrap().to_owned();
    engine.remove(&container).await.unwrap();
    let options = RemoveImageOptionsBuilder::new().force(true).build();
    shop.engine.docker().remove_image(&id, Some(options), None).await.unwrap();
    assert_eq!(engine.image(&id).await, Ok(None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tags_that_move_and_images_that_come_back_from_a_tar_change_no_release() {
    let Some(shop) = Shop::open(&[("1.0", "good"), ("1.1", "good"), ("1.2", "good")]).await else { return };
    let config = shop.write_config(&Settings::default());
    let bot = Served::start(&shop, &config, &shop.store()).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    let first = shop.running().await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;

    // Moved: somebody puts the name of 1.0 on another image.
    let (repository, tag) = shop.image("1.0").rsplit_once(':').map(|(r, t)| (r.to_owned(), t.to_owned())).unwrap();
    shop.engine.engine().tag(&shop.image("1.2"), &repository, &tag).await.unwrap();
    let run = rollback(&bot, "/rollback image api").await;
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(shop.running().await, first, "the image that was on record, not what its name means now");

    // Built anew: the same name, another program.
    shop.engine.product("api", "1.1", "deaf").await;
    shop.deploy("1.1").await;
    let releases = until("the new 1.1 on record", async || {
        let history = bot.journal.history();
        let current = history.current.and_then(|id| history.get(id)).cloned();
        match current {
            Some(r) if r.handles.fingerprint != first && history.releases.len() == 3 => Ok(history.releases),
            _ => Err(format!("{history:?}")),
        }
    })
    .await;
    assert_eq!(releases[1].handles.reference, releases[2].handles.reference);
    assert_ne!(releases[1].handles.fingerprint, releases[2].handles.fingerprint);

    // Deleted, and loaded from a tar: another day, the same image.
    let (kept, _) = pin(&shop, &first);
    let mut tar = Vec::new();
    let mut saving = shop.engine.docker().export_image(&kept);
    while let Some(part) = saving.next().await {
        tar.extend_from_slice(&part.unwrap());
    }
    drop(saving);
    delete(&shop, &first).await;
    let mut layla = bot.sit().await;
    layla.say("/releases api").await;
    until("it is told that it is gone", async || {
        let told = layla.heard.text();
        if told.contains("gone from this host") { Ok(()) } else { Err(told) }
    })
    .await;
    let asked_at = bot.journal.head();
    layla.say(&format!("/rollback image api to {}", releases[0].id)).await;
    let run = bot.journal.run(asked_at, "its refusal", |r| r.ended()).await;
    let Status::Ended { outcome: Outcome::Refused { why, .. }, .. } = &run.status else { panic!("{:?}", run.status) };
    assert!(why.contains("is gone from this host"), "{why}");
    let mut load =
        shop.engine.docker().import_image(ImportImageOptions::default(), bollard::body_full(tar.into()), None);
    while let Some(step) = load.next().await {
        assert!(step.unwrap().error_detail.is_none());
    }
    drop(load);
    let run = rollback(&bot, &format!("/rollback image api to {}", releases[0].id)).await;
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(shop.running().await, first);
    assert!(bot.stop().await.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_built_again_is_the_release_on_record_and_the_next_up_leaves_it_alone() {
    let Some(mut shop) = Shop::open(&[("1.0", "good"), ("1.1", "good")]).await else { return };
    let config = shop.write_config(&Settings::default());
    let bot = Served::start(&shop, &config, &shop.store()).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    let first = shop.running().await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    delete(&shop, &first).await;
    let engine = shop.engine.engine();
    shop.engine.dated("2001-01-01T00:00:00Z");
    let mut ids = Vec::new();
    for version in ["1.0", "1.1"] {
        shop.engine.product("api", version, "good").await;
        ids.push(engine.image(&shop.image(version)).await.unwrap().unwrap()["Id"].clone());
    }
    assert_ne!(shop.api().await["Image"], ids[1], "1.1 has another id since");
    shop.deploy("1.1").await;
    let run = rollback(&bot, "/rollback image api").await;
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(
        (shop.running().await, &shop.api().await["Image"]),
        (first, &ids[0]),
        "the program of then, its id of now"
    );
    let api = shop.api().await["Id"].clone();
    shop.compose(&["up", "-d"]).await;
    let after = shop.api().await["Id"].clone();
    if compose_is_second(&shop).await {
        assert_eq!(after, api, "the next `up` finds nothing to do");
    }
    let releases = bot.journal.history().releases;
    assert_eq!(releases.len(), 2, "nothing was deployed that is not on record: {releases:?}");
    assert!(bot.stop().await.success());
}

/// Whether Compose 2 made it. Compose 1 counts the image's id in, which the card says beforehand.
async fn compose_is_second(shop: &Shop) -> bool {
    !shop.api().await["Config"]["Labels"]["com.docker.compose.version"].as_str().unwrap().starts_with("1.")
}

/// How often the story is played until nobody disturbs it.
const PLAYS: usize = 6;

/// The engine's memory is short and everybody's: while the tests beside this one load images or make noise, it is not
/// certain what came and went, and then nothing is recorded. The story is played again until it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_came_and_went_while_nobody_looked_is_on_record() {
    for _ in 0..PLAYS {
        let Some(shop) = Shop::open(&[("1.0", "good"), ("1.1", "good"), ("1.2", "good")]).await else { return };
        let config = shop.write_config(&Settings::default());
        let bot = Served::start(&shop, &config, &shop.store()).await;
        bot.journal.release(&shop.image("1.0"), true).await;
        assert!(bot.stop().await.success());
        let left = SystemClock.now();
        shop.deploy("1.1").await;
        let between = shop.running().await;
        shop.deploy("1.2").await;
        let bot = Served::start(&shop, &config, &shop.store()).await;
        bot.journal.release(&shop.image("1.2"), true).await;
        let releases = bot.journal.history().releases;
        if releases.len() < 3 && is_disturbed(&shop, left).await {
            assert!(bot.stop().await.success());
            continue;
        }
        let told: Vec<&Fingerprint> = releases.iter().map(|r| &r.handles.fingerprint).collect();
        assert_eq!(told.len(), 3, "{releases:?}");
        assert_eq!((told[1], &releases[1].handles.reference), (&between, &shop.image("1.1")));
        assert!(releases.is_sorted_by_key(|r| r.since), "{releases:?}");
        let (_, container) = pin(&shop, &between);
        assert!(shop.engine.engine().inspect(&container).await.unwrap().is_some(), "kept from here on");
        assert!(bot.stop().await.success());
        return;
    }
    panic!("{PLAYS} times others disturbed what the engine remembers");
}

/// Whether the engine has forgotten a start of the API since then, or an image was loaded meanwhile.
async fn is_disturbed(shop: &Shop, since: jiff::Timestamp) -> bool {
    let engine = shop.engine.engine();
    let starts = engine.past_starts(&shop.engine.project(), since).await.unwrap();
    let names = engine.past_names(since).await.unwrap();
    let loads = |e: &serde_json::Value| matches!(e["Action"].as_str(), Some("load" | "import"));
    starts.len() < 2 || names.iter().any(loads)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_release_comes_back_from_a_registry_and_its_login_stands_nowhere() {
    let password = format!("{CANARY}-registry");
    let Some(shop) = Shop::open(&[("1.0", "good"), ("1.1", "good")]).await else { return };
    let Some(registry) = RealRegistry::start(&password).await else { return };
    let digest = registry.push(&shop.engine, &shop.image("1.0"), "shop/api").await;
    let config = shop.write_config(&Settings::default());
    let login = registry.config_file(&registry.host(), &password);
    let text = std::fs::read_to_string(&config).unwrap();
    let with_login = format!("level = \"debug\"\ndocker_config = \"{}\"", login.display());
    std::fs::write(&config, text.replacen("level = \"debug\"", &with_login, 1)).unwrap();

    let bot = Served::start(&shop, &config, &shop.store()).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    let first = shop.running().await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    delete(&shop, &first).await;
    let mut layla = bot.sit().await;
    for words in ["/releases api", "/rollback plan image api"] {
        layla.say(words).await;
    }
    let run = rollback(&bot, "/rollback image api").await;
    assert!(done(&run), "{:?}", run.status);
    let steps = &run.plan.as_ref().unwrap().plan.steps;
    assert!(matches!(&steps[0].action, StepAction::PullImage { from, .. } if *from == digest), "{steps:?}");
    assert_eq!(shop.running().await, first);
    shop.serves("1.0").await;
    assert!(shop.env().contains(&format!("API_IMAGE={digest}")), "{}", shop.env());
    // The team's own compose finds that name, and leaves the container alone or makes it anew of the same image.
    shop.compose(&["up", "-d", "--no-deps", "api"]).await;
    assert_eq!(shop.running().await, first);

    layla.say("/audit show").await;
    let said = layla.heard.text();
    assert!(said.len() > 500 && !tells(said.as_bytes()), "what people were told");
    assert!(bot.stop().await.success());
    assert!(tells(&std::fs::read(&login).unwrap()), "the search finds a login where one is");
    let mut looked = 0;
    for file in files(shop.folder()) {
        looked += 1;
        assert!(!tells(&std::fs::read(&file).unwrap()), "the login stands in {}", file.display());
    }
    assert!(looked >= 8, "log, index, agent, bot.log: {looked}");
}

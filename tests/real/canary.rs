//! Secrets planted wherever a team keeps some, looked for wherever Sternway writes or speaks (decision 10).

use std::path::{Path, PathBuf};

use sternway::domain::event::Outcome;
use sternway::domain::run::Status;

use crate::bot::{STERNWAY, Served};
use crate::console::Omar;
use crate::shop::{Settings, Shop};

/// All of them begin so; none is a word of anybody's.
pub(crate) const CANARY: &str = "canary7f3a";

fn planted(compose: String) -> String {
    let api = format!(
        "    environment:\n      SHOP_DB: db:6000\n      DB_PASSWORD: {CANARY}-env\n      \
         REGISTRY: https://robot:{CANARY}-url@registry.example/v2/?token={CANARY}-query\n    \
         command: [\"api\", \"--token={CANARY}-command\"]\n"
    );
    let labels = format!("    labels: &demo\n      vendor.licence: {CANARY}-label\n");
    let compose = compose.replacen("    environment:\n      SHOP_DB: db:6000\n", &api, 1);
    let compose = compose.replacen("    labels: &demo\n", &labels, 1);
    assert_eq!(compose.matches(CANARY).count(), 5, "all are planted");
    compose
}

/// Every file beneath a folder.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

/// Whether it stands there as it is, in hex or in base64 of any alignment.
pub(crate) fn tells(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    // "canary7f3a" in base64, beginning at each of the three places of a group; the seams left out.
    let shapes = [
        CANARY.to_owned(),
        hex::encode(CANARY),
        "Y2FuYXJ5N2Yz".to_owned(),
        "NhbmFyeTdmM2".to_owned(),
        "jYW5hcnk3ZjNh".to_owned(),
    ];
    shapes.iter().any(|shape| text.contains(shape.as_str()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn secrets_of_the_product_are_found_nowhere_outside_the_agents_own_folder() {
    // The second version does not come up: its failure has to be told without its settings as well.
    let Some(shop) = Shop::with(&[("1.0", "exits"), ("1.1", "good"), ("1.2", "good")], planted).await else { return };
    let config = shop.write_config(&Settings { ask_always: true, ..Settings::default() });
    let bot = Served::start(&shop, &config, &shop.store()).await;
    let broken = bot.journal.release(&shop.image("1.0"), false).await;
    for version in ["1.1", "1.2"] {
        shop.deploy(version).await;
        bot.journal.release(&shop.image(version), true).await;
    }
    let spec = shop.api().await.to_string();
    assert!(["-env", "-url", "-query", "-command"].iter().all(|c| spec.contains(&format!("{CANARY}{c}"))));
    let web = shop.containers("web").await.remove(0).to_string();
    assert!(web.contains(&format!("{CANARY}-label")), "a label in the product");

    let mut layla = bot.sit().await;
    let mut said = String::new();
    for (words, end) in [("/rollback image api", "done"), (&*format!("/rollback image api to {broken}"), "undone")] {
        let asked_at = bot.journal.head();
        layla.say(words).await;
        let run = bot.journal.run(asked_at, "the question", |r| r.open_approval().is_some()).await;
        let omar = Omar::approves(&shop, &layla, &run, "", &["/status"]).await;
        let run = bot.journal.at_rest(asked_at).await;
        let ended = match &run.status {
            Status::Ended { outcome: Outcome::Done, .. } => "done",
            Status::Ended { outcome: Outcome::Undone { .. }, .. } => "undone",
            other => panic!("{other:?}"),
        };
        assert_eq!(ended, end);
        for words in ["/runs show", "/audit show"] {
            layla.say(&format!("{words} {}", run.id)).await;
        }
        said += &omar.read();
    }
    for words in ["/status", "/releases api", "/runs list", "/audit show", "/audit verify", "/rollback plan image api"]
    {
        layla.say(words).await;
    }
    said += &layla.heard.text();
    assert!(said.len() > 10_000 && !tells(said.as_bytes()), "what people were told");

    let mut export = tokio::process::Command::new(STERNWAY);
    let export = export.args(["audit", "export", "--store"]).arg(shop.store()).output().await.unwrap();
    assert!(export.status.success() && export.stdout.len() > 10_000);
    assert!(!tells(&export.stdout) && !tells(&export.stderr), "the audit export");
    let mut kept = 0;
    let all = shop
        .engine
        .docker()
        .list_containers(Some(bollard::query_parameters::ListContainersOptionsBuilder::new().all(true).build()));
    for container in all.await.unwrap() {
        let name = container.names.unwrap_or_default().join(" ");
        if name.contains("io.sternway.pin-") && name.contains(&shop.project()) {
            kept += 1;
            let inspect = shop.containers_inspect(&container.id.unwrap()).await;
            assert!(!tells(inspect.to_string().as_bytes()), "a container of ours that keeps an image: {name}");
        }
    }
    assert!(kept >= 4, "of api's three images, web's and db's: {kept}");

    assert!(bot.stop().await.success());
    let (mut looked, mut in_agent) = (0, 0);
    for file in files(shop.folder()) {
        let found = tells(&std::fs::read(&file).unwrap());
        let inside = file.strip_prefix(shop.folder()).unwrap();
        if inside.starts_with("agent") {
            in_agent += usize::from(found);
            let mode = |p: &Path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(p).unwrap().permissions());
            assert_eq!(mode(&file) & 0o077, 0, "{} is nobody else's", file.display());
            assert_eq!(mode(file.parent().unwrap()) & 0o077, 0, "{}", file.display());
        } else if !inside.starts_with("shop") {
            looked += 1;
            assert!(!found, "a secret in {}", file.display());
        }
    }
    assert!(looked >= 5, "log, index, key, bot.log: {looked}");
    assert!(in_agent > 0, "the agent's own folder has the recorded settings, so the search finds what is there");
}

//! `sternway demo` on the real engine: what it makes it takes away, and it fails when the image to go back to is no good.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::bot::STERNWAY;
use crate::shop::{Shop, pause};

/// The story takes about half a minute.
const DEMO_LIMIT: Duration = Duration::from_secs(180);

/// Plays it, and looks that nothing of it is left.
async fn play(shop: &Shop, previous: Option<&str>) -> (bool, String) {
    let product = shop.product_folder();
    let mut command = Command::new(STERNWAY);
    command.args(["demo", "--play-only", "--product"]).arg(&product).stdin(Stdio::null()).kill_on_drop(true);
    if let Some(previous) = previous {
        command.args(["--previous", previous]);
    }
    // Its folder carries its id, while it plays.
    let stage = shop.folder().join("stage");
    std::fs::create_dir(&stage).expect("a folder of ours");
    command.env("TMPDIR", &stage);
    let playing = timeout(DEMO_LIMIT, command.output());
    let named = async {
        loop {
            let names = std::fs::read_dir(&stage).unwrap().filter_map(|e| e.ok()?.file_name().into_string().ok());
            let id = names.filter_map(|n| n.strip_prefix("sternway-demo-").map(str::to_owned)).next();
            match id {
                Some(id) => return id,
                None => pause().await,
            }
        }
    };
    let (output, id) = tokio::join!(playing, timeout(DEMO_LIMIT, named));
    let output = output.expect("the demo ends").expect("sternway can be started");
    let id = id.expect("it made a folder");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let label = format!("label=io.sternway.demo={id}");
    let name = format!("name=demo-{id}");
    for what in [
        vec!["ps", "-aq", "--filter", &label],
        vec!["ps", "-aq", "--filter", &name],
        vec!["network", "ls", "-q", "--filter", &label],
        vec!["volume", "ls", "-q", "--filter", &label],
        vec!["images", "-aq", "--filter", &label],
        vec!["images", "-q", "--filter", &format!("reference=io.sternway/pin/demo-{id}*")],
    ] {
        let left = Command::new("docker").args(&what).output().await.expect("docker can be run");
        assert!(left.status.success(), "{what:?}: {}", String::from_utf8_lossy(&left.stderr));
        assert_eq!(String::from_utf8_lossy(&left.stdout).trim(), "", "left by the demo: docker {what:?}\n{said}");
    }
    assert_eq!(std::fs::read_dir(&stage).unwrap().count(), 0, "its folder is left\n{said}");
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_ends_well_and_leaves_nothing() {
    let Some(shop) = Shop::bare().await else { return };
    let (well, said) = play(&shop, None).await;
    assert!(well, "{said}");
    for figure in ["command → first answer", "approval → healthy", "longest time without a good answer", "whole"] {
        assert!(said.contains(figure), "{figure}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_fails_when_the_previous_image_is_deleted_and_leaves_nothing() {
    let Some(shop) = Shop::bare().await else { return };
    let (well, said) = play(&shop, Some("removed")).await;
    assert!(!well && said.contains("gone"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_demo_fails_when_the_previous_image_breaks_and_leaves_nothing() {
    let Some(shop) = Shop::bare().await else { return };
    let (well, said) = play(&shop, Some("breaks")).await;
    assert!(!well, "{said}");
}

//! A full disk, a forged label, an order to stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;
use sternway::agent::engine::Engine;
use sternway::domain::event::{Event, Outcome};
use sternway::domain::run::Status;

use crate::bot::{Served, last_lines};
use crate::shop::{Settings, Shop, until};

/// A file system of its own, so small that it can be filled; unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Self {
        fs::create_dir(at).expect("a folder of ours");
        // Room for the ballast (64 MiB), what has to be free beside it, the index and the log.
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=112m,mode=0700", "tmpfs"]).arg(at).output();
        let mounted = mounted.expect("mount can be run");
        assert!(mounted.status.success(), "mount: {}", String::from_utf8_lossy(&mounted.stderr));
        Self(at.to_owned())
    }

    /// Takes all that is free.
    fn fill(&self) {
        let mut file = fs::File::create(self.0.join("filler")).expect("there is room for a name");
        let block = [0x55; 64 * 1024];
        for size in [block.len(), 4096, 1] {
            while std::io::Write::write_all(&mut file, &block[..size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        fs::remove_file(self.0.join("filler")).expect("it is ours");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_full_disk_nothing_is_begun_and_with_room_again_it_goes_on_by_itself() {
    let Some(shop) = Shop::open(&[("1.0", "good"), ("1.1", "good")]).await else { return };
    let disk = SmallDisk::mount(&shop.folder().join("disk"));
    let store = disk.0.join("store");
    let config = shop.write_config(&Settings { store: Some(store.clone()), ..Settings::default() });
    let bot = Served::start(&shop, &config, &store).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    let (before, asked_at) = (shop.api().await, bot.journal.head());
    let mut layla = bot.sit().await;
    disk.fill();
    // What is left of the newest segment's last page may take a small record yet: dry runs use it up.
    until("the log to be full", async || {
        let said = layla.say("/rollback plan image api because there is a rest of a page");
        let said = tokio::time::timeout(Duration::from_secs(30), said).await;
        let said = said.unwrap_or_else(|_| panic!("no answer: {}", last_lines(&bot.log))).plain();
        if said.contains("cannot be written") { Ok(()) } else { Err(said) }
    })
    .await;
    let said = layla.say("/rollback image api because it is bad").await.plain();
    assert!(said.contains("the record cannot be written, nothing is done"), "{said}");
    assert!(said.contains("room"), "what to do: {said}");
    assert!(bot.journal.newest_after(asked_at).is_none(), "no run");
    let after = shop.api().await;
    for what in ["/Id", "/State/StartedAt", "/Name"] {
        assert_eq!(before.pointer(what), after.pointer(what), "{what}: nothing was touched");
    }
    let status = layla.say("/status").await.plain();
    assert!(status.contains("cannot be written"), "looking still works and says so: {status}");
    shop.serves("1.1").await;

    disk.make_room();
    // It closes and opens the log again by itself, with pauses; the person says it again until then.
    let mut said = String::new();
    for _ in 0..40 {
        said = layla.say("/status").await.plain();
        if !said.contains("cannot be written") {
            break;
        }
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        tick.tick().await;
        tick.tick().await;
    }
    assert!(!said.contains("cannot be written"), "room is found without a restart: {said}");
    let asked_at = bot.journal.head();
    layla.say("/rollback image api because it is bad").await;
    let run = bot.journal.at_rest(asked_at).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    shop.serves("1.0").await;
    bot.journal.is_whole().await;
    drop(bot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_label_is_an_alarm_on_the_card_and_never_a_reason_to_remove_a_container() {
    // On the service itself: its own Compose file claims to be a swap of ours …
    let forged =
        "    labels:\n      <<: *demo\n      io.sternway.op: \"f0f0f0f0f0f0\"\n      io.sternway.replaces: \"0123\"\n";
    let edit = |compose: String| compose.replacen("    labels: *demo\n", forged, 1);
    let Some(shop) = Shop::with(&[("1.0", "good"), ("1.1", "good")], edit).await else { return };
    let engine = shop.engine.engine();
    // … and a container that stands beside it under a swap's name, labels copied by hand, MAC invented.
    let stray = format!("{}_api_1.next-f0f0f0f0f0f0", shop.project());
    let labels = json!({
        "com.docker.compose.project": shop.project(), "com.docker.compose.service": "stray",
        "com.docker.compose.oneoff": "False", "io.sternway.op": "f0f0f0f0f0f0", "io.sternway.run": "r7",
        "io.sternway.replaces": shop.api().await["Id"], "io.sternway.name": shop.api().await["Name"],
        "io.sternway.restart": "{\"Name\":\"no\"}", "io.sternway.policy": "{\"Name\":\"no\"}",
        "io.sternway.order": "stop-first", "io.sternway.mac": "0".repeat(64),
    });
    let body = json!({"Image": shop.image("1.0"), "Labels": labels, "HostConfig": {"NetworkMode": "none"}});
    let stray_id = engine.create(&stray, &body).await.unwrap();

    let config = shop.write_config(&Settings::default());
    let bot = Served::start(&shop, &config, &shop.store()).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    let mut layla = bot.sit().await;
    let plan = layla.say("/rollback plan image api").await.plain();
    assert!(plan.contains("io.sternway.op") && plan.contains("forged"), "an alarm on the card: {plan}");
    let asked_at = bot.journal.head();
    layla.say("/rollback image api").await;
    let run = bot.journal.at_rest(asked_at).await;
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    shop.serves("1.0").await;
    // A restart, and what recovery would look at.
    bot.kill();
    let bot = Served::start(&shop, &config, &shop.store()).await;
    bot.sit().await.say("/status").await;
    let stray_now = engine.inspect(&stray_id).await.unwrap().expect("the stray container is never removed");
    assert_eq!(stray_now["Name"], format!("/{stray}"), "nor renamed");
    assert_eq!(stray_now["State"]["Status"], "created", "nor started");
    drop(bot);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_in_the_middle_of_a_run_it_stops_at_a_safe_point_and_the_next_start_ends_the_run() {
    let Some(shop) = Shop::open(&[("1.0", "good"), ("1.1", "good")]).await else { return };
    let config = shop.write_config(&Settings::default());
    let mut bot = Served::start(&shop, &config, &shop.store()).await;
    bot.journal.release(&shop.image("1.0"), true).await;
    shop.deploy("1.1").await;
    bot.journal.release(&shop.image("1.1"), true).await;
    let asked_at = bot.journal.head();
    let mut layla = bot.sit().await;
    layla.send(1, "/rollback image api because it is bad").await;
    let swaps = |e: &Event| matches!(e, Event::StepIntent { step: 1 });
    let run = until("the swap to be under way", async || {
        let run = bot.journal.newest_after(asked_at);
        run.filter(|r| bot.journal.events(r.id).iter().any(swaps)).ok_or_else(|| "not yet".to_owned())
    })
    .await;
    bot.tell_to_stop();
    let ended = bot.ended().await;
    assert!(ended.success(), "a stop in good order: {ended}");
    let journal = bot.journal.clone();
    drop(bot);
    // The safe point: every intent has its end on record, and the stop is on record as well.
    let events = journal.events(run.id);
    let count = |of: fn(&Event) -> bool| events.iter().filter(|e| of(e)).count();
    let begun = count(|e| matches!(e, Event::StepIntent { .. } | Event::UndoIntent { .. }));
    let over = count(|e| matches!(e, Event::StepDone { .. } | Event::StepFailed { .. } | Event::UndoDone { .. }));
    assert_eq!(begun, over, "nothing is under way: {events:#?}");
    let records = journal.records();
    let [.., (_, stop), (_, seal)] = records.as_slice() else { panic!("there are {} records", records.len()) };
    assert!(matches!(stop.body, Event::Stopped), "the stop is the last thing that happened: {stop:?}");
    assert!(matches!(seal.body, Event::Checkpoint { .. }), "and it is signed: {seal:?}");
    let stopped = journal.newest_after(asked_at).unwrap();
    assert!(!stopped.ended(), "it was in the middle: {:?}", stopped.status);
    assert_eq!(shop.leftovers().await, Vec::<String>::new(), "no half swap stands while it is away");

    let bot = Served::start(&shop, &config, &shop.store()).await;
    let run = bot.journal.at_rest(asked_at).await;
    assert_eq!(run.id, stopped.id);
    assert!(matches!(&run.status, Status::Ended { outcome: Outcome::Done, .. }), "{:?}", run.status);
    shop.serves("1.0").await;
    bot.journal.is_whole().await;
}

//! A file of the agent's own folder with something else in it, in the middle of everything: what is damaged is told, and
//! nobody guesses.
//!
//! The first byte says which file, the rest is its content.

use std::fs;
use std::path::{Path, PathBuf};

use super::engine_world::{all_is_shown, talk};
use super::night::{Night, at_rest};

pub fn feed(data: &[u8]) {
    let Some((which, content)) = data.split_first() else { return };
    let night = Night::after_a_bad_deploy();
    let neighbours = neighbours(&night);
    let files = files(&night.folder.path().join("agent"));
    let file = &files[usize::from(*which) % files.len()];
    fs::write(file, content).unwrap();
    let run = night.live(async |bot| {
        talk(bot, &["/status", "/releases api", "/rollback plan image api", "/rollback image api"]).await;
        bot.newest()
    });
    all_is_shown(&night);
    // Whatever was believed of it: nobody else's container was touched, and the API ends as one of its two versions or
    // with a run that says what remains.
    assert_eq!(self::neighbours(&night), neighbours, "a neighbour was touched because of {}", file.display());
    let stands = night.serving().0.is_some();
    let says_so = run.as_ref().is_some_and(|r| at_rest(r) && !r.ended());
    assert!(stands || says_so, "the API is gone and nobody says so: {run:?}");
}

/// Ids of the containers beside the API.
fn neighbours(night: &Night) -> Vec<Option<String>> {
    use sternway::agent::engine::Engine;
    let id = async |name: &str| {
        let seen = night.engine.inspect(name).await.unwrap();
        seen.and_then(|value| Some(format!("{} {}", value["Id"].as_str()?, value["State"]["StartedAt"])))
    };
    night.run(async { vec![id("shop-db-1").await, id("shop-web-1").await] })
}

/// All of its files but the lock and the key, in order, and places where one may be put.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for room in ["operations", "ended", "tokens", "specs", "depends", "stores", "copies", "pins", "images"] {
        let room = folder.join(room);
        files.extend(fs::read_dir(&room).unwrap().map(|entry| entry.unwrap().path()));
        files.push(room.join("shop~api.json"));
    }
    files.push(folder.join("tokens/shop@local.json"));
    files.sort();
    files
}

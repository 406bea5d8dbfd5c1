//! The container that the agent makes by a swap is the one that Compose makes itself with that image: field by field
//! of inspect and of the OCI spec, for services that together use every option, under each generation of Compose.
//! What differs all the same stands in `docs/recreation.md`, and nothing else may.
//!
//! Runs on a real engine; skips loudly without one or without that Compose, never where an engine is required.

// Clippy knows tests by their attribute; what stands beside them here is test code too.
#![allow(clippy::unwrap_used, clippy::print_stderr, clippy::panic)]

#[path = "exact/bench.rs"]
mod bench;
#[path = "exact/compare.rs"]
mod compare;
#[path = "support/engine_socket.rs"]
mod engine_socket;
mod recreate_world;
#[path = "exact/table.rs"]
mod table;

use bench::Bench;
use recreate_world::{Tool, World};
use serde_json::{Map, Value};
use sternway::agent::spec::{Peer, Recreate, changed_keys, matches, recreate, settings};

const SINK: &str = include_str!("exact/sink.yml");

/// The services that are swapped; `db` only stands behind them.
const SERVICES: [&str; 6] = ["sink", "bare", "open", "hosted", "side", "alone"];

/// A secret of `hosted` whose content is a variable.
const COPIED: &str = "/run/secrets/copied";

async fn the_swap_makes_what_compose_makes(name: &str, tool: Tool) {
    let Some(bench) = Bench::new(name, tool, SINK).await else { return };
    let world = &bench.world;
    world.up("v2", &[]).await;
    world.project().await; // its volumes are noted, to be removed at the end
    // Compose's own way from one image to the other, recorded as the agent sees it.
    world.up("v1", &[]).await;
    let good = bench.facts().await;
    let theirs = world.each(&SERVICES).await;
    let theirs_oci: Vec<_> = theirs.iter().map(compare::oci).collect();
    let copied = world.file(&theirs[3], COPIED).await;
    assert_eq!(copied.is_some(), tool != Tool::V1, "compose 2 copies what has no file");
    world.up("v2", &[]).await;
    let (good_image, bad_image) = (world.image("v1").await, world.image("v2").await);
    for (service, (theirs, bad)) in SERVICES.iter().zip(theirs.iter().zip(world.each(&SERVICES).await)) {
        let (then, now) = (settings(theirs, &good_image), settings(&bad, &bad_image));
        assert_eq!(changed_keys(&now, &then), Vec::<String>::new(), "{service}: only the image changed");
    }
    // Ours.
    for service in SERVICES {
        bench.swap(service, &good).await;
    }
    let mut wrong = Vec::new();
    let ours = world.each(&SERVICES).await;
    for (i, service) in SERVICES.iter().enumerate() {
        let flat = compare::inspect(&ours[i]);
        wrong.extend(intolerable(service, &flat, &compare::inspect(&theirs[i])));
        wrong.extend(of_the_bad_image(service, &flat));
        match (compare::oci(&ours[i]), &theirs_oci[i]) {
            (Some(ours), Some(theirs)) => wrong.extend(intolerable(service, &ours, theirs)),
            _ => eprintln!("NOT COMPARED: the OCI spec of {service} cannot be seen from here"),
        }
    }
    assert_eq!(world.file(&ours[3], COPIED).await, copied, "{COPIED}: content, owner and mode");
    assert!(wrong.is_empty(), "what the swap made is not what {tool:?} makes:\n{}", wrong.join("\n"));
    // Compose finds what it would have made, and nothing to do.
    world.up("v1", &[]).await;
    for (service, (ours, now)) in SERVICES.iter().zip(ours.iter().zip(world.each(&SERVICES).await)) {
        assert_eq!(ours["Id"], now["Id"], "{service}: the next `up` recreated it");
    }
    what_cannot_start_here_is_made_alike(world).await;
    what_only_the_file_knows_is_refused(&bench).await;
}

async fn what_cannot_start_here_is_made_alike(world: &World) {
    let (good_image, bad_image) = (world.image("v1").await, world.image("v2").await);
    let old = world.shelve("v2", "shelf").await;
    let peers: Vec<Peer> = world.project().await.iter().filter(|c| c["Id"] != old["Id"]).map(Peer::of).collect();
    let wanted = recreate(Recreate {
        old: &old,
        old_image: &bad_image,
        new_image_id: good_image["Id"].as_str().unwrap(),
        new_image: &good_image,
        target_labels: None,
        own_labels: &Map::new(),
        restart: &old["HostConfig"]["RestartPolicy"],
        api: world.api,
        peers: &peers,
    });
    let wanted = wanted.unwrap();
    let ours = world.make("shelf.next", &wanted).await;
    assert_eq!(matches(&ours, &good_image, &wanted), Vec::<String>::new());
    world.docker(&["rm", ours["Id"].as_str().unwrap()]).await;
    let theirs = world.shelve("v1", "shelf").await;
    assert_ne!(theirs["Id"], old["Id"], "compose was to make its own");
    let (mut ours, theirs) = (compare::inspect(&ours), compare::inspect(&theirs));
    for of_another_time in ["Name", "Config.Labels.com.docker.compose.config-hash"] {
        ours.insert(of_another_time.to_owned(), theirs[of_another_time].clone());
    }
    let wrong = intolerable("shelf", &ours, &theirs);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

async fn what_only_the_file_knows_is_refused(bench: &Bench) {
    let file = bench.world.folder().join("docker-compose.yml");
    let text = std::fs::read_to_string(&file).unwrap();
    let hooked = text.replace("  bare:\n", "  bare:\n    post_start: [{command: [/m, check]}]\n");
    std::fs::write(&file, hooked).unwrap();
    let seen = bench.facts().await;
    let told = &seen["bare"].obstacles;
    assert!(matches!(told.as_slice(), [one] if one.contains("the hook post_start in docker-compose.yml")), "{told:?}");
    assert_eq!(seen["hosted"].obstacles, Vec::<String>::new());
}

/// What only the image before declares (`tests/recreate_world`): none of it may be left.
fn of_the_bad_image(service: &str, ours: &compare::Flat) -> Vec<String> {
    const MARKS: [&str; 9] =
        ["anon2", "ONLY_v2", "=v2", "\"v2\"", "org.only.v2", "/srv2", "SIGQUIT", "1002:1002", "902/tcp"];
    let of_config = |path: &&String| path.starts_with("Config.") || path.starts_with("Mounts ") || *path == "Args";
    let mut left = Vec::new();
    for path in ours.keys().filter(of_config) {
        let line = format!("{path} {}", ours[path]);
        left.extend(MARKS.iter().filter(|mark| line.contains(**mark)).map(|mark| format!("{service} {mark}: {line}")));
    }
    left
}

/// Every difference that no row of the table covers.
fn intolerable(service: &str, ours: &compare::Flat, theirs: &compare::Flat) -> Vec<String> {
    let told = |value: Option<&Value>| value.map_or("nothing".to_owned(), ToString::to_string);
    compare::differences(ours, theirs)
        .into_iter()
        .filter(|(path, ours, theirs)| table::row(path, *ours, *theirs).is_none())
        .map(|(path, ours, theirs)| {
            format!("{service} {path}\n   ours:      {}\n   compose's: {}", told(ours), told(theirs))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_container_is_the_one_compose_1_29_makes() {
    the_swap_makes_what_compose_makes("sink1", Tool::V1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_container_is_the_one_compose_2_26_makes() {
    the_swap_makes_what_compose_makes("sink226", Tool::V2("2.26.1")).await;
}

#[test]
fn the_differences_that_are_tolerated_are_the_table_in_the_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/recreation.md");
    let text = std::fs::read_to_string(path).expect("docs/recreation.md");
    let rows: Vec<&str> = table::TOLERATED.iter().map(|(row, _)| *row).collect();
    assert_eq!(table::of_document(&text), rows, "docs/recreation.md and tests/exact/table.rs");
}

//! The container that `spec::recreate` describes equals, field by field, the one that docker-compose 1.29 makes
//! itself for the same image. Runs on the machine's engine; skips loudly without one, never in CI.

// Clippy knows tests by their attribute; what stands beside them here is test code too.
#![allow(clippy::unwrap_used, clippy::print_stderr)]

#[path = "support/engine_socket.rs"]
mod engine_socket;
mod recreate_world;

use recreate_world::{Compared, Tool, World, compared};
use serde_json::{Map, Value, json};
use sternway::agent::spec::{
    self, Peer, Recorded, Recreate, Surroundings, changed_keys, compose_labels, matches, obstacles, recreate,
    recreate_recorded, settings,
};

/// The services that are compared; `db` only stands behind them.
const SERVICES: [&str; 4] = ["api", "bare", "bridged", "hosted"];

/// What only the good image declares, and only the bad one.
const ANON: &str = r#"Mount "/anon""#;
const ANON2: &str = r#"Mount "/anon2""#;

fn own_labels() -> Map<String, Value> {
    Map::from_iter([("io.sternway.op".to_owned(), json!("o1")), ("io.sternway.name".to_owned(), json!("n"))])
}

fn assert_same(service: &str, ours: &Compared, theirs: &Compared) {
    let mut differ = Vec::new();
    for key in ours.keys().chain(theirs.keys()) {
        let (a, b) = (ours.get(key), theirs.get(key));
        if a != b {
            differ.push(format!("{key}\n   ours:      {a:?}\n   compose's: {b:?}"));
        }
    }
    differ.dedup();
    assert!(differ.is_empty(), "{service}: what recreate() made is not what compose makes:\n{}", differ.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recreated_container_is_the_one_compose_makes_itself() {
    let Some(world) = World::new("same", Tool::V1, COMPOSE).await else { return };
    world.up("v1", &[]).await;
    let first: Vec<Value> = world.each(&SERVICES).await;
    world.up("v2", &[]).await;
    let bad: Vec<Value> = world.each(&SERVICES).await;
    let (image1, image2) = (world.image("v1").await, world.image("v2").await);
    let id1 = image1["Id"].as_str().unwrap();
    let peers: Vec<Peer> = world.project().await.iter().map(Peer::of).collect();

    // Settings: the same but for the image, and no sentence against the swap.
    for ((service, old), before) in SERVICES.iter().zip(&bad).zip(&first) {
        let (now, then) = (settings(old, &image2), settings(before, &image1));
        assert_eq!(
            changed_keys(&now, &then),
            Vec::<String>::new(),
            "{service}: settings must not change with the image"
        );
        assert_eq!(spec::mac_text(&now).unwrap(), spec::mac_text(&then).unwrap(), "{service}");
        let changes = world.changes(old["Id"].as_str().unwrap()).await;
        let others: Vec<Peer> = peers.iter().filter(|p| p.id != old["Id"]).cloned().collect();
        let around = Surroundings { peers: &others, own_container: None };
        assert_eq!(obstacles(old, &image2, &changes, around), Vec::<String>::new(), "{service}");
    }

    // Ours, made beside compose's and looked at before and after it was started.
    let mut ours = Vec::new();
    for ((service, old), before) in SERVICES.iter().zip(&bad).zip(&first) {
        let recorded = compose_labels(before);
        let wanted = recreate(Recreate {
            old,
            old_image: &image2,
            new_image_id: id1,
            new_image: &image1,
            target_labels: Some(&recorded),
            own_labels: &own_labels(),
            restart: &old["HostConfig"]["RestartPolicy"],
            api: world.api,
            peers: &peers,
        })
        .unwrap_or_else(|why| panic!("{service}: {why:?}"));
        let made = world.make(&format!("{service}.next"), &wanted).await;
        assert_eq!(matches(&made, &image1, &wanted), Vec::<String>::new(), "{service}: just created");
        let id = made["Id"].as_str().unwrap();
        // Stop-first: the address and MAC that the present one holds must be free.
        world.docker(&["stop", "-t", "0", old["Id"].as_str().unwrap()]).await;
        world.docker(&["start", id]).await;
        let started = world.inspect(id).await;
        assert_eq!(matches(&started, &image1, &wanted), Vec::<String>::new(), "{service}: started");
        // Here compose 1 does worse: it forgets the volume of `VOLUME /anon` on the second recreate and begins a new
        // one, and it drags along `/anon2`, which only the bad image declares.
        let mut flat = compared(&started);
        assert_eq!(flat.remove(ANON), compared(old).remove(ANON), "{service}: the volume with the data");
        ours.push(flat);
        world.docker(&["rm", "-f", "-v", id]).await;
    }

    // Compose's own way back to v1.
    world.up("v1", &["--no-deps"]).await;
    for ((service, ours), theirs) in SERVICES.iter().zip(&ours).zip(world.each(&SERVICES).await) {
        let mut theirs = compared(&theirs);
        assert!(theirs.remove(ANON).is_some() && theirs.remove(ANON2).is_some());
        assert_same(service, ours, &theirs);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_our_swap_a_plain_up_leaves_the_container_alone_and_undo_gives_the_old_one_back() {
    let Some(world) = World::new("swap", Tool::V1, COMPOSE).await else { return };
    world.up("v1", &["api"]).await;
    let before = world.service("api").await;
    world.up("v2", &["api"]).await;
    let old = world.service("api").await;
    let (image1, image2) = (world.image("v1").await, world.image("v2").await);
    let peers: Vec<Peer> = world.project().await.iter().map(Peer::of).collect();
    let recorded = compose_labels(&before);
    let wanted = recreate(Recreate {
        old: &old,
        old_image: &image2,
        new_image_id: image1["Id"].as_str().unwrap(),
        new_image: &image1,
        target_labels: Some(&recorded),
        own_labels: &own_labels(),
        restart: &json!({"Name": "no"}),
        api: world.api,
        peers: &peers,
    })
    .unwrap();
    let new = world.replace(&old, &wanted).await;
    assert_eq!(new["HostConfig"]["RestartPolicy"]["Name"], "no");
    world.up("v1", &["api"]).await;
    assert_eq!(world.service("api").await["Id"], new["Id"], "compose recreated what should be what it wants");

    let back = recreate_recorded(Recorded {
        recorded: &old,
        image: &image2,
        image_id: image2["Id"].as_str().unwrap(),
        present: Some(&new),
        own_labels: &own_labels(),
        restart: &old["HostConfig"]["RestartPolicy"],
        api: world.api,
        peers: &peers,
    })
    .unwrap();
    let again = world.replace(&new, &back).await;
    assert_eq!(matches(&again, &image2, &back), Vec::<String>::new());
    assert_same("api", &compared(&again), &compared(&old));
    world.up("v2", &["api"]).await;
    assert_eq!(world.service("api").await["Id"], again["Id"], "compose recreated what the undo had put back");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_changed_beside_the_image_are_named_and_their_hash_is_not_claimed() {
    let Some(world) = World::new("keys", Tool::V1, COMPOSE).await else { return };
    world.up("v1", &["bare"]).await;
    let before = world.service("bare").await;
    let changed = COMPOSE.replace("  bare:\n", "  bare:\n    environment: {PASSWORD: rotated}\n    mem_limit: 32m\n");
    let (image1, image2) = (world.image("v1").await, world.image("v2").await);
    world.rewrite(&changed).await;
    world.up("v2", &["bare"]).await;
    let old = world.service("bare").await;
    assert_eq!(
        changed_keys(&settings(&old, &image2), &settings(&before, &image1)),
        ["Memory", "MemorySwap", "environment PASSWORD"]
    );
    let wanted = recreate(Recreate {
        old: &old,
        old_image: &image2,
        new_image_id: image1["Id"].as_str().unwrap(),
        new_image: &image1,
        target_labels: None,
        own_labels: &own_labels(),
        restart: &old["HostConfig"]["RestartPolicy"],
        api: world.api,
        peers: &[],
    })
    .unwrap();
    let new = world.replace(&old, &wanted).await;
    assert_eq!(new["Config"]["Labels"][spec::CONFIG_HASH], spec::NO_CONFIG_HASH);
    // At most one recreate, to the same image (decision 23).
    world.up("v1", &["bare"]).await;
    let theirs = world.service("bare").await;
    assert_ne!(theirs["Id"], new["Id"]);
    assert_eq!(theirs["Image"], new["Image"]);
    world.up("v1", &["bare"]).await;
    assert_eq!(world.service("bare").await["Id"], theirs["Id"]);
}

const COMPOSE: &str = r#"
version: "2.4"
services:
  db:
    image: ${NAME}:v1
    command: ["serve", "8081"]
    labels: {sternway-test: "${MARK}"}
    networks: [back]
  api:
    image: ${NAME}:${TAG}
    command: ["serve", "8080", "--x"]
    environment: {A: "1", SHARED: same, PASSWORD: s3cret, EMPTY: "", SPACED: "a b = c"}
    ports: ["127.0.0.1::8080", "127.0.0.1::7000/udp"]
    expose: ["7777"]
    networks:
      front: {aliases: [api.local, www]}
      back: {}
    volumes: ["data:/data", "/own", "/tmp:/host:ro"]
    tmpfs: [/run/t]
    restart: unless-stopped
    depends_on: [db]
    links: ["db:database"]
    labels: {team: shop, sternway-test: "${MARK}"}
    mem_limit: 64m
    cap_drop: [NET_RAW]
    security_opt: ["no-new-privileges:true"]
    sysctls: {net.core.somaxconn: 128}
    ulimits: {nofile: {soft: 1000, hard: 2000}}
    extra_hosts: ["h:127.0.0.2"]
    dns: [127.0.0.53]
    logging: {driver: json-file, options: {max-size: 1m}}
    shm_size: 32m
    read_only: true
    stop_grace_period: 3s
    stop_signal: SIGTERM
    working_dir: /data
    init: true
    healthcheck: {test: ["CMD", "/m", "check"], interval: 5s, retries: 7}
    mac_address: "02:42:ac:00:77:01"
    hostname: api-host
  bare:
    image: ${NAME}:${TAG}
    labels: {sternway-test: "${MARK}"}
    networks: [back]
  bridged:
    image: ${NAME}:${TAG}
    labels: {sternway-test: "${MARK}"}
    network_mode: bridge
    entrypoint: ["/m", "serve", "-"]
    command: ["8082"]
    user: "0"
    healthcheck: {disable: true}
  hosted:
    image: ${NAME}:${TAG}
    labels: {sternway-test: "${MARK}"}
    network_mode: host
    command: ["wait"]
networks:
  front: {labels: {sternway-test: "${MARK}"}}
  back: {labels: {sternway-test: "${MARK}"}}
volumes:
  data: {labels: {sternway-test: "${MARK}"}}
"#;

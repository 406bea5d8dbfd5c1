//! Every verb of compose after a rollback, after its undo, and after another rollback.

use serde_json::Value;
use sternway::agent::engine::Engine;
use sternway::domain::release::Wanted;

use crate::composes::Compose;
use crate::forms::{ALL, ELSEWHERE, ENV, Form, TAG};
use crate::world::World;

/// Compose 1 breaks half-way when it recreates on engines that speak this API and newer ones (`wreck.rs`).
const TOO_NEW_FOR_1: (u32, u32) = (1, 44);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_1_29_finds_what_it_would_have_made() {
    whole_life("1.29", &ALL).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_26_finds_what_it_would_have_made() {
    // What a form of project comes to is compose's doing: on further engines some of them will do.
    let all = crate::world::takes_compose_1(TOO_NEW_FOR_1).await;
    whole_life("2.26.1", if all { &ALL } else { &[&ENV, &ELSEWHERE, &TAG] }).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compose_2_40_finds_what_it_would_have_made() {
    whole_life("2.40.3", &[&ENV, &ELSEWHERE]).await;
}

async fn whole_life(version: &str, forms: &[&'static Form]) {
    for form in forms {
        if version.starts_with("1.") && !crate::world::takes_compose_1(TOO_NEW_FOR_1).await {
            eprintln!("not on this engine: compose {version} breaks when it recreates here");
            return;
        }
        let Some(compose) = Compose::find(version) else { return };
        let Some(mut world) = World::new(&compose, form).await else { return };
        world.deploy("1.0").await;
        let env_of_good = world.env();
        world.deploy("1.1").await;
        let env_of_bad = world.env();
        let (good, bad) = (world.version("1.0").await, world.version("1.1").await);
        let db = world.containers("db").await.remove(0)["Id"].clone();
        assert_eq!(world.running().await, bad);

        let (done, warnings) = world.roll_back(Wanted::Previous).await;
        assert_eq!(warnings, Vec::<String>::new(), "{}: nothing to announce", form.name);
        assert_eq!(world.running().await, good);
        assert_eq!(world.env(), env_of_good, "as the team would have written it");
        every_verb(&world).await;
        assert_eq!(world.running().await, good);

        world.undo(done).await;
        assert_eq!(world.env(), env_of_bad, "byte for byte");
        assert_eq!(world.running().await, bad);
        up_changes_nothing(&world, "after the undo").await;

        let (_, warnings) = world.roll_back(Wanted::Previous).await;
        assert_eq!(warnings, Vec::<String>::new(), "{}: the second time", form.name);
        up_changes_nothing(&world, "after another rollback").await;
        assert_eq!(world.running().await, good);
        assert_eq!(world.containers("db").await.remove(0)["Id"], db, "nobody touched db");

        let left_alone = if form.name == ENV.name { Some(no_deps_leaves_alone(&world).await) } else { None };

        // The team's next deploy is one, and there is nothing of ours in its way.
        world.deploy("2.0").await;
        assert_eq!(world.running().await, world.version("2.0").await);
        assert_eq!(own_labels(&world.api().await), Vec::<String>::new(), "compose's own container");
        if let Some(left_alone) = left_alone {
            assert_eq!(
                left_alone,
                no_deps_leaves_alone(&world).await,
                "`up --no-deps`: as with compose's own container"
            );
        }
        world.run(&["down", "-t", "1"]).await;
        let left = world.real.engine().project_containers(&world.real.project()).await.unwrap();
        assert_eq!(left, Vec::<String>::new(), "{}: `down` takes all of the project", form.name);
    }
}

fn own_labels(container: &Value) -> Vec<String> {
    let labels = container["Config"]["Labels"].as_object().unwrap();
    labels.keys().filter(|k| k.starts_with("io.sternway.") && *k != "io.sternway.test").cloned().collect()
}

/// Plain `up`, and `up` of the service alone.
pub(crate) async fn up_changes_nothing(world: &World, when: &str) {
    let before = world.api().await;
    for verb in [&["up", "-d"][..], &["up", "-d", "api"]] {
        world.run(verb).await;
        let after = world.api().await;
        for field in ["/Id", "/State/StartedAt", "/Name"] {
            assert_eq!(
                after.pointer(field),
                before.pointer(field),
                "compose {} on {}: {when}, {verb:?} must leave it alone",
                world.compose.version,
                world.form.name
            );
        }
    }
}

/// Whether `up --no-deps` leaves the container alone: some versions of compose 2 do not, not even their own.
async fn no_deps_leaves_alone(world: &World) -> bool {
    let before = world.api().await["Id"].clone();
    world.run(&["up", "-d", "--no-deps", "api"]).await;
    world.api().await["Id"] == before
}

async fn every_verb(world: &World) {
    up_changes_nothing(world, "after the rollback").await;
    let before = world.api().await;
    let (id, name) = (before["Id"].as_str().unwrap(), before["Name"].as_str().unwrap().trim_start_matches('/'));
    assert_eq!(world.run(&["ps", "-q", "api"]).await.trim(), id);
    // These do not depend on the form.
    if world.form.name == ENV.name {
        let listed = world.run(&["ps"]).await;
        assert!(listed.contains(name), "{listed}");
        world.run(&["logs", "--tail", "5", "api"]).await;
        world.run(&["exec", "-T", "api", "/program", "check"]).await;
        assert!(world.try_run(&["exec", "-T", "api", "/program", "exit", "3"]).await.is_err(), "exec really ran it");
    }
    world.run(&["restart", "-t", "1", "api"]).await;
    let restarted = world.api().await;
    assert_eq!(restarted["Id"], before["Id"]);
    assert_ne!(restarted["State"]["StartedAt"], before["State"]["StartedAt"]);
    world.run(&["stop", "-t", "1", "api"]).await;
    assert_eq!(world.api().await["State"]["Running"], false);
    world.run(&["start", "api"]).await;
    let started = world.api().await;
    assert_eq!((&started["Id"], &started["State"]["Running"]), (&before["Id"], &Value::Bool(true)));
    // After `stop`, `up` starts the very same container.
    world.run(&["stop", "-t", "1"]).await;
    world.run(&["up", "-d"]).await;
    assert_eq!(world.api().await["Id"], before["Id"]);
}

//! What compose 1.29 leaves when it breaks off half-way, as it does on engines from 26 on.

use jiff::Timestamp;
use sternway::agent::Inspect;
use sternway::domain::release::{History, Wanted};
use sternway::report::{ServiceStatus, status};

use crate::composes::Compose;
use crate::forms::ENV;
use crate::world::{World, takes_compose_1};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wreck_of_compose_1_is_told_with_what_to_do_and_that_brings_the_service_back() {
    if takes_compose_1((1, 44)).await {
        eprintln!("not on this engine: compose 1.29 does not break here");
        return;
    }
    let Some(compose) = Compose::find("1.29") else { return };
    let Some(mut world) = World::new(&compose, &ENV).await else { return };
    world.deploy("1.0").await;
    let name = world.api().await["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    let good = world.api().await;
    world.pin("1.1");
    let why = world.try_run(&["up", "-d"]).await.expect_err("it breaks");
    assert!(why.contains("ContainerConfig"), "{why}");
    let wreck = world.api().await;
    let left = wreck["Name"].as_str().unwrap().trim_start_matches('/').to_owned();
    assert_eq!((&wreck["Id"], &wreck["State"]["Running"]), (&good["Id"], &serde_json::Value::Bool(false)));
    assert_eq!(left, format!("{}_{name}", &good["Id"].as_str().unwrap()[..12]));

    // Asked for a rollback, the plan tells it.
    let told = world.plan(Wanted::Tag("1.1".to_owned())).await.expect_err("this cannot be swapped");
    let words = format!("{} {:?}", told.message, told);
    let (rename, start) = (format!("docker rename {left} {name}"), format!("docker start {name}"));
    assert!(words.contains(&rename) && words.contains(&start), "{words}");

    // And so does `/status`.
    let stack = world.agent.stack(&world.real.project()).await.unwrap();
    let services: Vec<ServiceStatus> = stack
        .services
        .iter()
        .map(|(name, facts)| ServiceStatus {
            name: name.clone(),
            facts: facts.clone(),
            health: None,
            gone: Vec::new(),
            history: History::default(),
        })
        .collect();
    let shown = status(&world.target(), &stack.engine, &services, None, None, Timestamp::UNIX_EPOCH).plain();
    assert!(shown.contains(&rename) && shown.contains(&start), "{shown}");

    // What it says is right.
    for (command, arguments) in [("rename", vec![left.as_str(), name.as_str()]), ("start", vec![name.as_str()])] {
        let done = tokio::process::Command::new("docker").arg(command).args(arguments).output().await.unwrap();
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }
    assert_eq!(world.running().await, world.version("1.0").await);
    world.plan(Wanted::Tag("1.1".to_owned())).await.expect("and now there is a plan again");
}

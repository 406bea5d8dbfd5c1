//! Create, start, stop, rename, restart policy, remove, kill, exec.

use serde_json::{Value, json};
use sternway::agent::engine::EngineError::{Conflict, NotFound, Refused};
use sternway::agent::sim::Behaviour;

use crate::lab::Lab;

on_both_engines! {
    it_says_who_it_is,
    what_is_not_there_is_not_found_and_its_removal_is_done,
    saying_it_twice_is_saying_it_once,
    a_taken_or_bad_name_is_refused_and_nothing_is_made,
    a_running_container_cannot_be_removed,
    a_published_port_is_held_until_its_container_stops,
    a_port_that_is_not_exposed_is_not_published,
    a_program_that_exits_leaves_its_code,
    a_restart_policy_starts_it_again_and_counts,
    a_program_that_ignores_sigterm_is_killed_after_the_grace,
    health_is_asked_through_the_port_and_inside,
    dockers_own_verdict_follows_the_check,
    a_container_is_renamed_while_it_runs,
    a_restart_policy_is_set_and_shown,
    signals_reach_running_containers_only,
    containers_are_found_by_label_in_every_state,
}

async fn it_says_who_it_is(lab: &Lab) {
    let facts = lab.engine.facts().await.unwrap();
    assert!(facts.version.contains('.'), "{facts:?}");
    assert!(facts.api.starts_with("1."), "{facts:?}");
    assert_eq!(facts.os, "linux");
    assert!(["amd64", "arm64"].contains(&facts.arch.as_str()), "{facts:?}");
    // Visible wherever the suite runs as a user who may enter the engine's folder.
    if let Some(free) = lab.engine.free_bytes().await {
        assert!(free > 1_000_000, "{free}");
    }
}

async fn what_is_not_there_is_not_found_and_its_removal_is_done(lab: &Lab) {
    let none = &lab.name("nobody");
    let engine = &lab.engine;
    assert_eq!(engine.inspect(none).await, Ok(None));
    assert_eq!(engine.image("sternway-test/none:1").await, Ok(None));
    assert_eq!(engine.remove(none).await, Ok(()));
    let image = lab.image("there:1", Behaviour::Healthy).await;
    let container = lab.create("there", &lab.body(&image)).await;
    engine.start(&container).await.unwrap();
    for (call, answer) in [
        ("changes", engine.filesystem_changes(none).await.map(drop)),
        ("exec", engine.exec(none, &["/program".to_owned()], 5000).await.map(drop)),
        ("create", engine.create(&lab.name("x"), &lab.body("sternway-test/none:1")).await.map(drop)),
        ("connect network", engine.connect("sternway-none", &container, &json!({})).await),
        ("connect container", engine.connect("bridge", none, &json!({})).await),
        ("start", engine.start(none).await),
        ("stop", engine.stop(none, 1).await),
        ("rename", engine.rename(none, &lab.name("y")).await),
        ("set_restart", engine.set_restart(none, &json!({"Name": "no"})).await),
        ("kill", engine.kill(none, "HUP").await),
        ("tag", engine.tag("sternway-test/none:1", "sternway-test/none", "2").await),
    ] {
        assert!(matches!(answer, Err(NotFound(_))), "{call}: {answer:?}");
    }
}

async fn saying_it_twice_is_saying_it_once(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let network = lab.network("net").await;
    let mut body = lab.body(&image);
    body["HostConfig"]["NetworkMode"] = json!(network);
    let id = lab.create("api", &body).await;
    let engine = &lab.engine;
    for _ in 0..2 {
        assert_eq!(engine.stop(&id, 1).await, Ok(()), "stop of one that never ran");
        assert_eq!(engine.connect("bridge", &id, &json!({})).await, Ok(()), "connect before start");
    }
    for _ in 0..2 {
        assert_eq!(engine.start(&id).await, Ok(()), "start");
        assert_eq!(engine.connect(&network, &id, &json!({})).await, Ok(()), "connect while running");
        assert_eq!(engine.rename(&id, &lab.name("renamed")).await, Ok(()), "rename");
        assert_eq!(engine.set_restart(&id, &json!({"Name": "always"})).await, Ok(()), "set_restart");
        assert_eq!(engine.set_restart(&id, &json!({"Name": "no"})).await, Ok(()), "set_restart");
    }
    for _ in 0..2 {
        assert_eq!(engine.stop(&id, 1).await, Ok(()), "stop");
    }
    for _ in 0..2 {
        assert_eq!(engine.remove(&id).await, Ok(()), "remove");
    }
    assert_eq!(engine.inspect(&id).await, Ok(None));
}

async fn a_taken_or_bad_name_is_refused_and_nothing_is_made(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let first = lab.create("api", &lab.body(&image)).await;
    let taken = lab.engine.create(&lab.name("api"), &lab.body(&image)).await;
    let Err(Conflict(why)) = taken else { panic!("{taken:?}") };
    assert!(why.contains(&first), "the refusal names the owner: {why}");
    for bad in ["../x", "", "a/b", "-a"] {
        let answer = lab.engine.create(bad, &lab.body(&image)).await;
        // An empty name is "choose one" to the real engine; no caller of ours does that.
        if !bad.is_empty() {
            assert!(matches!(answer, Err(Refused { status: 400, .. })), "{bad:?}: {answer:?}");
        }
    }
    let mut invalid = lab.body(&image);
    invalid["HostConfig"]["RestartPolicy"] = json!({"Name": "sometimes"});
    let answer = lab.engine.create(&lab.name("other"), &invalid).await;
    assert!(matches!(answer, Err(Refused { .. })), "{answer:?}");
    assert_eq!(lab.engine.inspect(&lab.name("other")).await, Ok(None));
}

async fn a_running_container_cannot_be_removed(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let id = lab.create("api", &lab.body(&image)).await;
    lab.engine.start(&id).await.unwrap();
    let answer = lab.engine.remove(&id).await;
    assert!(matches!(answer, Err(Conflict(_))), "{answer:?}");
    lab.engine.stop(&id, 1).await.unwrap();
    lab.engine.remove(&id).await.unwrap();
}

async fn a_published_port_is_held_until_its_container_stops(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let port = lab.port();
    let old = lab.create("old", &lab.publishing(&image, port).await).await;
    let new = lab.create("new", &lab.publishing(&image, port).await).await;
    lab.engine.start(&old).await.unwrap();
    lab.until_well(port).await;

    let answer = lab.engine.start(&new).await;
    let Err(Refused { status: 500, message }) = answer else { panic!("{answer:?}") };
    assert!(message.contains("port is already allocated"), "{message}");
    let seen = lab.inspect(&new).await;
    assert_eq!(seen["State"]["Status"], "created");
    assert_eq!(seen["State"]["ExitCode"], 128);
    assert_eq!(seen["NetworkSettings"]["Ports"], json!({}));

    lab.engine.stop(&old, 1).await.unwrap();
    assert!(lab.ask(port).await.is_err(), "nobody holds the port");
    lab.engine.start(&new).await.unwrap();
    lab.until_well(port).await;
    let seen = lab.inspect(&new).await;
    assert_eq!(seen["State"]["ExitCode"], 0);
    let bindings = json!([{"HostIp": "127.0.0.1", "HostPort": port.to_string()}]);
    assert_eq!(seen["NetworkSettings"]["Ports"]["8080/tcp"], bindings);

    // One that ran before and cannot start now stays exited.
    assert!(lab.engine.start(&old).await.is_err());
    let seen = lab.inspect(&old).await;
    assert_eq!(seen["State"]["Status"], "exited");
    assert_ne!(seen["State"]["ExitCode"], 0);
    assert!(seen["State"]["Error"].as_str().unwrap().contains("already allocated"), "{}", seen["State"]);
}

async fn a_port_that_is_not_exposed_is_not_published(lab: &Lab) {
    if !lab.engine.facts().await.unwrap().version.starts_with("20.") {
        eprintln!("SKIPPED: only seen on engine 20.10");
        return;
    }
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let mut body = lab.publishing(&image, lab.port()).await;
    body["ExposedPorts"] = json!({});
    let id = lab.create("api", &body).await;
    lab.engine.start(&id).await.unwrap();
    let seen = lab.inspect(&id).await;
    assert_eq!(seen["NetworkSettings"]["Ports"], json!({}), "whoever copies bindings must expose them too");
}

async fn a_program_that_exits_leaves_its_code(lab: &Lab) {
    let image = lab.image("bad:1", Behaviour::Exits(7)).await;
    let port = lab.port();
    let id = lab.create("bad", &lab.publishing(&image, port).await).await;
    assert_eq!(lab.engine.start(&id).await, Ok(()), "the engine is content with having started it");
    let seen = lab.until_status(&id, "exited").await;
    assert_eq!(seen["State"]["ExitCode"], 7);
    assert_eq!(seen["State"]["Running"], false);
    assert_eq!(seen["RestartCount"], 0);
    assert!(lab.ask(port).await.is_err());
    let exec = lab.engine.exec(&id, &["/program".to_owned(), "check".to_owned()], 5000).await;
    assert!(matches!(exec, Err(Conflict(_))), "{exec:?}");
}

async fn a_restart_policy_starts_it_again_and_counts(lab: &Lab) {
    let image = lab.image("bad:1", Behaviour::Exits(7)).await;
    let mut body = lab.body(&image);
    body["HostConfig"]["RestartPolicy"] = json!({"Name": "always"});
    let id = lab.create("bad", &body).await;
    lab.engine.start(&id).await.unwrap();
    let seen = lab
        .until(&id, "restarting after two tries", |seen| {
            seen["RestartCount"].as_u64() >= Some(2) && seen["State"]["Status"] == "restarting"
        })
        .await;
    assert_eq!((&seen["State"]["Running"], &seen["State"]["Restarting"]), (&json!(true), &json!(true)));
    let answer = lab.engine.remove(&id).await;
    assert!(matches!(answer, Err(Conflict(_))), "{answer:?}");
    lab.engine.set_restart(&id, &json!({"Name": "no"})).await.unwrap();
    lab.engine.stop(&id, 1).await.unwrap();
    lab.until_status(&id, "exited").await;
    lab.engine.start(&id).await.unwrap();
    let seen = lab.until_status(&id, "exited").await;
    assert_eq!(seen["RestartCount"], 0, "a start by hand begins the count anew");

    let mut body = lab.body(&image);
    body["HostConfig"]["RestartPolicy"] = json!({"Name": "on-failure", "MaximumRetryCount": 2});
    let id = lab.create("twice", &body).await;
    lab.engine.start(&id).await.unwrap();
    let seen = lab.until_status(&id, "exited").await;
    assert_eq!((&seen["RestartCount"], &seen["State"]["ExitCode"]), (&json!(2), &json!(7)));
}

async fn a_program_that_ignores_sigterm_is_killed_after_the_grace(lab: &Lab) {
    let image = lab.image("deaf:1", Behaviour::IgnoresSigterm).await;
    let port = lab.port();
    let id = lab.create("deaf", &lab.publishing(&image, port).await).await;
    lab.engine.start(&id).await.unwrap();
    lab.until_well(port).await;
    lab.engine.kill(&id, "TERM").await.unwrap();
    assert_eq!(lab.inspect(&id).await["State"]["Status"], "running");
    lab.engine.stop(&id, 1).await.unwrap();
    let seen = lab.inspect(&id).await;
    assert_eq!((&seen["State"]["Status"], &seen["State"]["ExitCode"]), (&json!("exited"), &json!(137)));
}

async fn health_is_asked_through_the_port_and_inside(lab: &Lab) {
    let check = ["/program".to_owned(), "check".to_owned()];
    for (name, behaviour, well) in [
        ("well", Behaviour::Healthy, true),
        ("late", Behaviour::HealthyAfter(300), true),
        ("sick", Behaviour::Unhealthy, false),
        ("mute", Behaviour::Mute, false),
    ] {
        let image = lab.image(&format!("{name}:1"), behaviour).await;
        let port = lab.port();
        let id = lab.create(name, &lab.publishing(&image, port).await).await;
        lab.engine.start(&id).await.unwrap();
        if well {
            lab.until_well(port).await;
        } else {
            assert!(lab.ask(port).await.is_err(), "{name}");
        }
        assert_eq!(lab.engine.exec(&id, &check, 10_000).await, Ok(i64::from(!well)), "{name}");
        assert_eq!(lab.inspect(&id).await["State"]["Status"], "running", "{name}");
    }
}

async fn dockers_own_verdict_follows_the_check(lab: &Lab) {
    let config = json!({"Healthcheck": {
        "Test": ["CMD", "/program", "check"], "Interval": 1_000_000_000u64, "Retries": 1
    }});
    for (name, behaviour, verdict) in
        [("well", Behaviour::Healthy, "healthy"), ("sick", Behaviour::Unhealthy, "unhealthy")]
    {
        let image = lab.image_with(&format!("{name}:1"), behaviour, config.clone()).await;
        let id = lab.create(name, &lab.body(&image)).await;
        assert_eq!(lab.inspect(&id).await["State"].get("Health"), None, "none before the first start");
        lab.engine.start(&id).await.unwrap();
        assert_eq!(lab.inspect(&id).await["State"]["Health"]["Status"], "starting");
        lab.until(&id, verdict, |seen| seen["State"]["Health"]["Status"] == verdict).await;
        assert_eq!(lab.inspect(&id).await["State"]["Status"], "running", "the engine does not act on it");
    }
}

async fn a_container_is_renamed_while_it_runs(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let old = lab.create("api", &lab.body(&image)).await;
    let new = lab.create("next", &lab.body(&image)).await;
    lab.engine.start(&old).await.unwrap();
    let answer = lab.engine.rename(&new, &lab.name("api")).await;
    assert!(matches!(answer, Err(Conflict(_))), "{answer:?}");
    lab.engine.rename(&old, &lab.name("prev")).await.unwrap();
    lab.engine.rename(&new, &lab.name("api")).await.unwrap();
    assert_eq!(lab.inspect(&lab.name("api")).await["Id"], new.as_str());
    assert_eq!(lab.inspect(&old).await["Name"], format!("/{}", lab.name("prev")));
    assert_eq!(lab.inspect(&old).await["State"]["Status"], "running");
    let answer = lab.engine.rename(&new, "a/../b").await;
    assert!(matches!(answer, Err(Refused { .. })), "{answer:?}");
}

async fn a_restart_policy_is_set_and_shown(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let id = lab.create("api", &lab.body(&image)).await;
    let shown = async || lab.inspect(&id).await["HostConfig"]["RestartPolicy"].clone();
    assert_eq!(shown().await["MaximumRetryCount"], 0);
    for policy in [
        json!({"Name": "unless-stopped", "MaximumRetryCount": 0}),
        json!({"Name": "on-failure", "MaximumRetryCount": 3}),
        json!({"Name": "always", "MaximumRetryCount": 0}),
        json!({"Name": "no", "MaximumRetryCount": 0}),
    ] {
        lab.engine.set_restart(&id, &policy).await.unwrap();
        assert_eq!(shown().await, policy);
    }
    lab.engine.set_restart(&id, &json!({"Name": "", "MaximumRetryCount": 0})).await.unwrap();
    assert_eq!(shown().await["Name"], "no", "an empty name says nothing");
    let answer = lab.engine.set_restart(&id, &json!({"Name": "sometimes"})).await;
    assert!(matches!(answer, Err(Refused { status: 400, .. })), "{answer:?}");
    let answer = lab.engine.set_restart(&id, &json!({"Name": "always", "MaximumRetryCount": 3})).await;
    assert!(matches!(answer, Err(Refused { status: 400, .. })), "{answer:?}");
}

async fn signals_reach_running_containers_only(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let id = lab.create("api", &lab.body(&image)).await;
    let answer = lab.engine.kill(&id, "HUP").await;
    assert!(matches!(answer, Err(Conflict(_))), "{answer:?}");
    lab.engine.start(&id).await.unwrap();
    lab.engine.kill(&id, "HUP").await.unwrap();
    lab.engine.kill(&id, "SIGHUP").await.unwrap();
    assert_eq!(lab.inspect(&id).await["State"]["Status"], "running");
    let answer = lab.engine.kill(&id, "NONSENSE").await;
    assert!(matches!(answer, Err(Refused { status: 400, .. })), "{answer:?}");
    lab.engine.kill(&id, "KILL").await.unwrap();
    let seen = lab.until_status(&id, "exited").await;
    assert_eq!(seen["State"]["ExitCode"], 137);
}

async fn containers_are_found_by_label_in_every_state(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let mut expected = Vec::new();
    for name in ["created", "running", "exited"] {
        let mut body = lab.body(&image);
        body["Labels"]["io.sternway.op"] = json!(lab.name(name));
        let id = lab.create(name, &body).await;
        if name != "created" {
            lab.engine.start(&id).await.unwrap();
        }
        if name == "exited" {
            lab.engine.stop(&id, 0).await.unwrap();
        }
        assert_eq!(lab.engine.labelled("io.sternway.op", &lab.name(name)).await, Ok(vec![id.clone()]));
        expected.push(id);
    }
    let mut other: Value = lab.body(&image);
    other["Labels"]["com.docker.compose.project"] = json!(format!("{}x", lab.project));
    lab.create("foreign", &other).await;
    let mut found = lab.engine.project_containers(&lab.project).await.unwrap();
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert_eq!(lab.engine.labelled("io.sternway.op", "none").await, Ok(vec![]));
}

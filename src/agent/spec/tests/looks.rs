//! Settings, obstacles and the comparison after create.

use super::*;

/// What must be told, and the change that makes it so.
type Case = (&'static str, fn(&mut Value));

#[test]
fn settings_do_not_change_with_the_image_with_ids_or_with_addresses() {
    let now = settings(&old(), &bad_image());
    let wanted = made(&old(), (1, 41)).unwrap();
    let mut then = as_made(&wanted, &good_image());
    then["HostConfig"]["RestartPolicy"] = old()["HostConfig"]["RestartPolicy"].clone();
    assert_eq!(changed_keys(&now, &settings(&then, &good_image())), Vec::<String>::new());
    assert_eq!(mac_text(&now).unwrap(), mac_text(&settings(&then, &good_image())).unwrap());
    for of_the_image in ["VERSION", "org.version", "hash-of-bad", "aaaaaaaaaaaa", "172.18", "earlier", "9002"] {
        assert!(!now.to_string().contains(of_the_image), "{of_the_image} in {now}");
    }
}

#[test]
fn every_change_of_the_project_is_named_and_no_value_is() {
    let before = settings(&old(), &bad_image());
    let cases: [Case; 18] = [
        ("environment PASSWORD", |o| o["Config"]["Env"][1] = json!("PASSWORD=rotated")),
        ("environment NEW", |o| o["Config"]["Env"].as_array_mut().unwrap().push(json!("NEW=s3cret"))),
        ("environment A", |o| o["Config"]["Env"][0] = json!("A")),
        ("labels team", |o| o["Config"]["Labels"]["team"] = json!("other")),
        ("command", |o| o["Config"]["Cmd"] = json!(["x"])),
        ("entrypoint", |o| o["Config"]["Entrypoint"] = json!([])),
        ("user", |o| o["Config"]["User"] = json!("0")),
        ("working_dir", |o| o["Config"]["WorkingDir"] = json!("/x")),
        ("stop_timeout", |o| o["Config"]["StopTimeout"] = json!(9)),
        ("healthcheck", |o| o["Config"]["Healthcheck"]["Retries"] = json!(9)),
        ("hostname", |o| o["Config"]["Hostname"] = json!("api")),
        ("ports", |o| o["HostConfig"]["PortBindings"]["8080/tcp"][0]["HostPort"] = json!("1")),
        ("expose", |o| o["Config"]["ExposedPorts"]["1/tcp"] = json!({})),
        ("restart", |o| o["HostConfig"]["RestartPolicy"]["Name"] = json!("no")),
        ("mounts /data", |o| o["HostConfig"]["Binds"][0] = json!("shop_data:/data:ro")),
        ("networks shop_front", |o| o["NetworkSettings"]["Networks"]["shop_front"]["Aliases"] = json!(["api"])),
        ("Memory", |o| o["HostConfig"]["Memory"] = json!(1)),
        ("Init", |o| o["HostConfig"]["Init"] = json!(false)),
    ];
    for (name, change) in cases {
        let after = settings_after(change);
        let keys = changed_keys(&before, &after);
        assert!(keys.contains(&name.to_owned()), "{name}: {keys:?}");
        assert!(keys.len() <= 2, "{name}: {keys:?}");
        assert!(!keys.join(" ").contains("s3cret") && !keys.join(" ").contains("rotated"), "{keys:?}");
        assert_ne!(mac_text(&before).unwrap(), mac_text(&after).unwrap(), "{name}");
    }
}

#[test]
fn what_only_compose_or_the_engine_wrote_is_no_setting() {
    let before = settings(&old(), &bad_image());
    let cases: [fn(&mut Value); 7] = [
        |o| o["Config"]["Labels"][CONFIG_HASH] = json!("x"),
        |o| o["Config"]["Labels"]["com.docker.compose.image"] = json!("x"),
        |o| o["Config"]["Labels"]["io.sternway.op"] = json!("x"),
        |o| o["Config"]["AttachStdout"] = json!(true),
        |o| o["NetworkSettings"]["Networks"]["shop_back"]["Aliases"] = json!(["aaaaaaaaaaaa", "api"]),
        |o| o["HostConfig"]["Binds"].as_array_mut().unwrap().push(json!(format!("{VOLUME}:/own:rw"))),
        |o| o["HostConfig"]["CpuShares"] = json!(0),
    ];
    for change in cases {
        assert_eq!(changed_keys(&before, &settings_after(change)), Vec::<String>::new());
    }
}

#[test]
fn limits_beyond_a_double_still_have_a_mac() {
    let huge = settings_after(|o| o["HostConfig"]["Ulimits"] = json!([{"Name": "n", "Hard": i64::MAX, "Soft": 1}]));
    assert!(mac_text(&huge).is_ok());
}

fn told(change: impl FnOnce(&mut Value), changes: &Value, around: Surroundings<'_>) -> Vec<String> {
    let mut old = old();
    change(&mut old);
    obstacles(&old, &bad_image(), changes, around)
}

#[test]
fn the_plain_product_meets_no_obstacle() {
    let db = Peer { id: "8".repeat(64), name: "shop_db_1".into(), service: "db".into(), ..Peer::default() };
    let task = Peer {
        id: "7".repeat(64),
        name: "shop_api_run".into(),
        service: "api".into(),
        oneoff: true,
        ..Peer::default()
    };
    let peers = [db, task, Peer::of(&old())];
    let around = Surroundings { peers: &peers, own_container: Some("0123456789ab") };
    assert_eq!(told(|_| {}, &no_changes(), around), Vec::<String>::new());
    assert_eq!(told(|_| {}, &Value::Null, around), Vec::<String>::new());
    assert_eq!(told(|o| o["State"]["Status"] = json!("restarting"), &no_changes(), around), Vec::<String>::new());
}

#[test]
fn each_obstacle_is_told_with_what_to_do() {
    let cases: [Case; 14] = [
        ("docker service update", |o| o["Config"]["Labels"]["com.docker.swarm.service.id"] = json!("x")),
        ("com.docker.compose.container-number", |o| o["Config"]["Labels"][NUMBER] = Value::Null),
        ("docker compose run", |o| o["Config"]["Labels"][ONEOFF] = json!("True")),
        ("--rm", |o| o["HostConfig"]["AutoRemove"] = json!(true)),
        ("one-shot job", |o| {
            o["State"] = json!({"Status": "exited", "ExitCode": 0});
            o["HostConfig"]["RestartPolicy"]["Name"] = json!("no");
            o["HostConfig"]["PortBindings"] = json!({});
            o["Config"]["Healthcheck"] = json!({"Test": ["NONE"]});
        }),
        ("docker rm -f", |o| o["State"]["Status"] = json!("dead")),
        ("docker ps -a", |o| o["State"]["Status"] = json!("removing")),
        ("volumes_from", |o| o["HostConfig"]["VolumesFrom"] = json!(["x"])),
        ("by network_mode", |o| o["HostConfig"]["NetworkMode"] = json!("container:gone")),
        ("by pid", |o| o["HostConfig"]["PidMode"] = json!("container:gone")),
        ("by ipc", |o| o["HostConfig"]["IpcMode"] = json!("container:gone")),
        ("docker network connect", |o| o["HostConfig"]["NetworkMode"] = json!("shop_gone")),
        ("docker rename aaaaaaaaaaaa_shop_api_1 shop_api_1", |o| o["Name"] = json!("/aaaaaaaaaaaa_shop_api_1")),
        ("Sternway's own", |o| o["Id"] = json!(format!("0123456789ab{}", "0".repeat(52)))),
    ];
    let around = Surroundings { peers: &[], own_container: Some("0123456789ab") };
    for (part, change) in cases {
        let found = told(change, &no_changes(), around);
        assert_eq!(found.len(), 1, "{part}: {found:?}");
        assert!(found[0].contains(part) && !found[0].contains("s3cret"), "{part}: {found:?}");
    }
}

#[test]
fn a_twin_and_containers_that_lean_on_this_one_are_told() {
    let other = |number: &str| Peer {
        id: "8".repeat(64),
        name: format!("shop_api_{number}x"),
        service: "api".into(),
        number: number.into(),
        ..Peer::default()
    };
    assert_eq!(
        told(|_| {}, &no_changes(), Surroundings { peers: &[other("2")], own_container: None }),
        Vec::<String>::new(),
        "a copy is no obstacle"
    );
    let second = other("1");
    let leaning = Peer { id: "7".repeat(64), name: "side".into(), uses: vec![OLD_ID.into()], ..Peer::default() };
    let found = told(|_| {}, &no_changes(), Surroundings { peers: &[second, leaning], own_container: None });
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(found[0].contains("both number 1") && found[0].contains("shop_api_1x"), "{found:?}");
    assert!(found[1].starts_with("side uses"), "{found:?}");
}

#[test]
fn secrets_that_compose_copied_are_known_and_told_where_they_cannot_be_copied_again() {
    let changes = json!([{"Path": "/run/secrets", "Kind": 1}, {"Path": "/run/secrets/mounted", "Kind": 1},
        {"Path": "/run/secrets/copied", "Kind": 1}, {"Path": "/run/secrets/deleted", "Kind": 2}]);
    let mount = |o: &mut Value| {
        o["Mounts"].as_array_mut().unwrap().push(json!({"Type": "bind", "Destination": "/run/secrets/mounted"}));
    };
    let mut old = old();
    mount(&mut old);
    assert_eq!(copied_files(&old, &changes), ["/run/secrets/copied"]);
    assert_eq!(told(mount, &changes, Surroundings::default()), Vec::<String>::new(), "it is carried as a file");
    let read_only = |o: &mut Value| {
        mount(o);
        o["HostConfig"]["ReadonlyRootfs"] = json!(true);
    };
    let found = told(read_only, &changes, Surroundings::default());
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("/run/secrets/copied") && found[0].contains("read-only"), "{found:?}");
}

#[test]
fn an_image_that_is_gone_is_told_instead_of_guessed() {
    let found = obstacles(&old(), &Value::Null, &no_changes(), Surroundings::default());
    assert!(found.iter().any(|f| f.contains("is gone")), "{found:?}");
}

#[test]
fn a_container_as_wanted_matches_on_every_engine() {
    for api in [(1, 41), (1, 44), (1, 56)] {
        let wanted = made(&old(), api).unwrap();
        assert_eq!(matches(&as_made(&wanted, &good_image()), &good_image(), &wanted), Vec::<String>::new(), "{api:?}");
    }
}

#[test]
fn every_difference_after_create_is_named_and_no_value_is() {
    let cases: [Case; 20] = [
        ("image", |c| c["Image"] = json!("sha256:other")),
        ("environment PASSWORD", |c| c["Config"]["Env"][1] = json!("PASSWORD=x")),
        ("environment VERSION", |c| c["Config"]["Env"].as_array_mut().unwrap().retain(|e| e != "VERSION=1")),
        ("environment EXTRA", |c| c["Config"]["Env"].as_array_mut().unwrap().push(json!("EXTRA=s3cret"))),
        ("labels team", |c| c["Config"]["Labels"]["team"] = json!("x")),
        ("labels extra", |c| c["Config"]["Labels"]["extra"] = json!("x")),
        ("command", |c| c["Config"]["Cmd"] = json!([])),
        ("entrypoint", |c| c["Config"]["Entrypoint"] = json!(["/x"])),
        ("WorkingDir", |c| c["Config"]["WorkingDir"] = json!("/x")),
        ("healthcheck", |c| c["Config"]["Healthcheck"] = json!({"Test": ["CMD", "x"]})),
        ("ExposedPorts", |c| c["Config"]["ExposedPorts"]["1/tcp"] = json!({})),
        ("Hostname", |c| c["Config"]["Hostname"] = json!("x")),
        ("StopTimeout", |c| c["Config"]["StopTimeout"] = json!(4)),
        ("host Memory", |c| c["HostConfig"]["Memory"] = json!(0)),
        ("host PortBindings", |c| c["HostConfig"]["PortBindings"] = json!({"8080/tcp": []})),
        ("host RestartPolicy", |c| c["HostConfig"]["RestartPolicy"]["Name"] = json!("always")),
        ("mounts /own", |c| c["Mounts"][1]["Name"] = json!("other")),
        ("networks shop_front", |c| {
            drop(c["NetworkSettings"]["Networks"].as_object_mut().unwrap().remove("shop_front"))
        }),
        ("networks shop_back", |c| c["NetworkSettings"]["Networks"]["shop_back"]["Aliases"] = json!([])),
        ("networks more", |c| c["NetworkSettings"]["Networks"]["more"] = json!({})),
    ];
    let wanted = made(&old(), (1, 41)).unwrap();
    for (name, change) in cases {
        let mut created = as_made(&wanted, &good_image());
        change(&mut created);
        assert_eq!(matches(&created, &good_image(), &wanted), [name]);
    }
}

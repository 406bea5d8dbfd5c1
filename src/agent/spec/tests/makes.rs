//! What goes into create.

use super::*;

#[test]
fn what_came_from_the_image_follows_the_new_image() {
    let body = body(|_| {});
    for key in
        ["Entrypoint", "Cmd", "WorkingDir", "User", "StopSignal", "Shell", "Healthcheck", "Hostname", "Domainname"]
    {
        assert_eq!(body.get(key), None, "{key}");
    }
    assert_eq!(body["Env"], json!(["A=1", "PASSWORD=s3cret"]));
    assert_eq!(body["Volumes"], json!({"/data": {}, "/own": {}}));
    assert_eq!(body["ExposedPorts"], json!({"7777/tcp": {}, "8080/tcp": {}}), "published ports stay exposed");
    assert_eq!(body["StopTimeout"], 3);
    assert_eq!(body["Image"], GOOD);
}

#[test]
fn what_the_project_overrides_is_kept() {
    let body = body(|old| {
        let config = &mut old["Config"];
        config["Env"] = json!(["VERSION=mine", "PATH=/bin", "SHARED"]);
        config["Cmd"] = json!(["other"]);
        config["WorkingDir"] = json!("/w");
        config["User"] = json!("0");
        config["StopSignal"] = json!("SIGQUIT");
        config["Shell"] = json!(["/zsh"]);
        config["OnBuild"] = json!(["x"]);
        config["Hostname"] = json!("api-host");
        config["Domainname"] = json!("example.org");
    });
    assert_eq!(body["Env"], json!(["VERSION=mine", "SHARED"]), "a name without a value takes the image's away");
    assert_eq!(body.get("Entrypoint"), None);
    assert_eq!(body["Cmd"], json!(["other"]));
    assert_eq!((&body["WorkingDir"], &body["User"]), (&json!("/w"), &json!("0")));
    assert_eq!((&body["StopSignal"], &body["Shell"]), (&json!("SIGQUIT"), &json!(["/zsh"])));
    assert_eq!(body["OnBuild"], json!(["x"]));
    assert_eq!((&body["Hostname"], &body["Domainname"]), (&json!("api-host"), &json!("example.org")));
}

#[test]
fn a_command_equal_to_the_images_is_kept_beside_an_entrypoint_of_the_project() {
    let mine = body(|old| old["Config"]["Entrypoint"] = json!(["/mine"]));
    assert_eq!((&mine["Entrypoint"], &mine["Cmd"]), (&json!(["/mine"]), &json!(["serve", "v2"])));
    for off in [json!(null), json!([])] {
        let none = body(|old| old["Config"]["Entrypoint"] = off);
        assert_eq!(none["Entrypoint"], json!([]), "switched off, not left to the image");
    }
}

#[test]
fn a_health_check_is_carried_field_by_field_and_none_is_an_override() {
    let check = |check: Value| body(|old| old["Config"]["Healthcheck"] = check)["Healthcheck"].clone();
    assert_eq!(check(json!({"Test": ["CMD", "/check2"], "Interval": 9})), json!({"Interval": 9}));
    assert_eq!(check(json!({"Test": ["CMD", "/mine"], "Interval": 5})), json!({"Test": ["CMD", "/mine"]}));
    assert_eq!(check(json!({"Test": ["NONE"], "Interval": 5})), json!({"Test": ["NONE"]}));
}

#[test]
fn labels_are_the_projects_composes_and_the_new_ones_of_ours() {
    let labels = body(|_| {})["Labels"].clone();
    assert_eq!(labels["team"], "shop");
    assert_eq!((labels.get("org.version"), labels.get("org.same")), (None, None));
    assert_eq!(labels["io.sternway.op"], "now");
    assert_eq!(labels[CONFIG_HASH], NO_CONFIG_HASH);
    assert_eq!(labels[NUMBER], "1");
}

#[test]
fn labels_recorded_with_the_image_give_the_hash_back() {
    let (old, image, good) = (old(), bad_image(), good_image());
    let recorded = Map::from_iter([(CONFIG_HASH.to_owned(), json!("hash-of-good")), (NUMBER.to_owned(), json!("7"))]);
    let made = recreate(Recreate {
        old: &old,
        old_image: &image,
        new_image_id: GOOD,
        new_image: &good,
        target_labels: Some(&recorded),
        own_labels: &Map::new(),
        restart: &json!({"Name": "no"}),
        api: (1, 41),
        peers: &[],
    })
    .unwrap();
    assert_eq!(made.create["Labels"][CONFIG_HASH], "hash-of-good");
    assert_eq!(made.create["Labels"][NUMBER], "1");
    assert_eq!(made.create["Labels"].get("io.sternway.op"), None);
}

#[test]
fn anonymous_volumes_follow_by_name_where_project_or_new_image_want_them() {
    let host = body(|_| {})["HostConfig"].clone();
    let want = ["shop_data:/data:rw".to_owned(), format!("{VOLUME}:/own:ro"), format!("{}:/anon:rw", "d".repeat(64))];
    assert_eq!(host["Binds"], json!(want), "/only2 is the bad image's alone");
    assert_eq!(host["Mounts"][0]["Source"], "f".repeat(64), "compose 2's anonymous volume is named");
}

#[test]
fn the_rest_of_the_host_config_is_kept_and_the_policy_is_the_callers() {
    let host = body(|_| {})["HostConfig"].clone();
    assert_eq!(host["RestartPolicy"], json!({"Name": "no"}));
    assert_eq!(host["Memory"], 67_108_864);
    assert_eq!(host["PortBindings"], old()["HostConfig"]["PortBindings"]);
    assert_eq!((host.get("ContainerIDFile"), host.get("ConsoleSize"), host.get("Links")), (None, None, None));
}

#[test]
fn links_of_inspect_are_rewritten_for_create() {
    let host =
        body(|old| old["HostConfig"]["Links"] = json!(["/shop_db_1:/shop_api_1/db", "x:y"]))["HostConfig"].clone();
    assert_eq!(host["Links"], json!(["shop_db_1:db", "x:y"]));
}

#[test]
fn old_engines_get_one_network_in_create_and_the_others_by_connect() {
    let new = made(&old(), (1, 43)).unwrap();
    let back = json!({"Aliases": ["api"], "Links": ["shop_db_1:db"]});
    let front = json!({"Aliases": ["www", "api"], "IPAMConfig": {"IPv4Address": "172.19.0.9"}, "DriverOpts": {"o": "1"}, "GwPriority": 5});
    assert_eq!(new.create["NetworkingConfig"]["EndpointsConfig"], json!({"shop_back": back}));
    assert_eq!(new.connects, [("shop_front".to_owned(), front.clone())]);

    let new = made(&old(), (1, 44)).unwrap();
    assert_eq!(new.create["NetworkingConfig"]["EndpointsConfig"], json!({"shop_back": back, "shop_front": front}));
    assert_eq!(new.connects, []);
}

#[test]
fn a_network_given_by_id_is_found_and_the_default_one_is_the_bridge() {
    let by_id = body(|old| old["HostConfig"]["NetworkMode"] = json!("fedcba987654"));
    assert!(by_id["NetworkingConfig"]["EndpointsConfig"].get("shop_front").is_some());
    let bridged = body(|old| {
        old["HostConfig"]["NetworkMode"] = json!("default");
        old["NetworkSettings"]["Networks"] = json!({"bridge": {"IPAddress": "172.17.0.2", "Aliases": null}});
    });
    assert_eq!(bridged["NetworkingConfig"]["EndpointsConfig"], json!({"bridge": {}}));
}

#[test]
fn the_hosts_network_has_no_endpoints() {
    let host = body(|old| {
        old["HostConfig"]["NetworkMode"] = json!("host");
        old["NetworkSettings"]["Networks"] = json!({"host": {}});
    });
    assert_eq!(host.get("NetworkingConfig"), None);
}

#[test]
fn a_configured_mac_goes_where_the_engine_reads_it_and_a_generated_one_nowhere() {
    assert!(!made(&old(), (1, 41)).unwrap().create.to_string().contains("02:42:ac"));
    assert!(!made(&old(), (1, 52)).unwrap().create.to_string().contains("02:42:ac"));
    let mut old = old();
    old["Config"]["MacAddress"] = json!("02:00:00:00:00:01");
    let before = made(&old, (1, 43)).unwrap().create;
    assert_eq!(before["MacAddress"], "02:00:00:00:00:01");
    let after = made(&old, (1, 44)).unwrap().create;
    assert_eq!(after.get("MacAddress"), None);
    assert_eq!(after["NetworkingConfig"]["EndpointsConfig"]["shop_back"]["MacAddress"], "02:00:00:00:00:01");
}

#[test]
fn another_containers_network_is_led_to_todays_container() {
    let mut old = old();
    old["HostConfig"]["NetworkMode"] = json!(format!("container:{}", "9".repeat(64)));
    old["HostConfig"]["PortBindings"] = json!({});
    old["NetworkSettings"]["Networks"] = json!({});
    let peer = Peer { id: "8".repeat(64), service: "vpn".into(), former: vec!["9".repeat(64)], ..Peer::default() };
    let new = made_among(&old, (1, 41), &[peer]).unwrap().create;
    assert_eq!(new["HostConfig"]["NetworkMode"], format!("container:{}", "8".repeat(64)));
    for key in ["Hostname", "Domainname", "ExposedPorts", "NetworkingConfig"] {
        assert_eq!(new.get(key), None, "{key} is refused by the engine beside another's network");
    }
    let why = made(&old, (1, 41)).unwrap_err();
    assert!(why[0].contains("network_mode"), "{why:?}");
}

#[test]
fn what_cannot_be_carried_is_refused() {
    let mut volumes_from = old();
    volumes_from["HostConfig"]["VolumesFrom"] = json!(["shop_db_1:ro"]);
    assert_eq!(made(&volumes_from, (1, 41)).unwrap_err().len(), 1);
}

#[test]
fn fields_that_an_engine_leaves_out_count_as_empty() {
    let mut image = bad_image();
    for key in ["Env", "Cmd", "Labels", "User", "WorkingDir", "Volumes", "OnBuild"] {
        image["Config"].as_object_mut().unwrap().remove(key);
    }
    let old = old();
    let made = recreate(Recreate {
        old: &old,
        old_image: &image,
        new_image_id: GOOD,
        new_image: &good_image(),
        target_labels: None,
        own_labels: &Map::new(),
        restart: &json!({}),
        api: (1, 41),
        peers: &[],
    })
    .unwrap();
    assert_eq!(made.create["User"], "1000");
    assert!(made.create["Env"].as_array().unwrap().contains(&json!("VERSION=2")));
}

#[test]
fn the_recorded_container_comes_back_with_its_image_labels_and_all_its_volumes() {
    let (old, image) = (old(), bad_image());
    let present = json!({"Id": "b".repeat(64), "Mounts": [
        {"Type": "volume", "Name": "1".repeat(64), "Destination": "/own", "RW": true},
    ]});
    let again = |present| {
        recreate_recorded(Recorded {
            recorded: &old,
            image: &image,
            image_id: "sha256:bad",
            present,
            own_labels: &Map::new(),
            restart: &old["HostConfig"]["RestartPolicy"],
            api: (1, 41),
            peers: &[],
        })
        .unwrap()
        .create
    };
    let back = again(Some(&present));
    assert_eq!(back["Image"], "sha256:bad");
    assert_eq!(back["Labels"][CONFIG_HASH], "hash-of-bad");
    assert_eq!(back["HostConfig"]["RestartPolicy"]["Name"], "always");
    let binds = back["HostConfig"]["Binds"].to_string();
    assert!(binds.contains(&format!("{}:/own", "1".repeat(64))), "today's data: {binds}");
    assert!(binds.contains(&format!("{}:/only2", "e".repeat(64))), "what only that image declares: {binds}");
    assert!(again(None)["HostConfig"]["Binds"].to_string().contains(&format!("{VOLUME}:/own")));
    assert!(
        matches(
            &as_made(&NewContainer { create: back.clone(), connects: vec![] }, &image),
            &image,
            &NewContainer { create: back, connects: vec![] }
        )
        .is_empty()
    );
}

#[test]
fn a_new_container_does_not_print_its_secrets() {
    assert!(!format!("{:?}", made(&old(), (1, 41)).unwrap()).contains("s3cret"));
}

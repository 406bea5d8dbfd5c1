//! What containers take from images, tags that move, images that go.

use serde_json::json;
use sternway::agent::StoreKind;
use sternway::agent::engine::EngineError::{Conflict, NotFound, Refused};
use sternway::agent::fingerprint::{fingerprint, handles};
use sternway::agent::sim::Behaviour;

use crate::lab::Lab;

on_both_engines! {
    a_container_keeps_its_image_when_the_tag_moves,
    an_image_is_found_by_tag_and_by_id,
    two_images_have_two_fingerprints_and_a_tag_changes_none,
    settings_of_image_and_body_are_merged,
    a_body_overrides_its_image,
    volumes_of_the_image_become_anonymous_mounts,
    an_image_taken_by_force_stays_while_its_container_runs,
    an_image_taken_from_a_stopped_container_is_gone_yet_that_one_starts,
    a_bad_reference_is_refused,
    the_last_tag_takes_the_image_unless_a_container_uses_it,
    starts_are_remembered_with_what_they_were_started_from,
}

async fn the_last_tag_takes_the_image_unless_a_container_uses_it(lab: &Lab) {
    let reference = lab.image("api:1", Behaviour::Healthy).await;
    let id = lab.engine.image(&reference).await.unwrap().unwrap()["Id"].as_str().unwrap().to_owned();
    let repository = reference.strip_suffix(":1").unwrap();
    lab.engine.tag(&id, repository, "other").await.unwrap();
    assert_eq!(lab.engine.untag(&format!("{repository}:other")).await, Ok(()));
    assert!(lab.engine.image(&reference).await.unwrap().is_some(), "one tag is left");
    let container = lab.create("api", &lab.body(&reference)).await;
    let refused = lab.engine.untag(&reference).await;
    assert!(matches!(refused, Err(Conflict(_))), "a container uses it: {refused:?}");
    assert!(lab.engine.image(&reference).await.unwrap().is_some(), "nothing was done");
    lab.engine.remove(&container).await.unwrap();
    for _ in 0..2 {
        assert_eq!(lab.engine.untag(&reference).await, Ok(()));
    }
    assert_eq!(lab.engine.image(&id).await, Ok(None), "the image went with its last tag");
}

async fn starts_are_remembered_with_what_they_were_started_from(lab: &Lab) {
    let since = sternway::clock::Clock::now(&sternway::clock::SystemClock);
    let reference = lab.image("api:1", Behaviour::Healthy).await;
    let mut body = lab.body(&reference);
    body["Labels"]["com.docker.compose.service"] = json!("api");
    body["Labels"]["com.docker.compose.image"] = json!("sha256:aa");
    let id = lab.create("api", &body).await;
    lab.engine.start(&id).await.unwrap();
    lab.engine.stop(&id, 0).await.unwrap();
    lab.engine.remove(&id).await.unwrap();
    let starts = lab.engine.past_starts(&lab.project, since).await.unwrap();
    let [start] = starts.as_slice() else { panic!("one start: {starts:?}") };
    let told = &start["Actor"]["Attributes"];
    assert_eq!((&told["image"], &told["com.docker.compose.image"]), (&json!(reference), &json!("sha256:aa")));
    assert_eq!(told["com.docker.compose.service"], "api");
    assert!(start["timeNano"].as_i64().is_some_and(|at| i128::from(at) >= since.as_nanosecond()), "{start}");
    let none = sternway::domain::names::ProjectName::parse("nobodys").unwrap();
    assert_eq!(lab.engine.past_starts(&none, since).await, Ok(Vec::new()));
}

async fn a_container_keeps_its_image_when_the_tag_moves(lab: &Lab) {
    let reference = lab.image("api:latest", Behaviour::Healthy).await;
    let first = lab.engine.image(&reference).await.unwrap().unwrap()["Id"].clone();
    let id = lab.create("api", &lab.body(&reference)).await;
    let again = lab.image("api:latest", Behaviour::Unhealthy).await;
    assert_eq!(again, reference);
    let second = lab.engine.image(&reference).await.unwrap().unwrap()["Id"].clone();
    assert_ne!(first, second, "the tag moved");
    let seen = lab.inspect(&id).await;
    assert_eq!(seen["Image"], first);
    assert_eq!(seen["Config"]["Image"], reference.as_str(), "the name it was made from, whatever that means now");
    match lab.engine.facts().await.unwrap().store {
        StoreKind::GraphDriver => {
            let dangling = lab.engine.image(first.as_str().unwrap()).await.unwrap().expect("still there by id");
            assert_eq!(dangling["RepoTags"], json!([]));
        }
        // Engine 26 drops the image when its only name goes elsewhere, even below a container; 28 keeps it. Hence the
        // agent's own names (`agent/keep.rs`) and its own copy of what the image was.
        StoreKind::Containerd => drop(lab.engine.image(first.as_str().unwrap()).await.unwrap()),
    }
    assert_eq!(lab.engine.start(&id).await, Ok(()), "it starts all the same");
}

async fn an_image_is_found_by_tag_and_by_id(lab: &Lab) {
    let reference = lab.image("api:1", Behaviour::Healthy).await;
    let image = lab.engine.image(&reference).await.unwrap().unwrap();
    let id = image["Id"].as_str().unwrap();
    let repository = reference.strip_suffix(":1").unwrap();
    for _ in 0..2 {
        assert_eq!(lab.engine.tag(id, &format!("{repository}/pin"), "7").await, Ok(()));
    }
    for handle in [id, &id["sha256:".len()..][..12], &format!("{repository}/pin:7")] {
        let found = lab.engine.image(handle).await.unwrap().unwrap_or_else(|| panic!("not found by {handle}"));
        assert_eq!(found["Id"], id, "{handle}");
        assert_eq!(found["RepoTags"].as_array().map(Vec::len), Some(2), "{}", found["RepoTags"]);
    }
    assert_eq!(lab.engine.image(repository).await, Ok(None), "without a tag it means latest");
    let listed = lab.engine.images().await.unwrap();
    let item = listed.iter().find(|item| item["Id"] == id).expect("listed");
    assert!(item["RepoTags"].as_array().unwrap().contains(&json!(reference)), "{item}");
    assert!(item["Created"].is_u64(), "{item}");
}

async fn two_images_have_two_fingerprints_and_a_tag_changes_none(lab: &Lab) {
    let one = lab.image("api:1", Behaviour::Healthy).await;
    let two = lab.image("api:2", Behaviour::Exits(1)).await;
    let print = async |handle: &str| fingerprint(&lab.engine.image(handle).await.unwrap().unwrap()).expect("layers");
    assert_ne!(print(&one).await, print(&two).await);
    let before = print(&one).await;
    lab.engine.tag(&one, one.strip_suffix(":1").unwrap(), "pinned").await.unwrap();
    assert_eq!(print(&one).await, before);
    let found = handles(&lab.engine.image(&one).await.unwrap().unwrap(), &one).unwrap();
    assert_eq!((found.fingerprint, found.reference), (before, one));
    assert!(found.image.starts_with("sha256:"), "{}", found.image);
}

async fn settings_of_image_and_body_are_merged(lab: &Lab) {
    let config = json!({
        "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "A=image", "B=image"],
        "User": "7", "WorkingDir": "/work", "ExposedPorts": {"9/tcp": {}},
        "Labels": {"from": "image", "both": "image"}, "StopSignal": "SIGKILL"
    });
    let image = lab.image_with("api:1", Behaviour::Healthy, config).await;
    let mut body = lab.publishing(&image, lab.port()).await;
    body["Env"] = json!(["B=body", "C=body"]);
    body["Labels"]["both"] = json!("body");
    let id = lab.create("api", &body).await;
    let seen = lab.inspect(&id).await;
    let path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    assert_eq!(seen["Config"]["Env"], json!(["B=body", "C=body", path, "A=image"]));
    assert_eq!((&seen["Config"]["User"], &seen["Config"]["WorkingDir"]), (&json!("7"), &json!("/work")));
    assert_eq!(seen["Config"]["ExposedPorts"], json!({"8080/tcp": {}, "9/tcp": {}}));
    assert_eq!(
        (&seen["Config"]["Labels"]["from"], &seen["Config"]["Labels"]["both"]),
        (&json!("image"), &json!("body"))
    );
    assert_eq!(seen["Config"]["StopSignal"], "SIGKILL");
    assert_eq!(seen["Config"]["Hostname"], id[..12]);
}

async fn a_body_overrides_its_image(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let mut body = lab.body(&image);
    body["Cmd"] = json!(["exit", "3"]);
    body["Hostname"] = json!("named");
    body["MacAddress"] = json!("02:42:ac:11:00:aa");
    body["StopTimeout"] = json!(3);
    body["Healthcheck"] = json!({"Test": ["NONE"]});
    body["HostConfig"] = json!({"Memory": 33_554_432, "RestartPolicy": {"Name": "on-failure", "MaximumRetryCount": 2},
        "ExtraHosts": ["a:127.0.0.1"]});
    let seen = lab.inspect(&lab.create("api", &body).await).await;
    for field in ["Cmd", "Hostname", "MacAddress", "StopTimeout", "Healthcheck"] {
        assert_eq!(seen["Config"][field], body[field], "{field} must pass untouched");
    }
    for field in ["Memory", "RestartPolicy", "ExtraHosts"] {
        assert_eq!(seen["HostConfig"][field], body["HostConfig"][field], "{field} must pass untouched");
    }
    assert_eq!(seen["Config"]["Entrypoint"].as_array().map(Vec::len), Some(1), "the image's entrypoint stays");
    let mut body = lab.body(&image);
    body["Entrypoint"] = json!(["/other"]);
    let seen = lab.inspect(&lab.create("other", &body).await).await;
    assert_eq!((&seen["Config"]["Entrypoint"], &seen["Config"]["Cmd"]), (&json!(["/other"]), &json!(null)));
}

async fn volumes_of_the_image_become_anonymous_mounts(lab: &Lab) {
    let config = json!({"Volumes": {"/data": {}, "/cache": {}}});
    let image = lab.image_with("db:1", Behaviour::Healthy, config).await;
    let first = lab.create("first", &lab.body(&image)).await;
    let seen = lab.inspect(&first).await;
    let mounts = seen["Mounts"].as_array().unwrap();
    let anonymous = mounts.iter().find(|mount| mount["Destination"] == "/data").expect("a volume for /data");
    let volume = anonymous["Name"].as_str().unwrap();
    assert_eq!((mounts.len(), volume.len(), &anonymous["Type"]), (2, 64, &json!("volume")));
    assert_eq!(lab.engine.filesystem_changes(&first).await, Ok(json!(null)), "nothing was written yet");

    let mut body = lab.body(&image);
    body["HostConfig"]["Binds"] = json!([format!("{volume}:/data:ro")]);
    let seen = lab.inspect(&lab.create("second", &body).await).await;
    let mounts = seen["Mounts"].as_array().unwrap();
    let given = mounts.iter().find(|mount| mount["Destination"] == "/data").expect("the given one");
    assert_eq!((&given["Name"], &given["RW"], mounts.len()), (&json!(volume), &json!(false), 2));
    // Not removed here: the sweep takes the anonymous volumes along, the contract's `remove` leaves them.
}

async fn an_image_taken_by_force_stays_while_its_container_runs(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let id = lab.create("api", &lab.body(&image)).await;
    lab.engine.start(&id).await.unwrap();
    lab.remove_image(&image).await;
    assert_eq!(lab.engine.image(&image).await, Ok(None));
    let by_id = lab.inspect(&id).await["Image"].as_str().unwrap().to_owned();
    assert!(lab.engine.image(&by_id).await.unwrap().is_some(), "the running container protects it");
    let again = lab.create("again", &lab.body(&by_id)).await;
    assert_eq!(lab.inspect(&again).await["Config"]["Image"], by_id.as_str());
    lab.engine.start(&again).await.unwrap();
}

async fn an_image_taken_from_a_stopped_container_is_gone_yet_that_one_starts(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let id = lab.create("api", &lab.body(&image)).await;
    lab.remove_image(&image).await;
    let by_id = lab.inspect(&id).await["Image"].as_str().unwrap().to_owned();
    if lab.engine.facts().await.unwrap().store == StoreKind::GraphDriver {
        assert_eq!(lab.engine.image(&by_id).await, Ok(None), "a container that does not run is no protection");
        let answer = lab.engine.create(&lab.name("again"), &lab.body(&by_id)).await;
        assert!(matches!(answer, Err(NotFound(_))), "{answer:?}");
    } else {
        // In containerd's store only its name is gone.
        let nameless = lab.engine.image(&by_id).await.unwrap().expect("still there by id");
        assert_eq!(nameless["RepoTags"], json!([]));
    }
    assert_eq!(lab.engine.start(&id).await, Ok(()));
}

async fn a_bad_reference_is_refused(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let answer = lab.engine.tag(&image, "Upper/Case", "1").await;
    assert!(matches!(answer, Err(Refused { .. })), "{answer:?}");
    for handle in ["../containers/x", ""] {
        let answer = lab.engine.image(handle).await;
        assert!(matches!(answer, Err(Refused { status: 400, .. })), "{handle:?}: {answer:?}");
    }
}

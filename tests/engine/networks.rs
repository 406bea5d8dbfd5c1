//! Endpoints: what was asked, what a running container shows, what is refused.

use serde_json::json;
use sternway::agent::engine::EngineError::{NotFound, Refused};
use sternway::agent::sim::Behaviour;

use crate::lab::Lab;

on_both_engines! {
    addresses_are_shown_while_it_runs,
    a_network_that_is_gone_shows_at_start,
    several_networks_are_connected_before_start,
    what_was_connected_first_stays,
    a_static_address_that_is_taken_shows_at_start,
}

async fn addresses_are_shown_while_it_runs(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let network = lab.network("net").await;
    let mut body = lab.body(&image);
    body["HostConfig"]["NetworkMode"] = json!(network);
    body["NetworkingConfig"] = json!({"EndpointsConfig": {&network: {"Aliases": ["api"]}}});
    let id = lab.create("api", &body).await;
    let endpoint = async || lab.inspect(&id).await["NetworkSettings"]["Networks"][&network].clone();
    let before = endpoint().await;
    assert_eq!(
        (&before["IPAddress"], &before["NetworkID"], &before["Aliases"]),
        (&json!(""), &json!(""), &json!(["api"]))
    );
    lab.engine.start(&id).await.unwrap();
    let running = endpoint().await;
    assert!(running["IPAddress"].as_str().unwrap().contains('.'), "{running}");
    assert!(running["MacAddress"].as_str().unwrap().contains(':'), "{running}");
    assert_eq!(running["NetworkID"].as_str().unwrap().len(), 64, "{running}");
    if lab.engine.facts().await.unwrap().version.starts_with("20.") {
        assert_eq!(running["Aliases"], json!(["api", id[..12]]));
    }
    lab.engine.stop(&id, 1).await.unwrap();
    let stopped = endpoint().await;
    assert_eq!((&stopped["IPAddress"], &stopped["EndpointID"]), (&json!(""), &json!("")));
}

async fn a_network_that_is_gone_shows_at_start(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let mut body = lab.body(&image);
    body["HostConfig"]["NetworkMode"] = json!("sternway-no-such-network");
    let id = lab.create("api", &body).await;
    let answer = lab.engine.start(&id).await;
    assert!(matches!(answer, Err(NotFound(_))), "{answer:?}");
    let seen = lab.inspect(&id).await;
    assert_eq!((&seen["State"]["Status"], &seen["State"]["ExitCode"]), (&json!("created"), &json!(128)));
}

async fn several_networks_are_connected_before_start(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let (one, two) = (lab.network("one").await, lab.network("two").await);
    let mut body = lab.body(&image);
    body["HostConfig"]["NetworkMode"] = json!(one);
    body["NetworkingConfig"] = json!({"EndpointsConfig": {&one: {}, &two: {}}});
    if lab.engine.facts().await.unwrap().version.starts_with("20.") {
        let answer = lab.engine.create(&lab.name("both"), &body).await;
        assert!(matches!(answer, Err(Refused { status: 400, .. })), "before API 1.44: {answer:?}");
    }
    body["NetworkingConfig"] = json!({"EndpointsConfig": {&one: {}}});
    let id = lab.create("api", &body).await;
    lab.engine.connect(&two, &id, &json!({"Aliases": ["second"]})).await.unwrap();
    lab.engine.start(&id).await.unwrap();
    let seen = lab.inspect(&id).await;
    for network in [&one, &two] {
        let endpoint = &seen["NetworkSettings"]["Networks"][network];
        assert!(endpoint["IPAddress"].as_str().is_some_and(|ip| ip.contains('.')), "{network}: {endpoint}");
    }
    let aliases = seen["NetworkSettings"]["Networks"][&two]["Aliases"].as_array().unwrap().clone();
    assert!(aliases.contains(&json!("second")), "{aliases:?}");
}

async fn what_was_connected_first_stays(lab: &Lab) {
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let (main, network) = (lab.network("main").await, lab.network("net").await);
    let mut body = lab.body(&image);
    body["HostConfig"]["NetworkMode"] = json!(main);
    let id = lab.create("api", &body).await;
    for alias in ["first", "second"] {
        lab.engine.connect(&network, &id, &json!({"Aliases": [alias]})).await.unwrap();
    }
    let aliases = lab.inspect(&id).await["NetworkSettings"]["Networks"][&network]["Aliases"].to_string();
    assert!(aliases.contains("first") && !aliases.contains("second"), "{aliases}");
    // Whether the network is there shows when the container starts, not before.
    assert_eq!(lab.engine.connect("sternway-no-such-network", &id, &json!({})).await, Ok(()));
    let answer = lab.engine.start(&id).await;
    assert!(matches!(answer, Err(NotFound(_))), "{answer:?}");
}

async fn a_static_address_that_is_taken_shows_at_start(lab: &Lab) {
    // The default bridge takes no static addresses, and from engine 26 on neither does a network whose range was the
    // engine's choice.
    let image = lab.image("api:1", Behaviour::Healthy).await;
    let network = lab.network_with_range("fixed").await;
    let mut body = lab.body(&image);
    body["HostConfig"]["NetworkMode"] = json!(network);
    let owner = lab.create("owner", &body).await;
    lab.engine.start(&owner).await.unwrap();
    let seen = lab.inspect(&owner).await;
    let address = seen["NetworkSettings"]["Networks"][&network]["IPAddress"].clone();
    body["NetworkingConfig"] = json!({"EndpointsConfig": {&network: {"IPAMConfig": {"IPv4Address": address}}}});
    let id = lab.create("second", &body).await;
    let answer = lab.engine.start(&id).await;
    assert!(matches!(answer, Err(Refused { .. })), "{answer:?}");
    assert_eq!(lab.inspect(&id).await["State"]["Status"], "created");
}

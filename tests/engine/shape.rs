//! The simulated engine must tell everything that engine 20.10 tells, with the same kinds of values: whoever
//! reads inspect learns nothing false from it.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sternway::agent::sim::Behaviour;

use crate::lab::Lab;

/// What is below these differs with machine and content.
const INSIDE_IS_FREE: [&str; 5] = ["/GraphDriver", "/Config/Labels", "/Labels", "/ContainerConfig", "/Metadata"];

/// Every path in a value and the kind of what stands there; list items count as one.
fn paths(value: &Value, path: &str, found: &mut BTreeMap<String, &'static str>) {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "object",
    };
    found.insert(path.to_owned(), kind);
    if INSIDE_IS_FREE.contains(&path) {
        return;
    }
    match value {
        Value::Object(members) => {
            members.iter().for_each(|(key, member)| paths(member, &format!("{path}/{key}"), found));
        }
        Value::Array(items) => items.iter().for_each(|item| paths(item, &format!("{path}/*"), found)),
        _ => {}
    }
}

fn differences(real: &Value, sim: &Value) -> Vec<String> {
    let (mut told, mut simulated) = (BTreeMap::new(), BTreeMap::new());
    paths(real, "", &mut told);
    paths(sim, "", &mut simulated);
    let missing = told.iter().filter(|(path, kind)| simulated.get(*path) != Some(kind));
    let invented = simulated.iter().filter(|(path, _)| !told.contains_key(*path));
    missing
        .map(|(path, kind)| format!("{path}: real {kind}, simulated {}", simulated.get(path).unwrap_or(&"absent")))
        .chain(invented.map(|(path, kind)| format!("{path}: real absent, simulated {kind}")))
        .collect()
}

/// The same container made in a lab, told in each of its states.
async fn told(lab: &Lab, network: &str) -> Vec<(&'static str, Value)> {
    let config = json!({
        "Volumes": {"/data": {}}, "StopSignal": "SIGKILL", "ExposedPorts": {"8080/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "/program", "check"], "Interval": 60_000_000_000u64},
        "Labels": {}
    });
    let image = lab.image_with("api:1", Behaviour::Healthy, config).await;
    let mut body = lab.publishing(&image, lab.port()).await;
    body["HostConfig"]["NetworkMode"] = json!(network);
    body["HostConfig"]["RestartPolicy"] = json!({"Name": "unless-stopped"});
    body["NetworkingConfig"] = json!({"EndpointsConfig": {network: {"Aliases": ["api"]}}});
    let id = lab.create("api", &body).await;
    let created = lab.inspect(&id).await;
    lab.engine.start(&id).await.unwrap();
    let running = lab.inspect(&id).await;
    lab.engine.stop(&id, 1).await.unwrap();
    let stopped = lab.inspect(&id).await;
    let image_told = lab.engine.image(&image).await.unwrap().unwrap();
    let listed = lab.engine.images().await.unwrap();
    let item = listed.into_iter().find(|item| item["Id"] == image_told["Id"]).unwrap();
    vec![("created", created), ("running", running), ("stopped", stopped), ("image", image_told), ("list item", item)]
}

#[tokio::test]
async fn real_and_simulated_inspect_have_one_shape() {
    let Some(real) = Lab::real().await else { return };
    if !real.engine.facts().await.unwrap().version.starts_with("20.10") {
        eprintln!("SKIPPED: the simulation follows engine 20.10, another one answers");
        return;
    }
    let sim = Lab::sim();
    let network = real.network("shape").await;
    let sim_network = sim.network(&network).await;
    let mut wrong = Vec::new();
    for ((state, real), (_, sim)) in told(&real, &network).await.iter().zip(told(&sim, &sim_network).await) {
        wrong.extend(differences(real, &sim).into_iter().map(|line| format!("{state} {line}")));
    }
    assert!(wrong.is_empty(), "the simulation differs:\n{}", wrong.join("\n"));
}

//! One test per row of the table in docker-facts section 3, on hand-made inspects in the shape of engine 20.10.

mod looks;
mod makes;

use serde_json::{Map, Value, json};

use super::*;

const OLD_ID: &str = "aaaaaaaaaaaa1111111111111111111111111111111111111111111111111111";
const GOOD: &str = "sha256:9000000000000000000000000000000000000000000000000000000000000000";
const VOLUME: &str = "cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc";

/// The image of the bad release.
fn bad_image() -> Value {
    json!({"Id": "sha256:bad", "Config": {
        "Env": ["PATH=/bin", "VERSION=2", "SHARED=same"], "Entrypoint": ["/m"], "Cmd": ["serve", "v2"],
        "WorkingDir": "/srv", "User": "1000", "StopSignal": "SIGINT", "Shell": ["/sh2"],
        "Labels": {"org.version": "2", "org.same": "x"}, "Volumes": {"/anon": {}, "/only2": {}},
        "ExposedPorts": {"8080/tcp": {}, "9002/tcp": {}}, "Healthcheck": {"Test": ["CMD", "/check2"], "Interval": 5},
    }})
}

/// The image to go back to.
fn good_image() -> Value {
    json!({"Id": GOOD, "Config": {
        "Env": ["PATH=/bin", "VERSION=1"], "Entrypoint": ["/m"], "Cmd": ["serve", "v1"],
        "Volumes": {"/anon": {}}, "ExposedPorts": {"9001/tcp": {}},
    }})
}

/// The running container of the bad release, with the settings of a project of the plain kind.
fn old() -> Value {
    json!({
        "Id": OLD_ID, "Name": "/shop_api_1", "Image": "sha256:bad",
        "State": {"Status": "running"},
        "Config": {
            "Hostname": "aaaaaaaaaaaa", "Domainname": "", "Image": "shop/api:2", "User": "1000", "WorkingDir": "/srv",
            "StopSignal": "SIGINT", "Shell": ["/sh2"], "StopTimeout": 3, "Tty": false,
            "Env": ["A=1", "PASSWORD=s3cret", "affinity:container==bbbb", "PATH=/bin", "VERSION=2", "SHARED=same"],
            "Entrypoint": ["/m"], "Cmd": ["serve", "v2"],
            "ExposedPorts": {"8080/tcp": {}, "9002/tcp": {}, "7777/tcp": {}},
            "Volumes": {"/anon": {}, "/only2": {}, "/data": {}, "/own": {}},
            "Healthcheck": {"Test": ["CMD", "/check2"], "Interval": 5},
            "Labels": {
                "com.docker.compose.project": "shop", "com.docker.compose.service": "api",
                "com.docker.compose.container-number": "1", "com.docker.compose.oneoff": "False",
                "com.docker.compose.config-hash": "hash-of-bad", "com.docker.compose.version": "1.29.2",
                "io.sternway.op": "earlier", "org.version": "2", "org.same": "x", "team": "shop",
            },
        },
        "HostConfig": {
            "Binds": ["shop_data:/data:rw"], "NetworkMode": "shop_back", "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0},
            "PortBindings": {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": "18080"}]},
            "ContainerIDFile": "", "ConsoleSize": [0, 0], "Memory": 67108864, "Links": null, "AutoRemove": false,
            "VolumesFrom": null, "Mounts": [{"Type": "volume", "Target": "/v2anon", "VolumeOptions": {}}],
        },
        "Mounts": [
            {"Type": "volume", "Name": "shop_data", "Destination": "/data", "RW": true},
            {"Type": "volume", "Name": VOLUME, "Destination": "/own", "RW": false},
            {"Type": "volume", "Name": "d".repeat(64), "Destination": "/anon", "RW": true},
            {"Type": "volume", "Name": "e".repeat(64), "Destination": "/only2", "RW": true},
            {"Type": "volume", "Name": "f".repeat(64), "Destination": "/v2anon", "RW": true},
        ],
        "NetworkSettings": {"Networks": {
            "shop_back": {"IPAMConfig": null, "Links": ["shop_db_1:db"], "Aliases": ["api", "aaaaaaaaaaaa"], "DriverOpts": null,
                "NetworkID": "0123456789abcdef", "EndpointID": "e1", "IPAddress": "172.18.0.3", "MacAddress": "02:42:ac:12:00:03"},
            "shop_front": {"IPAMConfig": {"IPv4Address": "172.19.0.9"}, "Links": null, "Aliases": ["www", "api"], "DriverOpts": {"o": "1"},
                "GwPriority": 5, "NetworkID": "fedcba9876543210", "EndpointID": "e2", "IPAddress": "172.19.0.9", "MacAddress": "02:42:ac:13:00:02"},
        }},
    })
}

/// What `GET /containers/{id}/changes` gives for a container that wrote nothing of note.
fn no_changes() -> Value {
    json!([{"Path": "/data", "Kind": 1}])
}

/// The old container again, with the good image.
fn made(old: &Value, api: (u32, u32)) -> Result<NewContainer, Vec<String>> {
    made_among(old, api, &[])
}

fn made_among(old: &Value, api: (u32, u32), peers: &[Peer]) -> Result<NewContainer, Vec<String>> {
    recreate(Recreate {
        old,
        old_image: &bad_image(),
        new_image_id: GOOD,
        new_image: &good_image(),
        target_labels: None,
        own_labels: &Map::from_iter([("io.sternway.op".to_owned(), json!("now"))]),
        restart: &json!({"Name": "no"}),
        api,
        peers,
    })
}

/// The create body after a change to the old container.
fn body(change: impl FnOnce(&mut Value)) -> Value {
    let mut old = old();
    change(&mut old);
    made(&old, (1, 41)).expect("it can be carried").create
}

/// The settings after a change to the old container.
fn settings_after(change: impl FnOnce(&mut Value)) -> Value {
    let mut old = old();
    change(&mut old);
    settings(&old, &bad_image())
}

/// What the engine makes of a body: inspect just after create and connect.
fn as_made(wanted: &NewContainer, image: &Value) -> Value {
    let id = "b".repeat(64);
    let mut config = wanted.create.clone();
    let map = config.as_object_mut().expect("a body is an object");
    let host = map.remove("HostConfig").unwrap_or_default();
    let mut networks = map.remove("NetworkingConfig").unwrap_or_default()["EndpointsConfig"].take();
    for (name, endpoint) in &wanted.connects {
        networks[name] = endpoint.clone();
    }
    for (name, value) in networks.as_object_mut().into_iter().flatten() {
        let mut aliases = value["Aliases"].as_array().cloned().unwrap_or_default();
        aliases.push(json!(id[..12]));
        value["Aliases"] = json!(aliases);
        value["NetworkID"] = json!(format!("id-of-{name}"));
    }
    let given = &image["Config"];
    for key in ["Entrypoint", "Cmd", "WorkingDir", "User", "StopSignal", "Shell", "Healthcheck"] {
        if config.get(key).is_none() {
            config[key] = given[key].clone();
        }
    }
    for key in ["Labels", "Volumes", "ExposedPorts"] {
        for (name, value) in given[key].as_object().into_iter().flatten() {
            if config[key].get(name).is_none() {
                config[key][name] = value.clone();
            }
        }
    }
    let set: Vec<String> =
        config["Env"].as_array().into_iter().flatten().map(|e| e.as_str().unwrap().to_owned()).collect();
    let mut env = set.clone();
    for entry in given["Env"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        let name = entry.split('=').next().unwrap();
        if !set.iter().any(|e| e.split('=').next() == Some(name)) {
            env.push(entry.to_owned());
        }
    }
    config["Env"] = json!(env);
    if config.get("Hostname").is_none() {
        config["Hostname"] = json!(id[..12]);
    }
    let mounts: Vec<Value> = host["Binds"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|bind| {
            let mut parts = bind.as_str().unwrap().split(':');
            json!({"Type": "volume", "Name": parts.next(), "Destination": parts.next()})
        })
        .collect();
    json!({"Id": id, "Name": "/n", "Image": wanted.create["Image"], "State": {"Status": "created"}, "Config": config,
        "HostConfig": host, "Mounts": mounts, "NetworkSettings": {"Networks": networks}})
}

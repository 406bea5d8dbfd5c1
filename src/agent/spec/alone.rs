//! Why no second container of a service can run beside the first: start-first is refused by these sentences.

use serde_json::Value;

use super::json::{at, entries, is_empty, text};
use super::networks::configured_mac;
use super::own::joined;
use super::peers::Peer;

/// Every reason; empty = two can run side by side for a while. `peers` are the other containers of the project.
pub fn alone(inspect: &Value, peers: &[Peer]) -> Vec<String> {
    let mut found = Vec::new();
    let host = at(inspect, &["HostConfig"]);
    for (inside, bindings) in entries(at(host, &["PortBindings"])) {
        for port in bindings.as_array().into_iter().flatten().map(|b| text(b, &["HostPort"])) {
            if !matches!(port, "" | "0") {
                found.push(format!("it publishes {inside} on the host's port {port}, which only one can hold"));
            }
        }
    }
    match text(host, &["NetworkMode"]) {
        "host" => found.push("it lives on the host's network, where a port can be listened on once".to_owned()),
        mode if joined(mode).is_some() => {
            found.push("it lives on another container's network, where a port can be listened on once".to_owned());
        }
        _ => {}
    }
    for (network, endpoint) in entries(at(inspect, &["NetworkSettings", "Networks"])) {
        let fixed = |key: &str| !text(endpoint, &["IPAMConfig", key]).is_empty();
        if fixed("IPv4Address") || fixed("IPv6Address") || !is_empty(at(endpoint, &["IPAMConfig", "LinkLocalIPs"])) {
            found.push(format!("it has a fixed address on {network}, which only one can hold"));
        }
    }
    if configured_mac(inspect).is_some() {
        found.push("it has a fixed MAC address, which only one can hold".to_owned());
    }
    let (id, name) = (text(inspect, &["Id"]), text(inspect, &["Name"]).trim_start_matches('/'));
    let uses =
        |p: &&Peer| p.uses.iter().any(|used| used == name || (used.len() >= 12 && id.starts_with(used.as_str())));
    for peer in peers.iter().filter(|p| p.id != id).filter(uses) {
        found.push(format!("{} lives on its network, processes or volumes and can follow only one", peer.name));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_only_one_can_hold_is_named() {
        let free = json!({
            "Id": "0123456789abcdef", "Name": "/shop-api-1",
            "HostConfig": {"NetworkMode": "shop_default", "PortBindings": {"80/tcp": [{"HostPort": ""}]}},
            "NetworkSettings": {"Networks": {"shop_default": {"IPAMConfig": {}, "Aliases": ["api"]}}}
        });
        assert_eq!(alone(&free, &[]), Vec::<String>::new());
        let with = |path: &str, value: Value| {
            let mut one = free.clone();
            *one.pointer_mut(path).unwrap() = value;
            one
        };
        for (one, part) in [
            (with("/HostConfig/PortBindings", json!({"80/tcp": [{"HostPort": "8080"}]})), "port 8080"),
            (with("/HostConfig/PortBindings", json!({"80/tcp": [{"HostPort": "8080-8082"}]})), "port 8080-8082"),
            (with("/HostConfig/NetworkMode", json!("host")), "host's network"),
            (with("/HostConfig/NetworkMode", json!("container:abc")), "another container's network"),
            (
                with("/NetworkSettings/Networks/shop_default/IPAMConfig", json!({"IPv4Address": "172.18.0.9"})),
                "fixed address on shop_default",
            ),
        ] {
            let found = alone(&one, &[]);
            assert!(found.len() == 1 && found[0].contains(part), "{part}: {found:?}");
        }
        let peer =
            Peer { id: "p".into(), name: "sidecar".into(), uses: vec!["0123456789abcdef".into()], ..Peer::default() };
        assert!(alone(&free, &[peer])[0].contains("sidecar"));
    }
}

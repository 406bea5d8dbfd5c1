//! What an image *is* (decision 4, docker-facts section 3): a hash over platform, layers and config, read from
//! the raw JSON of image inspect. Pure.
//!
//! The same program has different ids in the two image stores and after save and load; its fingerprint is equal
//! on all of them. Nothing else of the inspect may enter: `Created`, `Variant` and `Size` differ for one image.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::domain::canonical;
use crate::domain::names::Fingerprint;
use crate::domain::release::Handles;

/// The fields of `Config` that change what a container does.
const CONFIG_FIELDS: [&str; 12] = [
    "Env",
    "Entrypoint",
    "Cmd",
    "User",
    "WorkingDir",
    "Labels",
    "ExposedPorts",
    "Volumes",
    "Healthcheck",
    "StopSignal",
    "Shell",
    "OnBuild",
];

/// The fingerprint of an image, from the raw JSON of `GET /images/{name}/json`. `None` when the image has no
/// layers: then its content for this platform is not here, and it is no release.
pub fn fingerprint(image_inspect: &Value) -> Option<Fingerprint> {
    let layers = image_inspect.pointer("/RootFS/Layers").and_then(Value::as_array)?;
    if layers.is_empty() {
        return None;
    }
    let mut config = Map::new();
    for field in CONFIG_FIELDS {
        if let Some(value) = image_inspect.pointer(&format!("/Config/{field}")).and_then(|v| meaning(field, v)) {
            config.insert(field.to_owned(), value);
        }
    }
    let mut whole = Map::new();
    for field in ["Os", "Architecture"] {
        if let Some(value) = image_inspect.get(field).and_then(present) {
            whole.insert(field.to_owned(), value.clone());
        }
    }
    whole.insert("RootFS".to_owned(), json!({ "Layers": layers }));
    if !config.is_empty() {
        whole.insert("Config".to_owned(), Value::Object(config));
    }
    let text = canonical::text(&exact(Value::Object(whole))).ok()?;
    Fingerprint::parse(&hex::encode(Sha256::digest(text.as_bytes())))
}

/// Identity and handles of an image: its fingerprint, id and repository digests, and `reference`, the name its
/// container was made from. `None` when it has no fingerprint or no id.
pub fn handles(image_inspect: &Value, reference: &str) -> Option<Handles> {
    let digests = image_inspect.get("RepoDigests").and_then(Value::as_array);
    Some(Handles {
        fingerprint: fingerprint(image_inspect)?,
        image: image_inspect.get("Id")?.as_str()?.to_owned(),
        reference: reference.to_owned(),
        digests: digests.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
    })
}

/// What a config field says, or `None` when it says nothing. Members of `Labels`, `ExposedPorts` and `Volumes`
/// speak by being there, even with an empty value; members of `Healthcheck` do not (0 there means "inherit").
fn meaning(field: &str, value: &Value) -> Option<Value> {
    let value = present(value)?;
    match (field, value) {
        ("ExposedPorts" | "Volumes", Value::Object(set)) => {
            Some(set.keys().map(|key| (key.clone(), json!({}))).collect::<Map<_, _>>().into())
        }
        ("Healthcheck", Value::Object(check)) => {
            let said = |v: &Value| present(v).is_some() && v.as_i64() != Some(0);
            let check: Map<_, _> = check.iter().filter(|(_, v)| said(v)).map(|(k, v)| (k.clone(), v.clone())).collect();
            (!check.is_empty()).then(|| check.into())
        }
        _ => Some(value.clone()),
    }
}

/// null = absent = empty: engine 29 leaves out what engine 20 writes as `null` or `""`.
fn present(value: &Value) -> Option<&Value> {
    let empty = match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    };
    (!empty).then_some(value)
}

/// Numbers that the canonical form refuses (a health interval of more than 104 days, in nanoseconds) become
/// their digits as text, so that such an image still has an identity.
fn exact(value: Value) -> Value {
    match value {
        Value::Number(number) if canonical::text(&number).is_err() => Value::String(number.to_string()),
        Value::Array(items) => items.into_iter().map(exact).collect(),
        Value::Object(members) => members.into_iter().map(|(k, v)| (k, exact(v))).collect::<Map<_, _>>().into(),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As engine 20.10 tells it, with everything that must not count.
    fn told_by_20() -> Value {
        json!({
            "Id": "sha256:aa", "RepoTags": ["shop/api:1"], "RepoDigests": ["shop/api@sha256:dd"],
            "Created": "2026-01-01T00:00:00Z", "Size": 10, "VirtualSize": 10, "Variant": "", "Os": "linux",
            "Architecture": "amd64", "Parent": "sha256:bb", "DockerVersion": "20.10.24",
            "RootFS": {"Type": "layers", "Layers": ["sha256:l1", "sha256:l2"]},
            "Config": {
                "Hostname": "", "Image": "sha256:bb", "AttachStdin": false, "Env": ["PATH=/bin", "A=1"],
                "Entrypoint": ["/p"], "Cmd": null, "User": "", "WorkingDir": "", "Labels": {"v": ""},
                "ExposedPorts": {"8080/tcp": {}}, "Volumes": null, "OnBuild": [],
                "Healthcheck": {"Test": ["CMD", "/p"], "Interval": 2_000_000_000u64}
            }
        })
    }

    fn with(pointer: &str, value: Value) -> Value {
        let mut image = told_by_20();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = image.pointer_mut(parent).and_then(Value::as_object_mut).expect(pointer);
        parent.insert(field.to_owned(), value);
        image
    }

    fn print(image: &Value) -> String {
        fingerprint(image).expect("has layers").as_str().to_owned()
    }

    #[test]
    fn it_is_the_sha256_of_the_sorted_json_of_what_counts() {
        let text = r#"{"Architecture":"amd64","Config":{"Entrypoint":["/p"],"Env":["PATH=/bin","A=1"],"ExposedPorts":{"8080/tcp":{}},"Healthcheck":{"Interval":2000000000,"Test":["CMD","/p"]},"Labels":{"v":""}},"Os":"linux","RootFS":{"Layers":["sha256:l1","sha256:l2"]}}"#;
        assert_eq!(print(&told_by_20()), hex::encode(Sha256::digest(text)));
    }

    #[test]
    fn null_absent_and_empty_are_one() {
        let expected = print(&told_by_20());
        for field in ["Cmd", "User", "WorkingDir", "Volumes", "OnBuild", "Shell", "StopSignal"] {
            for empty in [json!(null), json!(""), json!([]), json!({})] {
                let image = with(&format!("/Config/{field}"), empty.clone());
                assert_eq!(print(&image), expected, "{field} = {empty}");
            }
            let mut image = told_by_20();
            image["Config"].as_object_mut().unwrap().remove(field);
            assert_eq!(print(&image), expected, "{field} absent");
        }
        for (field, nothing) in [("Timeout", json!(0)), ("Retries", json!(null))] {
            assert_eq!(print(&with(&format!("/Config/Healthcheck/{field}"), nothing)), expected, "{field}");
        }
    }

    #[test]
    fn what_differs_for_one_image_does_not_count() {
        let expected = print(&told_by_20());
        for (field, value) in [
            ("/Created", json!("2027-01-01T00:00:00Z")),
            ("/Variant", json!("v8")),
            ("/Size", json!(11)),
            ("/Id", json!("sha256:cc")),
            ("/RepoTags", json!([])),
            ("/RepoDigests", json!([])),
            ("/Parent", json!("")),
            ("/Config/Hostname", json!("x")),
            ("/Config/Image", json!("")),
        ] {
            assert_eq!(print(&with(field, value)), expected, "{field}");
        }
    }

    #[test]
    fn what_changes_the_program_counts() {
        let expected = print(&told_by_20());
        for (field, value) in [
            ("/Os", json!("windows")),
            ("/Architecture", json!("arm64")),
            ("/RootFS/Layers", json!(["sha256:l2", "sha256:l1"])),
            ("/Config/Env", json!(["A=1", "PATH=/bin"])),
            ("/Config/Cmd", json!(["serve"])),
            ("/Config/User", json!("app")),
            ("/Config/Labels", json!({})),
            ("/Config/ExposedPorts", json!({"8080/tcp": {}, "9/tcp": {}})),
            ("/Config/Volumes", json!({"/data": {}})),
            ("/Config/Healthcheck", json!({"Test": ["NONE"]})),
            ("/Config/Healthcheck/Interval", json!(u64::MAX)),
            ("/Config/StopSignal", json!("SIGINT")),
            ("/Config/Shell", json!(["/bin/sh"])),
            ("/Config/OnBuild", json!(["RUN x"])),
            ("/Config/WorkingDir", json!("/app")),
            ("/Config/Entrypoint", json!(["/q"])),
        ] {
            assert_ne!(print(&with(field, value)), expected, "{field}");
        }
    }

    #[test]
    fn an_image_whose_content_is_not_here_is_no_release() {
        for layers in [json!([]), json!(null)] {
            assert_eq!(fingerprint(&with("/RootFS/Layers", layers)), None);
        }
        assert_eq!(fingerprint(&json!({"Id": "sha256:aa"})), None);
        // Told by engine 29 with the containerd store when only a foreign platform is local.
        assert_eq!(handles(&json!({"Id": "sha256:aa", "Config": {}}), "shop/api:1"), None);
    }

    #[test]
    fn handles_carry_id_reference_and_digests() {
        let found = handles(&told_by_20(), "shop/api:1").unwrap();
        assert_eq!(found.image, "sha256:aa");
        assert_eq!(found.reference, "shop/api:1");
        assert_eq!(found.digests, ["shop/api@sha256:dd"]);
        assert_eq!(handles(&with("/RepoDigests", json!(null)), "x").unwrap().digests, Vec::<String>::new());
    }
}

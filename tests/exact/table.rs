//! What differs all the same between the container that we make and Compose's, and is accepted: the rows of the
//! table in `docs/recreation.md`, by their first column.

use serde_json::Value;

/// A field's path, ours, theirs.
type Fits = fn(&str, Option<&Value>, Option<&Value>) -> bool;

/// Each row of the table, and which differences it covers.
pub(crate) const TOLERATED: &[(&str, Fits)] = &[
    ("`Config.Labels`: `io.sternway.*`", |path, _, theirs| {
        path.starts_with("Config.Labels.io.sternway.") && theirs.is_none()
    }),
    ("`Config.Image`", |path, ours, theirs| path == "Config.Image" && begins(ours, "sha256:") && theirs.is_some()),
    ("`Config.Env`: `affinity:container=`", |path, ours, theirs| {
        matches!(path, "Config.Env" | "oci.process.env") && entries(ours, "") == entries(theirs, "affinity:container=")
    }),
    ("`Config.Labels`: `com.docker.compose.replace`", |path, ours, _| {
        path == "Config.Labels.com.docker.compose.replace" && ours.is_none()
    }),
    ("`Mounts`: anonymous volumes that one image alone declares", |path, ours, theirs| match path {
        "HostConfig.Binds" | "HostConfig.Mounts" => of_both(ours) == of_both(theirs),
        _ => ["Mounts /anon.", "Mounts /anon2.", "oci.mounts./anon.", "oci.mounts./anon2."]
            .iter()
            .any(|mount| path.starts_with(mount)),
    }),
];

/// Binds and mounts but those at `/anon`, which the target image alone declares, and `/anon2` of the other one.
fn of_both(list: Option<&Value>) -> Vec<&Value> {
    let alone = |entry: &Value| {
        let target = entry["Target"].as_str().or_else(|| entry.as_str()?.split(':').nth(1));
        matches!(target, Some("/anon" | "/anon2"))
    };
    list.and_then(Value::as_array).into_iter().flatten().filter(|entry| !alone(entry)).collect()
}

fn begins(value: Option<&Value>, with: &str) -> bool {
    value.and_then(Value::as_str).is_some_and(|text| text.starts_with(with))
}

/// The entries of a list but those that begin so; an empty beginning keeps all.
fn entries<'a>(list: Option<&'a Value>, but: &str) -> Vec<&'a str> {
    let all = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    all.filter(|entry| but.is_empty() || !entry.starts_with(but)).collect()
}

/// The row that covers a difference.
pub(crate) fn row(path: &str, ours: Option<&Value>, theirs: Option<&Value>) -> Option<&'static str> {
    TOLERATED.iter().find(|(_, fits)| fits(path, ours, theirs)).map(|(row, _)| *row)
}

/// The first column of the table in the document.
pub(crate) fn of_document(text: &str) -> Vec<&str> {
    let table = text.split_once("## What differs").expect("the document has its section").1;
    let table = table.split_once("\n## ").map_or(table, |(table, _)| table);
    let rows = table.lines().filter_map(|line| line.strip_prefix("| "));
    rows.filter_map(|row| row.split(" | ").next()).skip(1).map(str::trim).collect()
}

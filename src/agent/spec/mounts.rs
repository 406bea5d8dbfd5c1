//! Volumes: which are named by the project, which are anonymous, and how those follow to a new container.

use serde_json::{Map, Value, json};

use super::json::{at, plain, strings, text};
use super::labels::by_compose_2;
use super::peers::{Peer, is_brought};

/// One entry of `HostConfig.Binds`: `source:destination[:options]`.
pub(super) struct Bind<'a> {
    /// A path or a volume's name.
    pub(super) source: &'a str,
    /// Where it is mounted.
    pub(super) destination: &'a str,
    /// `ro`, `z`, …; empty when there are none.
    pub(super) options: &'a str,
}

/// Takes an entry of `Binds` apart. `None` for what this engine (Linux) would not have accepted.
pub(super) fn bind(entry: &str) -> Option<Bind<'_>> {
    let mut parts = entry.splitn(3, ':');
    let (source, destination) = (parts.next()?, parts.next()?);
    Some(Bind { source, destination, options: parts.next().unwrap_or_default() })
}

/// Whether the engine made this volume name: 64 hex digits.
fn is_made_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// Destinations that the project mounts explicitly.
fn explicit(host: &Value) -> Vec<&str> {
    let binds = strings(at(host, &["Binds"])).into_iter().filter_map(bind).map(|b| b.destination);
    let mounts = at(host, &["Mounts"]).as_array().into_iter().flatten().map(|m| text(m, &["Target"]));
    binds.chain(mounts).collect()
}

/// The mounts that the project names, in one form whichever compose made them, by destination.
///
/// Anonymous volumes are left out: compose 1 carries each of them on as a bind, also those that only an earlier
/// image declared, and compose 2 writes those of the image down as mounts from the first recreate on; so they tell what
/// happened before rather than what the project wants. Only what it wants without a source is told.
pub(super) fn canonical(inspect: &Value, image: &Value) -> Map<String, Value> {
    let host = at(inspect, &["HostConfig"]);
    let mut mounts = Map::new();
    for entry in strings(at(host, &["Binds"])) {
        let Some(bind) = bind(entry) else {
            mounts.insert(entry.to_owned(), json!({}));
            continue;
        };
        if is_made_name(bind.source) {
            continue;
        }
        let mut options: Vec<&str> = bind.options.split(',').filter(|o| !o.is_empty() && *o != "rw").collect();
        options.sort_unstable();
        mounts.insert(bind.destination.to_owned(), json!({"source": bind.source, "options": options}));
    }
    for mount in at(host, &["Mounts"]).as_array().into_iter().flatten() {
        let mut mount = mount.clone();
        let target = text(&mount, &["Target"]).to_owned();
        let source = text(&mount, &["Source"]);
        let of_volume = text(&mount, &["Type"]) == "volume";
        let made = of_volume && (source.is_empty() || is_made_name(source));
        if made && at(image, &["Config", "Volumes"]).get(&target).is_some() {
            continue;
        }
        if let (true, Some(object)) = (made, mount.as_object_mut()) {
            object.remove("Source"); // the name that the engine made for compose 2's anonymous volume
        }
        mounts.insert(target, plain(&mount).unwrap_or_default());
    }
    mounts
}

/// Puts anonymous volumes into a new container's `HostConfig`, by name: those of compose 2 (a mount without a
/// source) and those behind the project's or the *new* image's `VOLUME`s. `present` is where they are taken from;
/// what is not mounted there (its image did not declare it) is taken from the `recorded` container. What comes from
/// another container by `volumes_from` comes so again.
pub(super) fn carry(
    host: &mut Map<String, Value>,
    present: &Value,
    recorded: &Value,
    own_volumes: &Value,
    new_image: &Value,
    peers: &[Peer],
) {
    let mut here: Vec<&Value> = Vec::new();
    for inspect in [present, recorded] {
        for mount in at(inspect, &["Mounts"]).as_array().into_iter().flatten() {
            let destination = text(mount, &["Destination"]);
            let known = here.iter().any(|m| text(m, &["Destination"]) == destination);
            let is_volume = text(mount, &["Type"]) == "volume" && !text(mount, &["Name"]).is_empty();
            if is_volume && !known && !is_brought(inspect, mount, peers) {
                here.push(mount);
            }
        }
    }
    let found = |destination: &str| here.iter().find(|m| text(m, &["Destination"]) == destination).copied();

    // What a record says of an anonymous volume may be gone; what is there now counts.
    if let Some(binds) = host.get_mut("Binds").and_then(Value::as_array_mut) {
        for entry in binds.iter_mut() {
            let renewed = entry.as_str().and_then(bind).filter(|b| is_made_name(b.source)).and_then(|b| {
                let name = text(found(b.destination)?, &["Name"]);
                (name != b.source).then(|| {
                    format!("{name}:{}:{}", b.destination, if b.options.is_empty() { "rw" } else { b.options })
                })
            });
            if let Some(renewed) = renewed {
                *entry = Value::String(renewed);
            }
        }
    }
    if let Some(mounts) = host.get_mut("Mounts").and_then(Value::as_array_mut) {
        for mount in mounts.iter_mut().filter(|m| text(m, &["Type"]) == "volume") {
            let source = text(mount, &["Source"]);
            if (source.is_empty() || is_made_name(source))
                && let Some(volume) = found(text(mount, &["Target"]))
            {
                mount["Source"] = volume["Name"].clone();
            }
        }
    }

    let host_now = Value::Object(host.clone());
    let taken = explicit(&host_now);
    let asked = |destination: &str| {
        own_volumes.get(destination).is_some() || at(new_image, &["Config", "Volumes"]).get(destination).is_some()
    };
    let mut carried: Vec<&&Value> = here
        .iter()
        .filter(|m| {
            let destination = text(m, &["Destination"]);
            !taken.contains(&destination) && asked(destination)
        })
        .collect();
    carried.sort_by_key(|m| text(m, &["Name"])); // Mounts come in random order before engine 29
    if carried.is_empty() {
        return;
    }
    // Each generation of compose carries them on in its own words.
    let (key, entries): (_, Vec<Value>) = if by_compose_2(recorded) {
        ("Mounts", carried.into_iter().map(|m| as_mount(m)).collect())
    } else {
        ("Binds", carried.into_iter().map(|m| as_bind(m)).collect())
    };
    let list = host.entry(key).or_insert(Value::Null);
    let mut all: Vec<Value> = list.as_array().cloned().unwrap_or_default();
    all.extend(entries);
    *list = Value::Array(all);
}

fn as_bind(mount: &Value) -> Value {
    let mode = if mount["RW"] == json!(false) { "ro" } else { "rw" };
    Value::String(format!("{}:{}:{mode}", text(mount, &["Name"]), text(mount, &["Destination"])))
}

fn as_mount(mount: &Value) -> Value {
    let mut wanted = json!({"Type": "volume", "Source": mount["Name"], "Target": mount["Destination"]});
    if mount["RW"] == json!(false) {
        wanted["ReadOnly"] = json!(true);
    }
    wanted
}

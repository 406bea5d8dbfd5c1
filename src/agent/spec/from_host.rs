//! What a container has from the project's own folder on the host: it stays as it is there when the image goes back, so
//! that a rollback of the image alone may change nothing. Only for telling it.

use std::path::Path;

use serde_json::Value;

use super::json::{at, strings, text};
use super::labels::{WORKING_DIR, label};
use super::mounts::bind;

/// Places in a container where data, logs and settings lie: that those do not go back with an image goes without saying.
const NOT_CODE: [&str; 9] =
    ["/etc", "/run", "/var/run", "/var/lib", "/var/log", "/tmp", "/data", "/logs", "/docker-entrypoint-initdb.d"];

/// Endings of files that set something up rather than run.
const SETTINGS: [&str; 16] = [
    "conf",
    "cnf",
    "cfg",
    "ini",
    "yml",
    "yaml",
    "toml",
    "json",
    "env",
    "properties",
    "xml",
    "pem",
    "crt",
    "key",
    "htpasswd",
    "txt",
];

/// Folders and files beneath the project's folder that the container has mounted, as `./src` and where they are there.
/// Left out is what is data, log or settings by its place or ending.
pub fn from_host(inspect: &Value) -> Vec<(String, String)> {
    let folder = Path::new(label(inspect, WORKING_DIR));
    if !folder.is_absolute() || folder.parent().is_none() {
        return Vec::new();
    }
    let host = at(inspect, &["HostConfig"]);
    let binds = strings(at(host, &["Binds"])).into_iter().filter_map(bind).map(|b| (b.source, b.destination));
    let mounts = at(host, &["Mounts"]).as_array().into_iter().flatten().filter(|m| text(m, &["Type"]) == "bind");
    let mounts = mounts.map(|m| (text(m, &["Source"]), text(m, &["Target"])));
    let mut found: Vec<(String, String)> = binds
        .chain(mounts)
        .filter(|(_, destination)| !NOT_CODE.iter().any(|place| Path::new(destination).starts_with(place)))
        .filter_map(|(source, destination)| {
            let beneath = Path::new(source).strip_prefix(folder).ok()?.to_str()?;
            (!sets_up(beneath)).then(|| (format!("./{beneath}"), destination.to_owned()))
        })
        .collect();
    found.sort();
    found.dedup();
    found
}

/// Whether a file sets something up, by its ending. `.env` is one that is nothing but its ending.
fn sets_up(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    name.rsplit_once('.').is_some_and(|(_, ending)| SETTINGS.contains(&ending.to_ascii_lowercase().as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn of(binds: &[&str], mounts: &Value) -> Vec<String> {
        let inspect = json!({
            "Config": {"Labels": {WORKING_DIR: "/srv/shop"}}, "HostConfig": {"Binds": binds, "Mounts": mounts}
        });
        from_host(&inspect).into_iter().map(|(from, to)| format!("{from} {to}")).collect()
    }

    #[test]
    fn code_from_the_projects_folder_is_told_in_the_words_of_the_file() {
        let mounts = json!([
            {"Type": "bind", "Source": "/srv/shop/lib", "Target": "/lib/own"},
            {"Type": "volume", "Source": "data", "Target": "/app/data"}
        ]);
        let told = of(&["/srv/shop/src:/app:rw", "/srv/shop:/whole", "/srv/shop/run.sh:/run.sh:ro"], &mounts);
        assert_eq!(told, ["./ /whole", "./lib /lib/own", "./run.sh /run.sh", "./src /app"]);
    }

    #[test]
    fn what_is_elsewhere_or_no_code_is_not_told() {
        let binds = [
            "/var/run/docker.sock:/var/run/docker.sock",
            "/etc/localtime:/etc/localtime:ro",
            "/srv/shopping/src:/app",
            "named:/app",
            "/srv/shop/nginx.conf:/usr/share/nginx.conf",
            "/srv/shop/.env:/app/.env",
            "/srv/shop/conf.d:/etc/nginx/conf.d",
            "/srv/shop/data:/var/lib/postgresql/data",
            "/srv/shop/init:/docker-entrypoint-initdb.d",
        ];
        assert_eq!(of(&binds, &Value::Null), Vec::<String>::new());
    }

    #[test]
    fn without_a_folder_of_the_project_nothing_is_told() {
        for folder in ["", "/", "shop"] {
            let inspect = json!({"Config": {"Labels": {WORKING_DIR: folder}}, "HostConfig": {"Binds": ["/src:/app"]}});
            assert_eq!(from_host(&inspect), Vec::new(), "{folder:?}");
        }
    }
}

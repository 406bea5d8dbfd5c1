//! Who may know whom. Reads the `use` lines and paths of `src/` and fails with the sentence that was broken.
//!
//! What stands behind `#[cfg(test)]` may know anything. Rooms that do not exist yet break nothing.

#![allow(clippy::unwrap_used, clippy::panic)] // a test may fall

#[path = "support/paths.rs"]
mod paths;

use std::collections::BTreeSet;
use std::path::Path;

use paths::{Used, files_for_tests, used_paths};

/// Rooms from the top down; a line may use its own and those below, never above.
/// `chat` is its contract (`chat/mod.rs`, `chat/outbox.rs`); `chat:surfaces` is everything else in that folder.
const LAYERS: [&[&str]; 8] = [
    &["main"],
    &["app", "demo"],
    &["chat:surfaces", "web", "monitor"],
    &["dispatch"],
    &["gate", "procedures", "report", "incident", "story"],
    &["chat"],
    &["agent", "store", "clock", "config", "telemetry", "prober", "plain_file"],
    &["command", "domain"],
];

/// Files of `chat` that dispatch and the app speak to, whatever the surface.
const CHAT_CONTRACT: [&str; 2] = ["mod.rs", "outbox.rs"];

/// What pure rooms may use beside each other.
const PURE_ROOMS: [&str; 3] = ["domain", "command", "story"];
const PURE_CRATES: [&str; 8] = ["serde", "serde_json", "thiserror", "toml", "jiff", "sha2", "hex", "strsim"];
const PURE_STD_NOT: [&str; 6] = ["fs", "net", "process", "env", "thread", "os"];

/// Crates whose types have one home: the crates, and the beginnings of paths in `src/` where they may stand.
const HOMES: [(&[&str], &[&str], &str); 5] = [
    (&["bollard", "hyper", "hyper_util", "http_body_util", "hyperlocal"], &["agent/"], "src/agent/"),
    (&["sled"], &["store/"], "src/store/"),
    (&["rustyline"], &["chat/console/", "chat/console.rs"], "src/chat/console"),
    (&["reqwest"], &["agent/probe.rs"], "src/agent/probe.rs"),
    (&["clap"], &["main.rs", "app/"], "src/main.rs or src/app/"),
];

/// (who, must not use, why). `who` is the beginning of a path in `src/`, the rest a path from the crate's root.
const NEVER: [(&str, &[&str], &str); 12] = [
    ("chat/", &["gate"], WHO_ACTS),
    ("chat/", &["procedures"], WHO_ACTS),
    ("chat/", &["agent"], WHO_ACTS),
    ("web/", &["gate"], WHO_ACTS),
    ("web/", &["procedures"], WHO_ACTS),
    ("web/", &["agent"], WHO_ACTS),
    ("monitor/", &["gate"], WHO_ACTS),
    ("monitor/", &["procedures"], WHO_ACTS),
    ("monitor/", &["agent", "Act"], WHO_ACTS),
    ("agent/", &["store"], "the agent has its own folder and no access to the store"),
    ("procedures/planner", &["agent", "Act"], "the planner only looks: it holds Inspect, never Act"),
    ("procedures/", &["chat"], "procedures have never heard of chat"),
];
const WHO_ACTS: &str = "chat, web and monitor ask through the queue: whatever acts has passed the gate";

/// The room of a file of `src/`, as in [`LAYERS`].
fn room_of(file: &str) -> String {
    match file.split_once('/') {
        Some(("chat", rest)) if !CHAT_CONTRACT.contains(&rest) => "chat:surfaces".to_owned(),
        Some((room, _)) => room.to_owned(),
        None => file.trim_end_matches(".rs").to_owned(),
    }
}

/// The room that a path from the crate's root leads to.
fn room_meant(path: &[String], files: &BTreeSet<&str>) -> Option<String> {
    let (room, next) = (path.first()?, path.get(1));
    let is_surface = |name: &String| {
        let own = format!("{name}.rs");
        !CHAT_CONTRACT.contains(&own.as_str())
            && (files.contains(format!("chat/{own}").as_str())
                || files.contains(format!("chat/{name}/mod.rs").as_str()))
    };
    if room == "chat" && next.is_some_and(is_surface) { Some("chat:surfaces".to_owned()) } else { Some(room.clone()) }
}

fn rank(room: &str) -> Option<usize> {
    LAYERS.iter().position(|line| line.contains(&room))
}

/// Whether `path` is `banned` or inside it; a star may stand for any name.
fn leads_to(path: &[String], banned: &[&str]) -> bool {
    banned.iter().enumerate().all(|(i, name)| match path.get(i) {
        Some(segment) => segment == name || segment == "*",
        None => false,
    })
}

/// Every broken sentence, with file and line. `files` are paths in `src/` with their text; `dependencies` are the
/// names of the crates that Cargo.toml brings in.
fn broken(files: &[(String, String)], dependencies: &BTreeSet<String>) -> Vec<String> {
    let names: BTreeSet<&str> = files.iter().map(|(file, _)| file.as_str()).collect();
    let mut broken = Vec::new();
    let for_tests = files_for_tests(files);
    for (file, text) in files.iter().filter(|(file, _)| file != "lib.rs" && !for_tests.contains(file)) {
        let room = room_of(file);
        let Some(own) = rank(&room) else {
            broken.push(format!(
                "src/{file}: the room `{room}` has no place in LAYERS of tests/architecture.rs; give it one"
            ));
            continue;
        };
        for Used { path, line, root } in used_paths(file, text) {
            let at = format!("src/{file}:{line}: `{}`", path.join("::"));
            if root {
                if let Some(meant) = room_meant(&path, &names)
                    && let Some(theirs) = rank(&meant)
                    && theirs < own
                {
                    broken.push(format!("{at}: `{room}` stands below `{meant}` and may not know it"));
                }
                for (who, banned, why) in NEVER {
                    if file.starts_with(who) && leads_to(&path, banned) {
                        broken.push(format!("{at}: {why}"));
                    }
                }
                continue;
            }
            broken.extend(outside(file, &room, &path, dependencies).into_iter().map(|why| format!("{at}: {why}")));
        }
    }
    broken
}

/// Files that start a program: the agent asks a credential helper, by a checked name and without a shell; the demo runs
/// docker on its own stage.
const STARTS_PROGRAMS: [&str; 2] = ["agent/login.rs", "demo/real.rs"];

/// Sentences broken by the use of something that is not of this crate.
fn outside(file: &str, room: &str, path: &[String], dependencies: &BTreeSet<String>) -> Vec<String> {
    let mut broken = Vec::new();
    let first = path[0].as_str();
    if PURE_ROOMS.contains(&room) {
        let second = path.get(1).map(String::as_str);
        let world = dependencies.contains(first) && !PURE_CRATES.contains(&first);
        let std_world = first == "std" && second.is_some_and(|s| PURE_STD_NOT.contains(&s));
        // Any `X::now`, and the standard library's clocks by their path; a name alone may be somebody's own.
        let clock = path
            .windows(2)
            .any(|w| w[1] == "now" || (w[0] == "time" && matches!(w[1].as_str(), "SystemTime" | "Instant" | "*")));
        if world || std_world || clock {
            broken.push(
                "domain, command and story know no clock, no async, no files: they cannot fail because the world did"
                    .to_owned(),
            );
        }
    }
    for (crates, homes, home) in HOMES {
        if crates.contains(&first) && !homes.iter().any(|h| file.starts_with(h)) {
            broken.push(format!("the types of {first} have one home, {home}"));
        }
    }
    let starts_programs = path.windows(2).any(|w| w[0] == "process" && matches!(w[1].as_str(), "Command" | "*"))
        || (first == "std" && path.iter().any(|p| p == "CommandExt"))
        || path.windows(2).any(|w| w[0] == "rustix" && matches!(w[1].as_str(), "runtime"));
    if starts_programs && !STARTS_PROGRAMS.contains(&file) {
        broken.push("no program is started, and no shell at all: see STARTS_PROGRAMS".to_owned());
    }
    let reads_environment = path.windows(2).any(|w| {
        w[0] == "env" && matches!(w[1].as_str(), "var" | "vars" | "var_os" | "vars_os" | "args" | "args_os" | "*")
    });
    if reads_environment && !(file.starts_with("app/") || file == "app.rs" || file == "main.rs") {
        broken.push("only app reads the environment".to_owned());
    }
    broken
}

fn read_folder(folder: &Path, beneath: &Path, into: &mut Vec<(String, String)>) {
    let entries = std::fs::read_dir(folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(&path, beneath, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            let name = path.strip_prefix(beneath).unwrap().to_string_lossy().replace('\\', "/");
            into.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
}

fn dependencies() -> BTreeSet<String> {
    let manifest: toml::Table = include_str!("../Cargo.toml").parse().unwrap();
    manifest["dependencies"].as_table().unwrap().keys().map(|name| name.replace('-', "_")).collect()
}

#[test]
fn every_room_knows_only_whom_it_may_know() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read_folder(&src, &src, &mut files);
    files.sort();
    assert!(files.iter().any(|(file, _)| file == "domain/mod.rs"), "src/ was not read");
    let broken = broken(&files, &dependencies());
    assert!(broken.is_empty(), "{} broken:\n{}", broken.len(), broken.join("\n"));
}

/// The reader sees paths at all: what is known to be used is found.
#[test]
fn known_uses_are_found() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read_folder(&src, &src, &mut files);
    let uses = |file: &str, wanted: &str| {
        let text = &files.iter().find(|(name, _)| name == file).unwrap_or_else(|| panic!("src/{file} is gone")).1;
        let found = used_paths(file, text).iter().any(|u| u.path.join("::") == wanted);
        assert!(found, "src/{file} uses {wanted}");
    };
    uses("agent/mod.rs", "domain::plan::HealthRule");
    uses("domain/run.rs", "domain::plan::WayOut");
    uses("store/mod.rs", "domain::run::CannotFollow");
    uses("clock.rs", "tokio::time::sleep");
}

fn broken_by(files: &[(&str, &str)]) -> Vec<String> {
    let files: Vec<(String, String)> = files.iter().map(|(f, t)| ((*f).to_owned(), (*t).to_owned())).collect();
    broken(&files, &dependencies())
}

/// A name from outside would be a program of somebody's choice, and a shell would read more into it.
#[test]
fn what_is_started_is_no_shell() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    read_folder(&src, &src, &mut files);
    let shells = ["\"sh\"", "\"bash\"", "\"/bin/bash\"", "\"-c\"", "\"/bin/sh\""];
    let mut found: Vec<&str> = Vec::new();
    for (file, text) in &files {
        let own = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        if shells.iter().any(|shell| own.contains(shell)) {
            found.push(file);
        }
    }
    found.sort_unstable();
    // The check of an image is run by the engine inside the container, as the engine itself would: never on the host.
    assert_eq!(found, ["agent/raw.rs"], "a shell is named in a file that has no reason to");
}

/// Each rule is broken by its line and kept by the neighbour's.
#[test]
fn a_line_that_breaks_a_sentence_is_caught_and_its_neighbour_is_not() {
    let cases = [
        // layers
        ("domain/run.rs", "use crate::agent::Inspect;", "stands below"),
        ("domain/run.rs", "fn f() { super::super::store::verify(); }", "stands below"),
        ("config/mod.rs", "use crate::{domain::names::RoleName, gate::{self, Roles}};", "stands below"),
        ("store/files/mod.rs", "type A = crate::dispatch::Queue;", "stands below"),
        ("gate/mod.rs", "use crate::chat::console::Console;", "stands below"),
        ("dispatch/mod.rs", "use crate::app;", "stands below"),
        ("app/mod.rs", "use crate::main::x;", "stands below"),
        ("agent/sim.rs", "pub(crate) use crate::chat::Intake as In;", "stands below"),
        ("agent/sim.rs", "use sternway::procedures::Planner;", "stands below"),
        ("nowhere/mod.rs", "", "has no place in LAYERS"),
        // who acts
        ("chat/console/mod.rs", "use crate::gate::Pass;", "passed the gate"),
        ("chat/mod.rs", "use crate::agent::Inspect;", "passed the gate"),
        ("web/mod.rs", "use crate::procedures::planner;", "passed the gate"),
        ("monitor/mod.rs", "use crate::agent::{Act, Inspect};", "passed the gate"),
        ("monitor/mod.rs", "use crate::agent::*;", "passed the gate"),
        ("monitor/mod.rs", "fn f(a: &dyn crate::agent::Act) {}", "passed the gate"),
        ("agent/ledger.rs", "use crate::store::Log;", "no access to the store"),
        ("procedures/planner.rs", "use crate::agent::Act;", "the planner only looks"),
        ("procedures/engine.rs", "use crate::chat::Chat;", "never heard of chat"),
        // pure rooms
        ("domain/plan.rs", "use std::{collections::BTreeMap, fs};", "no clock"),
        ("domain/plan.rs", "fn f() { std::net::TcpStream::connect(a); }", "no clock"),
        ("domain/plan.rs", "use std::time::{Duration, Instant};", "no clock"),
        ("domain/plan.rs", "fn f() { let a = jiff::Timestamp::now(); }", "no clock"),
        ("domain/plan.rs", "fn f() { let a = Timestamp::now(); }", "no clock"),
        ("story/en.rs", "use crate::dispatch::Queue;", "stands below"),
        ("story/en.rs", "use std::time::SystemTime;", "no clock"),
        ("command/parse.rs", "use tokio::sync::mpsc;", "no clock"),
        ("command/parse.rs", "fn f() -> anyhow::Result<()> { todo }", "no clock"),
        // homes
        ("store/mod.rs", "use bollard::Docker;", "src/agent/"),
        ("report/mod.rs", "pub use sled::Db;", "src/store/"),
        ("chat/slack/mod.rs", "use rustyline::Editor;", "src/chat/console"),
        ("agent/docker.rs", "use reqwest::Client;", "src/agent/probe.rs"),
        ("config/mod.rs", "#[derive(clap::Parser)] struct A;", "src/main.rs or src/app/"),
        // programs
        ("agent/operate.rs", "use tokio::process::Command;", "no program is started"),
        ("dispatch/core.rs", "fn f() { std::process::Command::new(x); }", "no program is started"),
        ("app/serve.rs", "use std::os::unix::process::CommandExt;", "no program is started"),
        // environment
        ("config/mod.rs", "fn f() { std::env::var(\"A\"); }", "only app reads the environment"),
        ("demo/mod.rs", "use std::env;\nfn f() { env::vars(); }", "only app reads the environment"),
        ("store/mod.rs", "use std::env::var_os as v;", "only app reads the environment"),
    ];
    for (file, line, sentence) in cases {
        // Surfaces are known by their files.
        let broken = broken_by(&[(file, line), ("chat/console/mod.rs", "")]);
        assert!(broken.iter().any(|b| b.contains(sentence)), "src/{file}: {line}\nmust break “{sentence}”: {broken:?}");
        assert!(broken.iter().all(|b| b.starts_with(&format!("src/{file}:"))), "it names the place: {broken:?}");
    }
    let kept = [
        ("domain/run.rs", "use super::plan::Plan;\nuse std::{collections::BTreeMap, fmt, time::Duration};"),
        (
            "domain/run.rs",
            "// use crate::agent::Act;\n/* crate::store::Log */ const A: &str = \"crate::gate::x std::env::var\";",
        ),
        (
            "domain/run.rs",
            "const A: &str = r#\"crate::gate \" std::fs::read\"#; const B: char = '\"'; fn f<'a>(x: &'a str) {}",
        ),
        ("domain/run.rs", "#[cfg(test)]\nmod tests { use crate::store::Log; fn f() { std::fs::read(x); } }"),
        ("domain/run.rs", "#[cfg(test)]\nuse tokio::time;\n#[cfg(test)]\nfn f() { crate::gate::x(); }"),
        ("command/moment.rs", "enum Moment { Instant(Timestamp) }\nfn f() -> Moment { Moment::Instant(x) }"),
        ("domain/run.rs", "mod inner { use super::super::plan::Plan; }"),
        ("dispatch/mod.rs", "use crate::chat::{Chat, outbox::Outbox};\nuse crate::gate::Pass;"),
        ("gate/mod.rs", "use crate::{procedures::x, store::Log, chat::Intake};"),
        ("monitor/mod.rs", "use crate::agent::Inspect;\nuse crate::chat::Intake;"),
        ("procedures/engine.rs", "use crate::agent::Act;"),
        ("agent/probe.rs", "use reqwest::Client;\nuse hyper::Request;"),
        ("app/cli.rs", "fn f() { std::env::var(\"A\"); }\nuse clap::Parser;"),
        ("main.rs", "fn main() { sternway::app::run(std::env::args()) }"),
        ("store/mod.rs", "fn f() { std::env::temp_dir(); let sled = 1; }"),
        ("config/mod.rs", "fn f() { env!(\"CARGO_PKG_VERSION\"); }"),
    ];
    for (file, lines) in kept {
        let broken = broken_by(&[(file, lines), ("chat/console/mod.rs", ""), ("chat/outbox.rs", "")]);
        assert!(broken.is_empty(), "src/{file}: {lines}\nbreaks nothing, but: {broken:?}");
    }
}

#[test]
fn a_file_that_is_only_there_for_tests_may_know_anything() {
    let files = [
        ("domain/run.rs", "#[cfg(test)]\nmod laws;"),
        ("domain/run/laws.rs", "use crate::store::Log;\nuse tokio::time;"),
    ];
    assert!(broken_by(&files).is_empty(), "{:?}", broken_by(&files));
    let always = [("domain/run.rs", "mod laws;"), ("domain/run/laws.rs", "use crate::store::Log;")];
    assert_eq!(broken_by(&always).len(), 1, "without the attribute it counts");
}

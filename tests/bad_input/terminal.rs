//! What the program itself prints on a terminal, when files, their names or its arguments are hostile.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use sternway::domain::text::is_hidden;
use sternway::store::Hash;
use sternway::store::line::{LogId, write};

use crate::hostile_words::WORDS;

/// Standard output and standard error of a call, which must not steer anything.
fn printed(arguments: &[&str]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_sternway"))
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("DOCKER_HOST")
        .output()
        .expect("it can be run");
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let hidden: Vec<char> = text.chars().filter(|c| *c != '\n' && is_hidden(*c)).collect();
    assert!(hidden.is_empty(), "sternway {arguments:?} prints {hidden:?}: {text:?}");
    assert!(out.status.code().is_some_and(|code| code <= 2), "sternway {arguments:?} fell: {:?}\n{text}", out.status);
    text
}

/// All words that can stand in the name of a file, as one name each.
fn names() -> impl Iterator<Item = String> {
    WORDS.iter().map(|words| words.replace(['/', '\0'], "_")).filter(|name| name.len() < 200)
}

fn own(path: &Path) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

#[test]
fn a_file_whose_name_wants_to_steer_is_named_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    // A handful at a time: what is told of each is the same code.
    for name in names().step_by(3) {
        let path = dir.path().join(&name);
        let file = path.display().to_string();
        printed(&["check", "--config", &file]);
        printed(&["audit", "verify", &file]);
        fs::write(&path, "no line of a log\n").unwrap();
        own(&path);
        let told = printed(&["audit", "verify", &file]);
        assert!(told.contains("DAMAGED"), "{told}");
        printed(&["check", "--config", &file]);
    }
}

#[test]
fn an_argument_that_is_not_understood_is_quoted_as_what_it_is() {
    for words in WORDS.iter().filter(|words| !words.contains('\0')).step_by(4) {
        printed(&[words]);
        printed(&["audit", "export", "--from", words]);
    }
}

#[test]
fn check_quotes_a_config_and_command_files_as_what_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (config, commands) = (dir.path().join("sternway.toml"), dir.path().join("commands"));
    // As TOML writes what a file may not hold as it is: only reading it brings it to light.
    let key = |words: &str| words.chars().map(|c| format!("\\U{:08X}", c as u32)).collect::<String>();
    let key = |words: &str| format!("\"{}\"", key(words));
    let all: String = WORDS.iter().map(|words| format!("{} = {}\n", key(words), key(words))).collect();
    fs::write(&config, &all).unwrap();
    own(&config);
    let told = printed(&["check", "--config", &config.display().to_string()]);
    assert!(told.contains("nothing is started"), "{told}");
    let example = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/minimal.toml")).unwrap();
    fs::write(&config, format!("{}\n", example.replacen("[sternway]", "[sternway]\ncommands = \"commands\"", 1)))
        .unwrap();
    own(&config);
    fs::create_dir(&commands).unwrap();
    for (n, name) in names().enumerate() {
        let file = commands.join(format!("{n}{name}.toml"));
        fs::write(&file, &all).unwrap();
        own(&file);
    }
    let told = printed(&["check", "--config", &config.display().to_string()]);
    assert!(told.contains(".toml:"), "the command files were not read: {told}");
}

#[test]
fn verify_quotes_an_event_as_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let log = LogId([7; 16]);
    let genesis = format!(
        r#"{{"at":"2026-01-01T00:00:00Z","body":{{"host":"h","keys":[],"log_id":"{log}","software":"t","type":"genesis"}},"v":1}}"#
    );
    for words in WORDS {
        let quoted = serde_json::to_string(words).unwrap();
        let mut lines = Vec::new();
        let first = write(&mut lines, log, 0, Hash::ZERO, &genesis);
        write(&mut lines, log, 1, first, &format!(r#"{{"v":1,"subject":{{"of":{quoted}}},"prev_of":{quoted}}}"#));
        let file = dir.path().join("000000000000.log");
        fs::write(&file, &lines).unwrap();
        if words.contains('\u{1b}') {
            let told = printed(&["audit", "verify", &dir.path().display().to_string()]);
            assert!(told.contains("line 2"), "{told}");
        }
        let damage = sternway::store::verify::verify(dir.path()).expect_err("such a subject is none").to_string();
        assert!(!damage.chars().any(is_hidden), "{damage:?}");
    }
}

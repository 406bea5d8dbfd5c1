//! What is fed with bad input, one plain function each, with what must hold whatever came. Two drivers share the list:
//! `tests/bad_input.rs` replays the kept corpus and mutates it in CI, `fuzz/` hands it to libFuzzer (`make fuzz`).
//!
//! A function here panics when something does not hold; it says what and with which words.

#![allow(unreachable_pub)] // shared by path
#![allow(clippy::unwrap_used, clippy::panic)] // it fails the test that calls it

#[path = "../../support/night.rs"]
pub mod night;

mod agent_folder;
mod commands;
mod config;
mod console;
mod engine_answers;
pub mod engine_world;
mod health;
mod log;
mod login;
mod pin;
mod shown;

use std::path::Path;

use sternway::domain::text::is_hidden;

/// Something that reads what others wrote.
#[derive(Clone, Copy)]
pub struct Target {
    /// Also the folder of its corpus.
    pub name: &'static str,
    /// Feeds it.
    pub feed: fn(&[u8]),
    /// Mutated inputs in CI: fewer where one input is a whole conversation.
    #[allow(dead_code)] // libFuzzer counts for itself
    pub rounds: u32,
}

/// All of them.
pub const ALL: &[Target] = &[
    Target { name: "command_line", feed: commands::line, rounds: 1_000 },
    Target { name: "command_file", feed: commands::file, rounds: 250 },
    Target { name: "config", feed: config::feed, rounds: 120 },
    Target { name: "pin_text", feed: pin::text, rounds: 400 },
    Target { name: "pin_path", feed: pin::path, rounds: 400 },
    Target { name: "log_line", feed: log::line, rounds: 1_000 },
    Target { name: "log_chain", feed: log::chain, rounds: 400 },
    Target { name: "log_folder", feed: log::folder, rounds: 200 },
    Target { name: "cursors", feed: log::cursors, rounds: 15 },
    Target { name: "engine_answers", feed: engine_answers::feed, rounds: 40 },
    Target { name: "engine_world", feed: engine_world::feed, rounds: 24 },
    Target { name: "agent_folder", feed: agent_folder::feed, rounds: 18 },
    Target { name: "docker_login", feed: login::feed, rounds: 200 },
    Target { name: "health_answer", feed: health::feed, rounds: 40 },
    Target { name: "console_server", feed: console::server, rounds: 60 },
    Target { name: "console_client", feed: console::client, rounds: 60 },
    Target { name: "shown_text", feed: shown::feed, rounds: 1_000 },
];

/// Fails when a person's terminal would be steered, or a line be disguised.
fn assert_shown(what: &str, words: &str) {
    let hidden: Vec<char> = words.chars().filter(|c| *c != '\n' && is_hidden(*c)).collect();
    assert!(hidden.is_empty(), "{what} shows {hidden:?}: {words:?}");
}

/// A refusal says something, and not without end.
fn assert_refusal(what: &str, words: &str, longest: usize) {
    assert!(!words.trim().is_empty(), "{what} is refused without a word");
    assert!(words.len() <= longest, "{what} is refused with {} bytes: {words:.300}", words.len());
    assert_shown(what, words);
}

/// A folder in memory where there is such a place: what is written there is synced over and over.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(Path::new("/dev/shm")).or_else(|_| tempfile::tempdir()).unwrap()
}

/// Runs on the thread's own runtime.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: tokio::runtime::Runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    }
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            let bounded = tokio::time::timeout(std::time::Duration::from_secs(60), future).await;
            bounded.expect("it waits without end")
        })
    })
}

//! Docker's config file with the logins in it.

use std::fs;

use sternway::agent::login::login_for;

use super::{assert_refusal, block_on, folder};

/// A secret of the seeds. It is in none of our words.
const SECRET: &str = "hunter2";

pub fn feed(data: &[u8]) {
    thread_local! { static DIR: tempfile::TempDir = folder(); }
    DIR.with(|dir| {
        let file = dir.path().join("config.json");
        fs::write(&file, data).unwrap();
        for host in ["docker.io", "r.example", "127.0.0.1:5000"] {
            match block_on(login_for(&file, host)) {
                Ok(found) => assert!(found.is_none_or(|login| format!("{login:?}") == "***"), "a login is printed"),
                Err(why) => {
                    assert_refusal("a docker config", &why, 1_024);
                    assert!(!why.contains(SECRET), "{why}");
                }
            }
        }
    });
}

//! Which composes there are: the machine's `docker-compose` and those that `tests/setup/compose.sh` fetches.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Debian testing has it today. When that moves on, no change of ours is to blame: it is said and skipped, also in CI.
const OF_TESTING: &str = "2.40.";

/// A compose program.
#[derive(Debug, Clone)]
pub(crate) struct Compose {
    pub(crate) program: PathBuf,
    /// As it tells itself, such as `1.29.2` or `2.26.1-4`.
    pub(crate) version: String,
}

impl Compose {
    fn at(program: PathBuf) -> Option<Self> {
        let said = Command::new(&program).args(["version", "--short"]).stdin(Stdio::null()).output().ok()?;
        let version = String::from_utf8_lossy(&said.stdout).trim().trim_start_matches('v').to_owned();
        (said.status.success() && !version.is_empty()).then_some(Self { program, version })
    }

    /// A version of this beginning, such as `2.26.1`; `None`, loudly, where it cannot be had.
    pub(crate) fn find(version: &str) -> Option<Self> {
        let names = std::env::var_os("PATH").unwrap_or_default();
        let here = std::env::split_paths(&names).filter_map(|folder| Self::at(folder.join("docker-compose")));
        let mut fitting = here.filter(|c| c.version.starts_with(version));
        if let Some(found) = fitting.next() {
            return Some(found);
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/compose.sh");
        let fetched = Command::new(script).arg(version).stdin(Stdio::null()).output().ok();
        let found = fetched.filter(|o| o.status.success()).and_then(|o| {
            let path = String::from_utf8_lossy(&o.stdout).trim().to_owned();
            Self::at(PathBuf::from(path))
        });
        if found.is_none() {
            let may = std::env::var_os("CI").is_none() || version.starts_with(OF_TESTING);
            assert!(may, "compose {version} cannot be had, and CI may not skip it");
            eprintln!("SKIPPED, NOT TESTED: compose {version} cannot be had");
        }
        found
    }
}

//! A clock that jumps: the bot's own, by libfaketime, with a file that says by how much. Only wall time: what counts how
//! long something took goes on as before, as it does when somebody sets a real clock.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The library and what it reads.
pub(crate) struct FakeClock {
    library: PathBuf,
    file: PathBuf,
}

impl FakeClock {
    /// As the machine's; `None`, loudly, where the library cannot be had.
    pub(crate) fn find(folder: &Path) -> Option<Self> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/faketime.sh");
        let said = Command::new(script).stdin(Stdio::null()).output().ok().filter(|o| o.status.success());
        let Some(said) = said else {
            assert!(std::env::var_os("CI").is_none(), "libfaketime cannot be had, and CI may not skip it");
            eprintln!("SKIPPED, NOT TESTED: jumps of the clock need libfaketime");
            return None;
        };
        let library = PathBuf::from(String::from_utf8_lossy(&said.stdout).trim());
        let clock = Self { library, file: folder.join("clock") };
        clock.set(0);
        Some(clock)
    }

    /// So many hours before or after the machine's time from now on.
    pub(crate) fn set(&self, hours: i64) {
        let next = self.file.with_extension("next");
        std::fs::write(&next, format!("{hours:+}h\n")).expect("a file of ours");
        std::fs::rename(&next, &self.file).expect("same folder");
    }

    /// For the process whose clock it is.
    pub(crate) fn environment(&self) -> Vec<(String, String)> {
        let path = |p: &Path| p.to_string_lossy().into_owned();
        [
            ("LD_PRELOAD", path(&self.library)),
            ("FAKETIME_TIMESTAMP_FILE", path(&self.file)),
            ("FAKETIME_NO_CACHE", "1".to_owned()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
            ("DONT_FAKE_MONOTONIC", "1".to_owned()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .to_vec()
    }
}

//! A folder with a log in it, opened as often as a test wants.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sternway::clock::ManualClock;
use sternway::store::files::{FileLog, OpenError, OpenOptions, OpenReport};

use super::samples::at;

pub struct Folder {
    dir: tempfile::TempDir,
}

impl Folder {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().expect("a temporary folder") }
    }

    pub fn path(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    pub fn open(&self) -> FileLog {
        self.open_with(options()).expect("it opens").0
    }

    pub fn reopen(&self) -> (FileLog, OpenReport) {
        self.open_with(options()).expect("it opens")
    }

    pub fn open_with(&self, options: OpenOptions) -> Result<(FileLog, OpenReport), OpenError> {
        FileLog::open(self.path(), options)
    }

    pub fn segment(&self, first: u64) -> PathBuf {
        self.path().join("log").join(format!("{first:012}.log"))
    }
}

/// Small sizes: what production has would make every test write 64 MB.
pub fn options() -> OpenOptions {
    let mut options = OpenOptions::new(Arc::new(ManualClock::at(at(0))), "0.0-test", "test-host");
    options.ballast_bytes = 2 * 1024 * 1024;
    options
}

pub fn lines_of(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).expect("a segment").lines().map(str::to_owned).collect()
}

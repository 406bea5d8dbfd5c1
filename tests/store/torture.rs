//! Chance that can be replayed, the length of the form that runs, and children that are killed.
//!
//! `STERNWAY_TORTURE=1` runs the long forms (`make torture`); `STERNWAY_SEED=N` replays one seed, which every failure
//! names.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use sternway::store::line::Line;
use sternway::store::verify::verify;

/// Numbers that look random and are the same for the same seed (splitmix64).
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) % sides.max(1) as u64).expect("less than sides")
    }

    pub fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }
}

pub fn is_long() -> bool {
    std::env::var_os("STERNWAY_TORTURE").is_some()
}

/// How often: in CI, and in the long form.
pub fn times(short: usize, long: usize) -> usize {
    if is_long() { long } else { short }
}

/// A fixed seed and a fresh one, or the one to be replayed. Printed, so that a failure can be.
pub fn seeds(what: &str) -> Vec<u64> {
    let given = std::env::var_os("STERNWAY_SEED").map(|s| s.to_str().and_then(|s| s.parse().ok()).expect("a number"));
    let fresh = || std::collections::hash_map::RandomState::new().build_hasher().finish() % 1_000_000;
    let seeds = given.map_or_else(|| vec![1, fresh()], |seed| vec![seed]);
    eprintln!("{what}: seeds {seeds:?}; STERNWAY_SEED=N replays one");
    seeds
}

/// This test program again, for one of its entries for children.
pub fn child(entry: &str, variable: &str, value: &std::ffi::OsStr) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    prepare(&mut command, entry, variable, value);
    command
}

/// The arguments of such a child, for another program that starts it.
pub fn prepare(command: &mut Command, entry: &str, variable: &str, value: &std::ffi::OsStr) {
    command
        .args(["--exact", entry, "--nocapture", "--test-threads=1"])
        .env(variable, value)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
}

/// What children said was acknowledged: hashes by position, cursors by surface.
#[derive(Debug, Default, Clone)]
pub struct Acknowledged {
    pub records: BTreeMap<u64, String>,
    pub cursor: u64,
}

impl Acknowledged {
    /// Takes a line of a child's output; true when it acknowledges a record. The test harness may have written
    /// before it in the same line; a kill may have cut it.
    pub fn hear(&mut self, line: &str) -> bool {
        let mut words = line.split_whitespace().skip_while(|w| !w.ends_with("acked") && !w.ends_with("cursor"));
        match (words.next(), words.next().and_then(|p| p.parse().ok()), words.next()) {
            (Some(what), Some(position), Some(hash)) if what.ends_with("acked") && hash.len() == 64 => {
                self.records.insert(position, hash.to_owned());
                true
            }
            (Some(what), Some(position), Some(".")) if what.ends_with("cursor") => {
                self.cursor = position;
                false
            }
            _ => false,
        }
    }

    /// Whether the segment files hold every acknowledged record, in a chain without a flaw.
    pub fn is_in(&self, store: &Path) -> Result<u64, String> {
        if self.records.is_empty() {
            return Ok(0);
        }
        let verified = verify(store).map_err(|damage| damage.to_string())?;
        let lines = lines_in(store);
        for (position, hash) in &self.records {
            match lines.get(position) {
                Some(found) if found == hash => {}
                other => return Err(format!("record {position} was acknowledged as {hash:.12}…, there is {other:?}")),
            }
        }
        Ok(verified.records)
    }
}

/// Hash by position, as it stands in the segment files.
fn lines_in(store: &Path) -> BTreeMap<u64, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(store.join("log")).expect("listed") {
        let bytes = std::fs::read(entry.expect("an entry").path()).expect("read");
        for line in bytes.split(|b| *b == b'\n') {
            if let Some(line) = Line::cut(line) {
                found.insert(line.seq, line.hash.to_string());
            }
        }
    }
    found
}

/// A child that is gone, at the latest when the test has failed.
pub struct Running {
    pub child: Child,
    pub lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::null()).spawn().expect("the child starts");
        let lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        Self { child, lines }
    }

    /// Kills it and hears what it had still said.
    pub fn kill(mut self, acked: &mut Acknowledged) {
        self.child.kill().expect("it is killed");
        while let Some(Ok(line)) = self.lines.next() {
            acked.hear(&line);
        }
        self.child.wait().expect("it is gone");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A copy of a folder and what is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("made");
    for entry in std::fs::read_dir(from).expect("listed") {
        let entry = entry.expect("an entry");
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().expect("a kind").is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("copied");
        }
    }
}

/// Whether strace and what makes file systems are here; installs them where that is possible.
pub fn tools_are_here() -> bool {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/strace.sh");
    static READY: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    let ensure = || Command::new(script).arg("ensure").stdin(Stdio::null()).status().is_ok_and(|s| s.success());
    *READY.get_or_init(ensure)
}

//! An engine that a test starts for itself by `tests/setup/engine.sh`, beside the one that it was given: of the same
//! program with another image store, or the machine's own. It ends when the test ends, also when that dies.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sternway::agent::StoreKind;

/// What `engines.sh` says about the engine that the suite was given: the folder with its programs.
const PROGRAMS: &str = "STERNWAY_ENGINE_BIN";

/// Whose dockerd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// The one of the engine that the suite was given; it has both image stores.
    Given,
    /// The machine's, with a graph driver.
    Machines,
}

/// A running engine.
pub(crate) struct OwnEngine {
    pub(crate) host: String,
    child: Child,
}

impl OwnEngine {
    /// Whether the engine that the suite was given can be started once more, with either store. Loud where not.
    pub(crate) fn possible(what: &str) -> bool {
        let possible = std::env::var_os(PROGRAMS).is_some() && rustix::process::getuid().is_root();
        if !possible {
            println!(
                "SKIPPED, NOT TESTED: {what}: this engine is not one of `make engines`, which can be started again with \
                 the other image store"
            );
        }
        possible
    }

    /// Starts one whose data are in this folder, and stay there when it ends.
    pub(crate) async fn start(program: Program, store: StoreKind, folder: &Path) -> Self {
        let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/setup/engine.sh"));
        let log = folder.join("engine.log");
        let says = std::fs::File::options().create(true).append(true).open(&log).expect("a file of ours");
        command.args(["run", "--", "sh", "-c", r#"echo "$DOCKER_HOST"; exec cat"#]);
        command.env("STERNWAY_ENGINE_DIR", folder).env("STERNWAY_ENGINE_KEEP", "1").env_remove("DOCKER_HOST");
        match store {
            StoreKind::Containerd => command.env("STERNWAY_ENGINE_STORE", "containerd"),
            StoreKind::GraphDriver => command.env("STERNWAY_ENGINE_STORE", "graph"),
        };
        if program == Program::Machines {
            // The same folder, so that it is an engine of its own whatever else answers on this machine.
            let found = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
                .chain([PathBuf::from("/usr/sbin")])
                .find(|folder| folder.join("dockerd").exists());
            command.env(PROGRAMS, found.expect("the machine has a dockerd")).env_remove("STERNWAY_ENGINE_STORE");
        }
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(says).spawn().expect("engine.sh can be run");
        let mut told = BufReader::new(child.stdout.take().expect("piped"));
        // Bounded by the script's own limits.
        let line = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            told.read_line(&mut line).map(|_| line)
        });
        let host = line.await.expect("it is not cancelled").expect("a pipe").trim().to_owned();
        if host.is_empty() {
            let code = child.wait().expect("a child of ours");
            panic!("{program:?} with {store:?}: {code}: {}", std::fs::read_to_string(&log).unwrap_or_default());
        }
        Self { host, child }
    }

    /// Stops it; its data stay.
    pub(crate) fn stop(self) {
        drop(self);
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        // The end of its input is the end of the command for which it runs.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

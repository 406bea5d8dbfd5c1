//! The engine that is had for bad nights: started by the test, killed by SIGKILL as often as wanted, brought back on the
//! same data, with the same socket, flags and containerd of its own. Never the machine's.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

use bollard::Docker;
use rustix::process::{Pid, Signal, kill_process};
use sternway::agent::StoreKind;

use crate::disk::SmallDisk;
use crate::own_engine::{OwnEngine, Program};
use crate::shop::until;

/// A running engine of the test's own.
pub(crate) struct Lab {
    pub(crate) host: String,
    folder: PathBuf,
    command: Vec<String>,
    /// Its process where we started it ourselves, after a kill.
    again: Mutex<Option<Child>>,
    // In the order of their ends.
    _engine: OwnEngine,
    disk: Option<SmallDisk>,
    _folder: tempfile::TempDir,
}

/// Whether an engine can be started and killed here. Loud where not.
pub(crate) fn possible() -> bool {
    let names = std::env::var_os("PATH").unwrap_or_default();
    let dockerd = std::env::split_paths(&names).chain([PathBuf::from("/usr/sbin")]).any(|f| f.join("dockerd").exists());
    let possible = dockerd && rustix::process::getuid().is_root();
    if !possible {
        assert!(std::env::var_os("CI").is_none(), "CI must have these nights: root and a dockerd are needed");
        eprintln!("SKIPPED, NOT TESTED: bad nights need root and a dockerd that can be killed");
    }
    possible
}

impl Lab {
    /// Starts it, with its data on a small disk if wanted.
    pub(crate) async fn open(small: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().join("engine");
        std::fs::create_dir(&at).expect("a folder of ours");
        let disk = small.then(|| SmallDisk::mount(&folder.path().join("disk.img"), &at.join("data")));
        let engine = OwnEngine::start(Program::Machines, StoreKind::GraphDriver, &at).await;
        let (pid, _) = own(&at);
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("it runs");
        let command = command.split_terminator('\0').map(str::to_owned).collect();
        let host = engine.host.clone();
        Self { host, folder: at, command, again: Mutex::default(), _engine: engine, disk, _folder: folder }
    }

    /// Its small disk.
    pub(crate) fn disk(&self) -> &SmallDisk {
        self.disk.as_ref().expect("an engine with a small disk")
    }

    /// SIGKILL to dockerd, and to its containerd as well if wanted.
    pub(crate) fn kill(&self, containerd: bool) {
        let (pid, run) = own(&self.folder);
        kill(pid);
        if containerd && let Some(pid) = number_in(&run.join("exec/containerd/containerd.pid")) {
            kill(pid);
        }
    }

    /// Starts it again after a kill; it answers when this returns.
    pub(crate) async fn bring_back(&self) {
        let (pid, run) = own(&self.folder);
        until("the killed engine to be gone", async || is_gone(pid)).await;
        // Its containerd goes with it. dockerd takes a number that answers for a containerd that runs, a zombie's too.
        let of_containerd = run.join("exec/containerd/containerd.pid");
        if let Some(pid) = number_in(&of_containerd) {
            until("its containerd to be gone", async || is_gone(pid)).await;
            let _ = std::fs::remove_file(&of_containerd);
        }
        if let Some(mut child) = self.again.lock().unwrap().take() {
            let _ = child.wait();
        }
        // Who has its number now is not an engine.
        let _ = std::fs::remove_file(run.join("docker.pid"));
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("dockerd.log"));
        let log = log.expect("a file of ours");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = format!("{}:/usr/sbin:/sbin", path.to_string_lossy());
        let child = Command::new("setsid")
            .args(&self.command)
            .env("PATH", path)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log)
            .spawn()
            .expect("dockerd can be started again");
        // engine.sh ends whom this file names.
        let owned = format!("{} {}\n", child.id(), run.display());
        std::fs::write(self.folder.join("own"), owned).expect("it is ours");
        *self.again.lock().unwrap() = Some(child);
        let docker = Docker::connect_with_host(&self.host).expect("a socket");
        until("the engine to be back", async || match docker.ping().await {
            Ok(_) => Ok(()),
            Err(why) => Err(format!("{why}: {}", crate::bot::last_lines(&self.folder.join("dockerd.log")))),
        })
        .await;
    }
}

/// What `engine.sh` notes of the engine that runs: its process and its run folder.
fn own(folder: &Path) -> (i32, PathBuf) {
    let text = std::fs::read_to_string(folder.join("own")).expect("engine.sh notes what it started");
    let (pid, run) = text.trim().split_once(' ').expect("pid and folder");
    (pid.parse().expect("a pid"), PathBuf::from(run))
}

fn number_in(file: &Path) -> Option<i32> {
    std::fs::read_to_string(file).ok()?.trim().parse().ok()
}

/// A zombie is gone: its parent has not looked yet.
fn is_gone(pid: i32) -> Result<(), String> {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) if !stat.contains(") Z ") => Err(stat),
        _ => Ok(()),
    }
}

fn kill(pid: i32) {
    let _ = kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL);
}

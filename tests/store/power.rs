//! The power goes: the writer is frozen at any moment and the disk under its file system copied. The copy, mounted as
//! after a power cut, holds every acknowledged record.
//!
//! Needs root and loop devices; skips loudly without, and not where `CI` is set.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use sternway::domain::event::Event;
use sternway::domain::ids::Position;
use sternway::store::Log;
use sternway::store::files::{FileLog, IndexOutcome};

use super::crash::{CHILD, ENTRY};
use super::samples::*;
use super::torture::{Acknowledged, Dice, Running, child, seeds, times, tools_are_here};
use super::world::options;

/// Power cuts in one life of a disk, before it is made anew.
const ON_ONE_DISK: usize = 6;

/// Room for some thousand records and a sled index.
const DISK: &str = "48M";

fn run(program: &str, args: &[&str]) -> Result<(), String> {
    let out = Command::new(program).args(args).output().map_err(|e| format!("{program}: {e}"))?;
    match out.status.success() {
        true => Ok(()),
        false => Err(format!("{program} {args:?}: {}", String::from_utf8_lossy(&out.stderr).trim())),
    }
}

/// A file system of its own, in a file, over a loop device.
struct Mounted {
    folder: PathBuf,
}

impl Mounted {
    fn mount(image: &Path, folder: PathBuf) -> Result<Self, String> {
        std::fs::create_dir_all(&folder).map_err(|e| e.to_string())?;
        run("mount", &["-o", "loop", &image.to_string_lossy(), &folder.to_string_lossy()])?;
        Ok(Self { folder })
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let folder = self.folder.to_string_lossy();
        // Lazily only when somebody is still in it: a disk that lingers would be seen again in the next copy.
        if run("umount", &[&folder]).is_err() {
            let _ = run("umount", &["-l", &folder]);
        }
    }
}

struct Disk {
    // Unmounted before the folder goes.
    mounted: Mounted,
    image: PathBuf,
    dir: tempfile::TempDir,
}

impl Disk {
    fn make() -> Result<Self, String> {
        let dir = tempfile::tempdir().expect("a folder");
        let image = dir.path().join("disk");
        run("truncate", &["-s", DISK, &image.to_string_lossy()])?;
        run("mkfs.ext4", &["-q", "-F", &image.to_string_lossy()])?;
        let mounted = Mounted::mount(&image, dir.path().join("mounted"))?;
        Ok(Self { mounted, image, dir })
    }

    fn store(&self) -> PathBuf {
        self.mounted.folder.join("store")
    }
}

#[test]
fn thirty_power_cuts_lose_nothing_that_was_acknowledged() {
    let possible = if tools_are_here() { Disk::make().map(drop) } else { Err("no mkfs.ext4".to_owned()) };
    if let Err(why) = possible {
        assert!(std::env::var_os("CI").is_none(), "CI must run the power cuts: {why}");
        eprintln!("SKIPPED: power cuts need root and loop devices: {why}");
        return;
    }
    let (mut cuts, mut records, mut fresh) = (0, 0, 0);
    let seeds = seeds("power cuts");
    for seed in &seeds {
        let mut dice = Dice(*seed);
        let rounds = times(30, 200).div_ceil(seeds.len());
        let mut round = 0;
        while round < rounds {
            let disk = Disk::make().expect("made before");
            let mut acked = Acknowledged::default();
            let mut writer = Running::start(child(ENTRY, CHILD, disk.store().as_os_str()));
            for on_this in 0..ON_ONE_DISK.min(rounds - round) {
                // The first of a disk falls on the creation of the store or soon after.
                let until = if on_this == 0 { dice.roll(3) } else { dice.roll(60) };
                let mut own = 0;
                loop {
                    let line = writer.lines.next().expect("the writer writes").expect("text");
                    own += usize::from(acked.hear(&line));
                    if own >= until && (own > 0 || line.ends_with("begins")) {
                        break;
                    }
                }
                let told = format!("seed {seed}, round {round}, after {} acknowledgements", acked.records.len());
                records += cut(&disk, &writer, &acked).unwrap_or_else(|why| panic!("{told}: {why}"));
                fresh += usize::from(acked.records.is_empty());
                cuts += 1;
                round += 1;
            }
        }
    }
    eprintln!(
        "power cuts: {cuts} cuts ({fresh} before the first acknowledgement), {records} acknowledged records found again, 0 lost"
    );
}

/// Freezes the writer, copies the disk, lets the writer go on, and opens the store on the copy.
fn cut(disk: &Disk, writer: &Running, acked: &Acknowledged) -> Result<usize, String> {
    // Removed at the end, each a file of its own.
    let copies = tempfile::tempdir_in(disk.dir.path()).map_err(|e| e.to_string())?;
    let copy = copies.path().join("disk");
    let pid = Pid::from_child(&writer.child);
    kill_process(pid, Signal::STOP).map_err(|e| e.to_string())?;
    let copied = run("cp", &["--sparse=always", &disk.image.to_string_lossy(), &copy.to_string_lossy()]);
    kill_process(pid, Signal::CONT).map_err(|e| e.to_string())?;
    copied?;
    let after = Mounted::mount(&copy, copies.path().join("after"))?;
    let store = after.folder.join("store");
    let mut options = options();
    options.ballast_bytes = 256 * 1024;
    let (log, report) = FileLog::open(&store, options).map_err(|e| e.to_string())?;
    if matches!(report.index, IndexOutcome::InMemory { .. }) {
        return Err(format!("no index: {report:?}"));
    }
    let read = log.read(Position(0), usize::MAX).map_err(|e| e.to_string())?;
    let requests = read.iter().filter(|r| matches!(r.event, Event::Invoked { .. })).count();
    let runs = log.runs(usize::MAX).map_err(|e| e.to_string())?.len();
    if runs != requests {
        return Err(format!("{requests} requests in the log, {runs} runs in the index"));
    }
    let cursor = log.outbox_cursor("slack").map_err(|e| e.to_string())?.0;
    if cursor < acked.cursor {
        return Err(format!("the cursor went back from {} to {cursor}", acked.cursor));
    }
    // It goes on.
    let runtime = tokio::runtime::Builder::new_current_thread().build().map_err(|e| e.to_string())?;
    runtime.block_on(log.append(None, vec![new_run("after", "shop")])).map_err(|e| e.to_string())?;
    log.close();
    acked.is_in(&store)?;
    Ok(acked.records.len())
}

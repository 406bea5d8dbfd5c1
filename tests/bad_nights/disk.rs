//! A file system of an engine's own: a loop device, so small that it can be filled, and large enough that the agent does
//! not refuse to begin.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Room for images, containers and the floor below which nothing is begun (256 MiB), and some.
const SIZE: u64 = 640 * 1024 * 1024;

/// Mounted; unmounted when dropped.
pub(crate) struct SmallDisk {
    at: PathBuf,
}

fn run(program: &str, arguments: &[&str], path: &Path, more: &[&Path]) {
    let done = Command::new(program).args(arguments).arg(path).args(more).output();
    let done = done.unwrap_or_else(|e| panic!("{program} cannot be run: {e}"));
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}

impl SmallDisk {
    pub(crate) fn mount(file: &Path, at: &Path) -> Self {
        std::fs::create_dir_all(at).expect("a folder of ours");
        File::create(file).and_then(|f| f.set_len(SIZE)).expect("a file of ours");
        run("mkfs.ext4", &["-q", "-F", "-m", "0"], file, &[]);
        run("mount", &["-o", "loop"], file, &[at]);
        Self { at: at.to_owned() }
    }

    fn filler(&self) -> PathBuf {
        self.at.join("filler")
    }

    /// Takes all that is free but so much.
    pub(crate) fn fill(&self, but: u64) {
        let file = File::options().create(true).append(true).open(self.filler()).expect("room for a name");
        let mut size = 64 * 1024 * 1024;
        while size >= 1024 {
            let end = file.metadata().expect("it is open").len();
            if self.free() < but + size
                || rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), end, size).is_err()
            {
                size /= 2;
            }
        }
        // What is left of single blocks, where nothing is to be left.
        let block = [0x55; 512];
        while but == 0 && std::io::Write::write_all(&mut &file, &block).is_ok() {}
    }

    fn free(&self) -> u64 {
        rustix::fs::statvfs(&self.at).map_or(0, |s| s.f_bavail * s.f_frsize)
    }

    pub(crate) fn make_room(&self) {
        let _ = std::fs::remove_file(self.filler());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.at).output();
    }
}

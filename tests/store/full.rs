//! A disk that is full or fails: nothing acknowledged is lost, a run that has begun is told to its end, and
//! everything goes on by itself afterwards.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sternway::domain::event::Event;
use sternway::domain::ids::{Position, RunId};
use sternway::store::files::disk::{Disk, HostDisk, SegmentFile};
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::verify::verify;
use sternway::store::{About, AppendError, Draft, Log};

use super::samples::*;
use super::world::{Folder, options};

/// What goes wrong next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// Every sync fails.
    Sync,
    /// Every write gets half of its bytes down, then fails.
    HalfWrite,
    /// Only so many bytes can still be written; the ballast counts.
    Room(u64),
}

/// A disk that fails when told to.
#[derive(Clone)]
struct BadDisk {
    trouble: Arc<Mutex<Trouble>>,
    ballast: PathBuf,
}

impl BadDisk {
    fn set(&self, trouble: Trouble) {
        *self.trouble.lock().expect("not poisoned") = trouble;
    }

    fn take_room(&self, bytes: u64) -> io::Result<()> {
        let mut trouble = self.trouble.lock().expect("not poisoned");
        if let Trouble::Room(room) = &mut *trouble {
            // A ballast that is gone has given its room back.
            let given = if self.ballast.exists() { 0 } else { 1_000_000 };
            if *room + given < bytes {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        Ok(())
    }

    fn now(&self) -> Trouble {
        *self.trouble.lock().expect("not poisoned")
    }
}

struct BadFile {
    disk: BadDisk,
    inner: Box<dyn SegmentFile>,
    failed: bool,
}

impl Disk for BadDisk {
    fn append_to(&self, file: &Path, length: u64) -> io::Result<Box<dyn SegmentFile>> {
        let inner = HostDisk.append_to(file, length)?;
        Ok(Box::new(BadFile { disk: self.clone(), inner, failed: false }))
    }

    fn occupy(&self, file: &Path, bytes: u64) -> io::Result<()> {
        match self.now() {
            Trouble::Room(_) => Err(io::ErrorKind::StorageFull.into()),
            _ => HostDisk.occupy(file, bytes),
        }
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        match self.now() {
            Trouble::Room(_) => Ok(0),
            _ => HostDisk.free(folder),
        }
    }
}

impl SegmentFile for BadFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        assert!(!self.failed, "a handle that failed was used again");
        self.failed = true;
        self.disk.take_room(bytes.len() as u64)?;
        if self.disk.now() == Trouble::HalfWrite {
            self.inner.write(&bytes[..bytes.len() / 2])?;
            return Err(io::Error::other("half of it"));
        }
        self.inner.write(bytes)?;
        self.failed = false;
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        assert!(!self.failed, "a handle that failed was used again");
        if self.disk.now() == Trouble::Sync {
            self.failed = true;
            return Err(io::Error::other("the drive is gone"));
        }
        self.inner.sync()
    }
}

fn with_bad_disk(folder: &Folder) -> (BadDisk, OpenOptions) {
    let disk = BadDisk { trouble: Arc::new(Mutex::new(Trouble::None)), ballast: folder.path().join("ballast") };
    let options = OpenOptions { disk: Arc::new(disk.clone()), ..options() };
    (disk, options)
}

/// Asks until the log is well again, bounded.
pub async fn until_well(log: &FileLog) {
    let mut often = tokio::time::interval(Duration::from_millis(20));
    for _ in 0..500 {
        often.tick().await;
        if log.trouble().is_none() {
            return;
        }
    }
    panic!("it is still in trouble: {:?}", log.trouble());
}

async fn write(log: &FileLog, draft: Draft) -> Result<Position, AppendError> {
    log.append(None, vec![draft]).await.map(|records| records[0].position)
}

async fn claim(log: &FileLog, event: &str, stack: &str) -> RunId {
    let run = RunId(write(log, new_run(event, stack)).await.expect("written"));
    for event in up_to_claim(stack) {
        write(log, in_run(run, event)).await.expect("written");
    }
    run
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_done_and_it_goes_on_by_itself() {
    for trouble in [Trouble::Sync, Trouble::HalfWrite] {
        let folder = Folder::new();
        let (disk, options) = with_bad_disk(&folder);
        let (log, _) = folder.open_with(options).expect("it opens");
        write(&log, new_run("e1", "shop")).await.expect("written");
        let head = log.head();

        disk.set(trouble);
        for event in ["e2", "e3"] {
            let error = write(&log, new_run(event, "shop")).await.expect_err("the disk fails");
            assert!(matches!(&error, AppendError::CannotWrite(why) if why.contains("nothing is done")), "{error}");
        }
        assert!(log.trouble().is_some(), "{trouble:?}: no trouble is told");
        assert_eq!((log.head(), log.seen("e2").expect("seen")), (head, None), "{trouble:?}");
        log.reserve(1).expect_err("room was promised in trouble");
        assert_eq!(log.read(Position(0), 9).expect("reading goes on").len(), 2);

        disk.set(Trouble::None);
        until_well(&log).await;
        assert_eq!(write(&log, new_run("e2", "shop")).await.expect("written"), Position(2), "{trouble:?}");
        log.close();
        let verified = verify(&folder.path()).expect("the chain holds");
        assert_eq!((verified.records, verified.torn), (3, None), "{trouble:?}");
    }
}

#[tokio::test]
async fn on_a_full_disk_a_run_that_holds_its_target_is_told_to_its_end_and_nothing_new_begins() {
    let folder = Folder::new();
    let (disk, options) = with_bad_disk(&folder);
    let (log, _) = folder.open_with(options).expect("it opens");
    log.reserve(20).expect("there is room");
    let run = claim(&log, "e1", "shop").await;
    let waiting = RunId(write(&log, new_run("e2", "blog")).await.expect("written"));
    write(&log, in_run(waiting, planned("blog"))).await.expect("written");

    disk.set(Trouble::Room(0));
    for new in [new_run("e3", "shop"), in_run(waiting, claimed("blog", None)), draft(About::Log, 0, said("e4"))] {
        let error = write(&log, new.clone()).await.expect_err("the disk is full");
        assert!(error.to_string().contains("full"), "{new:?}: {error}");
    }
    assert!(folder.path().join("ballast").exists(), "the ballast was used for what it is not for");
    for event in to_the_end("shop") {
        write(&log, in_run(run, event.clone())).await.unwrap_or_else(|e| panic!("{event:?}: {e}"));
    }
    assert!(!folder.path().join("ballast").exists(), "the room came from somewhere else");
    assert!(log.run(run).expect("answered").expect("on record").ended());
    let error = write(&log, new_run("e5", "shop")).await.expect_err("the ballast's room is not for new runs");
    assert!(error.to_string().contains("full"), "{error}");
    assert!(log.trouble().is_some_and(|why| why.contains("full")), "{:?}", log.trouble());

    disk.set(Trouble::None);
    until_well(&log).await;
    assert!(folder.path().join("ballast").exists(), "no room is kept again");
    log.reserve(20).expect("there is room again");
    write(&log, in_run(waiting, claimed("blog", None))).await.expect("written");
    log.close();
    verify(&folder.path()).expect("the chain holds");
}

#[tokio::test]
async fn more_room_than_is_kept_is_not_promised() {
    let folder = Folder::new();
    let log = folder.open();
    // 2 MiB are kept, 16 KiB counted per record.
    log.reserve(128).expect("that much is kept");
    let error = log.reserve(129).expect_err("that much is not");
    assert!(matches!(error, AppendError::CannotWrite(_)), "{error}");
    claim(&log, "e1", "shop").await;
    log.reserve(128).expect_err("the room of a run that has begun was promised again");
    log.reserve(100).expect("the rest is free");
}

/// A real file system of 8 MB, when this machine lets us mount one.
pub struct Small {
    pub dir: tempfile::TempDir,
}

impl Small {
    pub fn mount() -> Option<Self> {
        let dir = tempfile::tempdir().expect("a folder");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "none"])
            .arg(dir.path())
            .output()
            .is_ok_and(|out| out.status.success());
        mounted.then_some(Self { dir })
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.dir.path()).output();
    }
}

#[tokio::test]
async fn a_really_full_disk_loses_nothing_and_recovers_when_there_is_room() {
    let Some(small) = Small::mount() else {
        eprintln!("SKIPPED: no file system can be mounted here (not root?)");
        return;
    };
    let store = small.dir.path().join("store");
    let (log, _) = FileLog::open(&store, options()).expect("it opens");
    let run = claim(&log, "e1", "shop").await;
    // Somebody else fills the disk to the last byte.
    let hog = small.dir.path().join("hog");
    let filled = io::copy(&mut io::repeat(1), &mut std::fs::File::create(&hog).expect("made"));
    assert_eq!(filled.expect_err("it is full").kind(), io::ErrorKind::StorageFull);

    let mut acked = log.head().position.0;
    let mut refused = 0;
    for n in 0..40 {
        match write(&log, new_run(&format!("f{n}"), "shop")).await {
            Ok(position) => acked = position.0,
            Err(AppendError::CannotWrite(_)) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "the disk was never full");
    for event in to_the_end("shop") {
        let position = write(&log, in_run(run, event.clone())).await.unwrap_or_else(|e| panic!("{event:?}: {e}"));
        assert!(position.0 > acked, "positions went back");
        acked = position.0;
    }
    log.close();

    // A restart on the full disk serves; what it cannot do is begin something.
    let (log, report) = FileLog::open(&store, options()).expect("it opens on a full disk");
    assert_eq!(log.run(run).expect("answered").map(|r| r.ended()), Some(true), "{report:?}");
    assert!(log.head().position.0 >= acked, "{acked} was acknowledged, the head is {:?}", log.head());

    std::fs::remove_file(&hog).expect("removed");
    until_well(&log).await;
    write(&log, new_run("after", "shop")).await.expect("written");
    log.close();
    verify(&store).expect("the chain holds");
    let (log, _) = FileLog::open(&store, options()).expect("it opens");
    assert!(log.seen("after").expect("answered").is_some());
}

#[tokio::test]
async fn a_closed_log_refuses_and_says_so() {
    let folder = Folder::new();
    let log = folder.open();
    log.close();
    let error = write(&log, draft(About::Log, 0, Event::Stopped)).await.expect_err("it is closed");
    assert!(error.to_string().contains("closed"), "{error}");
    folder.open();
}

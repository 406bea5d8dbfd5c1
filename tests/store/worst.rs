//! The nights that were thought of: a write that can neither be made nor taken back, a disk that never answers, two who
//! open at once, a clock that goes back, a rest of a change of segment.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use sternway::clock::ManualClock;
use sternway::domain::event::{Event, Subject};
use sternway::domain::ids::{ApprovalId, Position, RunId};
use sternway::domain::run::{Status, StepState};
use sternway::store::files::disk::{Disk, HostDisk, SegmentFile};
use sternway::store::files::{FileLog, IndexOutcome, OpenError, OpenOptions};
use sternway::store::verify::verify;
use sternway::store::{About, AppendError, Log};

use super::crash::{CHILD, ENTRY};
use super::samples::*;
use super::torture::{Acknowledged, Running, child, copy};
use super::world::{Folder, options};

/// A disk that takes the bytes, fails the sync, and then takes nothing back; or one that does not answer at all.
#[derive(Clone, Default)]
struct Dying {
    dead: Arc<AtomicBool>,
    stalls: Arc<(Mutex<bool>, Condvar)>,
}

impl Dying {
    fn stall(&self, on: bool) {
        *self.stalls.0.lock().expect("not poisoned") = on;
        self.stalls.1.notify_all();
    }

    fn answer(&self) {
        let mut stalls = self.stalls.0.lock().expect("not poisoned");
        while *stalls {
            stalls = self.stalls.1.wait(stalls).expect("not poisoned");
        }
    }

    fn fail(&self) -> io::Result<()> {
        self.answer();
        if self.dead.load(Ordering::Acquire) { Err(io::Error::other("the drive is gone")) } else { Ok(()) }
    }

    fn options(&self) -> OpenOptions {
        OpenOptions { disk: Arc::new(self.clone()), queue: 4, ..options() }
    }
}

impl Disk for Dying {
    fn append_to(&self, file: &Path, length: u64) -> io::Result<Box<dyn SegmentFile>> {
        self.fail()?;
        Ok(Box::new(DyingFile { disk: self.clone(), inner: HostDisk.append_to(file, length)? }))
    }

    fn occupy(&self, file: &Path, bytes: u64) -> io::Result<()> {
        HostDisk.occupy(file, bytes)
    }

    fn free(&self, folder: &Path) -> io::Result<u64> {
        HostDisk.free(folder)
    }
}

struct DyingFile {
    disk: Dying,
    inner: Box<dyn SegmentFile>,
}

impl SegmentFile for DyingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.inner.write(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.disk.fail()?;
        self.inner.sync()
    }
}

/// A run up to where the next record is the one that matters.
async fn run_up_to(log: &FileLog, events: &[Event]) -> RunId {
    let run = RunId(log.append(None, vec![new_run("e1", "shop")]).await.expect("written")[0].position);
    for event in events {
        log.append(None, vec![in_run(run, event.clone())]).await.expect("written");
    }
    run
}

/// Whoever was told that nothing is done must also be told that it may be found; and what is found is as if it had been
/// acknowledged: whole, and nothing acts on less than was asked and agreed to.
#[tokio::test]
async fn what_could_neither_be_written_nor_taken_back_is_told_as_such_and_is_whole_when_it_is_found() {
    let ask = Event::ApprovalAsked { plan_hash: plan_hash("shop"), needs: needs(), expires: at(900) };
    let (plan, claim) = (planned("shop"), claimed("shop", None));
    let passed = Event::Passed { plan_hash: plan_hash("shop") };
    // The question is the third record: genesis, request, plan, question.
    let vote = approved(ApprovalId(Position(3)), "shop", "bashir");
    type Found = fn(&sternway::domain::run::RunState) -> bool;
    let cases: [(&str, Vec<Event>, Event, Found); 4] = [
        ("a vote", vec![plan.clone(), ask], vote, |run| {
            // One vote more, and nothing granted by it: that is a record of its own.
            run.approval.as_ref().is_some_and(|a| a.votes.len() == 1 && a.granted.is_none()) && run.claim.is_none()
        }),
        ("a claim", vec![plan.clone()], claim.clone(), |run| {
            // The stack is held; no step may be ordered before the plan was made and compared once more.
            matches!(run.status, Status::Claimed) && run.holds_claim() && run.steps.is_empty()
        }),
        ("an intent", vec![plan.clone(), claim.clone(), passed], Event::StepIntent { step: 0 }, |run| {
            // Perhaps ordered: recovery looks first (R4) and takes it back if need be (R5).
            matches!(run.steps.as_slice(), [StepState::Open])
        }),
        ("a cancellation", vec![plan, claim], Event::CancelAsked { by: person("bashir") }, |run| run.cancel.is_some()),
    ];
    for (what, before, last, found) in cases {
        let folder = Folder::new();
        let disk = Dying::default();
        let (log, _) = folder.open_with(disk.options()).expect("it opens");
        let run = run_up_to(&log, &before).await;
        let acknowledged = log.head();
        disk.dead.store(true, Ordering::Release);
        let error = log.append(None, vec![in_run(run, last.clone())]).await.expect_err("the disk is gone");
        let AppendError::CannotWrite(why) = &error else { panic!("{what}: {error}") };
        assert!(why.contains("nothing is done") && why.contains("may be found"), "{what}: {why}");
        assert_eq!(log.head(), acknowledged, "{what}: it counts");

        // The process dies now: a copy of the folder is what the next start finds.
        let after = tempfile::tempdir().expect("a folder");
        copy(&folder.path(), after.path());
        let (next, report) = FileLog::open(after.path(), options()).expect("it opens");
        assert_eq!((report.cut, next.head().position.0), (None, acknowledged.position.0 + 1), "{what}");
        let state = next.run(run).expect("answered").expect("on record");
        assert!(found(&state), "{what}: {state:?}");
        assert_eq!(next.read(next.head().position, 9).expect("read")[0].event, last, "{what}");
        let again = next.append(None, vec![in_run(run, last.clone())]).await;
        assert!(
            matches!(again, Err(AppendError::CannotFollow(_))) || what == "a cancellation",
            "{what} twice: {again:?}"
        );
        next.close();
        verify(after.path()).expect("the chain holds");

        // The process lives on: when the disk is well what was refused is gone, and may be asked for again.
        disk.dead.store(false, Ordering::Release);
        until(|| log.trouble().is_none()).await;
        assert_eq!(log.head(), acknowledged, "{what}");
        log.append(None, vec![in_run(run, last)]).await.expect("written");
        log.close();
        assert_eq!(verify(&folder.path()).expect("the chain holds").head.position.0, acknowledged.position.0 + 1);
    }
}

/// Asks until it is so, bounded.
async fn until(mut so: impl FnMut() -> bool) {
    let mut often = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..2_000 {
        often.tick().await;
        if so() {
            return;
        }
    }
    panic!("it never came");
}

/// The queue is full behind a write that the disk does not answer: closing gives up in time all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn closing_does_not_wait_for_a_disk_that_never_answers() {
    let folder = Folder::new();
    let disk = Dying::default();
    let (log, _) = folder.open_with(disk.options()).expect("it opens");
    let log = Arc::new(log);
    log.append(None, vec![new_run("e0", "shop")]).await.expect("written");
    disk.stall(true);
    let mut waiting = Vec::new();
    let busy = loop {
        let log = Arc::clone(&log);
        let event = format!("e{}", 1 + waiting.len());
        let mut append = tokio::spawn(async move { log.append(None, vec![new_run(&event, "shop")]).await });
        // Answered at once only when the queue is full.
        match tokio::time::timeout(Duration::from_millis(50), &mut append).await {
            Ok(answer) => break answer.expect("no panic"),
            Err(_) => waiting.push(append),
        }
        assert!(waiting.len() < 50, "the queue has no end");
    };
    assert!(matches!(busy, Err(AppendError::Busy)), "{busy:?}");

    let closing = tokio::task::spawn_blocking({
        let log = Arc::clone(&log);
        move || log.close()
    });
    tokio::time::timeout(Duration::from_secs(60), closing).await.expect("closing hangs").expect("no panic");
    let error = log.append(None, vec![new_run("late", "shop")]).await.expect_err("it is closed");
    assert!(error.to_string().contains("closed"), "{error}");
    // Nobody else may have it while its writer may still write.
    assert!(matches!(folder.open_with(options()), Err(OpenError::InUse { .. })));

    disk.stall(false);
    let mut acknowledged = 1;
    for append in waiting {
        let answer = tokio::time::timeout(Duration::from_secs(60), append).await.expect("no answer").expect("no panic");
        acknowledged += u64::from(answer.is_ok());
    }
    until(|| folder.open_with(options()).is_ok()).await;
    assert!(verify(&folder.path()).expect("the chain holds").head.position.0 >= acknowledged);
}

/// Also when somebody removed the file by which they would know of each other.
#[tokio::test]
async fn two_processes_never_have_one_store_even_without_its_lock_file() {
    let folder = Folder::new();
    let mut first = Running::start(child(ENTRY, CHILD, folder.path().as_os_str()));
    let mut acked = Acknowledged::default();
    while acked.records.is_empty() {
        acked.hear(&first.lines.next().expect("it writes").expect("text"));
    }
    let pid = first.child.id().to_string();
    let error = folder.open_with(options()).expect_err("it is held");
    assert!(matches!(&error, OpenError::InUse { pid: named, .. } if *named == pid), "{error}");
    fs::write(folder.path().join("lock"), b"\xff\xfe garbage").expect("written");
    let error = folder.open_with(options()).expect_err("it is held");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    fs::remove_file(folder.path().join("lock")).expect("removed");
    let error = folder.open_with(options()).expect_err("it is held");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    first.kill(&mut acked);
    folder.open().close();
    acked.is_in(&folder.path()).expect("nothing is lost");
}

/// Times in records may go back; positions and segments do not.
#[tokio::test]
async fn a_clock_that_jumps_either_way_changes_nothing_but_the_times() {
    let folder = Folder::new();
    let day = 24 * 60 * 60;
    let mut segments = 0;
    let mut written = Vec::new();
    for (n, second) in [400 * day, 0, -400 * day, 3, 900 * day, 900 * day - 1].into_iter().enumerate() {
        let clock = Arc::new(ManualClock::at(at(second)));
        let (log, report) = folder.open_with(OpenOptions { clock, ..options() }).expect("it opens");
        assert_eq!((report.cut, report.warnings), (None, Vec::new()), "at {second}");
        for k in 0..3 {
            let drafts =
                vec![draft(About::Log, second + 1 - 2 * k, Event::Stopped), new_run(&format!("{n}-{k}"), "shop")];
            written.extend(log.append(None, drafts).await.expect("written"));
        }
        assert_eq!(log.read(Position(1), 999).expect("read"), written, "at {second}");
        log.close();
        let now = fs::read_dir(folder.path().join("log")).expect("listed").count();
        assert!(now <= segments + 1, "at {second}: {now} segments after {segments}");
        segments = now;
    }
    verify(&folder.path()).expect("the chain holds");
}

/// What a crash between closing a segment and writing the next may leave, and what it may not.
#[tokio::test]
async fn a_segment_that_was_begun_and_never_written_is_begun_again() {
    let small = || OpenOptions { segment_bytes: 2_000, ..options() };
    let folder = Folder::new();
    let (log, _) = folder.open_with(small()).expect("it opens");
    let mut last = Position(0);
    while last.0 < 6 {
        last = log.append(None, vec![new_run(&format!("e{last}"), "shop")]).await.expect("written")[0].position;
    }
    log.close();
    for content in ["", "{\"seq\":\"0000", "\0\0\0\0\0\0\0\0"] {
        let after = tempfile::tempdir().expect("a folder");
        copy(&folder.path(), after.path());
        let next = after.path().join("log").join(format!("{:012}.log", last.0 + 1));
        fs::write(&next, content).expect("written");
        let (log, report) = FileLog::open(after.path(), small()).expect("it opens");
        assert_eq!(report.cut.is_some(), !content.is_empty(), "{content:?}: {report:?}");
        assert_eq!((log.head().position, report.index), (last, IndexOutcome::Ready), "{content:?}");
        for n in 0..6 {
            log.append(None, vec![new_run(&format!("after {n}"), "shop")]).await.expect("written");
        }
        log.close();
        let verified = verify(after.path()).expect("the chain holds");
        assert_eq!((verified.head.position.0, verified.torn), (last.0 + 6, None), "{content:?}");
        FileLog::open(after.path(), small()).expect("it opens");
    }
}

/// An index set aside before, of whatever kind, does not keep the next one from being set aside.
#[tokio::test]
async fn an_index_set_aside_before_is_replaced_whatever_it_is() {
    let folder = Folder::new();
    let log = folder.open();
    log.append(None, vec![new_run("e1", "shop")]).await.expect("written");
    log.close();
    let (index, aside) = (folder.path().join("index"), folder.path().join("index.aside"));
    let other = Folder::new();
    other.open().close();
    let broken = || {
        fs::remove_dir_all(&index).expect("removed");
        copy(&other.path().join("index"), &index);
    };
    type Before<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let befores: [Before<'_>; 4] = [
        ("a file", Box::new(|| fs::write(&aside, b"x").expect("written"))),
        ("a folder", Box::new(|| copy(&folder.path().join("log"), &aside))),
        ("a link", Box::new(|| std::os::unix::fs::symlink("/nowhere", &aside).expect("made"))),
        ("nothing", Box::new(|| ())),
    ];
    for (what, before) in befores {
        let _ = fs::remove_dir_all(&aside).or_else(|_| fs::remove_file(&aside));
        before();
        broken();
        let (log, report) = folder.reopen();
        assert!(matches!(report.index, IndexOutcome::Rebuilt { aside: Some(_), .. }), "{what}: {:?}", report.index);
        assert!(log.run(RunId(Position(1))).expect("answered").is_some(), "{what}");
        log.close();
        assert_eq!(folder.reopen().1.index, IndexOutcome::Ready, "{what}");
    }
    // The index itself was a file: set aside as one, and once more.
    for _ in 0..2 {
        fs::remove_dir_all(&index).expect("removed");
        fs::write(&index, b"x").expect("written");
        let (log, report) = folder.reopen();
        assert!(matches!(report.index, IndexOutcome::Rebuilt { .. }), "{:?}", report.index);
        log.close();
    }
}

/// A cursor that is ahead of the log would keep a surface silent until the log has caught up with it.
#[tokio::test]
async fn a_cursor_beyond_the_end_of_the_log_is_told_and_set_back() {
    let folder = Folder::new();
    let log = folder.open();
    for n in 0..4 {
        log.append(None, vec![new_run(&format!("e{n}"), "shop")]).await.expect("written");
    }
    log.set_outbox_cursor("slack", Position(4)).expect("kept");
    log.set_outbox_cursor("console", Position(2)).expect("kept");
    log.close();
    let lines = super::world::lines_of(&folder.segment(0));
    fs::write(folder.segment(0), lines[..4].join("\n") + "\n").expect("written");
    let (log, report) = folder.reopen();
    assert!(report.warnings.iter().any(|w| w.contains("slack") && w.contains("record 4")), "{:?}", report.warnings);
    let cursors = ["slack", "console"].map(|surface| log.outbox_cursor(surface).expect("kept"));
    assert_eq!(cursors, [Position(3), Position(2)]);
    let thread = log.thread(&Subject::Run(RunId(Position(3)))).expect("read");
    assert_eq!(thread.len(), 1);
}

/// The room that is promised is there: a ballast restored as holes is filled.
#[tokio::test]
async fn a_ballast_of_holes_is_filled() {
    use std::os::unix::fs::MetadataExt;
    let folder = Folder::new();
    folder.open().close();
    let ballast = folder.path().join("ballast");
    let size = options().ballast_bytes;
    fs::remove_file(&ballast).expect("removed");
    fs::File::create(&ballast).expect("made").set_len(size).expect("all holes");
    assert!(fs::metadata(&ballast).expect("there").blocks() * 512 < size);
    let log = folder.open();
    assert!(fs::metadata(&ballast).expect("there").blocks() * 512 >= size, "the room is not there");
    log.reserve(20).expect("there is room");
}

//! Every file-changing system call of opening and writing, one after the other: the process is killed at it, or it
//! fails. Counted first in a life that nothing interrupts, then aimed at with strace.
//!
//! strace counts calls per thread and per path (`-P`), so a point is a life, a call, a file and a number. Where several
//! of sled's threads call on the same file, a number is the first thread's to reach it; it is tried once per call counted.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::time::Duration;

use sternway::domain::ids::Position;
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::{AppendError, Draft, Log, Record};

use super::samples::*;
use super::torture::{Acknowledged, Dice, copy, is_long, prepare, seeds, tools_are_here};
use super::world::options;

const CHILD: &str = "STERNWAY_TEST_LIFE";
const ENTRY: &str = "points::child_that_lives_once";

/// Calls that change files. Reading ones need no point; `openat` is counted where it makes a file.
const CALLS: [&str; 24] = [
    "openat",
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "pwritev2",
    "ftruncate",
    "truncate",
    "fallocate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "mkdir",
    "mkdirat",
    "fsync",
    "fdatasync",
    "sync_file_range",
    "chmod",
    "fchmod",
    "fchmodat",
    "copy_file_range",
];

/// Prepares the store that a child opens.
type Prepare = fn(&Path);

/// What a child does, in the folder `work` beside the store that was prepared for it.
const LIVES: [(&str, Prepare); 4] =
    [("create", |_| {}), ("write", closed), ("after a crash", torn_and_stale), ("without index", without_index)];

fn small() -> OpenOptions {
    let mut options = options();
    options.segment_bytes = 4_000;
    options.ballast_bytes = 64 * 1024;
    options
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// A store that was written to and closed; its acknowledged records lie beside it.
fn closed(store: &Path) {
    let (log, _) = FileLog::open(store, small()).expect("it opens");
    let mut acked = Vec::new();
    for n in 0..5 {
        acked.extend(block_on(log.append(None, vec![new_run(&format!("e{n}"), "shop")])).expect("written"));
    }
    log.set_outbox_cursor("slack", Position(3)).expect("kept");
    log.close();
    let text: String = acked.iter().map(|r| format!("acked {} {}\n", r.position, r.hash)).collect();
    std::fs::write(store.with_file_name("acked"), text + "cursor 3 .\n").expect("written");
}

/// A torn end, another log's index, one set aside before, a ballast that is gone, new files half written.
fn torn_and_stale(store: &Path) {
    closed(store);
    copy(&store.join("index"), &store.join("index.aside"));
    let other = tempfile::tempdir().expect("a folder");
    closed(&other.path().join("store"));
    std::fs::remove_dir_all(store.join("index")).expect("removed");
    copy(&other.path().join("store").join("index"), &store.join("index"));
    std::fs::remove_file(store.join("ballast")).expect("removed");
    std::fs::write(store.join("cursors.new"), b"{").expect("written");
    let newest = std::fs::read_dir(store.join("log")).expect("listed").map(|e| e.expect("an entry").path()).max();
    let mut newest = std::fs::OpenOptions::new().append(true).open(newest.expect("one")).expect("opened");
    newest.write_all(b"{\"seq\":\"0000000").expect("written");
}

fn without_index(store: &Path) {
    closed(store);
    std::fs::remove_dir_all(store.join("index")).expect("removed");
}

/// Entry of the child process: one life, told as it goes.
#[test]
fn child_that_lives_once() {
    let Some(life) = std::env::var_os(CHILD) else { return };
    let life = life.into_string().expect("text");
    let (name, store) = life.split_once('=').expect("a name and a folder");
    let log = match FileLog::open(store, small()) {
        Ok((log, report)) => {
            println!("acked {} {}", report.head.position, report.head.hash);
            log
        }
        Err(error) => return println!("refused {error}"),
    };
    if name != "create" {
        block_on(work(&log, name));
    }
    set_cursor(&log);
    log.close();
    println!("ended");
}

async fn work(log: &FileLog, name: &str) {
    let count = if name == "write" { 12 } else { 1 };
    for n in 0..count {
        let mut batch = vec![new_run(&format!("{name}-{n}"), "shop")];
        if n % 3 == 0 {
            batch.push(release_seen("shop", 'a', "1.4"));
        }
        for record in until_written(log, batch).await {
            println!("acked {} {}", record.position, record.hash);
        }
        if n % 4 == 1 {
            set_cursor(log);
        }
    }
}

/// Goes on by itself: whoever asks again when the disk is well is served, and nothing is written twice.
async fn until_written(log: &FileLog, batch: Vec<Draft>) -> Vec<Record> {
    let mut often = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..2_000 {
        often.tick().await;
        match log.append(None, batch.clone()).await {
            Ok(records) => return records,
            Err(AppendError::CannotWrite(why)) => println!("told {why}"),
            Err(other) => panic!("{other}"),
        }
    }
    panic!("it did not go on by itself: {:?}", log.trouble());
}

fn set_cursor(log: &FileLog) {
    let position = log.head().position;
    match log.set_outbox_cursor("slack", position) {
        Ok(()) => println!("cursor {position} ."),
        Err(error) => println!("told {error}"),
    }
}

/// A store made ready for one life, as often as it is needed.
struct Prepared {
    name: &'static str,
    dir: tempfile::TempDir,
}

impl Prepared {
    fn new(name: &'static str, make: fn(&Path)) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        make(&dir.path().join("store"));
        Self { name, dir }
    }

    /// A copy, at a path whose parts are all real.
    fn again(&self) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let root = dir.path().canonicalize().expect("it is there");
        copy(self.dir.path(), &root);
        (dir, root)
    }

    fn traced(&self, root: &Path, strace: &[String]) -> Output {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-y", "-e", "signal=none"]).args(strace);
        command.arg(std::env::current_exe().expect("this test"));
        let life = format!("{}={}", self.name, root.join("store").display());
        prepare(&mut command, ENTRY, CHILD, life.as_ref());
        command.output().expect("strace runs")
    }
}

/// A call on a file of the store, counted within its thread.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Point {
    life: usize,
    call: String,
    file: String,
    number: usize,
}

/// Calls of a life that nothing interrupts. Several threads may share a number; each call counts.
fn count(life: usize, prepared: &Prepared) -> Vec<Point> {
    let (_dir, root) = prepared.again();
    let trace = root.join("trace");
    let before = files_in(&root.join("store"));
    let args = ["-o".to_owned(), trace.display().to_string(), "-e".to_owned(), format!("trace={}", CALLS.join(","))];
    let out = prepared.traced(&root, &args);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && said.contains("ended"), "{}: {said}", prepared.name);
    let text = std::fs::read_to_string(&trace).expect("the trace");
    let mut numbers = BTreeMap::<(String, String, String), usize>::new();
    let mut made: BTreeSet<String> = before;
    let mut points = Vec::new();
    for line in text.lines() {
        let Some((thread, call, path)) = parts(line) else { continue };
        let Some(file) = path.strip_prefix(&format!("{}/", root.display())).map(str::to_owned) else { continue };
        let number = numbers.entry((thread, call.clone(), file.clone())).or_default();
        *number += 1;
        // Opening for reading, or what is there already, changes nothing.
        if call == "openat" && (!line.contains("O_CREAT") || !made.insert(file.clone())) {
            continue;
        }
        points.push(Point { life, call, file, number: *number });
    }
    points
}

/// Thread, call and path of a line of strace's; the path of the open file, or the one that is named.
fn parts(line: &str) -> Option<(String, String, String)> {
    let (thread, rest) = line.split_once(' ')?;
    let (call, arguments) = rest.trim_start().split_once('(')?;
    if !CALLS.contains(&call) {
        return None;
    }
    let of_file = || arguments.split_once('<').and_then(|(_, rest)| rest.split_once('>')).map(|(path, _)| path);
    let named = || arguments.split('"').nth(1);
    let path = match named().filter(|path| path.starts_with('/') && !call.contains("write")) {
        Some(path) => path,
        None => of_file()?,
    };
    Some((thread.to_owned(), call.to_owned(), path.to_owned()))
}

fn files_in(folder: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if let Some(parent) = path.ancestors().find(|a| a.ends_with("store")).and_then(Path::parent) {
                found.insert(path.strip_prefix(parent).expect("beneath").display().to_string());
            }
        }
    }
    found
}

/// What happens at a point.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Kill,
    /// Once.
    Error(&'static str),
    /// Four times: what is tried to be well again fails too, as on a disk that has become read-only.
    Spell(&'static str),
}

/// Lives until the point; says whether the harm was done, and what is wrong afterwards.
fn strike(prepared: &Prepared, point: &Point, harm: Harm) -> Result<bool, String> {
    let (_dir, root) = prepared.again();
    let (call, number) = (&point.call, point.number);
    let inject = match harm {
        Harm::Kill => format!("inject={call}:signal=SIGKILL:when={number}"),
        Harm::Error(error) => format!("inject={call}:error={error}:when={number}"),
        Harm::Spell(error) => format!("inject={call}:error={error}:when={number}..{}", number + 3),
    };
    let (path, trace) = (root.join(&point.file).display().to_string(), root.join("trace").display().to_string());
    let mut args: Vec<String> =
        ["-o", &trace, "-P", &path, "-e", &format!("trace={call}"), "-e", &inject].map(str::to_owned).to_vec();
    if !matches!(harm, Harm::Kill) {
        // Stops at the traced calls only; signals cannot be sent that way.
        args.push("--seccomp-bpf".to_owned());
    }
    let out = prepared.traced(&root, &args);
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    let struck = match harm {
        Harm::Kill => out.status.signal() == Some(9),
        Harm::Error(_) | Harm::Spell(_) => {
            std::fs::read_to_string(&trace).is_ok_and(|text| text.contains("(INJECTED)"))
        }
    };
    let noise = String::from_utf8_lossy(&out.stderr).into_owned();
    if noise.contains("panicked at src/") || noise.contains("panicked at tests/") {
        return Err(format!("it panicked: {noise}\n{said}"));
    }
    let came_to_an_end = said.contains("ended") || said.contains("refused");
    if out.status.signal() != Some(9) && !(out.status.success() && came_to_an_end) {
        return Err(format!("it ended with {}: {said}\n{noise}", out.status));
    }
    let mut acked = Acknowledged::default();
    let before = std::fs::read_to_string(root.join("acked")).unwrap_or_default();
    for line in before.lines().chain(said.lines()) {
        acked.hear(line);
    }
    survives(&root.join("store"), &acked).map_err(|why| format!("{why}\nit had said: {said}"))?;
    Ok(struck)
}

/// Whether the store opens, holds everything, serves and goes on.
fn survives(store: &Path, acked: &Acknowledged) -> Result<(), String> {
    let (log, report) = FileLog::open(store, small()).map_err(|e| format!("it does not open: {e}"))?;
    let read = log.read(Position(0), usize::MAX).map_err(|e| e.to_string())?;
    if read.len() as u64 != report.head.position.0 + 1 {
        return Err(format!("{} records are read, {report:?}", read.len()));
    }
    let cursor = log.outbox_cursor("slack").map_err(|e| e.to_string())?.0;
    if cursor < acked.cursor {
        return Err(format!("the cursor went back from {} to {cursor}; {report:?}", acked.cursor));
    }
    block_on(log.append(None, vec![new_run("survived", "shop")])).map_err(|e| e.to_string())?;
    log.close();
    acked.is_in(store)?;
    Ok(())
}

fn strace_is_here() -> bool {
    let traces = || Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().is_ok_and(|s| s.success());
    let works = tools_are_here() && traces();
    if !works {
        assert!(std::env::var_os("CI").is_none(), "CI must run these: strace is missing or may not trace");
        eprintln!("SKIPPED: strace is missing or may not trace here (`tests/setup/strace.sh ensure` says why)");
    }
    works
}

/// Each call kind of each life: its first, its last and some in between. The long form takes all.
fn sample(points: &[Point], dice: &mut Dice, between: usize) -> Vec<Point> {
    if is_long() {
        return points.to_vec();
    }
    let mut by_kind = BTreeMap::<(usize, &str), Vec<&Point>>::new();
    for point in points {
        by_kind.entry((point.life, &point.call)).or_default().push(point);
    }
    let mut chosen = BTreeSet::new();
    for of_kind in by_kind.into_values() {
        if between > 0 {
            chosen.extend([of_kind[0].clone(), of_kind[of_kind.len() - 1].clone()]);
        }
        for _ in 0..between.max(1) {
            chosen.insert(dice.pick(&of_kind).clone());
        }
    }
    chosen.into_iter().collect()
}

/// Strikes at all of them, on two threads; fails with everything that went wrong.
fn strike_all(what: &str, seed: u64, lives: &[Prepared], points: Vec<(Point, Harm)>) -> usize {
    let (queue, wrong, struck) = (Mutex::new(points.into_iter()), Mutex::new(Vec::new()), Mutex::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().expect("not poisoned").next();
                    let Some((mut point, harm)) = next else { return };
                    // A thread of sled's may call less often this time: then one call earlier.
                    while point.number > 0 {
                        match strike(&lives[point.life], &point, harm) {
                            Ok(true) => {
                                *struck.lock().expect("not poisoned") += 1;
                                break;
                            }
                            Ok(false) => point.number -= 1,
                            Err(why) => {
                                let told =
                                    format!("{harm:?} in the life `{}` at {point:?}: {why}", LIVES[point.life].0);
                                wrong.lock().expect("not poisoned").push(told);
                                break;
                            }
                        }
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("not poisoned");
    assert!(wrong.is_empty(), "{what}, seed {seed}: {} went wrong:\n{}", wrong.len(), wrong.join("\n\n"));
    struck.into_inner().expect("not poisoned")
}

#[test]
fn a_kill_at_any_file_changing_call_leaves_a_log_that_opens_with_all_that_was_acknowledged() {
    if !strace_is_here() {
        return;
    }
    let lives: Vec<_> = LIVES.iter().map(|(name, make)| Prepared::new(name, *make)).collect();
    let points: Vec<_> = lives.iter().enumerate().flat_map(|(life, prepared)| count(life, prepared)).collect();
    let kinds: BTreeSet<_> = points.iter().map(|point| point.call.as_str()).collect();
    for wanted in ["openat", "write", "ftruncate", "fallocate", "rename", "fsync", "fdatasync", "mkdir", "unlinkat"] {
        assert!(kinds.contains(wanted), "no {wanted} was counted: {kinds:?}");
    }
    let seed = *seeds("kills at calls").last().expect("one");
    let chosen = sample(&points, &mut Dice(seed), 1);
    let wanted = chosen.len();
    let struck = strike_all("kills", seed, &lives, chosen.into_iter().map(|point| (point, Harm::Kill)).collect());
    eprintln!("kills at calls: {} points counted, {wanted} chosen, {struck} killed, all opened, 0 lost", points.len());
    assert!(struck >= if is_long() { points.len() } else { wanted }, "{struck} of {wanted} points were reached");
}

#[test]
fn an_error_at_any_file_changing_call_is_told_and_outlived() {
    if !strace_is_here() {
        return;
    }
    let lives: Vec<_> = LIVES.iter().map(|(name, make)| Prepared::new(name, *make)).collect();
    let points: Vec<_> = lives.iter().enumerate().flat_map(|(life, prepared)| count(life, prepared)).collect();
    let seed = *seeds("errors at calls").last().expect("one");
    let mut dice = Dice(seed);
    let errors = ["EIO", "ENOSPC", "EINTR", "EROFS"];
    let mut chosen = Vec::new();
    for point in sample(&points, &mut dice, 0) {
        match is_long() {
            true => chosen.extend(errors.map(|error| (point.clone(), Harm::Error(error)))),
            false => chosen.push((point, Harm::Error(dice.pick(&errors)))),
        }
    }
    // While it writes, a disk that stays bad for a while.
    let written: Vec<_> = points.iter().filter(|p| p.life == 1 && p.file.starts_with("store/log/")).cloned().collect();
    let spells = if is_long() { written.clone() } else { (0..4).map(|_| dice.pick(&written)).collect() };
    chosen.extend(spells.into_iter().map(|point| (point, Harm::Spell(dice.pick(&["EROFS", "EIO", "ENOSPC"])))));
    let wanted = chosen.len();
    let struck = strike_all("errors", seed, &lives, chosen);
    eprintln!("errors at calls: {} points counted, {wanted} chosen, {struck} failed, all outlived", points.len());
    assert!(struck >= wanted, "{struck} of {wanted} points were reached");
}

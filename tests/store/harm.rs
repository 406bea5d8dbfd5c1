//! Every file of the store, harmed in every way, at random places: a flipped bit, a zeroed page, cut, missing, garbage
//! behind it, an older copy, another store's. Noticed at the start or on reading; never a wrong answer, never a panic;
//! the log's own damage named by its line and left as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use sternway::domain::event::Event;
use sternway::domain::ids::{Position, RunId};
use sternway::store::files::{FileLog, IndexOutcome, OpenError, OpenOptions, OpenReport};
use sternway::store::verify::verify;
use sternway::store::{About, Log, Record};

use super::samples::*;
use super::torture::{Dice, copy, seeds, times};
use super::world::options;

const PAGE: usize = 4096;

fn small() -> OpenOptions {
    let mut options = options();
    options.segment_bytes = 12_000;
    options.ballast_bytes = 64 * 1024;
    options
}

/// Stores to be harmed: closed properly, and as a kill leaves it; beside them an older state and another store's.
struct Stores {
    dir: tempfile::TempDir,
    records: Vec<Record>,
    answers: String,
}

const CURSOR: Position = Position(9);

impl Stores {
    async fn make() -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        let (log, _) = FileLog::open(at("live"), small()).expect("it opens");
        write(&log, 0..8).await;
        log.set_outbox_cursor("slack", Position(3)).expect("kept");
        copy(&at("live"), &at("older"));
        write(&log, 8..40).await;
        log.set_outbox_cursor("slack", CURSOR).expect("kept");
        let records = log.read(Position(0), usize::MAX).expect("read");
        let answers = answers(&log).expect("answered");
        copy(&at("live"), &at("killed"));
        log.close();
        copy(&at("live"), &at("closed"));
        let (other, _) = FileLog::open(at("other"), small()).expect("it opens");
        write(&other, 0..40).await;
        other.set_outbox_cursor("slack", CURSOR).expect("kept");
        other.close();
        Self { dir, records, answers }
    }

    fn file(&self, store: &str, file: &Path) -> PathBuf {
        self.dir.path().join(store).join(file)
    }

    /// The files of a store, beneath it.
    fn files(&self, store: &str) -> Vec<PathBuf> {
        let root = self.dir.path().join(store);
        let (mut found, mut folders) = (Vec::new(), vec![root.clone()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).expect("listed") {
                let path = entry.expect("an entry").path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    found.push(path.strip_prefix(&root).expect("beneath").to_owned());
                }
            }
        }
        found.sort();
        found
    }
}

async fn write(log: &FileLog, numbers: std::ops::Range<i64>) {
    for n in numbers {
        let records = log.append(None, vec![new_run(&format!("e{n}"), "shop")]).await.expect("written");
        let run = RunId(records[0].position);
        log.append(None, vec![in_run(run, planned("shop")), release_seen("shop", 'a', "1.4")]).await.expect("written");
        log.append(None, vec![draft(About::Log, n, Event::Stopped)]).await.expect("written");
    }
}

/// Every answer of the index, as text.
fn answers(log: &FileLog) -> Result<String, String> {
    let told = |error: sternway::store::ReadError| error.to_string();
    Ok(format!(
        "{:?} {:?} {:?} {:?}",
        log.runs(99).map_err(told)?,
        log.open_runs().map_err(told)?,
        log.history(&target("shop"), &service("api")).map_err(told)?,
        log.seen("e1").map_err(told)?
    ))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Harm {
    FlippedBit,
    ZeroedPage,
    Cut,
    Garbage,
    Missing,
    OlderCopy,
    OfAnotherStore,
}

const HARMS: [Harm; 7] = [
    Harm::FlippedBit,
    Harm::ZeroedPage,
    Harm::Cut,
    Harm::Garbage,
    Harm::Missing,
    Harm::OlderCopy,
    Harm::OfAnotherStore,
];

/// Does it to the file. Gives back the line it falls on, from 1, or `None` when it left the file as it was.
fn harm(stores: &Stores, harm: Harm, file: &Path, path: &Path, dice: &mut Dice) -> Option<u64> {
    let good = fs::read(path).expect("read");
    let mut bad = good.clone();
    let mut at = 0;
    match harm {
        Harm::FlippedBit if !bad.is_empty() => {
            at = dice.roll(bad.len());
            bad[at] ^= 1 << dice.roll(8);
        }
        Harm::ZeroedPage => {
            let from = dice.roll(bad.len().div_ceil(PAGE)) * PAGE;
            let to = (from + PAGE).min(bad.len());
            bad[from..to].fill(0);
            at = from;
        }
        Harm::Cut => {
            bad.truncate(dice.roll(bad.len()));
            at = bad.len();
        }
        Harm::Garbage => {
            at = bad.len();
            bad.extend((0..=dice.roll(300)).map(|_| u8::try_from(dice.roll(256)).expect("a byte")));
        }
        Harm::Missing => {
            fs::remove_file(path).expect("removed");
            return Some(0);
        }
        Harm::OlderCopy | Harm::OfAnotherStore => {
            let from = stores.file(if harm == Harm::OlderCopy { "older" } else { "other" }, file);
            bad = fs::read(from).ok()?;
        }
        Harm::FlippedBit => {}
    }
    if bad == good {
        return None;
    }
    fs::remove_file(path).expect("removed");
    fs::write(path, &bad).expect("written");
    Some(1 + good[..at].iter().filter(|b| **b == b'\n').count() as u64)
}

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// The start refused, and said where.
    Refused,
    /// The start told it and went on.
    Told,
    /// Reading or verifying told it.
    OnReading,
    /// Nothing that counts was changed, every answer is right.
    Harmless,
}

/// Whether the start said that something is not as usual.
fn told(report: &OpenReport) -> bool {
    let index = matches!(report.index, IndexOutcome::Rebuilt { .. } | IndexOutcome::InMemory { .. });
    report.created || report.cut.is_some() || index || !report.warnings.is_empty()
}

/// Opens the harmed store and judges what it says.
fn judge(stores: &Stores, kind: Harm, file: &Path, line: u64, root: &Path) -> Result<Fate, String> {
    let is_segment = file.starts_with("log");
    let before = contents(&root.join("log"));
    let (log, report) = match FileLog::open(root, small()) {
        Ok(opened) => opened,
        Err(error) => {
            if !is_segment {
                return Err(format!("the log is well, and does not open: {error}"));
            }
            if contents(&root.join("log")) != before {
                return Err(format!("it was refused, and a file was changed all the same: {error}"));
            }
            return match error {
                OpenError::Damage(damage) if kind == Harm::FlippedBit && damage.line != line => {
                    Err(format!("line {line} was changed, line {} is named: {damage}", damage.line))
                }
                OpenError::Damage(_) | OpenError::LogMissing { .. } => Ok(Fate::Refused),
                other => Err(format!("the refusal does not say what is wrong: {other}")),
            };
        }
    };
    let at_start = told(&report);
    let read = log.read(Position(0), usize::MAX);
    let answered = answers(&log);
    let cursor = log.outbox_cursor("slack").map_err(|e| e.to_string())?;
    let verified = log.verify_all();
    log.close();
    let complete = read.as_ref().is_ok_and(|read| read.starts_with(&stores.records));
    if let Ok(read) = &read {
        // What is read is what was written, always; only its end may be missing, and then that was told.
        let kept = read.iter().zip(&stores.records).take_while(|(found, written)| found == written).count();
        let own = |r: &Record| matches!(r.event, Event::IndexRebuilt { .. });
        if kept < stores.records.len().min(read.len()) && !read[kept..].iter().all(own) {
            return Err(format!("record {kept} is read as another than was written; {report:?}"));
        }
    }
    if !is_segment {
        let right = answered.as_ref() == Ok(&stores.answers);
        if !complete || !right || verified.is_err() {
            return Err(format!("complete: {complete}, right: {right}, {verified:?}; {report:?}"));
        }
        let is_older = kind == Harm::OlderCopy && cursor < CURSOR;
        if cursor != CURSOR && !at_start && !is_older {
            return Err(format!("the cursor is {cursor} and nobody was told; {report:?}"));
        }
        return Ok(if at_start { Fate::Told } else { Fate::Harmless });
    }
    match verified {
        _ if at_start => Ok(Fate::Told),
        Err(damage) if kind == Harm::FlippedBit && damage.line != line => {
            Err(format!("line {line} was changed, line {} is named: {damage}", damage.line))
        }
        Err(_) => Ok(Fate::OnReading),
        Ok(_) if read.is_err() => Ok(Fate::OnReading),
        Ok(_) => Err(format!("nobody noticed; complete: {complete}; {report:?}")),
    }
}

fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(folder).expect("listed").map(|e| e.expect("an entry").path());
    files.map(|path| (path.clone(), fs::read(path).expect("read"))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_done_to_a_file_of_the_store_is_noticed_or_does_no_harm() {
    let stores = Stores::make().await;
    let seeds = seeds("damage");
    let mut fates = BTreeMap::<(String, Fate), usize>::new();
    let mut count = 0;
    for seed in &seeds {
        let mut dice = Dice(*seed);
        let wanted = times(150, 2_500);
        let mut done = 0;
        while done < wanted {
            // A log that a kill left may lack the index's newest part, which knows of a tail that is cut off.
            let store = if dice.roll(3) == 0 { "killed" } else { "closed" };
            let files = stores.files(store);
            let (file, kind) = (dice.pick(&files), dice.pick(&HARMS));
            let is_segment = file.starts_with("log");
            let store = if is_segment { "closed" } else { store };
            let work = tempfile::tempdir().expect("a folder");
            copy(&stores.dir.path().join(store), work.path());
            let Some(line) = harm(&stores, kind, &file, &work.path().join(&file), &mut dice) else { continue };
            done += 1;
            let told = format!("seed {seed}, {kind:?} of {} ({store}), line {line}", file.display());
            match judge(&stores, kind, &file, line, work.path()) {
                Ok(fate) => *fates.entry((kind_of(&file), fate)).or_default() += 1,
                Err(why) => panic!("{told}: {why}"),
            }
            reopens(&stores, &file, work.path()).unwrap_or_else(|why| panic!("{told}: {why}"));
        }
        count += done;
    }
    eprintln!("damage: {count} files harmed, 0 unnoticed: {fates:?}");
    for wanted in ["log", "index", "cursors.json", "key", "lock", "ballast"] {
        assert!(fates.keys().any(|(kind, _)| kind == wanted), "no {wanted} was harmed: {fates:?}");
    }
}

fn kind_of(file: &Path) -> String {
    file.iter().next().expect("a name").to_string_lossy().into_owned()
}

/// What was told once is mended: the next start has nothing to say but what a person must mend. Only for what is not the
/// log itself.
fn reopens(stores: &Stores, file: &Path, root: &Path) -> Result<(), String> {
    if file.starts_with("log") {
        return Ok(());
    }
    let (log, report) = FileLog::open(root, small()).map_err(|e| format!("at the second start: {e}"))?;
    let mendable = report.cut.is_some() || !matches!(report.index, IndexOutcome::Ready);
    if mendable {
        return Err(format!("it was not mended at the first start: {report:?}"));
    }
    let room = fs::metadata(root.join("ballast")).map_or(0, |m| m.len());
    if room < small().ballast_bytes || log.trouble().is_some() {
        return Err(format!("{room} bytes of ballast are there; {:?}", log.trouble()));
    }
    let read = log.read(Position(0), stores.records.len()).map_err(|e| e.to_string())?;
    if read != stores.records {
        return Err("records are missing at the second start".to_owned());
    }
    log.close();
    Ok(())
}

/// Two files of the log with each other's names, and one in another's place.
#[tokio::test]
async fn swapped_segments_are_refused() {
    let stores = Stores::make().await;
    let files: Vec<_> = stores.files("closed").into_iter().filter(|file| file.starts_with("log")).collect();
    assert!(files.len() >= 4, "{files:?}");
    for (one, two) in files.iter().flat_map(|one| files.iter().map(move |two| (one, two))).filter(|(a, b)| a < b) {
        for both in [true, false] {
            let work = tempfile::tempdir().expect("a folder");
            copy(&stores.dir.path().join("closed"), work.path());
            let (of_one, of_two) = (stores.file("closed", one), stores.file("closed", two));
            fs::remove_file(work.path().join(two)).expect("removed");
            fs::copy(&of_one, work.path().join(two)).expect("copied");
            if both {
                fs::remove_file(work.path().join(one)).expect("removed");
                fs::copy(&of_two, work.path().join(one)).expect("copied");
            }
            let error = FileLog::open(work.path(), small()).expect_err("it is not that file");
            assert!(matches!(error, OpenError::Damage(_)), "{one:?} and {two:?}, both: {both}: {error}");
            verify(work.path()).expect_err("it is not that file");
        }
    }
}

/// A closed segment that is exchanged while the log is open: whoever reads gets an error, never another record.
#[tokio::test]
async fn a_segment_exchanged_under_a_running_log_is_noticed_on_reading() {
    let stores = Stores::make().await;
    let files: Vec<_> = stores.files("closed").into_iter().filter(|file| file.starts_with("log")).collect();
    let work = tempfile::tempdir().expect("a folder");
    copy(&stores.dir.path().join("closed"), work.path());
    let (log, _) = FileLog::open(work.path(), small()).expect("it opens");
    let first = work.path().join(&files[0]);
    let good = fs::read(&first).expect("read");
    let lines: Vec<&[u8]> = good.split_inclusive(|b| *b == b'\n').collect();
    let other = fs::read(stores.file("closed", &files[1])).expect("read");
    let swaps: [(&str, Vec<u8>); 4] = [
        ("another segment", other),
        ("a line removed", [&lines[..3], &lines[4..]].concat().concat()),
        ("two lines swapped", [&lines[..3], &[lines[4], lines[3]], &lines[5..]].concat().concat()),
        ("cut at a line", lines[..lines.len() - 2].concat()),
    ];
    for (what, bytes) in swaps {
        fs::remove_file(&first).expect("removed");
        fs::write(&first, bytes).expect("written");
        let answer = log.read(Position(0), usize::MAX);
        assert!(answer.is_err(), "{what}: {:?}", answer.map(|read| read.len()));
        fs::remove_file(&first).expect("removed");
        fs::write(&first, &good).expect("written");
        assert_eq!(log.read(Position(0), stores.records.len()).expect("read"), stores.records, "{what}");
    }
}

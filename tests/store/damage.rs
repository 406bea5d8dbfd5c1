//! What a crash leaves is cut and told; what it cannot leave is named by file and line; the index is only
//! ever thrown away.

use std::fs::{self, OpenOptions as Open};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use sternway::domain::event::Event;
use sternway::domain::ids::Position;
use sternway::store::files::{FileLog, IndexOutcome, OpenError};
use sternway::store::verify::verify;
use sternway::store::{About, Log};

use super::samples::*;
use super::world::{Folder, lines_of, options};

/// A closed log with some runs and releases: 0 genesis, then 12 records.
async fn written() -> Folder {
    let folder = Folder::new();
    let log = folder.open();
    fill(&log, 0).await;
    log.close();
    folder
}

async fn fill(log: &FileLog, from: i64) {
    for n in from..from + 3 {
        let records = log.append(None, vec![new_run(&format!("e{n}"), "shop")]).await.expect("written");
        let run = sternway::domain::ids::RunId(records[0].position);
        log.append(None, vec![in_run(run, planned("shop")), release_seen("shop", 'a', "1.4")]).await.expect("written");
        log.append(None, vec![draft(About::Log, n, Event::Stopped)]).await.expect("written");
    }
}

/// Every answer of the index, as text: what must be the same before and after it is built anew.
fn answers(log: &FileLog) -> String {
    format!(
        "{:?} {:?} {:?} {:?}",
        log.runs(99).expect("runs"),
        log.open_runs().expect("open runs"),
        log.history(&target("shop"), &service("api")).expect("history"),
        log.seen("e1").expect("seen")
    )
}

fn append_bytes(file: &Path, bytes: &[u8]) {
    Open::new().append(true).open(file).expect("the segment").write_all(bytes).expect("written");
}

#[tokio::test]
async fn what_is_written_is_there_after_closing() {
    let folder = written().await;
    let (log, report) = folder.reopen();
    assert_eq!((report.created, report.head.position, report.cut), (false, Position(12), None));
    assert_eq!((report.index, report.warnings), (IndexOutcome::Ready, Vec::<String>::new()));
    assert_eq!(log.read(Position(0), 99).expect("read").len(), 13);
}

#[tokio::test]
async fn a_new_log_has_a_closed_folder_a_closed_key_and_its_public_half_on_record() {
    let folder = Folder::new();
    let (log, report) = folder.reopen();
    assert!(report.created && report.index == IndexOutcome::Created, "{report:?}");
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&folder.path()), 0o700);
    assert_eq!(mode(&folder.path().join("key")), 0o600);
    assert_eq!(mode(&folder.segment(0)), 0o600);
    let Event::Genesis { keys, host, software, .. } = &log.read(Position(0), 1).expect("read")[0].event else {
        panic!("the first record is no genesis");
    };
    assert_eq!((host.as_str(), software.as_str(), keys.len(), keys[0].len()), ("test-host", "0.0-test", 1, 64));
}

#[tokio::test]
async fn a_second_opening_names_the_process_that_has_it() {
    let folder = Folder::new();
    let _log = folder.open();
    let error = folder.open_with(options()).expect_err("it is held");
    assert!(matches!(error, OpenError::InUse { .. }), "{error}");
    assert!(error.to_string().contains(&format!("process {}", std::process::id())), "{error}");
}

#[tokio::test]
async fn a_torn_last_line_is_cut_and_told() {
    let folder = written().await;
    let whole = fs::read(folder.segment(0)).expect("the segment");
    let next = lines_of(&folder.segment(0)).pop().expect("a line");
    for torn in [&b"{"[..], next.as_bytes(), &[0; 300], b"{\"seq\":\"0000\0\0\0\0\n"] {
        append_bytes(&folder.segment(0), torn);
        let (log, report) = folder.reopen();
        let cut = report.cut.expect("it is told");
        assert_eq!((cut.line, cut.bytes), (14, torn.len() as u64));
        assert_eq!(log.head().position, Position(12));
        log.close();
        assert_eq!(fs::read(folder.segment(0)).expect("the segment"), whole);
    }
}

#[tokio::test]
async fn a_torn_batch_is_dropped_whole() {
    let folder = written().await;
    let before = fs::read(folder.segment(0)).expect("the segment");
    let log = folder.open();
    let batch = (0..3).map(|n| draft(About::Log, n, Event::Stopped)).collect();
    log.append(None, batch).await.expect("written");
    log.close();
    let after = fs::read(folder.segment(0)).expect("the segment");
    let one_line = (after.len() - before.len()) / 3;
    for kept in [one_line, one_line + 10, 2 * one_line, after.len() - before.len() - 1] {
        // The index of such a moment is older: it is applied after the sync that did not happen.
        fs::remove_dir_all(folder.path().join("index")).expect("removed");
        fs::write(folder.segment(0), &after[..before.len() + kept]).expect("written");
        let (log, report) = folder.reopen();
        let cut = report.cut.unwrap_or_else(|| panic!("{kept} bytes of the batch: nothing was cut"));
        assert_eq!((cut.line, cut.bytes), (14, kept as u64));
        assert_eq!(log.read(Position(13), 1).expect("read")[0].event, {
            Event::IndexRebuilt { why: "it was missing".to_owned() }
        });
        log.close();
        verify(&folder.path()).expect("the chain holds");
    }
}

#[tokio::test]
async fn a_crash_in_the_very_first_write_begins_anew() {
    let folder = Folder::new();
    fs::create_dir_all(folder.path().join("log")).expect("made");
    fs::write(folder.segment(0), b"{\"seq\":\"000000").expect("written");
    let (log, report) = folder.reopen();
    assert!(report.created);
    assert_eq!(log.head().position, Position(0));
}

#[tokio::test]
async fn a_flipped_bit_anywhere_in_the_newest_segment_is_refused_by_line_and_left_as_it_is() {
    let folder = written().await;
    let good = fs::read(folder.segment(0)).expect("the segment");
    let mut line = 1;
    for at in 0..good.len() {
        let this_line = line;
        line += u64::from(good[at] == b'\n');
        // A last line without its newline is what a crash leaves.
        if at % 41 != 0 || at == good.len() - 1 {
            continue;
        }
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        fs::write(folder.segment(0), &bad).expect("written");
        let error = verify(&folder.path()).expect_err("verified");
        assert_eq!(error.line, this_line, "byte {at}: {error}");
        assert_eq!(error.file, folder.segment(0));
        match folder.open_with(options()) {
            Err(OpenError::Damage(damage)) => assert_eq!(damage.line, this_line, "byte {at}: {damage}"),
            other => panic!("byte {at} in line {this_line}: {:?}", other.map(|(_, report)| report)),
        }
        assert!(fs::read(folder.segment(0)).expect("the segment") == bad, "the damaged file was changed");
    }
    fs::write(folder.segment(0), &good).expect("written");
    folder.open();
}

#[tokio::test]
async fn damage_in_a_closed_segment_is_found_by_reading_and_by_verifying_all() {
    let folder = Folder::new();
    let small = || sternway::store::files::OpenOptions { segment_bytes: 4_000, ..options() };
    let (log, _) = folder.open_with(small()).expect("it opens");
    fill(&log, 0).await;
    fill(&log, 3).await;
    log.close();
    let good = fs::read(folder.segment(0)).expect("the first segment");
    assert_eq!(fs::metadata(folder.segment(0)).expect("there").permissions().mode() & 0o777, 0o400);
    let mut bad = good.clone();
    let at = good.len() / 2;
    bad[at] ^= 1;
    fs::remove_file(folder.segment(0)).expect("removed");
    fs::write(folder.segment(0), &bad).expect("written");
    let (log, _) = folder.open_with(small()).expect("the newest segment is well");
    let damage = log.verify_all().expect_err("verified");
    let line = 1 + good[..at].iter().filter(|b| **b == b'\n').count() as u64;
    assert_eq!((damage.line, &damage.file), (line, &folder.segment(0)), "{damage}");
    log.read(Position(0), 99).expect_err("a changed line was read as if it were well");
}

#[tokio::test]
async fn a_missing_or_shortened_closed_segment_is_refused() {
    let folder = Folder::new();
    let small = || sternway::store::files::OpenOptions { segment_bytes: 4_000, ..options() };
    let (log, _) = folder.open_with(small()).expect("it opens");
    fill(&log, 0).await;
    fill(&log, 3).await;
    log.close();
    let mut files: Vec<_> =
        fs::read_dir(folder.path().join("log")).expect("listed").map(|e| e.expect("an entry").path()).collect();
    files.sort();
    assert!(files.len() >= 3, "{files:?}");
    for file in &files[..files.len() - 1] {
        let good = fs::read(file).expect("read");
        fs::remove_file(file).expect("removed");
        assert!(matches!(folder.open_with(small()), Err(OpenError::Damage(_))), "{file:?} is missing");
        let end = good[..good.len() - 1].iter().rposition(|b| *b == b'\n').expect("two lines") + 1;
        for shorter in [&good[..end], &good[..good.len() - 5], &good[..0]] {
            fs::write(file, shorter).expect("written");
            let answer = folder.open_with(small());
            assert!(matches!(answer, Err(OpenError::Damage(_))), "{file:?} has {} bytes", shorter.len());
        }
        fs::remove_file(file).expect("removed");
        fs::write(file, &good).expect("written");
    }
    folder.open_with(small()).expect("as it was");
}

#[tokio::test]
async fn a_removed_log_is_not_begun_anew_in_silence() {
    let folder = written().await;
    fs::remove_file(folder.segment(0)).expect("removed");
    let error = folder.open_with(options()).expect_err("the log is gone");
    assert!(matches!(error, OpenError::LogMissing { .. }), "{error}");
}

#[tokio::test]
async fn acknowledged_records_cut_off_the_end_are_told() {
    let folder = written().await;
    let lines = lines_of(&folder.segment(0));
    fs::write(folder.segment(0), lines[..10].join("\n") + "\n").expect("written");
    let (log, report) = folder.reopen();
    let IndexOutcome::Rebuilt { why, knew, .. } = report.index else { panic!("{:?}", report.index) };
    assert_eq!(knew, Some(Position(12)));
    assert!(why.contains("record 12"), "{why}");
    assert_eq!(log.read(Position(10), 9).expect("read")[0].event, Event::IndexRebuilt { why });
}

#[tokio::test]
async fn an_index_that_is_missing_damaged_or_wrong_is_built_anew_and_told() {
    let folder = written().await;
    let wanted = answers(&folder.open());
    let index = folder.path().join("index");
    let (conf, db) = (index.join("conf"), index.join("db"));
    type Harm<'a> = (&'a str, Box<dyn Fn() + 'a>);
    let garbage = |file: &Path| fs::write(file, b"\xff garbage \0\0 \n").expect("written");
    let harms: Vec<Harm<'_>> = vec![
        ("missing", Box::new(|| fs::remove_dir_all(&index).expect("removed"))),
        ("garbage in conf", Box::new(|| garbage(&conf))),
        ("garbage in db", Box::new(|| garbage(&db))),
        ("db is gone", Box::new(|| fs::remove_file(&db).expect("removed"))),
        (
            "a file instead",
            Box::new(|| {
                fs::remove_dir_all(&index).expect("removed");
                fs::write(&index, b"x").expect("written");
            }),
        ),
    ];
    for (harm, does) in harms {
        does();
        let (log, report) = folder.reopen();
        assert!(
            matches!(report.index, IndexOutcome::Rebuilt { knew: None, .. } | IndexOutcome::CaughtUp { .. }),
            "{harm}: {:?}",
            report.index
        );
        assert_eq!(answers(&log), wanted, "{harm}");
    }
    let log = folder.open();
    let told = log.read(Position(0), 99).expect("read");
    assert!(told.iter().any(|r| matches!(r.event, Event::IndexRebuilt { .. })), "it is not on record");
}

#[tokio::test]
async fn no_damage_to_the_index_files_changes_an_answer() {
    let folder = written().await;
    let wanted = answers(&folder.open());
    for round in 0..12_usize {
        let mut files: Vec<_> = fs::read_dir(folder.path().join("index"))
            .expect("listed")
            .map(|e| e.expect("an entry").path())
            .filter(|p| p.is_file() && fs::metadata(p).is_ok_and(|m| m.len() > 0))
            .collect();
        files.sort();
        let file = &files[round % files.len()];
        let mut bytes = fs::read(file).expect("read");
        let used = bytes.iter().rposition(|b| *b != 0).unwrap_or(0) + 1;
        let at = (used * (round + 1) / 14).min(bytes.len() - 1);
        match round % 3 {
            0 => bytes[at] ^= 0x20,
            1 => bytes.iter_mut().skip(at).take(4096).for_each(|b| *b = 0),
            _ => bytes.truncate(at),
        }
        fs::write(file, &bytes).expect("written");
        let (log, report) = folder.reopen();
        assert_eq!(answers(&log), wanted, "round {round}, {file:?} at {at}: {:?}", report.index);
        assert!(!matches!(report.index, IndexOutcome::InMemory { .. }), "round {round}: {:?}", report.index);
    }
}

#[tokio::test]
async fn an_index_of_another_log_is_not_believed() {
    let (one, two) = (written().await, written().await);
    let index = |folder: &Folder| folder.path().join("index");
    fs::remove_dir_all(index(&one)).expect("removed");
    fs::rename(index(&two), index(&one)).expect("moved");
    let (_log, report) = one.reopen();
    let IndexOutcome::Rebuilt { why, .. } = report.index else { panic!("{:?}", report.index) };
    assert!(why.contains("belongs to log"), "{why}");
}

#[tokio::test]
async fn an_index_that_does_not_open_in_time_is_given_up() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let folder = written().await;
    let conf = folder.path().join("index").join("conf");
    fs::remove_file(&conf).expect("removed");
    // Opening a pipe that nobody writes to takes for ever.
    mknodat(CWD, &conf, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("made");
    let mut options = options();
    options.index_limit = std::time::Duration::from_millis(700);
    let (log, report) = folder.open_with(options).expect("the log opens all the same");
    let IndexOutcome::Rebuilt { why, .. } = report.index else { panic!("{:?}", report.index) };
    assert!(why.contains("did not open within"), "{why}");
    assert_eq!(log.runs(9).expect("answered").len(), 3);
}

#[tokio::test]
async fn a_half_written_snapshot_of_the_index_is_nothing() {
    let folder = written().await;
    fs::write(folder.path().join("index").join("snap.0000000000000fff.generating"), b"half").expect("written");
    assert_eq!(folder.reopen().1.index, IndexOutcome::Ready);
}

#[tokio::test]
async fn cursors_outlive_the_index_and_their_loss_is_told() {
    let folder = written().await;
    folder.open().set_outbox_cursor("slack", Position(7)).expect("kept");
    fs::remove_dir_all(folder.path().join("index")).expect("removed");
    assert_eq!(folder.open().outbox_cursor("slack").expect("kept"), Position(7));
    fs::write(folder.path().join("cursors.json"), b"{").expect("written");
    let (_log, report) = folder.reopen();
    assert!(report.warnings.iter().any(|w| w.contains("cursors")), "{:?}", report.warnings);
}

#[tokio::test]
async fn a_missing_key_is_told_and_not_replaced() {
    let folder = written().await;
    fs::remove_file(folder.path().join("key")).expect("removed");
    let (_log, report) = folder.reopen();
    assert!(report.warnings.iter().any(|w| w.contains("key")), "{:?}", report.warnings);
    assert!(!folder.path().join("key").exists(), "another key was made in silence");
}

#[tokio::test]
async fn a_record_of_a_newer_format_is_named_by_its_version() {
    let folder = written().await;
    let (log, _) = folder.reopen();
    let id = sternway::store::line::LogId::parse(&log.log_id()).expect("an id");
    let head = log.head();
    log.close();
    let mut line = Vec::new();
    let event = "{\"at\":\"2026-01-01T00:00:00Z\",\"body\":{\"type\":\"teleported\"},\"v\":2}";
    sternway::store::line::write(&mut line, id, head.position.0 + 1, head.hash, event);
    append_bytes(&folder.segment(0), &line);
    let error = folder.open_with(options()).expect_err("it is not understood").to_string();
    assert!(error.contains("record format 2") && error.contains("line 14"), "{error}");
}

#[tokio::test]
async fn a_segment_is_closed_after_a_day() {
    use std::sync::Arc;
    use sternway::clock::ManualClock;
    let folder = Folder::new();
    let clock = Arc::new(ManualClock::at(at(0)));
    let day = || sternway::store::files::OpenOptions { clock: clock.clone(), ..options() };
    let (log, _) = folder.open_with(day()).expect("it opens");
    log.append(None, vec![new_run("e1", "shop")]).await.expect("written");
    clock.advance(std::time::Duration::from_secs(24 * 60 * 60));
    log.append(None, vec![new_run("e2", "shop")]).await.expect("written");
    assert_eq!((lines_of(&folder.segment(0)).len(), lines_of(&folder.segment(2)).len()), (2, 1));
    assert_eq!(log.read(Position(0), 9).expect("read").len(), 3);
}

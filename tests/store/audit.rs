//! The log proves itself from its files: any change is named by line, and exports prove themselves too.

use std::fs;
use std::path::{Path, PathBuf};

use sternway::domain::event::Event;
use sternway::domain::ids::{Position, RunId};
use sternway::store::Log;
use sternway::store::export::{Range, export, export_beside};
use sternway::store::line::{Line, LogId, write};
use sternway::store::verify::{Damage, verify, verify_files};

use super::samples::*;
use super::world::{Folder, lines_of};

/// Twenty-one lines: genesis and the records of two runs, interleaved.
async fn lines() -> (Folder, Vec<String>) {
    let folder = Folder::new();
    let log = folder.open();
    for n in 0..10 {
        log.append(None, vec![new_run(&format!("e{n}"), "shop")]).await.expect("written");
        let run = RunId(Position(1 + n / 2 * 2));
        log.append(None, vec![in_run(run, planned("shop"))]).await.expect("written");
    }
    log.close();
    let lines = lines_of(&folder.segment(0));
    assert_eq!(lines.len(), 21);
    (folder, lines)
}

fn check(folder: &Folder, lines: &[String]) -> Result<u64, Damage> {
    let file = folder.path().join("copy");
    fs::write(&file, lines.join("\n") + "\n").expect("written");
    verify(&file).map(|verified| verified.records)
}

fn id_of(lines: &[String]) -> LogId {
    let at = lines[0].find("\"log_id\":\"").expect("genesis names it") + 10;
    LogId::parse(&lines[0][at..at + 32]).expect("an id")
}

/// The line again with another event, its own hash made right.
fn forged(line: &str, log: LogId, change: impl Fn(&str) -> String) -> String {
    let cut = Line::cut(line.as_bytes()).expect("a line");
    let event = change(std::str::from_utf8(cut.event).expect("text"));
    let mut out = Vec::new();
    write(&mut out, log, cut.seq, cut.prev, &event);
    String::from_utf8(out).expect("text").trim_end().to_owned()
}

#[tokio::test]
async fn an_untouched_log_is_proven_with_its_head() {
    let (folder, lines) = lines().await;
    let verified = verify(&folder.path()).expect("it is well");
    let last = Line::cut(lines[20].as_bytes()).expect("a line");
    assert_eq!((verified.records, verified.head.position, verified.head.hash), (21, Position(20), last.hash));
    assert_eq!((verified.log_id, verified.torn), (id_of(&lines), None));
    assert_eq!(check(&folder, &lines), Ok(21));
}

#[tokio::test]
async fn changed_removed_swapped_inserted_and_repeated_lines_are_named() {
    let (folder, good) = lines().await;
    let named = |lines: &[String]| check(&folder, lines).expect_err("it was not noticed");
    for at in 1..20 {
        let mut changed = good.clone();
        changed[at] = changed[at].replacen("2026", "2025", 1);
        assert_eq!(named(&changed).line, at as u64 + 1, "changed");

        let mut removed = good.clone();
        removed.remove(at);
        let damage = named(&removed);
        assert_eq!(damage.line, at as u64 + 1, "removed");
        assert!(damage.what.contains(&format!("record {at} is missing")), "{damage}");

        let mut swapped = good.clone();
        swapped.swap(at, at + 1);
        assert_eq!(named(&swapped).line, at as u64 + 1, "swapped");

        let mut repeated = good.clone();
        repeated.insert(at, good[at].clone());
        assert_eq!(named(&repeated).line, at as u64 + 2, "repeated");

        let mut inserted = good.clone();
        inserted.insert(at, forged(&good[at], id_of(&good), |e| e.replacen("2026", "2025", 1)));
        assert_eq!(named(&inserted).line, at as u64 + 2, "inserted");
    }
}

#[tokio::test]
async fn a_forged_line_with_a_right_hash_of_its_own_is_noticed_at_the_next() {
    let (folder, good) = lines().await;
    for at in 1..20 {
        let mut lines = good.clone();
        lines[at] = forged(&lines[at], id_of(&good), |e| e.replacen("2026", "2025", 1));
        let damage = check(&folder, &lines).expect_err("it was not noticed");
        assert_eq!(damage.line, at as u64 + 2, "{damage}");
        assert!(damage.what.contains("line before"), "{damage}");
    }
}

#[tokio::test]
async fn a_whole_chain_made_anew_without_one_record_is_noticed_by_its_subject() {
    let (folder, good) = lines().await;
    let log = id_of(&good);
    // Record 2 is the first run's plan, record 4 its second: leave 2 out and renumber the rest honestly.
    let mut out = Vec::new();
    let mut prev = sternway::store::Hash::ZERO;
    for (seq, line) in (0..).zip(good.iter().enumerate().filter(|(at, _)| *at != 2).map(|(_, line)| line)) {
        let cut = Line::cut(line.as_bytes()).expect("a line");
        prev = write(&mut out, log, seq, prev, std::str::from_utf8(cut.event).expect("text"));
    }
    let lines: Vec<String> = String::from_utf8(out).expect("text").lines().map(str::to_owned).collect();
    let damage = check(&folder, &lines).expect_err("it was not noticed");
    assert!(damage.what.contains("subject"), "{damage}");
}

#[tokio::test]
async fn lines_of_another_log_do_not_fit() {
    let (folder, good) = lines().await;
    let (_other, other) = lines().await;
    let mut mixed = good.clone();
    mixed[0] = other[0].clone();
    assert_eq!(check(&folder, &mixed).expect_err("noticed").line, 2);
    let damage = verify_files(&[folder.segment(0)], Some(id_of(&other))).expect_err("noticed");
    assert!(damage.what.contains("belongs to log"), "{damage}");
}

#[tokio::test]
async fn a_torn_end_counts_only_at_the_very_end() {
    let (folder, good) = lines().await;
    let file = folder.segment(0);
    let whole = fs::read(&file).expect("read");
    fs::write(&file, &whole[..whole.len() - 7]).expect("written");
    let verified = verify(&folder.path()).expect("a write may be going on");
    let torn = verified.torn.expect("it is said");
    assert_eq!((verified.records, torn.line, torn.file), (20, 21, file.clone()));
    fs::write(folder.segment(21), good[20].clone() + "\n").expect("written");
    let damage = verify(&folder.path()).expect_err("that is not the end");
    assert_eq!((damage.file, damage.line), (file, 21));
}

#[tokio::test]
async fn exports_are_the_lines_themselves_and_prove_themselves() {
    let (folder, good) = lines().await;
    let run = |range: Range| {
        let mut out = Vec::new();
        let exported = export(&folder.path(), range, &mut out).expect("it is well");
        (exported.lines, String::from_utf8(out).expect("text"))
    };
    let (all, text) = run(Range::default());
    assert_eq!((all, text.lines().collect::<Vec<_>>()), (21, good.iter().map(String::as_str).collect()));

    let (some, text) = run(Range { from: Some(Position(5)), to: Some(Position(9)) });
    assert_eq!((some, text.lines().collect::<Vec<_>>()), (5, good[5..10].iter().map(String::as_str).collect()));
    let part: PathBuf = folder.path().join("part");
    fs::write(&part, &text).expect("written");
    let verified = verify_files(std::slice::from_ref(&part), Some(id_of(&good))).expect("it proves itself");
    assert_eq!((verified.records, verified.head.position), (5, Position(9)));
    let damage = verify_files(std::slice::from_ref(&part), None).expect_err("whose lines are these?");
    assert!(damage.what.contains("missing before"), "{damage}");

    // A batch is whole or not at all, also where a range ends in it.
    let log = folder.open();
    let drafts = (0..3).map(|n| draft(sternway::store::About::Log, n, Event::Stopped)).collect();
    let batch = log.append(None, drafts).await.expect("written");
    log.close();
    let (lines, _) = run(Range { from: None, to: Some(batch[0].position) });
    assert_eq!(lines, batch[2].position.0 + 1);

    fs::write(&part, text.replacen("2026", "2025", 1)).expect("written");
    assert_eq!(verify_files(&[part], Some(id_of(&good))).expect_err("noticed").line, 1);
}

#[tokio::test]
async fn an_export_beside_the_log_takes_the_place_of_the_one_before_and_is_no_part_of_the_log() {
    use sha2::{Digest, Sha256};
    use std::os::unix::fs::PermissionsExt;

    let (folder, good) = lines().await;
    let all = export_beside(&folder.path(), Range::default()).expect("it is well");
    assert_eq!(fs::read_to_string(&all.path).expect("there"), good.join("\n") + "\n");
    let some = export_beside(&folder.path(), Range { from: None, to: Some(Position(9)) }).expect("it is well");
    assert_eq!((some.exported.lines, &some.path), (10, &all.path));
    let content = fs::read(&some.path).expect("there");
    assert_eq!((some.bytes, some.sha256), (content.len() as u64, hex::encode(Sha256::digest(&content))));
    assert_eq!(verify(&some.path).expect("it proves itself").records, 10);
    assert_eq!(fs::metadata(&some.path).expect("there").permissions().mode() & 0o777, 0o600);
    let beside: Vec<_> = fs::read_dir(some.path.parent().expect("a folder")).expect("there").collect();
    assert_eq!(beside.len(), 1, "{beside:?}");
    assert_eq!(verify(&folder.path()).expect("the log is as it was").records, 21);
    let log = folder.open();
    assert_eq!(log.head().position, Position(20), "a store with an export in it opens");
}

#[tokio::test]
async fn nothing_of_a_damaged_log_is_exported() {
    let (folder, mut lines) = lines().await;
    lines[9] = lines[9].replacen("2026", "2025", 1);
    fs::write(folder.segment(0), lines.join("\n") + "\n").expect("written");
    let mut out = Vec::new();
    export(&folder.path(), Range::default(), &mut out).expect_err("it is damaged");
    assert_eq!(out.len(), 0);
}

#[tokio::test]
async fn a_log_that_is_written_to_can_be_verified() {
    let folder = Folder::new();
    let log = std::sync::Arc::new(folder.open());
    let writing = {
        let log = log.clone();
        tokio::spawn(async move {
            for n in 0..200 {
                log.append(None, vec![draft(sternway::store::About::Log, n, Event::Stopped)]).await.expect("written");
            }
        })
    };
    let mut seen = 0;
    while !writing.is_finished() {
        let verified = verify(&folder.path()).expect("it is well at every moment");
        assert!(verified.records >= seen, "records went away");
        seen = verified.records;
        tokio::task::yield_now().await;
    }
    writing.await.expect("written");
    assert_eq!(log.verify_all().expect("well").records, 201);
}

#[test]
fn what_is_no_log_is_said_to_be_none() {
    let dir = tempfile::tempdir().expect("a folder");
    assert!(verify(dir.path()).expect_err("empty").what.contains("no segment file"));
    let file = dir.path().join("x");
    for text in ["", "\n", "hello\n", "{}\n"] {
        fs::write(&file, text).expect("written");
        verify(&file).expect_err(text);
    }
    verify(Path::new("/nonexistent/x")).expect_err("not there");
}

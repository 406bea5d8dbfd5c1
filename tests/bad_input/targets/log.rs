//! The log: one line, records in a chain whose hashes are right, folders of files, and the cursors beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use sternway::clock::ManualClock;
use sternway::domain::event::Subject;
use sternway::domain::ids::Position;
use sternway::domain::run::{RunState, fold};
use sternway::store::export::{Range, export};
use sternway::store::files::{FileLog, OpenOptions};
use sternway::store::line::{self, Line, LogId};
use sternway::store::record::{decode, encode, envelope};
use sternway::store::verify::{Damage, verify, verify_files};
use sternway::store::{Hash, Log};

use super::assert_refusal;

const LOG: LogId = LogId([7; 16]);

/// The head of a line, and the event in it.
pub fn line(data: &[u8]) {
    let event = match Line::cut(data) {
        Some(cut) => {
            let mut again = Vec::new();
            let hash = line::write(&mut again, LOG, cut.seq, cut.prev, &String::from_utf8_lossy(cut.event));
            if std::str::from_utf8(cut.event).is_ok() {
                assert_eq!(hash, cut.proper_hash(LOG));
                let written = Line::cut(&again[..again.len() - 1]).expect("what is written is cut");
                assert_eq!((written.seq, written.prev, written.event), (cut.seq, cut.prev, cut.event));
            }
            cut.event
        }
        None => data,
    };
    let whole = decode(event);
    match (&whole, envelope(event)) {
        (Ok(wire), Ok(head)) => {
            assert_eq!((head.v, &head.subject, head.batch), (wire.v, &wire.subject, wire.batch), "two readers differ");
            let text = encode(wire).expect("what was read can be written");
            assert_eq!(decode(text.as_bytes()).as_ref(), Ok(wire), "it is not what it was: {text}");
        }
        // The envelope says no to what a chain cannot be made of, such as a member that is there twice.
        (Ok(_), Err(why)) | (Err(_), Err(why)) => assert!(!why.to_string().is_empty()),
        (Err(why), Ok(_)) => assert!(!why.to_string().is_empty()),
    }
}

/// Each line of the input is an event; heads and hashes are made right, so that what is behind them is reached.
pub fn chain(data: &[u8]) {
    thread_local! { static DIR: tempfile::TempDir = super::folder(); }
    let genesis = format!(
        r#"{{"at":"2026-01-01T00:00:00Z","body":{{"host":"h","keys":[],"log_id":"{LOG}","software":"t","type":"genesis"}},"v":1}}"#
    );
    let mut bytes = Vec::new();
    let (mut prev, mut subjects) = (Hash::ZERO, BTreeMap::new());
    let mut runs: BTreeMap<String, Option<RunState>> = BTreeMap::new();
    let events = String::from_utf8_lossy(data);
    for (seq, event) in std::iter::once(genesis.as_str()).chain(events.split('\n').take(64)).enumerate() {
        let mut event = event.to_owned();
        if let Ok(mut wire) = decode(event.as_bytes()) {
            if let Some(subject) = &wire.subject {
                let before = subjects.get(&format!("{subject:?}")).copied().unwrap_or(Hash::ZERO);
                wire.prev_of = Some(before.to_string());
                event = encode(&wire).expect("what was read can be written");
            }
            let position = Position(seq as u64);
            if let Some(Subject::Run(id)) = &wire.subject {
                let state = runs.entry(id.to_string()).or_default();
                if let Ok(next) = fold(state.clone(), position, wire.at, &wire.body) {
                    *state = Some(next);
                }
            }
            if let Some(subject) = &wire.subject {
                let mut scratch = Vec::new();
                let own = line::write(&mut scratch, LOG, seq as u64, prev, &event);
                subjects.insert(format!("{subject:?}"), own);
            }
        }
        prev = line::write(&mut bytes, LOG, seq as u64, prev, &event);
    }
    DIR.with(|dir| {
        let file = dir.path().join("000000000000.log");
        fs::write(&file, &bytes).unwrap();
        judged(dir.path(), verify(dir.path()), &file);
    });
}

/// Each file is named by how many lines stand before it.
fn folder_of_files(data: &[u8], dir: &Path) {
    let mut first = 0u64;
    for content in data.split(|b| *b == 0x1e).take(4) {
        fs::write(dir.join(format!("{first:012}.log")), content).unwrap();
        first += content.iter().filter(|b| **b == b'\n').count().max(1) as u64;
    }
}

/// A folder with up to four files in it, parted by 0x1e.
pub fn folder(data: &[u8]) {
    let dir = super::folder();
    folder_of_files(data, dir.path());
    let first = dir.path().join("000000000000.log");
    judged(dir.path(), verify(dir.path()), &first);
    for log in [None, Some(LOG)] {
        if let Err(damage) = verify_files(&[first.clone(), first.clone()], log) {
            assert_refusal("a file twice", &damage.to_string(), 2_048);
        }
    }
}

fn judged(dir: &Path, outcome: Result<sternway::store::verify::Verified, Damage>, file: &Path) {
    match outcome {
        Ok(good) => {
            let mut out = Vec::new();
            let exported = export(dir, Range::default(), &mut out).expect("what is whole can be exported");
            assert_eq!(exported.lines, good.records, "not every record is given away");
            let copy = dir.join("copy");
            fs::write(&copy, &out).unwrap();
            let again = verify(&copy).expect("an export proves itself");
            assert_eq!((again.records, again.head), (good.records, good.head));
            fs::remove_file(&copy).unwrap();
        }
        Err(damage) => {
            let told = damage.to_string();
            assert_refusal("a log", &told, 4_096);
            assert!(told.contains(&file.parent().unwrap().display().to_string()), "no file is named: {told}");
            assert!(damage.line > 0 || damage.what.contains("no whole record"), "no line is named: {told}");
        }
    }
}

/// What stands in the file beside the log never keeps it from opening, and never skips a record.
pub fn cursors(data: &[u8]) {
    thread_local! { static STORE: tempfile::TempDir = store(); }
    STORE.with(|dir| {
        let file = dir.path().join("cursors.json");
        fs::write(&file, data).unwrap();
        let (log, _) = FileLog::open(dir.path(), options()).expect("the log opens");
        let (told, head) = (log.outbox_cursor("console").expect("a cursor"), log.head().position);
        assert!(told <= head, "the cursor stands at {told}, the log ends at {head}");
        log.close();
        let _ = fs::remove_file(&file);
    });
}

fn options() -> OpenOptions {
    let clock = ManualClock::at("2026-11-22T01:00:00Z".parse().unwrap());
    let mut options = OpenOptions::new(Arc::new(clock), "0.0-test", "test-host");
    options.ballast_bytes = 64 * 1024;
    options
}

fn store() -> tempfile::TempDir {
    let dir = super::folder();
    let (log, _) = FileLog::open(dir.path(), options()).expect("an empty log opens");
    log.close();
    dir
}

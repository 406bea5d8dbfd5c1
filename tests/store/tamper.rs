//! What somebody with the files can do to a long history, and what notices it: the chain alone, the next checkpoint, or
//! only a checkpoint that was kept elsewhere.
//!
//! Short form: 10,000 records. Long form: `make torture-audit`, a million. `STERNWAY_SEED=N` replays one round.

use std::fs;
use std::path::PathBuf;

use ed25519_dalek::SigningKey;
use sternway::domain::ids::Position;
use sternway::store::Log;
use sternway::store::checkpoint::{Kept, read};
use sternway::store::compare::{Comparison, verify_against};
use sternway::store::files::{IndexOutcome, OpenError};
use sternway::store::note::Verifier;
use sternway::store::verify::{verify, verify_paths};

use super::forger::{Dice, Files, HARMS, Harm};
use super::history;
use super::world::Folder;

/// Seeds of every run; a fresh one comes on top.
const SEEDS: [u64; 2] = [1, 2];

#[allow(clippy::disallowed_methods)] // how a long run is asked for, and a seed replayed
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|n| n.parse().unwrap_or_else(|e| panic!("{name}={n}: {e}")))
}

fn seeds() -> Vec<u64> {
    let fresh = std::collections::hash_map::RandomState::new();
    let fresh = std::hash::BuildHasher::hash_one(&fresh, 0);
    asked("STERNWAY_SEED").map_or_else(|| SEEDS.into_iter().chain([fresh]).collect(), |seed| vec![seed])
}

fn records() -> u64 {
    asked("STERNWAY_RECORDS").unwrap_or(10_000)
}

/// A history in at least ten files.
fn long(folder: &Folder) -> Files {
    let records = records();
    let bytes = usize::try_from(records).expect("fits").saturating_mul(60).min(16 << 20);
    let written = history::write_in_segments(&folder.path(), records, 7, bytes).expect("written");
    Files::of(&folder.path(), written)
}

#[tokio::test]
async fn a_long_history_is_one_that_the_bot_could_have_written() {
    let folder = Folder::new();
    let written = history::write(&folder.path(), 2_000, 7).expect("written");
    let verified = verify(&folder.path()).expect("it is whole");
    assert_eq!((verified.records, verified.head.hash), (written.records, written.head));
    let (log, report) = folder.reopen();
    // It has no cursors, as nobody was told of it, and it says so; nothing else is amiss.
    let others: Vec<_> = report.warnings.iter().filter(|w| !w.contains("cursors.json is missing")).collect();
    assert_eq!(others, Vec::<&String>::new());
    assert!(matches!(report.index, IndexOutcome::Rebuilt { .. }), "{:?}", report.index);
    assert_eq!(log.runs(1).expect("the index answers")[0].last.0 + 2, written.records, "its end, then a checkpoint");
    assert!(log.head().position > Position(2_000));
}

#[test]
fn every_harm_is_named_with_its_line() {
    let folder = Folder::new();
    let mut files = long(&folder);
    let rounds = asked("STERNWAY_HARMS").unwrap_or(4);
    let mut done = 0;
    for seed in seeds() {
        println!("seed {seed}: STERNWAY_SEED={seed} STERNWAY_RECORDS={} replays it", records());
        let mut dice = Dice(seed);
        for harm in HARMS {
            // Chaining a long history anew takes as long as writing it.
            let rounds = if matches!(harm, Harm::Rechained | Harm::Resigned) { 1 } else { rounds };
            for round in 0..rounds {
                let wanted = files.harm(harm, &mut dice);
                match verify(&folder.path()) {
                    Ok(_) => panic!("seed {seed}, {harm:?}, round {round}: not noticed; it is at {wanted:?}"),
                    Err(found) => assert_eq!(
                        (&found.file, found.line),
                        (&wanted.file, wanted.line),
                        "seed {seed}, {harm:?}, round {round}: {found}"
                    ),
                }
                files.restore();
                done += 1;
            }
        }
    }
    println!("{done} harms to {} records, each named with its line", files.written.records);
    let verified = verify(&folder.path()).expect("all of it was undone");
    assert_eq!(verified.head.hash, files.written.head);
}

#[test]
fn a_start_refuses_a_record_that_was_chained_anew_and_names_the_checkpoint_that_does_not_fit() {
    let folder = Folder::new();
    let written = history::write_in_segments(&folder.path(), 600, 7, 50_000).expect("written");
    folder.open().close();
    // Behind the history stands a file with what the opening wrote, and its own last file may be short.
    let mut files = Files::of(&folder.path(), written);
    let last = files.paths().len() - 3;
    for (key, whole) in [(None, false), (Some([0x66; 32]), false), (Some(history::KEY), true)] {
        let named = files.rechain(last, 3, key.map(|key| SigningKey::from_bytes(&key)));
        let opened = folder.open_with(super::world::options());
        match opened {
            Err(OpenError::Damage(found)) if !whole => {
                assert_eq!((&found.file, found.line), (&named.file, named.line), "{key:?}: {found}");
            }
            Ok((log, report)) if whole => {
                // With the key it is whole; that the index knew another record is told.
                assert!(matches!(report.index, IndexOutcome::Rebuilt { .. }), "{:?}", report.index);
                log.close();
            }
            other => panic!("{key:?}: {:?}", other.map(|(_, report)| report)),
        }
        files.restore();
        // The index as it was, for the next: a start that was refused leaves it behind.
        folder.open().close();
    }
}

/// The newest checkpoint of a log and its key, as they are kept elsewhere.
fn kept(folder: &Folder) -> (Kept, Verifier) {
    let verified = verify(&folder.path()).expect("it is whole");
    let note = verified.signed.expect("it is signed").note;
    (Kept::parse(&note).expect("a checkpoint"), verified.verifier.expect("it has a key"))
}

/// The same as it is posted in a chat.
fn short(kept: &Kept) -> Kept {
    let Kept::Note { says, .. } = kept else { panic!("{kept:?} is no note") };
    Kept::parse(&format!("record {} · {}", says.size, says.short_root())).expect("a checkpoint")
}

#[test]
fn a_cut_end_is_whole_by_itself_and_shows_against_a_checkpoint_of_before() {
    let folder = Folder::new();
    let mut files = long(&folder);
    let (kept, key) = kept(&folder);
    for seed in seeds() {
        println!("seed {seed}: STERNWAY_SEED={seed} STERNWAY_RECORDS={} replays it", records());
        let mut dice = Dice(seed);
        for _ in 0..6 {
            // Of one to all files after the first nothing is left, and the last that is left ends early.
            let left = 1 + dice.below(files.paths().len() - 1);
            (left..files.paths().len()).for_each(|file| files.take_away(file));
            let whole = fs::read(&files.paths()[left - 1]).expect("there");
            let bytes = 2_000 + dice.below(whole.len() - 2_000);
            files.put_bytes(left - 1, &whole[..bytes]);

            let by_itself = verify(&folder.path()).expect("the chain alone does not show it");
            for kept in [&kept, &short(&kept)] {
                let (_, comparison) = verify_against(&[folder.path()], kept, Some(&key)).expect("it is whole");
                let cut = Comparison::Cut { has: by_itself.records, says: kept.size() };
                assert_eq!(comparison, cut, "seed {seed}: {left} files, {bytes} bytes of the last");
            }
            files.restore();
        }
    }
    let (_, comparison) = verify_against(&[folder.path()], &kept, Some(&key)).expect("it is whole");
    assert!(comparison.is_consistent(), "{comparison}");
}

#[test]
fn whoever_has_the_key_can_write_history_anew_and_only_a_checkpoint_of_before_shows_it() {
    let folder = Folder::new();
    let mut files = long(&folder);
    let (kept, key) = kept(&folder);
    let mut dice = Dice(1);
    for _ in 0..2 {
        let file = dice.below(files.paths().len() - 1);
        files.rechain(file, dice.below(100), Some(SigningKey::from_bytes(&history::KEY)));
        verify(&folder.path()).expect("its own key signed it: the files alone do not show it");
        for kept in [&kept, &short(&kept)] {
            let (_, comparison) = verify_against(&[folder.path()], kept, Some(&key)).expect("it is whole");
            assert!(matches!(comparison, Comparison::Rewritten { .. }), "{comparison}");
        }
        files.restore();
    }
}

#[test]
fn a_checkpoint_says_consistent_for_its_log_however_that_lies_and_nothing_else_for_others() {
    let folder = Folder::new();
    let written = history::write_in_segments(&folder.path(), 500, 7, 50_000).expect("written");
    let files = Files::of(&folder.path(), written);
    let (kept, key) = kept(&folder);
    let export = folder.path().join("export.jsonl");
    let all: Vec<u8> = files.paths().iter().flat_map(|p| fs::read(p).expect("there")).collect();
    fs::write(&export, all).expect("written");
    let whole = folder.path();
    let forms: [Vec<PathBuf>; 4] =
        [vec![whole.clone()], vec![whole.join("log")], files.paths().to_vec(), vec![export.clone()]];
    for paths in &forms {
        for (kept, key) in [(&kept, None), (&kept, Some(&key)), (&short(&kept), None), (&short(&kept), Some(&key))] {
            let (_, comparison) = verify_against(paths, kept, key).expect("it is whole");
            assert_eq!(comparison, Comparison::Consistent { size: kept.size() }, "{paths:?}");
        }
    }
    // Every checkpoint that was ever written is one of this log.
    let mut seen = 0;
    for line in fs::read_to_string(&export).expect("there").lines().filter(|l| l.contains("\"type\":\"checkpoint\"")) {
        let cut = sternway::store::line::Line::cut(line.as_bytes()).expect("a line");
        let wire = sternway::store::record::decode(cut.event).expect("a record");
        let sternway::domain::event::Event::Checkpoint { note, .. } = wire.body else { panic!("{line}") };
        assert_eq!(read(&note).expect("a checkpoint").1.size, cut.seq);
        let kept = Kept::parse(&note).expect("a checkpoint");
        let (_, comparison) = verify_against(std::slice::from_ref(&export), &kept, Some(&key)).expect("it is whole");
        assert_eq!(comparison, Comparison::Consistent { size: cut.seq });
        seen += 1;
    }
    assert!(seen > 20, "only {seen} checkpoints");

    let other = Folder::new();
    history::write(&other.path(), 600, 8).expect("written");
    let (theirs, their_key) = super::tamper::kept(&other);
    let told = |kept: &Kept, key: Option<&Verifier>| {
        verify_against(&[folder.path()], kept, key).expect("it is whole").1.to_string()
    };
    assert!(told(&theirs, None).starts_with("ANOTHER LOG"), "{}", told(&theirs, None));
    assert!(told(&kept, Some(&their_key)).starts_with("ANOTHER LOG"), "{}", told(&kept, Some(&their_key)));
    assert!(told(&short(&theirs), None).starts_with("CUT"), "{}", told(&short(&theirs), None));

    let wrong_key = SigningKey::from_bytes(&[9; 32]).verifying_key();
    let wrong_key = Verifier::new(key.name(), wrong_key).expect("a name");
    assert!(told(&kept, Some(&wrong_key)).starts_with("ANOTHER KEY"), "{}", told(&kept, Some(&wrong_key)));

    let Kept::Note { note, .. } = &kept else { panic!("{kept:?}") };
    let forged = Kept::parse(&note.replacen(&format!("\n{}\n", kept.size()), "\n12\n", 1)).expect("a checkpoint");
    assert!(told(&forged, None).starts_with("NOT TO BE TRUSTED"), "{}", told(&forged, None));
    verify_paths(&forms[2]).expect("nothing was changed by asking");
}

//! The history of the chat is a witness: every thread ends with what the record was then.

use sternway::chat::sim::Way;
use sternway::domain::event::Event;
use sternway::domain::ids::Position;
use sternway::store::Log;
use sternway::store::checkpoint::{Kept, read};
use sternway::store::compare::{Comparison, verify_against};

use crate::cast::{asking, is_witness, over, records, rows, thread_of};
use crate::night::{AMAL, BEN, Night, at_rest};

/// The night's log as a file somewhere else.
fn copy(night: &Night) -> std::path::PathBuf {
    let file = night.folder.path().join("copy.jsonl");
    std::fs::write(&file, night.log.lines()).unwrap();
    file
}

#[test]
fn a_thread_ends_with_one_quiet_line_that_the_record_can_be_compared_with() {
    let night = Night::after_a_bad_deploy();
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_rest).await);
    let thread = thread_of(&night, run.id);
    let last = thread.last().unwrap();
    assert!(is_witness(last) && last.way == Way::Reply, "{last:?}");
    assert_eq!((rows(&last.card), last.card.buttons.len()), (1, 0), "{}", last.card.plain());
    assert_eq!(thread.iter().filter(|s| is_witness(s)).count(), 1, "it is said once");

    // What stands in the chat is all that is needed, with any copy of the log, however long that has become since.
    let kept = Kept::parse(&last.card.plain()).unwrap();
    let file = copy(&night);
    let (verified, comparison) = verify_against(std::slice::from_ref(&file), &kept, None).unwrap();
    assert_eq!(comparison, Comparison::Consistent { size: kept.size() });
    assert!(verified.records > kept.size(), "the stop came after it");

    // The same log without its last lines is whole by itself; the thread knows better.
    let lines = String::from_utf8(night.log.lines()).unwrap();
    let cut: String = lines.split_inclusive('\n').take(usize::try_from(kept.size()).unwrap() - 3).collect();
    std::fs::write(&file, cut).unwrap();
    let (_, comparison) = verify_against(&[file], &kept, None).unwrap();
    assert_eq!(comparison, Comparison::Cut { has: kept.size() - 3, says: kept.size() });
}

#[test]
fn whatever_its_end_a_run_with_a_thread_has_its_line_and_what_has_none_makes_no_noise() {
    let night = asking();
    let (expired, dry) = night.live(async |bot| {
        let dry = bot.rollback(AMAL, "/rollback plan image api", over).await;
        let asked = bot.rollback(AMAL, "/rollback image api", over).await;
        (asked, dry)
    });
    assert!(is_witness(thread_of(&night, expired.id).last().unwrap()));
    assert!(thread_of(&night, dry.id).is_empty(), "a dry run has no thread");
    let named = records(&night, |e| matches!(e, Event::Checkpoint { .. }));
    let runs: Vec<_> = named
        .into_iter()
        .filter_map(|e| match e {
            Event::Checkpoint { ended, .. } => Some(ended),
            _ => None,
        })
        .flatten()
        .collect();
    assert_eq!(runs, [expired.id], "nobody signs about a dry run alone");
}

#[test]
fn what_the_chat_says_is_what_the_record_says() {
    let night = Night::after_a_bad_deploy();
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_rest).await);
    let all = night.log.read(Position(0), 10_000).unwrap();
    let on_record = all.iter().find_map(|r| match &r.event {
        Event::Checkpoint { note, ended } if ended.contains(&run.id) => Some((r.position, read(note).unwrap().1)),
        _ => None,
    });
    let (position, says) = on_record.expect("its end is signed");
    assert_eq!(position.0, says.size);
    let told = thread_of(&night, run.id).last().unwrap().card.plain();
    assert_eq!(told.trim_end(), format!("record {} · {}", says.size, says.short_root()));
}

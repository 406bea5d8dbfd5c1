//! What every log must do, whatever keeps it: one list of cases, each told by name when it fails.

use std::any::Any;
use std::pin::Pin;

use sternway::domain::event::{Event, Outcome, Subject};
use sternway::domain::ids::{Position, RunId};
use sternway::domain::run::Status;
use sternway::store::{About, AppendError, Draft, Record, SharedLog};

use super::samples::*;

/// Makes a fresh log; what it needs to live is given beside it.
pub trait Factory {
    fn fresh(&self) -> (SharedLog, Box<dyn Any>);
}

macro_rules! ensure {
    ($holds:expr, $($told:tt)+) => {
        if !$holds {
            return Err(format!($($told)+));
        }
    };
}

mod checkpoints;
mod questions;

use checkpoints::*;
use questions::*;

type Verdict = Result<(), String>;
type Case = fn(SharedLog) -> Pin<Box<dyn Future<Output = Verdict> + Send>>;

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        vec![$((stringify!($name), (|log| Box::pin($name(log))) as Case)),+]
    };
}

/// The names of all cases.
pub fn names() -> Vec<&'static str> {
    all().into_iter().map(|(name, _)| name).collect()
}

/// Runs every case on a log of its own and returns those that failed, with why.
pub async fn failures(factory: &dyn Factory) -> Vec<(&'static str, String)> {
    let mut failed = Vec::new();
    for (name, case) in all() {
        let (log, alive) = factory.fresh();
        if let Err(why) = case(log).await {
            failed.push((name, why));
        }
        drop(alive);
    }
    failed
}

fn all() -> Vec<(&'static str, Case)> {
    cases![
        a_log_begins_with_genesis,
        positions_have_no_gaps_and_records_come_back_as_they_were_returned,
        reading_begins_and_ends_where_it_is_told,
        an_empty_batch_changes_nothing,
        who_decided_on_an_old_state_is_refused,
        who_decided_on_this_state_is_taken,
        who_decided_on_a_state_to_come_is_refused,
        a_batch_that_is_too_long_is_refused_whole,
        a_batch_keeps_its_order_and_its_words,
        a_batch_is_whole_or_not_at_all,
        a_platform_event_is_taken_once,
        a_platform_event_is_taken_once_within_a_batch,
        a_request_is_the_run_of_its_position,
        a_record_that_cannot_follow_is_refused,
        a_record_about_nothing_known_is_refused,
        a_record_belongs_where_its_type_says,
        a_log_begins_once,
        a_held_target_is_not_claimed_again,
        a_target_is_free_when_its_run_has_ended,
        an_approval_leads_to_its_run,
        runs_are_listed_newest_first_and_open_ones_oldest_first,
        threads_hold_their_own_records_only,
        releases_have_threads_too_and_nobody_has_an_empty_one,
        what_is_not_on_record_is_not_answered,
        releases_are_told_apart_by_service,
        every_service_with_releases_is_named,
        the_epoch_is_that_of_the_newest_start,
        a_number_without_canonical_form_is_refused,
        many_at_once_are_all_written_once_each,
        one_refusal_leaves_the_others_alone,
        watchers_see_the_last_position,
        watchers_never_see_less_than_was_returned,
        cursors_are_kept_by_surface,
        the_end_of_a_run_is_followed_by_a_checkpoint_about_everything_before_it,
        a_checkpoint_that_says_something_else_is_refused,
        room_can_be_reserved_and_nothing_is_wrong,
    ]
}

async fn write(log: &SharedLog, batch: Vec<Draft>) -> Result<Vec<Record>, String> {
    log.append(None, batch).await.map_err(|e| format!("the append was refused: {e}"))
}

async fn begin(log: &SharedLog, event: &str, stack: &str) -> Result<RunId, String> {
    let records = write(log, vec![new_run(event, stack)]).await?;
    records.first().map(|r| RunId(r.position)).ok_or_else(|| "no record came back".to_owned())
}

async fn go_on(log: &SharedLog, run: RunId, events: Vec<Event>) -> Result<Vec<Record>, String> {
    let mut written = Vec::new();
    for event in events {
        written.extend(write(log, vec![in_run(run, event)]).await?);
    }
    Ok(written)
}

fn told<T, E: std::fmt::Display>(result: Result<T, E>) -> Result<T, String> {
    result.map_err(|e| format!("a question was not answered: {e}"))
}

async fn a_log_begins_with_genesis(log: SharedLog) -> Verdict {
    let first = told(log.read(Position(0), 1))?;
    let Some(Record { event: Event::Genesis { log_id, .. }, hash, position: Position(0), subject: None, .. }) =
        first.first()
    else {
        return Err(format!("the first record is {first:?}"));
    };
    ensure!(*log_id == log.log_id(), "genesis names {log_id}, the log {}", log.log_id());
    ensure!(log_id.len() == 32, "{log_id} has not 32 digits");
    ensure!(log.head().position == Position(0) && log.head().hash == *hash, "the head is {:?}", log.head());
    Ok(())
}

async fn positions_have_no_gaps_and_records_come_back_as_they_were_returned(log: SharedLog) -> Verdict {
    let mut returned = Vec::new();
    for n in 0..70 {
        returned.extend(write(&log, vec![new_run(&format!("e{n}"), "shop")]).await?);
        if n % 10 == 0 {
            let two = vec![draft(About::Log, n, Event::Stopped), draft(About::Log, n, Event::Stopped)];
            returned.extend(write(&log, two).await?);
        }
    }
    let positions: Vec<u64> = returned.iter().map(|r| r.position.0).collect();
    let wanted: Vec<u64> = (1..=returned.len() as u64).collect();
    ensure!(positions == wanted, "positions are {positions:?}");
    let read = told(log.read(Position(1), 1000))?;
    ensure!(read == returned, "{} records were read, {} returned", read.len(), returned.len());
    let head = log.head();
    let last = returned.last().ok_or("nothing was returned")?;
    ensure!(head.position == last.position && head.hash == last.hash, "the head is {head:?}, the last {last:?}");
    Ok(())
}

async fn reading_begins_and_ends_where_it_is_told(log: SharedLog) -> Verdict {
    for n in 0..130 {
        write(&log, vec![draft(About::Log, n, Event::Stopped)]).await?;
    }
    for (from, limit, wanted) in
        [(0, 1, vec![0]), (63, 3, vec![63, 64, 65]), (128, 9, vec![128, 129, 130]), (131, 5, vec![]), (5, 0, vec![])]
    {
        let found: Vec<u64> = told(log.read(Position(from), limit))?.iter().map(|r| r.position.0).collect();
        ensure!(found == wanted, "from {from}, at most {limit}: {found:?}");
    }
    Ok(())
}

async fn an_empty_batch_changes_nothing(log: SharedLog) -> Verdict {
    let before = log.head();
    let records = write(&log, Vec::new()).await?;
    ensure!(records.is_empty() && log.head() == before, "it wrote {records:?}");
    Ok(())
}

async fn who_decided_on_an_old_state_is_refused(log: SharedLog) -> Verdict {
    let looked = log.head().position;
    begin(&log, "e1", "shop").await?;
    let head = log.head();
    match log.append(Some(looked), vec![new_run("e2", "shop")]).await {
        Err(AppendError::Moved(now)) if now == head.position => {}
        other => return Err(format!("the answer was {other:?}")),
    }
    ensure!(log.head() == head, "something was written all the same");
    ensure!(told(log.seen("e2"))?.is_none(), "what was refused counts as seen");
    Ok(())
}

async fn who_decided_on_this_state_is_taken(log: SharedLog) -> Verdict {
    let expected = log.head().position;
    log.append(Some(expected), vec![new_run("e1", "shop")]).await.map_err(|e| e.to_string())?;
    Ok(())
}

async fn who_decided_on_a_state_to_come_is_refused(log: SharedLog) -> Verdict {
    let head = log.head();
    match log.append(Some(Position(5)), vec![new_run("e1", "shop")]).await {
        Err(AppendError::Moved(now)) if now == head.position => {}
        other => return Err(format!("the answer was {other:?}")),
    }
    // Looked again and decided again: each of a chain of appends names what the one before returned.
    let mut expected = head.position;
    for n in 0..3 {
        let answer = log.append(Some(expected), vec![new_run(&format!("e{n}"), "shop")]).await;
        let records = answer.map_err(|e| format!("append {n}: {e}"))?;
        expected = records.last().ok_or("nothing was written")?.position;
    }
    ensure!(log.head().position == Position(3), "the head is {:?}", log.head());
    Ok(())
}

async fn a_batch_that_is_too_long_is_refused_whole(log: SharedLog) -> Verdict {
    let head = log.head();
    let batch = |count| (0..count).map(|n| draft(About::Log, n, Event::Stopped)).collect::<Vec<_>>();
    let answer = log.append(None, batch(1001)).await;
    ensure!(matches!(answer, Err(AppendError::CannotWrite(_))), "the answer has {:?} records", answer.map(|r| r.len()));
    ensure!(log.head() == head, "a part of it was written");
    let long = write(&log, batch(1000)).await?;
    let last = long.last().ok_or("nothing was written")?.position;
    ensure!(long.len() == 1000 && last == Position(1000), "{} records up to {last}", long.len());
    Ok(())
}

async fn a_batch_keeps_its_order_and_its_words(log: SharedLog) -> Verdict {
    let batch = vec![
        draft(About::Log, 7, said("e1")),
        new_run("e2", "shop"),
        release_seen("shop", 'a', "1.4"),
        in_run(RunId(Position(2)), planned("shop")),
    ];
    let returned = write(&log, batch.clone()).await?;
    let read = told(log.read(Position(1), 9))?;
    for records in [&returned, &read] {
        ensure!(records.len() == batch.len(), "{} records", records.len());
        for (record, draft) in records.iter().zip(&batch) {
            ensure!(record.event == draft.event && record.at == draft.at, "{record:?} was {draft:?}");
        }
    }
    ensure!(read[1].subject == Some(Subject::Run(RunId(Position(2)))), "{:?}", read[1].subject);
    Ok(())
}

async fn a_batch_is_whole_or_not_at_all(log: SharedLog) -> Verdict {
    let head = log.head();
    let good_then_bad = vec![
        new_run("e1", "shop"),
        draft(About::Log, 0, Event::Stopped),
        in_run(RunId(Position(1)), Event::StepIntent { step: 0 }),
    ];
    let answer = log.append(None, good_then_bad).await;
    ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "the answer was {answer:?}");
    ensure!(log.head() == head, "the head moved to {:?}", log.head());
    ensure!(told(log.seen("e1"))?.is_none() && told(log.runs(9))?.is_empty(), "a part of it is in the index");
    let run = Subject::Run(RunId(Position(1)));
    ensure!(told(log.thread(&run))?.is_empty(), "a part of it is in a thread");

    let whole =
        vec![new_run("e1", "shop"), in_run(RunId(Position(1)), planned("shop")), release_seen("shop", 'a', "1")];
    let records = write(&log, whole).await?;
    ensure!(records.len() == 3 && log.head().position == Position(3), "{} records were written", records.len());
    ensure!(told(log.read(Position(1), 9))? == records, "what was written is not what is read");
    Ok(())
}

async fn a_platform_event_is_taken_once(log: SharedLog) -> Verdict {
    let run = begin(&log, "e1", "shop").await?;
    go_on(&log, run, vec![said("e2")]).await?;
    let head = log.head();
    for (event, at) in [("e1", 1), ("e2", 2)] {
        for again in [new_run(event, "shop"), in_run(run, said(event)), draft(About::Log, 0, said(event))] {
            match log.append(None, vec![again]).await {
                Err(AppendError::Duplicate(Position(found))) if found == at => {}
                other => return Err(format!("{event} again: {other:?}")),
            }
        }
        ensure!(told(log.seen(event))? == Some(Position(at)), "{event} is not seen at {at}");
    }
    ensure!(log.head() == head, "a duplicate was written");
    ensure!(told(log.seen("e3"))?.is_none(), "what never was is seen");
    Ok(())
}

async fn a_platform_event_is_taken_once_within_a_batch(log: SharedLog) -> Verdict {
    let answer = log.append(None, vec![new_run("e1", "shop"), new_run("e1", "shop")]).await;
    ensure!(matches!(answer, Err(AppendError::Duplicate(_))), "the answer was {answer:?}");
    ensure!(log.head().position == Position(0), "half of it was written");
    Ok(())
}

async fn a_request_is_the_run_of_its_position(log: SharedLog) -> Verdict {
    write(&log, vec![draft(About::Log, 0, Event::Stopped)]).await?;
    let run = begin(&log, "e1", "shop").await?;
    ensure!(run == RunId(Position(2)), "the run is {run}");
    let state = told(log.run(run))?.ok_or("the run is not on record")?;
    ensure!(state.id == run && state.status == Status::Requested && state.last == run.0, "{state:?}");
    ensure!(told(log.run(RunId(Position(1))))?.is_none(), "another record is a run");
    Ok(())
}

async fn a_record_that_cannot_follow_is_refused(log: SharedLog) -> Verdict {
    let run = begin(&log, "e1", "shop").await?;
    let head = log.head();
    for event in [Event::Resumed, Event::StepIntent { step: 0 }, ended(Outcome::Done), claimed("shop", None)] {
        let answer = log.append(None, vec![in_run(run, event.clone())]).await;
        ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "{event:?}: {answer:?}");
    }
    ensure!(log.head() == head, "one was written");
    Ok(())
}

async fn a_record_about_nothing_known_is_refused(log: SharedLog) -> Verdict {
    let answer = log.append(None, vec![in_run(RunId(Position(7)), planned("shop"))]).await;
    ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "the answer was {answer:?}");
    let answer = log.append(None, vec![in_run(RunId(Position(7)), invoked("e1", "shop"))]).await;
    ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "a run of another position: {answer:?}");
    Ok(())
}

async fn a_record_belongs_where_its_type_says(log: SharedLog) -> Verdict {
    let run = begin(&log, "e1", "shop").await?;
    let seen = release_seen("shop", 'a', "1").event;
    for wrong in [
        draft(About::Log, 0, invoked("e9", "shop")),
        draft(About::Log, 0, Event::Resumed),
        draft(About::Log, 0, seen.clone()),
        draft(about_releases("shop", "web"), 0, seen.clone()),
        draft(about_releases("shop", "api"), 0, Event::Stopped),
        in_run(run, seen),
        in_run(run, Event::Stopped),
    ] {
        let answer = log.append(None, vec![wrong.clone()]).await;
        ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "{wrong:?}: {answer:?}");
    }
    Ok(())
}

async fn a_log_begins_once(log: SharedLog) -> Verdict {
    let genesis = told(log.read(Position(0), 1))?.pop().ok_or("there is no genesis")?.event;
    let answer = log.append(None, vec![draft(About::Log, 0, genesis)]).await;
    ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "the answer was {answer:?}");
    Ok(())
}

async fn a_held_target_is_not_claimed_again(log: SharedLog) -> Verdict {
    let first = begin(&log, "e1", "shop").await?;
    let second = begin(&log, "e2", "shop").await?;
    let elsewhere = begin(&log, "e3", "blog").await?;
    go_on(&log, first, up_to_claim("shop")).await?;
    go_on(&log, second, vec![planned("shop")]).await?;
    let answer = log.append(None, vec![in_run(second, claimed("shop", None))]).await;
    let Err(AppendError::CannotFollow(why)) = answer else {
        return Err(format!("the second claim: {answer:?}"));
    };
    ensure!(why.to_string().contains(&first.to_string()), "it does not say who holds it: {why}");
    let holder = told(log.holder(&target("shop")))?.map(|run| run.id);
    ensure!(holder == Some(first), "the holder is {holder:?}");
    go_on(&log, elsewhere, up_to_claim("blog")).await?;
    let holder = told(log.holder(&target("blog")))?.map(|run| run.id);
    ensure!(holder == Some(elsewhere), "the other target's holder is {holder:?}");
    Ok(())
}

async fn a_target_is_free_when_its_run_has_ended(log: SharedLog) -> Verdict {
    let first = begin(&log, "e1", "shop").await?;
    let second = begin(&log, "e2", "shop").await?;
    ensure!(told(log.holder(&target("shop")))?.is_none(), "it is held before anyone claimed");
    go_on(&log, first, up_to_claim("shop")).await?;
    go_on(&log, first, to_the_end("shop")).await?;
    ensure!(told(log.holder(&target("shop")))?.is_none(), "it is held after the end");
    go_on(&log, second, up_to_claim("shop")).await?;
    let holder = told(log.holder(&target("shop")))?.map(|run| run.id);
    ensure!(holder == Some(second), "the holder is {holder:?}");
    Ok(())
}

async fn a_number_without_canonical_form_is_refused(log: SharedLog) -> Verdict {
    let run = begin(&log, "e1", "shop").await?;
    let big = Event::Refused { account: account("U"), tried: "x".into(), kind: "denied".into(), why: "y".into() };
    write(&log, vec![draft(About::Log, 0, big)]).await?;
    let counted = Event::RefusalsCounted { account: account("U"), count: 1 << 53, last: "x".into() };
    let answer = log.append(None, vec![draft(About::Log, 0, counted)]).await;
    ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "the answer was {answer:?}");
    go_on(&log, run, vec![planned("shop")]).await?;
    Ok(())
}

async fn many_at_once_are_all_written_once_each(log: SharedLog) -> Verdict {
    let tasks: Vec<_> = (0..16)
        .map(|task| {
            let log = log.clone();
            tokio::spawn(async move {
                let mut written = Vec::new();
                for n in 0..8 {
                    written.extend(write(&log, vec![new_run(&format!("{task}-{n}"), "shop")]).await?);
                }
                Ok::<_, String>(written)
            })
        })
        .collect();
    let mut written = Vec::new();
    for task in tasks {
        written.extend(task.await.map_err(|e| e.to_string())??);
    }
    written.sort_by_key(|r| r.position);
    ensure!(told(log.read(Position(1), 1000))? == written, "what was returned is not what is on record");
    ensure!(written.len() == 128, "{} records", written.len());
    Ok(())
}

async fn one_refusal_leaves_the_others_alone(log: SharedLog) -> Verdict {
    let appends = (0..20).map(|n| {
        let draft = match n % 2 {
            0 => new_run(&format!("e{n}"), "shop"),
            _ => in_run(RunId(Position(9_999)), Event::Resumed),
        };
        log.append(None, vec![draft])
    });
    let answers = futures_util::future::join_all(appends).await;
    for (n, answer) in answers.iter().enumerate() {
        match (n % 2, answer) {
            (0, Ok(records)) if records.len() == 1 => {}
            (1, Err(AppendError::CannotFollow(_))) => {}
            _ => return Err(format!("append {n}: {answer:?}")),
        }
    }
    ensure!(log.head().position == Position(10), "the head is {:?}", log.head());
    Ok(())
}

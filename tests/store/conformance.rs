//! What every log must do, whatever keeps it: one list of cases, each told by name when it fails.

use std::any::Any;
use std::pin::Pin;

use sternway::domain::event::{Event, Outcome, Subject};
use sternway::domain::ids::{ApprovalId, Position, ReleaseId, RunId};
use sternway::domain::run::Status;
use sternway::store::checkpoint::{self, Checkpoint, Signer};
use sternway::store::line::LogId;
use sternway::store::merkle::Tree;
use sternway::store::{About, AppendError, Draft, Record, SharedLog};

use super::samples::*;

/// Makes a fresh log; what it needs to live is given beside it.
pub trait Factory {
    fn fresh(&self) -> (SharedLog, Box<dyn Any>);
}

type Verdict = Result<(), String>;
type Case = fn(SharedLog) -> Pin<Box<dyn Future<Output = Verdict> + Send>>;

macro_rules! ensure {
    ($holds:expr, $($told:tt)+) => {
        if !$holds {
            return Err(format!($($told)+));
        }
    };
}

macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        vec![$((stringify!($name), (|log| Box::pin($name(log))) as Case)),+]
    };
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
        releases_are_told_apart_by_service,
        every_service_with_releases_is_named,
        the_epoch_is_that_of_the_newest_start,
        a_number_without_canonical_form_is_refused,
        many_at_once_are_all_written_once_each,
        one_refusal_leaves_the_others_alone,
        watchers_see_the_last_position,
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

async fn an_approval_leads_to_its_run(log: SharedLog) -> Verdict {
    let other = begin(&log, "e0", "shop").await?;
    let run = begin(&log, "e1", "shop").await?;
    let ask = Event::ApprovalAsked { plan_hash: plan_hash("shop"), needs: needs(), expires: at(900) };
    let asked = go_on(&log, run, vec![planned("shop"), ask]).await?;
    let approval = ApprovalId(asked.last().ok_or("nothing was written")?.position);
    let vote = vec![approved(approval, "shop", "bashir"), Event::Granted { approval }];
    go_on(&log, run, vote).await?;
    go_on(&log, run, vec![claimed("shop", Some(approval))]).await?;
    let found = told(log.run_of_approval(approval))?.ok_or("the approval leads nowhere")?;
    ensure!(found.id == run && found.claim == Some(log.head().position), "{found:?}");
    ensure!(told(log.run_of_approval(ApprovalId(other.0)))?.is_none(), "a request is taken for an approval");
    Ok(())
}

async fn runs_are_listed_newest_first_and_open_ones_oldest_first(log: SharedLog) -> Verdict {
    let mut runs = Vec::new();
    for n in 0..5 {
        runs.push(begin(&log, &format!("e{n}"), "shop").await?);
    }
    let refused = ended(Outcome::Refused { kind: "denied".to_owned(), why: "no".to_owned() });
    go_on(&log, runs[1], vec![refused]).await?;
    let ids = |list: Vec<sternway::domain::run::RunState>| list.iter().map(|r| r.id).collect::<Vec<_>>();
    let newest = ids(told(log.runs(3))?);
    ensure!(newest == [runs[4], runs[3], runs[2]], "newest: {newest:?}");
    let open = ids(told(log.open_runs())?);
    ensure!(open == [runs[0], runs[2], runs[3], runs[4]], "open: {open:?}");
    ensure!(told(log.runs(99))?.len() == 5, "an ended run is not listed");
    Ok(())
}

async fn threads_hold_their_own_records_only(log: SharedLog) -> Verdict {
    let one = begin(&log, "e1", "shop").await?;
    let two = begin(&log, "e2", "blog").await?;
    let mut wanted = told(log.read(one.0, 1))?;
    wanted.extend(go_on(&log, one, vec![planned("shop")]).await?);
    go_on(&log, two, vec![planned("blog")]).await?;
    write(&log, vec![release_seen("shop", 'a', "1")]).await?;
    wanted.extend(go_on(&log, one, vec![claimed("shop", None)]).await?);
    let found = told(log.thread(&Subject::Run(one)))?;
    ensure!(found == wanted, "{found:?}");
    let other = told(log.thread(&Subject::Run(two)))?.len();
    ensure!(other == 2, "the other thread has {other} records");
    Ok(())
}

async fn releases_are_told_apart_by_service(log: SharedLog) -> Verdict {
    let seen = write(&log, vec![release_seen("shop", 'a', "1.4")]).await?;
    let old = ReleaseId(seen.first().ok_or("nothing was written")?.position);
    let seen = write(&log, vec![release_seen("shop", 'b', "1.5"), release_proven("shop", old)]).await?;
    let new = ReleaseId(seen.first().ok_or("nothing was written")?.position);
    write(&log, vec![release_seen("blog", 'c', "9")]).await?;
    let history = told(log.history(&target("shop"), &service("api")))?;
    let ids: Vec<_> = history.releases.iter().map(|r| (r.id, r.proven.is_some())).collect();
    ensure!(ids == [(old, true), (new, false)] && history.current == Some(new), "{history:?}");
    let none = told(log.history(&target("shop"), &service("web")))?;
    ensure!(none.releases.is_empty(), "a service without releases has {none:?}");
    Ok(())
}

async fn every_service_with_releases_is_named(log: SharedLog) -> Verdict {
    ensure!(told(log.services())?.is_empty(), "there is one before the first release");
    write(&log, vec![release_seen("shop", 'a', "1.4"), release_seen("blog", 'c', "9")]).await?;
    write(&log, vec![release_seen("shop", 'b', "1.5")]).await?;
    let mut found = told(log.services())?;
    found.sort();
    let wanted = [(target("blog"), service("api")), (target("shop"), service("api"))];
    ensure!(found == wanted, "{found:?}");
    Ok(())
}

async fn the_epoch_is_that_of_the_newest_start(log: SharedLog) -> Verdict {
    ensure!(told(log.epoch())?.is_none(), "there is one before the first start");
    let start = |epoch| Event::Started { software: "0".into(), files: std::collections::BTreeMap::new(), epoch };
    write(&log, vec![draft(About::Log, 0, start(1))]).await?;
    write(&log, vec![draft(About::Log, 0, Event::NewEpoch { epoch: 2, by: "uid:0".into() })]).await?;
    begin(&log, "e1", "shop").await?;
    ensure!(told(log.epoch())? == Some(2), "after a new epoch it is {:?}", log.epoch());
    write(&log, vec![draft(About::Log, 0, start(3))]).await?;
    ensure!(told(log.epoch())? == Some(3), "after a start it is {:?}", log.epoch());
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

async fn watchers_see_the_last_position(log: SharedLog) -> Verdict {
    let mut watch = log.watch();
    ensure!(*watch.borrow_and_update() == log.head().position, "it does not begin at the head");
    begin(&log, "e1", "shop").await?;
    ensure!(watch.has_changed().map_err(|e| e.to_string())?, "it did not change");
    ensure!(*watch.borrow_and_update() == Position(1), "it shows another position");
    let _ = log.append(Some(Position(0)), vec![new_run("e2", "shop")]).await;
    ensure!(!watch.has_changed().map_err(|e| e.to_string())?, "it changed for a refusal");
    Ok(())
}

async fn cursors_are_kept_by_surface(log: SharedLog) -> Verdict {
    ensure!(told(log.outbox_cursor("slack"))? == Position(0), "it does not begin at 0");
    told(log.set_outbox_cursor("slack", Position(3)))?;
    told(log.set_outbox_cursor("console", Position(5)))?;
    told(log.set_outbox_cursor("slack", Position(4)))?;
    let cursors = (told(log.outbox_cursor("slack"))?, told(log.outbox_cursor("console"))?);
    ensure!(cursors == (Position(4), Position(5)), "they are {cursors:?}");
    ensure!(log.head().position == Position(0), "a cursor was written into the log");
    Ok(())
}

async fn the_end_of_a_run_is_followed_by_a_checkpoint_about_everything_before_it(log: SharedLog) -> Verdict {
    let refused = ended(Outcome::Refused { kind: "denied".to_owned(), why: "no".to_owned() });
    let unplanned = begin(&log, "e0", "shop").await?;
    go_on(&log, unplanned, vec![refused]).await?;
    let run = begin(&log, "e1", "shop").await?;
    go_on(&log, run, up_to_claim("shop")).await?;
    let written = go_on(&log, run, to_the_end("shop")).await?;
    ensure!(written.iter().all(|r| !is_checkpoint(&r.event)), "somebody was given a record that is not theirs");
    begin(&log, "e2", "shop").await?;

    let mut tree = Tree::default();
    let mut found = Vec::new();
    for record in told(log.read(Position(0), 1000))? {
        if let Event::Checkpoint { note, ended } = &record.event {
            let (_, says) = checkpoint::read(note).map_err(|e| e.to_string())?;
            ensure!(says == Checkpoint::of(&tree), "{says:?} at {}", record.position);
            found.push((record.position, ended.clone()));
        }
        tree.push(&record.hash.0);
    }
    let last = written.last().ok_or("nothing was written")?.position;
    ensure!(found == [(Position(last.0 + 1), vec![run])], "{found:?}");
    Ok(())
}

fn is_checkpoint(event: &Event) -> bool {
    matches!(event, Event::Checkpoint { .. })
}

async fn a_checkpoint_that_says_something_else_is_refused(log: SharedLog) -> Verdict {
    let mut tree = Tree::default();
    for record in told(log.read(Position(0), 10))? {
        tree.push(&record.hash.0);
    }
    let mut longer = tree.clone();
    longer.push(b"one more");
    let mut other = Tree::default();
    other.push(b"another");
    let id = LogId::parse(&log.log_id()).ok_or("it has no id")?;
    let signer = Signer::new(id, ed25519_dalek::SigningKey::from_bytes(&[9; 32]));
    for wrong in [Tree::default(), longer, other] {
        let note = signer.sign(&wrong).ok_or("a name")?;
        let event = Event::Checkpoint { note, ended: Vec::new() };
        let answer = log.append(None, vec![draft(About::Log, 0, event)]).await;
        ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "{} records: {answer:?}", wrong.size());
    }
    let event = Event::Checkpoint { note: "anything".to_owned(), ended: Vec::new() };
    let answer = log.append(None, vec![draft(About::Log, 0, event)]).await;
    ensure!(matches!(answer, Err(AppendError::CannotFollow(_))), "no note at all: {answer:?}");
    Ok(())
}

async fn room_can_be_reserved_and_nothing_is_wrong(log: SharedLog) -> Verdict {
    log.reserve(20).map_err(|e| e.to_string())?;
    ensure!(log.trouble().is_none(), "trouble: {:?}", log.trouble());
    Ok(())
}

//! Cases about what is asked: threads, runs, releases, approvals, cursors, watching.

use sternway::domain::event::{Event, Outcome, Subject};
use sternway::domain::ids::{ApprovalId, Position, ReleaseId, RunId};
use sternway::store::{About, SharedLog};

use super::{Verdict, begin, go_on, told, write};
use crate::samples::*;

pub(super) async fn an_approval_leads_to_its_run(log: SharedLog) -> Verdict {
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

pub(super) async fn runs_are_listed_newest_first_and_open_ones_oldest_first(log: SharedLog) -> Verdict {
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

pub(super) async fn threads_hold_their_own_records_only(log: SharedLog) -> Verdict {
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

pub(super) async fn releases_have_threads_too_and_nobody_has_an_empty_one(log: SharedLog) -> Verdict {
    let seen = write(&log, vec![release_seen("shop", 'a', "1.4")]).await?;
    begin(&log, "e1", "shop").await?;
    let release = ReleaseId(seen.first().ok_or("nothing was written")?.position);
    let proven = write(&log, vec![release_proven("shop", release)]).await?;
    let About::Subject(subject) = about_releases("shop", "api") else { return Err("no subject".to_owned()) };
    let found = told(log.thread(&subject))?;
    ensure!(found == [seen, proven].concat(), "{found:?}");
    let About::Subject(other) = about_releases("shop", "ap") else { return Err("no subject".to_owned()) };
    ensure!(told(log.thread(&other))?.is_empty(), "another service's thread has records");
    ensure!(told(log.thread(&Subject::Run(RunId(Position(1)))))?.is_empty(), "a release's record is a run's");
    Ok(())
}

pub(super) async fn what_is_not_on_record_is_not_answered(log: SharedLog) -> Verdict {
    begin(&log, "e1", "shop").await?;
    let far = Position(u64::MAX);
    ensure!(told(log.read(far, 9))?.is_empty() && told(log.read(Position(2), 9))?.is_empty(), "records after the end");
    ensure!(told(log.run(RunId(far)))?.is_none(), "a run that never was");
    ensure!(told(log.run_of_approval(ApprovalId(far)))?.is_none(), "an approval that never was");
    ensure!(told(log.holder(&target("shop")))?.is_none(), "a request holds the target");
    ensure!(told(log.runs(0))?.is_empty(), "a list of none has some");
    ensure!(told(log.seen(""))?.is_none(), "nothing was seen");
    Ok(())
}

pub(super) async fn releases_are_told_apart_by_service(log: SharedLog) -> Verdict {
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

pub(super) async fn watchers_see_the_last_position(log: SharedLog) -> Verdict {
    let mut watch = log.watch();
    ensure!(*watch.borrow_and_update() == log.head().position, "it does not begin at the head");
    begin(&log, "e1", "shop").await?;
    ensure!(watch.has_changed().map_err(|e| e.to_string())?, "it did not change");
    ensure!(*watch.borrow_and_update() == Position(1), "it shows another position");
    let _ = log.append(Some(Position(0)), vec![new_run("e2", "shop")]).await;
    ensure!(!watch.has_changed().map_err(|e| e.to_string())?, "it changed for a refusal");
    Ok(())
}

pub(super) async fn watchers_never_see_less_than_was_returned(log: SharedLog) -> Verdict {
    let watch = log.watch();
    let mut last = Position(0);
    for n in 0..5 {
        let batch = vec![new_run(&format!("e{n}"), "shop"), draft(About::Log, n, Event::Stopped)];
        last = write(&log, batch).await?.last().ok_or("nothing was written")?.position;
        let seen = *watch.borrow();
        ensure!(seen == last && log.head().position == last, "{last} was returned, {seen} is seen");
    }
    ensure!(*log.watch().borrow() == last, "who begins to watch sees another position");
    Ok(())
}

pub(super) async fn cursors_are_kept_by_surface(log: SharedLog) -> Verdict {
    ensure!(told(log.outbox_cursor("slack"))? == Position(0), "it does not begin at 0");
    told(log.set_outbox_cursor("slack", Position(3)))?;
    told(log.set_outbox_cursor("console", Position(5)))?;
    told(log.set_outbox_cursor("slack", Position(4)))?;
    let cursors = (told(log.outbox_cursor("slack"))?, told(log.outbox_cursor("console"))?);
    ensure!(cursors == (Position(4), Position(5)), "they are {cursors:?}");
    ensure!(log.head().position == Position(0), "a cursor was written into the log");
    Ok(())
}

pub(super) async fn room_can_be_reserved_and_nothing_is_wrong(log: SharedLog) -> Verdict {
    log.reserve(20).map_err(|e| e.to_string())?;
    ensure!(log.trouble().is_none(), "trouble: {:?}", log.trouble());
    Ok(())
}

pub(super) async fn every_service_with_releases_is_named(log: SharedLog) -> Verdict {
    ensure!(told(log.services())?.is_empty(), "there is one before the first release");
    write(&log, vec![release_seen("shop", 'a', "1.4"), release_seen("blog", 'c', "9")]).await?;
    write(&log, vec![release_seen("shop", 'b', "1.5")]).await?;
    let mut found = told(log.services())?;
    found.sort();
    let wanted = [(target("blog"), service("api")), (target("shop"), service("api"))];
    ensure!(found == wanted, "{found:?}");
    Ok(())
}

pub(super) async fn the_epoch_is_that_of_the_newest_start(log: SharedLog) -> Verdict {
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

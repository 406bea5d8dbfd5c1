//! Who may agree, and what agreeing comes to.

use sternway::domain::event::{Event, Outcome};
use sternway::domain::run::RunState;

use crate::cast::{
    ASK, ASK_TWO, DORA, DORA_AT_HOME, DORA_AT_WORK, answer, asking, done, hear, night_with, orders, outcome, over,
    question, records, refusals, stands, waits,
};
use crate::night::{AMAL, BEN, CARLA, CARLA_ON_SLACK, Night, STRANGER, at_rest};

const ROLLBACK: &str = "/rollback image api";

#[test]
fn a_requester_cannot_approve_their_own_request() {
    let night = asking();
    let (told, run) = night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, waits).await;
        let told = bot.ask(BEN, &format!("/approve {}", question(&run))).await;
        (told, bot.log.run(run.id).unwrap().unwrap())
    });
    assert!(told.starts_with(&format!("You asked for {}, so somebody else has to approve it.", run.id)), "{told}");
    assert!(told.contains("waits for a vote from approver"), "{told}");
    assert!(waits(&run) && run.approval.as_ref().unwrap().votes.is_empty());
    assert_eq!(refusals(&night).len(), 1, "the refusal is on record");
    stands(&night, "1.1");
}

#[test]
fn only_the_approvers_role_may_vote() {
    let night = asking();
    let (told, run) = night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, waits).await;
        let told = bot.ask(AMAL, &format!("/approve {}", question(&run))).await;
        (told, bot.log.run(run.id).unwrap().unwrap())
    });
    assert!(told.starts_with("/approve is for approver; you are on-call."), "{told}");
    assert!(run.approval.as_ref().unwrap().votes.is_empty());
    assert_eq!(refusals(&night).len(), 1);
}

#[test]
fn an_account_that_is_linked_to_nobody_may_look_and_nothing_else() {
    let night = asking();
    night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, waits).await;
        for look in ["/status", "/releases api", "/runs list", &format!("/runs show {}", run.id), "/help"] {
            let told = bot.ask(STRANGER, look).await;
            assert!(!told.contains("linked to nobody"), "{look}: {told}");
        }
        let a = question(&run);
        for act in [
            ROLLBACK.to_owned(),
            format!("/approve {a}"),
            format!("/deny {a}"),
            format!("/cancel {}", run.id),
            "/rollback plan image api".to_owned(),
            "/audit show".to_owned(),
        ] {
            let told = bot.ask(STRANGER, &act).await;
            assert!(told.starts_with("console:uid:9 is linked to nobody here, so it may look"), "{act}: {told}");
            assert!(told.ends_with("Type /status"), "{act}: {told}");
        }
        assert_eq!(bot.newest().unwrap().id, run.id, "no request of theirs is on record as a run");
        assert!(waits(&bot.newest().unwrap()));
    });
    assert_eq!(refusals(&night).len(), 6, "each refusal is on record: {:?}", refusals(&night));
}

#[test]
fn two_votes_mean_two_persons_not_two_accounts() {
    let night = night_with(&format!("{ASK_TWO}{DORA}"));
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        let vote = format!("/approve {}", question(&run));
        let first = bot.ask(DORA_AT_WORK, &vote).await;
        assert!(first.starts_with("your vote counts: "), "{first}");
        let again = bot.ask(DORA_AT_HOME, &vote).await;
        assert!(again.contains("counts already, and counts once"), "{again}");
        assert!(waits(&bot.log.run(run.id).unwrap().unwrap()), "one person was enough");
        assert_eq!(orders(&night, run.id), 0);
        let console = bot.ask(CARLA, &vote).await;
        assert!(console.starts_with("All votes from consoles count as one"), "{console}");
        let last = bot.ask(CARLA_ON_SLACK, &vote).await;
        assert!(last.starts_with("your vote counts, and was the last one needed"), "{last}");
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run));
    let by: Vec<String> = run.approval.unwrap().votes.iter().map(|v| v.by.to_string()).collect();
    assert_eq!(by, ["dora", "carla"]);
    stands(&night, "1.0");
}

#[test]
fn a_requester_is_not_among_the_persons_that_are_counted() {
    let night = night_with(ASK_TWO);
    let run = night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, waits).await;
        let vote = format!("/approve {}", question(&run));
        bot.ask(CARLA, &vote).await;
        bot.ask(BEN, &vote).await;
        bot.log.run(run.id).unwrap().unwrap()
    });
    assert!(waits(&run), "{:?}", run.status);
    assert_eq!(run.approval.unwrap().votes.len(), 1);
}

#[test]
fn two_last_votes_at_the_same_moment_give_one_run() {
    let night = asking();
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        let vote = format!("/approve {}", question(&run));
        let (ben, carla) = tokio::join!(bot.ask(BEN, &vote), bot.ask(CARLA, &vote));
        let last = |told: &str| told.contains("the last one needed");
        assert!(last(&ben) != last(&carla), "exactly one vote is the last one:\n{ben}\n{carla}");
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run));
    assert_eq!(records(&night, |e| matches!(e, Event::RunClaimed { .. })).len(), 1);
    assert_eq!(records(&night, |e| matches!(e, Event::Granted { .. })).len(), 1);
    stands(&night, "1.0");
}

#[test]
fn two_requests_at_the_same_moment_give_one_swap() {
    let night = Night::after_a_bad_deploy();
    let runs = night.live(async |bot| {
        for account in [AMAL, BEN] {
            bot.bot.intake().send(hear(bot, account, ROLLBACK)).await.unwrap();
        }
        let both = |b: &crate::night::Living| {
            let runs = b.log.runs(10).unwrap();
            runs.len() == 2 && runs.iter().all(RunState::ended)
        };
        bot.until("both have ended", both).await;
        bot.log.runs(10).unwrap()
    });
    assert_eq!(runs.iter().filter(|r| done(r)).count(), 1, "{:?}", runs.iter().map(|r| &r.status).collect::<Vec<_>>());
    let refused = runs.iter().find(|r| !done(r)).unwrap();
    assert!(matches!(outcome(refused), Outcome::Refused { kind, .. } if kind == "busy"), "{:?}", refused.status);
    stands(&night, "1.0");
}

#[test]
fn one_denial_ends_the_request_and_later_votes_are_told_so() {
    let night = night_with(ASK_TWO);
    let (run, late) = night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        let a = question(&run);
        bot.ask(CARLA, &format!("/approve {a}")).await;
        let denied = bot.ask(BEN, &format!("/deny {a} because 1.0 leaks memory")).await;
        assert!(denied.starts_with("denied: "), "{denied}");
        let late = bot.ask(CARLA, &format!("/approve {a}")).await;
        (bot.run_until(run.id, over).await, late)
    });
    let Outcome::Denied { by, reason } = outcome(&run) else { panic!("{:?}", run.status) };
    assert_eq!((by.as_str(), reason.as_str()), ("ben", "1.0 leaks memory"));
    assert!(late.contains("was denied by ben"), "{late}");
    assert!(late.ends_with(&format!("Type /runs show {}", run.id)), "{late}");
    assert_eq!(orders(&night, run.id), 0);
    stands(&night, "1.1");
}

#[test]
fn somebody_without_the_role_cannot_deny() {
    let night = asking();
    let (run, told) = night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, waits).await;
        let told = bot.ask(AMAL, &format!("/deny {}", question(&run))).await;
        (bot.log.run(run.id).unwrap().unwrap(), told)
    });
    assert!(told.contains("/deny is for approver; you are on-call."), "{told}");
    assert!(waits(&run));
}

#[test]
fn an_unproven_release_wants_a_vote_even_where_proven_ones_do_not() {
    let night = night_with("repositories = [\"shop/api\"]\n");
    night.engine.image("shop/api:1.2", sternway::agent::sim::Behaviour::Healthy);
    night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api to 1.2", waits).await;
        let warnings = &run.plan.as_ref().unwrap().notes.warnings;
        assert!(warnings.iter().any(|w| w == "this image was never proven healthy here"), "{warnings:?}");
        assert_eq!(orders(&night, run.id), 0);
    });
}

#[test]
fn a_vote_for_what_does_not_exist_or_is_over_says_so() {
    let night = asking();
    night.live(async |bot| {
        let told = bot.ask(CARLA, "/approve a999").await;
        assert_eq!(told, "There is no approval a999.\nType /runs list");
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        let a = question(&run);
        bot.ask(CARLA, &format!("/approve {a}")).await;
        bot.run_until(run.id, at_rest).await;
        let told = answer(bot, BEN, &format!("/approve {a}")).await;
        assert_eq!(told, format!("{a} was decided already: agreed.\nType /runs show {}", run.id));
    });
}

#[test]
fn who_lost_their_role_while_votes_were_missing_does_not_act() {
    let mut night = night_with(ASK);
    let run = night.live(async |bot| bot.rollback(AMAL, ROLLBACK, waits).await);
    // Amal is in the config no longer; the vote comes after the restart.
    night.without_amal = true;
    let run = night.live(async |bot| {
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        bot.run_until(run.id, over).await
    });
    assert!(
        matches!(outcome(&run), Outcome::Refused { why, .. } if why == "amal may no longer ask for /rollback image."),
        "{:?}",
        run.status
    );
    stands(&night, "1.1");
}

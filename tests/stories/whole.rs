//! The whole story, and the same as a dry run.

use insta::assert_snapshot;
use sternway::chat::sim::{Way, transcript};
use sternway::domain::event::Outcome;
use sternway::domain::run::RunState;
use sternway::store::Log;

use crate::cast::{answer, asking, done, masked, orders, outcome, over, question, rows, stands, waits};
use crate::night::{AMAL, BEN, CARLA, Night, at_rest};

#[test]
fn a_bad_deploy_is_rolled_back_and_the_thread_tells_it() {
    let night = asking();
    let run = night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api because 1.1 answers with errors", waits).await;
        let a = question(&run);
        let own = bot.ask(AMAL, &format!("/approve {a}")).await;
        assert!(own.contains("/approve is for"), "{own}");
        bot.ask(CARLA, &format!("/approve {a} because I saw it too")).await;
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
    stands(&night, "1.0");
    assert_snapshot!(masked(&transcript(&night.chat.standing())));
}

#[test]
fn every_card_of_the_story_fits_a_phone() {
    let night = asking();
    night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api because 1.1 answers with errors", waits).await;
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        bot.run_until(run.id, at_rest).await;
    });
    for said in night.chat.said() {
        assert!(rows(&said.card) <= 12, "{} rows:\n{}", rows(&said.card), said.card.plain());
    }
}

#[test]
fn a_proven_release_wants_no_vote() {
    let night = Night::after_a_bad_deploy();
    let run = night.live(async |bot| bot.rollback(AMAL, "/rollback image api", at_rest).await);
    assert!(done(&run), "{:?}", run.status);
    assert!(run.approval.is_none());
    stands(&night, "1.0");
}

#[test]
fn a_dry_run_shows_the_plan_of_the_rollback_and_does_nothing() {
    let night = asking();
    let before = night.engine.behind(crate::night::API);
    let (shown, dry, real) = night.live(async |bot| {
        let shown = answer(bot, AMAL, "/rollback plan image api because of errors").await;
        let dry = bot.newest().unwrap();
        let real = bot.rollback(AMAL, "/rollback image api because of errors", waits).await;
        bot.ask(AMAL, &format!("/cancel {}", real.id)).await;
        (shown, dry, real)
    });
    assert_snapshot!(masked(&shown));
    assert_eq!(*outcome(&dry), Outcome::DryRun);
    assert_eq!(orders(&night, dry.id), 0);
    assert_eq!(night.engine.behind(crate::night::API), before, "the container was touched");
    stands(&night, "1.1");
    let steps = |run: &RunState| run.plan.as_ref().unwrap().plan.steps.clone();
    assert_eq!(steps(&dry), steps(&real));
    assert!(night.log.run(dry.id).unwrap().is_some(), "a dry run is on record");
    let public = night.chat.said().into_iter().filter(|s| s.run == Some(dry.id)).count();
    assert_eq!(public, 0, "a dry run is shown to whoever asked alone");
}

#[test]
fn two_dry_runs_of_one_world_have_one_plan_hash_and_another_reason_has_another() {
    let night = Night::after_a_bad_deploy();
    let hashes = night.live(async |bot| {
        let mut hashes = Vec::new();
        for words in ["because of errors", "because of errors", "because of delays"] {
            let run = bot.rollback(AMAL, &format!("/rollback plan image api {words}"), over).await;
            hashes.push(run.plan.unwrap().hash);
        }
        hashes
    });
    assert_eq!(hashes[0], hashes[1]);
    assert_ne!(hashes[1], hashes[2]);
}

#[test]
fn the_first_answer_follows_the_durable_record_and_precedes_the_plan() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        let first = bot.ask(BEN, "/rollback image api").await;
        let run = bot.newest().expect("on record before it is answered");
        assert_eq!(first, format!("{} accepted: rollback image", run.id));
        bot.run_until(run.id, at_rest).await;
    });
    let said = night.chat.said();
    let answer = said.iter().position(|s| s.way == Way::Answer).unwrap();
    let post = said.iter().position(|s| s.way == Way::Post).unwrap();
    assert!(answer < post);
}

#[test]
fn when_the_old_release_is_sick_too_everything_is_as_it_was() {
    use sternway::agent::sim::Behaviour;
    let night = Night::after_a_bad_deploy();
    night.engine.set_behaviour("shop/api:1.0", Behaviour::Exits(1)).unwrap();
    let run = night.live(async |bot| bot.rollback(BEN, "/rollback image api", at_rest).await);
    assert!(crate::cast::undone(&run), "{:?}", run.status);
    stands(&night, "1.1");
    assert_snapshot!(masked(&transcript(&crate::cast::thread_of(&night, run.id))));
}

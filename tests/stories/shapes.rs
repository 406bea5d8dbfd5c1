//! Every shape of service: scaled, behind a proxy, in whatever state it is found, and with others beside it that meddle.

use insta::assert_snapshot;
use sternway::agent::sim::{Behaviour, ComposeService};
use sternway::chat::sim::transcript;
use sternway::domain::event::Event;
use sternway::domain::plan::StepAction;
use sternway::domain::run::RunState;
use sternway::store::Log;

use crate::cast::{ASK, answer, done, masked, over, question, records, rows, thread_of, undone, waits};
use crate::night::{AMAL, API, BEN, CARLA, Kind, Night, at_rest};

const ROLLBACK: &str = "/rollback image api";

/// Images that the API's containers run, by name.
fn images(night: &Night) -> Vec<String> {
    let facts = night.run(async {
        let config = night.config();
        let host = night.hosts(&config).into_values().next().unwrap();
        let facts = host.inspect.stack(&config.stacks[0].project).await.unwrap();
        let local = host.inspect.local_images("shop/api").await.unwrap();
        (facts, local)
    });
    let (facts, local) = facts;
    let api = facts.services.into_iter().find(|(n, _)| n.as_str() == "api").map(|(_, s)| s.containers);
    let tag = |print| {
        let known = local.iter().find(|h| h.fingerprint == print).map(|h| h.reference.clone());
        known.unwrap_or_else(|| "unknown".to_owned())
    };
    api.unwrap_or_default().into_iter().map(|c| format!("{} {}", c.name, tag(c.image.fingerprint))).collect()
}

fn swapped(run: &RunState) -> Vec<Option<u32>> {
    let steps = &run.plan.as_ref().unwrap().plan.steps;
    let number = |s: &sternway::domain::plan::PlannedStep| match &s.action {
        StepAction::SwapService(swap) => Some(swap.number),
        _ => None,
    };
    steps.iter().filter_map(number).collect()
}

fn rolled_back(night: &Night) -> RunState {
    night.live(async |bot| bot.rollback(BEN, ROLLBACK, at_rest).await)
}

fn refused(night: &Night) -> String {
    let before = night.engine.names();
    let told = night.live(async |bot| answer(bot, AMAL, ROLLBACK).await);
    assert_eq!(night.engine.names(), before, "nothing may be touched");
    masked(&told)
}

/// Amal asks for a rollback in a team that wants a vote, and Carla agrees.
fn agreed(night: &mut Night) -> RunState {
    night.more_config = ASK.to_owned();
    night.live(async |bot| {
        let run = bot.rollback(AMAL, "/rollback image api because of errors", waits).await;
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        bot.run_until(run.id, at_rest).await
    })
}

#[test]
fn a_scaled_service_goes_back_one_after_the_other_and_its_cards_stay_short() {
    let mut night = Night::after_a_bad_deploy_of(Kind::Scaled);
    let run = agreed(&mut night);
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(swapped(&run), [Some(1), Some(2), Some(4)]);
    assert_eq!(images(&night), ["shop-api-1 shop/api:1.0", "shop-api-2 shop/api:1.0", "shop-api-4 shop/api:1.0"]);
    for said in night.chat.said() {
        assert!(rows(&said.card) <= 12, "{} rows:\n{}", rows(&said.card), said.card.plain());
    }
    assert_snapshot!(masked(&transcript(&thread_of(&night, run.id))));
}

#[test]
fn the_release_of_a_scaled_service_is_one_and_is_recorded_once() {
    let night = Night::after_a_bad_deploy_of(Kind::Scaled);
    night.live(async |bot| {
        let run = bot.rollback(BEN, ROLLBACK, at_rest).await;
        assert!(done(&run), "{:?}", run.status);
        bot.clock_passes(120).await;
        assert_eq!(bot.history().releases.len(), 2);
    });
    let back = records(&night, |e| matches!(e, Event::ReleaseBack { service, .. } if service.as_str() == "api"));
    assert_eq!(back.len(), 1, "{back:?}");
}

#[test]
fn when_one_of_them_fails_all_go_back() {
    let night = Night::after_a_bad_deploy_of(Kind::Scaled);
    let run = night.live(async |bot| {
        bot.say(BEN, ROLLBACK).await;
        // The first is well, and then something happens to whatever the image needs.
        let second = |run: &RunState| {
            run.steps.iter().filter(|s| matches!(s, sternway::domain::run::StepState::Done { .. })).count() == 2
        };
        bot.until("the first was swapped", |b| b.newest().is_some_and(|r| second(&r))).await;
        night.engine.set_behaviour("shop/api:1.0", Behaviour::Exits(3)).unwrap();
        let id = bot.newest().unwrap().id;
        bot.run_until(id, at_rest).await
    });
    assert!(undone(&run), "{:?}", run.status);
    assert_eq!(images(&night), ["shop-api-1 shop/api:1.1", "shop-api-2 shop/api:1.1", "shop-api-4 shop/api:1.1"]);
}

#[test]
fn a_mixture_is_shown_as_such_and_only_those_that_need_it_are_swapped() {
    let night = Night::after_a_bad_deploy_of(Kind::Scaled);
    let old = ComposeService { number: 2, ..ComposeService::new("shop", "api", "shop/api:1.0", &[(API + 1, 3000)]) };
    night.engine.compose(&old).unwrap();
    let before = night.log.head().position;
    let (status, plan, run) = night.live(async |bot| {
        bot.clock_passes(120).await;
        let status = answer(bot, BEN, "/status").await;
        let plan = answer(bot, BEN, "/rollback plan image api").await;
        (status, plan, bot.rollback(BEN, ROLLBACK, at_rest).await)
    });
    let swung = records(&night, |e| matches!(e, Event::ReleaseBack { .. })).len();
    assert_eq!(swung, 1, "a mixture does not make the record swing to and fro (from {before})");
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(swapped(&run), [Some(1), Some(4)]);
    assert_eq!(images(&night), ["shop-api-1 shop/api:1.0", "shop-api-2 shop/api:1.0", "shop-api-4 shop/api:1.0"]);
    assert_snapshot!(format!("{}\n\n{}", masked(&status), masked(&plan)));
}

#[test]
fn somebody_who_scales_meanwhile_voids_the_plan() {
    let mut night = Night::after_a_bad_deploy_of(Kind::Scaled);
    night.more_config = ASK.to_owned();
    night.live(async |bot| {
        let run = bot.rollback(AMAL, ROLLBACK, waits).await;
        let more =
            ComposeService { number: 5, ..ComposeService::new("shop", "api", "shop/api:1.1", &[(API + 4, 3000)]) };
        night.engine.compose(&more).unwrap();
        bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        let run = bot.run_until(run.id, over).await;
        let told = format!("{:?}", run.status);
        assert!(told.contains("4 containers would now be swapped instead of 3"), "{told}");
    });
}

#[test]
fn start_first_is_told_as_such_and_tells_the_proxy_twice() {
    let mut night = Night::after_a_bad_deploy_of(Kind::StartFirst);
    let run = agreed(&mut night);
    assert!(done(&run), "{:?}", run.status);
    assert_eq!(
        night.engine.signals("shop-web-1"),
        ["HUP", "HUP"],
        "once while both serve, once when the old one is gone"
    );
    assert_snapshot!(masked(&transcript(&thread_of(&night, run.id))));
}

#[test]
fn start_first_puts_a_bad_target_back_while_the_old_one_serves() {
    let night = Night::after_a_bad_deploy_of(Kind::StartFirst);
    night.engine.set_behaviour("shop/api:1.0", Behaviour::Unhealthy).unwrap();
    let before = night.engine.names();
    let run = rolled_back(&night);
    assert!(undone(&run), "{:?}", run.status);
    let told = format!("{:?}", run.status);
    assert!(told.contains("the old container served all the while"), "{told}");
    assert_eq!(
        night.containers(),
        before
            .into_iter()
            .filter(|n| n.starts_with("shop-"))
            .collect::<std::collections::BTreeSet<_>>()
            .into_iter()
            .collect::<Vec<_>>()
    );
}

#[test]
fn start_first_is_refused_where_a_port_is_published() {
    let night = Night::after_a_bad_deploy_of(Kind::StartFirst);
    night.engine.compose(&ComposeService::new("shop", "api", "shop/api:1.1", &[(API, 3000)])).unwrap();
    assert_snapshot!(refused(&night));
}

#[test]
fn a_service_is_rolled_back_whatever_its_restart_policy_and_however_it_is_found() {
    for restart in ["no", "always", "unless-stopped", "on-failure"] {
        for found in ["running", "crash-looping", "paused"] {
            let night = Night::after_a_bad_deploy();
            if found == "crash-looping" {
                night.engine.set_behaviour("shop/api:1.1", Behaviour::Exits(1)).unwrap();
            }
            let restart = restart.to_owned();
            let api = ComposeService { restart, ..ComposeService::new("shop", "api", "shop/api:1.1", &[(API, 3000)]) };
            night.engine.compose(&api).unwrap();
            night.engine.set_paused("shop-api-1", found == "paused");
            let case = format!("{}, {found}", api.restart);
            let run = rolled_back(&night);
            assert!(done(&run), "{case}: {:?}", run.status);
            assert_eq!(images(&night), ["shop-api-1 shop/api:1.0"], "{case}");
            assert!(night.engine.answers(API), "{case}");
        }
    }
}

#[test]
fn a_paused_container_is_told_to_be_one() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_paused("shop-api-1", true);
    let told = night.live(async |bot| answer(bot, AMAL, "/rollback plan image api").await);
    assert!(told.contains("shop-api-1 is paused: stopping ends that"), "{told}");
}

#[test]
fn a_one_shot_job_is_refused_as_nothing_could_prove_it() {
    let night = Night::after_a_bad_deploy();
    night.engine.set_behaviour("shop/api:1.1", Behaviour::Exits(0)).unwrap();
    let job = ComposeService { restart: "no".to_owned(), ..ComposeService::new("shop", "api", "shop/api:1.1", &[]) };
    night.engine.compose(&job).unwrap();
    assert_snapshot!(refused(&night));
}

#[test]
fn a_service_without_port_and_check_is_rolled_back_on_weak_proof_and_says_so() {
    let mut night = Night::new(Behaviour::Mute, Behaviour::Mute);
    night.more_config = String::new();
    for version in ["1.0", "1.1"] {
        night.engine.image(&format!("shop/worker:{version}"), Behaviour::Mute);
        let worker = ComposeService::new("shop", "worker", &format!("shop/worker:{version}"), &[]);
        night.engine.compose(&worker).unwrap();
        night.live(async |bot| bot.clock_passes(30).await);
    }
    let run = night.live(async |bot| {
        let told = answer(bot, AMAL, "/rollback plan image worker 1.0").await;
        assert!(told.contains("weak proof: nothing can be asked, only that it runs"), "{told}");
        let run = bot.rollback(BEN, "/rollback image worker 1.0", |r| waits(r) || at_rest(r)).await;
        if waits(&run) {
            bot.ask(CARLA, &format!("/approve {}", question(&run))).await;
        }
        bot.run_until(run.id, at_rest).await
    });
    assert!(done(&run), "{:?}", run.status);
}

#[test]
fn what_updates_or_restarts_containers_by_itself_is_a_warning() {
    let night = Night::after_a_bad_deploy();
    for image in ["containrrr/watchtower:1.7.1", "willfarrell/autoheal:1.2"] {
        night.engine.image(image, Behaviour::Healthy);
        let name = image.split(['/', ':']).nth(1).unwrap();
        let labels = vec![("io.example".to_owned(), "x".to_owned())];
        night.engine.compose(&ComposeService { labels, ..ComposeService::new("shop", name, image, &[]) }).unwrap();
    }
    let told = night.live(async |bot| answer(bot, AMAL, "/rollback plan image api").await);
    assert!(told.contains("shop-watchtower-1 updates containers by itself"), "{told}");
    assert!(!told.contains("autoheal"), "it heals only what asks for it: {told}");
}

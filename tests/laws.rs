//! The four laws, for every procedure of the catalogue and for a restore that is one-way, gives an output to later steps
//! and takes an hour: it succeeds; it succeeds with each step run twice; failing at any step leaves the world as it was;
//! killed after any record of the journal, it recovers to the same end.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)] // tests

#[path = "support/night.rs"]
mod night;

#[path = "laws/hands.rs"]
mod hands;

#[path = "laws/restore.rs"]
mod restore;

#[path = "laws/prune.rs"]
mod prune;

use std::sync::Arc;

use hands::{Dying, Failing, Half, Twice};
use night::{BEN, Kind, Night, at_rest};
use sternway::agent::Act;
use sternway::agent::sim::Behaviour;
use sternway::command::{Action, Catalogue};
use sternway::domain::event::Outcome;
use sternway::domain::run::{RunState, Status};

/// How a person asks for each procedure of the catalogue. A new procedure has to be given a line here.
fn line_for(procedure: &str) -> &'static str {
    match procedure {
        "rollback image" => "/rollback image api",
        other => panic!("/{other} is a procedure without laws: say here how it is asked for"),
    }
}

fn procedures() -> Vec<&'static str> {
    let catalogue = Catalogue::load(&[]).unwrap();
    let all: Vec<&str> = catalogue
        .specs()
        .filter(|s| matches!(s.action, Action::Procedure(_)))
        // Its laws stand in `laws/prune.rs`: it ends on another world, and what it frees cannot be brought back.
        .filter(|s| s.path.as_str() != "releases prune")
        .map(|s| line_for(s.path.as_str()))
        .collect();
    assert!(!all.is_empty(), "the catalogue has no procedure");
    all
}

/// Every procedure on every kind of service.
fn cases() -> Vec<(&'static str, Kind)> {
    procedures().into_iter().flat_map(|line| Kind::ALL.map(|kind| (line, kind))).collect()
}

/// Whether the API runs that version, alone, under its own name, with the pin that belongs to it.
fn stands(night: &Night, version: &str) -> Result<(), String> {
    let image = format!("shop/api:{version}");
    let containers = night.containers();
    let mut whole: Vec<String> = night.kind.numbers().iter().map(|n| format!("shop-api-{n}")).collect();
    whole.extend(["shop-db-1".to_owned(), "shop-web-1".to_owned()]);
    if night.kind == Kind::Followed {
        whole.extend(["shop-copier-1".to_owned(), "shop-sidecar-1".to_owned()]);
        whole.sort();
        hands::follows(night, "shop-sidecar-1", "NetworkMode", "shop-api-1")?;
        hands::follows(night, "shop-copier-1", "VolumesFrom", "shop-sidecar-1")?;
    }
    if night.kind == Kind::Restarting {
        whole.extend(["shop-idler-1", "shop-mailer-1", "shop-worker-1"].map(str::to_owned));
        whole.sort();
        hands::started_after(night, "shop-worker-1", "shop-api-1")?;
        hands::started_after(night, "shop-mailer-1", "shop-worker-1")?;
        hands::stands_still(night, "shop-idler-1")?;
    }
    if containers != whole {
        return Err(format!("containers: {containers:?}"));
    }
    let pin = night.pin();
    let wanted = format!("# the shop\nAPI_IMAGE={image}\nWEB_PORT=8080\n");
    if pin != wanted {
        return Err(format!("the pin file reads {pin:?}, not {wanted:?}"));
    }
    let facts = night.run(async {
        let config = night.config();
        let host = night.hosts(&config).into_values().next().unwrap();
        host.inspect.stack(&config.stacks[0].project).await.unwrap()
    });
    let apis = facts.services.iter().find(|(n, _)| n.as_str() == "api").map(|(_, s)| s.containers.clone());
    let apis = apis.ok_or("no api")?;
    let wanted = night.run(async {
        let config = night.config();
        let host = night.hosts(&config).into_values().next().unwrap();
        host.inspect.local_images("shop/api").await.unwrap()
    });
    let wanted = wanted.iter().find(|h| h.reference == image).ok_or("no such image")?;
    for api in &apis {
        if api.image.fingerprint != wanted.fingerprint {
            return Err(format!("{} runs {}, not {image}", api.name, api.image.reference));
        }
        if api.state != sternway::agent::ContainerState::Running {
            return Err(format!("{} is {:?}", api.name, api.state));
        }
    }
    Ok(())
}

/// Whether the world is as it was before anybody asked.
fn stands_as_before(night: &Night) -> Result<(), String> {
    if !night.kind.is_missing() {
        return stands(night, "1.1");
    }
    let (containers, pin) = (night.containers(), night.pin());
    let none = containers == ["shop-db-1", "shop-web-1"] && pin.contains("\nAPI_IMAGE=shop/api:1.1\n");
    if none { Ok(()) } else { Err(format!("containers: {containers:?}, pin: {pin:?}")) }
}

fn done(run: &RunState) -> bool {
    matches!(run.status, Status::Ended { outcome: Outcome::Done, .. })
}

fn undone(run: &RunState) -> bool {
    matches!(run.status, Status::Ended { outcome: Outcome::Undone { .. }, .. })
}

#[test]
fn first_law_every_procedure_succeeds() {
    for (line, kind) in cases() {
        let night = Night::after_a_bad_deploy_of(kind);
        let run = night.live(async |bot| bot.rollback(BEN, line, at_rest).await);
        assert!(done(&run), "{line} of {kind:?}: {:?}", run.status);
        stands(&night, "1.0").unwrap_or_else(|why| panic!("{line} of {kind:?}: {why}"));
    }
}

#[test]
fn second_law_each_step_run_twice_changes_nothing() {
    for (line, kind) in cases() {
        let night = Night::after_a_bad_deploy_of(kind);
        let log = Arc::clone(&night.log) as _;
        let run = night.live_with(
            log,
            |hosts| hands::replace(hosts, |act| Arc::new(Twice(act)) as Arc<dyn Act>),
            async |bot| bot.rollback(BEN, line, at_rest).await,
        );
        assert!(done(&run), "{line} of {kind:?}: {:?}", run.status);
        stands(&night, "1.0").unwrap_or_else(|why| panic!("{line} of {kind:?}: {why}"));
    }
}

#[test]
fn third_law_failing_at_any_step_leaves_the_world_as_it_was() {
    for (line, kind) in cases() {
        let steps = steps_of(line, kind);
        for step in 0..steps {
            for half in [Half::Before, Half::After] {
                let night = Night::after_a_bad_deploy_of(kind);
                let log = Arc::clone(&night.log) as _;
                let run = night.live_with(
                    log,
                    |hosts| hands::replace(hosts, |act| Arc::new(Failing::new(act, step, half)) as Arc<dyn Act>),
                    async |bot| bot.rollback(BEN, line, at_rest).await,
                );
                assert!(undone(&run), "{line} of {kind:?}, failing {half:?} step {step}: {:?}", run.status);
                stands_as_before(&night)
                    .unwrap_or_else(|why| panic!("{line} of {kind:?}, failing {half:?} step {step}: {why}"));
            }
        }
    }
}

#[test]
fn fourth_law_killed_after_any_record_it_recovers_to_the_same_end() {
    // What these two add is between the records: `tests/agent/crashes.rs` and `gone.rs` kill them there.
    for (line, kind) in
        cases().into_iter().filter(|(_, kind)| !matches!(kind, Kind::ScaledStartFirst | Kind::AllMissing))
    {
        for (behaviour, end) in [(Behaviour::Healthy, "1.0"), (Behaviour::Unhealthy, "1.1")] {
            let records = records_of(line, kind, behaviour);
            assert!(records > 10, "an uninterrupted {line} writes only {records} records");
            for kill_after in 1..=records {
                let night = before(kind, behaviour);
                let dying = Dying::after(Arc::clone(&night.log) as _, kill_after);
                let dead = dying.dead();
                night.die_when(
                    Arc::clone(&dying) as _,
                    |hosts| hosts,
                    async |bot| {
                        bot.rollback(BEN, line, at_rest).await;
                    },
                    dead,
                );
                assert!(dying.is_dead(), "{line}: the log was not written {kill_after} times");
                let run = night.live(async |bot| {
                    match bot.newest() {
                        // Killed before the request itself was on record: nobody was promised anything.
                        None => bot.rollback(BEN, line, at_rest).await,
                        Some(run) => bot.run_until(run.id, at_rest).await,
                    }
                });
                let as_expected = if end == "1.0" { done(&run) } else { undone(&run) };
                assert!(as_expected, "{line} of {kind:?}, killed after record {kill_after}: {:?}", run.status);
                let ends = if end == "1.0" { stands(&night, end) } else { stands_as_before(&night) };
                ends.unwrap_or_else(|why| panic!("{line} of {kind:?}, killed after record {kill_after}: {why}"));
            }
            eprintln!("{line} of {kind:?} to {end}: killed after each of {records} appends");
        }
    }
}

/// A night whose 1.0 behaves like this once it is gone back to; it was well when it was proven.
fn before(kind: Kind, behaviour: Behaviour) -> Night {
    let night = Night::after_a_bad_deploy_of(kind);
    if behaviour != Behaviour::Healthy {
        night.engine.set_behaviour("shop/api:1.0", behaviour).unwrap();
    }
    night
}

fn steps_of(line: &str, kind: Kind) -> usize {
    let night = Night::after_a_bad_deploy_of(kind);
    let run = night.live(async |bot| bot.rollback(BEN, line, at_rest).await);
    run.steps.len()
}

/// Appends of an uninterrupted run, from the start of the bot to its rest.
fn records_of(line: &str, kind: Kind, behaviour: Behaviour) -> usize {
    let night = before(kind, behaviour);
    let counting = Dying::after(Arc::clone(&night.log) as _, usize::MAX);
    night.live_with(
        Arc::clone(&counting) as _,
        |hosts| hosts,
        async |bot| {
            bot.rollback(BEN, line, at_rest).await;
        },
    );
    // The last append is the record of the stop.
    counting.appends() - 1
}

#[test]
fn a_service_that_was_rolled_back_is_still_called_by_its_name() {
    let night = Night::after_a_bad_deploy();
    night.live(async |bot| {
        let run = bot.rollback(BEN, "/rollback image api", at_rest).await;
        assert!(matches!(run.status, Status::Ended { outcome: Outcome::Done, .. }), "{}", bot.story());
        for question in ["/rollback plan image api 1.1", "/status"] {
            let told = bot.ask(BEN, question).await;
            assert!(told.contains("shop/api:1.0"), "{question} names what runs: {told}");
            assert!(!told.contains("sha256:"), "{question} shows no bare id: {told}");
            assert!(!told.contains("no longer means"), "{question}: the tag was never moved: {told}");
        }
    });
}

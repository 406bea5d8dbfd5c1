//! Each row of the recovery table, played to its end on a small world.

use super::*;
use crate::domain::ids::Position;
use crate::domain::names::{HostName, StackName};
use crate::domain::plan::HealthCheck;
use serde_json::json;

fn always() -> Value {
    json!({"Name": "always", "MaximumRetryCount": 0})
}

fn operation(phase: Phase) -> Operation {
    Operation {
        op: "abc".to_owned(),
        run: RunId(Position(1)),
        target: Target { stack: StackName::parse("s").unwrap(), host: HostName::parse("h").unwrap() },
        token: Token { epoch: 0, claim: Position(1), n: 1 },
        project: ProjectName::parse("shop").unwrap(),
        service: ServiceName::parse("api").unwrap(),
        name: "N".to_owned(),
        old: OldContainer { id: "old".to_owned(), policy: always(), ran: true },
        new: Some("new".to_owned()),
        new_policy: always(),
        wanted: Fingerprint::parse(&"0".repeat(64)).unwrap(),
        health: HealthRule { check: HealthCheck::Weak, count: 1, interval_ms: 1, deadline_s: 1 },
        grace_s: 1,
        number: None,
        start_first: None,
        orphaned: false,
        late: Vec::new(),
        missing: false,
        phase,
    }
}

fn proven() -> Phase {
    let proof = Proof { container: "new".to_owned(), answers: 1, after_ms: 1, weak: false };
    Phase::Proven { proof, started_ms: None }
}

fn seat(name: &str, life: Life, policy: Value) -> Option<Seat> {
    Some(Seat { name: name.to_owned(), life, policy })
}

/// Plays moves on a small world until the end; gives the end and what is left.
fn play(op: &mut Operation, seen: &mut Seen, healthy: bool) -> (Move, Vec<String>) {
    let mut taken = Taken { settling: true, ..Taken::default() };
    let mut moves = Vec::new();
    for _ in 0..40 {
        let step = next(op, seen, &taken);
        moves.push(format!("{step:?}"));
        let pick = |seen: &mut Seen, w: Which| match w {
            Which::Old => seen.old.clone(),
            Which::New => seen.new.clone(),
        };
        let put = |seen: &mut Seen, w: Which, s: Option<Seat>| match w {
            Which::Old => seen.old = s,
            Which::New => seen.new = s,
        };
        match &step {
            Move::Decide(phase) => op.phase = phase.clone(),
            Move::Policy(w, policy) => {
                let s = pick(seen, *w).map(|s| Seat { policy: policy.clone(), ..s });
                put(seen, *w, s);
            }
            Move::Stop(w) => {
                let s = pick(seen, *w).map(|s| Seat { life: Life::Ended(0), ..s });
                put(seen, *w, s);
            }
            Move::Start(w) => {
                let s = pick(seen, *w).map(|s| Seat { life: Life::Up, ..s });
                put(seen, *w, s);
                match w {
                    Which::New => taken.new_started = true,
                    Which::Old => taken.old_starts += 1,
                }
            }
            Move::Rename(w, name) => {
                let s = pick(seen, *w).map(|s| Seat { name: name.clone(), ..s });
                put(seen, *w, s);
            }
            Move::Prove(Which::New) if healthy => {
                taken.new_proven = true;
                if op.phase == Phase::Cutting {
                    op.phase = proven();
                }
            }
            Move::Prove(Which::New) => {
                op.phase = Phase::Back { why: "ill".to_owned(), cut: true };
            }
            Move::Prove(Which::Old) => taken.old_proof = Some(Ok(())),
            Move::Remove(w) => put(seen, *w, None),
            Move::Connect => taken.connected = true,
            Move::Tell
                if matches!(op.phase, Phase::Proven { .. }) && pick(seen, Which::Old).is_some_and(|o| !down(&o)) =>
            {
                taken.told = true;
            }
            Move::Tell => taken.told_last = true,
            Move::Drain => taken.drained = true,
            Move::Done(_) | Move::Alarm(_) => return (step, moves),
        }
    }
    panic!("no end: {moves:#?}")
}

fn check(case: &str, phase: Phase, seen: Seen, end: End) {
    for healthy in [true, false] {
        let mut op = operation(phase.clone());
        let mut world = seen.clone();
        let (last, moves) = play(&mut op, &mut world, healthy);
        let end = if healthy || matches!(phase, Phase::Proven { .. }) { end.clone() } else { End::Old };
        assert_eq!(last, Move::Done(end.clone()), "{case}, healthy {healthy}: {moves:#?}");
        let (stays, gone) = if end == End::New { (world.new, world.old) } else { (world.old, world.new) };
        assert_eq!(stays, seat("N", Life::Up, always()), "{case}, healthy {healthy}: {moves:#?}");
        assert_eq!(gone, None, "{case}, healthy {healthy}: {moves:#?}");
    }
}

#[test]
fn every_row_of_the_recovery_table_ends_where_it_says() {
    let no = no_restart;
    let seen = |old, new| Seen { old, new, stranger: None };
    let next = "N.next-abc";
    let prev = "N.prev-abc";
    let down = || Life::Ended(0);
    check("2", Phase::Preparing, seen(seat("N", Life::Up, always()), seat(next, Life::Created, no())), End::Old);
    check("2, not made", Phase::Preparing, seen(seat("N", Life::Up, always()), None), End::Old);
    check("3", Phase::Cutting, seen(seat("N", Life::Up, no()), seat(next, Life::Created, no())), End::New);
    check("4", Phase::Cutting, seen(seat("N", down(), no()), seat(next, Life::Created, no())), End::New);
    check("5, 6", Phase::Cutting, seen(seat("N", down(), no()), seat(next, Life::Up, no())), End::New);
    check("engine restarted", Phase::Cutting, seen(seat("N", down(), no()), seat(next, down(), no())), End::New);
    check("before 7", proven(), seen(seat("N", down(), no()), seat(next, Life::Up, no())), End::New);
    check("7", proven(), seen(seat(prev, down(), no()), seat(next, Life::Up, no())), End::New);
    check("8", proven(), seen(seat(prev, down(), no()), seat("N", Life::Up, no())), End::New);
    check("9", proven(), seen(seat(prev, down(), no()), seat("N", Life::Up, always())), End::New);
    check("10", proven(), seen(None, seat("N", Life::Up, always())), End::New);
    check("10, policy", proven(), seen(None, seat("N", Life::Up, no())), End::New);
    let back = || Phase::Back { why: "ill".to_owned(), cut: true };
    check("back", back(), seen(seat("N", down(), no()), seat(next, Life::Up, no())), End::Old);
    check("back, started", back(), seen(seat("N", Life::Up, no()), seat(next, down(), no())), End::Old);
    check("back, removed", back(), seen(seat("N", Life::Up, no()), None), End::Old);
    check("back from commit", back(), seen(seat(prev, down(), no()), seat("N", down(), always())), End::Old);
}

#[test]
fn a_foreign_hand_is_told_and_nothing_is_touched() {
    let up = |name: &str| seat(name, Life::Up, no_restart());
    for (case, phase, seen) in [
        ("old gone", Phase::Cutting, Seen { old: None, new: up("N.next-abc"), stranger: None }),
        ("old gone at commit", proven(), Seen { old: None, new: up("N.next-abc"), stranger: None }),
        ("both gone", proven(), Seen { old: None, new: None, stranger: None }),
        ("third", proven(), Seen { old: up("N.prev-abc"), new: up("N.next-abc"), stranger: Some("x".into()) }),
        ("renamed", Phase::Cutting, Seen { old: up("mine"), new: up("N.next-abc"), stranger: None }),
    ] {
        let step = next(&operation(phase), &seen, &Taken::default());
        assert!(matches!(step, Move::Alarm(_)), "{case}: {step:?}");
    }
    let overtaken = Seen { old: None, new: None, stranger: Some("x".to_owned()) };
    assert_eq!(next(&operation(proven()), &overtaken, &Taken::default()), Move::Done(End::Overtaken));
}

#[test]
fn a_new_container_that_goes_down_by_itself_ends_the_wait_at_once() {
    let seen = Seen {
        old: seat("N", Life::Ended(0), no_restart()),
        new: seat("N.next-abc", Life::Ended(3), no_restart()),
        stranger: None,
    };
    let taken = Taken { new_started: true, ..Taken::default() };
    let Move::Decide(Phase::Back { why, .. }) = next(&operation(Phase::Cutting), &seen, &taken) else {
        panic!("it must go back")
    };
    assert!(why.contains("code 3"), "{why}");
}

#[test]
fn an_old_container_that_did_not_run_is_not_started_on_the_way_back() {
    let mut op = operation(Phase::Back { why: "ill".to_owned(), cut: true });
    op.old.ran = false;
    let mut seen = Seen { old: seat("N", Life::Ended(1), no_restart()), new: None, stranger: None };
    let (last, moves) = play(&mut op, &mut seen, true);
    assert_eq!(last, Move::Done(End::Old));
    assert_eq!(seen.old, seat("N", Life::Ended(1), always()), "{moves:#?}");
}

#[test]
fn an_old_container_that_went_down_with_its_engine_before_it_was_touched_runs_again_and_is_proven() {
    let phases = [Phase::Preparing, Phase::Back { why: "it could not be made".to_owned(), cut: false }];
    for phase in phases {
        let mut op = operation(phase);
        let mut seen = Seen {
            old: seat("N", Life::Ended(137), always()),
            new: seat("N.next-abc", Life::Created, no_restart()),
            stranger: None,
        };
        let (end, moves) = play(&mut op, &mut seen, true);
        assert_eq!(end, Move::Done(End::Old), "{moves:#?}");
        assert_eq!(seen.old.map(|old| old.life), Some(Life::Up), "{moves:#?}");
        assert!(moves.contains(&format!("{:?}", Move::Prove(Which::Old))), "{moves:#?}");
        assert_eq!(seen.new, None, "{moves:#?}");
    }
}

fn beside_each_other(phase: Phase) -> Operation {
    let web =
        crate::domain::plan::Proxy { service: ServiceName::parse("web").unwrap(), signal: Some("HUP".to_owned()) };
    let start_first = Some(StartFirst { proxies: vec![web], drain_ms: 1 });
    Operation { start_first, late: vec![("front".to_owned(), json!({}))], ..operation(phase) }
}

/// A crash at each place of start-first: where it ends, and that somebody who was proven, or the old one, serves in each
/// moment of it once one does.
#[test]
fn every_row_of_start_first_ends_old_or_new_and_somebody_serves_meanwhile() {
    let no = no_restart;
    let seen = |old, new| Seen { old, new, stranger: None };
    let (next, prev) = ("N.next-abc", "N.prev-abc");
    let down = || Life::Ended(0);
    let up = |name: &str| seat(name, Life::Up, always());
    let back = || Phase::Back { why: "ill".to_owned(), cut: true };
    for (case, phase, world, end) in [
        ("preparing", Phase::Preparing, seen(up("N"), seat(next, Life::Created, no())), End::Old),
        ("made", Phase::Cutting, seen(up("N"), seat(next, Life::Created, no())), End::New),
        ("started", Phase::Cutting, seen(up("N"), seat(next, Life::Up, no())), End::New),
        ("engine restarted", Phase::Cutting, seen(seat("N", down(), always()), seat(next, down(), no())), End::New),
        ("proven", proven(), seen(up("N"), seat(next, Life::Up, no())), End::New),
        ("renamed once", proven(), seen(up(prev), seat(next, Life::Up, no())), End::New),
        ("renamed twice", proven(), seen(up(prev), seat("N", Life::Up, no())), End::New),
        ("renamed, unwritten", Phase::Cutting, seen(up(prev), seat("N", Life::Up, no())), End::New),
        ("about to stop", proven(), seen(seat(prev, Life::Up, no()), up("N")), End::New),
        ("stopped", proven(), seen(seat(prev, down(), no()), up("N")), End::New),
        ("removed", proven(), seen(None, up("N")), End::New),
        ("back", back(), seen(up("N"), seat(next, Life::Up, no())), End::Old),
        ("back from commit", back(), seen(seat(prev, Life::Up, no()), up("N")), End::Old),
        ("back, new removed", back(), seen(up("N"), None), End::Old),
    ] {
        for healthy in [true, false] {
            let mut op = beside_each_other(phase.clone());
            let mut world = world.clone();
            let went_down = world.old.as_ref().is_some_and(super::down) && world.new.as_ref().is_some_and(super::down);
            let (last, moves) = play(&mut op, &mut world, healthy);
            let end = if healthy || matches!(phase, Phase::Proven { .. }) { end.clone() } else { End::Old };
            assert_eq!(last, Move::Done(end.clone()), "{case}, healthy {healthy}: {moves:#?}");
            let (stays, gone) = if end == End::New { (world.new, world.old) } else { (world.old, world.new) };
            assert_eq!(stays, seat("N", Life::Up, always()), "{case}, healthy {healthy}: {moves:#?}");
            assert_eq!(gone, None, "{case}, healthy {healthy}: {moves:#?}");
            let at = |wanted: &str| moves.iter().position(|m| m == wanted);
            if went_down {
                assert_eq!(at("Start(Old)"), Some(0), "{case}: first somebody serves again: {moves:#?}");
            }
            let stopped = at("Stop(Old)");
            for before in ["Connect", "Tell", "Drain"] {
                assert!(stopped.is_none_or(|s| at(before).is_some_and(|b| b < s)), "{case}: {before}: {moves:#?}");
            }
            assert!(end == End::New || stopped.is_none(), "{case}: the way back leaves the old one alone: {moves:#?}");
        }
    }
}

#[test]
fn start_first_tells_the_proxies_again_once_the_old_one_is_gone() {
    let mut op = beside_each_other(proven());
    let mut seen =
        Seen { old: seat("N", Life::Up, always()), new: seat("N.next-abc", Life::Up, no_restart()), stranger: None };
    let (_, moves) = play(&mut op, &mut seen, true);
    let told: Vec<usize> = moves.iter().enumerate().filter(|(_, m)| *m == "Tell").map(|(i, _)| i).collect();
    let stopped = moves.iter().position(|m| m == "Stop(Old)").unwrap();
    assert!(told.len() == 2 && told[0] < stopped && stopped < told[1], "{moves:#?}");
}

/// An operation that began with nothing, in every phase and whatever stands there, ends by itself: there is always a way
/// back, so none of its ends is a person's business.
#[test]
fn where_nothing_stood_every_state_comes_to_an_end() {
    let back = || Phase::Back { why: "x".to_owned(), cut: true };
    for phase in [Phase::Preparing, Phase::Cutting, proven(), back()] {
        for life in [Life::Created, Life::Up, Life::Paused, Life::Ended(1)] {
            for name in ["N", "N.next-abc"] {
                for (stranger, healthy) in [(false, true), (false, false), (true, true)] {
                    let case = format!("{phase:?} {life:?} {name}, stranger {stranger}, healthy {healthy}");
                    if stranger && name == "N" {
                        continue; // one name, one container
                    }
                    let mut op = Operation { missing: true, ..operation(phase.clone()) };
                    let mut seen = Seen {
                        old: None,
                        new: seat(name, life.clone(), no_restart()),
                        stranger: stranger.then(|| "other".to_owned()),
                    };
                    let (end, moves) = play(&mut op, &mut seen, healthy);
                    match end {
                        Move::Done(End::New) => {
                            let new = seen.new.as_ref().expect("it stands");
                            assert!(!stranger && new.name == "N" && new.policy == always(), "{case}: {moves:?}");
                        }
                        Move::Done(End::Old) => assert!(seen.new.is_none(), "{case}: none is left: {moves:?}"),
                        other => panic!("{case}: {other:?} after {moves:?}"),
                    }
                    assert!(!moves.iter().any(|m| m.contains("Old)") && !m.contains("Done")), "{case}: {moves:?}");
                }
            }
        }
    }
}

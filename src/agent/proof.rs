//! When a service counts as proven: good answers in a row from one container that runs all the while.
//!
//! Pure: answers, what the engine says of the container, and the time come in; the verdict goes out. Must never
//! take an answer for proof when another container, or the same one restarted, may have given it.

use std::time::Duration;

use jiff::Timestamp;

use super::ContainerState;
use crate::domain::plan::{HealthCheck, HealthRule, Proof};

/// The container as the engine told it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// Full id.
    pub container: String,
    /// Its state.
    pub state: ContainerState,
    /// Restarts counted by the engine.
    pub restarts: u64,
    /// When it was started last.
    pub started: Option<Timestamp>,
    /// Its exit code, where it has ended.
    pub exit_code: Option<i64>,
    /// Whether Docker's own health check says `unhealthy`: a veto.
    pub unhealthy: bool,
}

/// What is known so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Well.
    Proven(Proof),
    /// Not well, and no more asking helps: a sentence.
    Failed(String),
    /// Go on.
    KeepAsking,
}

/// Counts towards one proof. After `Proven` or `Failed` it has done its work.
#[derive(Debug, Clone)]
pub struct ProofCounter {
    rule: HealthRule,
    container: String,
    /// When it was first seen running, and how.
    first: Option<(Duration, Observation)>,
    in_a_row: u32,
    last_answer: Option<String>,
}

impl ProofCounter {
    /// For this container, by this rule. A count of 0 is taken as 1.
    pub fn new(rule: HealthRule, container: &str) -> Self {
        Self { rule, container: container.to_owned(), first: None, in_a_row: 0, last_answer: None }
    }

    /// Good answers in a row so far.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// How long to wait between two questions.
    pub fn interval(&self) -> Duration {
        Duration::from_millis(self.rule.interval_ms)
    }

    /// Takes one answer (if one was asked for) and what the engine said *after* it into account. `after` is the
    /// time since the asking began. An observation that could not be had proves nothing, but does not fail either.
    ///
    /// For `Weak` there are no answers: give observations only.
    pub fn fold(&mut self, after: Duration, answer: Option<Result<(), String>>, seen: Option<&Observation>) -> Verdict {
        if let Some(why) = seen.and_then(|seen| self.ended(after, seen)) {
            return Verdict::Failed(why);
        }
        match answer {
            Some(Ok(())) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.last_answer = None;
            }
            Some(Err(why)) => {
                self.in_a_row = 0;
                self.last_answer = Some(why);
            }
            None => {}
        }
        if after > Duration::from_secs(self.rule.deadline_s) {
            return Verdict::Failed(self.too_late());
        }
        let running = seen.is_some_and(|seen| seen.state == ContainerState::Running);
        let weak = self.rule.check == HealthCheck::Weak;
        let count = self.rule.count.max(1);
        let ran = self.first.as_ref().map(|(since, _)| after.saturating_sub(*since)).unwrap_or_default();
        let enough = if weak { ran >= self.interval().saturating_mul(count) } else { self.in_a_row >= count };
        if !(running && enough) {
            return Verdict::KeepAsking;
        }
        Verdict::Proven(Proof {
            container: self.container.clone(),
            answers: if weak { 0 } else { self.in_a_row },
            after_ms: u64::try_from(after.as_millis()).unwrap_or(u64::MAX),
            weak,
        })
    }

    /// Why the container cannot become a proof any more.
    fn ended(&mut self, after: Duration, seen: &Observation) -> Option<String> {
        if seen.container != self.container {
            return Some(
                "another container took its place while it was being proven; look who else deploys".to_owned(),
            );
        }
        match seen.state {
            ContainerState::Created | ContainerState::Running => {}
            ContainerState::Restarting => return Some(format!("it ended{} and is being restarted", code(seen))),
            ContainerState::Exited => return Some(format!("it ended{}", code(seen))),
            ContainerState::Paused => return Some("somebody paused it".to_owned()),
            ContainerState::Dead => return Some("it is dead".to_owned()),
            ContainerState::Missing => return Some("it is gone".to_owned()),
        }
        if seen.unhealthy {
            return Some("Docker's own check of it says unhealthy".to_owned());
        }
        // Made, not started yet: nothing to compare a restart with.
        if seen.state == ContainerState::Running {
            match &self.first {
                None => self.first = Some((after, seen.clone())),
                Some((_, first)) if first.restarts != seen.restarts || first.started != seen.started => {
                    return Some("it restarted while it was being proven".to_owned());
                }
                Some(_) => {}
            }
        }
        None
    }

    fn too_late(&self) -> String {
        let count = self.rule.count.max(1);
        let deadline = self.rule.deadline_s;
        match (&self.last_answer, self.in_a_row) {
            _ if self.rule.check == HealthCheck::Weak => format!("it did not run long enough within {deadline} s"),
            (Some(why), _) => format!("not healthy within {deadline} s; the last answer: {why}"),
            (None, 0) => format!("no answer at all within {deadline} s"),
            (None, some) => format!("only {some} of {count} good answers in a row within {deadline} s"),
        }
    }
}

fn code(seen: &Observation) -> String {
    seen.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn rule(check: HealthCheck) -> HealthRule {
        HealthRule { check, count: 3, interval_ms: 100, deadline_s: 10 }
    }

    fn counter() -> ProofCounter {
        ProofCounter::new(rule(HealthCheck::Tcp { port: 1 }), "new")
    }

    fn runs() -> Observation {
        Observation {
            container: "new".to_owned(),
            state: ContainerState::Running,
            restarts: 0,
            started: Some(Timestamp::UNIX_EPOCH),
            exit_code: None,
            unhealthy: false,
        }
    }

    fn ok() -> Option<Result<(), String>> {
        Some(Ok(()))
    }

    fn bad() -> Option<Result<(), String>> {
        Some(Err("answered 503".to_owned()))
    }

    fn failed(verdict: &Verdict) -> &str {
        match verdict {
            Verdict::Failed(why) => why,
            other => panic!("should have failed: {other:?}"),
        }
    }

    #[test]
    fn good_answers_must_come_in_a_row() {
        let mut counter = counter();
        for (at, answer) in [(0, ok()), (100, ok()), (200, bad()), (300, ok()), (400, ok())] {
            assert_eq!(counter.fold(MS(at), answer, Some(&runs())), Verdict::KeepAsking, "{at}");
        }
        let proof = Proof { container: "new".to_owned(), answers: 3, after_ms: 500, weak: false };
        assert_eq!(counter.fold(MS(500), ok(), Some(&runs())), Verdict::Proven(proof));
    }

    #[test]
    fn answers_without_a_look_at_the_container_prove_nothing() {
        let mut counter = counter();
        for at in 0..5 {
            assert_eq!(counter.fold(MS(at * 100), ok(), None), Verdict::KeepAsking);
        }
        let created = Observation { state: ContainerState::Created, ..runs() };
        assert_eq!(counter.fold(MS(500), None, Some(&created)), Verdict::KeepAsking, "something else answers there");
        assert!(matches!(counter.fold(MS(600), None, Some(&runs())), Verdict::Proven(_)));
    }

    #[test]
    fn an_end_a_restart_or_another_container_fails_at_once() {
        for (seen, part) in [
            (Observation { state: ContainerState::Exited, exit_code: Some(1), ..runs() }, "ended with exit code 1"),
            (Observation { state: ContainerState::Restarting, ..runs() }, "being restarted"),
            (Observation { state: ContainerState::Dead, ..runs() }, "dead"),
            (Observation { state: ContainerState::Paused, ..runs() }, "paused"),
            (Observation { restarts: 1, ..runs() }, "restarted"),
            (Observation { started: Some(Timestamp::MAX), ..runs() }, "restarted"),
            (Observation { container: "other".to_owned(), ..runs() }, "another container"),
            (Observation { unhealthy: true, ..runs() }, "unhealthy"),
        ] {
            let mut counter = counter();
            counter.fold(MS(0), ok(), Some(&runs()));
            counter.fold(MS(100), ok(), Some(&runs()));
            let verdict = counter.fold(MS(200), ok(), Some(&seen));
            assert!(failed(&verdict).contains(part), "{part}: {verdict:?}");
        }
    }

    #[test]
    fn restarts_before_the_first_look_do_not_count() {
        let mut counter = counter();
        let seen = Observation { restarts: 7, ..runs() };
        counter.fold(MS(0), ok(), Some(&seen));
        counter.fold(MS(100), ok(), Some(&seen));
        assert!(matches!(counter.fold(MS(200), ok(), Some(&seen)), Verdict::Proven(_)));
    }

    #[test]
    fn the_deadline_ends_it_and_tells_the_last_answer() {
        let mut counter = counter();
        assert_eq!(counter.fold(MS(10_000), bad(), Some(&runs())), Verdict::KeepAsking);
        assert!(failed(&counter.fold(MS(10_001), bad(), Some(&runs()))).contains("503"));
        assert!(failed(&counter.clone().fold(MS(10_002), ok(), Some(&runs()))).contains("only 1 of 3"));
        assert!(failed(&self::counter().fold(MS(10_001), None, None)).contains("no answer at all"));
    }

    #[test]
    fn where_nothing_can_be_asked_it_must_run_long_enough() {
        let weak = || ProofCounter::new(rule(HealthCheck::Weak), "new");
        let mut counter = weak();
        assert_eq!(counter.fold(MS(0), None, Some(&runs())), Verdict::KeepAsking);
        assert_eq!(counter.fold(MS(299), None, Some(&runs())), Verdict::KeepAsking);
        let proof = Proof { container: "new".to_owned(), answers: 0, after_ms: 300, weak: true };
        assert_eq!(counter.fold(MS(300), None, Some(&runs())), Verdict::Proven(proof));
        let mut counter = weak();
        assert_eq!(counter.fold(MS(900), None, Some(&runs())), Verdict::KeepAsking, "it was seen only now");
        let mut counter = weak();
        counter.fold(MS(0), None, Some(&runs()));
        failed(&counter.fold(MS(400), None, Some(&Observation { restarts: 1, ..runs() })));
    }
}

//! Who lives in the town: teams that deploy and roll back, lookers who come and go, strangers, and consoles that hang up in
//! the middle of a sentence.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use sternway::chat::console::protocol::FromServer;
use sternway::domain::ids::RunId;
use sternway::domain::run::{RunState, Status};
use sternway::store::SharedLog;
use tokio::task::JoinHandle;

use super::crowd::{Class, Voice, class_of, usual_words};
use super::town::{Town, person, stack, stranger, until};

const LOOKERS: usize = 6;
/// Between two visits of a looker.
const PAUSE: Duration = Duration::from_millis(150);
/// Between two rounds of a team.
const REST: Duration = Duration::from_millis(500);

/// Everybody, and what they have done.
pub(super) struct Life {
    town: Arc<Town>,
    log: SharedLog,
    stopping: AtomicBool,
    next_person: AtomicUsize,
    sessions: AtomicUsize,
    /// Runs that came to their end.
    pub(super) ended: AtomicU64,
    /// Things said.
    pub(super) said: AtomicU64,
}

impl Life {
    pub(super) fn new(town: Arc<Town>, log: SharedLog) -> Self {
        Self {
            town,
            log,
            stopping: AtomicBool::new(false),
            next_person: AtomicUsize::new(0),
            sessions: AtomicUsize::new(0),
            ended: AtomicU64::new(0),
            said: AtomicU64::new(0),
        }
    }

    pub(super) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    fn goes_on(&self) -> bool {
        !self.stopping.load(Ordering::SeqCst)
    }

    pub(super) async fn first_rollback(&self) {
        self.round(0, 0).await;
    }

    /// Everybody begins.
    pub(super) fn begin(self: &Arc<Self>) -> Vec<JoinHandle<()>> {
        let teams = (0..self.town.stacks).map(|n| {
            let life = Arc::clone(self);
            tokio::spawn(async move {
                let mut round = n;
                while life.goes_on() {
                    life.round(n, round).await;
                    life.town.clock.sleep(REST).await;
                    round += 1;
                }
            })
        });
        let lookers = (0..LOOKERS).map(|n| {
            let life = Arc::clone(self);
            tokio::spawn(async move {
                let mut visit = n;
                while life.goes_on() {
                    life.visit(visit).await;
                    life.town.clock.sleep(PAUSE).await;
                    visit += LOOKERS;
                }
            })
        });
        let listener = {
            let life = Arc::clone(self);
            tokio::spawn(async move { life.listen().await })
        };
        teams.chain(lookers).chain([listener]).collect()
    }

    /// Whoever is on call next.
    fn somebody(&self) -> String {
        person(self.next_person.fetch_add(1, Ordering::Relaxed) % self.town.people)
    }

    async fn attach(&self, speaker: &str) -> Voice {
        let session = format!("soak-{}", self.sessions.fetch_add(1, Ordering::Relaxed));
        Voice::attach(&self.town.socket(), &session, speaker).await.expect("there is a seat for everybody")
    }

    /// Attaches, says one thing, waits for its answer and leaves.
    async fn say(&self, speaker: &str, words: &str) -> (Class, FromServer) {
        loop {
            self.said.fetch_add(1, Ordering::Relaxed);
            let answer = self.attach(speaker).await.ask(1, words).await;
            // A console that was dropped for reading slowly has not been answered: it says it again.
            if let Some(answer) = answer {
                return (class_of(&answer).expect("it is an answer").1, answer);
            }
        }
    }

    /// One round of a team: somebody deploys, somebody else does not like it.
    async fn round(&self, n: usize, round: usize) {
        let runs = |version: &str| self.town.runs(&self.log, n) == format!("town/api:{version}");
        self.town.deploy(n, "1.1");
        until(&self.town.clock, "the deploy is on record", || runs("1.1")).await;
        let words = format!("/rollback image api@{}", stack(n));
        match round % 6 {
            // With a vote, to an image that nobody has proven.
            2 => {
                let run = self.asked(n, &format!("{words} to 1.2 because it is not released yet")).await;
                let question = self.question(&run).await;
                self.insist(&format!("/approve {question} because I looked"), run.id).await;
            }
            // Asked for and taken back.
            4 => {
                let run = self.asked(n, &format!("{words} to 1.2")).await;
                self.question(&run).await;
                self.insist(&format!("/cancel {}", run.id), run.id).await;
            }
            _ => {
                let run = self.asked(n, &format!("{words} because 1.1 answers with errors")).await;
                self.over(run.id).await;
            }
        }
        self.ended.fetch_add(1, Ordering::Relaxed);
    }

    /// Says it until somebody is heard: whoever asked has no vote, and a disk that others keep busy takes nothing for a
    /// while. Then the run ends.
    async fn insist(&self, words: &str, run: RunId) {
        while self.say(&self.somebody(), words).await.0 != Class::Done {
            if self.log.run(run).unwrap().unwrap().ended() {
                break;
            }
            self.town.clock.sleep(PAUSE).await;
        }
        self.over(run).await;
    }

    /// Asks for a rollback until somebody is heard, and gives the run.
    async fn asked(&self, n: usize, words: &str) -> RunState {
        loop {
            if self.say(&self.somebody(), words).await.0 == Class::Done {
                let target = Some(self.town.target(n));
                let newest = self.log.runs(100).unwrap().into_iter().find(|run| run.target == target && !run.dry_run);
                return newest.expect("an accepted request is on record");
            }
            self.town.clock.sleep(PAUSE).await;
        }
    }

    /// The question to the approvers, once it is asked.
    async fn question(&self, run: &RunState) -> String {
        let now = || self.log.run(run.id).unwrap().unwrap();
        until(&self.town.clock, "somebody is asked", || now().open_approval().is_some() || now().ended()).await;
        let state = now();
        match state.open_approval() {
            Some(approval) => approval.id.to_string(),
            None => panic!("{} was not asked about: {:?}", run.id, state.status),
        }
    }

    async fn over(&self, run: RunId) {
        let over = || {
            let run = self.log.run(run).unwrap().unwrap();
            run.ended() || matches!(run.status, Status::Stuck { .. })
        };
        until(&self.town.clock, "the run ends", over).await;
    }

    /// Somebody comes, says a few things and goes; now and then without waiting for the answer.
    async fn visit(&self, visit: usize) {
        let speaker =
            if visit % 7 == 3 { stranger(visit % super::STRANGERS) } else { person(visit % self.town.people) };
        let mut voice = self.attach(&speaker).await;
        for id in 0..4 {
            let words = usual_words(visit, usize::try_from(id).unwrap(), self.town.stacks);
            let words = words.trim_start_matches('!');
            // Rolling back is for the teams; what others ask for would come between their rounds.
            let words =
                if words.starts_with("/rollback image") || words.starts_with("/cancel") { "/runs list" } else { words };
            self.said.fetch_add(1, Ordering::Relaxed);
            if visit % 5 == 1 && id == 2 {
                let _ = voice.say(id, words).await;
                return;
            }
            if voice.ask(id, words).await.is_none() {
                return;
            }
        }
    }

    /// A console that stays and reads everything.
    async fn listen(&self) {
        while self.goes_on() {
            let mut voice = self.attach(&person(0)).await;
            loop {
                tokio::select! {
                    message = voice.next() => if message.is_none() { break },
                    () = self.town.clock.sleep(Duration::from_secs(1)) => if !self.goes_on() { return },
                }
            }
        }
    }
}

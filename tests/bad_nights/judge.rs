//! Whether what the run says is what is there: by the images' fingerprints, by the containers' names and policies, by the
//! pin, and by who answers from outside.

use std::fmt;

use sternway::domain::event::Outcome;
use sternway::domain::run::{RunState, Status};

use crate::fault::{Fault, Point};
use crate::lane::{Lane, Side};
use crate::shop::until;

/// Words by which an end says that somebody else changed what the run was to change.
const SOMEBODY: [&str; 5] =
    ["somebody", "foreign hand", "could not be verified", "not on this host any more", "stands as it stood"];

/// What was told, and found true.
pub(crate) struct Verdict {
    pub(crate) word: String,
    why: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why.as_str() {
            "" => f.write_str(&self.word),
            why => write!(f, "{} ({why})", self.word),
        }
    }
}

impl Lane {
    /// Compares the runs of a night with the world; fails the night where they differ.
    pub(crate) async fn judge(&self, point: Point, (from, to): (usize, usize), runs: &[RunState]) -> Verdict {
        let mut verdict = Verdict { word: String::new(), why: String::new() };
        let mut stuck = false;
        let mut done = false;
        for run in runs {
            self.is_shown(run).await;
            verdict.word = sternway::report::status_word(run).to_owned();
            verdict.why = match &run.status {
                Status::Ended { outcome, .. } => {
                    done |= *outcome == Outcome::Done;
                    match outcome {
                        Outcome::Undone { why } | Outcome::Refused { why, .. } => why.clone(),
                        Outcome::Void { differences } => differences.join("; "),
                        _ => String::new(),
                    }
                }
                Status::Stuck { why, remains, .. } => {
                    stuck = true;
                    assert!(!remains.is_empty() && !why.is_empty(), "{point:?}: stuck without a list: {run:?}");
                    assert!(run.holds_claim(), "{point:?}: stuck, and the stack is free: {run:?}");
                    format!("{why}; remains: {}", remains.join(", "))
                }
                _ => unreachable!("at rest"),
            };
        }
        if Fault::OF_ENGINE.contains(&point.fault) {
            self.tells_who_is_down(point).await;
        }
        if stuck {
            return verdict;
        }
        let side = &self.sides[if done { to } else { from }];
        let excused = point.fault.by_hand() && !done && SOMEBODY.iter().any(|w| verdict.why.contains(w));
        if !excused && let Err(differs) = self.is_fully(side).await {
            panic!("{point:?}: told {verdict}, but {differs}\n{}", self.tell(runs));
        }
        verdict
    }

    /// What an engine that was killed left down (`unless-stopped` stays so) and no run is about is not started by anybody of
    /// ours; `/status` tells it (decision 15), and the team starts it.
    async fn tells_who_is_down(&self, point: Point) {
        let mut seat = self.bot.sit().await;
        for service in ["db", "web"] {
            let all = self.shop.containers(service).await;
            if all.iter().all(|c| c["State"]["Status"] == "exited") {
                let status = seat.say("/status").await.plain();
                let line = status.lines().find(|l| l.contains(service) && l.contains("stopped"));
                assert!(line.is_some(), "{point:?}: {service} is down, and nobody is told: {status}");
                // Whoever reads it starts it.
                self.shop.compose(&["start", service]).await;
            }
        }
    }

    /// One container, of that image, called as it was, that comes back by itself as before, pinned, answering.
    pub(crate) async fn is_fully(&self, side: &Side) -> Result<(), String> {
        let all = self.shop.containers("api").await;
        let names: Vec<String> = all.iter().map(|c| format!("{} {}", c["Name"], c["State"]["Status"])).collect();
        let [api] = all.as_slice() else { return Err(format!("api has {} containers: {names:?}", all.len())) };
        if api["State"]["Running"] != true {
            return Err(format!("api does not run: {names:?} {}", api["State"]));
        }
        let runs = self.shop.fingerprint(api["Image"].as_str().unwrap_or_default()).await;
        if runs != side.print {
            return Err(format!("api runs {}, which is not {}", runs.short(), side.version));
        }
        let name = self.api_name();
        if api["Name"] != format!("/{name}") {
            return Err(format!("it is called {}, not {name}", api["Name"]));
        }
        let policy = &api["HostConfig"]["RestartPolicy"]["Name"];
        if policy != self.setting.restart && !(self.setting.restart == "no" && policy == "") {
            return Err(format!("its restart policy is {policy}"));
        }
        let leftovers = self.shop.leftovers().await;
        if !leftovers.is_empty() {
            return Err(format!("there are leftovers: {leftovers:?}"));
        }
        let wanted = format!("{{\"status\":\"ok\",\"version\":\"{}\"}}", side.version);
        until(&format!("{} outside", side.version), async || match self.shop.direct("/api/health").await {
            Ok(said) if said == wanted => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .await;
        match self.shop.env() == self.shop.env_with(&self.env, side.version) {
            true => Ok(()),
            false => Err(format!("the pin is not {}: {}", side.version, self.shop.env())),
        }
    }

    /// The name that this compose gives.
    pub(crate) fn api_name(&self) -> String {
        let between = if self.setting.compose.starts_with("1.") { '_' } else { '-' };
        format!("{}{between}api{between}1", self.shop.project())
    }

    /// `/runs show` tells the same end, and every record of the run.
    async fn is_shown(&self, run: &RunState) {
        let shown = self.bot.sit().await.say(&format!("/runs show {}", run.id)).await.plain();
        let (words, why) = match &run.status {
            Status::Stuck { why, .. } => ("STUCK", why.as_str()),
            Status::Ended { outcome: Outcome::Done, .. } if run.leads_out() => ("agreed", ""),
            Status::Ended { outcome: Outcome::Done, .. } => ("done", ""),
            Status::Ended { outcome: Outcome::Undone { why }, .. } => ("everything is as it was", why.as_str()),
            Status::Ended { outcome: Outcome::Void { .. }, .. } => ("void", ""),
            Status::Ended { outcome: Outcome::Refused { why, .. }, .. } => ("refused", why.as_str()),
            Status::Ended { outcome: Outcome::Accepted { .. }, .. } => ("accepted as it is", ""),
            other => panic!("a night does not end so: {other:?}"),
        };
        let begins: String = why.chars().take(24).take_while(|c| c.is_ascii() && !c.is_control()).collect();
        assert!(shown.contains(words) && shown.contains(&begins), "{}: {words:?}, {begins:?}: {shown}", run.id);
        let steps = run.steps.len().min(1);
        assert!(shown.matches("step").count() >= steps, "the story of {}: {shown}", run.id);
    }
}

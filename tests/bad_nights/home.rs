//! After a night: whatever is stuck is led out by the ways that the bot offers, the team's next plain `up` behaves, and the
//! shop is as shops are when the next night begins.

use std::time::Instant;

use sternway::domain::event::Outcome;
use sternway::domain::run::{RunState, Status};

use crate::bot::{at_rest, last_lines};
use crate::fault::{Fault, Point, Target};
use crate::lane::{Approver, Lane, between_looks};
use crate::shop::{BOUND, until};

impl Lane {
    /// Tries the ways out of what is stuck, in their order; one of them has to lead home. Gives words about it.
    pub(crate) async fn lead_home(&self, point: Point, runs: &[RunState], omar: &mut Approver) -> String {
        let Some(stuck) = runs.iter().find(|r| matches!(r.status, Status::Stuck { .. })) else { return String::new() };
        let mut tried = Vec::new();
        // Every other night somebody does first what the message says.
        if let Status::Stuck { why, .. } = &stuck.status
            && why.contains("remove both and bring the service up")
            && point.call.is_multiple_of(2)
        {
            for one in self.shop.containers("api").await {
                self.shop.remove(one["Id"].as_str().expect("an id")).await;
            }
            self.shop.compose(&["up", "-d", "--no-deps", "api"]).await;
            tried.push("removed both and brought it up".to_owned());
        }
        for way in ["retry", "undo", "accept"] {
            let came = self.way_out(way, stuck, omar).await;
            tried.push(format!("{way}: {}", sternway::report::status_word(&came)));
            let Status::Ended { outcome, .. } = &came.status else { continue };
            match outcome {
                // Where somebody's hand was in it a person may have to say that it is so.
                Outcome::Accepted { .. } => {
                    assert!(
                        point.fault.by_hand(),
                        "{point:?}: only accepting leads out: {tried:?}; {}",
                        self.tell(runs)
                    );
                }
                Outcome::Done | Outcome::Undone { .. } => {
                    let done = *outcome == Outcome::Done;
                    let running = self.shop.running().await;
                    let side = self.sides.iter().find(|s| s.print == running);
                    let side = side.unwrap_or_else(|| panic!("{point:?}: {way} ended, and a stranger runs"));
                    if let Err(differs) = self.is_fully(side).await {
                        panic!("{point:?}: {way} ended {outcome:?}, but {differs}");
                    }
                    let wanted = if self.setting.target == Target::Broken { 1 } else { usize::from(done) };
                    assert!(self.setting.target == Target::Good || wanted == 1 && side.version == "1.1");
                }
                other => panic!("{point:?}: {way} ended {other:?}"),
            }
            return format!(", led out by {}", tried.join(", "));
        }
        panic!("{point:?}: no way leads out: {tried:?}; {}\n{}", self.tell(runs), last_lines(&self.bot.log));
    }

    /// One way out, agreed to; the run as it rests afterwards.
    async fn way_out(&self, way: &str, stuck: &RunState, omar: &mut Approver) -> RunState {
        let began = self.journal.head();
        let mut layla = self.bot.sit().await;
        layla.send(1, &format!("/runs {way} {} because the night is over", stuck.id)).await;
        let asked = Instant::now();
        loop {
            let asks = self.runs_since(began);
            omar.approve(&self.shop, &asks);
            let now = self.journal.runs().into_iter().find(|r| r.id == stuck.id).expect("it is on record");
            if asks.iter().any(RunState::ended) && at_rest(&now) {
                let led = asks.iter().any(|r| matches!(r.status, Status::Ended { outcome: Outcome::Done, .. }));
                assert!(led, "/runs {way} was not taken: {}", self.tell(&asks));
                return now;
            }
            let told = || format!("{}\n{}\n{}", self.tell(&asks), omar.read(), last_lines(&self.bot.log));
            // A way that tries something may take as long as the step it tries.
            assert!(asked.elapsed() < BOUND * 3, "/runs {way} {}: {} {}", stuck.id, self.tell(&[now]), told());
            between_looks().await;
        }
    }

    /// The team's next plain `up`: one container of `api`, by its name, of the image that `.env` names, and all answer.
    pub(crate) async fn next_up(&self, point: Point) {
        let said = self.shop.try_compose(&["up", "-d"]).await;
        let all = self.shop.containers("api").await;
        let names: Vec<String> = all.iter().map(|c| format!("{} {}", c["Name"], c["State"]["Status"])).collect();
        assert!(said.is_ok(), "{point:?}: the next up: {said:?}; {names:?}");
        assert_eq!(all.len(), 1, "{point:?}: after the next up: {names:?}");
        assert_eq!(all[0]["Name"], format!("/{}", self.api_name()), "{point:?}: after the next up");
        let pinned = self.pinned();
        assert_eq!(self.shop.running().await, self.shop.fingerprint(&pinned).await, "{point:?}: not {pinned}");
        let version = pinned.rsplit_once(':').expect("a tag").1.to_owned();
        let version = if pinned.contains("io.sternway/pin") { None } else { Some(version) };
        until("both doors after the next up", async || {
            let seen = (self.shop.direct("/api/health").await, self.shop.through_web("/api/health").await);
            let well = |said: &Result<String, String>| match (said, &version) {
                (Ok(said), Some(version)) => said.contains(&format!("\"version\":\"{version}\"")),
                (Ok(_), None) => true,
                (Err(_), _) => false,
            };
            if well(&seen.0) && well(&seen.1) { Ok(()) } else { Err(format!("{point:?}: {seen:?}, {names:?}")) }
        })
        .await;
    }

    fn pinned(&self) -> String {
        let env = self.shop.env();
        env.lines().find_map(|l| l.strip_prefix("API_IMAGE=")).expect("a pin").to_owned()
    }

    /// As shops are: the images by their names, one of the two versions running.
    pub(crate) async fn restore(&self, point: Point) {
        if let Some(clock) = &self.clock {
            clock.set(0);
        }
        if matches!(point.fault, Fault::DeleteImage | Fault::MoveTag) {
            let first = if self.setting.target == Target::Good { "good" } else { "exits" };
            self.shop.engine.product("api", "1.0", first).await;
            self.shop.engine.product("api", "1.1", "good").await;
        }
        let known = |pin: &str| self.sides.iter().any(|s| pin == self.shop.image(s.version));
        let of_broken = self.setting.target == Target::Broken && self.pinned() != self.shop.image("1.1");
        if !known(&self.pinned()) || of_broken || point.fault == Fault::MoveTag {
            self.shop.deploy("1.1").await;
        }
    }
}

//! What has to be so after a run, wherever it was interrupted: fully old or fully new, by the journal, by the engine, by
//! who asks from outside, by what the bot says, and by what the team's next plain `up` makes of it.

use serde_json::Value;
use sternway::domain::event::Outcome;
use sternway::domain::ids::Position;
use sternway::domain::names::Fingerprint;
use sternway::domain::run::{RunState, Status, StepState, name_of};

use crate::bot::Served;
use crate::lane::{Aim, Lane, Point, Way};
use crate::shop::{Shop, until};

/// Labels by which compose knows its own.
const COMPOSE_LABELS: [&str; 7] =
    ["project", "service", "oneoff", "version", "config-hash", "project.config_files", "project.working_dir"];

/// A version of the API.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) version: &'static str,
    image: Fingerprint,
    /// What people say for it, once it is on record.
    release: Option<String>,
    /// Compose's labels, as compose itself gave them.
    labels: Vec<Option<String>>,
}

/// The versions that a lane moves between.
pub(crate) struct Ways {
    versions: Vec<Version>,
    /// `.env` as the shop began.
    env: String,
}

impl Ways {
    pub(crate) async fn new(shop: &Shop) -> Self {
        let mut versions = Vec::new();
        for version in ["0.8", "0.9", "1.0", "1.1", "1.8", "1.9"] {
            let image = shop.fingerprint(&shop.image(version)).await;
            versions.push(Version { version, image, release: None, labels: Vec::new() });
        }
        Self { versions, env: shop.env() }
    }

    /// Compose has just put this one there, and it is on record.
    pub(crate) async fn deployed(&mut self, shop: &Shop, version: &str, release: String) {
        let labels = labels(&copies(shop).await[0]);
        let known = self.versions.iter_mut().find(|v| v.version == version).expect("one of ours");
        (known.release, known.labels) = (Some(release), labels);
    }

    /// What runs, in all containers of the API.
    pub(crate) async fn runs(&self, shop: &Shop) -> Version {
        let mut found: Vec<Fingerprint> = Vec::new();
        for one in copies(shop).await {
            found.push(shop.fingerprint(one["Image"].as_str().expect("an id")).await);
        }
        found.dedup();
        assert_eq!(found.len(), 1, "one image in all copies");
        self.versions.iter().find(|v| v.image == found[0]).expect("one of ours").clone()
    }

    /// The words for where a run goes, and the version.
    pub(crate) fn goes(&self, shop: &Shop, aim: Aim, way: Way, from: &Version) -> (String, Version) {
        let version = match (aim, way) {
            (Aim::Good, _) => {
                if from.version == "1.0" {
                    "1.1"
                } else {
                    "1.0"
                }
            }
            (Aim::Exits, Way::Back) => "0.9",
            (Aim::Exits, Way::Forward) => "1.9",
            (Aim::Tires, Way::Back) => "0.8",
            (Aim::Tires, Way::Forward) => "1.8",
        };
        let to = self.versions.iter().find(|v| v.version == version).expect("one of ours").clone();
        (to.release.clone().unwrap_or_else(|| shop.image(version)), to)
    }
}

/// The API's containers, by name.
async fn copies(shop: &Shop) -> Vec<Value> {
    let mut all = shop.containers("api").await;
    all.sort_by_key(|c| c["Name"].to_string());
    all
}

fn labels(container: &Value) -> Vec<Option<String>> {
    let of = |name: &&str| container["Config"]["Labels"][format!("com.docker.compose.{name}")].as_str();
    COMPOSE_LABELS.iter().map(|name| of(name).map(str::to_owned)).collect()
}

/// The name that compose gave, by which generation of compose it was.
fn name_of_copy(shop: &Shop, container: &Value, number: usize) -> String {
    let version = container["Config"]["Labels"]["com.docker.compose.version"].as_str().unwrap_or_default();
    let between = if version.starts_with("1.") { '_' } else { '-' };
    format!("/{}{between}api{between}{number}", shop.project())
}

impl Lane {
    /// Looks at everything; gives how the run ended, in a word.
    pub(crate) async fn judge(
        &self,
        point: &Point,
        from: &Version,
        to: &Version,
        began: Position,
        bot: &Served,
        told: &impl Fn() -> String,
    ) -> String {
        let runs = self.journal.runs_after(began);
        let mut done = false;
        let mut word = "never heard".to_owned();
        for run in &runs {
            match &run.status {
                Status::Ended { outcome, .. } => {
                    done |= *outcome == Outcome::Done;
                    word = sternway::report::status_word(run).to_owned();
                }
                Status::Stuck { remains, .. } => panic!("stuck, with {remains:?}: {}", told()),
                _ => unreachable!("at rest"),
            }
        }
        assert!(!done || point.aim == Aim::Good, "a broken target cannot be done: {}", told());
        let wanted = if done { to } else { from };
        self.engine_tells(wanted, told).await;
        self.outside_tells(wanted, told).await;
        self.files_tell(wanted, told);
        self.bot_tells(bot, wanted, &runs, told).await;
        self.journal.is_whole().await;
        if point.up {
            let before = copies(&self.shop).await;
            self.shop.compose(&["up", "-d"]).await;
            let after = copies(&self.shop).await;
            let announced = runs.iter().filter_map(|r| r.plan.as_ref()).flat_map(|p| &p.notes.warnings);
            let announced = done && announced.into_iter().any(|w| w.contains("recreates api once, to the same image"));
            let nothing_to_do = ids(&before) == ids(&after);
            assert!(nothing_to_do || announced, "the team's next plain `up` recreates unannounced: {}", told());
            self.engine_tells(wanted, told).await;
            self.outside_tells(wanted, told).await;
        }
        word
    }

    async fn engine_tells(&self, wanted: &Version, told: &impl Fn() -> String) {
        let all = copies(&self.shop).await;
        assert_eq!(all.len(), self.form.copies, "containers of api: {:?}: {}", names(&all), told());
        for (at, one) in all.iter().enumerate() {
            let name = one["Name"].as_str().unwrap_or_default();
            assert_eq!(one["State"]["Running"], true, "{name}: {}: {}", one["State"], told());
            let image = self.shop.fingerprint(one["Image"].as_str().expect("an id")).await;
            assert_eq!(image, wanted.image, "{name} does not run what the journal says: {}", told());
            assert_eq!(name, name_of_copy(&self.shop, one, at + 1), "{}", told());
            let policy = &one["HostConfig"]["RestartPolicy"]["Name"];
            assert_eq!(policy, "unless-stopped", "{name}: restart policy: {}", told());
            assert_eq!(labels(one), wanted.labels, "{name}: compose's labels: {}", told());
            let number = one["Config"]["Labels"]["com.docker.compose.container-number"].as_str();
            assert_eq!(number, Some((at + 1).to_string().as_str()), "{name}: compose's number: {}", told());
        }
        assert_eq!(self.shop.leftovers().await, Vec::<String>::new(), "{}", told());
    }

    /// Through the front end, and at the API's own ports where it has some.
    async fn outside_tells(&self, wanted: &Version, told: &impl Fn() -> String) {
        let words = format!("{{\"status\":\"ok\",\"version\":\"{}\"}}", wanted.version);
        let mut ports = vec![self.shop.web_port];
        for one in copies(&self.shop).await {
            let bound = one["NetworkSettings"]["Ports"]["3000/tcp"].as_array().into_iter().flatten();
            ports.extend(bound.filter_map(|b| b["HostPort"].as_str()?.parse::<u16>().ok()));
        }
        let own = if self.form.start_first { 0 } else { self.form.copies };
        assert!(ports.len() > own, "{ports:?} are published: {}", told());
        for port in ports {
            until(&format!("{} at port {port}: {}", wanted.version, told()), async || {
                match crate::shop::get(port, "/api/health").await {
                    Ok(body) if body == words => Ok(()),
                    other => Err(format!("{other:?}")),
                }
            })
            .await;
        }
    }

    /// The pin, the project's folder, and the agent's list of what is under way.
    fn files_tell(&self, wanted: &Version, told: &impl Fn() -> String) {
        let env = self.shop.env_with(&self.ways.env, wanted.version);
        assert_eq!(self.shop.env(), env, "the pin: {}", told());
        assert_eq!(listed(&self.shop.project_folder()), [".env", "compose.yml"], "{}", told());
        let open = listed(&self.shop.folder().join("agent/operations"));
        assert_eq!(open, Vec::<String>::new(), "open in the agent's ledger: {}", told());
    }

    /// The bot says of each run what its journal says, and of the service what runs.
    async fn bot_tells(&self, bot: &Served, wanted: &Version, runs: &[RunState], told: &impl Fn() -> String) {
        let mut seat = bot.sit().await;
        for run in runs {
            let shown = seat.say(&format!("/runs show {}", run.id)).await.plain();
            let wrong = || format!("/runs show {} says\n{shown}\n: {}", run.id, told());
            let mut rest = shown.as_str();
            for (position, event) in self.journal.thread(run.id) {
                let line = rest.lines().position(|l| {
                    l.starts_with(&format!("{position} "))
                        && l.split(' ').nth(2).is_some_and(|w| w.trim_end_matches(':') == name_of(&event))
                });
                let line =
                    line.unwrap_or_else(|| panic!("no {} at {position} in its turn: {}", name_of(&event), wrong()));
                rest = rest.splitn(line + 2, '\n').nth(line + 1).unwrap_or_default();
            }
            let Status::Ended { outcome, .. } = &run.status else { unreachable!("at rest") };
            let end = match outcome {
                Outcome::Done => "\ndone in ",
                Outcome::Undone { .. } => "\neverything is as it was: ",
                Outcome::Void { .. } => "\nvoid, nothing was done: ",
                other => panic!("{other:?}: nobody refused, denied or cancelled: {}", wrong()),
            };
            assert!(shown.contains(end), "{}", wrong());
            let half = run.steps.iter().any(|s| matches!(s, StepState::Open | StepState::UndoOpen));
            assert!(!half && !shown.contains("\n… ") && !shown.contains("\n↶ "), "a step is half-way: {}", wrong());
            assert_eq!(*outcome == Outcome::Done, shown.contains("\n✓ prove api"), "{}", wrong());
        }
        // Docker's own check of a container may be a moment behind what is so.
        until(&format!("/status to say the same: {}", told()), async || {
            let status = seat.say("/status").await.plain();
            let line = status.lines().find(|l| l.contains(" api ")).unwrap_or_default();
            let well = line.starts_with("✓ ") && line.contains(&self.shop.image(wanted.version));
            if well && !status.contains("held by") { Ok(()) } else { Err(status) }
        })
        .await;
    }
}

fn ids(all: &[Value]) -> Vec<&Value> {
    all.iter().map(|c| &c["Id"]).collect()
}

fn names(all: &[Value]) -> Vec<&Value> {
    all.iter().map(|c| &c["Name"]).collect()
}

fn listed(folder: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("a folder of ours");
    let mut names: Vec<String> =
        entries.map(|e| e.expect("a file").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

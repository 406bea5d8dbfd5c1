//! A shop with a bot that lives through one night after another: a run is asked for, something happens at one of its
//! calls, the run comes to rest, what is told is compared with what is there, and everything is led home again.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sternway::domain::ids::{ApprovalId, Position};
use sternway::domain::names::Fingerprint;
use sternway::domain::run::RunState;

use crate::bot::{Journal, Served, at_rest, last_lines};
use crate::clock::FakeClock;
use crate::composes::Compose;
use crate::console::Omar;
use crate::fault::{Fault, Point, Setting, Target};
use crate::hands::Tonight;
use crate::lab::Lab;
use crate::proxy::Proxy;
use crate::shop::{BOUND, Settings, Shop};

/// When an approval that was given is given again: a bot that was busy may not have heard it.
const APPROVE_AGAIN: Duration = Duration::from_secs(5);

/// Longest a night may take until the run rests, whatever happens: by the design an engine that never answers is given up
/// after seven looks there and seven on the way back.
const NIGHT_MAX: Duration = Duration::from_secs(900);

/// A version of `api`.
pub(crate) struct Side {
    pub(crate) version: &'static str,
    release: String,
    pub(crate) print: Fingerprint,
}

/// A shop, its bot, and the door between the bot and the engine.
pub(crate) struct Lane {
    pub(crate) lab: Arc<Lab>,
    pub(crate) shop: Arc<Shop>,
    pub(crate) setting: Setting,
    pub(crate) journal: Journal,
    pub(crate) bot: Served,
    pub(crate) sides: [Side; 2],
    /// `.env` as the shop began.
    pub(crate) env: String,
    pub(crate) clock: Option<Arc<FakeClock>>,
    proxy: Proxy,
    /// The long form.
    pub(crate) long: bool,
}

/// How a night went.
pub(crate) struct Told {
    /// Calls of the run that change something.
    pub(crate) calls: Vec<String>,
    /// In a word, how the run ended.
    pub(crate) end: String,
    /// The night in a line.
    pub(crate) line: String,
}

impl Lane {
    pub(crate) async fn open(lab: &Arc<Lab>, setting: Setting, long: bool) -> Option<Self> {
        let compose = vec![Compose::find(setting.compose)?.program.to_string_lossy().into_owned()];
        let first = if setting.target == Target::Good { "good" } else { "exits" };
        let restart =
            |text: String| text.replace("restart: unless-stopped", &format!("restart: \"{}\"", setting.restart));
        let versions = [("1.0", first), ("1.1", "good"), ("2.0", "good")];
        let shop = Shop::at(&lab.host, compose, &versions, restart).await?;
        let clock = match setting.clock {
            true => Some(Arc::new(FakeClock::find(shop.folder())?)),
            false => None,
        };
        let proxy = Proxy::before(shop.folder(), &lab.host);
        let config = shop.write_config(&Settings { docker: Some(proxy.socket.clone()), ..Settings::default() });
        limits(&shop, &config);
        let env = shop.env();
        let bot = start(&shop, &config, clock.as_deref()).await;
        let journal = bot.journal.clone();
        let old = journal.release(&shop.image("1.0"), setting.target == Target::Good).await;
        shop.deploy("1.1").await;
        let new = journal.release(&shop.image("1.1"), true).await;
        let sides = [
            Side { version: "1.0", release: old, print: shop.fingerprint(&shop.image("1.0")).await },
            Side { version: "1.1", release: new, print: shop.fingerprint(&shop.image("1.1")).await },
        ];
        Some(Self { lab: Arc::clone(lab), shop: Arc::new(shop), setting, journal, bot, sides, env, clock, proxy, long })
    }

    /// One night, from one shop in order to another.
    pub(crate) async fn night(&mut self, point: Point) -> Told {
        let running = self.shop.running().await;
        let from = self.sides.iter().position(|s| s.print == running).expect("one of the two runs");
        let to = 1 - from;
        let old = self.shop.api().await["Id"].as_str().expect("an id").to_owned();
        let image = self.shop.image(self.sides[to].version);
        let places = (&self.lab, &self.shop);
        let tonight = Arc::new(Tonight::new(point, places, self.clock.clone(), old, image));
        let began = self.journal.head();
        let mut layla = self.bot.sit().await;
        self.proxy.with(Some(Arc::clone(&tonight) as Arc<dyn crate::proxy::Hands>));
        let asked = Instant::now();
        layla.send(1, &format!("/rollback image api to {} because of a bad night", self.sides[to].release)).await;
        let mut over = false;
        let mut omar = Approver::default();
        let (mut runs, mut size) = (Vec::new(), 0);
        loop {
            let now = self.journal_size();
            if now != size {
                (runs, size) = (self.runs_since(began), now);
            }
            let rests = !runs.is_empty() && runs.iter().all(at_rest);
            if rests {
                break;
            }
            omar.approve(&self.shop, &runs);
            if let (false, Some((_, at))) = (over, tonight.seen().at) {
                over = self.goes_by(point.fault, at.elapsed(), &tonight).await;
            }
            let told = || format!("{point:?}: not at rest: {}\n{}", self.tell(&runs), last_lines(&self.bot.log));
            assert!(asked.elapsed() < NIGHT_MAX, "{}", told());
            let unheard = runs.is_empty() && asked.elapsed() > BOUND;
            assert!(!unheard, "{point:?}: no run: {}", layla.heard.text());
            assert!(!self.bot.is_dead(), "{point:?}: the bot has ended: {}", last_lines(&self.bot.log));
            between_looks().await;
        }
        let took = asked.elapsed();
        let seen = tonight.seen();
        let calls = self.proxy.calls();
        let Some((at, _)) = seen.at.clone().or((point.fault == Fault::Nothing).then(|| (String::new(), asked))) else {
            panic!("{point:?} was never reached: {calls:?}; {}", self.tell(&runs));
        };
        if !over {
            self.well_again(point.fault, &tonight).await;
        }
        self.proxy.with(None);
        let verdict = self.judge(point, (from, to), &runs).await;
        let home = self.lead_home(point, &runs, &mut omar).await;
        self.next_up(point).await;
        self.restore(point).await;
        self.journal.is_whole().await;
        let hand = seen.hand.filter(|h| h != "done").map(|h| format!(" ({h})")).unwrap_or_default();
        let line = format!(
            "{:?}{hand} at call {} [{}], {}: {verdict} in {:.1} s{home}",
            point.fault,
            point.call,
            short(&at),
            point.setting,
            took.as_secs_f64(),
        );
        Told { calls, end: verdict.word, line }
    }

    /// Whether what happened is over by now; ends it if it is time.
    async fn goes_by(&self, fault: Fault, lasts: Duration, tonight: &Tonight) -> bool {
        if fault == Fault::Refused {
            self.proxy.shut(true);
        }
        let over = match fault.lasts_s(self.long) {
            Some(seconds) => lasts >= Duration::from_secs(seconds),
            None => !fault.until_rest(),
        };
        if over {
            self.well_again(fault, tonight).await;
        }
        over
    }

    async fn well_again(&self, fault: Fault, tonight: &Tonight) {
        tonight.over();
        self.proxy.shut(false);
        self.proxy.let_go();
        if Fault::OF_ENGINE.contains(&fault) {
            self.lab.bring_back().await;
        }
        if fault == Fault::DiskFull {
            self.lab.disk().make_room();
        }
    }

    /// Bytes of the log: while they stay the same nothing happened.
    fn journal_size(&self) -> u64 {
        let files = std::fs::read_dir(self.journal.store.join("log")).into_iter().flatten();
        files.filter_map(|f| f.ok()?.metadata().ok()).map(|m| m.len()).sum()
    }

    /// Requests since then, oldest first.
    pub(crate) fn runs_since(&self, began: Position) -> Vec<RunState> {
        self.journal.runs().into_iter().filter(|r| r.id.0 > began && !r.dry_run).collect()
    }

    pub(crate) fn tell(&self, runs: &[RunState]) -> String {
        let one = |r: &RunState| {
            let events = self.journal.events(r.id);
            let last: Vec<String> = events.iter().rev().take(4).rev().map(|e| format!("{e:?}")).collect();
            format!("{}: {:?}; last: {}", r.id, r.status, last.join(" → "))
        };
        runs.iter().map(one).collect::<Vec<_>>().join("\n")
    }
}

/// Nobody asks for a rollback as often as we do: a command file of the team's own, with another rate.
fn limits(shop: &Shop, config: &Path) {
    let (ours, theirs) = ("rate       = { count = 5, per = \"10m\" }", "rate       = { count = 600, per = \"10m\" }");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("commands/rollback.toml");
    let text = std::fs::read_to_string(file).expect("our own command file");
    assert!(text.contains(ours), "the rate of /rollback image: {text}");
    let folder = shop.folder().join("commands");
    std::fs::create_dir(&folder).expect("a folder of ours");
    std::fs::write(folder.join("rollback.toml"), text.replace(ours, theirs)).expect("it is ours");
    let text = std::fs::read_to_string(config).expect("it was just written");
    let text = text.replacen("[sternway]\n", &format!("[sternway]\ncommands = \"{}\"\n", folder.display()), 1);
    std::fs::write(config, text.replace("door = 600", "door = 6000")).expect("it is ours");
}

async fn start(shop: &Shop, config: &Path, clock: Option<&FakeClock>) -> Served {
    let environment = clock.map(FakeClock::environment).unwrap_or_default();
    Served::start_with(shop, config, &shop.store(), &environment).await
}

/// The path of a call without what differs each time.
fn short(line: &str) -> String {
    let path = line.split(' ').nth(1).unwrap_or_default().split('?').next().unwrap_or_default();
    let words: Vec<&str> = path.split('/').map(|w| w.get(..8).filter(|_| w.len() == 64).unwrap_or(w)).collect();
    format!("{} {}", line.split(' ').next().unwrap_or_default(), words.join("/"))
}

/// A tenth of a second: what is waited for takes longer.
pub(crate) async fn between_looks() {
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    tick.tick().await;
    tick.tick().await;
}

/// Omar approves whatever waits.
#[derive(Default)]
pub(crate) struct Approver {
    said: Option<(ApprovalId, Instant, Omar)>,
}

impl Approver {
    pub(crate) fn approve(&mut self, shop: &Shop, runs: &[RunState]) {
        let Some(open) = runs.iter().find_map(|r| r.open_approval()) else { return };
        let lately = |(id, at, _): &(ApprovalId, Instant, Omar)| *id == open.id && at.elapsed() < APPROVE_AGAIN;
        if !self.said.as_ref().is_some_and(lately) {
            self.said = Some((open.id, Instant::now(), Omar::says(shop, &[&format!("/approve {}", open.id)])));
        }
    }

    pub(crate) fn read(&self) -> String {
        self.said.as_ref().map(|(_, _, omar)| omar.read()).unwrap_or_default()
    }
}

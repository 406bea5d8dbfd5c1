//! A shop whose bot is killed again and again: at a record of a run, around a call to the engine, at a sync of a file,
//! and once more while it recovers.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::inotify;
use rustix::process::{Pid, Signal, kill_process};
use sternway::domain::ids::{ApprovalId, Position};
use sternway::domain::run::RunState;

use crate::after::Ways;
use crate::bot::{Journal, STERNWAY, Served, at_rest, last_lines};
use crate::composes::Compose;
use crate::console::Omar;
use crate::copies::{PORT_OF_API, edited};
use crate::proxy::{Proxy, Side};
use crate::shop::{BOUND, Settings, Shop, compose_command, pause};
use crate::trace::Trace;

/// When an approval that was given is given again: a bot that was killed may not have heard it.
const APPROVE_AGAIN: Duration = Duration::from_secs(5);

/// Looks without a new sync after a run before it counts as quiet.
const QUIET: u32 = 8;

/// How the service is put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Form {
    pub(crate) start_first: bool,
    pub(crate) copies: usize,
    /// Whose `up` comes afterwards: a version that `tests/setup/compose.sh` knows, or the machine's.
    pub(crate) compose: Option<&'static str>,
}

impl Form {
    fn edit(&self, mut compose: String) -> String {
        if self.start_first {
            compose = compose.replace(PORT_OF_API, "expose: [\"3000\"]");
        } else if self.copies > 1 {
            // Each has a port of its own.
            compose = compose.replace(PORT_OF_API, "ports: [\"127.0.0.1::3000\"]");
        }
        if self.copies > 1 {
            compose = compose.replacen("\n  api:\n", &format!("\n  api:\n    scale: {}\n", self.copies), 1);
        }
        compose
    }

    fn config(&self, shop: &Shop, text: String) -> String {
        let own = format!("127.0.0.1:{}/api/health", shop.api_port);
        let allowed = format!("grace = \"1s\"\nrepositories = [\"{}\"]\n", shop.engine.reference("api"));
        let mut text = text.replacen("grace = \"1s\"\n", &allowed, 1);
        let often = "[limits]\ndoor = 600\n";
        text = text.replace(often, "[limits]\ndoor = 6000\n\n[limits.command]\n\"rollback image\" = 600\n");
        if self.start_first {
            text = text.replace(&own, &format!("127.0.0.1:{}/api/health", shop.web_port));
            text = text.replace("grace = \"1s\"\n", "grace = \"1s\"\norder = \"start-first\"\ndrain = \"100ms\"\n");
        } else if self.copies > 1 {
            text = text.replace(&format!("health = {{ url = \"http://{own}\" }}"), "health = { exec = true }");
        }
        text
    }
}

/// What the run goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aim {
    /// Works: the run ends new.
    Good,
    /// Ends at once: the swap goes back by itself, and the run with it.
    Exits,
    /// Is well when it is swapped in and no more when the whole is proven: every step is undone.
    Tires,
}

/// Where the image lies that the run goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    Back,
    Forward,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Back, Self::Forward];
}

/// Where the bot is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Nowhere,
    /// As soon as so many records of the run stand in the log.
    Record(usize),
    /// At the call that changes something, counted from 1.
    Call(usize, Side),
    /// After the sync, rename or removal of a file, counted from 1.
    File(usize),
}

/// One thing to try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Point {
    pub(crate) aim: Aim,
    pub(crate) way: Way,
    pub(crate) at: At,
    /// Where it is killed once more, counted from the start that recovers.
    pub(crate) again: Option<At>,
    /// Whether the team's plain `up` comes afterwards.
    pub(crate) up: bool,
}

/// What a point came to.
pub(crate) struct Landed {
    /// Records of the run when the bot was dead.
    pub(crate) records: usize,
    /// Calls that changed something until then.
    pub(crate) calls: Vec<String>,
    /// Syncs until then, where they are counted.
    pub(crate) files: Vec<String>,
    /// Whether the point was there: a run that is interrupted elsewhere is not always as long.
    pub(crate) reached: bool,
    /// The same of the second one.
    pub(crate) reached_again: bool,
    /// How it ended, in a word.
    pub(crate) end: String,
}

/// A shop with its bot.
pub(crate) struct Lane {
    pub(crate) form: Form,
    pub(crate) shop: Shop,
    pub(crate) journal: Journal,
    pub(crate) ways: Ways,
    proxy: Proxy,
    trace: Option<Trace>,
    config: PathBuf,
    bot: Option<Served>,
}

impl Lane {
    /// Opens one; `None` where that cannot be. `traced`: its syncs are counted.
    pub(crate) async fn open(form: Form, traced: bool) -> Option<Self> {
        let compose = match form.compose {
            None => compose_command().await,
            Some(version) => vec![Compose::find(version)?.program.display().to_string()],
        };
        let versions =
            [("0.9", "exits"), ("1.0", "good"), ("1.1", "good"), ("1.9", "exits"), ("0.8", "tires"), ("1.8", "tires")];
        let shop = Shop::by(compose, &versions, |text| form.edit(text)).await?;
        let proxy = Proxy::open(shop.folder());
        let settings = Settings { docker: Some(proxy.socket.clone()), deadline_s: 4, ..Settings::default() };
        let config = shop.write_config(&settings);
        edited(&config, |text| form.config(&shop, text));
        let trace = traced.then(Trace::default);
        let store = shop.store();
        let bot = Served::start_as(program(&shop, trace.as_ref()), &shop, &config, &store).await;
        bot.journal.release(&shop.image("0.9"), false).await;
        let mut ways = Ways::new(&shop).await;
        for version in ["1.0", "1.1"] {
            shop.pin(version);
            shop.compose(&["up", "-d"]).await;
            let release = bot.journal.release(&shop.image(version), true).await;
            ways.deployed(&shop, version, release).await;
        }
        Some(Self { form, journal: bot.journal.clone(), shop, ways, proxy, trace, config, bot: Some(bot) })
    }

    /// The way that a run to the other good image takes from here.
    pub(crate) async fn way(&self) -> Way {
        if self.ways.runs(&self.shop).await.version == "1.0" { Way::Forward } else { Way::Back }
    }

    /// Starts the bot and waits until it hears. When it is to be killed again, also until it is or has come to rest.
    async fn start(&mut self, at: Option<At>) -> Served {
        let mut bot =
            Served::spawn(program(&self.shop, self.trace.as_ref()), &self.shop, &self.config, &self.shop.store());
        self.journal = bot.journal.clone();
        self.arm(at.unwrap_or(At::Nowhere), bot.pid());
        let hears = bot.hears().await;
        assert!(hears || at.is_some(), "the bot ended: {}", last_lines(&bot.log));
        bot
    }

    fn arm(&self, at: At, pid: Pid) {
        let call = if let At::Call(nth, side) = at { Some((nth, side, pid)) } else { None };
        self.proxy.arm(call);
        if let Some(trace) = &self.trace {
            trace.arm(if let At::File(nth) = at { Some((nth, pid)) } else { None });
        }
    }

    fn killed(&self) -> Option<String> {
        self.proxy.killed().or_else(|| self.trace.as_ref().and_then(Trace::killed))
    }

    fn files(&self) -> Vec<String> {
        self.trace.as_ref().map(Trace::calls).unwrap_or_default()
    }

    /// One run with the bot killed at the point, started again, and looked at when the run has ended.
    pub(crate) async fn point(&mut self, point: Point) -> Landed {
        let from = self.ways.runs(&self.shop).await;
        let (word, to) = self.ways.goes(&self.shop, point.aim, point.way, &from);
        let mut bot = match self.bot.take() {
            Some(bot) => bot,
            None => self.start(None).await,
        };
        let began = self.journal.head();
        let mut layla = bot.sit().await;
        let watcher = match point.at {
            At::Record(count) => Some(kill_at_record(&self.journal, began, count, bot.pid())),
            _ => None,
        };
        self.arm(point.at, bot.pid());
        layla.send(1, &format!("/rollback image api to {word} because of {:?}", point.at)).await;
        self.goes_on(&mut bot, began, &point, Until::Asked).await;
        let (calls, files) = (self.proxy.calls(), self.files());
        let mut landings = vec![self.killed().unwrap_or_default()];
        drop(watcher);
        // Whoever came to rest first is killed no more, and who is being killed at this moment is let die.
        self.arm(At::Nowhere, bot.pid());
        pause().await;
        let reached = bot.is_dead();
        let records = self.journal.runs_after(began).iter().map(|r| self.journal.thread(r.id).len()).sum();
        let mut reached_again = false;
        if reached {
            drop(bot);
            bot = self.start(point.again).await;
            if point.again.is_some() {
                self.goes_on(&mut bot, began, &point, Until::Recovered).await;
                landings.push(self.killed().unwrap_or_default());
                reached_again = bot.is_dead();
                if reached_again {
                    drop(bot);
                    bot = self.start(None).await;
                }
            }
            self.arm(At::Nowhere, bot.pid());
            self.goes_on(&mut bot, began, &point, Until::Ended).await;
        }
        assert!(!bot.is_dead(), "{point:?}: the bot ended by itself: {}", last_lines(&bot.log));
        let told = || format!("{point:?} ({}): {}", landings.join("; "), self.tell(&self.journal.runs_after(began)));
        let end = self.judge(&point, &from, &to, began, &bot, &told).await;
        self.bot = Some(bot);
        Landed { records, calls, files, reached, reached_again, end }
    }

    /// Until every run rests and nothing is written any more, or the bot is dead, which it may be only where it is killed.
    async fn goes_on(&self, bot: &mut Served, began: Position, point: &Point, until: Until) {
        let waits = Instant::now();
        let mut omar = Approver::default();
        let mut quiet = (0, 0);
        loop {
            let runs = self.journal.runs_after(began);
            if bot.is_dead() {
                assert!(until != Until::Ended, "{point:?}: the bot ended by itself: {}", last_lines(&bot.log));
                return;
            }
            let heard = until != Until::Asked || !runs.is_empty();
            if heard && runs.iter().all(at_rest) {
                let files = self.files().len();
                quiet = if quiet.0 == files { (files, quiet.1 + 1) } else { (files, 0) };
                if self.trace.is_none() || quiet.1 > QUIET {
                    return;
                }
            }
            omar.approve(&self.shop, &runs);
            assert!(
                waits.elapsed() < BOUND,
                "{point:?} ({:?}): neither dead nor at rest: {}\n{}",
                self.killed(),
                self.tell(&runs),
                last_lines(&bot.log)
            );
            pause().await;
        }
    }

    fn tell(&self, runs: &[RunState]) -> String {
        let last = |r: &RunState| self.journal.thread(r.id).pop();
        runs.iter().map(|r| format!("{}: {:?} {:?}", r.id, r.status, last(r))).collect()
    }
}

fn program(shop: &Shop, trace: Option<&Trace>) -> Command {
    trace.map_or_else(|| Command::new(STERNWAY), |trace| trace.command(shop.folder()))
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Until {
    /// What was just said is done, or the bot is dead.
    Asked,
    /// What was under way is ended, or the bot is dead once more.
    Recovered,
    /// What was under way is ended, by a bot that lives.
    Ended,
}

/// Omar approves whatever waits.
#[derive(Default)]
struct Approver {
    said: Option<(ApprovalId, Instant, Omar)>,
}

impl Approver {
    fn approve(&mut self, shop: &Shop, runs: &[RunState]) {
        let Some(open) = runs.iter().find_map(|r| r.open_approval()) else { return };
        let lately = |(id, at, _): &(ApprovalId, Instant, Omar)| *id == open.id && at.elapsed() < APPROVE_AGAIN;
        if !self.said.as_ref().is_some_and(lately) {
            self.said = Some((open.id, Instant::now(), Omar::says(shop, &[&format!("/approve {}", open.id)])));
        }
    }
}

/// Ends the watching for records when dropped, at the latest with the next record.
struct Watcher(Arc<AtomicBool>);

impl Drop for Watcher {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Kills the bot as soon as that many records of runs stand in the log that came after `began`: usually while it
/// waits for the disk to say that the last one is durable. A thread of its own, so that nothing delays it.
fn kill_at_record(journal: &Journal, began: Position, count: usize, pid: Pid) -> Watcher {
    let over = Arc::new(AtomicBool::new(false));
    let folder = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
    inotify::add_watch(&folder, journal.store.join("log"), inotify::WatchFlags::MODIFY).expect("the log's folder");
    let (journal, flag) = (journal.clone(), Arc::clone(&over));
    std::thread::spawn(move || {
        let mut buffer = [const { std::mem::MaybeUninit::uninit() }; 4096];
        let mut reader = inotify::Reader::new(folder, &mut buffer);
        while reader.next().is_ok() && !flag.load(Ordering::SeqCst) {
            if journal.count_after(began) >= count {
                let _ = kill_process(pid, Signal::KILL);
                return;
            }
        }
    });
    Watcher(over)
}

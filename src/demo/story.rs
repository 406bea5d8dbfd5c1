//! The story itself: a good version, a bad deploy, a rollback that one asks for and another approves, the proof, the record.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use tokio_util::sync::CancellationToken;

use super::Previous;
use super::seat::{Screen, Seat};
use super::theatre::{LAYLA, OMAR, Theatre, Version};
use crate::app::bot::{Bot, Parts};
use crate::app::check;
use crate::app::serve::{client_options, open_console};
use crate::chat::console::client::run_client;
use crate::clock::{Clock, SystemClock};
use crate::dispatch::Core;
use crate::domain::event::{Event, Outcome, Subject};
use crate::domain::ids::RunId;
use crate::domain::names::ServiceName;
use crate::domain::plan::StepAction;
use crate::domain::release::History;
use crate::domain::run::{RunState, Status};
use crate::prober::{Prober, Probes};
use crate::store::files::{FileLog, OpenOptions};
use crate::story::en::milliseconds;

/// Between two requests of the outside prober.
const PROBE_EVERY: Duration = Duration::from_millis(5);

/// Longest wait for anything in the story.
const PATIENCE: Duration = Duration::from_secs(90);

/// How long the shop has to answer well after the rollback before the demo believes it. Longer than the sample product's
/// broken version takes to show.
const BELIEVE_AFTER: Duration = Duration::from_secs(4);

/// Plays it; `stay` leaves the visitor in the chat at the end.
pub(super) async fn play(theatre: &Theatre, previous: Previous, stay: bool) -> anyhow::Result<()> {
    let config = theatre.config()?;
    let socket = config.sternway.socket.clone();
    let options = client_options(socket.clone());
    let screen = Screen::new(options.look());
    screen.say(&format!("A shop on {}: web → api → db. It runs version 1.0.", theatre.describe()));
    theatre.bring_up().await?;

    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let store = config.sternway.store.clone();
    let (log, _) = FileLog::open(&store, OpenOptions::new(Arc::clone(&clock), env!("CARGO_PKG_VERSION"), "demo"))?;
    let log = Arc::new(log);
    let hosts = theatre.hosts(&config, &clock)?;
    let checked = check::with_commands(config).map_err(|p| anyhow::anyhow!(p.join("\n")))?;
    let mut files = checked.config.files_with_hashes();
    files.extend(checked.catalogue.files().iter().map(|f| (f.name.clone(), f.sha256.clone())));
    let bot = Bot::start(Parts {
        config: Arc::new(checked.config),
        catalogue: Arc::new(checked.catalogue),
        log: Arc::clone(&log) as _,
        hosts,
        clock: Arc::clone(&clock),
        store_folder: Some(store.clone()),
        files,
    })
    .await
    .map_err(|t| anyhow::anyhow!(t))?;
    let speakers = [LAYLA, OMAR].map(|(name, uid)| (name.to_owned(), uid)).to_vec();
    let console = open_console(&bot, &socket, &clock, Some(speakers))?;
    let closed = CancellationToken::new();
    let doors = tokio::spawn({
        let closed = closed.clone();
        async move { console.serve(closed).await }
    });

    let played = tell(theatre, &bot, &screen, previous).await;
    if played.is_ok() && stay {
        screen.say("You are in the chat as layla. Try /help, /status, /releases api, /rollback plan image api; /as omar speaks as omar; Ctrl-D ends.");
        let mut options = options;
        options.speaker = Some(LAYLA.0.to_owned());
        run_client(options).await?;
    }
    bot.stop().await;
    closed.cancel();
    let _ = doors.await;
    log.close();
    played
}

async fn tell(theatre: &Theatre, bot: &Bot, screen: &Screen, previous: Previous) -> anyhow::Result<()> {
    let core = bot.core();
    let socket = core.config.sternway.socket.clone();
    let mut layla = Seat::take(&socket, LAYLA.0, true, screen.clone()).await?;
    let mut omar = Seat::take(&socket, OMAR.0, false, screen.clone()).await?;

    let proven = until("version 1.0 was never proven healthy", || {
        history(core).releases.first().is_some_and(|r| r.proven.is_some())
    });
    if let Err(error) = proven.await {
        let last = match asked(core).await {
            Ok(Err(why)) => why,
            Ok(Ok(())) => "it is well now".to_owned(),
            Err(why) => why.to_string(),
        };
        bail!("{error}; asked once more: {last}");
    }
    let prober = theatre.outside().map(|url| Prober::start(&url, PROBE_EVERY)).transpose()?;

    screen.say("Sternway has seen version 1.0 and proven it. Now somebody deploys 1.1 with compose. It breaks after two seconds.");
    theatre.deploy(Version::New).await?;
    until("the deploy of 1.1 was not noticed", || history(core).releases.len() > 1).await?;
    if previous == Previous::Removed {
        theatre.remove_old_image().await?;
    }
    unhealthy(core).await?;
    screen.say("02:00. The shop answers with errors; layla is on call.");
    layla.say("/status").await?;
    layla.say("/rollback plan image api").await?;
    let (_, first_answer) = layla.say("/rollback image api because 1.1 answers with errors").await?;
    let run = waiting(core).await?;
    let approval = run.approval.as_ref().map(|a| a.id).context("nobody was asked")?;
    screen.shown(&format!("{}/{approval}", run.id)).await?;
    screen.say("Nobody approves their own request:");
    layla.say(&format!("/approve {approval}")).await?;
    let approved = Instant::now();
    omar.say(&format!("/approve {approval} because the errors began with 1.1")).await?;
    let run = ended(core, run.id).await?;
    ensure!(
        matches!(run.status, Status::Ended { outcome: Outcome::Done, .. }),
        "the rollback did not succeed: {}",
        crate::report::status_word(&run)
    );
    screen.shown(&format!("{}/{}", run.id, run.last)).await?;

    screen.say("The rollback says that it worked. Is it so, asked from outside?");
    stays_well(core).await?;
    let probes = match prober {
        Some(prober) => Some(prober.stop().await),
        None => None,
    };
    runs_old_version(core, &run).await?;
    layla.say(&format!("/runs show {}", run.id)).await?;
    let (verified, _) = layla.say("/audit verify").await?;
    ensure!(verified.plain().contains("whole"), "the record does not verify");
    screen.print(&figures(core, &run, first_answer, approved, probes.as_ref())?);
    Ok(())
}

/// The numbers, from the log and from the outside prober.
fn figures(
    core: &Core,
    run: &RunState,
    first_answer: Duration,
    approved: Instant,
    probes: Option<&Probes>,
) -> anyhow::Result<String> {
    let thread = core.log.thread(&Subject::Run(run.id))?;
    let at = |wanted: &dyn Fn(&Event) -> bool| thread.iter().find(|r| wanted(&r.event)).map(|r| r.at);
    let granted = at(&|e| matches!(e, Event::Granted { .. })).context("no approval on record")?;
    let swap = run.plan.iter().flat_map(|p| &p.plan.steps).position(|s| matches!(s.action, StepAction::SwapService(_)));
    let healthy =
        at(&|e| matches!(e, Event::StepDone { step, .. } if Some(*step) == swap)).context("no swap on record")?;
    let ms = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
    let mut out = String::from("\n");
    out.push_str(&format!("command → first answer               {} ms\n", ms(first_answer)));
    out.push_str(&format!("approval → healthy (from the log)    {}\n", crate::story::en::duration(granted, healthy)));
    if let Some(probes) = probes {
        out.push_str(&format!(
            "longest time without a good answer   {} (from the bad deploy on)\n",
            milliseconds(ms(probes.longest_gap()))
        ));
        if let Some(first) = probes.first_ok_after(approved) {
            out.push_str(&format!("approval → first good answer outside {}\n", milliseconds(ms(first))));
        }
        out.push_str(&format!(
            "asked from outside                   {} times, {} without a good answer\n",
            probes.count(),
            probes.failures()
        ));
    } else {
        out.push_str("longest time without a good answer   not measured: the simulated engine serves no pages\n");
    }
    Ok(out)
}

fn api() -> ServiceName {
    ServiceName::parse("api").expect("a fixed name that is valid")
}

fn history(core: &Core) -> History {
    let target = core.config.stacks.first().map(crate::config::stack::Stack::target);
    target.and_then(|t| core.log.history(&t, &api()).ok()).unwrap_or_default()
}

/// Looks every 50 ms until it is so.
async fn until(otherwise: &str, so: impl Fn() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(50));
    while !so() {
        if Instant::now() > deadline {
            bail!("{otherwise}");
        }
        ticks.tick().await;
    }
    Ok(())
}

/// Asks the API's health as the config says, once.
async fn asked(core: &Core) -> anyhow::Result<Result<(), String>> {
    let stack = core.config.stacks.first().context("no stack")?;
    let host = core.host(&stack.host).map_err(|t| anyhow::anyhow!(t))?;
    let facts = host.inspect.stack(&stack.project).await?;
    let container = facts.services.get(&api()).and_then(|s| s.containers.first()).context("api has no container")?;
    let rule = core.rules(&stack.name, &api(), container).health;
    Ok(host.inspect.ask_health(&stack.project, &api(), &rule).await?)
}

async fn unhealthy(core: &Core) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    while asked(core).await?.is_ok() {
        ensure!(Instant::now() < deadline, "version 1.1 did not break");
        ticks.tick().await;
    }
    Ok(())
}

async fn stays_well(core: &Core) -> anyhow::Result<()> {
    let until = Instant::now() + BELIEVE_AFTER;
    let mut ticks = tokio::time::interval(Duration::from_millis(200));
    while Instant::now() < until {
        if let Err(why) = asked(core).await? {
            bail!("after the rollback the shop does not stay well: {why}");
        }
        ticks.tick().await;
    }
    Ok(())
}

async fn runs_old_version(core: &Core, run: &RunState) -> anyhow::Result<()> {
    let stack = core.config.stacks.first().context("no stack")?;
    let host = core.host(&stack.host).map_err(|t| anyhow::anyhow!(t))?;
    let facts = host.inspect.stack(&stack.project).await?;
    let running = facts.services.get(&api()).and_then(crate::agent::running).context("api has no single container")?;
    let planned = run.plan.iter().flat_map(|p| &p.plan.steps).find_map(|s| match &s.action {
        StepAction::SwapService(swap) => Some(&swap.to.fingerprint),
        _ => None,
    });
    ensure!(planned == Some(running), "what runs is not what the plan named");
    Ok(())
}

/// The rollback that waits for its approval.
async fn waiting(core: &Core) -> anyhow::Result<RunState> {
    let newest = || core.log.runs(1).ok().and_then(|r| r.into_iter().next()).filter(|r| !r.dry_run);
    until("nobody was asked to approve", || newest().is_some_and(|r| r.open_approval().is_some() || r.ended())).await?;
    let run = newest().context("no run")?;
    ensure!(!run.ended(), "the rollback was not even planned: {}", refusal(&run));
    Ok(run)
}

fn refusal(run: &RunState) -> String {
    match &run.status {
        Status::Ended { outcome: Outcome::Refused { why, .. }, .. } => why.clone(),
        _ => crate::report::status_word(run).to_owned(),
    }
}

async fn ended(core: &Core, id: RunId) -> anyhow::Result<RunState> {
    let run = || core.log.run(id).ok().flatten();
    until("the rollback did not come to an end", || {
        run().is_some_and(|r| r.ended() || matches!(r.status, Status::Stuck { .. }))
    })
    .await?;
    run().context("the run is not on record")
}

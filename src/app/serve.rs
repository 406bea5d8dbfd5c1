//! `sternway serve` and `sternway console`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use tokio_util::sync::CancellationToken;

use super::bot::{Bot, FIRST_EPOCH, Parts};
use super::cli::{docker_host, env};
use super::shown;
use crate::agent::docker::DockerEngine;
use crate::agent::engine::Engine;
use crate::agent::host::{AgentConfig, Allowed, HostAgent};
use crate::agent::probe::Probe;
use crate::agent::prove::Prober;
use crate::app::check;
use crate::chat::console::client::{ClientOptions, run_client};
use crate::chat::console::server::{ConsoleOptions, ConsoleServer, Limits};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::dispatch::Host;
use crate::domain::event::Event;
use crate::domain::names::HostName;
use crate::store::files::{FileLog, OpenOptions};
use crate::store::{About, Draft, Log};
use crate::telemetry;

/// Runs the bot until SIGTERM or SIGINT.
///
/// # Errors
/// What keeps it from starting.
#[allow(clippy::print_stderr)] // before telemetry stands there is only the terminal
pub async fn serve(path: &Path) -> anyhow::Result<ExitCode> {
    let checked = match check::load(path) {
        Ok(checked) => checked,
        Err(problems) => {
            for problem in problems {
                eprintln!("{problem}");
            }
            return Err(anyhow!("{}: not started. `sternway check` says the same", shown(path)));
        }
    };
    let config = Arc::new(checked.config);
    telemetry::init(config.sternway.log, config.sternway.level)?;
    for warning in &checked.warnings {
        tracing::warn!("{warning}");
    }
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);

    let machine = hostname();
    let options = OpenOptions::new(Arc::clone(&clock), env!("CARGO_PKG_VERSION"), &machine);
    let options = options.with_room_for(config.stacks.len());
    let (log, report) = FileLog::open(&config.sternway.store, options)?;
    for warning in &report.warnings {
        tracing::warn!("{warning}");
    }
    let log = Arc::new(log);

    let engine = Arc::new(connect(&config)?);
    let hosts = hosts(&config, engine, Arc::new(Probe::new().map_err(|e| anyhow!(e))?), &clock)?;
    let mut files = config.files_with_hashes();
    files.extend(checked.catalogue.files().iter().map(|f| (f.name.clone(), f.sha256.clone())));
    let parts = Parts {
        config: Arc::clone(&config),
        catalogue: Arc::new(checked.catalogue),
        log: Arc::clone(&log) as _,
        hosts,
        clock: Arc::clone(&clock),
        store_folder: Some(config.sternway.store.clone()),
        files,
    };
    let bot = Bot::start(parts).await.map_err(|t| anyhow!(t))?;
    let closed = CancellationToken::new();
    let console = open_console(&bot, &config.sternway.socket, &clock, None)?;
    let doors = tokio::spawn({
        let (console, closed) = (Arc::clone(&console), closed.clone());
        async move { console.serve(closed).await }
    });
    tracing::info!(socket = %config.sternway.socket.display(), "Sternway serves");
    told_to_stop().await?;
    tracing::info!("stopping: no new commands; runs reach a safe point");
    bot.stop().await;
    closed.cancel();
    let _ = doors.await;
    log.close_sealed();
    tracing::info!("stopped");
    Ok(ExitCode::SUCCESS)
}

/// Binds the console and lets the bot hear and speak through it.
///
/// # Errors
/// When the socket cannot be bound.
pub fn open_console(
    bot: &Bot,
    socket: &Path,
    clock: &Arc<dyn Clock>,
    speakers: Option<Vec<(String, u32)>>,
) -> anyhow::Result<Arc<ConsoleServer>> {
    let options = ConsoleOptions { clock: Arc::clone(clock), limits: Limits::default(), speakers };
    let console =
        ConsoleServer::bind(socket, bot.intake(), bot.lookup(), options).context("the console does not open")?;
    bot.add_mouth(Arc::clone(&console) as _);
    bot.open_doors();
    Ok(console)
}

fn connect(config: &Config) -> anyhow::Result<DockerEngine> {
    let address = config.sternway.docker.as_ref().map(ToString::to_string).or_else(docker_host);
    let engine = DockerEngine::connect(address.as_deref()).context("the Docker engine's address is no good")?;
    engine.watch(config.stacks.iter().map(|s| s.project.clone()));
    Ok(engine)
}

/// One agent in this process for the host that the config names.
///
/// # Errors
/// When its folder cannot be used.
pub fn hosts<E: Engine>(
    config: &Config,
    engine: Arc<E>,
    prober: Arc<dyn Prober>,
    clock: &Arc<dyn Clock>,
) -> anyhow::Result<BTreeMap<HostName, Host>> {
    let projects = config
        .stacks
        .iter()
        .map(|stack| {
            let pins: BTreeSet<(String, String)> = stack.pins().map(|(_, p)| (p.file.clone(), p.key.clone())).collect();
            (stack.project.clone(), Allowed { folder: stack.dir.clone(), pins })
        })
        .collect();
    let mut own = AgentConfig::new(config.sternway.agent.clone(), projects);
    own.own_container = own_container();
    own.docker_config.clone_from(&config.sternway.docker_config);
    let agent = Arc::new(HostAgent::open(engine, own, Arc::clone(clock), prober).context("the agent does not start")?);
    Ok(BTreeMap::from([(config.host().clone(), Host { inspect: Arc::clone(&agent) as _, act: agent as _ })]))
}

/// The container this process runs in, if any: Docker gives it the first twelve digits of its id as host name.
fn own_container() -> Option<String> {
    if !Path::new("/.dockerenv").exists() {
        return None;
    }
    // The host name can be set by compose; the mounts of a container always come from its own folder.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let id = mounts.split("/containers/").nth(1).and_then(|rest| rest.get(..64));
    Some(id.filter(|id| id.bytes().all(|b| b.is_ascii_hexdigit())).map_or_else(hostname, str::to_owned))
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

async fn told_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// The terminal chat.
///
/// # Errors
/// When no bot listens or the terminal cannot be used.
pub async fn console(socket: Option<PathBuf>, config: &Path, ping: bool) -> anyhow::Result<ExitCode> {
    let socket = match socket {
        Some(socket) => socket,
        None => {
            Config::load(config)
                .map_err(|problems| {
                    let first = problems.first().map(ToString::to_string).unwrap_or_default();
                    anyhow!("{first}\nName the bot's socket instead: sternway console --socket PATH")
                })?
                .sternway
                .socket
        }
    };
    if ping {
        crate::chat::console::client::ping(&client_options(socket)).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let ended = run_client(client_options(socket)).await?;
    Ok(ended.into())
}

/// `sternway store new-epoch`: one record that raises the epoch of all tokens.
///
/// # Errors
/// When the store is in use, damaged or cannot be written.
#[allow(clippy::print_stdout)] // a command of the terminal
pub async fn new_epoch(config: &Path) -> anyhow::Result<ExitCode> {
    let config = Config::load(config)
        .map_err(|problems| anyhow!(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let options = OpenOptions::new(Arc::clone(&clock), env!("CARGO_PKG_VERSION"), hostname());
    let (log, _) = FileLog::open(&config.sternway.store, options)?;
    let epoch = log.epoch()?.unwrap_or(FIRST_EPOCH) + 1;
    let by = format!("uid:{}", rustix::process::getuid().as_raw());
    let draft = Draft { about: About::Log, at: clock.now(), event: Event::NewEpoch { epoch, by } };
    let written = log.append(None, vec![draft]).await;
    log.close();
    written?;
    println!("epoch {epoch}: agents follow this store again. Start Sternway.");
    Ok(ExitCode::SUCCESS)
}

/// What the terminal of this process wants.
pub fn client_options(socket: PathBuf) -> ClientOptions {
    let dumb = env("TERM").is_some_and(|t| t == "dumb");
    let colour = std::io::stdout().is_terminal() && !dumb && env("NO_COLOR").is_none_or(|v| v.is_empty());
    let state =
        env("XDG_STATE_HOME").map(PathBuf::from).or_else(|| env("HOME").map(|h| Path::new(&h).join(".local/state")));
    ClientOptions {
        history: state.map(|folder| folder.join("sternway/history")),
        colour,
        dumb,
        ..ClientOptions::new(socket, Arc::new(SystemClock))
    }
}

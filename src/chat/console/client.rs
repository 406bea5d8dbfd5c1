//! `sternway console`: attaches to a running bot. At a keyboard it is a chat with history and completion
//! (`terminal`); fed from a pipe it is a script (`script`).
//!
//! It reads no environment: what the terminal wants is passed in. Exit code 0 when every answer was good.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::termios::tcgetwinsize;

use super::draw::Look;
use super::link::{Address, Link};
use super::{script, terminal};
use crate::clock::Clock;

/// How a console client behaves.
#[derive(Clone)]
pub struct ClientOptions {
    /// The bot's socket.
    pub socket: PathBuf,
    /// Demo only: whom to speak as.
    pub speaker: Option<String>,
    /// File that keeps what was typed, mode 0600; its folder is made if missing. `None` keeps nothing.
    pub history: Option<PathBuf>,
    /// Whether colours are welcome (no `NO_COLOR`, and a terminal).
    pub colour: bool,
    /// Whether the terminal can do nothing but print (`TERM=dumb`): no line editing.
    pub dumb: bool,
    /// Columns to draw for. `None` asks the terminal, and wraps nothing in a pipe.
    pub width: Option<usize>,
    /// From a pipe: how long one line may wait for its answer.
    pub answer_limit: Duration,
    /// From a pipe: how long to wait, at the end of input, for the runs that the lines began. Zero does not wait.
    pub runs_limit: Duration,
    /// Paces reconnects.
    pub clock: Arc<dyn Clock>,
}

impl ClientOptions {
    /// What fits most: 30 s for an answer, 15 min for runs, plain drawing.
    pub fn new(socket: PathBuf, clock: Arc<dyn Clock>) -> Self {
        Self {
            socket,
            speaker: None,
            history: None,
            colour: false,
            dumb: false,
            width: None,
            answer_limit: Duration::from_secs(30),
            runs_limit: Duration::from_secs(15 * 60),
            clock,
        }
    }

    /// What this process's terminal can do.
    pub fn look(&self) -> Look {
        let asked = || tcgetwinsize(std::io::stdout()).ok().map(|size| usize::from(size.ws_col)).filter(|c| *c > 0);
        Look { colour: self.colour, width: self.width.or_else(asked) }
    }

    fn address(&self) -> Address {
        Address { socket: self.socket.clone(), speaker: self.speaker.clone(), clock: Arc::clone(&self.clock) }
    }
}

/// How a client ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Everything was answered well.
    Well,
    /// Something was refused, failed, or never answered.
    Trouble,
}

impl From<Ended> for ExitCode {
    fn from(ended: Ended) -> Self {
        match ended {
            Ended::Well => ExitCode::SUCCESS,
            Ended::Trouble => ExitCode::FAILURE,
        }
    }
}

/// Why a client could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("no bot listens at {}. Nothing was sent. Start Sternway, then type `sternway console` again; --socket names another place", .0.display())]
    NoBot(PathBuf),
    /// The file's rights forbid it.
    #[error("this user may not speak at {path}. Nothing was sent. `ls -l {path}` shows the group that may; join it and log in again", path = .0.display())]
    NotAllowed(PathBuf),
    /// The bot does not answer.
    #[error("the bot at {} does not answer. Nothing was sent. Look at its log, then type `sternway console` again", socket.display())]
    Silent {
        /// The socket.
        socket: PathBuf,
    },
    /// The bot turned this console away.
    #[error("the bot turned this console away: {}", crate::domain::text::visible(why))]
    Refused {
        /// Its words.
        why: String,
        /// Whether trying again can help.
        again: bool,
    },
    /// Reading, writing or connecting failed.
    #[error("the console stopped: {0}. Runs go on without it; type `sternway console` to come back")]
    Io(#[source] std::io::Error),
    /// The terminal could not be used.
    #[error("the terminal could not be used: {0}. TERM=dumb does without line editing")]
    Terminal(String),
}

impl ClientError {
    pub(super) fn of_connect(socket: PathBuf, error: std::io::Error) -> Self {
        use std::io::ErrorKind::{ConnectionRefused, NotFound, PermissionDenied};
        match error.kind() {
            NotFound | ConnectionRefused => Self::NoBot(socket),
            PermissionDenied => Self::NotAllowed(socket),
            _ => Self::Io(error),
        }
    }
}

/// Runs a client on this process's input and output until the person leaves, the input ends, or the bot
/// turns it away.
pub async fn run_client(options: ClientOptions) -> Result<Ended, ClientError> {
    let keyboard = std::io::stdin().is_terminal();
    let (link, happened, welcome) = Link::open(options.address()).await?;
    if keyboard && std::io::stdout().is_terminal() && !options.dumb {
        return terminal::run(options, link, happened, welcome).await;
    }
    let lines = script::lines_of(std::io::BufReader::new(std::io::stdin())).map_err(ClientError::Io)?;
    script::run(&options, link, happened, welcome, lines, &mut std::io::stdout(), keyboard).await
}

/// Whether the bot answers: connects, is welcomed, leaves. Nothing is said, so nothing is recorded.
///
/// # Errors
/// Why it does not.
pub async fn ping(options: &ClientOptions) -> Result<(), ClientError> {
    Link::open(options.address()).await.map(|_| ())
}

/// Runs a script: every line of `input` is said and waits for its answer; the conversation goes to `out`.
pub async fn run_script(
    options: &ClientOptions,
    input: impl std::io::BufRead + Send + 'static,
    out: &mut (impl std::io::Write + Send),
) -> Result<Ended, ClientError> {
    let (link, happened, welcome) = Link::open(options.address()).await?;
    let lines = script::lines_of(input).map_err(ClientError::Io)?;
    script::run(options, link, happened, welcome, lines, out, false).await
}

//! A door in front of the engine's socket that counts the calls that change something, and can end the bot before one
//! reaches the engine, in the middle of it, or after the engine has answered but before the bot hears it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio_util::task::AbortOnDropHandle;

/// Longest head of a request or answer.
const HEAD_LIMIT: usize = 64 * 1024;

/// When in a call the bot is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The engine never hears of it.
    Before,
    /// The engine has half of the request, and then the end of the connection.
    Cut,
    /// The engine has all of the request and is about it when the bot's end of the connection goes away.
    During,
    /// The engine has done it; the bot never hears of that.
    After,
}

impl Side {
    pub(crate) const ALL: [Self; 4] = [Self::Before, Self::Cut, Self::During, Self::After];
}

#[derive(Default)]
struct State {
    /// Calls that changed something since the last `arm`.
    calls: Vec<String>,
    /// Whom to kill at which call, counted from 1.
    kill: Option<(usize, Side, Pid)>,
    /// At which call it was done.
    killed: Option<String>,
}

/// The door.
pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    state: Arc<Mutex<State>>,
    _server: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Opens it in a folder.
    pub(crate) fn open(folder: &Path) -> Self {
        let socket = folder.join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("a socket of ours");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let state = Arc::clone(&shared);
                tokio::spawn(async move {
                    // Whoever hangs up half-way is the bot being killed, or an engine call it gave up.
                    let _ = carry(client, &state).await;
                });
            }
        });
        Self { socket, state, _server: AbortOnDropHandle::new(server) }
    }

    /// Counts from 1 again, and kills at that call if asked to.
    pub(crate) fn arm(&self, kill: Option<(usize, Side, Pid)>) {
        *self.state.lock().unwrap() = State { kill, ..State::default() };
    }

    /// The calls since then.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.state.lock().unwrap().calls.clone()
    }

    /// At which call the bot was killed, if it was.
    pub(crate) fn killed(&self) -> Option<String> {
        self.state.lock().unwrap().killed.clone()
    }
}

/// One connection. The bot's clients keep none for a second call; `connection: close` makes sure of it.
async fn carry(mut client: UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let (head, rest) = read_head(&mut client).await?;
    let first = head.lines().next().unwrap_or_default().to_owned();
    let method = first.split(' ').next().unwrap_or_default();
    // A health check that runs inside a container is a question, whatever its method.
    let changes = !matches!(method, "GET" | "HEAD") && !first.contains("/exec");
    let mut kill = None;
    if changes {
        let mut state = state.lock().unwrap();
        state.calls.push(first.clone());
        kill = state.kill.filter(|(nth, ..)| *nth == state.calls.len());
    }
    if let Some((_, Side::Before, pid)) = kill {
        kill_now(state, pid, &first);
        return Ok(());
    }
    let upgrade = head.to_ascii_lowercase().contains("\nupgrade:");
    let head = if upgrade { head } else { head.replacen("\r\n", "\r\nConnection: close\r\n", 1) };
    let host = std::env::var_os("DOCKER_HOST").and_then(|h| h.into_string().ok()).unwrap_or_default();
    if let Some(address) = host.strip_prefix("tcp://") {
        between(client, TcpStream::connect(address).await?, &head, &rest, kill, state).await
    } else {
        let path = host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock");
        between(client, UnixStream::connect(path).await?, &head, &rest, kill, state).await
    }
}

async fn between(
    mut client: UnixStream,
    mut engine: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
    rest: &[u8],
    kill: Option<(usize, Side, Pid)>,
    state: &Mutex<State>,
) -> std::io::Result<()> {
    let Some((_, side, pid)) = kill else {
        engine.write_all(head.as_bytes()).await?;
        engine.write_all(rest).await?;
        return tokio::io::copy_bidirectional(&mut client, &mut engine).await.map(drop);
    };
    let first = head.lines().next().unwrap_or_default();
    let mut whole = [head.as_bytes(), rest].concat();
    // Asked for before the kill: afterwards the bot has nothing more to say.
    while whole.len() < head.len() + body_length(head) {
        let mut buffer = [0; 8192];
        match client.read(&mut buffer).await? {
            0 => break,
            n => whole.extend_from_slice(&buffer[..n]),
        }
    }
    match side {
        Side::Before | Side::Cut => {
            engine.write_all(&whole[..whole.len() / 2]).await?;
            kill_now(state, pid, &format!("{first} (half of it)"));
        }
        Side::During => {
            engine.write_all(&whole).await?;
            kill_now(state, pid, &format!("{first} (no answer)"));
        }
        Side::After => {
            engine.write_all(&whole).await?;
            let mut answer = [0; 8192];
            let read = engine.read(&mut answer).await?;
            kill_now(state, pid, &format!("{first} → {}", first_line(&answer[..read])));
        }
    }
    Ok(())
}

/// Bytes of the body, as the head says.
fn body_length(head: &str) -> usize {
    let lower = head.to_ascii_lowercase();
    let said = lower.lines().find_map(|line| line.strip_prefix("content-length:"));
    said.and_then(|n| n.trim().parse().ok()).unwrap_or(0)
}

fn first_line(answer: &[u8]) -> String {
    String::from_utf8_lossy(answer).lines().next().unwrap_or_default().to_owned()
}

fn kill_now(state: &Mutex<State>, pid: Pid, at: &str) {
    let _ = kill_process(pid, Signal::KILL);
    let mut state = state.lock().unwrap();
    state.killed = Some(at.to_owned());
    state.kill = None;
}

/// Bytes up to and with the empty line, and what came behind it.
async fn read_head(client: &mut UnixStream) -> std::io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut buffer = [0; 8192];
    loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        let read = client.read(&mut buffer).await?;
        if read == 0 || bytes.len() > HEAD_LIMIT {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        bytes.extend_from_slice(&buffer[..read]);
    }
}

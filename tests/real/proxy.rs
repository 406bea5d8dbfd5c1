//! A door in front of the engine's socket that counts the calls that change something, and can end the bot before one
//! reaches the engine, in the middle of it, or after the engine has answered but before the bot hears it. Whoever stands
//! in it (see [`Hands`]) decides about each call: it may be lost, late, answered wrongly, and the world may be changed
//! around it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
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

/// One call, as those who stand in the door see it.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// `POST /containers/…/stop?t=1 HTTP/1.1`.
    pub(crate) line: String,
    /// Which of the calls that change something, counted from 1; `None` for one that only looks.
    pub(crate) nth: Option<usize>,
}

/// What becomes of a call.
#[derive(Clone)]
pub(crate) enum Handling {
    /// The engine hears it and its caller hears the answer.
    Pass,
    /// Accepted, and never answered: until the caller hangs up, or [`Proxy::let_go`].
    Hang,
    /// The answer comes so much later.
    Late(Duration),
    /// These bytes are the answer; the engine never hears of the call.
    Say(Vec<u8>),
    /// The engine does it, and what it answers comes out so.
    Change(Arc<dyn Fn(Vec<u8>) -> Vec<u8> + Send + Sync>),
    /// The engine does it, and nobody hears that.
    LoseAnswer,
    /// The caller is hung up on; the engine never hears of the call.
    Drop,
}

/// Whoever stands in the door.
#[async_trait::async_trait]
pub(crate) trait Hands: Send + Sync {
    /// Before the engine hears of it.
    async fn before(&self, call: &Call) -> Handling;
    /// After the engine has answered what [`Handling::LoseAnswer`] lets nobody hear.
    async fn after(&self, call: &Call);
}

impl Side {
    pub(crate) const ALL: [Self; 4] = [Self::Before, Self::Cut, Self::During, Self::After];
}

#[derive(Default)]
struct State {
    /// Who stands in the door, if anybody does.
    hands: Option<Arc<dyn Hands>>,
    /// Calls that changed something since the last `arm`.
    calls: Vec<String>,
    /// Whom to kill at which call, counted from 1.
    kill: Option<(usize, Side, Pid)>,
    /// At which call it was done.
    killed: Option<String>,
}

/// What connections and whoever opened the door share.
struct Door {
    /// Where the engine listens, in the form of `DOCKER_HOST`.
    engine: String,
    state: Mutex<State>,
    /// Nobody listens while this is so.
    shut: watch::Sender<bool>,
    /// Moved when hung calls are let go.
    calm: watch::Sender<u64>,
}

/// The door.
pub(crate) struct Proxy {
    pub(crate) socket: PathBuf,
    door: Arc<Door>,
    _server: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Opens it in a folder, in front of the engine that the tests use.
    pub(crate) fn open(folder: &Path) -> Self {
        let host = std::env::var_os("DOCKER_HOST").and_then(|h| h.into_string().ok()).unwrap_or_default();
        Self::before(folder, &host)
    }

    /// Opens it in a folder, in front of that engine.
    pub(crate) fn before(folder: &Path, engine: &str) -> Self {
        let socket = folder.join("engine.sock");
        let door = Arc::new(Door {
            engine: engine.to_owned(),
            state: Mutex::default(),
            shut: watch::channel(false).0,
            calm: watch::channel(0).0,
        });
        let first = UnixListener::bind(&socket).expect("a socket of ours");
        let server = tokio::spawn(listen(first, socket.clone(), Arc::clone(&door)));
        Self { socket, door, _server: AbortOnDropHandle::new(server) }
    }

    /// Counts from 1 again, and kills at that call if asked to.
    pub(crate) fn arm(&self, kill: Option<(usize, Side, Pid)>) {
        *self.door.state.lock().unwrap() = State { kill, ..State::default() };
    }

    /// Counts from 1 again, with somebody in the door.
    pub(crate) fn with(&self, hands: Option<Arc<dyn Hands>>) {
        *self.door.state.lock().unwrap() = State { hands, ..State::default() };
    }

    /// Nobody listens any more, or somebody does again.
    pub(crate) fn shut(&self, shut: bool) {
        self.door.shut.send_replace(shut);
    }

    /// Calls that hang are hung up on.
    pub(crate) fn let_go(&self) {
        self.door.calm.send_modify(|n| *n += 1);
    }

    /// The calls since then.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.door.state.lock().unwrap().calls.clone()
    }

    /// At which call the bot was killed, if it was.
    pub(crate) fn killed(&self) -> Option<String> {
        self.door.state.lock().unwrap().killed.clone()
    }
}

/// Accepts, except while the door is shut: then there is no socket at all.
async fn listen(first: UnixListener, socket: PathBuf, door: Arc<Door>) {
    let mut shut = door.shut.subscribe();
    let mut listener = Some(first);
    loop {
        let Some(open) = &listener else {
            if shut.wait_for(|shut| !shut).await.is_err() {
                return;
            }
            listener = Some(UnixListener::bind(&socket).expect("a socket of ours"));
            continue;
        };
        tokio::select! {
            accepted = open.accept() => {
                let Ok((client, _)) = accepted else { return };
                let door = Arc::clone(&door);
                tokio::spawn(async move {
                    // Whoever hangs up half-way is the bot being killed, or an engine call it gave up.
                    let _ = carry(client, &door).await;
                });
            }
            so = shut.wait_for(|shut| *shut) => {
                if so.is_err() {
                    return;
                }
                let _ = std::fs::remove_file(&socket);
                listener = None;
            }
        }
    }
}

/// One connection. The bot's clients keep none for a second call; `connection: close` makes sure of it.
async fn carry(mut client: UnixStream, door: &Door) -> std::io::Result<()> {
    let (head, rest) = read_head(&mut client).await?;
    let first = head.lines().next().unwrap_or_default().to_owned();
    let method = first.split(' ').next().unwrap_or_default();
    // A health check that runs inside a container is a question, whatever its method.
    let changes = !matches!(method, "GET" | "HEAD") && !first.contains("/exec");
    let (mut kill, mut nth) = (None, None);
    let hands = {
        let mut state = door.state.lock().unwrap();
        if changes {
            state.calls.push(first.clone());
            nth = Some(state.calls.len());
            kill = state.kill.filter(|(at, ..)| *at == state.calls.len());
        }
        state.hands.clone()
    };
    if let Some((_, Side::Before, pid)) = kill {
        kill_now(&door.state, pid, &first);
        return Ok(());
    }
    let call = Call { line: first, nth };
    let calm = door.calm.subscribe();
    let handling = match &hands {
        Some(hands) => hands.before(&call).await,
        None => Handling::Pass,
    };
    let upgrade = head.to_ascii_lowercase().contains("\nupgrade:");
    let head = if upgrade { head } else { head.replacen("\r\n", "\r\nConnection: close\r\n", 1) };
    match &handling {
        Handling::Drop => return Ok(()),
        Handling::Hang => return hang(client, calm).await,
        Handling::Say(answer) => return client.write_all(answer).await,
        Handling::Pass | Handling::Late(_) | Handling::Change(_) | Handling::LoseAnswer => {}
    }
    if let Some(address) = door.engine.strip_prefix("tcp://") {
        let engine = TcpStream::connect(address).await?;
        between(client, engine, (&head, &rest), kill, &handling, door).await?;
    } else {
        let path = door.engine.strip_prefix("unix://").unwrap_or("/var/run/docker.sock");
        let engine = UnixStream::connect(path).await?;
        between(client, engine, (&head, &rest), kill, &handling, door).await?;
    }
    if let (Some(hands), Handling::LoseAnswer) = (&hands, &handling) {
        hands.after(&call).await;
    }
    Ok(())
}

/// Accepted, and never answered.
async fn hang(mut client: UnixStream, mut calm: watch::Receiver<u64>) -> std::io::Result<()> {
    let mut buffer = [0; 8192];
    loop {
        tokio::select! {
            read = client.read(&mut buffer) => if read? == 0 { return Ok(()) },
            _ = calm.changed() => return Ok(()),
        }
    }
}

async fn between(
    mut client: UnixStream,
    mut engine: impl AsyncRead + AsyncWrite + Unpin,
    (head, rest): (&str, &[u8]),
    kill: Option<(usize, Side, Pid)>,
    handling: &Handling,
    door: &Door,
) -> std::io::Result<()> {
    let Some((_, side, pid)) = kill else {
        return handled(client, engine, (head, rest), handling).await;
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
            kill_now(&door.state, pid, &format!("{first} (half of it)"));
        }
        Side::During => {
            engine.write_all(&whole).await?;
            kill_now(&door.state, pid, &format!("{first} (no answer)"));
        }
        Side::After => {
            engine.write_all(&whole).await?;
            let mut answer = [0; 8192];
            let read = engine.read(&mut answer).await?;
            kill_now(&door.state, pid, &format!("{first} → {}", first_line(&answer[..read])));
        }
    }
    Ok(())
}

/// What becomes of a call that kills nobody.
async fn handled(
    mut client: UnixStream,
    mut engine: impl AsyncRead + AsyncWrite + Unpin,
    (head, rest): (&str, &[u8]),
    handling: &Handling,
) -> std::io::Result<()> {
    engine.write_all(head.as_bytes()).await?;
    engine.write_all(rest).await?;
    let mut answer = Vec::new();
    match handling {
        Handling::LoseAnswer => engine_answer(&mut engine, &mut client, &mut answer).await,
        Handling::Late(time) => {
            engine_answer(&mut engine, &mut client, &mut answer).await?;
            // The lateness is the fault itself, no wait for a condition.
            let _ = tokio::time::timeout(*time, std::future::pending::<()>()).await;
            client.write_all(&answer).await?;
            tokio::io::copy_bidirectional(&mut client, &mut engine).await.map(drop)
        }
        Handling::Change(change) => {
            engine_answer(&mut engine, &mut client, &mut answer).await?;
            engine.read_to_end(&mut answer).await?;
            client.write_all(&change(answer)).await
        }
        _ => tokio::io::copy_bidirectional(&mut client, &mut engine).await.map(drop),
    }
}

/// Sends what the client still has to say until the engine begins to answer, which it does when it has done it.
async fn engine_answer(
    engine: &mut (impl AsyncRead + AsyncWrite + Unpin),
    client: &mut UnixStream,
    answer: &mut Vec<u8>,
) -> std::io::Result<()> {
    let mut buffer = [0; 8192];
    let mut from_engine = [0; 8192];
    loop {
        tokio::select! {
            read = client.read(&mut buffer) => match read? {
                0 => return Ok(()),
                n => engine.write_all(&buffer[..n]).await?,
            },
            read = engine.read(&mut from_engine) => {
                answer.extend_from_slice(&from_engine[..read?]);
                return Ok(());
            }
        }
    }
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

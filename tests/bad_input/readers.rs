//! Readers and what never ends: each has a limit, and comes to it without filling the memory.

use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::json;
use sternway::agent::docker::DockerEngine;
use sternway::agent::engine::{Engine, EngineError};
use sternway::agent::login::login_for;
use sternway::chat::console::client::{ClientOptions, Ended, run_script};
use sternway::clock::SystemClock;
use sternway::domain::names::ProjectName;
use sternway::store::verify::verify;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// Longest wait for anything; reached only when a test fails.
const BOUND: Duration = Duration::from_secs(60);

/// What the process may have grown to at most while readers of this file and all targets beside them were at work.
const MEMORY_MAX_KB: u64 = 1_500_000;

/// The most memory that this process ever had, in kB.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux tells it");
    line.split_whitespace().nth(1).and_then(|kb| kb.parse().ok()).expect("a number")
}

/// An engine that begins every answer so and then says the same thing for ever. Counts who asks for what.
struct Endless {
    dir: tempfile::TempDir,
    asked: Arc<AtomicUsize>,
    _task: tokio_util::task::AbortOnDropHandle<()>,
}

impl Endless {
    fn new(head: &'static str, again: &'static [u8], counted: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, head, again.repeat(64 * 1024 / again.len()), counted, Arc::clone(&count)));
            }
        });
        Self { dir, asked, _task: tokio_util::task::AbortOnDropHandle::new(task) }
    }

    fn engine(&self) -> DockerEngine {
        DockerEngine::connect(Some(&format!("unix://{}", self.dir.path().join("s").display()))).unwrap()
    }
}

async fn answer(mut stream: UnixStream, head: &str, again: Vec<u8>, counted: &str, count: Arc<AtomicUsize>) {
    let mut request = vec![0; 8192];
    let read = stream.read(&mut request).await.unwrap_or(0);
    let request = String::from_utf8_lossy(&request[..read]).into_owned();
    if request.contains(counted) {
        count.fetch_add(1, Ordering::SeqCst);
    }
    if request.starts_with("GET /info") && counted != "/info" {
        let info = r#"{"SystemTime":"2026-01-01T00:00:00Z"}"#;
        let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{info}", info.len());
        let _ = stream.write_all(whole.as_bytes()).await;
        return;
    }
    let mut going = stream.write_all(head.as_bytes()).await;
    while going.is_ok() {
        going = stream.write_all(&again).await;
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 500 Internal Server Error\r\n\r\n{\"message\":\"";

/// Every call, against answers that say yes and no without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_whose_answers_never_end_is_given_up_by_every_call() {
    for (head, again) in
        [(OK, &b"[{\"Id\":\"x\"},"[..]), (OK, &b"\"x"[..]), (REFUSED, &b"no "[..]), (OK, &b"{\"a\":["[..])]
    {
        let endless = Endless::new(head, again, "/info");
        let engine = endless.engine();
        let shop = ProjectName::parse("shop").unwrap();
        let digest = format!("shop/api@sha256:{}", "a".repeat(64));
        let calls: [(&str, Result<(), EngineError>); 11] = [
            ("facts", bounded(engine.facts()).await),
            ("inspect", bounded(engine.inspect("x")).await),
            ("image", bounded(engine.image("x")).await),
            ("images", bounded(engine.images()).await),
            ("containers", bounded(engine.project_containers(&shop)).await),
            ("changes", bounded(engine.filesystem_changes("x")).await),
            ("events", bounded(engine.past_names("2026-01-01T00:00:00Z".parse().unwrap())).await),
            ("file", bounded(engine.take_file("x", "/a")).await),
            ("create", bounded(engine.create("x", &json!({}))).await),
            ("exec", bounded(engine.exec("x", &["/well".to_owned()], 2_000)).await),
            ("pull", bounded(engine.pull(&digest, None, &|_, _| {})).await),
        ];
        for (call, answer) in calls {
            let why = answer.expect_err(call).to_string();
            assert!(why.len() <= 16 * 1024, "{call}: {} bytes of error", why.len());
        }
    }
    assert!(peak() < MEMORY_MAX_KB, "{} kB", peak());
}

/// The calls whose answer is of no interest end as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_that_never_ends_is_not_taken_into_memory() {
    let endless = Endless::new(REFUSED, b"no ", "POST");
    let engine = endless.engine();
    for (call, answer) in [
        ("start", bounded(engine.start("x")).await),
        ("stop", bounded(engine.stop("x", 0)).await),
        ("rename", bounded(engine.rename("x", "y")).await),
        ("remove", bounded(engine.remove("x")).await),
        ("kill", bounded(engine.kill("x", "HUP")).await),
        ("tag", bounded(engine.tag("x", "shop/api", "1")).await),
    ] {
        assert!(answer.is_err(), "{call} believes it");
    }
    assert!(peak() < MEMORY_MAX_KB, "{} kB", peak());
}

/// A stream of events is left when one of its lines does not end, and is asked for again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_never_ends_is_left_and_the_stream_asked_for_again() {
    let endless = Endless::new(OK, b"x", "GET /events");
    let engine = endless.engine();
    let mut hints = engine.hints();
    engine.watch([ProjectName::parse("shop").unwrap()]);
    let again = async {
        while endless.asked.load(Ordering::SeqCst) < 3 {
            hints.recv().await.expect("the listener lives");
        }
    };
    tokio::time::timeout(BOUND, again).await.expect("it stays with a stream that says nothing");
}

async fn bounded<T>(call: impl Future<Output = Result<T, EngineError>>) -> Result<(), EngineError> {
    tokio::time::timeout(BOUND, call).await.expect("the call waits without end").map(drop)
}

#[tokio::test]
async fn what_is_no_file_is_never_read_as_one() {
    for device in ["/dev/zero", "/dev/urandom", "/", "/proc/self/mem"] {
        let told = tokio::time::timeout(BOUND, login_for(Path::new(device), "r.example")).await.expect("it ends");
        assert!(told.is_err(), "{device}: {told:?}");
        let damage = verify(Path::new(device)).expect_err("no log");
        assert!(!damage.to_string().is_empty());
    }
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("000000000000.log");
    let (fifo, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR);
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, fifo, mode, 0).unwrap();
    let damage = verify(dir.path()).expect_err("nobody writes into it").to_string();
    assert!(damage.contains("not a plain file"), "{damage}");
}

/// A line of a script is said whole or not at all, however long it is, and what follows it is said.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_of_a_script_that_does_not_end_is_not_said_and_its_beginning_is_not_either() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let heard = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let welcome = "{\"type\":\"welcome\",\"greeting\":\"amal\",\"known\":true,\"demo\":false}\n";
        stream.write_all(welcome.as_bytes()).await.unwrap();
        let mut all = String::new();
        stream.read_to_string(&mut all).await.unwrap();
        all
    });
    let mut options = ClientOptions::new(socket, Arc::new(SystemClock));
    options.answer_limit = Duration::from_millis(10);
    options.runs_limit = Duration::ZERO;
    let endless = Read::take(std::io::repeat(b' '), 32 * 1024 * 1024);
    let input = Read::chain(Read::chain(&b"/rollback image api"[..], endless), &b"because of nothing\n/status\n"[..]);
    let mut out = Vec::new();
    let ended = run_script(&options, BufReader::new(input), &mut out).await.unwrap();
    let heard = tokio::time::timeout(BOUND, heard).await.unwrap().unwrap();
    assert_eq!(ended, Ended::Trouble);
    assert!(!heard.contains("rollback") && heard.contains("/status"), "{heard}");
    assert!(String::from_utf8_lossy(&out).contains("not said"), "{}", String::from_utf8_lossy(&out));
    assert!(peak() < MEMORY_MAX_KB, "{} kB", peak());
}

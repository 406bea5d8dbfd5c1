//! The sample product: a shop of three services in one small static program, for `make demo`, the tests
//! on a real engine and the bench. It needs nothing but the standard library and runs in an image that
//! holds nothing else, so no image has to be pulled. It is not part of Sternway and not built by Cargo:
//!
//! ```text
//! rustc --edition 2024 -O -C target-feature=+crt-static -C panic=abort -C strip=symbols product.rs
//! ```
//!
//! | role | listens on | does |
//! |---|---|---|
//! | `api` | 3000 | `/api/health`, `/api/version`, `/api/orders` (GET counts, POST adds one); keeps orders in `db` |
//! | `web` | 8080 | `/` is the shop window, `/api/*` goes to `api`, whose address it looks up once, as nginx does, and again on SIGHUP |
//! | `db`  | 6000 | `PING`, `GET key`, `INCR key`, one a line; durable in `/data` |
//! | `check` | | asks the service beside it for its health; the image's HEALTHCHECK |
//!
//! What an image is baked with: `SHOP_ROLE`, `SHOP_VERSION`, and `SHOP_BEHAVIOUR` = `good`, `breaks` (answers
//! well for two seconds, then 500), `tires` (says three times that it is well, then never again), `never-healthy` (500
//! from the start), `exits` (at once, code 1), `deaf` (never answers SIGTERM), `slow` (boots for two seconds).

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long one service waits for another before it answers 502 or 500.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long `web` waits at start until the name of `api` resolves.
const BOOT_PATIENCE: Duration = Duration::from_secs(10);
/// How long `breaks` answers well and `slow` boots.
const TWO_SECONDS: Duration = Duration::from_secs(2);
/// How often `tires` says that it is well.
const TIRES_AFTER: u32 = 3;
/// A request head longer than this is not one of ours.
const HEAD_LIMIT: usize = 16 * 1024;

fn main() {
    let role = std::env::args().nth(1).or_else(|| setting("SHOP_ROLE")).unwrap_or_default();
    if role == "check" {
        std::process::exit(i32::from(check().is_err()));
    }
    let behaviour = setting("SHOP_BEHAVIOUR").unwrap_or_else(|| "good".into());
    let caught = signals::block(behaviour == "deaf");
    let upstream = Arc::new(Mutex::new(None));
    let reloaded = Arc::clone(&upstream);
    caught.watch(move || {
        // Only `web` has looked anything up.
        let known = lock(&reloaded).is_some();
        if known && let Err(error) = look_up_api(&reloaded) {
            println!("web: the address stays as it was: {error}");
        }
    });
    match behaviour.as_str() {
        "exits" => stop_with(&format!("{role}: cannot read the settings of release {}", version())),
        "slow" => thread::sleep(TWO_SECONDS),
        _ => {}
    }
    let outcome = match role.as_str() {
        "api" => api(&behaviour),
        "web" => web(&upstream),
        "db" => db(),
        other => stop_with(&format!("unknown role {other:?}: say api, web, db or check")),
    };
    if let Err(error) = outcome {
        stop_with(&format!("{role}: {error}"));
    }
}

fn stop_with(why: &str) -> ! {
    eprintln!("{why}");
    std::process::exit(1)
}

fn setting(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn version() -> String {
    setting("SHOP_VERSION").unwrap_or_else(|| "unversioned".into())
}

/// Where a service listens; `SHOP_LISTEN` is for trying it without containers.
fn listen(port: u16) -> Result<TcpListener> {
    let address = setting("SHOP_LISTEN").unwrap_or_else(|| format!("0.0.0.0:{port}"));
    let listener = TcpListener::bind(&address)?;
    println!("{} {} listens on {address}", setting("SHOP_ROLE").unwrap_or_default(), version());
    Ok(listener)
}

/// One thread per connection: a sample product has few.
fn serve(listener: TcpListener, answer: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static) -> Result<()> {
    let answer = Arc::new(answer);
    for stream in listener.incoming().flatten() {
        let answer = Arc::clone(&answer);
        // Who hangs up half-way is not a fault of ours.
        let _ = thread::Builder::new().spawn(move || {
            let _ = stream.set_read_timeout(Some(BOOT_PATIENCE));
            answer(stream)
        });
    }
    Ok(())
}

// ---- api ------------------------------------------------------------------------------------------------

fn api(behaviour: &str) -> Result<()> {
    let db = setting("SHOP_DB").unwrap_or_else(|| "db:6000".into());
    let (behaviour, started) = (behaviour.to_owned(), Instant::now());
    let asked = AtomicU32::new(0);
    serve(listen(3000)?, move |mut stream| {
        let request = Request::read(&mut stream)?;
        let broken = match behaviour.as_str() {
            "never-healthy" => true,
            "breaks" => started.elapsed() > TWO_SECONDS,
            "tires" if request.path == "/api/health" => asked.fetch_add(1, Ordering::Relaxed) >= TIRES_AFTER,
            _ => false,
        };
        let (status, body) = match (request.method.as_str(), request.path.as_str()) {
            (_, "/api/version" | "/version") => (200, format!("{{\"version\":\"{}\"}}\n", version())),
            _ if broken => (500, format!("{{\"status\":\"error\",\"version\":\"{}\"}}\n", version())),
            ("GET", "/api/health") => match ask_db(&db, "PING") {
                Ok(_) => (200, format!("{{\"status\":\"ok\",\"version\":\"{}\"}}\n", version())),
                Err(error) => (500, format!("{{\"status\":\"no database\",\"why\":\"{}\"}}\n", error.kind())),
            },
            ("GET", "/api/orders") => orders(ask_db(&db, "GET orders")),
            ("POST", "/api/orders") => orders(ask_db(&db, "INCR orders")),
            _ => (404, "{\"status\":\"no such page\"}\n".to_owned()),
        };
        respond(&mut stream, status, "application/json", &body)
    })
}

fn orders(answer: Result<String>) -> (u16, String) {
    match answer {
        Ok(count) => (200, format!("{{\"orders\":{}}}\n", count.parse::<u64>().unwrap_or(0))),
        Err(error) => (500, format!("{{\"status\":\"no database\",\"why\":\"{}\"}}\n", error.kind())),
    }
}

/// One question, one line of answer. Looked up anew each time: only `web` keeps an address.
fn ask_db(db: &str, question: &str) -> Result<String> {
    let mut stream = connect(resolve(db)?)?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(line.trim().to_owned()) }
}

// ---- web ------------------------------------------------------------------------------------------------

/// The address of `api`, as it was when somebody last looked.
type Upstream = Arc<Mutex<Option<SocketAddr>>>;

fn look_up_api(upstream: &Upstream) -> Result<()> {
    let name = setting("SHOP_API").unwrap_or_else(|| "api:3000".into());
    let found = resolve(&name).map_err(|error| Error::other(format!("{name}: {error}")))?;
    println!("web: {name} is {found}");
    *lock(upstream) = Some(found);
    Ok(())
}

fn web(upstream: &Upstream) -> Result<()> {
    let until = Instant::now() + BOOT_PATIENCE;
    while let Err(error) = look_up_api(upstream) {
        if Instant::now() > until {
            return Err(error);
        }
        thread::sleep(Duration::from_millis(50));
    }
    let upstream = Arc::clone(upstream);
    serve(listen(8080)?, move |mut stream| {
        let request = Request::read(&mut stream)?;
        let window = format!("<!doctype html><title>shop</title><h1>The shop</h1><p>web {}</p>\n", version());
        match request.path.as_str() {
            path if path.starts_with("/api/") => {
                let target = *lock(&upstream);
                forward(&mut stream, &request, target).or_else(|error| {
                    let body = format!("{{\"status\":\"bad gateway\",\"why\":\"{}\"}}\n", error.kind());
                    respond(&mut stream, 502, "application/json", &body)
                })
            }
            "/health" => respond(&mut stream, 200, "application/json", "{\"status\":\"ok\"}\n"),
            "/" => respond(&mut stream, 200, "text/html; charset=utf-8", &window),
            _ => respond(&mut stream, 404, "text/plain", "no such page\n"),
        }
    })
}

/// The whole answer is taken before a byte of it goes on, so a broken one becomes a clean 502.
fn forward(stream: &mut TcpStream, request: &Request, upstream: Option<SocketAddr>) -> Result<()> {
    let mut up = connect(upstream.ok_or(ErrorKind::NotFound)?)?;
    let head = format!("{} {} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n\r\n", request.method, request.path);
    up.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    up.read_to_end(&mut answer)?;
    if answer.starts_with(b"HTTP/1.1 ") { stream.write_all(&answer) } else { Err(ErrorKind::UnexpectedEof.into()) }
}

// ---- db -------------------------------------------------------------------------------------------------

/// A table in memory and the file it is made of: `key value` a line, the last one counts.
struct Table {
    rows: HashMap<String, u64>,
    file: File,
}

fn db() -> Result<()> {
    let path = format!("{}/orders.log", setting("SHOP_DATA").unwrap_or_else(|| "/data".into()));
    let mut rows = HashMap::new();
    if let Ok(file) = File::open(&path) {
        for line in BufReader::new(file).lines().map_while(Result::ok) {
            if let Some((key, value)) = line.split_once(' ')
                && let Ok(value) = value.parse()
            {
                rows.insert(key.to_owned(), value);
            }
        }
    }
    let file = OpenOptions::new().create(true).append(true).open(&path)?;
    let table = Mutex::new(Table { rows, file });
    serve(listen(6000)?, move |stream| {
        let mut answers = stream.try_clone()?;
        for line in BufReader::new(stream.take(HEAD_LIMIT as u64)).lines() {
            let answer = lock(&table).answer(&line?)?;
            answers.write_all(format!("{answer}\n").as_bytes())?;
        }
        Ok(())
    })
}

impl Table {
    fn answer(&mut self, question: &str) -> Result<String> {
        Ok(match question.split_once(' ') {
            None if question == "PING" => "PONG".to_owned(),
            Some(("GET", key)) => self.rows.get(key).copied().unwrap_or(0).to_string(),
            Some(("INCR", key)) => {
                let value = self.rows.get(key).copied().unwrap_or(0) + 1;
                self.file.write_all(format!("{key} {value}\n").as_bytes())?;
                self.file.sync_data()?;
                self.rows.insert(key.to_owned(), value);
                value.to_string()
            }
            _ => "ERROR say PING, GET key or INCR key".to_owned(),
        })
    }
}

// ---- check ----------------------------------------------------------------------------------------------

fn check() -> Result<()> {
    let (port, path) = match setting("SHOP_ROLE").as_deref() {
        Some("api") => (3000, "/api/health"),
        Some("web") => (8080, "/health"),
        _ => return ask_db("127.0.0.1:6000", "PING").map(drop),
    };
    let mut stream = connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.starts_with("HTTP/1.1 200") { Ok(()) } else { Err(Error::other(line)) }
}

// ---- just enough HTTP, names and signals ----------------------------------------------------------------

struct Request {
    method: String,
    path: String,
}

impl Request {
    /// Reads the head and the body it announces, so that nothing unread turns our close into a reset.
    fn read(stream: &mut TcpStream) -> Result<Self> {
        let mut reader = BufReader::new(stream).take(HEAD_LIMIT as u64);
        let (mut line, mut header, mut body) = (String::new(), String::new(), 0);
        reader.read_line(&mut line)?;
        while header != "\r\n" {
            header.clear();
            if reader.read_line(&mut header)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                body = value.trim().parse().unwrap_or(0);
            }
        }
        std::io::copy(&mut reader.take(body), &mut std::io::sink())?;
        let mut words = line.split_whitespace().map(str::to_owned);
        match (words.next(), words.next()) {
            (Some(method), Some(path)) => Ok(Self { method, path }),
            _ => Err(ErrorKind::InvalidData.into()),
        }
    }
}

fn respond(stream: &mut TcpStream, status: u16, kind: &str, body: &str) -> Result<()> {
    let reason = match status {
        200 => "OK",
        404 => "Not Found",
        502 => "Bad Gateway",
        _ => "Internal Server Error",
    };
    let length = body.len();
    let head = format!("HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n");
    stream.write_all(format!("{head}Connection: close\r\n\r\n{body}").as_bytes())
}

fn connect(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// `name:port` to an address, by a query of our own: a static program has no resolver library to load.
fn resolve(target: &str) -> Result<SocketAddr> {
    let bad = || Error::new(ErrorKind::InvalidInput, format!("{target} is not name:port"));
    let (name, port) = target.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok((address, port).into());
    }
    let config = std::fs::read_to_string("/etc/resolv.conf")?;
    let server = config.lines().find_map(|line| line.strip_prefix("nameserver ")).unwrap_or("127.0.0.11").trim();
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect((server, 53))?;
    socket.send(&dns_query(name))?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    let address = dns_answer(&answer[..length]).ok_or(ErrorKind::NotFound)?;
    Ok((address, port).into())
}

/// RFC 1035 section 4.1: one question for an A record, recursion desired.
fn dns_query(name: &str) -> Vec<u8> {
    let mut query = vec![0x53, 0x77, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty() && label.len() < 64) {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.extend_from_slice(&[0, 0, 1, 0, 1]);
    query
}

/// The first A record of an answer.
fn dns_answer(answer: &[u8]) -> Option<Ipv4Addr> {
    let word = |at: usize| Some(u16::from_be_bytes([*answer.get(at)?, *answer.get(at + 1)?]));
    let skip_name = |mut at: usize| loop {
        match *answer.get(at)? {
            0 => return Some(at + 1),
            pointer if pointer >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    };
    let mut at = skip_name(12)? + 4;
    for _ in 0..word(6)? {
        at = skip_name(at)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        at += 10;
        if kind == 1 && length == 4 {
            return answer.get(at..at + 4).map(|a| Ipv4Addr::new(a[0], a[1], a[2], a[3]));
        }
        at += length;
    }
    None
}

fn lock<T>(value: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    value.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The first process of a container gets no default action for SIGTERM, so every stop would take the
/// whole grace period. Signals are blocked and one thread waits for them: it runs no handler, so it may do anything.
mod signals {
    const SIG_BLOCK: i32 = 0;
    const SIGHUP: i32 = 1;
    const SIGINT: i32 = 2;
    const SIGTERM: i32 = 15;

    /// glibc's sigset_t: 1024 bits.
    type Set = [u64; 16];

    unsafe extern "C" {
        fn sigaddset(set: *mut Set, signal: i32) -> i32;
        fn pthread_sigmask(how: i32, set: *const Set, old: *mut Set) -> i32;
        fn sigwait(set: *const Set, signal: *mut i32) -> i32;
    }

    /// Call it before any other thread starts: they inherit the mask. With `deaf` only SIGHUP is heard.
    pub fn block(deaf: bool) -> Caught {
        let mut set = [0; 16];
        let heard: &[i32] = if deaf { &[SIGHUP] } else { &[SIGHUP, SIGINT, SIGTERM] };
        for signal in heard {
            unsafe { sigaddset(&mut set, *signal) };
        }
        unsafe { pthread_sigmask(SIG_BLOCK, &set, std::ptr::null_mut()) };
        Caught(set)
    }

    pub struct Caught(Set);

    impl Caught {
        /// SIGHUP calls `hangup`; the others end the process, which is safe at any instant: what `db` has
        /// acknowledged is on disk, and the other two keep nothing.
        pub fn watch(self, hangup: impl Fn() + Send + 'static) {
            std::thread::spawn(move || {
                loop {
                    let mut signal = 0;
                    unsafe { sigwait(&self.0, &mut signal) };
                    match signal {
                        SIGHUP => hangup(),
                        _ => std::process::exit(0),
                    }
                }
            });
        }
    }
}

//! The engine's HTTP spoken directly, for calls whose JSON must not be touched: inspect, image inspect, changes,
//! create, connect and update. A typed client drops fields on the way in and out (docker-facts section 9), and
//! bollard writes bodies, with the environment of containers in them, to its debug log.
//!
//! One connection per call, as bollard does; the engine is on this machine. Nothing here repeats a call.

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode, header};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::docker_json::json;
use super::docker_registry::whole;
use super::engine::EngineError;
use crate::domain::text::shorten;

/// Where an engine listens when nobody says otherwise.
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Longest wait for a connection to a local socket; a longer one means that nobody accepts.
pub(super) const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Largest answer taken into memory, in bytes; a list of thousands of images has a few MiB.
const ANSWER_MAX: usize = 16 * 1024 * 1024;
/// Characters of the engine's own words in an error; a refusal may come with a body of any length.
const WORDS_MAX: usize = 2_000;

/// Where an engine listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A socket file.
    Unix(PathBuf),
    /// `host:port`, plain HTTP.
    Tcp(String),
}

/// An answer of the engine with a status that means success, or 304.
pub(super) struct Answer {
    body: Bytes,
}

impl Answer {
    /// The body as it came.
    pub(super) fn bytes(&self) -> Vec<u8> {
        self.body.to_vec()
    }

    /// The body as JSON.
    pub(super) fn json(&self) -> Result<Value, EngineError> {
        json(&self.body)
    }
}

impl Endpoint {
    /// Reads a `DOCKER_HOST`; `None` is the default socket.
    pub(super) fn parse(host: Option<&str>) -> Result<Self, EngineError> {
        let Some(host) = host.filter(|h| !h.is_empty()) else {
            return Ok(Self::Unix(PathBuf::from(DEFAULT_SOCKET)));
        };
        match host.split_once("://") {
            Some(("unix", path)) if path.starts_with('/') => Ok(Self::Unix(PathBuf::from(path))),
            Some(("tcp" | "http", address)) => {
                let address = address.trim_end_matches('/');
                let port = address.rsplit_once(':').and_then(|(name, port)| {
                    (!name.is_empty() && !address.contains(['/', '?', '#', '@'])).then(|| port.parse::<u16>().ok())?
                });
                port.map(|_| Self::Tcp(address.to_owned())).ok_or_else(|| not_a_host(host))
            }
            _ => Err(not_a_host(host)),
        }
    }

    /// One exchange; `path` has its query in it, already encoded. Statuses of 400 and above are errors.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Answer, EngineError> {
        let body = body.map(|b| Bytes::from(b.to_string())).unwrap_or_default();
        self.send_bytes(method, path, ("application/json", body), limit).await
    }

    /// The same with a body of any kind.
    pub(super) async fn send_bytes(
        &self,
        method: Method,
        path: &str,
        body: (&str, Bytes),
        limit: Duration,
    ) -> Result<Answer, EngineError> {
        let request = saying(method, path, body)?;
        match self {
            Self::Unix(socket) => {
                let stream = self.reach(UnixStream::connect(socket)).await?;
                answered(limit, exchange(stream, request)).await
            }
            Self::Tcp(address) => {
                let stream = self.reach(TcpStream::connect(address)).await?;
                answered(limit, exchange(stream, request)).await
            }
        }
    }

    /// `GET /events` between two moments; the stream ends by itself.
    pub(super) async fn past(
        &self,
        filters: &Value,
        since: Timestamp,
        until: Timestamp,
        limit: Duration,
    ) -> Result<Vec<Value>, EngineError> {
        let filters = filters.to_string();
        let moment = |at: Timestamp| format!("{}.{:09}", at.as_second(), at.subsec_nanosecond());
        let path =
            format!("/events?since={}&until={}&filters={}", moment(since), moment(until), query_encoded(&filters));
        let answer = self.send(Method::GET, &path, None, limit).await?;
        let lines = answer.body.split(|b| *b == b'\n').filter(|line| !line.trim_ascii().is_empty());
        lines.map(json).collect()
    }

    /// Starts an exec and hears it to its end. What it says is thrown away as it comes: a full pipe would stop the
    /// command, its words may hold secrets, and there may be any number of them.
    pub(super) async fn listen_to(&self, exec: &str) -> Result<(), EngineError> {
        let body = Bytes::from_static(br#"{"Detach":false,"Tty":false}"#);
        let request = saying(Method::POST, &format!("/exec/{}/start", encoded(exec)), ("application/json", body))?;
        self.talk(request, async |response| {
            let status = response.status();
            if !status.is_success() {
                return Err(refusal(status.as_u16(), &String::from_utf8_lossy(&whole(response).await?)));
            }
            let mut body = response.into_body();
            // However it ends: whether the command did is asked next.
            while body.frame().await.is_some_and(|frame| frame.is_ok()) {}
            Ok(())
        })
        .await
    }

    pub(super) async fn reach<S>(
        &self,
        connecting: impl Future<Output = std::io::Result<S>>,
    ) -> Result<S, EngineError> {
        match timeout(CONNECT_LIMIT, connecting).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(why)) => Err(self.unreachable(&why)),
            Err(_) => Err(EngineError::Unreachable(format!("{self} accepts no connection"))),
        }
    }

    fn unreachable(&self, why: &std::io::Error) -> EngineError {
        let hint = match why.kind() {
            std::io::ErrorKind::PermissionDenied => "; let this user into the group that owns the socket",
            std::io::ErrorKind::NotFound | std::io::ErrorKind::ConnectionRefused => "; is dockerd running?",
            _ => "",
        };
        EngineError::Unreachable(format!("{self}: {why}{hint}"))
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

/// A request without a body, for answers that are not taken whole.
pub(super) fn asking(method: Method, path: &str) -> Result<Request<Full<Bytes>>, EngineError> {
    saying(method, path, ("text/plain", Bytes::new()))
}

fn saying(method: Method, path: &str, (kind, body): (&str, Bytes)) -> Result<Request<Full<Bytes>>, EngineError> {
    Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, "docker")
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, kind)
        .body(Full::new(body))
        .map_err(|e| EngineError::Refused { status: 400, message: format!("{path} is not a path: {e}") })
}

fn not_a_host(host: &str) -> EngineError {
    EngineError::Unreachable(format!(
        "“{}” is not a Docker host; use unix:///path/to/docker.sock or tcp://127.0.0.1:2375",
        host.escape_debug()
    ))
}

/// The limit for everything after the connection stands: from here on the engine may have heard us.
pub(super) async fn answered<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, EngineError>>,
) -> Result<T, EngineError> {
    match timeout(limit, call).await {
        Ok(answer) => answer,
        Err(_) => Err(EngineError::NoAnswer(format!("none within {} s", limit.as_secs()))),
    }
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, EngineError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| EngineError::Unreachable(causes(&e)))?;
    let mut talk = pin!(async move {
        let response = sender.send_request(request).await.map_err(|e| EngineError::NoAnswer(causes(&e)))?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await
            .map_err(|e| EngineError::NoAnswer(causes(e.as_ref())))?
            .to_bytes();
        if status.is_success() || status == StatusCode::NOT_MODIFIED {
            Ok(Answer { body })
        } else {
            Err(refusal(status.as_u16(), &String::from_utf8_lossy(&body)))
        }
    });
    let mut connection = pin!(connection);
    tokio::select! {
        answer = &mut talk => answer,
        // The connection's end reaches the talk too, as an answer or as an error that says more than this one.
        _ = &mut connection => talk.await,
    }
}

/// The engine said no. Its words stand in `{"message": …}`, or in the body as it is.
pub(super) fn refusal(status: u16, body: &str) -> EngineError {
    let message = serde_json::from_str::<Value>(body)
        .ok()
        .and_then(|json| json.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| body.trim().to_owned());
    let message = shorten(&message, WORDS_MAX);
    match status {
        404 => EngineError::NotFound(message),
        409 => EngineError::Conflict(message),
        _ => EngineError::Refused { status, message },
    }
}

/// What was asked for as a container is one: something that lost its shape on the way, or never had it, must not be taken
/// for a container without a name that does not run.
pub(super) fn a_container(said: Value) -> Result<Value, EngineError> {
    let id = said.get("Id").and_then(Value::as_str).is_some_and(is_id);
    let name = said.get("Name").and_then(Value::as_str).is_some_and(|name| !name.contains(char::is_control));
    let parts = ["State", "Config"].iter().all(|part| said.get(part).is_some_and(Value::is_object));
    if id && name && parts { Ok(said) } else { Err(EngineError::NoAnswer("what it sent is no container".to_owned())) }
}

/// The full id of a container.
pub(super) fn is_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// An error with the errors it came from, each once.
pub(super) fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = cause.source();
    }
    text
}

/// Percent-encodes what is not plain in a path or query value; `/` and `:` stay, as image references need them.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~/:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

/// The same for a value that may hold anything.
pub(super) fn query_encoded(text: &str) -> String {
    encoded(text).replace('/', "%2F").replace(':', "%3A").replace('@', "%40")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_hosts_are_read() {
        let unix = |path: &str| Endpoint::Unix(PathBuf::from(path));
        assert_eq!(Endpoint::parse(None), Ok(unix(DEFAULT_SOCKET)));
        assert_eq!(Endpoint::parse(Some("")), Ok(unix(DEFAULT_SOCKET)));
        assert_eq!(Endpoint::parse(Some("unix:///tmp/d.sock")), Ok(unix("/tmp/d.sock")));
        assert_eq!(Endpoint::parse(Some("tcp://127.0.0.1:2375/")), Ok(Endpoint::Tcp("127.0.0.1:2375".into())));
        assert_eq!(Endpoint::parse(Some("tcp://[::1]:2375")), Ok(Endpoint::Tcp("[::1]:2375".into())));
        for bad in ["unix://relative", "ssh://me@host", "tcp://host", "tcp://:1", "tcp://h:1/x", "https://h:1", "x"] {
            let refused = Endpoint::parse(Some(bad)).expect_err(bad).to_string();
            assert!(refused.contains(bad) && refused.contains("unix:///"), "{refused}");
        }
    }

    #[test]
    fn a_no_of_the_engine_is_sorted_by_what_can_be_done_next() {
        assert_eq!(refusal(404, r#"{"message":"No such image: x"}"#), EngineError::NotFound("No such image: x".into()));
        assert_eq!(refusal(409, r#"{"message":"taken"}"#), EngineError::Conflict("taken".into()));
        assert_eq!(refusal(500, "plain\n"), EngineError::Refused { status: 500, message: "plain".into() });
    }

    #[test]
    fn what_has_not_the_shape_of_a_container_is_no_answer() {
        use serde_json::json;
        let good = json!({"Id": "0f".repeat(32), "Name": "/api", "State": {"Status": "running"}, "Config": {}});
        assert!(a_container(good.clone()).is_ok());
        for (part, lie) in [
            ("Id", json!("../../volumes/prune")),
            ("Id", json!(7)),
            ("Name", json!("/api\u{1b}[2J")),
            ("Name", json!(null)),
            ("State", json!("running")),
            ("Config", json!([])),
        ] {
            let mut said = good.clone();
            said[part] = lie;
            assert!(matches!(a_container(said), Err(EngineError::NoAnswer(_))), "{part}");
        }
    }

    #[test]
    fn nothing_leaves_its_place_in_a_path() {
        assert_eq!(encoded("shop/api:1.0"), "shop/api:1.0");
        assert_eq!(encoded("a b?c#d&é"), "a%20b%3Fc%23d%26%C3%A9");
    }
}

//! Asking a service from the Docker host whether it is well: HTTP or TCP on loopback.
//!
//! Only loopback is asked: published ports are what people use, and an address on a bridge may meanwhile be
//! another container's (decision 25). Must never: follow a redirect, use a proxy, keep a connection over from the
//! container before, or repeat an answer's body or a URL's query (either may hold secrets).

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use reqwest::{Client, Url};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::domain::plan::HealthCheck;

/// How long one question may take in all. Longer than any health page should need; a slower one is not well.
pub const QUESTION_LIMIT: Duration = Duration::from_secs(2);

/// Bytes of an answer that are read, to see that it is not cut off. What follows is left unread.
pub const BODY_MAX: usize = 64 * 1024;

/// Asks. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Probe {
    client: Client,
}

impl Probe {
    /// Ready to ask.
    ///
    /// # Errors
    /// When the HTTP client cannot be built, which is a matter of the system's resources.
    pub fn new() -> Result<Self, String> {
        let client = Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .pool_max_idle_per_host(0)
            .timeout(QUESTION_LIMIT)
            // Whatever the hosts file says, it is this machine that is asked.
            .resolve("localhost", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
            .user_agent("sternway-probe")
            .build()
            .map_err(|e| format!("no HTTP client for health checks: {e}"))?;
        Ok(Self { client })
    }

    /// Asks once. `Exec` and `Weak` are not asked from here but by the agent, on the engine.
    ///
    /// # Errors
    /// A sentence: why the service does not count as well.
    pub async fn ask(&self, check: &HealthCheck) -> Result<(), String> {
        match check {
            HealthCheck::Http { url } => self.http(url).await,
            HealthCheck::Tcp { port } => tcp(*port).await,
            HealthCheck::Exec => {
                Err("a check inside the container is run by the engine, not asked from outside".to_owned())
            }
            HealthCheck::OwnPort { .. } => Err("which port that is only the agent knows".to_owned()),
            HealthCheck::Weak => Err("nothing can be asked of this service".to_owned()),
        }
    }

    async fn http(&self, url: &str) -> Result<(), String> {
        let url = loopback_url(url)?;
        let shown = shown(&url);
        let failed = |what: &str, e: &reqwest::Error| {
            if e.is_timeout() {
                format!("GET {shown}: {what} within {} s", QUESTION_LIMIT.as_secs())
            } else {
                format!("GET {shown}: {}", root_cause(e))
            }
        };
        let mut answer = self.client.get(url).send().await.map_err(|e| failed("no answer", &e))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("GET {shown}: answered {status}"));
        }
        let mut read = 0;
        while read < BODY_MAX {
            match answer.chunk().await {
                Ok(Some(part)) => read += part.len(),
                Ok(None) => break,
                Err(e) => return Err(failed("the answer did not end", &e)),
            }
        }
        Ok(())
    }
}

/// The URL, if it is one that is asked: plain `http` on this machine's loopback, without a login.
///
/// # Errors
/// A sentence for whoever wrote the config.
pub fn loopback_url(url: &str) -> Result<Url, String> {
    let parsed = Url::parse(url).map_err(|e| format!("the health URL cannot be read: {e}"))?;
    if parsed.scheme() != "http" {
        return Err(format!("the health URL {} is not http://; use the port published on 127.0.0.1", shown(&parsed)));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(format!("the health URL {} holds a login; use a page that needs none", shown(&parsed)));
    }
    let host = parsed.host_str().unwrap_or_default();
    let loopback = host.eq_ignore_ascii_case("localhost")
        || host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .parse::<std::net::IpAddr>()
            .is_ok_and(|a| a.is_loopback());
    if !loopback {
        return Err(format!(
            "the health URL {} is not on this machine's loopback; only 127.0.0.1 is asked, so publish the port there",
            shown(&parsed)
        ));
    }
    Ok(parsed)
}

/// How long a connection has to stay open. Docker's proxy accepts on a published port before it knows whether anybody
/// listens inside, and then closes at once.
const OPEN_FOR: Duration = Duration::from_millis(300);

/// A service that speaks first, or waits to be spoken to, is well; one that hangs up at once is not there.
async fn stays_open(stream: &mut TcpStream, address: SocketAddr) -> Result<(), String> {
    let mut first = [0u8; 1];
    match timeout(OPEN_FOR, stream.read(&mut first)).await {
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0)) => Err(format!("{address} hangs up at once: nothing listens behind the port")),
        Ok(Err(e)) => Err(format!("{address} hangs up at once: {e}")),
    }
}

/// Connects to a published port.
async fn tcp(port: u16) -> Result<(), String> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    match timeout(QUESTION_LIMIT, TcpStream::connect(address)).await {
        Ok(Ok(mut stream)) => stays_open(&mut stream, address).await,
        Ok(Err(e)) => Err(format!("connecting to {address}: {e}")),
        Err(_) => Err(format!("connecting to {address}: no answer within {} s", QUESTION_LIMIT.as_secs())),
    }
}

/// A URL without login, query and fragment.
fn shown(url: &Url) -> String {
    let port = url.port().map(|p| format!(":{p}")).unwrap_or_default();
    format!("{}://{}{port}{}", url.scheme(), url.host_str().unwrap_or_default(), url.path())
}

/// The innermost cause: `connection refused` rather than reqwest's own words, which repeat the URL.
fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    if std::ptr::addr_eq(cause, error as &dyn std::error::Error) { "no answer".to_owned() } else { cause.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    /// A server that gives every connection the same bytes and then closes, or holds it when there are none.
    async fn server(answer: &'static str) -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut request = [0; 4096];
                let _read = stream.read(&mut request).await;
                if answer.is_empty() {
                    held.push(stream);
                } else {
                    let _sent = stream.write_all(answer.as_bytes()).await;
                }
            }
        });
        port
    }

    async fn ask(answer: &'static str) -> Result<(), String> {
        let url = format!("http://127.0.0.1:{}/health?token=s3cret", server(answer).await);
        Probe::new().unwrap().ask(&HealthCheck::Http { url }).await
    }

    #[tokio::test]
    async fn any_2xx_is_well() {
        for answer in [
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            "HTTP/1.1 204 No Content\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nuntil the end",
        ] {
            assert_eq!(ask(answer).await, Ok(()), "{answer:?}");
        }
    }

    #[tokio::test]
    async fn anything_else_is_not_and_the_query_is_not_repeated() {
        for (answer, part) in [
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "503"),
            ("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n", "302"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\ncut", ""),
            ("SSH-2.0-x\r\n", ""),
        ] {
            let why = ask(answer).await.expect_err(answer);
            assert!(why.contains(part) && why.contains("/health"), "{why}");
            assert!(!why.contains("s3cret"), "{why}");
        }
    }

    #[tokio::test]
    async fn silence_ends_at_the_limit() {
        let why = ask("").await.unwrap_err();
        assert!(why.ends_with("no answer within 2 s"), "{why}");
    }

    #[tokio::test]
    async fn an_endless_body_is_not_read_to_its_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let endless = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
            while stream.write_all(&[b'x'; 8192]).await.is_ok() {}
        });
        assert_eq!(Probe::new().unwrap().ask(&HealthCheck::Http { url }).await, Ok(()));
        timeout(QUESTION_LIMIT * 5, endless).await.expect("the probe hangs up").unwrap();
    }

    #[tokio::test]
    async fn a_port_that_accepts_is_well_and_one_that_refuses_is_not() {
        let probe = Probe::new().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(probe.ask(&HealthCheck::Tcp { port }).await, Ok(()));
        drop(listener);
        let why = probe.ask(&HealthCheck::Tcp { port }).await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
        let why = probe.ask(&HealthCheck::Http { url: format!("http://127.0.0.1:{port}/") }).await.unwrap_err();
        assert!(why.contains("refused"), "{why}");
    }

    #[tokio::test]
    async fn what_is_asked_elsewhere_is_never_well_from_here() {
        let probe = Probe::new().unwrap();
        assert!(probe.ask(&HealthCheck::Exec).await.is_err());
        assert!(probe.ask(&HealthCheck::Weak).await.is_err());
    }

    #[test]
    fn only_plain_http_on_loopback_is_asked() {
        for good in ["http://127.0.0.1:8080/health", "http://127.9.9.9/", "http://localhost:1/", "http://[::1]:80/x?y"]
        {
            assert!(loopback_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://10.0.0.1/",
            "http://0.0.0.0/",
            "http://172.17.0.2:8080/",
            "http://example.org/",
            "https://127.0.0.1/",
            "file:///etc/passwd",
            "http://127.0.0.1@evil.example/",
            "http://127.0.0.1.evil.example/",
            "http://localhost.evil.example/",
            "http://user:s3cret@127.0.0.1/",
            "http://[::ffff:127.0.0.1]/",
            "http://",
            "health",
            "",
        ] {
            let why = loopback_url(bad).expect_err(bad);
            assert!(!why.contains("s3cret"), "{why}");
        }
    }
}

//! The engine's calls that reach a registry: a question for a manifest, and a pull. They carry a login in a header, so
//! they go raw: no client of others sees it. A pull's answer is a stream of JSON lines behind a status of 200, and an
//! error may stand in any of them (docker-facts section 4).

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::docker_json::{JsonLines, json};
use super::docker_raw::{Endpoint, answered, asking, causes, encoded, refusal};
use super::engine::{EngineError, Heard};
use super::login::Login;

/// Longest silence within a pull. The engine reports each layer's progress several times a second while bytes come; it
/// says nothing while it unpacks a large layer or waits for a registry.
const SILENCE_LIMIT: Duration = Duration::from_secs(120);

/// Layers whose progress is counted; an image has at most 127.
const LAYERS_MAX: usize = 1_024;

/// Largest refusal that is read, in bytes.
const REFUSAL_MAX: usize = 256 * 1024;

impl Endpoint {
    /// `GET /distribution/{reference}/json`.
    pub(super) async fn distribution(
        &self,
        reference: &str,
        login: Option<&Login>,
        limit: Duration,
    ) -> Result<Value, EngineError> {
        let request = with_login(Method::GET, &format!("/distribution/{reference}/json"), login)?;
        let asked = self.talk(request, async |response: Response<Incoming>| {
            let status = response.status();
            let body = whole(response).await?;
            if !status.is_success() {
                return Err(refusal(status.as_u16(), &String::from_utf8_lossy(&body)));
            }
            json(&body)
        });
        // The engine itself answers at once: a silence is the registry's.
        timeout(limit, asked).await.unwrap_or_else(|_| Err(silent(limit)))
    }

    /// `POST /images/create` of a `repository@digest`.
    pub(super) async fn pull(
        &self,
        repository: &str,
        digest: &str,
        login: Option<&Login>,
        heard: &Heard<'_>,
    ) -> Result<(), EngineError> {
        let path = format!("/images/create?fromImage={}&tag={}", encoded(repository), encoded(digest));
        let request = with_login(Method::POST, &path, login)?;
        self.talk(request, async |response: Response<Incoming>| {
            let status = response.status();
            if !status.is_success() {
                return Err(refusal(status.as_u16(), &String::from_utf8_lossy(&whole(response).await?)));
            }
            let mut stream = Stream::default();
            let mut body = response.into_body();
            loop {
                let frame = match timeout(SILENCE_LIMIT, body.frame()).await {
                    Err(_) => return Err(silent(SILENCE_LIMIT)),
                    Ok(None) => return stream.end(),
                    Ok(Some(frame)) => frame.map_err(|e| EngineError::NoAnswer(causes(&e)))?,
                };
                if let Some(data) = frame.data_ref() {
                    stream.take(data, heard)?;
                }
            }
        })
        .await
    }

    /// Sends a request and lets `hear` have the answer while the connection is kept going. Whoever drops this hangs up,
    /// which ends a pull in the engine too.
    pub(super) async fn talk<T>(
        &self,
        request: Request<Full<Bytes>>,
        hear: impl AsyncFnOnce(Response<Incoming>) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        match self {
            Self::Unix(socket) => over(self.reach(UnixStream::connect(socket)).await?, request, hear).await,
            Self::Tcp(address) => over(self.reach(TcpStream::connect(address)).await?, request, hear).await,
        }
    }
}

async fn over<S, T>(
    stream: S,
    request: Request<Full<Bytes>>,
    hear: impl AsyncFnOnce(Response<Incoming>) -> Result<T, EngineError>,
) -> Result<T, EngineError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| EngineError::Unreachable(causes(&e)))?;
    let mut talk = pin!(async move {
        // A pull's head comes once the registry has answered the first question.
        let asked = async { sender.send_request(request).await.map_err(|e| EngineError::NoAnswer(causes(&e))) };
        let response = match timeout(SILENCE_LIMIT, asked).await {
            Err(_) => return Err(silent(SILENCE_LIMIT)),
            Ok(response) => response?,
        };
        hear(response).await
    });
    let mut connection = pin!(connection);
    tokio::select! {
        answer = &mut talk => answer,
        _ = &mut connection => talk.await,
    }
}

/// A short answer, such as a refusal.
pub(super) async fn whole(response: Response<Incoming>) -> Result<Bytes, EngineError> {
    let read = Limited::new(response.into_body(), REFUSAL_MAX).collect();
    let read = async { read.await.map_err(|e| EngineError::NoAnswer(causes(e.as_ref()))) };
    Ok(answered(SILENCE_LIMIT, read).await?.to_bytes())
}

fn silent(limit: Duration) -> EngineError {
    EngineError::Refused { status: 504, message: format!("nothing came for {} s: timed out", limit.as_secs()) }
}

fn with_login(method: Method, path: &str, login: Option<&Login>) -> Result<Request<Full<Bytes>>, EngineError> {
    let mut request = asking(method, path)?;
    if let Some(login) = login {
        let value = header::HeaderValue::from_str(login.header()).map(|mut v| {
            v.set_sensitive(true);
            v
        });
        let value =
            value.map_err(|_| EngineError::Refused { status: 400, message: "the login has no form".to_owned() })?;
        request.headers_mut().insert("X-Registry-Auth", value);
    }
    Ok(request)
}

/// The lines of a pull so far.
#[derive(Default)]
struct Stream {
    lines: JsonLines,
    /// Bytes come and wanted, by layer.
    layers: HashMap<String, (u64, u64)>,
    failed: Option<String>,
}

impl Stream {
    fn take(&mut self, data: &[u8], heard: &Heard<'_>) -> Result<(), EngineError> {
        for line in self.lines.take(data)? {
            self.line(&line, heard);
        }
        Ok(())
    }

    fn line(&mut self, line: &Value, heard: &Heard<'_>) {
        let failed = line.pointer("/errorDetail/message").or_else(|| line.get("error")).and_then(Value::as_str);
        if let Some(why) = failed {
            self.failed.get_or_insert_with(|| why.to_owned());
            return;
        }
        let number = |key: &str| line.pointer(&format!("/progressDetail/{key}")).and_then(Value::as_u64);
        if let (Some(layer), Some("Downloading"), Some(come)) =
            (line["id"].as_str(), line["status"].as_str(), number("current"))
        {
            if self.layers.len() < LAYERS_MAX || self.layers.contains_key(layer) {
                self.layers.insert(layer.to_owned(), (come, number("total").unwrap_or(come)));
            }
            let sum =
                |(c, w): (u64, u64), (come, wanted): &(u64, u64)| (c.saturating_add(*come), w.saturating_add(*wanted));
            let (come, wanted) = self.layers.values().fold((0, 0), sum);
            heard(come, wanted);
        }
    }

    /// The stream's end: an error in it is the pull's. A last line may come without its end.
    fn end(mut self) -> Result<(), EngineError> {
        if let Some(line) = self.lines.end() {
            self.line(&line, &|_, _| {});
        }
        match self.failed {
            // The stream has no status; the words say what it is.
            Some(message) => Err(refusal(500, &message)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    fn read(chunks: &[&str]) -> (Result<(), EngineError>, Vec<(u64, u64)>) {
        let heard = Mutex::new(Vec::new());
        let hear = |come: u64, wanted: u64| heard.lock().unwrap().push((come, wanted));
        let mut stream = Stream::default();
        for chunk in chunks {
            stream.take(chunk.as_bytes(), &hear).unwrap();
        }
        let end = stream.end();
        (end, heard.into_inner().unwrap())
    }

    #[test]
    fn progress_is_summed_over_layers_and_lines_may_come_in_pieces() {
        let (end, heard) = read(&[
            "{\"status\":\"Pulling from shop/api\",\"id\":\"sha256:aa\"}\n{\"status\":\"Downloading\",\"progressDet",
            "ail\":{\"current\":10,\"total\":100},\"id\":\"l1\"}\r\n",
            "{\"status\":\"Downloading\",\"progressDetail\":{\"current\":5,\"total\":50},\"id\":\"l2\"}\n",
            "{\"status\":\"Extracting\",\"progressDetail\":{\"current\":1,\"total\":1},\"id\":\"l2\"}\n",
        ]);
        assert_eq!(end, Ok(()));
        assert_eq!(heard, [(10, 100), (15, 150)]);
    }

    #[test]
    fn an_error_late_in_the_stream_is_the_pulls_end() {
        let late = "{\"status\":\"Downloading\"}\n{\"errorDetail\":{\"message\":\"toomanyrequests: slow down\"},\"error\":\"x\"}";
        for text in [late.to_owned(), format!("{late}\n{{\"status\":\"x\"}}\n")] {
            let (end, _) = read(&[&text]);
            let Err(EngineError::Refused { message, .. }) = end else { panic!("{end:?}") };
            assert_eq!(message, "toomanyrequests: slow down");
        }
    }

    #[test]
    fn numbers_beyond_all_measure_and_layers_without_end_are_neither_a_panic_nor_memory() {
        let line = |layer: &str| {
            format!(
                "{{\"status\":\"Downloading\",\"progressDetail\":{{\"current\":{0},\"total\":{0}}},\"id\":\"{layer}\"}}\n",
                u64::MAX
            )
        };
        let (end, heard) = read(&[&line("l1"), &line("l2")]);
        assert_eq!((end, heard.last()), (Ok(()), Some(&(u64::MAX, u64::MAX))));
        let mut stream = Stream::default();
        for n in 0..LAYERS_MAX + 100 {
            stream.take(line(&format!("l{n}")).as_bytes(), &|_, _| {}).unwrap();
        }
        assert_eq!(stream.layers.len(), LAYERS_MAX);
    }
}

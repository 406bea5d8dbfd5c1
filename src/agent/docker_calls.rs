//! bollard over connections of ours: it takes an answer into memory whole, so what may come over one connection is
//! counted beneath it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bollard::errors::Error as BollardError;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper::body::Incoming;
use hyper::{Response, Uri, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

use super::docker_raw::{Endpoint, causes, refusal};
use super::engine::EngineError;

/// Bytes that an answer to one of bollard's calls may have: they are ids, exit codes and refusals.
const ANSWER_MAX: usize = 1024 * 1024;

/// A bollard client for one call. Its own limit counts whole seconds and only to the head of the answer.
pub(super) fn bollard(endpoint: &Endpoint, limit: Duration) -> Result<Docker, EngineError> {
    let endpoint = endpoint.clone();
    let transport = move |request: BollardRequest| {
        let endpoint = endpoint.clone();
        async move { send(&endpoint, request).await }
    };
    let seconds = limit.as_secs().max(1);
    Docker::connect_with_custom_transport(transport, Some("http://docker"), seconds, API_DEFAULT_VERSION)
        .map_err(from_bollard)
}

async fn send(endpoint: &Endpoint, request: BollardRequest) -> Result<Response<Incoming>, BollardError> {
    match endpoint {
        Endpoint::Unix(socket) => {
            over(endpoint.reach(UnixStream::connect(socket)).await.map_err(carried)?, request).await
        }
        Endpoint::Tcp(address) => {
            over(endpoint.reach(TcpStream::connect(address)).await.map_err(carried)?, request).await
        }
    }
}

async fn over<S>(stream: S, mut request: BollardRequest) -> Result<Response<Incoming>, BollardError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    // To a server, not to a proxy: the path alone.
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let path: Uri = path.parse().map_err(|e| carried(refusal(400, &format!("{path} is not a path: {e}"))))?;
    *request.uri_mut() = path;
    request.headers_mut().insert(header::HOST, header::HeaderValue::from_static("docker"));
    request.headers_mut().insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    let stream = TokioIo::new(Counted { inner: stream, left: ANSWER_MAX });
    let unreachable = |e: hyper::Error| carried(EngineError::Unreachable(causes(&e)));
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.map_err(unreachable)?;
    // Ends with the answer, or when whoever waits for it has gone.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|e| carried(EngineError::NoAnswer(causes(&e))))
}

/// Takes our own error through bollard.
fn carried(error: EngineError) -> BollardError {
    BollardError::IOError { err: io::Error::other(error) }
}

/// Sorts bollard's errors by what is known about the call: not sent, perhaps done, refused.
pub(super) fn from_bollard(error: BollardError) -> EngineError {
    match error {
        BollardError::DockerResponseServerError { status_code, message } => refusal(status_code, &message),
        BollardError::RequestTimeoutError => EngineError::NoAnswer("none in time".to_owned()),
        BollardError::IOError { err } => match err.downcast::<EngineError>() {
            Ok(ours) => ours,
            Err(theirs) => EngineError::NoAnswer(causes(&theirs)),
        },
        other => EngineError::NoAnswer(causes(&other)),
    }
}

/// A connection on which no more than so many bytes are read.
struct Counted<S> {
    inner: S,
    left: usize,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled().len() - before;
        match self.left.checked_sub(read) {
            Some(left) => {
                self.left = left;
                Poll::Ready(Ok(()))
            }
            None => Poll::Ready(Err(io::Error::other(format!("it sent more than {ANSWER_MAX} bytes")))),
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

//! Where the engine that the tests use listens.

use std::path::PathBuf;

/// The socket of `DOCKER_HOST`, or the default one; `None` when the engine is behind TCP.
pub(crate) fn engine_socket() -> Option<PathBuf> {
    let host = std::env::var_os("DOCKER_HOST").and_then(|h| h.into_string().ok()).unwrap_or_default();
    match host.as_str() {
        "" => Some(PathBuf::from("/var/run/docker.sock")),
        host => host.strip_prefix("unix://").map(PathBuf::from),
    }
}

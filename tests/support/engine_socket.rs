//! Where the engine that the tests use listens.

use std::path::PathBuf;

/// The socket of `DOCKER_HOST`, or the default one; `None` when the engine is behind TCP.
pub(crate) fn engine_socket() -> Option<PathBuf> {
    match std::env::var("DOCKER_HOST").unwrap_or_default().as_str() {
        "" => Some(PathBuf::from("/var/run/docker.sock")),
        host => host.strip_prefix("unix://").map(PathBuf::from),
    }
}

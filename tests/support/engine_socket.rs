//! Where the engine that the tests use listens.

use std::path::PathBuf;

/// The socket of `DOCKER_HOST`, or the default one; `None` when the engine is behind TCP.
pub(crate) fn engine_socket() -> Option<PathBuf> {
    match std::env::var_os("DOCKER_HOST").and_then(|host| host.into_string().ok()).as_deref() {
        None | Some("") => Some(PathBuf::from("/var/run/docker.sock")),
        Some(host) => host.strip_prefix("unix://").map(PathBuf::from),
    }
}

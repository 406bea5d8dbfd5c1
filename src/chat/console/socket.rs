//! The socket file: made with its final mode under another name, then put in place in one step, so that it
//! never stands there with wider rights. A file left by a process that died is replaced; one that somebody
//! listens on is not.

use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::UnixListener;

/// Owner and group may speak; the group is how an installation says who (decision 30).
const MODE: u32 = 0o660;

/// Longest path of a Unix socket, in bytes (unix(7): 108 with its final zero).
const PATH_LIMIT: usize = 107;

/// Ending of the name under which the socket is prepared.
const PREPARED: &str = ".new";

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("{} is in use: another Sternway is running. Stop it first, or give this one another socket path", .0.display())]
    InUse(PathBuf),
    /// Something else is there.
    #[error("{} is there and is no socket; it was left alone. Move it away, or set another socket path", .0.display())]
    NotASocket(PathBuf),
    /// The path does not fit.
    #[error("the socket path {} is longer than {limit} bytes, which the system does not allow. Set a shorter one", path.display(), limit = PATH_LIMIT - PREPARED.len())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// The system said no.
    #[error("the socket {} could not be made ({doing}). Nothing listens; check that its folder exists and is writable for this user", path.display())]
    Io {
        /// The path.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why not.
        source: std::io::Error,
    },
}

/// A socket that is listened on. Its file is removed when this is dropped, unless another has taken its place.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    inode: (u64, u64),
}

impl Socket {
    /// Listens at `path`. Needs a tokio runtime.
    pub(super) fn bind(path: &Path) -> Result<Self, BindError> {
        let mut prepared = path.as_os_str().to_owned();
        prepared.push(PREPARED);
        let prepared = PathBuf::from(prepared);
        if prepared.as_os_str().len() > PATH_LIMIT {
            return Err(BindError::TooLong { path: path.to_owned() });
        }
        clear(path)?;
        clear(&prepared)?;

        let failed = |doing| move |source| BindError::Io { path: path.to_owned(), doing, source };
        remove_stale(&prepared).map_err(failed("removing what an earlier start left"))?;
        let listener = UnixListener::bind(&prepared).map_err(failed("binding it"))?;
        let placed = std::fs::set_permissions(&prepared, std::fs::Permissions::from_mode(MODE))
            .and_then(|()| std::fs::symlink_metadata(&prepared))
            .and_then(|meta| std::fs::rename(&prepared, path).map(|()| (meta.dev(), meta.ino())));
        match placed {
            Ok(inode) => Ok(Self { listener, path: path.to_owned(), inode }),
            Err(source) => {
                let _ = std::fs::remove_file(&prepared); // the first error is the one to tell
                Err(failed("putting it in place")(source))
            }
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|meta| (meta.dev(), meta.ino()) == self.inode);
        if ours {
            let _ = std::fs::remove_file(&self.path); // a file that stays is replaced by the next start
        }
    }
}

/// Whether a socket may be put at `path`: nothing is there, or a socket that nobody listens on.
fn clear(path: &Path) -> Result<(), BindError> {
    match std::fs::symlink_metadata(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(BindError::Io { path: path.to_owned(), doing: "looking at its place", source }),
        Ok(meta) if !meta.file_type().is_socket() => Err(BindError::NotASocket(path.to_owned())),
        Ok(_) if is_alive(path) => Err(BindError::InUse(path.to_owned())),
        Ok(_) => Ok(()),
    }
}

fn remove_stale(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Only a refused connection proves that nobody listens. Without waiting: a listener too busy to accept
/// lives, and would hold up a connect that waits.
fn is_alive(path: &Path) -> bool {
    let connect = || {
        let address = SocketAddrUnix::new(path)?;
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &address)
    };
    !matches!(connect(), Err(rustix::io::Errno::CONNREFUSED | rustix::io::Errno::NOENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_file_of_a_dead_process_is_replaced_and_that_of_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        // A listener dropped without removing its file is what kill -9 leaves.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = Socket::bind(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert!(matches!(Socket::bind(&path), Err(BindError::InUse(_))));
        drop(socket);
        assert!(!path.exists(), "the file goes with the socket");
    }

    #[tokio::test]
    async fn a_socket_that_took_our_place_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let old = Socket::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let _new = Socket::bind(&path).unwrap();
        drop(old);
        assert!(path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone_and_a_long_path_is_refused_in_words() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert!(matches!(Socket::bind(&file), Err(BindError::NotASocket(_))));
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "kept");

        let long = dir.path().join("x".repeat(120));
        let said = Socket::bind(&long).unwrap_err().to_string();
        assert!(said.contains("longer than 103 bytes"), "{said}");
    }
}

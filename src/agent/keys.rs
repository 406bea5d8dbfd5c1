//! The installation key and the MACs made with it: of settings and pins (so that the log can compare what it must
//! not hold, decision 10) and of our container labels (decision 16).
//!
//! The key is 32 random bytes in a file of the agent's own folder. Must never: leave that file, be shown, or be
//! made anew while the old one may still be needed — every MAC on record would stop to match.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use rustix::fs::{self, AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::Sha256;

use crate::domain::canonical;
use crate::domain::names::{ProjectName, ServiceName};

/// The key's file within the agent's folder.
pub const KEY_FILE: &str = "installation.key";

/// Length of the key in bytes: as long as SHA-256's output, beyond which HMAC gains nothing.
const KEY_LEN: usize = 32;

/// Keeps MACs of this program apart from any other use of the key.
const DOMAIN: &[u8] = b"sternway-mac-v1";

/// Our labels begin so; [`LABEL_MAC`] covers all of them.
pub const LABEL_PREFIX: &str = "io.sternway.";
/// The operation: one swap.
pub const LABEL_OP: &str = "io.sternway.op";
/// Id of the container that is replaced.
pub const LABEL_REPLACES: &str = "io.sternway.replaces";
/// The name it shall have in the end.
pub const LABEL_NAME: &str = "io.sternway.name";
/// The real restart policy, JSON.
pub const LABEL_RESTART: &str = "io.sternway.restart";
/// `stop-first` or `start-first`.
pub const LABEL_ORDER: &str = "io.sternway.order";
/// The release, for pins.
pub const LABEL_GENERATION: &str = "io.sternway.generation";
/// MAC over all the others.
pub const LABEL_MAC: &str = "io.sternway.mac";

/// The key could not be had. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// There is none yet.
    #[error(
        "there is no installation key at {0}. Start with an empty agent folder, or put the key back from your backup"
    )]
    Missing(PathBuf),
    /// Somebody else can read it, so its MACs prove nothing.
    #[error(
        "the installation key {path} can be read by others (mode {mode:o}, owner {owner}). Run: chmod 600 {path} and see that it belongs to the user Sternway runs as"
    )]
    Exposed {
        /// The file or its folder.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Its owner's uid.
        owner: u32,
    },
    /// It is not what we wrote.
    #[error("{path} is not an installation key: {why}. Put the key back from your backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The system refused.
    #[error("the installation key {path} cannot be {doing}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// `read`, `written`, …
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// What our labels on a container are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelVerdict {
    /// There are none.
    None,
    /// Made by this installation, for this service.
    Ours,
    /// Not: an alarm, never a reason to remove anything (decision 16).
    Forged,
}

/// The installation key. Prints as `***`.
#[derive(Clone)]
pub struct Keys {
    key: [u8; KEY_LEN],
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(***)")
    }
}

impl Keys {
    /// Reads the key of this folder.
    ///
    /// # Errors
    /// [`KeyError`]; in particular when anyone else can read it.
    pub fn load(folder: &Path) -> Result<Self, KeyError> {
        let path = folder.join(KEY_FILE);
        refuse_exposed(folder, OFlags::DIRECTORY)?;
        let file = match open(&path, OFlags::RDONLY) {
            Ok(file) => file,
            Err(Errno::NOENT) => return Err(KeyError::Missing(path)),
            Err(Errno::LOOP) => return Err(KeyError::Damaged { path, why: "it is a symbolic link" }),
            Err(e) => return Err(io_error(&path, "read", e)),
        };
        let stat = fs::fstat(&file).map_err(|e| io_error(&path, "read", e))?;
        refuse_mode(&path, stat.st_mode, stat.st_uid)?;
        let mut key = [0; KEY_LEN + 1];
        let mut read = 0;
        while read < key.len() {
            match rustix::io::read(&file, &mut key[read..]) {
                Ok(0) => break,
                Ok(n) => read += n,
                Err(Errno::INTR) => {}
                Err(e) => return Err(io_error(&path, "read", e)),
            }
        }
        if read != KEY_LEN {
            return Err(KeyError::Damaged { path, why: "it has not 32 bytes" });
        }
        let mut exact = [0; KEY_LEN];
        exact.copy_from_slice(&key[..KEY_LEN]);
        Ok(Self { key: exact })
    }

    /// Reads the key, or makes one if there is none: folder 0700, file 0600, durable before it is used. Two
    /// processes at once end with the same key.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn load_or_create(folder: &Path) -> Result<Self, KeyError> {
        match Self::load(folder) {
            Err(KeyError::Missing(_)) => {}
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                use std::os::unix::fs::DirBuilderExt;
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(folder)
                    .map_err(|source| KeyError::Io { path: folder.to_owned(), doing: "given a folder", source })?;
            }
            other => return other,
        }
        Self::create(folder)?;
        Self::load(folder)
    }

    fn create(folder: &Path) -> Result<(), KeyError> {
        let path = folder.join(KEY_FILE);
        refuse_exposed(folder, OFlags::DIRECTORY)?;
        let mut key = [0; KEY_LEN];
        let mut name = [0; 8];
        let random = |bytes: &mut [u8]| {
            getrandom::fill(bytes).map_err(|e| KeyError::Io {
                path: path.clone(),
                doing: "made from the system's random numbers",
                source: io::Error::other(e.to_string()),
            })
        };
        random(&mut key)?;
        random(&mut name)?;
        let written = |e| io_error(&path, "written", e);
        let dir = open(folder, OFlags::DIRECTORY).map_err(written)?;
        // Whole under another name first: a crash leaves no half key.
        let part = format!(".{KEY_FILE}.{}", hex::encode(name));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = fs::openat(&dir, part.as_str(), flags, Mode::RUSR | Mode::WUSR).map_err(written)?;
        let done = write_all(&file, &key)
            .and_then(|()| fs::fsync(&file))
            // A link, not a rename: it never replaces a key that another process made meanwhile.
            .and_then(|()| match fs::linkat(&dir, part.as_str(), &dir, KEY_FILE, AtFlags::empty()) {
                Err(Errno::EXIST) => Ok(()),
                other => other,
            });
        let unlinked = fs::unlinkat(&dir, part.as_str(), AtFlags::empty());
        done.and(unlinked).and_then(|()| fs::fsync(&dir)).map_err(written)
    }

    /// HMAC-SHA256, 64 hex digits. `use_of` says what the data is, so that a MAC of one thing is never one of
    /// another: `spec`, `pin`, ….
    pub fn mac(&self, use_of: &str, data: &[u8]) -> String {
        hex::encode(self.hmac(use_of, data).finalize().into_bytes())
    }

    /// Whether `mac` is that of the data; in constant time.
    pub fn verify(&self, use_of: &str, data: &[u8], mac: &str) -> bool {
        hex::decode(mac).is_ok_and(|mac| self.hmac(use_of, data).verify_slice(&mac).is_ok())
    }

    fn hmac(&self, use_of: &str, data: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(DOMAIN);
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        mac.update(&(use_of.len() as u64).to_be_bytes());
        mac.update(use_of.as_bytes());
        mac.update(data);
        mac
    }

    /// Adds [`LABEL_MAC`] to our labels for a container of this service. It covers every label of ours, so none can
    /// be added, changed or taken away, and the service, so none can be carried to another.
    pub fn sign_labels(&self, project: &ProjectName, service: &ServiceName, labels: &mut BTreeMap<String, String>) {
        let mac = self.mac("labels", &label_bytes(project, service, labels));
        labels.insert(LABEL_MAC.to_owned(), mac);
    }

    /// What our labels among a container's are worth.
    pub fn verify_labels(
        &self,
        project: &ProjectName,
        service: &ServiceName,
        labels: &BTreeMap<String, String>,
    ) -> LabelVerdict {
        if !labels.keys().any(|key| key.starts_with(LABEL_PREFIX)) {
            return LabelVerdict::None;
        }
        let right =
            labels.get(LABEL_MAC).is_some_and(|mac| self.verify("labels", &label_bytes(project, service, labels), mac));
        if right { LabelVerdict::Ours } else { LabelVerdict::Forged }
    }
}

/// Every label of ours but the MAC itself, with whose they are, in canonical form.
fn label_bytes(project: &ProjectName, service: &ServiceName, labels: &BTreeMap<String, String>) -> Vec<u8> {
    let ours: BTreeMap<&str, &str> = labels
        .iter()
        .filter(|(key, _)| key.starts_with(LABEL_PREFIX) && *key != LABEL_MAC)
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    let text = canonical::text(&(project, service, ours)).expect("texts alone always have a canonical form");
    text.into_bytes()
}

fn open(path: &Path, flags: OFlags) -> Result<rustix::fd::OwnedFd, Errno> {
    // NONBLOCK: a pipe in the key's place must not hang us.
    fs::open(path, flags | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())
}

fn write_all(file: &rustix::fd::OwnedFd, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(n) => bytes = &bytes[n..],
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn refuse_exposed(folder: &Path, flags: OFlags) -> Result<(), KeyError> {
    let dir = open(folder, flags).map_err(|e| io_error(folder, "read", e))?;
    let stat = fs::fstat(&dir).map_err(|e| io_error(folder, "read", e))?;
    refuse_mode(folder, stat.st_mode, stat.st_uid)
}

/// Only its owner may reach it, and that is us or root.
fn refuse_mode(path: &Path, mode: u32, owner: u32) -> Result<(), KeyError> {
    let us = rustix::process::geteuid().as_raw();
    if mode & 0o077 != 0 || (owner != us && owner != 0) {
        return Err(KeyError::Exposed { path: path.to_owned(), mode: mode & 0o7777, owner });
    }
    Ok(())
}

fn io_error(path: &Path, doing: &'static str, source: Errno) -> KeyError {
    KeyError::Io { path: path.to_owned(), doing, source: source.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        folder
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        let base = folder();
        let agent = base.path().join("deep/agent");
        let first = Keys::load_or_create(&agent).unwrap();
        assert_eq!((mode(&agent), mode(&agent.join(KEY_FILE))), (0o700, 0o600));
        let again = Keys::load_or_create(&agent).unwrap();
        assert_eq!(first.mac("spec", b"x"), again.mac("spec", b"x"));
        assert_eq!(std::fs::read_dir(&agent).unwrap().count(), 1, "no half-written file is left");
        assert_eq!(format!("{first:?}"), "Keys(***)");
    }

    #[test]
    fn a_key_that_others_can_read_or_that_is_not_one_is_refused() {
        let base = folder();
        let path = base.path().join(KEY_FILE);
        assert!(matches!(Keys::load(base.path()), Err(KeyError::Missing(_))));
        Keys::load_or_create(base.path()).unwrap();
        for bad in [0o640, 0o604, 0o660] {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(bad)).unwrap();
            assert!(matches!(Keys::load_or_create(base.path()), Err(KeyError::Exposed { .. })), "{bad:o}");
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o750)).unwrap();
        assert!(matches!(Keys::load(base.path()), Err(KeyError::Exposed { .. })), "the folder counts too");
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        for bad in [&b"short"[..], &[7; 33]] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(Keys::load_or_create(base.path()), Err(KeyError::Damaged { .. })));
        }
        std::fs::rename(&path, base.path().join("elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", &path).unwrap();
        assert!(matches!(Keys::load_or_create(base.path()), Err(KeyError::Damaged { .. })), "a link is not followed");
    }

    #[test]
    fn macs_of_different_uses_and_keys_are_different() {
        let keys = Keys { key: [1; KEY_LEN] };
        let mac = keys.mac("ab", b"c");
        assert_eq!(mac.len(), 64);
        assert_ne!(mac, keys.mac("a", b"bc"));
        assert_ne!(mac, Keys { key: [2; KEY_LEN] }.mac("ab", b"c"));
        assert!(keys.verify("ab", b"c", &mac));
        for bad in ["", "zz", &mac[..62], &mac.replace(&mac[..1], if &mac[..1] == "0" { "1" } else { "0" })] {
            assert!(!keys.verify("ab", b"c", bad), "{bad}");
        }
    }

    #[test]
    fn a_label_that_was_changed_added_removed_or_moved_is_forged() {
        let keys = Keys { key: [1; KEY_LEN] };
        let (shop, api) = (ProjectName::parse("shop").unwrap(), ServiceName::parse("api").unwrap());
        let mut labels = BTreeMap::from([
            (LABEL_OP.to_owned(), "r4-2".to_owned()),
            (LABEL_REPLACES.to_owned(), "abc".to_owned()),
            ("team".to_owned(), "shop".to_owned()),
        ]);
        keys.sign_labels(&shop, &api, &mut labels);
        assert_eq!(keys.verify_labels(&shop, &api, &labels), LabelVerdict::Ours);
        let with = |key: &str, value: Option<&str>| {
            let mut labels = labels.clone();
            labels.remove(key);
            labels.extend(value.map(|v| (key.to_owned(), v.to_owned())));
            keys.verify_labels(&shop, &api, &labels)
        };
        assert_eq!(with("team", Some("other")), LabelVerdict::Ours, "a label of the project is none of ours");
        assert_eq!(with(LABEL_OP, Some("r5-2")), LabelVerdict::Forged);
        assert_eq!(with(LABEL_REPLACES, None), LabelVerdict::Forged);
        assert_eq!(with("io.sternway.more", Some("")), LabelVerdict::Forged);
        assert_eq!(with(LABEL_MAC, None), LabelVerdict::Forged);
        let other = ServiceName::parse("web").unwrap();
        assert_eq!(keys.verify_labels(&shop, &other, &labels), LabelVerdict::Forged);
        assert_eq!(keys.verify_labels(&shop, &api, &BTreeMap::new()), LabelVerdict::None);
    }
}

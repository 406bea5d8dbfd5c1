//! Checkpoints (C2SP tlog-checkpoint): one signed sentence about the whole log, `this many records, with this root`.
//! Pure. The root is that of the RFC 6962 tree whose leaf n is the 32-byte hash of record n.
//!
//! Must never: sign a size that is not that of the tree it is given.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{SigningKey, VerifyingKey};

use super::Hash;
use super::line::LogId;
use super::merkle::Tree;
use super::note::{self, NoteError, Verifier};

/// Hex digits of a root in its short form, as it is posted in a chat.
const SHORT: usize = 16;

/// Fewest digits of a root that are compared: fewer prove nothing.
const SHORTEST: usize = 8;

/// What a checkpoint says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    /// How many records the log had: those from 0 on. A checkpoint on record stands at the position of that number.
    pub size: u64,
    /// Root of their tree.
    pub root: Hash,
}

impl Checkpoint {
    /// What a tree is at this moment.
    pub fn of(tree: &Tree) -> Self {
        Self { size: tree.size(), root: tree.root() }
    }

    /// The beginning of the root, as people compare it.
    pub fn short_root(&self) -> String {
        let mut hex = self.root.to_string();
        hex.truncate(SHORT);
        hex
    }
}

/// `412:a1b2c3d4e5f60718`, as `--checkpoint` takes it.
impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.size, self.short_root())
    }
}

/// The name of a log in its checkpoints, and of the key that signs them.
pub fn origin(log: LogId) -> String {
    format!("sternway/{log}")
}

/// The key of a log under its name.
pub fn verifier(log: LogId, key: VerifyingKey) -> Option<Verifier> {
    Verifier::new(&origin(log), key)
}

/// The first key that a genesis record names.
pub fn first_key(keys: &[String]) -> Option<VerifyingKey> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(keys.first()?, &mut bytes).ok()?;
    VerifyingKey::from_bytes(&bytes).ok()
}

/// Signs checkpoints of one log.
#[derive(Debug, Clone)]
pub struct Signer {
    log: LogId,
    key: SigningKey,
}

impl Signer {
    /// With that key, for that log.
    pub fn new(log: LogId, key: SigningKey) -> Self {
        Self { log, key }
    }

    /// The note about a tree.
    pub fn sign(&self, tree: &Tree) -> Option<String> {
        let Checkpoint { size, root } = Checkpoint::of(tree);
        let origin = origin(self.log);
        let text = format!("{origin}\n{size}\n{}\n", BASE64.encode(root.0));
        note::sign(&text, &origin, &self.key)
    }
}

/// Reads a note without proving its signature: whose it claims to be, and what it says.
///
/// # Errors
/// When it is no checkpoint.
pub fn read(note: &str) -> Result<(&str, Checkpoint), NoteError> {
    const BAD: NoteError = NoteError::Malformed("a checkpoint has an origin, a size and a root, a line each");
    let (text, _) = note::split(note)?;
    let mut lines = text.lines();
    let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
        return Err(BAD);
    };
    let plain = size.bytes().all(|b| b.is_ascii_digit()) && (size == "0" || !size.starts_with('0'));
    let size = size.parse().ok().filter(|_| plain).ok_or(BAD)?;
    let root = BASE64.decode(root).ok().and_then(|root| root.try_into().ok()).map(Hash).ok_or(BAD)?;
    Ok((origin, Checkpoint { size, root }))
}

/// A checkpoint that was kept elsewhere: the whole note, or what was posted in a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// The note.
    Note {
        /// As it was kept.
        note: String,
        /// The log it says it is about.
        origin: String,
        /// What it says.
        says: Checkpoint,
    },
    /// A size and the beginning of a root.
    Short {
        /// How many records.
        size: u64,
        /// Hex digits, lower case.
        root: String,
    },
}

impl Kept {
    /// Reads a note, `412:a1b2c3d4e5f60718`, or the line of a thread, `record 412 · a1b2c3d4e5f60718`.
    ///
    /// # Errors
    /// A sentence that says what it should look like.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim().contains('\n') {
            let (origin, says) = read(text).map_err(|e| e.to_string())?;
            return Ok(Self::Note { note: text.to_owned(), origin: origin.to_owned(), says });
        }
        let short = || {
            let text = text.trim();
            let text = text.strip_prefix("record").unwrap_or(text);
            let (size, root) = text.split_once([':', '·'])?;
            let (size, root) = (size.trim().parse().ok()?, root.trim().to_ascii_lowercase());
            let hex = (SHORTEST..=64).contains(&root.len()) && root.bytes().all(|b| b.is_ascii_hexdigit());
            hex.then_some(Self::Short { size, root })
        };
        short().ok_or_else(|| {
            format!("“{}” is no checkpoint, which looks like 412:a1b2c3d4e5f60718 or is a signed note", text.trim())
        })
    }

    /// How many records it is about.
    pub fn size(&self) -> u64 {
        match self {
            Self::Note { says, .. } => says.size,
            Self::Short { size, .. } => *size,
        }
    }

    /// Whether it says that root.
    pub fn has_root(&self, root: Hash) -> bool {
        match self {
            Self::Note { says, .. } => says.root == root,
            Self::Short { root: begin, .. } => root.to_string().starts_with(begin.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: LogId = LogId([0x5a; 16]);

    fn signer() -> Signer {
        Signer::new(LOG, SigningKey::from_bytes(&[7; 32]))
    }

    fn tree() -> Tree {
        let mut tree = Tree::default();
        for n in 0..412_u32 {
            tree.push(&n.to_be_bytes());
        }
        tree
    }

    #[test]
    fn a_checkpoint_says_the_log_the_size_and_the_root_and_reads_back() {
        let note = signer().sign(&tree()).expect("a name");
        let lines: Vec<&str> = note.lines().collect();
        assert_eq!(lines[..2], ["sternway/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a", "412"]);
        assert_eq!((lines.len(), lines[3]), (5, ""));
        let (origin, says) = read(&note).expect("a checkpoint");
        assert_eq!((origin, says), (lines[0], Checkpoint::of(&tree())));
        let verifier = verifier(LOG, SigningKey::from_bytes(&[7; 32]).verifying_key()).expect("a name");
        verifier.open(&note).expect("it is signed");
    }

    /// Made by Go's `golang.org/x/mod/sumdb/note` with the same key (`tests/golden/checkpoint.go`), which also opens ours:
    /// the note of the last lines of `tests/golden/records.jsonl`.
    const GO_KEY: &str =
        "sternway/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a+0b7ccf60+AepKbGPinFIKvvVQexMuxfmVR3auvr57kkIe6mkURtIs";
    const GO_NOTE: &str = "sternway/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a\n412\nULMS9cvHFnWfViDXOnzBFBVwc0n0Gwzgt897eAfsMdo=\n\n\u{2014} sternway/5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a C3zPYNfeQ/QhMBwgfZkO6tOlOHOWc/PtgjyqpZHyYVOoWgyvMcFgg8AOTS+zNBtgdHa0AceTtlWtYRFMERxOeV8nfgY=\n";

    #[test]
    fn a_checkpoint_signed_by_go_reads_as_ours_and_is_the_one_that_we_would_sign() {
        let verifier: Verifier = GO_KEY.parse().expect("a key");
        let key = SigningKey::from_bytes(&[7; 32]);
        assert_eq!(Some(&verifier), super::verifier(LOG, key.verifying_key()).as_ref());
        let text = verifier.open(GO_NOTE).expect("it is signed");
        assert_eq!(note::sign(text, &origin(LOG), &key).as_deref(), Some(GO_NOTE));
        let (origin, says) = read(GO_NOTE).expect("a checkpoint");
        assert_eq!((origin, says.size, says.short_root().as_str()), (verifier.name(), 412, "50b312f5cbc71675"));
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let note = signer().sign(&tree()).expect("a name");
        for (from, to) in [("412", "0412"), ("412", "+412"), ("412", "4 12"), ("412", ""), ("\n412", "")] {
            assert!(read(&note.replacen(from, to, 1)).is_err(), "{to:?} for {from:?}");
        }
        let root = note.lines().nth(2).expect("a root");
        assert!(read(&note.replacen(root, &root[4..], 1)).is_err());
    }

    #[test]
    fn what_was_kept_is_a_note_or_its_short_form_or_the_line_of_a_thread() {
        let note = signer().sign(&tree()).expect("a name");
        let says = Checkpoint::of(&tree());
        let kept = Kept::parse(&note).expect("a note");
        assert_eq!((kept.size(), kept.has_root(says.root), kept.has_root(Hash::ZERO)), (412, true, false));
        for text in [says.to_string(), format!("record 412 · {}\n", says.short_root()), format!("412:{}", says.root)] {
            let kept = Kept::parse(&text).unwrap_or_else(|e| panic!("{e}"));
            assert_eq!(
                (kept.size(), kept.has_root(says.root), kept.has_root(Hash::ZERO)),
                (412, true, false),
                "{text}"
            );
        }
        for bad in ["", "412", "412:", "412:a1b2c3", "x:a1b2c3d4", "412:a1b2c3d4x", "-1:a1b2c3d4", "a\nb\n"] {
            assert!(Kept::parse(bad).is_err(), "{bad:?}");
        }
    }
}

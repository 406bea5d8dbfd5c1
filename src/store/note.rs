//! Signed notes (C2SP signed-note): a text, an empty line, and signature lines that name their key. Pure.
//!
//! The form that the tools around transparency logs read: Go's `golang.org/x/mod/sumdb/note`, witnesses, monitors.
//! Must never: look at what the text says (that is `checkpoint`), or take a signature on trust.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

/// Number of Ed25519 among the kinds of signatures.
const ED25519: u8 = 1;

/// What a signature line begins with: an em dash and a blank.
const DASH: &str = "\u{2014} ";

/// Most signature lines that are looked at; a note with more is nobody's.
const SIGNATURES_MAX: usize = 100;

/// A public key with its name: `name+hash+key`, as `--key` takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: VerifyingKey,
}

/// Why a text is no note, or not one of that key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It has another form.
    #[error("it is no signed note: {0}")]
    Malformed(&'static str),
    /// Nobody we know signed it.
    #[error("it has no signature of {0}")]
    NotSigned(String),
    /// It says that the key signed it, but the key did not.
    #[error("its signature is not that of {0}: it was changed, or signed with another key")]
    Forged(String),
}

/// A text that is not a verifier key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "that is no verifier key: {0}. It looks like NAME+8 hex digits+base64; `sternway audit checkpoint --key` prints it"
)]
pub struct NotAKey(&'static str);

impl Verifier {
    /// A key under a name. `None` when no such name can stand in a note.
    pub fn new(name: &str, key: VerifyingKey) -> Option<Self> {
        let fits = !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control());
        fits.then(|| Self { name: name.to_owned(), key })
    }

    /// Whose key it is.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key itself.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// Four bytes by which a signature line says which key of that name it is of.
    fn id(&self) -> [u8; 4] {
        let mut hasher = Sha256::new();
        hasher.update(self.name.as_bytes());
        hasher.update([b'\n', ED25519]);
        hasher.update(self.key.as_bytes());
        let [a, b, c, d, ..] = <[u8; 32]>::from(hasher.finalize());
        [a, b, c, d]
    }

    /// The text of a note that this key has signed. Signatures of others are left aside.
    ///
    /// # Errors
    /// When it is no note, or this key has not signed it.
    pub fn open<'a>(&self, note: &'a str) -> Result<&'a str, NoteError> {
        let (text, lines) = split(note)?;
        let mut forged = false;
        for line in lines {
            let (name, bytes) = signature(line)?;
            let Some((id, signature)) = bytes.split_at_checked(4) else { continue };
            if name != self.name || id != self.id() {
                continue;
            }
            let signature = Signature::from_slice(signature);
            match signature.is_ok_and(|signature| self.key.verify_strict(text.as_bytes(), &signature).is_ok()) {
                true => return Ok(text),
                false => forged = true,
            }
        }
        match forged {
            true => Err(NoteError::Forged(self.name.clone())),
            false => Err(NoteError::NotSigned(self.name.clone())),
        }
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519];
        key.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{}+{}", self.name, hex::encode(self.id()), BASE64.encode(key))
    }
}

impl FromStr for Verifier {
    type Err = NotAKey;

    fn from_str(text: &str) -> Result<Self, NotAKey> {
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(NotAKey("it has no three parts"));
        };
        let key = BASE64.decode(key).map_err(|_| NotAKey("its last part is not base64"))?;
        let key = match key.split_first() {
            Some((&ED25519, key)) => <[u8; 32]>::try_from(key).ok().and_then(|key| VerifyingKey::from_bytes(&key).ok()),
            _ => None,
        };
        let verifier = key.and_then(|key| Self::new(name, key)).ok_or(NotAKey("it holds no Ed25519 key"))?;
        match hex::encode(verifier.id()) == id {
            true => Ok(verifier),
            false => Err(NotAKey("its parts do not belong together")),
        }
    }
}

/// The note that says `text`, signed. `text` has to end with a newline and has no empty line at its end.
pub fn sign(text: &str, name: &str, key: &SigningKey) -> Option<String> {
    let verifier = Verifier::new(name, key.verifying_key())?;
    let mut bytes = verifier.id().to_vec();
    bytes.extend_from_slice(&key.sign(text.as_bytes()).to_bytes());
    Some(format!("{text}\n{DASH}{name} {}\n", BASE64.encode(bytes)))
}

/// The text, newline included, and the signature lines.
pub(crate) fn split(note: &str) -> Result<(&str, impl Iterator<Item = &str>), NoteError> {
    if note.contains(|c: char| c != '\n' && c.is_ascii_control()) {
        return Err(NoteError::Malformed("there is a control character in it"));
    }
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed("no empty line stands before its signatures"))?;
    let (text, rest) = note.split_at(at + 1);
    let lines = rest.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
    let lines = lines.filter(|l| !l.is_empty()).ok_or(NoteError::Malformed("it does not end with a signature line"))?;
    if lines.split('\n').count() > SIGNATURES_MAX {
        return Err(NoteError::Malformed("it has too many signatures"));
    }
    Ok((text, lines.split('\n')))
}

/// The name and the bytes of a signature line.
fn signature(line: &str) -> Result<(&str, Vec<u8>), NoteError> {
    const BAD: NoteError = NoteError::Malformed("a signature line of it has another form");
    let (name, bytes) = line.strip_prefix(DASH).and_then(|rest| rest.split_once(' ')).ok_or(BAD)?;
    let bytes = BASE64.decode(bytes).map_err(|_| BAD)?;
    match name.is_empty() || bytes.len() < 5 {
        true => Err(BAD),
        false => Ok((name, bytes)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The key, the verifier key and the note of the documentation of Go's package `note`.
    const GO_KEY: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
    const GO_NOTE: &str = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

    fn key() -> SigningKey {
        SigningKey::from_bytes(&[7; 32])
    }

    #[test]
    fn a_note_that_go_signed_is_opened_with_the_key_as_go_writes_it() {
        let verifier: Verifier = GO_KEY.parse().expect("a key");
        assert_eq!((verifier.name(), verifier.to_string().as_str()), ("PeterNeumann", GO_KEY));
        let text = verifier.open(GO_NOTE).expect("it is signed");
        assert!(text.ends_with("what your problem is.\n"), "{text}");
    }

    #[test]
    fn what_is_signed_opens_with_that_key_and_name_alone() {
        let note = sign("one\ntwo\n", "log.example/1", &key()).expect("a name");
        let verifier = Verifier::new("log.example/1", key().verifying_key()).expect("a name");
        assert_eq!(verifier.open(&note), Ok("one\ntwo\n"));
        assert_eq!(verifier.to_string().parse::<Verifier>(), Ok(verifier.clone()));

        let other_name = Verifier::new("log.example/2", key().verifying_key()).expect("a name");
        assert_eq!(other_name.open(&note), Err(NoteError::NotSigned("log.example/2".to_owned())));
        let other_key = Verifier::new("log.example/1", SigningKey::from_bytes(&[8; 32]).verifying_key());
        assert!(matches!(other_key.expect("a name").open(&note), Err(NoteError::NotSigned(_))));
        assert_eq!(verifier.open(&note.replacen("one", "six", 1)), Err(NoteError::Forged("log.example/1".to_owned())));
        // Somebody else's signature beside it, as witnesses add them, changes nothing.
        let cosigned = format!("{note}{}", GO_NOTE.lines().last().expect("a line").to_owned() + "\n");
        assert_eq!(verifier.open(&cosigned), Ok("one\ntwo\n"));
    }

    #[test]
    fn what_is_no_note_or_no_key_is_refused() {
        let verifier = Verifier::new("n", key().verifying_key()).expect("a name");
        let note = sign("one\n", "n", &key()).expect("a name");
        for bad in
            ["", "\n\n", "one\n", "one\n\n", "one\n\n\u{2014} n\n", "one\n\n- n AAAAAAA=\n", "one\n\n\u{2014} n !\n"]
        {
            assert!(matches!(verifier.open(bad), Err(NoteError::Malformed(_))), "{bad:?}");
        }
        for bad in [note.trim_end(), &note.replacen("one", "o\u{1}e", 1), &format!("{note}\n")] {
            assert!(matches!(verifier.open(bad), Err(NoteError::Malformed(_))), "{bad:?}");
        }
        for bad in ["", "a b", "a+b", "\u{7}"] {
            assert!(Verifier::new(bad, key().verifying_key()).is_none(), "{bad:?}");
        }
        let good = verifier.to_string();
        for bad in ["", "n", "n+00000000+AQ==", &good.replacen("n+", "m+", 1), &good[..good.len() - 4]] {
            assert!(bad.parse::<Verifier>().is_err(), "{bad:?}");
        }
    }
}

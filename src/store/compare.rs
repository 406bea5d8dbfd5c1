//! The log beside a checkpoint that was kept elsewhere: what the files alone cannot show, a cut end and a whole that was
//! written anew.

use std::fmt;
use std::path::PathBuf;

use super::Hash;
use super::checkpoint::{Checkpoint, Kept, origin};
use super::note::Verifier;
use super::verify::{Damage, Verified, verify_watching};

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Comparison {
    /// The log begins with what the checkpoint is about.
    Consistent {
        /// How many records that are.
        size: u64,
    },
    /// The log is shorter.
    Cut {
        /// Records it has.
        has: u64,
        /// Records it had.
        says: u64,
    },
    /// It has that many records, but others.
    Rewritten {
        /// At that size it has this root.
        here: Checkpoint,
        /// The checkpoint's root, as much of it as is known.
        says: String,
    },
    /// The checkpoint is about another log.
    OtherLog {
        /// The one here.
        here: String,
        /// The one it is about.
        says: String,
    },
    /// The log here names another key than the one that is trusted.
    OtherKey {
        /// The one that is trusted.
        trusted: String,
    },
    /// The checkpoint itself is not to be trusted.
    NotSigned {
        /// Why.
        why: String,
    },
}

impl Comparison {
    /// Whether the log is the one that the checkpoint knew, with whatever came since.
    pub fn is_consistent(&self) -> bool {
        matches!(self, Self::Consistent { .. })
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consistent { size } => {
                write!(f, "consistent: the log begins with the very {size} records of the checkpoint")
            }
            Self::Cut { has, says } => {
                write!(f, "CUT: the log has {has} records, the checkpoint says {says}: its end was removed")
            }
            Self::Rewritten { here, says } => write!(
                f,
                "REWRITTEN: of its first {} records the log has the root {}, the checkpoint says {says}: they were written anew",
                here.size,
                here.short_root()
            ),
            Self::OtherLog { here, says } => {
                write!(f, "ANOTHER LOG: this one is {here}, the checkpoint is about {says}")
            }
            Self::OtherKey { trusted } => write!(
                f,
                "ANOTHER KEY: the log's first record does not name {trusted}: the log was begun anew or written anew"
            ),
            Self::NotSigned { why } => write!(f, "NOT TO BE TRUSTED: the checkpoint that you gave: {why}"),
        }
    }
}

/// Verifies a log and compares it. With `trusted`, only checkpoints and logs of that key are taken; without it, the key
/// that the log's own first record names.
///
/// # Errors
/// The first bad line of the log itself.
pub fn verify_against(
    paths: &[PathBuf],
    kept: &Kept,
    trusted: Option<&Verifier>,
) -> Result<(Verified, Comparison), Damage> {
    let (verified, there) = verify_watching(paths, Some(kept.size()))?;
    let comparison = compare(kept, trusted, &verified, there);
    Ok((verified, comparison))
}

fn compare(kept: &Kept, trusted: Option<&Verifier>, verified: &Verified, there: Option<Hash>) -> Comparison {
    let here = origin(verified.log_id);
    if let Kept::Note { origin, .. } = kept
        && *origin != here
    {
        return Comparison::OtherLog { here, says: origin.clone() };
    }
    if let Some(trusted) = trusted {
        if trusted.name() != here {
            return Comparison::OtherLog { here, says: trusted.name().to_owned() };
        }
        if verified.verifier.as_ref() != Some(trusted) {
            return Comparison::OtherKey { trusted: trusted.to_string() };
        }
    }
    if let Kept::Note { note, .. } = kept {
        let signed = match &verified.verifier {
            Some(verifier) => verifier.open(note).map(|_| ()).map_err(|e| e.to_string()),
            None => Err("the log's first record names no key".to_owned()),
        };
        if let Err(why) = signed {
            return Comparison::NotSigned {
                why: format!(
                    "{why}. Either it was changed, or the log was begun anew with another key: compare the key that you kept with --key"
                ),
            };
        }
    }
    let size = kept.size();
    match there {
        _ if size > verified.records => Comparison::Cut { has: verified.records, says: size },
        Some(root) if kept.has_root(root) => Comparison::Consistent { size },
        Some(root) => {
            let says = match kept {
                Kept::Note { says, .. } => says.short_root(),
                Kept::Short { root, .. } => root.clone(),
            };
            Comparison::Rewritten { here: Checkpoint { size, root }, says }
        }
        None => Comparison::NotSigned { why: "it is about no records at all".to_owned() },
    }
}

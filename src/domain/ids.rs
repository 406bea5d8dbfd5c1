//! Short, speakable ids. Each is the log position of the record that created the thing (decision 3),
//! so an id can be said over the phone and found in the log without a look-up.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place in the log: 0 is genesis, then 1, 2, 3 … without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct Position(pub u64);

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Why a text is not an id of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("“{text}” is not {wanted}, which looks like {example}")]
pub struct NotAnId {
    /// What was given.
    pub text: String,
    /// The kind that was wanted, with its article.
    pub wanted: &'static str,
    /// A valid example.
    pub example: &'static str,
}

macro_rules! speakable_id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal, $wanted:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub Position);

        impl $name {
            /// Reads the spoken form; upper case is accepted because phones capitalise.
            pub fn parse(text: &str) -> Result<Self, NotAnId> {
                text.to_ascii_lowercase()
                    .strip_prefix($prefix)
                    .filter(|digits| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
                    .and_then(|digits| digits.parse().ok())
                    .map(|n| Self(Position(n)))
                    .ok_or_else(|| NotAnId { text: text.to_owned(), wanted: $wanted, example: $example })
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0.0)
            }
        }

        impl FromStr for $name {
            type Err = NotAnId;
            fn from_str(text: &str) -> Result<Self, NotAnId> {
                Self::parse(text)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let text = String::deserialize(d)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}

speakable_id!(
    /// One accepted request to change something and all that came of it: `r42`.
    RunId, "r", "a run", "r42"
);
speakable_id!(
    /// One question to the approvers about one plan: `a45`.
    ApprovalId, "a", "an approval", "a45"
);
speakable_id!(
    /// One image a service has run: `rel17`.
    ReleaseId, "rel", "a release", "rel17"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_spoken() {
        assert_eq!(RunId::parse("R42").unwrap().to_string(), "r42");
        assert_eq!(ReleaseId::parse("rel17").unwrap().0, Position(17));
        for bad in ["", "r", "42", "r-1", "r4 2", "rel17", "r99999999999999999999999"] {
            assert!(RunId::parse(bad).is_err(), "{bad:?} must not be a run id");
        }
    }
}

//! Names that were checked once. A string stops being a string at the door.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest name we take. Docker's own limit for a container name is 255; shorter keeps cards readable.
pub const NAME_MAX: usize = 63;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Nothing was given.
    #[error("a {what} name cannot be empty")]
    Empty {
        /// What kind of name was wanted.
        what: &'static str,
    },
    /// Longer than [`NAME_MAX`].
    #[error("a {what} name has at most {NAME_MAX} characters")]
    TooLong {
        /// What kind of name was wanted.
        what: &'static str,
    },
    /// A character that no name of this kind has.
    #[error(
        "a {what} name has letters, digits, `-`, `_` and `.`, and begins with a letter or digit; “{bad}” is not one of them"
    )]
    BadCharacter {
        /// What kind of name was wanted.
        what: &'static str,
        /// The first character that does not belong.
        bad: char,
    },
}

fn check(what: &'static str, text: &str) -> Result<(), BadName> {
    let Some(first) = text.chars().next() else {
        return Err(BadName::Empty { what });
    };
    if !first.is_ascii_alphanumeric() {
        return Err(BadName::BadCharacter { what, bad: first });
    }
    if let Some(bad) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-_.".contains(*c))) {
        return Err(BadName::BadCharacter { what, bad });
    }
    if text.len() > NAME_MAX {
        return Err(BadName::TooLong { what });
    }
    Ok(())
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Checks and takes the text.
            pub fn parse(text: &str) -> Result<Self, BadName> {
                check($what, text)?;
                Ok(Self(text.to_owned()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
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

name!(
    /// A stack as the config calls it.
    StackName, "stack"
);
name!(
    /// A Docker host as the config calls it.
    HostName, "host"
);
name!(
    /// A Compose project, as its containers' labels say.
    ProjectName, "project"
);
name!(
    /// A service of a Compose project.
    ServiceName, "service"
);
name!(
    /// A person, whatever accounts they use.
    PersonId, "person"
);
name!(
    /// A role that the config gives to people.
    RoleName, "role"
);

/// What an image *is*, over platform, layers and config; the same in both image stores and after
/// save and load (decision 4, docker-facts section 3). 64 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Fingerprint(String);

impl Fingerprint {
    /// Takes 64 lower-case hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 64 && text.bytes().all(hex)).then(|| Self(text.to_owned()))
    }

    /// All 64 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits: what a person reads.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Fingerprint {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a fingerprint has 64 lower-case hex digits"))
    }
}

/// One placement of a stack: what locks, approvals, runs and releases belong to (decision 1).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Target {
    /// The stack.
    pub stack: StackName,
    /// The host it is placed on.
    pub host: HostName,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.stack, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_be_an_option_or_a_path_is_refused() {
        for bad in ["", "-rf", "../etc", "a b", "api;reboot", "a\u{202e}b", "$(id)", &"x".repeat(64)] {
            assert!(ServiceName::parse(bad).is_err(), "{bad:?} must be refused");
        }
        for good in ["api", "web-1", "my_app.v2", "0"] {
            assert_eq!(ServiceName::parse(good).unwrap().as_str(), good);
        }
    }
}

//! Who acts. Accounts are what a platform knows; a person is what approvals are counted by (decision 2).

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::{PersonId, RoleName};

/// Where a person stands when they speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Surface {
    /// The terminal chat.
    Console,
    /// A Slack workspace.
    Slack,
    /// A Discord guild.
    Discord,
    /// The web dashboard.
    Web,
    /// A monitor; not a person.
    Trigger,
}

impl Surface {
    /// The name used in config and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Surface::Console => "console",
            Surface::Slack => "slack",
            Surface::Discord => "discord",
            Surface::Web => "web",
            Surface::Trigger => "trigger",
        }
    }
}

/// An account on one surface, by the id that the platform vouches for (never a display name).
/// On the console the id is the peer's user id as the kernel told it: `uid:1000`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Account {
    /// The surface.
    pub surface: Surface,
    /// The platform's own id.
    pub id: String,
    /// What else is known and worth keeping for the record, such as `pid 311, login uid 1000`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Account {
    /// Whether both are the same account; the detail differs from one connection to the next.
    pub fn is(&self, other: &Account) -> bool {
        self.surface == other.surface && self.id == other.id
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.surface.as_str(), self.id)
    }
}

/// A person that the config knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their id, used in records.
    pub id: PersonId,
    /// What they may do.
    pub roles: BTreeSet<RoleName>,
    /// Every account that is theirs, as `surface` and id.
    pub accounts: Vec<(Surface, String)>,
}

/// Who asked for something.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Actor {
    /// A person.
    Person(PersonId),
    /// A monitor, by its name in the config.
    Trigger(String),
    /// Sternway itself, at start or when a time limit passes.
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Person(id) => write!(f, "{id}"),
            Actor::Trigger(name) => write!(f, "trigger {name}"),
            Actor::System => f.write_str("sternway"),
        }
    }
}

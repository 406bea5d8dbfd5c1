//! Who said what, where; before anyone judged it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::actor::{Account, Surface};
use super::ids::RunId;

/// A place where people talk: a channel of one surface. The console has one channel, `console`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The surface.
    pub surface: Surface,
    /// The platform's id of the channel.
    pub channel: String,
    /// The run in whose thread it was said, if in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<RunId>,
}

/// One thing said to Sternway: a typed command or a pressed button, which comes as the command it stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invocation {
    /// The platform's own id of this delivery; the same command delivered twice has the same key.
    pub event: String,
    /// The account, as vouched for by the platform or the kernel.
    pub account: Account,
    /// Where it was said.
    pub place: Place,
    /// The words as typed, `/` included.
    pub text: String,
    /// When it reached us.
    pub at: Timestamp,
}

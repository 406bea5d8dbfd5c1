//! Ears and mouths. A surface turns what its platform delivers into [`Invocation`]s for the one queue, and
//! says what it is handed. It never decides anything and has never heard of Docker, the gate or the log.

pub mod console;
pub mod outbox;
pub mod sim;

use std::sync::Arc;

use tokio::sync::mpsc;

use crate::domain::actor::{Account, Surface};
use crate::domain::card::Card;
use crate::domain::ids::RunId;
use crate::domain::invocation::{Invocation, Place};

/// Invocations that may wait for dispatch. When full the person is told `busy, try again` at once.
pub const INTAKE_CAPACITY: usize = 256;

/// Where surfaces put what they heard.
pub type Intake = mpsc::Sender<Invocation>;

/// Names one message, the same on every try: platforms that can will not show it twice.
/// Made from log position and surface, such as `r42/card`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageKey(pub String);

/// Why a message is not there.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ChatError {
    /// It may be there; the platform did not answer.
    #[error("no answer from the platform: {0}")]
    Unknown(String),
    /// Not now; try again after that many milliseconds.
    #[error("the platform asks to wait {0} ms")]
    Later(u64),
    /// Never: the place is gone, or the platform refuses this message.
    #[error("{0}")]
    Refused(String),
}

/// A mouth. Each call may wait for the platform, but not longer than its own time limit.
#[async_trait::async_trait]
pub trait Chat: Send + Sync + 'static {
    /// Which surface this is.
    fn surface(&self) -> Surface;

    /// Tells the platform that a delivery arrived; promises nothing (decision 26).
    async fn acknowledge(&self, invocation: &Invocation) -> Result<(), ChatError>;

    /// A new message in a place, the head of the run's thread.
    async fn post(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError>;

    /// The message with this key now reads like this.
    async fn edit(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError>;

    /// A message in the run's thread, for what must stay visible.
    async fn reply(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError>;

    /// A question with buttons in the run's thread.
    async fn ask(&self, place: &Place, run: RunId, key: &MessageKey, card: &Card) -> Result<(), ChatError>;

    /// Something everybody in a place has to know that belongs to no run: Sternway itself is in trouble, or is well
    /// again.
    async fn notice(&self, place: &Place, key: &MessageKey, card: &Card) -> Result<(), ChatError>;

    /// Seen only by the account that made the invocation.
    async fn answer(&self, invocation: &Invocation, card: &Card) -> Result<(), ChatError>;
}

/// One suggestion while typing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// What would stand in place of the word under the cursor.
    pub text: String,
    /// A few words about it.
    pub about: String,
}

/// Look-ups for completions and pickers: a path of their own, answered from memory, without records.
pub trait Lookup: Send + Sync + 'static {
    /// Suggestions for the word that ends at `cursor` (byte offset) of `line`.
    fn complete(&self, account: &Account, place: &Place, line: &str, cursor: usize) -> Vec<Completion>;

    /// Who the surface should greet: the person's id and the stack bound to the place, or why nobody.
    fn greet(&self, account: &Account, place: &Place) -> Result<String, String>;
}

/// Any look-up.
pub type SharedLookup = Arc<dyn Lookup>;

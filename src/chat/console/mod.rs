//! The terminal chat: a full third surface, for trying Sternway out and for the day the chat platforms are
//! down. The bot listens on a Unix socket (`server`), `sternway console` attaches to it (`client`, at a
//! keyboard through `terminal`), and both speak the JSON lines of `protocol`.
//!
//! The kernel vouches for who speaks (decision 30); nothing a client says about itself is believed, except
//! in the demo. Must never: decide what somebody may do, let bytes from outside reach a terminal as an escape
//! sequence, or let a slow or hostile client hold up the bot or another client.

pub mod client;
pub mod draw;
mod link;
pub mod peer;
pub mod protocol;
mod room;
mod script;
mod seat;
pub mod server;
mod socket;
mod terminal;

/// The only channel of this surface.
pub const CHANNEL: &str = "console";

//! Conversations with the whole bot on a simulated night: who says what, what they are told, what is on record and what
//! stands on the host afterwards. Each test's name is the sentence it proves.
//!
//! Ids, digests and installation secrets differ from night to night, so snapshots show them masked (`cast::masked`).

#![allow(clippy::unwrap_used, clippy::panic)] // tests

#[path = "support/night.rs"]
mod night;

#[path = "laws/hands.rs"]
#[allow(dead_code)]
mod hands;

#[path = "stories/broken_hands.rs"]
mod broken_hands;

#[path = "stories/cast.rs"]
mod cast;

#[path = "stories/faulty_log.rs"]
mod faulty_log;

#[path = "stories/whole.rs"]
mod whole;

#[path = "stories/votes.rs"]
mod votes;

#[path = "stories/endings.rs"]
mod endings;

#[path = "stories/moved.rs"]
mod moved;

#[path = "stories/refusals.rs"]
mod refusals;

#[path = "stories/targets.rs"]
mod targets;

#[path = "stories/waiting.rs"]
mod waiting;

#[path = "stories/again.rs"]
mod again;

#[path = "stories/record.rs"]
mod record;

#[path = "stories/witness.rs"]
mod witness;

#[path = "stories/stuck.rs"]
mod stuck;

#[path = "stories/followed.rs"]
mod followed;
#[path = "stories/gone.rs"]
mod gone;
#[path = "stories/restarting.rs"]
mod restarting;
#[path = "stories/shapes.rs"]
mod shapes;

#[path = "stories/chat.rs"]
mod chat;

#[path = "stories/stops.rs"]
mod stops;

#[path = "stories/keeping.rs"]
mod keeping;

#[path = "stories/pulling.rs"]
mod pulling;

#[path = "stories/releases.rs"]
mod releases;

#[path = "stories/looks.rs"]
mod looks;

#[path = "stories/hostile.rs"]
mod hostile;

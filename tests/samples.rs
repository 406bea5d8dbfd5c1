//! Compose projects that nobody here wrote: three public samples, in our own reduced words and with images that stand in
//! for theirs under the same names, deployed by Compose 1.29 and 2.26, spoilt as such a project is spoilt, rolled back,
//! brought up again by the team, and taken back. What was met in each stands in docs/support.md.
//!
//! Without an engine or a compose it says `SKIPPED`, and fails where `CI` is set.

// Helpers of tests fail like tests.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "support/real_engine.rs"]
mod real_engine;

#[path = "next_up/composes.rs"]
mod composes;

#[path = "samples/built.rs"]
mod built;
#[path = "samples/moved.rs"]
mod moved;
#[path = "samples/voting.rs"]
mod voting;
#[path = "samples/world.rs"]
mod world;

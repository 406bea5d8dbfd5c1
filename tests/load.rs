//! Many at once: a burst of commands, and a run on every stack of a town. What may not happen under load is tested here;
//! how fast it goes is measured by `make bench-load`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // tests

#[path = "support/crowd.rs"]
mod crowd;

#[path = "support/town.rs"]
mod town;

#[path = "load/burst.rs"]
mod burst;

#[path = "load/everywhere.rs"]
mod everywhere;

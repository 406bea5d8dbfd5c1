//! Bad nights on a real engine: one that the test itself starts is killed in the middle of a run and brought back, hangs,
//! is slow, lies, is gone or has a full disk; somebody works by hand meanwhile; the clock jumps. Whatever happens, the run
//! ends fully old, fully new, or stuck with a list and a way out; what is told is what is there; and the team's next plain
//! `docker-compose up -d` behaves.
//!
//! Short form (`cargo test`): a covering sample, half of it by a fixed seed, half by a fresh one that is printed;
//! `STERNWAY_NIGHTS_SEED=…` replays. Long form (`make nights-engine`): every fault at every call that changes something,
//! on the way to a good and to a broken image. Needs root and a dockerd; without says `SKIPPED`, and fails where `CI` is set.

// Helpers of tests fail like tests.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

#[allow(dead_code)] // other suites use more of it
#[path = "agent/own_engine.rs"]
mod own_engine;
#[path = "support/real_engine.rs"]
mod real_engine;

#[allow(dead_code)] // other suites use more of it
#[path = "real/bot.rs"]
mod bot;
#[path = "next_up/composes.rs"]
mod composes;
#[allow(dead_code)] // other suites use more of it
#[path = "real/console.rs"]
mod console;
#[allow(dead_code)] // other suites use more of it
#[path = "real/proxy.rs"]
mod proxy;
#[allow(dead_code)] // other suites use more of it
#[path = "real/shop.rs"]
mod shop;

#[path = "bad_nights/clock.rs"]
mod clock;
#[path = "bad_nights/disk.rs"]
mod disk;
#[path = "bad_nights/fault.rs"]
mod fault;
#[path = "bad_nights/floor.rs"]
mod floor;
#[path = "bad_nights/hands.rs"]
mod hands;
#[path = "bad_nights/home.rs"]
mod home;
#[path = "bad_nights/judge.rs"]
mod judge;
#[path = "bad_nights/lab.rs"]
mod lab;
#[path = "bad_nights/lane.rs"]
mod lane;
#[path = "bad_nights/nights.rs"]
mod nights;
#[path = "bad_nights/waiting.rs"]
mod waiting;

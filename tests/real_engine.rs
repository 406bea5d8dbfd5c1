//! The whole bot on a real Docker engine: `sternway serve` as a process of its own, spoken to through its console
//! socket, with the sample product brought up by compose. Needs an engine and root (two users speak); without says
//! `SKIPPED`, and fails where `CI` is set.

// Helpers of tests fail like tests.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stderr, clippy::print_stdout)]

#[path = "support/real_engine.rs"]
mod real_engine;

#[path = "support/registry.rs"]
mod registry;

#[path = "next_up/composes.rs"]
mod composes;

#[path = "real/after.rs"]
mod after;
#[path = "real/bot.rs"]
mod bot;
#[path = "real/chance.rs"]
mod chance;
#[path = "real/console.rs"]
mod console;
#[path = "real/lane.rs"]
mod lane;
#[path = "real/proxy.rs"]
mod proxy;
#[path = "real/shop.rs"]
mod shop;
#[path = "real/trace.rs"]
mod trace;

#[path = "real/canary.rs"]
mod canary;
#[path = "real/copies.rs"]
mod copies;
#[path = "real/crash.rs"]
mod crash;
#[path = "real/demo.rs"]
mod demo;
#[path = "real/faults.rs"]
mod faults;
#[path = "real/people.rs"]
mod people;
#[path = "real/releases.rs"]
mod releases;
#[path = "real/story.rs"]
mod story;
#[path = "real/targets.rs"]
mod targets;

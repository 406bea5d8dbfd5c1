//! The log: one suite that every implementation passes, and what only files have to stand.

#![allow(clippy::panic, clippy::print_stdout, clippy::print_stderr)] // helpers of tests fail the test, and say what they did
#![allow(unreachable_pub)] // helpers are shared among modules of one test

mod audit;
mod broken;
mod cli;
mod conformance;
mod crash;
mod damage;
mod filling;
mod forger;
mod full;
mod harm;
#[path = "../support/history.rs"]
mod history;
mod points;
mod power;
mod samples;
mod signed;
mod tamper;
mod torture;
mod world;
mod worst;

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use sternway::store::SharedLog;
use sternway::store::memory::MemoryLog;

use conformance::{Factory, failures};

struct InMemory;

impl Factory for InMemory {
    fn fresh(&self) -> (SharedLog, Box<dyn Any>) {
        (Arc::new(MemoryLog::new(samples::at(0))), Box::new(()))
    }
}

struct InFiles;

impl Factory for InFiles {
    fn fresh(&self) -> (SharedLog, Box<dyn Any>) {
        let folder = world::Folder::new();
        (Arc::new(folder.open()), Box::new(folder))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_in_memory_conforms() {
    assert_eq!(failures(&InMemory).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_in_files_conforms() {
    assert_eq!(failures(&InFiles).await, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_with_any_one_fault_does_not_conform() {
    assert_eq!(failures(&broken::Fault::None).await, [], "the wrapper itself must not fail");
    let mut able_to_fail = BTreeSet::new();
    for fault in broken::FAULTS {
        let found = failures(&fault).await;
        assert!(!found.is_empty(), "{fault:?} was not found by any case");
        able_to_fail.extend(found.into_iter().map(|(name, _)| name));
    }
    let idle: Vec<_> = conformance::names().into_iter().filter(|name| !able_to_fail.contains(name)).collect();
    assert!(idle.is_empty(), "no fault makes these cases fail: {idle:?}");
}

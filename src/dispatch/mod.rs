//! The one way in: takes what was heard from the queue, has it understood, judged, recorded, and carried on.
//!
//! `intake` judges and records, `conductor` takes a request from one standstill to the next, `votes` and `lookups`
//! answer what is said about runs, `narrator` tells what the log says, `recorder` notes the releases, `keeper` keeps them. Must never: act
//! without a record, answer before the record is durable, or hold up the queue while a run goes on.

pub mod conductor;
pub mod core;
pub mod intake;
pub mod keeper;
pub mod lookup;
pub mod narrator;
pub mod queries;
pub mod recorder;
pub mod said;
pub mod ways_out;

pub use core::{Core, Host};

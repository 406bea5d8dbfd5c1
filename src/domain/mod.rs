//! What our words mean. Pure: no clock, no files, no async; time comes in as an argument.
//!
//! Everything other rooms exchange is defined here: ids and names (parsed once, valid ever after),
//! people, plans, the records of the log, the state of a run folded from those records and the one
//! function that says what a run does next. Nothing in this room can fail because the world did.

pub mod actor;
pub mod canonical;
pub mod card;
pub mod event;
pub mod ids;
pub mod invocation;
pub mod names;
pub mod plan;
pub mod release;
pub mod run;
pub mod text;
pub mod trouble;

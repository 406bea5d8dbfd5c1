//! Do it, or put it back.
//!
//! `planner` turns a request and facts into a plan and only looks: it gathers, `choose` says which image is meant,
//! `assemble` makes the steps. `request` says what a request does next until
//! it may act, `decide` what a run does from there, both by the `rules`. `decide` is the pure heart: given what the
//! journal says and what was heard last, the one next thing to do. `driver` does that thing: journal, act,
//! journal. Must never: act without a [`crate::gate::Pass`], act before the intent is durable, take a time-out
//! for a failure, or let go of the claim while something may still happen.

mod assemble;
mod choose;
mod copies;
pub mod decide;
mod dependents;
pub mod driver;
#[cfg(test)]
mod explorer;
mod missing;
pub mod next_up;
pub mod planner;
pub mod prune;
mod pulling;
pub mod request;
mod restarts;
pub mod rules;

pub use copies::representative;

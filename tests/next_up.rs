//! The team's own compose after our rollback and after its undo: the next `up` leaves the container alone, and every
//! other verb works as after compose's own work. Where one recreate is unavoidable, the plan says so beforehand, and it
//! is to the same image. With compose 1.29, 2.26 and 2.40 and every usual form of a project, on a real engine.
//!
//! Without an engine or a compose it says `SKIPPED`, and fails where `CI` is set.

// Helpers of tests fail like tests.
#![allow(missing_docs, clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "support/real_engine.rs"]
mod real_engine;

#[path = "next_up/composes.rs"]
mod composes;
#[path = "next_up/forms.rs"]
mod forms;
#[path = "next_up/world.rs"]
mod world;

#[path = "next_up/announced.rs"]
mod announced;
#[path = "next_up/followed.rs"]
mod followed;
#[path = "next_up/gone.rs"]
mod gone;
#[path = "next_up/inside.rs"]
mod inside;
#[path = "next_up/profiles.rs"]
mod profiles;
#[path = "next_up/ranges.rs"]
mod ranges;
#[path = "next_up/restarted.rs"]
mod restarted;
#[path = "next_up/verbs.rs"]
mod verbs;
#[path = "next_up/wreck.rs"]
mod wreck;

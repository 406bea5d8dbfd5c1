//! Explores every order of events in a small world with the real `request::turn`, `decide`, `fold`, votes, gate and the
//! log's refusal of a second claim: no copy and no model of them.
//!
//! `cast` is who is there and what they want, `world` one moment of it, `agents` the host's side, `real` the engine under
//! test (each call made once for each distinct argument, as they are pure), `moves` everything that can happen next,
//! `invariants` what must never be, `search` the breadth-first walk with its closed graph, `story` how a walk is told.
//! `leave_out` is the list of protective rules: each, left out, must give a story in which something goes wrong. It is
//! worth something only while that is so (durability section 5), so that is tested too.

mod agents;
mod cast;
mod invariants;
mod leave_out;
mod moves;
mod real;
mod search;
mod story;
mod tests;
mod world;

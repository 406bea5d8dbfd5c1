//! One suite for both engines: the simulated one always, a real one when it answers (else it says `SKIPPED`, or
//! fails where `CI` is set). What passes here is what the agent may rely on. Each case is written once, against
//! `Lab`.

// Helpers of tests fail like tests.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

#[path = "support/engine_socket.rs"]
mod engine_socket;
#[path = "support/real_engine.rs"]
mod real_engine;

#[path = "engine/lab.rs"]
mod lab;

/// Makes one test per engine out of each case.
macro_rules! on_both_engines {
    ($($case:ident),* $(,)?) => {
        mod sim {
            $(#[tokio::test] async fn $case() { super::$case(&crate::lab::Lab::sim()).await; })*
        }
        mod real {
            $(#[tokio::test] async fn $case() {
                if let Some(lab) = crate::lab::Lab::real().await { super::$case(&lab).await; }
            })*
        }
    };
}

#[path = "engine/hints.rs"]
mod hints;
#[path = "engine/images.rs"]
mod images;
#[path = "engine/lifecycle.rs"]
mod lifecycle;
#[path = "engine/networks.rs"]
mod networks;
#[path = "engine/shape.rs"]
mod shape;

//! The agent of one host, told as what happens to a service: one suite over the simulated engine always and over
//! a real one when it answers (else it says `SKIPPED`, or fails where `CI` is set).

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)] // that is how a test says what is wrong

#[path = "support/real_engine.rs"]
mod real_engine;

#[path = "agent/own_engine.rs"]
mod own_engine;
#[path = "agent/world.rs"]
mod world;

/// Makes one test per engine out of each case.
macro_rules! on_both_engines {
    ($($case:ident),* $(,)?) => {
        mod sim {
            $(#[tokio::test] async fn $case() { super::$case(&crate::world::World::sim().await).await; })*
        }
        mod real {
            $(#[tokio::test] async fn $case() {
                if let Some(world) = crate::world::World::real().await { super::$case(&world).await; }
            })*
        }
    };
}

#[path = "agent/crashes.rs"]
mod crashes;
#[path = "agent/gone.rs"]
mod gone;
#[path = "agent/identity.rs"]
mod identity;
#[path = "agent/images.rs"]
mod images;
#[path = "agent/pins.rs"]
mod pins;
#[path = "agent/proxied.rs"]
mod proxied;
#[path = "agent/recovery.rs"]
mod recovery;
#[path = "agent/restarts.rs"]
mod restarts;
#[path = "agent/swaps.rs"]
mod swaps;

//! Where implementations are chosen and tasks are started. Only this room reads the environment and the command line.

pub mod audit;
pub mod bot;
pub mod check;
pub mod cli;
pub mod serve;

pub use cli::run;

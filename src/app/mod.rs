//! Where implementations are chosen and tasks are started. Only this room reads the environment and the command line.

pub mod audit;
pub mod bot;
pub mod check;
pub mod cli;
pub mod serve;

pub use cli::run;

/// A path as it is shown on a terminal: whoever named the file does not steer it.
fn shown(path: &std::path::Path) -> String {
    crate::domain::text::visible(&path.display().to_string())
}

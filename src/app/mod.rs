//! Where implementations are chosen and tasks are started. Only this room reads the environment and the command line.

//TODO pub mod audit;
pub mod bot;
//TODO pub mod check;
//TODO pub mod cli;
//TODO pub mod serve;

//TODO pub use cli::run;

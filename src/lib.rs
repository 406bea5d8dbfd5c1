//! Sternway rolls Docker Compose services back from chat: it shows the plan, asks whoever must agree,
//! does it through an agent on the Docker host, proves that it worked and keeps the record.
//!
//! `docs/ARCHITECTURE.md` is the map: which room is for what, and which may use which.

pub mod agent;
pub mod app;
pub mod chat;
pub mod clock;
pub mod command;
pub mod config;
pub mod demo;
pub mod dispatch;
pub mod domain;
pub mod gate;
pub mod plain_file;
pub mod prober;
pub mod procedures;
pub mod report;
pub mod store;
pub mod story;
pub mod telemetry;

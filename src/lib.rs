//! Sternway rolls Docker Compose services back from chat: it shows the plan, asks whoever must agree,
//! does it through an agent on the Docker host, proves that it worked and keeps the record.
//!
//! Rooms in reading order; a room may use what stands below it in this list, never above:

pub mod agent;
pub mod chat;
pub mod clock;
pub mod command;
pub mod domain;
pub mod store;

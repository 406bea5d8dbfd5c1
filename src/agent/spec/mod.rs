//! What a container was told to be, apart from its image: to compare two of them, and to make the same one with
//! another image (docker-facts section 3; decisions 22 and 24).
//!
//! Everything here is a pure function over the engine's raw JSON: inspect of containers and images in, the body of
//! create out. Must never: talk to an engine, guess (what cannot be carried faithfully is an *obstacle*, said
//! before anything is touched), or put a value into a sentence — settings hold secrets, so people only ever read
//! key names.
//!
//! - [`settings`] and [`changed_keys`]: the project's own settings in one form, and what differs.
//! - [`recreate`], [`recreate_recorded`]: the body of create for a new container, and the networks to connect.
//! - [`obstacles`]: why a container cannot be swapped faithfully yet.
//! - [`only_in_file`]: what no container tells, found in the compose file's text.
//! - [`from_host()`]: the project's code that lies on the host and so does not go back.
//! - [`matches()`]: whether the engine made what was asked for.
//!
//! Known limits, all of them the engine's: a variable (or label) set to the very value of the image cannot be told
//! from the image's own; a health check of which only a part is overridden is carried as a whole; a configured MAC
//! address under API 1.52 and later, hooks of a compose file, and what compose copied to a place outside
//! `/run/secrets`, are seen only where the file can be read.

mod alone;
mod file;
mod from_host;
mod json;
mod labels;
mod matches;
mod mounts;
mod networks;
mod obstacles;
mod own;
mod peers;
mod recreate;
mod settings;
#[cfg(test)]
mod tests;

pub use alone::alone;
pub use file::{TELLS_MAC_BEFORE, only_in_file};
pub use from_host::from_host;
pub use labels::{
    COMPOSE_PREFIX, CONFIG_FILES, CONFIG_HASH, DEPENDS_ON, NO_CONFIG_HASH, NUMBER, ONEOFF, OWN_PREFIX, PROJECT,
    SERVICE, VERSION, WORKING_DIR, compose_labels, restarts_with,
};
pub use matches::matches;
pub use obstacles::{Surroundings, copied_files, obstacles, obstacles_to_make, obstacles_to_return};
pub use peers::{Peer, hosts, points_at_today, ties};
pub use recreate::{NewContainer, Recorded, Recreate, recreate, recreate_recorded};
pub use settings::{changed_keys, mac_text, settings};

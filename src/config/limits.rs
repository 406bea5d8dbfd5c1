//! `[limits]`: how often one person may speak.

use std::collections::BTreeMap;

use super::channels::CommandName;
use super::reader::{Entry, FromToml, Section};

/// Things one person may say per minute unless the config says otherwise: far above what anyone types.
pub const DOOR_DEFAULT: u32 = 30;

/// Highest limit that can be set: above it there would be none.
const LIMIT_MAX: u32 = 6000;

/// How often one person may speak, per minute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Anything at all.
    pub door: u32,
    /// One command; what is not named is limited by its own file.
    pub commands: BTreeMap<CommandName, u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { door: DOOR_DEFAULT, commands: BTreeMap::new() }
    }
}

impl Limits {
    /// Reads `[limits]`; `mention` is told of every command that is named, and where.
    pub(crate) fn read<'a>(mut section: Section<'a>, mention: &mut dyn FnMut(&CommandName, &Entry<'a>)) -> Self {
        let door = section.bounded("door", DOOR_DEFAULT, 1..=LIMIT_MAX, u32::to_string);
        let mut commands = BTreeMap::new();
        if let Some(table) = section.node("command").and_then(|n| n.section("a table of commands")) {
            for entry in table.entries() {
                match CommandName::parse(entry.key) {
                    Ok(command) => {
                        let Some(limit) = u32::from_toml(entry.node.clone()) else { continue };
                        if (1..=LIMIT_MAX).contains(&limit) {
                            mention(&command, &entry);
                            commands.insert(command, limit);
                        } else {
                            let hint = "to forbid a command in a channel, use [channels]".to_owned();
                            entry.node.note(format!("a limit is from 1 to {LIMIT_MAX} per minute"), hint);
                        }
                    }
                    Err(why) => section.source.refuse(entry.key_span, &entry.node.path, why, None),
                }
            }
        }
        section.finish();
        Self { door, commands }
    }
}

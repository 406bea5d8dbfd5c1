//! From what was typed to what was meant.
//!
//! For: the catalogue of commands (data: `commands/*.toml`, ours embedded, a team's files replacing or adding)
//! and all that is derived from it: parsing, completion, help, `docs/commands.md`, the registrations that
//! Discord and Slack want. Said once, derived everywhere (style section 1).
//!
//! Must never: know the time, a file, a socket, a chat platform's SDK, who speaks or what runs. It cannot fail
//! because the world did. Time, zone, file contents and the names that can be completed come in as arguments.
//!
//! Why so: a person who reads no Rust can review one file and know who may do what; and what they type on a
//! phone at two in the morning is understood as meant, or answered with the very line to type instead.

mod argument_rules;
mod arguments;
mod catalogue;
mod complete;
mod docs;
mod floors;
mod help;
mod line;
mod moment;
mod parse;
mod read;
mod register;
mod rules;
mod slips;
mod spec;
mod suggest;
mod tokens;
mod value;
mod words;

pub use arguments::REASON_MAX;
pub use catalogue::{BadFiles, COMMANDS_MAX, Catalogue, Command, CommandFile, Found, Loaded, Shape};
pub use complete::{Offer, SUGGESTIONS_MAX, Suggestion, World};
pub use floors::VOTES_FLOOR;
pub use moment::{ClockZone, Moment, resolve_at};
pub use parse::{LINE_MAX, PRODUCT, Request};
pub use read::{Bad, FILE_MAX};
pub use register::{SLACK_RESERVED, SlackCommands};
pub use spec::{Action, ApprovalRule, ArgumentSpec, ArgumentType, CommandPath, CommandSpec, Presence, RateLimit, Who};
pub(crate) use suggest::closest;
pub use value::{Arguments, ServiceWord, TargetWord, Value, read_duration, show_duration};
pub use words::{Builtin, Kind, Lock, Query, ReasonRule, Risk, Source, StepKind, TypeWord, Vocabulary, Waived};

//! Event bytes: the canonical JSON object that stands in a line (docs/decisions/0002-record-format.md).
//!
//! Must never: read a record of a newer format as if it were understood. What is not known is said with the
//! version that wrote it, so nobody decides on half a record.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Hash, Record};
use crate::domain::canonical::{self, NotCanonical};
use crate::domain::event::{Event, FORMAT, Subject};
use crate::domain::ids::Position;

/// A record's place in a batch that is whole or not at all: `k` of `n`, from 1. Written as `[k,n]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OfBatch(pub u32, pub u32);

/// The parts of an event's bytes that chains are made of, read without its body.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Envelope {
    /// Format version.
    pub v: u32,
    /// What it belongs to.
    #[serde(default)]
    pub subject: Option<Subject>,
    /// Hash of that subject's record before, hex; zeros for its first.
    #[serde(default)]
    pub prev_of: Option<String>,
    /// Its place in a batch of more than one.
    #[serde(default)]
    pub batch: Option<OfBatch>,
    /// What kind of thing happened.
    pub body: Kind,
}

/// As much of a body as a chain looks at: whether it is a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Kind {
    /// Its type.
    #[serde(rename = "type")]
    pub of: KindOf,
}

/// A body's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KindOf {
    /// A checkpoint.
    Checkpoint,
    /// Anything else, known or not.
    Other,
}

impl<'de> Deserialize<'de> for KindOf {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Name;
        impl serde::de::Visitor<'_> for Name {
            type Value = KindOf;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the name of a type")
            }

            fn visit_str<E>(self, name: &str) -> Result<KindOf, E> {
                Ok(if name == "checkpoint" { KindOf::Checkpoint } else { KindOf::Other })
            }
        }
        d.deserialize_str(Name)
    }
}

/// What stands in a line's `event`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wire {
    /// Format version.
    pub v: u32,
    /// When, RFC 3339, UTC.
    pub at: Timestamp,
    /// What it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Hash of that subject's record before, hex; zeros for its first. There exactly when `subject` is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prev_of: Option<String>,
    /// Its place in a batch of more than one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<OfBatch>,
    /// What happened, with its `type`.
    pub body: Event,
}

/// Event bytes that this version does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotARecord {
    /// Written by a version that writes another format.
    #[error(
        "it is written in record format {found}, this Sternway ({software}) reads format {FORMAT}: start the version that wrote it, or a newer one",
        software = env!("CARGO_PKG_VERSION")
    )]
    Newer {
        /// The format it says it has.
        found: u64,
    },
    /// The format is ours, a type or field in it is not.
    #[error(
        "it says record format {FORMAT}, but this Sternway ({software}) does not know {what}: start the version that wrote it, or a newer one",
        software = env!("CARGO_PKG_VERSION")
    )]
    Unknown {
        /// The type or field.
        what: String,
    },
    /// No JSON, no version, or not in canonical form.
    #[error("its event is not a record: {0}")]
    Malformed(String),
}

/// The canonical bytes.
///
/// # Errors
/// When a number in it has no canonical form.
pub fn encode(wire: &Wire) -> Result<String, NotCanonical> {
    canonical::text(wire)
}

/// Reads what chains are made of. Cheap: the body is skipped.
///
/// # Errors
/// [`NotARecord`] names the version when it is a newer one.
pub fn envelope(event: &[u8]) -> Result<Envelope, NotARecord> {
    let envelope: Result<Envelope, _> = serde_json::from_slice(event);
    match envelope {
        Ok(envelope) if envelope.v == FORMAT => Ok(envelope),
        Ok(envelope) => Err(NotARecord::Newer { found: envelope.v.into() }),
        Err(error) => Err(other_version(event).unwrap_or_else(|| NotARecord::Malformed(error.to_string()))),
    }
}

/// Reads the whole of it.
///
/// # Errors
/// [`NotARecord`] names the version when it is a newer one, and the type or field that is not known.
pub fn decode(event: &[u8]) -> Result<Wire, NotARecord> {
    let value: Value = serde_json::from_slice(event).map_err(|e| NotARecord::Malformed(e.to_string()))?;
    match value.get("v").and_then(Value::as_u64) {
        Some(v) if v == u64::from(FORMAT) => {}
        Some(found) => return Err(NotARecord::Newer { found }),
        None => return Err(NotARecord::Malformed("it has no format version".to_owned())),
    }
    let wire: Wire = serde_json::from_value(value.clone()).map_err(|e| NotARecord::Unknown { what: e.to_string() })?;
    let known = serde_json::to_value(&wire).map_err(|e| NotARecord::Malformed(e.to_string()))?;
    if let Some(field) = first_unknown(&value, &known, "") {
        return Err(NotARecord::Unknown { what: format!("the field `{field}`") });
    }
    Ok(wire)
}

/// The record that these bytes are at that place.
pub(crate) fn into_record(wire: Wire, position: Position, hash: Hash) -> Record {
    Record { position, hash, at: wire.at, subject: wire.subject, event: wire.body }
}

fn other_version(event: &[u8]) -> Option<NotARecord> {
    let value: Value = serde_json::from_slice(event).ok()?;
    let found = value.get("v")?.as_u64()?;
    (found != u64::from(FORMAT)).then_some(NotARecord::Newer { found })
}

/// The first field of `given` that reading it did not keep. Serde skips unknown fields; a record must not
/// be half understood.
fn first_unknown(given: &Value, kept: &Value, path: &str) -> Option<String> {
    match (given, kept) {
        (Value::Object(given), Value::Object(kept)) => given.iter().find_map(|(key, value)| {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match kept.get(key) {
                Some(kept) => first_unknown(value, kept, &path),
                None => Some(path),
            }
        }),
        (Value::Array(given), Value::Array(kept)) => {
            given.iter().zip(kept).find_map(|(given, kept)| first_unknown(given, kept, path))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> String {
        text.replace('\'', "\"")
    }

    #[test]
    fn a_newer_format_is_named_by_its_version() {
        let text = bytes("{'at':'2026-01-01T00:00:00Z','body':{'type':'teleported'},'subject':{'of':'ship'},'v':2}");
        for error in [decode(text.as_bytes()).unwrap_err(), envelope(text.as_bytes()).unwrap_err()] {
            assert_eq!(error, NotARecord::Newer { found: 2 });
            assert!(error.to_string().contains("record format 2"), "{error}");
        }
    }

    #[test]
    fn an_unknown_type_or_field_is_named_and_not_skipped() {
        let kind = bytes("{'at':'2026-01-01T00:00:00Z','body':{'type':'teleported'},'v':1}");
        let error = decode(kind.as_bytes()).unwrap_err().to_string();
        assert!(error.contains("teleported") && error.contains("format 1"), "{error}");

        let field = bytes("{'at':'2026-01-01T00:00:00Z','body':{'step':1,'type':'step_intent','warp':9},'v':1}");
        let error = decode(field.as_bytes()).unwrap_err();
        assert_eq!(error, NotARecord::Unknown { what: "the field `body.warp`".to_owned() });
    }

    #[test]
    fn garbage_is_malformed() {
        for text in ["", "{", "[]", "{}", "{\"v\":\"1\"}"] {
            assert!(matches!(decode(text.as_bytes()), Err(NotARecord::Malformed(_))), "{text:?}");
        }
    }
}

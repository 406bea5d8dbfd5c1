//! The one byte form of a JSON value that is hashed: RFC 8785 (JCS) restricted to what we write:
//! sorted keys, no blanks, integers below 2^53, no floats.

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A value that has no canonical form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonical {
    /// A float, or an integer that a double cannot hold exactly.
    #[error("{0} is not an integer below 2^53")]
    Number(String),
    /// A type that serde could not turn into JSON.
    #[error("not JSON: {0}")]
    NotJson(String),
}

const EXACT_MAX: u64 = (1 << 53) - 1;

/// The canonical text of anything that serialises.
pub fn text<T: Serialize>(value: &T) -> Result<String, NotCanonical> {
    let value = serde_json::to_value(value).map_err(|e| NotCanonical::NotJson(e.to_string()))?;
    let mut out = String::new();
    write(&value, &mut out)?;
    Ok(out)
}

/// SHA-256 over `domain`, a zero byte and the canonical text; 64 lower-case hex digits.
/// The domain keeps hashes of different uses apart.
pub fn sha256<T: Serialize>(domain: &str, value: &T) -> Result<String, NotCanonical> {
    let mut hasher = Sha256::new();
    hasher.update(domain.as_bytes());
    hasher.update([0]);
    hasher.update(text(value)?.as_bytes());
    Ok(hex::encode(hasher.finalize()))
}

fn write(value: &Value, out: &mut String) -> Result<(), NotCanonical> {
    match value {
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&value.to_string()),
        Value::Number(number) => {
            let exact = number.as_u64().is_some_and(|n| n <= EXACT_MAX)
                || number.as_i64().is_some_and(|n| n.unsigned_abs() <= EXACT_MAX);
            if !exact {
                return Err(NotCanonical::Number(number.to_string()));
            }
            out.push_str(&number.to_string());
        }
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            // RFC 8785 sorts by UTF-16 code units.
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (i, (key, item)) in entries.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&Value::String(key.clone()).to_string());
                out.push(':');
                write(item, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keys_are_sorted_by_utf16_and_blanks_are_gone() {
        // U+10000 sorts before U+E000 in UTF-16 although its code point is larger.
        let value = json!({"b": 1, "a": {"\u{e000}": 1, "\u{10000}": 2}, "c": [true, null, "é\n"]});
        assert_eq!(
            text(&value).unwrap(),
            "{\"a\":{\"\u{10000}\":2,\"\u{e000}\":1},\"b\":1,\"c\":[true,null,\"é\\n\"]}"
        );
    }

    #[test]
    fn numbers_that_two_readers_could_read_differently_are_refused() {
        for bad in [json!(1.5), json!(1u64 << 53), json!(u64::MAX), json!(-(1i64 << 53))] {
            assert!(matches!(text(&bad), Err(NotCanonical::Number(_))), "{bad}");
        }
    }
}

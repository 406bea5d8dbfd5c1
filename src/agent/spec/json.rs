//! Reading the engine's JSON: fields may be missing, null or empty, and all three mean the same
//! (docker-facts section 3, last row).

use serde_json::{Map, Value};

/// Largest integer that every JSON reader keeps exactly.
const EXACT_MAX: u64 = (1 << 53) - 1;

/// The value at a path of keys; `Null` when any of them is missing.
pub(super) fn at<'a>(value: &'a Value, path: &[&str]) -> &'a Value {
    path.iter().fold(value, |v, key| v.get(*key).unwrap_or(&Value::Null))
}

/// The text at a path, empty when there is none.
pub(super) fn text<'a>(value: &'a Value, path: &[&str]) -> &'a str {
    at(value, path).as_str().unwrap_or_default()
}

/// The strings of an array.
pub(super) fn strings(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// The entries of an object.
pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Null, `""`, `[]` or `{}`.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Equal, where missing, null and empty are one.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (plain(a), plain(b)) {
        (None, None) => true,
        (a, b) => a == b,
    }
}

/// The value without what is empty, false or zero in its objects, and with numbers that other readers could
/// round turned into text. `None` when nothing is left. Elements of arrays are kept: `["a", ""]` is not `["a"]`.
pub(super) fn plain(value: &Value) -> Option<Value> {
    match value {
        Value::Null | Value::Bool(false) => None,
        Value::Bool(true) => Some(value.clone()),
        Value::Number(n) if n.as_i64() == Some(0) => None,
        Value::Number(n) => {
            let exact = n.as_i64().is_some_and(|n| n.unsigned_abs() <= EXACT_MAX);
            Some(if exact { value.clone() } else { Value::String(n.to_string()) })
        }
        Value::String(s) => (!s.is_empty()).then(|| value.clone()),
        Value::Array(items) => (!items.is_empty())
            .then(|| Value::Array(items.iter().map(|i| plain(i).unwrap_or_else(|| blank(i))).collect())),
        Value::Object(map) => {
            let kept: Map<_, _> = map.iter().filter_map(|(k, v)| plain(v).map(|v| (k.clone(), v))).collect();
            (!kept.is_empty()).then_some(Value::Object(kept))
        }
    }
}

/// What an element of an array becomes when there is nothing in it.
fn blank(item: &Value) -> Value {
    match item {
        Value::Object(_) => Value::Object(Map::new()),
        other => other.clone(),
    }
}

/// Puts a value in, unless it is empty.
pub(super) fn put(map: &mut Map<String, Value>, key: &str, value: Value) {
    if !is_empty(&value) {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn missing_null_empty_false_and_zero_are_one_but_elements_count() {
        assert!(same(&json!({"a": null, "b": [], "c": 0, "d": false, "e": {"f": ""}}), &Value::Null));
        assert!(!same(&json!(["a", ""]), &json!(["a"])));
        assert!(!same(&json!({"a": 1}), &json!({})));
    }

    #[test]
    fn numbers_beyond_a_double_become_text() {
        assert_eq!(
            plain(&json!({"n": i64::MAX, "f": 1.5, "m": -1})),
            Some(json!({"n": "9223372036854775807", "f": "1.5", "m": -1}))
        );
    }
}

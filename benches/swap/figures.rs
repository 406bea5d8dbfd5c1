//! Many measurements of one thing as one cell of a table: the median, and the least and the most in brackets.

use std::time::Duration;

/// Seconds with two decimals: what a person waits.
pub(crate) fn seconds(values: Vec<Duration>) -> String {
    cell(values, |d| format!("{:.2}", d.as_secs_f64()), "s")
}

/// Milliseconds: what a program waits.
pub(crate) fn milliseconds(values: Vec<Duration>) -> String {
    cell(values, |d| format!("{:.0}", d.as_secs_f64() * 1e3), "ms")
}

/// Things that are counted.
pub(crate) fn counts(values: Vec<usize>) -> String {
    cell(values, |n| n.to_string(), "")
}

/// How many times as much.
pub(crate) fn times(mut values: Vec<f64>) -> String {
    values.sort_unstable_by(f64::total_cmp);
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(least), Some(median), Some(most)) => format!("{median:.2} × ({least:.2}–{most:.2})"),
        _ => "not measured".to_owned(),
    }
}

/// The value that a share of all did not exceed, in microseconds (nearest rank).
pub(crate) fn percentile(values: &mut [Duration], share: f64) -> String {
    format!("{:.2} ms", nth(values, share).as_secs_f64() * 1e3)
}

/// The same as a time.
pub(crate) fn nth(values: &mut [Duration], share: f64) -> Duration {
    values.sort_unstable();
    let rank = (share * values.len() as f64).ceil() as usize;
    values.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

fn cell<T: Copy + Ord>(mut values: Vec<T>, show: impl Fn(T) -> String, unit: &str) -> String {
    values.sort_unstable();
    match (values.first(), values.get(values.len() / 2), values.last()) {
        (Some(&least), Some(&median), Some(&most)) => {
            let unit = if unit.is_empty() { String::new() } else { format!(" {unit}") };
            format!("{}{unit} ({}–{})", show(median), show(least), show(most))
        }
        _ => "not measured".to_owned(),
    }
}

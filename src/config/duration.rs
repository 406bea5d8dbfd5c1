//! Lengths of time as people write them: `500ms`, `2s`, `1h30m`.

use std::time::Duration;

use super::reader::from_text;

/// Longest duration a config can hold: a year. Keeps every sum of two far from overflow.
const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

const UNITS: [(&str, u64); 5] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Reads `500ms`, `2s`, `15m`, `1h30m`, `7d`.
///
/// # Errors
/// A sentence saying what is wrong and how it is written.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = |why: &str| format!("“{text}” is not a length of time: {why}, as in 500ms, 2s, 15m, 1h30m or 7d");
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(wrong("write a number and a unit"));
    }
    let mut total_ms: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, after) = tail.split_at(letters);
        let number: u64 = number.parse().map_err(|_| wrong("a whole number comes before the unit"))?;
        let (_, ms) =
            UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(|| wrong("the unit is ms, s, m, h or d"))?;
        total_ms = number.checked_mul(*ms).and_then(|n| n.checked_add(total_ms)).ok_or_else(|| wrong("too long"))?;
        rest = after.trim_start();
    }
    let total = Duration::from_millis(total_ms);
    if total > LONGEST { Err(wrong("a year is the most")) } else { Ok(total) }
}

/// Whole milliseconds.
pub(crate) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The shortest way to write it, as [`parse`] reads it.
pub fn show(time: &Duration) -> String {
    let mut left = millis(*time);
    if left == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, ms) in UNITS.iter().rev() {
        if left >= *ms {
            out.push_str(&format!("{}{unit}", left / ms));
            left %= ms;
        }
    }
    out
}

from_text! {
    Duration, parse, "a length of time such as \"2s\"";
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_people_write_is_read() {
        for (text, ms) in [
            ("500ms", 500),
            ("2s", 2000),
            ("15m", 900_000),
            ("1h30m", 5_400_000),
            ("7d", 604_800_000),
            (" 1m 5s ", 65_000),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn what_is_not_certain_is_refused() {
        for text in [
            "",
            "2",
            "s",
            "2 minutes",
            "1.5s",
            "-2s",
            "2s,",
            "99999999999999999999s",
            "18446744073709551615d",
            "400d",
            "٢s",
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.contains("as in 500ms"), "{why}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(ms in 0u64..31_536_000_000) {
            let time = Duration::from_millis(ms);
            prop_assert_eq!(parse(&show(&time)), Ok(time));
        }
    }
}

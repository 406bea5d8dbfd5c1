//! `@02:10`: a moment as a person says it, and the instant it means.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};

use crate::domain::trouble::Trouble;

/// Whose clock a time of day is read on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClockZone {
    /// The speaker's.
    Speaker,
    /// UTC: `@02:10Z`.
    Utc,
}

/// A moment as it was said; [`resolve_at`] makes an instant of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// `@02:10`: the most recent one.
    Clock(Time, ClockZone),
    /// `@yesterday 02:10` on the speaker's calendar.
    Yesterday(Time),
    /// `@2026-11-21T02:10` on the speaker's clock.
    Date(DateTime),
    /// `@2026-11-21T02:10Z`, or with another offset.
    Instant(Timestamp),
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Moment::Clock(time, ClockZone::Speaker) => write!(f, "@{}", clock(*time)),
            Moment::Clock(time, ClockZone::Utc) => write!(f, "@{}Z", clock(*time)),
            Moment::Yesterday(time) => write!(f, "@yesterdayT{}", clock(*time)),
            Moment::Date(at) => write!(f, "@{}T{}", at.date(), clock(at.time())),
            Moment::Instant(at) => write!(f, "@{at}"),
        }
    }
}

/// Seconds only where there are some.
fn clock(time: Time) -> String {
    let (h, m, s) = (time.hour(), time.minute(), time.second());
    if s == 0 { format!("{h:02}:{m:02}") } else { format!("{h:02}:{m:02}:{s:02}") }
}

/// `2:10`, `02:10`, `02:10:30`.
fn read_clock(text: &str) -> Option<Time> {
    let mut parts = text.split(':');
    let number = |part: Option<&str>, most: i8| -> Option<i8> {
        let part = part.filter(|p| (1..=2).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_digit()))?;
        part.parse().ok().filter(|n| *n <= most)
    };
    let hour = number(parts.next(), 23)?;
    let minute_text = parts.next().filter(|m| m.len() == 2);
    let minute = number(minute_text, 59)?;
    let second = match parts.next() {
        None => 0,
        some => number(some, 59)?,
    };
    parts.next().is_none().then(|| Time::constant(hour, minute, second, 0))
}

impl Moment {
    /// Reads it, the `@` taken off; upper or lower case.
    pub(crate) fn read(text: &str) -> Option<Self> {
        let text = text.to_ascii_uppercase();
        if let Some(time) = read_clock(&text) {
            return Some(Moment::Clock(time, ClockZone::Speaker));
        }
        if let Some(time) = text.strip_suffix('Z').or_else(|| text.strip_suffix("UTC")).and_then(read_clock) {
            return Some(Moment::Clock(time, ClockZone::Utc));
        }
        let (day, rest) = text.split_once(['T', ' '])?;
        // `YESTERDAY` has a T of its own.
        if let Some(time) = text.strip_prefix("YESTERDAY") {
            return read_clock(time.strip_prefix(['T', ' ', '-'])?).map(Moment::Yesterday);
        }
        let date: Date = day.parse().ok()?;
        if let Some(time) = read_clock(rest) {
            return Some(Moment::Date(DateTime::from_parts(date, time)));
        }
        format!("{day}T{rest}").parse().ok().map(Moment::Instant)
    }

    /// Whether a word is the first half of a moment whose time of day stands in the next word.
    pub(crate) fn wants_time(text: &str) -> bool {
        let text = text.to_ascii_lowercase();
        text == "yesterday" || (text.len() == 10 && text.parse::<Date>().is_ok())
    }
}

/// The instant that a moment means: the most recent such moment that is not in the future.
/// A time that the clocks skipped means that long after the skip began; of one they showed twice, the later
/// that has passed.
///
/// # Errors
/// When a full date lies in the future or outside the calendar.
pub fn resolve_at(moment: &Moment, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, Trouble> {
    let future = || {
        Trouble::usage(format!("{moment} has not been yet."))
            .say(format!("It is now {} UTC.", now.strftime("%Y-%m-%d %H:%M")))
    };
    match moment {
        Moment::Instant(at) if *at <= now => Ok(*at),
        Moment::Instant(_) => Err(future()),
        Moment::Date(at) => latest(*at, now, zone).ok_or_else(future),
        Moment::Yesterday(time) => {
            let today = zone.to_datetime(now).date();
            let day = today.checked_sub(1.day()).map_err(|_| future())?;
            latest(DateTime::from_parts(day, *time), now, zone).ok_or_else(future)
        }
        Moment::Clock(time, whose) => {
            let utc = TimeZone::UTC;
            let zone = if *whose == ClockZone::Utc { &utc } else { zone };
            let today = zone.to_datetime(now).date();
            (0..=2)
                .filter_map(|back: i32| today.checked_sub(back.days()).ok())
                .find_map(|day| latest(DateTime::from_parts(day, *time), now, zone))
                .ok_or_else(future)
        }
    }
}

/// The latest instant at which a clock there showed this, if it has passed.
fn latest(shown: DateTime, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = || zone.to_ambiguous_timestamp(shown);
    let candidates = if matches!(ambiguous().offset(), jiff::tz::AmbiguousOffset::Fold { .. }) {
        vec![ambiguous().later(), ambiguous().earlier()]
    } else {
        vec![ambiguous().compatible()]
    };
    candidates.into_iter().flatten().find(|at| *at <= now)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, now: &str, zone: &TimeZone) -> Result<String, String> {
        let moment = Moment::read(text).unwrap_or_else(|| panic!("{text} is not a moment"));
        resolve_at(&moment, now.parse().unwrap(), zone).map(|t| t.to_string()).map_err(|t| t.message)
    }

    fn riyadh() -> TimeZone {
        TimeZone::fixed(jiff::tz::offset(3))
    }

    /// Central Europe by rule, so that no time zone file is needed.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[test]
    fn a_time_of_day_is_the_most_recent_one_on_the_speakers_clock() {
        let now = "2026-11-21T00:05:00Z"; // 03:05 in Riyadh
        assert_eq!(at("02:10", now, &riyadh()).unwrap(), "2026-11-20T23:10:00Z");
        assert_eq!(at("03:05", now, &riyadh()).unwrap(), "2026-11-21T00:05:00Z", "now itself has been");
        assert_eq!(at("03:06", now, &riyadh()).unwrap(), "2026-11-20T00:06:00Z", "a minute ahead is yesterday's");
        assert_eq!(at("2:10Z", now, &riyadh()).unwrap(), "2026-11-20T02:10:00Z");
        assert_eq!(at("yesterday 23:00", now, &riyadh()).unwrap(), "2026-11-20T20:00:00Z");
    }

    #[test]
    fn a_date_is_read_on_the_speakers_clock_unless_it_says_otherwise() {
        let now = "2026-11-21T12:00:00Z";
        assert_eq!(at("2026-11-21T02:10", now, &riyadh()).unwrap(), "2026-11-20T23:10:00Z");
        assert_eq!(at("2026-11-21 02:10", now, &riyadh()).unwrap(), "2026-11-20T23:10:00Z");
        assert_eq!(at("2026-11-21t02:10z", now, &riyadh()).unwrap(), "2026-11-21T02:10:00Z");
        assert_eq!(at("2026-11-21T02:10+01:00", now, &riyadh()).unwrap(), "2026-11-21T01:10:00Z");
    }

    #[test]
    fn the_future_is_refused_with_the_time_it_is_now() {
        let error = at("2026-11-22T02:10", "2026-11-21T12:00:00Z", &riyadh()).unwrap_err();
        assert_eq!(error, "@2026-11-22T02:10 has not been yet.");
        assert!(at("2026-11-21T12:00:01Z", "2026-11-21T12:00:00Z", &riyadh()).is_err());
    }

    #[test]
    fn an_hour_that_came_twice_means_the_later_one_that_has_passed() {
        // 2026-10-25: 03:00 CEST became 02:00 CET at 01:00 UTC.
        assert_eq!(at("02:30", "2026-10-25T02:00:00Z", &berlin()).unwrap(), "2026-10-25T01:30:00Z");
        assert_eq!(at("02:30", "2026-10-25T01:10:00Z", &berlin()).unwrap(), "2026-10-25T00:30:00Z");
    }

    #[test]
    fn an_hour_that_was_skipped_counts_from_the_skip() {
        // 2026-03-29: 02:00 CET became 03:00 CEST at 01:00 UTC.
        assert_eq!(at("02:30", "2026-03-29T08:00:00Z", &berlin()).unwrap(), "2026-03-29T01:30:00Z");
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for bad in [
            "",
            "2",
            "24:00",
            "02:60",
            "2:1",
            "02:10:60",
            "02:10:00:00",
            "2026-13-01T02:10",
            "2026-11-21",
            "yesterday",
            "-1:00",
            "02:10x",
            "+2:10",
        ] {
            assert_eq!(Moment::read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_moment_is_shown_as_it_can_be_typed() {
        for text in ["@02:10", "@02:10Z", "@yesterdayT02:10", "@2026-11-21T02:10", "@2026-11-21T02:10:00Z"] {
            assert_eq!(Moment::read(&text[1..]).unwrap().to_string(), text);
        }
    }
}

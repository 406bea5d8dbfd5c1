//! Text that is shown: on cards, in the log of the process.

use std::io::Write;
use std::sync::{Arc, Mutex};

use sternway::config::sternway::{LogFormat, LogLevel};
use sternway::domain::card::{Card, Tone, code, strong, text};
use sternway::domain::text::{shorten, visible, visible_lines};
use sternway::telemetry::subscriber;

use super::assert_shown;

pub fn feed(data: &[u8]) {
    let words = String::from_utf8_lossy(data);
    let shown = visible(&words);
    assert_shown("made visible", &shown);
    assert!(!shown.contains('\n'), "a newline is left: {shown:?}");
    assert_eq!(visible(&shown), shown, "said twice it changes");
    assert_eq!(visible_lines(&words).split('\n').count(), words.split('\n').count(), "lines of ours are lost");
    for max in [1, 7, 80] {
        let short = shorten(&words, max);
        assert!(short.chars().count() <= max, "{max}: {short:?}");
        assert!(short == words || short.ends_with('…'), "cut and not said: {short:?}");
    }
    card(&words);
    line_of_log(&words);
}

/// A card has the lines that were put on it and no other.
fn card(words: &str) {
    let card = Card::new(Tone::Ask, vec![strong(words), text(words)])
        .line(vec![code(words)])
        .detail(vec![text(words)])
        .button(words, words.to_owned());
    let plain = card.plain();
    assert_shown("a card", &plain);
    assert_eq!(plain.split('\n').count(), 4, "{plain:?}");
    let again: Card = serde_json::from_str(&serde_json::to_string(&card).unwrap()).unwrap();
    assert_eq!(again, card);
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// One event is one line, whatever its fields hold.
fn line_of_log(words: &str) {
    for format in [LogFormat::Text, LogFormat::Json] {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(format, LogLevel::Info, false, move || writer.clone()), || {
            let _in = tracing::info_span!(target: "sternway", "run", run.id = words).entered();
            tracing::warn!(target: "sternway", why = words, path = %words, again = ?words, "{words}");
        });
        let out = String::from_utf8(lines.0.lock().unwrap().clone()).expect("it is text");
        let line = out.strip_suffix('\n').unwrap_or_else(|| panic!("the line does not end: {out:?}"));
        assert!(!line.contains('\n'), "a forged line: {line:?}");
        assert_shown("a line of the log", line);
        if matches!(format, LogFormat::Json) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
            assert_eq!(value["why"].as_str(), Some(words), "in JSON nothing is lost");
        }
    }
}

//! What Sternway says to the person who runs it: log lines on standard error, as text or JSON.
//!
//! Libraries are never heard below `warn`: at finer levels HTTP and Docker clients print whole requests, and with
//! them environment variables of the team's containers. No secret may reach a log line (decision 10); the type
//! [`crate::config::Secret`] prints as `***`, and events carry ids, never bodies.
//!
//! What stands in a field may come from an engine, a file or a chat. It is made visible in text, where a newline would
//! otherwise begin a line that nobody logged, and escaped in JSON, where a reader would otherwise show it.

use std::fmt;
use std::io::{self, IsTerminal, Write};

use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;

use crate::config::sternway::{LogFormat, LogLevel};
use crate::domain::text::{is_hidden, shorten, visible};

/// Characters of one field in a line of text; an engine's refusal may have many more.
const FIELD_MAX: usize = 4_000;

/// Telemetry was set up before in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("telemetry is set up once per process, and it has been")]
pub struct AlreadySetUp;

/// Sends log lines to standard error from here on, for the whole process. Colours only on a terminal.
///
/// # Errors
/// When it was done before.
pub fn init(format: LogFormat, level: LogLevel) -> Result<(), AlreadySetUp> {
    let colour = io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(format, level, colour, io::stderr)).map_err(|_| AlreadySetUp)
}

/// What [`init`] installs, with any writer: for tests and for a demo that shows its log elsewhere.
pub fn subscriber<W>(
    format: LogFormat,
    level: LogLevel,
    colour: bool,
    writer: W,
) -> impl Subscriber + Send + Sync + 'static
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer();
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Text => lines
            .with_writer(writer)
            .with_ansi(colour)
            .with_target(false)
            .fmt_fields(debug_fn(one_field).delimited(" "))
            .boxed(),
        LogFormat::Json => lines
            .with_writer(Escaping(writer))
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(heard(level)))
}

/// One field of a line of text: what it holds stays on that line.
fn one_field(line: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    let words = shorten(&visible(&format!("{value:?}")), FIELD_MAX);
    match field.name() {
        "message" => line.write_str(&words),
        name if line.has_ansi_escapes() => write!(line, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m{words}"),
        name => write!(line, "{name}={words}"),
    }
}

/// Makes writers for lines of JSON in which every hidden character is written as `\uXXXX`: the same JSON to a program,
/// and nothing to steer the terminal of whoever reads it.
struct Escaping<M>(M);

impl<'w, M: MakeWriter<'w>> MakeWriter<'w> for Escaping<M> {
    type Writer = Escaped<M::Writer>;

    fn make_writer(&'w self) -> Self::Writer {
        Escaped(self.0.make_writer())
    }

    fn make_writer_for(&'w self, about: &Metadata<'_>) -> Self::Writer {
        Escaped(self.0.make_writer_for(about))
    }
}

struct Escaped<W>(W);

impl<W: Write> Write for Escaped<W> {
    /// Takes whole lines, as the formatter gives them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut out = String::with_capacity(line.len());
        for c in String::from_utf8_lossy(line).chars() {
            if c != '\n' && is_hidden(c) {
                let mut units = [0; 2];
                out.extend(c.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04x}")));
            } else {
                out.push(c);
            }
        }
        self.0.write_all(out.as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Our own events down to `level`, those of libraries at most down to warnings.
fn heard(level: LogLevel) -> Targets {
    let ours = match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    Targets::new().with_default(ours.min(LevelFilter::WARN)).with_target("sternway", ours)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Secret;
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn said(format: LogFormat, level: LogLevel, what: impl FnOnce()) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        tracing::subscriber::with_default(subscriber(format, level, false, move || writer.clone()), what);
        String::from_utf8(lines.0.lock().unwrap().clone()).unwrap()
    }

    #[test]
    fn a_json_line_carries_the_fields_of_the_event_and_of_the_run() {
        let line = said(LogFormat::Json, LogLevel::Info, || {
            let run = tracing::info_span!("run", run.id = "r42");
            let _in = run.enter();
            tracing::info!(step = 3, "step done");
        });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|why| panic!("{why}: {line}"));
        assert_eq!(value["message"], "step done");
        assert_eq!(value["step"], 3);
        assert_eq!(value["span"]["run.id"], "r42");
    }

    #[test]
    fn libraries_are_not_heard_below_warnings_whatever_the_level() {
        let all = said(LogFormat::Text, LogLevel::Trace, || {
            tracing::trace!("ours, fine");
            tracing::info!(target: "bollard::docker", "request with a password in Env");
            tracing::debug!(target: "hyper::proto", "body");
            tracing::warn!(target: "hyper::proto", "theirs, grave");
        });
        assert!(all.contains("ours, fine") && all.contains("theirs, grave"), "{all}");
        assert!(!all.contains("password") && !all.contains("body"), "{all}");
        let errors = said(LogFormat::Text, LogLevel::Error, || tracing::warn!(target: "hyper::proto", "theirs"));
        assert_eq!(errors, "", "a level above warn holds for libraries too");
    }

    #[test]
    fn what_comes_from_outside_forges_no_line_and_hides_nothing_in_one() {
        let evil = "no such image\n2026-11-28T00:00:00Z  INFO step done run=r9\r\u{202e}\u{9b}2J\u{e0041}";
        let event = || tracing::warn!(why = evil, path = %evil, "{evil}");
        let text = said(LogFormat::Text, LogLevel::Info, || {
            let _in = tracing::info_span!("run", run.id = evil).entered();
            event();
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(!text.trim_end_matches('\n').chars().any(is_hidden), "{text:?}");
        let json = said(LogFormat::Json, LogLevel::Info, event);
        assert_eq!(json.lines().count(), 1, "{json}");
        assert!(!json.trim_end_matches('\n').chars().any(is_hidden), "{json:?}");
        let value: serde_json::Value = serde_json::from_str(&json).unwrap_or_else(|why| panic!("{why}: {json}"));
        assert_eq!((value["why"].as_str(), value["message"].as_str()), (Some(evil), Some(evil)));
    }

    #[test]
    fn a_secret_in_an_event_stays_hidden_and_escapes_do_not_reach_the_terminal() {
        let secret = Secret::new("xoxb-canary-7313".to_owned());
        for format in [LogFormat::Text, LogFormat::Json] {
            let line = said(format, LogLevel::Info, || {
                tracing::info!(token = %secret, again = ?secret, name = "a\u{1b}[31mb", "x\u{1b}[2Jy");
            });
            assert!(line.contains("***") && !line.contains("canary"), "{line}");
            assert!(!line.contains('\u{1b}'), "{line:?}");
        }
    }
}

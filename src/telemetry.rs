//! What Sternway says to the person who runs it: log lines on standard error, as text or JSON.
//!
//! Libraries are never heard below `warn`: at finer levels HTTP and Docker clients print whole requests, and with
//! them environment variables of the team's containers. No secret may reach a log line (decision 10); the type
//! [`crate::config::Secret`] prints as `***`, and events carry ids, never bodies.

use std::io::IsTerminal;

use tracing::Subscriber;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;

use crate::config::sternway::{LogFormat, LogLevel};

/// Telemetry was set up before in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("telemetry is set up once per process, and it has been")]
pub struct AlreadySetUp;

/// Sends log lines to standard error from here on, for the whole process. Colours only on a terminal.
///
/// # Errors
/// When it was done before.
pub fn init(format: LogFormat, level: LogLevel) -> Result<(), AlreadySetUp> {
    let colour = std::io::stderr().is_terminal();
    tracing::subscriber::set_global_default(subscriber(format, level, colour, std::io::stderr))
        .map_err(|_| AlreadySetUp)
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
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    let lines: Box<dyn Layer<_> + Send + Sync> = match format {
        LogFormat::Text => lines.with_ansi(colour).with_target(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(heard(level)))
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
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> std::io::Result<()> {
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

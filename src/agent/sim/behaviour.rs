//! What the program in a simulated image does once it is started. Pure.

use std::time::Duration;

/// How a simulated image behaves. Times count from the container's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Behaviour {
    /// Answers well at once; ends when asked to.
    Healthy,
    /// Refuses connections until that many milliseconds have passed, then answers well.
    HealthyAfter(u64),
    /// Answers well for that many milliseconds, then with 503.
    HealthyFor(u64),
    /// Runs, and answers with 503.
    Unhealthy,
    /// Runs, but listens nowhere.
    Mute,
    /// Ends at once with this exit code; its restart policy may start it again.
    Exits(i64),
    /// Answers well, but ignores SIGTERM: a stop takes its whole grace and ends with 137.
    IgnoresSigterm,
}

impl Behaviour {
    /// What somebody who asks for its health hears, `up` after its start.
    pub(super) fn answer(self, up: Duration) -> Result<(), String> {
        let up = up.as_millis();
        match self {
            Self::Healthy | Self::IgnoresSigterm => Ok(()),
            Self::HealthyAfter(ms) if up >= u128::from(ms) => Ok(()),
            Self::HealthyFor(ms) if up < u128::from(ms) => Ok(()),
            Self::Unhealthy | Self::HealthyFor(_) => Err("HTTP 503".to_owned()),
            Self::Mute | Self::HealthyAfter(_) | Self::Exits(_) => Err("connection refused".to_owned()),
        }
    }

    /// The exit code of a program that ends right after its start.
    pub(super) fn exits(self) -> Option<i64> {
        match self {
            Self::Exits(code) => Some(code),
            Self::Healthy
            | Self::HealthyAfter(_)
            | Self::HealthyFor(_)
            | Self::Unhealthy
            | Self::Mute
            | Self::IgnoresSigterm => None,
        }
    }
}

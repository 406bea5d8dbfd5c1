//! Time, passed in. The only file that asks the system what time it is.

use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;

/// Tells the time and waits.
#[async_trait::async_trait]
pub trait Clock: Send + Sync + 'static {
    /// Wall time, UTC.
    fn now(&self) -> Timestamp;
    /// Returns after that long.
    async fn sleep(&self, time: Duration);
}

/// Returns when the bot shuts down (or whoever could say so is gone).
pub async fn closed(closing: &mut tokio::sync::watch::Receiver<bool>) {
    let _ = closing.wait_for(|c| *c).await;
}

/// The machine's clock.
#[derive(Debug, Default, Clone, Copy)]
pub struct SystemClock;

#[async_trait::async_trait]
impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // the one place
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    #[allow(clippy::disallowed_methods)] // the one place
    async fn sleep(&self, time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A clock that stands still until it is moved; sleepers wake when it passes their time.
#[derive(Debug)]
pub struct ManualClock {
    now: Mutex<Timestamp>,
    moved: tokio::sync::Notify,
}

impl ManualClock {
    /// Stands at `now`.
    pub fn at(now: Timestamp) -> Self {
        Self { now: Mutex::new(now), moved: tokio::sync::Notify::new() }
    }

    /// Moves it forward and wakes who has slept long enough.
    ///
    /// # Panics
    /// When the time leaves the calendar.
    pub fn advance(&self, time: Duration) {
        {
            let mut now = self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            *now = now.checked_add(time).unwrap_or(Timestamp::MAX);
        }
        self.moved.notify_waiters();
    }
}

#[async_trait::async_trait]
impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.now.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    async fn sleep(&self, time: Duration) {
        let until = self.now().checked_add(time).unwrap_or(Timestamp::MAX);
        loop {
            let moved = self.moved.notified();
            if self.now() >= until {
                return;
            }
            moved.await;
        }
    }
}

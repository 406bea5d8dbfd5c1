//! How often. A coarse limit per account at the door, before anything is understood or written, and one per person
//! and command. The same refusal again is counted and goes into one record, not one by one (decision 13).

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use governor::clock::Clock as GovernorClock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::clock::Clock;
use crate::command::RateLimit;
use crate::domain::actor::Account;

/// Keys kept per limiter before idle ones are forgotten; a flood of made-up accounts cannot grow it further.
const KEYS_MAX: usize = 10_000;

/// Our clock, as governor reads it.
#[derive(Clone)]
struct Wall(Arc<dyn Clock>);

impl GovernorClock for Wall {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        let since = self.0.now().as_nanosecond().clamp(0, i128::from(u64::MAX));
        Nanos::new(u64::try_from(since).unwrap_or(u64::MAX))
    }
}

type Limiter = RateLimiter<String, HashMapStateStore<String>, Wall, NoOpMiddleware<Nanos>>;

/// The same refusal of one account again and again, beyond the first, which has a record of its own.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Counted {
    /// How many more.
    pub count: u64,
    /// What was tried last.
    pub last: String,
}

/// Surface and id of an account, and the kind of refusal.
type CountKey = (String, String, String);

/// All limits of one bot.
pub struct Limits {
    clock: Wall,
    door: Limiter,
    commands: Mutex<HashMap<String, Limiter>>,
    counted: Mutex<HashMap<CountKey, (Account, Counted)>>,
}

fn quota(count: u32, per: Duration) -> Quota {
    let count = NonZeroU32::new(count).unwrap_or(NonZeroU32::MIN);
    let one = per.checked_div(count.get()).filter(|d| !d.is_zero()).unwrap_or(Duration::from_nanos(1));
    Quota::with_period(one).map_or_else(|| Quota::per_second(count), |q| q.allow_burst(count))
}

impl Limits {
    /// `door` is what one account may say per minute, whatever it is.
    pub fn new(clock: Arc<dyn Clock>, door: u32) -> Self {
        let clock = Wall(clock);
        let limiter =
            RateLimiter::new(quota(door, Duration::from_mins(1)), HashMapStateStore::default(), clock.clone());
        Self { clock, door: limiter, commands: Mutex::default(), counted: Mutex::default() }
    }

    /// May this account say anything now?
    ///
    /// # Errors
    /// How long to wait.
    pub fn door(&self, account: &Account) -> Result<(), Duration> {
        self.ask(&self.door, account.to_string())
    }

    /// May this person say this command now?
    ///
    /// # Errors
    /// How long to wait.
    pub fn command(&self, who: &str, command: &str, rate: RateLimit) -> Result<(), Duration> {
        let mut commands = self.commands.lock().unwrap_or_else(PoisonError::into_inner);
        let limiter = commands.entry(command.to_owned()).or_insert_with(|| {
            RateLimiter::new(
                quota(rate.count, Duration::from_secs(rate.per_s)),
                HashMapStateStore::default(),
                self.clock.clone(),
            )
        });
        self.ask(limiter, who.to_owned())
    }

    fn ask(&self, limiter: &Limiter, key: String) -> Result<(), Duration> {
        if limiter.len() > KEYS_MAX {
            limiter.retain_recent();
        }
        limiter.check_key(&key).map_err(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// Notes a refusal. True for the first one of the `same` kind since the last [`Self::take_counted`]: that one is
    /// worth a record of its own.
    pub fn count(&self, account: &Account, same: &str, tried: &str) -> bool {
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        if counted.len() >= KEYS_MAX {
            return false;
        }
        let key = (account.surface.as_str().to_owned(), account.id.clone(), same.to_owned());
        match counted.entry(key) {
            Entry::Vacant(place) => {
                place.insert((account.clone(), Counted::default()));
                true
            }
            Entry::Occupied(mut known) => {
                let (_, more) = known.get_mut();
                more.count += 1;
                tried.clone_into(&mut more.last);
                false
            }
        }
    }

    /// What came beyond the first since the last time, for the records.
    pub fn take_counted(&self) -> Vec<(Account, Counted)> {
        let all = std::mem::take(&mut *self.counted.lock().unwrap_or_else(PoisonError::into_inner));
        all.into_values().filter(|(_, more)| more.count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;
    use crate::domain::actor::Surface;
    use jiff::Timestamp;

    #[test]
    fn the_door_says_when_to_try_again_and_then_opens() {
        let clock = Arc::new(ManualClock::at("2026-11-22T02:00:00Z".parse::<Timestamp>().unwrap()));
        let limits = Limits::new(clock.clone(), 3);
        let amal = Account { surface: Surface::Slack, id: "U1".into(), detail: None };
        for _ in 0..3 {
            limits.door(&amal).unwrap();
        }
        let wait = limits.door(&amal).unwrap_err();
        assert_eq!(wait, Duration::from_secs(20));
        let other = Account { id: "U2".into(), ..amal.clone() };
        limits.door(&other).expect("one account's flood is not another's");
        clock.advance(wait);
        limits.door(&amal).expect("after the time it was told");
        assert!(limits.count(&amal, "door", "/rollback"));
        assert!(limits.take_counted().is_empty(), "a single refusal has its own record");
        assert!(limits.count(&amal, "door", "/rollback"));
        assert!(!limits.count(&amal, "door", "/status"), "only the first has a record of its own");
        assert!(limits.count(&amal, "another", "/rollback"));
        assert_eq!(limits.take_counted(), [(amal, Counted { count: 1, last: "/status".into() })]);
    }
}

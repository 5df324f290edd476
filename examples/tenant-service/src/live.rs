//! The settings that can change while the service runs: read on every request, replaced at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_services::Policy;
use parking_lot::RwLock;

use crate::lookups::Mode;

/// What can be changed by a new configuration file without a restart.
#[derive(Clone, Debug, PartialEq)]
pub struct LiveSettings {
    /// Where answers come from.
    pub resolver: Mode,
    /// How long an organisation is kept.
    pub organisation_ttl: Duration,
    /// How long a user and the user's role are kept.
    pub user_ttl: Duration,
    /// How long a token is kept.
    pub token_ttl: Duration,
    /// How long it is remembered that there is no such organisation, user or token.
    pub unknown_ttl: Duration,
    /// How long after its time an organisation may still be served while it is loaded anew, or cannot
    /// be.
    pub organisation_stale: Duration,
    /// The part of its time by which an entry may end earlier, from 0 to 1.
    pub jitter: f64,
    /// Requests a second that this instance answers; `None`: all.
    pub requests_per_second: Option<u32>,
    /// The largest body of a request, in bytes.
    pub body_bytes: usize,
    /// How long a request may take.
    pub request_timeout: Duration,
    /// How long a client may take to send the head of a request, from when the connection is ready for
    /// one.
    pub header_timeout: Duration,
    /// The part of all lookups that shadow mode compares, from 0 to 1.
    pub shadow_sample: f64,
    /// How long shadow mode waits until a difference counts: longer than the cache promises that a
    /// change takes to be seen by all instances.
    pub shadow_settle: Duration,
}

/// Which of the times above something lives for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ttl {
    /// As an organisation.
    Organisation,
    /// As a user.
    User,
    /// As a token.
    Token,
}

/// The settings in force.
#[derive(Debug)]
pub struct Live {
    settings: RwLock<Arc<LiveSettings>>,
    rate: Rate,
}

impl Live {
    pub(crate) fn new(settings: LiveSettings) -> Self {
        Self { settings: RwLock::new(Arc::new(settings)), rate: Rate::new() }
    }

    /// What is in force now. One request reads it more than once and may see a change in between.
    #[must_use]
    pub fn settings(&self) -> Arc<LiveSettings> {
        Arc::clone(&self.settings.read())
    }

    /// Puts all of `settings` in force at once. What is cached already keeps its time.
    pub fn replace(&self, settings: LiveSettings) {
        *self.settings.write() = Arc::new(settings);
    }

    /// How something is cached.
    #[must_use]
    pub fn policy(&self, ttl: Ttl) -> Policy {
        let settings = self.settings();
        let policy = match ttl {
            Ttl::Organisation => {
                Policy::ttl(settings.organisation_ttl).stale_for(settings.organisation_stale)
            }
            Ttl::User => Policy::ttl(settings.user_ttl),
            Ttl::Token => Policy::ttl(settings.token_ttl),
        };
        policy.negative_ttl(settings.unknown_ttl).jitter(settings.jitter)
    }

    /// Whether one more request may be answered now.
    pub(crate) fn admits(&self) -> bool {
        let rate = self.settings().requests_per_second;
        rate.is_none_or(|rate| self.rate.admits(rate, self.rate.start.elapsed()))
    }
}

/// A rate, kept by one number: the time at which the next request would be due if all came evenly. It
/// may run ahead of the clock by one second, which is how many requests may come at once.
#[derive(Debug)]
struct Rate {
    start: Instant,
    next: AtomicU64,
}

impl Rate {
    fn new() -> Self {
        Self { start: Instant::now(), next: AtomicU64::new(0) }
    }

    fn admits(&self, per_second: u32, now: Duration) -> bool {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let gap = 1_000_000_000 / u64::from(per_second.max(1));
        let due = |next: u64| {
            let next = next.max(now) + gap;
            (next <= now + 1_000_000_000).then_some(next)
        };
        self.next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, due).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_admits_a_second_at_once_and_then_as_many_as_come_due() {
        let rate = Rate::new();
        let admitted =
            |from: u64| (0..100).filter(|_| rate.admits(10, Duration::from_millis(from))).count();
        assert_eq!(admitted(0), 10);
        assert_eq!(admitted(0), 0);
        assert_eq!(admitted(350), 3);
        assert_eq!(admitted(400), 1);
        assert_eq!(admitted(60_000), 10, "what was not used is not saved up");
    }
}

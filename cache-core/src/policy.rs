//! What a write or a load may do: how long values live, and what a caller will put up with.

use std::time::Duration;

use crate::{Entry, Timestamp};

/// How long an absent value is remembered at most when no `negative_ttl` says otherwise.
const NEGATIVE_TTL_CAP: Duration = Duration::from_secs(30);
/// How long one load may take when no `load_timeout` says otherwise.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a failed refresh keeps the next one off, at most.
const REFRESH_BACKOFF: Duration = Duration::from_secs(5);

/// How long values live and what a load may do. Cheap to clone; unset fields take the defaults
/// below.
///
/// | field | default | meaning |
/// |---|---|---|
/// | `ttl` | the service's | how long a value is fresh |
/// | `stale_for` | 0 | how long after that it may still be served while a refresh runs or fails |
/// | `refresh_ahead` | off | the fraction of the TTL after which a read starts a refresh |
/// | `jitter` | 0 | the fraction by which TTLs are shortened at random |
/// | `negative_ttl` | the TTL, at most 30 s | how long an absent value is remembered |
/// | `local_ttl` | the TTL | how long a process may hold the value at most |
/// | `soft_timeout` | 0 | how long a caller waits for a refresh before it takes the stale value |
/// | `load_timeout` | 30 s | how long a loader may take, and how long another node's is waited for |
/// | `single_flight_across_nodes` | on | whether nodes wait for each other's loads |
///
/// What happens in which case stands in `docs/read-through.md`.
///
/// ```
/// use cache_core::Policy;
/// use std::time::Duration;
///
/// let policy = Policy::ttl(Duration::from_secs(300))
///     .stale_for(Duration::from_secs(60))
///     .jitter(0.1);
/// let same_with_service_ttl = Policy::from(None).jitter(0.1);
/// # let _ = (policy, same_with_service_ttl);
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    pub(crate) ttl: Option<Duration>,
    pub(crate) stale_for: Duration,
    pub(crate) refresh_ahead: Option<f64>,
    pub(crate) jitter: f64,
    pub(crate) negative_ttl: Option<Duration>,
    pub(crate) local_ttl: Option<Duration>,
    pub(crate) soft_timeout: Option<Duration>,
    pub(crate) load_timeout: Option<Duration>,
    pub(crate) loads_alone: bool,
}

impl Policy {
    /// A policy with this TTL and every other field at its default. Zero means that nothing is
    /// kept; anything beyond some 500,000 years means that it never expires.
    #[must_use]
    pub fn ttl(ttl: Duration) -> Self {
        Self { ttl: Some(ttl), ..Self::default() }
    }

    /// How long after its freshness a value may still be served, while a refresh is under way or
    /// has failed. A write keeps the value that much longer; a read serves it stale only if its
    /// own policy allows as much.
    #[must_use]
    pub fn stale_for(self, window: Duration) -> Self {
        Self { stale_for: window, ..self }
    }

    /// Starts a refresh on the first read after this fraction of the TTL; that read and those
    /// after it get the value that is there. Between 0 and 1, both excluded; anything else turns
    /// it off.
    #[must_use]
    pub fn refresh_ahead(self, fraction: f64) -> Self {
        let refresh_ahead = (fraction > 0.0 && fraction < 1.0).then_some(fraction);
        Self { refresh_ahead, ..self }
    }

    /// Shortens each TTL by a random part of up to this fraction, so that what was written
    /// together does not expire together. From 0 to 1; values outside are brought inside. A TTL
    /// is never lengthened.
    #[must_use]
    pub fn jitter(self, fraction: f64) -> Self {
        let jitter = if fraction.is_nan() { 0.0 } else { fraction.clamp(0.0, 1.0) };
        Self { jitter, ..self }
    }

    /// How long it is remembered that a key has no value. Zero: not at all.
    #[must_use]
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        Self { negative_ttl: Some(ttl), ..self }
    }

    /// How long a process may hold the value in memory at most, whatever the TTL.
    #[must_use]
    pub fn local_ttl(self, ttl: Duration) -> Self {
        Self { local_ttl: Some(ttl), ..self }
    }

    /// How long a caller waits for a fresh value when a stale one is there. Afterwards it gets
    /// the stale one and the load goes on without it. Without a stale value it has no effect.
    #[must_use]
    pub fn soft_timeout(self, timeout: Duration) -> Self {
        Self { soft_timeout: Some(timeout), ..self }
    }

    /// How long a loader may take before it is given up: its future is dropped and whoever waits gets
    /// the stale value if there is one, else [`Timeout`](crate::ErrorKind::Timeout). Another node's
    /// load is waited for as long before, at most. [`Duration::MAX`]: never.
    #[must_use]
    pub fn load_timeout(self, timeout: Duration) -> Self {
        Self { load_timeout: Some(timeout), ..self }
    }

    /// Whether a load waits for another node that is loading the same key.
    #[must_use]
    pub fn single_flight_across_nodes(self, wait: bool) -> Self {
        Self { loads_alone: !wait, ..self }
    }

    /// The TTL, if the policy sets one.
    #[must_use]
    pub fn time_to_live(&self) -> Option<Duration> {
        self.ttl
    }

    /// How long after its freshness a value may be served.
    #[must_use]
    pub fn stale_window(&self) -> Duration {
        self.stale_for
    }

    /// How long one load may take.
    #[must_use]
    pub fn load_budget(&self) -> Duration {
        self.load_timeout.unwrap_or(LOAD_TIMEOUT)
    }

    /// Whether this policy lets `entry` be served at `now`: it is fresh, or stale within both the
    /// window it was written with and this policy's.
    #[must_use]
    pub fn serves(&self, entry: &Entry, now: Timestamp) -> bool {
        entry.is_fresh(now)
            || (entry.is_servable(now) && now < entry.fresh_until() + self.stale_for)
    }

    /// Whether a read of `entry` at `now` should start a refresh although it is fresh. The TTL
    /// counts from the end of freshness backwards, so it needs no date of writing.
    #[must_use]
    pub fn wants_refresh(&self, entry: &Entry, now: Timestamp, default_ttl: Duration) -> bool {
        let Some(fraction) = self.refresh_ahead else {
            return false;
        };
        if entry.is_absent() || entry.fresh_until() == Timestamp::MAX {
            return false;
        }
        let rest = self.ttl.unwrap_or(default_ttl).mul_f64(1.0 - fraction);
        now >= entry.fresh_until() - rest
    }

    /// How long an absent value lives: the TTL to use (`None`: the service's) and its upper bound.
    pub(crate) fn negative_terms(&self) -> (Option<Duration>, Duration) {
        match self.negative_ttl {
            Some(ttl) => (Some(ttl), Duration::MAX),
            None => (self.ttl, NEGATIVE_TTL_CAP),
        }
    }

    /// How long a failed refresh keeps the next one off: 5 s, or the TTL if that is shorter.
    pub(crate) fn refresh_backoff(&self, default_ttl: Duration) -> Duration {
        REFRESH_BACKOFF.min(self.ttl.unwrap_or(default_ttl))
    }
}

impl From<Duration> for Policy {
    fn from(ttl: Duration) -> Self {
        Self::ttl(ttl)
    }
}

impl From<Option<Duration>> for Policy {
    fn from(ttl: Option<Duration>) -> Self {
        Self { ttl, ..Self::default() }
    }
}

impl From<&Policy> for Policy {
    fn from(policy: &Policy) -> Self {
        policy.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn odd_fractions_are_tamed() {
        assert_eq!(Policy::default().jitter(f64::NAN), Policy::default());
        assert_eq!(Policy::default().jitter(7.0), Policy::default().jitter(1.0));
        for off in [0.0, 1.0, -1.0, 2.0, f64::NAN] {
            assert_eq!(Policy::default().refresh_ahead(off), Policy::default());
        }
    }
}

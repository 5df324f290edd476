//! What a write or a load may do: how long values live, and what a caller will put up with.

use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::{Entry, Timestamp};

/// How long an absent value is remembered at most when no `negative_ttl` says otherwise.
const NEGATIVE_TTL_CAP: Duration = Duration::from_secs(30);
/// How long one load may take when no `load_timeout` says otherwise.
const LOAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a failed refresh keeps the next one off, at most.
const REFRESH_BACKOFF: Duration = Duration::from_secs(5);

/// How long values live and what a load may do. Cheap to clone; unset fields take the defaults
/// below. Durations count in whole microseconds, rounded down; fractions in billionths.
///
/// | field | default | meaning |
/// |---|---|---|
/// | `ttl` | the service's | how long a value is fresh |
/// | `stale_for` | 0 | how long after that it may still be served while a refresh runs or fails |
/// | `refresh_ahead` | off | the fraction of the TTL after which a read starts a refresh |
/// | `jitter` | 0 | the fraction by which TTLs are shortened at random |
/// | `negative_ttl` | the TTL, at most 30 s | how long an absent value is remembered |
/// | `local_ttl` | the TTL | how long a process may hold the value for fresh at most |
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
// In one cache line, as every read through the cache copies it, a hit too.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    ttl: Option<Span>,
    stale_for: Span,
    negative_ttl: Option<Span>,
    local_ttl: Option<Span>,
    soft_timeout: Option<Span>,
    load_timeout: Option<Span>,
    /// 0: off.
    refresh_ahead: Fraction,
    jitter: Fraction,
    pub(crate) loads_alone: bool,
}

/// A length of time in one word, and so is none: microseconds, as [`Timestamp`] counts them, and one
/// more. What is longer than that can be has no end.
#[derive(Clone, Copy, PartialEq)]
struct Span(NonZeroU64);

impl Span {
    fn new(duration: Duration) -> Self {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Self(NonZeroU64::MIN.saturating_add(micros))
    }

    fn get(self) -> Duration {
        match self.0 {
            NonZeroU64::MAX => Duration::MAX,
            more => Duration::from_micros(more.get() - 1),
        }
    }
}

impl Default for Span {
    fn default() -> Self {
        Self::new(Duration::ZERO)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// From 0 to 1, in billionths.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Fraction(u32);

impl Fraction {
    const WHOLE: f64 = 1e9;

    /// What is not between 0 and 1 is brought there.
    fn new(fraction: f64) -> Self {
        Self((fraction * Self::WHOLE).round() as u32).min(Self(Self::WHOLE as u32))
    }

    fn get(self) -> f64 {
        f64::from(self.0) / Self::WHOLE
    }
}

impl fmt::Debug for Fraction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl Policy {
    /// A policy with this TTL and every other field at its default. Zero means that nothing is
    /// kept; anything beyond some 500,000 years means that it never expires.
    #[must_use]
    pub fn ttl(ttl: Duration) -> Self {
        Self::from(Some(ttl))
    }

    /// How long after its freshness a value may still be served, while a refresh is under way or
    /// has failed. A write keeps the value that much longer; a read serves it stale only if its
    /// own policy allows as much.
    #[must_use]
    pub fn stale_for(self, window: Duration) -> Self {
        Self { stale_for: Span::new(window), ..self }
    }

    /// Starts a refresh on the first read after this fraction of the TTL; that read and those
    /// after it get the value that is there. Between 0 and 1, both excluded; anything else turns
    /// it off. With `jitter` it is never before that fraction of the time that the value really lives.
    #[must_use]
    pub fn refresh_ahead(self, fraction: f64) -> Self {
        let on = fraction > 0.0 && fraction < 1.0;
        // What is nearly nothing or all is rounded to neither.
        let (least, most) = (Fraction(1), Fraction(Fraction::WHOLE as u32 - 1));
        let refresh_ahead =
            if on { Fraction::new(fraction).clamp(least, most) } else { Fraction::default() };
        Self { refresh_ahead, ..self }
    }

    /// Shortens each TTL by a random part of up to this fraction, so that what was written
    /// together does not expire together. From 0 to 1; values outside are brought inside. A TTL
    /// is never lengthened.
    #[must_use]
    pub fn jitter(self, fraction: f64) -> Self {
        Self { jitter: Fraction::new(fraction), ..self }
    }

    /// How long it is remembered that a key has no value. Zero: not at all.
    #[must_use]
    pub fn negative_ttl(self, ttl: Duration) -> Self {
        Self { negative_ttl: Some(Span::new(ttl)), ..self }
    }

    /// How long a process may hold the value in memory at most, whatever the TTL. In front of a tier that
    /// nodes share it is not held for longer, stale or not: the stale one is there. Where the memory of the
    /// process is all there is, its freshness ends then, and a stale window follows.
    #[must_use]
    pub fn local_ttl(self, ttl: Duration) -> Self {
        Self { local_ttl: Some(Span::new(ttl)), ..self }
    }

    /// How long a caller waits for a fresh value when a stale one is there. Afterwards it gets
    /// the stale one and the load goes on without it. Without a stale value it has no effect.
    #[must_use]
    pub fn soft_timeout(self, timeout: Duration) -> Self {
        Self { soft_timeout: Some(Span::new(timeout)), ..self }
    }

    /// How long a loader may take before it is given up: its future is dropped and whoever waits gets
    /// the stale value if there is one, else [`Timeout`](crate::ErrorKind::Timeout). Another node's
    /// load is waited for as long before, at most. [`Duration::MAX`]: never.
    #[must_use]
    pub fn load_timeout(self, timeout: Duration) -> Self {
        Self { load_timeout: Some(Span::new(timeout)), ..self }
    }

    /// Whether a load waits for another node that is loading the same key.
    #[must_use]
    pub fn single_flight_across_nodes(self, wait: bool) -> Self {
        Self { loads_alone: !wait, ..self }
    }

    /// The TTL, if the policy sets one.
    #[must_use]
    pub fn time_to_live(&self) -> Option<Duration> {
        self.ttl.map(Span::get)
    }

    /// How long after its freshness a value may be served.
    #[must_use]
    pub fn stale_window(&self) -> Duration {
        self.stale_for.get()
    }

    /// How long one load may take.
    #[must_use]
    pub fn load_budget(&self) -> Duration {
        self.load_timeout.map_or(LOAD_TIMEOUT, Span::get)
    }

    /// Whether this policy lets `entry` be served at `now`: it is fresh, or stale within both the
    /// window it was written with and this policy's.
    #[must_use]
    pub fn serves(&self, entry: &Entry, now: Timestamp) -> bool {
        entry.is_fresh(now)
            || (entry.is_servable(now) && now < entry.fresh_until() + self.stale_window())
    }

    /// Whether a read of `entry` at `now` should start a refresh although it is fresh. The TTL
    /// counts from the end of freshness backwards, so it needs no date of writing. A copy that a process
    /// holds for a shorter time says nothing about when that is: it is due only if the policy's
    /// `local_ttl` does.
    #[must_use]
    pub fn wants_refresh(&self, entry: &Entry, now: Timestamp, default_ttl: Duration) -> bool {
        if !self.refreshes_ahead() || entry.is_absent() || entry.fresh_until() == Timestamp::MAX {
            return false;
        }
        let ttl = self.time_to_live().unwrap_or(default_ttl);
        let ahead = self.refresh_ahead.get();
        let rest = match self.time_held_locally() {
            // Of the shortest life that jitter gives: what lives longer is not due at its birth.
            _ if !entry.is_cut() => ttl.mul_f64((1.0 - ahead) * (1.0 - self.jitter_fraction())),
            Some(local) => local.saturating_sub(ttl.mul_f64(ahead)),
            None => Duration::ZERO,
        };
        now >= entry.fresh_until() - rest
    }

    /// Whether a read may start a refresh although the value is fresh.
    #[inline]
    pub(crate) fn refreshes_ahead(&self) -> bool {
        self.refresh_ahead > Fraction(0)
    }

    /// By what part a TTL may be shortened at random.
    pub(crate) fn jitter_fraction(&self) -> f64 {
        self.jitter.get()
    }

    /// How long a process may hold the value in memory at most, if the policy says.
    pub(crate) fn time_held_locally(&self) -> Option<Duration> {
        self.local_ttl.map(Span::get)
    }

    /// How long a caller waits for a fresh value when a stale one is there, if the policy says.
    pub(crate) fn patience(&self) -> Option<Duration> {
        self.soft_timeout.map(Span::get)
    }

    /// How long an absent value lives: the TTL to use (`None`: the service's) and its upper bound.
    pub(crate) fn negative_terms(&self) -> (Option<Duration>, Duration) {
        match self.negative_ttl {
            Some(ttl) => (Some(ttl.get()), Duration::MAX),
            None => (self.time_to_live(), NEGATIVE_TTL_CAP),
        }
    }

    /// How long a failed refresh keeps the next one off: 5 s, or the TTL if that is shorter.
    pub(crate) fn refresh_backoff(&self, default_ttl: Duration) -> Duration {
        REFRESH_BACKOFF.min(self.time_to_live().unwrap_or(default_ttl))
    }
}

impl From<Duration> for Policy {
    fn from(ttl: Duration) -> Self {
        Self::ttl(ttl)
    }
}

impl From<Option<Duration>> for Policy {
    fn from(ttl: Option<Duration>) -> Self {
        Self { ttl: ttl.map(Span::new), ..Self::default() }
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
    fn a_policy_is_one_cache_line() {
        assert_eq!(size_of::<Policy>(), 64);
    }

    #[test]
    fn durations_and_fractions_come_back_as_they_were() {
        let micros = u64::MAX - 2;
        for duration in [Duration::ZERO, Duration::from_micros(1), Duration::from_micros(micros)] {
            assert_eq!(Policy::ttl(duration).time_to_live(), Some(duration));
        }
        // Some 584,000 years and more.
        for duration in [Duration::from_micros(u64::MAX - 1), Duration::MAX] {
            assert_eq!(Policy::ttl(duration).time_to_live(), Some(Duration::MAX));
        }
        assert_eq!(Policy::from(None).time_to_live(), None);
        for fraction in [0.8, 0.1, 0.333, 1e-9, 1.0] {
            assert_eq!(Policy::default().jitter(fraction).jitter_fraction(), fraction);
            let ahead = Policy::default().refresh_ahead(fraction / 2.0);
            assert!(ahead.refreshes_ahead());
        }
    }

    /// As far before the end of the least life as it would be without jitter.
    #[test]
    fn with_jitter_nothing_is_due_before_its_fraction_of_what_it_lives() {
        let second = Duration::from_secs(1);
        for (jitter, ahead) in [(1.0, 0.1), (0.5, 0.3), (0.1, 0.8), (0.0, 0.5)] {
            let policy = Policy::ttl(100 * second).jitter(jitter).refresh_ahead(ahead);
            for percent in 0..100 {
                let lives = 100.0 * (1.0 - jitter * f64::from(percent) / 100.0);
                let begun = Timestamp::from_micros(1_000_000_000);
                let until = begun + Duration::from_secs_f64(lives);
                let entry = Entry::restore(Some(b"1".to_vec()), until, until);
                let due = |part: f64| {
                    let now = begun + Duration::from_secs_f64(lives * part);
                    policy.wants_refresh(&entry, now, second)
                };
                assert!(!due(ahead - 0.001), "{policy:?} of {lives} s");
                assert!(jitter == 1.0 || due(0.999), "{policy:?} of {lives} s");
            }
            let without = policy.clone().jitter(0.0);
            let until = Timestamp::from_micros(100_000_000);
            let entry = Entry::restore(Some(b"1".to_vec()), until, until);
            let at = |part: f64| Timestamp::ZERO + 100 * second.mul_f64(part);
            assert!(!without.wants_refresh(&entry, at(ahead - 0.001), second));
            assert!(without.wants_refresh(&entry, at(ahead + 0.001), second));
        }
    }

    #[test]
    fn a_fraction_that_is_nearly_all_is_not_all() {
        let policy = Policy::ttl(Duration::MAX).refresh_ahead(1.0 - f64::EPSILON);
        let policy = policy.local_ttl(Duration::from_secs(1));
        assert!(policy.refresh_ahead < Fraction::new(1.0));
        assert!(Duration::MAX.mul_f64(policy.refresh_ahead.get()) < Duration::MAX);
    }

    #[test]
    fn odd_fractions_are_tamed() {
        assert_eq!(Policy::default().jitter(f64::NAN), Policy::default());
        assert_eq!(Policy::default().jitter(7.0), Policy::default().jitter(1.0));
        for off in [0.0, 1.0, -1.0, 2.0, f64::NAN] {
            assert_eq!(Policy::default().refresh_ahead(off), Policy::default());
        }
    }
}

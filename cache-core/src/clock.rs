//! Time: every deadline in the family comes from a [`Clock`], so tests move it by hand.

use std::fmt;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use crate::ManualClock;

/// A point in time: microseconds since the Unix epoch.
///
/// Timestamps of one [`Clock`] never run backwards. Arithmetic saturates: adding
/// [`Duration::MAX`] gives [`Timestamp::MAX`], which no clock reaches.
///
/// ```
/// use cache_core::Timestamp;
/// use std::time::Duration;
///
/// let t = Timestamp::from_micros(5_000_000);
/// assert_eq!(t + Duration::from_secs(1), Timestamp::from_micros(6_000_000));
/// assert_eq!(t + Duration::MAX, Timestamp::MAX);
/// assert_eq!(t.until(t + Duration::from_millis(3)), Duration::from_millis(3));
/// assert_eq!((t + Duration::from_secs(9)).until(t), Duration::ZERO);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The far end of time: the deadline of what never expires.
    pub const MAX: Self = Self(u64::MAX);
    /// The Unix epoch.
    pub const ZERO: Self = Self(0);

    /// The timestamp `micros` microseconds after the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// How long from `self` to `later`; zero if `later` is not later.
    #[must_use]
    pub const fn until(self, later: Self) -> Duration {
        if later.0 == u64::MAX {
            return Duration::MAX;
        }
        Duration::from_micros(later.0.saturating_sub(self.0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(micros(duration)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(micros(duration)))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// How far the cheap clock may lag before [`Clock::is_before`] stops trusting it, in seconds. The
/// kernel renews it every 1 to 10 ms; the rest is for a virtual machine whose timer core was held
/// up.
const COARSE_MARGIN: u64 = 1;

/// How much too early a timer of the runtime may fire.
const ROUNDING: Duration = Duration::from_millis(2);

/// Where time comes from: the system, or a [`ManualClock`] moved by a test.
///
/// The system clock is the wall clock as it stood when the process first asked, plus the
/// monotonic time since: it does not jump when the wall clock is set. Cloning is cheap and a
/// clone tells the same time.
///
/// ```
/// use cache_core::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let manual = ManualClock::new();
/// let clock = Clock::from(&manual);
/// let before = clock.now();
/// manual.advance(Duration::from_secs(60));
/// assert_eq!(clock.now(), before + Duration::from_secs(60));
/// ```
#[derive(Clone, Default)]
pub struct Clock(Option<ManualClock>);

impl Clock {
    /// The system's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(None)
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            None => Anchor::get().now(),
            Some(manual) => manual.now(),
        }
    }

    /// The time now, cheaply: a quarter of the cost of [`now`](Self::now) on Linux and up to
    /// some 10 ms behind it. For bookkeeping that does not need to be exact.
    #[must_use]
    pub fn coarse_now(&self) -> Timestamp {
        match &self.0 {
            None => Anchor::get().coarse_now(),
            Some(manual) => manual.now(),
        }
    }

    /// Whether `deadline` still lies ahead: `now() < deadline`, exactly. Deadlines some
    /// seconds away are decided on the cheap clock, so this is what a cache hit asks.
    #[must_use]
    #[inline]
    pub fn is_before(&self, deadline: Timestamp) -> bool {
        match &self.0 {
            None => Anchor::get().is_well_before(deadline) || self.now() < deadline,
            Some(manual) => manual.now() < deadline,
        }
    }

    /// [`is_before`](Self::is_before) for `deadline`, and whether `other`, which is on the system's
    /// clock, lies ahead by the cheap one: with one look for both.
    #[inline]
    pub(crate) fn is_before_both(&self, deadline: Timestamp, other: Timestamp) -> bool {
        let coarse = Anchor::get().coarse_now();
        let well_before = || match &self.0 {
            None => coarse.0.saturating_add(COARSE_MARGIN * 1_000_000) < deadline.0,
            Some(_) => false,
        };
        coarse < other && (well_before() || self.now() < deadline)
    }

    /// Sleeps until `deadline`; returns at once if it has passed, never for [`Timestamp::MAX`].
    ///
    /// Where a test has [paused](https://docs.rs/tokio/latest/tokio/time/fn.pause.html) the time of its
    /// runtime, sleeps on the system's clock end by that time, which [`now`](Self::now) knows nothing of:
    /// entries grow no older by it. A test that wants both builds with a [`ManualClock`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn sleep_until(&self, deadline: Timestamp) {
        if deadline == Timestamp::MAX {
            return std::future::pending().await;
        }
        match &self.0 {
            Some(manual) => manual.sleep_until(deadline).await,
            // Timers fire by the runtime's clock, which may round down: look again. One that is further
            // ahead than that is not the system's: a test has paused it, and moves it by hand.
            None => loop {
                let left = self.now().until(deadline);
                if left.is_zero() {
                    return;
                }
                tokio::time::sleep(left).await;
                if self.now().until(deadline) > ROUNDING {
                    return;
                }
            },
        }
    }

    /// As [`sleep_until`](Self::sleep_until), for who guards against what should not come about: a
    /// manual clock does not count it among its sleepers.
    pub(crate) async fn guard_until(&self, deadline: Timestamp) {
        match &self.0 {
            Some(manual) if deadline < Timestamp::MAX => manual.guard_until(deadline).await,
            _ => self.sleep_until(deadline).await,
        }
    }

    /// Sleeps for `duration`, [`Duration::MAX`] being for ever.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now() + duration).await;
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("Clock::system"),
            Some(manual) => write!(f, "Clock::manual({:?})", manual.now()),
        }
    }
}

impl From<ManualClock> for Clock {
    fn from(manual: ManualClock) -> Self {
        Self(Some(manual))
    }
}

impl From<&ManualClock> for Clock {
    fn from(manual: &ManualClock) -> Self {
        Self(Some(manual.clone()))
    }
}

impl From<&Clock> for Clock {
    fn from(clock: &Clock) -> Self {
        clock.clone()
    }
}

/// The wall clock and the monotonic clocks, read together once.
struct Anchor {
    unix_micros: u64,
    monotonic: Instant,
    /// What to add to the cheap clock's time, which is behind the monotonic one and never ahead.
    #[cfg(target_os = "linux")]
    coarse_to_unix: u64,
    /// What to add to the cheap clock's whole seconds to be at or past the wall clock's.
    #[cfg(target_os = "linux")]
    coarse_to_unix_seconds: u64,
}

impl Anchor {
    #[inline]
    fn get() -> &'static Self {
        static ANCHOR: OnceLock<Anchor> = OnceLock::new();
        ANCHOR.get_or_init(|| {
            let unix_micros = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, micros);
            let monotonic = Instant::now();
            #[cfg(target_os = "linux")]
            let monotonic_micros = micros_of(rustix::time::ClockId::Monotonic);
            Self {
                unix_micros,
                monotonic,
                #[cfg(target_os = "linux")]
                coarse_to_unix: unix_micros.wrapping_sub(monotonic_micros),
                #[cfg(target_os = "linux")]
                coarse_to_unix_seconds: unix_micros.saturating_sub(monotonic_micros) / 1_000_000
                    + 2,
            }
        })
    }

    fn now(&self) -> Timestamp {
        Timestamp(self.unix_micros + micros(self.monotonic.elapsed()))
    }

    #[cfg(target_os = "linux")]
    #[inline]
    fn coarse_now(&self) -> Timestamp {
        let coarse = micros_of(rustix::time::ClockId::MonotonicCoarse);
        Timestamp(coarse.wrapping_add(self.coarse_to_unix))
    }

    /// Whether `deadline` is more than the margin away, by whole seconds: what most hits ask.
    #[cfg(target_os = "linux")]
    #[inline]
    fn is_well_before(&self, deadline: Timestamp) -> bool {
        let coarse = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        let second = coarse.tv_sec as u64 + self.coarse_to_unix_seconds + COARSE_MARGIN;
        second * 1_000_000 < deadline.0
    }

    #[cfg(not(target_os = "linux"))]
    fn coarse_now(&self) -> Timestamp {
        self.now()
    }

    #[cfg(not(target_os = "linux"))]
    fn is_well_before(&self, _deadline: Timestamp) -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
#[inline]
fn micros_of(clock: rustix::time::ClockId) -> u64 {
    let time = rustix::time::clock_gettime(clock);
    (time.tv_sec as u64) * 1_000_000 + (time.tv_nsec as u64) / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coarse_time_is_behind_the_exact_one_and_near() {
        let clock = Clock::system();
        let margin = Duration::from_secs(COARSE_MARGIN);
        for _ in 0..1_000_000 {
            let (coarse, exact) = (clock.coarse_now(), clock.now());
            assert!(coarse <= exact, "{coarse:?} runs ahead of {exact:?}");
            assert!(exact <= coarse + margin, "{coarse:?} lags behind {exact:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_paused_runtime_s_time_ends_a_sleep_once() {
        let (clock, start) = (Clock::system(), tokio::time::Instant::now());
        clock.sleep(Duration::from_secs(3600)).await;
        let slept = start.elapsed();
        assert!(slept < Duration::from_secs(3601), "{slept:?} of the runtime's time for an hour");
    }

    #[test]
    fn is_before_is_exact_near_and_far() {
        for clock in [Clock::system(), ManualClock::new().clock()] {
            let now = clock.now();
            assert!(clock.is_before(Timestamp::MAX));
            assert!(clock.is_before(now + Duration::from_secs(3600)));
            for millis in (0..6_000).step_by(7) {
                let deadline = clock.now() + Duration::from_millis(millis + 20);
                assert!(clock.is_before(deadline), "{millis} ms ahead");
                let deadline = clock.now() - Duration::from_millis(millis);
                assert!(!clock.is_before(deadline), "{millis} ms ago");
            }
            assert!(!clock.is_before(now));
            assert!(!clock.is_before(Timestamp::ZERO));
        }
    }
}

//! What became of those who asked for locks.
//!
//! A lock that was free is counted where it is granted, under its shard's mutex, so that what most
//! callers do touches nothing that all of them share. Everything else is rare beside the waiting
//! that it comes with.

use std::sync::atomic::{AtomicU64, Ordering};

use cache_core::{LockError, LockErrorKind};

/// A snapshot of a lock service's counters since it was made. Calls with a key or options that are not
/// valid, and those whose future was dropped, are not counted.
///
/// ```
/// use cache_concurrency::LocalConcurrencyService;
/// use cache_core::ConcurrencyServiceExt;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::LockError> {
/// let locks = LocalConcurrencyService::new();
/// locks.with_lock("user:7", async {}).await?;
/// let stats = locks.stats();
/// assert_eq!((stats.acquired, stats.timed_out, stats.leases_lost), (1, 0, 0));
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockStats {
    /// Locks granted, at once or after a wait.
    pub acquired: u64,
    /// Waits that ended with the lock still held by others.
    pub timed_out: u64,
    /// Single tries that found the lock held.
    pub found_held: u64,
    /// Calls that the backend did not answer, or that came after the service was shut down.
    pub unavailable: u64,
    /// Locks that were granted and lost before their caller was polled.
    pub lost_at_once: u64,
    /// Locks whose lease was over before they were given back: it ran out, was taken away, or the
    /// lock was held for `max_hold`. Counted when they are given back.
    pub leases_lost: u64,
}

/// How long locks of one service were waited for and held.
///
/// ```
/// use cache_concurrency::LockTimes;
///
/// fn report(times: &LockTimes) -> String {
///     format!("a wait in a hundred is longer than {:?}", times.waits.quantile(0.99))
/// }
/// # assert!(report(&LockTimes::default()).ends_with("None"));
/// ```
#[cfg(feature = "metrics")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LockTimes {
    /// From the call to the grant, of those who got the lock.
    pub waits: cache_core::Durations,
    /// From the grant to the release.
    pub holds: cache_core::Durations,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) acquired: AtomicU64,
    timed_out: AtomicU64,
    pub(crate) found_held: AtomicU64,
    unavailable: AtomicU64,
    lost_at_once: AtomicU64,
    pub(crate) leases_lost: AtomicU64,
    #[cfg(feature = "metrics")]
    pub(crate) waits: cache_core::Histogram,
    #[cfg(feature = "metrics")]
    pub(crate) holds: cache_core::Histogram,
}

pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

impl Counters {
    /// Counts a call that ended with an error, which is handed back.
    pub(crate) fn failed(&self, error: LockError) -> LockError {
        bump(match error.kind() {
            LockErrorKind::Timeout => &self.timed_out,
            LockErrorKind::LeaseLost => &self.lost_at_once,
            _ => &self.unavailable,
        });
        error
    }

    /// The counters, with those granted that were counted elsewhere.
    pub(crate) fn snapshot(&self, acquired_elsewhere: u64) -> LockStats {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LockStats {
            acquired: count(&self.acquired) + acquired_elsewhere,
            timed_out: count(&self.timed_out),
            found_held: count(&self.found_held),
            unavailable: count(&self.unavailable),
            lost_at_once: count(&self.lost_at_once),
            leases_lost: count(&self.leases_lost),
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn times(&self) -> LockTimes {
        LockTimes { waits: self.waits.snapshot(), holds: self.holds.snapshot() }
    }
}

//! [`LocalConcurrencyService`]: the trait, over 64 shards.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxFuture, Clock, ConcurrencyService, FencingToken, LockError, LockErrorKind, LockGuard,
    LockInfo, LockLease, LockOptions, LockRelease, LockReleasing, TracedKeys, check_lock_key,
};
use foldhash::quality::RandomState;

use crate::LocalConcurrencyBuilder;
use crate::fence;
use crate::shard::Shard;
use crate::state::{Entered, Holder, Name, Terms};
use crate::stats::{Counters, LockStats, bump};
use crate::waiting::Ticket;

/// More than there are cores, so that two keys rarely share a mutex; a power of two.
const SHARDS: usize = 64;

/// Named locks among the tasks of one process. Clones are the same locks.
///
/// See the [crate's page](crate) for what it promises, [`ConcurrencyService`] for the contract and
/// [`ConcurrencyServiceExt`](cache_core::ConcurrencyServiceExt) for how it is used.
///
/// ```
/// use cache_concurrency::LocalConcurrencyService;
/// use cache_core::{ConcurrencyService, LockOptions};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::LockError> {
/// let locks = LocalConcurrencyService::new();
/// let options = LockOptions::default();
/// let guard = locks.acquire("user:7", &options).await?;
/// assert!(locks.try_acquire("user:7", &options).await?.is_none());
/// guard.release().await?;
/// assert!(locks.is_empty());
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct LocalConcurrencyService(Arc<Table>);

pub(crate) struct Table {
    shards: [Shard; SHARDS],
    /// Keyed at random: keys are users' data, and must not be able to pick one shard.
    hasher: RandomState,
    clock: Clock,
    counters: Counters,
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "there are no spans"))]
    traced_keys: TracedKeys,
}

impl Table {
    fn name<'a>(&self, key: &'a str) -> Name<'a> {
        Name { key, hash: self.hasher.hash_one(key) }
    }

    /// By other bits of the hash than those by which a shard's table finds the place.
    fn shard(&self, name: Name<'_>) -> &Shard {
        // The remainder is in range; the compiler sees it.
        &self.shards[(name.hash >> 40) as usize % SHARDS]
    }
}

impl LockRelease for Table {
    fn release(&self, lease: &LockLease) -> LockReleasing {
        // A lock that has passed to another has another token: nothing happens then. Whether the
        // lease was over is what the guard has asked the lease.
        let name = self.name(lease.key());
        let held_since = self.shard(name).leave(name, lease.fencing_token().0);
        if lease.ended_early() {
            bump(&self.counters.leases_lost);
        }
        #[cfg(feature = "metrics")]
        if let Some(since) = held_since {
            self.counters.holds.record(since.until(self.clock.now()));
        }
        #[cfg(not(feature = "metrics"))]
        let _ = held_since;
        LockReleasing::Done(Ok(()))
    }
}

impl LocalConcurrencyService {
    /// A service of its own, on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Clock::system(), TracedKeys::default())
    }

    /// Settings, for a service on another clock.
    ///
    /// ```
    /// use cache_concurrency::LocalConcurrencyService;
    /// use cache_core::ManualClock;
    ///
    /// let clock = ManualClock::new();
    /// let locks = LocalConcurrencyService::builder().clock(&clock).build();
    /// assert!(locks.is_empty());
    /// ```
    pub fn builder() -> LocalConcurrencyBuilder {
        LocalConcurrencyBuilder::default()
    }

    pub(crate) fn of(clock: Clock, traced_keys: TracedKeys) -> Self {
        let shards = std::array::from_fn(|_| Shard::new(clock.clone()));
        let (hasher, counters) = (RandomState::default(), Counters::default());
        Self(Arc::new(Table { shards, hasher, clock, counters, traced_keys }))
    }

    /// What became of those who asked for locks.
    #[must_use]
    pub fn stats(&self) -> LockStats {
        self.0.counters.snapshot(self.0.shards.iter().map(Shard::granted).sum())
    }

    /// How long locks were waited for and held: one of sixteen of each thread.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn times(&self) -> crate::LockTimes {
        self.0.counters.times()
    }

    /// How many keys are held just now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(Shard::len).sum()
    }

    /// Whether nothing is held: then nothing is kept for any key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Who holds a lock, if its lease is not over.
    fn info(&self, (holder, waiters): (Holder, usize)) -> Option<LockInfo> {
        holder.lease.deadline()?;
        let label = match holder.task {
            Some(task) => format!("pid {} · task {task}", std::process::id()),
            None => format!("pid {}", std::process::id()),
        };
        let mut info = LockInfo::new(holder.lease.key(), label, holder.lease.fencing_token());
        info.remaining = holder.lease.remaining();
        info.held_for = holder.since.until(self.0.clock.now());
        info.waiters = waiters;
        Some(info)
    }

    fn guard(&self, lease: LockLease) -> LockGuard {
        let table = Arc::clone(&self.0);
        LockGuard::new(lease, table)
    }

    /// As `acquire`, without a span.
    #[cfg(any(feature = "redis", feature = "tracing"))]
    pub(crate) async fn take(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<LockGuard, LockError> {
        match self.arrive(key, options)? {
            Arrived::Granted(guard) => Ok(guard),
            Arrived::Queued(place, terms) => self.queue(key, options, place, terms).await,
        }
    }

    /// What needs no waiting, so that whoever need not wait carries little around.
    fn arrive(&self, key: &str, options: &LockOptions) -> Result<Arrived, LockError> {
        check_lock_key(key)?;
        options.validate()?;
        let (terms, wait) = (Terms::of(options), options.wait_duration());
        let begin = terms.begin(&self.0.clock);
        let name = self.0.name(key);
        match self.0.shard(name).enter(name, terms, !wait.is_zero(), begin, fence::next) {
            Entered::Granted(lease) => {
                self.waited(terms, || Duration::ZERO);
                Ok(Arrived::Granted(self.guard(lease)))
            }
            Entered::Held => Err(self.failed(held_for(wait), key)),
            Entered::Closed => Err(self.failed(shut_down(), key)),
            Entered::Queued(place) => Ok(Arrived::Queued(place, terms)),
        }
    }

    /// Waits in the queue. Boxed: see `arrive`.
    fn queue<'a>(
        &'a self,
        key: &'a str,
        options: &LockOptions,
        place: u64,
        terms: Terms,
    ) -> BoxFuture<'a, Result<LockGuard, LockError>> {
        let (clock, wait) = (&self.0.clock, options.wait_duration());
        let name = self.0.name(key);
        let ticket = Ticket::new(self.0.shard(name), name, place);
        Box::pin(async move {
            let arrived = clock.now();
            let granted = ticket.granted(clock, arrived + wait).await;
            let granted = granted.map_err(|error| self.failed(error, key))?;
            let lease = granted.ok_or_else(|| self.failed(held_for(wait), key))?;
            bump(&self.0.counters.acquired);
            self.waited(terms, || arrived.until(clock.now()));
            Ok(self.guard(lease))
        })
    }

    /// As `try_acquire`, without a span.
    pub(crate) async fn take_if_free(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        check_lock_key(key)?;
        options.validate()?;
        let terms = Terms::of(options);
        let begin = terms.begin(&self.0.clock);
        let name = self.0.name(key);
        match self.0.shard(name).enter(name, terms, false, begin, fence::next) {
            Entered::Granted(lease) => {
                self.waited(terms, || Duration::ZERO);
                Ok(Some(self.guard(lease)))
            }
            Entered::Held | Entered::Queued(_) => {
                bump(&self.0.counters.found_held);
                Ok(None)
            }
            Entered::Closed => Err(self.failed(shut_down(), key)),
        }
    }

    /// A lock was granted, after so long.
    #[inline]
    fn waited(&self, terms: Terms, wait: impl FnOnce() -> Duration) {
        #[cfg(feature = "metrics")]
        if terms.timed {
            self.0.counters.waits.record(wait());
        }
        #[cfg(not(feature = "metrics"))]
        let _ = (terms.timed, wait);
    }

    fn failed(&self, error: LockError, key: &str) -> LockError {
        self.0.counters.failed(error.with_key(key))
    }
}

impl Default for LocalConcurrencyService {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for LocalConcurrencyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalConcurrencyService").field("held", &self.len()).finish()
    }
}

#[async_trait]
impl ConcurrencyService for LocalConcurrencyService {
    async fn acquire(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError> {
        #[cfg(feature = "tracing")]
        return cache_core::trace_acquire(self.0.traced_keys, key, self.take(key, options)).await;
        // Not by `take`: its future inside this one would make both larger.
        #[cfg(not(feature = "tracing"))]
        match self.arrive(key, options)? {
            Arrived::Granted(guard) => Ok(guard),
            Arrived::Queued(place, terms) => self.queue(key, options, place, terms).await,
        }
    }

    async fn try_acquire(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        let taking = self.take_if_free(key, options);
        #[cfg(feature = "tracing")]
        let taking = cache_core::trace_try_acquire(self.0.traced_keys, key, taking);
        taking.await
    }

    async fn inspect(&self, key: &str) -> Result<Option<LockInfo>, LockError> {
        check_lock_key(key)?;
        let name = self.0.name(key);
        Ok(self.0.shard(name).inspect(name).and_then(|found| self.info(found)))
    }

    async fn list(&self, limit: usize) -> Result<Vec<LockInfo>, LockError> {
        let found = self.0.shards.iter().flat_map(|shard| shard.list(limit));
        Ok(found.filter_map(|found| self.info(found)).take(limit).collect())
    }

    async fn force_release(&self, key: &str, expected: FencingToken) -> Result<bool, LockError> {
        check_lock_key(key)?;
        let name = self.0.name(key);
        let shard = self.0.shard(name);
        let lease = match shard.inspect(name) {
            Some((holder, _)) if holder.lease.fencing_token() == expected => holder.lease,
            _ => return Ok(false),
        };
        // First the lease ends, outside the shard's lock because that wakes the holder; then the
        // lock passes on. In between it is a lock whose lease is over, which is a usual sight.
        let taken = lease.revoke(LockErrorKind::LeaseLost);
        // How long a lock was held that is taken away says nothing about sections.
        let _ = shard.leave(name, expected.0);
        Ok(taken)
    }

    async fn shutdown(&self) {
        self.0.shards.iter().for_each(Shard::close);
    }
}

/// How an arrival ended.
enum Arrived {
    Granted(LockGuard),
    Queued(u64, Terms),
}

fn held_for(wait: Duration) -> LockError {
    let message = format!("held by another for all of the {wait:?} to wait");
    LockError::new(LockErrorKind::Timeout, message)
}

pub(crate) fn shut_down() -> LockError {
    LockError::new(LockErrorKind::Unavailable, "the lock service was shut down")
}

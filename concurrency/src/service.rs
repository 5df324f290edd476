//! [`LocalConcurrencyService`]: the trait, over 64 shards.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{
    Clock, ConcurrencyService, FencingToken, LockError, LockErrorKind, LockGuard, LockInfo,
    LockLease, LockOptions, LockRelease, LockReleasing, check_lock_key,
};
use foldhash::fast::RandomState;

use crate::LocalConcurrencyBuilder;
use crate::fence;
use crate::shard::Shard;
use crate::state::{Entered, Holder, Terms};
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
}

impl Table {
    pub(crate) fn shard(&self, key: &str) -> &Shard {
        // The remainder is in range; the compiler sees it.
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

impl LockRelease for Table {
    fn release(&self, lease: &LockLease) -> LockReleasing {
        // A lock that has passed to another has another token: nothing happens then. Whether the
        // lease was over is what the guard has asked the lease.
        self.shard(lease.key()).leave(lease.key(), lease.fencing_token().0);
        LockReleasing::Done(Ok(()))
    }
}

impl LocalConcurrencyService {
    /// A service of its own, on the system's clock.
    #[must_use]
    pub fn new() -> Self {
        Self::with_clock(Clock::system())
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

    pub(crate) fn with_clock(clock: Clock) -> Self {
        let shards = std::array::from_fn(|_| Shard::new(clock.clone()));
        Self(Arc::new(Table { shards, hasher: RandomState::default(), clock }))
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
        check_lock_key(key)?;
        options.validate()?;
        let (shard, clock, wait) = (self.0.shard(key), &self.0.clock, options.wait_duration());
        let terms = Terms::of(options);
        let begin = terms.begin(clock);
        let granted = match shard.enter(key, terms, !wait.is_zero(), begin, fence::next) {
            Entered::Granted(lease) => Some(lease),
            Entered::Held => None,
            Entered::Closed => return Err(shut_down().with_key(key)),
            Entered::Queued(place) => {
                // Boxed: those who need not wait should not carry the timer around.
                let deadline = clock.now() + wait;
                let granted = Box::pin(Ticket::new(shard, key, place).granted(clock, deadline));
                granted.await.map_err(|error| error.with_key(key))?
            }
        };
        granted.map(|lease| self.guard(lease)).ok_or_else(|| {
            let message = format!("held by another for all of the {wait:?} to wait");
            LockError::new(LockErrorKind::Timeout, message).with_key(key)
        })
    }

    async fn try_acquire(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        check_lock_key(key)?;
        options.validate()?;
        let terms = Terms::of(options);
        let begin = terms.begin(&self.0.clock);
        match self.0.shard(key).enter(key, terms, false, begin, fence::next) {
            Entered::Granted(lease) => Ok(Some(self.guard(lease))),
            Entered::Held | Entered::Queued(_) => Ok(None),
            Entered::Closed => Err(shut_down().with_key(key)),
        }
    }

    async fn inspect(&self, key: &str) -> Result<Option<LockInfo>, LockError> {
        check_lock_key(key)?;
        Ok(self.0.shard(key).inspect(key).and_then(|found| self.info(found)))
    }

    async fn list(&self, limit: usize) -> Result<Vec<LockInfo>, LockError> {
        let found = self.0.shards.iter().flat_map(|shard| shard.list(limit));
        Ok(found.filter_map(|found| self.info(found)).take(limit).collect())
    }

    async fn force_release(&self, key: &str, expected: FencingToken) -> Result<bool, LockError> {
        check_lock_key(key)?;
        let shard = self.0.shard(key);
        let lease = match shard.inspect(key) {
            Some((holder, _)) if holder.lease.fencing_token() == expected => holder.lease,
            _ => return Ok(false),
        };
        // First the lease ends, outside the shard's lock because that wakes the holder; then the
        // lock passes on. In between it is a lock whose lease is over, which is a usual sight.
        let taken = lease.revoke(LockErrorKind::LeaseLost);
        shard.leave(key, expected.0);
        Ok(taken)
    }

    async fn shutdown(&self) {
        self.0.shards.iter().for_each(Shard::close);
    }
}

pub(crate) fn shut_down() -> LockError {
    LockError::new(LockErrorKind::Unavailable, "the lock service was shut down")
}

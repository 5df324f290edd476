//! [`RedisConcurrencyService`]: the trait, over Redis.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    CacheError, ConcurrencyService, FencingToken, LockError, LockErrorKind, LockGuard, LockInfo,
    LockOptions, Timestamp, check_lock_key,
};
use cache_redis::{Connections, RedisConfig};
use futures_util::future::try_join_all;

use super::acquire::{Request, Tried, abandon, attempt};
use super::builder::RedisConcurrencyBuilder;
use super::error::{is_wrong_type, unavailable};
use super::hold::Terms;
use super::inner::Inner;
use super::names::label;
use super::script::{AT_ONCE, Holder, Place};
use super::waiting;
use crate::service::shut_down;
use crate::stats::{LockStats, bump};

/// How long a shutdown may take.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(5);

/// Named locks among all processes that use one Redis and one namespace. Clones are the same
/// locks.
///
/// See the [crate's page](crate) for what it promises, [`ConcurrencyService`] for the contract and
/// [`ConcurrencyServiceExt`](cache_core::ConcurrencyServiceExt) for how it is used.
///
/// The tasks of one process get a lock in the order of arrival. Of each process the first stands in
/// a queue in Redis, and a release hands the lock to the head of that queue and tells its process
/// over pub/sub, on a connection of the service's own that is opened when a lock is first found
/// held. A waiter whose process is gone is passed over; one that hangs has two seconds, or one
/// lease if that is shorter. While the service cannot subscribe, it stands in the queue all the
/// same and asks every 10 to 250 ms; one that dies meanwhile counts as alive for a second.
///
/// A lock that is handed over is the next one's for two seconds at first, whatever its lease, so that a
/// process that hangs does not hold it up for long. It is renewed to its whole lease at once, while the
/// section begins: only in that one round trip does a halt of two seconds let another in, and a Redis that
/// hangs for 0.8 to 2 s end the section. [`remaining`](LockGuard::remaining) tells which of the two leases it
/// is.
///
/// Two versions at once, as in a rolling deploy: each process sends its own scripts, so exclusion and fences
/// are as ever. Every message begins with the token it is about: where the rest is in a form that the waiter
/// with that token does not know, it asks, which costs a second round trip. One that begins otherwise is
/// ignored, and the waiter asks within a second. A place in the queue that is noted in an unknown form is
/// given up, and taken again at the end.
///
/// The [crate's page](crate) says which rights a user under ACL needs.
///
/// Its tasks run on the runtime it was made in. What this process holds when that runtime ends is
/// free when its lease has run out; [`shutdown`](ConcurrencyService::shutdown) before that waits
/// for releases under way.
///
/// ```no_run
/// use cache_concurrency::RedisConcurrencyService;
/// use cache_core::ConcurrencyServiceExt;
/// use cache_redis::RedisConfig;
///
/// # async fn run() -> Result<(), Box<dyn std::error::Error>> {
/// let config = RedisConfig::from_url("redis://127.0.0.1:6379")?;
/// let locks = RedisConcurrencyService::connect(config).await?;
/// let balance = locks.with_lock("account:7", async { 40 + 2 }).await?;
/// assert_eq!(balance, 42);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct RedisConcurrencyService(Arc<Inner>);

impl RedisConcurrencyService {
    /// Connects, and waits until that is done. Locks are those of the configuration's namespace.
    ///
    /// # Errors
    ///
    /// As [`Connections::connect`].
    ///
    /// # Cancel safety
    ///
    /// Dropping the future closes what was opened.
    pub async fn connect(config: RedisConfig) -> Result<Self, CacheError> {
        Self::new(Connections::connect(&config).await?)
    }

    /// As [`connect`](Self::connect), but returns at once. Until there is a connection, locks are
    /// [`Unavailable`](LockErrorKind::Unavailable).
    ///
    /// # Errors
    ///
    /// As [`Connections::connect_degraded`].
    #[allow(clippy::needless_pass_by_value, reason = "like `connect`, and like the cache's")]
    pub fn connect_degraded(config: RedisConfig) -> Result<Self, CacheError> {
        Self::new(Connections::connect_degraded(&config)?)
    }

    /// Locks over connections that are there already, which may serve a cache as well; they stay
    /// open after [`shutdown`](ConcurrencyService::shutdown).
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) outside a tokio runtime.
    pub fn new(connections: Connections) -> Result<Self, CacheError> {
        let namespace = connections.config().namespace_name().to_owned();
        Self::with_namespace(connections, &namespace)
    }

    /// The same in another namespace than the connections': locks of different namespaces are different
    /// locks.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) outside a tokio runtime.
    pub fn with_namespace(connections: Connections, namespace: &str) -> Result<Self, CacheError> {
        Self::builder(connections).namespace(namespace).build()
    }

    /// Settings, for locks over connections that are there already.
    ///
    /// ```no_run
    /// use cache_concurrency::RedisConcurrencyService;
    /// use cache_redis::{Connections, RedisConfig};
    /// use std::time::Duration;
    ///
    /// # async fn run() -> Result<(), cache_core::CacheError> {
    /// let config = RedisConfig::from_url("redis://127.0.0.1:6379")?;
    /// let locks = RedisConcurrencyService::builder(Connections::connect(&config).await?)
    ///     .namespace("payments")
    ///     .replicas(1, Duration::from_millis(100))
    ///     .build()?;
    /// # drop(locks);
    /// # Ok(()) }
    /// ```
    pub fn builder(connections: Connections) -> RedisConcurrencyBuilder {
        RedisConcurrencyBuilder::new(connections)
    }

    pub(super) fn of(inner: Arc<Inner>) -> Self {
        Self(inner)
    }

    /// How many locks this process holds just now.
    #[must_use]
    pub fn held(&self) -> usize {
        self.0.holds.len()
    }

    /// What became of those who asked this process for locks.
    #[must_use]
    pub fn stats(&self) -> LockStats {
        self.0.counters.snapshot(0)
    }

    /// How long locks were waited for and held by this process.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn times(&self) -> crate::LockTimes {
        self.0.counters.times()
    }

    /// The connections it uses.
    #[must_use]
    pub fn connections(&self) -> &Connections {
        &self.0.redis.connections
    }

    fn request(&self, key: &str, options: &LockOptions) -> Request {
        Request::new(key, self.0.namespace.names(key), self.0.token(), Terms::of(options))
    }

    async fn info(&self, key: &str) -> Result<Option<LockInfo>, LockError> {
        let found = self.0.redis.inspect(&self.0.namespace.names(key)).await;
        self.shown(key, found.map_err(unavailable)?).await
    }

    /// As `info`, where what is no lock is none.
    async fn listed(&self, key: &str) -> Result<Option<LockInfo>, LockError> {
        let names = self.0.namespace.names(key);
        let found = match self.0.redis.inspect(&names).await {
            Err(error) if is_wrong_type(&error) => {
                tracing::warn!(lock = names.lock, %error, "something else stands where a lock would");
                None
            }
            found => found.map_err(unavailable)?,
        };
        self.shown(key, found).await
    }

    async fn shown(&self, key: &str, found: Option<Holder>) -> Result<Option<LockInfo>, LockError> {
        let Some(holder) = found else { return Ok(None) };
        let mut info = LockInfo::new(key, label(&holder.token), FencingToken(holder.fence));
        info.remaining = holder.remaining;
        info.held_for = holder.held_for;
        // Who has passed the gate holds the lock, or is in the queue.
        let local = self.0.gate.inspect(key).await?;
        info.waiters = local.map_or(0, |local| local.waiters) + holder.waiters;
        Ok(Some(info))
    }

    async fn take(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError> {
        check_lock_key(key)?;
        options.validate()?;
        let (begun, wait) = (self.0.clock.now(), options.wait_duration());
        let _pending = self.0.backlog.pending();
        let taken = async {
            let gate = self.0.gate.take(key, &at_the_gate(wait)).await;
            let gate = gate.map_err(|error| self.0.at_the_gate(key, begun, error))?;
            let request = self.request(key, options);
            waiting::granted(&self.0, request, options, gate, begun + wait).await
        };
        let taken = taken.await.and_then(|guard| self.usable(guard));
        let guard = taken.map_err(|error| self.0.counters.failed(error.with_key(key)))?;
        self.granted_after(begun);
        Ok(guard)
    }

    async fn take_if_free(
        &self,
        key: &str,
        options: &LockOptions,
    ) -> Result<Option<LockGuard>, LockError> {
        check_lock_key(key)?;
        options.validate()?;
        let begun = self.0.clock.now();
        let _pending = self.0.backlog.pending();
        let tried = async {
            // Held or waited for by this very process: nothing to ask Redis.
            let gate = self.0.gate.take_if_free(key, &at_the_gate(Duration::ZERO)).await?;
            let Some(gate) = gate else { return Ok(None) };
            let request = self.request(key, options);
            match attempt(&self.0, &request, Place::NONE, begun, gate).await? {
                Tried::Granted(guard, _) => self.usable(guard).map(Some),
                Tried::Held { .. } => {
                    if request.may_come_late() {
                        abandon(&self.0, &request, Duration::ZERO);
                    }
                    Ok(None)
                }
                Tried::Failed { error, .. } => Err(error),
            }
        };
        let tried = tried.await;
        let guard = tried.map_err(|error| self.0.counters.failed(error.with_key(key)))?;
        match guard {
            Some(_) => self.granted_after(begun),
            None => bump(&self.0.counters.found_held),
        }
        Ok(guard)
    }

    /// Counts a lock that was granted, and how long that took.
    fn granted_after(&self, begun: Timestamp) {
        bump(&self.0.counters.acquired);
        #[cfg(feature = "metrics")]
        self.0.counters.waits.record(begun.until(self.0.clock.now()));
        #[cfg(not(feature = "metrics"))]
        let _ = begun;
    }

    /// A guard granted while the service was shut down is given back; so is one whose lease was over
    /// before its caller was polled.
    fn usable(&self, guard: LockGuard) -> Result<LockGuard, LockError> {
        if *self.0.closed.borrow() {
            return Err(shut_down());
        }
        if guard.check().is_err() {
            let message = "the lock was granted, and lost before it was seen";
            return Err(LockError::new(LockErrorKind::LeaseLost, message));
        }
        Ok(guard)
    }
}

/// What the gate is asked for: it ends with ours, not by itself.
fn at_the_gate(wait: Duration) -> LockOptions {
    LockOptions::default().lease(Duration::MAX).max_hold(Duration::MAX).wait(wait)
}

impl fmt::Debug for RedisConcurrencyService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisConcurrencyService")
            .field("held", &self.held())
            .field("connections", self.connections())
            .finish()
    }
}

#[async_trait]
impl ConcurrencyService for RedisConcurrencyService {
    async fn acquire(&self, key: &str, options: &LockOptions) -> Result<LockGuard, LockError> {
        let taking = self.take(key, options);
        #[cfg(feature = "tracing")]
        let taking = cache_core::trace_acquire(self.0.traced_keys, key, taking);
        taking.await
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

    /// Of those who wait it knows all in this process, and of each other process the first.
    async fn inspect(&self, key: &str) -> Result<Option<LockInfo>, LockError> {
        check_lock_key(key)?;
        self.info(key).await.map_err(|error| error.with_key(key))
    }

    /// Goes through all keys in Redis, a thousand at a time.
    async fn list(&self, limit: usize) -> Result<Vec<LockInfo>, LockError> {
        let held = self.0.redis.held(&self.0.namespace, limit).await.map_err(unavailable)?;
        let mut found = Vec::with_capacity(held.len());
        for some in held.chunks(AT_ONCE) {
            found.extend(try_join_all(some.iter().map(|key| self.listed(key))).await?);
        }
        Ok(found.into_iter().flatten().collect())
    }

    async fn force_release(&self, key: &str, expected: FencingToken) -> Result<bool, LockError> {
        check_lock_key(key)?;
        // If the holder is here, its lease is over before anybody else can have the lock.
        let ours = self.0.holds.find(key, expected);
        let ended =
            ours.as_ref().is_some_and(|(_, hold)| hold.lease.revoke(LockErrorKind::LeaseLost));
        let taken = self.0.redis.force(&self.0.namespace.names(key), expected.0).await;
        // Only now may the next of this process ask: it finds the lock free.
        if let Some((id, hold)) = ours {
            self.0.holds.remove(id);
            hold.lose();
        }
        // Its section has ended by that, and may have been quicker to give the lock back.
        taken.map(|taken| taken || ended).map_err(|error| unavailable(error).with_key(key))
    }

    /// Connections stay open, and who holds a lock has it renewed as before. It waits for five
    /// seconds at most: without Redis nothing can be given back, and a caller that is not polled
    /// does not go.
    async fn shutdown(&self) {
        self.0.closed.send_replace(true);
        self.0.gate.shutdown().await;
        let left = self.0.backlog.empty(LONGEST_SHUTDOWN).await;
        if left > 0 {
            tracing::warn!(left, "the lock service ends before all is given back");
        }
    }
}

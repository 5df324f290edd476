//! How a hybrid is put together.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{
    CacheError, CacheStore, Clock, ErrorKind, InvalidationBus, ReadThrough, TracedKeys,
};

use crate::attend;
use crate::cache::HybridCache;
use crate::inner::{Inner, Parts, Terms};
use crate::store::TieredStore;

/// What an entry lives when neither its policy nor the service says how long.
const DEFAULT_TTL: Duration = Duration::from_secs(300);
/// A little more than the budget of one operation on Redis, which ends by itself before.
const FAR_TIMEOUT: Duration = Duration::from_millis(300);
const MORE: Duration = Duration::from_millis(50);
const REPLAYS: usize = 10_000;

/// Makes a [`HybridCache`].
///
/// ```
/// use cache_hybrid::HybridCache;
/// use cache_quick::QuickCacheService;
/// use std::{sync::Arc, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
/// let tier = || Arc::new(QuickCacheService::default());
/// let cache = HybridCache::builder()
///     .near(tier())
///     .far(tier())
///     .local_ttl(Duration::from_secs(30))
///     .far_timeout(Duration::from_millis(100))
///     .build()?;
/// assert!(cache.tiers().serves_near() && !cache.tiers().tier_stats().far_open);
/// # Ok(()) }
/// ```
#[derive(Debug)]
#[must_use]
pub struct HybridCacheBuilder {
    near: Option<Arc<dyn CacheStore>>,
    far: Option<Arc<dyn CacheStore>>,
    bus: Option<Arc<dyn InvalidationBus>>,
    default_ttl: Duration,
    local_ttl: Duration,
    grace: Duration,
    /// `None`: as long as the far tier needs.
    far_timeout: Option<Duration>,
    replays: usize,
    clock: Option<Clock>,
    traced_keys: TracedKeys,
}

impl HybridCacheBuilder {
    pub(crate) fn new() -> Self {
        Self {
            near: None,
            far: None,
            bus: None,
            default_ttl: DEFAULT_TTL,
            local_ttl: Duration::MAX,
            grace: Duration::ZERO,
            far_timeout: None,
            replays: REPLAYS,
            clock: None,
            traced_keys: TracedKeys::default(),
        }
    }

    /// The tier in this process. It belongs to this cache alone: whatever it holds is removed when
    /// the bus connects.
    pub fn near(mut self, near: Arc<dyn CacheStore>) -> Self {
        self.near = Some(near);
        self
    }

    /// The tier that the nodes share.
    pub fn far(mut self, far: Arc<dyn CacheStore>) -> Self {
        self.far = Some(far);
        self
    }

    /// What tells the nodes of each other's writes and removals. Without it the near tier holds
    /// what other nodes have overwritten or removed until its time is over: set
    /// [`local_ttl`](Self::local_ttl) then.
    pub fn bus(mut self, bus: Arc<dyn InvalidationBus>) -> Self {
        self.bus = Some(bus);
        self
    }

    /// How long entries live whose policy sets no TTL: 300 s by default.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// How long the near tier has an entry for fresh at most, whatever its policy says: any time by
    /// default. Where the policy has a stale window, it follows that, unlike that of
    /// [`Policy::local_ttl`](cache_core::Policy::local_ttl), which ends both. No entry is held for longer
    /// than the far tier does.
    pub fn local_ttl(mut self, ttl: Duration) -> Self {
        self.local_ttl = ttl;
        self
    }

    /// How long the near tier is still served after the bus was lost: not at all by default.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// How long one call of the far tier or the bus may take: 300 ms by default, or a little more than
    /// [the far tier's own limit](CacheStore::call_timeout) if that is longer. No less than that limit,
    /// as a write that it is still at must not come after what follows, and from 1 ms. A write or removal
    /// is two calls where the far tier does not [tell over the bus](CacheStore::tells_with) by itself, and
    /// where a write is told together with others. A removal by prefix, which is many calls, may take a
    /// minute.
    pub fn far_timeout(mut self, timeout: Duration) -> Self {
        self.far_timeout = Some(timeout);
        self
    }

    /// How many invalidations are kept for later, of those that did not reach the far tier and of those
    /// that did not reach the bus: 10,000 each by default. Of more, the oldest of those for the far tier is
    /// dropped, with a warning, and [counted](crate::TierStats::replays_dropped); the bus is told in place
    /// of more that everything has changed.
    pub fn replay_capacity(mut self, invalidations: usize) -> Self {
        self.replays = invalidations;
        self
    }

    /// The clock by which it waits and entries live: that of the near tier by default, or of the
    /// far one.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = Some(clock.into());
        self
    }

    /// How keys stand in spans; hashed unless set. No effect without the feature `tracing`.
    pub fn traced_keys(mut self, keys: TracedKeys) -> Self {
        self.traced_keys = keys;
        self
    }

    /// The cache. It needs a tokio runtime, unless it is of a near tier alone.
    ///
    /// # Errors
    ///
    /// [`Config`](ErrorKind::Config) if there is neither tier, a time is out of range or less than the
    /// far tier needs, or there is no runtime.
    pub fn build(self) -> Result<HybridCache, CacheError> {
        let (default_ttl, traced_keys) = (self.default_ttl, self.traced_keys);
        let engine = ReadThrough::builder(self.build_store()?);
        Ok(HybridCache(engine.default_ttl(default_ttl).traced_keys(traced_keys).build()))
    }

    /// The two tiers as a store, for an engine of one's own.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn build_store(self) -> Result<TieredStore, CacheError> {
        let config = |message: &str| CacheError::new(ErrorKind::Config, message);
        let Some(either) = self.near.as_ref().or(self.far.as_ref()) else {
            return Err(config("a hybrid needs a near tier, a far tier or both: set one"));
        };
        let limit = self.far.as_ref().and_then(CacheStore::call_timeout).unwrap_or_default();
        let far_timeout = self.far_timeout.unwrap_or(FAR_TIMEOUT.max(limit.saturating_add(MORE)));
        if far_timeout < Duration::from_millis(1) {
            return Err(config("far_timeout is less than 1 ms: no call could succeed"));
        }
        if far_timeout < limit {
            let message = "far_timeout is less than what a call of the far tier may take";
            return Err(config(&format!("{message}: {far_timeout:?} < {limit:?}")));
        }
        let clock = self.clock.clone().unwrap_or_else(|| either.clock());
        let terms = Terms {
            default_ttl: self.default_ttl,
            local_ttl: self.local_ttl,
            grace: self.grace,
            far_timeout,
            traced_keys: self.traced_keys,
        };
        let Self { near, far, bus, replays, .. } = self;
        let inner = Inner::new(Parts { near, far, bus, replays }, terms, clock);
        attend::start(&inner)?;
        Ok(TieredStore(inner))
    }
}

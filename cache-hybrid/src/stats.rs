//! Counters of what is between the tiers.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::latency::FarLatency;

/// A snapshot of what goes on between the tiers. What a cache counts for its callers is in
/// [`CacheStats`](cache_core::CacheStats).
///
/// ```
/// use cache_core::CacheServiceExt;
/// use cache_hybrid::HybridCache;
/// use cache_quick::QuickCacheService;
/// use std::sync::Arc;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
/// let tier = || Arc::new(QuickCacheService::default());
/// let cache = HybridCache::builder().near(tier()).far(tier()).build()?;
/// assert_eq!(cache.get::<String>("plan:acme").await?, None);
/// let stats = cache.tiers().tier_stats();
/// assert_eq!(stats.far_reads, 1, "what is not near is looked up far");
/// assert!(stats.near_served && !stats.far_open);
/// # Ok(()) }
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// Whether there is a near tier.
    pub has_near: bool,
    /// Whether the near tier is served.
    pub near_served: bool,
    /// Whether the bus is up; true without one.
    pub bus_up: bool,
    /// Whether the far tier is left alone for now, as it does not answer.
    pub far_open: bool,
    /// Whether the bus is left alone for now.
    pub bus_open: bool,
    /// Reads of the far tier; one of many keys counts once.
    pub far_reads: u64,
    /// How long calls of the far tier took, writes and removals included.
    pub far_latency: FarLatency,
    /// Entries from the far tier that the near one was given and did not keep, because the key
    /// changed meanwhile.
    pub near_refused: u64,
    /// Removals and writes that the bus told of.
    pub heard: u64,
    /// Messages about removals and writes that were handed to the bus.
    pub told: u64,
    /// How often the bus was lost. One that is back before anybody looks is not counted, as one is not
    /// that has missed messages and is up.
    pub bus_losses: u64,
    /// Invalidations that wait for the far tier or the bus to be back.
    pub replays_pending: usize,
    /// Invalidations that were given up, as there were [too
    /// many](crate::HybridCacheBuilder::replay_capacity) or the far tier refuses them for good.
    pub replays_dropped: u64,
}

#[derive(Default)]
pub(crate) struct Counters {
    pub(crate) far_reads: AtomicU64,
    pub(crate) near_refused: AtomicU64,
    pub(crate) heard: AtomicU64,
    pub(crate) told: AtomicU64,
    pub(crate) bus_losses: AtomicU64,
    /// How long reads of the far tier take.
    #[cfg(feature = "metrics")]
    pub(crate) far_times: cache_core::Histogram,
}

pub(crate) fn bump(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

pub(crate) fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

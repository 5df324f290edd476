//! What a cache has done so far: a snapshot of counters.

use std::ops::Add;

use serde::Serialize;

/// A snapshot of a cache's counters since it was made.
///
/// Each key of each lookup counts as exactly one of `local_hits`, `remote_hits`, `misses` and
/// `failed_lookups`; `negative_hits` and `stale_served` say how many of the hits were of that sort,
/// `coalesced` how many of the misses waited for a load that was under way.
///
/// ```
/// use cache_core::CacheStats;
///
/// let stats = CacheStats { local_hits: 60, remote_hits: 30, misses: 10, ..CacheStats::default() };
/// assert_eq!(stats.hit_ratio(), 0.9);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CacheStats {
    /// Lookups answered by what the process held.
    pub local_hits: u64,
    /// Lookups answered by a remote tier.
    pub remote_hits: u64,
    /// Lookups that found nothing they could use.
    pub misses: u64,
    /// Loaders called; a load of many keys is one.
    pub loads: u64,
    /// Of these, how many failed, panicked or were given up.
    pub load_failures: u64,
    /// Of these, how many gave what was asked for.
    pub loaded: u64,
    /// Misses that joined a load of another caller.
    pub coalesced: u64,
    /// Hits answered with a value past its freshness.
    pub stale_served: u64,
    /// Hits that said "absent".
    pub negative_hits: u64,
    /// Loaded values that were not stored, since a write or removal came between.
    pub fills_refused: u64,
    /// Entries dropped to make room, where the engine can tell.
    pub evictions: u64,
    /// Removals asked for: one per key, one per prefix, one per clear.
    pub invalidations: u64,
    /// Operations of the backend that failed.
    pub errors: u64,
    /// Lookups that ended in an error of the backend, one per key. A load that goes on without the
    /// backend is none.
    pub failed_lookups: u64,
    /// Writes that were done, one per key.
    pub writes: u64,
    /// Writes that failed, one per key.
    pub failed_writes: u64,
    /// Removals that were done, counted as `invalidations` are.
    pub removals: u64,
    /// Removals that failed.
    pub failed_removals: u64,
    /// Entries held in the process now, those included that have expired but not been freed.
    pub entries: u64,
    /// Their weight: bytes of key and value where the store is bounded in bytes, else entries.
    pub weighted_size: u64,
    /// Bytes of their keys and encoded values, whatever the store is bounded in; 0 where it cannot
    /// tell.
    pub bytes: u64,
}

impl CacheStats {
    /// The part of all lookups that were hits, from 0 to 1; 0 if there were none.
    #[must_use]
    pub fn hit_ratio(&self) -> f64 {
        let hits = self.local_hits + self.remote_hits;
        match hits + self.misses {
            0 => 0.0,
            lookups => hits as f64 / lookups as f64,
        }
    }
}

impl Add for CacheStats {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            local_hits: self.local_hits + other.local_hits,
            remote_hits: self.remote_hits + other.remote_hits,
            misses: self.misses + other.misses,
            loads: self.loads + other.loads,
            load_failures: self.load_failures + other.load_failures,
            loaded: self.loaded + other.loaded,
            coalesced: self.coalesced + other.coalesced,
            stale_served: self.stale_served + other.stale_served,
            negative_hits: self.negative_hits + other.negative_hits,
            fills_refused: self.fills_refused + other.fills_refused,
            evictions: self.evictions + other.evictions,
            invalidations: self.invalidations + other.invalidations,
            errors: self.errors + other.errors,
            failed_lookups: self.failed_lookups + other.failed_lookups,
            writes: self.writes + other.writes,
            failed_writes: self.failed_writes + other.failed_writes,
            removals: self.removals + other.removals,
            failed_removals: self.failed_removals + other.failed_removals,
            entries: self.entries + other.entries,
            weighted_size: self.weighted_size + other.weighted_size,
            bytes: self.bytes + other.bytes,
        }
    }
}

//! Caches that an access asks, and that keep what they did not have.

pub(crate) mod foyer;
pub(crate) mod moka;
pub(crate) mod ours;
pub(crate) mod quick_cache;

use foyer_memory::{FifoConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig};

use self::ours::Ours;

/// What ours hashes with, and what everybody gets who lets one choose.
pub(crate) type Hasher = foldhash::fast::RandomState;

pub(crate) trait Cache: Send + Sync {
    /// How many of `accesses`, the numbers of keys, it could answer.
    fn replay(&self, accesses: &[usize], keys: &[String]) -> usize;
}

type Make = fn(usize) -> Box<dyn Cache>;

/// All, by name, made for so many entries.
pub(crate) const CACHES: [(&str, Make); 5] = [
    ("ours, quick", |capacity| Box::new(Ours::quick(capacity))),
    ("ours, mini-moka", |capacity| Box::new(Ours::mini_moka(capacity))),
    ("raw quick_cache", |capacity| Box::new(quick_cache::QuickCache::new(capacity))),
    ("raw moka", |capacity| Box::new(moka::Moka::new(capacity))),
    ("raw foyer, S3-FIFO", |capacity| {
        Box::new(foyer::Foyer::new(capacity, S3FifoConfig::default()))
    }),
];

/// foyer's other policies, for their hit ratios: which is best depends on the trace.
pub(crate) const POLICIES: [(&str, Make); 4] = [
    ("raw foyer, LFU", |capacity| Box::new(foyer::Foyer::new(capacity, LfuConfig::default()))),
    ("raw foyer, LRU", |capacity| Box::new(foyer::Foyer::new(capacity, LruConfig::default()))),
    ("raw foyer, SIEVE", |capacity| Box::new(foyer::Foyer::new(capacity, SieveConfig))),
    ("raw foyer, FIFO", |capacity| Box::new(foyer::Foyer::new(capacity, FifoConfig::default()))),
];

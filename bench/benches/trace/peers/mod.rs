//! Caches that an access asks, and that keep what they did not have.

pub(crate) mod foyer;
pub(crate) mod moka;
pub(crate) mod ours;
pub(crate) mod quick_cache;

use foyer_memory::{FifoConfig, LfuConfig, LruConfig, S3FifoConfig, SieveConfig};

use self::foyer::Foyer;
use self::ours::Ours;

/// What ours hashes with, and what moka and foyer get. quick_cache keeps its own, ahash.
///
/// Not foldhash's `fast`, which saves one multiplication: with some seeds a few bits of it, by which shards
/// are chosen, are not even.
pub(crate) type Hasher = foldhash::quality::RandomState;

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
    ("raw foyer, S3-FIFO", |capacity| Box::new(Foyer::new(capacity, S3FifoConfig::default()))),
];

/// The same for their hit ratios, with all of foyer's policies: which is best depends on the trace.
pub(crate) const HELD: [(&str, Make); 9] = [
    CACHES[0],
    CACHES[1],
    CACHES[2],
    CACHES[3],
    ("raw foyer, S3-FIFO", |capacity| Box::new(Foyer::whole(capacity, S3FifoConfig::default()))),
    ("raw foyer, LFU", |capacity| Box::new(Foyer::whole(capacity, LfuConfig::default()))),
    ("raw foyer, LRU", |capacity| Box::new(Foyer::whole(capacity, LruConfig::default()))),
    ("raw foyer, SIEVE", |capacity| Box::new(Foyer::whole(capacity, SieveConfig))),
    ("raw foyer, FIFO", |capacity| Box::new(Foyer::whole(capacity, FifoConfig::default()))),
];

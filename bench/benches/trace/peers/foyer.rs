//! `foyer` 0.22, its in-memory cache, with a policy of its, and another hasher than `XxHash`.

use foyer_memory::{CacheBuilder, CacheProperties, EvictionConfig};

use super::{Cache, Hasher};

pub(crate) struct Foyer(foyer_memory::Cache<Box<str>, usize, Hasher>);

impl Foyer {
    /// With as many shards as it has by itself.
    pub(crate) fn new(capacity: usize, policy: impl Into<EvictionConfig>) -> Self {
        Self(builder(capacity, policy).build::<CacheProperties>())
    }

    /// With one shard: each has its share of the capacity, and one of few entries cannot tell what is hot.
    pub(crate) fn whole(capacity: usize, policy: impl Into<EvictionConfig>) -> Self {
        Self(builder(capacity, policy).with_shards(1).build::<CacheProperties>())
    }
}

fn builder(
    capacity: usize,
    policy: impl Into<EvictionConfig>,
) -> CacheBuilder<Box<str>, usize, Hasher> {
    CacheBuilder::new(capacity).with_eviction_config(policy).with_hash_builder(Hasher::default())
}

impl Cache for Foyer {
    fn replay(&self, accesses: &[usize], keys: &[String]) -> usize {
        let mut hits = 0;
        for &id in accesses {
            match self.0.get(keys[id].as_str()) {
                Some(_) => hits += 1,
                None => drop(self.0.insert(keys[id].as_str().into(), id)),
            }
        }
        hits
    }
}

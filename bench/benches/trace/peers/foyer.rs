//! `foyer` 0.22, its in-memory cache, with a policy of its, and another hasher than `XxHash`.

use foyer_memory::{CacheBuilder, CacheProperties, EvictionConfig};

use super::{Cache, Hasher};

pub(crate) struct Foyer(foyer_memory::Cache<Box<str>, usize, Hasher>);

impl Foyer {
    pub(crate) fn new(capacity: usize, policy: impl Into<EvictionConfig>) -> Self {
        Self(
            CacheBuilder::new(capacity)
                .with_eviction_config(policy)
                .with_hash_builder(Hasher::default())
                .build::<CacheProperties>(),
        )
    }
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

//! `foyer` 0.22, its in-memory cache, with S3-FIFO.

use foyer_memory::{CacheBuilder, CacheProperties, S3FifoConfig};

use super::Cache;

pub(crate) struct Foyer(foyer_memory::Cache<Box<str>, usize>);

impl Foyer {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(
            CacheBuilder::new(capacity)
                .with_eviction_config(S3FifoConfig::default())
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

//! `moka` 0.12, `sync::Cache`, with its TinyLFU and another hasher than `SipHash`.

use moka::sync;

use super::{Cache, Hasher};

pub(crate) struct Moka(sync::Cache<Box<str>, usize, Hasher>);

impl Moka {
    pub(crate) fn new(capacity: usize) -> Self {
        let cache = sync::Cache::builder().max_capacity(capacity as u64);
        Self(cache.build_with_hasher(Hasher::default()))
    }
}

impl Cache for Moka {
    fn replay(&self, accesses: &[usize], keys: &[String]) -> usize {
        let mut hits = 0;
        for &id in accesses {
            match self.0.get(keys[id].as_str()) {
                Some(_) => hits += 1,
                None => self.0.insert(keys[id].as_str().into(), id),
            }
        }
        hits
    }
}

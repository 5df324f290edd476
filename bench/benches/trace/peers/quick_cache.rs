//! `quick_cache` 0.7.

use quick_cache::sync;

use super::Cache;

pub(crate) struct QuickCache(sync::Cache<Box<str>, usize>);

impl QuickCache {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(sync::Cache::new(capacity))
    }
}

impl Cache for QuickCache {
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

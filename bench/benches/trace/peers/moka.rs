//! `moka` 0.12, `sync::Cache`, with its TinyLFU.

use moka::sync;

use super::Cache;

pub(crate) struct Moka(sync::Cache<Box<str>, usize>);

impl Moka {
    pub(crate) fn new(capacity: usize) -> Self {
        Self(sync::Cache::new(capacity as u64))
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

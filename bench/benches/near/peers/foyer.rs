//! `foyer` 0.22, its in-memory `Cache`, with S3-FIFO in place of its default LRU: hits then take no
//! write lock. Another hasher than `XxHash`. A hit hands out an entry that points at the value; no TTL.

use std::hint::black_box;
use std::sync::Arc;

use cache_bench_kit::value::{Org, Size};
use foyer_memory::{Cache, CacheBuilder, CacheProperties, S3FifoConfig};
use tokio::runtime::Runtime;

use super::{CAPACITY, Hasher, Peer, Setting, Step, Writer};

pub(crate) struct Foyer {
    cache: Cache<Box<str>, Arc<Org>, Hasher>,
    keys: Vec<String>,
    size: Size,
}

impl Foyer {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let cache = CacheBuilder::new(CAPACITY)
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(Hasher::default())
            .build::<CacheProperties>();
        let (keys, size) = (setting.strings(), setting.size);
        for (id, key) in keys.iter().enumerate() {
            cache.insert(key.as_str().into(), Arc::new(size.org(id)));
        }
        Self { cache, keys, size }
    }
}

impl Peer for Foyer {
    fn hits(&self, visits: &[usize], _: &Runtime) {
        for &id in visits {
            black_box(self.cache.get(self.keys[id].as_str()).expect("a hit"));
        }
    }
}

impl Writer for Foyer {
    fn run(&self, steps: &[Step], _: &Runtime) {
        for step in steps {
            match *step {
                Step::Get(id) => drop(black_box(self.cache.get(self.keys[id].as_str()))),
                Step::Set(id) => {
                    self.cache.insert(self.keys[id].as_str().into(), Arc::new(self.size.org(id)));
                }
                Step::Remove(id) => {
                    self.cache.remove(self.keys[id].as_str());
                }
            }
        }
    }

    fn entries(&self, _: &Runtime) -> (u64, usize) {
        let held = self.keys.iter().filter(|key| self.cache.contains(key.as_str())).count();
        (self.cache.entries() as u64, held)
    }
}

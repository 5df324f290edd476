//! `quick_cache` 0.7 by itself, with values behind an `Arc` of their own: no expiry, nothing decoded.

use std::hint::black_box;
use std::sync::Arc;

use cache_bench_kit::value::{Org, Size};
use quick_cache::sync::Cache;
use tokio::runtime::Runtime;

use super::{CAPACITY, Peer, Setting, Step, Writer};

pub(crate) struct QuickCache {
    cache: Cache<Box<str>, Arc<Org>>,
    keys: Vec<String>,
    size: Size,
}

impl QuickCache {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let cache = Cache::new(CAPACITY);
        let (keys, size) = (setting.strings(), setting.size);
        for (id, key) in keys.iter().enumerate() {
            cache.insert(key.as_str().into(), Arc::new(size.org(id)));
        }
        Self { cache, keys, size }
    }
}

impl Peer for QuickCache {
    fn hits(&self, visits: &[usize], _: &Runtime) {
        for &id in visits {
            black_box(self.cache.get(self.keys[id].as_str()).expect("a hit"));
        }
    }
}

impl Writer for QuickCache {
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
        let held = self.keys.iter().filter(|key| self.cache.peek(key.as_str()).is_some()).count();
        (self.cache.len() as u64, held)
    }
}

//! `mini-moka` 0.10 by itself, `sync::Cache`: bounded by entries, no TTL, values behind an `Arc`. Another
//! hasher than `SipHash`, as it recommends for long strings.

use std::hint::black_box;
use std::sync::Arc;

use cache_bench_kit::value::{Org, Size};
use mini_moka::sync::{Cache, ConcurrentCacheExt};
use tokio::runtime::Runtime;

use super::{CAPACITY, Hasher, Peer, Setting, Step, Writer};

pub(crate) struct MiniMoka {
    cache: Cache<String, Arc<Org>, Hasher>,
    keys: Vec<String>,
    size: Size,
}

impl MiniMoka {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let cache = Cache::builder().max_capacity(CAPACITY as u64);
        let cache = cache.build_with_hasher(Hasher::default());
        let (keys, size) = (setting.strings(), setting.size);
        for (id, key) in keys.iter().enumerate() {
            cache.insert(key.clone(), Arc::new(size.org(id)));
        }
        cache.sync();
        Self { cache, keys, size }
    }
}

impl Peer for MiniMoka {
    fn hits(&self, visits: &[usize], _: &Runtime) {
        for &id in visits {
            black_box(self.cache.get(&self.keys[id]).expect("a hit"));
        }
    }
}

impl Writer for MiniMoka {
    fn run(&self, steps: &[Step], _: &Runtime) {
        for step in steps {
            match *step {
                Step::Get(id) => drop(black_box(self.cache.get(&self.keys[id]))),
                Step::Set(id) => {
                    self.cache.insert(self.keys[id].clone(), Arc::new(self.size.org(id)));
                }
                Step::Remove(id) => {
                    self.cache.invalidate(&self.keys[id]);
                }
            }
        }
    }

    fn entries(&self, _: &Runtime) -> (u64, usize) {
        self.cache.sync();
        let held = self.keys.iter().filter(|key| self.cache.contains_key(*key)).count();
        (self.cache.entry_count(), held)
    }
}

//! `moka` 0.12 by itself, `sync::Cache`: bounded by entries, no TTL, values behind an `Arc`. Another hasher
//! than `SipHash`, as it recommends for long strings.

use std::hint::black_box;
use std::sync::Arc;

use cache_bench_kit::value::{Org, Size};
use moka::sync::Cache;
use tokio::runtime::Runtime;

use super::{CAPACITY, Hasher, Peer, Setting, Step, Writer};

pub(crate) struct Moka {
    cache: Cache<Box<str>, Arc<Org>, Hasher>,
    keys: Vec<String>,
    size: Size,
}

impl Moka {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let cache = Cache::builder().max_capacity(CAPACITY as u64);
        let cache = cache.build_with_hasher(Hasher::default());
        let (keys, size) = (setting.strings(), setting.size);
        for (id, key) in keys.iter().enumerate() {
            cache.insert(key.as_str().into(), Arc::new(size.org(id)));
        }
        cache.run_pending_tasks();
        Self { cache, keys, size }
    }
}

impl Peer for Moka {
    fn hits(&self, visits: &[usize], _: &Runtime) {
        for &id in visits {
            black_box(self.cache.get(self.keys[id].as_str()).expect("a hit"));
        }
    }
}

impl Writer for Moka {
    fn run(&self, steps: &[Step], _: &Runtime) {
        for step in steps {
            match *step {
                Step::Get(id) => drop(black_box(self.cache.get(self.keys[id].as_str()))),
                Step::Set(id) => {
                    self.cache.insert(self.keys[id].as_str().into(), Arc::new(self.size.org(id)));
                }
                Step::Remove(id) => {
                    self.cache.invalidate(self.keys[id].as_str());
                }
            }
        }
    }

    fn entries(&self, _: &Runtime) -> (u64, usize) {
        self.cache.run_pending_tasks();
        let held = self.keys.iter().filter(|key| self.cache.contains_key(key.as_str())).count();
        (self.cache.entry_count(), held)
    }
}

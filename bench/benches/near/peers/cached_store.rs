//! `cached` 4: `ShardedLruTtlCache`, its store for concurrent use with a bound and a TTL. It hands out
//! clones, so values are behind an `Arc`.

use std::hint::black_box;
use std::sync::Arc;

use ::cached::ShardedLruTtlCache;
use cache_bench_kit::value::{Org, TTL};
use tokio::runtime::Runtime;

use super::{CAPACITY, Peer, Setting};

pub(crate) struct CachedStore {
    cache: ShardedLruTtlCache<String, Arc<Org>>,
    keys: Vec<String>,
}

impl CachedStore {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let (cache, keys) = (ShardedLruTtlCache::new(CAPACITY, TTL), setting.strings());
        for (id, key) in keys.iter().enumerate() {
            cache.set(key.clone(), Arc::new(setting.size.org(id)));
        }
        Self { cache, keys }
    }
}

impl Peer for CachedStore {
    fn hits(&self, visits: &[usize], _: &Runtime) {
        for &id in visits {
            black_box(self.cache.get(self.keys[id].as_str()).expect("a hit"));
        }
    }
}

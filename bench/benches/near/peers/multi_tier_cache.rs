//! `multi-tier-cache` 0.6: `CacheManager` with its own L1 (moka) and L2 (Redis), asked by `get_typed`. A
//! hit is in L1; it is decoded from JSON, as its L1 holds bytes.

use std::hint::black_box;
use std::sync::Arc;

use ::multi_tier_cache::{Bytes, CacheManager, CacheStrategy, L1Cache, L2Cache, MokaCacheConfig};
use cache_bench_kit::value::{Org, TTL};
use tokio::runtime::Runtime;

use super::{CAPACITY, Peer, Setting};

pub(crate) struct MultiTierCache {
    cache: CacheManager,
    keys: Vec<String>,
}

impl MultiTierCache {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let keys = setting.strings();
        let near =
            MokaCacheConfig { max_capacity: CAPACITY as u64, time_to_live: TTL, time_to_idle: TTL };
        let cache = setting.runtime.block_on(async {
            let near = Arc::new(L1Cache::new(near).unwrap());
            let far = Arc::new(L2Cache::with_url(setting.url).await.unwrap());
            let cache = CacheManager::new_with_backends(near, far, None).unwrap();
            for (id, key) in keys.iter().enumerate() {
                let json = Bytes::from(serde_json::to_vec(&setting.size.org(id)).unwrap());
                let strategy = CacheStrategy::Custom(TTL);
                cache.set_with_strategy(key, json, strategy).await.unwrap();
            }
            cache
        });
        Self { cache, keys }
    }
}

impl Peer for MultiTierCache {
    fn hits(&self, visits: &[usize], runtime: &Runtime) {
        runtime.block_on(async {
            for &id in visits {
                let org = self.cache.get_typed::<Org>(&self.keys[id]).await.unwrap();
                black_box(org.expect("a hit"));
            }
        });
    }
}

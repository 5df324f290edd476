//! `multi-tier-cache` 0.6: `CacheManager` with its `QuickCacheBackend` for L1, which it recommends for maximum
//! throughput, L2 (Redis) and its bincode serializer in place of JSON, asked by `get_typed`. A hit is in L1; it
//! is decoded, as its L1 holds bytes.

use std::hint::black_box;
use std::sync::Arc;

use ::multi_tier_cache::serialization::BincodeSerializer;
use ::multi_tier_cache::{
    CacheManager, CacheSerializer, CacheStrategy, L2Cache, QuickCacheBackend,
};
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
        let serializer = CacheSerializer::Bincode(BincodeSerializer);
        let cache = setting.runtime.block_on(async {
            let near = Arc::new(QuickCacheBackend::new(CAPACITY as u64).unwrap());
            let far = Arc::new(L2Cache::with_url(setting.url).await.unwrap());
            let mut cache = CacheManager::new_with_backends(near, far, None).unwrap();
            cache.set_serializer(serializer.clone());
            for (id, key) in keys.iter().enumerate() {
                let encoded = serializer.serialize(&setting.size.org(id)).unwrap();
                let strategy = CacheStrategy::Custom(TTL);
                cache.set_with_strategy(key, encoded, strategy).await.unwrap();
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

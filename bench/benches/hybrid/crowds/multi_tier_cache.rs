//! `multi-tier-cache` 0.6: `CacheManager::get_or_compute_typed`, over its `QuickCacheBackend`, Redis and its bincode
//! serializer.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ::multi_tier_cache::serialization::BincodeSerializer;
use ::multi_tier_cache::{
    CacheManager, CacheSerializer, CacheStrategy, L2Cache, QuickCacheBackend,
};
use cache_bench_kit::value::{Org, TTL};

use super::{Crowd, load};

pub(crate) struct MultiTierCache(CacheManager);

impl MultiTierCache {
    pub(crate) async fn new(url: &str, capacity: u64) -> Self {
        let near = Arc::new(QuickCacheBackend::new(capacity).unwrap());
        let far = Arc::new(L2Cache::with_url(url).await.unwrap());
        let mut cache = CacheManager::new_with_backends(near, far, None).unwrap();
        cache.set_serializer(CacheSerializer::Bincode(BincodeSerializer));
        Self(cache)
    }
}

impl Crowd for MultiTierCache {
    async fn call(&self, key: &str, loads: &Arc<AtomicUsize>) -> Arc<Org> {
        let load = || async { Ok(load(Arc::clone(loads)).await) };
        let strategy = CacheStrategy::Custom(TTL);
        Arc::new(self.0.get_or_compute_typed::<Org, _, _>(key, strategy, load).await.unwrap())
    }
}

//! One node of a fleet: quick near, Redis far, the bus up.

use std::convert::Infallible;
use std::sync::Arc;

use cache_bench_kit::value::{BUDGET, Org, TTL, org};
use cache_core::{CacheService, CacheServiceExt, Policy};
use cache_hybrid::HybridCache;
use cache_quick::QuickCacheService;
use cache_redis::{Connections, RedisBus, RedisConfig, RedisStore};
use cache_testkit::eventually;

const NEAR_ENTRIES: u64 = 20_000;

/// A node that serves its near tier, with the settings of `cache-services` but for the budgets.
pub(crate) async fn node(url: &str) -> HybridCache {
    let config = RedisConfig::from_url(url).unwrap().operation_timeout(BUDGET);
    let connections = Connections::connect(&config).await.unwrap();
    let bus = RedisBus::new(connections.clone()).unwrap();
    let far = RedisStore::new(connections).with_bus(&bus);
    let near = QuickCacheService::builder().max_capacity(NEAR_ENTRIES).build_store();
    let cache = HybridCache::builder()
        .near(Arc::new(near))
        .far(Arc::new(far))
        .bus(Arc::new(bus))
        .far_timeout(BUDGET)
        .build()
        .unwrap();
    eventually(|| cache.tiers().serves_near()).await;
    cache
}

/// Loads what is missing with a loader that returns at once.
pub(crate) async fn load<S: CacheService + ?Sized>(cache: &S, key: &str, id: usize) -> Arc<Org> {
    let load = move || async move { Ok::<_, Infallible>(org(id)) };
    cache.get_or_load(key, Policy::ttl(TTL), load).await.unwrap()
}

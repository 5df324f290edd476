//! `multi-tier-cache` 0.6: its `RedisCache`, the second tier, and its JSON serializer.
//!
//! Its best: `CacheBackend::get`, a plain GET. Its `CacheManager` reads the tier by
//! `get_with_ttl`, a pipeline of GET and PTTL, after the tier before and an in-flight map.

use ::multi_tier_cache::{Bytes, CacheBackend, RedisCache};
use cache_bench_kit::value::{Org, Size, TTL, key};

use crate::KEYS;
use crate::reads::Reads;

pub(crate) struct MultiTierCache {
    tier: RedisCache,
    keys: Vec<String>,
}

impl MultiTierCache {
    pub(crate) async fn filled(url: &str, size: Size) -> Self {
        let tier = RedisCache::with_url(url).await.unwrap();
        let keys: Vec<_> = (0..KEYS).map(|id| format!("tier:{}", key(id))).collect();
        for (id, key) in keys.iter().enumerate() {
            let json = Bytes::from(serde_json::to_vec(&size.org(id)).unwrap());
            tier.set_with_ttl(key, json, TTL).await.unwrap();
        }
        Self { tier, keys }
    }
}

impl Reads for MultiTierCache {
    async fn read(&self, id: usize) -> Org {
        let json = self.tier.get(&self.keys[id]).await.expect("a hit");
        serde_json::from_slice(&json).unwrap()
    }
}

//! `cached` 4: `AsyncRedisCache` over a multiplexed connection.
//!
//! Its own choices: `MessagePack`, one connection, a pipeline of one GET. `refresh_on_hit` is off,
//! as it would send a PEXPIRE along. `client_side_caching` is off: it answers from memory.

use ::cached::{AsyncRedisCache, ConcurrentCachedAsync};
use cache_bench_kit::value::{Org, Size, TTL, key};

use crate::KEYS;
use crate::reads::Reads;

pub(crate) struct Cached {
    cache: AsyncRedisCache<String, Org>,
    keys: Vec<String>,
}

impl Cached {
    pub(crate) async fn filled(url: &str, size: Size) -> Self {
        let cache = AsyncRedisCache::builder("bench")
            .connection_string(url)
            .ttl(TTL)
            .build()
            .await
            .unwrap();
        let keys: Vec<_> = (0..KEYS).map(key).collect();
        for (id, key) in keys.iter().enumerate() {
            cache.async_cache_set(key.clone(), size.org(id)).await.unwrap();
        }
        Self { cache, keys }
    }
}

impl Reads for Cached {
    async fn read(&self, id: usize) -> Org {
        self.cache.async_cache_get(&self.keys[id]).await.unwrap().expect("a hit")
    }
}

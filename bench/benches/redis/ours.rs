//! `Arc<dyn CacheService>` over Redis, with the settings of `RedisConfig` but for the budget; with as
//! many connections as it has by itself, or with some other number.

use std::sync::Arc;

use cache_bench_kit::value::{BUDGET, Org, Size, TTL, key};
use cache_core::{CacheService, CacheServiceExt};
use cache_redis::{RedisCacheService, RedisConfig};

use crate::KEYS;
use crate::reads::{Reads, ReadsLarge, ReadsMany};

pub(crate) struct Ours {
    cache: Arc<dyn CacheService>,
    keys: Vec<String>,
}

impl Ours {
    pub(crate) async fn filled(url: &str, size: Size, connections: Option<usize>) -> Self {
        let mut config = RedisConfig::from_url(url).unwrap().operation_timeout(BUDGET);
        if let Some(connections) = connections {
            config = config.connections(connections);
        }
        let cache = RedisCacheService::connect(config).await.unwrap();
        let keys: Vec<_> = (0..KEYS).map(key).collect();
        for (id, key) in keys.iter().enumerate() {
            cache.set(key, &size.org(id), TTL).await.unwrap();
        }
        Self { cache: Arc::new(cache), keys }
    }
}

impl Reads for Ours {
    async fn read(&self, id: usize) -> Org {
        self.cache.get(&self.keys[id]).await.unwrap().expect("a hit")
    }
}

impl ReadsMany for Ours {
    async fn read_many(&self, ids: &[usize]) -> Vec<Org> {
        let keys: Vec<_> = ids.iter().map(|&id| self.keys[id].as_str()).collect();
        let found = self.cache.get_many(&keys).await.unwrap();
        found.into_iter().map(|org| org.expect("a hit")).collect()
    }
}

impl ReadsLarge for Ours {
    async fn store_large(&self, text: &str) {
        self.cache.set("large", text, TTL).await.unwrap();
    }

    async fn read_large(&self) -> String {
        self.cache.get("large").await.unwrap().expect("a hit")
    }
}

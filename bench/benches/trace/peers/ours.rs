//! `Arc<dyn CacheService>`, the backends in process: `get_arc`, and `set` of what is not there.

use std::sync::Arc;

use cache_core::{CacheService, CacheServiceExt, Policy};
use cache_moka::MokaCacheService;
use cache_quick::QuickCacheService;
use tokio::runtime::{Builder, Runtime};

use super::Cache;

pub(crate) struct Ours {
    cache: Arc<dyn CacheService>,
    runtime: Runtime,
}

impl Ours {
    pub(crate) fn quick(capacity: usize) -> Self {
        let cache = QuickCacheService::builder().max_capacity(capacity as u64).build();
        Self::over(Arc::new(cache))
    }

    pub(crate) fn mini_moka(capacity: usize) -> Self {
        let cache = MokaCacheService::builder().max_capacity(capacity as u64).build();
        Self::over(Arc::new(cache))
    }

    fn over(cache: Arc<dyn CacheService>) -> Self {
        Self { cache, runtime: Builder::new_multi_thread().worker_threads(1).build().unwrap() }
    }
}

impl Cache for Ours {
    fn replay(&self, accesses: &[usize], keys: &[String]) -> usize {
        let policy = Policy::ttl(cache_bench_kit::value::TTL);
        self.runtime.block_on(async {
            let mut hits = 0;
            for &id in accesses {
                match self.cache.get_arc::<usize>(&keys[id]).await.unwrap() {
                    Some(_) => hits += 1,
                    None => self.cache.set(&keys[id], &id, &policy).await.unwrap(),
                }
            }
            hits
        })
    }
}

//! `cachet` 0.16 with `stampede_protection`: in process, without Redis.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use ::cachet::Cache;
use cache_bench_kit::value::{Org, TTL};
use tick::Clock;

use super::{Crowd, load};

pub(crate) struct Cachet(Cache<String, Arc<Org>>);

impl Cachet {
    /// Within a runtime.
    pub(crate) fn new() -> Self {
        let builder = Cache::builder::<String, Arc<Org>>(Clock::new_tokio()).memory().ttl(TTL);
        Self(builder.stampede_protection().build())
    }
}

impl Crowd for Cachet {
    async fn call(&self, key: &str, loads: &Arc<AtomicUsize>) -> Arc<Org> {
        let load = || async { Arc::new(load(Arc::clone(loads)).await) };
        Arc::clone(self.0.get_or_insert(key, load).await.unwrap().value())
    }
}

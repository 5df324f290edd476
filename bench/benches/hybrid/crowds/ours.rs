//! `get_or_load` through `Arc<dyn CacheService>`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cache_bench_kit::value::{Org, TTL};
use cache_core::{CacheService, CacheServiceExt};

use super::{Crowd, load};

pub(crate) struct Ours(pub(crate) Arc<dyn CacheService>);

impl Crowd for Ours {
    async fn call(&self, key: &str, loads: &Arc<AtomicUsize>) -> Arc<Org> {
        let loads = Arc::clone(loads);
        let load = move || async move { Ok::<_, Infallible>(load(loads).await) };
        self.0.get_or_load(key, TTL, load).await.unwrap()
    }
}

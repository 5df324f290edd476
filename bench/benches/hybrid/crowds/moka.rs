//! `moka` 0.12, `future::Cache::get_with_by_ref`: in process, without Redis.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cache_bench_kit::value::Org;
use moka::future::Cache;

use super::{Crowd, load};

pub(crate) struct Moka(pub(crate) Cache<String, Arc<Org>>);

impl Crowd for Moka {
    async fn call(&self, key: &str, loads: &Arc<AtomicUsize>) -> Arc<Org> {
        self.0.get_with_by_ref(key, async { Arc::new(load(Arc::clone(loads)).await) }).await
    }
}

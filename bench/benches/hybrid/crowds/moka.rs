//! `moka` 0.12, `future::Cache::get_with_by_ref`: in process, without Redis. Another hasher than `SipHash`, as it
//! recommends for long strings.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use cache_bench_kit::value::Org;
use moka::future::Cache;

use super::{Crowd, load};

/// As it recommends for speed.
type Hasher = foldhash::fast::RandomState;

pub(crate) struct Moka(Cache<String, Arc<Org>, Hasher>);

impl Moka {
    pub(crate) fn new(capacity: u64) -> Self {
        Self(Cache::builder().max_capacity(capacity).build_with_hasher(Hasher::default()))
    }
}

impl Crowd for Moka {
    async fn call(&self, key: &str, loads: &Arc<AtomicUsize>) -> Arc<Org> {
        self.0.get_with_by_ref(key, async { Arc::new(load(Arc::clone(loads)).await) }).await
    }
}

//! `moka` 0.12 by itself, `future::Cache`: bounded by entries, no TTL, values behind an `Arc`. Another
//! hasher than `SipHash`, as it recommends for long strings.

use std::hint::black_box;
use std::sync::Arc;

use cache_bench_kit::value::Org;
use moka::future::Cache;
use tokio::runtime::Runtime;

use super::{CAPACITY, Hasher, Peer, Setting};

pub(crate) struct MokaFuture {
    cache: Cache<Box<str>, Arc<Org>, Hasher>,
    keys: Vec<String>,
}

impl MokaFuture {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let cache = Cache::builder().max_capacity(CAPACITY as u64);
        let cache = cache.build_with_hasher(Hasher::default());
        let keys = setting.strings();
        setting.runtime.block_on(async {
            for (id, key) in keys.iter().enumerate() {
                cache.insert(key.as_str().into(), Arc::new(setting.size.org(id))).await;
            }
            cache.run_pending_tasks().await;
        });
        Self { cache, keys }
    }
}

impl Peer for MokaFuture {
    fn hits(&self, visits: &[usize], runtime: &Runtime) {
        runtime.block_on(async {
            for &id in visits {
                black_box(self.cache.get(self.keys[id].as_str()).await.expect("a hit"));
            }
        });
    }
}

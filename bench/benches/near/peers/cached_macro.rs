//! `cached` 4: the macro `concurrent_cached` with a bound and a TTL, on a function of the key. Hits hand
//! out clones, so values are behind an `Arc`. There is one such cache in a process, and one size of values.

use std::hint::black_box;
use std::sync::Arc;

use ::cached::macros::concurrent_cached;
use cache_bench_kit::value::{Org, Size};
use tokio::runtime::Runtime;

use super::{Peer, Setting};

#[concurrent_cached(
    max_size = 20_000,
    ttl_secs = 3600,
    key = "String",
    convert = { key.to_owned() }
)]
fn org(key: &str, size: Size) -> Arc<Org> {
    Arc::new(size.org(number(key)))
}

fn number(key: &str) -> usize {
    key.rsplit(':').next().and_then(|number| number.parse().ok()).unwrap()
}

pub(crate) struct CachedMacro {
    keys: Vec<String>,
    size: Size,
}

impl CachedMacro {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let filled = Self { keys: setting.strings(), size: setting.size };
        filled.hits(&(0..setting.keys).collect::<Vec<_>>(), setting.runtime);
        filled
    }
}

impl Peer for CachedMacro {
    fn hits(&self, visits: &[usize], _: &Runtime) {
        for &id in visits {
            black_box(org(&self.keys[id], self.size));
        }
    }
}

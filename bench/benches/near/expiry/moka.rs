//! `moka` 0.12, `sync::Cache` with an `Expiry`, as it documents a TTL for each entry. Another hasher than
//! `SipHash`, as it recommends for long strings.
//!
//! It frees what has expired in the course of reads and writes, of which there are enough here.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_bench_kit::value::Org;
use moka::Expiry;
use moka::sync::Cache;

use super::Aging;
use crate::peers::Hasher;

pub(super) struct Moka(Cache<String, Arc<(Duration, Org)>, Hasher>);

struct OwnTtl;

impl Expiry<String, Arc<(Duration, Org)>> for OwnTtl {
    fn expire_after_create(
        &self,
        _: &String,
        value: &Arc<(Duration, Org)>,
        _: Instant,
    ) -> Option<Duration> {
        Some(value.0)
    }
}

impl Moka {
    pub(super) fn new(capacity: u64) -> Self {
        let cache = Cache::builder().max_capacity(capacity).expire_after(OwnTtl);
        Self(cache.build_with_hasher(Hasher::default()))
    }
}

impl Aging for Moka {
    fn set(&self, key: &str, org: Org, ttl: Duration) {
        self.0.insert(key.to_owned(), Arc::new((ttl, org)));
    }

    fn gets<'a>(&self, keys: impl Iterator<Item = &'a str>) {
        for key in keys {
            black_box(self.0.get(key).expect("what stays"));
        }
    }

    fn entries(&self) -> u64 {
        self.0.entry_count()
    }
}

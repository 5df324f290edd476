//! `cached` 4: its stores for concurrent use, each by itself, with what it has of a bound and a TTL. They
//! hand out clones, so values are behind an `Arc`.
//!
//! The stores without a bound answer a hit under a read lock, and its documentation recommends
//! `ShardedTtlCache` where no bound is needed; those with one take a write lock, to note the use. Hashes
//! are ahash's, by the feature that it recommends.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use ::cached::{
    Expires, ShardedExpiringCache, ShardedExpiringLruCache, ShardedLruCache, ShardedLruTtlCache,
    ShardedTtlCache, ShardedUnboundCache,
};
use cache_bench_kit::value::{Org, TTL};
use tokio::runtime::Runtime;

use super::{CAPACITY, Peer, Setting};

/// What the stores have in common, which no trait of theirs says without `Result`.
pub(crate) trait Store: Send + Sync {
    fn set(&self, key: String, org: Arc<Org>);
    fn get(&self, key: &str) -> Option<Arc<Org>>;
}

pub(crate) struct CachedStore<S> {
    store: S,
    keys: Vec<String>,
}

impl<S: Store> CachedStore<S> {
    fn filled(store: S, setting: Setting<'_>) -> Box<dyn Peer>
    where
        S: 'static,
    {
        let keys = setting.strings();
        for (id, key) in keys.iter().enumerate() {
            store.set(key.clone(), Arc::new(setting.size.org(id)));
        }
        Box::new(Self { store, keys })
    }
}

/// Neither bound nor TTL.
pub(crate) fn unbound(setting: Setting<'_>) -> Box<dyn Peer> {
    CachedStore::filled(ShardedUnboundCache::<String, Arc<Org>>::new(), setting)
}

/// A TTL for all.
pub(crate) fn ttl(setting: Setting<'_>) -> Box<dyn Peer> {
    CachedStore::filled(ShardedTtlCache::<String, Arc<Org>>::new(TTL), setting)
}

/// A bound.
pub(crate) fn lru(setting: Setting<'_>) -> Box<dyn Peer> {
    CachedStore::filled(ShardedLruCache::<String, Arc<Org>>::new(CAPACITY), setting)
}

/// A bound and a TTL for all.
pub(crate) fn lru_ttl(setting: Setting<'_>) -> Box<dyn Peer> {
    CachedStore::filled(ShardedLruTtlCache::<String, Arc<Org>>::new(CAPACITY, TTL), setting)
}

/// Values that say when they expire.
pub(crate) fn expiring(setting: Setting<'_>) -> Box<dyn Peer> {
    CachedStore::filled(ShardedExpiringCache::<String, Lasting>::new(), setting)
}

/// A bound, and values that say when they expire.
pub(crate) fn expiring_lru(setting: Setting<'_>) -> Box<dyn Peer> {
    CachedStore::filled(ShardedExpiringLruCache::<String, Lasting>::new(CAPACITY), setting)
}

impl<S: Store> Peer for CachedStore<S> {
    fn hits(&self, visits: &[usize], _: &Runtime) {
        for &id in visits {
            black_box(self.store.get(self.keys[id].as_str()).expect("a hit"));
        }
    }
}

/// With the moment at which it expires.
#[derive(Clone)]
struct Lasting {
    org: Arc<Org>,
    until: Instant,
}

impl Expires for Lasting {
    fn is_expired(&self) -> bool {
        Instant::now() >= self.until
    }
}

macro_rules! holds_orgs {
    ($($store:ident),*) => {$(
        impl Store for $store<String, Arc<Org>> {
            fn set(&self, key: String, org: Arc<Org>) {
                self.set(key, org);
            }

            fn get(&self, key: &str) -> Option<Arc<Org>> {
                self.get(key)
            }
        }
    )*};
}

macro_rules! holds_lasting {
    ($($store:ident),*) => {$(
        impl Store for $store<String, Lasting> {
            fn set(&self, key: String, org: Arc<Org>) {
                self.set(key, Lasting { org, until: Instant::now() + TTL });
            }

            fn get(&self, key: &str) -> Option<Arc<Org>> {
                self.get(key).map(|lasting| lasting.org)
            }
        }
    )*};
}

holds_orgs!(ShardedUnboundCache, ShardedTtlCache, ShardedLruCache, ShardedLruTtlCache);
holds_lasting!(ShardedExpiringCache, ShardedExpiringLruCache);

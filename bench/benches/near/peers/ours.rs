//! `Arc<dyn CacheService>`: the quick and the mini-moka backend alone, and the hybrid that
//! `CacheServices` hands out with Redis behind it and the bus up.

use std::hint::black_box;
use std::sync::Arc;

use cache_bench_kit::value::{Org, Size, TTL};
use cache_core::{CacheService, CacheServiceExt, Policy};
use cache_moka::MokaCacheService;
use cache_quick::QuickCacheService;
use cache_services::CacheServices;
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use super::{CAPACITY, Peer, Setting, Step, Writer};

/// Loads under way at once while the cache is filled.
const LOADS: usize = 64;

pub(crate) struct Ours {
    cache: Arc<dyn CacheService>,
    keys: Vec<String>,
    size: Size,
    policy: Policy,
    // As long as the cache.
    _services: Option<CacheServices>,
}

impl Ours {
    pub(crate) fn quick(setting: Setting<'_>) -> Arc<Self> {
        let cache = QuickCacheService::builder().max_capacity(CAPACITY as u64).build();
        Arc::new(Self::filled(setting, Arc::new(cache), None))
    }

    pub(crate) fn mini_moka(setting: Setting<'_>) -> Arc<Self> {
        let cache = MokaCacheService::builder().max_capacity(CAPACITY as u64).build();
        Arc::new(Self::filled(setting, Arc::new(cache), None))
    }

    pub(crate) fn hybrid(setting: Setting<'_>) -> Arc<Self> {
        Arc::clone(setting.hybrid.get_or_init(|| Arc::new(Self::behind_the_services(setting))))
    }

    fn behind_the_services(setting: Setting<'_>) -> Self {
        let services = CacheServices::builder()
            .redis_url(setting.url)
            .namespace(setting.size.name().replace(' ', ""))
            .max_capacity(CAPACITY as u64)
            .build();
        let services = setting.runtime.block_on(services).unwrap();
        Self::filled(setting, services.cache(), Some(services))
    }

    /// As a service fills it: what was missed is loaded, and the caller gets it decoded.
    fn filled(
        setting: Setting<'_>,
        cache: Arc<dyn CacheService>,
        services: Option<CacheServices>,
    ) -> Self {
        let (keys, size) = (setting.strings(), setting.size);
        let policy = Policy::ttl(TTL);
        setting.runtime.block_on(async {
            // A near tier takes nothing until the bus is up.
            while keys.iter().any(|key| cache.peek(key).is_none()) {
                for (from, some) in keys.chunks(LOADS).enumerate() {
                    join_all(some.iter().enumerate().map(async |(at, key)| {
                        let id = from * LOADS + at;
                        let load = move || async move { Ok::<_, std::io::Error>(size.org(id)) };
                        cache.get_or_load::<Org, _, _, _>(key, &policy, load).await.unwrap();
                    }))
                    .await;
                }
            }
        });
        Self { cache, keys, size, policy, _services: services }
    }
}

/// Asked by `get_arc`.
pub(crate) struct GetArc(pub(crate) Arc<Ours>);

impl Peer for GetArc {
    fn hits(&self, visits: &[usize], runtime: &Runtime) {
        let Ours { cache, keys, .. } = &*self.0;
        runtime.block_on(async {
            for &id in visits {
                black_box(cache.get_arc::<Org>(&keys[id]).await.unwrap().expect("a hit"));
            }
        });
    }
}

impl Writer for GetArc {
    fn run(&self, steps: &[Step], runtime: &Runtime) {
        let Ours { cache, keys, size, policy, .. } = &*self.0;
        runtime.block_on(async {
            for step in steps {
                match *step {
                    Step::Get(id) => {
                        black_box(cache.get_arc::<Org>(&keys[id]).await.unwrap());
                    }
                    Step::Set(id) => cache.set(&keys[id], &size.org(id), policy).await.unwrap(),
                    Step::Remove(id) => cache.invalidate(&keys[id]).await.unwrap(),
                }
            }
        });
    }

    fn entries(&self, _: &Runtime) -> (u64, usize) {
        let Ours { cache, keys, .. } = &*self.0;
        let held = keys.iter().filter(|key| cache.peek(key).is_some()).count();
        (cache.stats().entries, held)
    }
}

/// Asked by `get`: each caller has a value of its own, decoded.
pub(crate) struct Get(pub(crate) Arc<Ours>);

impl Peer for Get {
    fn hits(&self, visits: &[usize], runtime: &Runtime) {
        let Ours { cache, keys, .. } = &*self.0;
        runtime.block_on(async {
            for &id in visits {
                black_box(cache.get::<Org>(&keys[id]).await.unwrap().expect("a hit"));
            }
        });
    }
}

/// Asked by `get_or_load`.
pub(crate) struct GetOrLoad(pub(crate) Arc<Ours>);

impl Peer for GetOrLoad {
    fn hits(&self, visits: &[usize], runtime: &Runtime) {
        let Ours { cache, keys, policy, .. } = &*self.0;
        runtime.block_on(async {
            for &id in visits {
                let load = || async { Err::<Org, _>("a hit loads nothing") };
                black_box(cache.get_or_load(&keys[id], policy, load).await.unwrap());
            }
        });
    }
}

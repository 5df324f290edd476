//! `cachet` 0.16: the in-memory cache with a bound and a TTL, no logs, no stampede protection, which
//! makes its hits slower. Its hasher is that of the others by default. It hands out clones, so values are behind an
//! `Arc`.

use std::hint::black_box;
use std::sync::Arc;

use ::cachet::{Cache, CacheEntry};
use cache_bench_kit::value::{Org, Size, TTL};
use tick::Clock;
use tokio::runtime::Runtime;

use super::{CAPACITY, Peer, Setting, Step, Writer};

pub(crate) struct Cachet {
    cache: Cache<String, Arc<Org>>,
    keys: Vec<String>,
    size: Size,
}

impl Cachet {
    pub(crate) fn filled(setting: Setting<'_>) -> Self {
        let keys = setting.strings();
        let cache = setting.runtime.block_on(async {
            let cache = Cache::builder::<String, Arc<Org>>(Clock::new_tokio())
                .memory_with(|memory| memory.max_capacity(CAPACITY as u64))
                .ttl(TTL)
                .build();
            for (id, key) in keys.iter().enumerate() {
                let entry = CacheEntry::new(Arc::new(setting.size.org(id)));
                cache.insert(key.clone(), entry).await.unwrap();
            }
            cache
        });
        Self { cache, keys, size: setting.size }
    }
}

impl Peer for Cachet {
    fn hits(&self, visits: &[usize], runtime: &Runtime) {
        runtime.block_on(async {
            for &id in visits {
                black_box(self.cache.get(self.keys[id].as_str()).await.unwrap().expect("a hit"));
            }
        });
    }
}

impl Writer for Cachet {
    fn run(&self, steps: &[Step], runtime: &Runtime) {
        runtime.block_on(async {
            for step in steps {
                match *step {
                    Step::Get(id) => {
                        black_box(self.cache.get(self.keys[id].as_str()).await.unwrap());
                    }
                    Step::Set(id) => {
                        let entry = CacheEntry::new(Arc::new(self.size.org(id)));
                        self.cache.insert(self.keys[id].clone(), entry).await.unwrap();
                    }
                    Step::Remove(id) => {
                        self.cache.invalidate(self.keys[id].as_str()).await.unwrap();
                    }
                }
            }
        });
    }

    fn entries(&self, runtime: &Runtime) -> (u64, usize) {
        runtime.block_on(async {
            let mut held = 0;
            for key in &self.keys {
                held += usize::from(self.cache.contains(key.as_str()).await.unwrap());
            }
            (self.cache.len().await.unwrap(), held)
        })
    }
}

//! A hit in the near tier beside the bare quick service: 10,000 keys at random, one thread.

use std::hint::black_box;
use std::sync::Arc;
use std::task::{Context, Waker};

use allocation_counter::measure;
use cache_bench::{Bound, Contestant, bounded, compete, report};
use cache_core::{CacheService, CacheServiceExt, Policy};
use cache_quick::QuickCacheService;

use crate::Bench;
use crate::node::{NEAR_ENTRIES, load, node};
use crate::value::{Org, TTL, key};

const KEYS: usize = 10_000;
/// Enough that a turn is not about fetching what the turns of others drove out of the caches.
const VISITS: usize = 500_000;

pub(crate) fn run(bench: &Bench) {
    let runtime = &bench.runtime;
    let keys: Vec<_> = (0..KEYS).map(key).collect();
    let hybrid = runtime.block_on(node(&bench.server.url()));
    let quick = QuickCacheService::builder().max_capacity(NEAR_ENTRIES).build();
    let (quick, hybrid): (Arc<dyn CacheService>, Arc<dyn CacheService>) =
        (Arc::new(quick), Arc::new(hybrid));
    for cache in [&quick, &hybrid] {
        runtime.block_on(async {
            for (id, key) in keys.iter().enumerate() {
                load(cache, key, id).await;
            }
        });
    }
    let mut random = fastrand::Rng::with_seed(7);
    let visits: Vec<&str> = (0..VISITS).map(|_| keys[random.usize(..KEYS)].as_str()).collect();
    let policy = Policy::ttl(TTL);
    let get_arc = |cache: &Arc<dyn CacheService>| {
        runtime.block_on(async {
            for key in &visits {
                black_box(cache.get_arc::<Org>(key).await.unwrap().expect("a hit"));
            }
        });
    };
    let get_or_load = |cache: &Arc<dyn CacheService>| {
        runtime.block_on(async {
            for key in &visits {
                let load = || async { Err::<Org, _>("a hit loads nothing") };
                black_box(cache.get_or_load(key, &policy, load).await.unwrap());
            }
        });
    };
    let contestants = vec![
        Contestant::new("get_arc, quick, dyn CacheService", || get_arc(&quick)),
        Contestant::new("get_arc, hybrid, dyn CacheService", || get_arc(&hybrid)),
        Contestant::new("get_or_load, quick, dyn CacheService", || get_or_load(&quick)),
        Contestant::new("get_or_load, hybrid, dyn CacheService", || get_or_load(&hybrid)),
    ];
    // They are close to each other, and a turn is short.
    let figures = compete(contestants, bench.rounds * 3, VISITS);
    report(&format!("near hit, {KEYS} keys at random, one thread"), &figures);
    let ratio = |above: usize, below: usize| figures[above].median / figures[below].median;
    bounded("get_arc / quick's", ratio(1, 0), Bound::AtMost(1.25));
    bounded("get_or_load / quick's", ratio(3, 2), Bound::AtMost(1.25));
    let (get_arc, get_or_load) = allocations(&hybrid, &keys, &policy);
    bounded("allocations in a get_arc", get_arc, Bound::AtMost(0.0));
    bounded("allocations in a get_or_load", get_or_load, Bound::AtMost(0.0));
}

/// Per hit: of `get_arc` and of `get_or_load`.
fn allocations(cache: &Arc<dyn CacheService>, keys: &[String], policy: &Policy) -> (f64, f64) {
    let (mut get_arc, mut get_or_load) = (0, 0);
    for key in keys {
        get_arc += measure(|| {
            let hit = std::pin::pin!(cache.get_arc::<Org>(key));
            assert!(hit.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        })
        .count_total;
        get_or_load += measure(|| {
            let load = || async { Err::<Org, _>("a hit loads nothing") };
            let hit = std::pin::pin!(cache.get_or_load(key, policy, load));
            assert!(hit.poll(&mut Context::from_waker(Waker::noop())).is_ready());
        })
        .count_total;
    }
    let per_hit = |count: u64| count as f64 / keys.len() as f64;
    (per_hit(get_arc), per_hit(get_or_load))
}

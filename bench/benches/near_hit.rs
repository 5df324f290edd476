//! A hit in the memory of the process: the typed call beside the raw engines.
//!
//! 10,000 keys visited at random, and 64 hot ones; each key has a value of its own, as a real
//! cache does. Also: allocations per hit, and bytes per entry beside raw quick_cache's.

#![allow(clippy::print_stdout, clippy::unwrap_used, clippy::expect_used, reason = "a benchmark")]

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use cache_bench::{Contestant, compete, report};
use cache_core::{CacheService, CacheServiceExt, CacheStore, Policy};
use cache_moka::MokaCacheService;
use cache_quick::QuickCacheService;
use serde::{Deserialize, Serialize};

/// Enough that a turn is not about fetching what the turns of others drove out of the caches.
const VISITS: usize = 1_000_000;
const ROUNDS: usize = 15;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Org {
    id: u64,
    name: String,
    plan: String,
    features: Vec<String>,
}

fn org(id: u64) -> Org {
    let features = ["sso", "audit-log", "api"].map(str::to_owned).to_vec();
    Org { id, name: format!("Organisation number {id}"), plan: "enterprise".to_owned(), features }
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|id| format!("org:{id:08}")).collect()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for count in [10_000, 64] {
        hits(&runtime, count);
    }
    allocations(&runtime);
    memory(&runtime);
}

fn filled(
    cache: Arc<dyn CacheService>,
    keys: &[String],
    runtime: &tokio::runtime::Runtime,
) -> Arc<dyn CacheService> {
    // As a service fills it: what was missed is loaded, and the caller gets it decoded.
    runtime.block_on(async {
        for (id, key) in keys.iter().enumerate() {
            let load = move || async move { Ok::<_, std::io::Error>(org(id as u64)) };
            cache.get_or_load(key, Duration::from_secs(3600), load).await.unwrap();
        }
    });
    cache
}

fn hits(runtime: &tokio::runtime::Runtime, count: usize) {
    let keys = keys(count);
    let mut random = fastrand::Rng::with_seed(7);
    let visits: Vec<&str> = (0..VISITS).map(|_| keys[random.usize(..count)].as_str()).collect();
    let capacity = 20_000;

    let raw_quick = quick_cache::sync::Cache::<Box<str>, Arc<Org>>::new(capacity);
    let raw_moka = moka::sync::Cache::<Box<str>, Arc<Org>>::new(capacity as u64);
    for (id, key) in keys.iter().enumerate() {
        raw_quick.insert(key.as_str().into(), Arc::new(org(id as u64)));
        raw_moka.insert(key.as_str().into(), Arc::new(org(id as u64)));
    }
    raw_moka.run_pending_tasks();
    let quick = QuickCacheService::builder().max_capacity(capacity as u64).build();
    let quick = filled(Arc::new(quick), &keys, runtime);
    let mini = MokaCacheService::builder().max_capacity(capacity as u64).build();
    let mini = filled(Arc::new(mini), &keys, runtime);
    let policy = Policy::ttl(Duration::from_secs(3600));

    let get_arc = |cache: &Arc<dyn CacheService>| {
        runtime.block_on(async {
            for key in &visits {
                black_box(cache.get_arc::<Org>(key).await.unwrap().expect("a hit"));
            }
        });
    };
    let contestants = vec![
        Contestant::new("raw quick_cache get", || {
            visits.iter().for_each(|key| drop(black_box(raw_quick.get(*key).expect("a hit"))));
        }),
        Contestant::new("get_arc, quick, dyn CacheService", || {
            runtime.block_on(async {
                for key in &visits {
                    black_box(quick.get_arc::<Org>(key).await.unwrap());
                }
            });
        }),
        Contestant::new("get_or_load, quick, dyn CacheService", || {
            runtime.block_on(async {
                for key in &visits {
                    let load = || async { Err::<Org, _>("a hit loads nothing") };
                    black_box(quick.get_or_load(key, &policy, load).await.unwrap());
                }
            });
        }),
        Contestant::new("raw moka 0.12 get", || {
            visits.iter().for_each(|key| drop(black_box(raw_moka.get(*key).expect("a hit"))));
        }),
        Contestant::new("get_arc, mini-moka, dyn CacheService", || get_arc(&mini)),
    ];
    let figures = compete(contestants, ROUNDS, VISITS);
    report(
        &format!("hit, {count} keys at random, one thread (median of {ROUNDS} turns)"),
        &figures,
    );
    println!(
        "  get_arc / raw quick_cache   {:.2} (bound 2.00)",
        figures[1].median / figures[0].median
    );
    println!(
        "  raw moka / get_arc          {:.2} (bound 3.00)",
        figures[3].median / figures[1].median
    );
    println!(
        "  get_or_load / get_arc       {:.2} (bound 1.30)",
        figures[2].median / figures[1].median
    );
}

fn allocations(runtime: &tokio::runtime::Runtime) {
    let keys = keys(1_000);
    let cache = filled(Arc::new(QuickCacheService::default()), &keys, runtime);
    let policy = Policy::ttl(Duration::from_secs(3600));
    let get_arc = runtime.block_on(async {
        let mut total = 0;
        for key in &keys {
            let hit = cache.get_arc::<Org>(key);
            let mut hit = std::pin::pin!(hit);
            total += measure(|| {
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(hit.as_mut().poll(&mut context).is_ready());
            })
            .count_total;
        }
        total
    });
    let get_or_load = runtime.block_on(async {
        let mut total = 0;
        for key in &keys {
            total += measure(|| {
                let load = || async { Err::<Org, _>("a hit loads nothing") };
                let hit = std::pin::pin!(cache.get_or_load(key, &policy, load));
                let mut context = std::task::Context::from_waker(std::task::Waker::noop());
                assert!(hit.poll(&mut context).is_ready());
            })
            .count_total;
        }
        total
    });
    println!("\nallocations in 1,000 hits: get_arc {get_arc}, get_or_load {get_or_load} (bound 0)");
}

/// Bytes per entry when as many entries are held as fit.
fn memory(runtime: &tokio::runtime::Runtime) {
    const ENTRIES: usize = 100_000;
    let keys = keys(ENTRIES);
    let mut raw = None;
    let raw_bytes = measure(|| {
        let cache = quick_cache::sync::Cache::<Box<str>, Arc<Org>>::new(ENTRIES);
        for (id, key) in keys.iter().enumerate() {
            cache.insert(key.as_str().into(), Arc::new(org(id as u64)));
        }
        raw = Some(cache);
    });
    let mut ours = None;
    let encoded = measure(|| {
        let cache = QuickCacheService::builder().max_capacity(ENTRIES as u64).build();
        runtime.block_on(async {
            for (id, key) in keys.iter().enumerate() {
                cache.set(key, &org(id as u64), None).await.unwrap();
            }
        });
        ours = Some(cache);
    });
    let (raw, ours) = (raw.unwrap(), ours.unwrap());
    let decoded = measure(|| {
        runtime.block_on(async {
            for key in &keys {
                let _ = ours.get_arc::<Org>(key).await.unwrap();
            }
        });
    });
    let held = ours.stats().entries as f64;
    let payload = serde_json::to_vec(&org(50_000)).unwrap().len();
    println!("\nbytes per entry, {ENTRIES} inserted");
    println!(
        "  raw quick_cache, Arc<T>            {:>6.0}  ({} held)",
        raw_bytes.bytes_current as f64 / raw.len() as f64,
        raw.len()
    );
    println!(
        "  ours, encoded ({payload} bytes of JSON)   {:>6.0}  ({held} held)",
        encoded.bytes_current as f64 / held
    );
    println!(
        "  ours, encoded and decoded          {:>6.0}",
        (encoded.bytes_current + decoded.bytes_current) as f64 / held
    );
}

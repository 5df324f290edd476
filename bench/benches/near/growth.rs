//! What an operation on 64 keys costs beside 1,000 other entries, and beside 1,000,000: in a cache that is half
//! full, and in one that is full, where each new key drives another out; and a lock beside as many that are
//! held.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_bench_kit::value::{Org, TTL, key, org};
use cache_bench_kit::{Contestant, Figure, Table, compete};
use cache_concurrency::LocalConcurrencyService;
use cache_core::{
    CacheServiceExt, CacheStore, ConcurrencyService, ConcurrencyServiceExt, LockOptions, Policy,
};
use cache_quick::QuickCacheService;
use quick_cache::sync::Cache;
use tokio::runtime::Runtime;

use crate::Bench;

const ENTRIES: [usize; 2] = [1_000, 1_000_000];
const HOT: usize = 64;
/// In one turn; and of what loads, for which a task is started.
const TIMES: usize = 20_000;
const LOADS: usize = 2_000;

/// What is done with keys, so often.
type Operation = fn(&QuickCacheService, &Runtime, &[String], usize);

const OPERATIONS: [(&str, usize, Operation); 11] = [
    ("get_arc", TIMES, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |key, _| {
            cache.get_arc::<Org>(key).await.unwrap().expect("a hit");
        });
    }),
    ("get_or_load, hit", TIMES, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |key, _| {
            let load = || async { Err::<Org, _>("a hit loads nothing") };
            cache.get_or_load(key, TTL, load).await.unwrap();
        });
    }),
    ("set", TIMES, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |key, id| cache.set(key, &org(id), TTL).await.unwrap());
    }),
    ("invalidate and set", TIMES, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |key, id| {
            cache.invalidate(key).await.unwrap();
            cache.set(key, &org(id), TTL).await.unwrap();
        });
    }),
    ("get_arc of what is not there", TIMES, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |key, _| {
            assert!(cache.get_arc::<Org>(&key[1..]).await.unwrap().is_none());
        });
    }),
    ("contains", TIMES, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |key, _| assert!(cache.contains(key).await.unwrap()));
    }),
    ("invalidate and get_or_load", LOADS, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |key, id| {
            cache.invalidate(key).await.unwrap();
            let load = move || async move { Ok::<_, std::io::Error>(org(id)) };
            cache.get_or_load(key, TTL, load).await.unwrap();
        });
    }),
    ("get_many of 64, each key", TIMES, |cache, runtime, keys, times| {
        batches(runtime, keys, times, &async |keys| {
            let found = cache.get_many::<Org>(keys).await.unwrap();
            assert!(found.iter().all(Option::is_some));
        });
    }),
    ("set_many of 64, each key", TIMES, |cache, runtime, keys, times| {
        batches(runtime, keys, times, &async |keys| {
            let items: Vec<_> = keys.iter().enumerate().map(|(id, key)| (*key, org(id))).collect();
            cache.set_many(&items, TTL).await.unwrap();
        });
    }),
    ("invalidate_many and set_many of 64, each key", TIMES, |cache, runtime, keys, times| {
        batches(runtime, keys, times, &async |keys| {
            cache.invalidate_many(keys).await.unwrap();
            let items: Vec<_> = keys.iter().enumerate().map(|(id, key)| (*key, org(id))).collect();
            cache.set_many(&items, TTL).await.unwrap();
        });
    }),
    ("stats", TIMES, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |_, _| assert!(cache.stats().entries >= 1_000));
    }),
];

/// What is done with one that is full.
const WHEN_FULL: [(&str, usize, Operation); 2] = [
    ("full: set of a new key, which drives one out", TIMES, |cache, runtime, keys, times| {
        each(runtime, keys, times, &async |_, id| {
            cache.set(&new_key(), &org(id), TTL).await.unwrap();
        });
    }),
    (
        "full: get_or_load of a new key, which drives one out",
        LOADS,
        |cache, runtime, keys, times| {
            each(runtime, keys, times, &async |_, id| {
                let load = move || async move { Ok::<_, std::io::Error>(org(id)) };
                cache.get_or_load(&new_key(), TTL, load).await.unwrap();
            });
        },
    ),
];

/// That nobody has had.
fn new_key() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(10_000_000);
    key(NEXT.fetch_add(1, Ordering::Relaxed))
}

/// The same of the engine by itself: what a larger heap costs there, it costs ours too.
const RAW: [(&str, RawOperation); 3] = [
    ("get of what is not there", |cache, keys| {
        for visit in 0..TIMES {
            assert!(cache.get(&keys[visit % HOT][1..]).is_none());
        }
    }),
    ("insert", |cache, keys| {
        for visit in 0..TIMES {
            cache.insert(keys[visit % HOT].as_str().into(), Arc::new(org(visit % HOT)));
        }
    }),
    ("insert of a new key, which drives one out", |cache, _| {
        for visit in 0..TIMES {
            cache.insert(new_key().into(), Arc::new(org(visit % HOT)));
        }
    }),
];

type RawOperation = fn(&Cache<Box<str>, Arc<Org>>, &[String]);

const COLUMNS: [&str; 3] = ["1,000 entries ns", "1,000,000 entries ns", "×"];

pub(crate) fn run(bench: &Bench) {
    let (runtime, rounds) = (&bench.runtime, bench.arguments.rounds_or(11, 25));
    let hot: Vec<_> = (0..HOT).map(key).collect();
    let hot = &hot;
    let title = "An operation on 64 keys, by the number of other entries";
    let mut table = Table::new("near/growth", title, &COLUMNS);
    for (operations, full) in [(&OPERATIONS[..], false), (&WHEN_FULL, true)] {
        let caches = ENTRIES.map(|entries| filled(runtime, entries, full));
        for &(name, times, operation) in operations {
            let contestant =
                |cache| Contestant::new(name, move || operation(cache, runtime, hot, times));
            let figures = compete(caches.iter().map(contestant).collect(), rounds, times);
            row(&mut table, &figures);
        }
    }
    let locks = ENTRIES.map(|count| held(runtime, count));
    let name = "with_lock, in process, beside as many that are held";
    let contestant = |(locks, _): &_| {
        let locks: LocalConcurrencyService = Clone::clone(locks);
        Contestant::new(name, move || {
            each(runtime, hot, TIMES, &async |key, _| {
                locks.with_lock(key, async {}).await.unwrap();
            });
        })
    };
    row(&mut table, &compete(locks.iter().map(contestant).collect(), rounds, TIMES));
    bench.record.table(table);

    let title = "The same of raw quick_cache, full";
    let mut table = Table::new("near/growth of raw quick_cache", title, &COLUMNS);
    let caches = ENTRIES.map(|entries| {
        let cache = Cache::new(entries);
        (0..entries + HOT).for_each(|id| cache.insert(key(id).into(), Arc::new(org(id))));
        cache
    });
    for (name, operation) in RAW {
        let contestant = |cache| Contestant::new(name, move || operation(cache, hot));
        row(&mut table, &compete(caches.iter().map(contestant).collect(), rounds, TIMES));
    }
    bench.record.table(table);
}

/// Beside few, beside many, and what the second is for each of the first.
fn row(table: &mut Table, figures: &[Figure]) {
    let ratio = figures[1].beside(&figures[0]);
    table.row(&figures[0].name, &[figures[0].median, figures[1].median, ratio].map(Some));
}

/// Locks of which so many are held, with their guards.
fn held(runtime: &Runtime, count: usize) -> (LocalConcurrencyService, Vec<cache_core::LockGuard>) {
    let locks = LocalConcurrencyService::new();
    let options = LockOptions::default().lease(TTL);
    let guards = runtime.block_on(async {
        let mut guards = Vec::with_capacity(count);
        for id in HOT..HOT + count {
            guards.push(locks.acquire(&key(id), &options).await.unwrap());
        }
        guards
    });
    (locks, guards)
}

/// With TTLs as mixed as in an application, so that some are due all the time.
fn filled(runtime: &Runtime, entries: usize, full: bool) -> QuickCacheService {
    let capacity = if full { entries } else { 2 * entries };
    let cache = QuickCacheService::builder().max_capacity(capacity as u64).build();
    runtime.block_on(async {
        for id in 0..entries + HOT {
            let ttl = if id < HOT { TTL } else { Duration::from_secs(60 + id as u64 % 3_600) };
            cache.set(&key(id), &id, Policy::ttl(ttl)).await.unwrap();
        }
        for id in 0..HOT {
            cache.set(&key(id), &org(id), TTL).await.unwrap();
        }
    });
    cache
}

fn each(runtime: &Runtime, keys: &[String], times: usize, act: &impl AsyncFn(&str, usize)) {
    runtime.block_on(async {
        for visit in 0..times {
            act(&keys[visit % HOT], visit % HOT).await;
        }
    });
}

/// The same by all keys at once.
fn batches(runtime: &Runtime, keys: &[String], times: usize, act: &impl AsyncFn(&[&str])) {
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    runtime.block_on(async {
        // A few more than so many keys, with few entries as with many.
        for _ in 0..times.div_ceil(HOT) {
            act(&keys).await;
        }
    });
}

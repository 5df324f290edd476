//! What an operation on 64 keys costs beside 1,000 other entries, and beside 1,000,000.

use std::time::Duration;

use cache_bench_kit::value::{Org, TTL, key, org};
use cache_bench_kit::{Contestant, Table, compete};
use cache_core::{CacheServiceExt, CacheStore, Policy};
use cache_quick::QuickCacheService;
use tokio::runtime::Runtime;

use crate::Bench;

const ENTRIES: [usize; 2] = [1_000, 1_000_000];
const HOT: usize = 64;
/// In one turn.
const TIMES: usize = 20_000;

/// What is done with a key.
type Operation = fn(&QuickCacheService, &Runtime, &[String]);

const OPERATIONS: [(&str, Operation); 6] = [
    ("get_arc", |cache, runtime, keys| {
        each(runtime, keys, &async |key, _| {
            cache.get_arc::<Org>(key).await.unwrap().expect("a hit");
        });
    }),
    ("get_or_load, hit", |cache, runtime, keys| {
        each(runtime, keys, &async |key, _| {
            let load = || async { Err::<Org, _>("a hit loads nothing") };
            cache.get_or_load(key, TTL, load).await.unwrap();
        });
    }),
    ("set", |cache, runtime, keys| {
        each(runtime, keys, &async |key, id| cache.set(key, &org(id), TTL).await.unwrap());
    }),
    ("invalidate and set", |cache, runtime, keys| {
        each(runtime, keys, &async |key, id| {
            cache.invalidate(key).await.unwrap();
            cache.set(key, &org(id), TTL).await.unwrap();
        });
    }),
    ("get_arc of what is not there", |cache, runtime, keys| {
        each(runtime, keys, &async |key, _| {
            assert!(cache.get_arc::<Org>(&key[1..]).await.unwrap().is_none());
        });
    }),
    ("stats", |cache, runtime, keys| {
        each(runtime, keys, &async |_, _| assert!(cache.stats().entries >= 1_000));
    }),
];

pub(crate) fn run(bench: &Bench) {
    let runtime = &bench.runtime;
    let caches = ENTRIES.map(|entries| filled(runtime, entries));
    let hot: Vec<_> = (0..HOT).map(key).collect();
    let columns = ["1,000 entries ns", "1,000,000 entries ns", "×"];
    let title = "An operation on 64 keys, by the number of other entries";
    let mut table = Table::new("near/growth", title, &columns);
    for (name, operation) in OPERATIONS {
        let hot = &hot;
        let contestant = |cache| Contestant::new(name, move || operation(cache, runtime, hot));
        let figures = compete(
            caches.iter().map(contestant).collect(),
            bench.arguments.rounds_or(11, 51),
            TIMES,
        );
        let [few, many] = [figures[0].median, figures[1].median];
        table.row(name, &[few, many, many / few].map(Some));
    }
    bench.record.table(table);
}

/// With TTLs as mixed as in an application, so that some are due all the time.
fn filled(runtime: &Runtime, entries: usize) -> QuickCacheService {
    let cache = QuickCacheService::builder().max_capacity(2 * entries as u64).build();
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

fn each(runtime: &Runtime, keys: &[String], act: &impl AsyncFn(&str, usize)) {
    runtime.block_on(async {
        for visit in 0..TIMES {
            act(&keys[visit % HOT], visit % HOT).await;
        }
    });
}

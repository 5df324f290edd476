//! A miss with a loader that returns at once, beside three round trips by hand.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;

use cache_bench_kit::value::key;
use cache_bench_kit::{Bound, Contestant, Table, compete};
use cache_core::CacheService;
use cache_testkit::RedisServer;
use tokio::runtime::Runtime;

use crate::Bench;
use crate::node::{load, node};
use crate::raw::Raw;

/// In one turn.
const MISSES: usize = 400;

pub(crate) fn run(bench: &Bench) {
    let (runtime, server) = bench.start();
    let (runtime, url) = (&runtime, server.url());
    let cache: Arc<dyn CacheService> = Arc::new(runtime.block_on(node(&url)));
    let next = Cell::new(1);
    let fresh = || {
        let first = next.replace(next.get() + MISSES);
        first..first + MISSES
    };
    let misses = || {
        let (cache, ids) = (Arc::clone(&cache), fresh());
        in_a_task(runtime, async move {
            for id in ids {
                assert_eq!(load(&cache, &key(id), id).await.id, id);
            }
        });
    };
    runtime.block_on(load(&cache, &key(0), 0));
    round_trips(bench, &server, misses);

    let raw = Arc::new(runtime.block_on(Raw::connect(&url, &format!("cache:{}", key(0)))));
    let by_hand = |plain: bool| {
        let (raw, ids) = (Arc::clone(&raw), fresh());
        in_a_task(runtime, async move {
            for id in ids {
                if plain { raw.miss_plain(id).await } else { raw.miss_leased(id).await }
            }
        });
    };
    let contestants = vec![
        Contestant::new("raw redis-rs, GET + our two scripts", || by_hand(false)),
        Contestant::new("get_or_load, hybrid", misses),
        Contestant::new("raw redis-rs, GET + SET NX + SET", || by_hand(true)),
    ];
    let figures = compete(contestants, bench.rounds, MISSES);
    let title = "Miss with a loader that returns at once, one after the other";
    bench.record.table(Table::of_waits("hybrid/miss", title, &figures));
    let ratio = figures[1].median / figures[0].median;
    bench.record.bounded("miss / three raw round trips", ratio, Bound::AtMost(1.15));
}

/// As a request handler runs.
fn in_a_task(runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) {
    runtime.block_on(runtime.spawn(work)).unwrap();
}

/// A GET and two scripts each, and what the scripts do; of the heartbeat, TIME, ROLE and PING.
fn round_trips(bench: &Bench, server: &RedisServer, misses: impl Fn()) {
    server.reset_commandstats();
    misses();
    let stats = server.commandstats();
    let count = |name: &str| stats.get(name).copied().unwrap_or(0);
    let expected = MISSES as u64;
    assert_eq!((count("get"), count("evalsha")), (expected, 2 * expected), "{stats:?}");
    // What a script runs is counted too: each of the two writes once.
    assert_eq!(count("set"), 2 * expected, "{stats:?}");
    let known = ["get", "evalsha", "set", "time", "getrange", "strlen", "role", "ping"];
    let other = stats.keys().find(|name| !known.contains(&name.as_str()) && !name.contains('|'));
    assert_eq!(other, None, "{stats:?}");
    bench.record.note("A miss is 1 GET and 2 EVALSHA, nothing else.");
}

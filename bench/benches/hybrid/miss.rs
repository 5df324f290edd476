//! A miss with a loader that returns at once, beside three round trips by hand.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;

use cache_bench_kit::value::key;
use cache_bench_kit::{Contestant, Table, compete};
use cache_core::CacheService;
use cache_testkit::RedisServer;
use tokio::runtime::Runtime;

use crate::Bench;
use crate::delay::Delay;
use crate::node::{load, node};
use crate::raw::Raw;

/// Below what one task takes on all cores.
const ONE_TASK: &str = "\
Where the scheduler puts the client decides: each of the three round trips takes some 20 µs beside the server, \
70 to 90 on another core. The run on one core and the one through the proxy can be read.";
/// In one turn.
const MISSES: usize = 400;

pub(crate) fn run(bench: &Bench) {
    let (runtime, server) = bench.start();
    let delay = Delay::start(server.addr());
    for (way, url, count) in Bench::ways(&server, &delay, MISSES) {
        beside_raw(bench, &runtime, &server, &url, (way, count));
    }
}

fn beside_raw(
    bench: &Bench,
    runtime: &Runtime,
    server: &RedisServer,
    url: &str,
    (way, count): (&str, usize),
) {
    let cache: Arc<dyn CacheService> = Arc::new(runtime.block_on(node(url)));
    // What was filled on the way before.
    server.command(&["FLUSHALL"]);
    let next = Cell::new(1);
    let fresh = || {
        let first = next.replace(next.get() + count);
        first..first + count
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
    if way == "directly" {
        round_trips(bench, server, misses, count);
    }

    let raw = Arc::new(runtime.block_on(Raw::connect(url, &format!("cache:{}", key(0)))));
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
    let figures = compete(contestants, bench.rounds, count);
    let title = format!("Miss with a loader that returns at once, one after the other, {way}");
    let table = Table::of_waits(format!("hybrid/miss/{way}"), title, &figures);
    let to_be_read = (way, bench.arguments.pinned) != ("directly", false);
    bench.record.table(if to_be_read { table } else { table.with_note(ONE_TASK) });
}

/// As a request handler runs.
fn in_a_task(runtime: &Runtime, work: impl Future<Output = ()> + Send + 'static) {
    runtime.block_on(runtime.spawn(work)).unwrap();
}

/// A GET and two scripts each, and what the scripts do; of the heartbeat, TIME, ROLE and PING.
fn round_trips(bench: &Bench, server: &RedisServer, misses: impl Fn(), count: usize) {
    server.reset_commandstats();
    misses();
    let stats = server.commandstats();
    let asked = |name: &str| stats.get(name).copied().unwrap_or(0);
    let expected = count as u64;
    assert_eq!((asked("get"), asked("evalsha")), (expected, 2 * expected), "{stats:?}");
    // What a script runs is counted too: each of the two writes once.
    assert_eq!(asked("set"), 2 * expected, "{stats:?}");
    let known = ["get", "evalsha", "set", "time", "getrange", "strlen", "role", "ping"];
    let other = stats.keys().find(|name| !known.contains(&name.as_str()) && !name.contains('|'));
    assert_eq!(other, None, "{stats:?}");
    let each = |name| Some(asked(name) as f64 / count as f64);
    let sum = each("get").zip(each("evalsha")).map(|(get, scripts)| get + scripts);
    let columns = ["round trips", "GET", "EVALSHA"];
    let mut table = Table::new("hybrid/round trips", "What a miss asks the server", &columns);
    table.row("get_or_load, hybrid", &[sum, each("get"), each("evalsha")]);
    bench.record.table(table);
}

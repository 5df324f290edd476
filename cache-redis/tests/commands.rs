//! What the cache asks of the server: commands per operation, and removal that touches nothing
//! else and holds nobody up.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![allow(clippy::print_stdout, reason = "figures, for whoever asks with --nocapture")]

mod scenario;

use std::collections::BTreeMap;
use std::io::Error;
use std::time::{Duration, Instant};

use cache_core::{BusEvent, CacheServiceExt, InvalidationBus, Selector};
use cache_redis::{Connections, RedisBus, RedisCacheService, RedisConfig};
use cache_testkit::servers::RedisServer;
use cache_testkit::{FaultProxy, Loads, eventually};
use futures_util::StreamExt;
use scenario::{LASTING, config, connect, get, load, name};

/// Commands of ours that no data is touched by, and those by which the test asks.
const UPKEEP: &[&str] =
    &["info", "config|resetstat", "time", "ping", "hello", "client|setname", "role"];

/// The commands that the server ran meanwhile, those inside of scripts included.
async fn commands(server: &RedisServer, during: impl Future) -> BTreeMap<String, u64> {
    server.reset_commandstats();
    during.await;
    let mut ran = server.commandstats();
    ran.retain(|name, _| !UPKEEP.contains(&name.as_str()));
    ran
}

fn of<const N: usize>(counts: [(&str, u64); N]) -> BTreeMap<String, u64> {
    counts.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("many:{n}")).collect()
}

/// The line of the README that makes a user.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_rights_that_are_named_can_do_everything() {
    let server = RedisServer::start();
    let line = include_str!("../README.md").lines().find(|line| line.contains("ACL SETUSER"));
    let line: Vec<_> = line.unwrap().split_whitespace().collect();
    assert_eq!(server.command(&line).text(), "OK");
    let url = format!("redis://app:secret@{}", server.addr());
    let connections = Connections::connect(&RedisConfig::from_url(&url).unwrap()).await.unwrap();
    let bus = RedisBus::new(connections.clone()).unwrap();
    let mut events = bus.subscribe();
    assert_eq!(events.next().await, Some(BusEvent::Connected));
    let cache = RedisCacheService::new(connections);
    cache.set("set", &1_u64, LASTING).await.unwrap();
    cache.set_many(&[("many", 2_u64)], LASTING).await.unwrap();
    let loaded = cache.get_or_load("loaded", LASTING, || async { Ok::<_, Error>(3_u64) });
    assert_eq!(*loaded.await.unwrap(), 3);
    let found = cache.get_many::<u64>(&["set", "many", "loaded"]).await.unwrap();
    assert_eq!(found, [Some(1), Some(2), Some(3)]);
    server.command(&["SET", "cache:json", "4"]);
    assert_eq!(cache.get::<u64>("json").await.unwrap(), Some(4));
    let failing =
        cache.get_or_load("failed", LASTING, || async { Err::<u64, _>(Error::other("no")) });
    assert!(failing.await.is_err());
    cache.invalidate("set").await.unwrap();
    cache.invalidate_prefix("man").await.unwrap();
    cache.clear().await.unwrap();
    bus.publish(&Selector::key("set")).await.unwrap();
    let refused = server.command(&["ACL", "LOG"]);
    assert!(refused.list().is_empty(), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hit_is_one_get_and_a_load_one_get_and_two_scripts() {
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    // The server learns the scripts.
    load(&cache, "first", 1).await;
    cache.set("first", &1_u64, LASTING).await.unwrap();

    let ran = commands(&server, load(&cache, "k", 1)).await;
    // GETRANGE and SET are the scripts' own: one of each for the lease, and for the fill.
    assert_eq!(ran["get"], 1, "{ran:?}");
    assert_eq!(ran["evalsha"], 2, "{ran:?}");
    assert!(!ran.contains_key("eval"), "{ran:?}");
    println!("a load on a miss: {ran:?}");

    assert_eq!(commands(&server, get(&cache, "k")).await, of([("get", 1)]));
    assert_eq!(commands(&server, load(&cache, "k", 2)).await, of([("get", 1)]));
    assert_eq!(commands(&server, get(&cache, "absent")).await, of([("get", 1)]));
    let set = cache.set("k", &3_u64, LASTING);
    // The script's own SET, and TIME.
    assert_eq!(commands(&server, set).await, of([("evalsha", 1), ("set", 1)]));
    assert_eq!(commands(&server, cache.invalidate("k")).await, of([("unlink", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_keys_are_one_command() {
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    load(&cache, "first", 1).await;
    cache.set("first", &1_u64, LASTING).await.unwrap();
    let keys = keys(1_000);
    let keys: Vec<_> = keys.iter().map(String::as_str).collect();

    let items: Vec<_> = keys.iter().map(|key| (*key, 1_u64)).collect();
    let set = cache.set_many(&items[..100], LASTING);
    // One script per 64 keys, in one pipeline.
    assert_eq!(commands(&server, set).await, of([("evalsha", 2), ("set", 100)]));
    let get = cache.get_many::<u64>(&keys[..100]);
    assert_eq!(commands(&server, get).await, of([("mget", 1)]));
    let get = cache.get_many::<u64>(&keys);
    assert_eq!(commands(&server, get).await, of([("mget", 2)]));
    let loads = Loads::new();
    let load = cache.get_or_load_many(&keys[..100], LASTING, loads.many(|_| Some(2_u64)));
    assert_eq!(commands(&server, load).await, of([("mget", 1)]));
    let remove = cache.invalidate_many(&keys[..100]);
    assert_eq!(commands(&server, remove).await, of([("unlink", 1)]));

    let load = cache.get_or_load_many(&keys[..100], LASTING, loads.many(|_| Some(2_u64)));
    let ran = commands(&server, load).await;
    println!("a load of 100 on 100 misses: {ran:?}");
    assert_eq!((ran.get("mget"), ran["evalsha"], loads.count()), (Some(&1), 200, 1), "{ran:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_is_one_round_trip() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    // No heartbeat in between.
    let config = config(&proxy.url(&server.url())).heartbeat_interval(Duration::from_secs(60));
    let cache = RedisCacheService::connect(config).await.unwrap();
    cache.set("first", &1_u64, LASTING).await.unwrap();
    let keys = keys(500);
    let items: Vec<_> = keys.iter().map(|key| (key.as_str(), 1_u64)).collect();
    for round in 1..=3 {
        let before = proxy.round_trips();
        cache.set("k", &round, LASTING).await.unwrap();
        assert_eq!(proxy.round_trips() - before, 1);
        cache.set_many(&items, LASTING).await.unwrap();
        assert_eq!(proxy.round_trips() - before, 2);
    }
}

/// A server that has forgotten the scripts costs one more command and no failure.
#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_taught_anew() {
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    load(&cache, "first", 1).await;
    server.command(&["SCRIPT", "FLUSH"]);
    let ran = commands(&server, load(&cache, "k", 1)).await;
    assert_eq!((ran["evalsha"], ran["eval"]), (2, 2), "{ran:?}");
    assert_eq!(get(&cache, "k").await, Some(1));

    server.command(&["SCRIPT", "FLUSH"]);
    let keys = keys(200);
    let mut items: Vec<_> = keys.iter().map(|key| (key.as_str(), 1_u64)).collect();
    items.push((&keys[0], 2));
    let ran = commands(&server, cache.set_many(&items, LASTING)).await;
    assert_eq!((ran["eval"], get(&cache, &keys[0]).await), (1, Some(2)), "{ran:?}");
    assert_eq!(get(&cache, &keys[199]).await, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn removal_leaves_alone_what_is_not_ours() {
    let server = RedisServer::start();
    // Namespaces that a careless pattern would take in, or be.
    let names = ["app", "app2", "a*", "a?p", "[ap]*", "*", "a\\p", "ap"];
    let mut caches = Vec::new();
    for name in names {
        let config = config(&server.url()).namespace(name);
        caches.push((name, RedisCacheService::connect(config).await.unwrap()));
    }
    let foreign = [
        "app",
        "k",
        "xapp:k",
        "app-lock:k",
        "lock:app:k",
        "{lock/app/k}.l",
        "{lock/app/k}.f",
        "cache:k",
        "APP:k",
    ];
    for key in foreign {
        server.command(&["SET", key, "foreign"]);
    }
    let globs = ["p*:1", "p?:1", "p[a-z]:1", "p\\:1", "p^:1", "p-:1", "pa:1", "pz:1"];
    let fill = async |cache: &RedisCacheService| {
        let items: Vec<_> = globs.iter().map(|key| (*key, 1_u64)).collect();
        cache.set_many(&items, LASTING).await.unwrap();
    };
    for (_, cache) in &caches {
        fill(cache).await;
    }
    server.reset_commandstats();
    for (name, cache) in &caches {
        // Each prefix takes its own key and no other.
        for glob in globs {
            let prefix = &glob[..glob.len() - 1];
            cache.invalidate_prefix(prefix).await.unwrap();
            for key in globs {
                let expected = (key != glob).then_some(1);
                assert_eq!(get(cache, key).await, expected, "{name}: {key} after {prefix}");
            }
            fill(cache).await;
        }
        cache.clear().await.unwrap();
        for (other, cache) in &caches {
            let found = cache.get_many::<u64>(&globs).await.unwrap();
            let expected = (other != name).then_some(1);
            assert!(found.iter().all(|slot| *slot == expected), "{other} after {name}: {found:?}");
        }
        fill(cache).await;
    }
    for key in foreign {
        assert_eq!(server.command(&["GET", key]), "foreign", "{key}");
    }
    let ran = server.commandstats();
    for never in ["keys", "flushdb", "flushall", "del"] {
        assert!(!ran.contains_key(never), "{ran:?}");
    }
}

/// Gets while `count` keys are removed by their prefix: their number, the 99th percentile, the worst.
async fn gets_during_removal(count: usize) {
    let server = RedisServer::start();
    let cache = connect(&server.url()).await;
    server.command(&["DEBUG", "POPULATE", &count.to_string(), &name("old")]);
    cache.set("kept", &1_u64, LASTING).await.unwrap();
    assert_eq!(server.command(&["DBSIZE"]).integer(), i64::try_from(count).unwrap() + 1);

    let removal = tokio::spawn({
        let cache = cache.clone();
        async move {
            let start = Instant::now();
            cache.invalidate_prefix("old:").await.unwrap();
            start.elapsed()
        }
    });
    let mut times = Vec::new();
    while !removal.is_finished() {
        let start = Instant::now();
        assert_eq!(get(&cache, "kept").await, Some(1));
        times.push(start.elapsed());
    }
    let took = removal.await.unwrap();
    times.sort();
    let (p99, worst) = (times[times.len() * 99 / 100], times[times.len() - 1]);
    println!(
        "{count} keys in {took:?}; {} gets, 99 % within {p99:?}, worst {worst:?}",
        times.len()
    );
    assert!(p99 < Duration::from_millis(100), "{p99:?}");
    assert_eq!(server.command(&["DBSIZE"]).integer(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_100_000_keys_holds_nobody_up() {
    gets_during_removal(100_000).await;
}

/// A server that hangs for longer than one step may take, half-way.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_by_prefix_bears_a_step_that_is_late() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let config = config(&proxy.url(&server.url()))
        .operation_timeout(Duration::from_millis(100))
        .heartbeat_timeout(Duration::from_secs(1));
    let cache = RedisCacheService::connect(config).await.unwrap();
    server.command(&["DEBUG", "POPULATE", "50000", &name("old")]);
    // Fifty steps, of two round trips each.
    proxy.latency(Duration::from_millis(5));
    let removal = tokio::spawn({
        let cache = cache.clone();
        async move { cache.invalidate_prefix("old:").await }
    });
    eventually(|| server.command(&["DBSIZE"]).integer() < 40_000).await;
    server.pause();
    // Real time, as the budget of a step.
    tokio::time::sleep(Duration::from_millis(150)).await;
    server.resume();
    removal.await.unwrap().unwrap();
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes a server of 100 MB: run by scripts/soak"]
async fn removing_a_million_keys_holds_nobody_up() {
    gets_during_removal(1_000_000).await;
}

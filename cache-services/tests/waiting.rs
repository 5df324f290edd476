//! Loads that wait for another's: woken, not by their timer. The clock stands still.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheServiceExt, ManualClock};
use cache_hybrid::HybridCache;
use cache_redis::{Connections, RedisBus, RedisConfig, RedisStore};
use cache_testkit::servers::RedisServer;
use cache_testkit::{Gate, eventually};

const TTL: Duration = Duration::from_secs(60);

/// A node whose timers never fire.
async fn node(server: &RedisServer) -> HybridCache {
    let clock = ManualClock::new();
    let config = RedisConfig::from_url(&server.url()).unwrap().clock(&clock);
    let connections = Connections::connect(&config).await.unwrap();
    let bus = RedisBus::new(connections.clone()).unwrap();
    let far = RedisStore::new(connections).with_bus(&bus);
    let tiers = HybridCache::builder().far(Arc::new(far)).bus(Arc::new(bus)).clock(&clock);
    let cache = tiers.build().unwrap();
    eventually(|| cache.tiers().tier_stats().bus_up).await;
    cache
}

fn load(cache: &HybridCache, value: u64, gate: &Gate) -> tokio::task::JoinHandle<u64> {
    let (cache, load) = (cache.clone(), gate.loader(value));
    tokio::spawn(async move { *cache.get_or_load("k", TTL, load).await.unwrap() })
}

/// Waits until a load waits for the lease: it has left word in the header.
async fn waits(server: &RedisServer) {
    let marks = || server.command(&["GETRANGE", "cache:k", "36", "36"]).bytes().map(<[u8]>::to_vec);
    eventually(|| marks() == Some(vec![3])).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_08_a_load_that_waits_for_another_node_is_woken() {
    let server = RedisServer::start();
    let (a, b) = (node(&server).await, node(&server).await);
    for round in 0..20 {
        let (first, second) = (Gate::new(), Gate::new());
        let loading = load(&a, round, &first);
        first.reached().await;
        let waiting = load(&b, 99, &second);
        waits(&server).await;
        first.open();
        assert_eq!((loading.await.unwrap(), waiting.await.unwrap()), (round, round));
        a.invalidate("k").await.unwrap();
    }
}

/// A message that comes late detaches a load whose lease is good. The next of this node waits for
/// it like for another's, and does not hear its own node over the bus.
#[tokio::test(flavor = "multi_thread")]
async fn p3_08_a_load_that_waits_for_a_detached_one_of_its_own_node_is_woken() {
    let server = RedisServer::start();
    let a = node(&server).await;
    for fails in [false, true] {
        let heard = a.tiers().tier_stats().heard;
        let (first, second) = (Gate::new(), Gate::new());
        let loading = tokio::spawn({
            let (a, first) = (a.clone(), first.clone());
            async move {
                let load = move || async move {
                    first.pass().await;
                    if fails { Err(std::io::Error::other("no")) } else { Ok(1_u64) }
                };
                a.get_or_load("k", TTL, load).await.ok().map(|value| *value)
            }
        });
        first.reached().await;
        server.command(&["PUBLISH", "cache:invalidate", "k"]);
        eventually(|| a.tiers().tier_stats().heard > heard).await;
        cache_testkit::let_others_run().await;
        let waiting = load(&a, 2, &second);
        waits(&server).await;
        first.open();
        second.open();
        assert_eq!(loading.await.unwrap(), (!fails).then_some(1));
        assert_eq!(waiting.await.unwrap(), if fails { 2 } else { 1 });
        a.invalidate("k").await.unwrap();
    }
}

//! P2 over a bus that loses messages without a word: a node is not stale for longer than the bound.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod nodes;
#[path = "../../cache-redis/tests/sieve/mod.rs"]
mod sieve;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use cache_core::CacheServiceExt;
use cache_redis::RedisConfig;
use cache_testkit::RedisServer;
use nodes::{LASTING, Node, Parts, config};
use sieve::Sieve;

/// As a service has them.
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_millis(500);
const BOUND: Duration = INTERVAL.saturating_add(TIMEOUT);

fn beating(url: &str) -> RedisConfig {
    config(url)
        .operation_timeout(Duration::from_secs(5))
        .heartbeat_interval(INTERVAL)
        .heartbeat_timeout(TIMEOUT)
}

async fn node(url: &str) -> Node {
    Node::of(beating(url), Parts::default(), |tiers| tiers).await.in_service().await
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_bus_that_loses_every_tenth_message_leaves_nobody_stale() {
    let server = RedisServer::start();
    let sieve = Sieve::start(&server.url());
    let (a, b) = (node(&server.url()).await, node(&sieve.url()).await);
    let (mut count, dropped) = (0, Arc::new(AtomicU64::new(0)));
    let lost = Arc::clone(&dropped);
    sieve.keep(move |message| {
        count += 1;
        let keeps = count % 10 != 0;
        lost.fetch_add(u64::from(!keeps && message.contains("number")), Ordering::Relaxed);
        keeps
    });
    let keys: Vec<_> = (0..20).map(|n| format!("k{n}")).collect();
    let mut fresh_by = vec![(0_u64, Instant::now()); keys.len()];
    let end = Instant::now() + Duration::from_secs(8);
    let mut value = 0;
    while Instant::now() < end {
        let at = fastrand::usize(..keys.len());
        value += 1;
        a.cache.set(&keys[at], &value, LASTING).await.unwrap();
        fresh_by[at] = (value, Instant::now() + BOUND);
        for _ in 0..10 {
            for (key, (value, by)) in keys.iter().zip(&fresh_by) {
                let asked = Instant::now();
                let got = b.cache.get::<u64>(key).await.unwrap().unwrap_or(0);
                assert!(asked < *by || got >= *value, "{key}: {got} after {value}");
            }
            // Real time: what is near is read again and again until it is told of.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..8))).await;
        }
    }
    assert!(dropped.load(Ordering::Relaxed) > 5 && b.bus.stats().gaps > 0);
    assert_eq!(b.bus.stats().reconnects, 0);
}

//! Warming up over Redis: nodes share the work, and what another node writes meanwhile stays.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_services::{CacheServiceExt, CacheServices, LeaseOutcome, Warm, WarmLoader, Warmer};
use cache_testkit::{RedisServer, eventually, eventually_async};

const KEYS: usize = 300;
/// Longer than a test takes.
const LEASE: Duration = Duration::from_secs(30);

async fn node(server: &RedisServer) -> CacheServices {
    let services = CacheServices::builder().redis_url(server.url()).build().await.unwrap();
    eventually(|| services.tier_stats().is_some_and(|tiers| tiers.near_served)).await;
    services
}

fn key(at: usize) -> String {
    format!("k:{at}")
}

/// Loads "old" for every key, and counts the keys it is asked for.
fn warmer(services: &CacheServices, loaded: &Arc<AtomicU64>) -> Warmer {
    let loaded = Arc::clone(loaded);
    let load = move |keys: Vec<String>| {
        loaded.fetch_add(keys.len() as u64, Ordering::Relaxed);
        async move {
            tokio::task::yield_now().await;
            Ok::<_, io::Error>(keys.into_iter().map(|key| (key, "old".to_owned())).collect())
        }
    };
    let loader = WarmLoader::new::<String, _, _, _>("k", "k:", load)
        .keys(async || Ok::<_, io::Error>((0..KEYS).map(key).collect()));
    Warmer::builder(services.cache()).loader(loader).batch_size(30).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_warm_up_ever_overwrites_what_another_node_writes_meanwhile() {
    let server = RedisServer::start();
    let (one, other) = (node(&server).await, node(&server).await);
    let loaded = Arc::default();
    let warmer = warmer(&one, &loaded);
    for round in 0..10 {
        let run = warmer.warm(Warm::All).unwrap();
        for at in 0..KEYS {
            other.cache().set(&key(at), "new", None).await.unwrap();
        }
        let run = run.wait().await;
        assert_eq!((run.done, run.failed), (KEYS as u64, 0), "{run:?}");
        for at in 0..KEYS {
            let key = key(at);
            assert_eq!(other.cache().get::<String>(&key).await.unwrap().unwrap(), "new", "{round}");
        }
        // The bus tells the node that has warmed up.
        for at in 0..KEYS {
            let cache = one.cache();
            eventually_async(async || {
                cache.get::<String>(&key(at)).await.unwrap().unwrap() == "new"
            })
            .await;
        }
        one.cache().clear().await.unwrap();
    }
    assert!(loaded.load(Ordering::Relaxed) > 0, "something was warmed up");
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_warm_up_together_load_each_key_once() {
    let server = RedisServer::start();
    let (one, other) = (node(&server).await, node(&server).await);
    let loaded = Arc::default();
    let warmers = [warmer(&one, &loaded), warmer(&other, &loaded)];
    let runs = warmers.each_ref().map(|warmer| warmer.start().unwrap());
    for run in &runs {
        assert!(run.wait().await.is_success());
    }
    assert_eq!(loaded.load(Ordering::Relaxed), KEYS as u64);
    for services in [&one, &other] {
        let before = services.tier_stats().unwrap().far_reads;
        assert_eq!(services.cache().get::<String>(&key(7)).await.unwrap().unwrap(), "old");
        assert_eq!(services.tier_stats().unwrap().far_reads, before, "it is near");
    }
    one.shutdown().await;
    other.shutdown().await;
}

/// Nodes that want the same keys at the same time never wait for each other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_a_key_holds_lesser_keys_only() {
    let server = RedisServer::start();
    let (one, other) = (node(&server).await, node(&server).await);
    let other = other.cache();
    let lease = async |at: usize| match other.lease(&key(at), LEASE).await.unwrap() {
        LeaseOutcome::Granted(lease) => Some(lease),
        _ => None,
    };
    let own = lease(1).await.unwrap();
    let loads = Arc::new(AtomicU64::new(0));
    let waiting = tokio::spawn({
        let (cache, loads) = (one.cache(), Arc::clone(&loads));
        async move {
            let load = move |keys: Vec<String>| {
                loads.fetch_add(1, Ordering::Relaxed);
                async { Ok::<_, io::Error>(keys.into_iter().map(|key| (key, 1_u64)).collect()) }
            };
            cache.get_or_load_many::<u64, _, _, _>(&["k:2", "k:1", "k:0"], None, load).await
        }
    });
    // It takes the first and the third, waits for the second, and so gives the third back.
    let is_leased =
        |at: usize| server.command(&["EXISTS", &format!("cache:{}", key(at))]).integer() == 1;
    eventually(|| is_leased(0)).await;
    eventually(|| !is_leased(2)).await;
    let last = lease(2).await;
    assert!(last.is_some() && is_leased(0), "the first is kept");
    assert_eq!(loads.load(Ordering::Relaxed), 0);
    other.abandon(own).await.unwrap();
    other.abandon(last.unwrap()).await.unwrap();
    assert_eq!(waiting.await.unwrap().unwrap().len(), 3);
    assert_eq!(loads.load(Ordering::Relaxed), 1, "one call has them all");
    one.shutdown().await;
}

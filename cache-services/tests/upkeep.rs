//! P9: what has expired is freed although nobody reads or writes.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use cache_services::{CacheServiceExt, CacheServices, CacheServicesBuilder, MemoryBackend};
use cache_testkit::{RedisServer, eventually};

const ENTRIES: usize = 5_000;

/// Real time: the subject is a task that runs by itself.
async fn frees_what_expires(services: CacheServicesBuilder) {
    let services = services.max_capacity(ENTRIES as u64 * 2).build().await.unwrap();
    let cache = services.cache();
    let keys: Vec<_> = (0..ENTRIES).map(|key| key.to_string()).collect();
    let items: Vec<_> = keys.iter().map(|key| (key.as_str(), 1_u64)).collect();
    // The near tier keeps nothing before it has heard of the bus.
    eventually(|| services.tier_stats().is_none_or(|stats| stats.near_served)).await;
    cache.set_many(&items, Duration::from_secs(1)).await.unwrap();
    assert!(cache.stats().entries > ENTRIES as u64 / 2, "{}", cache.stats().entries);
    // Whoever holds the cache has it seen to.
    drop(services);
    eventually(|| cache.stats().entries == 0).await;
}

#[tokio::test]
async fn p9_expired_entries_are_freed_by_themselves_in_quick() {
    frees_what_expires(CacheServices::builder()).await;
}

#[tokio::test]
async fn p9_expired_entries_are_freed_by_themselves_in_moka() {
    frees_what_expires(CacheServices::builder().memory(MemoryBackend::Moka)).await;
}

/// As a static that several `#[tokio::test]`s share is.
#[test]
fn p9_expired_entries_are_freed_although_the_runtime_that_built_the_services_is_gone() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // It ends with the statement.
    let services = runtime().block_on(CacheServices::builder().build()).unwrap();
    runtime().block_on(async {
        let cache = services.cache();
        cache.set("k", &1, Duration::from_secs(1)).await.unwrap();
        eventually(|| cache.stats().entries == 0).await;
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn p9_expired_entries_are_freed_by_themselves_in_front_of_redis() {
    let server = RedisServer::start();
    frees_what_expires(CacheServices::builder().redis_url(server.url())).await;
}

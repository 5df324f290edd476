//! What is built: the settings take effect, handles share, shutting down ends the locks.

// Helpers of tests fail the test, as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::sync::Arc;
use std::time::Duration;

use cache_services::{
    CacheConfig, CacheServiceExt, CacheServices, CacheServicesBuilder, ConcurrencyService,
    ConcurrencyServiceExt, ErrorKind, LockErrorKind, LockOptions, MemoryBackend,
};

const BACKENDS: [MemoryBackend; 2] = [MemoryBackend::Quick, MemoryBackend::Moka];

async fn entries_left_of(builder: CacheServicesBuilder, written: usize) -> usize {
    let cache = builder.build().await.unwrap().cache();
    for number in 0..written {
        cache.set(&format!("key:{number}"), &"x".repeat(100), None).await.unwrap();
    }
    let mut left = 0;
    for number in 0..written {
        left += usize::from(cache.contains(&format!("key:{number}")).await.unwrap());
    }
    left
}

#[tokio::test]
async fn capacity_bounds_the_entries() {
    for memory in BACKENDS {
        let builder = || CacheServices::builder().memory(memory);
        assert_eq!(entries_left_of(builder(), 200).await, 200, "{memory}");
        let left = entries_left_of(builder().max_capacity(100), 5_000).await;
        assert!((1..=110).contains(&left), "{memory}: {left}");
        assert_eq!(entries_left_of(builder().max_capacity(0), 10).await, 0, "{memory}");
    }
}

#[tokio::test]
async fn weight_bounds_the_bytes() {
    let builder = || CacheServices::builder().max_weight_bytes(10_000);
    let left = entries_left_of(builder(), 1_000).await;
    assert!((1..=100).contains(&left), "{left}");
    let left = entries_left_of(builder().max_capacity(20), 1_000).await;
    assert!((1..=22).contains(&left), "{left}");
    assert_eq!(entries_left_of(CacheServices::builder().max_weight_bytes(0), 10).await, 0);
}

#[tokio::test]
async fn the_bound_is_changed_while_the_service_runs_or_it_is_said_why_not() {
    let entries = CacheServices::builder().max_capacity(1_000).build().await.unwrap();
    let bytes = CacheServices::builder().max_weight_bytes(1_000_000).build().await.unwrap();
    for services in [&entries, &bytes] {
        for number in 0..500 {
            let value = "x".repeat(1_000);
            services.cache().set(&format!("key:{number}"), &value, None).await.unwrap();
        }
        assert_eq!(services.cache().stats().entries, 500);
    }
    entries.set_max_capacity(100).unwrap();
    assert!((80..=100).contains(&entries.cache().stats().entries));
    bytes.set_max_weight_bytes(100_000).unwrap();
    assert!(bytes.cache().stats().bytes <= 100_000);

    let moka = CacheServices::builder().memory(MemoryBackend::Moka).build().await.unwrap();
    for (refused, why) in [
        (entries.set_max_weight_bytes(1_000_000), "bounded in entries"),
        (bytes.set_max_capacity(1_000), "bounded in bytes"),
        (moka.set_max_capacity(1_000), "moka"),
    ] {
        let error = refused.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn default_ttl_and_idle_time_reach_the_backend() {
    for memory in BACKENDS {
        let builder = || CacheServices::builder().memory(memory);
        for brief in [
            builder().default_ttl(Duration::from_millis(20)),
            builder().time_to_idle(Duration::from_millis(20)),
        ] {
            let cache = brief.build().await.unwrap().cache();
            cache.set("key", &1, None).await.unwrap();
            // The services take no clock, so this waits for the real one.
            tokio::time::sleep(Duration::from_millis(60)).await;
            assert_eq!(cache.get::<i32>("key").await.unwrap(), None, "{memory}");
        }
        let cache = builder().build().await.unwrap().cache();
        cache.set("key", &1, None).await.unwrap();
        tokio::time::sleep(Duration::from_millis(60)).await;
        assert_eq!(cache.get::<i32>("key").await.unwrap(), Some(1), "{memory}");
    }
}

#[tokio::test]
async fn settings_of_redis_change_nothing_in_process() {
    let services = CacheServices::builder()
        .redis_url("")
        .namespace("billing")
        .near(false)
        .start_degraded(true)
        .build()
        .await
        .unwrap();
    services.cache().set("key", &1, None).await.unwrap();
    assert_eq!(services.cache().get::<i32>("key").await.unwrap(), Some(1));
}

#[tokio::test]
async fn a_builder_starts_from_a_configuration() {
    let config = CacheConfig { max_capacity: Some(0), ..CacheConfig::default() };
    assert_eq!(entries_left_of(CacheServicesBuilder::from(config.clone()), 10).await, 0);
    let changed = CacheServicesBuilder::from(config).max_capacity(10);
    assert!(entries_left_of(changed, 10).await > 0);
}

#[tokio::test]
async fn handles_share_one_cache_and_one_lock_service() {
    let services = CacheServices::builder().build().await.unwrap();
    let clone = services.clone();
    services.cache().set("key", &1, None).await.unwrap();
    assert_eq!(clone.cache().get::<i32>("key").await.unwrap(), Some(1));

    let options = LockOptions::default();
    let held = services.concurrency().acquire("lock", &options).await.unwrap();
    assert!(clone.concurrency().try_acquire("lock", &options).await.unwrap().is_none());
    held.release().await.unwrap();
    assert!(clone.concurrency().try_acquire("lock", &options).await.unwrap().is_some());
}

#[tokio::test]
async fn two_builds_share_nothing() {
    let one = CacheServices::builder().build().await.unwrap();
    let two = CacheServices::builder().build().await.unwrap();
    one.cache().set("key", &1, None).await.unwrap();
    assert_eq!(two.cache().get::<i32>("key").await.unwrap(), None);
    let options = LockOptions::default();
    let _held = one.concurrency().acquire("lock", &options).await.unwrap();
    assert!(two.concurrency().try_acquire("lock", &options).await.unwrap().is_some());
}

#[tokio::test]
async fn shutdown_ends_the_locks_and_not_the_cache() {
    let services = CacheServices::builder().build().await.unwrap();
    let locks: Arc<dyn ConcurrencyService> = services.concurrency();
    let held = locks.acquire("lock", &LockOptions::default()).await.unwrap();
    let mut waiter = tokio::spawn({
        let locks = Arc::clone(&locks);
        async move { locks.with_lock("lock", async {}).await }
    });
    // Long enough for it to stand in the queue; if it does not yet, it is refused the same way.
    assert!(tokio::time::timeout(Duration::from_millis(20), &mut waiter).await.is_err());

    services.shutdown().await;
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), LockErrorKind::Unavailable);
    for _ in 0..2 {
        let refused = locks.with_lock("other", async {}).await.unwrap_err();
        assert_eq!(refused.kind(), LockErrorKind::Unavailable);
        let refused = locks.try_acquire("other", &LockOptions::default()).await.unwrap_err();
        assert_eq!(refused.kind(), LockErrorKind::Unavailable);
        services.clone().shutdown().await;
    }
    drop(held);

    services.cache().set("key", &1, None).await.unwrap();
    assert_eq!(services.cache().get::<i32>("key").await.unwrap(), Some(1));
}

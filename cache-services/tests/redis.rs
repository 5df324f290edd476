//! `REDIS_URL` set: both services on one Redis, shared by every instance.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use cache_services::{
    CacheConfig, CacheServiceExt, CacheServices, ConcurrencyService, ConcurrencyServiceExt,
    ErrorKind, LockErrorKind, LockOptions,
};
use cache_testkit::eventually;
use cache_testkit::servers::RedisServer;

fn config(server: &RedisServer) -> CacheConfig {
    CacheConfig { redis_url: Some(server.url()), ..CacheConfig::default() }
}

#[tokio::test]
async fn two_instances_share_entries_and_locks() {
    let server = RedisServer::start();
    let one = CacheServices::from_config(config(&server)).await.unwrap();
    let other = CacheServices::from_config(config(&server)).await.unwrap();
    one.cache().set("org:acme", "gold", None).await.unwrap();
    assert_eq!(other.cache().get::<String>("org:acme").await.unwrap().as_deref(), Some("gold"));

    let options = LockOptions::default();
    let guard = one.concurrency().acquire("token:7", &options).await.unwrap();
    assert!(other.concurrency().try_acquire("token:7", &options).await.unwrap().is_none());
    other.cache().clear().await.unwrap();
    assert!(guard.check().is_ok(), "clearing the cache leaves locks alone");
    guard.release().await.unwrap();
    assert_eq!(other.concurrency().with_lock("token:7", async { 1 }).await.unwrap(), 1);
}

#[tokio::test]
async fn tls_with_a_private_authority_takes_its_certificate_from_a_file() {
    let server = RedisServer::builder().tls().password("s3cret").start();
    let dir = std::env::temp_dir().join(format!("cache-services-ca-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let (ca, garbage, absent) = (dir.join("ca.pem"), dir.join("garbage.pem"), dir.join("none.pem"));
    std::fs::write(&ca, server.ca_pem()).unwrap();
    std::fs::write(&garbage, "no certificate").unwrap();

    // The bus and the locks, too.
    let services = CacheServices::builder().redis_url(server.url()).redis_ca(&ca).build();
    let services = services.await.unwrap();
    services.cache().set("org:acme", "gold", None).await.unwrap();
    assert_eq!(services.cache().get::<String>("org:acme").await.unwrap().as_deref(), Some("gold"));
    assert_eq!(services.cache().stats().local_hits, 1);
    assert_eq!(services.concurrency().with_lock("token:7", async { 1 }).await.unwrap(), 1);

    for wrong in [&garbage, &absent] {
        let config = CacheConfig { redis_ca: Some(wrong.clone()), ..config(&server) };
        let error = CacheServices::from_config(config).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        let message = format!("{error} {error:?}");
        assert!(message.contains("redis_ca (CACHE_REDIS_CA)"), "{message}");
        assert!(!message.contains("s3cret"), "{message}");
    }
    std::fs::remove_dir_all(dir).unwrap();
}

#[tokio::test]
async fn an_operation_may_be_given_more_time_or_less() {
    let server = RedisServer::start();
    for millis in [50, 2_000] {
        let timeout = Duration::from_millis(millis);
        let services = CacheServices::builder().redis_url(server.url()).operation_timeout(timeout);
        let services = services.near(false).build().await.unwrap();
        services.cache().set("k", &1, None).await.unwrap();
        server.pause();
        let error = services.cache().get::<u32>("k").await.unwrap_err();
        server.resume();
        assert!(format!("{error:?}").contains(&format!("{timeout:?}")), "{error:?}");
    }
}

#[tokio::test]
async fn what_is_stored_first_is_kept_near() {
    let server = RedisServer::start();
    let services = CacheServices::from_config(config(&server)).await.unwrap();
    services.cache().set("org:acme", "gold", None).await.unwrap();
    assert_eq!(services.cache().get::<String>("org:acme").await.unwrap().as_deref(), Some("gold"));
    let stats = services.cache().stats();
    assert_eq!((stats.local_hits, stats.remote_hits), (1, 0));
}

#[tokio::test]
async fn namespaces_are_apart() {
    let server = RedisServer::start();
    let named = |namespace: &str| CacheConfig { namespace: namespace.into(), ..config(&server) };
    let a = CacheServices::from_config(named("a")).await.unwrap();
    let b = CacheServices::from_config(named("b")).await.unwrap();
    a.cache().set("k", &1, None).await.unwrap();
    b.cache().clear().await.unwrap();
    assert_eq!(a.cache().get::<u32>("k").await.unwrap(), Some(1));
    let guard = a.concurrency().acquire("k", &LockOptions::default()).await.unwrap();
    b.concurrency().with_lock("k", async {}).await.unwrap();
    guard.release().await.unwrap();
}

#[tokio::test]
async fn what_is_held_in_front_of_redis_is_bounded_anew_and_redis_keeps_all() {
    let server = RedisServer::start();
    let services = CacheServices::from_config(config(&server)).await.unwrap();
    let near = || services.tier_stats().unwrap();
    eventually(|| near().near_served).await;
    let items: Vec<_> = (0..1_000).map(|number| (format!("key:{number}"), number)).collect();
    let items: Vec<_> = items.iter().map(|(key, number)| (key.as_str(), *number)).collect();
    services.cache().set_many(&items, None).await.unwrap();
    for (key, _) in &items {
        services.cache().get::<u32>(key).await.unwrap();
    }
    let held = || services.cache().stats().entries;
    assert!(held() > 900, "{}", held());
    services.set_max_capacity(100).unwrap();
    assert!((80..=100).contains(&held()), "{}", held());
    for (key, number) in &items {
        assert_eq!(services.cache().get::<u32>(key).await.unwrap(), Some(*number));
    }
    services.shutdown().await;

    let far_alone = CacheConfig { near: false, ..config(&server) };
    let services = CacheServices::from_config(far_alone).await.unwrap();
    let error = services.set_max_capacity(100).unwrap_err();
    assert!(error.to_string().contains("CACHE_NEAR"), "{error}");
    services.shutdown().await;
}

#[tokio::test]
async fn a_degraded_start_answers_from_loaders_and_heals() {
    let server = RedisServer::start();
    let config = CacheConfig { start_degraded: true, ..config(&server) };
    server.stop();
    let services = CacheServices::from_config(config).await.unwrap();
    let cache = services.cache();
    let load = || async { Ok::<_, std::io::Error>(7_u32) };
    assert_eq!(*cache.get_or_load("k", None, load).await.unwrap(), 7);
    assert_eq!(cache.get::<u32>("k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    let error = services.concurrency().with_lock("k", async {}).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);

    server.restart();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    while cache.set("k", &8, None).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "it has not healed");
        // What is waited for happens in another process, in real time.
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(cache.get::<u32>("k").await.unwrap(), Some(8));
}

#[tokio::test]
async fn shutdown_closes_both() {
    let server = RedisServer::start();
    let services = CacheServices::from_config(config(&server)).await.unwrap();
    services.shutdown().await;
    services.shutdown().await;
    let error = services.cache().get::<u32>("k").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let error = services.concurrency().with_lock("k", async {}).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
}

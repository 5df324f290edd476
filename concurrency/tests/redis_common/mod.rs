//! Lock services of different processes, as Redis sees them, and what stands in Redis.
#![allow(dead_code, reason = "each test file uses its share")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code, also outside of tests")]

use std::time::Duration;

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, LockGuard, LockOptions};
use cache_redis::RedisConfig;
use cache_testkit::RedisServer;

/// A service with connections and a gate of its own: another process, but for the name.
pub(crate) async fn service(url: &str) -> RedisConcurrencyService {
    // Silent connections are given up early, so that tests need not wait for it.
    let config = RedisConfig::from_url(url)
        .unwrap()
        .heartbeat_interval(Duration::from_millis(100))
        .heartbeat_timeout(Duration::from_millis(100));
    RedisConcurrencyService::connect(config).await.unwrap()
}

/// Options with this lease, in milliseconds.
pub(crate) fn lease(millis: u64) -> LockOptions {
    LockOptions::default().lease(Duration::from_millis(millis))
}

/// Takes the lock `k`.
pub(crate) async fn hold(locks: &RedisConcurrencyService) -> LockGuard {
    locks.acquire("k", &LockOptions::default()).await.expect("the lock can be taken")
}

/// The key of the lock `k` in Redis.
pub(crate) const LOCK: &str = "{lock/cache/k}.l";
/// The key of its fence.
pub(crate) const FENCE: &str = "{lock/cache/k}.f";

/// The token under which `k` is held.
pub(crate) fn holder(server: &RedisServer) -> Option<Vec<u8>> {
    server.command(&["GET", LOCK]).bytes().map(<[u8]>::to_vec)
}

/// Milliseconds that `k` lives still.
pub(crate) fn pttl(server: &RedisServer) -> i64 {
    server.command(&["PTTL", LOCK]).integer()
}

/// Fails unless nothing but fences stands in Redis, each with a TTL.
#[track_caller]
pub(crate) fn at_rest(server: &RedisServer) {
    for key in server.command(&["KEYS", "*"]).list() {
        let key = key.text();
        assert!(key.ends_with("}.f"), "{key} is left");
        let life = server.command(&["PTTL", &key]).integer();
        assert!(life > 0, "{key} has no TTL");
    }
}

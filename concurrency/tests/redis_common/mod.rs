//! Lock services of different processes, as Redis sees them, and what stands in Redis.
#![allow(dead_code, reason = "each test file uses its share")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "test code, also outside of tests")]

pub(crate) mod process;
pub(crate) mod queue;
pub(crate) mod stall;

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

/// As [`service`], where how often Redis is asked is what is tested: a machine too busy to answer
/// a heartbeat in time is no reason to connect anew and ask again.
pub(crate) async fn patient(url: &str) -> RedisConcurrencyService {
    let config = RedisConfig::from_url(url)
        .unwrap()
        .heartbeat_interval(Duration::from_millis(250))
        .heartbeat_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_secs(5));
    RedisConcurrencyService::connect(config).await.unwrap()
}

/// So many of those.
pub(crate) async fn patients(url: &str, count: usize) -> Vec<RedisConcurrencyService> {
    futures_util::future::join_all((0..count).map(|_| patient(url))).await
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

/// The keys of those who wait for it.
pub(crate) const QUEUE: [&str; 2] = ["{lock/cache/k}.q", "{lock/cache/k}.w"];

/// How many stand in the queue for `k` in Redis, the heads of the processes.
pub(crate) fn queued(server: &RedisServer) -> i64 {
    let [queue, waiters] = QUEUE;
    let length = server.command(&["LLEN", queue]).integer();
    // Two keys, and a script between the two questions may change both.
    let known = server.command(&["HLEN", waiters]).integer();
    length.max(known)
}

/// How many of them hear when it is their turn.
pub(crate) fn listening(server: &RedisServer) -> usize {
    let terms = server.command(&["HVALS", QUEUE[1]]);
    terms.list().iter().filter(|terms| !terms.text().ends_with(" a")).count()
}

/// How often a script has been sent since the statistics were reset.
pub(crate) fn scripts(server: &RedisServer) -> u64 {
    server.commandstats().get("evalsha").copied().unwrap_or(0)
}

/// How often somebody has asked for a lock since the statistics were reset, if nothing else has written
/// strings and hashes: each was granted it, other than by a hand-over, or is in the queue.
pub(crate) fn attempts(server: &RedisServer) -> u64 {
    let stats = server.commandstats();
    let of = |command: &str| stats.get(command).copied().unwrap_or(0);
    // A grant is two strings, its fence and its token.
    of("hset") + of("set") / 2 - of("publish")
}

/// The token under which `k` is held.
pub(crate) fn holder(server: &RedisServer) -> Option<Vec<u8>> {
    server.command(&["GET", LOCK]).bytes().map(<[u8]>::to_vec)
}

/// The last fencing token of `k`.
pub(crate) fn fence(server: &RedisServer) -> u64 {
    server.command(&["GET", FENCE]).text().parse().unwrap()
}

/// Milliseconds that `k` lives still.
pub(crate) fn pttl(server: &RedisServer) -> i64 {
    server.command(&["PTTL", LOCK]).integer()
}

/// Fails if a lock is believed in for longer than the server has it, or if anything has no TTL.
#[track_caller]
pub(crate) fn in_order(server: &RedisServer, guard: &LockGuard) {
    let (asked, here) = (std::time::Instant::now(), guard.remaining());
    let there = Duration::from_millis(pttl(server).try_into().expect("it is held"));
    assert!(here <= there + asked.elapsed(), "{here:?} here, {there:?} there");
    for key in server.command(&["KEYS", "*"]).list() {
        let key = key.text();
        // It may be gone by now.
        assert_ne!(server.command(&["PTTL", &key]).integer(), -1, "{key} has no TTL");
    }
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

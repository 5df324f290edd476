//! Renewals: of many locks, and where Redis is slow or an answer is lost.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, LockGuard};
use cache_redis::RedisConfig;
use cache_testkit::{FaultProxy, RedisServer, eventually};
use futures_util::future::join_all;
use redis_common::{at_rest, lease, patient, pttl, scripts};

#[tokio::test(flavor = "multi_thread")]
async fn p4_15_of_250_locks_a_hundred_are_renewed_in_one_script() {
    const LOCKS: usize = 250;
    const LEASE: Duration = Duration::from_secs(2);
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let (keys, options) = ((0..LOCKS).map(|n| format!("k{n}")), lease(2_000));
    let keys: Vec<_> = keys.collect();
    let guards = join_all(keys.iter().map(|key| locks.acquire(key, &options))).await;
    let guards: Vec<_> = guards.into_iter().map(Result::unwrap).collect();
    assert_eq!(locks.held(), LOCKS);
    server.reset_commandstats();
    let began = Instant::now();
    // Real time: renewals come by it. No lock is believed in for longer than the server has it.
    while began.elapsed() < LEASE * 2 {
        for (key, guard) in keys.iter().zip(&guards).step_by(25) {
            let (asked, here) = (Instant::now(), guard.remaining());
            let there = server.command(&["PTTL", &format!("{{lock/cache/{key}}}.l")]).integer();
            let there = Duration::from_millis(there.try_into().expect("it is held"));
            assert!(there > LEASE / 2, "{key}: {there:?} left on the server");
            assert!(here <= there + asked.elapsed(), "{key}: {here:?} here, {there:?} there");
            guard.check().unwrap();
        }
        // Real time, as renewals are.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let asked = scripts(&server);
    // Each third of the lease three scripts would do. Those that were acquired one after the
    // other are not due at once, but come together soon.
    let rounds = u64::try_from(began.elapsed().as_millis() / (LEASE.as_millis() / 3)).unwrap() + 1;
    assert!(asked <= 5 * rounds, "{asked} scripts in {rounds} rounds");
    join_all(guards.into_iter().map(LockGuard::release)).await;
    assert_eq!(locks.held(), 0);
    at_rest(&server);
}

/// The lock `k`, with three seconds at a time, through a proxy that is well so far.
async fn through(
    proxy: &FaultProxy,
    server: &RedisServer,
    timeout: Duration,
) -> (RedisConcurrencyService, LockGuard) {
    let config = RedisConfig::from_url(&proxy.url(&server.url()))
        .unwrap()
        .heartbeat_interval(Duration::from_secs(5))
        .heartbeat_timeout(Duration::from_secs(5))
        .operation_timeout(timeout);
    let locks = RedisConcurrencyService::connect(config).await.unwrap();
    let guard = locks.acquire("k", &lease(3_000)).await.unwrap();
    (locks, guard)
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_42_a_lease_has_more_time_for_an_answer_than_an_operation_has() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let (locks, guard) = through(&proxy, &server, Duration::from_millis(250)).await;
    // There and back: more than the time for an operation, and a tenth of the lease.
    proxy.latency(Duration::from_millis(150));
    // Real time: longer than the lease, were it not renewed.
    tokio::time::sleep(Duration::from_millis(3_500)).await;
    assert!(pttl(&server) > 1_500, "{} ms left", pttl(&server));
    guard.check().expect("Redis has answered each question");
    proxy.heal();
    guard.release().await.unwrap();
    locks.shutdown().await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_15_a_lease_outlasts_an_answer_that_is_lost() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let (locks, guard) = through(&proxy, &server, Duration::from_secs(5)).await;
    // The first renewal is two questions, as the server does not know the script yet.
    eventually(|| guard.remaining() < Duration::from_millis(2_500)).await;
    eventually(|| guard.remaining() > Duration::from_millis(2_700)).await;
    proxy.drop_replies();
    // The server has renewed it, and what it has answered is lost with that connection.
    eventually(|| pttl(&server) < 2_500).await;
    eventually(|| pttl(&server) > 2_700).await;
    proxy.heal();
    // Real time: longer than the first lease lasts.
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    guard.check().expect("another connection is well");
    guard.release().await.unwrap();
    locks.shutdown().await;
    at_rest(&server);
}

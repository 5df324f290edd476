//! Replies that are late or lost: nothing is held twice, nothing is left behind, no false error.

mod redis_common;

use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockErrorKind, LockOptions};
use cache_testkit::{Direction, FaultProxy, RedisServer, eventually};
use redis_common::{at_rest, hold, holder, lease, listening, patient, service};

#[tokio::test(flavor = "multi_thread")]
async fn p4_01_an_uncontended_section_takes_two_round_trips() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    locks.with_lock("k", async {}).await.unwrap();
    server.reset_commandstats();
    for _ in 0..10 {
        locks.with_lock("k", async {}).await.unwrap();
    }
    assert_eq!(server.commandstats()["evalsha"], 20);
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_03_a_wait_is_exceeded_by_one_question_at_most() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let (locks, other) = (patient(&proxy.url(&server.url())).await, patient(&server.url()).await);
    let guard = hold(&other).await;
    let (each_way, wait) = (Duration::from_millis(200), Duration::from_millis(500));
    proxy.latency(each_way);
    let began = Instant::now();
    let outcome = locks.acquire("k", &LockOptions::default().wait(wait)).await;
    let took = began.elapsed();
    assert_eq!(outcome.unwrap_err().kind(), LockErrorKind::Timeout);
    assert!(took >= wait && took < wait + each_way * 2 + each_way / 2, "{took:?}");
    proxy.heal();
    guard.release().await.unwrap();
    eventually(|| redis_common::queued(&server) == 0).await;
    eventually(|| holder(&server).is_none()).await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_19_a_caller_dropped_in_mid_call_leaves_no_orphan() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = service(&proxy.url(&server.url())).await;
    hold(&locks).await.release().await.unwrap();
    // A thousand at a time, each on a key of its own, 10,000 in all.
    for each_way in [0, 0, 1, 1, 5, 5, 50, 100, 250, 250] {
        let delay = Duration::from_millis(each_way);
        proxy.latency(delay);
        // Real time: the reply is under way when the caller goes.
        let dropped = (0..1_000).map(|key| {
            let patience = (delay * 2 + Duration::from_millis(10)).mul_f64(fastrand::f64());
            let locks = &locks;
            async move {
                let (key, options) = (format!("k{key}"), LockOptions::default());
                let _ = tokio::time::timeout(patience, locks.acquire(&key, &options)).await;
            }
        });
        futures_util::future::join_all(dropped).await;
        proxy.heal();
        eventually(|| nothing_is_held(&server)).await;
    }
    locks.shutdown().await;
    // What was sent late may arrive late.
    // Real time: it is under way between two processes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    eventually(|| nothing_is_held(&server)).await;
    assert_eq!(locks.held(), 0);
    at_rest(&server);
}

fn nothing_is_held(server: &RedisServer) -> bool {
    server.command(&["KEYS", "*}.l"]).list().is_empty()
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_20_a_lost_reply_to_acquire_is_recognised() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = patient(&proxy.url(&server.url())).await;
    hold(&locks).await.release().await.unwrap();
    let mut recognised = 0;
    for _ in 0..20 {
        proxy.cut_after_forwarding(1);
        match locks.acquire("k", &LockOptions::default()).await {
            Ok(guard) => {
                let fence: u64 = guard.fencing_token().into();
                assert_eq!(server.command(&["GET", redis_common::FENCE]).text(), fence.to_string());
                assert!(holder(&server).is_some());
                recognised += 1;
                proxy.heal();
                guard.release().await.unwrap();
            }
            // The repetition was lost as well.
            Err(error) => assert_eq!(error.kind(), LockErrorKind::Unavailable, "{error:?}"),
        }
        proxy.heal();
        eventually(|| holder(&server).is_none()).await;
    }
    assert!(recognised > 0, "no repetition came through");
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_21_a_lost_reply_to_release_is_no_error_and_spares_the_successor() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let (locks, other) = (patient(&proxy.url(&server.url())).await, patient(&server.url()).await);
    for _ in 0..10 {
        let guard = hold(&locks).await;
        proxy.cut_after_forwarding(1);
        guard.release().await.unwrap();
        proxy.heal();
        let next = hold(&other).await;
        next.check().unwrap();
        assert!(holder(&server).is_some());
        next.release().await.unwrap();
    }
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_21_a_release_that_cannot_be_said_is_said_later() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = service(&proxy.url(&server.url())).await;
    let guard = hold(&locks).await;
    proxy.cut();
    let error = guard.release().await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    assert!(holder(&server).is_some());
    proxy.heal();
    eventually(|| holder(&server).is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_30_behind_a_black_hole_the_section_ends_before_the_lock_does() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = service(&proxy.url(&server.url())).await;
    let ended = std::sync::OnceLock::new();
    let section = |held: cache_core::HeldLock| {
        let (proxy, server, ended) = (&proxy, &server, &ended);
        async move {
            // Just after a renewal.
            eventually(|| redis_common::pttl(server) < 1400).await;
            eventually(|| redis_common::pttl(server) > 1600).await;
            // Its answer is here too: one under way would put the end off.
            eventually(|| held.remaining() > Duration::from_millis(1600)).await;
            proxy.black_hole(Direction::Both);
            let (began, here) = (Instant::now(), held.remaining());
            let there = redis_common::pttl(server).try_into().map(Duration::from_millis).unwrap();
            assert!(here <= there + began.elapsed(), "{here:?} here, {there:?} there");
            ended.set(began + here).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let error = locks.with_lock_opts("k", &lease(2000), section).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::LeaseLost);
    let late = ended.get().expect("it got there").elapsed();
    // What a busy machine may add to a timer; the section is pending, so nothing is polled late.
    assert!(late < Duration::from_millis(100), "{late:?} late");
    proxy.heal();
    eventually(|| holder(&server).is_none()).await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_21_a_release_whose_reply_is_lost_hands_over_once() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = patient(&proxy.url(&server.url())).await;
    let (other, third) = (patient(&server.url()).await, patient(&server.url()).await);
    for _ in 0..10 {
        let guard = hold(&locks).await;
        let waits = |locks: &RedisConcurrencyService| {
            let locks = locks.clone();
            tokio::spawn(async move { hold(&locks).await })
        };
        let waiter = waits(&other);
        eventually(|| listening(&server) == 1).await;
        let last = waits(&third);
        eventually(|| listening(&server) == 2).await;
        let fence = u64::from(guard.fencing_token());
        proxy.cut_after_forwarding(1);
        guard.release().await.unwrap();
        proxy.heal();
        let next = waiter.await.unwrap();
        // The repetition has given nobody else's lock away.
        assert!(!last.is_finished());
        next.check().unwrap();
        assert!(u64::from(next.fencing_token()) > fence);
        assert_eq!(redis_common::fence(&server), u64::from(next.fencing_token()));
        next.release().await.unwrap();
        last.await.unwrap().release().await.unwrap();
    }
    at_rest(&server);
}

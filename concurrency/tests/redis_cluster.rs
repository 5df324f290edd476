//! Hand-overs between services on a cluster, where it is not known who listens.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::time::{Duration, Instant};

use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockErrorKind, LockOptions};
use cache_testkit::{RedisCluster, RedisServer, eventually};
use redis_common::queue::{enqueue, stranger};
use redis_common::{LOCK, at_rest, hold, patient, queued};

#[tokio::test(flavor = "multi_thread")]
async fn p4_08_a_lock_passes_between_two_services_and_over_a_dead_one() {
    let cluster = RedisCluster::start(3);
    let node = cluster.node_for(LOCK);
    let (locks, other) = (patient(&cluster.url()).await, patient(&cluster.url()).await);
    // Each listens from its first wait on.
    for (dead, least) in [(false, 0), (false, 0), (true, 1900)] {
        let guard = hold(&locks).await;
        let fence = guard.fencing_token();
        if dead {
            enqueue(node, &stranger(1));
        }
        let waiter = tokio::spawn({
            let other = other.clone();
            async move { (hold(&other).await, Instant::now()) }
        });
        eventually(|| queued(node) == 1 + i64::from(dead)).await;
        let began = Instant::now();
        guard.release().await.unwrap();
        let (next, when) = waiter.await.unwrap();
        let took = when - began;
        // A message and a question; or first the claim of one that does not come.
        let (least, longest) = (Duration::from_millis(least), Duration::from_millis(least + 900));
        assert!(took >= least && took < longest, "{took:?}");
        assert!(next.fencing_token() > fence);
        next.check().unwrap();
        next.release().await.unwrap();
        at_rest(node);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_18_sections_under_two_locks_in_opposite_order_take_turns() {
    let cluster = RedisCluster::start(3);
    let server = cache_testkit::RedisServer::start();
    for url in [server.url(), cluster.url()] {
        let (one, other) = (patient(&url).await, patient(&url).await);
        let inside = std::sync::atomic::AtomicBool::new(false);
        let section = async || {
            assert!(!inside.swap(true, std::sync::atomic::Ordering::SeqCst), "two at once");
            tokio::task::yield_now().await;
            inside.store(false, std::sync::atomic::Ordering::SeqCst);
        };
        let (one_way, other_way) = (["a", "b", "a"], ["b", "a", "b"]);
        let (first, second) = tokio::join!(
            async {
                for _ in 0..20 {
                    one.with_locks(&one_way, section()).await.unwrap();
                }
            },
            async {
                for _ in 0..20 {
                    other.with_locks(&other_way, section()).await.unwrap();
                }
            }
        );
        let ((), ()) = (first, second);
        // All or nothing: what was taken before is given back.
        let guard = other.acquire("b", &LockOptions::default()).await.unwrap();
        let ran = std::sync::atomic::AtomicBool::new(false);
        let run = async { ran.store(true, std::sync::atomic::Ordering::SeqCst) };
        let both = one.with_locks(&["b", "a"], run);
        let dropped = tokio::time::timeout(Duration::from_millis(300), both).await;
        assert!(dropped.is_err() && !ran.into_inner());
        let taken = async || other.try_acquire("a", &LockOptions::default()).await.unwrap();
        cache_testkit::eventually_async(async || taken().await.is_some()).await;
        guard.release().await.unwrap();
    }
}

/// The lock's slot begins to go to another node, or is there.
fn set_slot(at: &RedisServer, how: &str, node: &RedisServer) {
    let slot = at.command(&["CLUSTER", "KEYSLOT", LOCK]).integer().to_string();
    let id = node.command(&["CLUSTER", "MYID"]).text();
    assert_eq!(at.command(&["CLUSTER", "SETSLOT", &slot, how, &id]), "OK");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_slot_moves_is_waited_for_and_given_back_afterwards() {
    let cluster = RedisCluster::start(3);
    let mut from = cluster.node_for(LOCK);
    let mut to = cluster.nodes().iter().find(|node| node.port() != from.port()).unwrap();
    let begin = |from: &RedisServer, to: &RedisServer| {
        set_slot(to, "IMPORTING", from);
        set_slot(from, "MIGRATING", to);
    };
    let end = |from: &RedisServer, to: &RedisServer| {
        for key in from.command(&["KEYS", "*"]).list() {
            let (port, key) = (to.port().to_string(), key.text());
            from.command(&["MIGRATE", "127.0.0.1", &port, &key, "0", "1000"]);
        }
        for node in [to, from] {
            set_slot(node, "NODE", to);
        }
    };
    let locks = patient(&cluster.url()).await;
    begin(from, to);
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("k", &LockOptions::default()).await }
    });
    // Real time: longer than a hiccup that waiters bear.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert!(!waiter.is_finished(), "{:?}", waiter.await.unwrap());
    end(from, to);
    let guard = waiter.await.unwrap().unwrap();
    (from, to) = (to, from);
    begin(from, to);
    let error = guard.release().await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    // Real time: it is given back again and again, in vain.
    tokio::time::sleep(Duration::from_millis(500)).await;
    end(from, to);
    // Long before its lease is over.
    eventually(|| to.command(&["EXISTS", LOCK]).integer() == 0).await;
    locks.acquire("k", &LockOptions::default()).await.unwrap().release().await.unwrap();
    at_rest(to);
    assert_eq!(from.command(&["DBSIZE"]).integer(), 0);
}

//! Processes that cannot hear of hand-overs: they keep their places, and have their turns.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt};
use cache_testkit::{RedisServer, eventually};
use redis_common::queue::in_line;
use redis_common::{at_rest, hold, holder, lease, patient, queued};

/// A service whose user may do everything, until it is said that it may not subscribe.
async fn somebody(server: &RedisServer) -> RedisConcurrencyService {
    server.command(&["ACL", "SETUSER", "somebody", "on", ">secret", "~*", "&*", "+@all"]);
    patient(&server.url().replace("redis://", "redis://somebody:secret@")).await
}

fn make_deaf(server: &RedisServer) {
    server.command(&["ACL", "SETUSER", "somebody", "-subscribe"]);
    server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_08_a_process_that_may_not_listen_has_its_turn_among_those_who_do() {
    let server = RedisServer::start();
    let (one, two) = (patient(&server.url()).await, patient(&server.url()).await);
    let deaf = somebody(&server).await;
    make_deaf(&server);
    let done = AtomicBool::new(false);
    let busy = async |locks: &RedisConcurrencyService| {
        while !done.load(SeqCst) {
            // Real time: how long a section takes, so that the other queues meanwhile.
            let section = tokio::time::sleep(Duration::from_millis(5));
            locks.with_lock("k", section).await.unwrap();
        }
    };
    let turns = async {
        // Until the others hand the lock to each other.
        eventually(|| queued(&server) > 0).await;
        let mut longest = Duration::ZERO;
        for _ in 0..5 {
            let began = Instant::now();
            let outcome = deaf.acquire("k", &lease(5000)).await;
            longest = longest.max(began.elapsed());
            done.fetch_or(outcome.is_err(), SeqCst);
            outcome.unwrap().release().await.unwrap();
        }
        done.store(true, SeqCst);
        longest
    };
    let (longest, (), ()) = tokio::join!(turns, busy(&one), busy(&two));
    // A turn of the others, and a quarter of a second until it asks.
    assert!(longest < Duration::from_millis(800), "{longest:?}");
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_36_a_waiter_that_hears_no_more_keeps_its_place() {
    let server = RedisServer::start();
    let (first, last) = (patient(&server.url()).await, patient(&server.url()).await);
    let deaf = somebody(&server).await;
    let guard = hold(&first).await;
    let waits = |locks: RedisConcurrencyService| {
        tokio::spawn(async move { (hold(&locks).await, Instant::now()) })
    };
    let deaf = waits(deaf);
    eventually(|| queued(&server) == 1).await;
    let last = waits(last);
    eventually(|| queued(&server) == 2).await;
    let line = in_line(&server);
    let terms = || server.command(&["HGET", "{lock/cache/k}.w", &line[0]]);
    // It listens by now.
    eventually(|| terms().bytes().is_some_and(|terms| !terms.ends_with(b" a"))).await;
    make_deaf(&server);
    // Its next question says that it does not listen, and it asks on.
    eventually(|| terms().bytes().is_none_or(|terms| terms.ends_with(b" a"))).await;
    // Real time: longer than a place lasts that nobody asks for.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(in_line(&server), line);
    let began = Instant::now();
    guard.release().await.unwrap();
    assert_eq!(holder(&server).unwrap(), line[0].clone().into_bytes(), "it was passed over");
    let (guard, when) = deaf.await.unwrap();
    assert!(when - began < Duration::from_millis(500), "{:?}", when - began);
    guard.release().await.unwrap();
    last.await.unwrap().0.release().await.unwrap();
    at_rest(&server);
}

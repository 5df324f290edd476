//! Promise P7: every future can be dropped after any of its polls, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockErrorKind, LockOptions};
use cache_testkit::{RedisServer, drop_after, eventually, let_others_run};
use redis_common::{at_rest, hold, holder, lease, listening, patient, pttl, queued};

const POLLS: usize = 12;

/// Whatever was dropped has been given back, here and in Redis.
async fn nothing_is_left(locks: &RedisConcurrencyService, server: &RedisServer) {
    eventually(|| holder(server).is_none()).await;
    // Also what was under way still.
    let_others_run().await;
    eventually(|| holder(server).is_none() && locks.held() == 0).await;
    hold(locks).await.release().await.unwrap();
    at_rest(server);
}

#[tokio::test]
async fn p7_acquire_dropped_after_each_poll() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    for polls in 0..POLLS {
        drop(drop_after(polls, hold(&locks)).await);
        drop(drop_after(polls, locks.try_acquire("k", &LockOptions::default())).await);
        nothing_is_left(&locks, &server).await;
    }
}

#[tokio::test]
async fn p7_acquire_of_a_held_lock_dropped_after_each_poll() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    for polls in 0..POLLS {
        let guard = hold(&other).await;
        // In line here, and in front of the other process.
        drop(drop_after(polls, hold(&locks)).await);
        let first = tokio::spawn({
            let locks = locks.clone();
            async move { hold(&locks).await }
        });
        drop(drop_after(polls, hold(&locks)).await);
        guard.release().await.unwrap();
        drop(first.await.unwrap());
        nothing_is_left(&locks, &server).await;
        nothing_is_left(&other, &server).await;
    }
}

#[tokio::test]
async fn p7_release_and_sections_dropped_after_each_poll() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    for polls in 0..POLLS {
        let guard = hold(&locks).await;
        drop(drop_after(polls, guard.release()).await);
        nothing_is_left(&locks, &server).await;
        drop(drop_after(polls, locks.with_lock("k", tokio::task::yield_now())).await);
        nothing_is_left(&locks, &server).await;
    }
}

#[tokio::test]
async fn p7_questions_and_shutdown_dropped_after_each_poll() {
    let server = RedisServer::start();
    for polls in 0..POLLS {
        let locks = patient(&server.url()).await;
        let guard = hold(&locks).await;
        drop(drop_after(polls, locks.inspect("k")).await);
        drop(drop_after(polls, guard.lost()).await);
        guard.check().unwrap();
        drop(drop_after(polls, locks.force_release("k", guard.fencing_token())).await);
        let _ = drop_after(polls, locks.shutdown()).await;
        drop(guard);
        eventually(|| holder(&server).is_none()).await;
    }
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn shutdown_waits_for_releases_and_refuses_who_waits() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let fast = lease(600).wait(Duration::from_millis(50));
    let guards: Vec<_> =
        futures_util::future::join_all((0..50).map(|n| locks.acquire(["a", "b"][n % 2], &fast)))
            .await;
    let mut held: Vec<_> = guards.into_iter().filter_map(Result::ok).collect();
    assert_eq!(held.len(), 2, "one for each key");
    let theirs = hold(&other).await;
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("k", &LockOptions::default()).await.map(drop) }
    });
    eventually(|| locks.held() == 2).await;
    drop(held.pop());
    locks.shutdown().await;
    assert_eq!(waiter.await.unwrap().unwrap_err().kind(), LockErrorKind::Unavailable);
    assert_eq!(locks.held(), 1);
    let left = server.command(&["KEYS", "*.l"]).list().len();
    assert_eq!(left, 2, "the one held here and the other's");
    // It is prolonged all the same.
    let last = held.pop().unwrap();
    // Real time, as Redis counts the lease.
    tokio::time::sleep(Duration::from_millis(900)).await;
    last.check().unwrap();
    drop(locks);
    drop(last);
    theirs.release().await.unwrap();
    eventually(|| server.command(&["KEYS", "*.l"]).list().is_empty()).await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_13_a_guard_that_outlives_its_service_gives_back() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let guard = hold(&locks).await;
    drop(locks);
    guard.check().unwrap();
    std::thread::spawn(move || drop(guard)).join().unwrap();
    eventually(|| holder(&server).is_none()).await;
}

#[test]
fn p4_14_a_runtime_that_ends_leaves_the_lock_to_its_lease() {
    let server = RedisServer::start();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let other = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let next = other.block_on(patient(&server.url()));
    let guard = runtime.block_on(async {
        let (locks, waiter) = (patient(&server.url()).await, patient(&server.url()).await);
        let guard = locks.acquire("k", &lease(300)).await.unwrap();
        // In the queue when its runtime ends, and in front.
        tokio::spawn(async move { drop(waiter.acquire("k", &lease(9000)).await) });
        eventually(|| listening(&server) == 1).await;
        guard
    });
    let (began, old) = (Instant::now(), guard.fencing_token());
    drop(runtime);
    drop(guard);
    assert!(began.elapsed() < Duration::from_millis(500), "it hung for {:?}", began.elapsed());
    assert!(pttl(&server) <= 300, "it was renewed");
    let fence = other.block_on(async {
        let guard = hold(&next).await;
        let fence = guard.fencing_token();
        guard.release().await.unwrap();
        fence
    });
    // Its lease, and no time for the waiter that is gone.
    assert!(began.elapsed() < Duration::from_millis(300 + 500), "{:?}", began.elapsed());
    assert!(fence > old);
    other.block_on(eventually(|| queued(&server) == 0));
    at_rest(&server);
}

/// Rounds of five hundred, and on how many keys: `LOCK_CANCEL_ROUNDS` asks for more.
fn rounds() -> (usize, usize) {
    match std::env::var("LOCK_CANCEL_ROUNDS") {
        Ok(rounds) => (rounds.parse().unwrap(), 5_000),
        Err(_) => (20, 100),
    }
}

/// Memory of this process, where the system tells.
fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.unwrap_or(0) * 4096
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_24_thousands_of_cancelled_waiters_leave_nothing() {
    let (rounds, keys) = rounds();
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let key = |number: usize| format!("k{number}");
    // Half of the keys are held all the time.
    let mut held = Vec::new();
    for number in 0..keys / 2 {
        held.push(other.acquire(&key(number), &LockOptions::default()).await.unwrap());
    }
    let mut before = 0;
    for round in 0..rounds {
        if round == rounds / 2 {
            before = resident_bytes();
        }
        // Five of this process on each key: one in Redis's queue, the others at the gate.
        let waiters = (0..500).map(|_| {
            let locks = &locks;
            async move {
                let key = key(fastrand::usize(..keys));
                // Real time: dropped wherever it is by then.
                let patience = Duration::from_micros(fastrand::u64(..20_000));
                let options = LockOptions::default();
                let _ = tokio::time::timeout(patience, locks.acquire(&key, &options)).await;
            }
        });
        futures_util::future::join_all(waiters).await;
    }
    let free = || server.command(&["KEYS", "*}.[qw]"]).list().is_empty();
    eventually(|| locks.held() == 0 && free()).await;
    // In ten thousand it is the allocator that is seen.
    let grown = resident_bytes().saturating_sub(before);
    println!("{grown} bytes more after {rounds} rounds than after half of them");
    assert!(rounds < 200 || grown < 4 << 20, "grown by {grown} bytes");
    for guard in held {
        guard.release().await.unwrap();
    }
    locks.shutdown().await;
    eventually(|| server.command(&["KEYS", "*}.[lqw]"]).list().is_empty()).await;
    assert_eq!((locks.held(), other.held()), (0, 0));
    at_rest(&server);
}

//! Promise P4: a service that is shut down has given back what it had and what it waited for.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{
    ConcurrencyService, ConcurrencyServiceExt, LockErrorKind, LockGuard, LockOptions,
};
use cache_redis::RedisConfig;
use cache_testkit::{FaultProxy, RedisServer, eventually};
use futures_util::future::join_all;
use redis_common::{at_rest, hold, holder, lease, patient, service};

// On one thread: nobody goes on behind the back of a shutdown that does not wait.
#[tokio::test]
async fn a_shutdown_leaves_no_place_in_a_queue() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let (mut theirs, mut waiters) = (Vec::new(), Vec::new());
    for key in (0..100).map(|number| format!("k{number}")) {
        theirs.push(other.acquire(&key, &LockOptions::default()).await.unwrap());
        let locks = locks.clone();
        waiters.push(tokio::spawn(async move {
            locks.acquire(&key, &LockOptions::default()).await.map(drop)
        }));
    }
    let queues = || server.command(&["KEYS", "*}.q"]).list().len();
    eventually(|| queues() == 100).await;
    // Real time: until all have their answer, and wait.
    tokio::time::sleep(Duration::from_millis(200)).await;
    locks.shutdown().await;
    assert_eq!(queues(), 0);
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().unwrap_err().kind(), LockErrorKind::Unavailable);
    }
    join_all(theirs.into_iter().map(LockGuard::release)).await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_while_callers_come_and_go_leaves_nothing() {
    let server = RedisServer::start();
    let other = patient(&server.url()).await;
    for round in 0..20 {
        let locks = patient(&server.url()).await;
        let theirs = other.acquire("k0", &LockOptions::default()).await.unwrap();
        let callers = (0..40).map(|caller| {
            let locks = locks.clone();
            tokio::spawn(async move {
                let key = format!("k{}", caller % 8);
                // Some are in mid-call when the service ends.
                while locks.with_lock(&key, tokio::task::yield_now()).await.is_ok() {}
            })
        });
        let callers: Vec<_> = callers.collect();
        // Real time: wherever they are by then.
        tokio::time::sleep(Duration::from_millis(round)).await;
        locks.shutdown().await;
        // Who held a lock gives it back as usual, and waits for that.
        join_all(callers).await;
        let left = server.command(&["KEYS", "*}.[lqw]"]).list().len();
        assert_eq!(left, 1, "more than the one held by the other");
        theirs.release().await.unwrap();
    }
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_bears_a_short_outage_and_no_long_one() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = service(&proxy.url(&server.url())).await;
    let other = patient(&server.url()).await;
    let (guard, lost) = (hold(&locks).await, other.acquire("other", &lease(60_000)).await.unwrap());
    // One that is abandoned: nobody knows whether it was granted.
    proxy.cut();
    let unknown = locks.acquire("unknown", &LockOptions::default()).await.map(drop);
    assert_eq!(unknown.unwrap_err().kind(), LockErrorKind::Unavailable);
    drop(guard);
    let healed = async {
        // Real time: what the outage lasts.
        tokio::time::sleep(Duration::from_millis(300)).await;
        proxy.heal();
    };
    tokio::join!(locks.shutdown(), healed);
    assert_eq!(holder(&server), None);
    lost.release().await.unwrap();
    at_rest(&server);

    let locks = service(&proxy.url(&server.url())).await;
    let guard = hold(&locks).await;
    proxy.cut();
    drop(guard);
    let began = Instant::now();
    locks.shutdown().await;
    let took = began.elapsed();
    assert!(took > Duration::from_secs(4) && took < Duration::from_secs(6), "{took:?}");
    // It is given back all the same, while there is a runtime.
    proxy.heal();
    eventually(|| holder(&server).is_none()).await;
    at_rest(&server);
}

#[test]
fn a_service_whose_runtime_stands_still_is_unavailable() {
    let server = RedisServer::start();
    let current = || {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap()
    };
    let (its, ours) = (current(), current());
    let (locks, guard) = its.block_on(async {
        let config = RedisConfig::from_url(&server.url()).unwrap();
        let locks = RedisConcurrencyService::connect(config).await.unwrap();
        let guard = hold(&locks).await;
        (locks, guard)
    });
    // Alive, and driven by nobody.
    ours.block_on(async {
        let options = LockOptions::default().wait(Duration::from_millis(100));
        let acquiring = locks.acquire("other", &options);
        let trying = async { locks.try_acquire("another", &options).await.map(drop) };
        let all = async { tokio::join!(acquiring, trying, guard.release()) };
        let bounded = tokio::time::timeout(Duration::from_secs(5), all);
        let (acquired, tried, released) = bounded.await.expect("they are bounded");
        let errors = [acquired.unwrap_err(), tried.unwrap_err(), released.unwrap_err()];
        for (error, key) in errors.iter().zip(["other", "another", "k"]) {
            assert_eq!((error.kind(), error.key()), (LockErrorKind::Unavailable, Some(key)));
        }
    });
    assert!(holder(&server).is_some());
    // When it goes on, all is given back.
    its.block_on(locks.shutdown());
    at_rest(&server);
}

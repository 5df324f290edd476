//! What became of those who asked for locks, counted and measured.

mod common;
mod redis_common;

use std::time::Duration;

use cache_concurrency::LocalConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, LockOptions};
use cache_testkit::{RedisServer, eventually};
use common::{Hand, manual, now};
use redis_common::{LOCK, hold, lease, service};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn about(measured: Option<Duration>, expected: Duration) -> bool {
    let ratio = measured.unwrap_or_default().as_secs_f64() / expected.as_secs_f64();
    (0.93..1.07).contains(&ratio)
}

#[test]
fn every_way_to_end_is_counted_in_process() {
    let (locks, clock) = manual();
    let options = LockOptions::default().wait(seconds(5));
    let guard = now(locks.acquire("k", &options)).unwrap();
    assert!(now(locks.try_acquire("k", &options)).unwrap().is_none());
    let mut waits = Hand::new(locks.acquire("k", &options));
    waits.waits();
    clock.advance(seconds(5));
    assert!(waits.ready().is_err(), "timed out");
    assert!(now(locks.acquire("k", &LockOptions::default().wait(Duration::ZERO))).is_err());
    let mut next = Hand::new(locks.acquire("k", &options));
    next.waits();
    drop(guard);
    let late = next.ready().unwrap();
    // No renewal goes on for longer than that.
    clock.advance(options.max_hold_duration());
    drop(late);
    let taken = now(locks.acquire("k", &options)).unwrap();
    let fence = taken.fencing_token();
    assert!(now(locks.force_release("k", fence)).unwrap());
    drop(taken);
    now(locks.shutdown());
    assert!(now(locks.acquire("k", &options)).is_err());
    assert!(now(locks.acquire("", &options)).is_err(), "not counted: no key");

    let stats = locks.stats();
    assert_eq!((stats.acquired, stats.timed_out, stats.found_held), (3, 2, 1));
    assert_eq!((stats.unavailable, stats.lost_at_once, stats.leases_lost), (1, 0, 2));
}

#[test]
fn waits_and_holds_are_measured_by_the_clock() {
    let (locks, clock) = manual();
    let options = LockOptions::default().wait(seconds(60));
    // One of sixteen is measured: of so many, some.
    for _ in 0..400 {
        let guard = now(locks.acquire("k", &options)).unwrap();
        let mut next = Hand::new(locks.acquire("k", &options));
        next.waits();
        clock.advance(seconds(3));
        drop(guard);
        drop(next.ready().unwrap());
    }
    let times = locks.times();
    assert_eq!(locks.stats().acquired, 800);
    assert!((20..120).contains(&times.waits.count()), "{}", times.waits.count());
    assert_eq!(times.waits.count(), times.holds.count());
    // Either at once, or after three seconds.
    assert_eq!(times.waits.quantile(0.0), Some(Duration::ZERO));
    assert!(about(times.waits.quantile(1.0), seconds(3)), "{:?}", times.waits);
    assert!(about(times.holds.quantile(1.0), seconds(3)), "{:?}", times.holds);
}

#[test]
fn the_locks_of_many_threads_are_all_counted() {
    let locks = LocalConcurrencyService::new();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let locks = &locks;
            scope.spawn(move || {
                for n in 0..1_000 {
                    now(locks.with_lock(&format!("k{thread}:{n}"), async {})).unwrap();
                }
            });
        }
    });
    assert_eq!(locks.stats().acquired, 8_000);
    let measured = locks.times().holds.count();
    assert!((250..1_000).contains(&measured), "{measured} of 8,000");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_end_is_counted_on_redis() {
    let server = RedisServer::start();
    let (locks, others) = (service(&server.url()).await, service(&server.url()).await);
    let brief = lease(30_000).wait(Duration::from_millis(50));

    let guard = hold(&locks).await;
    assert!(locks.acquire("k", &brief).await.is_err(), "timed out in this process");
    assert!(others.acquire("k", &brief).await.is_err(), "timed out in the other");
    assert!(locks.try_acquire("k", &brief).await.unwrap().is_none());
    assert!(others.try_acquire("k", &brief).await.unwrap().is_none());
    // What is held for real time is measured so.
    tokio::time::sleep(Duration::from_millis(200)).await;
    guard.release().await.unwrap();
    let lost = hold(&locks).await;
    server.command(&["DEL", LOCK]);
    assert!(lost.release().await.is_err());
    let taken = hold(&locks).await;
    assert!(locks.force_release("k", taken.fencing_token()).await.unwrap());
    assert!(taken.release().await.is_err());

    let stats = locks.stats();
    assert_eq!((stats.acquired, stats.timed_out, stats.found_held), (3, 1, 1));
    assert_eq!((stats.unavailable, stats.leases_lost), (0, 2), "{stats:?}");
    let stats = others.stats();
    assert_eq!((stats.acquired, stats.timed_out, stats.found_held), (0, 1, 1));
    let times = locks.times();
    assert_eq!((times.waits.count(), times.holds.count()), (3, 3));
    let longest = times.holds.quantile(1.0).unwrap();
    assert!((180..2_000).contains(&longest.as_millis()), "{longest:?}");
    assert!(times.waits.quantile(1.0).unwrap() > Duration::ZERO);

    server.stop();
    eventually(|| others.connections().stats().open == 0).await;
    assert!(others.acquire("k", &brief).await.is_err());
    assert_eq!(others.stats().unavailable, 1, "{:?}", others.stats());
}

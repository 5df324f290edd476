//! Redis that stops, hangs, restarts and forgets: nobody waits too long, nobody believes too long.

mod redis_common;

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{
    ConcurrencyService, ConcurrencyServiceExt, FencingToken, LockErrorKind, LockGuard, LockOptions,
};
use cache_redis::RedisConfig;
use cache_testkit::lock_history::{FencedRegister, LockRecorder};
use cache_testkit::{RedisServer, eventually, eventually_async};
use redis_common::{at_rest, fence, hold, lease, listening, patient, pttl, queued, service};

#[tokio::test(flavor = "multi_thread")]
async fn p4_29_a_short_pause_of_redis_loses_nothing() {
    let server = RedisServer::start();
    let (locks, other) = (service(&server.url()).await, service(&server.url()).await);
    let guard = locks.acquire("k", &lease(3000)).await.unwrap();
    server.pause();
    // Real time: longer than until the first renewal.
    tokio::time::sleep(Duration::from_millis(1300)).await;
    server.resume();
    let held = async || {
        other.try_acquire("k", &lease(3000)).await.is_ok_and(|got| {
            assert!(got.is_none(), "granted twice");
            true
        })
    };
    eventually_async(held).await;
    // Two more leases: the renewals go on.
    // Real time, as Redis counts leases.
    tokio::time::sleep(Duration::from_secs(4)).await;
    guard.check().unwrap();
    guard.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_29_a_long_pause_of_redis_ends_the_section_before_it_is_back() {
    let server = RedisServer::start();
    let locks = service(&server.url()).await;
    let register = FencedRegister::new(&LockRecorder::new(), "k");
    let (ends, mut old) = (std::sync::OnceLock::new(), 0);
    let section = |held: cache_core::HeldLock| {
        let (server, ends, register) = (&server, &ends, &register);
        old = u64::from(held.fencing_token());
        async move {
            register.write(0, held.fencing_token().into(), 1).unwrap();
            server.pause();
            ends.set(Instant::now() + held.remaining()).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let options = lease(600);
    let section = locks.with_lock_opts("k", &options, section);
    let outcome = tokio::time::timeout(Duration::from_secs(3), section);
    let error = outcome.await.expect("it ends while Redis is away").unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::LeaseLost);
    // From when the lock was had: how long the machine takes to give it is not what is tested.
    let late = ends.get().expect("it got there").elapsed();
    assert!(late < Duration::from_millis(100), "{late:?} late");
    server.resume();
    let taken = async || {
        let guard = locks.acquire("k", &lease(600)).await;
        guard.is_ok_and(|guard| register.write(1, guard.fencing_token().into(), 2).is_ok())
    };
    eventually_async(taken).await;
    assert!(register.write(0, old, 3).is_err(), "a lower fence");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_29_who_waits_bears_a_short_pause_and_no_long_one() {
    let server = RedisServer::start();
    let (locks, other) = (service(&server.url()).await, service(&server.url()).await);
    let waiting = |locks: &RedisConcurrencyService| {
        let locks = locks.clone();
        tokio::spawn(async move { locks.acquire("k", &lease(10_000)).await })
    };
    let queued = async || {
        eventually_async(async || {
            locks.inspect("k").await.is_ok_and(|info| info.is_some_and(|info| info.waiters == 1))
        })
        .await;
    };
    let guard = locks.acquire("k", &lease(10_000)).await.unwrap();
    let waiter = waiting(&other);
    queued().await;
    // Real time: all of it. A question falls into the pause, and is given up after 250 ms.
    tokio::time::sleep(Duration::from_millis(700)).await;
    server.pause();
    tokio::time::sleep(Duration::from_millis(900)).await;
    server.resume();
    eventually_async(async || locks.inspect("k").await.is_ok()).await;
    assert!(!waiter.is_finished(), "{:?}", waiter.await.unwrap());
    guard.release().await.unwrap();
    let guard = waiter.await.unwrap().unwrap();
    let waiter = waiting(&locks);
    queued().await;
    server.pause();
    let outcome = tokio::time::timeout(Duration::from_secs(5), waiter).await;
    server.resume();
    let error = outcome.expect("it is told").unwrap().unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    eventually_async(async || guard.check().is_err() || locks.inspect("k").await.is_ok()).await;
    drop(guard);
    eventually_async(async || {
        locks.try_acquire("k", &lease(600)).await.is_ok_and(|got| got.is_some())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_32_a_restart_without_data_frees_the_lock_and_fences_go_on() {
    let server = RedisServer::start();
    let (locks, other) = (service(&server.url()).await, service(&server.url()).await);
    let guard = locks.acquire("k", &lease(6000)).await.unwrap();
    let waiter = tokio::spawn(async move { other.acquire("k", &lease(1500)).await });
    eventually(|| listening(&server) == 1).await;
    let register = FencedRegister::new(&LockRecorder::new(), "k");
    let write = |client, guard: &LockGuard| register.write(client, guard.fencing_token().into(), 1);
    write(0, &guard).unwrap();
    server.kill();
    server.restart();
    let began = Instant::now();
    assert_eq!(guard.lost().await.kind(), LockErrorKind::LeaseLost);
    // A third of the lease, and what it takes to connect anew.
    let reconnect = Duration::from_secs(1);
    assert!(began.elapsed() < Duration::from_secs(2) + reconnect, "{:?}", began.elapsed());
    // Who waited has the lock, as the server knows of no other.
    let next = waiter.await.unwrap().unwrap();
    assert!(next.fencing_token() > guard.fencing_token());
    write(1, &next).unwrap();
    assert!(write(0, &guard).is_err(), "a lower fence");
    assert_eq!(guard.release().await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    next.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_33_a_restart_with_data_leaves_the_lock_with_its_holder() {
    for killed in [false, true] {
        let server = RedisServer::builder().persistent().config("appendfsync always").start();
        let (locks, other) = (service(&server.url()).await, service(&server.url()).await);
        // Each has sent its scripts: the new server does not know them, and nobody notices.
        hold(&other).await.release().await.unwrap();
        let guard = locks.acquire("k", &lease(4000)).await.unwrap();
        let waiter = tokio::spawn({
            let other = other.clone();
            async move { other.acquire("k", &lease(1000)).await }
        });
        eventually(|| listening(&server) == 1).await;
        if killed {
            server.kill();
        }
        server.restart();
        // Real time: past the first renewal.
        tokio::time::sleep(Duration::from_millis(2500)).await;
        guard.check().unwrap();
        assert!(pttl(&server) > 2000, "it was renewed");
        assert!(!waiter.is_finished(), "{:?}", waiter.await.unwrap());
        let fence = guard.fencing_token();
        guard.release().await.unwrap();
        let next = waiter.await.unwrap().unwrap();
        assert!(next.fencing_token() > fence);
        next.release().await.unwrap();
        at_rest(&server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_34_script_flush_in_a_loop_is_not_noticed() {
    let server = RedisServer::start();
    let services = [patient(&server.url()).await, patient(&server.url()).await];
    let (inside, done) = (AtomicBool::new(false), AtomicBool::new(false));
    let sections = async {
        let tasks = (0..20).map(|n| {
            let (locks, inside) = (&services[n % 2], &inside);
            async move {
                for _ in 0..5 {
                    let section = async {
                        assert!(!inside.swap(true, SeqCst), "two at once");
                        tokio::task::yield_now().await;
                        inside.store(false, SeqCst);
                    };
                    let options = LockOptions::default().wait(Duration::from_secs(50));
                    locks.with_lock_opts("k", &options, |_| section).await.unwrap();
                }
            }
        });
        futures_util::future::join_all(tasks).await;
        done.store(true, SeqCst);
    };
    let flushes = async {
        while !done.load(SeqCst) {
            server.command(&["SCRIPT", "FLUSH"]);
            // Real time: as often as a server can be asked, and not oftener.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::join!(sections, flushes);
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_38_a_redis_that_takes_no_writes_is_not_waited_for_beyond_the_wait() {
    let server = RedisServer::start();
    // As it is unless set: an operation has 250 ms, and a heartbeat longer.
    let usual = async || {
        let config = RedisConfig::from_url(&server.url()).unwrap();
        RedisConcurrencyService::connect(config).await.unwrap()
    };
    let (locks, other, newcomer) = (usual().await, usual().await, usual().await);
    let wait = Duration::from_millis(500);
    let acquire = |locks: &RedisConcurrencyService, key: &'static str| {
        let locks = locks.clone();
        tokio::spawn(async move {
            let began = Instant::now();
            let outcome = locks.acquire(key, &LockOptions::default().wait(wait)).await;
            (outcome.map(drop).map_err(|error| error.kind()), began.elapsed())
        })
    };
    let guard = hold(&locks).await;
    let waiter = acquire(&other, "k");
    eventually(|| queued(&server) == 1 || waiter.is_finished()).await;
    server.command(&["CLIENT", "PAUSE", "3000", "WRITE"]);
    let newcomer = acquire(&newcomer, "another");
    // The time for one operation, and what a busy machine takes.
    let (operation, slack) = (Duration::from_millis(250), Duration::from_millis(50));
    let (outcome, took) = waiter.await.unwrap();
    // It has had answers, and bears with Redis until its time is over.
    let ends = [Err(LockErrorKind::Unavailable), Err(LockErrorKind::Timeout)];
    assert!(ends.contains(&outcome), "{outcome:?}");
    assert!(took >= wait && took < wait + operation + slack, "a waiter: {took:?}");
    let (outcome, took) = newcomer.await.unwrap();
    // It has had none, and is told as soon as that is clear.
    assert_eq!(outcome, Err(LockErrorKind::Unavailable));
    assert!(took >= operation && took < wait + slack, "a newcomer: {took:?}");
    let (released, ()) = tokio::join!(
        guard.release(),
        // What was sent is served when the pause is over, and taken back.
        // Real time: the server counts its pause.
        tokio::time::sleep(Duration::from_millis(3100))
    );
    assert_eq!(released.unwrap_err().kind(), LockErrorKind::Unavailable);
    let free = || server.command(&["KEYS", "*}.[lqw]"]).list().is_empty();
    eventually(free).await;
    // For good.
    // Real time: what comes late would come within that.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(free());
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_02_without_redis_a_lock_is_unavailable_and_heals() {
    let server = RedisServer::start();
    let locks = service(&server.url()).await;
    server.stop();
    // Until the loss is noticed a call may wait for its budget.
    for _ in 0..5 {
        let began = Instant::now();
        let error = locks.acquire("k", &LockOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::Unavailable);
        assert_eq!(error.key(), Some("k"));
        assert!(std::error::Error::source(&error).is_some());
        assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    }
    assert_eq!(locks.inspect("k").await.unwrap_err().kind(), LockErrorKind::Unavailable);
    server.restart();
    let began = Instant::now();
    eventually_async(async || locks.acquire("k", &lease(1000)).await.is_ok()).await;
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn p5_01_a_degraded_start_heals_by_itself() {
    let server = RedisServer::start();
    server.stop();
    let config = || RedisConfig::from_url(&server.url()).unwrap();
    assert!(RedisConcurrencyService::connect(config()).await.is_err());
    let locks = RedisConcurrencyService::connect_degraded(config()).unwrap();
    assert!(locks.acquire("k", &LockOptions::default()).await.is_err());
    server.restart();
    eventually_async(async || locks.acquire("k", &lease(1000)).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_between_services_does_not_take_a_lease() {
    let server = RedisServer::start();
    let (locks, other) = (service(&server.url()).await, service(&server.url()).await);
    let guard = hold(&locks).await;
    let waiter = tokio::spawn(async move { hold(&other).await });
    // Real time: long enough for the pauses to have grown.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(!waiter.is_finished());
    let (began, fence) = (Instant::now(), guard.fencing_token());
    guard.release().await.unwrap();
    let next = waiter.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(400), "{:?}", began.elapsed());
    assert!(next.fencing_token() > fence);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_03_who_waits_for_another_process_is_told_who_has_it() {
    let server = RedisServer::start();
    let (locks, other) = (service(&server.url()).await, service(&server.url()).await);
    let guard = hold(&locks).await;
    let (began, wait) = (Instant::now(), Duration::from_millis(200));
    let error = other.acquire("k", &LockOptions::default().wait(wait)).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Timeout);
    assert!(error.to_string().contains(&format!("pid {}", std::process::id())), "{error}");
    let took = began.elapsed();
    assert!(took >= wait && took < wait + Duration::from_millis(100), "{took:?}");
    assert!(!other.force_release("k", cache_core::FencingToken(1)).await.unwrap());
    assert!(other.force_release("k", guard.fencing_token()).await.unwrap());
    drop(other.try_acquire("k", &lease(1000)).await.unwrap().expect("it was taken away"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_29_a_pause_with_a_queue_costs_no_lock_and_no_place() {
    let server = RedisServer::start();
    let first = patient(&server.url()).await;
    let services = redis_common::patients(&server.url(), 4).await;
    let guard = hold(&first).await;
    let mut waiters = Vec::new();
    for (number, locks) in services.iter().enumerate() {
        let locks = locks.clone();
        waiters.push(tokio::spawn(async move { locks.acquire("k", &lease(5_000)).await }));
        eventually(|| listening(&server) == number + 1).await;
    }
    let mut waiters = waiters.into_iter();
    let mut last = guard.fencing_token();
    let register = FencedRegister::new(&LockRecorder::new(), "k");
    let write = |fence: FencingToken| register.write(0, fence.into(), 1);
    write(last).unwrap();
    guard.release().await.unwrap();
    // Handed over, and renewed, and that is known here.
    let guard = waiters.next().unwrap().await.unwrap().unwrap();
    eventually(|| guard.remaining() > Duration::from_secs(3)).await;
    server.pause();
    // Real time: less than the lease, more than is left of a hand-over's.
    tokio::time::sleep(Duration::from_secs(2)).await;
    server.resume();
    guard.check().unwrap();
    assert_eq!(u64::from(guard.fencing_token()), fence(&server), "granted twice");
    assert!(guard.fencing_token() > last);
    write(guard.fencing_token()).unwrap();
    assert!(write(last).is_err(), "a lower fence");
    last = guard.fencing_token();
    guard.release().await.unwrap();
    for waiter in waiters {
        let guard = waiter.await.unwrap().unwrap();
        assert!(guard.fencing_token() > last, "not in the order of arrival");
        write(guard.fencing_token()).unwrap();
        assert!(write(last).is_err(), "a lower fence");
        redis_common::in_order(&server, &guard);
        last = guard.fencing_token();
        guard.release().await.unwrap();
    }
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_29_a_holder_that_was_handed_the_lock_ends_before_redis_is_back() {
    let server = RedisServer::start();
    let (first, locks) = (patient(&server.url()).await, service(&server.url()).await);
    let guard = hold(&first).await;
    let register = FencedRegister::new(&LockRecorder::new(), "k");
    let (ends, mut old) = (std::sync::OnceLock::new(), 0);
    let section = |held: cache_core::HeldLock| {
        let (server, ends, register) = (&server, &ends, &register);
        old = u64::from(held.fencing_token());
        async move {
            register.write(1, held.fencing_token().into(), 1).unwrap();
            eventually(|| held.remaining() > Duration::from_millis(2_000)).await;
            server.pause();
            ends.set(Instant::now() + held.remaining()).unwrap();
            std::future::pending::<()>().await;
        }
    };
    let options = lease(2_500);
    let section = locks.with_lock_opts("k", &options, section);
    let released = async {
        eventually(|| listening(&server) == 1).await;
        guard.release().await.unwrap();
    };
    let outcome = async { tokio::time::timeout(Duration::from_secs(5), section).await };
    let (outcome, ()) = tokio::join!(outcome, released);
    let error = outcome.expect("it ends while Redis is away").unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::LeaseLost);
    let late = ends.get().expect("it got there").elapsed();
    assert!(late < Duration::from_millis(100), "{late:?} late");
    server.resume();
    let taken = async || {
        let guard = first.acquire("k", &lease(600)).await;
        guard.is_ok_and(|guard| register.write(0, guard.fencing_token().into(), 2).is_ok())
    };
    eventually_async(taken).await;
    assert!(register.write(1, old, 3).is_err(), "a lower fence");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_behind_one_that_redis_does_not_answer_is_not_told_of_a_holder() {
    let server = RedisServer::start();
    let config = || RedisConfig::from_url(&server.url()).unwrap();
    let locks = RedisConcurrencyService::connect(config()).await.unwrap();
    let other = patient(&server.url()).await;
    let brief = LockOptions::default().wait(Duration::from_millis(200));
    let timeout = async |key| {
        let error = locks.acquire(key, &brief).await.map(drop).unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::Timeout, "{key}: {error}");
    };
    // Behind one of this process that has the lock, and one that waits for another.
    let (ours, theirs) = (hold(&locks).await, other.acquire("x", &lease(60_000)).await.unwrap());
    let waiter = tokio::spawn({
        let locks = locks.clone();
        async move { locks.acquire("x", &LockOptions::default()).await }
    });
    let waits = async || locks.inspect("x").await.is_ok_and(|info| info.unwrap().waiters == 1);
    eventually_async(waits).await;
    tokio::join!(timeout("k"), timeout("x"));
    theirs.release().await.unwrap();
    waiter.await.unwrap().unwrap().release().await.unwrap();
    ours.release().await.unwrap();

    server.pause();
    let both = tokio::join!(locks.acquire("k", &brief), locks.acquire("k", &brief));
    server.resume();
    for outcome in [both.0, both.1] {
        assert_eq!(outcome.unwrap_err().kind(), LockErrorKind::Unavailable);
    }
    locks.shutdown().await;
    at_rest(&server);
}

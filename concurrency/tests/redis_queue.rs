//! The queue in Redis: who stands in it, who is next, and what it costs.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, HeldLock, LockErrorKind, LockOptions};
use cache_redis::{Call, Lane};
use cache_testkit::{FaultProxy, RedisServer, eventually};
use futures_util::future::join_all;
use redis_common::process::{Process, listen, process, say};
use redis_common::{at_rest, attempts, hold, lease, listening, patient, patients, queued, scripts};
use tokio::sync::mpsc::unbounded_channel;

#[tokio::test(flavor = "multi_thread")]
async fn p4_08_eight_services_have_a_lock_in_the_order_of_arrival_for_one_attempt_each() {
    const SERVICES: usize = 8;
    let server = RedisServer::start();
    let first = patient(&server.url()).await;
    let services = patients(&server.url(), SERVICES).await;
    let guard = hold(&first).await;
    let mut fences = vec![guard.fencing_token()];
    let (tell, mut granted) = unbounded_channel();
    let (began, mut waiters) = (Instant::now(), Vec::new());
    for (number, locks) in services.into_iter().enumerate() {
        let tell = tell.clone();
        waiters.push(tokio::spawn(async move {
            let guard = hold(&locks).await;
            tell.send((number, guard.fencing_token())).unwrap();
            guard.release().await.unwrap();
        }));
        eventually(|| listening(&server) == number + 1).await;
    }
    server.reset_commandstats();
    guard.release().await.unwrap();
    for waiter in waiters {
        waiter.await.unwrap();
    }
    let asked = attempts(&server);
    for number in 0..SERVICES {
        let (who, fence) = granted.try_recv().unwrap();
        assert_eq!(who, number, "not in the order of arrival");
        assert!(fence > *fences.last().unwrap(), "a fence that does not increase");
        fences.push(fence);
    }
    // None for a grant that is heard of; once a second each who waits asks in any case.
    let refreshed = SERVICES as u64 * began.elapsed().as_secs();
    assert!(asked <= refreshed, "{asked} attempts");
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_is_asked_for_where_that_is_wanted() {
    let server = RedisServer::start();
    for (confirm, questions) in [(false, 0), (true, 1)] {
        let (first, other) = (patient(&server.url()).await, patient(&server.url()).await);
        let second = RedisConcurrencyService::builder(other.connections().clone())
            .confirm_hand_overs(confirm)
            .build()
            .unwrap();
        let guard = hold(&first).await;
        let waiter = tokio::spawn(async move { hold(&second).await });
        eventually(|| listening(&server) == 1).await;
        server.reset_commandstats();
        let began = Instant::now();
        guard.release().await.unwrap();
        waiter.await.unwrap().release().await.unwrap();
        let (asked, refreshed) = (attempts(&server), began.elapsed().as_secs());
        assert!((questions..=questions + refreshed).contains(&asked), "{asked} attempts");
    }
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_02_a_try_stands_in_no_queue() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let guard = hold(&locks).await;
    server.reset_commandstats();
    let began = Instant::now();
    assert!(other.try_acquire("k", &LockOptions::default()).await.unwrap().is_none());
    assert_eq!(scripts(&server), 1, "one round trip");
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert_eq!(queued(&server), 0);
    let zero = LockOptions::default().wait(Duration::ZERO);
    let error = other.acquire("k", &zero).await.unwrap_err();
    assert_eq!((error.kind(), queued(&server)), (LockErrorKind::Timeout, 0));
    guard.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_03_a_waiter_whose_time_is_over_is_in_the_queue_no_more() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let guard = hold(&locks).await;
    for _ in 0..3 {
        let (began, wait) = (Instant::now(), Duration::from_millis(200));
        let options = LockOptions::default().wait(wait);
        let waiter = other.acquire("k", &options);
        let watch = eventually(|| queued(&server) == 1);
        let (outcome, ()) = tokio::join!(waiter, watch);
        // Not a moment later: the last question has taken it out.
        assert_eq!(queued(&server), 0);
        assert_eq!(outcome.unwrap_err().kind(), LockErrorKind::Timeout);
        let took = began.elapsed();
        assert!(took >= wait && took < wait + Duration::from_millis(500), "{took:?}");
    }
    guard.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_04_a_dropped_waiter_leaves_the_queue_and_the_next_is_unaffected() {
    let server = RedisServer::start();
    let services = patients(&server.url(), 3).await;
    let guard = hold(&services[0]).await;
    let fence = guard.fencing_token();
    let wait = |number: usize| {
        let locks = services[number].clone();
        tokio::spawn(async move { hold(&locks).await })
    };
    let dropped = wait(1);
    eventually(|| queued(&server) == 1).await;
    let next = wait(2);
    eventually(|| queued(&server) == 2).await;
    dropped.abort();
    let began = Instant::now();
    eventually(|| queued(&server) == 1).await;
    // By being told, not by a timer.
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let began = Instant::now();
    guard.release().await.unwrap();
    let next = next.await.unwrap();
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    assert!(next.fencing_token() > fence);
    next.release().await.unwrap();
    at_rest(&server);
    assert!(services.iter().all(|locks| locks.held() == 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_09_who_releases_and_asks_again_at_once_does_not_starve_a_waiter() {
    let server = RedisServer::start();
    let services = patients(&server.url(), 2).await;
    for locks in &services {
        locks.with_lock("k", async {}).await.unwrap();
    }
    let counts = [AtomicU64::new(0), AtomicU64::new(0)];
    let end = Instant::now() + Duration::from_secs(1);
    let loops = services.iter().zip(&counts).map(|(locks, count)| async move {
        while Instant::now() < end {
            locks.with_lock("k", async { count.fetch_add(1, SeqCst) }).await.unwrap();
        }
    });
    join_all(loops).await;
    let [one, other] = counts.map(AtomicU64::into_inner);
    let least = (one + other) * 45 / 100;
    assert!(one.min(other) >= least, "{one} and {other}");
    at_rest(&server);
}

/// Not a test: one of the processes that count under one lock. Says of each section its fence, when it
/// began and when it ended.
#[test]
#[ignore = "run by a test of this file, in a process of its own"]
fn counter() {
    process(async |url| {
        let locks = patient(&url).await;
        say("ready");
        listen();
        let (mut sections, end) = (Vec::new(), Instant::now() + Duration::from_secs(3));
        while Instant::now() < end {
            let section = async |held: HeldLock| {
                const CALL: Call = Call::new(Lane::Small).budget(Duration::from_secs(10));
                let (redis, began) = (locks.connections(), micros());
                // Read and written apart: two at once would lose a count.
                let mut read = redis::cmd("GET");
                let count: Option<u64> = redis.query(CALL, read.arg("count")).await.unwrap();
                // Real time: a second holder would read the same count meanwhile.
                tokio::time::sleep(Duration::from_millis(1)).await;
                let mut write = redis::cmd("MSET");
                write.arg("count").arg(count.unwrap_or(0) + 1);
                redis.query::<()>(CALL, &write).await.unwrap();
                (u64::from(held.fencing_token()), began, micros())
            };
            sections.push(locks.with_lock_opts("k", &lease(2000), section).await.unwrap());
        }
        sections.iter().for_each(|(fence, began, ended)| say(&format!("{fence} {began} {ended}")));
        say("done");
    });
}

/// Microseconds since 1970.
fn micros() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}

#[test]
fn p4_36_subscriptions_that_are_killed_all_the_time_lose_nobody_of_six_processes() {
    const PROCESSES: usize = 6;
    let server = RedisServer::start();
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| Process::run("counter", &server)).collect();
    processes.iter_mut().for_each(|process| assert_eq!(process.says(), "ready"));
    processes.iter_mut().for_each(|process| process.tell("go"));
    let (ended, at_most) = (AtomicBool::new(false), Instant::now() + Duration::from_secs(60));
    let mut sections: Vec<(u64, u64, u64)> = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(SeqCst) && Instant::now() < at_most {
                server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
                // Real time: between two losses of the subscription some hand-overs succeed.
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let mut sections = Vec::new();
        for process in &mut processes {
            let before = sections.len();
            // It panics if one waited in vain.
            let said = std::iter::repeat_with(|| process.says()).take_while(|said| said != "done");
            sections.extend(said.map(|said| {
                let mut numbers = said.split(' ').map(|number| number.parse().unwrap());
                let mut next = || numbers.next().unwrap();
                (next(), next(), next())
            }));
            assert!(sections.len() > before + 5, "it had no share: {}", sections.len() - before);
        }
        ended.store(true, SeqCst);
        sections
    });
    assert_eq!(server.command(&["GET", "count"]).text(), sections.len().to_string());
    // In the order of the grants: from when the lock is given back until the next has it.
    sections.sort_unstable();
    for (one, next) in sections.iter().zip(&sections[1..]) {
        assert!(one.0 < next.0 && one.2 <= next.1, "two at once: {one:?} and {next:?}");
        let waited = Duration::from_micros(next.1 - one.2);
        // The timer of a waiter that is not told, and what a busy machine takes.
        assert!(waited < Duration::from_millis(1200 + 100), "waited for {waited:?}");
    }
    server.command(&["DEL", "count"]);
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_08_who_waits_for_the_first_time_is_not_overtaken() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = patient(&server.url()).await;
    let (first, later) = (patient(&proxy.url(&server.url())).await, patient(&server.url()).await);
    let waits = |locks: &RedisConcurrencyService| {
        let locks = locks.clone();
        tokio::spawn(async move { hold(&locks).await })
    };
    // The later one has waited before, and listens.
    let guard = hold(&locks).await;
    let waiter = waits(&later);
    eventually(|| listening(&server) == 1).await;
    guard.release().await.unwrap();
    waiter.await.unwrap().release().await.unwrap();
    let guard = hold(&locks).await;
    // To subscribe takes it some round trips.
    proxy.latency(Duration::from_millis(150));
    server.reset_commandstats();
    let first = waits(&first);
    eventually(|| scripts(&server) == 1).await;
    let later = waits(&later);
    eventually(|| queued(&server) == 2).await;
    guard.release().await.unwrap();
    let first = first.await.unwrap();
    let fence = first.fencing_token();
    proxy.heal();
    first.release().await.unwrap();
    let later = later.await.unwrap();
    assert!(fence < later.fencing_token(), "it was overtaken");
    later.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_05_a_hundred_tasks_of_four_services_take_no_longer_than_their_sections() {
    const TASKS: u32 = 100;
    let server = RedisServer::start();
    let services = patients(&server.url(), 4).await;
    let inside = AtomicBool::new(false);
    // Real time: how long a section takes. The timer counts in milliseconds, and rounds up.
    let section = Duration::from_millis(10);
    let began = Instant::now();
    let tasks = (0..TASKS).map(|task| {
        let (locks, inside) = (&services[task as usize % services.len()], &inside);
        async move {
            let options = LockOptions::default().wait(Duration::from_secs(60));
            let section = async {
                assert!(!inside.swap(true, SeqCst), "two at once");
                tokio::time::sleep(section).await;
                inside.store(false, SeqCst);
            };
            locks.with_lock_opts("k", &options, |_| section).await.unwrap();
        }
    });
    join_all(tasks).await;
    let took = began.elapsed();
    // Two round trips each, of a millisecond on a busy machine.
    let longest = (section + Duration::from_millis(4)) * TASKS * 3 / 2;
    assert!(took < longest, "{took:?}");
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_07_a_thousand_keys_are_held_at_once() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    // Real time: how long a section takes.
    let section = Duration::from_millis(500);
    let keys: Vec<_> = (0..1_000).map(|key| format!("k{key}")).collect();
    let began = Instant::now();
    join_all(keys.iter().map(|key| locks.with_lock(key, tokio::time::sleep(section)))).await;
    let took = began.elapsed();
    assert!(took < section * 2, "{took:?}");
    at_rest(&server);
}

//! Attempts that may have been done, or may be done yet: they are taken back, however late. And what
//! else comes late: a message, an operator's word.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, ConcurrencyServiceExt, FencingToken, LockErrorKind};
use cache_redis::{ConnectionState, RedisConfig};
use cache_testkit::{FaultProxy, RedisServer, eventually, eventually_async, poll_once};
use redis_common::queue::channel;
use redis_common::stall::Stall;
use redis_common::{
    LOCK, at_rest, fence, hold, holder, lease, listening, patient, queued, scripts, service,
};

/// Longer than any test waits.
const LONG: u64 = 60_000;

#[tokio::test(flavor = "multi_thread")]
async fn p4_29_an_attempt_is_taken_back_however_long_redis_has_hung() {
    let server = RedisServer::start();
    let locks = service(&server.url()).await;
    // Its connections last, so that it asks as soon as the server goes on.
    let waits = RedisConfig::from_url(&server.url())
        .unwrap()
        .heartbeat_timeout(Duration::from_secs(30))
        .operation_timeout(Duration::from_secs(30));
    let other = RedisConcurrencyService::connect(waits).await.unwrap();
    hold(&other).await.release().await.unwrap();
    server.pause();
    let error = locks.acquire("k", &lease(3_000)).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    // Real time: more than two leases. The server finds the attempt when it goes on.
    tokio::time::sleep(Duration::from_millis(6_500)).await;
    server.resume();
    let began = Instant::now();
    let guard = other.acquire("k", &lease(3_000)).await.unwrap();
    // It is asked again every half a second, on a connection that is made as often.
    assert!(began.elapsed() < Duration::from_millis(2_500), "{:?}", began.elapsed());
    guard.release().await.unwrap();
    locks.shutdown().await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_on_a_connection_that_was_just_made_is_taken_back() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = patient(&proxy.url(&server.url())).await;
    hold(&locks).await.release().await.unwrap();
    proxy.cut();
    eventually(|| locks.connections().stats().state == ConnectionState::Down).await;
    proxy.heal();
    // Time to cut it off once the server has done it, before the answer is there.
    proxy.latency(Duration::from_millis(100));
    let options = lease(LONG);
    let attempts = async {
        while let Err(error) = locks.acquire("k", &options).await {
            assert_eq!(error.kind(), LockErrorKind::Unavailable);
            if holder(&server).is_some() {
                return;
            }
            // It fails at once while no connection is being made.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        panic!("it was not cut off in time");
    };
    let cut = async {
        eventually(|| holder(&server).is_some()).await;
        proxy.cut();
    };
    tokio::join!(attempts, cut);
    proxy.heal();
    eventually(|| holder(&server).is_none()).await;
    locks.shutdown().await;
    at_rest(&server);
}

/// An attempt that is done, and whose repetition is refused.
async fn repeated_in_vain(refuse: [&str; 4], until: Duration, allow: [&str; 4]) {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = patient(&proxy.url(&server.url())).await;
    hold(&locks).await.release().await.unwrap();
    proxy.drop_replies();
    let refused = async {
        eventually(|| holder(&server).is_some()).await;
        server.command(&refuse[..3 + usize::from(!refuse[3].is_empty())]);
        proxy.heal();
        proxy.reset_connections();
    };
    let options = lease(LONG);
    let (outcome, ()) = tokio::join!(locks.acquire("k", &options), refused);
    assert_eq!(outcome.unwrap_err().kind(), LockErrorKind::Unavailable);
    // Real time: for how long the server refuses.
    tokio::time::sleep(until).await;
    server.command(&allow[..3 + usize::from(!allow[3].is_empty())]);
    eventually(|| holder(&server).is_none()).await;
    eventually_async(async || locks.acquire("k", &options).await.is_ok()).await;
    locks.shutdown().await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_40_a_repetition_that_is_refused_says_nothing_of_the_first() {
    let room = |bytes| ["CONFIG", "SET", "maxmemory", bytes];
    repeated_in_vain(room("1"), Duration::ZERO, room("0")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_40_an_attempt_is_taken_back_however_long_the_server_takes_no_writes() {
    let replicaof = |host, port| ["REPLICAOF", host, port, ""];
    let lasts = Duration::from_millis(2_000);
    repeated_in_vain(replicaof("127.0.0.1", "1"), lasts, replicaof("NO", "ONE")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_20_a_first_copy_that_comes_after_the_release_is_taken_back() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = patient(&proxy.url(&server.url())).await;
    hold(&locks).await.release().await.unwrap();
    proxy.drop_replies();
    let repeated = async {
        eventually(|| holder(&server).is_some()).await;
        let first = fence(&server);
        proxy.heal();
        proxy.reset_connections();
        first
    };
    let options = lease(LONG);
    let (guard, first) = tokio::join!(locks.acquire("k", &options), repeated);
    let guard = guard.unwrap();
    assert_eq!(u64::from(guard.fencing_token()), first, "the repetition is another grant");
    let token = String::from_utf8(holder(&server).unwrap()).unwrap();
    guard.release().await.unwrap();
    // What such a copy would do.
    server.command(&["SET", LOCK, &token, "PX", &LONG.to_string()]);
    eventually(|| holder(&server).is_none()).await;
    locks.shutdown().await;
    at_rest(&server);
}

/// An attempt on a connection that is held up for more than three seconds, and its repetition on
/// another, if a missing heartbeat tells of that in time.
async fn held_up(heartbeat: Duration) {
    let server = RedisServer::start();
    let way = Stall::start(&server);
    let config = RedisConfig::from_url(&way.url())
        .unwrap()
        .operation_timeout(Duration::from_millis(400))
        .heartbeat_interval(heartbeat)
        .heartbeat_timeout(heartbeat);
    let locks = RedisConcurrencyService::connect(config).await.unwrap();
    hold(&locks).await.release().await.unwrap();
    let began = Instant::now();
    way.hold();
    match locks.acquire("k", &lease(LONG)).await {
        Ok(guard) => guard.release().await.unwrap(),
        Err(error) => assert_eq!(error.kind(), LockErrorKind::Unavailable),
    }
    // Until it has been taken back for the last time.
    locks.shutdown().await;
    let last = fence(&server);
    // Real time: as long as a network may hold up what it has lost.
    tokio::time::sleep_until((began + Duration::from_millis(3_300)).into()).await;
    server.reset_commandstats();
    way.deliver();
    eventually(|| scripts(&server) > 0).await;
    assert_eq!((holder(&server), fence(&server)), (None, last), "it was granted to nobody");
    assert_eq!(queued(&server), 0);
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_is_held_up_for_longer_than_it_is_followed_does_nothing() {
    let [repeated, not] = [100, 500].map(Duration::from_millis);
    tokio::join!(held_up(repeated), held_up(not));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_service_an_attempt_is_followed_no_longer_than_it_matters() {
    let server = RedisServer::start();
    let other = patient(&server.url()).await;
    let guard = hold(&other).await;
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let locks = service(&server.url()).await;
    // It listens, too.
    let brief = lease(300).wait(Duration::from_millis(300));
    assert_eq!(locks.acquire("k", &brief).await.unwrap_err().kind(), LockErrorKind::Timeout);
    server.pause();
    let error = locks.acquire("other", &brief).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    drop(locks);
    eventually(|| tasks() <= before).await;
    server.resume();
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_always_answers_too_late_is_not_asked_for_ever() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let config = RedisConfig::from_url(&proxy.url(&server.url()))
        .unwrap()
        .heartbeat_timeout(Duration::from_secs(5))
        .operation_timeout(Duration::from_millis(250));
    let locks = RedisConcurrencyService::connect(config).await.unwrap();
    let guard = hold(&locks).await;
    proxy.latency(Duration::from_millis(150));
    let options = lease(LONG);
    let attempts = (0..50).map(|number| {
        let (locks, options) = (&locks, &options);
        async move { locks.acquire(&format!("k{number}"), options).await.map(drop) }
    });
    for outcome in futures_util::future::join_all(attempts).await {
        assert_eq!(outcome.unwrap_err().kind(), LockErrorKind::Unavailable);
    }
    assert_eq!(guard.release().await.unwrap_err().kind(), LockErrorKind::Unavailable);
    // All is given back, and known to be, though no answer comes in time.
    let at_once = async || {
        let began = Instant::now();
        locks.shutdown().await;
        began.elapsed() < Duration::from_secs(1)
    };
    eventually_async(at_once).await;
    let sent = scripts(&server);
    assert!(sent < 51 * 8, "{sent} scripts");
    // Real time: longer than between two questions.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(scripts(&server), sent, "it goes on");
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_that_cannot_be_done_any_more_is_followed_no_longer_than_its_lease() {
    let server = RedisServer::start();
    let locks = service(&server.url()).await;
    hold(&locks).await.release().await.unwrap();
    server.pause();
    let error = locks.try_acquire("k", &lease(100)).await.map(drop).unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    let began = Instant::now();
    locks.shutdown().await;
    assert!(began.elapsed() < Duration::from_millis(3_500), "{:?}", began.elapsed());
    server.resume();
    eventually(|| holder(&server).is_none()).await;
    at_rest(&server);
}

// On one thread: no answer comes within a poll.
#[tokio::test]
async fn a_lock_that_is_lost_before_its_caller_looks_is_an_error() {
    for renew in [false, true] {
        lost_before_its_caller_looks(renew).await;
    }
}

/// Nobody looks: it is not renewed either.
async fn lost_before_its_caller_looks(renew: bool) {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    // Longer than the test waits for it to be over.
    let options = lease(200).renew(renew).max_hold(Duration::from_millis(LONG));
    let mut acquiring = Box::pin(locks.acquire("k", &options));
    assert!(poll_once(&mut acquiring).is_pending());
    eventually(|| holder(&server).is_some()).await;
    eventually(|| holder(&server).is_none()).await;
    assert_eq!(acquiring.await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    assert_eq!((locks.stats().acquired, locks.stats().lost_at_once), (0, 1));
    // Of another service: in this one the lock may not be given back yet.
    let other = patient(&server.url()).await;
    let mut trying = Box::pin(other.try_acquire("k", &options));
    assert!(poll_once(&mut trying).is_pending());
    eventually(|| holder(&server).is_some()).await;
    eventually(|| holder(&server).is_none()).await;
    assert_eq!(trying.await.unwrap_err().kind(), LockErrorKind::LeaseLost);
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_was_refused_first_tells_of_a_lock_that_is_lost() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let config = RedisConfig::from_url(&proxy.url(&server.url()))
        .unwrap()
        .connections(1)
        .operation_timeout(Duration::from_secs(5))
        .heartbeat_interval(Duration::from_secs(5))
        .heartbeat_timeout(Duration::from_secs(5));
    let locks = RedisConcurrencyService::connect(config).await.unwrap();
    let guard = hold(&locks).await;
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    // Time for what follows, before the one connection is made anew.
    proxy.latency(Duration::from_millis(150));
    let refused = || server.info("errorstats").contains_key("errorstat_READONLY");
    let lost = async {
        eventually(refused).await;
        server.command(&["REPLICAOF", "NO", "ONE"]);
        server.command(&["DEL", LOCK]);
    };
    let (outcome, ()) = tokio::join!(guard.release(), lost);
    assert_eq!(outcome.unwrap_err().kind(), LockErrorKind::LeaseLost);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_taken_from_a_section_here_was_taken_also_if_the_section_gives_it_back_first() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let locks = patient(&proxy.url(&server.url())).await;
    // From now on the server knows the scripts that take a lock and give it back, and not the third.
    hold(&locks).await.release().await.unwrap();
    let (started, running) = tokio::sync::oneshot::channel();
    let holds = locks.clone();
    let section = tokio::spawn(async move {
        let section = async {
            let _ = started.send(());
            std::future::pending::<()>().await;
        };
        holds.with_lock("k", section).await
    });
    running.await.unwrap();
    // The operator needs two round trips now, the release one.
    proxy.latency(Duration::from_millis(150));
    assert!(locks.force_release("k", FencingToken(fence(&server))).await.unwrap());
    assert_eq!(section.await.unwrap().unwrap_err().kind(), LockErrorKind::LeaseLost);
    proxy.heal();
    locks.shutdown().await;
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hand_over_that_is_heard_while_the_lock_is_given_back_is_no_loss() {
    let server = RedisServer::start();
    let way = Stall::start(&server);
    // Its connections say nothing by themselves.
    let config = RedisConfig::from_url(&way.url())
        .unwrap()
        .heartbeat_interval(Duration::from_secs(60))
        .operation_timeout(Duration::from_secs(5));
    let locks = RedisConcurrencyService::connect(config).await.unwrap();
    server.command(&["SET", LOCK, "a program", "PX", "60000"]);
    let waits = locks.clone();
    let waiter = tokio::spawn(async move { hold(&waits).await });
    eventually(|| listening(&server) == 1).await;
    // It finds the lock free when it asks by itself, as one does whose message is late.
    server.command(&["DEL", LOCK]);
    let guard = waiter.await.unwrap();
    let token = String::from_utf8(holder(&server).unwrap()).unwrap();
    let said = format!("{token} {}\n{LOCK}", u64::from(guard.fencing_token()));
    way.hold_next();
    let release = tokio::spawn(guard.release());
    eventually(|| way.has_caught()).await;
    assert_eq!(server.command(&["PUBLISH", &channel(&token), &said]).integer(), 1);
    // Real time: enough for what the message may bring about.
    tokio::time::sleep(Duration::from_millis(300)).await;
    way.deliver();
    release.await.unwrap().expect("it was in order");
    assert_eq!(locks.stats().leases_lost, 0);
    locks.shutdown().await;
    at_rest(&server);
}

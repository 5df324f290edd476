//! Others at work in the same Redis: operators, foreign values, a cache.

mod redis_common;

use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{
    CacheServiceExt, ConcurrencyService, ConcurrencyServiceExt, LockErrorKind, LockOptions,
};
use cache_redis::{RedisCacheService, RedisConfig};
use cache_testkit::lock_history::{
    Exclusion, FencedRegister, LockClient, LockRecorder, check_locks,
};
use cache_testkit::{RedisServer, eventually};
use redis_common::queue::{channel, in_line};
use redis_common::{FENCE, LOCK, QUEUE, at_rest, hold, holder, lease, listening, patient};

#[tokio::test(flavor = "multi_thread")]
async fn p4_22_a_key_deleted_by_hand_ends_the_section_with_the_next_renewal() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let section = async {
        server.command(&["DEL", LOCK]);
        pending::<()>().await;
    };
    let began = Instant::now();
    let error = locks.with_lock_opts("k", &lease(1500), |_| section).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::LeaseLost);
    assert!(began.elapsed() < Duration::from_millis(750), "{:?}", began.elapsed());
    assert!(holder(&server).is_none(), "it was not taken again");
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_23_a_foreign_token_is_left_alone() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let guard = hold(&locks).await;
    server.command(&["SET", LOCK, "somebody", "PX", "60000"]);
    let error = guard.release().await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::LeaseLost);
    assert_eq!(holder(&server).unwrap(), b"somebody");
    // It is a holder like another, though one without a name.
    assert!(locks.try_acquire("k", &lease(100)).await.unwrap().is_none());
    let info = locks.inspect("k").await.unwrap().unwrap();
    assert_eq!(info.holder, "a holder that is none of ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_35_flushall_in_a_loop_loses_leases_and_keeps_the_order_of_fences() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let (mut last, mut lost) = (None, 0);
    for _ in 0..20 {
        let guard = locks.acquire("k", &lease(150)).await.unwrap();
        assert!(Some(guard.fencing_token()) > last, "a fence went back");
        last = Some(guard.fencing_token());
        server.flush();
        let error = tokio::time::timeout(Duration::from_secs(1), guard.lost()).await.unwrap();
        assert_eq!(error.kind(), LockErrorKind::LeaseLost);
        lost += 1;
    }
    assert_eq!(lost, 20);
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_40_what_redis_refuses_is_unavailable_at_once() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let refused = async |what: &str| {
        let began = Instant::now();
        server.reset_commandstats();
        let error = locks.acquire("k", &LockOptions::default()).await.unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::Unavailable, "{what}");
        assert!(began.elapsed() < Duration::from_millis(600), "{what}: {:?}", began.elapsed());
        let sent: u64 = server.commandstats().get("evalsha").copied().unwrap_or(0);
        assert!(sent <= 2, "{what}: a storm of {sent}");
    };
    hold(&locks).await.release().await.unwrap();
    server.command(&["RPUSH", LOCK, "no string"]);
    refused("WRONGTYPE").await;
    server.command(&["DEL", LOCK]);
    server.command(&["DEL", FENCE]);
    server.command(&["RPUSH", FENCE, "no string"]);
    refused("WRONGTYPE of the fence").await;
    assert!(holder(&server).is_none());
    server.command(&["DEL", FENCE]);
    server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    refused("OOM").await;
    assert!(holder(&server).is_none());
    server.command(&["CONFIG", "SET", "maxmemory", "0"]);
    server.command(&["REPLICAOF", "127.0.0.1", "1"]);
    refused("READONLY").await;
    server.command(&["REPLICAOF", "NO", "ONE"]);
    let healed = async || locks.acquire("k", &lease(1000)).await.is_ok();
    cache_testkit::eventually_async(healed).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_40_a_fence_of_garbage_is_replaced() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    for garbage in ["", "x", "nan", "inf", "-1e300", "1e300", "9007199254740993"] {
        server.command(&["SET", FENCE, garbage]);
        let guard = hold(&locks).await;
        let fence: u64 = guard.fencing_token().into();
        assert!((1_600_000_000_000_000..9_000_000_000_000_000).contains(&fence), "{garbage}");
        assert_eq!(server.command(&["GET", FENCE]).text(), fence.to_string());
        guard.release().await.unwrap();
        at_rest(&server);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_56_clearing_a_cache_leaves_locks_alone() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let cache = RedisCacheService::connect(RedisConfig::from_url(&server.url()).unwrap());
    let cache = cache.await.unwrap();
    let guard = hold(&locks).await;
    // A key that looks as much like a lock's as a key can.
    cache.set(LOCK, &1, Duration::from_secs(60)).await.unwrap();
    cache.clear().await.unwrap();
    assert!(holder(&server).is_some());
    guard.check().unwrap();
    guard.release().await.unwrap();
    eventually(|| holder(&server).is_none()).await;
    assert_eq!(server.command(&["EXISTS", FENCE]).integer(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_successor_that_is_none_of_ours_is_not_taken_for_the_holder() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let guard = hold(&locks).await;
    server.command(&["SET", LOCK, "somebody", "PX", "60000"]);
    // It has drawn no fence: the last one is that of the holder before.
    let info = locks.inspect("k").await.unwrap().unwrap();
    assert_eq!((u64::from(info.fencing_token), info.held_for), (0, Duration::ZERO));
    // The guard is of this process and held by its own clock: that ends, once.
    let ours = guard.fencing_token();
    for (fence, ended) in [(ours, true), (ours, false), (info.fencing_token, false)] {
        assert_eq!(locks.force_release("k", fence).await.unwrap(), ended);
        assert_eq!(holder(&server).unwrap(), b"somebody");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_leaves_out_what_is_no_lock() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let guard = hold(&locks).await;
    server.command(&["RPUSH", "{lock/cache/no string}.l", "x"]);
    let no_text = "return redis.call('SET', '{lock/cache/\\255}.l', 'x')";
    server.command(&["EVAL", no_text, "0"]);
    // No key of a lock is empty, longer than that, or written like this.
    for no_key in ["", &"a".repeat(1_025), "a:b", "a%3ab", "a%41"] {
        server.command(&["SET", &format!("{{lock/cache/{no_key}}}.l"), "x"]);
    }
    let listed = locks.list(10).await.unwrap();
    assert_eq!(listed.iter().map(|info| &*info.key).collect::<Vec<_>>(), ["k"]);
    assert_eq!(listed[0].fencing_token, guard.fencing_token());
    for number in 0..20 {
        server.command(&["HSET", &format!("{{lock/cache/hash {number}}}.l"), "f", "x"]);
    }
    server.command(&["SET", "{lock/cache/k}.w", "x"]);
    let listed = locks.list(1).await.unwrap();
    assert_eq!(listed.len(), 1, "what is left out is not counted, nor a held lock left out");
    server.command(&["DEL", "{lock/cache/k}.w"]);
    guard.release().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_40_a_queue_that_is_none_leaves_nothing_behind() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let guard = hold(&locks).await;
    server.command(&["SET", QUEUE[0], "no list"]);
    let brief = LockOptions::default().wait(Duration::from_millis(100));
    let error = other.acquire("k", &brief).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    other.shutdown().await;
    assert_eq!(server.command(&["HGETALL", QUEUE[1]]).list().len(), 0, "without a TTL");
    server.command(&["DEL", QUEUE[0]]);
    guard.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_40_who_waits_under_terms_of_garbage_is_told_nothing_before_it_asks() {
    let server = RedisServer::start();
    let (locks, other) = (patient(&server.url()).await, patient(&server.url()).await);
    let guard = hold(&locks).await;
    let waiter = tokio::spawn(async move { hold(&other).await });
    eventually(|| listening(&server) == 1).await;
    let token = in_line(&server).remove(0);
    // No lease, and longer to live than any.
    server.command(&["HSET", QUEUE[1], &token, "9999999999999999 0"]);
    guard.release().await.unwrap();
    assert!(!waiter.is_finished(), "it holds what the server has given nobody");
    // A word that it does not know: it asks.
    server.command(&["PUBLISH", &channel(&token), &token]);
    let guard = waiter.await.unwrap();
    assert_eq!(holder(&server).unwrap(), token.as_bytes());
    guard.release().await.unwrap();
    at_rest(&server);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_whose_fence_was_evicted_can_be_taken_away() {
    let server = RedisServer::start();
    let locks = patient(&server.url()).await;
    let guard = hold(&locks).await;
    server.command(&["DEL", "{lock/cache/k}.f"]);
    let info = locks.inspect("k").await.unwrap().expect("it is held");
    assert_eq!((info.fencing_token.0, info.held_for), (0, Duration::ZERO));
    assert!(locks.force_release("k", info.fencing_token).await.unwrap());
    assert!(locks.inspect("k").await.unwrap().is_none());
    drop(guard);
}

/// Reads and writes a register with a lock's token until the end; says how often it lost the lock.
async fn count(
    locks: RedisConcurrencyService,
    number: usize,
    register: &FencedRegister,
    recorder: &LockRecorder,
    end: Instant,
) -> (u64, u64) {
    let client = LockClient::new(recorder, number, Arc::new(locks));
    let (mut written, mut lost) = (0, 0);
    while Instant::now() < end {
        let began = Instant::now();
        let guard = match client.acquire("k", &lease(300).wait(Duration::from_secs(5))).await {
            Ok(guard) => guard,
            Err(error) => {
                assert_eq!(error.kind(), LockErrorKind::LeaseLost, "{error}");
                lost += 1;
                continue;
            }
        };
        // Waiters are forgotten, too, and ask once a second.
        assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
        if let Ok(value) = register.read(number, guard.fence()) {
            // Real time: others may come in between when the server forgets.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..5))).await;
            let wrote = register.write(number, guard.fence(), value + 1);
            written += u64::from(wrote.is_ok());
        }
        if let Err(error) = guard.release().await {
            assert_eq!(error.kind(), LockErrorKind::LeaseLost, "{error}");
            lost += 1;
        }
    }
    (written, lost)
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_35_flushall_in_a_loop_lets_no_lower_fence_write() {
    let server = RedisServer::start();
    let recorder = LockRecorder::new();
    let register = FencedRegister::new(&recorder, "k");
    let end = Instant::now() + Duration::from_secs(3);
    let services = redis_common::patients(&server.url(), 4).await;
    let counts = services.iter().enumerate();
    let counts =
        counts.map(|(number, locks)| count(locks.clone(), number, &register, &recorder, end));
    let flushes = async {
        while Instant::now() < end {
            server.flush();
            // Real time: between two losses some sections end in order.
            tokio::time::sleep(Duration::from_millis(fastrand::u64(5..50))).await;
        }
    };
    let (counts, ()) = tokio::join!(futures_util::future::join_all(counts), flushes);
    let written: u64 = counts.iter().map(|(written, _)| written).sum();
    let lost: u64 = counts.iter().map(|(_, lost)| lost).sum();
    assert!(written > 50 && lost > 10, "nothing to see: {counts:?}");
    assert_eq!(register.value(), written, "an update was lost: {counts:?}");
    check_locks(&recorder.history(), Exclusion::Excused).unwrap();
    for locks in services {
        locks.shutdown().await;
    }
    eventually(|| server.command(&["KEYS", "*}.[lqw]"]).list().is_empty()).await;
    at_rest(&server);
}

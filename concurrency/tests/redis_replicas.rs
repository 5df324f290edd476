//! Scenario 37: a lock counts once replicas have it, so a replica that is promoted knows of it.
#![allow(clippy::unwrap_used, reason = "test code, also outside of test functions")]

mod redis_common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cache_concurrency::RedisConcurrencyService;
use cache_core::{ConcurrencyService, ErrorKind, LockErrorKind};
use cache_redis::{Connections, RedisConfig};
use cache_testkit::lock_history::{
    Exclusion, FencedRegister, LockClient, LockRecorder, check_locks,
};
use cache_testkit::{
    Direction, FaultProxy, RedisCluster, RedisServer, eventually, eventually_async,
};
use futures_util::future::join_all;
use redis_common::{LOCK, at_rest, hold, holder, lease, queued, service};

const WITHIN: Duration = Duration::from_millis(200);

/// A service that waits for one replica.
async fn durable(server: &RedisServer, within: Duration) -> RedisConcurrencyService {
    let connections = connections(&server.url()).await;
    RedisConcurrencyService::builder(connections).replicas(1, within).build().unwrap()
}

async fn connections(url: &str) -> Connections {
    Connections::connect(&RedisConfig::from_url(url).unwrap()).await.unwrap()
}

fn replica_of(primary: &RedisServer) -> RedisServer {
    let replica = RedisServer::start();
    replica.command(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    replica
}

/// Whether what is written to the primary comes to the replica. Twice: the first may have come with
/// the copy that a new replica gets, and after that the primary keeps the rest back for a moment.
fn replicates(primary: &RedisServer, replica: &RedisServer) -> bool {
    (0..2).all(|_| {
        primary.command(&["PUBLISH", "probe", ""]);
        let offset = |server: &RedisServer, field| -> u64 {
            server.info("replication").get(field).map_or(0, |offset| offset.parse().unwrap())
        };
        let written = offset(primary, "master_repl_offset");
        // Zero: nobody has asked for a copy yet.
        let up = replica.info("replication")["master_link_status"] == "up" && written > 0;
        up && offset(replica, "slave_repl_offset") >= written
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_a_lock_that_no_replica_has_is_not_held() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary);
    eventually(|| replicates(&primary, &replica)).await;
    let locks = durable(&primary, WITHIN).await;
    let guard = hold(&locks).await;
    // At once: nobody waits for it any more.
    assert_eq!(replica.command(&["GET", LOCK]).bytes().unwrap(), holder(&primary).unwrap());
    let fence = guard.fencing_token();
    guard.release().await.unwrap();

    replica.pause();
    let began = Instant::now();
    let error = locks.acquire("k", &lease(5000)).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
    let took = began.elapsed();
    assert!(took >= WITHIN && took < WITHIN + Duration::from_millis(500), "{took:?}");
    eventually(|| holder(&primary).is_none()).await;
    assert!(locks.try_acquire("k", &lease(5000)).await.is_err());
    eventually(|| holder(&primary).is_none()).await;
    assert_eq!(locks.held(), 0);
    at_rest(&primary);

    replica.resume();
    eventually(|| replicates(&primary, &replica)).await;
    let guard = hold(&locks).await;
    assert!(guard.fencing_token() > fence);

    // The primary is gone, and its successor knows of the lock.
    primary.kill();
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    let others = service(&replica.url()).await;
    assert!(others.try_acquire("k", &lease(500)).await.unwrap().is_none(), "held twice");
    let info = others.inspect("k").await.unwrap().unwrap();
    assert_eq!(info.fencing_token, guard.fencing_token());
}

/// A lock is granted, its replica has not heard of it and takes over, and the old server goes on.
async fn promoted_too_early(waits: bool) {
    let primary = RedisServer::start();
    let way = FaultProxy::start(&primary.url());
    let replica = RedisServer::start();
    replica.command(&["REPLICAOF", "127.0.0.1", &way.port().to_string()]);
    eventually(|| replicates(&primary, &replica)).await;
    let first = if waits {
        durable(&primary, Duration::from_secs(1)).await
    } else {
        service(&primary.url()).await
    };
    let recorder = LockRecorder::new();
    let register = FencedRegister::new(&recorder, "k");
    let (old, new) = (
        LockClient::new(&recorder, 0, Arc::new(first)),
        LockClient::new(&recorder, 1, Arc::new(service(&replica.url()).await)),
    );
    let guard = old.acquire("k", &lease(20_000)).await.unwrap();
    register.write(0, guard.fence(), 1).unwrap();
    guard.release().await.unwrap();
    eventually(|| replicates(&primary, &replica)).await;

    way.black_hole(Direction::Both);
    let acquired = tokio::spawn(async move { old.acquire("k", &lease(20_000)).await });
    eventually(|| holder(&primary).is_some()).await;
    replica.command(&["REPLICAOF", "NO", "ONE"]);
    assert!(holder(&replica).is_none(), "it was replicated");
    let next = new.acquire("k", &lease(20_000)).await.unwrap();
    let value = register.read(1, next.fence()).unwrap();
    match acquired.await.unwrap() {
        Ok(both) => {
            assert!(!waits, "held twice");
            // And is for as long as it is renewed there, but it cannot write.
            both.check().unwrap();
            assert!(register.write(0, both.fence(), 7).is_err(), "a lower fence");
            both.release().await.unwrap();
        }
        Err(error) => {
            assert!(waits, "{error}");
            assert_eq!(error.kind(), LockErrorKind::Unavailable);
            eventually(|| holder(&primary).is_none()).await;
        }
    }
    register.write(1, next.fence(), value + 1).unwrap();
    next.release().await.unwrap();
    assert_eq!(register.value(), 2);
    let history = recorder.history();
    check_locks(&history, Exclusion::Excused).unwrap();
    assert_eq!(check_locks(&history, Exclusion::Required).is_ok(), waits);
    at_rest(&primary);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_a_replica_that_is_promoted_too_early_makes_no_second_holder_where_it_is_waited_for()
{
    promoted_too_early(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_elsewhere_the_second_holder_alone_can_write() {
    promoted_too_early(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_a_hand_over_that_no_replica_has_is_no_grant() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary);
    eventually(|| replicates(&primary, &replica)).await;
    let (first, locks) = (service(&primary.url()).await, durable(&primary, WITHIN).await);
    for reaches in [true, false] {
        let guard = hold(&first).await;
        let waiter = tokio::spawn({
            let locks = locks.clone();
            async move { locks.acquire("k", &lease(5000)).await }
        });
        eventually(|| queued(&primary) == 1).await;
        if !reaches {
            replica.pause();
        }
        guard.release().await.unwrap();
        match waiter.await.unwrap() {
            Ok(guard) => {
                assert!(reaches);
                guard.release().await.unwrap();
            }
            Err(error) => {
                assert!(!reaches, "{error}");
                assert_eq!(error.kind(), LockErrorKind::Unavailable);
            }
        }
        eventually(|| holder(&primary).is_none()).await;
        at_rest(&primary);
    }
    // Without the option the same is granted, and a promotion would forget it.
    let unknown = first.acquire("k", &lease(1000)).await.unwrap();
    replica.resume();
    unknown.release().await.unwrap();
    eventually_async(async || locks.try_acquire("k", &lease(500)).await.is_ok()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_what_cannot_be_waited_for_is_refused() {
    let (server, cluster) = (RedisServer::start(), RedisCluster::start(3));
    let (one, many) = (connections(&server.url()).await, connections(&cluster.url()).await);
    let second = Duration::from_secs(1);
    let refused = |connections: &Connections, replicas, within| {
        let builder = RedisConcurrencyService::builder(connections.clone());
        let error = builder.replicas(replicas, within).build().err()?;
        assert_eq!(error.kind(), ErrorKind::Config);
        Some(error.to_string())
    };
    for (replicas, within) in [
        (0, second),
        (101, second),
        (u32::MAX, second),
        (1, Duration::ZERO),
        (1, Duration::from_micros(999)),
        (1, second * 10 + Duration::from_micros(1)),
    ] {
        assert!(refused(&one, replicas, within).is_some(), "{replicas} within {within:?}");
    }
    for (replicas, within) in [(1, second), (100, second * 10), (1, Duration::from_millis(1))] {
        assert_eq!(refused(&one, replicas, within), None);
    }
    assert!(refused(&many, 1, second).unwrap().contains("cluster"));
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_a_replica_may_take_longer_than_a_heartbeat() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary);
    eventually(|| replicates(&primary, &replica)).await;
    let within = Duration::from_secs(3);
    let locks = RedisConcurrencyService::builder(connections(&primary.url()).await)
        .replicas(1, within)
        .build()
        .unwrap();
    hold(&locks).await.release().await.unwrap();
    replica.pause();
    let began = Instant::now();
    let rest = async {
        // Real time: longer than a heartbeat may take, twice.
        tokio::time::sleep(Duration::from_millis(1200)).await;
        replica.resume();
    };
    let (guard, ()) = tokio::join!(hold(&locks), rest);
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1200) && took < within, "{took:?}");
    assert_eq!(replica.command(&["GET", LOCK]).bytes().unwrap(), holder(&primary).unwrap());
    assert_eq!(locks.connections().stats().reconnects, 0);
    guard.release().await.unwrap();
    at_rest(&primary);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_a_lock_that_is_gone_when_replicas_are_asked_for_is_no_grant() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary);
    eventually(|| replicates(&primary, &replica)).await;
    let locks = RedisConcurrencyService::builder(connections(&primary.url()).await)
        .replicas(1, Duration::from_millis(400))
        .build()
        .unwrap();
    replica.pause();
    let rest = async {
        eventually(|| holder(&primary).is_some()).await;
        // As a failover to one that has not heard of it leaves it.
        primary.command(&["DEL", LOCK]);
        // Real time: it may have been asked for before it was gone, and is again.
        tokio::time::sleep(Duration::from_millis(300)).await;
        replica.resume();
    };
    let options = lease(5000);
    let (outcome, ()) = tokio::join!(locks.acquire("k", &options), rest);
    let error = outcome.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    assert!(error.to_string().contains("gone"), "{error}");
    assert_eq!(locks.held(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_a_lock_that_is_gone_is_not_waited_for() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary);
    eventually(|| replicates(&primary, &replica)).await;
    let within = Duration::from_secs(8);
    let locks = durable(&primary, within).await;
    replica.pause();
    let gone = async {
        eventually(|| holder(&primary).is_some()).await;
        primary.command(&["DEL", LOCK]);
    };
    let (began, options) = (Instant::now(), lease(20_000));
    let (outcome, ()) = tokio::join!(locks.acquire("k", &options), gone);
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("gone"), "{error}");
    // The next question says so, and the replica answers none.
    assert!(began.elapsed() < within / 2, "{:?}", began.elapsed());
    replica.resume();
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_replicas_are_not_waited_for_beyond_the_wait() {
    let primary = RedisServer::start();
    let replica = replica_of(&primary);
    eventually(|| replicates(&primary, &replica)).await;
    let within = Duration::from_secs(5);
    let locks = RedisConcurrencyService::builder(connections(&primary.url()).await)
        .replicas(1, within)
        .build()
        .unwrap();
    hold(&locks).await.release().await.unwrap();
    replica.pause();
    for wait in [0, 700].map(Duration::from_millis) {
        let began = Instant::now();
        let error = locks.acquire("k", &lease(20_000).wait(wait)).await.unwrap_err();
        assert_eq!(error.kind(), LockErrorKind::Unavailable);
        assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
        let took = began.elapsed();
        assert!(took >= wait && took < wait + Duration::from_millis(1_000), "{took:?}");
        eventually(|| holder(&primary).is_none()).await;
    }
    // Also many at once: none waits behind another.
    let each = (0..20).map(async |number| {
        let began = Instant::now();
        let tried = locks.try_acquire(&format!("k{number}"), &lease(20_000)).await.map(drop);
        (tried.unwrap_err(), began.elapsed())
    });
    for (error, took) in join_all(each).await {
        assert!(error.to_string().contains("0 of 1 replicas"), "{error}");
        // Two questions, and what a busy machine takes.
        assert!(took < Duration::from_millis(1_000), "{took:?}");
    }
    eventually(|| primary.command(&["KEYS", "*}.l"]).list().is_empty()).await;
    at_rest(&primary);
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_37_locks_that_are_taken_at_once_wait_for_replicas_together() {
    const LOCKS: usize = 20;
    let primary = RedisServer::start();
    let way = FaultProxy::start(&primary.url());
    let replica = RedisServer::start();
    replica.command(&["REPLICAOF", "127.0.0.1", &way.port().to_string()]);
    eventually(|| replicates(&primary, &replica)).await;
    let locks = durable(&primary, Duration::from_secs(10)).await;
    hold(&locks).await.release().await.unwrap();
    eventually(|| replicates(&primary, &replica)).await;
    way.latency(Duration::from_millis(50));
    primary.reset_commandstats();
    let options = lease(20_000);
    let each = (0..LOCKS).map(|number| {
        let (locks, options) = (&locks, &options);
        async move { locks.acquire(&format!("k{number}"), options).await }
    });
    let guards: Vec<_> = join_all(each).await.into_iter().map(Result::unwrap).collect();
    for number in 0..LOCKS {
        let lock = format!("{{lock/cache/k{number}}}.l");
        let [here, there] = [&primary, &replica].map(|server| server.command(&["GET", &lock]));
        assert!(here.bytes().is_some() && here.bytes() == there.bytes(), "no replica has {lock}");
    }
    let asked = primary.commandstats()["wait"];
    assert!(asked <= LOCKS as u64 / 2, "replicas were asked for {asked} times");
    for guard in guards {
        guard.release().await.unwrap();
    }
    at_rest(&primary);
}

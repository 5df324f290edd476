//! What a call that was given up had sent: it is done within the call's budget, or not at all. So
//! nothing comes after what its caller does next.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod scenario;

use std::time::{Duration, Instant};

use cache_core::{CacheStore, Entry, ErrorKind, InvalidationBus, LeaseOutcome, Policy, Selector};
use cache_redis::{Connections, RedisBus, RedisStore};
use cache_testkit::servers::{Direction, FaultProxy, RedisServer};
use cache_testkit::{eventually, eventually_async};
use futures_util::future::join_all;
use scenario::{BUDGET, HEAL, LASTING, SLACK, config, name};

async fn store(url: &str) -> RedisStore {
    RedisStore::new(Connections::connect(&config(url)).await.unwrap())
}

fn entry(text: &str) -> Entry {
    Entry::encode(text, &Policy::ttl(LASTING)).unwrap()
}

async fn text(store: &RedisStore, key: &str) -> Option<String> {
    store.fetch(key).await.unwrap().map(|entry| entry.decode().unwrap())
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|at| format!("k{at}")).collect()
}

async fn well(store: &RedisStore) {
    let start = Instant::now();
    while store.fetch("any").await.is_err() {
        assert!(start.elapsed() < HEAL, "not healed");
    }
}

/// A large value that is late on its own connection, and a small one that goes past it.
#[tokio::test(flavor = "multi_thread")]
async fn a_large_write_that_was_given_up_does_not_undo_the_next() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let store = store(&proxy.url(&server.url())).await;
    proxy.bandwidth(200_000);
    let error = store.store("k", entry(&"x".repeat(100_000))).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout, "{error}");
    store.store("k", entry("new")).await.unwrap();
    // What is still on its way takes half a second in all: nothing tells when it is over.
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.heal();
    assert_eq!(text(&store, "k").await.as_deref(), Some("new"));
}

/// Sets that reach a server which hangs, and are read when it does no more.
#[tokio::test(flavor = "multi_thread")]
async fn p5_03_writes_that_were_given_up_are_not_done_after_their_removal() {
    let server = RedisServer::start();
    let store = store(&server.url()).await;
    let keys = keys(50);
    server.pause();
    let start = Instant::now();
    for written in join_all(keys.iter().map(|key| store.store(key, entry("old")))).await {
        written.unwrap_err();
    }
    let many = keys.iter().map(|key| (format!("many:{key}"), entry("old"))).collect();
    store.store_many(many).await.unwrap_err();
    assert!(start.elapsed() < 2 * (BUDGET + SLACK), "{:?}", start.elapsed());
    let all = keys.iter().flat_map(|key| [key.clone(), format!("many:{key}")]).collect();
    let resume = async {
        tokio::time::sleep(Duration::from_millis(600).saturating_sub(start.elapsed())).await;
        server.resume();
    };
    // It overtakes what waits in another connection.
    let all = Selector::Keys(all);
    let (removed, ()) = tokio::join!(store.remove(&all), resume);
    removed.unwrap();
    // Whatever the server has in its buffers is done by then.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.command(&["DBSIZE"]).integer(), 0);
}

/// The connection breaks while the server has not yet read what came by it.
#[tokio::test(flavor = "multi_thread")]
async fn p5_03_a_write_on_a_connection_that_broke_is_not_done_after_its_error() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let store = store(&proxy.url(&server.url())).await;
    let sent = proxy.bytes_to_server();
    server.pause();
    let start = Instant::now();
    let cut = async {
        eventually(|| proxy.bytes_to_server() > sent).await;
        proxy.cut();
    };
    let (written, ()) = tokio::join!(store.store("k", entry("old")), cut);
    written.unwrap_err();
    assert!(start.elapsed() < BUDGET + SLACK, "{:?}", start.elapsed());
    server.resume();
    // It has read everything when it answers this, and waits for nothing more.
    assert_eq!(server.command(&["DEL", &name("k")]).integer(), 0);
    assert_eq!(server.command(&["EXISTS", &name("k")]).integer(), 0);
}

/// The same in one round trip with what is told of it.
#[tokio::test(flavor = "multi_thread")]
async fn p5_03_a_write_that_is_told_is_given_up_likewise() {
    let server = RedisServer::start();
    let store = store(&server.url()).await;
    let bus = RedisBus::new(store.connections().clone()).unwrap();
    let bus: &dyn InvalidationBus = &bus;
    store.store_and_tell("k", entry("first"), bus).await.unwrap();
    server.command(&["SCRIPT", "FLUSH"]);
    store.store_and_tell("k", entry("second"), bus).await.unwrap();
    assert_eq!(text(&store, "k").await.as_deref(), Some("second"));
    server.pause();
    store.store_and_tell("k", entry("late"), bus).await.unwrap_err();
    server.resume();
    well(&store).await;
    store.remove(&Selector::key("k")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(server.command(&["EXISTS", &name("k")]).integer(), 0);
}

/// A link of which a round trip takes most of the budget, and a clock that is known no better.
#[tokio::test(flavor = "multi_thread")]
async fn p5_05_a_slow_link_gets_its_writes_in() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    proxy.latency(Duration::from_millis(80));
    let url = proxy.url(&server.url());
    let config = config(&url).operation_timeout(Duration::from_millis(400));
    let store = RedisStore::new(Connections::connect(&config).await.unwrap());
    for round in 0..5 {
        store.store("k", entry(&round.to_string())).await.unwrap();
        let lease = store.lease(&format!("lease{round}"), LASTING).await.unwrap();
        assert!(matches!(lease, LeaseOutcome::Granted(_)), "{lease:?}");
    }
    assert_eq!(text(&store, "k").await.as_deref(), Some("4"));
}

/// What the lease requests had asked of a server that hangs.
#[tokio::test(flavor = "multi_thread")]
async fn p3_09_leases_that_were_given_up_are_not_held() {
    let server = RedisServer::start();
    let store = store(&server.url()).await;
    let keys = keys(50);
    let lease = Duration::from_secs(30);
    server.pause();
    let start = Instant::now();
    for leased in join_all(keys.iter().map(|key| store.lease(key, lease))).await {
        assert_eq!(leased.unwrap_err().kind(), ErrorKind::Timeout);
    }
    tokio::time::sleep(Duration::from_millis(400).saturating_sub(start.elapsed())).await;
    server.resume();
    // The bound of the promise.
    tokio::time::sleep(HEAL).await;
    for key in &keys {
        let leased = store.lease(key, lease).await.unwrap();
        assert!(matches!(leased, LeaseOutcome::Granted(_)), "{key}: {leased:?}");
    }
}

/// A lease whose giving back got lost.
#[tokio::test(flavor = "multi_thread")]
async fn p3_09_a_lease_whose_abandon_failed_is_given_back_later() {
    let server = RedisServer::start();
    let proxy = FaultProxy::start(&server.url());
    let (node, other) = (store(&proxy.url(&server.url())).await, store(&server.url()).await);
    let LeaseOutcome::Granted(lease) = node.lease("k", LASTING).await.unwrap() else {
        unreachable!("nobody else asks")
    };
    proxy.black_hole(Direction::Both);
    node.abandon(lease).await.unwrap_err();
    proxy.heal();
    let start = Instant::now();
    eventually_async(async || {
        let leased = other.lease("k", LASTING).await.unwrap();
        matches!(leased, LeaseOutcome::Granted(_))
    })
    .await;
    assert!(start.elapsed() < HEAL, "{:?}", start.elapsed());
}

//! P3: a node that waits for another's load is told when it is over, without a round trip of its
//! own.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod nodes;

use std::time::Duration;

use cache_core::{BusEvent, CacheStore, Entry, Lease, LeaseOutcome, Policy};
use cache_redis::RedisStore;
use cache_testkit::servers::{RedisCluster, RedisServer};
use cache_testkit::{drop_after, eventually};
use nodes::{Node, key, removed};

const LONG: Duration = Duration::from_secs(60);

fn entry() -> Entry {
    Entry::encode(&1_u64, &Policy::ttl(LONG)).unwrap()
}

fn filled(key: &str) -> BusEvent {
    BusEvent::Filled(vec![key.to_owned()])
}

async fn granted(store: &RedisStore, key: &str) -> Lease {
    match store.lease(key, LONG).await.unwrap() {
        LeaseOutcome::Granted(lease) => lease,
        other => unreachable!("{other:?}"),
    }
}

async fn waits(store: &RedisStore, key: &str) {
    let outcome = store.lease(key, LONG).await.unwrap();
    assert!(matches!(outcome, LeaseOutcome::Held { .. }), "{outcome:?}");
}

/// Two nodes with a store each.
async fn two(url: &str) -> ((Node, RedisStore), (Node, RedisStore)) {
    let (a, b) = (Node::start(url).await, Node::start(url).await);
    let store = |node: &Node| RedisStore::new(node.connections.clone()).with_bus(&node.bus);
    let (store_a, store_b) = (store(&a), store(&b));
    ((a, store_a), (b, store_b))
}

async fn who_waits_hears(url: &str) {
    let ((a, store_a), (mut b, store_b)) = two(url).await;
    let lease = granted(&store_a, "org:é").await;
    waits(&store_b, "org:é").await;
    assert!(store_a.fill(lease, entry()).await.unwrap());
    assert_eq!(b.hears().await, filled("org:é"));
    assert!(store_b.fetch("org:é").await.unwrap().is_some());

    let lease = granted(&store_a, "given up").await;
    waits(&store_b, "given up").await;
    store_a.abandon(lease).await.unwrap();
    assert_eq!(b.hears().await, filled("given up"));
    granted(&store_b, "given up").await;

    // Where nobody waits nothing is said; and nobody hears of his own.
    let lease = granted(&store_a, "alone").await;
    assert!(store_a.fill(lease, entry()).await.unwrap());
    a.tells(&key("last")).await;
    assert_eq!(b.hears().await, removed("last"));
    eventually(|| a.bus.stats().own == 3).await;
    assert_eq!(b.bus.stats().unreadable, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_hears_of_the_fill_and_of_a_load_given_up() {
    who_waits_hears(&RedisServer::start().url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_cluster_too() {
    let cluster = RedisCluster::start(3);
    who_waits_hears(&cluster.url()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn telling_costs_no_round_trip_and_without_a_bus_nothing_changes() {
    let server = RedisServer::start();
    let ((a, store_a), (mut b, store_b)) = two(&server.url()).await;
    // The server learns the scripts.
    let lease = granted(&store_a, "first").await;
    store_a.abandon(lease).await.unwrap();
    let lease = granted(&store_a, "first").await;
    store_a.fill(lease, entry()).await.unwrap();

    let lease = granted(&store_a, "k").await;
    waits(&store_b, "k").await;
    server.reset_commandstats();
    store_a.fill(lease, entry()).await.unwrap();
    assert_eq!(b.hears().await, filled("k"));
    let ran = server.commandstats();
    assert_eq!((ran["evalsha"], ran["publish"]), (1, 1), "{ran:?}");

    let silent = RedisStore::new(a.connections.clone());
    let lease = granted(&silent, "silent").await;
    server.reset_commandstats();
    waits(&silent, "silent").await;
    silent.fill(lease, entry()).await.unwrap();
    let ran = server.commandstats();
    assert!(!ran.contains_key("publish") && !ran.contains_key("setrange"), "{ran:?}");
}

/// A lease whose holder goes away in the middle of its fill is given back, and who waits is told.
#[tokio::test(flavor = "multi_thread")]
async fn p7_a_fill_that_is_dropped_wakes_who_waits() {
    let server = RedisServer::start();
    let ((_a, store_a), (mut b, store_b)) = two(&server.url()).await;
    let lease = granted(&store_a, "k").await;
    waits(&store_b, "k").await;
    assert!(drop_after(0, store_a.fill(lease.clone(), entry())).await.is_none());
    waits(&store_b, "k").await;
    server.pause();
    assert!(drop_after(1, store_a.fill(lease, entry())).await.is_none());
    server.resume();
    assert_eq!(b.hears().await, filled("k"));
}

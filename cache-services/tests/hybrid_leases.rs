//! What becomes of the lease of a load that an outage comes across: nobody waits for it once Redis is
//! well, although it would last for the whole of a `load_timeout` that nobody has set.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod nodes;

use std::time::{Duration, Instant};

use cache_core::{CacheServiceExt, Policy};
use cache_testkit::{Direction, FaultProxy, Gate, RedisServer, eventually};
use nodes::{LASTING, Node, Parts, config};
use tokio::time::timeout;

/// How soon all is well again once Redis is.
const HEAL: Duration = Duration::from_secs(2);

/// A node with the budgets of a service, over a link that can break.
async fn node(server: &RedisServer) -> (Node, FaultProxy) {
    let proxy = FaultProxy::start(&server.url());
    let parts = Parts::default();
    let node = Node::of(config(&proxy.url(&server.url())), parts, |tiers| tiers).await;
    (node.in_service().await, proxy)
}

/// Asks until the far tier is left alone.
async fn open_breaker(node: &Node) {
    while !node.stats().far_open {
        let _ = node.cache.get::<u64>("other").await;
    }
}

async fn loads_soon(node: &Node, key: &str, value: u64) {
    let began = Instant::now();
    let loaded = timeout(HEAL, node.try_load(key, LASTING, value)).await;
    let took = began.elapsed();
    assert_eq!(*loaded.unwrap_or_else(|_| unreachable!("not within {took:?}")).unwrap(), value);
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_a_load_that_ends_in_an_outage_leaves_its_key_free() {
    let server = RedisServer::start();
    let ((a, link), (b, _b_link)) = (node(&server).await, node(&server).await);
    for way in [Direction::Both, Direction::ToClient] {
        let gate = Gate::new();
        let loading = a.begin_load("k", Policy::ttl(LASTING), &gate, 1).await;
        link.black_hole(way);
        open_breaker(&a).await;
        gate.open();
        assert_eq!(loading.await.unwrap(), 1);
        link.heal();
        loads_soon(&b, "k", 2).await;
        eventually(|| a.serves()).await;
        b.cache.clear().await.unwrap();
    }
}

/// The fill is sent and not answered.
#[tokio::test(flavor = "multi_thread")]
async fn p3_a_fill_that_is_lost_leaves_its_key_free() {
    let server = RedisServer::start();
    let ((a, link), (b, _b_link)) = (node(&server).await, node(&server).await);
    let gate = Gate::new();
    let loading = a.begin_load("k", Policy::ttl(LASTING), &gate, 1).await;
    link.black_hole(Direction::ToServer);
    gate.open();
    assert_eq!(loading.await.unwrap(), 1);
    link.heal();
    loads_soon(&b, "k", 2).await;
}

/// Nothing is wrong with Redis: a node that has something to replay fills all the same.
#[tokio::test(flavor = "multi_thread")]
async fn p3_what_is_owed_of_other_keys_does_not_keep_a_load_from_its_fill() {
    let server = RedisServer::start();
    let ((a, _a_link), (b, _b_link)) = (node(&server).await, node(&server).await);
    let gate = Gate::new();
    let loading = a.begin_load("k", Policy::ttl(LASTING), &gate, 1).await;
    // A write whose caller goes away owes a removal.
    cache_testkit::drop_after(1, a.cache.set("gone", &1_u64, LASTING)).await;
    gate.open();
    assert_eq!(loading.await.unwrap(), 1);
    loads_soon(&b, "k", 1).await;
    eventually(|| a.stats().replays_pending == 0).await;
}

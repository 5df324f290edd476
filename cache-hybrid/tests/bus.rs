//! P2, bounded staleness, on a bus in this process. On Redis: `cache-services/tests/hybrid.rs`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxStream, BusEvent, CacheError, CacheServiceExt, Clock, ErrorKind, InvalidationBus, Selector,
};
use cache_quick::QuickStore;
use cache_testkit::{
    FlakyCache, Gate, LocalBusNode, Operation, eventually, let_others_run, poll_once,
};
use fleet::{Fleet, TTL};
use futures_util::future::join_all;

#[tokio::test]
async fn p2_01_set_on_one_node_is_seen_by_the_other() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    for value in 0..100 {
        a.set("k", value).await;
        // Writes that follow closely are told together.
        fleet.clock.advance(Duration::from_millis(1));
        let told = a.cache.tiers().tier_stats().told;
        eventually(|| a.cache.tiers().tier_stats().told >= told && fleet.hub.is_idle()).await;
        let_others_run().await;
        assert_eq!(b.get("k").await, Some(value));
        assert_eq!(b.holds("k"), Some(value));
    }
}

#[tokio::test]
async fn p2_02_own_messages_are_not_heard() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("k", 1).await;
    let_others_run().await;
    assert_eq!(a.cache.tiers().tier_stats().heard, 0);
    assert_eq!(a.holds("k"), Some(1), "its own write made it drop what it wrote");
}

#[tokio::test]
async fn p2_03_a_removal_that_was_missed_is_not_served_after() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    let_others_run().await;
    assert_eq!(b.get("k").await, Some(1));
    fleet.hub.disconnect_subscribers(&b.end);
    eventually(|| !b.serves()).await;
    a.set("k", 2).await;
    assert_eq!(b.holds("k"), Some(1), "else there is nothing to test");
    assert_eq!(b.get("k").await, Some(2), "the near tier is bypassed");
    assert_eq!(b.load("k", 9).await.unwrap(), 2);
    fleet.hub.reconnect(&b.end);
    eventually(|| b.serves()).await;
    assert_eq!(b.holds("k"), None, "it is emptied before it is served");
    assert_eq!(b.get("k").await, Some(2));
    assert_eq!(b.holds("k"), Some(2));
}

/// A bus says so too when it has missed a message: it is up as before, but nothing that is held counts.
#[tokio::test]
async fn p2_03_what_the_bus_has_missed_is_no_loss_of_it() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    let_others_run().await;
    assert_eq!(b.get("k").await, Some(1));
    fleet.hub.disconnect_subscribers(&b.end);
    fleet.hub.reconnect(&b.end);
    eventually(|| b.holds("k").is_none()).await;
    assert_eq!((b.serves(), b.cache.tiers().tier_stats().bus_losses), (true, 0));
    fleet.hub.disconnect_subscribers(&b.end);
    eventually(|| !b.serves()).await;
    assert_eq!(b.cache.tiers().tier_stats().bus_losses, 1);
}

#[tokio::test]
async fn p2_03_a_load_from_before_the_loss_is_not_joined_after_it() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    let gate = Gate::new();
    let old = b.begin_load("k", TTL.into(), 1, &gate).await;
    fleet.hub.disconnect_subscribers(&b.end);
    eventually(|| !b.serves()).await;
    a.cache.invalidate("k").await.unwrap();
    fleet.hub.reconnect(&b.end);
    eventually(|| b.serves()).await;
    assert_eq!(b.load("k", 2).await.unwrap(), 2);
    gate.open();
    assert_eq!(old.await.unwrap(), 1);
    assert_eq!(b.get("k").await, Some(2));
}

#[tokio::test]
async fn with_a_grace_it_is_served_for_so_long_and_no_longer() {
    let fleet = Fleet::new();
    let grace = Duration::from_secs(5);
    let b = fleet.built(|tiers| tiers.grace(grace));
    eventually(|| b.serves()).await;
    b.set("k", 1).await;
    fleet.hub.disconnect(&b.end);
    eventually(|| b.cache.tiers().tier_stats().bus_losses == 1).await;
    fleet.far_is_down();
    fleet.clock.advance(grace - Duration::from_millis(1));
    assert_eq!(b.get("k").await, Some(1));
    // What is loaded is kept, too.
    assert_eq!(b.load("new", 2).await.unwrap(), 2);
    assert_eq!(b.get("new").await, Some(2));
    fleet.clock.advance(Duration::from_millis(1));
    assert!(b.cache.get::<u64>("k").await.is_err());
    assert_eq!(b.load("new", 3).await.unwrap(), 3);
}

#[tokio::test]
async fn p2_05_nothing_is_kept_before_the_subscription_is_confirmed() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("k", 1).await;
    let b = fleet.built(|tiers| tiers);
    fleet.hub.disconnect_subscribers(&b.end);
    let_others_run().await;
    assert_eq!(b.get("k").await, Some(1));
    assert_eq!(b.load("new", 1).await.unwrap(), 1);
    b.set("own", 1).await;
    assert_eq!((b.holds("k"), b.holds("new"), b.holds("own")), (None, None, None));
    fleet.hub.reconnect(&b.end);
    eventually(|| b.serves()).await;
    assert_eq!(b.get("k").await, Some(1));
    assert_eq!(b.holds("k"), Some(1));
}

#[tokio::test]
async fn p2_06_a_storm_of_writes_is_not_a_storm_of_reads() {
    let fleet = Fleet::new();
    let writer = fleet.node().await;
    let mut nodes = Vec::new();
    for _ in 0..10 {
        nodes.push(fleet.node().await);
    }
    // A hundred times ten writers at once, a millisecond apart.
    for round in 0..100 {
        let writes = (0..10).map(|writer_number| writer.set("k", round * 10 + writer_number));
        let mut writes = pin!(join_all(writes));
        let mut waits = poll_once(&mut writes).is_pending();
        assert!(waits, "not all can be told at once");
        for _ in 0..3 {
            let_others_run().await;
            for node in &nodes {
                let _ = node.get("k").await;
            }
            // A busy machine may take longer than they wait by a clock that nobody moves.
            waits = waits && poll_once(&mut writes).is_pending();
        }
        fleet.clock.advance(Duration::from_millis(1));
        if waits {
            writes.await;
        }
    }
    fleet.clock.advance(Duration::from_millis(1));
    let_others_run().await;
    for node in &nodes {
        assert_eq!(node.get("k").await, writer.get("k").await);
        let reads = node.cache.tiers().tier_stats().far_reads;
        assert!(reads <= 110, "1,000 writes in 100 ms cost a node {reads} far reads");
    }
    assert!(fleet.hub.published() <= 110, "{} messages", fleet.hub.published());
}

/// A write that is told together with others returns once it is told: a process may be killed then.
#[tokio::test]
async fn p2_01_a_write_that_has_returned_has_been_told() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    for value in 1..=3 {
        let mut writing = pin!(a.set("k", value));
        let at_once = poll_until_idle(&mut writing).await;
        assert_eq!(
            at_once,
            value == 1,
            "the first is told at once, and no other in this millisecond"
        );
        if !at_once {
            assert_eq!(b.get("k").await, Some(value - 1));
            fleet.clock.advance(Duration::from_millis(1));
            writing.await;
        }
        let_others_run().await;
        assert_eq!(b.get("k").await, Some(value));
    }
}

/// Whether it ends without anybody moving the clock.
async fn poll_until_idle(future: &mut (impl Future<Output = ()> + Unpin)) -> bool {
    for _ in 0..10 {
        if poll_once(future).is_ready() {
            return true;
        }
        let_others_run().await;
    }
    false
}

/// A call's time limit says nothing of the millisecond that a write waits for others.
#[tokio::test]
async fn p2_01_a_write_waits_for_its_telling_however_short_calls_are() {
    let fleet = Fleet::new();
    let a = fleet.built(|tiers| tiers.far_timeout(Duration::from_millis(1)));
    let b = fleet.node().await;
    a.set("k", 1).await;
    let mut writing = pin!(a.set("k", 2));
    assert!(!poll_until_idle(&mut writing).await);
    fleet.clock.advance(Duration::from_millis(1));
    writing.await;
    let_others_run().await;
    assert_eq!(b.get("k").await, Some(2));
}

/// Whatever is owed besides, and however little of it is kept.
#[tokio::test]
async fn p2_01_writes_that_are_told_together_are_all_told() {
    let fleet = Fleet::new();
    let a = fleet.built(|tiers| tiers.replay_capacity(1));
    eventually(|| a.serves()).await;
    let b = fleet.node().await;
    let (first, second) = ([("x", 1_u64), ("y", 1)], [("x", 2_u64), ("y", 2)]);
    a.cache.set_many(&first, TTL).await.unwrap();
    let_others_run().await;
    assert_eq!((b.get("x").await, b.get("y").await), (Some(1), Some(1)));
    let mut writing = pin!(a.cache.set_many(&second, TTL));
    assert!(poll_once(&mut writing).is_pending(), "they are told of in a millisecond");
    let_others_run().await;
    fleet.clock.advance(Duration::from_millis(1));
    writing.await.unwrap();
    let_others_run().await;
    assert_eq!((b.get("x").await, b.get("y").await), (Some(2), Some(2)));
    assert_eq!(a.cache.tiers().tier_stats().replays_dropped, 0);
}

/// A bus that is slow, and for some keys says nothing at all.
#[derive(Debug)]
struct Slow {
    bus: Arc<LocalBusNode>,
    clock: Clock,
    takes: Duration,
    never: &'static str,
}

#[async_trait]
impl InvalidationBus for Slow {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        if what.matches(self.never) {
            std::future::pending::<()>().await;
        }
        self.clock.sleep(self.takes).await;
        self.bus.publish(what).await
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        self.bus.subscribe()
    }
}

impl Fleet {
    async fn slow(&self, takes: Duration, never: &'static str) -> fleet::Node {
        let clock = self.clock.clock();
        let bus = Slow { bus: self.hub.node(), clock, takes, never };
        let node = self.built(|tiers| tiers.bus(Arc::new(bus)));
        eventually(|| node.serves()).await;
        node
    }

    async fn advance(&self, millis: u64) {
        for _ in 0..millis {
            let_others_run().await;
            self.clock.advance(Duration::from_millis(1));
        }
        let_others_run().await;
    }
}

/// The last one waits for the message that is under way and for its own.
#[tokio::test]
async fn p2_06_hot_writes_over_a_slow_link_are_told() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.slow(Duration::from_millis(160), "").await, fleet.node().await);
    let mut writes = Vec::new();
    for (value, pause) in [(1_u64, 0), (2, 1), (3, 1)] {
        let cache = a.cache.clone();
        writes.push(tokio::spawn(async move { cache.set("k", &value, TTL).await }));
        fleet.advance(pause).await;
    }
    fleet.advance(2 * 160).await;
    for write in writes {
        assert!(write.is_finished());
        write.await.unwrap().unwrap();
    }
    assert_eq!(b.get("k").await, Some(3));
}

#[tokio::test]
async fn p2_06_what_is_told_at_once_and_what_is_told_together_wait_for_no_other() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.slow(Duration::ZERO, "never").await, fleet.node().await);
    a.set("k", 1).await;
    let_others_run().await;
    assert_eq!(b.get("k").await, Some(1));
    let cache = a.cache.clone();
    let items = [("k", 2_u64), ("never", 2)];
    let write = tokio::spawn(async move { cache.set_many(&items, TTL).await });
    fleet.advance(2).await;
    assert_eq!(b.get("k").await, Some(2));
    fleet.advance(298).await;
    assert!(write.is_finished(), "it waits for one after the other");
    assert_eq!(write.await.unwrap().unwrap_err().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn writes_of_different_keys_are_told_at_once() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    for key in ["x", "y"] {
        a.set(key, 1).await;
        let_others_run().await;
        assert_eq!(b.get(key).await, Some(1));
    }
    fleet.clock.advance(Duration::from_millis(1));
    for key in ["x", "y"] {
        a.set(key, 2).await;
        let_others_run().await;
        assert_eq!(b.get(key).await, Some(2));
    }
}

#[tokio::test]
async fn p2_03_a_near_tier_that_cannot_be_emptied_is_not_served() {
    let fleet = Fleet::new();
    let near = FlakyCache::new(QuickStore::builder().clock(&fleet.clock).build_store());
    let faults = near.faults();
    faults.when(Operation::is_remove).fail(ErrorKind::Backend);
    let b = fleet.built(|tiers| tiers.near(Arc::new(near)).grace(TTL));
    eventually(|| fleet.hub.is_idle()).await;
    let_others_run().await;
    assert!(!b.serves(), "it was never emptied");
    faults.heal();
    fleet.hub.disconnect_subscribers(&b.end);
    fleet.hub.reconnect(&b.end);
    eventually(|| b.serves()).await;
    // Nor after a removal that it did not carry out, not even for the grace.
    let a = fleet.node().await;
    faults.when(Operation::is_remove).fail(ErrorKind::Backend);
    a.cache.invalidate("k").await.unwrap();
    eventually(|| !b.serves()).await;
}

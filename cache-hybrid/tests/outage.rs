//! P5 with the far tier, or the bus, in trouble. With a real Redis: `cache-services/tests`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxStream, BusEvent, CacheError, CacheServiceExt, CacheStore, Entry, ErrorKind,
    InvalidationBus, LeaseOutcome, Policy, Selector,
};
use cache_hybrid::HybridCache;
use cache_testkit::{Gate, Operation, eventually, let_others_run};
use fleet::{Fleet, Limited, TTL};
use futures_util::stream::{self, StreamExt};

#[tokio::test]
async fn p5_near_tier_and_loaders_go_on() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("held", 1).await;
    fleet.far_is_down();
    for _ in 0..20 {
        assert_eq!(a.get("held").await, Some(1));
        let error = a.cache.get::<u64>("missing").await.unwrap_err();
        assert!(error.kind() == ErrorKind::Unavailable && error.is_retryable(), "{error}");
        // Loaded once: the bus is up, so the near tier may keep it.
        assert_eq!(a.load("loaded", 5).await.unwrap(), 5);
    }
    assert_eq!(a.cache.stats().loads, 1);
    assert!(a.cache.tiers().tier_stats().far_open);
}

#[tokio::test]
async fn p5_one_probe_at_a_time_and_it_heals() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    fleet.far_is_down();
    for _ in 0..100 {
        assert!(a.cache.get::<u64>("k").await.is_err());
    }
    assert_eq!(fleet.far_reads(), 5, "it is asked although it does not answer");
    fleet.clock.advance(Duration::from_millis(250));
    for _ in 0..100 {
        assert!(a.cache.get::<u64>("k").await.is_err());
    }
    assert_eq!(fleet.far_reads(), 6);
    fleet.faults.heal();
    fleet.clock.advance(Duration::from_millis(250));
    assert_eq!(a.get("k").await, None);
    a.set("k", 1).await;
    assert!(!a.cache.tiers().tier_stats().far_open);
}

#[tokio::test]
async fn p5_a_far_tier_that_hangs_is_waited_for_within_the_budget() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    let gate = fleet.faults.when(|_| true).hold();
    let get = tokio::spawn({
        let cache = a.cache.clone();
        async move { cache.get::<u64>("k").await.unwrap_err() }
    });
    gate.reached().await;
    eventually(|| fleet.clock.sleepers() > 0).await;
    fleet.clock.advance(Duration::from_millis(300));
    assert_eq!(get.await.unwrap().kind(), ErrorKind::Timeout);
}

#[tokio::test]
async fn p5_07_a_failed_invalidation_is_replayed_before_the_far_tier_is_read() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.cache.set_many(&[("k", 1_u64), ("org:1", 1), ("other", 1)], TTL).await.unwrap();
    let_others_run().await;
    assert_eq!(b.get("k").await, Some(1));
    fleet.far_is_down();
    assert!(a.cache.invalidate("k").await.is_err());
    assert!(a.cache.invalidate_prefix("org:").await.is_err());
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 2);
    assert_eq!((a.holds("k"), a.holds("org:1"), a.holds("other")), (None, None, Some(1)));
    fleet.faults.heal();
    // Nobody has waited for the next attempt: the read itself sees to it.
    assert_eq!(a.get("k").await, None, "the far tier was read before it was told");
    assert_eq!(a.get("org:1").await, None);
    assert_eq!(a.get("other").await, Some(1));
    fleet.retry().await;
    assert_eq!(b.get("k").await, None, "the other node was not told");
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

#[tokio::test]
async fn p5_a_failed_write_leaves_no_old_value_behind() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    let stores = |operation: &Operation| {
        matches!(operation, Operation::Store { .. } | Operation::StoreMany { .. })
    };
    fleet.faults.when(stores).fail(ErrorKind::Timeout);
    assert!(a.cache.set("k", &2_u64, TTL).await.is_err());
    assert!(a.cache.set_many(&[("k", 2_u64)], TTL).await.is_err());
    assert_eq!(a.get("k").await, None, "the far tier has the old value");
    fleet.retry().await;
    assert_eq!(b.get("k").await, None);
}

#[tokio::test]
async fn p5_without_traffic_it_is_replayed_as_well() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("k", 1).await;
    fleet.far_is_down();
    for _ in 0..10 {
        assert!(a.cache.invalidate("k").await.is_err());
    }
    fleet.faults.heal();
    fleet.retry().await;
    assert!(fleet.far.fetch("k").await.unwrap().is_none());
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

#[tokio::test]
async fn p5_a_bus_that_fails_keeps_nobody_from_the_far_tier() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    let_others_run().await;
    assert_eq!(b.get("k").await, Some(1));
    fleet.hub.disconnect(&a.end);
    let_others_run().await;
    assert!(a.cache.invalidate("k").await.is_err(), "nobody was told");
    assert_eq!(a.get("k").await, None);
    assert!(a.cache.set("own", &1_u64, TTL).await.is_err(), "nobody was told");
    assert_eq!(a.get("own").await, Some(1));
    assert_eq!(b.holds("k"), Some(1), "else there is nothing to test");
    fleet.hub.reconnect(&a.end);
    fleet.retry().await;
    assert_eq!(b.holds("k"), None, "it was never told");
}

#[tokio::test]
async fn p5_what_is_owed_of_one_key_keeps_nobody_from_the_others() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("k", 1).await;
    let removes_k = |operation: &Operation| operation.is_remove() && operation.concerns("k");
    fleet.faults.when(removes_k).fail(ErrorKind::Unavailable);
    assert!(a.cache.invalidate("k").await.is_err());
    for value in 0..20 {
        a.set("other", value).await;
        assert_eq!(a.get("other").await, Some(value));
        assert_eq!(a.get("absent").await, None);
        assert_eq!(a.cache.get::<u64>("k").await.unwrap_err().kind(), ErrorKind::Unavailable);
    }
    fleet.faults.heal();
    fleet.retry().await;
    assert_eq!(a.get("k").await, None);
}

#[tokio::test]
async fn p5_what_is_owed_of_one_key_keeps_nobody_from_the_others_of_a_call() {
    for prefix in [false, true] {
        let fleet = Fleet::new();
        let (a, b) = (fleet.node().await, fleet.node().await);
        a.cache.set_many(&[("org:k", 1_u64), ("other", 1)], TTL).await.unwrap();
        let removes = |operation: &Operation| operation.is_remove() && operation.concerns("org:k");
        fleet.faults.when(removes).fail(ErrorKind::Unavailable);
        let removed = match prefix {
            false => a.cache.invalidate("org:k").await,
            true => a.cache.invalidate_prefix("org:").await,
        };
        assert!(removed.is_err());
        a.near.remove(&Selector::All).await.unwrap();
        let found = a.cache.get_many::<u64>(&["org:k", "other", "absent"]).await.unwrap();
        assert_eq!(found, [None, Some(1), None], "what is to be removed is absent");
        a.near.remove(&Selector::All).await.unwrap();
        assert_eq!(a.get("other").await, Some(1));
        let found = a.cache.get_many::<u64>(&["other", "org:k"]).await.unwrap();
        assert_eq!(found, [Some(1), None], "nothing else is asked of the far tier");
        a.near.remove(&Selector::All).await.unwrap();
        fleet.faults.when(Operation::is_read).once().fail(ErrorKind::Backend);
        let error = a.cache.get_many::<u64>(&["org:k", "other", "absent"]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Backend);

        fleet.clock.advance(Duration::from_millis(1));
        let written = a.cache.set_many(&[("org:k", 2_u64), ("other", 2)], TTL).await;
        assert_eq!(written.unwrap_err().kind(), ErrorKind::Unavailable);
        assert_eq!((a.holds("org:k"), a.holds("other")), (None, Some(2)));
        let_others_run().await;
        assert_eq!(b.get("other").await, Some(2), "written and told");
        let load = |keys: Vec<String>| async move {
            let loaded = keys.into_iter().map(|key| (key, 3_u64));
            Ok::<_, Infallible>(loaded.collect::<HashMap<_, _>>())
        };
        let loaded = a.cache.get_or_load_many(&["org:k", "other"], TTL, load).await.unwrap();
        assert_eq!(loaded, [Some(Arc::new(3)), Some(Arc::new(2))]);
        fleet.faults.heal();
        fleet.retry().await;
        assert!(fleet.far.fetch("org:k").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn p5_a_key_whose_removal_fails_keeps_none_of_its_batch_owed() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    let keys: Vec<_> = (0..9).map(|id| format!("k{id}")).collect();
    fleet.faults.when(Operation::is_remove).fail(ErrorKind::Unavailable);
    for key in &keys {
        assert!(a.cache.invalidate(key).await.is_err());
        a.set("other", 1).await;
    }
    fleet.faults.heal();
    let removes_one = |operation: &Operation| operation.is_remove() && operation.concerns("k4");
    fleet.faults.when(removes_one).fail(ErrorKind::Unavailable);
    assert_eq!(a.get("k0").await, None);
    for key in keys.iter().filter(|key| *key != "k4") {
        assert_eq!(a.get(key).await, None);
    }
    assert!(a.cache.get::<u64>("k4").await.is_err());
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 1);
    fleet.faults.heal();
    fleet.retry().await;
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

fn sweeps(operation: &Operation) -> bool {
    matches!(operation, Operation::Remove { what: Selector::Prefix(_) })
}

/// A fleet with a node whose removal of a prefix has failed, and is being replayed until the gate is
/// opened.
async fn a_sweep_under_way() -> (Fleet, fleet::Node, Gate) {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    fleet.far_is_down();
    assert!(a.cache.invalidate_prefix("org:").await.is_err());
    fleet.faults.heal();
    fleet.faults.forget_operations();
    let gate = fleet.faults.when(sweeps).hold();
    let_others_run().await;
    fleet.clock.advance(Duration::from_millis(250));
    gate.reached().await;
    (fleet, a, gate)
}

#[tokio::test]
async fn p5_07_who_wants_a_key_waits_for_no_sweep_of_others() {
    let (fleet, a, gate) = a_sweep_under_way().await;
    a.set("k", 1).await;
    let removes_k = |operation: &Operation| operation.is_remove() && operation.concerns("k");
    fleet.faults.when(removes_k).once().fail(ErrorKind::Unavailable);
    assert!(a.cache.invalidate("k").await.is_err());
    assert_eq!(a.get("k").await, None);
    a.set("k", 2).await;
    assert_eq!(a.get("k").await, Some(2));
    assert!(a.cache.get::<u64>("org:1").await.is_err(), "that is what is being looked for");
    gate.open();
    fleet.retry().await;
    assert_eq!(a.get("org:1").await, None);
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

#[tokio::test]
async fn p5_07_a_key_that_is_missed_during_a_sweep_does_not_begin_it_anew() {
    let (fleet, a, gate) = a_sweep_under_way().await;
    let removes_one = |operation: &Operation| matches!(operation, Operation::Remove { what: Selector::Keys(keys) } if keys == &["org:1"]);
    fleet.faults.when(removes_one).once().fail(ErrorKind::Unavailable);
    assert!(a.cache.invalidate("org:1").await.is_err());
    gate.open();
    fleet.retry().await;
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
    assert_eq!((fleet.faults.count(sweeps), fleet.faults.count(removes_one)), (1, 2));
}

#[tokio::test]
async fn p7_a_sweep_ends_with_the_store() {
    let (fleet, a, gate) = a_sweep_under_way().await;
    let near = Arc::downgrade(&a.near);
    drop(a);
    eventually(|| near.strong_count() == 0).await;
    gate.open();
    let_others_run().await;
    assert_eq!(fleet.faults.count(sweeps), 1);
}

/// A removal that is refused for good (say, the user may not SCAN) is its caller's `Err`.
#[tokio::test]
async fn a_removal_that_is_refused_for_good_is_not_replayed_for_ever() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("org:1", 1).await;
    fleet.faults.when(Operation::is_remove).fail(ErrorKind::Backend);
    assert_eq!(a.cache.invalidate_prefix("org:").await.unwrap_err().kind(), ErrorKind::Backend);
    fleet.retry().await;
    assert_eq!(a.get("org:1").await, Some(1));
    let stats = a.cache.tiers().tier_stats();
    assert_eq!((stats.replays_pending, stats.replays_dropped), (0, 1));
}

#[tokio::test]
async fn p5_writes_during_a_replay_go_on_and_owe_nothing() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    fleet.far_is_down();
    assert!(a.cache.invalidate("k").await.is_err());
    fleet.faults.heal();
    let gate = fleet.faults.when(Operation::is_remove).once().hold();
    let reading = tokio::spawn({
        let cache = a.cache.clone();
        async move { cache.get::<u64>("k").await.unwrap() }
    });
    gate.reached().await;
    for key in 0..100 {
        a.set(&format!("new{key}"), 1).await;
    }
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 1);
    // Who wants that very key waits for the replay that is under way.
    let writing = tokio::spawn({
        let cache = a.cache.clone();
        async move { cache.set("k", &2_u64, TTL).await.unwrap() }
    });
    let_others_run().await;
    assert!(!writing.is_finished());
    gate.open();
    writing.await.unwrap();
    assert!(reading.await.unwrap().is_none_or(|value| value == 2));
    assert_eq!(fleet.far.fetch("k").await.unwrap().unwrap().decode::<u64>().unwrap(), 2);
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

#[tokio::test]
async fn a_write_that_was_not_sent_changes_nothing_and_owes_nothing() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("k", 1).await;
    fleet.far_is_down();
    while !a.cache.tiers().tier_stats().far_open {
        assert!(a.cache.get::<u64>("x").await.is_err());
    }
    assert!(a.cache.set("k", &2_u64, TTL).await.is_err());
    assert!(a.cache.set_many(&[("k", 2_u64)], TTL).await.is_err());
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
    fleet.faults.heal();
    fleet.clock.advance(Duration::from_millis(300));
    assert_eq!(a.get("k").await, Some(1));
}

/// It is done or not when its call ends: what is sent may be done for as long as the far tier says.
#[tokio::test]
async fn p1_a_write_is_sent_with_all_the_time_that_the_far_tier_may_take() {
    for (late, is_sent) in [(49, true), (50, false)] {
        let fleet = Fleet::over(|far| Limited(far, Duration::from_millis(250)));
        let a = fleet.node().await;
        fleet.far_is_down();
        assert!(a.cache.invalidate_many(&["k", "l"]).await.is_err());
        fleet.faults.heal();
        let stores = |operation: &Operation| {
            matches!(operation, Operation::Store { .. } | Operation::StoreMany { .. })
        };
        let gate = fleet.faults.when(Operation::is_remove).hold();
        let writing = [
            tokio::spawn({
                let cache = a.cache.clone();
                async move { cache.set("k", &1_u64, TTL).await }
            }),
            tokio::spawn({
                let cache = a.cache.clone();
                async move { cache.set_many(&[("l", 1_u64)], TTL).await }
            }),
        ];
        gate.reached().await;
        let_others_run().await;
        fleet.clock.advance(Duration::from_millis(late));
        let_others_run().await;
        gate.open();
        for write in writing {
            let written = write.await.unwrap();
            assert!(is_sent || written.unwrap_err().kind() == ErrorKind::Unavailable);
        }
        assert_eq!(fleet.faults.count(stores), if is_sent { 2 } else { 0 });
        fleet.retry().await;
        assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
    }
}

#[tokio::test]
async fn a_call_is_given_the_time_that_the_far_tier_may_take() {
    let fleet = Fleet::over(|far| Limited(far, Duration::from_millis(250)));
    let within = |millis| {
        let tiers = HybridCache::builder().far(fleet.far.clone());
        tiers.far_timeout(Duration::from_millis(millis)).build()
    };
    let error = within(249).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("250ms"), "{error}");
    assert!(within(250).is_ok());
    let patient = Fleet::over(|far| Limited(far, TTL));
    assert!(HybridCache::builder().far(patient.far).build().is_ok());
}

/// A bus as Redis has one, which the far tier of these tests does not know, and which is lost.
#[derive(Debug)]
struct Foreign(AtomicBool);

#[async_trait]
impl InvalidationBus for Foreign {
    async fn publish(&self, _what: &Selector) -> Result<(), CacheError> {
        match self.0.load(Ordering::Relaxed) {
            true => Err(CacheError::new(ErrorKind::Unavailable, "it is lost")),
            false => Ok(()),
        }
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        let connected = stream::once(async { BusEvent::Connected });
        Box::pin(connected.chain(stream::pending()))
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

#[tokio::test]
async fn p5_a_bus_that_the_far_tier_does_not_know_fails_by_itself() {
    let fleet = Fleet::new();
    let bus = Arc::new(Foreign(AtomicBool::new(true)));
    let a = fleet.built(|tiers| tiers.bus(bus.clone()));
    eventually(|| a.serves()).await;
    for value in 1..=10 {
        assert!(a.cache.set("k", &value, TTL).await.is_err(), "nobody was told");
        assert!(a.cache.invalidate("other").await.is_err(), "nobody was told");
        fleet.clock.advance(Duration::from_millis(1));
    }
    assert_eq!(a.get("k").await, Some(10), "it was removed as nobody was told");
    let stats = a.cache.tiers().tier_stats();
    assert!(!stats.far_open && stats.bus_open, "{stats:?}");
    assert_eq!(stats.told, 5, "what the breaker refuses is not handed to the bus");
    bus.0.store(false, Ordering::Relaxed);
    fleet.retry().await;
    assert_eq!(fleet.far.fetch("k").await.unwrap().unwrap().decode::<u64>().unwrap(), 10);
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

/// Other nodes wait for the lease of a load whose fill was never sent: it is given back.
#[tokio::test]
async fn p3_a_lease_of_the_far_tier_that_was_not_used_is_given_back() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    let gate = Gate::new();
    let loading = a.begin_load("k", Policy::ttl(TTL), 1, &gate).await;
    fleet.far_is_down();
    while !a.cache.tiers().tier_stats().far_open {
        assert!(a.cache.get::<u64>("x").await.is_err());
    }
    gate.open();
    assert_eq!(loading.await.unwrap(), 1);
    let given_back = |operation: &Operation| matches!(operation, Operation::Abandon { .. });
    assert_eq!(fleet.faults.count(given_back), 0);
    fleet.faults.heal();
    fleet.retry().await;
    assert_eq!(fleet.faults.count(given_back), 1);
}

/// At shutdown there may be many, and the far tier slow.
#[tokio::test]
async fn p3_leases_are_given_back_within_a_second_and_those_that_are_not_are_kept() {
    for (leases, in_time) in [(20, true), (200, false)] {
        let fleet = Fleet::new();
        let a = fleet.node().await;
        let mut granted = Vec::new();
        for key in 0..leases {
            match a.cache.tiers().lease(&format!("k{key}"), TTL).await.unwrap() {
                LeaseOutcome::Granted(lease) => granted.push(lease),
                other => unreachable!("{other:?}"),
            }
        }
        fleet.far_is_down();
        while !a.cache.tiers().tier_stats().far_open {
            assert!(a.cache.get::<u64>("x").await.is_err());
        }
        for lease in granted {
            let entry = Entry::encode(&1_u64, &Policy::ttl(TTL)).unwrap();
            assert!(a.cache.tiers().fill(lease, entry).await.is_err());
        }
        fleet.faults.heal();
        fleet.clock.advance(Duration::from_millis(250));
        let gives_back = |operation: &Operation| matches!(operation, Operation::Abandon { .. });
        fleet.faults.when(gives_back).delay(Duration::from_millis(200));
        let tiers = a.cache.tiers().clone();
        let flush = tokio::spawn(async move { tiers.flush().await });
        for _ in 0..10 {
            let_others_run().await;
            fleet.clock.advance(Duration::from_millis(100));
        }
        let_others_run().await;
        assert!(flush.is_finished());
        let given_back = || {
            let operations = fleet.faults.operations().into_iter().filter(gives_back);
            let keys = operations.map(|operation| format!("{operation:?}"));
            keys.collect::<HashSet<_>>().len()
        };
        assert_eq!(given_back() == leases, in_time);
        fleet.faults.heal();
        fleet.retry().await;
        assert_eq!(given_back(), leases);
    }
}

/// A removal by hand is told to nobody: only the far tier's lease knows of it.
#[tokio::test]
async fn p1_06_a_fill_whose_outcome_is_unknown_is_not_kept_near() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    let gate = Gate::new();
    let loading = a.begin_load("k", Policy::ttl(TTL), 1, &gate).await;
    fleet.far.remove(&Selector::key("k")).await.unwrap();
    fleet.faults.when(Operation::is_fill).once().fail(ErrorKind::Timeout);
    gate.open();
    assert_eq!(loading.await.unwrap(), 1);
    assert_eq!(a.holds("k"), None);
}

#[tokio::test]
async fn replays_are_bounded_and_counted() {
    let fleet = Fleet::new();
    let a = fleet.built(|tiers| tiers.replay_capacity(10));
    fleet.far_is_down();
    for key in 0..25 {
        assert!(a.cache.invalidate(&format!("k{key}")).await.is_err());
    }
    let stats = a.cache.tiers().tier_stats();
    assert_eq!((stats.replays_pending, stats.replays_dropped), (10, 15));
}

#[tokio::test]
async fn p2_a_slow_replay_does_not_delay_what_the_bus_says() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    b.set("k", 1).await;
    let_others_run().await;
    assert_eq!(a.get("k").await, Some(1));
    fleet.far_is_down();
    assert!(a.cache.invalidate("other").await.is_err());
    fleet.faults.heal();
    let gate = fleet.faults.when(Operation::is_remove).hold();
    let_others_run().await;
    fleet.clock.advance(Duration::from_millis(250));
    gate.reached().await;
    b.set("k", 2).await;
    eventually(|| a.holds("k").is_none()).await;
    gate.open();
    fleet.retry().await;
    assert_eq!(a.get("k").await, Some(2));
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

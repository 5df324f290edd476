//! P5 with the far tier, or the bus, in trouble. With a real Redis: `cache-services/tests`.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;

use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxStream, BusEvent, CacheError, CacheServiceExt, CacheStats, CacheStore, Clock, Entry,
    ErrorKind, InvalidationBus, Lease, LeaseOutcome, Policy, Selector,
};
use cache_hybrid::HybridCache;
use cache_quick::QuickStore;
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

/// A far tier that is well and does one thing a millisecond.
#[derive(Debug)]
struct Queued {
    store: QuickStore,
    turn: tokio::sync::Mutex<()>,
}

impl Queued {
    async fn done<T>(&self, call: impl Future<Output = T>) -> T {
        let _turn = self.turn.lock().await;
        self.store.clock().sleep(Duration::from_millis(1)).await;
        call.await
    }
}

#[async_trait]
impl CacheStore for Queued {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.store.peek(key)
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.done(self.store.fetch(key)).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.done(self.store.fetch_many(keys)).await
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        self.done(self.store.store(key, entry)).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        self.done(self.store.store_many(entries)).await
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        self.done(self.store.remove(what)).await
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.done(self.store.lease(key, ttl)).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.done(self.store.fill(lease, entry)).await
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.done(self.store.abandon(lease)).await
    }

    fn stats(&self) -> CacheStats {
        self.store.stats()
    }

    fn clock(&self) -> Clock {
        self.store.clock()
    }
}

/// Each call has a budget of its own, which begins when it can be answered in time.
#[tokio::test]
async fn p5_a_load_of_many_keys_is_no_outage() {
    const KEYS: usize = 1_000;
    let fleet = Fleet::over(|store| Queued { store, turn: tokio::sync::Mutex::default() });
    let a = fleet.node().await;
    for fails in [false, true] {
        let keys: Vec<_> = (0..KEYS).map(|id| format!("{fails}:{id}")).collect();
        let loading = tokio::spawn({
            let (cache, keys) = (a.cache.clone(), keys.clone());
            async move {
                let load = move |keys: Vec<String>| async move {
                    let loaded = keys.into_iter().map(|key| (key, 1_u64));
                    let loaded = loaded.collect::<HashMap<_, _>>();
                    if fails { Err(std::io::Error::other("no database")) } else { Ok(loaded) }
                };
                let keys: Vec<_> = keys.iter().map(String::as_str).collect();
                cache.get_or_load_many(&keys, TTL, load).await
            }
        });
        let given_back = |operation: &Operation| matches!(operation, Operation::Abandon { .. });
        for _ in 0..4 * KEYS {
            let_others_run().await;
            // Who waits hears of a failure with the first.
            let all = !fails || fleet.faults.count(given_back) == KEYS;
            if all && loading.is_finished() {
                break;
            }
            fleet.clock.advance(Duration::from_millis(1));
        }
        assert_eq!(loading.await.unwrap().is_err(), fails);
        let stats = a.cache.tiers().tier_stats();
        assert!(!stats.far_open);
        assert_eq!(fleet.faults.count(given_back), if fails { KEYS } else { 0 });
        assert_eq!(fleet.far.stats().entries, KEYS as u64);
        assert_eq!(a.cache.stats().fills_refused, 0);
    }
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

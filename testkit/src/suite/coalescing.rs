//! One load (P3): callers of one key share it, whichever flavour they call; others do not wait.

use std::sync::Arc;

use cache_core::CacheServiceExt;

use super::fixture::{Loading, Started, callers, load_many, load_now, loaded, put};
use crate::{CacheHarness, Gate, Loads, eventually, eventually_async, poll_once};

/// P3 01: a thousand callers at once, one load, one value for all.
pub async fn p3_01_a_thousand_callers_one_load(h: &CacheHarness) {
    let (gate, loads, started) = (Gate::new(), Loads::new(), Started::default());
    let policy = h.lasting();
    let all = callers(h, 1_000, |cache, n| {
        let (policy, started) = (policy.clone(), started.clone());
        let load = loads.gated(&gate, n as u64);
        tokio::spawn(async move {
            started.one();
            cache.get_or_load("k", policy, load).await
        })
    })
    .await;
    gate.reached().await;
    eventually(|| started.count() == 1_000).await;
    gate.open();
    let mut values = Vec::new();
    for caller in all {
        values.push(loaded(caller).await);
    }
    assert_eq!(loads.count(), 1, "loaders called");
    assert!(values.iter().all(|value| *value == values[0]), "callers got different values");
    assert_eq!(h.get("k").await, Some(values[0]));
}

/// P3 02: callers of every flavour share one load, whichever began it.
pub async fn p3_02_mixed_flavours_coalesce(h: &CacheHarness) {
    for (leader, key) in ["a", "b", "c"].into_iter().enumerate() {
        let (gate, loads) = (Gate::new(), Loads::new());
        let cache = h.cache();
        let one = cache.get_or_load(key, h.lasting(), loads.gated(&gate, 7_u64));
        let opt = cache.get_or_load_opt(key, h.lasting(), loads.gated(&gate, Some(7_u64)));
        let asked = [key, key];
        let many = loads.many_gated(&gate, |_| Some(7_u64));
        let many = cache.get_or_load_many(&asked, h.lasting(), many);
        let (mut one, mut opt, mut many) = (Box::pin(one), Box::pin(opt), Box::pin(many));
        for turn in 0..3 {
            let pending = match (leader + turn) % 3 {
                0 => poll_once(&mut one).is_pending(),
                1 => poll_once(&mut opt).is_pending(),
                _ => poll_once(&mut many).is_pending(),
            };
            assert!(pending, "it did not wait for the loader");
            gate.reached().await;
        }
        gate.open();
        assert_eq!(*one.await.unwrap(), 7);
        assert_eq!(opt.await.unwrap().as_deref(), Some(&7));
        assert_eq!(many.await.unwrap(), [Some(Arc::new(7)), Some(Arc::new(7))]);
        assert_eq!(loads.count(), 1, "loaders called, the first by flavour {leader}");
    }
}

/// Loads of many keys that overlap load each key once, and only what is missing.
pub async fn p3_02_overlapping_loads_of_many_share(h: &CacheHarness) {
    put(h, "held", 1).await;
    let (gate, loads) = (Gate::new(), Loads::new());
    let (cache, policy) = (Arc::clone(h.cache()), h.lasting());
    let load = loads.many_gated(&gate, |key| {
        assert_ne!(key, "held", "a key that is there was loaded");
        Some(2)
    });
    let keys = ["held", "a", "b"];
    let first = tokio::spawn(async move { load_many(&cache, &keys, policy, load).await });
    gate.reached().await;
    let load = loads.many(|key| (key == "c").then_some(3));
    let mut second = Box::pin(load_many(h.cache(), &["a", "b", "c", "held"], h.lasting(), load));
    assert!(poll_once(&mut second).is_pending());
    gate.open();
    assert_eq!(first.await.unwrap(), [Some(1), Some(2), Some(2)]);
    assert_eq!(second.await, [Some(2), Some(2), Some(3), Some(1)]);
    assert_eq!(loads.count(), 2);
}

/// A caller that needs a value and joined a load that found none loads itself.
pub async fn p3_02_absent_is_no_answer_to_who_needs_a_value(h: &CacheHarness) {
    let gate = Gate::new();
    let (cache, policy, load) = (Arc::clone(h.cache()), h.lasting(), gate.loader(None::<u64>));
    let first = tokio::spawn(async move { cache.get_or_load_opt("k", policy, load).await });
    gate.reached().await;
    let load = Loads::new().returning(5_u64);
    let mut second = Box::pin(h.cache().get_or_load("k", h.lasting(), load));
    assert!(poll_once(&mut second).is_pending(), "it did not join the load");
    gate.open();
    assert_eq!(first.await.unwrap().unwrap(), None);
    assert_eq!(*second.await.unwrap(), 5);
    assert_eq!(h.get("k").await, Some(5_u64));
}

/// P3 03: the caller that began the load goes away: it goes on for the others, and for the cache
/// where there are none.
pub async fn p3_03_the_leader_is_dropped(h: &CacheHarness) {
    let (gate, loads) = (Gate::new(), Loads::new());
    let load = loads.gated(&gate, 1_u64);
    let mut leader = Box::pin(h.cache().get_or_load("k", h.lasting(), load));
    assert!(poll_once(&mut leader).is_pending());
    gate.reached().await;
    let load = loads.returning(2_u64);
    let mut waiter = Box::pin(h.cache().get_or_load("k", h.lasting(), load));
    assert!(poll_once(&mut waiter).is_pending(), "it did not join the load");
    drop(leader);
    gate.open();
    assert_eq!(*waiter.await.unwrap(), 1, "the load died with its caller");
    assert_eq!(loads.count(), 1);

    let gate = Gate::new();
    let mut leader = Box::pin(h.cache().get_or_load("alone", h.lasting(), gate.loader(3_u64)));
    assert!(poll_once(&mut leader).is_pending());
    gate.reached().await;
    drop(leader);
    gate.open();
    eventually_async(async || h.get("alone").await == Some(3_u64)).await;
}

/// P3 07: while one key is being loaded every other key can be loaded, read, written and removed.
pub async fn p3_07_distinct_keys_do_not_block_each_other(h: &CacheHarness) {
    let gate = Gate::new();
    let slow = begin(h, &gate).await;
    for n in 0..300 {
        let key = format!("k{n}");
        assert_eq!(load_now(h, &key, n).await, n);
    }
    put(h, "other", 1).await;
    assert_eq!(h.get("other").await, Some(1_u64));
    h.cache().invalidate("other").await.unwrap();
    h.cache().invalidate_prefix("oth").await.unwrap();
    assert_eq!(h.get::<u64>("slow").await, None, "a read waited for the load");
    assert!(!slow.is_finished());
    gate.open();
    assert_eq!(loaded(slow).await, 1);
}

async fn begin(h: &CacheHarness, gate: &Gate) -> Loading<u64> {
    super::fixture::begin_load(h, "slow", gate, 1).await
}

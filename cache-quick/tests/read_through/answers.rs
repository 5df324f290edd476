//! What callers get, and what is counted, where a load cannot be begun, joined or ended in order.

use std::task::Poll;

use cache_core::{
    CacheServiceExt, CacheStats, CacheStore, ErrorKind, ManualClock, Policy, ReadThrough,
};
use cache_quick::QuickStore;
use cache_testkit::{FlakyCache, Gate, Loads, Operation, eventually, let_others_run, poll_once};

use super::{HOUR, SECOND, cache};

/// Hits and misses since `before`.
fn counted(now: &CacheStats, before: &CacheStats) -> (u64, u64) {
    let hits = |stats: &CacheStats| stats.local_hits + stats.remote_hits;
    (hits(now) - hits(before), now.misses - before.misses)
}

#[test]
fn outside_a_runtime_a_stale_value_is_served() {
    let clock = ManualClock::new();
    let cache = cache(&clock);
    let stale = Policy::ttl(SECOND).stale_for(HOUR);
    assert!(poll_once(&mut Box::pin(cache.set("k", &1_u64, &stale))).is_ready());
    clock.advance(SECOND);
    let loads = Loads::new();
    let one = poll_once(&mut Box::pin(cache.get_or_load("k", &stale, loads.returning(2_u64))));
    assert!(matches!(one, Poll::Ready(Ok(value)) if *value == 1));
    let many = cache.get_or_load_many(&["k"], &stale, loads.many(|_| Some(2_u64)));
    let Poll::Ready(Ok(many)) = poll_once(&mut Box::pin(many)) else { panic!("it was refused") };
    assert_eq!(many[0].as_deref(), Some(&1));
    let many = cache.get_or_load_many(&["k", "l"], &stale, loads.many(|_| Some(2_u64)));
    let Poll::Ready(Err(error)) = poll_once(&mut Box::pin(many)) else { panic!("it was begun") };
    assert_eq!(error.kind(), ErrorKind::Config);
    assert_eq!(cache.engine().loads_in_flight(), 0);
}

/// A loader that is there at once needs no timers; one that is not hears what it needs.
#[test]
fn a_runtime_without_timers_is_named_as_the_fault() {
    let cache = cache_quick::QuickCacheService::default();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let at_once = cache.get_or_load("k", HOUR, Loads::new().returning(1_u64));
        assert_eq!(*at_once.await.unwrap(), 1);
        let later = || async {
            tokio::task::yield_now().await;
            Ok::<_, std::io::Error>(1_u64)
        };
        let error = cache.get_or_load("l", HOUR, later).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
        assert!(error.to_string().contains("enable_time"), "{error}");
    });
}

#[tokio::test]
async fn a_failed_load_of_many_counts_every_key() {
    let cache = cache(&ManualClock::new());
    cache.set("held", &1_u64, HOUR).await.unwrap();
    let before = cache.stats();
    let keys = ["a", "b", "held", "c"];
    let load = |_: Vec<String>| async { Err::<_, _>(std::io::Error::other("no database")) };
    let failed = cache.get_or_load_many::<u64, _, _, _>(&keys, HOUR, load).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::Load);
    assert_eq!(counted(&cache.stats(), &before), (1, 3));
}

#[tokio::test]
async fn a_key_that_is_absent_is_a_miss_to_who_needs_a_value() {
    for policy in [Policy::ttl(HOUR), Policy::ttl(HOUR).refresh_ahead(0.5)] {
        let cache = cache(&ManualClock::new());
        let none = cache.get_or_load_opt("k", &policy, Loads::new().returning(None::<u64>));
        assert_eq!(none.await.unwrap(), None);
        let before = cache.stats();
        let one = cache.get_or_load("k", &policy, Loads::new().returning(1_u64));
        assert_eq!(*one.await.unwrap(), 1);
        assert_eq!(counted(&cache.stats(), &before), (0, 1));
        assert_eq!(cache.stats().negative_hits, before.negative_hits);
    }
}

/// Who has no stale window joins the load of one who has, which is not tried as a refresh has failed.
#[tokio::test]
async fn who_has_no_stale_window_loads_although_a_refresh_failed_lately() {
    let clock = ManualClock::new();
    let store = FlakyCache::remote(QuickStore::builder().clock(&clock).build_store());
    let faults = store.faults();
    let cache = ReadThrough::builder(store).clock(&clock).build();
    let stale = Policy::ttl(60 * SECOND).stale_for(HOUR);
    cache.set("k", &1_u64, &stale).await.unwrap();
    clock.advance(60 * SECOND);
    let loads = Loads::new();
    let served = cache.get_or_load::<u64, _, _, _>("k", &stale, loads.failing("down"));
    assert_eq!(*served.await.unwrap(), 1);
    eventually(|| cache.loads_in_flight() == 0).await;

    let gate = faults.when(Operation::is_read).once().hold();
    let mut tolerant = Box::pin(cache.get_or_load("k", &stale, loads.returning(2_u64)));
    assert!(poll_once(&mut tolerant).is_pending());
    gate.reached().await;
    let mut strict = Box::pin(cache.get_or_load("k", 60 * SECOND, loads.returning(3_u64)));
    assert!(poll_once(&mut strict).is_pending());
    gate.open();
    assert_eq!(*tolerant.await.unwrap(), 1);
    assert_eq!(*strict.await.unwrap(), 3);
    assert_eq!(loads.count(), 2);
}

/// Not due at its birth, however much of its life `jitter` takes.
#[tokio::test]
async fn with_jitter_above_refresh_ahead_a_value_is_loaded_once() {
    for (jitter, ahead) in [(1.0, 0.1), (0.5, 0.3)] {
        let cache = cache(&ManualClock::new());
        let policy = Policy::ttl(100 * SECOND).jitter(jitter).refresh_ahead(ahead);
        let loads = Loads::new();
        for _ in 0..20 {
            let load = cache.get_or_load("k", &policy, loads.returning(1_u64));
            assert_eq!(*load.await.unwrap(), 1);
            let_others_run().await;
        }
        assert_eq!(loads.count(), 1, "{policy:?}");
    }
}

/// A removal by prefix has the loads thrown away that it selects, and no others.
#[tokio::test]
async fn a_load_is_stored_although_another_prefix_is_removed() {
    let cache = cache(&ManualClock::new());
    for (prefix, stored) in
        [("user:", Some(1_u64)), ("org:ab", Some(1)), ("org:", None), ("", None)]
    {
        let gate = Gate::new();
        let mut load = Box::pin(cache.get_or_load("org:a", HOUR, gate.loader(1_u64)));
        assert!(poll_once(&mut load).is_pending());
        gate.reached().await;
        cache.invalidate_prefix(prefix).await.unwrap();
        gate.open();
        assert_eq!(*load.await.unwrap(), 1);
        assert_eq!(cache.get("org:a").await.unwrap(), stored, "{prefix:?} was removed");
        cache.invalidate("org:a").await.unwrap();
    }
    assert_eq!(cache.stats().fills_refused, 2);
}

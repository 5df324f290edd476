//! What the near tier keeps, and that it never keeps what was overwritten or removed meanwhile.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore, Entry, LeaseOutcome, Policy, Selector};
use cache_hybrid::HybridCache;
use cache_quick::QuickCacheService;
use cache_testkit::{Gate, Operation, eventually, let_others_run, poll_once};
use fleet::{Fleet, TTL};

#[tokio::test]
async fn what_the_far_tier_has_is_read_once() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    let before = fleet.far_reads();
    for _ in 0..10 {
        assert_eq!((a.get("k").await, b.get("k").await), (Some(1), Some(1)));
    }
    assert_eq!(fleet.far_reads() - before, 1, "the writer holds it, the other reads it once");
    let stats = b.cache.stats();
    assert_eq!((stats.remote_hits, stats.local_hits), (1, 9));
}

#[tokio::test]
async fn many_keys_are_one_read_of_what_is_missing() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.cache.set_many(&[("a", 1_u64), ("b", 2), ("c", 3)], TTL).await.unwrap();
    assert_eq!(b.get("b").await, Some(2));
    let before = fleet.faults.operations().len();
    let found = b.cache.get_many::<u64>(&["a", "b", "c", "d"]).await.unwrap();
    assert_eq!(found, [Some(1), Some(2), Some(3), None]);
    let asked = &fleet.faults.operations()[before..];
    assert!(matches!(asked, [Operation::FetchMany { keys }] if *keys == ["a", "c", "d"]));
    assert_eq!((b.holds("a"), b.holds("c")), (Some(1), Some(3)));
}

#[tokio::test]
async fn p1_07_removed_between_far_read_and_near_store() {
    let fleet = Fleet::new();
    for by in 0..3 {
        let (a, b) = (fleet.node().await, fleet.node().await);
        a.set("org:k", 1).await;
        let_others_run().await;
        let gate = fleet.faults.when(Operation::is_read).after().once().hold();
        let reading = tokio::spawn({
            let cache = b.cache.clone();
            async move { cache.get::<u64>("org:k").await.unwrap() }
        });
        gate.reached().await;
        match by {
            0 => b.cache.invalidate("org:k").await.unwrap(),
            1 => a.cache.invalidate_prefix("org:").await.unwrap(),
            _ => a.set("org:k", 2).await,
        }
        // Writes that follow closely are told together.
        fleet.clock.advance(Duration::from_millis(1));
        eventually(|| b.cache.tiers().tier_stats().heard == if by == 0 { 1 } else { 2 }).await;
        let_others_run().await;
        gate.open();
        assert_eq!(reading.await.unwrap(), Some(1), "it may have read before");
        assert_eq!(b.holds("org:k"), None, "the near tier keeps what was removed");
        assert_eq!(b.get("org:k").await, (by == 2).then_some(2));
        b.cache.clear().await.unwrap();
    }
}

/// A read whose answer is late is not kept in the place of what was loaded meanwhile.
#[tokio::test]
async fn p1_07_a_late_read_does_not_replace_a_loaded_value() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    let_others_run().await;
    let gate = fleet.faults.when(Operation::is_read).after().once().hold();
    let reading = tokio::spawn({
        let cache = b.cache.clone();
        async move { cache.get::<u64>("k").await.unwrap() }
    });
    gate.reached().await;
    // By hand: nobody is told.
    fleet.far.remove(&Selector::key("k")).await.unwrap();
    assert_eq!(b.load("k", 2).await.unwrap(), 2);
    gate.open();
    assert_eq!(reading.await.unwrap(), Some(1), "it has read before");
    assert_eq!(b.get("k").await, Some(2));
    assert!(b.holds("k").is_none_or(|near| near == 2));
}

/// A load that began while nothing was kept near ends as a write does all the same.
#[tokio::test]
async fn p1_07_a_load_from_before_the_bus_was_up_leaves_no_older_value_near() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    fleet.hub.disconnect_subscribers(&b.end);
    eventually(|| !b.serves()).await;
    let refresh = b.cache.tiers().lease_to_replace("k", TTL).await.unwrap();
    let LeaseOutcome::Granted(lease) = refresh else { unreachable!("nobody else has it") };
    fleet.hub.reconnect(&b.end);
    eventually(|| b.serves()).await;
    assert_eq!(b.get("k").await, Some(1));
    let entry = Entry::encode(&2_u64, &Policy::ttl(TTL)).unwrap();
    assert!(b.cache.tiers().fill(lease, entry).await.unwrap());
    assert_eq!(b.get("k").await, Some(2), "near it was still what had been read before");
}

#[tokio::test]
async fn p1_13_overlapping_writes_leave_the_tiers_in_agreement() {
    // Each order in which two writes can begin, reach the far tier and end.
    for second_reaches_first in [false, true] {
        for second_ends_first in [false, true] {
            let fleet = Fleet::new();
            let a = fleet.node().await;
            let write = |value: u64| {
                let gate = fleet.faults.when(Operation::is_write).once().hold();
                let cache = a.cache.clone();
                (gate, tokio::spawn(async move { cache.set("k", &value, TTL).await.unwrap() }))
            };
            let first = write(1);
            first.0.reached().await;
            let second = write(2);
            second.0.reached().await;
            let mut writes = [first, second];
            if second_reaches_first {
                writes.reverse();
            }
            // Each at the far tier, and its reply on the way.
            let mut replies = Vec::new();
            for (gate, write) in writes {
                let reply = fleet.faults.when(Operation::is_write).after().once().hold();
                gate.open();
                reply.reached().await;
                replies.push((reply, write));
            }
            if second_reaches_first != second_ends_first {
                replies.reverse();
            }
            for (reply, write) in replies {
                reply.open();
                write.await.unwrap();
            }
            let far = fleet.far.fetch("k").await.unwrap().unwrap().decode::<u64>().unwrap();
            assert_eq!(far, if second_reaches_first { 1 } else { 2 });
            assert!(a.holds("k").is_none_or(|near| near == far), "{:?} and {far}", a.holds("k"));
            assert_eq!(a.get("k").await, Some(far));
        }
    }
}

/// Who looked before a write and asks after it has nothing to load.
#[tokio::test]
async fn a_lease_in_process_says_what_was_written_since_the_look() {
    let near = Arc::new(QuickCacheService::builder().build_store());
    let alone = HybridCache::builder().near(near.clone()).build().unwrap();
    assert!(alone.fetch("k").await.unwrap().is_none());
    alone.set("k", &1_u64, TTL).await.unwrap();
    let stores: [&dyn CacheStore; 2] = [&*near, &alone];
    for store in stores {
        let LeaseOutcome::Fresh(entry) = store.lease("k", TTL).await.unwrap() else {
            unreachable!("granted to load what is there");
        };
        assert_eq!(entry.decode::<u64>().unwrap(), 1);
        let refresh = store.lease_to_replace("k", TTL).await.unwrap();
        assert!(matches!(refresh, LeaseOutcome::Granted(_)));
    }
}

#[tokio::test]
async fn p1_14_a_far_read_that_begins_while_a_prefix_is_being_removed() {
    for after in [false, true] {
        let fleet = Fleet::new();
        let (a, b) = (fleet.node().await, fleet.node().await);
        a.set("org:k", 1).await;
        let removing = fleet.faults.when(Operation::is_remove).once();
        let gate = if after { removing.after().hold() } else { removing.hold() };
        let removal = tokio::spawn({
            let cache = a.cache.clone();
            async move { cache.invalidate_prefix("org:").await.unwrap() }
        });
        gate.reached().await;
        let found = (a.get("org:k").await, b.get("org:k").await);
        assert_eq!(found.0, if after { None } else { Some(1) });
        gate.open();
        removal.await.unwrap();
        assert_eq!(a.get("org:k").await, None, "old here after the removal returned");
        eventually(|| b.cache.tiers().tier_stats().heard >= 2).await;
        assert_eq!(b.get("org:k").await, None, "old there after it was told");
    }
}

#[tokio::test]
async fn p1_05_a_load_is_not_joined_once_the_bus_has_told_of_a_removal() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    let gate = Gate::new();
    let old = b.begin_load("k", Policy::ttl(TTL), 1, &gate).await;
    a.cache.invalidate("k").await.unwrap();
    eventually(|| b.cache.tiers().tier_stats().heard > 0).await;
    let_others_run().await;
    assert_eq!(b.load("k", 2).await.unwrap(), 2, "it joined the load from before");
    gate.open();
    assert_eq!(old.await.unwrap(), 1);
    assert_eq!((b.get("k").await, a.get("k").await), (Some(2), Some(2)));
}

#[tokio::test]
async fn p8_04_the_near_tier_holds_nothing_longer_than_the_far_one() {
    let fleet = Fleet::new();
    let (a, b) = (fleet.node().await, fleet.node().await);
    a.set("k", 1).await;
    fleet.clock.advance(TTL - Duration::from_secs(1));
    assert_eq!(b.get("k").await, Some(1));
    assert_eq!(b.holds("k"), Some(1));
    fleet.clock.advance(Duration::from_secs(1));
    assert_eq!((a.get("k").await, b.get("k").await), (None, None));
    assert_eq!((a.holds("k"), b.holds("k")), (None, None));
}

/// As a store without an engine, which would have said when it begins.
#[tokio::test]
async fn p8_04_what_names_no_ttl_lives_for_the_default_in_both_tiers() {
    let fleet = Fleet::new();
    let near = Arc::new(QuickCacheService::builder().clock(&fleet.clock).build());
    let tiers = HybridCache::builder().near(near.clone()).far(fleet.far.clone());
    let store = tiers.default_ttl(TTL).build_store().unwrap();
    let entry = || Entry::encode(&1_u64, &Policy::from(None)).unwrap();
    store.store("written", entry()).await.unwrap();
    store.store_many(vec![("among many".to_owned(), entry())]).await.unwrap();
    let LeaseOutcome::Granted(lease) = store.lease("filled", TTL).await.unwrap() else {
        unreachable!("nobody else has it")
    };
    assert!(store.fill(lease, entry()).await.unwrap());
    let keys = ["written", "among many", "filled"];
    let until = fleet.clock.now() + TTL;
    for key in keys {
        let far = fleet.far.fetch(key).await.unwrap();
        for held in [near.peek(key), far] {
            assert_eq!(held.unwrap().fresh_until(), until, "{key}");
        }
    }
}

#[tokio::test]
async fn the_near_tier_holds_nothing_longer_than_local_ttl() {
    let fleet = Fleet::new();
    let second = Duration::from_secs(1);
    let capped = fleet.built(|tiers| tiers.local_ttl(second * 2));
    eventually(|| capped.serves()).await;
    let far = || fleet.far_reads();
    capped.set("k", 1).await;
    let before = far();
    fleet.clock.advance(second * 2 - Duration::from_millis(1));
    assert_eq!((capped.get("k").await, far() - before), (Some(1), 0));
    fleet.clock.advance(Duration::from_millis(1));
    assert_eq!((capped.get("k").await, far() - before), (Some(1), 1), "held too long");
    assert_eq!((capped.get("k").await, far() - before), (Some(1), 1));
}

/// How often `node` calls its loader when it gets `k`, by itself or as one of many.
async fn loads_of(node: &fleet::Node, policy: &Policy, many: bool) -> usize {
    let called = Arc::new(AtomicUsize::new(0));
    let count = called.clone();
    if many {
        let load = move |keys: Vec<String>| async move {
            count.fetch_add(1, Relaxed);
            Ok::<_, Infallible>(keys.into_iter().map(|key| (key, 1_u64)).collect())
        };
        let found = node.cache.get_or_load_many(&["k"], policy, load).await.unwrap();
        assert_eq!(found, [Some(Arc::new(1_u64))]);
    } else {
        let load = move || async move {
            count.fetch_add(1, Relaxed);
            Ok::<_, Infallible>(1_u64)
        };
        assert_eq!(*node.cache.get_or_load("k", policy, load).await.unwrap(), 1);
    }
    let_others_run().await;
    called.load(Relaxed)
}

#[tokio::test]
async fn p3_a_value_that_another_node_has_refreshed_is_not_refreshed_again() {
    for many in [false, true] {
        let fleet = Fleet::new();
        let (a, b) = (fleet.node().await, fleet.node().await);
        let policy = Policy::ttl(TTL).refresh_ahead(0.5);
        assert_eq!(loads_of(&a, &policy, many).await, 1);
        assert_eq!(b.get("k").await, Some(1));
        fleet.clock.advance(TTL.mul_f64(0.6));
        assert_eq!(loads_of(&a, &policy, many).await, 1, "it is due");
        assert_eq!(loads_of(&b, &policy, many).await, 0, "the other node has done it");
        let before = fleet.far_reads();
        assert_eq!(loads_of(&b, &policy, many).await, 0);
        assert_eq!(fleet.far_reads(), before, "what was refreshed is kept near");
        // While the far tier is away every node is on its own.
        fleet.clock.advance(TTL.mul_f64(0.6));
        fleet.far_is_down();
        assert_eq!(loads_of(&b, &policy, many).await, 1);
    }
}

/// What ends early because it is held here for a short time says nothing about what is in the far tier.
#[tokio::test]
async fn p3_a_copy_that_is_held_for_a_short_time_is_not_due_all_the_time() {
    let second = Duration::from_secs(1);
    for by_policy in [false, true] {
        let fleet = Fleet::new();
        let near_ttl = if by_policy { TTL } else { second };
        let node = fleet.built(|tiers| tiers.local_ttl(near_ttl));
        eventually(|| node.serves()).await;
        let policy = Policy::ttl(TTL).refresh_ahead(0.5);
        let policy = if by_policy { policy.local_ttl(second) } else { policy };
        node.cache.set("k", &1_u64, &policy).await.unwrap();
        for _ in 0..10 {
            assert_eq!(loads_of(&node, &policy, false).await, 0, "{by_policy}");
        }
        if by_policy {
            continue; // The far tier of this fleet is in the process as well.
        }
        fleet.clock.advance(second);
        for _ in 0..10 {
            assert_eq!(loads_of(&node, &policy, false).await, 0);
        }
        // Once it is over here the far tier says whether it is due.
        fleet.clock.advance(TTL.mul_f64(0.6));
        assert_eq!(loads_of(&node, &policy, false).await, 1);
        assert_eq!(loads_of(&node, &policy, false).await, 0);
    }
}

#[tokio::test]
async fn a_write_that_the_far_tier_refuses_leaves_what_was_there() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("k", 1).await;
    fleet.faults.when(Operation::is_write).fail(cache_core::ErrorKind::TooLarge);
    assert!(a.cache.set("k", &2_u64, TTL).await.is_err());
    fleet.faults.heal();
    fleet.retry().await;
    assert_eq!(a.get("k").await, Some(1));
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

#[tokio::test]
async fn without_either_tier_there_is_an_error_that_says_so() {
    let error = HybridCache::builder().build().unwrap_err();
    assert_eq!(error.kind(), cache_core::ErrorKind::Config);
    assert!(error.to_string().contains("near tier, a far tier or both"), "{error}");
}

#[tokio::test]
async fn p7_a_write_or_removal_that_was_dropped_leaves_no_old_value() {
    for polls in 0..8 {
        let fleet = Fleet::new();
        let (a, b) = (fleet.node().await, fleet.node().await);
        fleet.faults.when(|_| true).yields(2);
        fleet.faults.when(|_| true).after().yields(2);
        a.set("k", 1).await;
        let entry = Entry::encode(&2_u64, &Policy::ttl(TTL)).unwrap();
        let dropped = cache_testkit::drop_after(polls, a.cache.store("k", entry)).await;
        let near = a.holds("k");
        assert!(dropped.is_some() || near.is_none() || (polls == 0 && near == Some(1)));
        assert_eq!(a.get("k").await.is_none(), dropped.is_none() && polls > 0);
        a.set("k", 3).await;
        let all = Selector::All;
        cache_testkit::drop_after(polls, a.cache.remove(&all)).await;
        a.set("k", 4).await;
        fleet.retry().await;
        assert!([None, Some(4)].contains(&a.get("k").await));
        assert!([None, Some(4)].contains(&b.get("k").await));
        assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
    }
}

/// Who reads once the near tier has been emptied finds the removal owed, and so not the old value.
#[tokio::test]
async fn p7_a_removal_that_was_dropped_is_owed_before_the_near_tier_is_emptied() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.set("k", 1).await;
    let tiers = a.cache.tiers().clone();
    let reads = Arc::new(AtomicUsize::new(0));
    // It is called in the middle of what ends the removal.
    a.cache.tiers().on_removal({
        let (tiers, reads) = (tiers.clone(), reads.clone());
        Arc::new(move |_| {
            reads.fetch_add(1, Relaxed);
            let _ = poll_once(&mut tiers.fetch("k"));
        })
    });
    let gate = fleet.faults.when(Operation::is_remove).once().hold();
    let k = Selector::key("k");
    let mut removal = tiers.remove(&k);
    assert!(poll_once(&mut removal).is_pending());
    gate.reached().await;
    drop(removal);
    assert_eq!(reads.load(Relaxed), 1);
    fleet.faults.heal();
    fleet.retry().await;
    assert_eq!(tiers.tier_stats().replays_pending, 0);
    assert_eq!((a.holds("k"), a.get("k").await), (None, None), "what was read meanwhile is kept");
}

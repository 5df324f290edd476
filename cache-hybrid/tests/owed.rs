//! P5: what the far tier or the bus has missed of invalidations is owed until they have it.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore, ErrorKind, Selector};
use cache_testkit::{Gate, Operation, eventually, eventually_async, let_others_run};
use fleet::{Fleet, TTL};

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

/// Beyond the bound the others are told that everything has changed, as they go on serving what they hold.
#[tokio::test]
async fn p2_more_than_is_kept_to_be_told_is_told_as_everything() {
    for at_once in [true, false] {
        let fleet = Fleet::new();
        let (a, b) = (fleet.built(|tiers| tiers.replay_capacity(10)), fleet.node().await);
        eventually(|| a.serves()).await;
        let keys: Vec<_> = (0..11).map(|id| format!("k{id}")).collect();
        for key in &keys {
            a.set(key, 1).await;
        }
        let_others_run().await;
        for key in &keys {
            assert_eq!(b.get(key).await, Some(1));
        }
        fleet.hub.disconnect(&a.end);
        if at_once {
            assert!(a.cache.tiers().remove(&Selector::Keys(keys.clone())).await.is_err());
        } else {
            for key in &keys {
                assert!(a.cache.invalidate(key).await.is_err());
            }
        }
        let stats = a.cache.tiers().tier_stats();
        assert_eq!((stats.replays_pending, stats.replays_dropped), (1, 0), "everything");
        fleet.hub.reconnect(&a.end);
        fleet.retry().await;
        for key in &keys {
            assert_eq!((b.holds(key), b.get(key).await), (None, None), "{key}");
        }
        assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
    }
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

/// At shutdown it is not begun again, and waited for as any other.
#[tokio::test]
async fn p5_a_flush_waits_for_a_sweep_that_others_have_begun() {
    for in_time in [true, false] {
        let (fleet, a, gate) = a_sweep_under_way().await;
        let tiers = a.cache.tiers().clone();
        let flush = tokio::spawn(async move { tiers.flush().await });
        let_others_run().await;
        assert!(!flush.is_finished(), "it has not waited");
        if in_time {
            fleet.clock.advance(Duration::from_millis(900));
            let_others_run().await;
            gate.open();
        } else {
            fleet.clock.advance(Duration::from_millis(1_000));
        }
        flush.await.unwrap();
        let pending = if in_time { 0 } else { 1 };
        assert_eq!(a.cache.tiers().tier_stats().replays_pending, pending);
        assert_eq!(fleet.faults.count(sweeps), 1);
    }
}

/// A runtime that a caller drives no more, or that stands still, keeps nothing from being replayed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn p5_a_replay_that_a_caller_on_another_runtime_has_begun_goes_on_without_it() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    a.cache.set_many(&[("j", 1_u64), ("k", 1)], TTL).await.unwrap();
    fleet.far_is_down();
    for key in ["j", "k"] {
        assert!(a.cache.invalidate(key).await.is_err());
    }
    fleet.faults.heal();
    let gate = fleet.faults.when(Operation::is_remove).once().hold();
    let cache = a.cache.clone();
    let other = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut read = std::pin::pin!(cache.get::<u64>("k"));
            tokio::select! {
                _ = &mut read => {}
                () = gate.reached() => {}
            }
        });
        (runtime, gate)
    });
    let (undriven, gate) = eventually_joined(other).await;
    gate.open();
    eventually_async(async || {
        fleet.retry().await;
        a.cache.tiers().tier_stats().replays_pending == 0
    })
    .await;
    assert_eq!((a.get("j").await, a.get("k").await), (None, None));
    undriven.shutdown_background();
}

async fn eventually_joined<T: Send + 'static>(thread: std::thread::JoinHandle<T>) -> T {
    eventually(|| thread.is_finished()).await;
    thread.join().unwrap()
}

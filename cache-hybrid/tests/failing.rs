//! P5: what is owed and goes on failing keeps nobody else waiting.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod fleet;

use std::time::Duration;

use cache_core::{CacheServiceExt, ErrorKind, Selector};
use cache_testkit::{Operation, let_others_run};
use fleet::Fleet;

/// The removal of one key fails and that of no other, as behind a proxy that refuses it.
#[tokio::test]
async fn p5_a_key_whose_removal_goes_on_failing_keeps_nobody_from_the_far_tier() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    fleet.far_is_down();
    assert!(a.cache.invalidate("k").await.is_err());
    while !a.cache.tiers().tier_stats().far_open {
        assert!(a.cache.get::<u64>("x").await.is_err());
    }
    fleet.faults.heal();
    let removes_k = |operation: &Operation| operation.is_remove() && operation.concerns("k");
    fleet.faults.when(removes_k).fail(ErrorKind::Unavailable);
    fleet.clock.advance(Duration::from_millis(250));
    let_others_run().await;
    assert_eq!(a.get("other").await, None, "what is replayed has taken the attempt of others");
    assert!(!a.cache.tiers().tier_stats().far_open);
    // Nor does it make it seem that the far tier is away, however long nothing else is asked.
    for _ in 0..80 {
        fleet.clock.advance(Duration::from_millis(250));
        let_others_run().await;
        assert!(a.cache.get::<u64>("k").await.is_err());
        assert!(!a.cache.tiers().tier_stats().far_open);
    }
    assert_eq!(a.get("absent").await, None);
    // It is tried again, less and less often, and by whoever wants it no more often.
    let tried = fleet.faults.count(removes_k);
    assert!((10..40).contains(&tried), "{tried}");
    fleet.faults.heal();
    fleet.retry().await;
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

/// As with a cluster of which one node is away: half of what is owed goes on failing.
#[tokio::test]
async fn p5_many_whose_removal_goes_on_failing_keep_no_other_waiting() {
    const EACH: usize = 300;
    let fleet = Fleet::new();
    let a = fleet.node().await;
    fleet.far_is_down();
    for start in ["away", "there"] {
        for id in 0..EACH {
            assert!(a.cache.invalidate(&format!("{start}:{id}")).await.is_err());
        }
    }
    fleet.faults.heal();
    fleet.faults.when(|operation| removes(operation, "away:")).fail(ErrorKind::Unavailable);
    fleet.faults.forget_operations();
    for turn in 0..4 {
        fleet.clock.advance(Duration::from_millis(1_000));
        let_others_run().await;
        assert_eq!(a.get("other").await, None, "turn {turn}");
        assert!(!a.cache.tiers().tier_stats().far_open, "turn {turn}");
    }
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, EACH);
    for id in 0..EACH {
        assert_eq!(a.get(&format!("there:{id}")).await, None);
    }
    // Nor is the far tier flooded with what is in vain.
    let calls = fleet.faults.count(|operation| removes(operation, "away:"));
    assert!(calls < 4 * 2 * EACH, "{calls}");
    fleet.faults.heal();
    fleet.retry().await;
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

/// As with a cluster's node that hangs: each of its keys takes all the time that a call has.
#[tokio::test]
async fn p5_many_whose_removal_hangs_keep_no_other_waiting() {
    const EACH: usize = 300;
    let fleet = Fleet::new();
    let a = fleet.node().await;
    fleet.far_is_down();
    for id in 0..EACH {
        for start in ["there", "hangs"] {
            assert!(a.cache.invalidate(&format!("{start}:{id}")).await.is_err());
        }
    }
    fleet.faults.heal();
    let _never = fleet.faults.when(|operation| removes(operation, "hangs:")).hold();
    for _ in 0..30 {
        fleet.clock.advance(Duration::from_millis(100));
        let_others_run().await;
    }
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, EACH);
    for id in 0..EACH {
        assert_eq!(a.get(&format!("there:{id}")).await, None);
    }
    fleet.faults.heal();
    for _ in 0..10 {
        fleet.retry().await;
    }
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

/// Also of what has to be looked for: each turn begins with others.
#[tokio::test]
async fn p5_sweeps_that_go_on_failing_keep_no_other_waiting() {
    let fleet = Fleet::new();
    let a = fleet.node().await;
    fleet.far_is_down();
    for id in 0..12 {
        assert!(a.cache.invalidate_prefix(&format!("away:{id}:")).await.is_err());
    }
    assert!(a.cache.invalidate_prefix("there:").await.is_err());
    fleet.faults.heal();
    fleet.faults.when(|operation| removes(operation, "away:")).fail(ErrorKind::Unavailable);
    for turn in 0..4 {
        fleet.clock.advance(Duration::from_millis(1_000));
        let_others_run().await;
        assert_eq!(a.get("other").await, None, "turn {turn}");
    }
    assert_eq!(a.get("there:1").await, None);
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 12);
    fleet.faults.heal();
    fleet.retry().await;
    assert_eq!(a.cache.tiers().tier_stats().replays_pending, 0);
}

/// Whether it removes something that begins so.
fn removes(operation: &Operation, start: &str) -> bool {
    match operation {
        Operation::Remove { what: Selector::Keys(keys) } => {
            keys.iter().any(|key| key.starts_with(start))
        }
        Operation::Remove { what: Selector::Prefix(prefix) } => prefix.starts_with(start),
        _ => false,
    }
}

//! Leases, at the level of the store: who may fill, and what takes that right away.

use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore, LeaseOutcome, Policy, Selector};

use super::fixture::{
    entry, expired_entry, fetch, fill, keys, lease, lease_for, put, put_stale, strings,
};
use crate::{CacheHarness, Capability};

/// A fill under a lease is stored and read like a write.
pub async fn a_leased_fill_is_stored(h: &CacheHarness) {
    let held = lease(h, "k").await;
    assert_eq!(held.key(), "k");
    assert!(fill(h, held, 1).await);
    assert_eq!(h.get("k").await, Some(1_u64));
}

/// A lease shows nowhere: the key it is on is missing until it is filled, and stays missing if it
/// is not.
pub async fn a_lease_is_not_an_entry(h: &CacheHarness) {
    let held = lease(h, "k").await;
    for _ in 0..2 {
        assert!(h.cache().peek("k").is_none());
        assert!(fetch(h, "k").await.is_none());
        assert_eq!(h.get::<u64>("k").await, None);
        assert_eq!(h.cache().get_many::<u64>(&["k"]).await.unwrap(), [None]);
        assert!(!h.cache().contains("k").await.unwrap());
        h.cache().abandon(held.clone()).await.unwrap();
    }
    let _second = lease(h, "org:k").await;
    let removed = h.cache().remove(&Selector::Prefix("org:".into())).await.unwrap();
    assert!(removed.is_none_or(|count| count == 0), "a lease was counted as an entry");
}

/// What is there stays readable while someone holds a lease on it, fresh or stale.
pub async fn a_lease_hides_nothing(h: &CacheHarness) {
    put_stale(h, "stale", 1).await;
    put(h, "fresh", 2).await;
    if let LeaseOutcome::Granted(held) = h.cache().lease("fresh", h.units(9)).await.unwrap() {
        assert_eq!(h.get("fresh").await, Some(2_u64));
        h.cache().abandon(held).await.unwrap();
    }
    assert_eq!(h.get("fresh").await, Some(2_u64));
    let held = lease(h, "stale").await;
    assert_eq!(fetch(h, "stale").await.unwrap().decode::<u64>().unwrap(), 1);
    h.cache().abandon(held).await.unwrap();
    assert_eq!(fetch(h, "stale").await.unwrap().decode::<u64>().unwrap(), 1);
    let held = lease(h, "stale").await;
    assert!(fill(h, held, 3).await);
    assert_eq!(h.get("stale").await, Some(3_u64));
}

/// Checks that after `revoke` no fill under a lease taken before it is stored on `key`, whether or
/// not an entry is there, and that a lease taken afterwards is good.
async fn revokes(h: &CacheHarness, how: &str, revoke: impl AsyncFn(&'static str)) {
    for (key, there) in [("org:absent", false), ("org:stale", true)] {
        if there {
            put_stale(h, key, 1).await;
        }
        let held = lease(h, key).await;
        revoke(key).await;
        let before = fetch(h, key).await.map(|entry| entry.decode::<u64>().unwrap());
        assert!(!fill(h, held, 2).await, "{how}: a revoked lease filled {key}");
        let after = fetch(h, key).await.map(|entry| entry.decode::<u64>().unwrap());
        assert_eq!(before, after, "{how}: a refused fill changed {key}");
        h.cache().invalidate(key).await.unwrap();
        let held = lease(h, key).await;
        assert!(fill(h, held, 3).await, "{how}: a lease taken afterwards is no good on {key}");
    }
}

/// A write revokes, whichever way it is made.
pub async fn a_write_revokes_leases(h: &CacheHarness) {
    revokes(h, "store", async |key| put(h, key, 9).await).await;
    revokes(h, "store_many", async |key| {
        h.cache().set_many(&[("other", 8_u64), (key, 9)], h.lasting()).await.unwrap();
    })
    .await;
    revokes(h, "store with a TTL of zero", async |key| {
        h.cache().set(key, &9_u64, Duration::ZERO).await.unwrap();
    })
    .await;
    revokes(h, "store of an expired entry", async |key| {
        h.cache().store(key, expired_entry(&h.cache().clock())).await.unwrap();
    })
    .await;
}

/// A removal of the key revokes, also where there is nothing to remove.
pub async fn a_removal_revokes_leases(h: &CacheHarness) {
    revokes(h, "invalidate", async |key| h.cache().invalidate(key).await.unwrap()).await;
    revokes(h, "invalidate_many", async |key| {
        h.cache().remove(&keys(&["other", key])).await.unwrap();
    })
    .await;
}

/// A removal by prefix revokes.
pub async fn a_prefix_removal_revokes_leases(h: &CacheHarness) {
    for prefix in ["org:", "o", ""] {
        revokes(h, prefix, async |_| h.cache().invalidate_prefix(prefix).await.unwrap()).await;
    }
    revokes(h, "the whole key as prefix", async |key| {
        h.cache().invalidate_prefix(key).await.unwrap();
    })
    .await;
}

/// `clear` revokes.
pub async fn clear_revokes_leases(h: &CacheHarness) {
    revokes(h, "clear", async |_| h.cache().clear().await.unwrap()).await;
}

/// Reads, and fills and abandoned leases of other keys, revoke nothing.
pub async fn reads_and_other_keys_fills_revoke_nothing(h: &CacheHarness) {
    let held = lease(h, "k").await;
    for n in 0..64 {
        let other = lease(h, &format!("other:{n}")).await;
        assert!(fill(h, other, n).await);
        let other = lease(h, &format!("given:back:{n}")).await;
        h.cache().abandon(other).await.unwrap();
    }
    let _ = h.get::<u64>("k").await;
    let _ = fetch(h, "k").await;
    let _ = h.cache().fetch_many(&strings(&["k", "other:1"])).await.unwrap();
    assert!(fill(h, held, 1).await, "the lease was lost");
    assert_eq!(h.get("k").await, Some(1_u64));
}

/// A fill under a lease that ran out is refused, and changes nothing.
pub async fn p1_10_a_lease_that_ran_out_fills_nothing(h: &CacheHarness) {
    let held = lease_for(h, "k", 2).await;
    h.pass(h.units(3)).await;
    assert!(!fill(h, held, 1).await, "a lease that ran out filled");
    assert!(fetch(h, "k").await.is_none());
    put_stale(h, "stale", 1).await;
    let held = lease_for(h, "stale", 2).await;
    h.pass(h.units(3)).await;
    assert!(!fill(h, held, 2).await, "a lease that ran out filled");
    assert_eq!(fetch(h, "stale").await.unwrap().decode::<u64>().unwrap(), 1);
    let held = lease_for(h, "k", 0).await;
    assert!(!fill(h, held, 1).await, "a lease for no time filled");
}

/// A fill that comes in time is stored, and lives as its own policy says, not as the lease.
pub async fn a_fill_outlives_its_lease(h: &CacheHarness) {
    let held = lease_for(h, "k", 4).await;
    h.pass(h.units(2)).await;
    assert!(fill(h, held, 1).await);
    h.pass(h.units(4)).await;
    assert_eq!(h.get("k").await, Some(1_u64), "the value went with its lease");
}

/// After a lease was given back, or has run out, the next caller gets one.
pub async fn a_lease_given_back_is_free(h: &CacheHarness) {
    let held = lease(h, "k").await;
    h.cache().abandon(held).await.unwrap();
    let held = lease_for(h, "k", 2).await;
    h.pass(h.units(3)).await;
    let next = lease(h, "k").await;
    h.cache().abandon(held).await.unwrap();
    assert!(fill(h, next, 1).await, "giving back a lease that ran out took the next one's");
    assert_eq!(h.get("k").await, Some(1_u64));
}

/// Giving back a lease that was revoked, used or has run out does nothing: what is there stays.
pub async fn abandoning_too_late_does_nothing(h: &CacheHarness) {
    let used = lease(h, "used").await;
    assert!(fill(h, used.clone(), 1).await);
    h.cache().abandon(used).await.unwrap();
    let revoked = lease(h, "revoked").await;
    put(h, "revoked", 2).await;
    h.cache().abandon(revoked).await.unwrap();
    let over = lease_for(h, "over", 1).await;
    h.pass(h.units(2)).await;
    h.cache().abandon(over).await.unwrap();
    assert_eq!(h.get("used").await, Some(1_u64));
    assert_eq!(h.get("revoked").await, Some(2_u64));
    assert_eq!(h.get::<u64>("over").await, None);
}

/// Where leases are exclusive the second caller is told to come back, soon enough, and the first
/// one's fill is good once. Where they are not, both are granted and both may fill.
pub async fn leases_are_exclusive_or_side_by_side(h: &CacheHarness) {
    let first = lease_for(h, "k", 8).await;
    let second = h.cache().lease("k", h.units(8)).await.unwrap();
    if !h.can(Capability::ExclusiveLeases) {
        let LeaseOutcome::Granted(second) = second else {
            panic!("{second:?}: it has Capability::ExclusiveLeases after all: declare it")
        };
        assert!(fill(h, first, 1).await);
        assert!(fill(h, second, 2).await, "a fill revoked another lease");
        assert_eq!(h.get("k").await, Some(2_u64));
        return;
    }
    let LeaseOutcome::Held { retry_after } = second else {
        panic!("{second:?}: declare that Capability::ExclusiveLeases is lacking")
    };
    assert!(retry_after <= h.units(8), "it is to come back after {retry_after:?}");
    assert!(fill(h, first.clone(), 1).await);
    assert!(!fill(h, first, 2).await, "a used lease filled again");
    assert_eq!(h.get("k").await, Some(1_u64));
    let given_back = lease(h, "l").await;
    h.cache().abandon(given_back.clone()).await.unwrap();
    let _next = lease(h, "l").await;
    assert!(!fill(h, given_back, 1).await, "a lease that was given back filled");
}

/// A fill of what is not servable stores nothing, and says that it was good.
pub async fn a_fill_that_expired_stores_nothing(h: &CacheHarness) {
    let held = lease(h, "k").await;
    let zero = cache_core::Entry::encode(&1_u64, &Policy::ttl(Duration::ZERO)).unwrap();
    assert!(h.cache().fill(held, zero).await.unwrap());
    assert!(fetch(h, "k").await.is_none());
    let held = lease(h, "l").await;
    put(h, "l", 1).await;
    assert!(!h.cache().fill(held, entry(h, 2)).await.unwrap());
    assert_eq!(h.get("l").await, Some(1_u64));
}

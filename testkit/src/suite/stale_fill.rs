//! No stale fill (P1): what was loaded before an invalidation is never read after it.
//!
//! Each of them holds a loader at a gate, does what shall come between, looks at what later
//! callers get while the old load is still out and after it has ended.

use std::sync::Arc;

use cache_core::{CacheServiceExt, Policy};

use super::fixture::{begin_load, fetch, load_many, load_now, loaded, put, put_stale};
use crate::{CacheHarness, Gate, Loads, eventually_async, poll_once};

/// Checks what an invalidation that came between leaves: nothing of the old load.
async fn comes_between(h: &CacheHarness, key: &'static str, between: impl AsyncFn()) {
    // Nobody asks before the old load has ended.
    let gate = Gate::new();
    let old = begin_load(h, key, &gate, 1).await;
    between().await;
    assert_eq!(h.get::<u64>(key).await, None);
    gate.open();
    assert_eq!(loaded(old).await, 1, "who had waited gets what was loaded");
    assert_eq!(h.get::<u64>(key).await, None, "the old load's value was stored");
    assert!(fetch(h, key).await.is_none(), "the old load's value was stored");
    assert_eq!(load_now(h, key, 2).await, 2, "the next caller got the old load's value");

    // The next caller comes while the old load is still out: it does not join it.
    between().await;
    let gate = Gate::new();
    let old = begin_load(h, key, &gate, 3).await;
    between().await;
    assert_eq!(load_now(h, key, 4).await, 4, "the next caller joined the old load");
    gate.open();
    assert_eq!(loaded(old).await, 3);
    assert_eq!(h.get(key).await, Some(4_u64), "the old load overwrote the newer value");
    assert_eq!(load_now(h, key, 5).await, 4);
}

/// P1 01: the key is removed while it is being loaded, a stale value being there.
pub async fn p1_01_key_removed_while_loading(h: &CacheHarness) {
    put_stale(h, "k", 9).await;
    comes_between(h, "k", async || h.cache().invalidate("k").await.unwrap()).await;
    put_stale(h, "m", 9).await;
    comes_between(h, "m", async || h.cache().invalidate_many(&["other", "m"]).await.unwrap()).await;
}

/// P1 01 for a load of many keys of which one is removed: the others are stored.
pub async fn p1_01_one_of_many_removed_while_loading(h: &CacheHarness) {
    let gate = Gate::new();
    let (cache, policy) = (Arc::clone(h.cache()), h.lasting());
    let load = Loads::new().many_gated(&gate, |_| Some(1));
    let old = tokio::spawn(async move { load_many(&cache, &["a", "b", "c"], policy, load).await });
    gate.reached().await;
    h.cache().invalidate("b").await.unwrap();
    assert_eq!(load_now(h, "b", 2).await, 2, "the next caller joined the old load");
    gate.open();
    assert_eq!(old.await.unwrap(), [Some(1); 3]);
    let found = h.cache().get_many::<u64>(&["a", "b", "c"]).await.unwrap();
    assert_eq!(found[1], Some(2), "the old load overwrote the newer value");
    // A store may revoke more leases than it must, so the others may have to be loaded again.
    assert!([None, Some(1)].contains(&found[0]) && [None, Some(1)].contains(&found[2]));
}

/// P1 01 for a load that may find nothing: "absent" is not stored after a removal either.
pub async fn p1_01_absent_is_no_exception(h: &CacheHarness) {
    let gate = Gate::new();
    let (cache, policy) = (Arc::clone(h.cache()), h.lasting());
    let load = gate.loader(None::<u64>);
    let old = tokio::spawn(async move { cache.get_or_load_opt("k", policy, load).await });
    gate.reached().await;
    h.cache().invalidate("k").await.unwrap();
    gate.open();
    assert_eq!(old.await.unwrap().unwrap(), None);
    assert!(fetch(h, "k").await.is_none(), "the old load's absence was stored");
    let load = h.cache().get_or_load_opt("k", h.lasting(), Loads::new().returning(Some(2_u64)));
    assert_eq!(load.await.unwrap().as_deref(), Some(&2));
}

/// P1 02: the key is overwritten while it is being loaded: the write wins.
pub async fn p1_02_key_overwritten_while_loading(h: &CacheHarness) {
    let gate = Gate::new();
    let old = begin_load(h, "k", &gate, 1).await;
    put(h, "k", 2).await;
    assert_eq!(h.get("k").await, Some(2_u64));
    assert_eq!(load_now(h, "k", 3).await, 2, "a caller after the write did not get it");
    gate.open();
    assert_eq!(loaded(old).await, 1);
    assert_eq!(h.get("k").await, Some(2_u64), "the load overwrote the write");

    let gate = Gate::new();
    let old = begin_load(h, "m", &gate, 1).await;
    h.cache().set_many(&[("m", 2_u64), ("other", 3)], h.lasting()).await.unwrap();
    gate.open();
    assert_eq!(loaded(old).await, 1);
    assert_eq!(h.get("m").await, Some(2_u64), "the load overwrote the write");
}

/// P1 03: the key's prefix is removed while it is being loaded.
pub async fn p1_03_prefix_removed_while_loading(h: &CacheHarness) {
    for (key, prefix) in [("org:a", "org:"), ("org:b", "org:b"), ("org:c", "")] {
        let remove = async || h.cache().invalidate_prefix(prefix).await.unwrap();
        comes_between(h, key, remove).await;
    }
}

/// P1 04: everything is removed while a key is being loaded.
pub async fn p1_04_cleared_while_loading(h: &CacheHarness) {
    comes_between(h, "k", async || h.cache().clear().await.unwrap()).await;
}

/// Starts a load whose caller has its answer already, and waits until it has begun.
async fn begin_in_background(h: &CacheHarness, key: &str, policy: &Policy, gate: &Gate) {
    let load = h.cache().get_or_load(key, policy, gate.loader(2_u64));
    assert_eq!(*load.await.unwrap(), 1, "the caller was to get the value that is there");
    gate.reached().await;
}

/// Opens the gate and waits until the load behind it has ended, its fill included: either its value
/// has come up, or the cache has counted that it refused it.
async fn end_in_background(h: &CacheHarness, key: &str, gate: &Gate, refused_before: u64) {
    gate.open();
    eventually_async(async || {
        fetch(h, key).await.is_some() || h.cache().stats().fills_refused > refused_before
    })
    .await;
}

/// P1 08: the key is removed while a refresh ahead of time is under way.
pub async fn p1_08_key_removed_during_refresh_ahead(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(8)).refresh_ahead(0.25);
    h.cache().set("k", &1_u64, &policy).await.unwrap();
    h.pass(h.units(4)).await;
    let (gate, refused) = (Gate::new(), h.cache().stats().fills_refused);
    begin_in_background(h, "k", &policy, &gate).await;
    h.cache().invalidate("k").await.unwrap();
    end_in_background(h, "k", &gate, refused).await;
    assert_eq!(h.get::<u64>("k").await, None, "the refresh brought a value back");
    assert_eq!(load_now(h, "k", 3).await, 3);
}

/// P1 09: the key is removed while a load is under way whose caller did not wait for its end.
pub async fn p1_09_key_removed_after_the_caller_s_timeout(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(1)).stale_for(h.units(900));
    h.cache().set("k", &1_u64, &policy).await.unwrap();
    h.pass(h.units(2)).await;
    let (gate, refused) = (Gate::new(), h.cache().stats().fills_refused);
    begin_in_background(h, "k", &policy, &gate).await;
    h.cache().invalidate("k").await.unwrap();
    end_in_background(h, "k", &gate, refused).await;
    assert!(fetch(h, "k").await.is_none(), "the late load brought a value back");
    assert_eq!(load_now(h, "k", 3).await, 3);

    // A caller that went away altogether.
    let (gate, refused) = (Gate::new(), h.cache().stats().fills_refused);
    let mut caller = Box::pin(h.cache().get_or_load("gone", h.lasting(), gate.loader(1_u64)));
    assert!(poll_once(&mut caller).is_pending());
    gate.reached().await;
    drop(caller);
    h.cache().invalidate("gone").await.unwrap();
    end_in_background(h, "gone", &gate, refused).await;
    assert!(fetch(h, "gone").await.is_none(), "the late load brought a value back");
}

/// P1 11: a key that is not there is removed while it is being loaded.
pub async fn p1_11_absent_key_removed_while_loading(h: &CacheHarness) {
    comes_between(h, "k", async || h.cache().invalidate("k").await.unwrap()).await;
}

/// A removal that selects nothing of a load under way leaves it alone: its callers are joined.
pub async fn a_removal_elsewhere_leaves_a_load_alone(h: &CacheHarness) {
    let gate = Gate::new();
    let old = begin_load(h, "org:a", &gate, 1).await;
    h.cache().invalidate("org:b").await.unwrap();
    h.cache().invalidate_prefix("org:ab").await.unwrap();
    h.cache().invalidate_many(&["org", "org:"]).await.unwrap();
    let second = h.cache().get_or_load("org:a", h.lasting(), Loads::new().returning(2_u64));
    let mut second = Box::pin(second);
    assert!(poll_once(&mut second).is_pending(), "it did not join the load");
    gate.open();
    assert_eq!(loaded(old).await, 1);
    assert_eq!(*second.await.unwrap(), 1);
}

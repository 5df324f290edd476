//! Two clients of one server, as two processes are: what one does holds for the other. Where there
//! is no [second client](CacheHarness::second) these do nothing.

use std::sync::Arc;

use cache_core::{CacheServiceExt, CacheStore, LeaseOutcome, Policy};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::fixture::{
    begin_load, entry, fetch, fill, lease, lease_by, load_now, loaded, number, put,
};
use super::overtaken::{Change, fills_and_changes};
use crate::{CacheHarness, Capability, Gate, Loads, let_others_run};

/// Writes, fills and removals of either client are what the other reads next.
pub async fn what_one_client_does_the_other_sees(h: &CacheHarness) {
    let Some(second) = h.second_client() else { return };
    for (one, other) in [(h.cache(), second), (second, h.cache())] {
        let read = async || other.get::<u64>("org:k").await.unwrap();
        for change in Change::ALL {
            one.set("org:k", &1_u64, h.lasting()).await.unwrap();
            assert_eq!(read().await, Some(1), "a write");
            assert_eq!(other.get_arc::<u64>("org:k").await.unwrap().as_deref(), Some(&1));
            change.make(h, &**other, "org:k").await;
            change.holds(h, &**one, "org:k", "another client").await;
            one.invalidate("org:k").await.unwrap();
            let held = lease_by(&**one, "org:k", h.units(1_000)).await;
            assert!(one.fill(held, entry(h, 3)).await.unwrap());
            assert_eq!(read().await, Some(3), "a fill");
        }
        let end = one.fetch("org:k").await.unwrap().expect("it was filled").fresh_until();
        let own = other.fetch("org:k").await.unwrap().expect("it was filled").fresh_until();
        let apart = end.until(own).max(own.until(end));
        assert!(apart <= h.units(4), "their ends are {apart:?} apart");
    }
}

/// A removal or write by one client revokes the leases of the other, and a lease taken afterwards is
/// good.
pub async fn a_change_by_another_client_revokes_leases(h: &CacheHarness) {
    let Some(second) = h.second_client() else { return };
    for change in Change::ALL {
        let held = lease(h, "org:k").await;
        change.make(h, &**second, "org:k").await;
        assert!(!fill(h, held, 1).await, "{change:?} by another client revoked nothing");
        change.holds(h, &**second, "org:k", "a revoked lease").await;
        let held = lease(h, "org:k").await;
        assert!(fill(h, held, 2).await, "{change:?}: a lease taken afterwards is no good");
    }
}

/// A removal or write by another client that runs while a fill is under way ends it, and a fill that
/// runs while they are under way does not outlive them.
pub async fn a_fill_that_another_client_overtakes_stores_nothing(h: &CacheHarness) {
    let Some(second) = h.second_client() else { return };
    fills_and_changes(h, &**h.cache(), &**second, false).await;
    fills_and_changes(h, &**second, &**h.cache(), true).await;
}

/// P1 05: another client removes or overwrites the key while it is being loaded.
pub async fn p1_05_removed_by_another_client_while_loading(h: &CacheHarness) {
    let Some(second) = h.second_client() else { return };
    for change in Change::ALL {
        let gate = Gate::new();
        let old = begin_load(h, "org:k", &gate, 1).await;
        change.make(h, &**second, "org:k").await;
        gate.open();
        assert_eq!(loaded(old).await, 1, "who had waited gets what was loaded");
        change.holds(h, &**second, "org:k", "a load from before").await;
        let next = load_now(h, "org:k", 2).await;
        assert!(next != 1, "the next caller got what was loaded before {change:?}");
        second.invalidate("org:k").await.unwrap();
    }
}

/// Where leases are exclusive they are so among all clients: while one has a lease the other is told
/// to come back, and gets it when it is given back.
pub async fn leases_are_those_of_the_server(h: &CacheHarness) {
    let exclusive = h.can(Capability::ExclusiveLeases);
    let Some(second) = h.second_client() else { return };
    if !exclusive {
        return;
    }
    for (one, other) in [(h.cache(), second), (second, h.cache())] {
        let held = lease_by(&**one, "k", h.units(1_000)).await;
        let told = other.lease("k", h.units(1_000)).await.unwrap();
        assert!(matches!(told, LeaseOutcome::Held { .. }), "another client has it: {told:?}");
        one.abandon(held).await.unwrap();
        let held = lease_by(&**other, "k", h.units(1_000)).await;
        assert!(other.fill(held, entry(h, 1)).await.unwrap());
        assert_eq!(number(fetch(h, "k").await.as_ref()), Some(1));
        one.invalidate("k").await.unwrap();
    }
}

/// P3 08: while one client loads a key the other waits for it, and its loader is not called.
pub async fn p3_08_two_clients_one_load(h: &CacheHarness) {
    let exclusive = h.can(Capability::ExclusiveLeases);
    let Some(second) = h.second_client() else { return };
    // On several threads a clock that is moved here is far ahead before the other has had its turn.
    let threads = Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread;
    if !exclusive || (threads && h.manual_clock().is_some()) {
        return;
    }
    let (gate, loads) = (Gate::new(), Loads::new());
    // Longer than it takes, however far the clock is moved meanwhile.
    let policy = Policy::ttl(h.units(1_000_000));
    let (cache, own, load) = (Arc::clone(h.cache()), policy.clone(), gate.loader(1_u64));
    let first = tokio::spawn(async move { cache.get_or_load("k", own, load).await });
    gate.reached().await;
    let (other, load) = (Arc::clone(second), loads.returning(2_u64));
    let waiting = tokio::spawn(async move { other.get_or_load("k", policy, load).await });
    let_others_run().await;
    gate.open();
    assert_eq!(loaded(first).await, 1);
    // It looks again when its timer says, if nobody tells it.
    while !waiting.is_finished() {
        if h.manual_clock().is_none_or(|clock| clock.sleepers() > 0) {
            h.pass(h.units(1) / 8).await;
        }
        let_others_run().await;
    }
    assert_eq!((loaded(waiting).await, loads.count()), (1, 0), "both loaded");
    put(h, "k", 3).await;
    assert_eq!(second.get::<u64>("k").await.unwrap(), Some(3));
}

//! Cancel safety (P7): every public future is dropped after each of its first polls, and then the
//! cache must be as good as new.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use cache_core::{CacheServiceExt, CacheStore, LeaseOutcome, Policy, Selector};
use tokio::runtime::{Handle, RuntimeFlavor};

use super::fixture::{entry, fetch, lease_of, load_now, loads_ended, strings, tasks};
use crate::{CacheHarness, Capability, LoadFailed, Loads, drop_after, eventually};

/// Each future is dropped after 0, 1, … polls, up to this many.
const POLLS: usize = 12;

/// The values that the futures under test write or load, and those that were there before.
const OLD: u64 = 1;
const NEW: u64 = 2;

/// Drops the future that `make` makes of a key after each of its first polls, with nothing under
/// the key, with a stale entry and with a fresh one, and checks the invariants after each.
async fn dropped<F: Future>(h: &CacheHarness, make: impl Fn(&'static str) -> F) {
    for before in [None, Some(Policy::ttl(h.units(1)).stale_for(h.units(900))), Some(h.lasting())] {
        for polls in 0..POLLS {
            h.cache().clear().await.unwrap();
            if let Some(policy) = &before {
                h.cache().set("k", &OLD, policy).await.unwrap();
            }
            // Makes stale what is to be stale. In real time it stays fresh, which is worth a test
            // too, and a suite that waits this often is not.
            if let Some(clock) = h.manual_clock() {
                clock.advance(h.units(2));
            }
            let before = tasks();
            let finished = drop_after(polls, make("k")).await.is_some();
            // A load that gets its lease after a write or removal calls its loader after it, and may
            // store what that says. By a clock that stands still, on one thread, nothing comes between.
            if h.manual_clock().is_none() || on_several_threads() {
                loads_ended(before).await;
            }
            holds(h).await;
            loads_ended(before).await;
            if finished {
                break;
            }
        }
    }
}

fn on_several_threads() -> bool {
    Handle::current().runtime_flavor() != RuntimeFlavor::CurrentThread
}

/// What must hold whatever was dropped: the entry is the old, the new or none; the key can be
/// loaded, written, leased and removed; and nothing waits any more.
async fn holds(h: &CacheHarness) {
    for found in [fetch(h, "k").await, h.cache().peek("k")].into_iter().flatten() {
        let value = found.decode::<u64>().expect("an entry that nobody wrote");
        assert!([OLD, NEW].contains(&value), "{value} was never written");
    }
    let value = load_now(h, "k", NEW).await;
    assert!([OLD, NEW].contains(&value), "{value} was never written");
    h.cache().set("k", &5_u64, h.lasting()).await.unwrap();
    assert_eq!(h.get("k").await, Some(5_u64));
    h.cache().invalidate("k").await.unwrap();
    assert_eq!(h.get::<u64>("k").await, None);
    assert_eq!(load_now(h, "k", 6).await, 6, "a load that was dropped was joined");
    h.cache().clear().await.unwrap();
    if h.can(Capability::EntryCounts) {
        assert_eq!(h.cache().stats().entries, 0, "something was left behind");
    }
    if let Some(clock) = h.manual_clock() {
        eventually(|| clock.sleepers() == 0).await;
    }
}

/// A loader that takes some turns.
async fn slowly() -> Result<u64, LoadFailed> {
    for _ in 0..4 {
        tokio::task::yield_now().await;
    }
    Ok(NEW)
}

async fn slowly_many(keys: Vec<String>) -> Result<HashMap<String, u64>, LoadFailed> {
    let value = slowly().await?;
    Ok(keys.into_iter().map(|key| (key, value)).collect())
}

/// Reads.
pub async fn p7_reads_can_be_dropped(h: &CacheHarness) {
    dropped(h, |key| h.cache().get::<u64>(key)).await;
    dropped(h, |key| h.cache().get_arc::<u64>(key)).await;
    dropped(h, |key| async move { h.cache().get_many::<u64>(&["a", key, "b"]).await }).await;
    dropped(h, |key| h.cache().contains(key)).await;
    dropped(h, |key| h.cache().fetch(key)).await;
    dropped(h, |key| async move { h.cache().fetch_many(&strings(&["a", key])).await }).await;
}

/// Writes.
pub async fn p7_writes_can_be_dropped(h: &CacheHarness) {
    dropped(h, |key| h.cache().set(key, &NEW, h.lasting())).await;
    dropped(h, |key| async move {
        h.cache().set_many(&[("a", NEW), (key, NEW), ("b", NEW)], h.lasting()).await
    })
    .await;
    dropped(h, |key| h.cache().store(key, entry(h, NEW))).await;
}

/// Removals.
pub async fn p7_removals_can_be_dropped(h: &CacheHarness) {
    dropped(h, |key| h.cache().invalidate(key)).await;
    dropped(h, |key| async move { h.cache().invalidate_many(&["a", key]).await }).await;
    dropped(h, |key| h.cache().invalidate_prefix(key)).await;
    dropped(h, |_| h.cache().clear()).await;
    dropped(h, |_| async move { h.cache().remove(&Selector::All).await }).await;
}

/// Loads, of one key and of many, fresh, stale and with a soft timeout.
pub async fn p7_loads_can_be_dropped(h: &CacheHarness) {
    let stale = Policy::ttl(h.units(2)).stale_for(h.units(900));
    let policies = [h.lasting(), stale.clone(), stale.soft_timeout(h.units(100))];
    for policy in &policies {
        dropped(h, |key| h.cache().get_or_load(key, policy, slowly)).await;
        dropped(h, |key| {
            h.cache().get_or_load_opt(key, policy, || async { slowly().await.map(Some) })
        })
        .await;
        dropped(h, |key| async move {
            h.cache().get_or_load_many(&["a", key, "b"], policy, slowly_many).await
        })
        .await;
    }
    let ahead = Policy::ttl(h.units(3)).refresh_ahead(0.25);
    dropped(h, |key| h.cache().get_or_load(key, &ahead, slowly)).await;
}

/// Leases, fills and their return. A lease that a dropped future took runs out by itself.
pub async fn p7_leases_can_be_dropped(h: &CacheHarness) {
    let exclusive = h.can(Capability::ExclusiveLeases);
    // In real time all of it is waited for, again and again.
    let ttl = h.units(1) / 4;
    for polls in 0..POLLS {
        h.cache().clear().await.unwrap();
        let taken = drop_after(polls, h.cache().lease("k", ttl)).await;
        if let Some(Ok(LeaseOutcome::Granted(lease))) = &taken {
            let _ = drop_after(polls, h.cache().abandon(lease.clone())).await;
        }
        if exclusive || h.manual_clock().is_some() {
            h.pass(ttl * 2).await;
        }
        holds(h).await;
        let held = lease_of(h, "k", ttl).await;
        let _ = drop_after(polls, h.cache().fill(held, entry(h, NEW))).await;
        if exclusive {
            h.pass(ttl * 2).await;
        }
        holds(h).await;
        if taken.is_some() && polls > 1 {
            break;
        }
    }
}

/// A caller that waits for another's load is dropped: neither the load nor the others notice.
pub async fn p7_waiters_can_be_dropped(h: &CacheHarness) {
    for polls in 0..4 {
        h.cache().clear().await.unwrap();
        let loads = Loads::new();
        let gate = crate::Gate::new();
        let (cache, policy) = (Arc::clone(h.cache()), h.lasting());
        let load = loads.gated(&gate, NEW);
        let leader = tokio::spawn(async move { cache.get_or_load("k", policy, load).await });
        gate.reached().await;
        for _ in 0..50 {
            let waiter = h.cache().get_or_load("k", h.lasting(), loads.returning(9));
            assert!(drop_after(polls, waiter).await.is_none());
        }
        gate.open();
        assert_eq!(*leader.await.unwrap().unwrap(), NEW);
        assert_eq!(loads.count(), 1);
        holds(h).await;
    }
}

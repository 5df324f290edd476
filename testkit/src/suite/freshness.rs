//! Freshness policies (P3 11–14): what callers get when a value is stale or due for a refresh.

use cache_core::{CacheServiceExt, ErrorKind, Policy};

use super::fixture::{fetch, load_many, load_with, loads_ended, tasks};
use crate::{CacheHarness, Gate, LoadFailed, Loads, eventually_async, let_others_run, poll_once};

/// Writes 1 under `policy` and lets `age` units go by.
async fn aged(h: &CacheHarness, key: &str, policy: &Policy, age: u32) {
    h.cache().set(key, &1_u64, policy).await.unwrap();
    h.pass(h.units(age)).await;
}

/// P3 11: of many callers that find a stale value each gets it at once, and one refresh runs.
pub async fn p3_11_stale_is_served_while_one_refresh_runs(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(2)).stale_for(h.units(900));
    aged(h, "k", &policy, 3).await;
    let (gate, loads, before) = (Gate::new(), Loads::new(), tasks());
    for _ in 0..50 {
        let load = h.cache().get_or_load("k", &policy, loads.gated(&gate, 2_u64));
        assert_eq!(*load.await.unwrap(), 1, "it waited for the refresh");
        let many = loads.many_gated(&gate, |_| Some(2));
        assert_eq!(load_many(h.cache(), &["k"], policy.clone(), many).await, [Some(1)]);
    }
    gate.reached().await;
    let_others_run().await;
    assert_eq!(loads.count(), 1, "refreshes started");
    gate.open();
    // While the refresh is about to end a caller may still get the stale value.
    loads_ended(before).await;
    assert_eq!(load_with(h, "k", policy, &loads, 3).await, 2);
    assert_eq!(loads.count(), 1);
}

/// A value past its window is not served: the caller waits for the load.
pub async fn p3_11_past_the_window_the_caller_waits(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(2)).stale_for(h.units(2));
    aged(h, "k", &policy, 5).await;
    assert_eq!(load_with(h, "k", policy, &Loads::new(), 2).await, 2);
}

/// Stale is served to those whose own policy allows it, and to no one else.
pub async fn p3_11_a_caller_that_wants_it_fresh_waits(h: &CacheHarness) {
    let stale = Policy::ttl(h.units(2)).stale_for(h.units(900));
    aged(h, "k", &stale, 3).await;
    let strict = Policy::ttl(h.units(2));
    assert_eq!(load_with(h, "k", strict, &Loads::new(), 2).await, 2);
    aged(h, "short", &stale, 6).await;
    let short = Policy::ttl(h.units(2)).stale_for(h.units(2));
    assert_eq!(load_with(h, "short", short, &Loads::new(), 2).await, 2);
}

/// P3 12: when the refresh fails the stale value is served until its window ends, without a new
/// attempt by each caller; after that the error comes through.
pub async fn p3_12_a_failed_refresh_serves_stale_until_the_window_ends(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(2)).stale_for(h.units(6));
    aged(h, "k", &policy, 3).await;
    let (loads, before) = (Loads::new(), tasks());
    for _ in 0..20 {
        let load = loads.failing("database is down");
        let served = h.cache().get_or_load::<u64, _, _, _>("k", &policy, load).await;
        assert_eq!(*served.expect("a stale value was there"), 1);
        loads_ended(before).await;
    }
    assert_eq!(loads.count(), 1, "the failed refresh was tried again at once");
    h.pass(h.units(6)).await;
    let load = loads.failing("database is down");
    let error = h.cache().get_or_load::<u64, _, _, _>("k", &policy, load).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Load);
    assert_eq!(error.loader_error(), Some(&LoadFailed("database is down")));
    assert_eq!(load_with(h, "k", policy, &loads, 2).await, 2);
}

/// A refresh that failed is tried again when its back-off is over: 5 s, or the TTL if shorter.
pub async fn p3_12_the_refresh_is_tried_again_later(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(2)).stale_for(h.units(900));
    aged(h, "k", &policy, 3).await;
    let (loads, before) = (Loads::new(), tasks());
    let fail = || h.cache().get_or_load::<u64, _, _, _>("k", &policy, loads.failing("down"));
    assert_eq!(*fail().await.unwrap(), 1);
    loads_ended(before).await;
    assert_eq!(*fail().await.unwrap(), 1);
    loads_ended(before).await;
    assert_eq!(loads.count(), 1);
    h.pass(h.units(3)).await;
    // It may get the new value: on another thread the refresh can be that quick.
    let served = load_with(h, "k", policy.clone(), &loads, 2).await;
    assert!([1, 2].contains(&served), "{served}");
    eventually_async(async || fetch(h, "k").await.unwrap().decode::<u64>().unwrap() == 2).await;
    assert_eq!(loads.count(), 2);
}

/// P3 13: with a soft timeout a caller waits so long for the refresh, then takes the stale value;
/// the load goes on and its value is there for the next.
pub async fn p3_13_a_soft_timeout_answers_in_time(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(2)).stale_for(h.units(900)).soft_timeout(h.units(2));
    aged(h, "k", &policy, 3).await;
    let (gate, loads) = (Gate::new(), Loads::new());
    let mut caller = Box::pin(h.cache().get_or_load("k", &policy, loads.gated(&gate, 2_u64)));
    assert!(poll_once(&mut caller).is_pending(), "it did not wait for the refresh");
    gate.reached().await;
    assert!(poll_once(&mut caller).is_pending(), "it did not wait for the refresh");
    h.pass(h.units(3)).await;
    assert_eq!(*caller.await.unwrap(), 1);
    gate.open();
    eventually_async(async || fetch(h, "k").await.unwrap().decode::<u64>().unwrap() == 2).await;
    assert_eq!(loads.count(), 1);
}

/// P3 13: a refresh that is quicker than the soft timeout is what the caller gets.
pub async fn p3_13_a_quick_refresh_beats_the_soft_timeout(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(2)).stale_for(h.units(900)).soft_timeout(h.units(800));
    aged(h, "k", &policy, 3).await;
    assert_eq!(load_with(h, "k", policy.clone(), &Loads::new(), 2).await, 2);
    h.pass(h.units(3)).await;
    let load = Loads::new().failing("down");
    let served = h.cache().get_or_load::<u64, _, _, _>("k", &policy, load).await.unwrap();
    assert_eq!(*served, 2, "a failed refresh hid the stale value");
}

/// P3 13: without a stale value a soft timeout has no effect.
pub async fn p3_13_without_a_stale_value_the_caller_waits(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(9)).stale_for(h.units(9)).soft_timeout(h.units(1));
    let gate = Gate::new();
    let mut caller = Box::pin(h.cache().get_or_load("k", &policy, gate.loader(1_u64)));
    assert!(poll_once(&mut caller).is_pending());
    gate.reached().await;
    h.pass(h.units(2)).await;
    let_others_run().await;
    assert!(poll_once(&mut caller).is_pending(), "it gave up with nothing to give");
    gate.open();
    assert_eq!(*caller.await.unwrap(), 1);
}

/// P3 14: that a key has no value is remembered for `negative_ttl`, and seen as absent, not as a
/// miss; a caller that needs a value loads.
pub async fn p3_14_absent_is_cached_for_negative_ttl(h: &CacheHarness) {
    let loads = Loads::new();
    let policy = Policy::ttl(h.units(1_000)).stale_for(h.units(900)).negative_ttl(h.units(4));
    let ask = || h.cache().get_or_load_opt("k", &policy, loads.returning(None::<u64>));
    for _ in 0..3 {
        assert_eq!(ask().await.unwrap(), None);
    }
    assert_eq!(loads.count(), 1, "absent was not cached");
    assert!(fetch(h, "k").await.unwrap().is_absent());
    assert_eq!(h.get::<u64>("k").await, None);
    assert!(!h.cache().contains("k").await.unwrap());
    assert_eq!(h.cache().get_many::<u64>(&["k"]).await.unwrap(), [None]);
    h.pass(h.units(5)).await;
    assert!(fetch(h, "k").await.is_none(), "absent outlived negative_ttl");
    assert_eq!(ask().await.unwrap(), None);
    assert_eq!(loads.count(), 2);
    let value = h.cache().get_or_load("k", &policy, loads.returning(5_u64)).await.unwrap();
    assert_eq!((*value, loads.count()), (5, 3), "absent answered who needs a value");
    assert_eq!(h.get("k").await, Some(5_u64));
}

/// P3 14: a key that the loader of many leaves out is cached as absent.
pub async fn p3_14_keys_left_out_are_absent(h: &CacheHarness) {
    let loads = Loads::new();
    let policy = Policy::ttl(h.units(1_000)).negative_ttl(h.units(4));
    for _ in 0..2 {
        let load = loads.many(|key| (key != "none").then_some(1));
        let found = load_many(h.cache(), &["a", "none", "b"], policy.clone(), load).await;
        assert_eq!(found, [Some(1), None, Some(1)]);
    }
    assert_eq!(loads.count(), 1);
    let load = loads.returning(Some(1_u64));
    assert_eq!(h.cache().get_or_load_opt("none", &policy, load).await.unwrap(), None);
    assert_eq!(loads.count(), 1);
}

/// Past its fraction of the TTL a value is refreshed ahead of time, once, and everybody gets what
/// is there meanwhile.
pub async fn refresh_ahead_refreshes_once(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(8)).refresh_ahead(0.5);
    aged(h, "k", &policy, 2).await;
    let (gate, loads) = (Gate::new(), Loads::new());
    assert_eq!(load_with(h, "k", policy.clone(), &loads, 9).await, 1);
    let_others_run().await;
    assert_eq!(loads.count(), 0, "refreshed before its time");
    h.pass(h.units(3)).await;
    for _ in 0..20 {
        let load = h.cache().get_or_load("k", &policy, loads.gated(&gate, 2_u64));
        assert_eq!(*load.await.unwrap(), 1, "it waited for the refresh");
    }
    gate.reached().await;
    assert_eq!(loads.count(), 1, "refreshes started");
    gate.open();
    eventually_async(async || h.get::<u64>("k").await == Some(2)).await;
    h.pass(h.units(3)).await;
    assert_eq!(h.get("k").await, Some(2_u64), "the refresh did not renew the TTL");
}

/// A refresh ahead of time that fails harms nobody: the value is served while it is fresh.
pub async fn a_failed_refresh_ahead_is_not_noticed(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(8)).refresh_ahead(0.25);
    aged(h, "k", &policy, 4).await;
    let (loads, before) = (Loads::new(), tasks());
    for _ in 0..10 {
        let load = loads.failing("down");
        assert_eq!(*h.cache().get_or_load::<u64, _, _, _>("k", &policy, load).await.unwrap(), 1);
        loads_ended(before).await;
    }
    assert!(loads.count() >= 1, "no refresh was tried");
    h.pass(h.units(5)).await;
    let load = loads.failing("down");
    let error = h.cache().get_or_load::<u64, _, _, _>("k", &policy, load).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Load);
}

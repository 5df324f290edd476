//! `FlakyCache`: what goes wrong where, and what the engine above makes of it.

use std::time::Duration;

use cache_core::{
    CacheError, CacheServiceExt, CacheStore, ErrorKind, Policy, ReadThrough, Selector,
};
use cache_testkit::{FlakyCache, Gate, Loads, ManualClock, Operation, eventually, poll_once};

use crate::backend::MapStore;

const TTL: Duration = Duration::from_secs(60);

fn flaky() -> (ReadThrough<FlakyCache<MapStore>>, cache_testkit::Faults, ManualClock) {
    let clock = ManualClock::new();
    let store = FlakyCache::remote(MapStore::new(clock.clock()));
    let faults = store.faults();
    (ReadThrough::new(store), faults, clock)
}

fn kind<T>(result: Result<T, CacheError>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn operations_are_on_record_in_order() {
    let (cache, faults, _) = flaky();
    cache.set("a", &1, TTL).await.unwrap();
    cache.get_or_load("b", TTL, Loads::new().returning(2)).await.unwrap();
    cache.invalidate_prefix("b").await.unwrap();
    let budget = Policy::default().load_budget();
    let expected = [
        Operation::Store { key: "a".into() },
        Operation::Fetch { key: "b".into() },
        Operation::Lease { key: "b".into(), ttl: budget },
        Operation::Fill { key: "b".into() },
        Operation::Remove { what: Selector::Prefix("b".into()) },
    ];
    assert_eq!(faults.operations(), expected);
    assert_eq!(faults.count(|operation| operation.concerns("b")), 4);
    faults.forget_operations();
    assert!(faults.operations().is_empty());
}

#[tokio::test]
async fn a_failure_befalls_what_is_selected_as_often_as_said() {
    let (cache, faults, _) = flaky();
    faults
        .when(|operation| operation.is_read() && operation.concerns("a"))
        .times(2)
        .fail(ErrorKind::Unavailable);
    assert_eq!(kind(cache.get::<i32>("a").await), Some(ErrorKind::Unavailable));
    assert_eq!(kind(cache.get::<i32>("b").await), None);
    assert_eq!(kind(cache.get_many::<i32>(&["b", "a"]).await), Some(ErrorKind::Unavailable));
    assert_eq!(kind(cache.get::<i32>("a").await), None);
    faults.when(|_| true).fail(ErrorKind::Backend);
    assert_eq!(kind(cache.set("a", &1, TTL).await), Some(ErrorKind::Backend));
    faults.heal();
    assert_eq!(cache.get::<i32>("a").await.unwrap(), None, "it failed before it was stored");
}

#[tokio::test]
async fn a_lost_reply_is_of_an_operation_that_took_effect() {
    let (cache, faults, _) = flaky();
    faults.when(Operation::is_write).after().once().fail(ErrorKind::Timeout);
    assert_eq!(kind(cache.set("a", &1, TTL).await), Some(ErrorKind::Timeout));
    assert_eq!(cache.get("a").await.unwrap(), Some(1));
    faults.when(Operation::is_remove).after().once().fail(ErrorKind::Timeout);
    assert_eq!(kind(cache.invalidate("a").await), Some(ErrorKind::Timeout));
    assert_eq!(cache.get::<i32>("a").await.unwrap(), None);
}

#[tokio::test]
async fn a_delay_is_by_the_cache_s_clock() {
    let (cache, faults, clock) = flaky();
    faults.when(|_| true).delay(Duration::from_secs(5));
    let mut get = Box::pin(cache.get::<i32>("a"));
    assert!(poll_once(&mut get).is_pending());
    clock.advance(Duration::from_secs(4));
    assert!(poll_once(&mut get).is_pending());
    clock.advance(Duration::from_secs(1));
    assert!(poll_once(&mut get).is_ready());
}

#[tokio::test]
async fn an_operation_is_held_until_it_is_let_go() {
    let (cache, faults, _) = flaky();
    let gate = faults.when(Operation::is_fill).hold();
    let load = cache.get_or_load("k", TTL, Loads::new().returning(1));
    let mut load = Box::pin(load);
    assert!(poll_once(&mut load).is_pending());
    gate.reached().await;
    // Loaded, not yet stored: the moment at which a removal must still hold (P1 01).
    cache.invalidate("k").await.unwrap();
    gate.open();
    assert_eq!(*load.await.unwrap(), 1);
    assert_eq!(cache.get::<i32>("k").await.unwrap(), None);
    assert_eq!(cache.stats().fills_refused, 1);
}

#[tokio::test]
async fn p1_01_a_removal_that_is_under_way_holds_from_its_return() {
    let (cache, faults, _) = flaky();
    // The store has removed, the caller does not know it yet; a load begins in between.
    let gate = faults.when(Operation::is_remove).after().hold();
    let mut removal = Box::pin(cache.invalidate("k"));
    assert!(poll_once(&mut removal).is_pending());
    let slow = Gate::new();
    let mut load = Box::pin(cache.get_or_load("k", TTL, slow.loader(1)));
    assert!(poll_once(&mut load).is_pending());
    slow.reached().await;
    gate.open();
    removal.await.unwrap();
    // Whoever comes after the removal does not join a load that began before it returned.
    assert_eq!(*cache.get_or_load("k", TTL, Loads::new().returning(2)).await.unwrap(), 2);
    slow.open();
    assert_eq!(*load.await.unwrap(), 1);
}

#[tokio::test]
async fn a_backend_in_trouble_does_not_fail_a_load() {
    for stage_after in [false, true] {
        for broken in [Operation::is_read, Operation::is_lease, Operation::is_fill] {
            let (cache, faults, _) = flaky();
            let fault = faults.when(broken);
            if stage_after { fault.after() } else { fault }.fail(ErrorKind::Unavailable);
            let loads = Loads::new();
            assert_eq!(*cache.get_or_load("k", TTL, loads.returning(1)).await.unwrap(), 1);
            let many = cache.get_or_load_many(&["m", "n"], TTL, loads.many(|_| Some(2))).await;
            assert_eq!(many.unwrap().len(), 2);
            assert_eq!(loads.count(), 2);
            assert!(cache.stats().errors > 0);
            faults.heal();
            assert!(cache.get_or_load("k", TTL, loads.returning(1)).await.is_ok());
            eventually(|| cache.loads_in_flight() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_service_is_wrapped_like_a_store() {
    let clock = ManualClock::new();
    let cache = FlakyCache::new(ReadThrough::new(MapStore::new(clock.clock())));
    cache.set("a", &1, TTL).await.unwrap();
    let faults = cache.faults();
    faults.when(|_| true).fail(ErrorKind::Unavailable);
    assert_eq!(cache.get("a").await.unwrap(), Some(1), "what is held is read without an operation");
    let load = cache.get_or_load("b", TTL, Loads::new().returning(2)).await;
    assert_eq!(kind(load), Some(ErrorKind::Unavailable));
    assert_eq!(cache.operations().last(), Some(&Operation::Load { key: "b".into() }));
    assert!(cache.inner().peek("a").is_some());
}

/// A predicate that asks its own faults: of another thread, as it would stand for ever.
#[test]
fn a_predicate_may_ask_and_change_its_own_faults() {
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (cache, faults, _) = flaky();
            let own = faults.clone();
            let written = move || own.count(Operation::is_write) > 0;
            faults.when(move |op| op.is_read() && written()).fail(ErrorKind::Unavailable);
            assert_eq!(kind(cache.get::<i32>("a").await), None);
            cache.set("a", &1, TTL).await.unwrap();
            assert_eq!(kind(cache.get::<i32>("a").await), Some(ErrorKind::Unavailable));
            let own = faults.clone();
            let healing = move |op: &Operation| {
                if op.is_remove() {
                    own.heal();
                }
                false
            };
            faults.when(healing).fail(ErrorKind::Backend);
            cache.invalidate("b").await.unwrap();
            assert_eq!(cache.get("a").await.unwrap(), Some(1));
            assert_eq!(faults.count(|_| faults.operations().len() == 5), 5);
        });
        ended.send(()).unwrap();
    });
    end.recv_timeout(Duration::from_secs(20)).expect("it stands, or has failed");
}

/// As services do that test time with tokio's: a delay is as long by that as it says.
#[tokio::test(start_paused = true)]
async fn a_delay_is_as_long_in_a_runtime_whose_time_is_paused() {
    let store = FlakyCache::remote(cache_testkit::MockCacheService::passthrough());
    store.faults().when(|_| true).delay(Duration::from_millis(50));
    let cache = ReadThrough::new(store);
    let got = tokio::time::timeout(Duration::from_millis(500), cache.get::<i32>("a")).await;
    assert_eq!(got.expect("a tenth of the timeout").unwrap(), None);
}

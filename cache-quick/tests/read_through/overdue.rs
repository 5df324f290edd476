//! Loads that nobody runs any more: who waits for one bounds itself (P3).

use std::future::Future;
use std::pin::pin;
use std::sync::mpsc;

use cache_core::{CacheError, CacheServiceExt, ErrorKind, ManualClock, Policy, ReadThrough};
use cache_quick::QuickStore;
use cache_testkit::{FlakyCache, LoadFailed, Loads, eventually, let_others_run, poll_once};
use tokio::runtime::{Builder, Runtime};

use super::{HOUR, Loaded, SECOND, cache};

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn policy() -> Policy {
    Policy::ttl(HOUR).load_timeout(SECOND)
}

/// Polls `call` once within `runtime`, which runs nothing else, now or later.
fn begin_on<F: Future + Unpin>(runtime: &Runtime, call: &mut F) {
    runtime.block_on(async { assert!(poll_once(call).is_pending()) });
}

/// What `call` ends with while time goes by.
async fn ends<T>(clock: &ManualClock, call: impl Future<Output = T>) -> T {
    let mut call = pin!(call);
    let mut ended = None;
    eventually(|| {
        clock.advance(SECOND / 4);
        ended = match poll_once(&mut call) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        };
        ended.is_some()
    })
    .await;
    ended.unwrap()
}

fn is_timeout(loaded: Loaded) {
    let error = loaded.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some("k")), "{error}");
    assert!(error.is_retryable());
}

#[test]
fn p3_06_a_runtime_that_stands_still_holds_nobody_on_another() {
    let clock = ManualClock::new();
    let (cache, loads, policy) = (cache(&clock), Loads::new(), policy());
    let (still, other) = (runtime(), runtime());
    begin_on(&still, &mut Box::pin(cache.get_or_load("k", &policy, loads.returning(1_u64))));
    begin_on(
        &still,
        &mut Box::pin(cache.get_or_load_many(&["l", "m"], &policy, loads.many(|_| Some(1_u64)))),
    );
    other.block_on(async {
        let one = cache.get_or_load("k", &policy, loads.returning(2_u64));
        let many = cache.get_or_load_many(&["m"], &policy, loads.many(|_| Some(2_u64)));
        let (one, many) = ends(&clock, async { tokio::join!(one, many) }).await;
        is_timeout(one);
        assert_eq!(many.unwrap_err().kind(), ErrorKind::Timeout);
        assert_eq!(loads.count(), 0, "they joined");
        // The keys are free; that nobody asked for is until it is asked for.
        let one = cache.get_or_load("k", &policy, loads.returning(3_u64));
        assert_eq!(*one.await.unwrap(), 3);
        let many = cache.get_or_load_many(&["m"], &policy, loads.many(|_| Some(3_u64)));
        assert_eq!(*many.await.unwrap()[0].clone().unwrap(), 3);
    });
    // Run after all it finds what is there, and ends.
    still.block_on(async {
        eventually(|| cache.engine().loads_in_flight() == 0).await;
        assert_eq!(*cache.get_or_load("k", &policy, loads.returning(4_u64)).await.unwrap(), 3);
    });
}

#[test]
fn p3_06_who_has_a_stale_value_gets_it_although_it_would_wait_for_ever() {
    let clock = ManualClock::new();
    let (cache, loads) = (cache(&clock), Loads::new());
    let stale = policy().stale_for(HOUR).soft_timeout(std::time::Duration::MAX);
    let (still, other) = (runtime(), runtime());
    other.block_on(async {
        cache.set("k", &1_u64, &stale).await.unwrap();
        clock.advance(HOUR);
    });
    begin_on(&still, &mut Box::pin(cache.get_or_load("k", &stale, loads.returning(2_u64))));
    other.block_on(async {
        let call = cache.get_or_load("k", &stale, loads.returning(3_u64));
        assert_eq!(*ends(&clock, call).await.unwrap(), 1);
        let call = cache.get_or_load("k", &stale, loads.returning(4_u64));
        assert_eq!(*call.await.unwrap(), 4, "the key is stuck");
    });
}

/// However long everything has stood still, a load that is run has its turn before it is given up.
#[tokio::test]
async fn p3_06_a_load_that_is_run_is_not_given_up_by_who_waits() {
    let clock = ManualClock::new();
    let (cache, gate) = (cache(&clock), cache_testkit::Gate::new());
    let mut call = Box::pin(cache.get_or_load("k", policy(), gate.loader(1_u64)));
    assert!(poll_once(&mut call).is_pending());
    gate.reached().await;
    gate.open();
    clock.advance(HOUR);
    // Before the loader.
    assert!(poll_once(&mut call).is_pending(), "it was given up although it was to be run");
    assert_eq!(*call.await.unwrap(), 1);
}

/// A loader that blocks its thread cannot be given up; who waits for it can.
#[test]
fn p3_06_a_loader_that_blocks_its_thread_holds_nobody() {
    let clock = ManualClock::new();
    let (cache, policy) = (cache(&clock), policy());
    let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let load = move || async move {
        begin.send(()).unwrap();
        let _ = released.recv();
        Ok::<_, LoadFailed>(1_u64)
    };
    let first = runtime.spawn({
        let (cache, policy) = (cache.clone(), policy.clone());
        async move { cache.get_or_load("k", &policy, load).await }
    });
    begun.recv().unwrap();
    runtime.block_on(async {
        let second = cache.get_or_load("k", &policy, Loads::new().returning(2_u64));
        let (first, second) = ends(&clock, async { tokio::join!(first, second) }).await;
        is_timeout(first.unwrap());
        is_timeout(second);
        let third = cache.get_or_load("k", &policy, Loads::new().returning(3_u64));
        assert_eq!(*third.await.unwrap(), 3);
    });
    drop(release);
}

/// A backend whose calls never end is no better.
#[tokio::test]
async fn p3_06_a_backend_that_does_not_answer_holds_nobody() {
    let clock = ManualClock::new();
    let store = FlakyCache::remote(QuickStore::builder().clock(&clock).build_store());
    let faults = store.faults();
    let cache = ReadThrough::builder(store).clock(&clock).build();
    type Stage = fn(&cache_testkit::Operation) -> bool;
    let stages: [Stage; 3] = [|call| call.is_read(), |call| call.is_lease(), |call| call.is_fill()];
    for stage in stages {
        let held = faults.when(stage).once().hold();
        let loads = Loads::new();
        let first = cache.get_or_load("k", policy(), loads.returning(1_u64));
        let second = cache.get_or_load("k", policy(), loads.returning(2_u64));
        let (first, second) = ends(&clock, async { tokio::join!(first, second) }).await;
        is_timeout(first);
        is_timeout(second);
        let third = cache.get_or_load("k", policy(), loads.returning(3_u64));
        assert_eq!(*third.await.unwrap(), 3);
        held.open();
        let_others_run().await;
        let gone: Result<(), CacheError> = cache.invalidate("k").await;
        gone.unwrap();
    }
}

/// What has no bound has none for who waits either.
#[tokio::test]
async fn p3_06_without_a_load_timeout_a_load_is_waited_for() {
    let clock = ManualClock::new();
    let (cache, gate) = (cache(&clock), cache_testkit::Gate::new());
    let policy = Policy::ttl(HOUR).load_timeout(std::time::Duration::MAX);
    let mut call = Box::pin(cache.get_or_load("k", policy, gate.loader(1_u64)));
    for _ in 0..3 {
        clock.advance(HOUR * 24 * 365);
        assert!(poll_once(&mut call).is_pending());
        let_others_run().await;
    }
    gate.open();
    assert_eq!(*call.await.unwrap(), 1);
}

//! Loaders that go wrong (P3): whatever one does, its callers are answered and the key is free.

use std::sync::Arc;

use cache_core::{CacheServiceExt, ErrorKind, Policy};

use super::fixture::{Started, callers, load_now, load_with};
use crate::{CacheHarness, Gate, LoadFailed, Loads, eventually, poll_once};

/// P3 04: a loader's error reaches everybody who waited, as what it was; the next caller loads.
pub async fn p3_04_an_error_reaches_all_waiters_once(h: &CacheHarness) {
    let (gate, loads, started) = (Gate::new(), Loads::new(), Started::default());
    let policy = h.lasting();
    let all = callers(h, 20, |cache, _| {
        let (policy, started) = (policy.clone(), started.clone());
        let load = loads.failing_after(&gate, "no such organisation");
        tokio::spawn(async move {
            let mut call = Box::pin(cache.get_or_load("k", policy, load));
            // It is under way when it has been polled, and only then does it count.
            assert!(poll_once(&mut call).is_pending());
            started.one();
            call.await
        })
    })
    .await;
    eventually(|| started.count() == 20).await;
    gate.reached().await;
    gate.open();
    for caller in all {
        let error = caller.await.unwrap().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Load, "{error}");
        assert_eq!(error.key(), Some("k"));
        let own = error.loader_error::<LoadFailed>();
        assert_eq!(own, Some(&LoadFailed("no such organisation")));
    }
    assert_eq!(loads.count(), 1, "loaders called");
    assert_eq!(h.get::<u64>("k").await, None, "a failure was cached");
    assert_eq!(load_now(h, "k", 2).await, 2);
}

/// P3 05: a loader that panics, when called or later, is an error to those that waited; the key is
/// free.
pub async fn p3_05_a_panic_is_an_error(h: &CacheHarness) {
    let at_once = || -> std::future::Ready<Result<u64, LoadFailed>> { panic!("planned panic") };
    let later = || async {
        tokio::task::yield_now().await;
        assert!(std::hint::black_box(false), "planned panic");
        Ok::<_, LoadFailed>(1_u64)
    };
    for round in 0..2 {
        let result = if round == 0 {
            h.cache().get_or_load("k", h.lasting(), at_once).await
        } else {
            h.cache().get_or_load("k", h.lasting(), later).await
        };
        let error = result.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Load, Some("k")), "{error}");
        assert!(error.to_string().contains("planned panic"), "{error}");
    }
    assert_eq!(load_now(h, "k", 2).await, 2);
    let many =
        |_: Vec<String>| -> std::future::Ready<Result<_, LoadFailed>> { panic!("planned panic") };
    let result = h.cache().get_or_load_many::<u64, _, _, _>(&["m", "n"], h.lasting(), many).await;
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Load);
    assert_eq!(load_now(h, "m", 3).await, 3);
}

/// P3 06: a loader that never returns is given up after `load_timeout`: its callers hear of it and
/// the key is usable.
pub async fn p3_06_a_loader_that_hangs_is_given_up(h: &CacheHarness) {
    let loads = Loads::new();
    let policy = Policy::ttl(h.units(1_000)).load_timeout(h.units(2));
    let mut hung = Box::pin(h.cache().get_or_load("k", &policy, loads.hanging::<u64>()));
    assert!(poll_once(&mut hung).is_pending());
    eventually(|| loads.count() == 1).await;
    let mut waiter = Box::pin(h.cache().get_or_load("k", &policy, loads.returning(1_u64)));
    assert!(poll_once(&mut waiter).is_pending());
    h.pass(h.units(3)).await;
    for caller in [hung.await, waiter.await] {
        let error = caller.unwrap_err();
        assert_eq!((error.kind(), error.key()), (ErrorKind::Timeout, Some("k")), "{error}");
        assert!(error.is_retryable());
    }
    assert_eq!(load_with(h, "k", policy, &loads, 2).await, 2);
    assert_eq!(loads.count(), 2);
}

/// P3 10: a loader that asks for the key that it is loading, straight away or by way of another,
/// gets an error and does not hang.
pub async fn p3_10_a_re_entrant_load_is_an_error(h: &CacheHarness) {
    let (cache, policy) = (Arc::clone(h.cache()), h.lasting());
    let load = move || async move {
        cache.get_or_load("k", policy, Loads::new().returning(1_u64)).await.map(|value| *value)
    };
    let error = h.cache().get_or_load("k", h.lasting(), load).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Load, "{error}");

    let (cache, policy) = (Arc::clone(h.cache()), h.lasting());
    let load = move || async move {
        let (inner, again) = (Arc::clone(&cache), policy.clone());
        let load = move || async move {
            let many = Loads::new().many(|_| Some(1_u64));
            inner.get_or_load_many(&["x", "a"], again, many).await.map(|_| 1_u64)
        };
        cache.get_or_load("b", policy, load).await.map(|value| *value)
    };
    let error = h.cache().get_or_load("a", h.lasting(), load).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Load, "{error}");
    for key in ["k", "a", "b", "x"] {
        assert_eq!(load_now(h, key, 2).await, 2, "{key} is stuck");
    }

    let (cache, policy) = (Arc::clone(h.cache()), h.lasting());
    let load = move || async move {
        cache.get_or_load("inner", policy, Loads::new().returning(5_u64)).await.map(|value| *value)
    };
    let nested = h.cache().get_or_load("outer", h.lasting(), load).await.unwrap();
    assert_eq!(*nested, 5, "a load of another key from within a loader");
}

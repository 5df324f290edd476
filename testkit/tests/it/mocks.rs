//! The mocks: typed calls find what the test said, and what must come and does not fails the test.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use cache_core::{
    CacheService, CacheServiceExt, CacheStats, CacheStore, ConcurrencyService,
    ConcurrencyServiceExt, Entry, ErrorKind, LockErrorKind, LockOptions, Policy, TypedCache,
};
use cache_testkit::{LoadFailed, Loads, MockCacheService, MockConcurrencyService};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Org {
    name: String,
}

fn acme() -> Org {
    Org { name: "Acme".into() }
}

fn panics<T>(test: impl FnOnce() -> T) -> String {
    match catch_unwind(AssertUnwindSafe(test)) {
        Ok(_) => panic!("it did not panic"),
        Err(payload) => match payload.downcast::<String>() {
            Ok(message) => *message,
            Err(payload) => (*payload.downcast::<&str>().unwrap()).to_owned(),
        },
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[tokio::test]
async fn every_typed_call_finds_a_hit() {
    let mut mock = MockCacheService::new();
    mock.hit("org:acme", &acme());
    let cache: Arc<dyn CacheService> = Arc::new(mock);
    let loads = Loads::new();
    assert_eq!(cache.get("org:acme").await.unwrap(), Some(acme()));
    assert_eq!(cache.get_arc("org:acme").await.unwrap(), Some(Arc::new(acme())));
    assert_eq!(cache.get_many(&["org:acme"]).await.unwrap(), [Some(acme())]);
    assert!(cache.contains("org:acme").await.unwrap());
    let other = Org { name: "other".into() };
    let load = loads.returning(other.clone());
    assert_eq!(*cache.get_or_load("org:acme", None, load).await.unwrap(), acme());
    let load = loads.returning(Some(other.clone()));
    let found = cache.get_or_load_opt("org:acme", None, load).await.unwrap();
    assert_eq!(found.as_deref(), Some(&acme()));
    let load = loads.many(move |_| Some(other.clone()));
    let found = cache.get_or_load_many(&["org:acme"], None, load).await.unwrap();
    assert_eq!(found, [Some(Arc::new(acme()))]);
    let ahead = Policy::default().refresh_ahead(0.5);
    let load = loads.returning(acme());
    assert_eq!(*cache.get_or_load("org:acme", ahead, load).await.unwrap(), acme());
    assert_eq!(loads.count(), 0);
    assert_eq!(cache.stats(), CacheStats::default());
    let typed = TypedCache::<Org>::new(cache, "org");
    assert_eq!(typed.get("acme").await.unwrap(), Some(acme()));
}

#[tokio::test]
async fn every_typed_call_finds_a_miss() {
    let mut mock = MockCacheService::new();
    mock.miss("a").absent("b").hit("c", &3);
    let loads = Loads::new();
    assert_eq!(mock.get::<i32>("a").await.unwrap(), None);
    assert_eq!(mock.get_many(&["a", "b", "c", "a"]).await.unwrap(), [None, None, Some(3), None]);
    assert!(!mock.contains("a").await.unwrap() && !mock.contains("b").await.unwrap());
    assert_eq!(*mock.get_or_load("a", None, loads.returning(1)).await.unwrap(), 1);
    assert_eq!(loads.count(), 1);
    let absent = mock.get_or_load_opt("b", None, loads.returning(Some(2))).await.unwrap();
    assert_eq!((absent, loads.count()), (None, 1));
    assert_eq!(*mock.get_or_load("b", None, loads.returning(2)).await.unwrap(), 2);
    let load = loads.many(|key| {
        assert_eq!(key, "a");
        None::<i32>
    });
    let many = mock.get_or_load_many(&["a", "c", "a"], None, load).await.unwrap();
    assert_eq!(many, [None, Some(Arc::new(3)), None]);
    let error = mock.get_or_load::<i32, _, _, _>("a", None, loads.failing("no")).await.unwrap_err();
    assert_eq!((error.loader_error(), error.key()), (Some(&LoadFailed("no")), Some("a")));
}

#[tokio::test]
async fn a_key_that_fails_fails_every_call() {
    let mut mock = MockCacheService::new();
    mock.hit("ok", &1).fails("bad", ErrorKind::Timeout);
    let loads = Loads::new();
    let timed_out = |kind: Result<(), ErrorKind>| assert_eq!(kind, Err(ErrorKind::Timeout));
    timed_out(mock.get::<i32>("bad").await.map(drop).map_err(|error| error.kind()));
    timed_out(mock.get_many::<i32>(&["ok", "bad"]).await.map(drop).map_err(|error| error.kind()));
    timed_out(mock.set("bad", &1, None).await.map_err(|error| error.kind()));
    timed_out(mock.set_many(&[("bad", 1)], None).await.map_err(|error| error.kind()));
    timed_out(mock.invalidate("bad").await.map_err(|error| error.kind()));
    let load = mock.get_or_load("bad", None, loads.returning(1));
    timed_out(load.await.map(drop).map_err(|error| error.kind()));
    let load = mock.get_or_load_many(&["bad"], None, loads.many(|_| Some(1)));
    timed_out(load.await.map(drop).map_err(|error| error.kind()));
    assert_eq!(loads.count(), 0);
}

#[tokio::test]
async fn expected_writes_are_ticked_off() {
    let mut mock = MockCacheService::new();
    mock.expects_set("a", &acme())
        .expects_set("b", "text")
        .expects_set("b", "again")
        .expects_invalidate("a")
        .expects_invalidate("b")
        .expects_invalidate_prefix("org:")
        .expects_clear();
    mock.set("a", &acme(), None).await.unwrap();
    mock.set_many(&[("b", "text"), ("b", "again")], None).await.unwrap();
    mock.invalidate_many(&["b", "a"]).await.unwrap();
    mock.invalidate_prefix("org:").await.unwrap();
    mock.clear().await.unwrap();
}

#[test]
fn a_write_that_does_not_come_fails() {
    let message = panics(|| {
        let mut mock = MockCacheService::new();
        mock.expects_invalidate("org:acme");
    });
    assert!(message.contains("org:acme"), "{message}");
    let message = panics(|| {
        let mut mock = MockCacheService::new();
        mock.expects_set("k", &1);
        block_on(async { mock.set("k", &2, None).await })
    });
    assert!(message.contains("another value"), "{message}");
    let message = panics(|| {
        let mut mock = MockCacheService::new();
        mock.expects_invalidate("k");
        block_on(async {
            mock.invalidate("k").await.unwrap();
            mock.invalidate("k").await
        })
    });
    assert!(message.contains("remove") && message.contains('k'), "{message}");
}

#[test]
fn a_call_that_nothing_is_said_about_panics_with_its_key() {
    let get = || block_on(async { MockCacheService::new().get::<i32>("org:acme").await });
    let message = panics(get);
    assert!(message.contains("fetch") && message.contains("org:acme"), "{message}");
    let load = || {
        block_on(async {
            MockCacheService::new().get_or_load("org:acme", None, Loads::new().returning(1)).await
        })
    };
    let message = panics(load);
    assert!(message.contains("load") && message.contains("org:acme"), "{message}");
}

#[tokio::test]
async fn mockall_s_expectations_are_there_for_the_rest() {
    let mut mock = MockCacheService::new();
    mock.hit("a", &1);
    mock.expect_fetch()
        .withf(|key| key == "b")
        .times(1)
        .returning(|_| Entry::encode(&2, &Policy::default()).map(Some));
    mock.expect_peek()
        .returning(|key| (key == "c").then(|| Entry::encode(&3, &Policy::default()).unwrap()));
    mock.expect_load().times(1).returning(|_, policy, _| Entry::encode(&4, policy));
    mock.expect_stats().returning(|| CacheStats { local_hits: 9, ..CacheStats::default() });
    assert_eq!(mock.get("a").await.unwrap(), Some(1));
    assert_eq!(mock.get("b").await.unwrap(), Some(2));
    assert_eq!(mock.get("c").await.unwrap(), Some(3));
    assert_eq!(*mock.get_or_load("d", None, Loads::new().returning(0)).await.unwrap(), 4);
    assert_eq!(mock.stats().local_hits, 9);
}

#[tokio::test]
async fn locks_are_granted_held_and_broken_as_told() {
    let mut mock = MockConcurrencyService::new();
    mock.grants("free").held("taken").fails("down", LockErrorKind::Unavailable);
    mock.expects_lock("once");
    let locks: Arc<dyn ConcurrencyService> = Arc::new(mock);
    for _ in 0..2 {
        assert_eq!(locks.with_lock("free", async { 1 }).await.unwrap(), 1);
        assert_eq!(locks.try_with_lock("free", async { 1 }).await.unwrap(), Some(1));
    }
    let options = LockOptions::default();
    let first = locks.acquire("free", &options).await.unwrap();
    let second = locks.acquire("free", &options).await.unwrap();
    assert!(first.fencing_token() < second.fencing_token());
    assert!(first.check().is_ok());
    first.release().await.unwrap();
    assert_eq!(locks.try_with_lock("taken", async { 1 }).await.unwrap(), None);
    let error = locks.with_lock("taken", async { 1 }).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (LockErrorKind::Timeout, Some("taken")));
    assert!(locks.inspect("taken").await.unwrap().is_some());
    assert!(locks.inspect("free").await.unwrap().is_none());
    let error = locks.with_lock("down", async { 1 }).await.unwrap_err();
    assert_eq!(error.kind(), LockErrorKind::Unavailable);
    locks.with_lock("once", async {}).await.unwrap();
}

#[test]
fn a_lock_that_must_be_taken_and_is_not_fails() {
    panics(|| {
        let mut mock = MockConcurrencyService::new();
        mock.expects_lock("user:7");
    });
}

#[test]
fn what_must_come_can_be_asked_for_before_the_end() {
    let mut mock = MockCacheService::new();
    mock.expects_invalidate("org:acme");
    assert!(panics(|| mock.verify()).contains("org:acme"));
    block_on(mock.invalidate("org:acme")).unwrap();
    mock.verify();
}

//! What is traced: loads to their end in the background, operations of Redis, locks.

// Helpers of tests fail the test, as the tests themselves do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod captured;

use std::collections::HashMap;
use std::time::Duration;

use cache_services::{
    CacheServiceExt, CacheServices, CacheServicesBuilder, ConcurrencyService,
    ConcurrencyServiceExt, LockOptions, TracedKeys,
};
use cache_testkit::{Gate, Loads, RedisServer, eventually, poll_once};
use captured::Captured;
use tracing::{Instrument, info_span};

/// `org:acme`, hashed.
const HASHED: &str = "db3224e941a2a863";
const KEY: &str = "org:acme";

async fn in_process() -> CacheServices {
    CacheServices::builder().build().await.unwrap()
}

fn on(server: &RedisServer) -> CacheServicesBuilder {
    CacheServices::builder().redis_url(server.url())
}

#[tokio::test]
async fn a_load_is_followed_to_its_end_in_the_background() {
    let (captured, _default) = Captured::start();
    let (services, gate, loads) = (in_process().await, Gate::new(), Loads::new());
    let cache = services.cache();
    let query = loads.gated(&gate, 1_u64);
    let load = move || async move { query().instrument(info_span!("query")).await };
    let mut request =
        Box::pin(cache.get_or_load(KEY, None, load).instrument(info_span!("request")));
    assert!(poll_once(&mut request).is_pending());
    gate.reached().await;
    // The caller goes away; the load goes on.
    drop(request);
    let load = captured.one("cache.load");
    assert!(!load.closed && !load.fields.contains_key("result"));
    assert_eq!(load.parent.as_deref(), Some("request"));
    assert_eq!(captured.one("query").parent.as_deref(), Some("cache.load"));
    gate.open();
    eventually(|| captured.one("cache.load").closed).await;
    assert_eq!(captured.one("cache.load").fields["result"], "loaded");
    assert_eq!(captured.one("cache.load").fields["key"], HASHED);
    // A hit is no load.
    assert_eq!(cache.get::<u64>(KEY).await.unwrap(), Some(1));
    assert_eq!(captured.all("cache.load").len(), 1);
}

#[tokio::test]
async fn loads_say_how_they_ended_and_of_how_many_keys() {
    let (captured, _default) = Captured::start();
    let (services, loads) = (in_process().await, Loads::new());
    let cache = services.cache();
    cache.get_or_load(KEY, None, loads.failing::<u64>("no")).await.unwrap_err();
    let failed = captured.one("cache.load");
    assert_eq!((&*failed.fields["result"], &*failed.fields["error"]), ("failed", "Load"));
    let both = ["org:acme", "org:globex"];
    cache.get_or_load_many(&both, None, loads.many(|_| Some(1_u64))).await.unwrap();
    let many = captured.all("cache.load").pop().unwrap();
    assert_eq!((&*many.fields["keys"], &*many.fields["result"]), ("2", "loaded"));
    captured.never_names(&["acme", "globex"]);
}

#[tokio::test]
async fn keys_are_in_clear_where_that_is_asked_for() {
    let (captured, _default) = Captured::start();
    let server = RedisServer::start();
    let in_process = CacheServices::builder().traced_keys(TracedKeys::Clear).build().await;
    let on_redis = on(&server).traced_keys(TracedKeys::Clear).build().await;
    for services in [in_process.unwrap(), on_redis.unwrap()] {
        let (cache, locks) = (services.cache(), services.concurrency());
        cache.get_or_load(KEY, None, Loads::new().returning(1_u64)).await.unwrap();
        locks.with_lock(KEY, async {}).await.unwrap();
        for name in ["cache.load", "lock.acquire", "lock.hold"] {
            assert_eq!(captured.all(name).pop().unwrap().fields["key"], KEY, "{name}");
        }
    }
    assert!(captured.all("cache.far").iter().all(|far| far.fields["key"] == KEY));
}

#[tokio::test]
async fn what_redis_is_asked_is_part_of_what_asked() {
    let (captured, _default) = Captured::start();
    let server = RedisServer::start();
    let services = on(&server).build().await.unwrap();
    let cache = services.cache();
    cache.get_or_load(KEY, None, Loads::new().returning(1_u64)).await.unwrap();
    let far = |operation: &str| {
        let mut found = captured.all("cache.far");
        found.retain(|span| span.fields["operation"] == operation);
        found.pop().unwrap_or_else(|| panic!("no {operation} in {captured:?}"))
    };
    for operation in ["fetch", "lease", "fill"] {
        let span = far(operation);
        assert_eq!(span.parent.as_deref(), Some("cache.load"), "{operation}");
        assert_eq!((&*span.fields["key"], &*span.fields["result"]), (HASHED, "ok"), "{operation}");
        assert!(span.closed, "{operation}");
    }
    cache.invalidate_prefix("org:").instrument(info_span!("request")).await.unwrap();
    assert_eq!(far("remove").parent.as_deref(), Some("request"));
    assert!(far("remove").fields.contains_key("prefix"));
    cache.set_many(&[("a", 1), ("b", 2)], None).await.unwrap();
    assert_eq!(far("store_many").fields["keys"], "2");
    server.stop();
    cache.set(KEY, &1, None).await.unwrap_err();
    let failed = far("store");
    assert_eq!(failed.fields["result"], "failed");
    assert!(["Unavailable", "Timeout"].contains(&&*failed.fields["error"]), "{failed:?}");
    captured.never_names(&["acme", "org:"]);
}

#[tokio::test]
async fn a_lock_is_waited_for_in_one_span_and_held_in_another() {
    let server = RedisServer::start();
    let builders: HashMap<_, _> =
        [("in process", CacheServices::builder()), ("on Redis", on(&server))].into();
    for (what, builder) in builders {
        let (captured, _default) = Captured::start();
        let services = builder.build().await.unwrap();
        let (cache, locks) = (services.cache(), services.concurrency());
        let section = async {
            assert!(captured.one("lock.acquire").closed, "{what}: it waits no more");
            cache.get_or_load(KEY, None, Loads::new().returning(1_u64)).await.unwrap();
        };
        let locked = locks.with_lock(KEY, section).instrument(info_span!("request"));
        locked.await.unwrap();
        let (acquire, hold) = (captured.one("lock.acquire"), captured.one("lock.hold"));
        assert_eq!(acquire.parent.as_deref(), Some("request"), "{what}");
        assert_eq!(acquire.fields["result"], "acquired", "{what}");
        assert_eq!(hold.parent.as_deref(), Some("request"), "{what}");
        assert_eq!((&*hold.fields["key"], &*hold.fields["lost"]), (HASHED, "false"), "{what}");
        assert!(hold.fields.contains_key("fence") && hold.closed, "{what}");
        let load = captured.one("cache.load");
        assert_eq!(load.parent.as_deref(), Some("lock.hold"), "{what}: what it does inside");
        captured.never_names(&["acme"]);
    }
}

#[tokio::test]
async fn a_lock_that_is_not_got_or_is_lost_says_so() {
    let (captured, _default) = Captured::start();
    let locks = in_process().await.concurrency();
    let options = LockOptions::default().wait(Duration::ZERO);
    let guard = locks.acquire(KEY, &options).await.unwrap();
    assert!(!captured.one("lock.hold").closed);
    let last = || captured.all("lock.acquire").pop().unwrap().fields;
    assert!(locks.try_acquire(KEY, &options).await.unwrap().is_none());
    assert_eq!(last()["result"], "held");
    locks.acquire(KEY, &options).await.unwrap_err();
    assert_eq!((&*last()["result"], &*last()["error"]), ("failed", "Timeout"));
    assert!(locks.force_release(KEY, guard.fencing_token()).await.unwrap());
    drop(guard);
    let hold = captured.one("lock.hold");
    assert!(hold.closed && hold.fields["lost"] == "true", "{hold:?}");
}

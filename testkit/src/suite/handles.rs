//! Clones, `Arc`, `Box` and typed views are handles to one cache.

use std::collections::HashMap;
use std::sync::Arc;

use cache_core::{CacheService, CacheServiceExt, ErrorKind, TypedCache};

use super::fixture::{Org, begin_load, load_now, loaded, put};
use crate::{CacheHarness, Gate, LoadFailed, Loads, poll_once};

/// A clone is the same cache: entries, loads in flight, removals and counters.
pub async fn a_clone_is_the_same_cache(h: &CacheHarness) {
    let twin = h.twin();
    put(h, "k", 1).await;
    assert_eq!(twin.get::<u64>("k").await.unwrap(), Some(1));
    twin.set("k", &2_u64, h.lasting()).await.unwrap();
    assert_eq!(h.get("k").await, Some(2_u64));
    twin.invalidate("k").await.unwrap();
    assert_eq!(h.get::<u64>("k").await, None);

    let gate = Gate::new();
    let first = begin_load(h, "l", &gate, 3).await;
    let mut second = Box::pin(twin.get_or_load("l", h.lasting(), Loads::new().returning(4_u64)));
    assert!(poll_once(&mut second).is_pending(), "the clone loads by itself");
    gate.open();
    assert_eq!((loaded(first).await, *second.await.unwrap()), (3, 3));

    let gate = Gate::new();
    let old = begin_load(h, "r", &gate, 5).await;
    twin.invalidate("r").await.unwrap();
    gate.open();
    assert_eq!(loaded(old).await, 5);
    assert_eq!(h.get::<u64>("r").await, None, "a removal by the clone did not hold");
    assert_eq!(twin.stats(), h.cache().stats());
}

async fn works(cache: &impl CacheService, key: &str) {
    let ttl = std::time::Duration::from_secs(3600);
    cache.set(key, &Org::new(1), ttl).await.unwrap();
    assert_eq!(cache.get::<Org>(key).await.unwrap(), Some(Org::new(1)));
    let loads = Loads::new();
    let value = cache.get_or_load(key, ttl, loads.returning(Org::new(2))).await.unwrap();
    assert_eq!((*value).clone(), Org::new(1));
    cache.invalidate(key).await.unwrap();
    let value = cache.get_or_load_opt(key, ttl, loads.returning(Some(Org::new(3)))).await.unwrap();
    assert_eq!(value.as_deref(), Some(&Org::new(3)));
    let many = loads.many(|_| Some(Org::new(4)));
    let found = cache.get_or_load_many(&[key], ttl, many).await.unwrap();
    assert_eq!(found[0].as_deref(), Some(&Org::new(3)));
    assert_eq!(loads.count(), 1);
    assert!(cache.contains(key).await.unwrap());
}

/// `Arc<dyn CacheService>` and `Box<dyn CacheService>`, also of one another, are caches: the same.
pub async fn arc_and_box_of_dyn_are_caches(h: &CacheHarness) {
    let shared: Arc<dyn CacheService> = Arc::clone(h.cache());
    let boxed: Box<dyn CacheService> = Box::new(Arc::clone(&shared));
    works(&shared, "arc").await;
    works(&boxed, "box").await;
    let nested: Arc<Box<dyn CacheService>> = Arc::new(boxed);
    works(&nested, "arc:box").await;
    assert_eq!(h.get("box").await, Some(Org::new(3)));
    assert_eq!(nested.stats(), h.cache().stats());
    if let Some(clock) = h.manual_clock() {
        assert_eq!(nested.clock().now(), clock.now(), "a handle has another clock");
    }
}

/// A typed cache reads and writes under its prefix, under its policy.
pub async fn a_typed_cache_is_a_view_under_a_prefix(h: &CacheHarness) {
    let orgs = TypedCache::<Org>::new(Arc::clone(h.cache()), "org").with_policy(h.lasting());
    orgs.set("acme", &Org::new(1)).await.unwrap();
    assert_eq!(orgs.get("acme").await.unwrap(), Some(Org::new(1)));
    assert_eq!(orgs.get_arc("acme").await.unwrap().as_deref(), Some(&Org::new(1)));
    assert_eq!(h.get("org:acme").await, Some(Org::new(1)));
    assert!(orgs.contains("acme").await.unwrap());
    let loads = Loads::new();
    orgs.get_or_load("beta", loads.returning(Org::new(2))).await.unwrap();
    assert_eq!(h.get("org:beta").await, Some(Org::new(2)));
    assert_eq!(orgs.get_or_load_opt("gamma", loads.returning(None)).await.unwrap(), None);
    let load = |missing: Vec<String>| async move {
        assert_eq!(missing, ["delta"], "the loader is to see keys without the prefix, once each");
        Ok::<_, LoadFailed>(HashMap::from([("delta".to_owned(), Org::new(4))]))
    };
    let found = orgs.get_or_load_many(&["acme", "delta", "gamma", "delta"], load).await.unwrap();
    let ids: Vec<_> = found.iter().map(|slot| slot.as_ref().map(|org| org.id)).collect();
    assert_eq!(ids, [Some(1), Some(4), None, Some(4)]);
    assert_eq!(h.get("org:delta").await, Some(Org::new(4)));
    let many = orgs.get_many(&["delta", "nobody"]).await.unwrap();
    assert_eq!(many, [Some(Org::new(4)), None]);
    assert_eq!(orgs.get("").await.unwrap_err().kind(), ErrorKind::InvalidKey);
}

/// What a typed cache removes is its own.
pub async fn a_typed_cache_removes_its_own(h: &CacheHarness) {
    let ttl = h.lasting();
    let orgs = TypedCache::<u64>::new(Arc::clone(h.cache()), "org").with_policy(ttl);
    for key in ["org:a", "org:ab", "org:b", "org:c", "org:d", "org", "organ:a", "user:a", "xorg:a"]
    {
        put(h, key, 1).await;
    }
    orgs.invalidate("b").await.unwrap();
    orgs.invalidate_many(&["c"]).await.unwrap();
    assert_eq!(h.get::<u64>("org:b").await, None);
    assert_eq!(h.get::<u64>("org:c").await, None);
    orgs.invalidate_prefix("a").await.unwrap();
    assert_eq!(orgs.get_many(&["a", "ab", "d"]).await.unwrap(), [None, None, Some(1)]);
    orgs.clone().clear().await.unwrap();
    assert_eq!(h.get::<u64>("org:d").await, None);
    for key in ["org", "organ:a", "user:a", "xorg:a"] {
        assert_eq!(h.get(key).await, Some(1_u64), "{key} was not the typed cache's to remove");
    }
    assert_eq!(load_now(h, "org:a", 2).await, 2);
}

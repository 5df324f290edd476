//! What reads find: missing keys, many keys, duplicates, what the process holds.

use std::sync::Arc;

use cache_core::{CacheServiceExt, CacheStore, Selector};

use super::fixture::{Org, fetch, put, put_stale, strings};
use crate::{CacheHarness, Capability, Loads};

/// A key that was never written is missing, however it is asked for, and that is no error.
pub async fn a_missing_key_is_none(h: &CacheHarness) {
    assert_eq!(h.get::<Org>("nobody").await, None);
    assert_eq!(h.cache().get_arc::<Org>("nobody").await.unwrap(), None);
    assert_eq!(h.cache().get_many::<Org>(&["nobody"]).await.unwrap(), [None]);
    assert!(!h.cache().contains("nobody").await.unwrap());
    assert!(fetch(h, "nobody").await.is_none());
    assert!(h.cache().peek("nobody").is_none());
    assert!(h.cache().peek_fresh("nobody").is_none());
}

/// Every read gives back what was written.
pub async fn a_written_value_is_read_back(h: &CacheHarness) {
    let org = Org::new(1);
    h.cache().set("org:acme", &org, h.lasting()).await.unwrap();
    assert_eq!(h.get::<Org>("org:acme").await.as_ref(), Some(&org));
    assert_eq!(h.cache().get_arc::<Org>("org:acme").await.unwrap().as_deref(), Some(&org));
    let many = h.cache().get_many::<Org>(&["org:acme"]).await.unwrap();
    assert_eq!(many, [Some(org.clone())]);
    assert!(h.cache().contains("org:acme").await.unwrap());
    let loads = Loads::new();
    let load = loads.returning(Org::new(2));
    assert_eq!(*h.cache().get_or_load("org:acme", h.lasting(), load).await.unwrap(), org);
    assert_eq!(loads.count(), 0, "the loader was called although the value was there");
}

/// One slot per key, in the order of the keys, missing ones included.
pub async fn get_many_answers_in_order(h: &CacheHarness) {
    for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
        put(h, key, value).await;
    }
    let found = h.cache().get_many::<u64>(&["c", "x", "a", "b", "y"]).await.unwrap();
    assert_eq!(found, [Some(3), None, Some(1), Some(2), None]);
    let fetched = h.cache().fetch_many(&strings(&["x", "b"])).await.unwrap();
    assert_eq!(fetched.len(), 2);
    assert!(fetched[0].is_none());
    assert_eq!(fetched[1].as_ref().unwrap().decode::<u64>().unwrap(), 2);
}

/// A key that is named twice has two slots.
pub async fn duplicate_keys_have_a_slot_each(h: &CacheHarness) {
    put(h, "a", 1).await;
    put(h, "b", 2).await;
    let asked = ["a", "x", "a", "b", "x", "a"];
    let found = h.cache().get_many::<u64>(&asked).await.unwrap();
    assert_eq!(found, [Some(1), None, Some(1), Some(2), None, Some(1)]);
    let fetched = h.cache().fetch_many(&strings(&asked)).await.unwrap();
    assert_eq!(
        fetched.iter().map(Option::is_some).collect::<Vec<_>>(),
        [true, false, true, true, false, true]
    );
    // Stale entries are not held for reads, so they are looked up in the store.
    put_stale(h, "s", 3).await;
    let fetched = h.cache().fetch_many(&strings(&["x", "s", "x", "s", "s"])).await.unwrap();
    let found: Vec<_> = fetched.iter().map(Option::is_some).collect();
    assert_eq!(found, [false, true, false, true, true]);
    let loads = Loads::new();
    let load = loads.many(|key| (key == "x").then_some(9));
    let loaded = h.cache().get_or_load_many(&asked, h.lasting(), load).await.unwrap();
    let loaded: Vec<_> = loaded.into_iter().map(|slot: Option<Arc<u64>>| *slot.unwrap()).collect();
    assert_eq!(loaded, [1, 9, 1, 2, 9, 1]);
    assert_eq!(loads.count(), 1);
}

/// Lists without keys are answered with empty lists, change nothing and call no loader.
pub async fn empty_lists_do_nothing(h: &CacheHarness) {
    put(h, "a", 1).await;
    let cache = h.cache();
    assert!(cache.get_many::<u64>(&[]).await.unwrap().is_empty());
    assert!(cache.fetch_many(&[]).await.unwrap().is_empty());
    cache.set_many::<u64>(&[], h.lasting()).await.unwrap();
    cache.store_many(Vec::new()).await.unwrap();
    cache.invalidate_many(&[]).await.unwrap();
    let removed = cache.remove(&Selector::Keys(Vec::new())).await.unwrap();
    assert!(removed.is_none_or(|count| count == 0), "{removed:?}");
    let loads = Loads::new();
    let loaded = cache.get_or_load_many::<u64, _, _, _>(&[], h.lasting(), loads.many(|_| Some(1)));
    assert!(loaded.await.unwrap().is_empty());
    assert_eq!(loads.count(), 0, "a loader was called for no keys");
    assert_eq!(h.get("a").await, Some(1_u64));
}

/// What the process holds is peeked at without waiting, and its reads share one decoded value. A
/// cache that holds nothing in the process shows nothing.
pub async fn held_values_are_peeked_at_and_shared(h: &CacheHarness) {
    let org = Org::new(1);
    h.cache().set("org:acme", &org, h.lasting()).await.unwrap();
    let peeked = h.cache().peek("org:acme");
    assert_eq!(h.cache().peek_fresh("org:acme").is_some(), peeked.is_some());
    if !h.can(Capability::LocalReads) {
        let advice = "it has Capability::LocalReads after all: declare it";
        assert!(peeked.is_none(), "peek showed an entry: {advice}");
        return;
    }
    let peeked =
        peeked.expect("peek shows nothing: declare that Capability::LocalReads is lacking");
    assert_eq!(peeked.decode::<Org>().unwrap(), org);
    let first = h.cache().get_arc::<Org>("org:acme").await.unwrap().unwrap();
    let second = h.cache().get_arc::<Org>("org:acme").await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&first, &second), "two reads of a held value decoded it twice");
}

/// `contains` says whether `get` would find a value: not for one that is cached as absent.
pub async fn contains_is_what_get_finds(h: &CacheHarness) {
    put(h, "a", 1).await;
    let absent =
        h.cache().get_or_load_opt::<u64, _, _, _>("b", h.lasting(), Loads::new().returning(None));
    assert_eq!(absent.await.unwrap(), None);
    for (key, expected) in [("a", true), ("b", false), ("c", false)] {
        assert_eq!(h.cache().contains(key).await.unwrap(), expected, "{key}");
        assert_eq!(h.get::<u64>(key).await.is_some(), expected, "{key}");
    }
}

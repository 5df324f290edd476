//! What writes leave behind: the last one's value and lifetimes.

use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore, Entry, ErrorKind, Policy};

use super::fixture::{Broken, entry, expired_entry, fetch, number, put, put_stale};
use crate::{CacheHarness, Capability};

/// The last write of a key is what is read.
pub async fn the_last_write_wins(h: &CacheHarness) {
    for value in 0..5_u64 {
        put(h, "k", value).await;
        assert_eq!(h.get("k").await, Some(value));
        let shared = h.cache().get_arc::<u64>("k").await.unwrap();
        assert_eq!(shared.as_deref(), Some(&value));
    }
    h.cache().set("k", "another type", h.lasting()).await.unwrap();
    assert_eq!(h.get::<String>("k").await.as_deref(), Some("another type"));
    let shared = h.cache().get_arc::<String>("k").await.unwrap();
    assert_eq!(shared.as_ref().map(|text| text.as_str()), Some("another type"));
}

/// Writes 2 under a key, by itself or as one of two.
async fn overwrite(h: &CacheHarness, many: bool, key: &str, policy: impl Into<Policy>) {
    let cache = h.cache();
    if many {
        cache.set_many(&[("other", 3_u64), (key, 2)], policy).await.unwrap();
    } else {
        cache.set(key, &2_u64, policy).await.unwrap();
    }
}

/// A value that overwrites another lives as long as its own TTL, be it longer or shorter, and be it
/// written by itself or among many, each of which has its own.
pub async fn overwriting_replaces_the_ttl(h: &CacheHarness) {
    for (many, longer, shorter) in [(false, "longer", "shorter"), (true, "l:many", "s:many")] {
        for (key, first, second) in [(longer, 2, 1_000), (shorter, 1_000, 2)] {
            h.cache().set(key, &1_u64, h.units(first)).await.unwrap();
            overwrite(h, many, key, h.units(second)).await;
        }
    }
    let entry_for = |units| Entry::encode(&1_u64, &Policy::ttl(h.units(units))).unwrap();
    let each = [("l:each", 1_000), ("s:each", 2), ("l:last", 900)];
    let entries = each.map(|(key, units)| (key.to_owned(), entry_for(units)));
    h.cache().store_many(entries.to_vec()).await.unwrap();
    h.pass(h.units(3)).await;
    for key in ["longer", "l:many"] {
        assert_eq!(h.get(key).await, Some(2_u64), "{key}: the first value's TTL ended the second");
    }
    for key in ["shorter", "s:many"] {
        assert_eq!(h.get::<u64>(key).await, None, "{key}: the first value's TTL kept the second");
    }
    let found = h.cache().get_many::<u64>(&["l:each", "s:each", "l:last"]).await.unwrap();
    assert_eq!(found, [Some(1), None, Some(1)], "of many each has a TTL of its own");
}

/// A value without a stale window that overwrites one that has it is not kept past its TTL; one with
/// a window has it, also among many.
pub async fn overwriting_replaces_the_stale_window(h: &CacheHarness) {
    let long = || Policy::ttl(h.units(2)).stale_for(h.units(900));
    for (many, none, window) in [(false, "none", "window"), (true, "n:many", "w:many")] {
        h.cache().set(none, &1_u64, long()).await.unwrap();
        overwrite(h, many, none, h.units(2)).await;
        h.cache().set(window, &1_u64, h.units(2)).await.unwrap();
        overwrite(h, many, window, long()).await;
    }
    h.pass(h.units(3)).await;
    for key in ["none", "n:many"] {
        let found = fetch(h, key).await;
        assert!(found.is_none(), "{key}: the first value's stale window kept the second");
    }
    for key in ["window", "w:many"] {
        let found = number(fetch(h, key).await.as_ref());
        assert_eq!(found, Some(2), "{key}: the second value has no stale window");
    }
}

/// A write under a TTL of zero, or of an entry whose time is over, leaves nothing under the key:
/// not even what was there.
pub async fn writing_what_has_expired_removes(h: &CacheHarness) {
    let stale = Policy::ttl(h.units(1)).stale_for(h.units(900));
    h.cache().set("s:many", &1_u64, stale).await.unwrap();
    put_stale(h, "stale", 1).await;
    for (many, zero, past, stale) in
        [(false, "zero", "past", "stale"), (true, "z:many", "p:many", "s:many")]
    {
        put(h, zero, 1).await;
        overwrite(h, many, zero, Duration::ZERO).await;
        overwrite(h, many, stale, Duration::ZERO).await;
        put(h, past, 1).await;
        let expired = expired_entry(&h.cache().clock());
        if many {
            let entries = vec![(past.to_owned(), expired), ("q:many".to_owned(), entry(h, 1))];
            h.cache().store_many(entries).await.unwrap();
            assert_eq!(h.get("q:many").await, Some(1_u64));
        } else {
            h.cache().store(past, expired).await.unwrap();
        }
        for key in [zero, past, stale] {
            assert!(fetch(h, key).await.is_none(), "{key}");
            assert!(h.cache().peek(key).is_none(), "{key}");
        }
    }
}

/// `set_many` writes each value; of a key that is named twice the last one stays.
pub async fn set_many_writes_each(h: &CacheHarness) {
    let items = [("a", 1_u64), ("b", 2), ("a", 3), ("c", 4)];
    h.cache().set_many(&items, h.lasting()).await.unwrap();
    let found = h.cache().get_many::<u64>(&["a", "b", "c"]).await.unwrap();
    assert_eq!(found, [Some(3), Some(2), Some(4)]);
}

/// A bad key among many is found before anything is written.
pub async fn set_many_with_a_bad_key_writes_nothing(h: &CacheHarness) {
    let long = "x".repeat(1025);
    for bad in ["", long.as_str()] {
        let error = h.cache().set_many(&[("a", 1_u64), (bad, 2)], h.lasting()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
        let entries = vec![("a".to_owned(), entry(h, 1)), (bad.to_owned(), entry(h, 2))];
        let error = h.cache().store_many(entries).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidKey);
        assert_eq!(h.get::<u64>("a").await, None);
    }
}

/// A value that does not encode is found before anything is written, and its key is named.
pub async fn a_value_that_does_not_encode_writes_nothing(h: &CacheHarness) {
    put(h, "k", 1).await;
    let error = h.cache().set("k", &Broken, h.lasting()).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Serialization, Some("k")));
    assert_eq!(h.get("k").await, Some(1_u64), "a failed write harmed what was there");
    let items = [("k", Ok(2_u64)), ("l", Err(Broken))];
    let error = h.cache().set_many(&items, h.lasting()).await.unwrap_err();
    assert_eq!((error.kind(), error.key()), (ErrorKind::Serialization, Some("l")));
    assert_eq!(h.get("k").await, Some(1_u64), "set_many wrote a part");
}

/// A policy's `local_ttl` bounds how long the process holds a value.
pub async fn local_ttl_bounds_what_the_process_holds(h: &CacheHarness) {
    let policy = Policy::ttl(h.units(1_000)).local_ttl(h.units(2));
    h.cache().set("k", &1_u64, policy).await.unwrap();
    let local = h.can(Capability::LocalReads);
    assert_eq!(h.cache().peek("k").is_some(), local);
    h.pass(h.units(3)).await;
    assert!(h.cache().peek("k").is_none(), "the process held it longer than local_ttl");
}

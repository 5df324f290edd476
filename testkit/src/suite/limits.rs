//! Which keys there may be.

use cache_core::{CacheError, CacheServiceExt, CacheStore, ErrorKind, MAX_KEY_BYTES};

use super::fixture::{entry, fill, keys, lease, put, strings};
use crate::{CacheHarness, Loads};

/// Keys of 1 byte and of 1,024 bytes are keys like any other, characters of several bytes
/// included: it is bytes that count.
pub async fn keys_from_1_to_1024_bytes_work(h: &CacheHarness) {
    let longest = [
        "x".repeat(MAX_KEY_BYTES),
        "é".repeat(MAX_KEY_BYTES / 2),
        "🦀".repeat(MAX_KEY_BYTES / 4),
        "k".to_owned(),
    ];
    for (value, key) in (0_u64..).zip(&longest) {
        put(h, key, value).await;
        assert_eq!(h.get(key).await, Some(value));
        h.cache().invalidate(key).await.unwrap();
        let load = h.cache().get_or_load(key, h.lasting(), Loads::new().returning(value + 100));
        assert_eq!(*load.await.unwrap(), value + 100);
        let held = lease(h, key).await;
        assert!(fill(h, held, value).await);
        assert_eq!(h.cache().get_many::<u64>(&[key]).await.unwrap(), [Some(value)]);
    }
}

/// An empty key and one of more than 1,024 bytes is an error that says so, in every method, before
/// anything happens: no loader runs, nothing is written or removed.
pub async fn other_keys_are_invalid_everywhere(h: &CacheHarness) {
    let bad = [
        String::new(),
        "x".repeat(MAX_KEY_BYTES + 1),
        "é".repeat(MAX_KEY_BYTES / 2 + 1),
        "x".repeat(1 << 20),
    ];
    put(h, "good", 1).await;
    for key in bad.iter().map(String::as_str) {
        refused(h.cache().get::<u64>(key).await);
        refused(h.cache().get_arc::<u64>(key).await);
        refused(h.cache().get_many::<u64>(&["good", key]).await);
        refused(h.cache().contains(key).await);
        refused(h.cache().set(key, &1, None).await);
        refused(h.cache().set_many(&[("new", 1), (key, 2)], None).await);
        refused(h.cache().invalidate(key).await);
        refused(h.cache().invalidate_many(&["good", key]).await);
        refused(h.cache().fetch(key).await);
        refused(h.cache().fetch_many(&strings(&["good", key])).await);
        refused(h.cache().store(key, entry(h, 1)).await);
        refused(h.cache().remove(&keys(&[key])).await);
        refused(h.cache().lease(key, h.units(1)).await);
        let loads = Loads::new();
        refused(h.cache().get_or_load(key, None, loads.returning(1)).await);
        refused(h.cache().get_or_load_opt(key, None, loads.returning(Some(1))).await);
        let many = loads.many(|_| Some(1));
        refused(h.cache().get_or_load_many::<i32, _, _, _>(&["new", key], None, many).await);
        assert_eq!(loads.count(), 0, "a loader ran for an invalid key");
        assert!(h.cache().peek(key).is_none());
    }
    assert_eq!(h.get("good").await, Some(1_u64), "a refused call removed a key");
    assert_eq!(h.get::<u64>("new").await, None, "a refused call wrote a key");
}

fn refused<T>(result: Result<T, CacheError>) {
    match result {
        Ok(_) => panic!("an invalid key was taken"),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidKey, "{error}");
            assert!(!error.is_retryable(), "{error}");
        }
    }
}

/// Keys are what they are: no character is special, and no two different ones are the same.
pub async fn keys_are_taken_literally(h: &CacheHarness) {
    let odd = [
        "a",
        "A",
        "a ",
        " a",
        "a\n",
        "a\r\n",
        "a\t",
        "a\0",
        "*",
        "?",
        "[a]",
        "a*",
        "{a}",
        "\\",
        "\"",
        "'",
        "a:b",
        "a::b",
        ":",
        "a/b",
        "../a",
        "%61",
        "é",
        "e\u{301}",
        "🦀",
        "日本",
        "{}",
        "\u{feff}a",
        "$",
        "a b",
        "null",
    ];
    for (value, key) in (0_u64..).zip(odd) {
        put(h, key, value).await;
    }
    for (value, key) in (0_u64..).zip(odd) {
        assert_eq!(h.get(key).await, Some(value), "{key:?}");
    }
    h.cache().invalidate("*").await.unwrap();
    h.cache().invalidate("a").await.unwrap();
    let found = h.cache().get_many::<u64>(&["*", "a"]).await.unwrap();
    assert_eq!(found, [None, None]);
    for (value, key) in (0_u64..).zip(odd).filter(|(_, key)| !["*", "a"].contains(key)) {
        assert_eq!(h.get(key).await, Some(value), "{key:?} went with another key");
    }
}

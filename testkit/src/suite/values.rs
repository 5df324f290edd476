//! Values go through the codec once, whatever the backend: what comes back, and what cannot.

use std::sync::Arc;

use cache_core::{CacheError, CacheServiceExt, CacheStore, ErrorKind};

use super::fixture::{Broken, Org, Session, entry, fill, lease, load_now, put};
use crate::{CacheHarness, Loads};

/// A part that is not serialized comes back as its default from what was set.
pub async fn a_skipped_field_is_default_after_set(h: &CacheHarness) {
    h.cache().set("s", &Session::with_token(), h.lasting()).await.unwrap();
    assert_eq!(h.get("s").await, Some(Session::without_token()));
    let shared = h.cache().get_arc::<Session>("s").await.unwrap();
    assert_eq!(shared.as_deref(), Some(&Session::without_token()));
    let many = h.cache().get_many::<Session>(&["s"]).await.unwrap();
    assert_eq!(many, [Some(Session::without_token())]);
}

/// The caller whose loader made the value gets it as everybody after it will: through the codec.
pub async fn a_skipped_field_is_default_from_the_load_itself(h: &CacheHarness) {
    let (cache, loads) = (h.cache(), Loads::new());
    let load = loads.returning(Session::with_token());
    let loaded = cache.get_or_load("a", h.lasting(), load).await.unwrap();
    assert_eq!(*loaded, Session::without_token(), "get_or_load");
    let load = loads.returning(Some(Session::with_token()));
    let loaded = cache.get_or_load_opt("b", h.lasting(), load).await.unwrap();
    assert_eq!(loaded.as_deref(), Some(&Session::without_token()), "get_or_load_opt");
    let load = loads.many(|_| Some(Session::with_token()));
    let loaded = cache.get_or_load_many(&["c"], h.lasting(), load).await.unwrap();
    assert_eq!(loaded, [Some(Arc::new(Session::without_token()))], "get_or_load_many");
    for key in ["a", "b", "c"] {
        assert_eq!(h.get(key).await, Some(Session::without_token()), "{key}");
    }
}

/// Checks that an error says what is wrong with which key.
fn names(error: &CacheError, key: &str, type_name: &str) {
    assert_eq!(error.kind(), ErrorKind::Serialization, "{error}");
    assert_eq!(error.key(), Some(key), "{error}");
    assert!(error.to_string().contains(type_name), "{error} does not name {type_name}");
    assert!(!error.is_retryable(), "{error}");
}

/// Asking for another type than was written is an error that names key and type, from every read,
/// and the entry is kept.
pub async fn another_type_is_an_error_and_the_entry_stays(h: &CacheHarness) {
    let (cache, org) = (h.cache(), Org::new(1));
    cache.set("org:acme", &org, h.lasting()).await.unwrap();
    names(&cache.get::<u32>("org:acme").await.unwrap_err(), "org:acme", "u32");
    names(&cache.get_arc::<u32>("org:acme").await.unwrap_err(), "org:acme", "u32");
    names(&cache.get_many::<u32>(&["org:acme"]).await.unwrap_err(), "org:acme", "u32");
    let loads = Loads::new();
    let loaded = cache.get_or_load("org:acme", h.lasting(), loads.returning(1_u32)).await;
    names(&loaded.unwrap_err(), "org:acme", "u32");
    let loaded = cache.get_or_load_opt("org:acme", h.lasting(), loads.returning(Some(1_u32)));
    names(&loaded.await.unwrap_err(), "org:acme", "u32");
    let many = loads.many(|_| Some(1_u32));
    let loaded = cache.get_or_load_many(&["org:acme"], h.lasting(), many).await;
    names(&loaded.unwrap_err(), "org:acme", "u32");
    assert_eq!(loads.count(), 0, "a loader ran although an entry was there");
    assert_eq!(h.get("org:acme").await, Some(org), "the entry was harmed");
}

/// A type that reads the same bytes differently gets its own view of them.
pub async fn a_compatible_type_decodes_the_same_bytes(h: &CacheHarness) {
    put(h, "n", 7).await;
    assert_eq!(h.cache().get_arc::<u64>("n").await.unwrap().as_deref(), Some(&7));
    assert_eq!(h.cache().get_arc::<u8>("n").await.unwrap().as_deref(), Some(&7));
    assert_eq!(h.get::<f64>("n").await, Some(7.0));
    assert_eq!(h.cache().get_arc::<u64>("n").await.unwrap().as_deref(), Some(&7));
}

/// A loaded value that does not encode is the caller's error; the key is not stuck by it.
pub async fn a_loaded_value_that_does_not_encode_is_an_error(h: &CacheHarness) {
    let error = h.cache().get_or_load("k", h.lasting(), Loads::new().returning(Broken)).await;
    names(&error.unwrap_err(), "k", "Broken");
    assert_eq!(h.get::<u64>("k").await, None);
    assert_eq!(load_now(h, "k", 3).await, 3);
    let many = Loads::new().many(|_| Some(Broken));
    let error = h.cache().get_or_load_many::<Broken, _, _, _>(&["m"], h.lasting(), many).await;
    names(&error.unwrap_err(), "m", "Broken");
    assert_eq!(load_now(h, "m", 4).await, 4);
}

/// Values that look like nothing are values: they are found, and not loaded again.
pub async fn empty_values_are_values(h: &CacheHarness) {
    let cache = h.cache();
    cache.set("unit", &(), h.lasting()).await.unwrap();
    assert_eq!(h.get::<()>("unit").await, Some(()));
    cache.set("none", &None::<u64>, h.lasting()).await.unwrap();
    assert_eq!(h.get::<Option<u64>>("none").await, Some(None));
    assert!(cache.contains("none").await.unwrap());
    cache.set("text", "", h.lasting()).await.unwrap();
    assert_eq!(h.get::<String>("text").await.as_deref(), Some(""));
    cache.set("list", &Vec::<u64>::new(), h.lasting()).await.unwrap();
    let loads = Loads::new();
    let load = loads.returning(vec![1_u64]);
    assert!(cache.get_or_load("list", h.lasting(), load).await.unwrap().is_empty());
    assert_eq!(loads.count(), 0);
}

/// Values of some hundred kilobytes, every byte of them.
pub async fn large_values_come_back_whole(h: &CacheHarness) {
    let large: Vec<u64> = (0..50_000).map(|n| n * 0x9e37_79b9).collect();
    h.cache().set("large", &large, h.lasting()).await.unwrap();
    assert!(h.get::<Vec<u64>>("large").await.as_ref() == Some(&large), "it came back changed");
    let text = "\0\u{7f}é日🦀\"\\\n".repeat(10_000);
    h.cache().set("text", &text, h.lasting()).await.unwrap();
    assert!(h.get::<String>("text").await.as_ref() == Some(&text), "it came back changed");
}

/// However a value is overwritten, every read gives the new one: also those that share what was
/// decoded of the old.
pub async fn an_overwritten_value_is_decoded_anew(h: &CacheHarness) {
    let cache = h.cache();
    let (mut old, mut new) = (0, 1);
    put(h, "k", old).await;
    for how in ["set", "set_many", "store", "store_many", "fill", "fill_or_remove", "load"] {
        // The first of them decodes, the others may share what it has.
        for _ in 0..2 {
            assert_eq!(shared(h).await, Some(old));
            assert_eq!(load_now(h, "k", 99).await, old);
        }
        match how {
            "set" => put(h, "k", new).await,
            "set_many" => cache.set_many(&[("k", new), ("l", 0)], h.lasting()).await.unwrap(),
            "store" => cache.store("k", entry(h, new)).await.unwrap(),
            "store_many" => {
                let entries = vec![("k".to_owned(), entry(h, new)), ("l".to_owned(), entry(h, 0))];
                cache.store_many(entries).await.unwrap();
            }
            "fill" => {
                let held = lease(h, "k").await;
                assert!(fill(h, held, new).await);
            }
            "fill_or_remove" => {
                let held = lease(h, "k").await;
                if !cache.fill_or_remove(held, entry(h, new)).await.unwrap() {
                    assert_eq!(shared(h).await, None, "{how}");
                    put(h, "k", new).await;
                }
            }
            _ => {
                cache.invalidate("k").await.unwrap();
                assert_eq!(shared(h).await, None, "{how}");
                assert_eq!(load_now(h, "k", new).await, new);
            }
        }
        assert_eq!(shared(h).await, Some(new), "get_arc after {how}");
        assert_eq!(load_now(h, "k", 99).await, new, "get_or_load after {how}");
        assert_eq!(h.get("k").await, Some(new), "get after {how}");
        (old, new) = (new, new + 1);
    }
}

async fn shared(h: &CacheHarness) -> Option<u64> {
    h.cache().get_arc::<u64>("k").await.unwrap().map(|value| *value)
}

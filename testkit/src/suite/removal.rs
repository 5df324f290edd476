//! What removals take away, and what they leave.

use cache_core::{CacheServiceExt, CacheStore, Selector};

use super::fixture::{fetch, keys, load_now, put, put_stale};
use crate::{CacheHarness, Capability};

/// Writes a number under each of `keys`.
async fn fill_up(h: &CacheHarness, keys: &[&str]) {
    for (value, key) in (0..).zip(keys) {
        put(h, key, value).await;
    }
}

/// Which of `keys` are there.
async fn left(h: &CacheHarness, keys: &[&'static str]) -> Vec<&'static str> {
    let found = h.cache().get_many::<u64>(keys).await.unwrap();
    keys.iter().zip(found).filter_map(|(key, value)| value.map(|_| *key)).collect()
}

/// What was invalidated is gone from every read; other keys stay.
pub async fn an_invalidated_key_is_gone(h: &CacheHarness) {
    fill_up(h, &["a", "ab", "b"]).await;
    h.cache().invalidate("a").await.unwrap();
    assert!(h.cache().peek("a").is_none());
    assert!(fetch(h, "a").await.is_none());
    assert_eq!(left(h, &["a", "ab", "b"]).await, ["ab", "b"]);
    assert_eq!(load_now(h, "a", 7).await, 7, "a load after the invalidation found the old value");
}

/// A stale value is removed like a fresh one: it is not served afterwards, not even as a fallback.
pub async fn a_stale_entry_is_removed_too(h: &CacheHarness) {
    put_stale(h, "k", 1).await;
    h.cache().invalidate("k").await.unwrap();
    assert!(fetch(h, "k").await.is_none());
}

/// Removing what is not there is no error, nor is removing twice.
pub async fn removing_nothing_is_fine(h: &CacheHarness) {
    h.cache().invalidate("nobody").await.unwrap();
    h.cache().invalidate_many(&["nobody", "nobody"]).await.unwrap();
    h.cache().invalidate_prefix("nobody").await.unwrap();
    h.cache().clear().await.unwrap();
    put(h, "k", 1).await;
    h.cache().invalidate("k").await.unwrap();
    h.cache().invalidate("k").await.unwrap();
    assert_eq!(h.get::<u64>("k").await, None);
}

/// `invalidate_many` removes each key it names, once or twice, and no other.
pub async fn invalidate_many_removes_each(h: &CacheHarness) {
    fill_up(h, &["a", "b", "c", "d"]).await;
    h.cache().invalidate_many(&["a", "c", "a", "nobody"]).await.unwrap();
    assert_eq!(left(h, &["a", "b", "c", "d"]).await, ["b", "d"]);
}

/// A prefix selects the keys that begin with it, the key that equals it included, and no key that
/// merely contains it.
pub async fn a_prefix_selects_what_begins_with_it(h: &CacheHarness) {
    let all = ["org:", "org:acme", "org:acme:users", "org", "organ", "xorg:acme", "Org:acme"];
    fill_up(h, &all).await;
    h.cache().invalidate_prefix("org:").await.unwrap();
    assert_eq!(left(h, &all).await, ["org", "organ", "xorg:acme", "Org:acme"]);
    h.cache().invalidate_prefix("xorg:acme").await.unwrap();
    assert_eq!(left(h, &all).await, ["org", "organ", "Org:acme"]);
}

/// Characters that mean something in a pattern language mean themselves in a prefix.
pub async fn glob_characters_in_a_prefix_are_literal(h: &CacheHarness) {
    let cases = [
        ("a*", ["a*b", "a*"], "axb"),
        ("b?", ["b?x", "b?"], "bxx"),
        ("c[ab]", ["c[ab]x", "c[ab]"], "cax"),
        ("d\\*", ["d\\*x", "d\\*"], "d*x"),
        ("e^[", ["e^[x", "e^["], "ex"),
        ("f%", ["f%x", "f%"], "fxx"),
        ("g_", ["g_x", "g_"], "gxx"),
        ("h{1}.", ["h{1}.x", "h{1}."], "h1x"),
        ("i\n", ["i\nx", "i\n"], "ix"),
    ];
    for (prefix, selected, other) in cases {
        fill_up(h, &selected).await;
        put(h, other, 1).await;
        h.cache().invalidate_prefix(prefix).await.unwrap();
        assert!(left(h, &selected).await.is_empty(), "{prefix:?} left some of {selected:?}");
        assert_eq!(left(h, &[other]).await, [other], "{prefix:?} took {other:?}");
    }
}

/// Prefixes and keys of more than one byte per character.
pub async fn multi_byte_prefixes_are_compared_by_bytes(h: &CacheHarness) {
    let all = ["é", "éa", "è", "e", "日本:a", "日本", "日", "🦀", "🦀🦀"];
    fill_up(h, &all).await;
    h.cache().invalidate_prefix("é").await.unwrap();
    h.cache().invalidate_prefix("日本").await.unwrap();
    h.cache().invalidate_prefix("🦀🦀").await.unwrap();
    assert_eq!(left(h, &all).await, ["è", "e", "日", "🦀"]);
}

/// The empty prefix is every key.
pub async fn the_empty_prefix_is_every_key(h: &CacheHarness) {
    fill_up(h, &["a", "é", ":"]).await;
    h.cache().invalidate_prefix("").await.unwrap();
    assert!(left(h, &["a", "é", ":"]).await.is_empty());
}

/// After `clear` nothing is there, and the cache works on.
pub async fn clear_removes_everything(h: &CacheHarness) {
    let all = ["a", "b", "org:acme", "日本"];
    fill_up(h, &all).await;
    put_stale(h, "stale", 1).await;
    h.cache().clear().await.unwrap();
    assert!(left(h, &all).await.is_empty());
    assert!(fetch(h, "stale").await.is_none());
    put(h, "a", 5).await;
    assert_eq!(h.get("a").await, Some(5_u64));
    assert_eq!(load_now(h, "b", 6).await, 6);
}

/// A cache that counts says how many servable entries it removed, each once; one that cannot says
/// so.
pub async fn removals_are_counted_or_said_not_to_be(h: &CacheHarness) {
    let counts = h.can(Capability::RemovalCounts);
    let cases = [
        (keys(&["a", "b", "a", "nobody"]), 2),
        (Selector::Prefix("org:".into()), 2),
        (Selector::Prefix("nobody".into()), 0),
        (Selector::All, 2),
        (Selector::All, 0),
    ];
    fill_up(h, &["a", "b", "org:1", "org:2", "x", "y"]).await;
    for (what, expected) in cases {
        let removed = h.cache().remove(&what).await.unwrap();
        let advice = "declare whether the cache has Capability::RemovalCounts";
        assert_eq!(removed, counts.then_some(expected), "{what:?}: {advice}");
    }
    h.cache().set("short", &1_u64, h.units(1)).await.unwrap();
    h.pass(h.units(2)).await;
    let removed = h.cache().remove(&keys(&["short"])).await.unwrap();
    assert_eq!(removed, counts.then_some(0), "an expired entry was counted");
}

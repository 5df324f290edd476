//! What tiers and nodes ask of a store: the methods that have a default body, which a store may
//! replace with something better.

use cache_core::{
    CacheServiceExt, CacheStore, Entry, ErrorKind, InvalidationBus, Policy, Selector,
};
use futures_util::StreamExt;
use futures_util::future::join;

use super::fixture::{entry, fetch, fill, lease, lease_for, number, put, put_stale, strings};
use super::overtaken::Change;
use crate::{CacheHarness, Capability, LocalBus, poll_once};

/// After `fill_or_remove` the key has its value, and it says so, or no value: never the one that was
/// there, and under a lease that was revoked or has run out none.
pub async fn fill_or_remove_leaves_its_value_or_nothing(h: &CacheHarness) {
    let key = "org:k";
    let fill_or_remove = async |held, value| {
        let stored = h.cache().fill_or_remove(held, entry(h, value)).await.unwrap();
        let expected = stored.then_some(value);
        assert_eq!(number(fetch(h, key).await.as_ref()), expected, "it said {stored}");
        assert_eq!(h.get(key).await, expected);
        stored
    };
    let late = lease_for(h, "late", 1).await;
    let held = lease(h, key).await;
    fill_or_remove(held, 2).await;
    put_stale(h, key, 1).await;
    let held = lease(h, key).await;
    fill_or_remove(held, 3).await;
    put(h, key, 1).await;
    let held = lease(h, key).await;
    fill_or_remove(held, 4).await;
    for change in Change::ALL {
        let held = lease(h, key).await;
        change.make(h, &**h.cache(), key).await;
        assert!(!fill_or_remove(held, 5).await, "its lease was revoked by {change:?}");
    }
    assert!(!h.cache().fill_or_remove(late, entry(h, 6)).await.unwrap(), "its lease had run out");
    assert!(fetch(h, "late").await.is_none());
}

/// Whatever comes of it, no other lease on the key is good after `fill_or_remove`, nor, where leases
/// are granted one at a time, its own.
pub async fn fill_or_remove_revokes_the_other_leases(h: &CacheHarness) {
    let exclusive = h.can(Capability::ExclusiveLeases);
    let held = lease(h, "k").await;
    let other = if exclusive { held.clone() } else { lease(h, "k").await };
    let stored = h.cache().fill_or_remove(held, entry(h, 1)).await.unwrap();
    assert!(!fill(h, other, 2).await, "another lease was still good");
    assert_eq!(number(fetch(h, "k").await.as_ref()), stored.then_some(1));

    let revoked = lease(h, "k").await;
    put(h, "k", 3).await;
    let other = lease(h, "k").await;
    assert!(!h.cache().fill_or_remove(revoked, entry(h, 4)).await.unwrap());
    assert!(!fill(h, other, 5).await, "another lease was still good");
    assert!(fetch(h, "k").await.is_none());
}

/// A fetch that asks past this process finds what any fetch finds, since there is nothing else.
pub async fn a_shared_fetch_finds_what_a_fetch_finds(h: &CacheHarness) {
    h.cache().set("expired", &1_u64, h.units(1)).await.unwrap();
    put_stale(h, "stale", 2).await;
    put(h, "fresh", 3).await;
    let absent = Entry::absent(&Policy::ttl(h.units(900)).negative_ttl(h.units(900)));
    h.cache().store("absent", absent).await.unwrap();
    let plain = |entry: Option<Entry>| entry.map(|entry| entry.bytes().map(<[u8]>::to_vec));
    let keys = strings(&["fresh", "expired", "absent", "stale", "missing", "fresh", "stale"]);
    let many = h.cache().fetch_many_shared(&keys).await.unwrap();
    assert_eq!(many.len(), keys.len(), "one slot per key");
    for (key, shared) in keys.iter().zip(many) {
        let expected = plain(fetch(h, key).await);
        assert_eq!(plain(shared), expected, "fetch_many_shared of {key}");
        let shared = h.cache().fetch_shared(key).await.unwrap();
        assert_eq!(plain(shared), expected, "fetch_shared of {key}");
    }
    assert!(h.cache().fetch_many_shared(&[]).await.unwrap().is_empty());
    let error = h.cache().fetch_shared("").await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
    let error = h.cache().fetch_many_shared(&strings(&["fresh", ""])).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidKey);
}

/// A lease that needs nobody else, where there is one, is revoked by what revokes any other.
pub async fn a_lease_for_here_is_revoked_like_any(h: &CacheHarness) {
    let key = "org:k";
    for change in Change::ALL {
        let Some(held) = h.cache().lease_here(key, h.units(1_000)).await.unwrap() else { return };
        if fill(h, held, 1).await {
            assert_eq!(h.get(key).await, Some(1_u64), "what was filled is kept");
        }
        let held = h.cache().lease_here(key, h.units(1_000)).await.unwrap();
        change.make(h, &**h.cache(), key).await;
        if let Some(held) = held {
            assert!(!fill(h, held, 1).await, "{change:?} did not revoke it");
        }
        change.holds(h, &**h.cache(), key, "a lease for here").await;
    }
}

/// Removals and writes that tell the other nodes do what they say, and nobody hears of it before it
/// has been done.
pub async fn nobody_is_told_before_it_is_done(h: &CacheHarness) {
    let hub = LocalBus::new(1);
    let (own, other) = (hub.node(), hub.node());
    let cache = h.cache();
    for what in [Selector::key("org:k"), Selector::Prefix("org:".into()), Selector::All] {
        put(h, "org:k", 1).await;
        put(h, "org:l", 1).await;
        let mut heard = other.subscribe();
        assert!(heard.next().await.is_some(), "the bus is there");
        let mut call = Box::pin(cache.remove_and_tell(&what, &*own));
        loop {
            let done = poll_once(&mut call).map(|removed| removed.unwrap()).is_ready();
            if poll_once(&mut heard.next()).is_ready() {
                // Who was told looks, whether or not the call has more to do, and finds it done.
                let rest = async {
                    if !done {
                        (&mut call).await.unwrap();
                    }
                };
                let (found, ()) = join(fetch(h, "org:k"), rest).await;
                assert!(found.is_none(), "told of {what:?} before it was done");
                break;
            }
            assert!(!done, "nobody was told of {what:?}");
            tokio::task::yield_now().await;
        }
        assert!(fetch(h, "org:k").await.is_none());
        let left = number(fetch(h, "org:l").await.as_ref());
        assert_eq!(left, (what == Selector::key("org:k")).then_some(1), "{what:?}");
    }
    let mut heard = other.subscribe();
    assert!(heard.next().await.is_some(), "the bus is there");
    cache.store_and_tell("org:k", entry(h, 2), &*own).await.unwrap();
    assert_eq!(h.get("org:k").await, Some(2_u64));
    assert!(poll_once(&mut heard.next()).is_ready(), "nobody heard of the write");
    // What cannot be told is done all the same.
    hub.disconnect(&own);
    assert!(cache.remove_and_tell(&Selector::key("org:k"), &*own).await.is_err());
    assert!(fetch(h, "org:k").await.is_none());
}

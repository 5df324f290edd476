//! Counters: what must add up, whatever the backend.

use cache_core::{CacheServiceExt, CacheStats, ErrorKind, Policy};

use super::fixture::{begin_load, load_many, load_now, loaded, put, put_stale};
use crate::{CacheHarness, Capability, Gate, Loads, poll_once};

fn lookups(stats: &CacheStats) -> u64 {
    stats.local_hits + stats.remote_hits + stats.misses
}

fn hits(stats: &CacheStats) -> u64 {
    stats.local_hits + stats.remote_hits
}

/// Each key of each lookup counts once, as a hit or as a miss, whichever method asks.
pub async fn each_lookup_counts_once(h: &CacheHarness) {
    put(h, "a", 1).await;
    put(h, "b", 2).await;
    let cache = h.cache();
    let mut counted = cache.stats();
    let mut check = |what: &str, hit: u64, missed: u64| {
        let now = cache.stats();
        let found = (hits(&now) - hits(&counted), now.misses - counted.misses);
        assert_eq!(found, (hit, missed), "{what}: hits and misses");
        counted = now;
    };
    let _ = h.get::<u64>("a").await;
    check("get, found", 1, 0);
    let _ = h.get::<u64>("x").await;
    check("get, missing", 0, 1);
    let _ = cache.get_arc::<u64>("a").await;
    check("get_arc, found", 1, 0);
    let _ = cache.get_arc::<u64>("x").await;
    check("get_arc, missing", 0, 1);
    let _ = cache.get_many::<u64>(&["a", "x", "b", "a", "y"]).await;
    check("get_many", 3, 2);
    let _ = cache.contains("a").await;
    check("contains, found", 1, 0);
    let _ = cache.contains("x").await;
    check("contains, missing", 0, 1);
    load_now(h, "a", 9).await;
    check("get_or_load, found", 1, 0);
    load_now(h, "l", 9).await;
    check("get_or_load, loaded", 0, 1);
    load_now(h, "l", 9).await;
    check("get_or_load of what was loaded", 1, 0);
    let opt = cache.get_or_load_opt("o", h.lasting(), Loads::new().returning(None::<u64>));
    assert_eq!(opt.await.unwrap(), None);
    check("get_or_load_opt, loaded", 0, 1);
    let opt = cache.get_or_load_opt("o", h.lasting(), Loads::new().returning(None::<u64>));
    assert_eq!(opt.await.unwrap(), None);
    check("get_or_load_opt, absent", 1, 0);
    load_many(cache, &["a", "m", "n"], h.lasting(), Loads::new().many(|_| Some(1))).await;
    check("get_or_load_many", 1, 2);
    put(h, "w", 1).await;
    cache.invalidate("w").await.unwrap();
    check("writes and removals", 0, 0);
    let failed = cache.get_or_load::<u64, _, _, _>("f", h.lasting(), Loads::new().failing("no"));
    assert_eq!(failed.await.unwrap_err().kind(), ErrorKind::Load);
    check("get_or_load, failed", 0, 1);
    let total = cache.stats();
    let ratio = hits(&total) as f64 / lookups(&total) as f64;
    assert!((total.hit_ratio() - ratio).abs() < 1e-9);
}

/// Loads, failures, joined callers, refused fills, absent and stale answers are counted as what
/// they are.
pub async fn loads_are_counted_as_what_they_are(h: &CacheHarness) {
    let cache = h.cache();
    let begin = cache.stats();
    let gate = Gate::new();
    let first = begin_load(h, "k", &gate, 1).await;
    let load = Loads::new().returning(2_u64);
    let mut second = Box::pin(cache.get_or_load("k", h.lasting(), load));
    assert!(poll_once(&mut second).is_pending());
    gate.open();
    assert_eq!((loaded(first).await, *second.await.unwrap()), (1, 1));
    let stats = cache.stats();
    assert_eq!(stats.loads - begin.loads, 1);
    assert_eq!(stats.misses - begin.misses, 2);
    assert_eq!(stats.coalesced - begin.coalesced, 1);

    let failed = cache.get_or_load::<u64, _, _, _>("f", h.lasting(), Loads::new().failing("no"));
    assert!(failed.await.is_err());
    let stats = cache.stats();
    assert_eq!((stats.loads - begin.loads, stats.load_failures - begin.load_failures), (2, 1));

    let gate = Gate::new();
    let refused = begin_load(h, "r", &gate, 1).await;
    cache.invalidate("r").await.unwrap();
    gate.open();
    assert_eq!(loaded(refused).await, 1);
    assert_eq!(cache.stats().fills_refused - begin.fills_refused, 1);

    for _ in 0..2 {
        let opt = cache.get_or_load_opt("o", h.lasting(), Loads::new().returning(None::<u64>));
        assert_eq!(opt.await.unwrap(), None);
    }
    assert_eq!(cache.stats().negative_hits - begin.negative_hits, 1);

    put_stale(h, "s", 1).await;
    let policy = Policy::ttl(h.units(1)).stale_for(h.units(900));
    let (gate, before) = (Gate::new(), cache.stats());
    let served = cache.get_or_load("s", policy, gate.loader(2_u64)).await.unwrap();
    assert_eq!(*served, 1);
    let stats = cache.stats();
    assert_eq!(stats.stale_served - before.stale_served, 1);
    assert_eq!(hits(&stats) - hits(&before), 1, "a stale answer is a hit");
    gate.open();
}

/// Removals are counted: a key as one, a prefix and everything as one each.
pub async fn invalidations_are_counted(h: &CacheHarness) {
    let cache = h.cache();
    let begin = cache.stats().invalidations;
    cache.invalidate("a").await.unwrap();
    cache.invalidate_many(&["a", "b"]).await.unwrap();
    assert_eq!(cache.stats().invalidations - begin, 3);
    cache.invalidate_prefix("org:").await.unwrap();
    cache.clear().await.unwrap();
    assert_eq!(cache.stats().invalidations - begin, 5);
}

/// A cache that counts its entries counts them right; one that cannot says 0.
pub async fn entries_are_counted_or_0(h: &CacheHarness) {
    let counts = h.can(Capability::EntryCounts);
    let check = |expected: u64| {
        let expected = if counts { expected } else { 0 };
        let advice = "declare whether the cache has Capability::EntryCounts";
        assert_eq!(h.cache().stats().entries, expected, "{advice}");
    };
    check(0);
    for n in 0..20 {
        put(h, &format!("k{n}"), n).await;
    }
    check(20);
    put(h, "k1", 7).await;
    load_now(h, "l", 1).await;
    check(21);
    h.cache().invalidate("k2").await.unwrap();
    h.cache().invalidate("nobody").await.unwrap();
    check(20);
    h.cache().invalidate_prefix("k").await.unwrap();
    check(1);
    h.cache().clear().await.unwrap();
    check(0);
}

/// Weight is in bytes where the cache says so, else it is the number of entries; it goes with the
/// entries.
pub async fn weight_is_bytes_or_entries(h: &CacheHarness) {
    let bytes = h.can(Capability::ByteWeight);
    let weight = || h.cache().stats().weighted_size;
    let advice = "declare whether the cache has Capability::ByteWeight";
    h.cache().set("small", &1_u64, h.lasting()).await.unwrap();
    let small = weight();
    h.cache().set("large", &"x".repeat(10_000), h.lasting()).await.unwrap();
    let large = weight() - small;
    if bytes {
        assert!((10_000..12_000).contains(&large), "{large} for 10,000 bytes: {advice}");
        h.cache().set("large", &"x".repeat(100), h.lasting()).await.unwrap();
        assert!(weight() - small < 1_000, "overwriting kept the old weight");
    } else {
        assert_eq!(weight(), h.cache().stats().entries, "{advice}");
    }
    h.cache().clear().await.unwrap();
    assert_eq!(weight(), 0, "weight stayed when the entries went");
}

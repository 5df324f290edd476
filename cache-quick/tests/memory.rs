//! P9: memory stays within its bound, and counts stay exact, whatever is put in and taken out.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod entries;

use std::any::TypeId;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use cache_core::{CacheServiceExt, CacheStore, Clock, ManualClock, Policy, Selector, Timestamp};
use cache_quick::{QuickCacheService, QuickStore};
use entries::{MIB, entry, held, key};

#[tokio::test]
async fn p9_01_ten_million_inserts_of_random_sizes_stay_within_the_bound() {
    const KEYS: u64 = 300_000;
    const BOUND: u64 = 32 * MIB;
    let store = QuickStore::builder().max_weight(BOUND).build_store();
    let mut random = fastrand::Rng::with_seed(1);
    for round in 0..10_000_000_u32 {
        // Mostly small values, some of several kilobytes.
        let bytes = if random.u8(..) < 250 { random.usize(..200) } else { random.usize(..8_000) };
        store.store(&key(random.u64(..KEYS)), entry(bytes)).await.unwrap();
        if round % 100_000 == 0 {
            let stats = store.stats();
            assert!(stats.weighted_size <= BOUND, "{stats:?}");
            assert!((store.sweep_records() as u64) < 2 * stats.entries + 10_000, "{stats:?}");
        }
    }
    let stats = store.stats();
    assert!(stats.weighted_size > BOUND * 9 / 10, "the room is used: {stats:?}");
    assert_eq!(held(&store, KEYS), (stats.entries, stats.weighted_size));
}

#[test]
fn p9_02_ten_million_inserts_and_removals_of_hot_keys_leave_counts_exact() {
    const KEYS: u64 = 300;
    let store = QuickStore::builder().max_capacity(1_000).build_store();
    let work = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..5_000_000 {
                let key = key(random.u64(..KEYS));
                match random.bool() {
                    true => store.store(&key, entry(8)).await.unwrap(),
                    false => drop(store.remove(&Selector::key(key)).await.unwrap()),
                }
            }
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(|| work(1));
        scope.spawn(|| work(2));
    });
    let stats = store.stats();
    assert_eq!(held(&store, KEYS).0, stats.entries);
    assert_eq!(stats.weighted_size, stats.entries);
    assert!(store.sweep_records() < 4_000, "{} records", store.sweep_records());
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for id in KEYS..1_000 {
        runtime.block_on(store.store(&key(id), entry(8))).unwrap();
    }
    let admitted = (KEYS..1_000).filter(|id| store.peek(&key(*id)).is_some()).count();
    assert!(admitted > 600, "of 700 new keys {admitted} were admitted");
}

#[tokio::test]
async fn a_key_that_comes_and_goes_leaves_no_records_behind() {
    let store = QuickStore::builder().build_store();
    for round in 0..1_000_000 {
        store.store("k", entry(8)).await.unwrap();
        store.remove(&Selector::key("k")).await.unwrap();
        if round % 100_000 == 0 {
            assert!(store.sweep_records() < 10, "{} records", store.sweep_records());
        }
    }
}

#[tokio::test]
async fn expired_entries_that_nobody_reads_are_freed_by_writes_to_other_keys() {
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().max_capacity(20_000).clock(&clock).build();
    for id in 0..10_000 {
        cache.set(&key(id), &id, Duration::from_secs(1)).await.unwrap();
    }
    assert_eq!(cache.stats().entries, 10_000);
    clock.advance(Duration::from_secs(1));
    for _ in 0..3_000 {
        cache.set("other", &0, Duration::from_secs(60)).await.unwrap();
    }
    assert_eq!(cache.stats().entries, 1);
    assert_eq!(cache.stats().evictions, 0);
}

#[tokio::test]
async fn a_sweep_in_parts_sees_to_all_whatever_is_written_meanwhile() {
    const PARTS: usize = 8;
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().max_capacity(200_000).clock(&clock).build();
    for id in 0..60_000 {
        cache.set(&key(id), &id, Duration::from_secs(1)).await.unwrap();
    }
    clock.advance(Duration::from_secs(3));
    for _ in 0..PARTS {
        cache.engine().inner().sweep_part(PARTS);
        // As many as would bring a count that is shared with them round to where it was.
        for _ in 0..256 - 256 / PARTS {
            cache.set("other", &0, Duration::from_secs(60)).await.unwrap();
        }
    }
    assert_eq!(cache.stats().entries, 1);
}

#[tokio::test]
async fn expired_entries_are_freed_by_reads_that_miss() {
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().clock(&clock).build();
    for id in 0..1_000 {
        cache.set(&key(id), &id, Duration::from_secs(1)).await.unwrap();
    }
    clock.advance(Duration::from_secs(1));
    for _ in 0..1_000 {
        assert_eq!(cache.get::<u64>("other").await.unwrap(), None);
    }
    assert_eq!(cache.stats().entries, 0);
}

#[tokio::test]
async fn a_sweep_frees_what_has_expired_and_nothing_else() {
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().clock(&clock).build();
    for id in 0..100 {
        cache.set(&key(id), &id, Duration::from_secs(1 + id % 2)).await.unwrap();
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.engine().inner().sweep(), 50);
    assert_eq!(cache.stats().entries, 50);
}

#[tokio::test]
async fn idle_entries_go_and_read_ones_stay() {
    let clock = ManualClock::new();
    let idle = Duration::from_secs(10);
    let cache = QuickCacheService::builder().time_to_idle(idle).clock(&clock).build();
    cache.set("read", &1, None).await.unwrap();
    cache.set("idle", &1, None).await.unwrap();
    for _ in 0..3 {
        clock.advance(Duration::from_secs(9));
        assert_eq!(cache.get_arc::<u32>("read").await.unwrap().as_deref(), Some(&1));
    }
    assert_eq!(cache.get::<u32>("idle").await.unwrap(), None);
    clock.advance(idle);
    assert_eq!(cache.get::<u32>("read").await.unwrap(), None);
    assert_eq!(cache.engine().inner().sweep(), cache.stats().entries as usize + 2);
}

#[tokio::test]
async fn capacity_zero_stores_nothing_and_loads_all_the_same() {
    for cache in [
        QuickCacheService::builder().max_capacity(0).build(),
        QuickCacheService::builder().max_weight(0).build(),
        QuickCacheService::builder().max_weight(MIB).max_capacity(0).build(),
    ] {
        cache.set("k", &1, None).await.unwrap();
        assert_eq!(cache.get::<u32>("k").await.unwrap(), None);
        let load = || async { Ok::<_, std::io::Error>(7_u32) };
        assert_eq!(*cache.get_or_load("k", None, load).await.unwrap(), 7);
        cache.clear().await.unwrap();
        assert_eq!(cache.stats().entries, 0);
    }
}

#[tokio::test]
async fn evictions_are_counted() {
    let cache = QuickCacheService::builder().max_capacity(100).build();
    for id in 0..1_000 {
        cache.set(&key(id), &id, None).await.unwrap();
    }
    let stats = cache.stats();
    assert!(stats.entries <= 100);
    assert_eq!(stats.entries + stats.evictions, 1_000);
}

#[tokio::test]
async fn a_decoded_value_is_served_until_the_microsecond_and_counted_once() {
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().clock(&clock).build();
    for ttl in [Duration::from_millis(900), Duration::from_millis(10_700)] {
        cache.set("k", "v", ttl).await.unwrap();
        let ends = clock.now() + ttl;
        let first = cache.get_arc::<String>("k").await.unwrap().unwrap();
        let tick = Duration::from_micros(1);
        let before = cache.stats();
        // What is at hand says to a second how long it is fresh; the entry says the rest.
        for left in [ttl / 2, ttl / 100, tick] {
            clock.advance(clock.now().until(ends) - left);
            let again = cache.get_arc::<String>("k").await.unwrap().expect("it is fresh");
            assert!(Arc::ptr_eq(&first, &again), "decoded once");
        }
        assert_eq!(cache.stats().local_hits - before.local_hits, 3);
        clock.advance(tick);
        assert!(cache.get_arc::<String>("k").await.unwrap().is_none());
    }
}

#[tokio::test]
async fn a_value_is_at_hand_as_its_type_and_before_the_deadline_of_who_asks() {
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().clock(&clock).build();
    cache.set("n", &7_u32, Duration::from_secs(60)).await.unwrap();
    let at_hand = |of, before| cache.peek_value("n", of, before).is_some();
    let (number, never) = (TypeId::of::<u32>(), Timestamp::MAX);
    assert!(!at_hand(number, never), "not decoded yet");
    assert_eq!(cache.get_arc("n").await.unwrap(), Some(Arc::new(7_u32)));
    assert!(at_hand(number, never) && !at_hand(TypeId::of::<u64>(), never));
    assert_eq!(cache.get_arc("n").await.unwrap(), Some(Arc::new(7_u64)));
    // That is on the system's clock, whatever the cache's says.
    let now = Clock::system().now();
    assert!(at_hand(number, now + Duration::from_secs(60)));
    assert!(!at_hand(number, now - Duration::from_secs(1)) && !at_hand(number, Timestamp::ZERO));
    clock.advance(Duration::from_secs(60));
    assert!(!at_hand(number, never), "not fresh any more");
}

#[tokio::test]
async fn local_ttl_bounds_how_long_the_process_holds_a_value() {
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().clock(&clock).build();
    let policy = Policy::ttl(Duration::from_secs(60)).local_ttl(Duration::from_secs(5));
    cache.set("k", &1, &policy).await.unwrap();
    clock.advance(Duration::from_micros(4_999_999));
    assert!(cache.contains("k").await.unwrap());
    clock.advance(Duration::from_micros(1));
    assert!(!cache.contains("k").await.unwrap());
}

#[tokio::test]
async fn where_local_ttl_ends_freshness_the_stale_window_follows() {
    let clock = ManualClock::new();
    let cache = QuickCacheService::builder().clock(&clock).build();
    let ttl = Duration::from_secs(100);
    let policy = Policy::ttl(ttl).local_ttl(ttl / 10).stale_for(ttl / 20);
    cache.set("k", &1, &policy).await.unwrap();
    let failing = || async { Err::<u32, _>(std::io::Error::other("no")) };
    clock.advance(ttl / 8);
    assert_eq!(*cache.get_or_load("k", &policy, failing).await.unwrap(), 1);
    clock.advance(ttl / 40);
    assert!(cache.get_or_load("k", &policy, failing).await.is_err());
}

/// Bytes are counted where entries are what is bounded, too: whatever comes, is read, replaced, turned
/// away, evicted, removed or expires, by two threads at once.
#[test]
fn bytes_are_counted_exactly_whatever_the_bound() {
    const KEYS: u64 = 2_000;
    for builder in [
        QuickCacheService::builder().max_capacity(500),
        QuickCacheService::builder().max_weight(200_000),
        QuickCacheService::builder().max_weight(200_000).max_capacity(500),
    ] {
        let clock = ManualClock::new();
        let cache = builder.clock(&clock).build();
        let work = |seed| {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut random = fastrand::Rng::with_seed(seed);
                for _ in 0..200_000 {
                    let key = key(random.u64(..KEYS));
                    // The largest are larger than the cache.
                    let large = random.u8(..100) == 0;
                    let text = "x".repeat(random.usize(..if large { 300_000 } else { 500 }));
                    let brief = Duration::from_secs(random.u64(1..100));
                    match random.u16(..1_000) {
                        0..500 => cache.set(&key, &text, brief).await.unwrap(),
                        // The first puts the decoded value at hand.
                        500..900 => drop(cache.get_arc::<String>(&key).await.unwrap()),
                        900..995 => cache.invalidate(&key).await.unwrap(),
                        995 => cache.invalidate_prefix("k:1").await.unwrap(),
                        996 => drop(cache.engine().inner().sweep()),
                        _ => clock.advance(Duration::from_secs(1)),
                    }
                }
            });
        };
        std::thread::scope(|scope| {
            let work = &work;
            for seed in [1, 2] {
                scope.spawn(move || work(seed));
            }
        });
        cache.engine().inner().sweep();
        let stats = cache.stats();
        assert_eq!(held(cache.engine().inner(), KEYS), (stats.entries, stats.bytes), "{cache:?}");
        assert!(stats.entries > 50, "there is something to count: {stats:?}");
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(cache.clear()).unwrap();
        assert_eq!((cache.stats().entries, cache.stats().bytes), (0, 0));
    }
}

/// Reads the cache that held it, when it is dropped.
#[derive(serde::Serialize, serde::Deserialize)]
struct Reads;

static HOLDER: OnceLock<QuickCacheService> = OnceLock::new();
static READ: AtomicUsize = AtomicUsize::new(0);

impl Drop for Reads {
    fn drop(&mut self) {
        drop(HOLDER.get().map(|cache| cache.peek("other")));
        READ.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_value_that_reads_the_cache_as_it_is_dropped_may_do_so() {
    // So few are in one part, under one lock.
    let cache = HOLDER.get_or_init(|| QuickCacheService::builder().max_capacity(20).build());
    let (done, ended) = mpsc::channel();
    // What a lock stops is not waited for.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for end in [0, 1, 2, 3] {
                cache.set("k", &Reads, None).await.unwrap();
                drop(cache.get_arc::<Reads>("k").await.unwrap().unwrap());
                cache.set("other", &1, None).await.unwrap();
                let before = READ.load(Ordering::Relaxed);
                match end {
                    0 => cache.invalidate("k").await.unwrap(),
                    1 => cache.set("k", &2, None).await.unwrap(),
                    2 => cache.invalidate_prefix("k").await.unwrap(),
                    _ => cache.clear().await.unwrap(),
                }
                done.send(READ.load(Ordering::Relaxed) - before).unwrap();
            }
        });
    });
    for _ in 0..4 {
        assert_eq!(
            ended.recv_timeout(Duration::from_secs(30)),
            Ok(1),
            "dropped once, and has read"
        );
    }
}

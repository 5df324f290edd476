//! P9: what bounds a cache, as it is made and as it is changed.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod entries;

use cache_core::{CacheStore, ErrorKind, Selector};
use cache_quick::QuickStore;
use entries::{MIB, entry, held, key};

#[tokio::test]
async fn no_more_entries_are_held_than_the_bound_says_whatever_it_divides_by() {
    for bound in [1, 2, 31, 63, 65, 101, 129, 1_001, 4_099] {
        let store = QuickStore::builder().max_capacity(bound).build_store();
        for id in 0..4 * bound + 100 {
            store.store(&key(id), entry(8)).await.unwrap();
        }
        let stats = store.stats();
        assert!(stats.entries <= bound, "{bound}: {stats:?}");
        assert!(stats.entries > bound * 8 / 10, "{bound}: the room is used: {stats:?}");
    }
}

#[tokio::test]
async fn a_bound_in_entries_holds_although_the_bytes_do_not_divide_evenly() {
    let store = QuickStore::builder().max_capacity(1_000).max_weight(3_999).build_store();
    for id in 1_000..4_000 {
        // Three bytes each, the key's.
        let key = format!("{id:x}");
        store.store(&key, entry(0)).await.unwrap();
    }
    let stats = store.stats();
    assert!(stats.entries <= 1_000 && stats.entries > 900, "{stats:?}");
}

#[tokio::test]
async fn a_value_of_up_to_4_mib_is_kept_whatever_the_number_of_parts() {
    for mib in [5, 12, 20, 28, 44, 60] {
        let store = QuickStore::builder().max_weight(mib * MIB).build_store();
        let bytes = (4 * MIB) as usize - "k:7".len();
        store.store("k:7", entry(bytes)).await.unwrap();
        assert!(store.peek("k:7").is_some(), "of {mib} MiB");
    }
    // A smaller cache is one part.
    for mib in [1, 4] {
        let store = QuickStore::builder().max_weight(mib * MIB).build_store();
        store.store("k", entry(790_000 * mib as usize)).await.unwrap();
        assert!(store.peek("k").is_some(), "three quarters of {mib} MiB");
    }
}

#[tokio::test]
async fn both_bounds_hold_together() {
    let store = QuickStore::builder().max_weight(MIB).max_capacity(100).build_store();
    for id in 0..1_000 {
        store.store(&key(id), entry(10)).await.unwrap();
    }
    assert!(store.stats().entries <= 100);
    for id in 0..1_000 {
        store.store(&key(id), entry(100_000)).await.unwrap();
    }
    let (entries, bytes) = held(&store, 1_000);
    assert!((1..=10).contains(&entries), "{entries}");
    assert!(bytes <= MIB, "{bytes}");
}

#[tokio::test]
async fn a_smaller_bound_evicts_at_once_and_leaves_counts_exact() {
    const KEYS: u64 = 10_000;
    let entries = QuickStore::builder().max_capacity(KEYS).build_store();
    let bytes = QuickStore::builder().max_weight(16 * MIB).build_store();
    for id in 0..KEYS {
        entries.store(&key(id), entry(100)).await.unwrap();
        bytes.store(&key(id), entry(1_000)).await.unwrap();
    }
    let shrink: [(_, &dyn Fn() -> _); 2] =
        [(&entries, &|| entries.set_max_capacity(1_000)), (&bytes, &|| bytes.set_max_weight(MIB))];
    for (store, shrink) in shrink {
        let before = store.stats();
        shrink().unwrap();
        let after = store.stats();
        assert!(after.entries <= 1_048 && after.entries > 800, "{after:?}");
        assert_eq!(held(store, KEYS), (after.entries, after.bytes));
        assert_eq!(after.evictions - before.evictions, before.entries - after.entries);
        assert_eq!(store.sweep_records() as u64, after.entries);
    }
    assert!(entries.stats().weighted_size <= 1_000, "{:?}", entries.stats());
    assert!(bytes.stats().weighted_size <= MIB, "{:?}", bytes.stats());
}

#[tokio::test]
async fn a_larger_bound_is_used_and_one_of_another_kind_is_refused() {
    let store = QuickStore::builder().max_capacity(1_000).build_store();
    store.set_max_capacity(100).unwrap();
    store.set_max_capacity(10_000).unwrap();
    for id in 0..10_000 {
        store.store(&key(id), entry(8)).await.unwrap();
    }
    let stats = store.stats();
    // Keys are not spread evenly over the parts.
    assert!(stats.entries > 9_000 && stats.entries <= 10_000, "{stats:?}");
    assert_eq!(held(&store, 10_000), (stats.entries, stats.bytes));

    let bytes = || QuickStore::builder().max_weight(MIB);
    for (store, why) in [
        (bytes().build_store(), "bounded in bytes alone"),
        (bytes().max_capacity(100).build_store(), "bounded in entries and in bytes"),
        (QuickStore::builder().max_capacity(0).build_store(), "made to store nothing"),
    ] {
        let error = store.set_max_capacity(10_000).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(why), "{error}");
    }
    let error = store.set_max_capacity(0).unwrap_err();
    assert!(error.to_string().contains("less than 1 for each"), "{error}");
    assert_eq!(store.stats(), stats, "nothing has changed");
}

#[test]
fn counts_stay_exact_while_the_bound_changes_under_writes() {
    const KEYS: u64 = 5_000;
    let store = QuickStore::builder().max_capacity(4_000).build_store();
    let writing = |seed| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let mut random = fastrand::Rng::with_seed(seed);
            for _ in 0..300_000 {
                let key = key(random.u64(..KEYS));
                match random.u8(..4) {
                    0 => drop(store.remove(&Selector::key(key)).await.unwrap()),
                    _ => store.store(&key, entry(random.usize(..64))).await.unwrap(),
                }
            }
        });
    };
    std::thread::scope(|scope| {
        scope.spawn(|| writing(1));
        scope.spawn(|| writing(2));
        for round in 0..2_000 {
            store.set_max_capacity(if round % 2 == 0 { 500 } else { 4_000 }).unwrap();
        }
        store.set_max_capacity(1_000).unwrap();
    });
    let stats = store.stats();
    assert!(stats.entries <= 1_000, "{stats:?}");
    assert_eq!(held(&store, KEYS), (stats.entries, stats.bytes));
    assert!(
        (store.sweep_records() as u64) < 2 * stats.entries + 2_000,
        "{}",
        store.sweep_records()
    );
}

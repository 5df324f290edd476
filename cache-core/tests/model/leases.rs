//! A register per key, written under the stripes as `memory::MemoryStore` writes its engine.

use std::sync::Arc;

use shuttle::sync::Mutex;
use shuttle::thread;

use crate::stripes::Stripes;
use crate::{exhaustively, randomly};

/// The database behind the cache: a number that only grows.
type Source = Mutex<u64>;

struct Cache {
    stripes: Stripes,
    /// What is cached of key 0 and key 1, whose hashes fall into different stripes.
    held: [Mutex<Option<u64>>; 2],
    source: Source,
}

const HASHES: [u64; 2] = [0, 1];
const KEYS: [&str; 2] = ["a:0", "b:1"];

impl Cache {
    fn new() -> Arc<Self> {
        let held = [Mutex::new(None), Mutex::new(None)];
        Arc::new(Self { stripes: Stripes::new(), held, source: Mutex::new(1) })
    }

    /// Lease, load, fill; returns the lease.
    fn load(&self, key: usize) -> u64 {
        let generation = self.stripes.generation(HASHES[key]);
        let loaded = *self.source.lock().unwrap();
        let fill = |_: &mut _| *self.held[key].lock().unwrap() = Some(loaded);
        self.stripes.commit(HASHES[key], KEYS[key], generation, fill);
        generation
    }

    /// The source changes, then the key is removed.
    fn change_and_remove(&self, key: usize) -> u64 {
        let now = self.change();
        self.stripes.revoke(HASHES[key], |_| *self.held[key].lock().unwrap() = None);
        now
    }

    /// The source changes, then everything is removed.
    fn change_and_clear(&self) -> u64 {
        let now = self.change();
        self.stripes.revoke_all();
        self.held.iter().for_each(|held| *held.lock().unwrap() = None);
        now
    }

    /// The source changes, then what begins like the key is removed.
    fn change_and_remove_prefix(&self, key: usize) -> u64 {
        let now = self.change();
        self.stripes.revoke_prefix(&KEYS[key][..2]);
        *self.held[key].lock().unwrap() = None;
        now
    }

    fn change(&self) -> u64 {
        let mut source = self.source.lock().unwrap();
        *source += 1;
        *source
    }

    fn held(&self, key: usize) -> Option<u64> {
        *self.held[key].lock().unwrap()
    }

    fn assert_not_older(&self, key: usize, version: u64) {
        let held = self.held(key);
        assert!(held.is_none_or(|held| held >= version), "{held:?} outlived {version}");
    }
}

fn removal_against_load() {
    let cache = Cache::new();
    let loader = thread::spawn({
        let cache = Arc::clone(&cache);
        move || cache.load(0)
    });
    let version = cache.change_and_remove(0);
    cache.assert_not_older(0, version);
    loader.join().unwrap();
    cache.assert_not_older(0, version);
}

#[test]
fn p1_01_key_removed_while_loading_every_interleaving() {
    exhaustively(removal_against_load);
}

#[test]
fn p1_02_key_overwritten_while_loading_every_interleaving() {
    exhaustively(|| {
        let cache = Cache::new();
        let loader = thread::spawn({
            let cache = Arc::clone(&cache);
            move || cache.load(0)
        });
        let write = |_: &mut _| *cache.held[0].lock().unwrap() = Some(100);
        cache.stripes.revoke(HASHES[0], write);
        let lease = loader.join().unwrap();
        // Only a load whose lease was taken after the write may have replaced it.
        let after = lease == cache.stripes.generation(HASHES[0]);
        assert_eq!(cache.held(0), Some(if after { 1 } else { 100 }));
    });
}

/// Two that load one key and one that loads another.
fn loaders(cache: &Arc<Cache>) -> [thread::JoinHandle<u64>; 3] {
    [0, 1, 0].map(|key| {
        let cache = Arc::clone(cache);
        thread::spawn(move || cache.load(key))
    })
}

#[test]
fn p1_04_cleared_while_loading() {
    randomly(|| {
        let cache = Cache::new();
        let loaders = loaders(&cache);
        let version = cache.change_and_clear();
        (0..2).for_each(|key| cache.assert_not_older(key, version));
        for loader in loaders {
            loader.join().unwrap();
        }
        (0..2).for_each(|key| cache.assert_not_older(key, version));
    });
}

#[test]
fn p1_03_prefix_removed_while_loading() {
    randomly(|| {
        let cache = Cache::new();
        let loaders = loaders(&cache);
        let version = cache.change_and_remove_prefix(0);
        cache.assert_not_older(0, version);
        for loader in loaders {
            loader.join().unwrap();
        }
        cache.assert_not_older(0, version);
        // Whenever it was loaded, it was stored.
        assert!(cache.held(1).is_some(), "another prefix had its fill refused");
    });
}

/// Removals of several prefixes, a key and everything, all at once: their order is the same everywhere.
#[test]
fn p1_03_prefixes_removed_at_once() {
    randomly(|| {
        let cache = Cache::new();
        let remove = |key: usize| {
            let cache = Arc::clone(&cache);
            thread::spawn(move || {
                cache.load(key);
                let version = cache.change_and_remove_prefix(key);
                cache.assert_not_older(key, version);
                cache.load(key);
                cache.assert_not_older(key, version);
                version
            })
        };
        let removals = [remove(0), remove(1), remove(0)];
        let loader = thread::spawn({
            let cache = Arc::clone(&cache);
            move || {
                cache.load(1);
                let removed = cache.change_and_remove(1);
                cache.load(0);
                removed
            }
        });
        let [first, other, second] = removals.map(|removal| removal.join().unwrap());
        let removed = loader.join().unwrap();
        cache.assert_not_older(0, first.max(second));
        cache.assert_not_older(1, other.max(removed));
    });
}

/// As many as are listed leave other keys alone; of what was before them nobody knows.
#[test]
fn p1_03_prefixes_that_are_listed_no_more_refuse_every_fill() {
    let many = || {
        let cache = Cache::new();
        let lease = |key: usize| cache.stripes.generation(HASHES[key]);
        let fills = |key: usize, lease: u64| {
            cache.stripes.commit(HASHES[key], KEYS[key], lease, |_| ()).is_some()
        };
        let (matching, other, written) = (lease(0), lease(1), lease(1));
        cache.stripes.revoke_prefix("a:");
        assert!(fills(1, other) && !fills(0, matching));
        let later = lease(0);
        for _ in 0..63 {
            cache.stripes.revoke_prefix("c:");
        }
        assert!(fills(1, other) && fills(0, later) && !fills(0, matching));
        cache.stripes.revoke_prefix("c:");
        assert!(!fills(1, other) && fills(0, later) && !fills(0, matching));
        cache.stripes.revoke_prefix("a:");
        assert!(!fills(0, later));
        let last = lease(1);
        cache.stripes.revoke_prefix("c:");
        assert!(fills(1, last));
        cache.stripes.revoke(HASHES[1], |_| ());
        cache.stripes.revoke_prefix("c:");
        assert!(!fills(1, last) && !fills(1, written), "written since");
        let last = lease(1);
        cache.stripes.revoke_all();
        assert!(!fills(1, last), "cleared since");
    };
    shuttle::check_random(many, 1);
}

#[test]
fn p1_several_loads_and_removals() {
    randomly(|| {
        let cache = Cache::new();
        let threads: Vec<_> = (0..2)
            .map(|_| {
                let cache = Arc::clone(&cache);
                thread::spawn(move || {
                    cache.load(0);
                    let version = cache.change_and_remove(0);
                    cache.assert_not_older(0, version);
                    cache.load(0);
                    cache.assert_not_older(0, version);
                })
            })
            .collect();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn p1_the_removal_of_another_key_need_not_refuse_a_fill() {
    exhaustively(|| {
        let cache = Cache::new();
        let generation = cache.stripes.generation(HASHES[0]);
        cache.stripes.revoke(HASHES[1], |_| ());
        assert!(cache.stripes.commit(HASHES[0], KEYS[0], generation, |_| ()).is_some());
    });
}

/// The checker can fail: a fill that compares outside the lock is found.
#[test]
#[should_panic(expected = "outlived")]
fn a_fill_that_compares_too_early_is_found() {
    exhaustively(|| {
        let cache = Cache::new();
        let loader = thread::spawn({
            let cache = Arc::clone(&cache);
            move || {
                let generation = cache.stripes.generation(HASHES[0]);
                let loaded = *cache.source.lock().unwrap();
                let valid = cache.stripes.generation(HASHES[0]) == generation;
                if valid {
                    *cache.held[0].lock().unwrap() = Some(loaded);
                }
            }
        });
        let version = cache.change_and_remove(0);
        loader.join().unwrap();
        cache.assert_not_older(0, version);
    });
}

/// The checker can fail: a prefix that is revoked after the entries were removed is found.
#[test]
#[should_panic(expected = "outlived")]
fn a_prefix_that_is_revoked_too_late_is_found() {
    randomly(|| {
        let cache = Cache::new();
        let loader = thread::spawn({
            let cache = Arc::clone(&cache);
            move || cache.load(0)
        });
        let version = cache.change();
        *cache.held[0].lock().unwrap() = None;
        cache.stripes.revoke_prefix("a:");
        loader.join().unwrap();
        cache.assert_not_older(0, version);
    });
}

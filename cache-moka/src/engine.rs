//! mini-moka as the map of a store, within the limits that keep it sound.
//!
//! 1. No weigher: with one, mini-moka 0.10.3 crashes (issue 53 of its project).
//! 2. One writer at a time: when two threads insert and invalidate the same keys its counters
//!    drift, until nothing new is admitted. Reads stay concurrent.

use std::fmt;
use std::hash::BuildHasherDefault;
use std::sync::Arc;

use cache_core::memory::{Address, Live, MemoryEngine, Passthrough, Slot, Swept};
use mini_moka::sync::{Cache, ConcurrentCacheExt};
use parking_lot::Mutex;

/// A [`MemoryEngine`] on mini-moka: LRU eviction behind TinyLFU admission.
///
/// Keyed by hash, since a mini-moka keyed by strings cannot be asked with a `&str`. Should two
/// keys ever share a hash they take turns in one place; neither sees the other's entry.
pub(crate) struct MokaEngine {
    cache: Cache<u64, Keyed, BuildHasherDefault<Passthrough>>,
    writer: Mutex<()>,
}

#[derive(Clone)]
struct Keyed {
    key: Arc<str>,
    slot: Slot,
}

impl MokaEngine {
    /// An engine for so many entries, none for 0.
    pub(crate) fn new(capacity: u64) -> Option<Self> {
        if capacity == 0 {
            return None;
        }
        let cache = Cache::builder().max_capacity(capacity);
        let cache = cache.build_with_hasher(Passthrough::builder());
        Some(Self { cache, writer: Mutex::new(()) })
    }

    fn find(&self, at: Address<'_>) -> Option<Slot> {
        let found = self.cache.get(&at.hash)?;
        (*found.key == *at.key).then_some(found.slot)
    }
}

impl MemoryEngine for MokaEngine {
    fn get(&self, at: Address<'_>) -> Option<Slot> {
        self.find(at)
    }

    /// mini-moka has no look that is no use.
    fn peek(&self, at: Address<'_>) -> Option<Slot> {
        self.find(at)
    }

    fn insert(&self, at: Address<'_>, slot: Slot) {
        let _writer = self.writer.lock();
        self.cache.insert(at.hash, Keyed { key: at.key.into(), slot });
    }

    fn remove(&self, at: Address<'_>) -> Option<Slot> {
        let _writer = self.writer.lock();
        let found = self.find(at)?;
        self.cache.invalidate(&at.hash);
        Some(found)
    }

    fn remove_prefix(&self, prefix: &str, live: &dyn Fn(&Slot) -> bool) -> u64 {
        // Collected first: the iterator holds the map's locks, which the removal needs.
        let selected = self.cache.iter().filter(|entry| entry.key.starts_with(prefix));
        let selected: Vec<_> = selected.map(|entry| (*entry.key(), entry.key.clone())).collect();
        let removed = selected.iter().filter_map(|(hash, key)| {
            self.remove(Address { hash: *hash, key }).filter(|slot| live(slot))
        });
        removed.count() as u64
    }

    fn sweep(&self, hash: u64, ticket: u8, live: Live<'_>) -> Swept {
        let _writer = self.writer.lock();
        let found = self.cache.get(&hash).filter(|found| found.slot.ticket() == ticket);
        let Some(found) = found else { return Swept::Gone };
        if let Some(until) = live(&found.slot) {
            return Swept::Kept(until);
        }
        self.cache.invalidate(&hash);
        Swept::Removed
    }

    fn len(&self) -> u64 {
        let _writer = self.writer.lock();
        // Counts are right once the buffered operations are applied.
        self.cache.sync();
        self.cache.entry_count()
    }

    fn weight(&self) -> u64 {
        self.len()
    }

    /// By looking at every entry: mini-moka tells nobody of what it drops.
    fn bytes(&self) -> u64 {
        let size = |held: &Keyed| (held.key.len() + held.slot.value_bytes()) as u64;
        self.cache.iter().map(|entry| size(entry.value())).sum()
    }

    fn evictions(&self) -> u64 {
        // mini-moka does not tell.
        0
    }
}

impl fmt::Debug for MokaEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MokaEngine")
            .field("entries", &self.cache.entry_count())
            .finish_non_exhaustive()
    }
}

//! quick_cache as the map of a store.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cache_core::memory::{Address, KeyHash, Live, MemoryEngine, Slot, Summary, Swept, TypeTag};
use cache_core::{CacheError, ErrorKind, Timestamp};
use quick_cache::sync::Cache;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter};

use crate::keys::{ByHash, Glimpse, Hashes, Key, Probe};

/// The least a shard of a cache bounded in bytes holds, where there is more than one: quick_cache keeps
/// no entry that is larger than the [hot](HOT_ALLOCATION) part of its shard, which are more than 4 MiB then.
const SHARD_BYTES: u64 = 5 * 1024 * 1024;
/// What an entry is taken to weigh when room for the bookkeeping of entries is set aside.
const TYPICAL_ENTRY_BYTES: u64 = 1024;

/// How much of a cache is for entries that have been used again; the rest is for new ones to prove
/// themselves. Of quick_cache's own 0.97 too little is left for that in a small cache: with 1 % of
/// the keys of recorded traces it hits 3 and 4 points less often. Of a Zipf-like load, where what was used
/// is used again, 0.85 loses half a point.
const HOT_ALLOCATION: f64 = 0.85;

/// What bounds a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bound {
    /// So many entries.
    Entries(u64),
    /// So many bytes of keys and encoded values.
    Bytes(u64),
    /// Both: an entry then weighs at least its share of the bytes.
    Both { entries: u64, bytes: u64 },
}

/// A [`MemoryEngine`] on quick_cache: S3-FIFO-like eviction, exact weights.
pub(crate) struct QuickEngine {
    cache: Cache<Key, Held, Weight, Hashes, Collect>,
    key_hash: KeyHash,
    counts: Arc<Counts>,
    /// What bounds it now; locked while that changes.
    bound: Mutex<Bound>,
}

#[derive(Default)]
struct Counts {
    evictions: AtomicU64,
    /// Of keys and encoded values. Briefly below what is held, where one thread removes what
    /// another has not counted yet.
    bytes: AtomicI64,
}

impl QuickEngine {
    /// An engine within `bound`, or none where the bound is 0.
    pub(crate) fn new(bound: Bound) -> Option<Self> {
        let (entries, capacity, weight) = match bound {
            Bound::Entries(entries) => (entries, entries, Weight::Entries),
            Bound::Bytes(bytes) => {
                ((bytes / TYPICAL_ENTRY_BYTES).max(1), bytes, Weight::Bytes { least: 1 })
            }
            Bound::Both { entries, bytes } => {
                // Rounded up, or there would be room for more entries.
                let least = (entries > 0).then(|| bytes.div_ceil(entries).max(1))?;
                (entries, bytes, Weight::Bytes { least })
            }
        };
        if capacity == 0 {
            return None;
        }
        let mut options = OptionsBuilder::new();
        options.estimated_items_capacity(usize::try_from(entries).unwrap_or(usize::MAX));
        options.weight_capacity(capacity);
        options.hot_allocation(HOT_ALLOCATION);
        if let Weight::Bytes { .. } = weight {
            // A power of two in any case: quick_cache would round it up, and make them smaller.
            let shards = 1 << (capacity / SHARD_BYTES).max(1).ilog2();
            let shards = (4 * threads()).next_power_of_two().min(shards);
            options.shards(usize::try_from(shards).unwrap_or(1));
        }
        // Fails only if one of the two capacities is not set.
        let options = options.build().ok()?;
        let counts = Arc::new(Counts::default());
        let collect = Collect { counts: Arc::clone(&counts) };
        let key_hash = KeyHash::default();
        let cache = Cache::with_options(options, weight, Hashes(key_hash.clone()), collect);
        let share = evenly(capacity, cache.num_shards());
        if share < capacity {
            cache.set_capacity(share);
        }
        Some(Self { cache, key_hash, counts, bound: Mutex::new(bound) })
    }

    /// Puts another bound of the same kind in force; what is over it is evicted before this returns.
    /// True if there may have been such.
    pub(crate) fn resize(&self, to: Bound) -> Result<bool, CacheError> {
        let mut bound = self.bound.lock().unwrap_or_else(PoisonError::into_inner);
        let (old, new) = match (*bound, to) {
            (Bound::Entries(old), Bound::Entries(new)) => (old, new),
            (Bound::Bytes(old), Bound::Bytes(new)) => (old, new),
            (Bound::Entries(_), _) => return Err(refused("it is bounded in entries alone")),
            (Bound::Bytes(_), _) => return Err(refused("it is bounded in bytes alone")),
            (Bound::Both { .. }, _) => {
                return Err(refused("it is bounded in entries and in bytes, which go together"));
            }
        };
        let shards = self.cache.num_shards();
        let share = evenly(new, shards);
        if share == 0 {
            let least = format!("it has {shards} parts, and {new} is less than 1 for each of them");
            return Err(refused(least));
        }
        self.cache.set_capacity(share);
        *bound = to;
        Ok(new <= old)
    }

    /// So many bytes have come.
    fn came(&self, bytes: usize) {
        self.counts.bytes.fetch_add(bytes as i64, Ordering::Relaxed);
    }

    /// So many have gone.
    fn went(&self, bytes: usize) {
        self.counts.bytes.fetch_sub(bytes as i64, Ordering::Relaxed);
    }
}

/// Why a bound stays as it is.
pub(crate) fn refused(why: impl fmt::Display) -> CacheError {
    CacheError::new(ErrorKind::Config, format!("the cache cannot be resized: {why}"))
}

/// What of `bound` so many shards have together: each has the same share, which quick_cache rounds up,
/// so what does not divide evenly is left.
fn evenly(bound: u64, shards: usize) -> u64 {
    bound - bound % shards as u64
}

fn threads() -> u64 {
    std::thread::available_parallelism().map_or(1, |threads| threads.get() as u64)
}

impl MemoryEngine for QuickEngine {
    fn key_hash(&self) -> Option<KeyHash> {
        Some(self.key_hash.clone())
    }

    #[inline]
    fn get(&self, at: Address<'_>) -> Option<Slot> {
        let counted = COUNTED.replace(None) == Some(at.hash);
        if counted { self.peek(at) } else { self.cache.get(&Probe(at))?.into_slot() }
    }

    #[inline]
    fn value(
        &self,
        at: Address<'_>,
        of: TypeTag,
    ) -> Option<(Arc<dyn Any + Send + Sync>, Timestamp)> {
        match Held::lightly(|| self.cache.get(&Glimpse(at)))? {
            Held::Glance { value: Some(value), summary } if summary.decoded_as() == of => {
                Some((value, summary.surely_fresh_until()))
            }
            _ => {
                COUNTED.set(Some(at.hash));
                None
            }
        }
    }

    fn keep_value(&self, at: Address<'_>, mut slot: Slot) {
        let key = Key(at.key.into());
        let held = Held::Kept { value: slot.decoded(), slot };
        let (bytes, mut dropped) = (held.bytes(&key), Dropped::to_be_counted());
        // Soft: it is no use. Fails if the entry has been evicted meanwhile, which is as well.
        if self.cache.replace_with_lifecycle(key, held, true, &mut dropped).is_ok() {
            self.came(bytes);
        }
        self.went(bytes_of(&dropped.entries));
    }

    fn peek(&self, at: Address<'_>) -> Option<Slot> {
        self.cache.peek(&Probe(at))?.into_slot()
    }

    fn insert(&self, at: Address<'_>, slot: Slot) {
        let mut dropped = Dropped::to_be_counted();
        let key = Key(at.key.into());
        let held = Held::Kept { slot, value: None };
        self.came(held.bytes(&key));
        self.cache.insert_with_lifecycle(key, held, &mut dropped);
        self.went(bytes_of(&dropped.entries));
        // What was under the key itself was replaced, not evicted.
        let evicted = dropped.entries.iter().filter(|(key, _)| !Probe(at).equivalent(key)).count();
        if evicted > 0 {
            self.counts.evictions.fetch_add(evicted as u64, Ordering::Relaxed);
        }
    }

    fn remove(&self, at: Address<'_>) -> Option<Slot> {
        let (key, held) = self.cache.remove(&Probe(at))?;
        self.went(held.bytes(&key));
        held.into_slot()
    }

    fn remove_prefix(&self, prefix: &str, live: &dyn Fn(&Slot) -> bool) -> u64 {
        let (removed, gone) = (Cell::new(0), RefCell::new(Vec::new()));
        self.cache.retain(|key, held| {
            if !key.0.as_str().starts_with(prefix) {
                return true;
            }
            removed.set(removed.get() + u64::from(held.slot().is_some_and(live)));
            self.went(held.bytes(key));
            // It holds the value, which is dropped after the shard's lock is released: see `Collect`.
            gone.borrow_mut().extend(held.slot().cloned());
            false
        });
        removed.get()
    }

    fn sweep(&self, hash: u64, ticket: u8, live: Live<'_>) -> Swept {
        let at = ByHash(hash, &self.key_hash);
        let has_ticket = |slot: &Slot| slot.ticket() == ticket;
        let found = self.cache.peek(&at).and_then(Held::into_slot).filter(has_ticket);
        let Some(slot) = found else { return Swept::Gone };
        if let Some(until) = live(&slot) {
            return Swept::Kept(until);
        }
        // The key's stripe is locked: nobody else writes it meanwhile.
        let expired = |held: &Held| held.slot().is_some_and(has_ticket);
        match self.cache.remove_if(&at, expired) {
            Some((key, held)) => {
                self.went(held.bytes(&key));
                Swept::Removed
            }
            None => Swept::Gone,
        }
    }

    fn len(&self) -> u64 {
        self.cache.len() as u64
    }

    fn weight(&self) -> u64 {
        self.cache.weight()
    }

    fn bytes(&self) -> u64 {
        u64::try_from(self.counts.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    fn evictions(&self) -> u64 {
        self.counts.evictions.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for QuickEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QuickEngine")
            .field("entries", &self.cache.len())
            .field("weight", &self.cache.weight())
            .field("capacity", &self.cache.capacity())
            .finish_non_exhaustive()
    }
}

/// What is under a key.
///
/// A hit wants the decoded value and nothing else. Cloning the slot too would touch the entry's own
/// cache lines, which is a third of what a hit costs. The map gives out clones, so the clone is
/// where the choice is made: see [`lightly`](Self::lightly).
enum Held {
    /// What the map holds: the slot and the decoded value, once it has been asked for. A clone of it
    /// has no value.
    Kept { slot: Slot, value: Option<Arc<dyn Any + Send + Sync>> },
    /// A light clone.
    Glance { value: Option<Arc<dyn Any + Send + Sync>>, summary: Summary },
}

thread_local! {
    static LIGHT: Cell<bool> = const { Cell::new(false) };
    /// The hash of what was found last without its value. Who asked for the value asks for the slot
    /// next, which is the same use: counted twice, what was read once would be taken for hot.
    static COUNTED: Cell<Option<u64>> = const { Cell::new(None) };
}

impl Held {
    fn slot(&self) -> Option<&Slot> {
        match self {
            Self::Kept { slot, .. } => Some(slot),
            Self::Glance { .. } => None,
        }
    }

    #[inline]
    fn into_slot(self) -> Option<Slot> {
        match self {
            Self::Kept { slot, .. } => Some(slot),
            Self::Glance { .. } => None,
        }
    }

    /// Bytes of the key and of the encoded value.
    fn bytes(&self, key: &Key) -> usize {
        key.0.len() + self.slot().map_or(0, Slot::value_bytes)
    }

    /// Looks up with clones that have the value and not the slot.
    #[inline]
    fn lightly<R>(look_up: impl FnOnce() -> R) -> R {
        LIGHT.set(true);
        let found = look_up();
        LIGHT.set(false);
        found
    }
}

impl Clone for Held {
    #[inline]
    fn clone(&self) -> Self {
        match self {
            Self::Kept { slot, value } if LIGHT.get() => {
                Self::Glance { value: value.clone(), summary: slot.summary() }
            }
            Self::Kept { slot, .. } => Self::Kept { slot: slot.clone(), value: None },
            Self::Glance { value, summary } => {
                Self::Glance { value: value.clone(), summary: *summary }
            }
        }
    }
}

fn bytes_of(dropped: &[(Key, Held)]) -> usize {
    dropped.iter().map(|(key, held)| held.bytes(key)).sum()
}

#[derive(Clone)]
enum Weight {
    Entries,
    /// Bytes of key and encoded value, at least `least`, which is not 0: quick_cache never evicts
    /// what weighs nothing.
    Bytes {
        least: u64,
    },
}

impl Weighter<Key, Held> for Weight {
    fn weight(&self, key: &Key, held: &Held) -> u64 {
        match self {
            Self::Entries => 1,
            Self::Bytes { least } => (held.bytes(key) as u64).max(*least),
        }
    }
}

/// Collects what is dropped, to be looked at and dropped after the shard's lock is released: a value's
/// `Drop` is its user's code, and may read the cache.
#[derive(Clone)]
struct Collect {
    counts: Arc<Counts>,
}

/// What a request drops.
#[derive(Default)]
struct Dropped {
    entries: Vec<(Key, Held)>,
    /// Whether the caller counts it. It does where it makes the request; resizing makes its own.
    counted_by_caller: bool,
}

impl Dropped {
    fn to_be_counted() -> Self {
        Self { entries: Vec::new(), counted_by_caller: true }
    }
}

impl Lifecycle<Key, Held> for Collect {
    type RequestState = Dropped;

    fn on_evict(&self, dropped: &mut Dropped, key: Key, held: Held) {
        if !dropped.counted_by_caller {
            self.counts.bytes.fetch_sub(held.bytes(&key) as i64, Ordering::Relaxed);
            self.counts.evictions.fetch_add(1, Ordering::Relaxed);
        }
        dropped.entries.push((key, held));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_map_holds_is_small() {
        assert_eq!((size_of::<Key>(), size_of::<Held>()), (24, 32));
    }
}

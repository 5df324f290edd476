//! What a bounded concurrent map must do to become a store.

use std::any::{Any, TypeId};
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher};
use std::sync::Arc;

use foldhash::quality::RandomState;

use super::sweep::Tick;
use crate::entry::Body;
use crate::{Entry, Timestamp};

/// How a store hashes keys: seeded at random, so that nobody can choose keys that collide.
///
/// Every byte of a hash is as even as chance has it, whatever the seed, since stripes and shards are
/// chosen by a few bits. foldhash's `fast` saves one multiplication and is not: with one seed in eight,
/// keys that count upwards gave some stripes five times their share.
#[derive(Clone, Default)]
pub struct KeyHash(RandomState);

impl fmt::Debug for KeyHash {
    /// Not the seed, which nobody is to know.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyHash").finish_non_exhaustive()
    }
}

impl KeyHash {
    /// The hash of `key`.
    #[must_use]
    #[inline]
    pub fn of(&self, key: &[u8]) -> u64 {
        let mut hasher = self.0.build_hasher();
        hasher.write(key);
        hasher.finish()
    }
}

/// A key and its hash, computed once per operation.
#[derive(Clone, Copy, Debug)]
pub struct Address<'a> {
    /// The key's 64-bit [hash](KeyHash).
    pub hash: u64,
    /// The key.
    pub key: &'a str,
}

/// Tells most types apart, in two bytes: the same type has the same, and so has one other in 65,536.
///
/// ```
/// use cache_core::memory::TypeTag;
/// use std::any::TypeId;
///
/// assert_eq!(TypeTag::of(TypeId::of::<String>()), TypeTag::of(TypeId::of::<String>()));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TypeTag(u16);

impl TypeTag {
    /// The tag of that type.
    #[must_use]
    #[inline]
    pub fn of(of: TypeId) -> Self {
        let mut hasher = Passthrough::default();
        of.hash(&mut hasher);
        Self(hasher.finish() as u16)
    }
}

/// What an engine keeps under a key. Two words; cheap to clone.
#[derive(Clone)]
pub struct Slot {
    body: Body,
    /// Ties the entry to its one record in the sweep.
    ticket: u8,
    /// Of the type as which the value has been decoded, once asked for.
    decoded_as: TypeTag,
    /// Its freshness ends then or up to a second later.
    fresh_until: Tick,
}

impl Slot {
    /// Keeps a settled entry.
    pub(crate) fn new(entry: Entry, ticket: u8) -> Self {
        let fresh_until = Tick::of_micros(entry.fresh_until().as_micros());
        Self { body: entry.into_body(), ticket, decoded_as: TypeTag(0), fresh_until }
    }

    /// The entry.
    #[must_use]
    #[inline]
    pub fn into_entry(self) -> Entry {
        Entry::from_body(self.body)
    }

    /// Whether it keeps the very entry that `entry` is a clone of.
    pub(crate) fn keeps(&self, entry: &Entry) -> bool {
        self.body.is(entry.body())
    }

    /// The value, if it has been decoded; the slot knows of what type from then on: see
    /// [`Summary::decoded_as`].
    #[must_use]
    pub fn decoded(&mut self) -> Option<Arc<dyn Any + Send + Sync>> {
        let value = self.body.decoded()?;
        self.decoded_as = TypeTag::of((**value).type_id());
        Some(Arc::clone(value))
    }

    /// What a hit has to know of it, without a look at what the slot points to.
    #[must_use]
    #[inline]
    pub fn summary(&self) -> Summary {
        Summary { fresh_until: self.fresh_until, decoded_as: self.decoded_as }
    }

    /// How many bytes the encoded value has.
    #[must_use]
    pub fn value_bytes(&self) -> usize {
        self.body.value_bytes()
    }

    /// What the store gave the key when it was first inserted.
    #[must_use]
    pub fn ticket(&self) -> u8 {
        self.ticket
    }

    #[inline]
    pub(crate) fn fresh_until(&self) -> Timestamp {
        self.body.fresh_until()
    }

    #[inline]
    pub(crate) fn servable_until(&self) -> Timestamp {
        self.body.servable_until()
    }

    /// When it was last read, where the store has an idle time.
    pub(crate) fn read_at(&self) -> Timestamp {
        self.body.read_at()
    }

    pub(crate) fn touch(&self, now: Timestamp) {
        self.body.touch(now);
    }
}

/// What a hit has to know of a [`Slot`]. One word.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    fresh_until: Tick,
    decoded_as: TypeTag,
}

impl Summary {
    /// A time up to which it is fresh, at most about a second before its freshness ends.
    #[must_use]
    #[inline]
    pub fn surely_fresh_until(self) -> Timestamp {
        Timestamp::from_micros(self.fresh_until.micros())
    }

    /// The tag of the type of what [`decoded`](Slot::decoded) has given.
    #[must_use]
    #[inline]
    pub fn decoded_as(self) -> TypeTag {
        self.decoded_as
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("ticket", &self.ticket).finish_non_exhaustive()
    }
}

/// What [`MemoryEngine::sweep`] found under a hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// The slot with that ticket is not there any more.
    Gone,
    /// It had expired and was removed.
    Removed,
    /// It is live until then, as far as is known.
    Kept(Timestamp),
}

/// Until when a slot lives; `None` if its time is over.
pub type Live<'a> = &'a dyn Fn(&Slot) -> Option<Timestamp>;

/// A bounded concurrent map with an eviction policy.
///
/// [`MemoryStore`](super::MemoryStore) serialises writes to one key (`insert`, `remove`, `sweep`);
/// reads and writes of different keys run concurrently.
pub trait MemoryEngine: fmt::Debug + Send + Sync + 'static {
    /// How [`Address::hash`] is to be made, for an engine that hashes the keys it holds itself;
    /// `None`: it does not matter.
    fn key_hash(&self) -> Option<KeyHash> {
        None
    }

    /// What is under the key; counts as a use for eviction.
    fn get(&self, at: Address<'_>) -> Option<Slot>;

    /// The decoded value under the key and until when it [surely is
    /// fresh](Summary::surely_fresh_until), if the engine has it at hand and its type has that tag; counts
    /// as a use for eviction.
    ///
    /// ```
    /// use cache_core::Timestamp;
    /// use cache_core::memory::{Address, MemoryEngine, TypeTag};
    ///
    /// /// Whether a read of this type need not look at the slot.
    /// fn is_at_hand(engine: &dyn MemoryEngine, at: Address<'_>, of: TypeTag, now: Timestamp) -> bool {
    ///     engine.value(at, of).is_some_and(|(_value, until)| now < until)
    /// }
    /// ```
    fn value(
        &self,
        at: Address<'_>,
        of: TypeTag,
    ) -> Option<(Arc<dyn Any + Send + Sync>, Timestamp)> {
        let _ = (at, of);
        None
    }

    /// Has the value of `slot`, which is what is under the key, at hand from now on, if it can.
    fn keep_value(&self, at: Address<'_>, slot: Slot) {
        let _ = (at, slot);
    }

    /// What is under the key; no use for eviction, if the engine can look without.
    fn peek(&self, at: Address<'_>) -> Option<Slot>;

    /// Puts `slot` under the key. The engine may drop it, or others, to stay within its bound.
    fn insert(&self, at: Address<'_>, slot: Slot);

    /// Takes away and returns what is under the key.
    fn remove(&self, at: Address<'_>) -> Option<Slot>;

    /// Removes everything under keys that begin with `prefix` and returns how many of the slots
    /// were `live`. What is inserted meanwhile may be removed or not.
    fn remove_prefix(&self, prefix: &str, live: &dyn Fn(&Slot) -> bool) -> u64;

    /// Removes the slot with this hash and ticket if it does not live any more; `live` says until
    /// when it does.
    fn sweep(&self, hash: u64, ticket: u8, live: Live<'_>) -> Swept;

    /// How many entries are held.
    fn len(&self) -> u64;

    /// Whether none is held.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their weight, in the unit of the bound.
    fn weight(&self) -> u64;

    /// Bytes of the keys and encoded values that are held, 0 if the engine cannot tell.
    fn bytes(&self) -> u64 {
        0
    }

    /// How many were dropped to make room, 0 if the engine cannot tell.
    fn evictions(&self) -> u64;
}

/// Hashes a key that is its own hash: for engines that are keyed by [`Address::hash`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Passthrough(u64);

impl Passthrough {
    /// The hasher's builder.
    #[must_use]
    pub fn builder() -> BuildHasherDefault<Self> {
        BuildHasherDefault::default()
    }
}

impl Hasher for Passthrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pearson's statistic over its degrees of freedom, 1 on average: how uneven 256 counts are.
    fn unevenness(counts: &[u32; 256], total: u32) -> f64 {
        let even = f64::from(total) / 256.0;
        counts.iter().map(|&count| (f64::from(count) - even).powi(2) / even).sum::<f64>() / 255.0
    }

    #[test]
    fn every_byte_of_a_hash_is_even_whatever_the_seed() {
        const KEYS: u32 = 5_000;
        let keys: Vec<_> = (0..KEYS).map(|number| format!("tenant:{number}")).collect();
        for _ in 0..100 {
            let hash = KeyHash::default();
            let mut counts = [[0; 256]; 8];
            for key in &keys {
                for (byte, counts) in hash.of(key.as_bytes()).to_le_bytes().iter().zip(&mut counts)
                {
                    counts[usize::from(*byte)] += 1;
                }
            }
            for counts in counts {
                // By chance it would be 2 with one chance in 10^18.
                let uneven = unevenness(&counts, KEYS);
                assert!(uneven < 2.0, "{uneven}");
            }
        }
    }
}

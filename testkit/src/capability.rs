//! What a backend can do, and what it says it cannot.

use std::collections::BTreeSet;

/// Something some backends can do and others cannot. The suite asks a backend that has it to show
/// it, and one that lacks it to say so rather than to answer wrongly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Capability {
    /// [`remove`](cache_core::CacheStore::remove) returns how many entries it removed. Without it:
    /// `None`.
    RemovalCounts,
    /// [`peek`](cache_core::CacheStore::peek) finds what was written, and reads of a held value
    /// share one decoded value. Without it, `peek` finds nothing.
    LocalReads,
    /// [`entries`](cache_core::CacheStats::entries) counts the entries. Without it: 0.
    EntryCounts,
    /// [`weighted_size`](cache_core::CacheStats::weighted_size) is in bytes of key and encoded
    /// value. Without it: the number of entries.
    ByteWeight,
    /// One lease per key at a time, the next caller is told
    /// [`Held`](cache_core::LeaseOutcome::Held). Without it, leases on a key are granted side by
    /// side.
    ExclusiveLeases,
}

impl Capability {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::RemovalCounts,
        Self::LocalReads,
        Self::EntryCounts,
        Self::ByteWeight,
        Self::ExclusiveLeases,
    ];
}

/// What a backend declares.
///
/// ```
/// use cache_testkit::{Capabilities, Capability};
///
/// let map = Capabilities::all().without(Capability::ByteWeight).without(Capability::ExclusiveLeases);
/// assert!(map.has(Capability::RemovalCounts) && !map.has(Capability::ByteWeight));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities(BTreeSet<Capability>);

impl Capabilities {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(Capability::ALL.into())
    }

    /// What a store in the process usually has: everything but exclusive leases and weight in
    /// bytes.
    #[must_use]
    pub fn in_process() -> Self {
        Self::all().without(Capability::ExclusiveLeases).without(Capability::ByteWeight)
    }

    /// The same without `lacking`.
    #[must_use]
    pub fn without(mut self, lacking: Capability) -> Self {
        self.0.remove(&lacking);
        self
    }

    /// The same with `capability`.
    #[must_use]
    pub fn with(mut self, capability: Capability) -> Self {
        self.0.insert(capability);
        self
    }

    /// Whether it is declared.
    #[must_use]
    pub fn has(&self, capability: Capability) -> bool {
        self.0.contains(&capability)
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self::all()
    }
}

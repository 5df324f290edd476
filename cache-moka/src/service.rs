//! The cache service: the read-through engine over [`MokaStore`].

use cache_core::memory::MemoryStore;
use cache_core::{ReadThrough, forward_cache_service, forward_cache_store};

use crate::builder::MokaCacheBuilder;
use crate::engine::MokaEngine;

/// Entries in the memory of the process, on mini-moka: a tier for other stores, made by
/// [`MokaCacheBuilder::build_store`].
#[derive(Debug)]
pub struct MokaStore(MemoryStore<MokaEngine>);

impl MokaStore {
    pub(crate) fn new(store: MemoryStore<MokaEngine>) -> Self {
        Self(store)
    }

    /// 10,000 entries for 300 s, unless told otherwise; ends in
    /// [`build_store`](MokaCacheBuilder::build_store).
    #[must_use]
    pub fn builder() -> MokaCacheBuilder {
        MokaCacheBuilder::default()
    }

    /// Frees every expired entry now and returns how many it freed; its cost grows with the number
    /// of entries. Writes and missed reads do the same little by little.
    pub fn sweep(&self) -> usize {
        self.0.sweep()
    }

    /// Frees some of the expired entries and returns how many: of `parts` calls each sees to the next
    /// part, all of them to all.
    ///
    /// ```
    /// let store = cache_moka::MokaStore::default();
    /// assert_eq!((0..20).map(|_| store.sweep_part(20)).sum::<usize>(), 0);
    /// ```
    pub fn sweep_part(&self, parts: usize) -> usize {
        self.0.sweep_part(parts)
    }

    /// How many records the sweep keeps; for tests that it stays in proportion.
    #[doc(hidden)]
    #[must_use]
    pub fn sweep_records(&self) -> usize {
        self.0.sweep_records()
    }
}

impl Default for MokaStore {
    fn default() -> Self {
        Self::builder().build_store()
    }
}

forward_cache_store!([] MokaStore, this => &this.0);

/// A cache in the memory of the process, on mini-moka, with its TinyLFU admission.
///
/// A cache that is full may decline a new key that is asked for less often than those it holds.
///
/// Clones are handles to the same cache.
///
/// ```
/// use cache_core::CacheServiceExt;
/// use cache_moka::MokaCacheService;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
/// let cache = MokaCacheService::builder().max_capacity(50_000).build();
/// cache.set("plan:acme", "gold", Duration::from_secs(60)).await?;
/// assert_eq!(cache.get::<String>("plan:acme").await?.as_deref(), Some("gold"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct MokaCacheService(ReadThrough<MokaStore>);

impl MokaCacheService {
    /// 10,000 entries for 300 s, unless told otherwise.
    #[must_use]
    pub fn builder() -> MokaCacheBuilder {
        MokaCacheBuilder::default()
    }

    pub(crate) fn new(engine: ReadThrough<MokaStore>) -> Self {
        Self(engine)
    }

    /// Frees some of the expired entries and returns how many: of `parts` calls each sees to the next
    /// part, all of them to all. Writes and reads that miss do the same little by little; a process with
    /// few of these calls it now and then, as `cache-services` does.
    ///
    /// ```
    /// let cache = cache_moka::MokaCacheService::default();
    /// assert_eq!((0..20).map(|_| cache.sweep_part(20)).sum::<usize>(), 0);
    /// ```
    pub fn sweep_part(&self, parts: usize) -> usize {
        self.0.inner().sweep_part(parts)
    }

    /// The engine, and through it the store.
    #[must_use]
    pub fn engine(&self) -> &ReadThrough<MokaStore> {
        &self.0
    }
}

impl Default for MokaCacheService {
    fn default() -> Self {
        Self::builder().build()
    }
}

forward_cache_service!([] MokaCacheService, this => &this.0);

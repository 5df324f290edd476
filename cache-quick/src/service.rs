//! The cache service: the read-through engine over [`QuickStore`].

use cache_core::memory::MemoryStore;
use cache_core::{CacheError, ReadThrough, forward_cache_service, forward_cache_store};

use crate::builder::QuickCacheBuilder;
use crate::engine::{Bound, QuickEngine, refused};

/// Entries in the memory of the process, on quick_cache: a tier for other stores, made by
/// [`QuickCacheBuilder::build_store`].
#[derive(Debug)]
pub struct QuickStore(MemoryStore<QuickEngine>);

impl QuickStore {
    pub(crate) fn new(store: MemoryStore<QuickEngine>) -> Self {
        Self(store)
    }

    /// 10,000 entries for 300 s, unless told otherwise; ends in
    /// [`build_store`](QuickCacheBuilder::build_store).
    #[must_use]
    pub fn builder() -> QuickCacheBuilder {
        QuickCacheBuilder::default()
    }

    /// Holds this many entries at most from now on. What is over that is evicted before this returns,
    /// which takes the longer the more it is. Reads and writes go on meanwhile.
    ///
    /// The entries are split into parts, a few for each processor, and each takes its share: what does
    /// not divide evenly is not used. A cache that is made small and large again knows less of what it
    /// has evicted, so that its hits come back more slowly.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config), and nothing has changed, if `entries` are fewer than
    /// the parts, if the cache was made to store nothing, or if it is bounded in bytes.
    ///
    /// ```
    /// use cache_quick::QuickStore;
    ///
    /// let store = QuickStore::builder().max_capacity(10_000).build_store();
    /// store.set_max_capacity(50_000)?;
    /// # Ok::<_, cache_core::CacheError>(())
    /// ```
    pub fn set_max_capacity(&self, entries: u64) -> Result<(), CacheError> {
        self.resize(Bound::Entries(entries))
    }

    /// Holds this many bytes of keys and encoded values at most from now on, as
    /// [`set_max_capacity`](Self::set_max_capacity) does entries. The number of parts stays, and an
    /// entry of more than four fifths of a part may not be kept.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config), and nothing has changed, if there are fewer `bytes`
    /// than parts, if the cache was made to store nothing, or if it is bounded in entries.
    ///
    /// ```
    /// use cache_quick::QuickStore;
    ///
    /// let store = QuickStore::builder().max_weight(64 * 1024 * 1024).build_store();
    /// store.set_max_weight(16 * 1024 * 1024)?;
    /// # Ok::<_, cache_core::CacheError>(())
    /// ```
    pub fn set_max_weight(&self, bytes: u64) -> Result<(), CacheError> {
        self.resize(Bound::Bytes(bytes))
    }

    fn resize(&self, to: Bound) -> Result<(), CacheError> {
        let engine = self.0.engine().ok_or_else(|| refused("it was made to store nothing"))?;
        if engine.resize(to)? {
            // The records of what was evicted: writes would come by them only one by one.
            self.0.sweep();
        }
        Ok(())
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
    /// let store = cache_quick::QuickStore::default();
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

impl Default for QuickStore {
    fn default() -> Self {
        Self::builder().build_store()
    }
}

forward_cache_store!([] QuickStore, this => &this.0);

/// A cache in the memory of the process, on quick_cache: the default.
///
/// Clones are handles to the same cache.
///
/// ```
/// use cache_core::CacheServiceExt;
/// use cache_quick::QuickCacheService;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
/// let cache = QuickCacheService::builder().max_capacity(50_000).build();
/// cache.set("plan:acme", "gold", Duration::from_secs(60)).await?;
/// assert_eq!(cache.get::<String>("plan:acme").await?.as_deref(), Some("gold"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct QuickCacheService(ReadThrough<QuickStore>);

impl QuickCacheService {
    /// 10,000 entries for 300 s, unless told otherwise.
    #[must_use]
    pub fn builder() -> QuickCacheBuilder {
        QuickCacheBuilder::default()
    }

    pub(crate) fn new(engine: ReadThrough<QuickStore>) -> Self {
        Self(engine)
    }

    /// Holds this many entries at most from now on; what is over that is evicted before this returns.
    /// See [`QuickStore::set_max_capacity`].
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config), and nothing has changed, if `entries` are fewer than
    /// the parts of the cache, if it was made to store nothing, or if it is bounded in bytes.
    ///
    /// ```
    /// use cache_quick::QuickCacheService;
    ///
    /// let cache = QuickCacheService::builder().max_capacity(10_000).build();
    /// cache.set_max_capacity(50_000)?;
    /// assert!(cache.set_max_weight(64 * 1024 * 1024).is_err(), "it is bounded in entries");
    /// # Ok::<_, cache_core::CacheError>(())
    /// ```
    pub fn set_max_capacity(&self, entries: u64) -> Result<(), CacheError> {
        self.0.inner().set_max_capacity(entries)
    }

    /// Holds this many bytes of keys and encoded values at most from now on; what is over that is
    /// evicted before this returns. See [`QuickStore::set_max_weight`].
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config), and nothing has changed, if there are fewer `bytes`
    /// than parts of the cache, if it was made to store nothing, or if it is bounded in entries.
    ///
    /// ```
    /// use cache_quick::QuickCacheService;
    ///
    /// let cache = QuickCacheService::builder().max_weight(64 * 1024 * 1024).build();
    /// cache.set_max_weight(16 * 1024 * 1024)?;
    /// # Ok::<_, cache_core::CacheError>(())
    /// ```
    pub fn set_max_weight(&self, bytes: u64) -> Result<(), CacheError> {
        self.0.inner().set_max_weight(bytes)
    }

    /// Frees some of the expired entries and returns how many: of `parts` calls each sees to the next
    /// part, all of them to all. Writes and reads that miss do the same little by little; a process with
    /// few of these calls it now and then, as `cache-services` does.
    ///
    /// ```
    /// let cache = cache_quick::QuickCacheService::default();
    /// assert_eq!((0..20).map(|_| cache.sweep_part(20)).sum::<usize>(), 0);
    /// ```
    pub fn sweep_part(&self, parts: usize) -> usize {
        self.0.inner().sweep_part(parts)
    }

    /// The engine, and through it the store.
    #[must_use]
    pub fn engine(&self) -> &ReadThrough<QuickStore> {
        &self.0
    }
}

impl Default for QuickCacheService {
    fn default() -> Self {
        Self::builder().build()
    }
}

forward_cache_service!([] QuickCacheService, this => &this.0);

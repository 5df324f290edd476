//! The cache service: the read-through engine over [`QuickStore`].

use cache_core::memory::MemoryStore;
use cache_core::{ReadThrough, forward_cache_service, forward_cache_store};

use crate::builder::QuickCacheBuilder;
use crate::engine::QuickEngine;

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

    /// Frees every expired entry now and returns how many it freed; its cost grows with the number
    /// of entries. Writes and missed reads do the same little by little.
    pub fn sweep(&self) -> usize {
        self.0.sweep()
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

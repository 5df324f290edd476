//! [`HybridCache`]: the engine over two tiers.

use cache_core::{ReadThrough, forward_cache_service};

use crate::builder::HybridCacheBuilder;
use crate::store::TieredStore;

/// A near tier in the process before a far one, as one cache. Clones are handles to the same
/// cache.
///
/// ```
/// use cache_core::CacheServiceExt;
/// use cache_hybrid::HybridCache;
/// use cache_quick::QuickCacheService;
/// use std::{sync::Arc, time::Duration};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
/// // In a service the far tier is a `RedisStore`, and its `RedisBus` is the bus.
/// let far = Arc::new(QuickCacheService::default());
/// let near = || Arc::new(QuickCacheService::default());
/// let cache = HybridCache::builder().near(near()).far(far.clone()).build()?;
///
/// cache.set("plan:acme", "gold", Duration::from_secs(60)).await?;
/// assert_eq!(far.get::<String>("plan:acme").await?.as_deref(), Some("gold"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct HybridCache(pub(crate) ReadThrough<TieredStore>);

impl HybridCache {
    /// A builder; it needs at least one tier.
    pub fn builder() -> HybridCacheBuilder {
        HybridCacheBuilder::new()
    }

    /// The tiers, for what goes on between them.
    #[must_use]
    pub fn tiers(&self) -> &TieredStore {
        self.0.inner()
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &ReadThrough<TieredStore> {
        &self.0
    }
}

forward_cache_service!([] HybridCache, this => &this.0);

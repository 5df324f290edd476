//! The cache service: the read-through engine over [`RedisStore`].

use cache_core::{CacheError, ReadThrough, forward_cache_service};

use crate::config::RedisConfig;
use crate::connection::Connections;
use crate::store::RedisStore;

/// A cache in Redis, shared by every process that uses the same server and namespace.
///
/// Clones are handles to the same cache and share its connections.
///
/// ```no_run
/// use cache_core::CacheServiceExt;
/// use cache_redis::{RedisCacheService, RedisConfig};
/// use std::time::Duration;
///
/// # async fn run() -> Result<(), cache_core::CacheError> {
/// let config = RedisConfig::from_url("redis://127.0.0.1:6379")?.namespace("billing");
/// let cache = RedisCacheService::connect(config).await?;
/// cache.set("plan:acme", "gold", Duration::from_secs(60)).await?;
/// assert_eq!(cache.get::<String>("plan:acme").await?.as_deref(), Some("gold"));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct RedisCacheService(ReadThrough<RedisStore>);

impl RedisCacheService {
    /// Connects, and fails if the server cannot be reached.
    ///
    /// # Errors
    ///
    /// As [`Connections::connect`].
    pub async fn connect(config: RedisConfig) -> Result<Self, CacheError> {
        Ok(Self::new(Connections::connect(&config).await?))
    }

    /// Starts connecting and returns at once. While the server cannot be reached, reads and writes
    /// fail within microseconds and loads go to their loaders; it heals by itself.
    ///
    /// # Errors
    ///
    /// As [`Connections::connect_degraded`].
    #[allow(clippy::needless_pass_by_value, reason = "taken as `connect` takes it")]
    pub fn connect_degraded(config: RedisConfig) -> Result<Self, CacheError> {
        Ok(Self::new(Connections::connect_degraded(&config)?))
    }

    /// A cache over connections that are there already.
    #[must_use]
    pub fn new(connections: Connections) -> Self {
        let default_ttl = connections.config().default_ttl;
        let store = RedisStore::new(connections);
        Self(ReadThrough::builder(store).default_ttl(default_ttl).build())
    }

    /// The store, and through it the connections.
    #[must_use]
    pub fn store(&self) -> &RedisStore {
        self.0.inner()
    }

    /// Closes the connections, after calls under way have had their budget. Calls that come later,
    /// on any clone, fail with [`Unavailable`](cache_core::ErrorKind::Unavailable).
    pub async fn shutdown(&self) {
        self.store().connections().shutdown().await;
    }
}

forward_cache_service!([] RedisCacheService, this => &this.0);

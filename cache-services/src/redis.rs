//! Both services on Redis.

use std::sync::Arc;
use std::time::Duration;

use cache_concurrency::RedisConcurrencyService;
use cache_core::CacheError;
use cache_redis::{Connections, RedisCacheService, RedisConfig};

use crate::CacheServices;

/// How errors name the setting.
const SETTING: &str = "redis_url (REDIS_URL)";

/// What of the configuration is about Redis.
pub(crate) struct Settings {
    pub(crate) url: String,
    pub(crate) namespace: String,
    pub(crate) default_ttl: Duration,
    pub(crate) start_degraded: bool,
}

/// Connects once, for the cache and the locks.
pub(crate) async fn build(settings: Settings) -> Result<CacheServices, CacheError> {
    let Settings { url, namespace, default_ttl, start_degraded } = settings;
    let mut config = RedisConfig::from_url(url.trim()).map_err(named)?.default_ttl(default_ttl);
    if !namespace.is_empty() {
        config = config.namespace(namespace);
    }
    tracing::info!(address = config.address(), start_degraded, "caching and locking on Redis");
    let connections = match start_degraded {
        true => Connections::connect_degraded(&config),
        false => Connections::connect(&config).await,
    }
    .map_err(named)?;
    let locks = RedisConcurrencyService::new(connections.clone()).map_err(named)?;
    let cache = RedisCacheService::new(connections.clone());
    Ok(CacheServices::new(Arc::new(cache), Arc::new(locks), Some(connections)))
}

/// The same error, which names the setting that led there.
fn named(error: CacheError) -> CacheError {
    CacheError::new(error.kind(), format!("{SETTING}: {error}"))
        .with_retryable(error.is_retryable())
        .with_source(error)
}

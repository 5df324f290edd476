//! Both services on Redis, the cache with a near tier in front of it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cache_concurrency::RedisConcurrencyService;
use cache_core::{CacheError, ErrorKind};
use cache_hybrid::HybridCache;
use cache_redis::{Call, Connections, Lane, RedisBus, RedisConfig, RedisStore};

use crate::builder;
use crate::parts::{Cache, Locks, Near, Parts, Redis};
use crate::{CacheConfig, CacheServices};

/// How errors name the setting.
const SETTING: &str = "redis_url (REDIS_URL)";
const CA: &str = "redis_ca (CACHE_REDIS_CA)";

/// Connects once, for the cache and the locks.
pub(crate) async fn build(url: &str, config: &CacheConfig) -> Result<CacheServices, CacheError> {
    let mut redis = RedisConfig::from_url(url).map_err(named)?.default_ttl(config.default_ttl);
    if !config.namespace.is_empty() {
        redis = redis.namespace(config.namespace.clone());
    }
    if let Some(timeout) = config.operation_timeout {
        redis = redis.operation_timeout(timeout);
    }
    let ca = config.redis_ca.as_deref().filter(|file| !file.as_os_str().is_empty());
    if let Some(file) = ca {
        redis = redis.ca_certificate(read(file).await?);
    }
    tracing::info!(
        address = redis.address(),
        near = config.near,
        start_degraded = config.start_degraded,
        "caching and locking on Redis"
    );
    let connections = match config.start_degraded {
        true => Connections::connect_degraded(&redis),
        false => Connections::connect(&redis).await,
    }
    .map_err(|error| match ca {
        Some(_) => error.with_context(format_args!("{SETTING}, {CA}")),
        None => named(error),
    })?;
    let locks = RedisConcurrencyService::builder(connections.clone());
    let locks = locks.traced_keys(config.traced_keys).build().map_err(named)?;
    let bus = RedisBus::new(connections.clone()).map_err(named)?;
    let (cache, near) = hybrid(config, connections.clone(), bus.clone())?;
    if !config.start_degraded {
        // So that the first entries are kept near. A bus that is not up by then says so itself.
        let patience = connections.budget(Call::new(Lane::Small));
        let _ = tokio::time::timeout(patience, cache.tiers().ready()).await;
    }
    let cache = Cache::Hybrid(cache, near);
    let redis = Some(Redis { connections, bus });
    let parts = Parts { cache, locks: Locks::Redis(locks), redis };
    Ok(CacheServices::new(parts, config))
}

/// Also without a near tier: the bus tells of loads in flight that are not to be joined any more, and
/// of those that others wait for.
fn hybrid(
    config: &CacheConfig,
    connections: Connections,
    bus: RedisBus,
) -> Result<(HybridCache, Near), CacheError> {
    let far = RedisStore::new(connections).with_bus(&bus);
    let near = builder::near(config);
    let mut tiers = HybridCache::builder();
    if let Some(store) = near.store() {
        tiers = tiers.near(store);
    }
    let cache = tiers
        .far(Arc::new(far))
        .bus(Arc::new(bus))
        .default_ttl(config.default_ttl)
        .local_ttl(config.near_ttl.unwrap_or(Duration::MAX))
        .grace(config.near_grace)
        .traced_keys(config.traced_keys)
        .build()?;
    Ok((cache, near))
}

/// What stands in the file of certificates.
async fn read(file: &Path) -> Result<Vec<u8>, CacheError> {
    let path = file.to_owned();
    let read = tokio::task::spawn_blocking(move || std::fs::read(path)).await;
    read.unwrap_or_else(|gone| Err(std::io::Error::other(gone))).map_err(|error| {
        let message = format!("{CA}: {} cannot be read: {error}", file.display());
        CacheError::new(ErrorKind::Config, message)
    })
}

/// The same error, which names the setting that led there.
fn named(error: CacheError) -> CacheError {
    error.with_context(SETTING)
}

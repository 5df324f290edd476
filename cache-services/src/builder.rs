//! Building the services: where the choice of backends is made.

use std::sync::Arc;
use std::time::Duration;

use cache_concurrency::LocalConcurrencyService;
use cache_core::{CacheError, CacheService};
use cache_moka::MokaCacheService;
use cache_quick::QuickCacheService;

use crate::{CacheConfig, CacheServices, MemoryBackend, redis};

/// Makes [`CacheServices`]. What is not set has the defaults of [`CacheConfig`].
///
/// ```
/// use cache_services::{CacheServices, MemoryBackend};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_services::CacheError> {
/// let services = CacheServices::builder()
///     .memory(MemoryBackend::Quick)
///     .max_weight_bytes(64 * 1024 * 1024)
///     .time_to_idle(Duration::from_secs(600))
///     .build()
///     .await?;
/// # let _ = services; Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "nothing is made before `build`"]
pub struct CacheServicesBuilder {
    config: CacheConfig,
}

impl CacheServicesBuilder {
    /// Where Redis is; an empty or blank URL means in process. See
    /// [`RedisConfig::from_url`](cache_redis::RedisConfig::from_url) for its forms.
    pub fn redis_url(mut self, url: impl Into<String>) -> Self {
        self.config.redis_url = Some(url.into());
        self
    }

    /// What this service's keys and locks in Redis are told apart by; `cache` unless said
    /// otherwise. In process nothing is shared between
    /// services, so it has no effect there.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = namespace.into();
        self
    }

    /// How long entries live whose policy sets no TTL: 300 s unless said otherwise, at least 1 ms.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.config.default_ttl = ttl;
        self
    }

    /// How many entries the process holds at most: 10,000 unless said otherwise here or by
    /// [`max_weight_bytes`](Self::max_weight_bytes). 0 stores nothing.
    pub fn max_capacity(mut self, entries: u64) -> Self {
        self.config.max_capacity = Some(entries);
        self
    }

    /// How many bytes of keys and encoded values the process holds at most; with
    /// [`max_capacity`](Self::max_capacity) set too, both bounds hold. 0 stores nothing. For the
    /// quick backend only.
    pub fn max_weight_bytes(mut self, bytes: u64) -> Self {
        self.config.max_weight_bytes = Some(bytes);
        self
    }

    /// How long an entry stays that nobody reads, at least 1 ms; as long as it lives unless said
    /// otherwise.
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.config.time_to_idle = Some(idle);
        self
    }

    /// Which backend holds entries in process.
    pub fn memory(mut self, backend: MemoryBackend) -> Self {
        self.config.memory = backend;
        self
    }

    /// Whether the process holds entries in front of Redis; on unless said otherwise. No effect
    /// yet: with Redis every read goes there, without it the process holds entries in any case.
    pub fn near(mut self, on: bool) -> Self {
        self.config.near = on;
        self
    }

    /// Whether to start when Redis cannot be reached, and to connect later; off unless said
    /// otherwise. No effect without Redis.
    pub fn start_degraded(mut self, allow: bool) -> Self {
        self.config.start_degraded = allow;
        self
    }

    /// The services.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) naming the setting, its value (never that of
    /// `redis_url`) and what would be right; [`Unavailable`](cache_core::ErrorKind::Unavailable)
    /// naming host and port if Redis cannot be reached and
    /// [`start_degraded`](Self::start_degraded) is off.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future makes nothing.
    pub async fn build(self) -> Result<CacheServices, CacheError> {
        self.config.check()?;
        let CacheConfig {
            default_ttl,
            max_capacity,
            max_weight_bytes,
            time_to_idle,
            memory,
            redis_url,
            namespace,
            // For a near tier in front of Redis, which is still to come.
            near: _,
            start_degraded,
        } = self.config;
        if let Some(url) = redis_url.filter(|url| !url.trim().is_empty()) {
            let settings = redis::Settings { url, namespace, default_ttl, start_degraded };
            return redis::build(settings).await;
        }
        tracing::info!(
            %memory,
            ?max_capacity,
            ?max_weight_bytes,
            ?default_ttl,
            ?time_to_idle,
            "caching and locking in process"
        );
        let cache: Arc<dyn CacheService> = match memory {
            MemoryBackend::Quick => {
                let mut cache = QuickCacheService::builder().time_to_live(default_ttl);
                if let Some(entries) = max_capacity {
                    cache = cache.max_capacity(entries);
                }
                if let Some(bytes) = max_weight_bytes {
                    cache = cache.max_weight(bytes);
                }
                if let Some(idle) = time_to_idle {
                    cache = cache.time_to_idle(idle);
                }
                Arc::new(cache.build())
            }
            MemoryBackend::Moka => {
                // `check` has refused a bound in bytes here.
                let mut cache = MokaCacheService::builder().time_to_live(default_ttl);
                if let Some(entries) = max_capacity {
                    cache = cache.max_capacity(entries);
                }
                if let Some(idle) = time_to_idle {
                    cache = cache.time_to_idle(idle);
                }
                Arc::new(cache.build())
            }
        };
        Ok(CacheServices::new(cache, Arc::new(LocalConcurrencyService::new()), None))
    }
}

impl From<CacheConfig> for CacheServicesBuilder {
    /// A builder that starts from `config`, for the settings a service decides itself.
    fn from(config: CacheConfig) -> Self {
        Self { config }
    }
}

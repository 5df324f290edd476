//! Building the services: where the choice of backends is made.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_concurrency::LocalConcurrencyService;
use cache_core::{CacheError, TracedKeys};
use cache_moka::{MokaCacheBuilder, MokaCacheService};
use cache_quick::{QuickCacheBuilder, QuickCacheService};

use crate::parts::{Cache, Locks, Near, Parts};
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

    /// The file with the certificates (PEM) that Redis's must be signed by, in place of the usual
    /// public authorities, for `rediss://` and its kind. [`build`](Self::build) reads it.
    ///
    /// ```
    /// let builder = cache_services::CacheServices::builder()
    ///     .redis_url("rediss://redis.internal:6379")
    ///     .redis_ca("/etc/ssl/internal-ca.pem");
    /// # let _ = builder;
    /// ```
    pub fn redis_ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.config.redis_ca = Some(file.into());
        self
    }

    /// How long one operation of Redis may take in all: 250 ms unless said otherwise, 1 ms to 60 s.
    ///
    /// ```
    /// let timeout = std::time::Duration::from_millis(100);
    /// let builder = cache_services::CacheServices::builder().operation_timeout(timeout);
    /// # let _ = builder;
    /// ```
    pub fn operation_timeout(mut self, timeout: Duration) -> Self {
        self.config.operation_timeout = Some(timeout);
        self
    }

    /// What this service's keys and locks in Redis are told apart by; `cache` unless said
    /// otherwise. In process nothing is shared between
    /// services, so it has no effect there.
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.config.namespace = namespace.into();
        self
    }

    /// What this service is called where it is measured, as the label `cache`: its namespace unless said
    /// otherwise. Services of one process that share a name overwrite each other's figures. No effect
    /// without the feature `metrics`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = name.into();
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

    /// Whether the process holds entries in front of Redis, kept coherent over pub/sub; on unless
    /// said otherwise. The bounds above are then those of this near tier. Without Redis the process
    /// holds entries in any case.
    pub fn near(mut self, on: bool) -> Self {
        self.config.near = on;
        self
    }

    /// How long the near tier has an entry for fresh at most, at least 1 ms; as long as the entry is
    /// unless said otherwise. Where a policy has a stale window, it follows that. No entry is held for
    /// longer than Redis does, nor for longer than its policy's [`local_ttl`](cache_core::Policy::local_ttl).
    pub fn near_ttl(mut self, ttl: Duration) -> Self {
        self.config.near_ttl = Some(ttl);
        self
    }

    /// How long the near tier is still served when pub/sub is lost; not at all unless said
    /// otherwise.
    pub fn near_grace(mut self, grace: Duration) -> Self {
        self.config.near_grace = grace;
        self
    }

    /// Whether to start when Redis cannot be reached, and to connect later; off unless said
    /// otherwise. No effect without Redis.
    pub fn start_degraded(mut self, allow: bool) -> Self {
        self.config.start_degraded = allow;
        self
    }

    /// How keys stand in spans: hashed unless said otherwise. No effect without the feature
    /// `tracing`.
    pub fn traced_keys(mut self, keys: TracedKeys) -> Self {
        self.config.traced_keys = keys;
        self
    }

    /// The services.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) naming the setting, its value (never that of
    /// `redis_url`) and what would be right, and for credentials or a database that Redis refuses, or a
    /// file of certificates that cannot be read; [`Unavailable`](cache_core::ErrorKind::Unavailable)
    /// naming host and port if Redis cannot be reached and
    /// [`start_degraded`](Self::start_degraded) is off.
    ///
    /// # Runtime
    ///
    /// Call this on the runtime that the process keeps. A task of it frees entries that have expired
    /// and nobody reads; if it ends before the services do, that task is begun anew on the runtime in
    /// which [`CacheServices::cache`] is called next, and until then entries are freed with writes and
    /// with reads that miss. Connections to Redis need the runtime that they were made in.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future makes nothing.
    pub async fn build(self) -> Result<CacheServices, CacheError> {
        self.config.validate()?;
        let config = self.config;
        if let Some(url) = config.redis_url.as_deref().filter(|url| !url.trim().is_empty()) {
            return redis::build(url.trim(), &config).await;
        }
        tracing::info!(
            memory = %config.memory,
            max_capacity = ?config.max_capacity,
            max_weight_bytes = ?config.max_weight_bytes,
            default_ttl = ?config.default_ttl,
            time_to_idle = ?config.time_to_idle,
            "caching and locking in process"
        );
        let cache = match config.memory {
            MemoryBackend::Quick => Cache::Quick(quick(&config).build()),
            MemoryBackend::Moka => Cache::Moka(moka(&config).build()),
        };
        let locks = LocalConcurrencyService::builder().traced_keys(config.traced_keys).build();
        Ok(CacheServices::new(Parts { cache, locks: Locks::Local(locks), redis: None }, &config))
    }
}

/// What holds entries in front of Redis.
pub(crate) fn near(config: &CacheConfig) -> Near {
    match config.memory {
        _ if !config.near => Near::None,
        MemoryBackend::Quick => Near::Quick(Arc::new(quick(config).build_store())),
        MemoryBackend::Moka => Near::Moka(Arc::new(moka(config).build_store())),
    }
}

fn quick(config: &CacheConfig) -> QuickCacheBuilder {
    let mut cache = QuickCacheService::builder()
        .time_to_live(config.default_ttl)
        .traced_keys(config.traced_keys);
    if let Some(entries) = config.max_capacity {
        cache = cache.max_capacity(entries);
    }
    if let Some(bytes) = config.max_weight_bytes {
        cache = cache.max_weight(bytes);
    }
    if let Some(idle) = config.time_to_idle {
        cache = cache.time_to_idle(idle);
    }
    cache
}

/// `check` has refused a bound in bytes.
fn moka(config: &CacheConfig) -> MokaCacheBuilder {
    let mut cache = MokaCacheService::builder()
        .time_to_live(config.default_ttl)
        .traced_keys(config.traced_keys);
    if let Some(entries) = config.max_capacity {
        cache = cache.max_capacity(entries);
    }
    if let Some(idle) = config.time_to_idle {
        cache = cache.time_to_idle(idle);
    }
    cache
}

impl From<CacheConfig> for CacheServicesBuilder {
    /// A builder that starts from `config`, for the settings a service decides itself.
    fn from(config: CacheConfig) -> Self {
        Self { config }
    }
}

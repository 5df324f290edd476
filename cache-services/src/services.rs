//! The two services of a process, made once at start-up.

use std::sync::Arc;
use std::time::Duration;

use cache_concurrency::LockStats;
use cache_core::{CacheError, CacheService, ConcurrencyService, Policy, check_key};
use cache_hybrid::{TierStats, TieredStore};
use cache_redis::ConnectionStats;

use crate::parts::Parts;
use crate::upkeep::Upkeep;
use crate::{CacheConfig, CacheServicesBuilder, Located};

/// The cache and the locks of a process.
///
/// Made once at start-up; the services it hands out are kept by whoever needs them. Clones are
/// handles to the same two services.
///
/// ```
/// use cache_services::{CacheServiceExt, CacheServices, ConcurrencyServiceExt};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let services = CacheServices::builder()
///     .default_ttl(Duration::from_secs(60))
///     .max_capacity(50_000)
///     .build()
///     .await?;
///
/// let (cache, locks) = (services.cache(), services.concurrency());
/// locks.with_lock("plan:acme", cache.set("plan:acme", "gold", None)).await??;
/// assert_eq!(cache.get::<String>("plan:acme").await?.as_deref(), Some("gold"));
///
/// services.shutdown().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "the services are reached through `cache()` and `concurrency()`"]
pub struct CacheServices {
    cache: Arc<dyn CacheService>,
    concurrency: Arc<dyn ConcurrencyService>,
    parts: Parts,
    upkeep: Upkeep,
    #[cfg(feature = "metrics")]
    meter: Arc<crate::metrics::Meter>,
}

impl CacheServices {
    #[cfg_attr(not(feature = "metrics"), allow(unused_variables, reason = "nothing is named"))]
    pub(crate) fn new(parts: Parts, config: &CacheConfig) -> Self {
        let upkeep = Upkeep::default();
        upkeep.ensure(&parts.cache);
        Self {
            cache: parts.cache.service(),
            concurrency: parts.locks.service(),
            #[cfg(feature = "metrics")]
            meter: Arc::new(crate::metrics::Meter::new(config)),
            parts,
            upkeep,
        }
    }

    /// The services that the process environment asks for; the crate's documentation lists the
    /// variables. With none of them set: in process, 10,000 entries for 300 s.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) naming the variable, its value (never that of
    /// `REDIS_URL`, which may hold a password) and what would be right, and for credentials or a database
    /// that Redis refuses, or a file of certificates that cannot be read;
    /// [`Unavailable`](cache_core::ErrorKind::Unavailable) naming host and port if Redis cannot be
    /// reached, unless `CACHE_START_DEGRADED` allows to start without.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future makes nothing.
    ///
    /// ```
    /// use cache_services::{CacheServiceExt, CacheServices};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_services::CacheError> {
    /// let services = CacheServices::from_env().await?;
    /// assert!(!services.cache().contains("org:acme").await?);
    /// # Ok(()) }
    /// ```
    pub async fn from_env() -> Result<Self, CacheError> {
        Self::from_config(CacheConfig::from_env()?).await
    }

    /// The services that `config` asks for.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) naming the setting, its value (never that of
    /// `redis_url`) and what would be right, and for credentials or a database that Redis refuses, or a
    /// file of certificates that cannot be read; [`Unavailable`](cache_core::ErrorKind::Unavailable)
    /// naming host and port if Redis cannot be reached, unless `start_degraded` allows to start without.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future makes nothing.
    ///
    /// ```
    /// use cache_services::{CacheConfig, CacheServices, MemoryBackend};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_services::CacheError> {
    /// let config = CacheConfig { memory: MemoryBackend::Moka, ..CacheConfig::default() };
    /// let services = CacheServices::from_config(config).await?;
    /// # let _ = services; Ok(()) }
    /// ```
    pub async fn from_config(config: CacheConfig) -> Result<Self, CacheError> {
        CacheServicesBuilder::from(config).build().await
    }

    /// A builder that starts from the defaults and does not look at the environment.
    pub fn builder() -> CacheServicesBuilder {
        CacheServicesBuilder::default()
    }

    /// The cache. Every call returns a handle to the same one.
    ///
    /// Called within a runtime, it also has expired entries freed again if the runtime that the services
    /// were built in is gone: see [`build`](CacheServicesBuilder::build).
    #[must_use]
    pub fn cache(&self) -> Arc<dyn CacheService> {
        self.upkeep.ensure(&self.parts.cache);
        Arc::clone(&self.cache)
    }

    /// The locks. Every call returns a handle to the same service.
    #[must_use]
    pub fn concurrency(&self) -> Arc<dyn ConcurrencyService> {
        Arc::clone(&self.concurrency)
    }

    /// What goes on between the near tier, Redis and the bus; `None` in process.
    #[must_use]
    pub fn tier_stats(&self) -> Option<TierStats> {
        self.parts.cache.tiers().map(TieredStore::tier_stats)
    }

    /// The connections to Redis, which both services share; `None` in process.
    #[must_use]
    pub fn connection_stats(&self) -> Option<ConnectionStats> {
        self.parts.redis.as_ref().map(|redis| redis.connections.stats())
    }

    /// Holds this many entries in the process at most from now on, in front of Redis where that is used:
    /// [`max_capacity`](CacheServicesBuilder::max_capacity), changed while the service runs. What is over
    /// it is evicted before this returns, which takes the longer the more it is; reads and writes go on
    /// meanwhile. What is in Redis stays there.
    ///
    /// The entries are split into parts, a few for each processor, and each takes its share: what does
    /// not divide evenly is not used.
    ///
    /// # Errors
    ///
    /// [`Config`](cache_core::ErrorKind::Config) saying why, and nothing has changed: if `entries` are
    /// fewer than the parts; if the bound in force is another one, that is bytes, both, or 0; if the
    /// backend is moka; if the process holds no entries, with [`near`](CacheServicesBuilder::near) off.
    ///
    /// ```
    /// use cache_services::CacheServices;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_services::CacheError> {
    /// let services = CacheServices::builder().max_capacity(10_000).build().await?;
    /// services.set_max_capacity(50_000)?;
    /// # Ok(()) }
    /// ```
    pub fn set_max_capacity(&self, entries: u64) -> Result<(), CacheError> {
        self.parts.cache.resizable()?.set_max_capacity(entries)
    }

    /// Holds this many bytes of keys and encoded values in the process at most from now on, as
    /// [`set_max_capacity`](Self::set_max_capacity) does entries. The number of parts stays, and an entry
    /// of more than four fifths of a part may not be kept.
    ///
    /// # Errors
    ///
    /// As [`set_max_capacity`](Self::set_max_capacity), where the bound in force has to be one in bytes
    /// alone.
    ///
    /// ```
    /// use cache_services::CacheServices;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_services::CacheError> {
    /// let services = CacheServices::builder().max_weight_bytes(64 * 1024 * 1024).build().await?;
    /// services.set_max_weight_bytes(16 * 1024 * 1024)?;
    /// assert!(services.set_max_capacity(100).is_err(), "it is bounded in bytes");
    /// # Ok(()) }
    /// ```
    pub fn set_max_weight_bytes(&self, bytes: u64) -> Result<(), CacheError> {
        self.parts.cache.resizable()?.set_max_weight(bytes)
    }

    /// Where an entry is held, for an operator: looking counts as no lookup and fills no tier, though
    /// in process it is a use, for eviction and for the idle time. It takes as long as one call of
    /// Redis may.
    ///
    /// # Errors
    ///
    /// [`InvalidKey`](cache_core::ErrorKind::InvalidKey). That Redis does not answer is part of the
    /// answer.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    ///
    /// ```
    /// use cache_services::{CacheServiceExt, CacheServices};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_services::CacheError> {
    /// let services = CacheServices::builder().build().await?;
    /// services.cache().set("plan:acme", "gold", None).await?;
    /// let held = services.locate("plan:acme").await?;
    /// assert!(held.near.is_some() && held.far.is_none(), "in process there is one tier");
    /// # Ok(()) }
    /// ```
    pub async fn locate(&self, key: &str) -> Result<Located, CacheError> {
        check_key(key)?;
        Ok(self.parts.cache.locate(key).await)
    }

    /// What became of those who asked for locks.
    ///
    /// ```
    /// use cache_services::{CacheServices, ConcurrencyServiceExt};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let services = CacheServices::builder().build().await?;
    /// services.concurrency().with_lock("user:7", async {}).await?;
    /// assert_eq!(services.lock_stats().acquired, 1);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn lock_stats(&self) -> LockStats {
        self.parts.locks.stats()
    }

    /// Hands what was counted and measured to the recorder of the `metrics` facade that is installed,
    /// or to the local one of this thread. To be called when the figures are asked for, as when
    /// Prometheus scrapes: until then nobody is told of anything, so that a hit costs what it does
    /// without. `docs/observability.md` lists the names.
    ///
    /// Durations are handed over once: to the recorder of the first call after they were measured.
    /// Prometheus' exporter makes histograms of them if it is given
    /// [`DURATION_BUCKETS`](crate::DURATION_BUCKETS).
    ///
    /// ```
    /// use cache_services::{CacheServiceExt, CacheServices, DURATION_BUCKETS};
    /// use metrics_exporter_prometheus::PrometheusBuilder;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let prometheus = PrometheusBuilder::new().set_buckets(&DURATION_BUCKETS)?.install_recorder()?;
    /// let services = CacheServices::builder().name("orgs").build().await?;
    /// services.cache().get::<String>("org:acme").await?;
    ///
    /// services.publish_metrics();
    /// let text = prometheus.render();
    /// assert!(text.contains(r#"cache_operations_total{cache="orgs",operation="get",result="miss"} 1"#));
    /// # Ok(()) }
    /// ```
    #[cfg(feature = "metrics")]
    pub fn publish_metrics(&self) {
        self.upkeep.ensure(&self.parts.cache);
        self.meter.publish(&self.parts);
    }

    /// `policy` for what every instance has to find as the last one left it, such as what is looked at
    /// under a lock: over Redis no instance holds it in front of that. Without Redis there is one
    /// instance, whose memory is where everything is kept, and the policy stays as it is.
    ///
    /// ```
    /// use cache_services::{CacheServiceExt, CacheServices};
    /// use std::time::Duration;
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_services::CacheError> {
    /// let services = CacheServices::from_env().await?;
    /// let policy = services.shared(Duration::from_secs(600));
    /// services.cache().set("token:7", "refreshed", policy).await?;
    /// assert!(services.cache().contains("token:7").await?);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn shared(&self, policy: impl Into<Policy>) -> Policy {
        match self.tier_stats() {
            Some(_) => policy.into().local_ttl(Duration::ZERO),
            None => policy.into(),
        }
    }

    /// Shuts the lock service down, through every handle: whoever waits for a lock, and whoever
    /// asks for one from now on, gets [`Unavailable`](cache_core::LockErrorKind::Unavailable).
    ///
    /// On Redis, locks that are being released are seen through, writes that the other nodes have not
    /// been told of are told, and what an outage has left to be replayed is tried once more. Then the
    /// connections are closed, and the cache is [`Unavailable`](cache_core::ErrorKind::Unavailable) too. The cache in
    /// process has nothing to close and goes on answering, so requests that are being finished may
    /// still use it. Calling this again does nothing.
    ///
    /// If Redis hangs, this takes some seconds: two calls' budgets for each release that is under way, up to
    /// 3 s for places in queues that are being given up, 1 s for what the cache has to tell, and another
    /// budget for the connections. What could not be given back runs out by itself, with its lease.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped, the lock service is shut down, and the connections may be open still.
    /// Call it again to have them closed.
    pub async fn shutdown(&self) {
        self.concurrency.shutdown().await;
        if let Some(tiers) = self.parts.cache.tiers() {
            tiers.flush().await;
        }
        if let Some(redis) = &self.parts.redis {
            redis.connections.shutdown().await;
        }
    }
}

#![doc = include_str!("../README.md")]

mod builder;
mod config;
mod env;
mod fault;
mod located;
#[cfg(feature = "metrics")]
mod metrics;
mod parts;
mod redis;
mod redis_url;
mod seconds;
mod services;
mod upkeep;

pub use builder::CacheServicesBuilder;
pub use config::{CacheConfig, MemoryBackend};
pub use located::Located;
#[cfg(feature = "metrics")]
pub use metrics::DURATION_BUCKETS;
pub use services::CacheServices;

// The rest of the family, so that a service depends on this crate alone.
pub use cache_concurrency::{LocalConcurrencyService, LockStats, RedisConcurrencyService};
pub use cache_core::{
    BusEvent, CacheError, CacheService, CacheServiceExt, CacheStats, CacheStore, Clock,
    ConcurrencyService, ConcurrencyServiceExt, Entry, ErrorKind, FencingToken, HeldLock,
    InvalidationBus, Lease, LeaseOutcome, Loader, LockError, LockErrorKind, LockGuard, LockInfo,
    LockOptions, MAX_KEY_BYTES, ManualClock, ManyLoader, Policy, ReadThrough, ReadThroughBuilder,
    Selector, Timestamp, TracedKeys, TypedCache, Warm, WarmCause, WarmFailure, WarmLoader,
    WarmLoaderInfo, WarmProgress, WarmRun, WarmState, Warmer, WarmerBuilder, check_key,
    check_lock_key, in_words,
};
pub use cache_hybrid::{FarLatency, HybridCache, HybridCacheBuilder, TierStats, TieredStore};
pub use cache_moka::{MokaCacheService, MokaStore};
pub use cache_quick::{DEFAULT_CAPACITY, QuickCacheService, QuickStore};
pub use cache_redis::{
    ConnectionState, ConnectionStats, Connections, RedisBus, RedisCacheService, RedisConfig,
    RedisStore,
};

//! What the two services are, beside the traits that they are held as: for what the traits have no
//! word for.

use std::sync::Arc;

use cache_concurrency::{LocalConcurrencyService, LockStats, RedisConcurrencyService};
use cache_core::{CacheService, ConcurrencyService};
use cache_hybrid::{HybridCache, TieredStore};
use cache_moka::MokaCacheService;
use cache_quick::QuickCacheService;
use cache_redis::{Connections, RedisBus};

/// What was built.
#[derive(Clone, Debug)]
pub(crate) struct Parts {
    pub(crate) cache: Cache,
    pub(crate) locks: Locks,
    /// What both use, if that is Redis.
    pub(crate) redis: Option<Redis>,
}

#[derive(Clone, Debug)]
pub(crate) struct Redis {
    pub(crate) connections: Connections,
    #[cfg_attr(not(feature = "metrics"), allow(dead_code, reason = "its lag is not asked for"))]
    pub(crate) bus: RedisBus,
}

#[derive(Clone, Debug)]
pub(crate) enum Cache {
    Quick(QuickCacheService),
    Moka(MokaCacheService),
    Hybrid(HybridCache),
}

impl Cache {
    pub(crate) fn service(&self) -> Arc<dyn CacheService> {
        match self {
            Self::Quick(cache) => Arc::new(cache.clone()),
            Self::Moka(cache) => Arc::new(cache.clone()),
            Self::Hybrid(cache) => Arc::new(cache.clone()),
        }
    }

    pub(crate) fn tiers(&self) -> Option<&TieredStore> {
        match self {
            Self::Quick(_) | Self::Moka(_) => None,
            Self::Hybrid(cache) => Some(cache.tiers()),
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn times(&self) -> cache_core::EngineTimes {
        match self {
            Self::Quick(cache) => cache.engine().times(),
            Self::Moka(cache) => cache.engine().times(),
            Self::Hybrid(cache) => cache.engine().times(),
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) enum Locks {
    Local(LocalConcurrencyService),
    Redis(RedisConcurrencyService),
}

impl Locks {
    pub(crate) fn service(&self) -> Arc<dyn ConcurrencyService> {
        match self {
            Self::Local(locks) => Arc::new(locks.clone()),
            Self::Redis(locks) => Arc::new(locks.clone()),
        }
    }

    pub(crate) fn stats(&self) -> LockStats {
        match self {
            Self::Local(locks) => locks.stats(),
            Self::Redis(locks) => locks.stats(),
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn times(&self) -> cache_concurrency::LockTimes {
        match self {
            Self::Local(locks) => locks.times(),
            Self::Redis(locks) => locks.times(),
        }
    }
}

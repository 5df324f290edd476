//! What the two services are, beside the traits that they are held as: for what the traits have no
//! word for.

use std::sync::Arc;

use cache_concurrency::{LocalConcurrencyService, LockStats, RedisConcurrencyService};
use cache_core::{CacheError, CacheService, CacheStore, ConcurrencyService, ErrorKind};
use cache_hybrid::{HybridCache, TieredStore};
use cache_moka::{MokaCacheService, MokaStore};
use cache_quick::{QuickCacheService, QuickStore};
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
    /// And what it holds in front of Redis.
    Hybrid(HybridCache, Near),
}

/// The near tier, for what the trait has no word for.
#[derive(Clone, Debug)]
pub(crate) enum Near {
    None,
    Quick(Arc<QuickStore>),
    Moka(Arc<MokaStore>),
}

impl Near {
    pub(crate) fn store(&self) -> Option<Arc<dyn CacheStore>> {
        match self {
            Self::None => None,
            Self::Quick(store) => Some(Arc::clone(store) as _),
            Self::Moka(store) => Some(Arc::clone(store) as _),
        }
    }
}

impl Cache {
    pub(crate) fn service(&self) -> Arc<dyn CacheService> {
        match self {
            Self::Quick(cache) => Arc::new(cache.clone()),
            Self::Moka(cache) => Arc::new(cache.clone()),
            Self::Hybrid(cache, _) => Arc::new(cache.clone()),
        }
    }

    pub(crate) fn tiers(&self) -> Option<&TieredStore> {
        match self {
            Self::Quick(_) | Self::Moka(_) => None,
            Self::Hybrid(cache, _) => Some(cache.tiers()),
        }
    }

    /// What holds entries in the process, if its bound can be changed.
    pub(crate) fn resizable(&self) -> Result<&QuickStore, CacheError> {
        let why = match self {
            Self::Quick(cache) => return Ok(cache.engine().inner()),
            Self::Hybrid(_, Near::Quick(store)) => return Ok(store),
            Self::Moka(_) | Self::Hybrid(_, Near::Moka(_)) => {
                "the moka backend (CACHE_MEMORY) keeps the bound it was made with; use quick"
            }
            Self::Hybrid(_, Near::None) => {
                "without a near tier (CACHE_NEAR) the process holds no entries"
            }
        };
        Err(CacheError::new(ErrorKind::Config, format!("the cache cannot be resized: {why}")))
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn times(&self) -> cache_core::EngineTimes {
        match self {
            Self::Quick(cache) => cache.engine().times(),
            Self::Moka(cache) => cache.engine().times(),
            Self::Hybrid(cache, _) => cache.engine().times(),
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

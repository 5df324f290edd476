//! Where the cache keeps its entries, and which tiers hold one.

use std::sync::Arc;

use cache_core::{CacheError, CacheService, CacheStore, Entry};
use cache_hybrid::TieredStore;
use cache_moka::MokaCacheService;
use cache_quick::QuickCacheService;
use cache_redis::Connections;

/// Where an entry is held; see [`CacheServices::locate`](crate::CacheServices::locate).
///
/// An entry that is stale within its window is held too: ask it for its times. The one in the
/// process may live shorter than the one in Redis.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Located {
    /// What the process holds, whether it is served just now or not.
    pub near: Option<Entry>,
    /// What Redis holds, or why it did not say; `None` without Redis.
    pub far: Option<Result<Option<Entry>, CacheError>>,
}

/// Where the cache keeps its entries.
#[derive(Clone, Debug)]
pub(crate) enum Held {
    InProcess(Memory),
    /// The connections are those of the locks, too.
    Tiers {
        tiers: TieredStore,
        redis: Connections,
    },
}

/// A cache in the process as what it is: behind its traits it would count a look as a hit.
#[derive(Clone, Debug)]
pub(crate) enum Memory {
    Quick(QuickCacheService),
    Moka(MokaCacheService),
}

impl Memory {
    pub(crate) fn service(&self) -> Arc<dyn CacheService> {
        match self {
            Self::Quick(cache) => Arc::new(cache.clone()),
            Self::Moka(cache) => Arc::new(cache.clone()),
        }
    }

    fn look(&self, key: &str) -> Option<Entry> {
        match self {
            Self::Quick(cache) => cache.engine().inner().peek(key),
            Self::Moka(cache) => cache.engine().inner().peek(key),
        }
    }
}

impl Held {
    pub(crate) fn tiers(&self) -> Option<&TieredStore> {
        match self {
            Self::InProcess(_) => None,
            Self::Tiers { tiers, .. } => Some(tiers),
        }
    }

    pub(crate) fn redis(&self) -> Option<&Connections> {
        match self {
            Self::InProcess(_) => None,
            Self::Tiers { redis, .. } => Some(redis),
        }
    }

    pub(crate) async fn locate(&self, key: &str) -> Located {
        match self {
            Self::InProcess(memory) => Located { near: memory.look(key), far: None },
            Self::Tiers { tiers, .. } => {
                let far = tiers.look_far(key).await;
                Located { near: tiers.look_near(key), far: Some(far) }
            }
        }
    }
}

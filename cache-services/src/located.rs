//! Which tiers hold an entry.

use cache_core::{CacheError, CacheStore, Entry};

use crate::parts::Cache;

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

impl Cache {
    /// Asks the stores: the services would count a look as a hit.
    pub(crate) async fn locate(&self, key: &str) -> Located {
        let near = match self {
            Self::Quick(cache) => cache.engine().inner().peek(key),
            Self::Moka(cache) => cache.engine().inner().peek(key),
            Self::Hybrid(cache, _) => {
                let far = cache.tiers().look_far(key).await;
                return Located { near: cache.tiers().look_near(key), far: Some(far) };
            }
        };
        Located { near, far: None }
    }
}

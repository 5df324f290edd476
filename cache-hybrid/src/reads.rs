//! Reads of the far tier, which the near one keeps.

use cache_core::{CacheError, CacheStore, Entry};
use futures_util::future::join_all;

use crate::replay::Owed;
use crate::spans::Asked;
use crate::store::TieredStore;

impl TieredStore {
    /// What the far tier has the near one keeps.
    pub(crate) async fn fetch_one(
        &self,
        key: &str,
        far: &dyn CacheStore,
    ) -> Result<Option<Entry>, CacheError> {
        let inner = &self.0;
        let lease = inner.read_lease(key).await;
        let asked = Asked::key("fetch", key);
        let found = inner.read_far(asked, far, [key], |far| far.fetch(key)).await?;
        if let Some(entry) = &found {
            inner.keep(lease, entry.clone()).await;
        }
        Ok(found)
    }

    /// The slots of `keys` from the far tier, by where they are in the list. One of which a removal is
    /// owed is left out, as absent, rather than have all of them fail.
    pub(crate) async fn fetch_far(
        &self,
        far: &dyn CacheStore,
        keys: Vec<(usize, String)>,
    ) -> Result<Vec<(usize, Option<Entry>)>, CacheError> {
        let parts = self.0.missed.parts(keys, |(_, key)| key);
        let fetch = async |(owed, part): (Owed, Vec<(usize, String)>)| {
            let (places, keys): (Vec<_>, Vec<_>) = part.into_iter().unzip();
            let found = self.fetch_part(far, &keys).await;
            (owed, found.map(|found| places.into_iter().zip(found).collect::<Vec<_>>()))
        };
        let mut found = join_all(parts.into_iter().map(fetch)).await;
        found.retain(|(owed, found)| found.is_ok() || *owed == Owed::Nothing);
        let found = found.into_iter().map(|(_, found)| found).collect::<Result<Vec<_>, _>>()?;
        Ok(found.concat())
    }

    /// What the far tier has the near one keeps.
    async fn fetch_part(
        &self,
        far: &dyn CacheStore,
        keys: &[String],
    ) -> Result<Vec<Option<Entry>>, CacheError> {
        let inner = &self.0;
        let mut leases = Vec::with_capacity(keys.len());
        for key in keys {
            leases.push(inner.read_lease(key).await);
        }
        let asked = Asked::keys("fetch_many", keys.len());
        let names = keys.iter().map(String::as_str);
        let found = inner.read_far(asked, far, names, |far| far.fetch_many(keys)).await?;
        for (lease, entry) in leases.into_iter().zip(&found) {
            if let Some(entry) = entry {
                inner.keep(lease, entry.clone()).await;
            }
        }
        Ok(found)
    }
}

//! What each tier holds, for an operator: looking counts as no lookup and fills no tier.

use cache_core::{CacheError, Entry, check_key};

use crate::spans::Asked;
use crate::store::TieredStore;

impl TieredStore {
    /// What the near tier holds under `key`, whether it is served just now or not. It may be stale.
    #[must_use]
    pub fn look_near(&self, key: &str) -> Option<Entry> {
        self.0.near.as_deref()?.peek(key)
    }

    /// What the far tier holds under `key`; it may be stale. The near tier does not keep it.
    ///
    /// # Errors
    ///
    /// As [`fetch`](cache_core::CacheStore::fetch). A call that succeeds tells the circuit breaker
    /// that the far tier answers, as every call does.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future leaves nothing behind.
    pub async fn look_far(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        match &self.0.far {
            Some(far) => {
                self.0.ask_far(Asked::key("fetch", key), &**far, [key], |far| far.fetch(key)).await
            }
            None => Ok(None),
        }
    }
}

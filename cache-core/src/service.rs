//! What a service crate holds: a store with read-through.

use async_trait::async_trait;

use crate::{CacheError, CacheStore, Entry, Loader, ManyLoader, Policy};

/// A cache as its users hold it, as `Arc<dyn CacheService>`.
///
/// Users call the typed methods of [`CacheServiceExt`](crate::CacheServiceExt). The methods here
/// are what those need of an implementation, and what a mock answers.
///
/// A service is a [`CacheStore`] with two differences: its `peek` returns only fresh entries and
/// counts them as hits, and its `remove`, `store` and `store_many` also detach loads in flight:
/// whoever calls afterwards does not join them.
#[async_trait]
pub trait CacheService: CacheStore {
    /// The entry, or what `loader` makes of it, under `policy`.
    ///
    /// *Behaviour*
    /// - `docs/read-through.md` says what is returned and stored in which state.
    /// - One load per key at a time, whoever asks; `loader` is called at most once, in a task of
    ///   its own.
    /// - An entry the loader does not [accept](Loader::accepts) counts as missing.
    ///
    /// # Errors
    ///
    /// The loader's, as [`Load`](crate::ErrorKind::Load), the same for all that waited;
    /// [`Timeout`](crate::ErrorKind::Timeout) when the load was given up;
    /// [`InvalidKey`](crate::ErrorKind::InvalidKey); [`Config`](crate::ErrorKind::Config) outside a
    /// tokio runtime. A backend that fails is not an error: the loader answers.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future never stops a load that others, or the next caller, may use.
    async fn load(&self, key: &str, policy: &Policy, loader: Loader) -> Result<Entry, CacheError>;

    /// The same for many keys, with one call of `loader` for those that are missing.
    ///
    /// *Behaviour*
    /// - One entry per key, in order; a key that is named twice is loaded once.
    /// - A key that someone else is loading is awaited, not loaded.
    /// - Nothing missing: `loader` is not called.
    /// - `refresh_ahead` is honoured when nothing is missing.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); one failure fails the call.
    ///
    /// # Cancel safety
    ///
    /// As [`load`](Self::load).
    async fn load_many(
        &self,
        keys: &[String],
        policy: &Policy,
        loader: ManyLoader,
    ) -> Result<Vec<Entry>, CacheError>;

    /// What [`peek`](CacheStore::peek) gives, if a [`load`](Self::load) under `policy` would just
    /// return it: not if it would start a refresh.
    fn peek_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        if policy.refreshes_ahead() { None } else { self.peek(key) }
    }

    /// As [`peek_for`](Self::peek_for), for a caller to whom "absent" is no answer: that is left out,
    /// and not counted as a hit.
    fn peek_value_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        self.peek_for(key, policy).filter(|entry| !entry.is_absent())
    }
}

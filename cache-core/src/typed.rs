//! A cache of one type under one prefix, with one policy.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::{CacheError, CacheService, CacheServiceExt, Policy, check_key};

/// A cache of `T`s under the keys `prefix:…`: type, prefix and policy said once.
///
/// Cloning is cheap; clones share the cache.
///
/// ```
/// # use std::{sync::Arc, time::Duration};
/// use cache_core::{CacheService, Policy, TypedCache};
///
/// # async fn example(cache: Arc<dyn CacheService>) -> Result<(), cache_core::CacheError> {
/// let ttl = Policy::ttl(Duration::from_secs(60));
/// let orgs = TypedCache::<String>::new(cache, "org").with_policy(ttl);
/// orgs.set("acme", &"Acme Corporation".to_owned()).await?;
/// let acme = orgs.get("acme").await?; // reads "org:acme"
/// # let _ = acme; Ok(()) }
/// ```
pub struct TypedCache<T> {
    cache: Arc<dyn CacheService>,
    prefix: String,
    policy: Policy,
    values: PhantomData<fn() -> T>,
}

impl<T> TypedCache<T> {
    /// The part of `cache` whose keys begin with `prefix:`, with the service's default TTL.
    #[must_use]
    pub fn new(cache: Arc<dyn CacheService>, prefix: impl Into<String>) -> Self {
        Self { cache, prefix: prefix.into(), policy: Policy::default(), values: PhantomData }
    }

    /// Writes and loads under `policy` from now on.
    #[must_use]
    pub fn with_policy(self, policy: impl Into<Policy>) -> Self {
        Self { policy: policy.into(), ..self }
    }

    /// The key in the underlying cache.
    fn key(&self, key: &str) -> Result<String, CacheError> {
        check_key(key)?;
        Ok(format!("{}:{key}", self.prefix))
    }

    fn keys(&self, keys: &[&str]) -> Result<Vec<String>, CacheError> {
        keys.iter().map(|key| self.key(key)).collect()
    }

    /// Removes `key`.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::invalidate`].
    pub async fn invalidate(&self, key: &str) -> Result<(), CacheError> {
        self.cache.invalidate(&self.key(key)?).await
    }

    /// Removes `keys`.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::invalidate_many`].
    pub async fn invalidate_many(&self, keys: &[&str]) -> Result<(), CacheError> {
        let keys = self.keys(keys)?;
        self.cache.invalidate_many(&borrowed(&keys)).await
    }

    /// Removes every key of this cache whose rest begins with `prefix`.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::invalidate_prefix`].
    pub async fn invalidate_prefix(&self, prefix: &str) -> Result<(), CacheError> {
        self.cache.invalidate_prefix(&format!("{}:{prefix}", self.prefix)).await
    }

    /// Removes everything under this cache's prefix.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::invalidate_prefix`].
    pub async fn clear(&self) -> Result<(), CacheError> {
        self.invalidate_prefix("").await
    }

    /// Whether `key` has a fresh value.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::contains`].
    pub async fn contains(&self, key: &str) -> Result<bool, CacheError> {
        self.cache.contains(&self.key(key)?).await
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> TypedCache<T> {
    /// The value under `key`.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::get`].
    pub async fn get(&self, key: &str) -> Result<Option<T>, CacheError> {
        self.cache.get(&self.key(key)?).await
    }

    /// The value under `key`, shared.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::get_arc`].
    pub async fn get_arc(&self, key: &str) -> Result<Option<Arc<T>>, CacheError> {
        self.cache.get_arc(&self.key(key)?).await
    }

    /// The values under `keys`, one slot per key, in order.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::get_many`].
    pub async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<T>>, CacheError> {
        let keys = self.keys(keys)?;
        self.cache.get_many(&borrowed(&keys)).await
    }

    /// Writes `value` under `key`.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::set`].
    pub async fn set(&self, key: &str, value: &T) -> Result<(), CacheError> {
        self.cache.set(&self.key(key)?, value, &self.policy).await
    }

    /// The value under `key`, or what `load` returns.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::get_or_load`].
    pub async fn get_or_load<E, F, Fut>(&self, key: &str, load: F) -> Result<Arc<T>, CacheError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.cache.get_or_load(&self.key(key)?, &self.policy, load).await
    }

    /// As [`get_or_load`](Self::get_or_load) where there may be no value.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::get_or_load_opt`].
    pub async fn get_or_load_opt<E, F, Fut>(
        &self,
        key: &str,
        load: F,
    ) -> Result<Option<Arc<T>>, CacheError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        self.cache.get_or_load_opt(&self.key(key)?, &self.policy, load).await
    }

    /// The values under `keys`; `load` is given those that are missing, without the prefix, and
    /// returns them so.
    ///
    /// # Errors
    ///
    /// As [`CacheServiceExt::get_or_load_many`].
    pub async fn get_or_load_many<E, F, Fut>(
        &self,
        keys: &[&str],
        load: F,
    ) -> Result<Vec<Option<Arc<T>>>, CacheError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<HashMap<String, T>, E>> + Send + 'static,
    {
        let keys = self.keys(keys)?;
        let start = self.prefix.len() + 1;
        let prefix = format!("{}:", self.prefix);
        let load = move |missing: Vec<String>| {
            let values = load(missing.into_iter().map(|key| key[start..].to_owned()).collect());
            async move {
                let found = values.await?.into_iter();
                Ok::<_, E>(found.map(|(key, value)| (format!("{prefix}{key}"), value)).collect())
            }
        };
        self.cache.get_or_load_many(&borrowed(&keys), &self.policy, load).await
    }
}

impl<T> Clone for TypedCache<T> {
    fn clone(&self) -> Self {
        Self {
            cache: Arc::clone(&self.cache),
            prefix: self.prefix.clone(),
            policy: self.policy.clone(),
            values: PhantomData,
        }
    }
}

impl<T> fmt::Debug for TypedCache<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TypedCache")
            .field("prefix", &self.prefix)
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

fn borrowed(keys: &[String]) -> Vec<&str> {
    keys.iter().map(String::as_str).collect()
}

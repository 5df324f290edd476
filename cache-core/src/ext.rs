//! What users call: typed reads, writes, loads and removals over any cache service.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::reading::{self, Reading};
use crate::{CacheError, CacheService, Entry, ErrorKind, Loader, ManyLoader, Policy, Selector};

/// The typed face of every [`CacheService`], `dyn` ones included.
///
/// Wherever a policy is asked for, a [`Duration`](std::time::Duration) (the TTL), `None` (the
/// service's default TTL) or a [`Policy`] will do.
///
/// # Errors
///
/// Every method returns [`InvalidKey`](crate::ErrorKind::InvalidKey) for a key that is empty or
/// longer than 1,024 bytes, and what the backend reports
/// ([`Unavailable`](crate::ErrorKind::Unavailable), [`Timeout`](crate::ErrorKind::Timeout),
/// [`Backend`](crate::ErrorKind::Backend)). Cached bytes that are no `T` are
/// [`Serialization`](crate::ErrorKind::Serialization), naming key and type; the entry is kept.
///
/// # Cancel safety
///
/// Every future may be dropped at any await point: the operation has then happened or not. A
/// dropped load goes on for the other callers and for the cache.
///
/// # Examples
///
/// ```
/// use cache_core::{CacheService, CacheServiceExt, Policy};
/// use std::{sync::Arc, time::Duration};
///
/// async fn plan_of(cache: &Arc<dyn CacheService>, org: &str) -> Result<Arc<String>, cache_core::CacheError> {
///     let policy = Policy::ttl(Duration::from_secs(300)).stale_for(Duration::from_secs(60));
///     let slug = org.to_owned();
///     cache.get_or_load(&format!("plan:{org}"), policy, || async move {
///         Ok::<_, std::io::Error>(format!("plan of {slug}")) // ask the database
///     }).await
/// }
/// ```
pub trait CacheServiceExt: CacheService {
    /// The value under `key`, if a fresh one is there. Decoded anew each time: prefer
    /// [`get_arc`](Self::get_arc) where sharing will do.
    fn get<T>(&self, key: &str) -> impl Future<Output = Result<Option<T>, CacheError>> + Send
    where
        T: DeserializeOwned + Send;

    /// The value under `key`, shared. A value this process holds and has decoded before costs a
    /// lookup, a downcast and a reference count.
    fn get_arc<T>(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Arc<T>>, CacheError>> + Send
    where
        T: DeserializeOwned + Send + Sync + 'static;

    /// The values under `keys`, one slot per key, in order.
    fn get_many<T>(
        &self,
        keys: &[&str],
    ) -> impl Future<Output = Result<Vec<Option<T>>, CacheError>> + Send
    where
        T: DeserializeOwned + Send;

    /// Writes `value` under `key`. Loads of the key that are under way will not overwrite it.
    ///
    /// # Errors
    ///
    /// Also [`Serialization`](crate::ErrorKind::Serialization) if the value does not encode and
    /// [`TooLarge`](crate::ErrorKind::TooLarge) where the backend has a limit.
    fn set<T>(
        &self,
        key: &str,
        value: &T,
        policy: impl Into<Policy>,
    ) -> impl Future<Output = Result<(), CacheError>> + Send
    where
        T: Serialize + Sync + ?Sized;

    /// Writes many values. Not atomic. Of a key that is named twice the last value stays.
    ///
    /// # Errors
    ///
    /// As [`set`](Self::set); a value that does not encode is found before anything is written.
    fn set_many<T>(
        &self,
        items: &[(&str, T)],
        policy: impl Into<Policy>,
    ) -> impl Future<Output = Result<(), CacheError>> + Send
    where
        T: Serialize + Sync;

    /// The value under `key`, or what `load` returns, which is then cached. Concurrent callers
    /// share one load. A key cached as absent is loaded.
    ///
    /// `load` runs in a task of its own, which goes on if its caller goes away: what it captures is owned
    /// (`move`, and clones of what is borrowed), and so is what its future holds. Its errors are any that
    /// can be boxed; where nothing else says which, `Ok::<_, E>` does.
    ///
    /// ```
    /// use cache_core::{CacheError, CacheService, CacheServiceExt, Policy};
    /// use std::{io, sync::Arc, time::Duration};
    ///
    /// async fn name_of(cache: &dyn CacheService, slug: &str) -> Result<Arc<String>, CacheError> {
    ///     let policy = Policy::ttl(Duration::from_secs(300));
    ///     let owned = slug.to_owned(); // the loader may outlive `slug`
    ///     let key = format!("org:{slug}");
    ///     cache.get_or_load(&key, policy, move || async move { Ok::<_, io::Error>(owned) }).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// Also [`Load`](crate::ErrorKind::Load) with what `load` returned
    /// (see [`CacheError::loader_error`]) and [`Timeout`](crate::ErrorKind::Timeout) when it took
    /// longer than the policy's `load_timeout`.
    fn get_or_load<T, E, F, Fut>(
        &self,
        key: &str,
        policy: impl Into<Policy>,
        load: F,
    ) -> impl Future<Output = Result<Arc<T>, CacheError>> + Send
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static;

    /// As [`get_or_load`](Self::get_or_load) where there may be no value: `None` is cached too, for the
    /// policy's `negative_ttl`.
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load).
    fn get_or_load_opt<T, E, F, Fut>(
        &self,
        key: &str,
        policy: impl Into<Policy>,
        load: F,
    ) -> impl Future<Output = Result<Option<Arc<T>>, CacheError>> + Send
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static;

    /// The values under `keys`, one slot per key, in order. `load` is called once with the keys
    /// that are missing, each once; a key it leaves out is cached as absent. What it captures is owned,
    /// as with [`get_or_load`](Self::get_or_load).
    ///
    /// ```
    /// use cache_core::{CacheError, CacheService, CacheServiceExt};
    /// use std::{collections::HashMap, io, sync::Arc, time::Duration};
    ///
    /// async fn names(cache: &dyn CacheService) -> Result<Vec<Option<Arc<String>>>, CacheError> {
    ///     let load = |missing: Vec<String>| async move {
    ///         // One query for all of them; `org:nobody` has no row.
    ///         let rows = missing.into_iter().filter(|key| key != "org:nobody");
    ///         let found = rows.map(|key| (key, "A name".to_owned())).collect::<HashMap<_, _>>();
    ///         Ok::<_, io::Error>(found)
    ///     };
    ///     cache.get_or_load_many(&["org:acme", "org:nobody"], Duration::from_secs(300), load).await
    /// }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`get_or_load`](Self::get_or_load); one failure fails the call.
    fn get_or_load_many<T, E, F, Fut>(
        &self,
        keys: &[&str],
        policy: impl Into<Policy>,
        load: F,
    ) -> impl Future<Output = Result<Vec<Option<Arc<T>>>, CacheError>> + Send
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<HashMap<String, T>, E>> + Send + 'static;

    /// Removes `key`. A load of it that is under way will not bring the old value back.
    fn invalidate(&self, key: &str) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Removes `keys`.
    fn invalidate_many(&self, keys: &[&str])
    -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Removes every key that begins with `prefix`; the empty prefix is every key. Its cost grows
    /// with the number of entries.
    fn invalidate_prefix(
        &self,
        prefix: &str,
    ) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Removes everything.
    fn clear(&self) -> impl Future<Output = Result<(), CacheError>> + Send;

    /// Whether `key` has a fresh value. A key cached as absent has none.
    fn contains(&self, key: &str) -> impl Future<Output = Result<bool, CacheError>> + Send;
}

impl<S: CacheService + ?Sized> CacheServiceExt for S {
    async fn get<T>(&self, key: &str) -> Result<Option<T>, CacheError>
    where
        T: DeserializeOwned + Send,
    {
        let entry = match self.peek(key) {
            Some(entry) => entry,
            None => match fetch_fresh(self, key).await? {
                Some(entry) => entry,
                None => return Ok(None),
            },
        };
        value(key, &entry, Entry::decode)
    }

    #[inline]
    fn get_arc<T>(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Arc<T>>, CacheError>> + Send
    where
        T: DeserializeOwned + Send + Sync + 'static,
    {
        Reading::new(self, key, reading::Any, |cache, key, _| fetch_shared(cache, key))
    }

    async fn get_many<T>(&self, keys: &[&str]) -> Result<Vec<Option<T>>, CacheError>
    where
        T: DeserializeOwned + Send,
    {
        let entries = self.fetch_many(&owned(keys)).await?;
        let now = self.clock().now();
        let mut values = Vec::with_capacity(keys.len());
        for (key, entry) in keys.iter().zip(entries) {
            values.push(match entry {
                Some(entry) if entry.is_fresh(now) => value(key, &entry, Entry::decode)?,
                _ => None,
            });
        }
        Ok(values)
    }

    fn set<T>(
        &self,
        key: &str,
        value: &T,
        policy: impl Into<Policy>,
    ) -> impl Future<Output = Result<(), CacheError>> + Send
    where
        T: Serialize + Sync + ?Sized,
    {
        let policy = policy.into();
        async move {
            let entry = Entry::encode(value, &policy).map_err(|error| error.with_key(key))?;
            self.store(key, entry).await
        }
    }

    fn set_many<T>(
        &self,
        items: &[(&str, T)],
        policy: impl Into<Policy>,
    ) -> impl Future<Output = Result<(), CacheError>> + Send
    where
        T: Serialize + Sync,
    {
        let policy = policy.into();
        async move {
            let encode = |(key, value): &(&str, T)| {
                let entry = Entry::encode(value, &policy);
                entry.map_err(|error| error.with_key(key)).map(|entry| ((*key).to_owned(), entry))
            };
            let entries = items.iter().map(encode).collect::<Result<_, _>>()?;
            self.store_many(entries).await
        }
    }

    fn get_or_load<T, E, F, Fut>(
        &self,
        key: &str,
        policy: impl Into<Policy>,
        load: F,
    ) -> impl Future<Output = Result<Arc<T>, CacheError>> + Send
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        Reading::new(self, key, policy.into(), |cache, key, policy: Policy| async move {
            let loading = cache.load(key, &policy, Loader::value(load, &policy));
            shared_value(cache, key, &loading.await?)
        })
    }

    fn get_or_load_opt<T, E, F, Fut>(
        &self,
        key: &str,
        policy: impl Into<Policy>,
        load: F,
    ) -> impl Future<Output = Result<Option<Arc<T>>, CacheError>> + Send
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        Reading::new(self, key, policy.into(), |cache, key, policy: Policy| async move {
            let loading = cache.load(key, &policy, Loader::optional(load, &policy));
            shared_value(cache, key, &loading.await?)
        })
    }

    fn get_or_load_many<T, E, F, Fut>(
        &self,
        keys: &[&str],
        policy: impl Into<Policy>,
        load: F,
    ) -> impl Future<Output = Result<Vec<Option<Arc<T>>>, CacheError>> + Send
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<HashMap<String, T>, E>> + Send + 'static,
    {
        let policy = policy.into();
        async move {
            let loader = ManyLoader::new(load, &policy);
            let entries = self.load_many(&owned(keys), &policy, loader).await?;
            let slot = |(key, entry): (&&str, Entry)| value(key, &entry, Entry::decode_arc);
            keys.iter().zip(entries).map(slot).collect()
        }
    }

    async fn invalidate(&self, key: &str) -> Result<(), CacheError> {
        self.remove(&Selector::key(key)).await.map(drop)
    }

    async fn invalidate_many(&self, keys: &[&str]) -> Result<(), CacheError> {
        self.remove(&Selector::Keys(owned(keys))).await.map(drop)
    }

    async fn invalidate_prefix(&self, prefix: &str) -> Result<(), CacheError> {
        self.remove(&Selector::Prefix(prefix.to_owned())).await.map(drop)
    }

    async fn clear(&self) -> Result<(), CacheError> {
        self.remove(&Selector::All).await.map(drop)
    }

    async fn contains(&self, key: &str) -> Result<bool, CacheError> {
        let entry = match self.peek(key) {
            None => fetch_fresh(self, key).await?,
            held => held,
        };
        Ok(entry.is_some_and(|entry| !entry.is_absent()))
    }
}

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A value that may be there, shared.
pub(crate) type Shared<T> = Result<Option<Arc<T>>, CacheError>;

/// The fresh entry that the store finds under `key`. Boxed and apart, so that what a hit runs
/// through stays small.
#[cold]
fn fetch_fresh<'a, S>(
    cache: &'a S,
    key: &'a str,
) -> BoxFuture<'a, Result<Option<Entry>, CacheError>>
where
    S: CacheService + ?Sized,
{
    Box::pin(async move {
        let entry = cache.fetch(key).await?;
        Ok(entry.filter(|entry| cache.clock().is_before(entry.fresh_until())))
    })
}

/// The value of the entry that `find` finds in this process, if there is one. Apart: what has its value
/// [at hand](at_hand), as nearly every hit has, goes through less without it.
#[inline(never)]
pub(crate) fn held<S, T>(
    cache: &S,
    key: &str,
    find: impl FnOnce() -> Option<Entry>,
) -> Option<Shared<T>>
where
    S: CacheService + ?Sized,
    T: DeserializeOwned + Send + Sync + 'static,
{
    find().map(|entry| shared_value(cache, key, &entry))
}

/// The value that the store finds under `key`, shared.
async fn fetch_shared<S, T>(cache: &S, key: &str) -> Shared<T>
where
    S: CacheService + ?Sized,
    T: DeserializeOwned + Send + Sync + 'static,
{
    match fetch_fresh(cache, key).await? {
        Some(entry) => shared_value(cache, key, &entry),
        None => Ok(None),
    }
}

/// The value of `entry`, shared; the store is told of a first decode.
fn shared_value<S, T>(cache: &S, key: &str, entry: &Entry) -> Shared<T>
where
    S: CacheService + ?Sized,
    T: DeserializeOwned + Send + Sync + 'static,
{
    let Some((value, first)) = value(key, entry, Entry::decode_and_tell)? else { return Ok(None) };
    if first {
        cache.keep_value(key, entry);
    }
    Ok(Some(value))
}

/// A service's `load` gave "absent" to a loader that does not take it: a wrong service.
#[cold]
pub(crate) fn absent(key: &str) -> CacheError {
    let message = "the cache service answered a load of a value with an absent entry";
    CacheError::new(ErrorKind::Backend, message).with_key(key)
}

/// The value of `entry`, `None` if it is absent; an error names the key.
#[inline]
fn value<V>(
    key: &str,
    entry: &Entry,
    decode: impl FnOnce(&Entry) -> Result<V, CacheError>,
) -> Result<Option<V>, CacheError> {
    if entry.is_absent() {
        return Ok(None);
    }
    match decode(entry) {
        Ok(value) => Ok(Some(value)),
        Err(error) => Err(error.with_key(key)),
    }
}

fn owned(keys: &[&str]) -> Vec<String> {
    keys.iter().map(|key| (*key).to_owned()).collect()
}

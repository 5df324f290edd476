//! What loads one sort of keys, and when.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_util::FutureExt;
use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use tokio::sync::OwnedSemaphorePermit;

use crate::{CacheError, CacheService, CacheServiceExt, Clock, ErrorKind, Policy};

/// The right to load a batch, as long as somebody has it.
pub(super) type Turn = Arc<OwnedSemaphorePermit>;

type Loading = BoxFuture<'static, Result<Batch, CacheError>>;
type Load = dyn Fn(Arc<dyn CacheService>, Vec<String>, Policy, Turn) -> Loading + Send + Sync;
type List = dyn Fn() -> BoxFuture<'static, Result<Vec<String>, CacheError>> + Send + Sync;

/// What became of a batch.
pub(super) struct Batch {
    /// Keys that the loader was asked for.
    pub(super) loaded: u64,
    /// Keys that have no value.
    pub(super) absent: u64,
}

/// Loads the keys that begin with one prefix, for a [`Warmer`](crate::Warmer).
///
/// ```
/// use cache_core::{Policy, WarmLoader};
/// use std::{collections::HashMap, io, time::Duration};
///
/// async fn slugs() -> io::Result<Vec<String>> {
///     Ok(vec!["org:acme".to_owned()]) // ask the database
/// }
/// async fn names(keys: Vec<String>) -> io::Result<HashMap<String, String>> {
///     Ok(keys.into_iter().map(|key| (key, "Acme Corporation".to_owned())).collect())
/// }
///
/// let orgs = WarmLoader::new("orgs", "org:", names)
///     .keys(slugs)
///     .policy(Policy::ttl(Duration::from_secs(300)))
///     .every(Duration::from_secs(240));
/// # let _ = orgs;
/// ```
#[must_use]
pub struct WarmLoader {
    pub(super) name: String,
    pub(super) prefix: String,
    pub(super) every: Option<Duration>,
    at_start: bool,
    policy: Policy,
    load: Box<Load>,
    list: Option<Box<List>>,
}

/// What is known of a registered [`WarmLoader`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct WarmLoaderInfo {
    /// Its name.
    pub name: String,
    /// What its keys begin with.
    pub prefix: String,
    /// Whether it can be warmed without naming keys.
    pub lists_keys: bool,
    /// Whether it is warmed at the start.
    pub at_start: bool,
    /// How often it is warmed; in JSON a number of seconds.
    #[serde(rename = "every_secs", serialize_with = "seconds")]
    pub every: Option<Duration>,
}

fn seconds<S: Serializer>(every: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
    every.map(|every| every.as_secs_f64()).serialize(to)
}

impl WarmLoader {
    /// A loader called `name` of the keys that begin with `prefix`; of two whose prefixes a key has
    /// the one with the longer prefix loads it.
    ///
    /// `load` is what [`get_or_load_many`](CacheServiceExt::get_or_load_many) takes: it is given the
    /// keys of a batch that are missing, whole, and returns what it found; a key it leaves out is
    /// cached as absent. It may be called for several batches at a time.
    pub fn new<T, E, F, Fut>(name: impl Into<String>, prefix: impl Into<String>, load: F) -> Self
    where
        T: Serialize + DeserializeOwned + Send + Sync + 'static,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Fn(Vec<String>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<HashMap<String, T>, E>> + Send + 'static,
    {
        let load = Arc::new(load);
        let load = move |cache: Arc<dyn CacheService>, keys: Vec<String>, policy, turn: Turn| {
            let load = Arc::clone(&load);
            let warm = async move {
                let asked = Arc::new(AtomicU64::new(0));
                let counted = Arc::clone(&asked);
                let counting = move |missing: Vec<String>| {
                    counted.store(missing.len() as u64, Ordering::Relaxed);
                    let loading = load(missing);
                    async move {
                        // It may go on when nobody waits for it any more.
                        let _turn = turn;
                        loading.await
                    }
                };
                let names: Vec<_> = keys.iter().map(String::as_str).collect();
                let values = cache.get_or_load_many::<T, E, _, _>(&names, policy, counting).await?;
                let absent = values.iter().filter(|value| value.is_none()).count() as u64;
                Ok(Batch { loaded: asked.load(Ordering::Relaxed), absent })
            };
            warm.boxed()
        };
        Self {
            name: name.into(),
            prefix: prefix.into(),
            every: None,
            at_start: true,
            policy: Policy::default(),
            load: Box::new(load),
            list: None,
        }
    }

    /// Loads under `policy`; the service's default TTL unless said otherwise.
    ///
    /// With [`refresh_ahead`](Policy::refresh_ahead) or [`stale_for`](Policy::stale_for) set, a run also
    /// begins to refresh what is cached and due or stale. That goes on in the background, unless
    /// [`soft_timeout`](Policy::soft_timeout) has the run wait: the run does not wait for it and need
    /// not count it. What this process holds and is only due is refreshed in batches where nothing
    /// else has to be loaded; in others it is left to who asks for it, or to the next run.
    pub fn policy(self, policy: impl Into<Policy>) -> Self {
        Self { policy: policy.into(), ..self }
    }

    /// Says which keys are warmed when none are named: at the start, on schedule and by name. Listing
    /// them may take as long as one load, which the policy's
    /// [`load_timeout`](Policy::load_timeout) says.
    pub fn keys<E, F, Fut>(self, list: F) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Vec<String>, E>> + Send + 'static,
    {
        let list = Arc::new(list);
        let list = move || {
            let list = Arc::clone(&list);
            // Called within the future, so that a panic of the call itself is caught too.
            async move { list().await.map_err(CacheError::load) }.boxed()
        };
        Self { list: Some(Box::new(list)), ..self }
    }

    /// Whether it is warmed at the start; on unless said otherwise. No effect without
    /// [`keys`](Self::keys).
    pub fn at_start(self, on: bool) -> Self {
        Self { at_start: on, ..self }
    }

    /// Warms it again and again, `interval` from the beginning of one run to that of the next, at
    /// least 1 ms; a run that takes longer delays the next. Needs [`keys`](Self::keys).
    pub fn every(self, interval: Duration) -> Self {
        Self { every: Some(interval), ..self }
    }

    pub(super) fn lists_keys(&self) -> bool {
        self.list.is_some()
    }

    pub(super) fn is_for_start(&self) -> bool {
        self.at_start && self.lists_keys()
    }

    pub(super) fn info(&self) -> WarmLoaderInfo {
        WarmLoaderInfo {
            name: self.name.clone(),
            prefix: self.prefix.clone(),
            lists_keys: self.lists_keys(),
            at_start: self.is_for_start(),
            every: self.every,
        }
    }

    pub(super) async fn list(&self, clock: &Clock) -> Result<Vec<String>, CacheError> {
        let Some(list) = &self.list else { return Ok(Vec::new()) };
        let budget = self.policy.load_budget();
        tokio::select! {
            biased;
            listed = AssertUnwindSafe(list()).catch_unwind() => {
                listed.unwrap_or_else(|payload| Err(CacheError::panicked(&*payload)))
            }
            () = clock.sleep(budget) => {
                let message = format!("the keys were not listed within {budget:?}");
                Err(CacheError::new(ErrorKind::Timeout, message))
            }
        }
    }

    pub(super) async fn load(
        &self,
        cache: &Arc<dyn CacheService>,
        keys: Vec<String>,
        turn: Turn,
    ) -> Result<Batch, CacheError> {
        (self.load)(Arc::clone(cache), keys, self.policy.clone(), turn).await
    }
}

impl fmt::Debug for WarmLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WarmLoader")
            .field("info", &self.info())
            .field("policy", &self.policy)
            .finish_non_exhaustive()
    }
}

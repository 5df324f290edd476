//! What a load runs when nothing is cached, with types erased so that services stay `dyn`.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::Serialize;

use crate::{CacheError, Entry, Policy};

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Makes the entry for one key. Called at most once, in a task of its own.
///
/// Users write closures; [`CacheServiceExt`](crate::CacheServiceExt) makes loaders of them.
pub struct Loader {
    run: Box<dyn FnOnce() -> BoxFuture<Result<Entry, CacheError>> + Send>,
    takes_absent: bool,
}

impl Loader {
    /// A loader that always has a value: a cached "absent" does not satisfy it.
    pub fn value<T, E, F, Fut>(load: F, policy: &Policy) -> Self
    where
        T: Serialize,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let policy = policy.clone();
        let run = move || -> BoxFuture<_> {
            let value = load();
            Box::pin(async move { Entry::encode(&value.await.map_err(CacheError::load)?, &policy) })
        };
        Self { run: Box::new(run), takes_absent: false }
    }

    /// A loader that may find that there is no value, which is cached too.
    pub fn optional<T, E, F, Fut>(load: F, policy: &Policy) -> Self
    where
        T: Serialize,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<T>, E>> + Send + 'static,
    {
        let policy = policy.clone();
        let run = move || -> BoxFuture<_> {
            let value = load();
            Box::pin(async move {
                match value.await.map_err(CacheError::load)? {
                    Some(value) => Entry::encode(&value, &policy),
                    None => Ok(Entry::absent(&policy)),
                }
            })
        };
        Self { run: Box::new(run), takes_absent: true }
    }

    /// Whether a cached `entry` answers the caller.
    #[must_use]
    pub fn accepts(&self, entry: &Entry) -> bool {
        self.takes_absent || !entry.is_absent()
    }

    pub(crate) fn takes_absent(&self) -> bool {
        self.takes_absent
    }

    /// Runs it. A mock or a wrapper of a service calls this; the engine does otherwise.
    ///
    /// # Errors
    ///
    /// What the user's loader returned, as [`Load`](crate::ErrorKind::Load), or
    /// [`Serialization`](crate::ErrorKind::Serialization).
    pub async fn run(self) -> Result<Entry, CacheError> {
        (self.run)().await
    }
}

impl fmt::Debug for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Loader").field("takes_absent", &self.takes_absent).finish_non_exhaustive()
    }
}

type Entries = HashMap<String, Entry>;
type RunMany = dyn FnOnce(Vec<String>) -> BoxFuture<Result<Entries, CacheError>> + Send;

/// Makes the entries for many keys in one call. A key it leaves out is cached as absent.
pub struct ManyLoader(Box<RunMany>);

impl ManyLoader {
    /// A loader that is given the keys that are missing, each once, and returns what it found.
    pub fn new<T, E, F, Fut>(load: F, policy: &Policy) -> Self
    where
        T: Serialize + Send,
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<HashMap<String, T>, E>> + Send + 'static,
    {
        let policy = policy.clone();
        Self(Box::new(move |keys| -> BoxFuture<_> {
            let values = load(keys);
            Box::pin(async move {
                let values = values.await.map_err(CacheError::load)?;
                let encode = |(key, value): (String, T)| {
                    let entry = Entry::encode(&value, &policy);
                    entry.map_err(|error| error.with_key(&key)).map(|entry| (key, entry))
                };
                values.into_iter().map(encode).collect()
            })
        }))
    }

    /// Runs it for `keys`.
    ///
    /// # Errors
    ///
    /// As [`Loader::run`].
    pub async fn run(self, keys: Vec<String>) -> Result<Entries, CacheError> {
        (self.0)(keys).await
    }
}

impl fmt::Debug for ManyLoader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ManyLoader").finish_non_exhaustive()
    }
}

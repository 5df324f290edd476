//! A cache whose callers are recorded.

use std::collections::HashMap;
use std::error::Error;
use std::future::Future;
use std::sync::Arc;

use cache_core::{CacheError, CacheService, CacheServiceExt, Policy, Selector};

use super::database::ABSENT;
use super::record::{Action, Reader};
use super::recorder::{Begun, Recorder};

/// One node's cache, of numbers; every call is recorded. Loaders record what they read through
/// [`Recorder::load`]. A dropped call is recorded as one of unknown outcome.
///
/// ```
/// use cache_core::CacheService;
/// use cache_testkit::history::{Client, Database, Mode, Recorder, check};
/// use std::sync::Arc;
/// # use cache_testkit::MockCacheService;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
/// # let my_cache = MockCacheService::passthrough();
/// let cache: Arc<dyn CacheService> = Arc::new(my_cache);
/// let (recorder, database) = (Recorder::new(), Database::new());
/// let client = Client::new(&recorder, 0, cache);
///
/// let (own, db) = (recorder.clone(), database.clone());
/// let load = || async move { Ok::<_, std::io::Error>(own.load(0, "k", || db.read("k"))) };
/// client.get_or_load("k", None, load).await?;
/// database.write("k");
/// client.invalidate("k").await?;
/// client.get("k").await?;
/// check(&recorder.history(), Mode::Strict).unwrap();
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Client {
    recorder: Recorder,
    node: usize,
    cache: Arc<dyn CacheService>,
}

impl Client {
    /// A client of `cache` on the node of that number.
    #[must_use]
    pub fn new(recorder: &Recorder, node: usize, cache: Arc<dyn CacheService>) -> Self {
        Self { recorder: recorder.clone(), node, cache }
    }

    /// [`CacheServiceExt::get`].
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn get(&self, key: &str) -> Result<Option<u64>, CacheError> {
        let begun = self.recorder.begin(self.node, Action::missed(key));
        self.cache.get::<u64>(key).await.inspect(|found| begun.end_found(*found))
    }

    /// [`CacheServiceExt::get_arc`], which finds what stands decoded in the cache.
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn get_arc(&self, key: &str) -> Result<Option<u64>, CacheError> {
        let begun = self.recorder.begin(self.node, Action::missed(key));
        let found = self.cache.get_arc::<u64>(key).await?.map(|value| *value);
        begun.end_found(found);
        Ok(found)
    }

    /// [`CacheServiceExt::get_many`].
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn get_many(&self, keys: &[&str]) -> Result<Vec<Option<u64>>, CacheError> {
        let begin = |key: &&str| self.recorder.begin(self.node, Action::missed(key));
        let begun: Vec<_> = keys.iter().map(begin).collect();
        let found = self.cache.get_many::<u64>(keys).await?;
        begun.into_iter().zip(&found).for_each(|(begun, found)| begun.end_found(*found));
        Ok(found)
    }

    /// [`CacheServiceExt::get_or_load`].
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn get_or_load<E, F, Fut>(
        &self,
        key: &str,
        policy: impl Into<Policy>,
        load: F,
    ) -> Result<u64, CacheError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<u64, E>> + Send + 'static,
    {
        let begun = self.recorder.begin(self.node, loading(key));
        let found = *self.cache.get_or_load(key, policy, load).await?;
        begun.end_found(Some(found));
        Ok(found)
    }

    /// [`CacheServiceExt::get_or_load_opt`]. That there is no value goes on record as [`ABSENT`], which
    /// needs a source like any value: so the loader records what [`Database::row`](super::Database::row)
    /// says.
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn get_or_load_opt<E, F, Fut>(
        &self,
        key: &str,
        policy: impl Into<Policy>,
        load: F,
    ) -> Result<Option<u64>, CacheError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<Option<u64>, E>> + Send + 'static,
    {
        let begun = self.recorder.begin(self.node, loading(key));
        let found = self.cache.get_or_load_opt(key, policy, load).await?.map(|value| *value);
        begun.end_found(found.or(Some(ABSENT)));
        Ok(found)
    }

    /// [`CacheServiceExt::get_or_load_many`].
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn get_or_load_many<E, F, Fut>(
        &self,
        keys: &[&str],
        policy: impl Into<Policy>,
        load: F,
    ) -> Result<Vec<Option<u64>>, CacheError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<HashMap<String, u64>, E>> + Send + 'static,
    {
        self.load_many(keys, policy, load, None).await
    }

    /// The same; a slot without a value goes on record as `absent`.
    pub(super) async fn load_many<E, F, Fut>(
        &self,
        keys: &[&str],
        policy: impl Into<Policy>,
        load: F,
        absent: Option<u64>,
    ) -> Result<Vec<Option<u64>>, CacheError>
    where
        E: Into<Box<dyn Error + Send + Sync>>,
        F: FnOnce(Vec<String>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<HashMap<String, u64>, E>> + Send + 'static,
    {
        let begin = |key: &&str| self.recorder.begin(self.node, loading(key));
        let begun: Vec<_> = keys.iter().map(begin).collect();
        let found = self.cache.get_or_load_many(keys, policy, load).await?;
        let found: Vec<_> = found.into_iter().map(|value| value.map(|value| *value)).collect();
        begun.into_iter().zip(&found).for_each(|(begun, found)| begun.end_found(found.or(absent)));
        Ok(found)
    }

    /// [`CacheServiceExt::set`].
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn set(
        &self,
        key: &str,
        value: u64,
        policy: impl Into<Policy>,
    ) -> Result<(), CacheError> {
        let begun = self.recorder.begin(self.node, Action::write(key, value));
        self.cache.set(key, &value, policy).await.inspect(|()| begun.end())
    }

    /// [`CacheServiceExt::set_many`].
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn set_many(
        &self,
        items: &[(&str, u64)],
        policy: impl Into<Policy>,
    ) -> Result<(), CacheError> {
        let begin =
            |(key, value): &(&str, u64)| self.recorder.begin(self.node, Action::write(key, *value));
        let begun: Vec<_> = items.iter().map(begin).collect();
        self.cache.set_many(items, policy).await?;
        begun.into_iter().for_each(Begun::end);
        Ok(())
    }

    /// [`CacheServiceExt::invalidate`].
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn invalidate(&self, key: &str) -> Result<(), CacheError> {
        self.remove(&Selector::key(key)).await
    }

    /// Every kind of removal.
    ///
    /// # Errors
    ///
    /// The cache's.
    pub async fn remove(&self, what: &Selector) -> Result<(), CacheError> {
        let begun = self.recorder.begin(self.node, Action::remove(what.clone()));
        self.cache.remove(what).await.map(|_| begun.end())
    }
}

fn loading(key: &str) -> Action {
    Action::Read { key: key.to_owned(), found: None, by: Reader::Load }
}

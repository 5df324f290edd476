//! The wrapper: records every operation and lets happen to it what the faults say.

use std::any::{Any, TypeId};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxFuture, CacheError, CacheService, CacheStats, CacheStore, Clock, Entry, InvalidationBus,
    Lease, LeaseOutcome, Loader, ManyLoader, Policy, RemovalListener, Selector, Timestamp,
};

use super::faults::{Faults, Stage};
use super::operation::Operation;

/// A cache that fails, is slow, or waits, where a test wants it to.
///
/// It wraps a [`CacheStore`], to stand under [`ReadThrough`](cache_core::ReadThrough) or in a tier,
/// or a [`CacheService`], to stand before the code under test. [`faults`](Self::faults) controls
/// it. Faults befall every operation but `peek`, which never fails nor waits, and `stats`.
///
/// ```
/// use cache_core::{CacheService, CacheServiceExt, ErrorKind};
/// use cache_testkit::{FlakyCache, MockCacheService};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let cache = FlakyCache::remote(MockCacheService::passthrough());
/// let faults = cache.faults();
/// faults.when(|operation| operation.is_read()).once().fail(ErrorKind::Unavailable);
///
/// assert!(cache.get::<u32>("a").await.is_err());
/// assert_eq!(cache.get::<u32>("a").await.unwrap(), None);
/// assert_eq!(faults.count(|operation| operation.concerns("a")), 2);
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct FlakyCache<S> {
    inner: S,
    faults: Faults,
    /// Whether `peek` shows nothing.
    remote: bool,
}

impl<S: CacheStore> FlakyCache<S> {
    /// `inner`, without a fault as yet.
    #[must_use]
    pub fn new(inner: S) -> Self {
        Self { inner, faults: Faults::default(), remote: false }
    }

    /// `inner` as if it were far away: `peek` shows nothing, so every lookup is an operation.
    #[must_use]
    pub fn remote(inner: S) -> Self {
        Self { remote: true, ..Self::new(inner) }
    }

    /// What controls it, also after it was handed over to an engine or a service.
    #[must_use]
    pub fn faults(&self) -> Faults {
        self.faults.clone()
    }

    /// Every operation so far, in the order in which they began.
    #[must_use]
    pub fn operations(&self) -> Vec<Operation> {
        self.faults.operations()
    }

    /// The cache inside.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.inner
    }

    async fn around<T>(
        &self,
        operation: Operation,
        call: impl Future<Output = Result<T, CacheError>>,
    ) -> Result<T, CacheError> {
        let clock = self.inner.clock();
        self.faults.note(&operation);
        self.faults.befall(Stage::Before, &operation, &clock).await?;
        let result = call.await;
        self.faults.befall(Stage::After, &operation, &clock).await?;
        result
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: CacheStore> CacheStore for FlakyCache<S> {
    fn peek(&self, key: &str) -> Option<Entry> {
        if self.remote { None } else { self.inner.peek(key) }
    }

    fn peek_fresh(&self, key: &str) -> Option<Entry> {
        if self.remote { None } else { self.inner.peek_fresh(key) }
    }

    fn peek_value(
        &self,
        key: &str,
        of: TypeId,
        before: Timestamp,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        if self.remote { None } else { self.inner.peek_value(key, of, before) }
    }

    fn keep_value(&self, key: &str, entry: &Entry) {
        self.inner.keep_value(key, entry);
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let operation = Operation::Fetch { key: key.to_owned() };
        self.around(operation, self.inner.fetch(key)).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        let operation = Operation::FetchMany { keys: keys.to_vec() };
        self.around(operation, self.inner.fetch_many(keys)).await
    }

    async fn fetch_shared(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        let operation = Operation::Fetch { key: key.to_owned() };
        self.around(operation, self.inner.fetch_shared(key)).await
    }

    async fn fetch_many_shared(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        let operation = Operation::FetchMany { keys: keys.to_vec() };
        self.around(operation, self.inner.fetch_many_shared(keys)).await
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        let operation = Operation::Store { key: key.to_owned() };
        self.around(operation, self.inner.store(key, entry)).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        let keys = entries.iter().map(|(key, _)| key.clone()).collect();
        self.around(Operation::StoreMany { keys }, self.inner.store_many(entries)).await
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        let operation = Operation::Remove { what: what.clone() };
        self.around(operation, self.inner.remove(what)).await
    }

    async fn remove_and_tell(
        &self,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        let operation = Operation::Remove { what: what.clone() };
        self.around(operation, self.inner.remove_and_tell(what, bus)).await
    }

    async fn store_and_tell(
        &self,
        key: &str,
        entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        let operation = Operation::Store { key: key.to_owned() };
        self.around(operation, self.inner.store_and_tell(key, entry, bus)).await
    }

    fn tells_with(&self, bus: &dyn InvalidationBus) -> bool {
        self.inner.tells_with(bus)
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.inner.call_timeout()
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        let operation = Operation::Lease { key: key.to_owned(), ttl };
        self.around(operation, self.inner.lease(key, ttl)).await
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        let operation = Operation::Lease { key: key.to_owned(), ttl };
        self.around(operation, self.inner.lease_to_replace(key, ttl)).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let operation = Operation::Fill { key: lease.key().to_owned() };
        self.around(operation, self.inner.fill(lease, entry)).await
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        let operation = Operation::Abandon { key: lease.key().to_owned() };
        self.around(operation, self.inner.abandon(lease)).await
    }

    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let operation = Operation::Fill { key: lease.key().to_owned() };
        self.around(operation, self.inner.fill_or_remove(lease, entry)).await
    }

    async fn lease_here(&self, key: &str, ttl: Duration) -> Result<Option<Lease>, CacheError> {
        let operation = Operation::Lease { key: key.to_owned(), ttl };
        self.around(operation, self.inner.lease_here(key, ttl)).await
    }

    fn changed(&self, key: &str) -> Option<BoxFuture<'static, ()>> {
        self.inner.changed(key)
    }

    fn on_removal(&self, listener: RemovalListener) {
        self.inner.on_removal(listener);
    }

    fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    fn clock(&self) -> Clock {
        self.inner.clock()
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: CacheService> CacheService for FlakyCache<S> {
    async fn load(&self, key: &str, policy: &Policy, loader: Loader) -> Result<Entry, CacheError> {
        let operation = Operation::Load { key: key.to_owned() };
        self.around(operation, self.inner.load(key, policy, loader)).await
    }

    async fn load_many(
        &self,
        keys: &[String],
        policy: &Policy,
        loader: ManyLoader,
    ) -> Result<Vec<Entry>, CacheError> {
        let operation = Operation::LoadMany { keys: keys.to_vec() };
        self.around(operation, self.inner.load_many(keys, policy, loader)).await
    }

    fn peek_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        if self.remote { None } else { self.inner.peek_for(key, policy) }
    }

    fn peek_value_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        if self.remote { None } else { self.inner.peek_value_for(key, policy) }
    }
}

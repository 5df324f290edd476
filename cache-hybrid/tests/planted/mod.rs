//! Bugs, planted to show that they would be found.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxFuture, BoxStream, BusEvent, CacheError, CacheStats, CacheStore, Clock, Entry,
    InvalidationBus, Lease, LeaseOutcome, RemovalListener, Selector, Timestamp,
};
use futures_util::StreamExt;

/// What is wrong with a store.
#[derive(Clone, Debug, Default)]
pub(crate) enum Bug {
    #[default]
    None,
    /// It stores what it is to fill in, whatever has become of the lease.
    FillsBlindly,
    /// It keeps everything when it is to be emptied because the bus is back.
    KeepsOnReconnect(Reconnect),
}

/// Whether the bus has just come back: the next that happens is that the near tier is emptied.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reconnect(Arc<AtomicBool>);

impl Reconnect {
    /// `bus`, of which this hears.
    pub(crate) fn heard_of(&self, bus: Arc<dyn InvalidationBus>) -> Arc<dyn InvalidationBus> {
        Arc::new(Overheard { bus, back: self.clone() })
    }
}

/// A store with a bug, or with none, to be watched.
#[derive(Debug)]
pub(crate) struct Planted<S> {
    inner: S,
    bug: Bug,
    /// Hits that were at hand as values.
    values: Arc<AtomicU64>,
}

impl<S: CacheStore> Planted<S> {
    pub(crate) fn new(inner: S, bug: Bug) -> Self {
        Self { inner, bug, values: Arc::default() }
    }

    pub(crate) fn counting(self, values: &Arc<AtomicU64>) -> Self {
        Self { values: Arc::clone(values), ..self }
    }

    /// Whether this removal is the one that the bug is about.
    fn is_spared(&self, what: &Selector) -> bool {
        match &self.bug {
            Bug::KeepsOnReconnect(back) => {
                *what == Selector::All && back.0.swap(false, Ordering::Relaxed)
            }
            _ => false,
        }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: CacheStore> CacheStore for Planted<S> {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.inner.peek(key)
    }

    fn peek_fresh(&self, key: &str) -> Option<Entry> {
        self.inner.peek_fresh(key)
    }

    fn peek_value(
        &self,
        key: &str,
        of: TypeId,
        before: Timestamp,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let value = self.inner.peek_value(key, of, before)?;
        self.values.fetch_add(1, Ordering::Relaxed);
        Some(value)
    }

    fn keep_value(&self, key: &str, entry: &Entry) {
        self.inner.keep_value(key, entry);
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.inner.fetch(key).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.inner.fetch_many(keys).await
    }

    async fn fetch_shared(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.inner.fetch_shared(key).await
    }

    async fn fetch_many_shared(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.inner.fetch_many_shared(keys).await
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        self.inner.store(key, entry).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        self.inner.store_many(entries).await
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        if self.is_spared(what) { Ok(Some(0)) } else { self.inner.remove(what).await }
    }

    async fn remove_and_tell(
        &self,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        self.inner.remove_and_tell(what, bus).await
    }

    async fn store_and_tell(
        &self,
        key: &str,
        entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        self.inner.store_and_tell(key, entry, bus).await
    }

    fn tells_with(&self, bus: &dyn InvalidationBus) -> bool {
        self.inner.tells_with(bus)
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.inner.call_timeout()
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.inner.lease(key, ttl).await
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.inner.lease_to_replace(key, ttl).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        match self.bug {
            Bug::FillsBlindly => self.inner.store(lease.key(), entry).await.map(|()| true),
            _ => self.inner.fill(lease, entry).await,
        }
    }

    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        match self.bug {
            Bug::FillsBlindly => self.inner.store(lease.key(), entry).await.map(|()| true),
            _ => self.inner.fill_or_remove(lease, entry).await,
        }
    }

    async fn lease_here(&self, key: &str, ttl: Duration) -> Result<Option<Lease>, CacheError> {
        self.inner.lease_here(key, ttl).await
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.inner.abandon(lease).await
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

#[derive(Debug)]
struct Overheard {
    bus: Arc<dyn InvalidationBus>,
    back: Reconnect,
}

#[async_trait]
impl InvalidationBus for Overheard {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        self.bus.publish(what).await
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        let back = self.back.clone();
        let heard = self.bus.subscribe().inspect(move |event| {
            back.0.store(*event == BusEvent::Connected, Ordering::Relaxed);
        });
        Box::pin(heard)
    }
}

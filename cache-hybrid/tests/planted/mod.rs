//! Bugs, planted to show that they would be found.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use std::sync::Arc;

use async_trait::async_trait;
use cache_core::{
    BoxStream, BusEvent, CacheError, CacheStats, CacheStore, Clock, Entry, InvalidationBus, Lease,
    LeaseOutcome, Selector,
};
use futures_util::StreamExt;

/// What a store ignores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ignores {
    /// The near tier stores what it is to fill in.
    NearLease,
    /// The far tier does.
    FarLease,
}

/// A store, with or without a bug.
#[derive(Debug)]
pub(crate) struct Planted<S> {
    inner: S,
    fills_blindly: bool,
}

impl<S: CacheStore> Planted<S> {
    pub(crate) fn near(inner: S, bug: Option<Ignores>) -> Self {
        Self { inner, fills_blindly: bug == Some(Ignores::NearLease) }
    }

    pub(crate) fn far(inner: S, bug: Option<Ignores>) -> Self {
        Self { inner, fills_blindly: bug == Some(Ignores::FarLease) }
    }
}

#[async_trait]
impl<S: CacheStore> CacheStore for Planted<S> {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.inner.peek(key)
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.inner.fetch(key).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.inner.fetch_many(keys).await
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        self.inner.store(key, entry).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        self.inner.store_many(entries).await
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        self.inner.remove(what).await
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.inner.lease(key, ttl).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        if self.fills_blindly {
            return self.inner.store(lease.key(), entry).await.map(|()| true);
        }
        self.inner.fill(lease, entry).await
    }

    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.inner.fill_or_remove(lease, entry).await
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.inner.abandon(lease).await
    }

    fn stats(&self) -> CacheStats {
        self.inner.stats()
    }

    fn clock(&self) -> Clock {
        self.inner.clock()
    }
}

/// A bus whose losses and reconnections its node does not notice.
#[derive(Debug)]
pub(crate) struct DeafToReconnect(pub(crate) Arc<dyn InvalidationBus>);

#[async_trait]
impl InvalidationBus for DeafToReconnect {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        self.0.publish(what).await
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        let begun = Arc::new(AtomicBool::new(false));
        let heard = self.0.subscribe().filter(move |event| {
            let lets_through = match event {
                BusEvent::Connected => !begun.swap(true, Ordering::Relaxed),
                BusEvent::Disconnected => false,
                _ => true,
            };
            std::future::ready(lets_through)
        });
        Box::pin(heard)
    }
}

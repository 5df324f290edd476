//! The mock as a cache: what the script knows it answers, the rest goes to mockall.

use std::any::{Any, TypeId};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxFuture, CacheError, CacheService, CacheStats, CacheStore, Clock, Entry, InvalidationBus,
    Lease, LeaseOutcome, Loader, ManyLoader, Policy, RemovalListener, Selector, Timestamp,
};

use super::cache::MockCacheService;

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheStore for MockCacheService {
    fn peek(&self, key: &str) -> Option<Entry> {
        match self.script.about(key) {
            Some(answer) => answer.entry(key).ok().flatten(),
            None if self.expects.peek => self.calls.peek(key),
            None => None,
        }
    }

    fn peek_fresh(&self, key: &str) -> Option<Entry> {
        self.peek(key).filter(|entry| self.clock().is_before(entry.fresh_until()))
    }

    /// Nothing is at hand: every read asks for the entry, as a test expects it.
    fn peek_value(
        &self,
        _key: &str,
        _of: TypeId,
        _before: Timestamp,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    fn keep_value(&self, _key: &str, _entry: &Entry) {}

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        match self.script.about(key) {
            Some(answer) => answer.entry(key),
            None => self.calls.fetch(key).await,
        }
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        if !self.script.knows_all(keys) {
            return self.calls.fetch_many(keys).await;
        }
        let known = keys.iter().filter_map(|key| Some((key, self.script.about(key)?)));
        known.map(|(key, answer)| answer.entry(key)).collect()
    }

    async fn fetch_shared(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.fetch(key).await
    }

    async fn fetch_many_shared(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.fetch_many(keys).await
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        match self.script.set(key, &entry) {
            Some(done) => done,
            None => self.calls.store(key, entry).await,
        }
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        let mut others = Vec::new();
        for (key, entry) in entries {
            match self.script.set(&key, &entry) {
                Some(done) => done?,
                None => others.push((key, entry)),
            }
        }
        if others.is_empty() { Ok(()) } else { self.calls.store_many(others).await }
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        match self.script.remove(what) {
            Some(done) => done.map(|()| None),
            None => self.calls.remove(what).await,
        }
    }

    /// A removal like another, as a test expects it, then the bus.
    async fn remove_and_tell(
        &self,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        let removed = self.remove(what).await?;
        bus.publish(what).await?;
        Ok(removed)
    }

    /// A write like another, as a test expects it, then the bus.
    async fn store_and_tell(
        &self,
        key: &str,
        entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        self.store(key, entry).await?;
        bus.publish(&Selector::key(key)).await
    }

    fn tells_with(&self, _bus: &dyn InvalidationBus) -> bool {
        false
    }

    fn call_timeout(&self) -> Option<Duration> {
        None
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.calls.lease(key, ttl).await
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.lease(key, ttl).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.calls.fill(lease, entry).await
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.calls.abandon(lease).await
    }

    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.fill(lease, entry).await
    }

    async fn lease_here(&self, _key: &str, _ttl: Duration) -> Result<Option<Lease>, CacheError> {
        Ok(None)
    }

    fn changed(&self, _key: &str) -> Option<BoxFuture<'static, ()>> {
        None
    }

    fn on_removal(&self, _listener: RemovalListener) {}

    fn stats(&self) -> CacheStats {
        if self.expects.stats { self.calls.stats() } else { CacheStats::default() }
    }

    fn clock(&self) -> Clock {
        if self.expects.clock { self.calls.clock() } else { Clock::system() }
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheService for MockCacheService {
    async fn load(&self, key: &str, policy: &Policy, loader: Loader) -> Result<Entry, CacheError> {
        let Some(answer) = self.script.about(key) else {
            return self.calls.load(key, policy, loader).await;
        };
        match answer.entry(key)? {
            Some(entry) if loader.accepts(&entry) => Ok(entry),
            _ => loader.run().await.map_err(|error| error.with_key(key)),
        }
    }

    async fn load_many(
        &self,
        keys: &[String],
        policy: &Policy,
        loader: ManyLoader,
    ) -> Result<Vec<Entry>, CacheError> {
        if !self.script.knows_all(keys) {
            return self.calls.load_many(keys, policy, loader).await;
        }
        let held = self.fetch_many(keys).await?;
        let mut missing: Vec<String> = Vec::new();
        for (key, entry) in keys.iter().zip(&held) {
            if entry.is_none() && !missing.contains(key) {
                missing.push(key.clone());
            }
        }
        let loaded = if missing.is_empty() { None } else { Some(loader.run(missing).await?) };
        let found = |key: &String| loaded.as_ref().and_then(|loaded| loaded.get(key)).cloned();
        let slot = |(key, held): (&String, Option<Entry>)| {
            held.or_else(|| found(key)).unwrap_or_else(|| Entry::absent(policy))
        };
        Ok(keys.iter().zip(held).map(slot).collect())
    }

    fn peek_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        if self.script.about(key).is_none() && self.expects.peek_for {
            return self.calls.peek_for(key, policy);
        }
        self.peek(key)
    }

    fn peek_value_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        self.peek_for(key, policy).filter(|entry| !entry.is_absent())
    }
}

//! The engine: makes a [`CacheService`] of any [`CacheStore`]. Written once, for all backends.
//!
//! `docs/read-through.md` is the specification, a table of states and events; [`load`] reads like
//! it. What keeps promise P1 (no stale fill) here: a loader runs only under a lease taken before
//! it began, its value is stored only under that lease, and a write or removal, once it returns,
//! has detached every flight it selects, so that no later caller joins one. Those that the store
//! learns of by itself are told to the engine and do the same.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use futures_core::future::BoxFuture;

use self::counters::{Counters, Source, Tally, bump};
use self::detach::{Detach, Detached};
use self::flight::Flight;
use self::flights::Flights;
use self::throttle::Throttle;
use crate::{
    CacheError, CacheService, CacheStats, CacheStore, Clock, Entry, ErrorKind, InvalidationBus,
    Lease, LeaseOutcome, Loader, ManyLoader, Policy, RemovalListener, Selector, Timestamp,
    TracedKeys, check_key,
};

mod builder;
mod chain;
mod counters;
mod detach;
mod flight;
mod flights;
mod load;
mod look_up;
mod many;
mod seat;
mod spans;
mod throttle;
#[cfg(feature = "metrics")]
mod times;
mod waiting;

pub use builder::ReadThroughBuilder;
#[cfg(feature = "metrics")]
pub use times::EngineTimes;

/// Read-through, coalescing and freshness policies over a [`CacheStore`].
///
/// Clones share everything: store, loads in flight and counters. Loads that are under way when the
/// last clone is dropped run to their end. They need a tokio runtime; reads of what is held do not.
///
/// # Examples
///
/// A store of one's own becomes a cache service:
///
/// ```
/// use cache_core::{CacheService, CacheStore, Clock, ReadThrough};
/// use std::{sync::Arc, time::Duration};
///
/// fn service<S: CacheStore>(store: S, clock: Clock) -> Arc<dyn CacheService> {
///     Arc::new(ReadThrough::builder(store).default_ttl(Duration::from_secs(60)).clock(clock).build())
/// }
/// ```
pub struct ReadThrough<S>(Arc<Inner<S>>);

struct Inner<S> {
    store: S,
    clock: Clock,
    default_ttl: Duration,
    flights: Arc<Flights<Flight>>,
    throttle: Throttle,
    counters: Counters,
    #[cfg(feature = "metrics")]
    times: times::Times,
    #[cfg_attr(not(feature = "tracing"), allow(dead_code, reason = "there are no spans"))]
    traced_keys: TracedKeys,
}

impl<S: CacheStore> ReadThrough<S> {
    /// The engine over `store`, with the store's clock and a default TTL of 300 s.
    #[must_use]
    pub fn new(store: S) -> Self {
        Self::builder(store).build()
    }

    /// A builder that starts from what [`new`](Self::new) takes.
    #[must_use]
    pub fn builder(store: S) -> ReadThroughBuilder<S> {
        ReadThroughBuilder::new(store)
    }

    /// The store underneath. What is written or removed there is not told to loads in flight.
    #[must_use]
    pub fn inner(&self) -> &S {
        &self.0.store
    }

    /// Whether there is another clone, or a load under way: for what sees to a cache as long as
    /// somebody uses it.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    /// How many loads are under way that a caller could join. At rest: none.
    #[must_use]
    pub fn loads_in_flight(&self) -> usize {
        self.0.flights.len()
    }

    /// How long near hits and loads have taken so far.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn times(&self) -> EngineTimes {
        self.0.times.snapshot()
    }
}

#[async_trait]
impl<S: CacheStore> CacheStore for ReadThrough<S> {
    #[inline(always)]
    fn peek(&self, key: &str) -> Option<Entry> {
        let entry = self.0.near(|store| store.peek_fresh(key))?;
        self.0.counters.hit(&entry, Source::Local);
        Some(entry)
    }

    fn peek_fresh(&self, key: &str) -> Option<Entry> {
        self.peek(key)
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        if let Some(entry) = self.peek(key) {
            return Ok(Some(entry));
        }
        let found = self.0.store.fetch(key).await.map_err(|error| {
            self.0.failed_lookups(1);
            self.0.failed(error, key)
        })?;
        let mut tally = Tally::default();
        tally.add(found.as_ref(), |entry| self.0.clock.is_before(entry.fresh_until()));
        self.0.counters.looked_up(tally);
        Ok(found)
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let mut slots: Vec<_> = keys.iter().map(|key| self.peek(key)).collect();
        if slots.iter().all(Option::is_some) {
            return Ok(slots);
        }
        if slots.iter().all(Option::is_none) {
            let found = self.0.fetch_slots(keys).await;
            let found = found.inspect_err(|_| self.0.failed_lookups(keys.len()))?;
            self.0.count_fetched(found.iter().map(Option::as_ref));
            return Ok(found);
        }
        let missing: Vec<_> = (0..keys.len()).filter(|&at| slots[at].is_none()).collect();
        let asked: Vec<_> = missing.iter().map(|&at| keys[at].clone()).collect();
        let found = self.0.fetch_slots(&asked).await;
        let found = found.inspect_err(|_| self.0.failed_lookups(asked.len()))?;
        self.0.count_fetched(found.iter().map(Option::as_ref));
        for (at, entry) in missing.into_iter().zip(found) {
            slots[at] = entry;
        }
        Ok(slots)
    }

    async fn fetch_shared(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        let found = self.0.store.fetch_shared(key).await.map_err(|error| {
            self.0.failed_lookups(1);
            self.0.failed(error, key)
        })?;
        self.0.count_fetched([found.as_ref()]);
        Ok(found)
    }

    async fn fetch_many_shared(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let found = self.0.slots(keys, self.0.store.fetch_many_shared(keys)).await;
        let found = found.inspect_err(|_| self.0.failed_lookups(keys.len()))?;
        self.0.count_fetched(found.iter().map(Option::as_ref));
        Ok(found)
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        check_key(key)?;
        let _detach = self.0.detaching(Detached::Key(key));
        let stored = self.0.store.store(key, self.0.date(entry)).await;
        self.0.counters.writes.count(1, &stored);
        stored.map_err(|error| self.0.failed(error, key))
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        let keys: Vec<_> = entries.iter().map(|(key, _)| key.clone()).collect();
        let count = keys.len() as u64;
        let _detach = self.0.detaching(Detached::Keys(keys));
        let dated = entries.into_iter().map(|(key, entry)| (key, self.0.date(entry))).collect();
        let stored = self.0.store.store_many(dated).await;
        self.0.counters.writes.count(count, &stored);
        stored.inspect_err(|_| bump(&self.0.counters.errors))
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        if let Selector::Keys(keys) = what {
            keys.iter().try_for_each(|key| check_key(key))?;
        }
        let count = self.0.counters.invalidated(what);
        let _detach = self.0.detaching(Detached::Selected(what));
        let removed = self.0.store.remove(what).await;
        self.0.counters.removals.count(count, &removed);
        removed.inspect_err(|_| bump(&self.0.counters.errors))
    }

    async fn remove_and_tell(
        &self,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        if let Selector::Keys(keys) = what {
            keys.iter().try_for_each(|key| check_key(key))?;
        }
        let count = self.0.counters.invalidated(what);
        let _detach = self.0.detaching(Detached::Selected(what));
        let removed = self.0.store.remove_and_tell(what, bus).await;
        self.0.counters.removals.count(count, &removed);
        removed.inspect_err(|_| bump(&self.0.counters.errors))
    }

    async fn store_and_tell(
        &self,
        key: &str,
        entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        check_key(key)?;
        let _detach = self.0.detaching(Detached::Key(key));
        let stored = self.0.store.store_and_tell(key, self.0.date(entry), bus).await;
        self.0.counters.writes.count(1, &stored);
        stored.map_err(|error| self.0.failed(error, key))
    }

    fn tells_with(&self, bus: &dyn InvalidationBus) -> bool {
        self.0.store.tells_with(bus)
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.0.store.call_timeout()
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        self.0.store.lease(key, ttl).await
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        self.0.store.lease_to_replace(key, ttl).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.0.store.fill(lease, self.0.date(entry)).await
    }

    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.0.store.fill_or_remove(lease, self.0.date(entry)).await
    }

    async fn lease_here(&self, key: &str, ttl: Duration) -> Result<Option<Lease>, CacheError> {
        check_key(key)?;
        self.0.store.lease_here(key, ttl).await
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.0.store.abandon(lease).await
    }

    #[inline(always)]
    fn peek_value(
        &self,
        key: &str,
        of: TypeId,
        before: Timestamp,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let value = self.0.near(|store| store.peek_value(key, of, before))?;
        self.0.counters.value_hit();
        Some(value)
    }

    fn keep_value(&self, key: &str, entry: &Entry) {
        self.0.store.keep_value(key, entry);
    }

    fn changed(&self, key: &str) -> Option<BoxFuture<'static, ()>> {
        self.0.store.changed(key)
    }

    fn on_removal(&self, listener: RemovalListener) {
        self.0.store.on_removal(listener);
    }

    fn stats(&self) -> CacheStats {
        self.0.counters.snapshot() + self.0.store.stats()
    }

    fn clock(&self) -> Clock {
        self.0.clock.clone()
    }
}

#[async_trait]
impl<S: CacheStore> CacheService for ReadThrough<S> {
    // As `async_trait` would declare it, but without its future around the one that is boxed.
    fn load<'a, 'b, 'c, 'async_trait>(
        &'a self,
        key: &'b str,
        policy: &'c Policy,
        loader: Loader,
    ) -> BoxFuture<'async_trait, Result<Entry, CacheError>>
    where
        'a: 'async_trait,
        'b: 'async_trait,
        'c: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(self.load_one(key, policy, loader))
    }

    async fn load_many(
        &self,
        keys: &[String],
        policy: &Policy,
        loader: ManyLoader,
    ) -> Result<Vec<Entry>, CacheError> {
        self.load_all(keys, policy, loader).await
    }

    #[inline]
    fn peek_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        let entry = self.0.peek_for(key, policy)?;
        self.0.counters.hit(&entry, Source::Local);
        Some(entry)
    }

    #[inline]
    fn peek_value_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        let entry = self.0.peek_for(key, policy).filter(|entry| !entry.is_absent())?;
        self.0.counters.hit(&entry, Source::Local);
        Some(entry)
    }
}

impl<S: CacheStore> Inner<S> {
    /// What the process holds, if a load under `policy` would just return it.
    #[inline]
    fn peek_for(&self, key: &str, policy: &Policy) -> Option<Entry> {
        if !policy.refreshes_ahead() {
            return self.near(|store| store.peek_fresh(key));
        }
        let entry = self.store.peek(key)?;
        let now = self.clock.now();
        let due = || policy.wants_refresh(&entry, now, self.default_ttl);
        (entry.is_fresh(now) && !due()).then_some(entry)
    }
}

impl<S> Inner<S> {
    /// What every near hit goes through; some are measured.
    #[inline(always)]
    fn near<T>(&self, look_up: impl FnOnce(&S) -> Option<T>) -> Option<T> {
        #[cfg(feature = "metrics")]
        if times::Times::is_turn() {
            return self.times.measure(|| look_up(&self.store));
        }
        look_up(&self.store)
    }

    fn failed_lookups(&self, keys: usize) {
        self.counters.failed_lookups.fetch_add(keys as u64, Ordering::Relaxed);
    }

    fn detaching<'a>(&'a self, what: Detached<'a>) -> Detach<'a> {
        Detach::new(&self.flights, what)
    }

    fn date(&self, entry: Entry) -> Entry {
        entry.date(self.clock.now(), self.default_ttl)
    }

    /// What the store finds under `keys`: one slot per key, which is not taken on trust.
    async fn fetch_slots(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError>
    where
        S: CacheStore,
    {
        self.slots(keys, self.store.fetch_many(keys)).await
    }

    async fn slots(
        &self,
        keys: &[String],
        found: impl Future<Output = Result<Vec<Option<Entry>>, CacheError>>,
    ) -> Result<Vec<Option<Entry>>, CacheError> {
        let found = found.await.and_then(|found| {
            if found.len() == keys.len() {
                return Ok(found);
            }
            let message = format!("the store gave {} slots for {} keys", found.len(), keys.len());
            Err(CacheError::new(ErrorKind::Backend, message))
        });
        found.inspect_err(|_| bump(&self.counters.errors))
    }

    /// Counts a backend's error and names the key.
    fn failed(&self, error: CacheError, key: &str) -> CacheError {
        bump(&self.counters.errors);
        error.with_key(key)
    }

    fn count_fetched<'e>(&self, found: impl IntoIterator<Item = Option<&'e Entry>>) {
        let (now, mut tally) = (self.clock.now(), Tally::default());
        found.into_iter().for_each(|entry| tally.add(entry, |entry| entry.is_fresh(now)));
        self.counters.looked_up(tally);
    }
}

impl<S> Clone for ReadThrough<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S: fmt::Debug> fmt::Debug for ReadThrough<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadThrough")
            .field("store", &self.0.store)
            .field("default_ttl", &self.0.default_ttl)
            .field("clock", &self.0.clock)
            .finish_non_exhaustive()
    }
}

//! [`TieredStore`]: the two tiers and the bus as one store.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxFuture, CacheError, CacheStats, CacheStore, Clock, Entry, InvalidationBus, Lease,
    LeaseOutcome, RemovalListener, Selector, Timestamp, check_key,
};
use futures_util::future::join;

use crate::catch_up::Effort;
use crate::inner::Inner;
use crate::replay::Kind;
use crate::spans::Asked;
use crate::stats::{TierStats, read};

/// How long a flush takes at most.
const FLUSH: Duration = Duration::from_secs(1);

/// Between two looks at whether the near tier may be served.
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A near tier in the process, a far one that nodes share, and a bus between the nodes.
///
/// The engine over it, [`HybridCache`](crate::HybridCache), is what services use. By itself it is a
/// [`CacheStore`] for an engine of one's own. Clones are handles to the same store.
///
/// # Cancel safety
///
/// A write or removal whose future is dropped has happened or not. The key is then removed, here
/// at once and in the far tier before anything else is asked of it.
#[derive(Clone)]
pub struct TieredStore(pub(crate) Arc<Inner>);

impl TieredStore {
    /// Whether the near tier is served just now. It is not until the bus is connected, nor while
    /// the bus is lost and the grace, if any, is over.
    #[must_use]
    pub fn serves_near(&self) -> bool {
        self.0.serving().is_some()
    }

    /// What goes on between the tiers.
    #[must_use]
    pub fn tier_stats(&self) -> TierStats {
        let Inner { near, counters, trust, far_breaker, bus_breaker, missed, untold, .. } =
            &*self.0;
        TierStats {
            has_near: near.is_some(),
            near_served: self.serves_near(),
            bus_up: trust.is_up(),
            far_open: far_breaker.is_open(),
            bus_open: bus_breaker.is_open(),
            far_reads: read(&counters.far_reads),
            far_latency: far_breaker.latency(),
            near_refused: read(&counters.near_refused),
            heard: read(&counters.heard),
            told: read(&counters.told),
            bus_losses: read(&counters.bus_losses),
            replays_pending: missed.len() + untold.len(),
            replays_dropped: missed.dropped() + untold.dropped(),
        }
    }

    /// Waits until the near tier may be served: until the bus is up, and what was kept before is gone.
    /// Calls need not wait for that, they are answered by the far tier until then; a service that wants
    /// its first entries kept near waits, for as long as it likes. Without a bus it returns at once.
    ///
    /// # Cancel safety
    ///
    /// It changes nothing: drop it at will.
    ///
    /// ```
    /// use cache_hybrid::HybridCache;
    /// use cache_quick::QuickCacheService;
    /// use std::{sync::Arc, time::Duration};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), cache_core::CacheError> {
    /// let cache = HybridCache::builder().near(Arc::new(QuickCacheService::default())).build()?;
    /// let ready = tokio::time::timeout(Duration::from_millis(250), cache.tiers().ready()).await;
    /// assert!(ready.is_ok());
    /// # Ok(()) }
    /// ```
    pub async fn ready(&self) {
        // That a bus is up is heard of, that it is proven to be is not.
        while !self.0.trust.serves() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Tells of what was written and is to be told together with others, and tries once what is owed
    /// to the far tier and to the bus, or waits for what is being tried: before the process or its
    /// connections end. It takes a second at most. What fails, or would take longer, stays owed for as
    /// long as the store is there.
    ///
    /// # Cancel safety
    ///
    /// Dropped, it leaves what is not told to be told later.
    pub async fn flush(&self) {
        let until = self.0.clock.now() + FLUSH;
        tokio::select! {
            biased;
            () = self.flush_all() => {}
            () = self.0.clock.sleep_until(until) => {}
        }
    }

    async fn flush_all(&self) {
        let inner = &self.0;
        if let Some(gathered) = inner.teller.take_all() {
            inner.tell_gathered(gathered).await;
        }
        let caught_up = async |kind, budget| {
            let owed = || inner.missed.owed_of(kind);
            let _ = inner.caught_up(owed, budget, Effort::Last).await;
            let _ = inner.told().await;
        };
        let keys_and_leases = async {
            caught_up(Kind::Keys, inner.terms.far_timeout).await;
            inner.give_back().await;
        };
        // It may take all the time there is.
        join(keys_and_leases, caught_up(Kind::Sweeps, FLUSH)).await;
    }

    /// How long reads of the far tier have taken so far, those included that failed. Those are not
    /// that the circuit breaker refused, or that waited for invalidations to be replayed.
    #[cfg(feature = "metrics")]
    #[must_use]
    pub fn far_times(&self) -> cache_core::Durations {
        self.0.counters.far_times.snapshot()
    }

    /// Sees to a lease of the far tier that was not even asked for its end.
    fn give_back(&self, unused: Option<Lease>) {
        if let Some(lease) = unused {
            self.0.unused.add(lease);
            self.0.owed.notify_one();
        }
    }

    async fn lease_both(
        &self,
        key: &str,
        ttl: Duration,
        replaces: bool,
    ) -> Result<LeaseOutcome, CacheError> {
        let inner = &self.0;
        let Some(far) = &inner.far else {
            let lease = inner.near_lease(key, ttl).await;
            // After the lease: what is written from now on revokes it.
            if !replaces && let Some(entry) = self.peek_fresh(key) {
                return Ok(LeaseOutcome::Fresh(entry));
            }
            // Without one nobody keeps anything just now: what is loaded is for its caller alone.
            let lease = lease.unwrap_or_else(|| Lease::of_tiers(key, None, None));
            return Ok(LeaseOutcome::Granted(lease));
        };
        // Before the far one: so it covers the time from before the loader runs.
        let near = inner.near_lease(key, ttl).await;
        let asked = inner
            .ask_far(Asked::key("lease", key), &**far, [key], |far| match replaces {
                true => far.lease_to_replace(key, ttl),
                false => far.lease(key, ttl),
            })
            .await?;
        Ok(match asked {
            LeaseOutcome::Granted(far) => {
                LeaseOutcome::Granted(Lease::of_tiers(key, near, Some(far)))
            }
            LeaseOutcome::Fresh(entry) => {
                inner.keep(near, entry.clone()).await;
                LeaseOutcome::Fresh(entry)
            }
            held => held,
        })
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl CacheStore for TieredStore {
    #[inline(always)]
    fn peek(&self, key: &str) -> Option<Entry> {
        self.0.serving()?.peek(key)
    }

    #[inline(always)]
    fn peek_fresh(&self, key: &str) -> Option<Entry> {
        self.0.serving()?.peek_fresh(key)
    }

    #[inline(always)]
    fn peek_value(
        &self,
        key: &str,
        of: TypeId,
        before: Timestamp,
    ) -> Option<Arc<dyn Any + Send + Sync>> {
        let proven = self.0.trust.proven_until()?;
        self.0.near.as_deref()?.peek_value(key, of, proven.min(before))
    }

    fn keep_value(&self, key: &str, entry: &Entry) {
        if let Some(near) = self.0.serving() {
            near.keep_value(key, entry);
        }
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        let inner = &self.0;
        let Some(far) = &inner.far else {
            return match inner.serving() {
                Some(near) => near.fetch(key).await,
                None => Ok(None),
            };
        };
        if let Some(entry) = self.peek_fresh(key) {
            return Ok(Some(entry));
        }
        self.fetch_one(key, &**far).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let Some(far) = &self.0.far else {
            return match self.0.serving() {
                Some(near) => near.fetch_many(keys).await,
                None => Ok(vec![None; keys.len()]),
            };
        };
        let mut slots: Vec<_> = keys.iter().map(|key| self.peek_fresh(key)).collect();
        let missing: Vec<_> = (0..keys.len()).filter(|&at| slots[at].is_none()).collect();
        if !missing.is_empty() {
            let asked = missing.into_iter().map(|at| (at, keys[at].clone())).collect();
            for (at, entry) in self.fetch_far(&**far, asked).await? {
                slots[at] = entry;
            }
        }
        Ok(slots)
    }

    async fn fetch_shared(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        match &self.0.far {
            Some(far) => self.fetch_one(key, &**far).await,
            None => self.fetch(key).await,
        }
    }

    async fn fetch_many_shared(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let Some(far) = &self.0.far else { return self.fetch_many(keys).await };
        let mut slots = vec![None; keys.len()];
        let asked = keys.iter().cloned().enumerate().collect();
        for (at, entry) in self.fetch_far(&**far, asked).await? {
            slots[at] = entry;
        }
        Ok(slots)
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        check_key(key)?;
        self.0.store(key, self.0.dated(entry)).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        // Of a key that is named twice the last entry stays.
        let mut last = HashMap::with_capacity(entries.len());
        for (key, entry) in entries {
            last.insert(key, self.0.dated(entry));
        }
        if last.is_empty() { Ok(()) } else { self.0.store_many(last.into_iter().collect()).await }
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        if let Selector::Keys(keys) = what {
            keys.iter().try_for_each(|key| check_key(key))?;
            if keys.is_empty() {
                return Ok(Some(0));
            }
        }
        self.0.remove(what).await
    }

    async fn remove_and_tell(
        &self,
        what: &Selector,
        bus: &dyn InvalidationBus,
    ) -> Result<Option<u64>, CacheError> {
        let removed = self.remove(what).await?;
        bus.publish(what).await?;
        Ok(removed)
    }

    async fn store_and_tell(
        &self,
        key: &str,
        entry: Entry,
        bus: &dyn InvalidationBus,
    ) -> Result<(), CacheError> {
        self.store(key, entry).await?;
        bus.publish(&Selector::key(key)).await
    }

    /// It has a bus of its own, and tells another one besides.
    fn tells_with(&self, _bus: &dyn InvalidationBus) -> bool {
        false
    }

    fn call_timeout(&self) -> Option<Duration> {
        self.0.far.as_ref()?.call_timeout()
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        self.lease_both(key, ttl, false).await
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        self.lease_both(key, ttl, true).await
    }

    /// In a grace, or while the bus is up, the near tier goes on keeping what is loaded.
    async fn lease_here(&self, key: &str, ttl: Duration) -> Result<Option<Lease>, CacheError> {
        check_key(key)?;
        let near = self.0.near_lease(key, ttl).await;
        Ok(near.map(|near| Lease::of_tiers(key, Some(near), None)))
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let inner = &self.0;
        let entry = inner.dated(entry);
        let Some(far) = &inner.far else {
            let (near, own) = lease.into_tiers();
            return Ok(inner.keep(near.or(own), entry).await);
        };
        let (near_lease, far_lease) = lease.into_tiers();
        let Some(far_lease) = far_lease else {
            return Ok(inner.keep(near_lease, entry).await);
        };
        let name = far_lease.key().to_owned();
        let (asked, mut unused) = (Asked::key("fill", &name), Some(far_lease.clone()));
        let filled = inner.ask_far(asked, &**far, [name.as_str()], |far| {
            unused = None;
            far.fill(far_lease, entry.clone())
        });
        let filled = filled.await;
        // Else the key has changed, or nobody knows whether it has: a removal by hand is not told.
        if matches!(filled, Ok(true)) {
            inner.keep_loaded(&name, near_lease, entry).await;
        }
        self.give_back(unused);
        // The bus tells other nodes. A load of this one may wait as well: it was detached.
        inner.waiters.wake_key(&name);
        filled
    }

    async fn fill_or_remove(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        drop(entry);
        self.remove(&Selector::key(lease.key())).await?;
        Ok(false)
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        match (&self.0.far, lease.into_tiers()) {
            (Some(far), (_, Some(lease))) => {
                let name = lease.key().to_owned();
                let (asked, mut unused) = (Asked::key("abandon", &name), Some(lease.clone()));
                // Whatever is owed of the key: giving a lease back changes no value.
                let abandoned = self.0.ask_far(asked, &**far, [], |far| {
                    unused = None;
                    far.abandon(lease)
                });
                let abandoned = abandoned.await;
                self.give_back(unused);
                self.0.waiters.wake_key(&name);
                abandoned
            }
            _ => Ok(()),
        }
    }

    /// Told over the bus, so that a load that waits for another node's does so no longer than it
    /// must.
    fn changed(&self, key: &str) -> Option<BoxFuture<'static, ()>> {
        self.0.bus.as_ref()?;
        Some(self.0.waiters.wait(key))
    }

    fn on_removal(&self, listener: RemovalListener) {
        self.0.listeners.write().push(listener);
    }

    /// Entries, weight and bytes are the near tier's; errors those that the far tier counts by itself.
    fn stats(&self) -> CacheStats {
        let near = self.0.near.as_ref().map(CacheStore::stats).unwrap_or_default();
        let far = self.0.far.as_ref().map(CacheStore::stats).unwrap_or_default();
        CacheStats {
            entries: near.entries,
            weighted_size: near.weighted_size,
            bytes: near.bytes,
            evictions: near.evictions,
            errors: far.errors,
            ..CacheStats::default()
        }
    }

    fn clock(&self) -> Clock {
        self.0.clock.clone()
    }
}

impl fmt::Debug for TieredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredStore")
            .field("near", &self.0.near)
            .field("far", &self.0.far)
            .field("bus", &self.0.bus)
            .field("terms", &self.0.terms)
            .field("stats", &self.tier_stats())
            .finish()
    }
}

//! A far tier as several nodes share one: it grants one lease at a time, as Redis does.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    BoxStream, BusEvent, CacheError, CacheStats, CacheStore, Clock, Entry, InvalidationBus, Lease,
    LeaseOutcome, Selector, Timestamp, check_key,
};
use futures_util::stream::{self, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc;

const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// Clones are handles to one store.
#[derive(Clone, Debug)]
pub(crate) struct SharedStore {
    state: Arc<Mutex<State>>,
    clock: Clock,
    seen: Arc<Seen>,
}

#[derive(Debug, Default)]
struct State {
    entries: HashMap<String, Entry>,
    /// By key.
    leases: HashMap<String, Granted>,
    last_lease: u64,
    /// Those to be told that a load is over for which somebody waits.
    told: Vec<mpsc::UnboundedSender<String>>,
}

#[derive(Debug)]
struct Granted {
    id: u64,
    until: Timestamp,
    /// Asked for although a fresh entry was there.
    replaces: bool,
    /// Another node has been refused.
    awaited: bool,
}

/// What has happened in a store, or in several.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) held: AtomicU64,
    /// Fresh entries that a fill has replaced.
    pub(crate) refreshed: AtomicU64,
    /// Fills and leases given back of which others were told who waited.
    pub(crate) told: AtomicU64,
}

impl SharedStore {
    pub(crate) fn new(clock: impl Into<Clock>, seen: &Arc<Seen>) -> Self {
        Self { state: Arc::default(), clock: clock.into(), seen: Arc::clone(seen) }
    }

    /// `bus`, over which a node that waits for another's load hears that it is over.
    pub(crate) fn telling(&self, bus: Arc<dyn InvalidationBus>) -> Arc<dyn InvalidationBus> {
        Arc::new(Telling { bus, store: self.clone() })
    }

    fn read(&self, key: &str) -> Option<Entry> {
        let found = self.state.lock().entries.get(key).cloned();
        found.filter(|entry| entry.is_servable(self.clock.now()))
    }

    fn put(&self, state: &mut State, key: &str, entry: Entry) {
        let now = self.clock.now();
        let entry = entry.settle(now, DEFAULT_TTL);
        if entry.is_servable(now) {
            state.entries.insert(key.to_owned(), entry);
        } else {
            state.entries.remove(key);
        }
    }

    fn ask(&self, key: &str, ttl: Duration, replaces: bool) -> LeaseOutcome {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if let Some(entry) = state.entries.get(key).filter(|entry| entry.is_fresh(now))
            && !replaces
        {
            return LeaseOutcome::Fresh(entry.clone());
        }
        if let Some(held) = state.leases.get_mut(key).filter(|held| now < held.until) {
            held.awaited = true;
            bump(&self.seen.held);
            return LeaseOutcome::Held { retry_after: now.until(held.until) };
        }
        state.last_lease += 1;
        let (id, until) = (state.last_lease, now + ttl);
        state.leases.insert(key.to_owned(), Granted { id, until, replaces, awaited: false });
        LeaseOutcome::Granted(Lease::new(key, id, until))
    }

    /// Takes the lease back, if it is there and has not run out, and tells those who wait for it.
    fn end(&self, state: &mut State, lease: &Lease) -> Option<Granted> {
        let now = self.clock.now();
        let valid = |held: &&Granted| held.id == lease.id() && now < held.until;
        state.leases.get(lease.key()).filter(valid)?;
        let ended = state.leases.remove(lease.key())?;
        if ended.awaited {
            bump(&self.seen.told);
            state.told.retain(|node| node.send(lease.key().to_owned()).is_ok());
        }
        Some(ended)
    }
}

fn bump(count: &AtomicU64) {
    count.fetch_add(1, Ordering::Relaxed);
}

#[async_trait]
impl CacheStore for SharedStore {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.read(key)
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        check_key(key)?;
        Ok(self.read(key))
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        keys.iter().try_for_each(|key| check_key(key))?;
        Ok(keys.iter().map(|key| self.read(key)).collect())
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        check_key(key)?;
        let mut state = self.state.lock();
        state.leases.remove(key);
        self.put(&mut state, key, entry);
        Ok(())
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        entries.iter().try_for_each(|(key, _)| check_key(key))?;
        for (key, entry) in entries {
            self.store(&key, entry).await?;
        }
        Ok(())
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        if let Selector::Keys(keys) = what {
            keys.iter().try_for_each(|key| check_key(key))?;
        }
        let (now, mut removed) = (self.clock.now(), 0);
        let mut state = self.state.lock();
        state.leases.retain(|key, _| !what.matches(key));
        state.entries.retain(|key, entry| {
            let gone = what.matches(key);
            removed += u64::from(gone && entry.is_servable(now));
            !gone
        });
        Ok(Some(removed))
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        Ok(self.ask(key, ttl, false))
    }

    async fn lease_to_replace(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        check_key(key)?;
        Ok(self.ask(key, ttl, true))
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        let mut state = self.state.lock();
        let Some(ended) = self.end(&mut state, &lease) else { return Ok(false) };
        let now = self.clock.now();
        let fresh = state.entries.get(lease.key()).is_some_and(|old| old.is_fresh(now));
        if ended.replaces && fresh {
            bump(&self.seen.refreshed);
        }
        self.put(&mut state, lease.key(), entry);
        Ok(true)
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.end(&mut self.state.lock(), &lease);
        Ok(())
    }

    fn stats(&self) -> CacheStats {
        let entries = self.state.lock().entries.len() as u64;
        CacheStats { entries, weighted_size: entries, ..CacheStats::default() }
    }

    fn clock(&self) -> Clock {
        self.clock.clone()
    }
}

#[derive(Debug)]
struct Telling {
    bus: Arc<dyn InvalidationBus>,
    store: SharedStore,
}

#[async_trait]
impl InvalidationBus for Telling {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        self.bus.publish(what).await
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        let (node, told) = mpsc::unbounded_channel();
        self.store.state.lock().told.push(node);
        let filled = stream::unfold(told, |mut told| async move {
            Some((BusEvent::Filled(vec![told.recv().await?]), told))
        });
        Box::pin(stream::select(self.bus.subscribe(), Box::pin(filled)).fuse())
    }
}

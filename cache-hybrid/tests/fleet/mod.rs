//! Nodes over one far tier and one bus, all in this process and on one clock.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cache_core::{
    CacheError, CacheServiceExt, CacheStats, CacheStore, Clock, Entry, Lease, LeaseOutcome,
    ManualClock, Policy, Selector,
};
use cache_hybrid::{HybridCache, HybridCacheBuilder};
use cache_quick::QuickStore;
use cache_testkit::{
    BusFaults, Faults, FlakyCache, Gate, LocalBus, LocalBusNode, Operation, eventually,
};
use tokio::task::JoinHandle;

pub(crate) const TTL: Duration = Duration::from_secs(60);

pub(crate) struct Fleet {
    pub(crate) clock: ManualClock,
    pub(crate) hub: LocalBus,
    /// What may go wrong with the far tier, and what it was asked.
    pub(crate) faults: Faults,
    pub(crate) far: Arc<dyn CacheStore>,
}

pub(crate) struct Node {
    pub(crate) cache: HybridCache,
    pub(crate) near: Arc<QuickStore>,
    pub(crate) end: Arc<LocalBusNode>,
}

impl Fleet {
    pub(crate) fn new() -> Self {
        Self::over(|far| far)
    }

    pub(crate) fn over<S: CacheStore>(far: impl FnOnce(QuickStore) -> S) -> Self {
        let clock = ManualClock::new();
        let far = FlakyCache::remote(far(QuickStore::builder().clock(&clock).build_store()));
        // A loss is noticed at once.
        let faults = BusFaults::none().detection(Duration::ZERO);
        let hub = LocalBus::lossy(1, faults, &clock);
        Self { faults: far.faults(), far: Arc::new(far), hub, clock }
    }

    /// A node whose bus is up, and which is in service.
    pub(crate) async fn node(&self) -> Node {
        let node = self.built(|tiers| tiers);
        eventually(|| node.serves()).await;
        node
    }

    pub(crate) fn built(
        &self,
        more: impl FnOnce(HybridCacheBuilder) -> HybridCacheBuilder,
    ) -> Node {
        let near = Arc::new(QuickStore::builder().clock(&self.clock).build_store());
        let end = self.hub.node();
        let tiers = HybridCache::builder().near(near.clone()).far(self.far.clone());
        let cache = more(tiers.bus(end.clone())).build().unwrap();
        Node { cache, near, end }
    }

    /// The far tier fails whatever it is asked, until it is healed.
    pub(crate) fn far_is_down(&self) {
        self.faults.when(|_| true).fail(cache_core::ErrorKind::Unavailable);
    }

    pub(crate) fn far_reads(&self) -> usize {
        self.faults.count(Operation::is_read)
    }

    /// Time for what is retried: pauses of some 250 ms, one after the other.
    pub(crate) async fn retry(&self) {
        for _ in 0..8 {
            cache_testkit::let_others_run().await;
            self.clock.advance(Duration::from_millis(250));
        }
        cache_testkit::let_others_run().await;
    }
}

impl Node {
    pub(crate) fn serves(&self) -> bool {
        self.cache.tiers().serves_near()
    }

    pub(crate) async fn get(&self, key: &str) -> Option<u64> {
        self.cache.get(key).await.unwrap()
    }

    pub(crate) async fn set(&self, key: &str, value: u64) {
        self.cache.set(key, &value, TTL).await.unwrap();
    }

    /// What is in its near tier, served or not.
    pub(crate) fn holds(&self, key: &str) -> Option<u64> {
        self.near.peek(key).map(|entry| entry.decode().unwrap())
    }

    pub(crate) async fn load(&self, key: &str, value: u64) -> Result<u64, CacheError> {
        let load = move || async move { Ok::<_, Infallible>(value) };
        self.cache.get_or_load(key, TTL, load).await.map(|value| *value)
    }

    /// A load that waits at the gate, once it has begun.
    pub(crate) async fn begin_load(
        &self,
        key: &'static str,
        policy: Policy,
        value: u64,
        gate: &Gate,
    ) -> JoinHandle<u64> {
        let (cache, load) = (self.cache.clone(), gate.loader(value));
        let loading =
            tokio::spawn(async move { *cache.get_or_load(key, policy, load).await.unwrap() });
        gate.reached().await;
        loading
    }
}

/// A far tier whose calls go on until they give up by themselves.
#[derive(Debug)]
pub(crate) struct Limited(pub(crate) QuickStore, pub(crate) Duration);

#[async_trait]
impl CacheStore for Limited {
    fn peek(&self, key: &str) -> Option<Entry> {
        self.0.peek(key)
    }

    async fn fetch(&self, key: &str) -> Result<Option<Entry>, CacheError> {
        self.0.fetch(key).await
    }

    async fn fetch_many(&self, keys: &[String]) -> Result<Vec<Option<Entry>>, CacheError> {
        self.0.fetch_many(keys).await
    }

    async fn store(&self, key: &str, entry: Entry) -> Result<(), CacheError> {
        self.0.store(key, entry).await
    }

    async fn store_many(&self, entries: Vec<(String, Entry)>) -> Result<(), CacheError> {
        self.0.store_many(entries).await
    }

    async fn remove(&self, what: &Selector) -> Result<Option<u64>, CacheError> {
        self.0.remove(what).await
    }

    fn call_timeout(&self) -> Option<Duration> {
        Some(self.1)
    }

    async fn lease(&self, key: &str, ttl: Duration) -> Result<LeaseOutcome, CacheError> {
        self.0.lease(key, ttl).await
    }

    async fn fill(&self, lease: Lease, entry: Entry) -> Result<bool, CacheError> {
        self.0.fill(lease, entry).await
    }

    async fn abandon(&self, lease: Lease) -> Result<(), CacheError> {
        self.0.abandon(lease).await
    }

    fn stats(&self) -> CacheStats {
        self.0.stats()
    }

    fn clock(&self) -> Clock {
        self.0.clock()
    }
}

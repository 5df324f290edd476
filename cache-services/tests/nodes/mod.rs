//! What the tests of the hybrid on Redis share: nodes of one server, and calls that check
//! themselves.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::any::Any;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_core::{
    BoxStream, BusDeadline, BusEvent, CacheError, CacheServiceExt, CacheStore, Clock, Entry,
    InvalidationBus, Policy, Selector,
};
use cache_hybrid::{HybridCache, HybridCacheBuilder, TierStats};
use cache_quick::QuickStore;
use cache_redis::{Connections, RedisBus, RedisConfig, RedisStore};
use cache_testkit::{Gate, RedisServer, eventually};
use tokio::task::JoinHandle;

/// A TTL that lasts longer than any test.
pub(crate) const LASTING: Duration = Duration::from_secs(3_600);
/// The channel of the default namespace.
pub(crate) const CHANNEL: &str = "cache:invalidate";
/// What is read and told is the subject of most tests, not the budget of a call on a busy machine.
const PATIENT: Duration = Duration::from_secs(5);

/// One process of the fleet, as far as Redis can tell.
pub(crate) struct Node {
    pub(crate) cache: HybridCache,
    pub(crate) near: Arc<QuickStore>,
    pub(crate) far: Arc<dyn CacheStore>,
    pub(crate) bus: RedisBus,
}

/// The key in Redis.
pub(crate) fn name(key: &str) -> String {
    format!("cache:{key}")
}

/// With the budgets that a service has.
pub(crate) fn config(url: &str) -> RedisConfig {
    RedisConfig::from_url(url).unwrap()
}

/// With more patience than anything needs.
pub(crate) fn patient(url: &str) -> RedisConfig {
    config(url).operation_timeout(PATIENT).heartbeat_timeout(PATIENT)
}

/// What makes something else of a part.
pub(crate) type Around<Part, Made> = Box<dyn FnOnce(Part) -> Arc<Made>>;

/// How a node is put together, where it is not as usual.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    /// Goes around the far tier.
    pub(crate) far: Around<RedisStore, dyn CacheStore>,
    /// Goes around the bus.
    pub(crate) bus: Around<RedisBus, dyn InvalidationBus>,
}

impl Default for Parts {
    fn default() -> Self {
        Self {
            clock: Clock::system(),
            far: Box::new(|far| Arc::new(far)),
            bus: Box::new(|bus| Arc::new(bus)),
        }
    }
}

impl Node {
    /// A patient one, in service.
    pub(crate) async fn start(url: &str) -> Self {
        let node = Self::of(patient(url), Parts::default(), |tiers| tiers.far_timeout(PATIENT * 2));
        node.await.in_service().await
    }

    /// A patient one that lives by `clock`, in service.
    pub(crate) async fn on(url: &str, clock: impl Into<Clock>) -> Self {
        let clock = clock.into();
        let parts = Parts { clock: clock.clone(), ..Parts::default() };
        let tiers = |tiers: HybridCacheBuilder| tiers.far_timeout(PATIENT * 2);
        Self::of(patient(url).clock(clock), parts, tiers).await.in_service().await
    }

    pub(crate) async fn of(
        config: RedisConfig,
        parts: Parts,
        more: impl FnOnce(HybridCacheBuilder) -> HybridCacheBuilder,
    ) -> Self {
        let connections = Connections::connect(&config).await.unwrap();
        let bus = RedisBus::new(connections.clone()).unwrap();
        let far = (parts.far)(RedisStore::new(connections).with_bus(&bus));
        let near = Arc::new(QuickStore::builder().clock(parts.clock).build_store());
        let tiers = HybridCache::builder().near(near.clone()).far(far.clone());
        let cache = more(tiers.bus((parts.bus)(bus.clone()))).build().unwrap();
        Self { cache, near, far, bus }
    }

    /// The same, once its near tier is served.
    pub(crate) async fn in_service(self) -> Self {
        eventually(|| self.serves()).await;
        self
    }

    pub(crate) fn serves(&self) -> bool {
        self.cache.tiers().serves_near()
    }

    pub(crate) fn stats(&self) -> TierStats {
        self.cache.tiers().tier_stats()
    }

    pub(crate) async fn get(&self, key: &str) -> Option<u64> {
        self.cache.get(key).await.unwrap()
    }

    /// A write, and the others told: one that follows another closely is told a moment later.
    pub(crate) async fn set(&self, key: &str, value: u64) {
        let published = self.bus.stats().published;
        self.cache.set(key, &value, LASTING).await.unwrap();
        eventually(|| self.bus.stats().published > published).await;
    }

    /// What is in its near tier, served or not.
    pub(crate) fn holds(&self, key: &str) -> Option<u64> {
        self.near.peek(key).map(|entry| entry.decode().unwrap())
    }

    /// What a caller gets who would load `value`.
    pub(crate) async fn load(&self, key: &str, value: u64) -> u64 {
        *self.try_load(key, LASTING, value).await.unwrap()
    }

    pub(crate) async fn try_load(
        &self,
        key: &str,
        policy: impl Into<Policy>,
        value: u64,
    ) -> Result<Arc<u64>, CacheError> {
        let load = move || async move { Ok::<_, Infallible>(value) };
        self.cache.get_or_load(key, policy, load).await
    }

    /// A load that waits at the gate, once it has begun.
    pub(crate) async fn begin_load(
        &self,
        key: &'static str,
        policy: impl Into<Policy>,
        gate: &Gate,
        value: u64,
    ) -> JoinHandle<u64> {
        let (cache, policy, load) = (self.cache.clone(), policy.into(), gate.loader(value));
        let loading =
            tokio::spawn(async move { *cache.get_or_load(key, policy, load).await.unwrap() });
        gate.reached().await;
        loading
    }
}

/// Waits until the nodes have dealt with whatever was told before: messages come in order, and
/// this is one more.
pub(crate) async fn told(server: &RedisServer, nodes: &[&Node]) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let key = format!("told:{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    for node in nodes {
        let entry = Entry::encode(&0_u64, &Policy::ttl(LASTING)).unwrap();
        node.near.store(&key, entry).await.unwrap();
    }
    publish(server, &key);
    for node in nodes {
        eventually(|| node.holds(&key).is_none()).await;
    }
}

/// As typed into redis-cli.
pub(crate) fn publish(server: &RedisServer, message: &str) {
    server.command(&["PUBLISH", CHANNEL, message]);
}

/// A bus of which is recorded what a node hears, and which hides nothing else: writes and removals
/// tell of themselves in their own pipeline, as they do in a service.
#[derive(Debug)]
struct Overheard {
    bus: RedisBus,
    recorded: Arc<dyn InvalidationBus>,
}

/// `recorded` is `bus`, recorded.
pub(crate) fn overheard(
    bus: RedisBus,
    recorded: Arc<dyn InvalidationBus>,
) -> Arc<dyn InvalidationBus> {
    Arc::new(Overheard { bus, recorded })
}

#[async_trait::async_trait]
impl InvalidationBus for Overheard {
    async fn publish(&self, what: &Selector) -> Result<(), CacheError> {
        self.bus.publish(what).await
    }

    fn subscribe(&self) -> BoxStream<'static, BusEvent> {
        self.recorded.subscribe()
    }

    fn subscribe_until(&self, deadline: &BusDeadline) -> BoxStream<'static, BusEvent> {
        self.recorded.subscribe_until(deadline)
    }

    fn as_any(&self) -> Option<&dyn Any> {
        self.bus.as_any()
    }
}

//! What the suite needs to know of a cache to test it.

use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use std::future::{IntoFuture, Ready, ready};
use std::sync::Arc;
use std::time::Duration;

use cache_core::{CacheService, CacheServiceExt, Clock, ManualClock, Policy};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;

use crate::{Capabilities, Capability};

/// The same on a manual clock. Small beside the default `load_timeout`, so that no load is given up
/// that a behaviour holds at a gate while time goes by.
const MANUAL_UNIT: Duration = Duration::from_secs(1);
/// The same in real time: long enough for a busy machine, short enough for a suite.
const REAL_UNIT: Duration = Duration::from_millis(250);
/// What the family's backends use when no TTL is given.
const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// An empty cache under test, with what the suite must know of it. Each test makes its own.
///
/// ```
/// use cache_core::{CacheService, ManualClock};
/// use cache_testkit::{Capabilities, CacheHarness};
///
/// fn harness(cache: impl CacheService + Clone, clock: ManualClock) -> CacheHarness {
///     CacheHarness::new(cache).clock(clock).capabilities(Capabilities::in_process())
/// }
/// ```
pub struct CacheHarness {
    cache: Arc<dyn CacheService>,
    twin: Arc<dyn CacheService>,
    second: Option<Arc<dyn CacheService>>,
    clock: Option<ManualClock>,
    capabilities: Capabilities,
    default_ttl: Duration,
    unit: Duration,
    exercised: Mutex<BTreeSet<Capability>>,
    guards: Vec<Box<dyn Any + Send + Sync>>,
}

impl CacheHarness {
    /// A harness of `cache`, which must be empty and no other test's. Wrap what is not `Clone` in
    /// an `Arc`. Until told otherwise it runs in real time and declares every capability.
    #[must_use]
    pub fn new(cache: impl CacheService + Clone) -> Self {
        Self {
            twin: Arc::new(cache.clone()),
            second: None,
            cache: Arc::new(cache),
            clock: None,
            capabilities: Capabilities::all(),
            default_ttl: DEFAULT_TTL,
            unit: REAL_UNIT,
            exercised: Mutex::default(),
            guards: Vec::new(),
        }
    }

    /// Another client of the server on which the cache keeps its entries: as another process has it,
    /// with connections and loads of its own. What one of the two has done the other sees at once,
    /// and leases are those of the server; so it is not for a node that keeps entries of its own until
    /// a bus tells it. Without a second client the behaviours that are about two do nothing.
    ///
    /// ```
    /// use cache_core::{CacheService, CacheStore, ReadThrough};
    /// use cache_testkit::CacheHarness;
    ///
    /// fn harness(connect: impl Fn() -> ReadThrough<std::sync::Arc<dyn CacheStore>>) -> CacheHarness {
    ///     CacheHarness::new(connect()).second(connect())
    /// }
    /// ```
    #[must_use]
    pub fn second(self, client: impl CacheService) -> Self {
        Self { second: Some(Arc::new(client)), ..self }
    }

    /// The clock the cache was built with: the suite moves it instead of waiting.
    #[must_use]
    pub fn clock(self, clock: ManualClock) -> Self {
        Self { clock: Some(clock), unit: MANUAL_UNIT, ..self }
    }

    /// What the cache can do.
    #[must_use]
    pub fn capabilities(self, capabilities: Capabilities) -> Self {
        Self { capabilities, ..self }
    }

    /// What it uses when no TTL is given; 300 s until told otherwise.
    #[must_use]
    pub fn default_ttl(self, ttl: Duration) -> Self {
        Self { default_ttl: ttl, ..self }
    }

    /// The unit in which behaviours measure TTLs and pauses: 250 ms in real time until told
    /// otherwise. A slow server may need more.
    #[must_use]
    pub fn time_unit(self, unit: Duration) -> Self {
        Self { unit, ..self }
    }

    /// Keeps `guard` as long as the harness: a server, a temporary folder.
    #[must_use]
    pub fn keep(mut self, guard: impl Any + Send + Sync) -> Self {
        self.guards.push(Box::new(guard));
        self
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Arc<dyn CacheService> {
        &self.cache
    }

    /// A clone of the cache.
    #[must_use]
    pub fn twin(&self) -> &Arc<dyn CacheService> {
        &self.twin
    }

    /// Another client of the same server, where there is one.
    #[must_use]
    pub fn second_client(&self) -> Option<&Arc<dyn CacheService>> {
        self.second.as_ref()
    }

    /// The clock that the suite moves, if it may.
    #[must_use]
    pub fn manual_clock(&self) -> Option<&ManualClock> {
        self.clock.as_ref()
    }

    /// Whether the cache declares `capability`. Asking is on record: whoever asks tests it.
    #[must_use]
    pub fn can(&self, capability: Capability) -> bool {
        self.exercised.lock().insert(capability);
        self.capabilities.has(capability)
    }

    /// Whether a behaviour has asked for `capability`.
    #[must_use]
    pub fn was_asked(&self, capability: Capability) -> bool {
        self.exercised.lock().contains(&capability)
    }

    /// What the cache uses when no TTL is given.
    #[must_use]
    pub fn service_ttl(&self) -> Duration {
        self.default_ttl
    }

    /// `count` units of time.
    #[must_use]
    pub fn units(&self, count: u32) -> Duration {
        self.unit * count
    }

    /// A policy whose TTL no behaviour lives to see the end of.
    #[must_use]
    pub fn lasting(&self) -> Policy {
        Policy::ttl(self.units(1_000))
    }

    /// Lets time go by: moves the manual clock, or sleeps.
    pub async fn pass(&self, time: Duration) {
        match &self.clock {
            Some(clock) => clock.advance(time),
            // Real time is what such a cache lives by: nothing else makes its entries expire.
            None => Clock::system().sleep(time).await,
        }
    }

    /// What a `get` finds.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub async fn get<T: DeserializeOwned + Send>(&self, key: &str) -> Option<T> {
        let found = self.cache.get(key).await;
        found.unwrap_or_else(|error| panic!("get({key:?}) failed: {error}"))
    }
}

impl fmt::Debug for CacheHarness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheHarness")
            .field("cache", &self.cache)
            .field("clock", &self.clock)
            .field("capabilities", &self.capabilities)
            .finish_non_exhaustive()
    }
}

/// A harness is its own future, so that a factory may be `fn() -> CacheHarness` or an async fn.
impl IntoFuture for CacheHarness {
    type Output = Self;
    type IntoFuture = Ready<Self>;

    fn into_future(self) -> Self::IntoFuture {
        ready(self)
    }
}

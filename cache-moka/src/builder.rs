//! How large the cache is and how long entries live.

use std::time::Duration;

use cache_core::memory::{MemoryConfig, MemoryStore};
use cache_core::{Clock, ReadThrough, TracedKeys};

use crate::engine::MokaEngine;
use crate::service::{MokaCacheService, MokaStore};

/// Entries held when nothing else is said.
pub const DEFAULT_CAPACITY: u64 = 10_000;
/// How long entries live whose policy sets no TTL, when nothing else is said.
pub const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// Makes a [`MokaCacheService`].
///
/// ```
/// use cache_moka::MokaCacheService;
/// use std::time::Duration;
///
/// let cache = MokaCacheService::builder()
///     .max_capacity(100_000)
///     .time_to_live(Duration::from_secs(60))
///     .build();
/// # let _ = cache;
/// ```
#[derive(Clone, Debug)]
pub struct MokaCacheBuilder {
    max_capacity: u64,
    memory: MemoryConfig,
    traced_keys: TracedKeys,
}

impl Default for MokaCacheBuilder {
    fn default() -> Self {
        let memory =
            MemoryConfig { default_ttl: DEFAULT_TTL, time_to_idle: None, clock: Clock::system() };
        Self { max_capacity: DEFAULT_CAPACITY, memory, traced_keys: TracedKeys::default() }
    }
}

impl MokaCacheBuilder {
    /// How many entries are held at most: 10,000 unless said otherwise. 0 stores nothing.
    #[must_use]
    pub fn max_capacity(self, entries: u64) -> Self {
        Self { max_capacity: entries, ..self }
    }

    /// How long entries live whose policy sets no TTL: 300 s unless said otherwise.
    #[must_use]
    pub fn time_to_live(mut self, ttl: Duration) -> Self {
        self.memory.default_ttl = ttl;
        self
    }

    /// How long an entry stays that nobody reads: as long as it lives, unless said otherwise.
    #[must_use]
    pub fn time_to_idle(mut self, idle: Duration) -> Self {
        self.memory.time_to_idle = Some(idle);
        self
    }

    /// The clock by which entries live.
    #[must_use]
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.memory.clock = clock.into();
        self
    }

    /// How keys stand in the spans of loads; hashed unless set. No effect without the feature
    /// `tracing`.
    #[must_use]
    pub fn traced_keys(self, keys: TracedKeys) -> Self {
        Self { traced_keys: keys, ..self }
    }

    /// The store alone, to be a tier of something else.
    #[must_use]
    pub fn build_store(self) -> MokaStore {
        let engine = MokaEngine::new(self.max_capacity);
        MokaStore::new(MemoryStore::new(engine, self.memory))
    }

    /// The cache.
    #[must_use]
    pub fn build(self) -> MokaCacheService {
        let (default_ttl, traced_keys) = (self.memory.default_ttl, self.traced_keys);
        let engine = ReadThrough::builder(self.build_store()).default_ttl(default_ttl);
        MokaCacheService::new(engine.traced_keys(traced_keys).build())
    }
}

//! How large the cache is and how long entries live.

use std::time::Duration;

use cache_core::memory::{MemoryConfig, MemoryStore};
use cache_core::{Clock, ReadThrough, TracedKeys};

use crate::engine::{Bound, QuickEngine};
use crate::service::{QuickCacheService, QuickStore};

/// Entries held when nothing else is said.
pub const DEFAULT_CAPACITY: u64 = 10_000;
/// How long entries live whose policy sets no TTL, when nothing else is said.
pub const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// Makes a [`QuickCacheService`].
///
/// ```
/// use cache_quick::QuickCacheService;
/// use std::time::Duration;
///
/// let cache = QuickCacheService::builder()
///     .max_weight(64 * 1024 * 1024)
///     .time_to_live(Duration::from_secs(60))
///     .build();
/// # let _ = cache;
/// ```
#[derive(Clone, Debug)]
pub struct QuickCacheBuilder {
    max_capacity: Option<u64>,
    max_weight: Option<u64>,
    memory: MemoryConfig,
    traced_keys: TracedKeys,
}

impl Default for QuickCacheBuilder {
    fn default() -> Self {
        let memory =
            MemoryConfig { default_ttl: DEFAULT_TTL, time_to_idle: None, clock: Clock::system() };
        Self { max_capacity: None, max_weight: None, memory, traced_keys: TracedKeys::default() }
    }
}

impl QuickCacheBuilder {
    /// How many entries are held at most: 10,000 unless said otherwise here or by
    /// [`max_weight`](Self::max_weight). 0 stores nothing.
    #[must_use]
    pub fn max_capacity(self, entries: u64) -> Self {
        Self { max_capacity: Some(entries), ..self }
    }

    /// How many bytes of keys and encoded values are held at most. 0 stores nothing.
    ///
    /// The cache is split into parts of at least 5 MiB, as many as there is work for; one that is smaller
    /// is one part. An entry of more than four fifths of a part may not be kept, and is loaded anew each
    /// time then: one of up to 4 MiB is kept in any cache of 5 MiB and more. With
    /// [`max_capacity`](Self::max_capacity) set too, both bounds hold; an entry then weighs at least its
    /// share of the bytes, `bytes / entries`.
    #[must_use]
    pub fn max_weight(self, bytes: u64) -> Self {
        Self { max_weight: Some(bytes), ..self }
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
    pub fn build_store(self) -> QuickStore {
        let bound = match (self.max_capacity, self.max_weight) {
            (None, None) => Bound::Entries(DEFAULT_CAPACITY),
            (Some(entries), None) => Bound::Entries(entries),
            (None, Some(bytes)) => Bound::Bytes(bytes),
            (Some(entries), Some(bytes)) => Bound::Both { entries, bytes },
        };
        QuickStore::new(MemoryStore::new(QuickEngine::new(bound), self.memory))
    }

    /// The cache.
    #[must_use]
    pub fn build(self) -> QuickCacheService {
        let (default_ttl, traced_keys) = (self.memory.default_ttl, self.traced_keys);
        let engine = ReadThrough::builder(self.build_store()).default_ttl(default_ttl);
        QuickCacheService::new(engine.traced_keys(traced_keys).build())
    }
}

//! How an engine is put together.

use std::sync::Arc;
use std::time::Duration;

use super::counters::Counters;
use super::detach::Detached;
use super::flights::Flights;
use super::throttle::Throttle;
use super::{Inner, ReadThrough};
use crate::{CacheStore, Clock, TracedKeys};

/// What an entry lives when neither its policy nor the service says how long.
const DEFAULT_TTL: Duration = Duration::from_secs(300);

/// Makes a [`ReadThrough`].
#[derive(Debug)]
pub struct ReadThroughBuilder<S> {
    store: S,
    clock: Clock,
    default_ttl: Duration,
    traced_keys: TracedKeys,
}

impl<S: CacheStore> ReadThroughBuilder<S> {
    pub(super) fn new(store: S) -> Self {
        let (clock, traced_keys) = (store.clock(), TracedKeys::default());
        Self { store, clock, default_ttl: DEFAULT_TTL, traced_keys }
    }

    /// The clock by which entries live and calls time out.
    #[must_use]
    pub fn clock(self, clock: impl Into<Clock>) -> Self {
        Self { clock: clock.into(), ..self }
    }

    /// How long entries live whose policy sets no TTL.
    #[must_use]
    pub fn default_ttl(self, ttl: Duration) -> Self {
        Self { default_ttl: ttl, ..self }
    }

    /// How keys stand in the spans of loads; hashed unless set. No effect without the feature
    /// `tracing`.
    #[must_use]
    pub fn traced_keys(self, keys: TracedKeys) -> Self {
        Self { traced_keys: keys, ..self }
    }

    /// The engine.
    #[must_use]
    pub fn build(self) -> ReadThrough<S> {
        let Self { store, clock, default_ttl, traced_keys } = self;
        let flights = Arc::new(Flights::new());
        let listening = Arc::downgrade(&flights);
        store.on_removal(Arc::new(move |what| {
            if let Some(flights) = listening.upgrade() {
                Detached::Selected(what).detach(&flights);
            }
        }));
        ReadThrough(Arc::new(Inner {
            store,
            clock,
            default_ttl,
            flights,
            throttle: Throttle::new(),
            counters: Counters::default(),
            #[cfg(feature = "metrics")]
            times: super::times::Times::default(),
            traced_keys,
        }))
    }
}

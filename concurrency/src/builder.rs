//! How a [`LocalConcurrencyService`] is made.

use cache_core::{Clock, TracedKeys};

use crate::LocalConcurrencyService;

/// Settings of a [`LocalConcurrencyService`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder makes nothing until `build`"]
pub struct LocalConcurrencyBuilder {
    clock: Clock,
    traced_keys: TracedKeys,
}

impl LocalConcurrencyBuilder {
    /// Where time comes from; the system's clock unless set.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// How keys stand in spans; hashed unless set. No effect without the feature `tracing`.
    pub fn traced_keys(mut self, keys: TracedKeys) -> Self {
        self.traced_keys = keys;
        self
    }

    /// The service.
    #[must_use]
    pub fn build(self) -> LocalConcurrencyService {
        let Self { clock, traced_keys } = self;
        LocalConcurrencyService::of(clock, traced_keys)
    }
}

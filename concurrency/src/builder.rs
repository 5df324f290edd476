//! How a [`LocalConcurrencyService`] is made.

use cache_core::Clock;

use crate::LocalConcurrencyService;

/// Settings of a [`LocalConcurrencyService`].
#[derive(Clone, Debug, Default)]
#[must_use = "a builder makes nothing until `build`"]
pub struct LocalConcurrencyBuilder {
    clock: Clock,
}

impl LocalConcurrencyBuilder {
    /// Where time comes from; the system's clock unless set.
    pub fn clock(mut self, clock: impl Into<Clock>) -> Self {
        self.clock = clock.into();
        self
    }

    /// The service.
    #[must_use]
    pub fn build(self) -> LocalConcurrencyService {
        let Self { clock } = self;
        LocalConcurrencyService::with_clock(clock)
    }
}

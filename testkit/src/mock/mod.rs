//! Mocks for the unit tests of service crates.

mod cache;
mod concurrency;
mod script;
mod service;

pub use cache::{MockCacheCalls, MockCacheService};
pub use concurrency::MockConcurrencyService;

#![doc = include_str!("../README.md")]

/// So that what stands there compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/locks.md")]
mod page {}

mod builder;
mod fence;
#[cfg(feature = "redis")]
mod redis;
mod service;
mod shard;
mod state;
mod stats;
mod sync;
mod waiting;

pub use builder::LocalConcurrencyBuilder;
#[cfg(feature = "redis")]
pub use redis::{RedisConcurrencyBuilder, RedisConcurrencyService};
pub use service::LocalConcurrencyService;
pub use stats::LockStats;
#[cfg(feature = "metrics")]
pub use stats::LockTimes;

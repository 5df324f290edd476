#![doc = include_str!("../README.md")]

mod attend;
mod breaker;
mod builder;
mod cache;
mod catch_up;
mod inner;
mod latency;
mod leases;
mod look;
mod reads;
mod replay;
mod spans;
mod stats;
mod store;
mod teller;
mod trust;
mod waiters;
mod write;

pub use builder::HybridCacheBuilder;
pub use cache::HybridCache;
pub use latency::FarLatency;
pub use stats::TierStats;
pub use store::TieredStore;

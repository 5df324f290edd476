//! Building blocks for in-process backends: everything about a store in memory but the map.
//!
//! A crate like `cache-quick` brings a [`MemoryEngine`], a bounded concurrent map with eviction.
//! [`MemoryStore`] makes a [`CacheStore`](crate::CacheStore) of it: deadlines checked on every
//! read, idle times, leases, a sweep that frees what nobody reads, removal by prefix.

mod engine;
mod store;
mod stripes;
mod sweep;

pub use engine::{
    Address, KeyHash, Live, MemoryEngine, Passthrough, Slot, Summary, Swept, TypeTag,
};
pub use store::{MemoryConfig, MemoryStore};

//! The behaviours that every cache service has: one function each.
//!
//! [`cache_conformance!`](crate::cache_conformance) makes a `#[test]` of every one. Each can also
//! be called by itself, with an empty cache of its own. They panic if the cache misbehaves.

pub mod bad_loaders;
pub mod cancel;
pub mod clients;
pub mod coalescing;
mod fixture;
pub mod freshness;
pub mod handles;
pub mod leases;
pub mod lifetimes;
pub mod limits;
mod list;
pub mod many;
pub mod overtaken;
pub mod reads;
pub mod removal;
mod run;
pub mod stale_fill;
pub mod stats;
pub mod tiers;
pub mod values;
pub mod writes;

pub use list::{BEHAVIOURS, Behaviour};
#[doc(hidden)]
pub use run::run_within;
pub use run::{run, run_capabilities};
